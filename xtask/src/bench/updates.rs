//! `cargo xtask bench updates`: an update installed from a file, beside the programs that would do the
//! same by hand: `zstd -d | dd`, then `veritysetup verify`, of the same image on the same machine in the
//! same boot. Not here: a verdict.

use std::fs::{self, File};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use machine::overlay::Overlay;
use machine::scenario::ask;
use machine::server::{Manner, Server};
use machine::slots::{commits, start};
use machine::{Accel, Disk, Image, Machine, Spec};

use crate::image::bundle::{self, BundleForm};
use crate::image::{self, ImageOptions};
use crate::{command, paths, setup};

/// Where the guest has what it is to install, and the same as one compressed file.
const BUNDLE: &str = "/var/bench.bundle";
const WHOLE: &str = "/var/bench.zst";
/// How long one of the steps may take.
const PATIENCE: Duration = Duration::from_secs(600);
/// Debian's packages of the programs by hand.
const BY_HAND: [&str; 2] = ["zstd", "cryptsetup-bin"];
/// Size of the data partition, MiB: room for both files.
const DATA_SIZE: u64 = 1024;

/// Arguments of the updates.
#[derive(Args)]
pub(super) struct UpdatesArgs {
    #[command(flatten)]
    image: ImageOptions,

    /// Add so many MiB to the root that do not compress
    #[arg(long, value_name = "MIB", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=512))]
    ballast: u32,

    /// How often; the least time of each is told
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    times: u32,
}

/// What one round took.
#[derive(Clone, Copy, Debug)]
struct Round {
    install: f64,
    write: f64,
    verify: f64,
}

/// Installs, and prints.
pub(super) fn run(args: &UpdatesArgs) -> Result<ExitCode> {
    setup::need(&[setup::Need::Qemu(args.image.arch)])?;
    let ballast = paths::arch_output(args.image.arch).join("bench-ballast");
    let mut options = args.image.clone();
    options.packages.extend(BY_HAND.map(str::to_owned));
    options.data_size = options.data_size.max(DATA_SIZE);
    options.root_size = Some(options.root_size.unwrap_or(256 + u64::from(args.ballast)));
    let image = image::make(&options)?;
    // Another system, so that nothing of it is there already.
    options.version = "bench".to_owned();
    if args.ballast > 0 {
        write_ballast(&ballast, args.ballast)?;
        options.files.push(ballast);
    }
    let bundle = bundle::make(&options, BundleForm::default())?;
    let mut machine = boot(&image)?;
    let root = fetch(&mut machine, &bundle)?;
    let mut rounds = Vec::new();
    for number in 1..=args.times {
        command::step(&format!("round {number} of {}", args.times));
        rounds.push(round(&mut machine, &root)?);
    }
    let peak = ask(
        &mut machine,
        "cat /sys/fs/cgroup/services/update/memory.peak",
    )?;
    let peak: u64 = peak.trim().parse().context("memory.peak is no number")?;
    machine.power_off(PATIENCE)?;
    print!(
        "{}",
        table(&root, fs::metadata(&bundle)?.len(), &rounds, peak)
    );
    Ok(ExitCode::SUCCESS)
}

/// Bytes that do not compress, below `dir`.
fn write_ballast(dir: &Path, mebibytes: u32) -> Result<()> {
    let place = dir.join("usr/share/ballast");
    paths::make_dir(&place)?;
    let file = place.join("random");
    let size = u64::from(mebibytes) << 20;
    if fs::metadata(&file).is_ok_and(|it| it.len() == size) {
        return Ok(());
    }
    let source = File::open("/dev/urandom").context("cannot open /dev/urandom")?;
    let mut target = File::create(&file).context("cannot create the ballast")?;
    std::io::copy(&mut std::io::Read::take(source, size), &mut target)
        .context("cannot write the ballast")?;
    Ok(())
}

fn boot(image: &Image) -> Result<Machine> {
    let (accel, _) = Accel::probe(image.arch);
    let spec = Spec {
        append: "quiet cryptomgr.notests".into(),
        ..Spec::new(image, accel, Disk::Fresh(image.disk.clone()))
    };
    let machine = start(&spec, Overlay::default())?;
    commits(&machine, 0)?;
    Ok(machine)
}

/// The root that is installed, as the programs by hand are told of it.
struct Root {
    bytes: u64,
    device: String,
    hash_device: String,
    hash: String,
}

/// Brings the bundle onto the machine, installs it once, and makes the compressed file of what is then
/// in the slot.
fn fetch(machine: &mut Machine, bundle: &Path) -> Result<Root> {
    let server = Server::start(fs::read(bundle)?, Manner::Good)?;
    let address = "ip link set eth0 up; ip addr add 10.0.2.15/24 dev eth0 2>/dev/null; true";
    ask(machine, address)?;
    slow(machine, &format!("wget -q -O {BUNDLE} {}", server.url()))?;
    install(machine)?;
    let signed = partition(machine, "shark-sig-b")?;
    let hash = ask(
        machine,
        &format!("head -c 16384 {signed} | grep -ao '\"root_hash\":\"[0-9a-f]*' | cut -d'\"' -f4"),
    )?;
    let hash = hash.trim().to_owned();
    ensure!(
        hash.len() == 64,
        "the manifest of slot b has no root hash: {hash}"
    );
    let device = partition(machine, "shark-root-b")?;
    let hash_device = partition(machine, "shark-verity-b")?;
    let blocks = ask(
        machine,
        &format!("veritysetup dump {hash_device} | sed -n 's/^Data blocks:[^0-9]*//p'"),
    )?;
    let blocks: u64 = blocks.trim().parse().context("no number of blocks")?;
    let bytes = blocks * 4096;
    slow(
        machine,
        &format!(
            "dd if={device} bs=4096 count={blocks} 2>/dev/null | zstd -q -9 -f -o {WHOLE}; sync"
        ),
    )?;
    Ok(Root {
        bytes,
        device,
        hash_device,
        hash,
    })
}

fn partition(machine: &mut Machine, name: &str) -> Result<String> {
    let find = format!("grep -l PARTNAME={name} /sys/class/block/*/uevent | cut -d/ -f5");
    Ok(format!("/dev/{}", ask(machine, &find)?.trim()))
}

fn install(machine: &mut Machine) -> Result<f64> {
    slow(
        machine,
        &format!("sharkctl --quiet update install {BUNDLE}"),
    )
}

fn round(machine: &mut Machine, root: &Root) -> Result<Round> {
    let Root {
        device,
        hash_device,
        hash,
        ..
    } = root;
    // What is there already would be kept.
    let wipe = format!(
        "dd if=/dev/zero of={device} bs=1M count=$(({} >> 20)) 2>/dev/null",
        root.bytes
    );
    slow(machine, &wipe)?;
    let install = install(machine)?;
    slow(machine, &wipe)?;
    let write = slow(
        machine,
        &format!(
            "zstd -q -dc {WHOLE} | dd of={device} bs=1M iflag=fullblock oflag=direct conv=fsync 2>/dev/null"
        ),
    )?;
    let verify = slow(
        machine,
        &format!("veritysetup verify {device} {hash_device} {hash}"),
    )?;
    Ok(Round {
        install,
        write,
        verify,
    })
}

/// Runs a command with cold caches, and says how many seconds it took on the machine's own clock.
fn slow(machine: &mut Machine, command: &str) -> Result<f64> {
    let timed = format!(
        "sync; echo 3 >/proc/sys/vm/drop_caches; cut -d' ' -f1 /proc/uptime; {command} || exit 1; \
         cut -d' ' -f1 /proc/uptime"
    );
    let begun = Instant::now();
    let output = machine.shell(&timed, PATIENCE)?;
    let text = output.text();
    ensure!(
        output.status == 0,
        "`{command}`: {text}{}",
        String::from_utf8_lossy(&output.err)
    );
    let times: Vec<f64> = text.lines().filter_map(|line| line.parse().ok()).collect();
    match (times.first(), times.last()) {
        (Some(first), Some(last)) if times.len() > 1 => Ok(last - first),
        _ => bail!(
            "`{command}`: no times in {text:?} after {:?}",
            begun.elapsed()
        ),
    }
}

fn table(root: &Root, bundle: u64, rounds: &[Round], peak: u64) -> String {
    let least = |of: fn(&Round) -> f64| rounds.iter().map(of).fold(f64::INFINITY, f64::min);
    let install = least(|it| it.install);
    let (write, verify) = (least(|it| it.write), least(|it| it.verify));
    let by_hand = write + verify;
    let ratio = install / by_hand.max(f64::EPSILON);
    let [root, bundle] = [root.bytes, bundle].map(|bytes| bytes >> 10);
    format!(
        "| figure | value |\n|---|---|\n\
         | root | {root} KiB, in a bundle of {bundle} KiB |\n\
         | `sharkctl update install` | {install:.2} s |\n\
         | `zstd -dc \\| dd oflag=direct conv=fsync` | {write:.2} s |\n\
         | `veritysetup verify` | {verify:.2} s |\n\
         | install, of these two | {ratio:.2} x |\n\
         | peak memory of the updater's cgroup | {} KiB |\n",
        peak.div_ceil(1024)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_of_all_rounds_is_told() {
        let round = |install, write, verify| Round {
            install,
            write,
            verify,
        };
        let root = Root {
            bytes: 1 << 20,
            device: String::new(),
            hash_device: String::new(),
            hash: String::new(),
        };
        let rounds = [round(4.0, 1.0, 3.0), round(5.0, 2.0, 1.0)];
        let text = table(&root, 4096, &rounds, 2049);
        assert!(
            text.contains("| 1024 KiB, in a bundle of 4 KiB |"),
            "{text}"
        );
        assert!(
            text.contains("| install, of these two | 2.00 x |"),
            "{text}"
        );
        assert!(text.contains("| 3 KiB |"), "{text}");
    }
}
