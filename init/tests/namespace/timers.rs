//! Services with a timer: started again and again by a real clock, and made up for after a power-off.

use std::fs;

use serde_json::json;

use crate::machine::{Machine, Surroundings, possible};

/// Seconds since 1970 of a day long past, for which any calendar has had a point since.
const LONG_AGO: &str = "1700000000";

fn lines(machine: &Machine, name: &str) -> usize {
    let text = fs::read_to_string(machine.path("out").join(name)).unwrap_or_default();
    text.lines().count()
}

#[test]
fn a_timer_starts_its_service_every_second() {
    if !possible() {
        return;
    }
    let tick = "type = \"oneshot\"\nexec = [\"/bin/sh\", \"-c\", \"echo x >> @DIR@/out/ticks\"]\n\
                [timer]\non-boot = \"0s\"\nevery = \"1s\"\n";
    let machine = Machine::boot(&[("tick.toml", tick)]);
    machine.call("WaitBoot", json!({})).unwrap();
    machine.wait("it has run three times", || {
        (lines(&machine, "ticks") >= 3).then_some(())
    });
    // It runs again and again: what is told belongs to one moment.
    let timer = machine.wait("it is armed", || {
        let status = machine.status("tick");
        (status["state"] == "armed").then(|| status["timer"].clone())
    });
    assert_eq!(timer["result"], "success");
    assert!(timer["nextUs"].is_u64() && timer["nextUnix"].is_i64() && timer["lastUnix"].is_i64());
    // By hand it runs beside its times, and a stop takes the timer away.
    machine.on("Start", "tick").unwrap();
    machine.on("Stop", "tick").unwrap();
    let stopped = lines(&machine, "ticks");
    let timer = machine.status("tick")["timer"].clone();
    assert_eq!(timer.get("nextUs"), None, "{timer}");
    std::thread::sleep(std::time::Duration::from_millis(2500));
    assert_eq!(lines(&machine, "ticks"), stopped);
    assert_eq!(machine.state("tick"), "down");
}

/// A time that is to come, one of them in an hour, is the same for whoever goes on as init.
#[test]
fn another_init_keeps_the_times_that_are_to_come() {
    if !possible() {
        return;
    }
    let job = |name: &str, timer: &str| {
        format!(
            "type = \"oneshot\"\nexec = [\"/bin/sh\", \"-c\", \"echo x >> @DIR@/out/{name}\"]\n\
             [timer]\n{timer}\n"
        )
    };
    let machine = Machine::boot(&[
        (
            "tick.toml",
            &job("ticks", "on-boot = \"0s\"\nevery = \"1s\""),
        ),
        (
            "hourly.toml",
            &job("hours", "on-boot = \"0s\"\nevery = \"1h\""),
        ),
        ("yearly.toml", &job("years", "on-calendar = [\"yearly\"]")),
    ]);
    machine.call("WaitBoot", json!({})).unwrap();
    machine.wait("both have run", || {
        (lines(&machine, "ticks") >= 1 && lines(&machine, "hours") == 1).then_some(())
    });
    machine.wait_state("hourly", "armed");
    // A point of the calendar lies where the machine's clock says, which is read anew.
    let times = || {
        let next = |name: &str, key: &str| machine.status(name)["timer"][key].as_i64().unwrap();
        (next("hourly", "nextUs"), next("yearly", "nextUnix"))
    };
    let before = times();
    machine.call("Reexec", json!({})).unwrap();
    assert_eq!(times(), before);
    let ticks = lines(&machine, "ticks");
    machine.wait("it goes on", || {
        (lines(&machine, "ticks") >= ticks + 2).then_some(())
    });
    assert_eq!((lines(&machine, "hours"), lines(&machine, "years")), (1, 0));
}

#[test]
fn a_run_missed_while_the_machine_was_off_is_made_up_for() {
    if !possible() {
        return;
    }
    let service = |name: &str, persistent: bool| {
        format!(
            "exec = [\"/bin/sh\", \"-c\", \"echo x >> @DIR@/out/{name}\"]\n\
             [timer]\non-calendar = [\"yearly\"]\npersistent = {persistent}\n"
        )
    };
    let (kept, fresh, plain) = (
        service("kept", true),
        service("fresh", true),
        service("plain", false),
    );
    let services = [
        ("kept.toml", kept.as_str()),
        ("fresh.toml", fresh.as_str()),
        ("plain.toml", plain.as_str()),
    ];
    let machine = Machine::boot_prepared(Surroundings::Whole, &services, |dir| {
        let text = format!("kept {LONG_AGO}\nplain {LONG_AGO}\n\0\0torn");
        fs::write(dir.join("run/timers"), text).unwrap();
    });
    machine.call("WaitBoot", json!({})).unwrap();
    machine.wait("it has run", || {
        (lines(&machine, "kept") == 1).then_some(())
    });
    machine.wait(
        "its start is kept, and the first sight of the other",
        || {
            let text = fs::read_to_string(machine.path("run/timers")).ok()?;
            let is_new = |name: &str| {
                text.lines()
                    .any(|line| line.starts_with(name) && !line.ends_with(LONG_AGO))
            };
            (is_new("kept ") && is_new("fresh ")).then_some(())
        },
    );
    machine.wait_state("kept", "armed");
    assert_eq!((lines(&machine, "fresh"), lines(&machine, "plain")), (0, 0));
    assert!(
        machine.console().contains("1 lines cannot be read"),
        "{}",
        machine.console()
    );
}
