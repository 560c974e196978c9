//! stage1: from the kernel's first process to `/sbin/init` on a verified root, one phase after the
//! other.
//!
//! This file is the order of the phases up to the disk, and the way into rescue and out of it; each
//! module below does one of them. Nothing here runs services, and nothing here stays: when init
//! starts, stage1 and the initramfs are gone.

mod data;
mod device_events;
mod disk;
mod dumps;
mod evidence;
mod fsck;
mod handover;
mod hangs;
mod init_file;
mod integrity;
mod keys;
mod loader;
mod medium;
mod modules;
mod mounting;
mod phase;
mod record;
mod report;
mod rescue;
mod root;
mod run_overlay;
mod search;
mod slots;
mod state;
mod switch;
mod sysfs;
mod watchdog;

use std::borrow::Cow;
use std::convert::Infallible;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use mounts::cmdline::Cmdline;
use mounts::plan;
use mounts::slot::region::RecordState;

use device_events::DeviceEvents;
use disk::OurDisk;
use evidence::Found;
use handover::Booted;
use phase::Phase;
use record::Unwritten;
use report::Report;
use search::Search;
use slots::How;

pub(crate) use fsck::{HELPER, enter_root};

/// How long a disk may take to appear: slow controllers and USB included.
const DISK_PATIENCE: Duration = Duration::from_secs(30);
/// The same when the initramfs holds a whole root: then a machine without a disk is an ordinary
/// one.
const DISK_PATIENCE_INITRAMFS: Duration = Duration::from_secs(1);
/// The same for somebody who asked for the rescue console, and only wants to see the record.
const DISK_PATIENCE_LOOK: Duration = Duration::from_secs(5);
/// What an initramfs has that holds a whole root.
const INITRAMFS_INIT: &str = "/usr/sbin/init";

/// Why the boot is at the rescue console.
#[derive(Debug)]
struct Failure {
    why: String,
    details: Vec<String>,
    /// The boot record, as far as it was read.
    record: Option<RecordState>,
    next: Next,
}

/// What can be tried after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// The same again: a disk may have come, or may answer.
    Again,
    /// The last good slot: every other was tried.
    LastGood,
    /// Nothing that helps without starting anew.
    Restart,
}

/// Turns the text of an error into the failure of `phase`.
fn in_phase(phase: Phase, next: Next) -> impl Fn(String) -> Failure {
    move |why| Failure {
        why: format!("{phase}: {why}"),
        details: Vec::new(),
        record: None,
        next,
    }
}

/// What stage1 has from its first phases, for all tries to boot.
struct Machine {
    report: Report,
    cmdline: Cmdline,
    devices: DeviceEvents,
    found: Found,
    /// Refusals that the boot record has not taken, at most one of each slot.
    unwritten: Vec<Unwritten>,
}

/// The life of stage1 as process 1.
pub(crate) fn boot() -> ! {
    rescue::install_panic_hook();
    let mut machine = match begin() {
        Ok(machine) => machine,
        Err(failure) => rescue::without_devices(&failure.why),
    };
    let mut rescue = rescue::Rescue::new(machine.cmdline.rescue);
    let mut how = How::ByRecord;
    if machine.cmdline.rescue {
        let asked = machine.asked_for_rescue();
        how = rescue.stay(&mut machine, &asked);
    }
    loop {
        match machine.boot(how) {
            Ok(never) => match never {},
            Err(failure) => how = rescue.stay(&mut machine, &failure),
        }
    }
}

/// The phases that are done once: up to the evidence of how the last boot ended.
fn begin() -> Result<Machine, Failure> {
    let mut report = Report::default();
    report.ended(Phase::Start);
    let cmdline = mount_and_read(&mut report)?;
    // A driver that hangs while it is loaded is a hang as any other.
    let mut reset = watchdog::look(&cmdline, &mut report);
    let mut devices = DeviceEvents::open(&cmdline, &mut report)
        .map_err(|error| error.to_string())
        .map_err(in_phase(Phase::Modules, Next::Restart))?;
    devices.coldplug(&mut report);
    devices.work_off(&mut report);
    report.ended(Phase::Modules);
    reset |= watchdog::take(&cmdline, &mut devices, &mut report);
    report.ended(Phase::Watchdog);
    let found = evidence::find(reset, &mut devices, &mut report);
    report.ended(Phase::Evidence);
    Ok(Machine {
        report,
        cmdline,
        devices,
        found,
        unwritten: Vec::new(),
    })
}

/// Pseudo filesystems, console, command line, and what the kernel does when it hangs.
fn mount_and_read(report: &mut Report) -> Result<Cmdline, Failure> {
    mounting::perform(&plan::early(), report)
        .map_err(in_phase(Phase::PseudoFilesystems, Next::Restart))?;
    if let Err(error) = take_console() {
        report.lack(format!("console: {error}"));
    }
    report.ended(Phase::PseudoFilesystems);
    let (text, problem) = command_line(fs::read("/proc/cmdline"));
    let cmdline = Cmdline::parse(&text);
    if cmdline.debug {
        report.set_debug();
    }
    hangs::end_in_a_restart(&cmdline, report);
    for error in problem.iter().chain(&cmdline.errors) {
        report.warn(error.clone());
    }
    report.ended(Phase::CommandLine);
    Ok(cmdline)
}

/// The kernel command line as far as it is text, and what is wrong with it: one bad byte must not cost
/// all its words.
fn command_line(read: io::Result<Vec<u8>>) -> (String, Option<String>) {
    match read {
        Ok(bytes) => match String::from_utf8_lossy(&bytes) {
            Cow::Borrowed(text) => (text.to_owned(), None),
            Cow::Owned(text) => (
                text,
                Some(
                    "kernel command line: not UTF-8; what is not is read as U+FFFD, mend it in the boot loader"
                        .to_owned(),
                ),
            ),
        },
        Err(error) => (
            String::new(),
            Some(format!(
                "kernel command line: read /proc/cmdline: {error}; all keys have their defaults"
            )),
        ),
    }
}

/// The kernel gives its first process the console only when the initramfs holds the node; now there
/// is one in any case.
fn take_console() -> Result<(), kernel::Error> {
    kernel::console::open_terminal("/dev/console").and_then(kernel::console::use_as_standard)
}

impl Machine {
    /// One try to boot, from the search for the disk on.
    fn boot(&mut self, how: How) -> Result<Infallible, Failure> {
        let found = self.find_disk();
        let Some(disk) = found.map_err(in_phase(Phase::Disk, Next::Again))? else {
            return self.in_initramfs();
        };
        self.report.ended(Phase::Disk);
        let reset = watchdog::look(&self.cmdline, &mut self.report);
        self.found.watchdog_says(reset, &self.report);
        slots::boot(self, &disk, how)
    }

    /// The disk; none when there is none and the initramfs holds a whole root.
    fn find_disk(&mut self) -> Result<Option<OurDisk>, String> {
        let whole_root = Path::new(INITRAMFS_INIT).exists();
        let patience = if whole_root {
            DISK_PATIENCE_INITRAMFS
        } else {
            DISK_PATIENCE
        };
        let mut search = Search::default();
        if let Some(disk) = self.search(&mut search, patience) {
            return Ok(Some(disk));
        }
        if whole_root && !search.saw_ours() {
            self.report.note(&format!(
                "no disk of ours within {} s, the root is the initramfs",
                patience.as_secs()
            ));
            return Ok(None);
        }
        Err(format!(
            "waited {} s for {}",
            patience.as_secs(),
            search.waited_for()
        ))
    }

    fn search(&mut self, search: &mut Search, patience: Duration) -> Option<OurDisk> {
        self.devices
            .wait_for(patience, &mut self.report, |news, report| {
                search.look(news, report)
            })
    }

    /// The console was asked for; the record is shown when there is one.
    fn asked_for_rescue(&mut self) -> Failure {
        let disk = self.search(&mut Search::default(), DISK_PATIENCE_LOOK);
        Failure {
            why: "asked for by shark.rescue on the kernel command line".to_owned(),
            details: Vec::new(),
            record: disk.map(|disk| slots::look(&disk, self)),
            next: Next::Again,
        }
    }

    /// Everything is in the initramfs: init is executed in place, on a root that is memory already.
    fn in_initramfs(&mut self) -> Result<Infallible, Failure> {
        self.report.ended(Phase::Disk);
        overlay_run(&mut self.report);
        self.report.ended(Phase::Overlays);
        let why = "no disk of ours; the initramfs holds a whole root".to_owned();
        self.hand_over(&Booted::Initramfs { why });
        switch::execute().map_err(in_phase(Phase::SwitchRoot, Next::Restart))
    }

    fn hand_over(&mut self, booted: &Booted<'_>) {
        self.report.ended(Phase::HandOver);
        let watchdog = watchdog::hand_over(&mut self.report);
        let facts = handover::facts(booted, watchdog, &self.report);
        if let Err(error) = handover::write(&facts) {
            self.report.warn(format!("hand-over: {error}"));
        }
    }
}

fn overlay_run(report: &mut Report) {
    let copied = run_overlay::copy(
        Path::new("/run-overlay"),
        Path::new("/run"),
        run_overlay::LIMITS,
    );
    if copied.files > 0 {
        report.note(&format!(
            "{} files of the initramfs are laid over /run",
            copied.files
        ));
    }
    for left_out in copied.left_out {
        report.warn(format!("run-overlay: {left_out}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_with_a_bad_byte_keeps_its_words() {
        let check = |bytes: &[u8], says: Option<&str>| {
            let (text, problem) = command_line(Ok(bytes.to_vec()));
            assert_eq!(Cmdline::parse(&text).watchdog, Some(9), "{text}");
            assert_eq!(problem.is_some(), says.is_some());
            assert!(problem.unwrap_or_default().contains(says.unwrap_or("")));
        };
        check(b"quiet shark.watchdog=9\n", None);
        check(b"name=M\xfcller shark.watchdog=9\n", Some("not UTF-8"));
        let (text, problem) = command_line(Err(io::ErrorKind::NotFound.into()));
        assert!(text.is_empty() && problem.unwrap().contains("/proc/cmdline"));
    }
}
