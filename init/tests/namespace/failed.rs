//! What follows when a service is left failed, as its file says: others are started, and the machine is
//! switched off or restarted. Not here: a boot that is called bad, which takes a slot (`tests-qemu`).

use std::fs;

use crate::machine::{Machine, possible};

/// Fails twice, once somebody has started it, and is then left so.
fn failing(more: &str) -> String {
    format!(
        "exec = [\"/bin/sh\", \"-c\", \"echo x >> @DIR@/out/tries; exit 4\"]\nwanted-by = []\n\
         restart.delay = \"10ms\"\nrestart.max-failures = 2\n[on-failure]\n{more}\n"
    )
}

fn tries(machine: &Machine) -> usize {
    let text = fs::read_to_string(machine.path("out/tries")).unwrap_or_default();
    text.lines().count()
}

#[test]
fn a_service_that_is_left_failed_starts_another() {
    if !possible() {
        return;
    }
    let sleep = "exec = \"/bin/sleep 1000\"\nwanted-by = []\n";
    let machine = Machine::boot(&[
        ("main.toml", &failing("start = [\"spare\"]")),
        ("spare.toml", sleep),
        ("other.toml", sleep),
    ]);
    // It is up for a moment, as its program has been executed.
    let _answer = machine.on("Start", "main");
    machine.wait_state("spare", "up");
    assert_eq!(machine.state("main"), "failed");
    assert_eq!(tries(&machine), 2, "it was tried again first");
    assert_eq!(machine.state("other"), "down");
}

/// In order: what else runs is stopped first, in its own way.
#[test]
fn a_service_that_is_left_failed_ends_the_machine() {
    if !possible() {
        return;
    }
    let orderly = "exec = [\"/bin/sh\", \"-c\", \"trap 'echo x > @DIR@/out/stopped; exit 0' TERM; \
                   echo x > @DIR@/out/begun; while :; do sleep 0.05; done\"]\n";
    for (action, told) in [
        ("poweroff", "the machine is switched off"),
        ("reboot", "the machine restarts"),
    ] {
        let main = failing(&format!("action = \"{action}\""));
        let mut machine = Machine::boot(&[("a.toml", orderly), ("main.toml", &main)]);
        machine.wait("it has its trap", || {
            machine.path("out/begun").exists().then_some(())
        });
        let _answer = machine.on("Start", "main");
        assert_eq!(machine.ended().code(), Some(0), "{}", machine.console());
        let said = machine.console();
        let line = format!("main failed, and its file says what follows: {told}");
        assert!(said.contains(&line), "{said}");
        assert_eq!(tries(&machine), 2, "{action}: it was tried again first");
        assert!(machine.path("out/stopped").exists(), "{action}: {said}");
    }
}
