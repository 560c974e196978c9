//! Kernels that panic or oops, during the gate and after it: the cause is found after the restart,
//! and charged to the slot that ran.

use anyhow::ensure;
use machine::Machine;
use machine::debugger::Fault;
use machine::scenario::ANSWER;
use machine::slots::{Device, Told, commits, long_soak, rolls_back_with, running};
use mounts::slot::Slot;
use mounts::slot::record::{Ended, Phase, Stage};

/// The kernel function behind /proc/version: called when somebody reads that, and by nobody else.
const FUNCTION: &str = "version_proc_show";
const CALL_IT: &str = "cat /proc/version";

#[test]
fn a_panic_during_the_gate() -> anyhow::Result<()> {
    let told = Told {
        slot: Slot::B,
        ended: Ended::Panic,
        stage: Some(Stage::Gate),
        cause: "sysrq triggered crash",
    };
    let device = Device::with_b_on_trial(1)?;
    rolls_back_with(&device, "test.b=panic", long_soak(10, 60), told)
}

#[test]
fn an_oops_during_the_gate() -> anyhow::Result<()> {
    let device = Device::with_b_on_trial(1)?;
    // This agent reports when the services are up, which is before the soak is over.
    let mut machine = Machine::quiet(&device.spec(""), long_soak(60, 120))?;
    for slot in ["b", "a"] {
        commits(&machine, 0)?;
        ensure!(running(&mut machine)? == slot, "not slot {slot}");
        if slot == "b" {
            machine.plant(Fault::Oops, FUNCTION, ANSWER)?;
            machine.send(CALL_IT)?;
        }
    }
    let told = Told {
        slot: Slot::B,
        ended: Ended::Panic,
        stage: Some(Stage::Gate),
        cause: "invalid opcode",
    };
    told.by(&mut machine)?;
    machine.cut_power();
    let record = device.disk.record()?;
    told.on(&record)?;
    ensure!(record.slot(Slot::B).tries_left == 0, "{record:?}");
    Ok(())
}

#[test]
fn one_crash_after_the_commit_boots_the_same_slot_and_three_roll_back() -> anyhow::Result<()> {
    let device = Device::with_b_on_trial(1)?;
    let mut machine = device.committed("")?;
    for (crash, slot) in [(0, "b"), (1, "b"), (2, "b"), (3, "a")] {
        if crash > 0 {
            commits(&machine, machine.console.position())?;
        }
        let runs = running(&mut machine)?;
        ensure!(runs == slot, "after {crash} crashes slot {runs} runs");
        let record = device.disk.record()?;
        ensure!(
            record.slot(Slot::B).crashes == crash,
            "after {crash} crashes the record says {record:?}"
        );
        match crash {
            0 => {
                machine.plant(Fault::Oops, FUNCTION, ANSWER)?;
                machine.send(CALL_IT)?;
            }
            1 | 2 => machine.send("echo c > /proc/sysrq-trigger")?,
            _ => {}
        }
    }
    for cause in ["invalid opcode", "sysrq triggered crash"] {
        let told = Told {
            slot: Slot::B,
            ended: Ended::Panic,
            stage: Some(Stage::Running),
            cause,
        };
        told.by(&mut machine)?;
    }
    machine.power_off(ANSWER)?;
    let record = device.disk.record()?;
    ensure!(
        record.committed == Some(Slot::A) && record.phase == Phase::RolledBack,
        "{record:?}"
    );
    Ok(())
}

#[test]
fn a_committed_slot_whose_services_break_later_rolls_back() -> anyhow::Result<()> {
    let device = Device::new()?;
    // Both have proved good; a is the one that runs.
    device
        .disk
        .change_record(|record| record.slot_mut(Slot::B).good = true)?;
    let mut machine = device.committed("test.a=crash-loop")?;
    ensure!(running(&mut machine)? == "b", "slot a runs");
    let told = Told {
        slot: Slot::A,
        ended: Ended::GateFailed,
        stage: Some(Stage::Gate),
        cause: "vital",
    };
    told.by(&mut machine)?;
    machine.power_off(ANSWER)?;
    let record = device.disk.record()?;
    told.on(&record)?;
    let failed: u16 = record
        .history
        .iter()
        .filter(|boot| told.is(boot))
        .map(|boot| boot.times)
        .sum();
    ensure!(
        failed == 3,
        "it was given up after {failed} boots: {record:?}"
    );
    ensure!(record.committed == Some(Slot::B), "{record:?}");
    Ok(())
}
