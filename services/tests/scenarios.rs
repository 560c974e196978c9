//! Transcripts of the supervisor: `tests/scenarios/*.txt` hold service files, events at times, and
//! below each event the actions that must follow, in order and without any other.
//!
//! `SHARK_UPDATE=1 cargo test -p services --test scenarios` writes what follows into the files; read
//! the difference before you commit it.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use services::file::{Source, load};
use services::gate::Condition;
use services::graph::Graph;
use services::id::{RunId, ServiceId, ServiceName};
use services::notify;
use services::status::ShutdownKind;
use services::supervisor::event::{Action, Command, Event, ExitStatus, Purpose, RequestId};
use services::supervisor::{Supervisor, Why};
use services::time::Time;
use services::units::parse_duration;

/// The part of a transcript before `=== events`: named sets of service files.
fn graphs(text: &str) -> BTreeMap<String, Graph> {
    let mut graphs = BTreeMap::new();
    for section in text.split("=== services ").skip(1) {
        let (name, files) = section.split_once('\n').expect("a section has lines");
        let sources: Vec<Source> = files
            .split("--- ")
            .skip(1)
            .map(|file| {
                let (name, text) = file.split_once('\n').expect("a file has lines");
                Source {
                    path: format!("/usr/lib/shark/services/{}", name.trim()),
                    layer: 0,
                    text: text.into(),
                }
            })
            .collect();
        let loaded = load(&sources, None);
        let graph = loaded
            .graph
            .unwrap_or_else(|| panic!("{name}: {:?}", loaded.diagnostics));
        graphs.insert(name.trim().into(), graph);
    }
    graphs
}

fn name(text: &str) -> ServiceName {
    ServiceName::new(text).expect("a service name")
}

/// Nothing is good; words are a failure.
fn outcome(what: &str) -> Result<(), String> {
    if what.is_empty() {
        Ok(())
    } else {
        Err(what.into())
    }
}

struct Player {
    graphs: BTreeMap<String, Graph>,
    core: Supervisor,
    requests: u64,
    /// Latest run spawned of each name.
    runs: BTreeMap<String, RunId>,
}

impl Player {
    fn run(&self, name: &str) -> RunId {
        // `web#1` is that run of it, `web` the latest.
        let (name, number) = match name.split_once('#') {
            Some((name, number)) => (name, number.parse().ok()),
            None => (name, None),
        };
        let mut run = *self.runs.get(name).expect("the service has been spawned");
        run.run = number.unwrap_or(run.run);
        run
    }

    fn request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId(self.requests)
    }

    /// Plays one line; gives what followed.
    fn play(&mut self, line: &str) -> String {
        let (at, command) = line.split_once(' ').expect("TIME EVENT");
        let at = parse_duration(at).unwrap_or_else(|error| panic!("{line}: {error}"));
        let now = Time::default() + at;
        let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
        let (who, what) = rest.split_once(' ').unwrap_or((rest, ""));
        match verb {
            "status" => return self.status(who),
            "timeout" => return self.timeout(),
            "gate" => return self.gate(),
            "boot-report" => {
                let report = self.core.boot_report();
                let pending = report.pending;
                let failed: Vec<&str> = report.failed.iter().map(|id| self.name(*id)).collect();
                return format!("    pending {pending}, failed {failed:?}\n");
            }
            _ => {}
        }
        let mut out = String::new();
        for event in self.events(verb, who, what) {
            self.core.handle_event(event, now);
            while let Some(action) = self.core.poll_action() {
                let told = self.describe(&action);
                writeln!(out, "    {told}").expect("strings take all");
            }
        }
        out
    }

    /// What a line tells the core; kernel and services here, clients in [`Self::asked`].
    fn events(&mut self, verb: &str, who: &str, what: &str) -> Vec<Event> {
        match verb {
            "boot" => vec![Event::Boot { target: name(who) }],
            "tick" => vec![Event::Tick],
            "spawned" => vec![Event::Spawned { run: self.run(who) }],
            "spawn-failed" => vec![Event::SpawnFailed {
                run: self.run(who),
                cause: what.into(),
            }],
            "exited" => vec![self.exited(who, what)],
            "main-sought" => vec![Event::MainSought {
                run: self.run(who),
                outcome: outcome(what),
            }],
            "emptied" => vec![Event::Emptied { run: self.run(who) }],
            "gone" => vec![
                self.exited(who, what),
                Event::Emptied { run: self.run(who) },
            ],
            "oom" => vec![Event::OutOfMemory { run: self.run(who) }],
            "notify" | "notify-child" => notify::parse(what.replace('|', "\n").as_bytes())
                .messages
                .into_iter()
                .map(|message| Event::Notified {
                    run: self.run(who),
                    message,
                    from_main: verb == "notify",
                })
                .collect(),
            "reload-ended" => vec![Event::ReloadEnded {
                run: self.run(who),
                outcome: outcome(what),
            }],
            "ready-line" => vec![Event::ReadyLine {
                run: self.run(who),
                outcome: outcome(what),
            }],
            "probe-ended" => vec![Event::ProbeEnded {
                run: self.run(who),
                outcome: outcome(what),
            }],
            "listening" => vec![Event::Listening { run: self.run(who) }],
            "traffic" => vec![Event::Traffic {
                service: self.core.lookup(who).expect("a service"),
            }],
            _ => vec![self.asked(verb, who)],
        }
    }

    fn asked(&mut self, verb: &str, who: &str) -> Event {
        match verb {
            "start" => self.ask(Command::Start(name(who))),
            "stop" => self.ask(Command::Stop(name(who))),
            "stop-all" => self.ask(Command::StopAll(name(who))),
            "restart" => self.ask(Command::Restart(name(who))),
            "reload" => self.ask(Command::Reload(name(who))),
            "wait-boot" => self.ask(Command::WaitBoot),
            "forget" => Event::Forget {
                request: RequestId(who.parse().expect("a number")),
            },
            "replace" => {
                let graph = self.graphs.get(who).expect("a set of services").clone();
                let request = self.request();
                let graph = Box::new(graph.into());
                Event::Replace { request, graph }
            }
            "shutdown" => Event::Shutdown {
                kind: match who {
                    "poweroff" => ShutdownKind::Poweroff,
                    "reboot" => ShutdownKind::Reboot,
                    _ => ShutdownKind::Halt,
                },
            },
            _ => panic!("{verb}: no such event"),
        }
    }

    fn ask(&mut self, command: Command) -> Event {
        let request = self.request();
        Event::Request { request, command }
    }

    fn exited(&self, who: &str, what: &str) -> Event {
        let (how, number) = what.split_once(' ').expect("code N or signal N");
        let number = number.parse().expect("a number");
        let status = match how {
            "code" => ExitStatus::Code(number),
            _ => ExitStatus::Signal {
                number,
                core_dumped: false,
            },
        };
        Event::Exited {
            run: self.run(who),
            status,
        }
    }

    fn name(&self, id: ServiceId) -> &str {
        self.core.name(id).unwrap_or("(nobody)")
    }

    fn describe(&mut self, action: &Action) -> String {
        if let Action::Spawn { run } | Action::Listen { run } = action {
            let name = self.name(run.service).to_owned();
            self.runs.insert(name, *run);
        }
        let told = |run: &RunId| format!("{}#{}", self.name(run.service), run.run);
        match action {
            Action::Spawn { run } => format!("Spawn {}", told(run)),
            Action::Signal { run, signal } => format!("Signal {} {signal:?}", told(run)),
            Action::Adopt { run, pid } => format!("Adopt {} {pid}", told(run)),
            Action::FindMain { run } => format!("FindMain {}", told(run)),
            Action::EndAll { run } => format!("EndAll {}", told(run)),
            Action::KillAll { run } => format!("KillAll {}", told(run)),
            Action::SpawnReload { run } => format!("SpawnReload {}", told(run)),
            Action::Probe { run, purpose } => match purpose {
                Purpose::Ready => format!("Probe {} (ready)", told(run)),
                Purpose::Health => format!("Probe {}", told(run)),
            },
            Action::KillProbe { run } => format!("KillProbe {}", told(run)),
            Action::Release { service } => format!("Release {}", self.name(*service)),
            Action::RememberStart {
                service,
                unix_seconds,
            } => format!("RememberStart {} {unix_seconds}", self.name(*service)),
            Action::RecallStarts => "RecallStarts".into(),
            Action::Listen { run } => format!("Listen {}", told(run)),
            Action::Unlisten { service } => format!("Unlisten {}", self.name(*service)),
            Action::Announce { service, change } => {
                format!("{}: {change:?}", self.name(*service))
            }
            Action::Complete { request, outcome } => format!("Complete {} {outcome:?}", request.0),
            Action::Escalate {
                service,
                action,
                cause,
            } => format!("Escalate {} {action:?} {cause}", self.name(*service)),
            Action::BootSettled { failed } => {
                let names: Vec<&str> = failed.iter().map(|id| self.name(*id)).collect();
                format!("BootSettled {names:?}")
            }
            Action::Finish { kind } => format!("Finish {kind:?}"),
        }
    }

    fn status(&self, name: &str) -> String {
        let found = self.core.lookup(name).and_then(|id| self.core.status(id));
        let Some(status) = found else {
            return "    no such service\n".into();
        };
        let wanted = if status.wanted {
            "wanted"
        } else {
            "not wanted"
        };
        let reason = status.reason.unwrap_or_default();
        let text = status.status_text.unwrap_or_default();
        let health = status.health.map(|it| {
            let words = it.words.unwrap_or_default();
            format!("; health {:?}, {} bad {words}", it.state, it.failed)
        });
        let line = format!(
            "    {:?}, {wanted}, {} restarts{}; {reason}; {text}",
            status.state,
            status.restarts,
            health.unwrap_or_default()
        );
        format!("{}\n", line.trim_end_matches([';', ' ']))
    }

    /// What the health gate is shown.
    fn gate(&self) -> String {
        let view = self.core.gate_view();
        let since = |at: Time| at - Time::default();
        let settled = view.settled.map(since);
        let mut out = format!(
            "    {}: settled {settled:?}, pending {} {}\n",
            view.target,
            view.pending,
            view.pending_name.unwrap_or_default()
        );
        for service in view.services {
            let condition = match service.condition {
                Condition::Good { since: at } => format!("Good since {:?}", since(at)),
                other => format!("{other:?}"),
            };
            let (name, role) = (service.name, service.role);
            writeln!(out, "    {name} {role:?}: {condition}").expect("strings take all");
        }
        out
    }

    fn timeout(&self) -> String {
        let Some((at, why)) = self.core.poll_timeout() else {
            return "    none\n".into();
        };
        let why = match why {
            Why::StartTimeout(id) => format!("StartTimeout {}", self.name(id)),
            Why::StopTimeout(id) => format!("StopTimeout {}", self.name(id)),
            Why::Restart(id) => format!("Restart {}", self.name(id)),
            Why::ReloadTimeout(id) => format!("ReloadTimeout {}", self.name(id)),
            Why::Probe(id) => format!("Probe {}", self.name(id)),
            Why::ProbeTimeout(id) => format!("ProbeTimeout {}", self.name(id)),
            Why::Watchdog(id) => format!("Watchdog {}", self.name(id)),
            Why::Elapse(id) => format!("Elapse {}", self.name(id)),
            Why::ShutdownLimit => "ShutdownLimit".into(),
        };
        format!("    {:?} {why}\n", at - Time::default())
    }
}

/// The transcript as it is played.
fn replay(text: &str) -> String {
    let (head, events) = text
        .split_once("=== events\n")
        .expect("a transcript has `=== events`");
    let graphs = graphs(head);
    let first = graphs.get("first").expect("`=== services first`").clone();
    let mut player = Player {
        graphs,
        core: Supervisor::new(first),
        requests: 0,
        runs: BTreeMap::new(),
    };
    let mut out = format!("{head}=== events\n");
    for line in events.lines() {
        if line.starts_with("    ") {
            continue;
        }
        out.push_str(line);
        out.push('\n');
        if !line.is_empty() && !line.starts_with('#') {
            out.push_str(&player.play(line));
        }
    }
    out
}

#[test]
fn transcripts_are_replayed() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    #[allow(clippy::disallowed_methods, reason = "a test may be told to update")]
    let update = std::env::var("SHARK_UPDATE").is_ok();
    let mut count = 0;
    for entry in std::fs::read_dir(directory).expect("the scenarios are there") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("readable");
        let played = replay(&text);
        count += 1;
        if update {
            std::fs::write(&path, played).expect("writable");
        } else {
            let name = path.file_name().unwrap_or_default().display();
            assert!(
                played == text,
                "{name} is otherwise played (SHARK_UPDATE=1 writes it):\n{played}"
            );
        }
    }
    assert!(count >= 12, "only {count} transcripts were found");
}
