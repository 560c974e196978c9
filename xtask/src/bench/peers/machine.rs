//! One measurement: an initramfs with the contestant in it, an emulated machine that boots it, and
//! what its console said.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use initramfs::archive::{Archive, Entry};

use super::contestant::{Kit, Prepared};
use crate::command;

/// How long the host may take, whatever the guest's clock says: for a guest that hangs.
const LIMIT: Duration = Duration::from_secs(3000);
/// Bytes of the shared page (bench.h), rounded up.
const PAGE: usize = 32 * 1024;

/// The work: so many services, which must run within so many seconds of the guest.
#[derive(Clone, Copy)]
pub(super) struct Work {
    pub(super) n: u32,
    pub(super) limit: u32,
}

/// What the machine is started with, beside its root.
pub(super) struct Boot<'a> {
    pub(super) kernel: &'a Path,
    /// The file that takes what the console says, and keeps it.
    pub(super) console: &'a Path,
    /// More arguments for QEMU.
    pub(super) arguments: &'a [String],
}

/// Runs it and returns what the console said.
pub(super) fn run(boot: &Boot<'_>, prepared: &Prepared, kit: &Kit, work: Work) -> Result<String> {
    let dir = tempfile::tempdir().context("cannot make a temporary directory")?;
    let initrd = dir.path().join("initrd");
    fs::write(&initrd, archive(prepared, kit, work)?)
        .with_context(|| format!("cannot write {}", initrd.display()))?;
    let console = boot.console;
    command::run_within(&mut qemu(boot, &initrd), LIMIT)
        .with_context(|| format!("see {}", console.display()))?;
    let bytes = fs::read(console).with_context(|| format!("cannot read {}", console.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// With icount, one instruction of the guest is one nanosecond of its time, and idle time passes at
/// once: what it measures does not depend on what else the host does.
fn qemu(boot: &Boot<'_>, initrd: &Path) -> Command {
    let mut qemu = command::new("nice");
    qemu.args([
        "-n",
        "10",
        "qemu-system-x86_64",
        "-M",
        "pc",
        "-accel",
        "tcg",
    ])
    .args(["-icount", "shift=0,sleep=off", "-smp", "1", "-m", "512"])
    .args(["-nodefaults", "-display", "none", "-no-reboot"])
    .arg("-serial")
    .arg(format!("file:{}", boot.console.display()))
    .arg("-kernel")
    .arg(boot.kernel)
    .arg("-initrd")
    .arg(initrd)
    .args(["-append", "console=ttyS0 loglevel=3 norandmaps panic=-1"])
    .args(boot.arguments);
    qemu
}

fn archive(prepared: &Prepared, kit: &Kit, work: Work) -> Result<Vec<u8>> {
    let mut archive = Archive::new();
    for (path, entry) in &prepared.entries {
        archive.add(path, entry.clone())?;
    }
    let program = |name: &str| Ok::<_, anyhow::Error>(Entry::file(0o755, kit.programs.read(name)?));
    archive.add("init", program("trampoline")?)?;
    for name in ["probe", "service", "run"] {
        archive.add(&format!("bench/{name}"), program(name)?)?;
    }
    let text = |lines: &str| Entry::file(0o644, lines.as_bytes().to_vec());
    archive.add("bench/page", Entry::file(0o644, vec![0; PAGE]))?;
    archive.add("bench/wanted", text(&work.n.to_string()))?;
    archive.add("bench/limit", text(&work.limit.to_string()))?;
    archive.add("bench/contestant", text(&prepared.words.join("\n")))?;
    for (name, lines) in &prepared.extras {
        archive.add(&format!("bench/{name}"), text(lines))?;
    }
    archive.add("dev/console", Entry::character_device(0o600, 5, 1))?;
    for dir in ["dev", "proc", "sys", "run", "tmp", "var", "etc", "root"] {
        archive.add(dir, Entry::directory(0o755))?;
    }
    Ok(archive.finish())
}
