//! Proves a new system before it is armed: its root is opened through dm-verity, with this machine's
//! /etc over it, and its own `sharkctl verify` checks its services as one graph against what is in it.
//! Not here: the checks (`sharkctl verify`).
//!
//! The new system judges its own files, since an older program may not know their keys. It is signed;
//! it runs all the same without rights, in the new root and nowhere else.

use std::ffi::CString;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use kernel::confine::{self, Kept, Who};
use kernel::dm::{Control, Target};
use kernel::mount::{MountFlags, UnmountFlags, mount, unmount};
use mounts::install::Failure;
use mounts::manifest::Manifest;
use mounts::verity::{self, OnCorruption, Scope};
use services::verdict::Verdict;

/// The device-mapper device of the root that is proven.
const DEVICE: &str = "shark-proof";
/// Where it is mounted, in the updater's own mount namespace.
const PLACE: &str = "/run/shark/proof";
/// The checker, in the new root.
const CHECKER: &str = "/usr/bin/sharkctl";
/// How long the checker may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long the device's node may take to appear.
const NODE_PATIENCE: Duration = Duration::from_secs(5);
const TURN: Duration = Duration::from_millis(20);
/// What the checker may say, in bytes.
const ANSWER_MAX: u64 = 1 << 20;
/// Bytes of address space of the checker.
const MEMORY: u64 = 256 << 20;

/// What is to be proven, and where it lies.
pub(super) struct Candidate<'a> {
    pub(super) root: &'a str,
    pub(super) verity: &'a str,
    pub(super) manifest: &'a Manifest,
    /// What lies over its /etc on this machine.
    pub(super) etc: &'a str,
}

/// Proves it.
///
/// # Errors
/// All that is wrong with it, or why this machine cannot open it to find that out.
pub(super) fn prove(candidate: &Candidate<'_>) -> Result<(), Failure> {
    let unopened = |why: String| Failure::Disk(format!("open the new system: {why}"));
    let control = Control::open().map_err(|error| unopened(error.to_string()))?;
    take_down(&control);
    let proven = set_up(&control, candidate)
        .map_err(unopened)
        .and_then(|()| check().map_err(Failure::Unproven));
    take_down(&control);
    proven
}

/// Opens the root, calls `look` with where it is mounted, and closes it again.
///
/// # Errors
/// That of `look`, or why the root could not be opened.
pub(super) fn opened(
    candidate: &Candidate<'_>,
    look: impl FnOnce(&str) -> Result<(), String>,
) -> Result<(), String> {
    let control = Control::open().map_err(|error| error.to_string())?;
    take_down(&control);
    let looked = set_up(&control, candidate).and_then(|()| look(PLACE));
    take_down(&control);
    looked
}

fn set_up(control: &Control, candidate: &Candidate<'_>) -> Result<(), String> {
    let text = |error: kernel::Error| error.to_string();
    let manifest = candidate.manifest;
    let table = verity::target(
        candidate.root,
        candidate.verity,
        manifest,
        OnCorruption::Eio,
        Scope::Corruption,
    );
    let device = control
        .create(DEVICE, &format!("SHARK-{DEVICE}"))
        .map_err(text)?;
    let target = Target {
        start: 0,
        length: table.sectors,
        kind: table.target_type.to_owned(),
        parameters: table.parameters,
    };
    control.load(DEVICE, &[target], true).map_err(text)?;
    control.resume(DEVICE).map_err(text)?;
    let node = device.path();
    let until = Instant::now() + NODE_PATIENCE;
    while !Path::new(&node).exists() {
        if Instant::now() > until {
            return Err(format!("{node} did not appear"));
        }
        std::thread::sleep(TURN);
    }
    kernel::files::make_dirs(PLACE, 0o700).map_err(text)?;
    let closed = MountFlags::RDONLY | MountFlags::NOATIME | MountFlags::NODEV | MountFlags::NOSUID;
    mount(&node, PLACE, manifest.filesystem.as_str(), closed, "").map_err(text)?;
    let etc = format!("{PLACE}/etc");
    if kernel::files::is_dir(candidate.etc) {
        let layers = format!("lowerdir={}:{etc}", candidate.etc);
        mount("overlay", &etc, "overlay", closed, &layers).map_err(text)?;
    }
    Ok(())
}

/// Takes down what `set_up` made, and what an updater that was killed has left.
fn take_down(control: &Control) {
    // What is not there need not be taken down; what stays is met, and told, by the next `set_up`.
    let _ = unmount(&format!("{PLACE}/etc"), UnmountFlags::DETACH);
    let _ = unmount(PLACE, UnmountFlags::DETACH);
    let _ = control.remove(DEVICE, false);
}

fn check() -> Result<(), Vec<String>> {
    let words = |why: String| vec![format!("{CHECKER} of the new system: {why}")];
    let mut child = Command::new("/proc/self/exe")
        .args(["prove", PLACE])
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| words(format!("cannot be started: {error}")))?;
    let answer = answer(&mut child).map_err(words)?;
    match Verdict::read(&answer, PLACE) {
        Verdict::Good => Ok(()),
        Verdict::Bad(problems) => Err(problems),
        Verdict::Unclear(why) => Err(words(why)),
    }
}

/// What the child prints, once it has ended; it is killed when it takes too long.
fn answer(child: &mut Child) -> Result<Vec<u8>, String> {
    let stdout = child.stdout.take().ok_or("has no output")?;
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = stdout.take(ANSWER_MAX).read_to_end(&mut bytes);
        read.map(|_| bytes)
    });
    let until = Instant::now() + PATIENCE;
    while !reader.is_finished() {
        if Instant::now() > until {
            // It may have ended just now.
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("has not ended after {} s", PATIENCE.as_secs()));
        }
        std::thread::sleep(TURN);
    }
    let ended = child.wait();
    ended.map_err(|error| format!("wait: {error}"))?;
    let read = reader.join().map_err(|_| "cannot be read".to_owned())?;
    read.map_err(|error| format!("read: {error}"))
}

/// The child, `shark-update prove ROOT`: becomes the checker of the new system, without rights.
#[must_use]
pub fn run(root: &str) -> ExitCode {
    let why = match become_checker(root) {
        Ok(never) => match never {},
        Err(why) => why,
    };
    println!("{why}");
    ExitCode::FAILURE
}

/// What there is of this machine, as options of the checker.
fn machine() -> Result<[String; 2], String> {
    let text = |error: kernel::Error| error.to_string();
    let meminfo = kernel::files::read_text("/proc/meminfo", 1 << 16).map_err(text)?;
    let memory = total_memory(&meminfo).ok_or("/proc/meminfo: there is no MemTotal")?;
    let online = "/sys/devices/system/cpu/online";
    let processors = kernel::files::read_text(online, 1 << 12).map_err(text)?;
    let processors = processors.trim();
    Ok([
        format!("--memory={memory}"),
        format!("--processors={processors}"),
    ])
}

/// Bytes of memory, of the text of /proc/meminfo.
fn total_memory(meminfo: &str) -> Option<u64> {
    let value = meminfo
        .lines()
        .find_map(|it| it.strip_prefix("MemTotal:"))?;
    let kib: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

fn become_checker(root: &str) -> Result<std::convert::Infallible, String> {
    let text = |error: kernel::Error| error.to_string();
    // In the new root there is no /proc.
    let machine = machine()?;
    confine::enter_root(root).map_err(text)?;
    let kept = Kept {
        readable: &[],
        executable: &["/"],
        network: false,
        memory: MEMORY,
        // Service files may hold secrets, and be for root alone.
        who: Who::Reader,
    };
    for lacking in confine::enter(&kept).map_err(text)? {
        eprintln!("shark-update: the checker is confined less: {lacking}");
    }
    let mut command = vec![CHECKER, "--json", "verify", "--root=/"];
    command.extend(machine.iter().map(String::as_str));
    let command: Result<Vec<CString>, _> = command.into_iter().map(CString::new).collect();
    let command = command.map_err(|error| error.to_string())?;
    match kernel::exec::execute(&command, &[]) {
        Err(error) => Err(error.to_string()),
        // It comes back with an error alone.
        Ok(()) => Err(format!("execve {CHECKER}: nothing happened")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_told_in_options_that_the_checker_reads() {
        let meminfo = "MemTotal:        2015228 kB\nMemFree:  1 kB\n";
        assert_eq!(total_memory(meminfo), Some(2_015_228 * 1024));
        assert_eq!(total_memory("MemFree: 1 kB\n"), None);
        let [memory, processors] = machine().unwrap();
        assert!(memory.starts_with("--memory=") && processors.starts_with("--processors="));
    }
}
