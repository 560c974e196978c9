//! The last stage, `init final KIND`, as PID 1: everything to the disks, every filesystem unmounted,
//! every device-mapper device removed, then reboot(2). Not here: how we came off the root filesystem
//! (`retreat`).
//!
//! Nothing is unmounted lazily: what looks unmounted and is not would lose data at the power switch.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use kernel::mount::{MountFlags, UnmountFlags};
use kernel::reboot::Kind;
use kernel::signals::Signal;
use mounts::unmount::{MountEntry, parse_mountinfo, plan};
use services::status::ShutdownKind;

use super::bequest::{Bequest, now};
use super::say_now;
use crate::pid1::emergency;
use crate::pid1::errands::read_answer;
use crate::pid1::exit_status;
use crate::pid1::say::{Level, Say};

/// How long the disks may take to get everything; a dead one must not keep the machine up.
const SYNC_PATIENCE: Duration = Duration::from_secs(30);
/// How long unmounting may take; a dead server must not keep the machine up.
const DETACH_PATIENCE: Duration = Duration::from_secs(60);
/// How long the end may take to be noted; without the note this boot seems to have lost power.
const NOTE_PATIENCE: Duration = Duration::from_secs(10);
/// Between two tries of reboot(2).
const AGAIN: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(10);
/// Each pass unmounts at least one, or is the last; this bounds a kernel that lies.
const PASSES: usize = 64;
/// What the last stage itself needs.
const KEEP: [&str; 3] = ["/proc", "/sys", "/dev"];
const MOUNTINFO_MAX: usize = 16 << 20;
const PANIC_MAX: usize = 32;
/// Exit status of a PID 1 whose end is to be seen.
const FAILED: i32 = 1;

/// Ends the machine. Returns never: where reboot(2) fails, it is tried again.
pub fn run(kind: ShutdownKind, mut bequest: Bequest) -> ! {
    install_way_out(kind);
    let mut say = Say::open(true, true);
    // They may wait for storage that never answers, so none is done by PID 1 itself.
    in_child(&["sync"], None, SYNC_PATIENCE, &mut say, &mut bequest);
    in_child(&["detach"], None, DETACH_PATIENCE, &mut say, &mut bequest);
    // After everything that could still go wrong, and before the power may go.
    let noted = bequest.end().cloned().is_some_and(|end| {
        let change = end.in_order(kind, now());
        let words = end.words();
        in_child(&words, Some(&change), NOTE_PATIENCE, &mut say, &mut bequest)
    });
    if kind == ShutdownKind::Reboot
        && let Some(failure) = bequest.untold_failure(noted)
    {
        leave_evidence(failure, &mut say);
    }
    // A machine that is switched off or restarts keeps it running: should that hang, it is the way
    // out.
    if kind == ShutdownKind::Halt
        && let Err(error) = bequest.disarm()
    {
        let line = format!("the watchdog will reset this machine: {error}");
        say_now(&mut say, Level::Warning, &line);
    }
    let line = format!("{} now", crate::arguments::shutdown_word(kind));
    say_now(&mut say, Level::Notice, &line);
    loop {
        let failed = kernel::reboot::reboot(kernel_kind(kind));
        say_now(&mut say, Level::Emergency, &failed.to_string());
        std::thread::sleep(AGAIN);
    }
}

/// Ends PID 1, over which the kernel panics and restarts, and of which pstore tells the next boot: it
/// then does not begin with this slot. A restart in order would tell nothing, and without a record
/// this slot would be booted for ever. Where stage1 could not see to it that a panic restarts the
/// machine, it is restarted as ever.
fn leave_evidence(failure: &str, say: &mut Say) {
    let restarts = kernel::files::read("/proc/sys/kernel/panic", PANIC_MAX)
        .is_ok_and(|text| text.trim_ascii() != b"0");
    if restarts {
        let line = format!("no record has it, so a panic is to tell the next boot: {failure}");
        say_now(say, Level::Emergency, &line);
        std::process::exit(FAILED);
    }
}

/// Makes a panic of the last stage end the machine in the way that was wanted: a PID 1 that ends would
/// take the kernel down, and a machine that was to be off would start again.
fn install_way_out(kind: ShutdownKind) {
    std::panic::set_hook(Box::new(move |panic| {
        let words = emergency::words(panic);
        emergency::say(false, "the last stage is broken", &words);
        loop {
            let _failed = kernel::reboot::reboot(kernel_kind(kind));
            std::thread::sleep(AGAIN);
        }
    }));
}

const fn kernel_kind(kind: ShutdownKind) -> Kind {
    match kind {
        ShutdownKind::Poweroff => Kind::PowerOff,
        // It has no last stage, and could not be done.
        ShutdownKind::Reboot | ShutdownKind::SoftReboot => Kind::Restart,
        ShutdownKind::Halt => Kind::Halt,
    }
}

/// The child `init detach`: every filesystem unmounted or at least read-only, every device-mapper
/// device removed.
pub fn detach() -> ExitCode {
    let mut say = Say::open(true, true);
    let left = unmount_all(&mut say);
    for entry in &left {
        make_read_only(entry, &mut say);
    }
    remove_devices(&mut say);
    if !left.is_empty() {
        // What was made read-only is clean; what could not be gets its last chance.
        kernel::reboot::sync();
    }
    ExitCode::SUCCESS
}

/// Runs a part of this program in a child, and goes on without it when it takes too long. Whether it
/// ended well.
fn in_child(
    words: &[&str],
    input: Option<&[u8]>,
    patience: Duration,
    say: &mut Say,
    bequest: &mut Bequest,
) -> bool {
    let part = words.first().copied().unwrap_or_default();
    let (child, answer) = match crate::pid1::start_part(words, input) {
        Ok(started) => started,
        Err(error) => {
            say_now(say, Level::Error, &format!("{part}: {error}"));
            return false;
        }
    };
    let start = Instant::now();
    loop {
        while let Ok(Some(reaped)) = kernel::reap::next() {
            if reaped.pid == child.pid {
                // Only some have something to say, and only failure is worth a line now.
                let well = reaped.end == kernel::reap::End::Exited(0);
                if !well && let Err(why) = read_answer(&answer, exit_status(reaped.end)) {
                    say_now(say, Level::Error, &format!("{part}: {why}"));
                }
                return well;
            }
        }
        if start.elapsed() >= patience {
            let _sent = kernel::pidfd::send_signal(&child.pidfd, Signal::KILL);
            let line = format!(
                "{part} takes more than {} s: going on without it",
                patience.as_secs()
            );
            say_now(say, Level::Error, &line);
            return false;
        }
        bequest.feed();
        std::thread::sleep(PAUSE);
    }
}

/// Unmounts until there is no progress; what is left then.
fn unmount_all(say: &mut Say) -> Vec<MountEntry> {
    let mut left = Vec::new();
    for _ in 0..PASSES {
        let text = kernel::files::read("/proc/self/mountinfo", MOUNTINFO_MAX).unwrap_or_default();
        let (entries, _broken) = parse_mountinfo(&text);
        let mut progress = false;
        left.clear();
        let mut errors = Vec::new();
        for entry in plan(&entries, &KEEP).unmount {
            let path = String::from_utf8_lossy(&entry.target).into_owned();
            if path == "/" {
                // The refuge, or a root we could not leave: nothing to unmount it from.
                if entry.fstype != "tmpfs" && entry.fstype != "rootfs" {
                    left.push(entry);
                }
                continue;
            }
            match kernel::mount::unmount(&path, UnmountFlags::empty()) {
                Ok(()) => progress = true,
                Err(error) => {
                    errors.push(error.to_string());
                    left.push(entry);
                }
            }
        }
        if !progress {
            for error in errors {
                say_now(say, Level::Warning, &error);
            }
            break;
        }
    }
    left
}

/// The last that can be done for a filesystem that is still in use: nothing is written to it any
/// more, and it is clean.
fn make_read_only(entry: &MountEntry, say: &mut Say) {
    let path = String::from_utf8_lossy(&entry.target).into_owned();
    if entry.is_read_only() {
        return;
    }
    let line = match kernel::mount::remount(&path, MountFlags::RDONLY, "") {
        Ok(()) => format!("still mounted, now read-only: {path} ({})", entry.fstype),
        Err(error) => format!("still mounted and writable: {error}"),
    };
    say_now(say, Level::Warning, &line);
}

/// Removes device-mapper devices until there is no progress: one may stand on another.
fn remove_devices(say: &mut Say) {
    // No device-mapper in this kernel, or no node for it: then there are no devices either.
    let Ok(control) = kernel::dm::Control::open() else {
        return;
    };
    for _ in 0..PASSES {
        let devices = control.devices().unwrap_or_default();
        let mut progress = false;
        let mut errors = Vec::new();
        for device in &devices {
            match control.remove(&device.name, false) {
                Ok(()) => progress = true,
                Err(error) => errors.push(error.to_string()),
            }
        }
        if !progress {
            for error in errors {
                say_now(say, Level::Warning, &error);
            }
            return;
        }
    }
}
