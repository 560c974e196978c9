//! `cargo xtask bench updates`: an update installed from a file, beside the programs that would do the
//! same by hand: `zstd -d | dd`, then `veritysetup verify`, of the same image on the same machine in the
//! same boot. Not here: a verdict.
//!
//! Two systems take turns, so that nothing of the one that is installed is there already.

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

/// The versions of the systems that take turns.
const VERSIONS: [&str; 2] = ["bench-1", "bench-2"];
/// How long one of the steps may take.
const PATIENCE: Duration = Duration::from_secs(600);
/// Debian's packages of the programs by hand.
const BY_HAND: [&str; 2] = ["zstd", "cryptsetup-bin"];
/// Size of the data partition, MiB: room for the files of both systems without ballast.
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
    options.data_size = options
        .data_size
        .max(DATA_SIZE + 5 * u64::from(args.ballast));
    options.root_size = Some(options.root_size.unwrap_or(256 + u64::from(args.ballast)));
    let image = image::make(&options)?;
    if args.ballast > 0 {
        write_ballast(&ballast, args.ballast)?;
        options.files.push(ballast);
    }
    let mut machine = boot(&image)?;
    let mut systems = Vec::new();
    for version in VERSIONS {
        version.clone_into(&mut options.version);
        let bundle = bundle::make(&options, BundleForm::default())?;
        systems.push(fetch(&mut machine, &bundle, version)?);
    }
    let mut rounds = Vec::new();
    let mut turns = systems.iter().cycle();
    for (number, system) in (1..=args.times).zip(&mut turns) {
        command::step(&format!("round {number} of {}", args.times));
        rounds.push(round(&mut machine, system)?);
    }
    command::step("one round more, by its steps");
    let steps = turns.next().map(|system| steps(&mut machine, system));
    let peak = ask(
        &mut machine,
        "cat /sys/fs/cgroup/services/update/memory.peak",
    )?;
    let peak: u64 = peak.trim().parse().context("memory.peak is no number")?;
    machine.power_off(PATIENCE)?;
    let [system, ..] = systems.as_slice() else {
        bail!("no system was installed");
    };
    print!(
        "{}",
        table(
            system,
            &rounds,
            &steps.transpose()?.unwrap_or_default(),
            peak
        )
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

/// A system that is installed, as the updater and the programs by hand are told of it.
struct System {
    /// Bytes of its root and of its bundle.
    root: u64,
    packed: u64,
    /// Where the guest has its bundle, and its root as one compressed file.
    bundle: String,
    whole: String,
    device: String,
    hash_device: String,
    hash: String,
}

/// Brings the bundle onto the machine, installs it once, and makes the compressed file of what is then
/// in the slot.
fn fetch(machine: &mut Machine, packed: &Path, version: &str) -> Result<System> {
    let server = Server::start(fs::read(packed)?, Manner::Good)?;
    let address = "ip link set eth0 up; ip addr add 10.0.2.15/24 dev eth0 2>/dev/null; true";
    ask(machine, address)?;
    let (bundle, whole) = (
        format!("/var/{version}.bundle"),
        format!("/var/{version}.zst"),
    );
    slow(machine, &format!("wget -q -O {bundle} {}", server.url()))?;
    slow(machine, &install(&bundle))?;
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
    slow(
        machine,
        &format!(
            "dd if={device} bs=4096 count={blocks} 2>/dev/null | zstd -q -9 -f -o {whole}; sync"
        ),
    )?;
    Ok(System {
        root: blocks * 4096,
        packed: fs::metadata(packed)?.len(),
        bundle,
        whole,
        device,
        hash_device,
        hash,
    })
}

fn partition(machine: &mut Machine, name: &str) -> Result<String> {
    let find = format!("grep -l PARTNAME={name} /sys/class/block/*/uevent | cut -d/ -f5");
    Ok(format!("/dev/{}", ask(machine, &find)?.trim()))
}

fn install(bundle: &str) -> String {
    format!("sharkctl --quiet update install {bundle}")
}

fn round(machine: &mut Machine, system: &System) -> Result<Round> {
    let System {
        whole,
        device,
        hash_device,
        hash,
        ..
    } = system;
    let install = slow(machine, &install(&system.bundle))?;
    let wipe = format!(
        "dd if=/dev/zero of={device} bs=1M count=$(({} >> 20)) 2>/dev/null",
        system.root
    );
    slow(machine, &wipe)?;
    let write = slow(
        machine,
        &format!(
            "zstd -q -dc {whole} | dd of={device} bs=1M iflag=fullblock oflag=direct conv=fsync 2>/dev/null"
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

/// How long each step of an installation takes, in their order.
fn steps(machine: &mut Machine, system: &System) -> Result<Vec<(String, f64)>> {
    let output = machine.shell(
        &format!(
            "sync; echo 3 >/proc/sys/vm/drop_caches; sharkctl --json update install {} | \
             while read -r line; do read -r now idle </proc/uptime; echo \"$now $line\"; done",
            system.bundle
        ),
        PATIENCE,
    )?;
    steps_of(&output.text())
}

/// The same, from lines of a time and what was said then.
fn steps_of(text: &str) -> Result<Vec<(String, f64)>> {
    let mut steps: Vec<(String, f64)> = Vec::new();
    let mut before = None;
    for line in text.lines() {
        let (time, said) = line.split_once(' ').context("a line without a time")?;
        let time: f64 = time.parse().with_context(|| format!("no time: {line}"))?;
        let said: serde_json::Value =
            serde_json::from_str(said).with_context(|| format!("no JSON: {line}"))?;
        if let (Some(before), Some((_, took))) = (before, steps.last_mut()) {
            *took += time - before;
        }
        before = Some(time);
        if let Some(step) = said.pointer("/progress/step").and_then(|it| it.as_str())
            && steps.last().is_none_or(|(last, _)| last != step)
        {
            steps.push((step.to_owned(), 0.0));
        }
    }
    ensure!(
        !steps.is_empty(),
        "the installation has said nothing: {text}"
    );
    Ok(steps)
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

fn table(system: &System, rounds: &[Round], steps: &[(String, f64)], peak: u64) -> String {
    let least = |of: fn(&Round) -> f64| rounds.iter().map(of).fold(f64::INFINITY, f64::min);
    let install = least(|it| it.install);
    let (write, verify) = (least(|it| it.write), least(|it| it.verify));
    let by_hand = write + verify;
    let ratio = install / by_hand.max(f64::EPSILON);
    let [root, bundle] = [system.root, system.packed].map(|bytes| bytes >> 10);
    let steps: Vec<String> = steps
        .iter()
        .map(|(step, took)| format!("{step} {took:.2}"))
        .collect();
    format!(
        "| figure | value |\n|---|---|\n\
         | root | {root} KiB, in a bundle of {bundle} KiB |\n\
         | `sharkctl update install` | {install:.2} s |\n\
         | the same once more, by its steps | {} s |\n\
         | `zstd -dc \\| dd oflag=direct conv=fsync` | {write:.2} s |\n\
         | `veritysetup verify` | {verify:.2} s |\n\
         | install, of these two | {ratio:.2} x |\n\
         | peak memory of the updater's cgroup | {} KiB |\n",
        steps.join(", "),
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
        let system = System {
            root: 1 << 20,
            packed: 4096,
            bundle: String::new(),
            whole: String::new(),
            device: String::new(),
            hash_device: String::new(),
            hash: String::new(),
        };
        let rounds = [round(4.0, 1.0, 3.0), round(5.0, 2.0, 1.0)];
        let steps = [("writing".to_owned(), 1.5), ("checking".to_owned(), 0.25)];
        let text = table(&system, &rounds, &steps, 2049);
        for part in [
            "| 1024 KiB, in a bundle of 4 KiB |",
            "| install, of these two | 2.00 x |",
            "| 3 KiB |",
            "| writing 1.50, checking 0.25 s |",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn a_step_lasts_until_the_next_one_is_told() {
        let text = "1.0 {\"progress\":{\"step\":\"fetching\",\"done\":0,\"total\":0}}\n\
                    1.5 {\"progress\":{\"step\":\"writing\",\"done\":0,\"total\":9}}\n\
                    2.5 {\"progress\":{\"step\":\"writing\",\"done\":9,\"total\":9}}\n\
                    2.75 {\"installed\":{\"slot\":\"b\"}}\n";
        let steps = steps_of(text).unwrap();
        assert_eq!(steps, [("fetching".into(), 0.5), ("writing".into(), 1.25)]);
        assert!(steps_of("").is_err());
    }
}
