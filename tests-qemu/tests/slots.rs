//! A slot that does not verify is not booted: the other is, and says why; with neither, rescue.

use std::time::Instant;

use anyhow::ensure;
use machine::disk::DiskCopy;
use machine::machine::Boot;
use machine::overlay::Overlay;
use machine::scenario::{ANSWER, BOOT, ask_json, booted, field, spec};
use machine::{Image, Machine};

/// In the erofs superblock, which starts at byte 1024.
const SUPERBLOCK: u64 = 1024 + 64;
/// Somewhere in the middle of the root: nothing that a boot needs at once.
const MIDDLE: u64 = 20 << 20;
/// In the signature, behind magic, version and length.
const SIGNATURE: u64 = 20;

fn disk() -> anyhow::Result<DiskCopy> {
    DiskCopy::of(&Image::from_environment()?.disk)
}

/// Boots `disk`, which has to come up from slot b, and returns the reason.
fn reason_for_b(disk: &DiskCopy) -> anyhow::Result<String> {
    let mut machine = booted(&spec(Some(disk.path()))?)?;
    let boot = ask_json(&mut machine, "sharkctl boot --json")?;
    ensure!(field(&boot, "/slot")? == "b", "{boot}");
    let why = field(&boot, "/why")?
        .as_str()
        .unwrap_or_default()
        .to_owned();
    machine.power_off(ANSWER)?;
    Ok(why)
}

#[test]
fn a_flipped_byte_in_root_a_boots_b() -> anyhow::Result<()> {
    let disk = disk()?;
    disk.flip("shark-root-a", SUPERBLOCK)?;
    let why = reason_for_b(&disk)?;
    ensure!(why.contains("slot a"), "the reason is {why:?}");
    Ok(())
}

#[test]
fn a_flipped_byte_in_signature_a_boots_b() -> anyhow::Result<()> {
    let disk = disk()?;
    disk.flip("shark-sig-a", SIGNATURE)?;
    let why = reason_for_b(&disk)?;
    ensure!(
        why.contains("slot a") && why.contains("sign"),
        "the reason is {why:?}"
    );
    Ok(())
}

#[test]
fn with_neither_slot_there_is_a_rescue_console() -> anyhow::Result<()> {
    let disk = disk()?;
    disk.flip("shark-root-a", MIDDLE)?;
    disk.flip("shark-root-b", MIDDLE)?;
    let machine = Machine::quiet(&spec(Some(disk.path()))?, Overlay::default())?;
    let boot = machine.boot(0, Instant::now() + BOOT);
    let Boot::Rescue(_) = boot else {
        anyhow::bail!("{boot:?} instead of rescue:\n{}", machine.console.tail(40));
    };
    let deadline = Instant::now() + ANSWER;
    for slot in ["slot a", "slot b"] {
        ensure!(
            machine.console.wait_for(&[slot], 0, deadline).is_ok(),
            "rescue says nothing of {slot}:\n{}",
            machine.console.tail(40)
        );
    }
    Ok(())
}
