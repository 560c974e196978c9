//! A stop of the main process alone, and what becomes of the rest.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::machine::{Machine, possible};

/// An engine whose first run leaves a child that takes no TERM.
const ENGINE: &str = "exec = [\"/bin/sh\", \"-c\", \"[ -e @DIR@/out/child ] || { \
    setsid sh -c 'trap : USR1; trap \\\"\\\" TERM; exec sleep 4711' & echo $! > @DIR@/out/child; }; \
    exec sleep 4800\"]\n\
    restart.delay = \"10ms\"\n[stop]\nscope = \"main\"\ntimeout = \"1s\"\n";

/// The child, by its number in the namespace.
fn child(machine: &Machine) -> u64 {
    machine.wait("the child is there", || {
        let text = fs::read_to_string(machine.path("out/child")).ok()?;
        let pid = text.trim().parse().ok()?;
        let lines = machine.processes();
        lines.iter().any(|line| line == "sleep 4711").then_some(pid)
    })
}

fn boot(more: &str) -> Option<Machine> {
    if !possible() {
        return None;
    }
    let machine = Machine::boot(&[("engine.toml", &format!("{ENGINE}{more}"))]);
    if !machine.has_cgroups() {
        eprintln!("NOT TESTED: no cgroup v2 that this test may use");
        return None;
    }
    machine.call("WaitBoot", json!({})).unwrap();
    Some(machine)
}

/// Shuts down; everything ends in time, and in order.
fn ends(mut machine: Machine) {
    let began = Instant::now();
    machine.kill("TERM", 1);
    assert_eq!(machine.ended().code(), Some(0), "{}", machine.console());
    let took = began.elapsed();
    assert!(
        took >= Duration::from_secs(1),
        "the child has its time: {took:?}"
    );
    let said = machine.console();
    assert!(
        said.contains("engine: did not stop in time and was killed"),
        "{said}"
    );
    assert!(said.contains("all services are down"), "{said}");
}

#[test]
fn children_outlive_restarts_and_not_the_shutdown() {
    let Some(machine) = boot("") else { return };
    let child = child(&machine);
    let before = machine.pid("engine").unwrap();
    let host = machine.host_pid_of(child);
    machine.on("Restart", "engine").unwrap();
    let after = machine.pid("engine").unwrap();
    assert_ne!(before, after);
    assert_eq!(machine.host_pid_of(child), host);
    // A crash, and the start that follows.
    machine.kill("KILL", after);
    machine.wait("it runs again", || {
        machine.pid("engine").filter(|pid| *pid != after)
    });
    assert_eq!(machine.host_pid_of(child), host);
    machine.on("Stop", "engine").unwrap();
    let status = machine.status("engine");
    assert_eq!(
        (&status["state"], &status["leftRunning"]),
        (&json!("down"), &json!(1))
    );
    machine.on("Start", "engine").unwrap();
    assert_eq!(machine.host_pid_of(child), host);
    assert_eq!(machine.status("engine")["leftRunning"], json!(null));
    ends(machine);
}

#[test]
fn what_is_left_of_a_service_that_is_down_ends_with_the_machine() {
    let Some(machine) = boot("") else { return };
    child(&machine);
    machine.on("Stop", "engine").unwrap();
    ends(machine);
}

#[test]
fn what_is_left_ends_with_its_service_file() {
    let Some(machine) = boot("") else { return };
    child(&machine);
    machine.on("Stop", "engine").unwrap();
    fs::remove_file(machine.path("services/engine.toml")).unwrap();
    machine.call("ReloadAll", json!({})).unwrap();
    machine.wait("the child is gone", || {
        let lines = machine.processes();
        (!lines.iter().any(|line| line == "sleep 4711")).then_some(())
    });
}

/// Its cgroup passes controllers down, and takes no process any more.
#[test]
fn an_engine_finds_room_beside_cgroups_of_its_own() {
    let Some(machine) = boot("[cgroup]\ndelegate = true\n") else {
        return;
    };
    let host = machine.host_pid_of(child(&machine));
    let own = machine.cgroup_file("engine", "").unwrap();
    let inner = own.join("pod");
    fs::create_dir(&inner).unwrap();
    fs::write(inner.join("cgroup.procs"), host.to_string()).unwrap();
    let there = fs::read_to_string(own.join("cgroup.controllers")).unwrap();
    let Some(controller) = there.split_whitespace().next() else {
        eprintln!("NOT TESTED: no controller that this test may use");
        return;
    };
    fs::write(own.join("cgroup.subtree_control"), format!("+{controller}")).unwrap();
    machine.on("Restart", "engine").unwrap();
    let main = machine.host_pid_of(machine.pid("engine").unwrap());
    let cgroup = fs::read_to_string(format!("/proc/{main}/cgroup")).unwrap();
    assert!(
        cgroup.trim().ends_with("/services/engine/shark.main"),
        "{cgroup}"
    );
    let pod = fs::read_to_string(inner.join("cgroup.procs")).unwrap();
    assert_eq!(pod.trim(), host.to_string());
    ends(machine);
}

/// By somebody who wants it gone: before, and after its service is down.
#[test]
fn what_is_left_ends_when_somebody_asks_for_it() {
    let Some(machine) = boot("") else { return };
    let sharkctl = |words: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_sharkctl"));
        command.arg("--socket");
        command.arg(machine.path("run/io.shark.Init"));
        command.args(words).output().unwrap()
    };
    let lives = || machine.processes().iter().any(|line| line == "sleep 4711");
    child(&machine);
    machine.on("Stop", "engine").unwrap();
    assert!(lives());
    let done = sharkctl(&["service", "stop", "engine", "--all"]);
    assert!(done.status.success(), "{done:?}");
    assert!(!lives(), "what takes no TERM is killed after its time");
    let status = machine.status("engine");
    assert_eq!(
        (&status["state"], &status["leftRunning"]),
        (&json!("down"), &json!(null))
    );
    // The same of one that runs.
    fs::remove_file(machine.path("out/child")).unwrap();
    machine.on("Start", "engine").unwrap();
    child(&machine);
    machine
        .call("Stop", json!({ "name": "engine", "all": true }))
        .unwrap();
    assert!(!lives());
}
