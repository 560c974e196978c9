//! Leaving the rescue console: nothing of what people or scripts started there goes along into the
//! system that is booted.
//!
//! Not here: what stage1 itself has mounted, which stays.

use std::time::Duration;

use kernel::mount::{UnmountFlags, unmount};
use kernel::signals::Signal;
use mounts::unmount::{parse_mountinfo, plan};

use crate::stage1::report::Report;
use crate::stage1::watchdog;

/// What stage1 mounted before it came here.
const OURS: [&str; 5] = ["/", "/proc", "/sys", "/dev", "/run"];
/// How often, and in which steps, processes are waited for that were killed.
const STEPS: u32 = 20;
const STEP: Duration = Duration::from_millis(100);

/// Ends all other processes and unmounts all other filesystems.
pub(super) fn up(report: &mut Report) {
    if let Err(error) = kernel::pidfd::signal_all(Signal::KILL) {
        report.step(&format!("rescue: {error}"));
    }
    for _ in 0..STEPS {
        while let Ok(Some(_)) = kernel::reap::next() {}
        match kernel::pidfd::signal_all(Signal::KILL) {
            Ok(true) => {}
            Ok(false) | Err(_) => break,
        }
        watchdog::feed();
        std::thread::sleep(STEP);
    }
    // The shell may have left the console in any state.
    if let Err(error) = kernel::console::reset(std::io::stdin()) {
        report.step(&format!("rescue: {error}"));
    }
    // Where nothing was held this removes nothing.
    let _ = std::fs::remove_file(super::waiting::HOLD);
    let text = kernel::mount::mountinfo().unwrap_or_default();
    let (entries, _) = parse_mountinfo(text.as_bytes());
    for entry in plan(&entries, &OURS).unmount {
        let target = String::from_utf8_lossy(&entry.target).into_owned();
        report.step(&format!("rescue: unmounting {target}"));
        // Each may have much to write.
        watchdog::feed();
        if unmount(&target, UnmountFlags::empty()).is_err()
            && let Err(error) = unmount(&target, UnmountFlags::DETACH)
        {
            report.warn(format!("rescue: {error}"));
        }
    }
}
