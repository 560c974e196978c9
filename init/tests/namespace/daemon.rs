//! A service that forks twice and detaches is still wholly stopped, where there are cgroups.

use serde_json::json;

use crate::machine::{Machine, possible};

/// The shell ends at once; what it leaves has a session of its own and is our child.
const DAEMON: &str = "type = \"oneshot\"\n\
    exec = [\"/bin/sh\", \"-c\", \"setsid sh -c 'sleep 4711 & sleep 4712 &' & exit 0\"]\n";

#[test]
fn stop_finds_what_has_detached() {
    if !possible() {
        return;
    }
    let machine = Machine::boot(&[("daemon.toml", DAEMON)]);
    if !machine.has_cgroups() {
        eprintln!("NOT TESTED: no cgroup v2 that this test may use");
        return;
    }
    machine.call("WaitBoot", json!({})).unwrap();
    let detached = || {
        let lines = machine.processes();
        lines
            .iter()
            .filter(|line| line.contains("sleep 471"))
            .count()
    };
    machine.wait("it has detached", || (detached() == 2).then_some(()));
    machine.on("Stop", "daemon").unwrap();
    assert_eq!(detached(), 0);
    machine.on("Start", "daemon").unwrap();
    machine.wait("it has detached again", || (detached() == 2).then_some(()));
}
