//! Priority, tries and success of the slots in the partition table, written by the running system and
//! read by other people's tools.

use anyhow::ensure;
use machine::image::SmallImages;
use machine::scenario::ANSWER;
use machine::slots::{Device, commits, running};
use mounts::loader::bits::Mark;
use mounts::slot::Slot;

use crate::{install, loader_says, restart};

const WORDS: &str = "shark.loader=gpt";

/// The tools find both copies of the table in order, and these bits in it.
fn bits_are(device: &Device, expect: [Mark; 2]) -> anyhow::Result<()> {
    device.disk.verify_table()?;
    let [a, b] = Slot::ALL.map(|slot| device.disk.attributes(mounts::dps::root_name(slot)));
    let found = [Mark::of(a?), Mark::of(b?)];
    ensure!(found == expect, "{found:?} instead of {expect:?}");
    Ok(())
}

#[test]
fn bits_of_the_slots_follow_install_commit_and_rollback() -> anyhow::Result<()> {
    let bundles = SmallImages::from_environment()?.bundles;
    let device = Device::new()?;
    bits_are(&device, [Mark::default(); 2])?;
    let mut machine = device.committed(WORDS)?;
    loader_says(&mut machine, "a", "a", "blessed")?;
    install(&mut machine, &bundles.join("good.bundle"))?;
    loader_says(&mut machine, "b", "b", "armed")?;
    machine.power_off(ANSWER)?;
    bits_are(&device, [Mark::blessed(false), Mark::armed(true)])?;

    let mut machine = device.power_on(WORDS)?;
    commits(&machine, 0)?;
    ensure!(running(&mut machine)? == "b", "the update was not tried");
    loader_says(&mut machine, "b", "b", "blessed")?;
    restart(&mut machine, "sharkctl update rollback --reboot")?;
    ensure!(running(&mut machine)? == "a", "it was not taken back");
    machine.power_off(ANSWER)?;
    bits_are(&device, [Mark::blessed(true), Mark::blessed(false)])
}
