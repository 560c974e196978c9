//! Traces: what is printed is read back as the same, no text makes the reader panic, and a replay
//! notices what is not as it was recorded.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so"
)]

use proptest::prelude::*;
use services::file::{Source, load};
use services::graph::Graph;
use services::id::{RunId, ServiceId, ServiceName};
use services::notify::Message;
use services::status::ShutdownKind;
use services::supervisor::Supervisor;
use services::supervisor::compiled::Compiled;
use services::supervisor::event::{Action, Command, Event, ExitStatus, RequestId};
use services::supervisor::trace::{Replay, ReplayError, Start, action_line, beginning, event_line};
use services::time::Time;

fn graph() -> Graph {
    let source = Source {
        path: "/usr/lib/shark/services/web.toml".into(),
        layer: 0,
        text: "exec = \"/bin/web\"".into(),
    };
    load(&[source], None).graph.expect("a graph")
}

/// A trace of a boot in which the one service is spawned.
fn trace() -> String {
    let graph = graph();
    let mut text = beginning(&Start::Graph(Compiled::from(&graph).to_bytes().to_vec()));
    let mut supervisor = Supervisor::new(graph);
    let at = Time::from_nanos(5);
    let target = ServiceName::new("default").unwrap();
    let event = Event::Boot { target };
    text.push_str(&event_line(at, &event));
    supervisor.handle_event(event, at);
    while let Some(action) = supervisor.poll_action() {
        text.push_str(&action_line(at, &action));
    }
    text
}

fn replay(text: &str) -> Result<Replay, ReplayError> {
    let mut replay = Replay::default();
    text.lines().try_for_each(|line| replay.line(line))?;
    Ok(replay)
}

#[test]
fn a_recorded_boot_replays() {
    let replay = replay(&trace()).unwrap();
    assert_eq!(replay.events(), 1);
    assert!(replay.is_whole());
}

#[test]
fn a_trace_that_was_cut_is_known_as_such() {
    let trace = trace();
    let (cut, _last) = trace.trim_end().rsplit_once('\n').unwrap();
    assert!(!replay(cut).unwrap().is_whole());
}

#[test]
fn what_is_not_as_recorded_is_told_with_its_line() {
    let trace = trace();
    let changed = trace.replace("\"Starting\"", "\"Up\"");
    assert_ne!(trace, changed);
    let error = replay(&changed).unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 4: recorded 5 < {\"Announce\":{\"service\":{\"index\":1,\"generation\":1},\
         \"change\":\"Up\"}}, replayed 5 < {\"Announce\":{\"service\":{\"index\":1,\
         \"generation\":1},\"change\":\"Starting\"}}"
    );
    let left_out = trace.lines().filter(|line| !line.contains("Spawn"));
    let next = event_line(Time::from_nanos(6), &Event::Tick);
    let text: String = left_out.map(|line| format!("{line}\n")).collect();
    let error = replay(&(text + &next)).unwrap_err();
    assert!(
        matches!(error, ReplayError::Differs { recorded: None, .. }),
        "{error}"
    );
}

#[test]
fn other_texts_are_refused() {
    for (text, why) in [
        (
            "hello",
            "line 1: it does not begin with `shark-trace 1`: not a trace",
        ),
        ("shark-trace 1\ngraph 0g", "line 2: not hexadecimal"),
        (
            "shark-trace 1\n5 > \"Tick\"",
            "line 2: read the graph: these bytes are not a graph",
        ),
        (
            "shark-trace 1\nfive",
            "line 2: it is neither an event nor an action",
        ),
        (
            "shark-trace 1\n5 ? {}",
            "line 2: after the time there is `>` or `<`",
        ),
    ] {
        assert_eq!(replay(text).unwrap_err().to_string(), why);
    }
}

fn run() -> impl Strategy<Value = RunId> {
    (any::<u32>(), any::<u32>(), any::<u32>()).prop_map(|(index, generation, run)| RunId {
        service: ServiceId { index, generation },
        run,
    })
}

fn event() -> impl Strategy<Value = Event> {
    let outcome = prop_oneof![Just(Ok(())), any::<String>().prop_map(Err)];
    let status = prop_oneof![
        any::<u8>().prop_map(ExitStatus::Code),
        (any::<u8>(), any::<bool>()).prop_map(|(number, core_dumped)| ExitStatus::Signal {
            number,
            core_dumped
        }),
    ];
    let name = || ServiceName::new("web@1").unwrap();
    prop_oneof![
        run().prop_map(|run| Event::Spawned { run }),
        (run(), any::<String>()).prop_map(|(run, cause)| Event::SpawnFailed { run, cause }),
        (run(), status).prop_map(|(run, status)| Event::Exited { run, status }),
        (run(), any::<String>()).prop_map(|(run, text)| Event::Notified {
            run,
            message: Message::Status(text),
            from_main: true,
        }),
        (run(), outcome).prop_map(|(run, outcome)| Event::ProbeEnded { run, outcome }),
        any::<u64>().prop_map(move |number| Event::Request {
            request: RequestId(number),
            command: Command::Restart(name()),
        }),
        any::<u64>().prop_map(|number| Event::Replace {
            request: RequestId(number),
            graph: Box::new(graph().into()),
        }),
        any::<bool>().prop_map(|tick| match tick {
            true => Event::Tick,
            false => Event::Shutdown {
                kind: ShutdownKind::Halt
            },
        }),
    ]
}

proptest! {
    #[test]
    fn an_event_is_read_back_as_it_was_printed(at in any::<u64>(), event in event()) {
        let line = event_line(Time::from_nanos(at), &event);
        prop_assert_eq!(line.lines().count(), 1);
        let json = line.splitn(3, ' ').nth(2).unwrap();
        let back: Event = serde_json::from_str(json).unwrap();
        prop_assert_eq!(event_line(Time::from_nanos(at), &back), line);
    }

    #[test]
    fn an_action_is_read_back_as_it_was_printed(run in run(), pid in any::<u32>()) {
        let action = Action::Adopt { run, pid };
        let line = action_line(Time::MAX, &action);
        let back: Action = serde_json::from_str(line.splitn(3, ' ').nth(2).unwrap()).unwrap();
        prop_assert_eq!(back, action);
    }

    #[test]
    fn no_line_makes_the_reader_panic(lines in proptest::collection::vec("[0-9a-f >{}\"Tick]{0,40}", 0..6)) {
        let _any = replay(&format!("shark-trace 1\n{}", lines.join("\n")));
    }
}
