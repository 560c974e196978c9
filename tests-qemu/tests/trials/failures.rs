//! What service files ask of the machine: to call its boot bad when their service is left failed, and
//! to run in some boots only. And a clock that is set while all of it runs.

use anyhow::{Context as _, ensure};
use machine::Machine;
use machine::overlay::Overlay;
use machine::scenario::{ANSWER, ask, ask_json, field, until};
use machine::slots::{Device, Told, commits, running};
use mounts::slot::Slot;
use mounts::slot::record::{Ended, Stage};
use serde_json::Value;

/// Seconds that the machine's watchdog waits: less than the clock is set by.
const PATIENCE: u64 = 60;

/// Tells one start of the kernel from another.
const KERNEL: &str = "cat /proc/sys/kernel/random/boot_id";

/// A gate that is still open when the service fails.
const LONG_SOAK: &str = "[gate]\nsoak = \"1min\"\ndeadline = \"2min\"\n";

/// Fails for good as soon as somebody wants it to.
const FRAGILE: &str = "exec = [\"/bin/sh\", \"-c\", \"until [ -e /run/break ]; do sleep 0.2; done; exit 4\"]\n\
    restart.policy = \"never\"\non-failure.action = \"boot-bad\"\nconditions.slot = [\"b\"]\n";

/// Services that run in some boots only: in the first one, of slot b, in the second one, of slot a.
const CONDITIONS: [(&str, &str, [&str; 2]); 8] = [
    ("in-a", "slot = [\"a\"]", ["skipped", "up"]),
    ("in-b", "slot = [\"b\"]", ["up", "skipped"]),
    ("not-in-b", "slot = [\"!b\"]", ["skipped", "up"]),
    ("first", "first-boot = true", ["up", "skipped"]),
    ("later", "first-boot = false", ["skipped", "up"]),
    ("in-qemu", "virtualization = [\"qemu\"]", ["up", "up"]),
    (
        "in-a-vm",
        "virtualization = [\"vm\", \"!container\"]",
        ["up", "up"],
    ),
    (
        "on-metal",
        "virtualization = [\"!yes\"]",
        ["skipped", "skipped"],
    ),
];

/// What is asked of time in the second boot.
const TIMED: [(&str, &str); 5] = [
    (
        "noon",
        "type = \"oneshot\"\nexec = [\"/bin/sh\", \"-c\", \"echo x >> /run/noon\"]\n\
         timer.on-calendar = [\"12:00\"]\nconditions.slot = [\"a\"]\n",
    ),
    (
        "three",
        "type = \"oneshot\"\nexec = [\"/bin/sh\", \"-c\", \"echo x >> /run/three\"]\n\
         timer.on-calendar = [\"15:00\"]\nconditions.slot = [\"a\"]\n",
    ),
    (
        "hourly",
        "type = \"oneshot\"\nexec = [\"/bin/sh\", \"-c\", \"echo x >> /run/hourly\"]\n\
         timer.on-boot = \"1s\"\ntimer.every = \"1h\"\nconditions.slot = [\"a\"]\n",
    ),
    (
        "beat",
        "type = \"oneshot\"\nexec = [\"/bin/sh\", \"-c\", \"echo x >> /run/beat\"]\n\
         timer.on-boot = \"1s\"\ntimer.every = \"1s\"\nconditions.slot = [\"a\"]\n",
    ),
    // Silent, with an hour left.
    (
        "silent",
        "exec = \"/usr/bin/sleep 100000\"\nwatchdog.timeout = \"1h\"\n\
         health.exec = \"/usr/bin/true\"\nhealth.interval = \"1h\"\n",
    ),
];

fn overlay() -> Overlay {
    let file = |overlay: Overlay, name: &str, text: &str| {
        overlay.with_file(&format!("shark/services/{name}.toml"), text)
    };
    let soak = Overlay::default().with_file("shark/services/default.toml.d/soak.toml", LONG_SOAK);
    let overlay = file(soak, "fragile", FRAGILE);
    let overlay = CONDITIONS
        .iter()
        .fold(overlay, |overlay, (name, condition, _)| {
            let text = format!("exec = \"/usr/bin/sleep 100000\"\n[conditions]\n{condition}\n");
            file(overlay, name, &text)
        });
    let timed = TIMED.iter();
    timed.fold(overlay, |overlay, (name, text)| file(overlay, name, text))
}

#[test]
fn a_service_that_fails_makes_the_boot_bad_and_a_clock_that_is_set_disturbs_nothing()
-> anyhow::Result<()> {
    let device = Device::with_b_on_trial(1)?;
    let mut spec = device.spec(&format!("shark.watchdog={PATIENCE}"));
    spec.watchdog = true;
    // This agent reports when the services are up, which is before the soak is over.
    let mut machine = Machine::quiet(&spec, overlay())?;
    commits(&machine, 0)?;
    ensure!(running(&mut machine)? == "b", "slot a runs");
    are_as_the_boot(&mut machine, 0)?;
    ensure!(state(&mut machine, "fragile")? == "up", "it has failed");
    // The next boot is of a machine that has its id.
    ask(
        &mut machine,
        "echo 0123456789abcdef0123456789abcdef > /etc/machine-id",
    )?;

    let position = machine.console.position();
    machine.send("touch /run/break")?;
    commits(&machine, position)?;
    ensure!(
        running(&mut machine)? == "a",
        "slot b runs again:\n{}",
        machine.console.tail(40)
    );
    let told = Told {
        slot: Slot::B,
        ended: Ended::GateFailed,
        stage: Some(Stage::Gate),
        cause: "fragile failed: it exited with status 4",
    };
    told.by(&mut machine)?;
    let record = ask(&mut machine, "sharkctl boot record")?;
    ensure!(record.contains(told.cause), "{record}");
    let record = ask_json(&mut machine, "sharkctl boot record --json")?;
    ensure!(record.to_string().contains(told.cause), "{record}");
    are_as_the_boot(&mut machine, 1)?;
    let skipped = ask_json(&mut machine, "sharkctl status fragile --json || true")?;
    ensure!(
        skipped.to_string().contains("skipped") && skipped.to_string().contains("slot"),
        "{skipped}"
    );

    the_clock_is_set(&mut machine)?;
    machine.power_off(ANSWER)?;
    let record = device.disk.record()?;
    told.on(&record)?;
    ensure!(record.slot(Slot::B).tries_left == 0, "{record:?}");
    Ok(())
}

fn services(machine: &mut Machine) -> anyhow::Result<Vec<Value>> {
    let list = ask_json(machine, "sharkctl list --json")?;
    let services = field(&list, "/services")?.as_array().cloned();
    services.context("services is no list")
}

fn text<'v>(service: &'v Value, key: &str) -> &'v str {
    service.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn state(machine: &mut Machine, name: &str) -> anyhow::Result<String> {
    let services = services(machine)?;
    let found = services.iter().find(|it| text(it, "name") == name);
    Ok(text(found.with_context(|| format!("no {name}"))?, "state").to_owned())
}

fn are_as_the_boot(machine: &mut Machine, boot: usize) -> anyhow::Result<()> {
    let services = services(machine)?;
    for (name, condition, states) in CONDITIONS {
        let found = services.iter().find(|it| text(it, "name") == name);
        let found = found.with_context(|| format!("no {name}"))?;
        ensure!(
            states.get(boot) == Some(&text(found, "state")),
            "{condition} in boot {boot}: {found}"
        );
    }
    Ok(())
}

/// Name, number of the main process, restarts.
type Running = (String, Option<u64>, Option<u64>);

/// All that does not start by a timer.
fn runs(machine: &mut Machine) -> anyhow::Result<Vec<Running>> {
    let number = |it: &Value, key: &str| it.get(key).and_then(Value::as_u64);
    let services = services(machine)?;
    let lasting = services.iter().filter(|it| it.get("timer").is_none());
    Ok(lasting
        .map(|it| {
            let name = text(it, "name").to_owned();
            (name, number(it, "pid"), number(it, "restarts"))
        })
        .collect())
}

/// Sets the clock, and waits until init knows of it: what is due then is due at once, and so begins before
/// the second start of what is due every second.
fn set(machine: &mut Machine, time: &str) -> anyhow::Result<()> {
    ask(machine, &format!("date -u -s '2030-03-05 {time}'"))?;
    let beats = counted(machine, "beat")?;
    until(machine, &count("beat"), |it| {
        number(&it.text()) > Some(beats + 2)
    })?;
    Ok(())
}

fn count(name: &str) -> String {
    format!("cat /run/{name} 2>/dev/null | wc -l")
}

fn number(text: &str) -> Option<u32> {
    text.trim().parse().ok()
}

fn counted(machine: &mut Machine, name: &str) -> anyhow::Result<u32> {
    let text = ask(machine, &count(name))?;
    number(&text).context(text)
}

/// When its timer says that it runs next, by the machine's clock.
fn next(machine: &mut Machine, name: &str) -> anyhow::Result<String> {
    let status = ask_json(machine, &format!("sharkctl status {name} --json || true"))?;
    let service = status.get("service").unwrap_or(&status);
    let seconds = field(service, "/timer/nextUnix")?.as_i64();
    let seconds = seconds.with_context(|| format!("{name} has no next time: {status}"))?;
    ask(machine, &format!("date -u -d @{seconds} '+%d %H:%M:%S'"))
}

fn the_clock_is_set(machine: &mut Machine) -> anyhow::Result<()> {
    until(machine, "cat /run/hourly", |it| it.text() == "x")?;
    let kernel = ask(machine, KERNEL)?;
    let before = runs(machine)?;
    let expect = |machine: &mut Machine, time: &str, noon: u32, next_noon: &str| {
        let beats = counted(machine, "beat")?;
        set(machine, time)?;
        // It has begun, and may not have written yet.
        until(machine, &count("noon"), |it| {
            number(&it.text()) >= Some(noon)
        })?;
        let found = ["noon", "three", "hourly"].map(|name| counted(machine, name));
        let [at_noon, at_three, hourly] = found;
        let found = (at_noon?, at_three?, hourly?);
        ensure!(found == (noon, 0, 1), "at {time}: {found:?}");
        let next = next(machine, "noon")?;
        ensure!(next == next_noon, "at {time}, next is {next}");
        let gone = counted(machine, "beat")? - beats;
        // Not one for each second that the clock has leapt over, of which there are hours.
        ensure!((1..600).contains(&gone), "at {time}: {gone} beats");
        Ok(())
    };
    // From whatever it was: wrong, so nothing is made up for.
    expect(machine, "11:30:00", 0, "05 12:00:00")?;
    // Corrected: noon has been leapt over, and comes at once.
    expect(machine, "12:30:00", 1, "06 12:00:00")?;
    // Corrected back: noon is not repeated.
    expect(machine, "11:30:00", 1, "06 12:00:00")?;
    // Wrong by hours: neither noon nor three is made up for.
    expect(machine, "16:30:00", 1, "06 12:00:00")?;
    // Wrong the other way: noon is still to come, whatever was.
    expect(machine, "11:30:00", 1, "05 12:00:00")?;
    // It comes by itself.
    ask(machine, "date -u -s '2030-03-05 11:59:55'")?;
    until(machine, "cat /run/noon | wc -l", |it| {
        it.text().trim() == "2"
    })?;
    let after = runs(machine)?;
    ensure!(before == after, "before {before:?}, after {after:?}");
    let boot = ask_json(machine, "sharkctl boot --json")?;
    let watchdog = field(&boot, "/watchdog")?.as_str().unwrap_or_default();
    ensure!(watchdog.contains("i6300ESB"), "it is {watchdog:?}");
    ensure!(ask(machine, KERNEL)? == kernel, "the machine was reset");
    let said = ask(machine, "dmesg")?;
    ensure!(!said.contains("watchdog: no sign"), "{said}");
    Ok(())
}
