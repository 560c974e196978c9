//! What a service's cgroup is set to when a process is put into it.

use std::fs;

use serde_json::json;

use crate::machine::{Machine, possible};

/// PID 1 waits from clone to exec, and a process in a frozen cgroup never gets there.
#[test]
fn a_frozen_service_does_not_hold_pid_1() {
    if !possible() {
        return;
    }
    let service = "exec = \"/bin/sleep 1000\"\nreload = \"/bin/true\"\n";
    let machine = Machine::boot(&[("a.toml", service)]);
    machine.call("WaitBoot", json!({})).unwrap();
    let Some(freeze) = machine.cgroup_file("a", "cgroup.freeze") else {
        eprintln!("NOT TESTED: no cgroup v2 that this test may use");
        return;
    };
    fs::write(&freeze, "1").unwrap();
    let events = machine.cgroup_file("a", "cgroup.events").unwrap();
    machine.wait("it is frozen", || {
        let text = fs::read_to_string(&events).ok()?;
        text.contains("frozen 1").then_some(())
    });
    let (error, parameters) = machine.on("ReloadService", "a").unwrap_err();
    assert_eq!(
        (&*error, &parameters["reason"]),
        ("Failed", &json!("its cgroup is frozen"))
    );
    assert_eq!(
        fs::read_to_string(&freeze).unwrap(),
        "1\n",
        "it is left as it was"
    );
    assert_eq!(machine.state("a"), "up");
    // A start, on the other hand, is what somebody wants to run.
    machine.on("Restart", "a").unwrap();
    assert_eq!(machine.state("a"), "up");
}

#[test]
fn a_limit_that_is_taken_back_is_lifted_at_the_next_start() {
    if !possible() {
        return;
    }
    let plain = "exec = \"/bin/sleep 1000\"\n";
    let machine = Machine::boot(&[("a.toml", &format!("{plain}[cgroup]\npids-max = 5\n"))]);
    machine.call("WaitBoot", json!({})).unwrap();
    let limit = machine.cgroup_file("a", "pids.max");
    let Some(limit) = limit.filter(|file| file.exists()) else {
        eprintln!("NOT TESTED: no pids controller that this test may use");
        return;
    };
    assert_eq!(fs::read_to_string(&limit).unwrap(), "5\n");
    machine.write_service("a.toml", plain);
    machine.call("ReloadAll", json!({})).unwrap();
    machine.on("Restart", "a").unwrap();
    assert_eq!(fs::read_to_string(&limit).unwrap(), "max\n");
}

/// Whoever is given a cgroup can make one below it where a command would never get to its exec.
#[test]
fn a_cgroup_that_the_service_made_does_not_hold_pid_1() {
    if !possible() {
        return;
    }
    let service = "exec = \"/bin/sleep 1000\"\nreload = \"/bin/true\"\n[cgroup]\ndelegate = true\n";
    let machine = Machine::boot(&[("a.toml", service)]);
    machine.call("WaitBoot", json!({})).unwrap();
    let Some(own) = machine.cgroup_file("a", "") else {
        eprintln!("NOT TESTED: no cgroup v2 that this test may use");
        return;
    };
    let (inner, beside) = (own.join("inner"), own.join("shark.beside"));
    fs::create_dir(&inner).unwrap();
    fs::create_dir(&beside).unwrap();
    let main = fs::read_to_string(own.join("cgroup.procs")).unwrap();
    fs::write(inner.join("cgroup.procs"), main.trim()).unwrap();
    // Any controller will do.
    let there = fs::read_to_string(own.join("cgroup.controllers")).unwrap();
    let Some(controller) = there.split_whitespace().next() else {
        eprintln!("NOT TESTED: no controller that this test may use");
        return;
    };
    let pass_down = format!("+{controller}");
    fs::write(own.join("cgroup.subtree_control"), pass_down).unwrap();
    fs::write(beside.join("cgroup.freeze"), "1").unwrap();
    let refused = |expect: &str| {
        let (error, parameters) = machine.on("ReloadService", "a").unwrap_err();
        let reason = parameters["reason"].as_str().unwrap_or_default();
        assert_eq!(error, "Failed");
        assert!(reason.contains(expect), "{parameters}");
    };
    refused("shark.beside is frozen");
    fs::write(beside.join("cgroup.freeze"), "0").unwrap();
    machine.on("ReloadService", "a").unwrap();
    match std::os::unix::fs::chown(&beside, Some(12345), None) {
        Ok(()) => refused("the service has made it itself"),
        Err(error) => eprintln!("NOT TESTED: a cgroup of another user: {error}"),
    }
    assert_eq!(machine.state("a"), "up");
}
