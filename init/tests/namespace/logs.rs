//! What services write is kept, whoever dies.

use serde_json::json;

use crate::machine::{Machine, possible};

/// Writes a numbered line every few milliseconds, counting on over its restarts.
const TALKER: &str = "exec = [\"/bin/sh\", \"-c\", \"n=$(cat @DIR@/out/n 2>/dev/null || echo 0); \
    while :; do n=$((n+1)); echo $n > @DIR@/out/n; echo line-$n; sleep 0.01; done\"]\n\
    restart.delay = \"10ms\"\n";

fn lines(machine: &Machine) -> Vec<u32> {
    machine
        .log("talker")
        .lines()
        .filter_map(|line| line.rsplit("line-").next()?.parse().ok())
        .collect()
}

fn gaps(lines: &[u32]) -> Vec<(u32, u32)> {
    lines
        .windows(2)
        .filter(|pair| pair[1] != pair[0] + 1)
        .map(|pair| (pair[0], pair[1]))
        .collect()
}

#[test]
fn the_log_goes_on_after_a_restart() {
    if !possible() {
        return;
    }
    let machine = Machine::boot(&[(
        "greeter.toml",
        "exec = [\"/bin/sh\", \"-c\", \"echo hello from $$; echo trouble >&2; exec sleep 1000\"]\n",
    )]);
    let count = |what: &str| machine.log("greeter").matches(what).count();
    // A restart before the second line would end the shell that is to write it.
    for (times, what) in [(1, "once"), (2, "after a restart too")] {
        machine.wait(what, || {
            let both = count("hello from") == times && count("trouble") == times;
            both.then_some(())
        });
        if times == 1 {
            machine.on("Restart", "greeter").unwrap();
        }
    }
}

#[test]
fn a_killed_logger_loses_nothing() {
    if !possible() {
        return;
    }
    let machine = Machine::boot(&[("talker.toml", TALKER)]);
    machine.call("WaitBoot", json!({})).unwrap();
    for _ in 0..2 {
        let before = lines(&machine).len();
        machine.wait("it talks", || {
            (lines(&machine).len() > before + 5).then_some(())
        });
        let logger = machine.child_of_init("log");
        machine.kill("STOP", logger);
        let said = lines(&machine).len();
        machine.kill("KILL", logger);
        machine.wait("the next logger writes", || {
            (lines(&machine).len() > said + 5).then_some(())
        });
    }
    // What a logger had read and not written when it was killed is lost with it: at most a moment's.
    let gaps = gaps(&lines(&machine));
    let lost: u32 = gaps
        .iter()
        .map(|(from, to)| to.saturating_sub(from + 1))
        .sum();
    assert!(lost <= 2, "lost {lost} lines: {gaps:?}");
    assert!(machine.console().contains("logger ended"));
}

#[test]
fn init_keeps_a_log_of_its_own() {
    if !possible() {
        return;
    }
    let machine = Machine::boot(&[("a.toml", "exec = \"/bin/sleep 1000\"\n")]);
    machine.call("WaitBoot", json!({})).unwrap();
    machine.on("Restart", "a").unwrap();
    machine.wait("the audit line", || {
        let log = machine.log("init");
        (log.contains("<5>audit: uid 0") && log.contains("restart a")).then_some(())
    });
}
