//! The boot record on the disk: how often a good boot writes it, and what happens when it is lost.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use machine::machine::Boot;
use machine::scenario::{ANSWER, ask, ask_json, booted, field, tell, until};
use machine::slots::{BOOTS, Device, boots_again, running};
use mounts::slot::Slot;
use mounts::slot::record::Reason;

/// Writes of a good boot that ends in order: the attempt, the commit, the end. shark-boot-record(5)
/// says so.
const WRITES: u64 = 3;
/// The same when its power is cut: nobody is left to write the end.
const WRITES_CUT: u64 = 2;

#[test]
fn a_good_boot_writes_its_record_three_times() -> anyhow::Result<()> {
    let device = Device::new()?;
    let written = |since: u64| {
        let record = device.disk.record()?;
        let (count, reason) = (record.sequence - since, record.reason);
        Ok::<_, anyhow::Error>((record.sequence, count, reason))
    };
    let (at, ..) = written(0)?;
    device.committed("")?.power_off(ANSWER)?;
    let (at, count, reason) = written(at)?;
    ensure!(
        (count, reason) == (WRITES, Reason::Ended),
        "{count} writes, the last for {reason}"
    );
    device.committed("")?.cut_power();
    let (at, count, reason) = written(at)?;
    ensure!(
        (count, reason) == (WRITES_CUT, Reason::Commit),
        "{count} writes, the last for {reason}"
    );
    // The end that was not written is charged with the next boot, in the same write.
    device.committed("")?.power_off(ANSWER)?;
    let (_, count, _) = written(at)?;
    ensure!(count == WRITES, "{count} writes after a power cut");
    Ok(())
}

#[test]
fn with_both_regions_lost_the_newest_slot_boots_and_begins_a_record() -> anyhow::Result<()> {
    // As on a disk that was never written, and as after a fault of the disk.
    for byte in [0x00, 0xa5] {
        let device = Device::new()?;
        device.disk.lose_record(byte)?;
        let mut machine = device.committed("")?;
        // Of two signed slots it has the higher security version.
        ensure!(running(&mut machine)? == "b", "slot a runs");
        let text = ask(&mut machine, "sharkctl boot")?;
        ensure!(text.contains("record"), "nothing is said of it:\n{text}");
        machine.cut_power();
        let record = device.disk.record()?;
        ensure!(record.reason == Reason::Rebuilt, "{record:?}");
        ensure!(record.committed == Some(Slot::B), "{record:?}");
        let other = record.slot(Slot::A);
        ensure!(!other.good && other.tries_left == 1, "{record:?}");
        boots_again(&device, "", "b")?;
    }
    Ok(())
}

/// A device whose record is not to be found, and whose slot b is the newer.
fn without_its_partition() -> anyhow::Result<Device> {
    let device = Device::new()?;
    let renamed = Command::new("sfdisk")
        .args(["--quiet", "--part-label"])
        .arg(device.disk.path())
        .args(["2", "somebody-elses"])
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .status()
        .context("cannot run sfdisk")?;
    ensure!(renamed.success(), "sfdisk: {renamed}");
    Ok(device)
}

#[test]
fn without_its_partition_the_newest_slot_boots_and_says_so() -> anyhow::Result<()> {
    let device = without_its_partition()?;
    let mut machine = booted(&device.spec(""))?;
    ensure!(running(&mut machine)? == "b", "slot a runs");
    // What cannot be written is not called done.
    let wait = tell(&mut machine, "sharkctl boot wait --timeout 10s")?;
    ensure!(wait.status != 0, "the boot was committed: {}", wait.text());
    let text = ask(&mut machine, "sharkctl boot")?;
    println!("{text}");
    let boot = ask_json(&mut machine, "sharkctl boot --json")?;
    ensure!(
        field(&boot, "/committed")? == false
            && field(&boot, "/why")?
                .as_str()
                .is_some_and(|why| why.contains("shark-state")),
        "{boot}"
    );
    machine.power_off(ANSWER)?;
    Ok(())
}

/// Nothing counts its boots, so nothing would ever end them: the panic that it leaves to the next boot
/// does. An operator need not wait for the end of the pause.
#[test]
fn without_its_partition_a_slot_that_fails_gives_way_to_the_other() -> anyhow::Result<()> {
    let device = without_its_partition()?;
    let words = "test.b=unhealthy";
    let mut machine = booted(&device.spec(words))?;
    until(&mut machine, "dmesg | grep 'this boot has failed'", |it| {
        it.status == 0
    })?;
    ensure!(running(&mut machine)? == "b", "slot a runs");
    let position = machine.console.position();
    machine.send("sharkctl reboot")?;
    let boot = machine.good_at_last(position, Instant::now() + BOOTS);
    ensure!(
        boot == Boot::Good,
        "{boot:?}; the console's last lines:\n{}",
        machine.console.tail(60)
    );
    ensure!(running(&mut machine)? == "a", "slot b runs again");
    let why = ask(&mut machine, "sharkctl boot")?;
    ensure!(why.contains("crashed"), "{why}");
    machine.power_off(ANSWER)?;
    Ok(())
}
