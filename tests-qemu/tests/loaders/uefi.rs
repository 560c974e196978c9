//! UEFI firmware (OVMF) and systemd-boot, which counts the boots of entries.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use machine::disk::DiskCopy;
use machine::image::{Image, LoaderImages, SmallImages};
use machine::overlay::Overlay;
use machine::scenario::{ANSWER, accel, ask};
use machine::slots::{Told, commits, start};
use machine::spec::{OVMF_VARIABLES, Start};
use machine::{Disk, Machine, Spec};
use mounts::slot::Slot;
use mounts::slot::record::{Ended, Phase, Reason};

use crate::{install, loader_says, restart, runs};

/// Firmware and loader need more than the kernel that they start.
const MEMORY: u32 = 768;

/// As the Boot Loader Interface names it; the loader removes it when it has followed it.
const ONE_SHOT: &str = "LoaderEntryOneShot-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// A device that firmware starts.
struct Device {
    disk: DiskCopy,
    image: Image,
    bundles: LoaderImages,
    variables: PathBuf,
    _folder: tempfile::TempDir,
}

impl Device {
    fn new() -> anyhow::Result<Self> {
        let bundles = SmallImages::from_environment()?.uefi;
        let image = Image::load(&bundles.image)?;
        let folder = tempfile::tempdir()?;
        let variables = folder.path().join("variables");
        std::fs::copy(OVMF_VARIABLES, &variables).context("no variables: install ovmf")?;
        Ok(Self {
            disk: DiskCopy::of(&image.disk)?,
            image,
            bundles,
            variables,
            _folder: folder,
        })
    }

    fn committed(&self) -> anyhow::Result<Machine> {
        let disk = Disk::Kept(self.disk.path().to_owned());
        let spec = Spec {
            start: Start::FirmwareKept(self.variables.clone()),
            memory: MEMORY,
            no_reboot: false,
            ..Spec::new(&self.image, accel(self.image.arch), disk)
        };
        let machine = start(&spec, Overlay::default())?;
        commits(&machine, 0)?;
        Ok(machine)
    }
}

/// What a file of the new system's root holds, and where the loader has it.
fn is_placed(machine: &mut Machine, device: &Device, slot: Slot) -> anyhow::Result<()> {
    let sums = ask(
        machine,
        "cd /usr/lib/shark/boot && sha256sum kernel initramfs",
    )?;
    machine.power_off(ANSWER)?;
    for (name, line) in ["linux", "initrd"].iter().zip(sums.lines()) {
        let bytes = device.disk.read_esp(&format!("shark/{slot}/{name}"))?;
        let there = sha256(&bytes)?;
        ensure!(
            line.starts_with(&there),
            "{name}: {there} instead of {line}"
        );
    }
    Ok(())
}

/// The entry that the firmware has for the next boot alone; none when it has no such variable.
fn one_shot(machine: &mut Machine) -> anyhow::Result<String> {
    let command = format!(
        "mkdir -p /run/vars && mount -t efivarfs efivarfs /run/vars && \
         {{ tail -c +5 /run/vars/{ONE_SHOT} 2>/dev/null | tr -d '\\000'; umount /run/vars; }}"
    );
    Ok(ask(machine, &command)?.trim().to_owned())
}

fn sha256(bytes: &[u8]) -> anyhow::Result<String> {
    let folder = tempfile::tempdir()?;
    let path: &Path = &folder.path().join("file");
    std::fs::write(path, bytes)?;
    let output = std::process::Command::new("sha256sum").arg(path).output()?;
    let text = String::from_utf8(output.stdout)?;
    Ok(text
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned())
}

#[test]
fn a_kernel_that_dies_is_undone_and_one_that_works_is_tried_blessed_and_taken_back()
-> anyhow::Result<()> {
    let device = Device::new()?;
    let begun = Instant::now();
    let mut machine = device.committed()?;
    eprintln!("committed {} s after power-on", begun.elapsed().as_secs());
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

    install(&mut machine, &device.bundles.update)?;
    loader_says(&mut machine, "b", "b", "armed")?;
    let named = one_shot(&mut machine)?;
    ensure!(
        named.starts_with("shark-") && named.contains("-b"),
        "the next boot alone is of {named:?}"
    );
    restart(&mut machine, "sharkctl reboot")?;
    runs(&mut machine, "b")?;
    let named = one_shot(&mut machine)?;
    ensure!(named.is_empty(), "{named:?} was not followed");
    let release = ask(&mut machine, "grep VERSION_ID /etc/os-release")?;
    ensure!(release.contains('3'), "{release}");

    restart(&mut machine, "sharkctl update rollback --reboot")?;
    runs(&mut machine, "a")?;
    restart(&mut machine, "sharkctl update rollback --reboot")?;
    runs(&mut machine, "b")?;
    is_placed(&mut machine, &device, Slot::B)?;
    let record = device.disk.record()?;
    ensure!(
        record.committed == Some(Slot::B)
            && record.phase == Phase::Settled
            && record.redirects == 0,
        "{record:?}"
    );

    // As if power had been lost between the commit and the blessing.
    let entries = device.disk.entries()?;
    let blessed = entries.iter().find(|name| name.ends_with("-b.conf"));
    let blessed = blessed.with_context(|| format!("{entries:?}"))?;
    let tried = blessed.replace(".conf", "+0-1.conf");
    let path = |name: &str| format!("loader/entries/{name}");
    device.disk.rename_esp(&path(blessed), &path(&tried))?;
    let mut machine = device.committed()?;
    runs(&mut machine, "b")?;
    let told = machine.console.tail(400).contains("it is told, restarting");
    ensure!(told, "{}", machine.console.tail(60));
    machine.power_off(ANSWER)?;
    let record = device.disk.record()?;
    ensure!(
        record.redirects == 0 && record.reason == Reason::Ended,
        "{record:?}"
    );
    ensure!(
        device
            .disk
            .entries()?
            .iter()
            .filter(|it| it.contains("-b"))
            .count()
            == 1,
        "{:?}",
        device.disk.entries()?
    );
    Ok(())
}
