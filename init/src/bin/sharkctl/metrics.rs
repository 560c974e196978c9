//! `metrics`: figures of init and of the services, for monitoring. Here: what is asked and told. Not here:
//! the two formats of text (`text`), answering a monitoring system (`serve`), the words (`cli`).

pub(crate) mod cli;
mod serve;
mod text;

use std::collections::BTreeMap;

use init::log::dropped;
use serde::Serialize;
use services::control::metrics::Metrics;
use services::control::{Reply, Request};
use services::status::{ServiceStatus, StateName};

use self::cli::Metrics as Options;
use self::text::{Format, Text};
use crate::Context;
use crate::cgroups;
use crate::client::unexpected_reply;
use crate::failure::Failure;
use crate::screen::{Screen, state_word};
use crate::show::all_services;
use crate::top::{self, Used};
use crate::waiting::ask;

/// Everybody may read what is monitored.
const FILE_MODE: u32 = 0o644;

/// `metrics`.
pub(crate) fn metrics(
    context: &Context,
    screen: &mut Screen<'_>,
    options: &Options,
) -> Result<(), Failure> {
    options.counting.begin()?;
    if options.serve {
        return serve::serve(context, screen);
    }
    let figures = Figures::ask(context, screen)?;
    if let Some(path) = &options.output {
        let text = figures.text(options.format);
        let written =
            kernel::files::replace(&path.display().to_string(), text.as_bytes(), FILE_MODE);
        return written.map_err(|error| Failure::Failed(error.to_string()));
    }
    match screen.json {
        true => screen.print_json(&figures),
        false => screen.print(figures.text(options.format)),
    }
}

/// What init tells, what the logger has left beside its logs, and what the cgroups say.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Figures {
    #[serde(flatten)]
    init: Metrics,
    log_dropped_messages: u64,
    #[serde(skip)]
    services: Vec<ServiceStatus>,
    #[serde(skip)]
    used: BTreeMap<String, Used>,
}

impl Figures {
    fn ask(context: &Context, screen: &mut Screen<'_>) -> Result<Self, Failure> {
        let Reply::Metrics { metrics } = ask(context.patience(), screen, Request::Metrics)? else {
            return Err(unexpected_reply());
        };
        Ok(Self {
            init: *metrics,
            log_dropped_messages: dropped::read(&context.log_dir),
            services: all_services(context, screen)?,
            // Without cgroups of version 2 nobody knows.
            used: cgroups::directory().map_or_else(|_| BTreeMap::new(), |it| top::used(&it)),
        })
    }

    fn text(&self, format: Format) -> String {
        let mut text = Text::new(format);
        let about = "A turn of init's loop, the wait for the next left out";
        let wall = format!("{about}: time by the clock");
        text.histogram("shark_loop_turn_seconds", &wall, &self.init.turn_wall);
        let cpu = format!("{about}: time of the processor");
        text.histogram("shark_loop_turn_cpu_seconds", &cpu, &self.init.turn_cpu);
        text.counter("shark_events", "Events that the supervisor was told");
        text.sample(&[], self.init.events);
        let about = "Lines, messages of syslog and records of the kernel that no log has kept";
        text.counter("shark_log_dropped_messages", about);
        text.sample(&[], self.log_dropped_messages);
        let about = "Bytes of services that were lost, since no logger was there to take them";
        text.counter("shark_log_lost_bytes", about);
        text.sample(&[], self.init.log_lost_bytes);
        let about = "Messages of syslog that were lost, since no logger was there to take them";
        text.counter("shark_log_lost_messages", about);
        text.sample(&[], self.init.log_lost_messages);
        text.gauge(
            "shark_restarts",
            "Starts that nobody asked for, of all services",
        );
        text.sample(&[], self.init.restarts);
        text.gauge("shark_services", "Services by state");
        for it in &self.init.services {
            text.sample(&[("state", state_word(it.state))], it.count.into());
        }
        self.each_service(&mut text);
        text.end()
    }

    fn each_service(&self, text: &mut Text) {
        let named = |it: &ServiceStatus| it.name.clone();
        text.gauge("shark_service_up", "Whether the service is up");
        for it in &self.services {
            let up = u64::from(it.state == StateName::Up);
            text.sample(&[("service", &named(it)), ("kind", &it.kind)], up);
        }
        text.gauge(
            "shark_service_failed",
            "Whether the service was left failed",
        );
        for it in &self.services {
            let failed = u64::from(it.state == StateName::Failed);
            text.sample(&[("service", &named(it))], failed);
        }
        let about = "Starts that nobody asked for, since the last that somebody did";
        text.gauge("shark_service_restarts", about);
        for it in &self.services {
            text.sample(&[("service", &named(it))], it.restarts.into());
        }
        text.gauge(
            "shark_service_memory_bytes",
            "Memory of the service's cgroup",
        );
        for it in &self.services {
            if let Some(bytes) = it.memory_bytes {
                text.sample(&[("service", &named(it))], bytes);
            }
        }
        text.gauge(
            "shark_service_tasks",
            "Processes and threads of the service",
        );
        for it in &self.services {
            if let Some(tasks) = it.tasks {
                text.sample(&[("service", &named(it))], tasks);
            }
        }
        let about = "Time of the processor that the service's cgroup has used";
        text.counter("shark_service_cpu_seconds", about);
        for (name, used) in &self.used {
            if let Some(micros) = used.cpu_us {
                text.sample_seconds(&[("service", name)], micros.saturating_mul(1000));
            }
        }
        let mut bytes = |figure: &str, about: &str, of: fn(&Used) -> Option<u64>| {
            text.counter(figure, about);
            for (name, used) in &self.used {
                if let Some(bytes) = of(used) {
                    text.sample(&[("service", name)], bytes);
                }
            }
        };
        let about = "Bytes that the service's cgroup has read from disks, once that is counted";
        bytes("shark_service_read_bytes", about, |it| it.read_bytes);
        let about = "Bytes that the service's cgroup has written to disks, once that is counted";
        bytes("shark_service_written_bytes", about, |it| it.written_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use services::control::metrics::{Histogram, StateCount};

    fn used(cpu_us: u64) -> Used {
        Used {
            cpu_us: Some(cpu_us),
            read_bytes: Some(4096),
            written_bytes: Some(8192),
        }
    }

    #[test]
    fn buckets_add_up_and_the_text_ends_as_openmetrics_does() {
        let times = Histogram {
            buckets: vec![3, 0, 2, 1],
            sum_ns: 1_500_000_000,
            longest_ns: 9000,
        };
        let init = Metrics {
            turn_cpu: times.clone(),
            turn_wall: times,
            events: 7,
            restarts: 1,
            log_lost_bytes: 65_536,
            log_lost_messages: 256,
            services: vec![StateCount {
                state: StateName::Up,
                count: 5,
            }],
        };
        let figures = Figures {
            init,
            log_dropped_messages: 812,
            services: Vec::new(),
            used: BTreeMap::from([("a".to_owned(), used(1_500_000))]),
        };
        let text = figures.text(Format::Openmetrics);
        let lines = [
            "# TYPE shark_loop_turn_seconds histogram",
            "shark_loop_turn_seconds_bucket{le=\"0.000001024\"} 3",
            "shark_loop_turn_seconds_bucket{le=\"0.000004096\"} 5",
            "shark_loop_turn_seconds_bucket{le=\"+Inf\"} 6",
            "shark_loop_turn_seconds_count 6",
            "shark_loop_turn_seconds_sum 1.500000000",
            "shark_loop_turn_cpu_longest_seconds 0.000009000",
            "shark_events_total 7",
            "shark_log_dropped_messages_total 812",
            "shark_log_lost_bytes_total 65536",
            "shark_log_lost_messages_total 256",
            "shark_services{state=\"up\"} 5",
            "# TYPE shark_service_cpu_seconds counter",
            "shark_service_cpu_seconds_total{service=\"a\"} 1.500000000",
            "# UNIT shark_service_read_bytes bytes",
            "shark_service_read_bytes_total{service=\"a\"} 4096",
        ];
        for line in lines {
            assert!(
                text.lines().any(|it| it == line),
                "{line} is not in\n{text}"
            );
        }
        assert!(text.ends_with("# EOF\n"));
        let classic = figures.text(Format::Prometheus);
        assert!(
            classic.contains("\n# TYPE shark_events_total counter\n"),
            "{classic}"
        );
        assert!(
            !classic.contains("# EOF") && !classic.contains("# UNIT"),
            "{classic}"
        );
        let json = serde_json::to_value(&figures).unwrap();
        assert_eq!(
            (&json["logDroppedMessages"], &json["events"]),
            (&812.into(), &7.into())
        );
    }

    /// Names of figures in an expression of the dashboard.
    fn names(expression: &str) -> Vec<&str> {
        let words = expression.split(|it: char| !it.is_ascii_alphanumeric() && it != '_');
        words.filter(|it| it.starts_with("shark_")).collect()
    }

    #[test]
    fn the_dashboard_shows_figures_that_there_are() {
        let dashboard = include_str!("../../../../examples/grafana/shark.json");
        let dashboard: serde_json::Value = serde_json::from_str(dashboard).unwrap();
        let service: ServiceStatus = serde_json::from_value(serde_json::json!({
            "name": "a", "description": "", "kind": "simple", "state": "up", "wanted": true,
            "restarts": 0, "sinceUs": 1, "memoryBytes": 1, "tasks": 1, "source": "",
        }))
        .unwrap();
        let times = Histogram {
            buckets: vec![1],
            sum_ns: 1,
            longest_ns: 1,
        };
        let figures = Figures {
            init: Metrics {
                turn_cpu: times.clone(),
                turn_wall: times,
                events: 1,
                restarts: 0,
                log_lost_bytes: 0,
                log_lost_messages: 0,
                services: vec![StateCount {
                    state: StateName::Up,
                    count: 1,
                }],
            },
            log_dropped_messages: 0,
            services: vec![service],
            used: BTreeMap::from([("a".to_owned(), used(1))]),
        };
        let text = figures.text(Format::Prometheus);
        let panels = dashboard["panels"].as_array().unwrap();
        assert!(panels.len() > 5);
        for panel in panels {
            let expression = panel["targets"][0]["expr"].as_str().unwrap();
            let names = names(expression);
            assert!(!names.is_empty(), "{expression}");
            for name in names {
                let begins = |line: &str| {
                    let rest = line.strip_prefix(name);
                    rest.is_some_and(|it| it.starts_with(['{', ' ']))
                };
                assert!(text.lines().any(begins), "no {name} in\n{text}");
            }
        }
    }
}
