//! A machine that hangs with interrupts off: only a watchdog in hardware ends that, and the history
//! says that it did.

use std::time::Duration;

use anyhow::ensure;
use machine::debugger::Fault;
use machine::overlay::Overlay;
use machine::scenario::{ANSWER, ask, ask_json, field};
use machine::slots::{Device, Told, commits, running, start};
use mounts::slot::Slot;
use mounts::slot::record::{Ended, Stage};

/// Seconds that the watchdog waits.
const PATIENCE: u64 = 10;

#[test]
fn a_hang_with_interrupts_off_is_ended_by_the_watchdog() -> anyhow::Result<()> {
    let device = Device::new()?;
    let mut spec = device.spec(&format!("shark.watchdog={PATIENCE}"));
    spec.watchdog = true;
    let mut machine = start(&spec, Overlay::default())?;
    commits(&machine, 0)?;
    let boot = ask_json(&mut machine, "sharkctl boot --json")?;
    let watchdog = field(&boot, "/watchdog")?.as_str().unwrap_or_default();
    ensure!(
        watchdog.contains("i6300ESB"),
        "its watchdog is {watchdog:?}"
    );

    // It is fed, or the machine would not live to answer.
    let id = "cat /proc/sys/kernel/random/boot_id";
    let before = ask(&mut machine, id)?;
    std::thread::sleep(Duration::from_secs(PATIENCE + 5));
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
    ensure!(running(&mut machine)? == "a", "slot b runs");
    let told = Told {
        slot: Slot::A,
        ended: Ended::Watchdog,
        stage: Some(Stage::Running),
        cause: "",
    };
    told.by(&mut machine)?;
    machine.power_off(ANSWER)?;
    let record = device.disk.record()?;
    told.on(&record)
}
