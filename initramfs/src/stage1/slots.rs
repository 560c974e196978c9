//! From the disk to init on one of its slots: judge the last boot, decide, charge, open, switch; and
//! when a slot does not hold, the next one.
//!
//! This is the account of `mounts::slot` put into practice, and the only place that knows the order.
//! Not here: how a root is opened (`root`), where the record is kept (`record`), and what happens
//! when no slot is left (`rescue`).

use std::collections::VecDeque;
use std::convert::Infallible;

use mounts::manifest::Manifest;
use mounts::plan::SYSROOT;
use mounts::slot::Slot;
use mounts::slot::crash::{SAID_BOOTING, SAID_REFUSED};
use mounts::slot::decide::{self, Circumstances, Why};
use mounts::slot::record::Ended;
use mounts::slot::region::RecordState;

use super::data::{self, Kept};
use super::disk::OurDisk;
use super::handover::Booted;
use super::keys::Trusted;
use super::loader::{self, Outcome};
use super::phase::Phase;
use super::record::{Ledger, Unwritten};
use super::root::{self, Root};
use super::switch::{self, Stuck};
use super::{Failure, Machine, Next, overlay_run, rescue, watchdog};

/// How the slots to try are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// As the record decides.
    ByRecord,
    /// The same; when it gives every slot up, the last good one: somebody asks for it.
    Asked,
    /// The last good one: nobody is there, and a pause is over.
    LastGood,
}

/// What is said of a slot that must wait, after its name.
const PUT_OFF: &str = "is put off: it is on trial, its tries cannot be counted, and so it would be \
                       tried for ever if it is bad; the committed slot goes first";

/// A slot that was charged and did not hold.
struct Refusal {
    ended: Ended,
    why: String,
}

/// Boots a slot of `disk`. Returns only when none could be.
pub(crate) fn boot(machine: &mut Machine, disk: &OurDisk, how: How) -> Result<Infallible, Failure> {
    let mut ledger = Ledger::open(disk, &mut machine.report);
    machine.report.ended(Phase::BootRecord);
    let evidence = machine.found.evidence(ledger.crash_id());
    ledger.judge(&evidence, &machine.unwritten, &mut machine.report);
    loader::prepare(machine);
    let trusted = Trusted::gather(&mut ledger, &mut machine.report);
    let state = ledger.state();
    let around = Circumstances {
        force: machine.cmdline.slot,
        newest_signed: match &state {
            RecordState::Newest(_) => None,
            RecordState::Unreadable { .. } => root::newest_signed(disk, &trusted),
        },
        crashed: evidence.watchdog_reset || evidence.crash.is_some(),
    };
    let mut refused = Vec::new();
    let mut left = VecDeque::from(candidates(&state, how, &around));
    while let Some((slot, why)) = left.pop_front() {
        machine.report.step(&format!("slot {slot}: {why}"));
        let crash = evidence.crash.as_ref().map(|it| it.text.as_str());
        let outcome = loader::settle(machine, disk, &mut ledger, (slot, &why), crash);
        if outcome == Outcome::GivenUp {
            refused.push(format!("slot {slot} never arrived"));
            continue;
        }
        ledger.charge(slot, &why, &mut machine.report);
        if refused.is_empty() {
            machine.report.ended(Phase::Charge);
        }
        if ledger.is_uncounted() && decide::is_put_off(&why, left.iter().map(|(_, why)| why)) {
            ledger.withdraw();
            let line = format!("slot {slot} {PUT_OFF}");
            machine.report.failed(line.clone());
            refused.push(line);
            left.push_back((slot, why));
            continue;
        }
        let attempt = Attempt {
            slot,
            why: told(&why, &refused),
            last_good: why == Why::LastGood,
        };
        let lacks = machine.report.missing().len();
        match one(machine, disk, &mut ledger, &attempt, &trusted) {
            Ok(never) => match never {},
            Err(refusal) => {
                machine.report.keep_lacks(lacks);
                let line = format!("slot {slot}{SAID_REFUSED}{}", refusal.why);
                machine.report.failed(line.clone());
                ledger.refuse(refusal.ended, &refusal.why);
                refused.push(line);
                machine.unwritten.retain(|it| it.slot != slot);
                machine.unwritten.push(Unwritten {
                    slot,
                    ended: refusal.ended,
                    text: refusal.why,
                });
            }
        }
    }
    ledger.write(&mut machine.report);
    if ledger.is_on_disk() {
        machine.unwritten.clear();
    }
    Err(none_left(&ledger, refused))
}

/// The slots to try, in order.
fn candidates(state: &RecordState, how: How, around: &Circumstances) -> Vec<(Slot, Why)> {
    let by_record = || decide::decide(state, around);
    let last_good = || match decide::last_good(state) {
        Some(slot) => vec![(slot, Why::LastGood)],
        None => by_record(),
    };
    match how {
        How::ByRecord => by_record(),
        How::LastGood => last_good(),
        How::Asked => Some(by_record())
            .filter(|slots| !slots.is_empty())
            .unwrap_or_else(last_good),
    }
}

/// Why this slot, with what became of those before it.
fn told(why: &Why, refused: &[String]) -> String {
    refused
        .iter()
        .fold(why.to_string(), |text, line| format!("{text}; {line}"))
}

fn none_left(ledger: &Ledger, mut refused: Vec<String>) -> Failure {
    let state = ledger.state();
    for (slot, why) in decide::passed_over(&state) {
        let told = format!("slot {slot} ");
        if !refused.iter().any(|line| line.starts_with(&told)) {
            refused.push(format!("slot {slot} is not tried: {why}"));
        }
    }
    let why = if refused.is_empty() {
        "there is no slot to boot"
    } else {
        "no slot can be booted"
    };
    Failure {
        why: format!("{why}: {}", refused.join("; ")),
        details: refused,
        record: Some(state),
        next: Next::LastGood,
    }
}

struct Attempt {
    slot: Slot,
    why: String,
    /// After every slot had been given up.
    last_good: bool,
}

/// Opens the slot's root, puts data over it, and goes there.
fn one(
    machine: &mut Machine,
    disk: &OurDisk,
    ledger: &mut Ledger,
    attempt: &Attempt,
    trusted: &Trusted,
) -> Result<Infallible, Refusal> {
    let Machine {
        report,
        cmdline,
        devices,
        ..
    } = machine;
    let on_corruption = cmdline.verity.unwrap_or_default();
    let known = |manifest: &Manifest| ledger.knows(attempt.slot, &manifest.root_hash);
    let opened = root::open(
        attempt.slot,
        disk,
        trusted,
        known,
        on_corruption,
        devices,
        report,
    );
    let root = opened.map_err(|refused| Refusal {
        ended: refused.ended(),
        why: refused.to_string(),
    })?;
    report.ended(Phase::Root);
    match go(machine, disk, ledger, attempt, &root, trusted) {
        Ok(never) => match never {},
        Err(Stuck::Undone(why)) => {
            data::undo();
            root::give_up(&root, &mut machine.report);
            Err(Refusal {
                ended: Ended::Stage1Failed,
                why,
            })
        }
        Err(Stuck::NoWayBack(why)) => {
            let line = format!(
                "slot {}: {why}; nothing is left to go back to",
                attempt.slot
            );
            machine.report.failed(line.clone());
            ledger.refuse(Ended::Stage1Failed, &why);
            ledger.write(&mut machine.report);
            if !ledger.is_on_disk() {
                // Nobody would count these boots, so they must not follow each other at once.
                rescue::without_devices(&line);
            }
            rescue::restart()
        }
    }
}

/// The phases after the root is open.
fn go(
    machine: &mut Machine,
    disk: &OurDisk,
    ledger: &Ledger,
    attempt: &Attempt,
    root: &Root,
    trusted: &Trusted,
) -> Result<Infallible, Stuck> {
    let data_failed = |why: String| Stuck::Undone(format!("{}: {why}", Phase::Data));
    let Machine {
        report,
        devices,
        found,
        ..
    } = machine;
    let state = ledger.state();
    let mounted = data::mount_over_root(attempt.slot, state.record(), disk, devices, report)
        .map_err(data_failed)?;
    if ledger.is_settled() {
        match mounted.kept {
            Kept::Yes => found.settle(SYSROOT, report),
            Kept::No => found.settle_without_data(report),
        }
    }
    report.ended(Phase::Data);
    overlay_run(report);
    // Devices that came while the root was checked still get their modules: the new root has no
    // coldplug of stage1's.
    devices.work_off(report);
    report.ended(Phase::Overlays);
    let Attempt {
        slot,
        why,
        last_good,
    } = attempt;
    report.note(&format!("{SAID_BOOTING}{slot}: {why}"));
    let booted = Booted::Slot {
        slot: *slot,
        why: why.clone(),
        last_good: *last_good,
        root,
        disk: &disk.device,
        ledger,
        generation: mounted.generation,
        trusted,
    };
    machine.hand_over(&booted);
    watchdog::feed();
    switch::switch_root(&mut machine.report).map_err(|stuck| match stuck {
        Stuck::Undone(why) => Stuck::Undone(format!("{}: {why}", Phase::SwitchRoot)),
        Stuck::NoWayBack(why) => Stuck::NoWayBack(format!("{}: {why}", Phase::SwitchRoot)),
    })
}

/// What the record on `disk` says, for somebody who looks at it and boots nothing.
pub(crate) fn look(disk: &OurDisk, machine: &mut Machine) -> RecordState {
    Ledger::open(disk, &mut machine.report).state()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mounts::slot::record::Record;
    use mounts::slot::region::{REGION_SIZE, newest};
    use mounts::verity::RootHash;

    fn state(change: impl Fn(&mut Record)) -> RecordState {
        let system = |byte| Some((RootHash::new([byte; 32]), 1));
        let mut record = Record::for_image(system(1), system(2));
        change(&mut record);
        let mut region = vec![0; REGION_SIZE];
        region[..4096].copy_from_slice(&record.encode());
        newest([Ok(&region), Ok(&vec![0; REGION_SIZE])])
    }

    fn slots(state: &RecordState, how: How, force: Option<Slot>) -> Vec<Slot> {
        let around = Circumstances {
            force,
            newest_signed: Some(Slot::B),
            crashed: false,
        };
        let found = candidates(state, how, &around);
        found.into_iter().map(|(slot, _)| slot).collect()
    }

    #[test]
    fn the_record_decides_and_the_last_good_slot_waits_for_its_time() {
        let fresh = state(|_| {});
        assert_eq!(slots(&fresh, How::ByRecord, None), [Slot::A, Slot::B]);
        let spent = state(|record| {
            for slot in Slot::ALL {
                record.slot_mut(slot).tries_left = 0;
            }
        });
        assert_eq!(slots(&spent, How::ByRecord, None), []);
        // Not even a forced one, or it would be booted for ever without a pause.
        assert_eq!(slots(&spent, How::ByRecord, Some(Slot::B)), []);
        assert_eq!(slots(&spent, How::LastGood, Some(Slot::B)), [Slot::A]);
        assert_eq!(slots(&spent, How::LastGood, None), [Slot::A]);
        assert_eq!(slots(&spent, How::Asked, None), [Slot::A]);
        assert_eq!(slots(&fresh, How::Asked, None), [Slot::A, Slot::B]);
    }

    #[test]
    fn without_a_record_what_is_signed_is_tried() {
        let none = RecordState::unreadable("torn");
        for how in [How::ByRecord, How::Asked, How::LastGood] {
            assert_eq!(slots(&none, how, None), [Slot::B, Slot::A]);
            let crashed = Circumstances {
                newest_signed: Some(Slot::B),
                crashed: true,
                force: None,
            };
            assert_eq!(candidates(&none, how, &crashed)[0].0, Slot::A);
        }
    }

    #[test]
    fn the_reason_tells_what_became_of_the_slots_before() {
        let refused = ["slot a is not booted: signature".to_owned()];
        let text = told(&Why::Forced, &refused);
        assert!(text.starts_with("forced by shark.slot="), "{text}");
        assert!(text.ends_with("; slot a is not booted: signature"));
    }
}
