//! A machine that hangs with interrupts off: only a watchdog in hardware ends that, and the history
//! says that it did. One whose init is replaced has no reason to be reset, and is not.

use std::time::Duration;

use anyhow::ensure;
use machine::Machine;
use machine::debugger::Fault;
use machine::scenario::{ANSWER, ask, ask_json, field};
use machine::slots::{Device, Told, commits, long_soak, running};
use mounts::slot::Slot;
use mounts::slot::record::{Ended, Stage};

/// Seconds that the watchdog waits.
const PATIENCE: u64 = 20;

/// Seconds that its gate stays open: longer than it takes to replace init, and than the watchdog waits.
const SOAK: u32 = 40;

#[test]
fn a_replaced_init_keeps_the_watchdog_and_a_hang_with_interrupts_off_is_ended_by_it()
-> anyhow::Result<()> {
    let device = Device::with_b_on_trial(1)?;
    let mut spec = device.spec(&format!("shark.watchdog={PATIENCE}"));
    spec.watchdog = true;
    // This agent reports when the services are up, which is before the soak is over.
    let mut machine = Machine::quiet(&spec, long_soak(SOAK, 3 * SOAK))?;
    commits(&machine, 0)?;
    let boot = ask_json(&mut machine, "sharkctl boot --json")?;
    let watchdog = field(&boot, "/watchdog")?.as_str().unwrap_or_default();
    ensure!(
        watchdog.contains("i6300ESB"),
        "its watchdog is {watchdog:?}"
    );

    let id = "cat /proc/sys/kernel/random/boot_id";
    let before = ask(&mut machine, id)?;
    replaced_with_the_gate_open(&mut machine)?;
    // It is fed, or the machine would not live to answer.
    std::thread::sleep(Duration::from_secs(PATIENCE + 5));
    ensure!(ask(&mut machine, id)? == before, "the machine was reset");
    ask(&mut machine, "sharkctl boot wait")?;
    let boot = ask_json(&mut machine, "sharkctl boot --json")?;
    ensure!(field(&boot, "/committed")? == true, "{boot}");
    ensure!(ask(&mut machine, id)? == before, "the machine was reset");

    machine.plant(Fault::Hang, "version_proc_show", ANSWER)?;
    let position = machine.console.position();
    machine.send("cat /proc/version")?;
    commits(&machine, position)?;
    ensure!(
        ask(&mut machine, id)? != before,
        "the machine was not reset"
    );
    // One crash after a commit does not demote the slot.
    ensure!(running(&mut machine)? == "b", "slot a runs");
    let told = Told {
        slot: Slot::B,
        ended: Ended::Watchdog,
        stage: Some(Stage::Running),
        cause: "",
    };
    told.by(&mut machine)?;
    machine.power_off(ANSWER)?;
    let record = device.disk.record()?;
    told.on(&record)
}

/// Another program goes on as process 1, twice, with the same services, the same watchdog and the same
/// open gate.
fn replaced_with_the_gate_open(machine: &mut Machine) -> anyhow::Result<()> {
    let held = "for fd in /proc/1/fd/*; do readlink $fd; done | grep -c /dev/watchdog";
    ensure!(ask(machine, held)? == "1", "it does not hold the watchdog");
    let vital = ask_json(machine, "sharkctl status vital --json")?;
    for _ in 0..2 {
        ask(machine, "sharkctl reexec")?;
    }
    let boot = ask_json(machine, "sharkctl boot --json")?;
    ensure!(
        field(&boot, "/committed")? == false && field(&boot, "/gate/state")? == "open",
        "the gate is not open: {boot}"
    );
    let named = field(&boot, "/watchdog")?.as_str().unwrap_or_default();
    ensure!(named.contains("i6300ESB"), "its watchdog is {named:?}");
    ensure!(ask(machine, held)? == "1", "it does not hold the watchdog");
    let after = ask_json(machine, "sharkctl status vital --json")?;
    ensure!(
        vital.pointer("/service/pid") == after.pointer("/service/pid"),
        "before {vital}, after {after}"
    );
    // The kernel says so when it is closed and goes on running.
    let said = ask(machine, "dmesg")?;
    ensure!(said.contains("replacing init"), "{said}");
    ensure!(!said.contains("did not stop"), "it was closed:\n{said}");
    Ok(())
}
