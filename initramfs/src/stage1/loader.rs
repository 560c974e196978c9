//! The outer loader as stage1 sees it: whether it has started the kernel of the slot that is to be
//! booted, and what is done when it has not.
//!
//! What that means is decided by `mounts::loader::agree`. A restart for the sake of the right kernel is
//! in the boot record before it is made, so that it is not made again and again. Not here: the loader
//! itself (`initramfs::outer`).

use initramfs::outer::{self, Places};
use mounts::cmdline::Cmdline;
use mounts::dps;
use mounts::loader::agree::{self, Verdict};
use mounts::loader::{self, Entry, Kind, Loader};
use mounts::slot::Slot;
use mounts::slot::decide::Why;
use mounts::slot::record::Record;
use mounts::slot::region::RecordState;

use super::Machine;
use super::disk::OurDisk;
use super::record::Ledger;
use super::report::{Report, print_console};
use super::rescue;
use super::watchdog;

/// What becomes of a slot that is to be booted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is booted.
    Boot,
    /// It is given up: the choice is made anew.
    GivenUp,
}

/// Whose kernel runs, where the loader has told.
struct Started {
    kind: Kind,
    slot: Slot,
}

impl Started {
    fn of(cmdline: &Cmdline) -> Option<Self> {
        let (kind, slot) = (cmdline.loader?, cmdline.loader_slot?);
        kind.has_kernels().then_some(Self { kind, slot })
    }
}

/// Loads what the way to the loader needs, for init as well: its root need not have any modules.
pub(crate) fn prepare(machine: &mut Machine) {
    if machine.cmdline.loader.is_some() {
        machine.devices.load(outer::MODULES, &mut machine.report);
    }
}

/// Compares the kernel that runs with the slot that is to be booted. May restart the machine. `crash` is
/// what the machine has kept of a crash.
pub(crate) fn settle(
    machine: &mut Machine,
    disk: &OurDisk,
    ledger: &mut Ledger,
    (slot, why): (Slot, &Why),
    crash: Option<&str>,
) -> Outcome {
    let Some(started) = Started::of(&machine.cmdline) else {
        return Outcome::Boot;
    };
    let state = ledger.state();
    let Some(record) = state.record().filter(|_| is_of_record(why)) else {
        return Outcome::Boot;
    };
    let report = &mut machine.report;
    let tried = || was_tried(started.kind, disk, slot, report);
    let is_trial = record.trial == Some(slot) && !record.slot(slot).good;
    match agree::compare(record, slot, started.slot, tried) {
        Verdict::Agreed => {
            ledger.agreed();
            Outcome::Boot
        }
        Verdict::NeverArrived => {
            let cause = "its kernel or initramfs did not come as far as stage1";
            give_up(ledger, slot, crash.unwrap_or(cause), report)
        }
        Verdict::GoOn => {
            if let Err(why) = tell(&started, disk, record) {
                report.warn(format!("boot loader: {why}"));
            }
            go_on(slot, &started, report)
        }
        Verdict::Redirect => match redirect(&started, disk, ledger, slot, report) {
            Ok(never) => match never {},
            // A kernel that has never run here must not be found good by the other one.
            Err(why) if is_trial => give_up(ledger, slot, &why, report),
            Err(why) => {
                report.warn(format!("boot loader: {why}"));
                go_on(slot, &started, report)
            }
        },
    }
}

/// Somebody who forces a slot, or is glad of any, takes the kernel that is there.
fn is_of_record(why: &Why) -> bool {
    match why {
        Why::Committed { .. } | Why::TriesLeft { .. } => true,
        Why::Forced
        | Why::ForcedLate { .. }
        | Why::RecordUnreadable { .. }
        | Why::UnreadableAfterCrash { .. }
        | Why::LastGood => false,
    }
}

fn open(kind: Kind, disk: &OurDisk) -> Result<Box<dyn Loader>, String> {
    watchdog::feed();
    let esp = disk.part(dps::ESP_NAME).ok();
    let places = Places {
        esp: esp.map(|part| part.device.clone()),
        disk: disk.device.clone(),
    };
    outer::open(kind, &places, print_console)
}

fn was_tried(kind: Kind, disk: &OurDisk, slot: Slot, report: &mut Report) -> bool {
    let standing = open(kind, disk).and_then(|mut loader| loader.standing());
    match standing.map(|standing| standing.entry(slot)) {
        Ok(Entry::Tried) => true,
        Ok(Entry::Absent | Entry::Armed | Entry::Blessed) => false,
        Err(why) => {
            report.warn(format!("boot loader: {why}"));
            true
        }
    }
}

fn give_up(ledger: &mut Ledger, slot: Slot, why: &str, report: &mut Report) -> Outcome {
    report.failed(format!("slot {slot} never arrived: {why}"));
    ledger.never_arrived(slot, why);
    Outcome::GivenUp
}

fn go_on(slot: Slot, started: &Started, report: &mut Report) -> Outcome {
    report.warn(format!(
        "slot {slot} is booted with the kernel of slot {}: the boot loader ({}) has started that again",
        started.slot, started.kind
    ));
    Outcome::Boot
}

fn tell(started: &Started, disk: &OurDisk, record: &Record) -> Result<(), String> {
    let wish = loader::wish(record).ok_or("the boot record wants no slot")?;
    let mut loader = open(started.kind, disk)?;
    loader::follow(&mut *loader, wish).map(drop)
}

/// Tells the loader what the record wants, and restarts.
fn redirect(
    started: &Started,
    disk: &OurDisk,
    ledger: &mut Ledger,
    slot: Slot,
    report: &mut Report,
) -> Result<std::convert::Infallible, String> {
    if !ledger.redirect(report) {
        return Err("a restart for the right kernel could not be counted, and is not made".into());
    }
    let RecordState::Newest(newest) = ledger.state() else {
        return Err("there is no boot record".into());
    };
    tell(started, disk, &newest.record)?;
    let line = format!(
        "slot {slot} is to be booted, and the boot loader has started the kernel of slot {}: it is told, \
         restarting",
        started.slot
    );
    report.note(&line);
    print_console(&line);
    rescue::restart_now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_loader_that_tells_whose_kernel_it_started_is_held_to_it() {
        let of = |line: &str| Started::of(&Cmdline::parse(line)).map(|it| it.slot);
        assert_eq!(of("shark.loader=uefi shark.loader-slot=b"), Some(Slot::B));
        for line in [
            "",
            "shark.loader=uefi",
            "shark.loader-slot=b",
            "shark.loader=record shark.loader-slot=b",
        ] {
            assert_eq!(of(line), None, "{line}");
        }
    }

    #[test]
    fn whoever_forces_a_slot_takes_the_kernel_that_is_there() {
        let committed = Why::Committed {
            priority: 2,
            rank: 0,
            tries_left: 3,
        };
        assert!(is_of_record(&committed));
        assert!(!is_of_record(&Why::Forced) && !is_of_record(&Why::LastGood));
    }
}
