//! Work and memory for many services: an event costs its neighbourhood, not the whole table.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so"
)]

use services::gate::{Gate, GateSettings};
use services::graph::Graph;
use services::id::{RunId, ServiceName};
use services::supervisor::Supervisor;
use services::supervisor::event::{Action, Event, ExitStatus};
use services::time::{Duration, Time};

/// Processor time of this thread: other work of the machine does not count.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let nanos = u32::try_from(time.tv_nsec).expect("less than a second");
    Duration::new(u64::try_from(time.tv_sec).expect("a span"), nanos)
}

fn graph(count: u32) -> Graph {
    let sources: Vec<services::file::Source> = (0..count)
        .map(|index| services::file::Source {
            path: format!("/usr/lib/shark/services/s{index}.toml"),
            layer: 0,
            // Each in a chain of ten, and all of them wanted by the boot target.
            text: match index % 10 {
                0 => "exec = \"/bin/a\"".into(),
                _ => format!("exec = \"/bin/a\"\nrequires = [\"s{}\"]", index - 1),
            },
        })
        .collect();
    services::file::load(&sources, None).graph.expect("a graph")
}

/// Boots, and gives how many events it took. Every spawn succeeds.
fn boot(core: &mut Supervisor, now: Time) -> u32 {
    let target = ServiceName::new("default").expect("a name");
    core.handle_event(Event::Boot { target }, now);
    let mut events = 1;
    let mut spawned: Vec<RunId> = Vec::new();
    loop {
        while let Some(action) = core.poll_action() {
            match action {
                Action::Spawn { run } => spawned.push(run),
                Action::BootSettled { failed } => {
                    assert!(failed.is_empty());
                    return events;
                }
                _ => {}
            }
        }
        let run = spawned.pop().expect("the boot goes on");
        core.handle_event(Event::Spawned { run }, now);
        events += 1;
    }
}

fn time_of_boot(count: u32) -> Duration {
    let mut core = Supervisor::new(graph(count));
    let start = processor_time();
    assert_eq!(boot(&mut core, Time::default()), count + 1);
    processor_time() - start
}

#[test]
fn a_boot_is_not_quadratic() {
    // Eight times the services: eight times the work when linear, 64 when quadratic.
    let few = (0..5).map(|_| time_of_boot(500)).min().expect("a time");
    let many = (0..2).map(|_| time_of_boot(4000)).min().expect("a time");
    println!("500 services: {few:?}, 4000 services: {many:?}");
    assert!(many < few * 30, "{few:?} for 500, {many:?} for 4000");
}

#[test]
fn a_crash_costs_its_neighbourhood() {
    let count = 4000;
    let mut core = Supervisor::new(graph(count));
    let mut now = Time::default();
    boot(&mut core, now);
    let id = core.lookup("s77").expect("a service");
    let run = core.current_run(id).expect("it runs");
    now = now + Duration::from_secs(20);
    let status = ExitStatus::Code(1);
    core.handle_event(Event::Exited { run, status }, now);
    core.handle_event(Event::Emptied { run }, now);
    let actions: Vec<Action> = core_actions(&mut core);
    // KillAll and the announcement of the pause: nobody else is concerned.
    assert_eq!(actions.len(), 2, "{actions:?}");
}

fn core_actions(core: &mut Supervisor) -> Vec<Action> {
    let mut actions = Vec::new();
    while let Some(action) = core.poll_action() {
        actions.push(action);
    }
    actions
}

/// A booted set of `count` services, ten of them essential, and how long one look at it takes.
fn time_of_a_look(count: u32) -> Duration {
    let text = |index: u32| match index % (count / 10) {
        0 => "exec = \"/bin/a\"\nboot.essential = true",
        _ => "exec = \"/bin/a\"",
    };
    let sources: Vec<services::file::Source> = (0..count)
        .map(|index| services::file::Source {
            path: format!("/usr/lib/shark/services/s{index}.toml"),
            layer: 0,
            text: text(index).into(),
        })
        .collect();
    let graph = services::file::load(&sources, None).graph.expect("a graph");
    let mut core = Supervisor::new(graph);
    let now = Time::default();
    boot(&mut core, now);
    assert_eq!(core.gate_view().services.len(), 10);
    let mut gate = Gate::new(GateSettings::default(), false, now);
    let looks = 2000;
    let start = processor_time();
    for _ in 0..looks {
        assert_eq!(gate.update(&core.gate_view(), now), None);
    }
    (processor_time() - start) / looks
}

#[test]
fn the_gate_looks_at_marked_services_only() {
    let few = (0..3).map(|_| time_of_a_look(500)).min().expect("a time");
    let many = (0..3).map(|_| time_of_a_look(4000)).min().expect("a time");
    println!("a look of the gate: {few:?} with 500 services, {many:?} with 4000");
    assert!(many < few * 4, "{few:?} with 500, {many:?} with 4000");
}
