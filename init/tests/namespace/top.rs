//! `sharkctl top` beside a real init: what it finds in the cgroups, and what it does with a terminal. As
//! services, since only who is in the namespaces of init sees its cgroups. Not here: the figures that this
//! machine has no controllers for.

use serde_json::Value;

use crate::machine::{Machine, possible};

const BUSY: &str = "exec = [\"/bin/sh\", \"-c\", \"while :; do :; done\"]\n";
const IDLE: &str = "exec = [\"/bin/sh\", \"-c\", \"sleep 1000 & sleep 1000\"]\n";

fn once(script: &str) -> String {
    let script = script.replace("TOP", &format!("{} top", env!("CARGO_BIN_EXE_sharkctl")));
    format!(
        "type = \"oneshot\"\nwanted-by = []\nexec = [\"/bin/sh\", \"-c\", \"\"\"{script}\"\"\"]\n"
    )
}

/// What a oneshot wrote; `None` where there are no cgroups to look at.
fn said(machine: &Machine, name: &str) -> Option<String> {
    if !machine.has_cgroups() {
        eprintln!("NOT TESTED: no cgroup v2 that this test may use");
        return None;
    }
    let done = machine.on("Start", name);
    let end = machine.wait("all of it is in the log", || {
        let log = machine.log(name);
        (log.contains("END") || done.is_err()).then_some(log)
    });
    done.unwrap_or_else(|error| panic!("{error:?}: {end}"));
    Some(end)
}

#[test]
fn who_works_is_above_who_sleeps() {
    if !possible() {
        return;
    }
    let machine = Machine::boot(&[
        ("busy.toml", BUSY),
        ("idle.toml", IDLE),
        (
            "json.toml",
            &once("TOP --once --interval 500ms --json > @DIR@/out/json; echo END"),
        ),
        (
            "text.toml",
            &once("TOP -n 2 -i 200ms --sort name; echo END"),
        ),
    ]);
    machine.wait("all of it sleeps", || {
        let lines = machine.processes();
        let asleep = lines.iter().filter(|line| *line == "sleep 1000").count();
        (asleep == 2).then_some(())
    });
    if said(&machine, "json").is_none() {
        return;
    }
    // A machine with other work may leave it nothing of the processor for that long.
    machine.wait("who works is above", || {
        let text = std::fs::read_to_string(machine.path("out/json")).unwrap();
        let json: Value = serde_json::from_str(&text).unwrap();
        let of = |name: &str| {
            let all = json["services"].as_array().unwrap();
            let at = all.iter().position(|it| it["service"] == name);
            at.map_or_else(|| panic!("{name}: {json}"), |at| (at, all[at].clone()))
        };
        assert!(json["intervalUs"].as_u64().unwrap() >= 500_000, "{json}");
        let ((busy_at, busy), (idle_at, idle)) = (of("busy"), of("idle"));
        assert!(idle["tasks"].as_u64().unwrap() >= 2, "{json}");
        if busy_at < idle_at && busy["cpu"].as_u64() > Some(500) && idle["cpu"].as_u64() < Some(500)
        {
            return Some(());
        }
        eprintln!("{json}");
        machine.on("Restart", "json").unwrap();
        None
    });

    let text = said(&machine, "text").unwrap();
    assert_eq!(text.matches("SERVICE  ").count(), 2, "{text}");
    assert!(text.find("busy ") < text.find("idle "), "{text}");
}

#[test]
fn keys_sort_and_end_it_and_the_terminal_is_left_as_it_was() {
    if !possible() {
        return;
    }
    // Each key when the screen shows what came of the one before.
    let shown = |words: &str| {
        format!("until grep -q '{words}' @DIR@/out/screen 2>/dev/null; do sleep 0.1; done")
    };
    let keys = format!(
        "({}; printf m; {}; {}; printf rq; {})",
        shown("sorted by CPU; keys"),
        shown("sorted by memory; keys"),
        shown("idle "),
        shown("END OF STTY")
    );
    let live = "TOP --interval 300ms; echo LEFT; stty -a; echo END OF STTY";
    let script = format!(
        "{keys} | script -qefc '{live}' /dev/null > @DIR@/out/screen; cat @DIR@/out/screen; echo END"
    );
    let machine = Machine::boot(&[("idle.toml", IDLE), ("live.toml", &once(&script))]);
    machine.wait_state("idle", "up");
    let Some(log) = said(&machine, "live") else {
        return;
    };
    for part in [
        "\x1b[?1049h",
        "sorted by CPU; keys",
        "sorted by memory; keys",
        "idle ",
        "\x1b[?1049l",
    ] {
        assert!(log.contains(part), "{part:?}: {log}");
    }
    let (_, left) = log.split_once("LEFT").unwrap();
    for mode in [" icanon", " echo ", " isig"] {
        assert!(left.contains(mode), "{mode}: {left}");
    }
}
