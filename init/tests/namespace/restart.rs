//! Restarts, by hand and after a kill.

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
