//! A supervisor that is frozen and thawed goes on as if nothing had been: after every event of
//! seeded lives, once from its whole state, and once from what a journal of changes has of it.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so"
)]

use services::file::{Source, load};
use services::graph::Graph;
use services::id::{RunId, ServiceName};
use services::journal::{self, JournalError, Writer};
use services::notify::Message;
use services::status::ShutdownKind;
use services::supervisor::Supervisor;
use services::supervisor::event::{Action, Command, Event, ExitStatus, RequestId};
use services::supervisor::frozen::{ThawError, Thawing, layout};
use services::time::{Duration, Time};

const MOST: usize = 1 << 22;
/// Any number does for a journal that is read by whom it was written.
const LAYOUT: u32 = 7;
/// So many services has the larger of the two graphs.
const SERVICES: usize = 12;

fn graph(rng: &mut fastrand::Rng, count: usize) -> Graph {
    let sources: Vec<Source> = (0..count)
        .map(|index| {
            let kind = rng.choice(["simple", "notify", "oneshot"]).unwrap();
            let mut text = format!("exec = \"/bin/a\"\ntype = \"{kind}\"\n");
            if index > 0 && rng.bool() {
                let relation = rng.choice(["requires", "wants", "after"]).unwrap();
                text += &format!("{relation} = [\"s{}\"]\n", rng.usize(..index));
            }
            if kind != "oneshot" && rng.bool() {
                text += "reload = \"/bin/r\"\n[health]\nexec = \"/bin/h\"\ninterval = \"1s\"\n";
            }
            Source {
                path: format!("/usr/lib/shark/services/s{index}.toml"),
                layer: 0,
                text,
            }
        })
        .collect();
    let loaded = load(&sources, None);
    loaded
        .graph
        .unwrap_or_else(|| panic!("{:?}", loaded.diagnostics))
}

/// What goes on outside, as far as events follow from it.
struct Outside {
    rng: fastrand::Rng,
    now: Time,
    /// Runs that exist, and whether their main process has ended.
    runs: Vec<(RunId, bool)>,
    spawning: Vec<RunId>,
    probes: Vec<RunId>,
    reloads: Vec<RunId>,
    requests: u64,
}

impl Outside {
    fn note(&mut self, actions: &[Action]) {
        for action in actions {
            match action {
                Action::Spawn { run } => self.spawning.push(*run),
                Action::Probe { run, .. } => self.probes.push(*run),
                Action::SpawnReload { run } => self.reloads.push(*run),
                _ => {}
            }
        }
    }

    fn take<T>(rng: &mut fastrand::Rng, from: &mut Vec<T>) -> Option<T> {
        (!from.is_empty()).then(|| from.swap_remove(rng.usize(..from.len())))
    }

    fn name(&mut self) -> ServiceName {
        ServiceName::new(&format!("s{}", self.rng.usize(..SERVICES))).unwrap()
    }

    fn request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId(self.requests)
    }

    #[allow(clippy::too_many_lines, reason = "a table of what may happen")]
    /// Something that may well happen; the graph of a reload comes from `seed`.
    fn event(&mut self, step: usize) -> Event {
        let rng = &mut self.rng;
        self.now = self.now + Duration::from_millis(rng.u64(..400));
        match rng.u32(..20) {
            0..6 => match Self::take(rng, &mut self.spawning) {
                Some(run) if rng.u32(..8) == 0 => Event::SpawnFailed {
                    run,
                    cause: "no memory".to_owned(),
                },
                Some(run) => {
                    self.runs.push((run, false));
                    Event::Spawned { run }
                }
                None => Event::Tick,
            },
            6..9 => match Self::take(rng, &mut self.runs) {
                Some((run, false)) if rng.bool() => Event::Notified {
                    run: {
                        self.runs.push((run, false));
                        run
                    },
                    message: match rng.u32(..3) {
                        0 => Message::Status("well".to_owned()),
                        1 => Message::Reloading,
                        _ => Message::Ready,
                    },
                    from_main: true,
                },
                Some((run, false)) => {
                    self.runs.push((run, true));
                    let status = ExitStatus::Code(rng.u8(..2));
                    Event::Exited { run, status }
                }
                Some((run, true)) => Event::Emptied { run },
                None => Event::Tick,
            },
            9 => match Self::take(rng, &mut self.probes) {
                Some(run) => Event::ProbeEnded {
                    run,
                    outcome: rng.bool().then_some(()).ok_or("bad".to_owned()),
                },
                None => Event::Tick,
            },
            10 => match Self::take(rng, &mut self.reloads) {
                Some(run) => Event::ReloadEnded {
                    run,
                    outcome: Ok(()),
                },
                None => Event::Tick,
            },
            11..15 => {
                let which = rng.u32(..5);
                let name = self.name();
                let command = match which {
                    0 => Command::Start(name),
                    1 => Command::Stop(name),
                    2 => Command::Restart(name),
                    3 => Command::Reload(name),
                    _ => Command::WaitBoot,
                };
                let request = self.request();
                Event::Request { request, command }
            }
            15 if step.is_multiple_of(7) => {
                let mut rng = fastrand::Rng::with_seed(self.rng.u64(..));
                let count = rng.usize(1..=SERVICES);
                let graph = Box::new(graph(&mut rng, count).into());
                let request = self.request();
                Event::Replace { request, graph }
            }
            16 if step > 200 && step.is_multiple_of(5) => Event::Shutdown {
                kind: ShutdownKind::Reboot,
            },
            17 => Event::Forget {
                request: RequestId(self.rng.u64(..self.requests + 1)),
            },
            _ => Event::Tick,
        }
    }
}

/// The same event for each of three supervisors; events are not copied anywhere else.
fn again(event: &Event) -> Event {
    match event {
        Event::Boot { target } => Event::Boot {
            target: target.clone(),
        },
        Event::Spawned { run } => Event::Spawned { run: *run },
        Event::SpawnFailed { run, cause } => Event::SpawnFailed {
            run: *run,
            cause: cause.clone(),
        },
        Event::Exited { run, status } => Event::Exited {
            run: *run,
            status: *status,
        },
        Event::Emptied { run } => Event::Emptied { run: *run },
        Event::Notified {
            run,
            message,
            from_main,
        } => Event::Notified {
            run: *run,
            message: message.clone(),
            from_main: *from_main,
        },
        Event::ReloadEnded { run, outcome } => Event::ReloadEnded {
            run: *run,
            outcome: outcome.clone(),
        },
        Event::ProbeEnded { run, outcome } => Event::ProbeEnded {
            run: *run,
            outcome: outcome.clone(),
        },
        Event::Request { request, command } => Event::Request {
            request: *request,
            command: command.clone(),
        },
        Event::Forget { request } => Event::Forget { request: *request },
        Event::Replace { request, graph } => Event::Replace {
            request: *request,
            graph: graph.clone(),
        },
        Event::Shutdown { kind } => Event::Shutdown { kind: *kind },
        Event::Tick => Event::Tick,
        other => panic!("no copy of {other:?}"),
    }
}

fn thawed(room: &[u8]) -> Supervisor {
    let mut thawing = Thawing::default();
    for (key, bytes) in journal::read(room, LAYOUT).unwrap() {
        thawing.take(key, bytes).unwrap();
    }
    thawing.finish().unwrap()
}

fn told(supervisor: &Supervisor) -> String {
    let services = supervisor.services().filter_map(|id| supervisor.status(id));
    let services: Vec<_> = services.collect();
    format!(
        "{services:?} {:?} {:?} {:?}",
        supervisor.poll_timeout(),
        supervisor.boot_report(),
        supervisor.gate_view()
    )
}

fn live(seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let graph = graph(&mut rng, SERVICES);
    let mut plain = Supervisor::new(graph.clone());
    let mut whole = Supervisor::new(graph.clone());
    let mut source = Supervisor::new(graph);
    // Full again and again.
    let mut room = vec![0; 40 << 10];
    let mut writer = Writer::begin(&mut room, LAYOUT).unwrap();
    let mut outside = Outside {
        rng,
        now: Time::from_nanos(1),
        runs: Vec::new(),
        spawning: Vec::new(),
        probes: Vec::new(),
        reloads: Vec::new(),
        requests: 0,
    };
    let target = ServiceName::new("default").unwrap();
    let mut event = Event::Boot { target };
    for step in 0..300_usize {
        let now = outside.now;
        whole.handle_event(again(&event), now);
        source.handle_event(again(&event), now);
        plain.handle_event(event, now);
        // With its actions still to be done.
        let mut all = vec![0; 64 << 10];
        let mut all_writer = Writer::begin(&mut all, LAYOUT).unwrap();
        whole.freeze_all(&mut all_writer, &mut all).unwrap();
        all_writer.commit(&mut all).unwrap();
        whole = thawed(&all);
        if source.freeze_changes(&mut writer, &mut room).is_err() {
            room.fill(0);
            writer = Writer::begin(&mut room, LAYOUT).unwrap();
            source.freeze_all(&mut writer, &mut room).unwrap();
        }
        writer.commit(&mut room).unwrap();
        let mut journaled = thawed(&room);
        let actions = |it: &mut Supervisor| -> Vec<Action> {
            std::iter::from_fn(|| it.poll_action()).collect()
        };
        let expect = actions(&mut plain);
        assert_eq!(actions(&mut whole), expect, "seed {seed}, step {step}");
        assert_eq!(actions(&mut journaled), expect, "seed {seed}, step {step}");
        assert_eq!(actions(&mut source), expect, "seed {seed}, step {step}");
        if step.is_multiple_of(8) {
            let expect_told = told(&plain);
            assert_eq!(told(&whole), expect_told, "seed {seed}, step {step}");
            assert_eq!(told(&journaled), expect_told, "seed {seed}, step {step}");
        }
        outside.note(&expect);
        event = outside.event(step);
    }
}

#[test]
fn whoever_is_thawed_goes_on_as_before() {
    for seed in 0..5 {
        live(seed);
    }
}

/// What is done has been taken out of the state, and is not done again.
#[test]
fn an_action_that_was_taken_is_not_in_the_journal_any_more() {
    let mut supervisor = Supervisor::new(graph(&mut fastrand::Rng::with_seed(3), 3));
    let mut room = vec![0; MOST];
    let mut writer = Writer::begin(&mut room, LAYOUT).unwrap();
    let target = ServiceName::new("default").unwrap();
    supervisor.handle_event(Event::Boot { target }, Time::from_nanos(1));
    supervisor.freeze_changes(&mut writer, &mut room).unwrap();
    writer.commit(&mut room).unwrap();
    let first = supervisor.poll_action();
    assert_eq!(thawed(&room).poll_action(), first);
    supervisor.freeze_changes(&mut writer, &mut room).unwrap();
    writer.commit(&mut room).unwrap();
    assert_eq!(thawed(&room).poll_action(), supervisor.poll_action());
    let used = writer.used();
    supervisor.freeze_changes(&mut writer, &mut room).unwrap();
    supervisor.freeze_changes(&mut writer, &mut room).unwrap();
    writer.commit(&mut room).unwrap();
    let after = writer.used();
    supervisor.freeze_changes(&mut writer, &mut room).unwrap();
    writer.commit(&mut room).unwrap();
    assert!(after > used);
    assert_eq!(writer.used(), after, "of no change, nothing is written");
}

/// The cost of one turn in which one service of many has changed.
#[test]
fn a_change_costs_what_has_changed() {
    let mut supervisor = Supervisor::new(graph(&mut fastrand::Rng::with_seed(5), 500));
    let mut room = vec![0; MOST];
    let mut writer = Writer::begin(&mut room, LAYOUT).unwrap();
    supervisor.freeze_changes(&mut writer, &mut room).unwrap();
    let whole = writer.used();
    let name = ServiceName::new("s77").unwrap();
    let command = Command::Stop(name);
    let request = RequestId(1);
    supervisor.handle_event(Event::Request { request, command }, Time::from_nanos(1));
    while supervisor.poll_action().is_some() {}
    supervisor.freeze_changes(&mut writer, &mut room).unwrap();
    let change = writer.used() - whole;
    assert!(change < 600, "{change} bytes of {whole}");
}

#[test]
fn the_layout_has_a_number_that_stays() {
    assert_eq!(layout(), layout());
    assert_ne!(layout(), crc32c::crc32c(b""), "the sample is right");
    let bytes = Supervisor::new(graph(&mut fastrand::Rng::with_seed(1), 3));
    let bytes = { bytes }.freeze(MOST).unwrap();
    let mut other = bytes.clone();
    other[8] ^= 1;
    assert!(matches!(
        Supervisor::thaw(&other),
        Err(ThawError::Journal(JournalError::Version { .. }))
    ));
    assert!(Supervisor::thaw(&bytes).is_ok());
}

/// What waits to be taken is not written down again with each of those that are.
#[test]
fn a_start_of_many_costs_what_has_been_started() {
    let sources: Vec<Source> = (0..500)
        .map(|number| Source {
            path: format!("/v/s{number}.toml"),
            layer: 0,
            text: "exec = \"/bin/a\"".to_owned(),
        })
        .collect();
    let mut supervisor = Supervisor::new(load(&sources, None).graph.unwrap());
    let mut room = vec![0; MOST];
    let mut writer = Writer::begin(&mut room, LAYOUT).unwrap();
    let target = ServiceName::new("default").unwrap();
    supervisor.handle_event(Event::Boot { target }, Time::from_nanos(1));
    supervisor.freeze_changes(&mut writer, &mut room).unwrap();
    let mut started = 0;
    while let Some(action) = supervisor.poll_action() {
        if let Action::Spawn { run } = action {
            started += 1;
            supervisor.handle_event(Event::Spawned { run }, Time::from_nanos(2));
        }
        let before = writer.used();
        supervisor.freeze_changes(&mut writer, &mut room).unwrap();
        let change = writer.used() - before;
        assert!(change < 600, "{change} bytes after {started} starts");
    }
    assert_eq!(started, 500);
    writer.commit(&mut room).unwrap();
    assert_eq!(thawed(&room).actions().count(), 0);
}
