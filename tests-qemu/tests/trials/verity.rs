//! A block of the root that fails its hash while the system runs: the kernel panics rather than
//! serve it, and the other slot takes over.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;

use anyhow::{Context as _, ensure};
use machine::scenario::{ANSWER, ask};
use machine::slots::{Device, Told, boots_again, commits, running};
use mounts::slot::Slot;
use mounts::slot::record::{Ended, Stage};

/// Bytes of the root that no program needs.
const BALLAST: &str = "/usr/lib/test/ballast";

#[test]
fn a_block_that_goes_bad_under_load_gives_the_machine_to_the_other_slot() -> anyhow::Result<()> {
    let device = Device::new()?;
    let mut machine = device.committed("")?;
    ensure!(running(&mut machine)? == "a", "slot b runs");
    // Its place on the disk: it does not compress, so it lies there as it is.
    let first = ask(&mut machine, &format!("head -c 32 {BALLAST} | base64"))?;
    let first = base64_bytes(&first)?;
    let extent = device.disk.partition("shark-root-a")?;
    let mut root = vec![0u8; usize::try_from(extent.size)?];
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(device.disk.path())?;
    file.read_exact_at(&mut root, extent.start)?;
    let at = root
        .windows(first.len())
        .position(|window| window == first)
        .context("the ballast is not in the root as it is")?;
    let byte = [!root.get(at).copied().unwrap_or_default()];
    file.write_all_at(&byte, extent.start + u64::try_from(at)?)?;

    let position = machine.console.position();
    machine.send(&format!(
        "echo 3 > /proc/sys/vm/drop_caches; cat {BALLAST} > /dev/null"
    ))?;
    commits(&machine, position)?;
    ensure!(running(&mut machine)? == "b", "slot a runs");
    let told = Told {
        slot: Slot::A,
        ended: Ended::VerityFault,
        stage: Some(Stage::Running),
        cause: "",
    };
    told.by(&mut machine)?;
    machine.power_off(ANSWER)?;
    let record = device.disk.record()?;
    told.on(&record)?;
    ensure!(record.slot(Slot::A).verity_bad, "{record:?}");
    boots_again(&device, "", "b")
}

fn base64_bytes(text: &str) -> anyhow::Result<Vec<u8>> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD
        .decode(text.trim())
        .with_context(|| format!("{text:?} is not base64"))
}
