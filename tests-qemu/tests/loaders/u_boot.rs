//! U-Boot on arm64, whose boot script counts boots in an environment of two copies; and arm64 itself.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use machine::disk::DiskCopy;
use machine::image::{Image, LoaderImages, SmallImages};
use machine::overlay::Overlay;
use machine::scenario::{ANSWER, accel, ask, ask_json, field};
use machine::slots::{Told, commits, running, start};
use machine::spec::Start;
use machine::{Disk, Machine, Spec};
use mounts::loader::environment::{Copy, Pair};
use mounts::loader::uboot::{COPIES, ORDER};
use mounts::slot::Slot;
use mounts::slot::record::{Ended, Phase};
use serde_json::Value;

use crate::{install, loader_says, restart, runs};

/// On the command line where QEMU starts the kernel, as in the image's own.
const WORDS: &str = "quiet panic=1 cryptomgr.notests";

/// A device that U-Boot starts.
struct Device {
    disk: DiskCopy,
    image: Image,
    bundles: LoaderImages,
}

impl Device {
    fn new() -> anyhow::Result<Self> {
        let bundles = SmallImages::from_environment()?.u_boot;
        let image = Image::load(&bundles.image)?;
        Ok(Self {
            disk: DiskCopy::of(&image.disk)?,
            image,
            bundles,
        })
    }

    fn committed(&self, how: Start) -> anyhow::Result<Machine> {
        let disk = Disk::Kept(self.disk.path().to_owned());
        let spec = Spec {
            start: how,
            append: WORDS.into(),
            no_reboot: false,
            ..Spec::new(&self.image, accel(self.image.arch), disk)
        };
        let begun = Instant::now();
        let machine = start(&spec, Overlay::default())?;
        commits(&machine, 0)?;
        eprintln!("committed {} s after power-on", begun.elapsed().as_secs());
        Ok(machine)
    }

    fn environment(&self) -> anyhow::Result<Pair> {
        let copy = |path| {
            self.disk
                .read_esp(path)
                .ok()
                .as_deref()
                .and_then(Copy::parse)
        };
        let pair = Pair::of(COPIES.map(copy));
        ensure!(pair.whole, "no copy of the environment is whole");
        Ok(pair)
    }

    /// As if power had been lost while the newer copy was written.
    fn tear_the_newer_copy(&self) -> anyhow::Result<()> {
        let newer = COPIES.get(1 - self.environment()?.next);
        let path = newer.context("no newer copy")?;
        let mut bytes = self.disk.read_esp(path)?;
        let half = bytes.len() / 2;
        bytes.truncate(half);
        bytes.resize(2 * half, 0xff);
        self.disk.write_esp(path, &bytes)
    }
}

/// Every service is up, on this processor, and the slot is committed.
fn is_settled(machine: &mut Machine) -> anyhow::Result<()> {
    ensure!(ask(machine, "uname -m")?.trim() == "aarch64");
    let list = ask_json(machine, "sharkctl list --json")?;
    let services = field(&list, "/services")?.as_array().cloned();
    for service in services.context("services is no list")? {
        let state = service.pointer("/state").and_then(Value::as_str);
        let fits = matches!(state, Some("up" | "listening" | "done"));
        ensure!(fits, "{service}");
    }
    let boot = ask_json(machine, "sharkctl boot --json")?;
    ensure!(field(&boot, "/slot")? == "a", "{boot}");
    Ok(())
}

#[test]
fn an_arm64_kernel_that_dies_is_undone_and_one_that_works_is_tried_blessed_and_taken_back()
-> anyhow::Result<()> {
    let device = Device::new()?;
    let mut machine = device.committed(Start::Direct)?;
    is_settled(&mut machine)?;
    machine.power_off(ANSWER)?;
    let record = device.disk.record()?;
    ensure!(record.committed == Some(Slot::A), "{record:?}");

    let mut machine = device.committed(Start::UBoot)?;
    is_settled(&mut machine)?;
    runs(&mut machine, "a")?;

    // Nothing of ours runs in slot b: its kernel finds nothing to execute, and panics.
    install(&mut machine, &device.bundles.dies)?;
    loader_says(&mut machine, "b", "b", "armed")?;
    restart(&mut machine, "sharkctl reboot")?;
    runs(&mut machine, "a")?;
    Told {
        slot: Slot::B,
        ended: Ended::NeverArrived,
        stage: None,
        cause: "did not come as far as stage1",
    }
    .by(&mut machine)?;
    loader_says(&mut machine, "a", "b", "absent")?;

    install(&mut machine, &device.bundles.update)?;
    loader_says(&mut machine, "b", "b", "armed")?;
    restart(&mut machine, "sharkctl reboot")?;
    runs(&mut machine, "b")?;
    let release = ask(&mut machine, "grep VERSION_ID /etc/os-release")?;
    ensure!(release.contains('3'), "{release}");

    restart(&mut machine, "sharkctl update rollback --reboot")?;
    runs(&mut machine, "a")?;
    machine.power_off(ANSWER)?;
    let pair = device.environment()?;
    ensure!(pair.environment.get(ORDER) == Some("a b"), "{pair:?}");

    // What counts now is what it was before the rollback: the record puts it right.
    device.tear_the_newer_copy()?;
    let pair = device.environment()?;
    ensure!(pair.environment.get(ORDER) == Some("b a"), "{pair:?}");
    let mut machine = device.committed(Start::UBoot)?;
    ensure!(running(&mut machine)? == "a");
    runs(&mut machine, "a")?;
    let told = machine.console.tail(400).contains("it is told, restarting");
    ensure!(told, "{}", machine.console.tail(60));
    machine.power_off(ANSWER)?;
    let record = device.disk.record()?;
    ensure!(
        record.committed == Some(Slot::A)
            && record.phase == Phase::Settled
            && record.redirects == 0,
        "{record:?}"
    );
    Ok(())
}
