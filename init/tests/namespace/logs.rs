//! What services write is kept, whoever dies.

use std::fs;

use init::log::boot;
use init::log::reader::Reader;
use serde_json::json;
use services::id::ServiceName;

use crate::machine::{Machine, Surroundings, possible};

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
        let said = lines(&machine).len();
        machine.kill("KILL", machine.child_of_init("log"));
        machine.wait("the next logger writes", || {
            (lines(&machine).len() > said + 5).then_some(())
        });
    }
    let gaps = gaps(&lines(&machine));
    assert!(
        gaps.iter().all(|(from, to)| to <= from),
        "lines are lost: {gaps:?}"
    );
    assert!(machine.console().contains("logger ended"));
}

#[test]
fn a_stopped_logger_is_replaced() {
    if !possible() {
        return;
    }
    let machine = Machine::boot(&[("talker.toml", TALKER)]);
    machine.call("WaitBoot", json!({})).unwrap();
    machine.wait("it talks", || (lines(&machine).len() > 5).then_some(()));
    machine.kill("STOP", machine.child_of_init("log"));
    let said = lines(&machine).len();
    machine.wait("the next logger writes", || {
        (lines(&machine).len() > said + 5).then_some(())
    });
    assert!(machine.console().contains("the logger is stopped: killing"));
    let gaps = gaps(&lines(&machine));
    assert!(
        gaps.iter().all(|(from, to)| to <= from),
        "lines are lost: {gaps:?}"
    );
}

#[test]
fn logs_are_kept_on_a_disk_over_loggers() {
    if !possible() {
        return;
    }
    let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let root = disk.path().join("var/log");
    let settings = format!("directory = \"{}\"\nflush = \"200ms\"\n", root.display());
    let services = [("talker.toml", TALKER)];
    let machine = Machine::boot_prepared(Surroundings::Whole, &services, |dir| {
        fs::write(dir.join("run/log.toml"), settings).unwrap();
    });
    let name = ServiceName::new("talker").unwrap();
    let kept = || {
        let boot = boot::kept(&root).ok()?.pop()?;
        let found = Reader::new(&[boot.path], &name).read().ok()?;
        Some(String::from_utf8(found.lines).unwrap())
    };
    for count in [1, 100, 200] {
        machine.wait("lines are on the disk", || {
            kept()?.contains(&format!("line-{count}\n")).then_some(())
        });
        machine.kill("KILL", machine.child_of_init("log"));
    }
    machine.wait("the last logger goes on", || {
        kept()?.contains("line-300\n").then_some(())
    });
    // What it has no business with, it cannot do.
    let logger = machine.host_pid_of(machine.child_of_init("log"));
    let status = fs::read_to_string(format!("/proc/{logger}/status")).unwrap();
    assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
}

#[test]
fn who_asks_for_what_and_what_becomes_of_it_has_a_log() {
    if !possible() {
        return;
    }
    let machine = Machine::boot(&[
        ("a.toml", "exec = \"/bin/sleep 1000\"\n"),
        (
            "bad.toml",
            "exec = \"/bin/false\"\ntype = \"oneshot\"\nwanted-by = []\nrestart.policy = \"never\"\n",
        ),
    ]);
    machine.call("WaitBoot", json!({})).unwrap();
    machine.on("Restart", "a").unwrap();
    machine.on("Start", "bad").unwrap_err();
    machine.on("Stop", "none").unwrap_err();
    machine.wait("all of it", || {
        let log = machine.log("audit");
        let has = |mark: &str, text: &str| {
            let line = |line: &str| line.contains(mark) && line.ends_with(text);
            log.lines().any(line)
        };
        // Who is outside of the namespace has no number in it.
        let all = has("<5>uid 0 pid 0 (", ") asks: restart a")
            && has("<5>uid 0 pid 0 (", ") has asked: restart a: done")
            && log.contains("<4>uid 0 pid 0 (gone) has asked: start bad: bad: ")
            && has("<4>", "has asked: stop none: there is no service `none`");
        all.then_some(())
    });
    assert!(machine.console().contains("audit: uid 0"));
}

#[test]
fn the_settings_of_logs_count_at_a_reload_and_wrong_ones_never() {
    if !possible() {
        return;
    }
    let services = [("talker.toml", TALKER)];
    let machine = Machine::boot_prepared(Surroundings::Whole, &services, |dir| {
        fs::write(
            dir.join("run/log.toml"),
            "burst = 3\nburst-within = \"1h\"\n",
        )
        .unwrap();
    });
    let write = |text: &str| fs::write(machine.path("run/log.toml"), text).unwrap();
    machine.call("WaitBoot", json!({})).unwrap();
    machine.wait("it is cut short", || {
        let told = "lines dropped before this: more than 3 within 1h";
        machine.log("talker").contains(told).then_some(())
    });
    assert_eq!(lines(&machine), [1, 2, 3]);
    let same = machine.call("ReloadAll", json!({})).unwrap();
    assert_eq!(same["logs"], false);
    write("burst = 0\n");
    let would = machine.call("ReloadAll", json!({"dryRun": true})).unwrap();
    assert_eq!(would["logs"], true);
    assert_eq!(lines(&machine), [1, 2, 3]);
    let did = machine.call("ReloadAll", json!({})).unwrap();
    assert_eq!(did["logs"], true);
    let goes_on = |what: &str| {
        let before = lines(&machine).len();
        machine.wait(what, || (lines(&machine).len() > before + 20).then_some(()));
    };
    goes_on("every line is kept");
    // One with mistakes is refused, and does not count for a logger that is started anew either.
    write("burst = \"many\"\n");
    let (error, parameters) = machine.call("ReloadAll", json!({})).unwrap_err();
    assert!(error.ends_with("InvalidServices"), "{error}");
    let told = parameters["diagnostics"][0].to_string();
    assert!(
        told.contains("log.toml") && told.contains("burst"),
        "{told}"
    );
    goes_on("the old settings count");
    machine.kill("KILL", machine.child_of_init("log"));
    machine.wait("the next one complains", || {
        machine
            .console()
            .contains("stay as they were before")
            .then_some(())
    });
    goes_on("they count for the next one too");
    let kept = lines(&machine);
    let after = kept.get(3..).unwrap();
    assert!(
        gaps(after).iter().all(|(from, to)| to <= from),
        "{:?}",
        gaps(after)
    );
    let ended = machine.console().matches("logger ended").count();
    assert_eq!(ended, 1, "{}", machine.console());
}
