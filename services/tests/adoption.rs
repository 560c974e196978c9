//! A main process that names its successor and ends at once: the shell must be able to know the
//! successor before it tells that end, whatever else is to be done.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so"
)]

use services::file::{Source, load};
use services::id::{RunId, ServiceName};
use services::notify::Message;
use services::supervisor::Supervisor;
use services::supervisor::event::{Action, Event};
use services::time::Time;

#[test]
fn an_adoption_does_not_wait_behind_other_actions() {
    let source = Source {
        path: "/usr/lib/shark/services/haproxy.toml".into(),
        layer: 0,
        text: "exec = \"/sbin/haproxy\"\n".into(),
    };
    let graph = load(&[source], None).graph.expect("the file is right");
    let mut core = Supervisor::new(graph);
    let now = Time::default();
    let target = ServiceName::new("default").unwrap();
    core.handle_event(Event::Boot { target }, now);
    let id = core.lookup("haproxy").unwrap();
    let run: RunId = core.current_run(id).unwrap();
    core.handle_event(Event::Spawned { run }, now);
    assert_eq!(core.poll_adoption(), None);
    let named = |from_main| Event::Notified {
        run,
        message: Message::MainPid(7),
        from_main,
    };
    core.handle_event(named(false), now);
    assert_eq!(core.poll_adoption(), None, "only the main process may");
    core.handle_event(named(true), now);
    assert_eq!(core.poll_adoption(), Some((run, 7)));
    assert_eq!(core.poll_adoption(), None);
    // The others are there still, in their order.
    assert!(matches!(core.poll_action(), Some(Action::Announce { .. })));
    assert_eq!(core.poll_action(), Some(Action::Spawn { run }));
}
