//! `metrics`: figures of init in the text format of OpenMetrics, or as they come. Not here: serving
//! them to the network.

use std::fmt::Write as _;

use init::log::dropped;
use serde::Serialize;
use services::control::metrics::{FIRST_BUCKET_NS, Histogram, Metrics};
use services::control::{Reply, Request};

use crate::Context;
use crate::client::unexpected_reply;
use crate::failure::Failure;
use crate::screen::{Screen, state_word};
use crate::waiting::ask;

/// `metrics`.
pub(crate) fn metrics(context: &Context, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let Reply::Metrics { metrics } = ask(context.patience(), screen, Request::Metrics)? else {
        return Err(unexpected_reply());
    };
    let log_dropped_messages = dropped::read(&context.log_dir);
    if screen.json {
        return screen.print_json(&WithLogs {
            metrics: &metrics,
            log_dropped_messages,
        });
    }
    screen.print(text(&metrics, log_dropped_messages))
}

/// What init tells, and what the logger has left beside its logs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WithLogs<'a> {
    #[serde(flatten)]
    metrics: &'a Metrics,
    log_dropped_messages: u64,
}

fn text(metrics: &Metrics, dropped: u64) -> String {
    let mut text = String::new();
    let about = "A turn of init's loop, the wait for the next left out";
    histogram(
        &mut text,
        "shark_loop_turn_seconds",
        &format!("{about}: time by the clock"),
        &metrics.turn_wall,
    );
    histogram(
        &mut text,
        "shark_loop_turn_cpu_seconds",
        &format!("{about}: time of the processor"),
        &metrics.turn_cpu,
    );
    counter(
        &mut text,
        "shark_events",
        "Events that the supervisor was told",
        metrics.events,
    );
    counter(
        &mut text,
        "shark_log_dropped_messages",
        "Messages of syslog and records of the kernel that were too many for their log",
        dropped,
    );
    head(&mut text, "shark_restarts", "gauge");
    let _ = writeln!(
        text,
        "# HELP shark_restarts Starts that nobody asked for, of all services.\nshark_restarts {}",
        metrics.restarts
    );
    head(&mut text, "shark_services", "gauge");
    text.push_str("# HELP shark_services Services by state.\n");
    for it in &metrics.services {
        let state = state_word(it.state);
        let _ = writeln!(text, "shark_services{{state=\"{state}\"}} {}", it.count);
    }
    text.push_str("# EOF\n");
    text
}

fn head(text: &mut String, name: &str, kind: &str) {
    let _ = writeln!(text, "# TYPE {name} {kind}");
}

fn counter(text: &mut String, name: &str, about: &str, value: u64) {
    head(text, name, "counter");
    let _ = writeln!(text, "# HELP {name} {about}.\n{name}_total {value}");
}

/// Buckets of OpenMetrics count all that is below their bound; ours what is between two bounds.
fn histogram(text: &mut String, name: &str, about: &str, histogram: &Histogram) {
    head(text, name, "histogram");
    let _ = writeln!(text, "# UNIT {name} seconds\n# HELP {name} {about}.");
    let mut below = 0_u64;
    let mut bound = FIRST_BUCKET_NS;
    let last = histogram.buckets.len().saturating_sub(1);
    for (number, count) in histogram.buckets.iter().enumerate() {
        below = below.saturating_add(*count);
        let bucket = if number == last {
            "+Inf".to_owned()
        } else {
            seconds(bound)
        };
        let _ = writeln!(text, "{name}_bucket{{le=\"{bucket}\"}} {below}");
        bound = bound.saturating_mul(2);
    }
    let _ = writeln!(
        text,
        "{name}_count {below}\n{name}_sum {}",
        seconds(histogram.sum_ns)
    );
    let longest = seconds(histogram.longest_ns);
    let (stem, _) = name.rsplit_once("_seconds").unwrap_or((name, ""));
    let _ = writeln!(
        text,
        "# TYPE {stem}_longest_seconds gauge\n# UNIT {stem}_longest_seconds seconds\n\
         # HELP {stem}_longest_seconds The longest of them.\n{stem}_longest_seconds {longest}"
    );
}

/// Nanoseconds as seconds, without floating point.
fn seconds(nanos: u64) -> String {
    const SECOND: u64 = 1_000_000_000;
    format!("{}.{:09}", nanos / SECOND, nanos % SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;
    use services::control::metrics::StateCount;
    use services::status::StateName;

    #[test]
    fn buckets_add_up_and_the_text_ends_as_openmetrics_does() {
        let times = Histogram {
            buckets: vec![3, 0, 2, 1],
            sum_ns: 1_500_000_000,
            longest_ns: 9000,
        };
        let metrics = Metrics {
            turn_cpu: times.clone(),
            turn_wall: times,
            events: 7,
            restarts: 1,
            services: vec![StateCount {
                state: StateName::Up,
                count: 5,
            }],
        };
        let text = text(&metrics, 812);
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
            "shark_services{state=\"up\"} 5",
        ];
        for line in lines {
            assert!(
                text.lines().any(|it| it == line),
                "{line} is not in\n{text}"
            );
        }
        assert!(text.ends_with("# EOF\n"));
        let json = serde_json::to_value(WithLogs {
            metrics: &metrics,
            log_dropped_messages: 812,
        });
        let json = json.unwrap();
        assert_eq!(
            (&json["logDroppedMessages"], &json["events"]),
            (&812.into(), &7.into())
        );
    }
}
