//! `cargo xtask qemu`: build, image, boot, and a console or one command. Not here: the machine
//! itself (`tests-qemu`) and the image (`image`).

use std::fs;
use std::io::{Write, stderr, stdout};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use machine::disk::DiskCopy;
use machine::image::Firmware;
use machine::machine::Boot;
use machine::overlay::Overlay;
use machine::{Accel, Disk, Image, Machine, Spec};

use crate::arch::Arch;
use crate::image::{self, ImageOptions};
use crate::{command, setup};

/// The guest did not answer in time.
const EXIT_TIMEOUT: u8 = 124;
/// This program failed.
pub(crate) const EXIT_ERROR: u8 = 125;
/// The boot failed: a service did, the kernel panicked, or the machine ended.
const EXIT_BOOT: u8 = 126;
/// No slot could be booted, and stage1 went to rescue.
const EXIT_RESCUE: u8 = 127;

/// How long an orderly power-off may take after a command.
const POWER_OFF: Duration = Duration::from_secs(60);

const EXIT_HELP: &str = "\
Exit status with --run: that of CMD (128 and the number after a signal), or
  124  the boot or CMD did not end before --timeout
  125  this program failed (its message says how)
  126  the boot failed: a service of it, or the kernel
  127  no slot could be booted: stage1 went to rescue
The console's last lines are printed with every status from 124 on.

Examples:
  cargo xtask qemu
  cargo xtask qemu --run 'sharkctl status --json'
  cargo xtask qemu --services my-services --files my-root --package nginx-light
  cargo xtask qemu --disk device.img          (a device that remembers)
  cargo xtask qemu --kernel generic --watchdog";

/// Boot the image in QEMU and give a console; Ctrl-a x leaves it.
#[derive(Args)]
#[command(after_help = EXIT_HELP)]
pub(crate) struct QemuArgs {
    #[command(flatten)]
    image: ImageOptions,

    /// Run CMD by the guest's /bin/sh once the boot is good, print its output, exit with its status
    #[arg(long, value_name = "CMD")]
    run: Option<String>,

    /// Add to the kernel's command line
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        allow_hyphen_values = true
    )]
    append: String,

    /// Use this disk and keep what the guest writes; made from the image where there is none
    #[arg(long, value_name = "PATH")]
    disk: Option<PathBuf>,

    /// Memory of the machine, MiB
    #[arg(long, value_name = "MIB", default_value_t = 512, value_parser = clap::value_parser!(u32).range(128..))]
    memory: u32,

    /// Processors of the machine
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    smp: u32,

    /// Add a watchdog (i6300esb) that resets the machine; needs a kernel with its driver, as
    /// `--kernel generic` has
    #[arg(long)]
    watchdog: bool,

    /// With --run: how long the boot and CMD may take together, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,

    /// Forward TCP port HOST of 127.0.0.1 to port GUEST; may be repeated
    #[arg(long, value_name = "HOST:GUEST", value_parser = forward)]
    forward: Vec<(u16, u16)>,

    /// With --run: show the console on standard error
    #[arg(long, short)]
    verbose: bool,
}

fn forward(text: &str) -> Result<(u16, u16), String> {
    let ports = text
        .split_once(':')
        .and_then(|(host, guest)| Some((host.parse().ok()?, guest.parse().ok()?)));
    ports.ok_or_else(|| "expected two port numbers, as in 2222:22".to_owned())
}

/// Builds the image and boots it.
pub(crate) fn run(args: &QemuArgs) -> Result<ExitCode> {
    setup::need(&[setup::Need::Qemu(args.image.arch)])?;
    match (args.image.loader.firmware(), args.image.arch) {
        (None, _) => {}
        (Some(Firmware::Efi), Arch::Aarch64) => {
            bail!(
                "--loader uefi: EFI firmware is there for machines of x86_64 alone; for aarch64, give --loader u-boot"
            )
        }
        (Some(firmware), _) => {
            if !args.append.is_empty() {
                bail!(
                    "--append: with this loader the command line is that of its entries; give --cmdline"
                );
            }
            setup::need(&[setup::Need::Firmware(firmware)])?;
        }
    }
    let image = image::make(&args.image)?;
    let given = given(args, &image)?;
    let spec = spec(args, &image, given.as_ref())?;
    match &args.run {
        Some(guest_command) => run_command(&spec, guest_command, args),
        None => console(&spec),
    }
}

/// What a machine is given beside its image comes with the initramfs. Firmware takes that from the disk,
/// so that a disk of its own has it; one that is there already has what it was made with.
fn given(args: &QemuArgs, image: &Image) -> Result<Option<DiskCopy>> {
    let is_there = args.disk.as_ref().is_some_and(|path| path.exists());
    if image.firmware.is_none() || is_there {
        return Ok(None);
    }
    let copy = DiskCopy::of(&image.disk)?;
    copy.lay_over_esp(&Overlay::default().with_shell().with_agent())?;
    Ok(Some(copy))
}

fn spec(args: &QemuArgs, image: &Image, given: Option<&DiskCopy>) -> Result<Spec> {
    let source = given.map_or(image.disk.as_path(), DiskCopy::path);
    let disk = match &args.disk {
        None => Disk::Fresh(source.to_owned()),
        Some(path) => Disk::Kept(kept_disk(path, source)?),
    };
    let (accel, why) = Accel::probe(image.arch);
    command::step(&format!(
        "booting under {} ({why})",
        match accel {
            Accel::Kvm => "KVM",
            Accel::Tcg => "QEMU's translator, some ten times slower than KVM",
            Accel::Counted => "the translator, by a clock that counts instructions",
        }
    ));
    Ok(Spec {
        append: args.append.clone(),
        memory: args.memory,
        smp: args.smp,
        no_reboot: args.run.is_some(),
        watchdog: args.watchdog,
        forwards: args.forward.clone(),
        ..Spec::new(image, accel, disk)
    })
}

/// The disk at `path`; a copy of `source` where there is none. The copy is renamed into place
/// whole, so that an interrupted one is never booted.
fn kept_disk(path: &Path, source: &Path) -> Result<PathBuf> {
    if path.exists() {
        return Ok(path.to_owned());
    }
    command::step(&format!("making {} from the image", path.display()));
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    command::run(
        command::new("cp")
            .args(["--sparse=always", "--reflink=auto"])
            .arg(source)
            .arg(&partial),
    )?;
    fs::rename(&partial, path).with_context(|| format!("cannot make {}", path.display()))?;
    Ok(path.to_owned())
}

/// Boots with the serial console on this terminal.
fn console(spec: &Spec) -> Result<ExitCode> {
    let folder = tempfile::tempdir().context("no temporary folder for the machine")?;
    let initrd = folder.path().join("initrd");
    Overlay::default()
        .with_shell()
        .append_to(&spec.initrd, &initrd)?;
    let mut qemu = spec.command(&initrd, None);
    qemu.args([
        "-chardev",
        "stdio,id=console,mux=on,signal=off",
        "-serial",
        "chardev:console",
        "-mon",
        "chardev=console",
    ]);
    command::step("console of the machine; Ctrl-a x leaves it, Ctrl-a h shows more keys");
    let status = qemu
        .stdin(Stdio::inherit())
        .status()
        .with_context(|| format!("cannot start {}", spec.arch.qemu()))?;
    if status.success() {
        return Ok(ExitCode::SUCCESS);
    }
    bail!("{} failed: {status}", command::line(&qemu))
}

/// Boots, runs one command, powers off.
fn run_command(spec: &Spec, guest_command: &str, args: &QemuArgs) -> Result<ExitCode> {
    let deadline = Instant::now() + Duration::from_secs(args.timeout);
    let copy: Box<dyn Write + Send> = if args.verbose {
        Box::new(stderr())
    } else {
        Box::new(std::io::sink())
    };
    let mut machine = Machine::start(spec, Overlay::default(), copy)?;
    let failure = match machine.boot(0, deadline) {
        Boot::Good => None,
        Boot::Bad(why) => Some((EXIT_BOOT, format!("the boot is not good: {why}"))),
        Boot::Panic(line) => Some((EXIT_BOOT, line)),
        Boot::Ended => Some((
            EXIT_BOOT,
            "the machine ended before the boot was good".into(),
        )),
        Boot::Rescue(line) => Some((EXIT_RESCUE, line)),
        Boot::Deadline => Some((
            EXIT_TIMEOUT,
            format!("the boot was not good within {} s", args.timeout),
        )),
    };
    if let Some((status, why)) = failure {
        // The lines that explain a failure come right behind the one that tells of it.
        std::thread::sleep(Duration::from_millis(500));
        eprintln!("{}", machine.console.tail(25));
        eprintln!("error: {why}");
        return Ok(ExitCode::from(status));
    }
    command::step("the boot is good");
    match machine.run(guest_command, &mut stdout(), &mut stderr(), deadline) {
        Ok(status) => {
            if let Err(error) = machine.power_off(POWER_OFF) {
                eprintln!("warning: {error:#}");
            }
            Ok(ExitCode::from(status))
        }
        Err(error) => {
            eprintln!("{}", machine.console.tail(25));
            eprintln!("error: {error:#}");
            let late = Instant::now() >= deadline;
            Ok(ExitCode::from(if late { EXIT_TIMEOUT } else { EXIT_BOOT }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwards() {
        assert_eq!(forward("2222:22"), Ok((2222, 22)));
        assert!(forward("2222").is_err());
        assert!(forward("2222:70000").is_err());
    }
}
