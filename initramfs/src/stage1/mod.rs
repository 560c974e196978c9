//! stage1: from the kernel's first process to `/sbin/init` on a verified root, one phase after the
//! other.
//!
//! This file is the order of the phases and the decisions between them; each module below does one
//! of them. Nothing here runs services, and nothing here stays: when init starts, stage1 and the
//! initramfs are gone.

mod data;
mod device_events;
mod disk;
mod ext4;
mod fsck;
mod handover;
mod integrity;
mod modules;
mod mounting;
mod phase;
mod record;
mod report;
mod rescue;
mod root;
mod run_overlay;
mod switch;
mod sysfs;

use std::convert::Infallible;
use std::fs;
use std::path::Path;
use std::time::Duration;

use mounts::cmdline::Cmdline;
use mounts::dps;
use mounts::plan;
use mounts::slot::Slot;
use mounts::slot::decide;
use mounts::slot::region::RecordState;

use device_events::DeviceEvents;
use disk::{OurDisk, Search};
use handover::Booted;
use phase::Phase;
use report::Report;
use root::Root;

pub(crate) use fsck::{HELPER, enter_root};

/// How long a disk may take to appear: slow controllers and USB included.
const DISK_PATIENCE: Duration = Duration::from_secs(30);
/// The same when the initramfs holds a whole root: then a machine without a disk is an ordinary
/// one.
const DISK_PATIENCE_INITRAMFS: Duration = Duration::from_secs(1);
/// What an initramfs has that holds a whole root.
const INITRAMFS_INIT: &str = "/usr/sbin/init";

/// Why the boot ends at the rescue console.
#[derive(Debug)]
struct Failure {
    why: String,
    details: Vec<String>,
}

/// Turns the text of an error into the failure of `phase`.
fn in_phase(phase: Phase) -> impl Fn(String) -> Failure {
    move |why| Failure {
        why: format!("{phase}: {why}"),
        details: Vec::new(),
    }
}

/// The life of stage1 as process 1.
pub(crate) fn boot() -> ! {
    rescue::install_panic_hook();
    let mut report = Report::default();
    match run(&mut report) {
        Ok(never) => match never {},
        Err(failure) => rescue::enter(&failure.why, &failure.details),
    }
}

fn run(report: &mut Report) -> Result<Infallible, Failure> {
    let cmdline = begin(report)?;
    let devices = DeviceEvents::open(&cmdline, report).map_err(|error| error.to_string());
    let mut devices = devices.map_err(in_phase(Phase::Modules))?;
    devices.coldplug(report);
    devices.work_off(report);
    report.ended(Phase::Modules);
    if cmdline.rescue {
        let why = "asked for by shark.rescue on the kernel command line".to_owned();
        return Err(Failure {
            why,
            details: Vec::new(),
        });
    }
    let Some(disk) = find_disk(&mut devices, report).map_err(in_phase(Phase::Disk))? else {
        return in_initramfs(report);
    };
    report.ended(Phase::Disk);
    let record = read_record(&disk, report);
    report.ended(Phase::BootRecord);
    let (slot, why, root) = open_root(&cmdline, &disk, &record, &mut devices, report)?;
    report.ended(Phase::Root);
    data::mount_over_root(&disk, &mut devices, report).map_err(in_phase(Phase::Data))?;
    report.ended(Phase::Data);
    overlay_run(report);
    // Devices that came while the root was checked still get their modules: the new root has no
    // coldplug of stage1's.
    devices.work_off(report);
    report.ended(Phase::Overlays);
    report.note(&format!("booting slot {slot}: {why}"));
    hand_over(
        Booted::Slot {
            slot,
            why,
            root: &root,
            disk: &disk.device,
        },
        report,
    );
    switch::switch_root(report).map_err(in_phase(Phase::SwitchRoot))
}

/// Pseudo filesystems, console, command line.
fn begin(report: &mut Report) -> Result<Cmdline, Failure> {
    report.ended(Phase::Start);
    mounting::perform(&plan::early(), report).map_err(in_phase(Phase::PseudoFilesystems))?;
    if let Err(error) = take_console() {
        report.lack(format!("console: {error}"));
    }
    reboot_on_kernel_panic(report);
    report.ended(Phase::PseudoFilesystems);
    let text = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let cmdline = Cmdline::parse(&text);
    if cmdline.debug {
        report.set_debug();
    }
    for error in &cmdline.errors {
        report.warn(error.clone());
    }
    if cmdline.watchdog.is_some() {
        report.warn("kernel command line: shark.watchdog has no effect yet".to_owned());
    }
    report.ended(Phase::CommandLine);
    Ok(cmdline)
}

/// The kernel gives its first process the console only when the initramfs holds the node; now there
/// is one in any case.
fn take_console() -> Result<(), kernel::Error> {
    kernel::console::open_terminal("/dev/console").and_then(kernel::console::use_as_standard)
}

/// A kernel that panics without `panic=` stands still for ever, and nobody is there to press a
/// button.
fn reboot_on_kernel_panic(report: &mut Report) {
    const FILE: &str = "/proc/sys/kernel/panic";
    if fs::read_to_string(FILE).is_ok_and(|text| text.trim() == "0")
        && let Err(error) = fs::write(FILE, "10\n")
    {
        report.warn(format!("write {FILE}: {error}"));
    }
}

/// The disk; none when there is none and the initramfs holds a whole root.
fn find_disk(devices: &mut DeviceEvents, report: &mut Report) -> Result<Option<OurDisk>, String> {
    let whole_root = Path::new(INITRAMFS_INIT).exists();
    let patience = if whole_root {
        DISK_PATIENCE_INITRAMFS
    } else {
        DISK_PATIENCE
    };
    let mut search = Search::default();
    if let Some(disk) = devices.wait_for(patience, report, |report| search.look(report)) {
        return Ok(Some(disk));
    }
    if whole_root && !search.saw_ours() {
        report.note(&format!(
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

fn read_record(disk: &OurDisk, report: &mut Report) -> RecordState {
    let state = match disk.part(dps::STATE_NAME) {
        Ok(part) => record::read(&part.device),
        Err(why) => RecordState::unreadable(why),
    };
    for oddity in record::oddities(&state) {
        report.warn(format!("boot record: {oddity}"));
    }
    state
}

/// The first slot that holds, with the reason; the reasons of those before it go along.
fn open_root(
    cmdline: &Cmdline,
    disk: &OurDisk,
    record: &RecordState,
    devices: &mut DeviceEvents,
    report: &mut Report,
) -> Result<(Slot, String, Root), Failure> {
    let keys = root::keys(report);
    let on_corruption = cmdline.verity.unwrap_or_default();
    let mut refused: Vec<String> = Vec::new();
    for (slot, why) in decide::decide(record, cmdline.slot, None) {
        report.step(&format!("slot {slot}: {why}"));
        match root::open(slot, disk, &keys, on_corruption, devices, report) {
            Ok(root) => {
                let mut why = why.to_string();
                for other in &refused {
                    why = format!("{why}; {other}");
                }
                return Ok((slot, why, root));
            }
            Err(error) => {
                let line = format!("slot {slot} is not booted: {error}");
                report.failed(line.clone());
                refused.push(line);
            }
        }
    }
    refused.extend(record::ruled_out(record));
    let why = if refused.is_empty() {
        "there is no slot to boot"
    } else {
        "no slot can be booted"
    };
    Err(Failure {
        why: format!("{why}: {}", refused.join("; ")),
        details: refused,
    })
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

fn hand_over(booted: Booted<'_>, report: &mut Report) {
    report.ended(Phase::HandOver);
    if let Err(error) = handover::write(&handover::facts(booted, report)) {
        report.warn(format!("hand-over: {error}"));
    }
}

/// Everything is in the initramfs: init is executed in place, on a root that is memory already.
fn in_initramfs(report: &mut Report) -> Result<Infallible, Failure> {
    report.ended(Phase::Disk);
    overlay_run(report);
    report.ended(Phase::Overlays);
    let why = "no disk of ours; the initramfs holds a whole root".to_owned();
    hand_over(Booted::Initramfs { why }, report);
    switch::execute().map_err(in_phase(Phase::SwitchRoot))
}
