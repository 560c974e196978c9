//! A trace taken of a real PID 1 replays without it.

use std::process::Command;

use serde_json::json;

use crate::machine::{Machine, possible};

/// Again and again, while the trace is taken.
const TICK: &str = "type = \"oneshot\"\nexec = [\"/bin/sh\", \"-c\", \"echo x >> @DIR@/out/ticks\"]\n\
    [timer]\non-boot = \"0s\"\nevery = \"1s\"\n";
/// Started by hand, and remembered.
const LATE: &str = "type = \"oneshot\"\nexec = \"/bin/true\"\nwanted-by = []\n\
    [timer]\non-calendar = [\"yearly\"]\npersistent = true\n";

fn lines(machine: &Machine) -> usize {
    let text = std::fs::read_to_string(machine.path("out/ticks")).unwrap_or_default();
    text.lines().count()
}

fn sharkctl(machine: &Machine, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sharkctl"));
    command
        .arg("--socket")
        .arg(machine.path("run/io.shark.Init"));
    command.args(words);
    command
}

#[test]
fn what_was_recorded_of_a_real_pid_1_replays() {
    if !possible() {
        return;
    }
    let mut machine = Machine::boot(&[
        (
            "a.toml",
            "exec = \"/bin/sleep 1000\"\nrestart.delay = \"10ms\"\n",
        ),
        ("b.toml", "exec = \"/bin/sleep 1000\"\nrequires = [\"a\"]\n"),
        ("tick.toml", TICK),
        ("late.toml", LATE),
    ]);
    machine.call("WaitBoot", json!({})).unwrap();
    let file = machine.path("out/trace");
    let name = file.display().to_string();
    let mut recording = sharkctl(&machine, &["--quiet", "debug", "record", &name]).spawn();
    let recording = recording.as_mut().unwrap();
    let text = || std::fs::read_to_string(&file).unwrap_or_default();
    machine.wait("the trace begins", || {
        text().contains("state ").then_some(())
    });
    // Somebody else does not get one beside it.
    let second = sharkctl(&machine, &["debug", "record"]).output().unwrap();
    assert_eq!(second.status.code(), Some(6), "{second:?}");
    machine.on("Restart", "a").unwrap();
    let pid = machine.pid("a").unwrap();
    machine.kill("KILL", pid);
    machine.wait("a runs again", || machine.pid("a").filter(|it| *it != pid));
    let ticks = lines(&machine);
    machine.wait("timers have come", || {
        (lines(&machine) >= ticks + 2).then_some(())
    });
    machine.on("Start", "late").unwrap();
    machine.wait_state("late", "armed");
    machine.write_service("c.toml", "exec = \"/bin/sleep 1000\"\n");
    machine.call("ReloadAll", json!({})).unwrap();
    machine.wait_state("c", "up");
    machine
        .call("Shutdown", json!({ "kind": "poweroff" }))
        .unwrap();
    machine.ended();
    assert!(recording.wait().unwrap().success());

    let replayed = sharkctl(&machine, &["--json", "debug", "replay", &name]).output();
    let replayed = replayed.unwrap();
    assert!(replayed.status.success(), "{replayed:?}\n{}", text());
    let told: serde_json::Value = serde_json::from_slice(&replayed.stdout).unwrap();
    assert_eq!(told["same"], true, "{told}");
    assert!(told["events"].as_u64() > Some(10), "{told}");
    assert!(text().contains("\"Replace\""), "the reload is in it");
    for what in ["\"Armed\"", "RememberStart", "\"Tick\""] {
        assert!(text().contains(what), "no {what}:\n{}", text());
    }

    // An action that is not as it was is found.
    let other = text()
        .replacen("\"Killed\"", "\"Up\"", 1)
        .replacen("\"Stopping\"", "\"Up\"", 1);
    std::fs::write(&file, other).unwrap();
    let replayed = sharkctl(&machine, &["debug", "replay", &name])
        .output()
        .unwrap();
    assert_eq!(replayed.status.code(), Some(1), "{replayed:?}");
    let complaint = String::from_utf8_lossy(&replayed.stderr).into_owned();
    assert!(complaint.contains("recorded"), "{complaint}");
}
