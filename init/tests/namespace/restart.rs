//! Restarts, by hand and after a kill.

use std::fs;

use serde_json::json;

use crate::machine::{Machine, possible};

#[test]
fn a_restart_gives_a_new_process_and_ends_the_old_one() {
    if !possible() {
        return;
    }
    let machine = Machine::boot(&[("a.toml", "exec = \"/bin/sleep 4711\"\n")]);
    machine.call("WaitBoot", json!({})).unwrap();
    let before = machine.pid("a").unwrap();
    machine.on("Restart", "a").unwrap();
    let after = machine.pid("a").unwrap();
    assert_ne!(before, after);
    let sleeping = machine.processes();
    let sleeping = sleeping.iter().filter(|line| line.contains("4711")).count();
    assert_eq!(sleeping, 1);
}

#[test]
fn a_killed_service_is_started_again() {
    if !possible() {
        return;
    }
    let machine = Machine::boot(&[(
        "a.toml",
        "exec = \"/bin/sleep 1000\"\nrestart.delay = \"10ms\"\n",
    )]);
    machine.call("WaitBoot", json!({})).unwrap();
    let before = machine.pid("a").unwrap();
    machine.kill("KILL", before);
    machine.wait("a runs again", || {
        machine.pid("a").filter(|pid| *pid != before)
    });
    assert_eq!(machine.status("a")["restarts"], 1);
}

#[test]
fn stop_and_start_are_answered_when_done() {
    if !possible() {
        return;
    }
    let machine = Machine::boot(&[("a.toml", "exec = \"/bin/sleep 1000\"\n")]);
    machine.call("WaitBoot", json!({})).unwrap();
    machine.on("Stop", "a").unwrap();
    assert_eq!(machine.state("a"), "down");
    assert_eq!(machine.pid("a"), None);
    machine.on("Start", "a").unwrap();
    assert_eq!(machine.state("a"), "up");
    let (error, parameters) = machine.on("Start", "b").unwrap_err();
    assert_eq!(
        (error.as_str(), &parameters["name"]),
        ("NoSuchService", &json!("b"))
    );
    let (error, _) = machine.on("Start", "no such/name").unwrap_err();
    assert_eq!(error, "NoSuchService");
}

/// A kernel may kill whoever is born in a cgroup in which all were killed before.
#[test]
fn who_had_to_be_killed_runs_again() {
    if !possible() {
        return;
    }
    let service = "exec = [\"/bin/sh\", \"-c\", \"trap '' TERM; echo up >> @DIR@/out/ups; \
                   while :; do sleep 0.1; done\"]\nstop.timeout = \"50ms\"\nrestart.policy = \"never\"\n";
    let machine = Machine::boot(&[("a.toml", service)]);
    let ups = || {
        let text = fs::read_to_string(machine.path("out/ups")).unwrap_or_default();
        text.lines().count()
    };
    for starts in 1..=3 {
        machine.wait("it runs", || (ups() == starts).then_some(()));
        machine.on("Restart", "a").unwrap();
    }
    machine.wait("it runs", || (ups() == 4).then_some(()));
    assert_eq!(machine.state("a"), "up");
}
