//! When no slot is left: a console that says why, pauses that grow, and ways out again.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use machine::Machine;
use machine::scenario::{ANSWER, ask_json, field};
use machine::slots::{Device, Told, commits, goes_to_rescue, running};
use mounts::slot::Slot;
use mounts::slot::record::{Ended, Phase, Stage};

/// The first pause is a minute; this is more than it on a busy host.
const PAUSE: Duration = Duration::from_secs(100);

fn console_says(machine: &Machine, what: &str, from: usize, wait: Duration) -> anyhow::Result<()> {
    match machine
        .console
        .wait_for(&[what], from, Instant::now() + wait)
    {
        Ok(_) => Ok(()),
        Err(missed) => bail!(
            "{what:?} is not on the console: {missed:?}:\n{}",
            machine.console.tail(60)
        ),
    }
}

/// Types what a person would: Enter for a shell, and the command.
fn type_in_rescue(machine: &mut Machine, command: &str) -> anyhow::Result<()> {
    let position = machine.console.position();
    machine.type_line("")?;
    // The prompt has no newline behind it, so the echo of what is typed next makes the line whole.
    machine.type_line("echo shell-$((40 + 2))")?;
    console_says(machine, "shell-42", position, ANSWER)?;
    machine.type_line(command)
}

#[test]
fn with_both_slots_given_up_pauses_grow_until_somebody_sets_a_slot() -> anyhow::Result<()> {
    let device = Device::new()?;
    device.disk.change_record(|record| {
        for slot in Slot::ALL {
            record.slot_mut(slot).tries_left = 0;
        }
    })?;
    // Slot a is broken as long as nobody takes the word away; slot b only seems to be.
    let mut machine = device.power_on("test.a=crash-loop")?;
    goes_to_rescue(&machine, 0)?;
    for line in ["slot a: ", "slot b: ", "not booted: no tries left"] {
        console_says(&machine, line, 0, ANSWER)?;
    }
    console_says(
        &machine,
        "in 1min the last good slot is tried once more",
        0,
        ANSWER,
    )?;
    // It is, and fails; the next pause is longer, and the history of it is on the screen.
    let position = machine.console.position();
    console_says(&machine, "rescue: trying to boot", position, PAUSE)?;
    let position = machine.console.position();
    goes_to_rescue(&machine, position)?;
    console_says(&machine, "gate-failed", position, ANSWER)?;
    console_says(
        &machine,
        "in 2min the last good slot is tried once more",
        position,
        ANSWER,
    )?;
    let record = device.disk.record()?;
    ensure!(record.rescues == 1, "{record:?}");
    let told = Told {
        slot: Slot::A,
        ended: Ended::GateFailed,
        stage: Some(Stage::Gate),
        cause: "vital",
    };
    told.on(&record)?;

    type_in_rescue(&mut machine, "sharkctl boot set-slot b && exit")?;
    commits(&machine, machine.console.position())?;
    ensure!(running(&mut machine)? == "b", "slot a runs");
    told.by(&mut machine)?;
    machine.power_off(ANSWER)?;
    let record = device.disk.record()?;
    ensure!(
        record.committed == Some(Slot::B) && record.phase != Phase::Trial && record.rescues == 0,
        "{record:?}"
    );
    Ok(())
}

#[test]
fn a_disk_that_is_repaired_boots_again() -> anyhow::Result<()> {
    /// In the signature, behind magic, version and length.
    const SIGNATURE: u64 = 20;
    let device = Device::new()?;
    let flip = || {
        ["shark-sig-a", "shark-sig-b"]
            .iter()
            .try_for_each(|partition| device.disk.flip(partition, SIGNATURE))
    };
    flip()?;
    let mut machine = device.power_on("")?;
    let line = goes_to_rescue(&machine, 0)?;
    ensure!(line.contains("sign"), "{line}");
    machine.cut_power();
    let record = device.disk.record()?;
    for slot in Slot::ALL {
        Told {
            slot,
            ended: Ended::ManifestRefused,
            stage: Some(Stage::Stage1),
            cause: "sign",
        }
        .on(&record)?;
    }
    flip()?;
    let mut machine = device.committed("")?;
    ensure!(running(&mut machine)? == "a", "slot b runs");
    let boot = ask_json(&mut machine, "sharkctl boot --json")?;
    ensure!(field(&boot, "/committed")? == true, "{boot}");
    machine.power_off(ANSWER)?;
    Ok(())
}

#[test]
fn asked_for_on_the_command_line_it_shows_the_record_and_goes_on() -> anyhow::Result<()> {
    let device = Device::new()?;
    let mut machine = device.power_on("shark.rescue")?;
    goes_to_rescue(&machine, 0)?;
    let position = machine.console.position();
    type_in_rescue(&mut machine, "sharkctl boot record --json")?;
    console_says(&machine, "\"committed\"", position, ANSWER)?;
    machine.type_line("exit")?;
    commits(&machine, machine.console.position()).context("after rescue was left")?;
    ensure!(running(&mut machine)? == "a", "slot b runs");
    Ok(())
}
