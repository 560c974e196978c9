//! Services whose command forks and ends: whose process is found, and what is not believed.

use std::fs;

use serde_json::json;

use crate::machine::{Machine, possible};

/// A daemon of old: a child of a child, with a session of its own. The one between takes its time.
const DAEMON: &str =
    "(sleep 0.01; setsid sh -c 'echo $$ > @DIR@/out/d.pid; exec sleep 4711' &) & exit 0";

fn daemon(more: &str) -> String {
    format!(
        "type = \"forking\"\nexec = [\"/bin/sh\", \"-c\", \"{DAEMON}\"]\n\
         restart.delay = \"10ms\"\n{more}\n"
    )
}

fn number(machine: &Machine) -> Option<u64> {
    let text = fs::read_to_string(machine.path("out/d.pid")).ok()?;
    text.trim().parse().ok()
}

fn check(machine: &Machine) {
    let answer = machine.call("WaitBoot", json!({})).unwrap();
    assert_eq!(answer["failed"], json!([]), "{}", machine.console());
    let pid = machine.pid("d").unwrap();
    machine.wait("it has noted its number", || number(machine));
    assert_eq!(Some(pid), number(machine));
    // It ends when that one does, and is started again.
    machine.kill("KILL", pid);
    machine.wait("another one runs", || {
        let other = machine.pid("d").filter(|other| *other != pid)?;
        (machine.state("d") == "up" && Some(other) == number(machine)).then_some(())
    });
    assert_eq!(machine.status("d")["restarts"], 1);
    machine.on("Stop", "d").unwrap();
    let left = machine.processes();
    assert!(!left.iter().any(|line| line.contains("4711")), "{left:?}");
}

#[test]
fn the_process_of_the_pid_file_is_the_main_one() {
    if !possible() {
        return;
    }
    check(&Machine::boot(&[(
        "d.toml",
        &daemon("pid-file = \"@DIR@/out/d.pid\""),
    )]));
}

#[test]
fn without_a_pid_file_it_is_what_is_left() {
    if !possible() {
        return;
    }
    let machine = Machine::boot(&[("d.toml", &daemon(""))]);
    if machine.has_cgroups() {
        check(&machine);
        return;
    }
    machine.call("WaitBoot", json!({})).unwrap();
    let reason = machine.status("d")["reason"].to_string();
    assert!(reason.contains("without cgroups"), "{reason}");
}

#[test]
fn a_pid_file_is_not_believed() {
    if !possible() {
        return;
    }
    let of = |name: &str| {
        daemon(&format!(
            "pid-file = \"@DIR@/out/{name}\"\nrestart.policy = \"never\""
        ))
    };
    let machine = Machine::boot(&[
        (
            "other.toml",
            "exec = [\"/bin/sh\", \"-c\", \"echo $$ > @DIR@/out/other.pid; exec sleep 1000\"]",
        ),
        (
            "lost.toml",
            "type = \"oneshot\"\nexec = [\"/bin/sh\", \"-c\", \"echo 999999 > @DIR@/out/lost.pid; \
             ln -s other.pid @DIR@/out/link.pid\"]",
        ),
        (
            "stolen.toml",
            &format!("after = [\"other\", \"lost\"]\n{}", of("other.pid")),
        ),
        (
            "stale.toml",
            &format!("after = [\"lost\"]\n{}", of("lost.pid")),
        ),
        (
            "linked.toml",
            &format!("after = [\"lost\"]\n{}", of("link.pid")),
        ),
        ("missing.toml", &of("missing.pid")),
        (
            "bad.toml",
            "type = \"forking\"\nexec = \"/bin/false\"\nrestart.policy = \"never\"",
        ),
    ]);
    let answer = machine.call("WaitBoot", json!({})).unwrap();
    let failed = json!(["bad", "linked", "missing", "stale", "stolen"]);
    assert_eq!(answer["failed"], failed, "{}", machine.console());
    let why = |name: &str, expect: &str| {
        let reason = machine.status(name)["reason"].to_string();
        assert!(reason.contains(expect), "{name}: {reason}");
    };
    why("bad", "exited with status 1 before it was ready");
    why("linked", "ELOOP");
    why("missing", "there is no ");
    why("stale", "names process 999999, which is not there");
    why("stolen", "which is another one's");
    assert_eq!(machine.state("other"), "up");
}
