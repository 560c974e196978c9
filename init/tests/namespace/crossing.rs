//! Wishes that cross: each is answered, and all ends well and in bounded time.

use std::fs;

use serde_json::json;

use crate::machine::{Machine, possible};

/// Takes its time to stop: until it may.
const SLOW: &str = "exec = [\"/bin/sh\", \"-c\", \"trap 'until [ -e @DIR@/out/go ]; do sleep 0.05; done; \
    echo stopped >> @DIR@/out/order; exit 0' TERM; \
    echo started >> @DIR@/out/order; while :; do sleep 0.05; done\"]\nstop.timeout = \"1min\"\n";

fn order(machine: &Machine) -> String {
    fs::read_to_string(machine.path("out/order")).unwrap_or_default()
}

fn lines(machine: &Machine, count: usize) {
    machine.wait(&format!("{count} lines are noted"), || {
        (order(machine).lines().count() >= count).then_some(())
    });
}

fn go(machine: &Machine) {
    fs::write(machine.path("out/go"), "").unwrap();
}

/// PID 1 ends in order, and nothing has had to be killed for it.
fn ends_soon(machine: &mut Machine) {
    assert_eq!(machine.ended().code(), Some(0), "{}", machine.console());
    let said = machine.console();
    assert!(!said.contains("did not stop in time"), "{said}");
}

#[test]
fn a_shutdown_while_services_start() {
    if !possible() {
        return;
    }
    let mut machine = Machine::boot(&[
        (
            "mute.toml",
            "type = \"notify\"\nexec = \"/bin/sleep 1000\"\n",
        ),
        (
            "long.toml",
            "type = \"oneshot\"\nexec = \"/bin/sleep 1000\"\n",
        ),
        (
            "late.toml",
            "exec = \"/bin/sleep 1000\"\nrequires = [\"mute\", \"long\"]\n",
        ),
        (
            "loop.toml",
            "exec = \"/bin/false\"\nrestart.delay = \"1ms\"\nrestart.max-delay = \"1ms\"\n",
        ),
    ]);
    machine.wait_state("mute", "starting");
    machine.kill("TERM", 1);
    ends_soon(&mut machine);
}

#[test]
fn a_start_during_a_stop() {
    if !possible() {
        return;
    }
    let machine = Machine::boot(&[("slow.toml", SLOW)]);
    lines(&machine, 1);
    let before = machine.pid("slow").unwrap();
    std::thread::scope(|scope| {
        let stop = scope.spawn(|| machine.on("Stop", "slow"));
        machine.wait_state("slow", "stopping");
        let start = scope.spawn(|| machine.on("Start", "slow"));
        let (error, _) = stop.join().unwrap().unwrap_err();
        assert_eq!(error, "Superseded");
        go(&machine);
        start.join().unwrap().unwrap();
    });
    assert_eq!(machine.state("slow"), "up");
    assert_ne!(machine.pid("slow"), Some(before));
    lines(&machine, 3);
    assert_eq!(order(&machine), "started\nstopped\nstarted\n");
}

#[test]
fn a_restart_during_a_reload() {
    if !possible() {
        return;
    }
    let service = "exec = \"/bin/sleep 1000\"\nreload = \"/bin/sleep 4711\"\n";
    let machine = Machine::boot(&[("a.toml", service)]);
    machine.call("WaitBoot", json!({})).unwrap();
    let before = machine.pid("a").unwrap();
    let reloads = || machine.processes().iter().any(|line| line.contains("4711"));
    std::thread::scope(|scope| {
        let reload = scope.spawn(|| machine.on("ReloadService", "a"));
        machine.wait("the command runs", || reloads().then_some(()));
        machine.on("Restart", "a").unwrap();
        let (error, parameters) = reload.join().unwrap().unwrap_err();
        assert_eq!(
            (&*error, &parameters["reason"]),
            ("Failed", &json!("it is being stopped"))
        );
    });
    assert_ne!(machine.pid("a"), Some(before));
    machine.wait("the command is gone", || (!reloads()).then_some(()));
}

/// The files of all services this time: many of them, so that the loader is at it for a while.
#[test]
fn restarts_while_all_files_are_read_again() {
    if !possible() {
        return;
    }
    let sleep = "exec = \"/bin/sleep 1000\"\n";
    let machine = Machine::boot(&[("a.toml", sleep), ("b.toml", sleep)]);
    machine.call("WaitBoot", json!({})).unwrap();
    for index in 0..400 {
        let name = format!("t{index}.toml");
        machine.write_service(&name, "type = \"target\"\nwanted-by = []\n");
    }
    let (b, mut meanwhile, mut round) = (machine.pid("b"), 0, 0);
    // It may be over before this test gets to its first restart: then it is read once more.
    while meanwhile == 0 {
        round += 1;
        assert!(round <= 50, "each reload was over too soon");
        machine.write_service("a.toml", &format!("{sleep}env.NEW = \"{round}\"\n"));
        std::thread::scope(|scope| {
            let reload = scope.spawn(|| machine.call("ReloadAll", json!({})));
            while !reload.is_finished() {
                machine.on("Restart", "a").unwrap();
                meanwhile += 1;
            }
            let changes = reload.join().unwrap().unwrap();
            let added = if round == 1 { 400 } else { 0 };
            assert_eq!(changes["added"].as_array().map(Vec::len), Some(added));
            assert_eq!(changes["changed"], json!(["a"]));
        });
    }
    assert_eq!((machine.state("a").as_str(), machine.pid("b")), ("up", b));
    machine.on("Restart", "a").unwrap();
    let main = machine.host_pid_of(machine.pid("a").unwrap());
    let environment = fs::read(format!("/proc/{main}/environ")).unwrap();
    let mut variables = environment.split(|byte| *byte == 0);
    let new = format!("NEW={round}");
    assert!(
        variables.any(|it| it == new.as_bytes()),
        "the new file counts"
    );
}

#[test]
fn a_second_sigterm_changes_nothing() {
    if !possible() {
        return;
    }
    let mut machine = Machine::boot(&[("slow.toml", SLOW)]);
    lines(&machine, 1);
    machine.kill("TERM", 1);
    machine.wait("it stops", || {
        machine.console().contains("slow: stopping").then_some(())
    });
    machine.kill("TERM", 1);
    go(&machine);
    ends_soon(&mut machine);
    assert_eq!(order(&machine), "started\nstopped\n");
}
