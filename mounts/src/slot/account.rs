//! Who may change a record, and how: opening an attempt, committing it, failing it, ending it, and
//! what an operator may ask for.
//!
//! Tries rise by [`commit`] and [`set_slot`] alone ([`rebuild`] and [`rebuild_failed`] begin a
//! record). Each
//! function changes a record in memory; what it is worth is decided by the write that follows
//! ([`super::store::append`]). Not here: the attempt that the last boot left ([`super::judge`]).

use std::fmt;

use super::Slot;
use super::decide::{Why, hindrance};
use super::judge::{Evidence, Finding, Stamp, close, end_trial, fault, judge};
use super::record::{
    Attempt, AttemptState, Ended, History, PastBoot, Phase, Reason, Record, SlotRecord, Stage,
    TRIES, Text,
};
use crate::keyring::LinkId;
use crate::verity::RootHash;

/// Priority of the slot that is to be booted, where there are two.
const FIRST: u8 = 2;
/// Priority of the other one.
const SECOND: u8 = 1;

/// The boot that is under way, as PID 1 knows it from the hand-over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Running {
    /// The slot that runs.
    pub slot: Option<Slot>,
    /// The kernel's boot id.
    pub boot_id: [u8; 16],
    /// Root hash of the manifest that was verified.
    pub root_hash: Option<RootHash>,
    /// Security version of that manifest.
    pub security_version: Option<u32>,
    /// Every block of the root was read and verified in this boot.
    pub root_read_whole: bool,
    /// The state generation that it runs with.
    pub state_generation: Option<u64>,
}

/// Why a record has nothing to say about the running boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotOurs {
    /// This boot has no slot.
    NoSlot,
    /// The record has no attempt.
    NoAttempt,
    /// Its attempt is of another slot.
    OtherSlot(Slot),
    /// Its attempt is of another boot: its number.
    OtherBoot(u32),
    /// The attempt is of this boot and has failed already: how.
    Failed(Ended),
    /// The attempt is of this boot and is over.
    Over(Ended),
}

impl fmt::Display for NotOurs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSlot => write!(f, "this boot has no slot, so there is nothing to record"),
            Self::NoAttempt => write!(
                f,
                "the boot record has no attempt, so stage1 did not charge this boot"
            ),
            Self::OtherSlot(slot) => write!(f, "the attempt in the boot record is of slot {slot}"),
            Self::OtherBoot(number) => write!(
                f,
                "the attempt in the boot record is boot {number}, not this one"
            ),
            Self::Failed(ended) => write!(
                f,
                "this boot has failed already ({ended}); to try its slot again, set it with set-slot"
            ),
            Self::Over(ended) => write!(f, "this boot is over already ({ended})"),
        }
    }
}

impl std::error::Error for NotOurs {}

/// Opens a new attempt of `slot`: stage1, before it opens the root. An attempt that nobody judged is
/// judged first, without evidence, so that none is forgotten.
pub fn charge(record: &mut Record, slot: Slot, why: &Why, boot_id: [u8; 16], now: Stamp) {
    // Nothing is left of it after a call of judge.
    let _judged = judge(record, &Evidence::default(), now);
    let given_up = record.history.newest().map(|boot| boot.slot);
    record.reason = match given_up {
        Some(other) if other != slot && hindrance(record, other).is_some() => Reason::Rollback,
        Some(_) | None => Reason::Attempt,
    };
    if *why == Why::LastGood {
        // It stays at the end of its range and goes on alternating: see `last_good`.
        record.rescues = record.rescues.checked_add(1).unwrap_or(u8::MAX - 1);
    }
    record.boots = record.boots.saturating_add(1);
    record.boot_id = boot_id;
    record.attempt = Some(Attempt {
        slot,
        number: record.boots,
        boot_id,
        state: AttemptState::Open,
        stage: Stage::Stage1,
        started_unix: now.unix,
        uptime_seconds: 0,
        text: Text::default(),
    });
}

/// Closes the attempt that stage1 opened in this boot: its slot did not hold. It is charged at once,
/// and the history tells it. Nothing happens when there is no attempt.
pub fn refuse(record: &mut Record, ended: Ended, text: &str, now: Stamp) {
    let Some(attempt) = record.attempt.take() else {
        return;
    };
    record.reason = Reason::Failed;
    let finding = Finding {
        ended,
        stage: Stage::Stage1,
        charged: fault(ended),
        text: Text::from(text),
    };
    close(record, &attempt, finding, now);
}

/// The outer loader has started `slot`, and nothing of it came so far: it is given up. The boot counts,
/// and the history tells of it, though no stage1 has charged it.
pub fn never_arrived(record: &mut Record, slot: Slot, text: &str, now: Stamp) {
    record.boots = record.boots.saturating_add(1);
    let attempt = Attempt {
        slot,
        number: record.boots,
        boot_id: [0; 16],
        state: AttemptState::Open,
        stage: Stage::Stage1,
        started_unix: 0,
        uptime_seconds: 0,
        text: Text::default(),
    };
    // The loader gives it one chance, however many tries it has.
    record.slot_mut(slot).tries_left = 1;
    let finding = Finding {
        ended: Ended::NeverArrived,
        stage: Stage::Stage1,
        charged: fault(Ended::NeverArrived),
        text: Text::from(text),
    };
    close(record, &attempt, finding, now);
}

/// The machine is about to be restarted because the outer loader has started the kernel of another slot:
/// written first, so that it is not done again and again. `false`: it cannot be counted any more.
#[must_use]
pub fn redirect(record: &mut Record, boot_id: [u8; 16]) -> bool {
    let Some(redirects) = record.redirects.checked_add(1) else {
        return false;
    };
    record.redirects = redirects;
    record.boot_id = boot_id;
    record.reason = Reason::Redirected;
    true
}

/// The running boot passed its gate: its slot is good and committed, with all its tries. `text` is
/// kept with the attempt, such as which wanted checks fail.
///
/// That its root was once bad is forgotten if this boot has read all of it. The count of crashes
/// stays, because a slot that crashes after each commit must still be given up.
///
/// # Errors
/// [`NotOurs`]: the attempt is another boot's, or over; the record is as it was.
pub fn commit(record: &mut Record, running: &Running, text: &str) -> Result<(), NotOurs> {
    let attempt = ours(record, running)?;
    match attempt.state {
        AttemptState::Open | AttemptState::Committed => {}
        AttemptState::Failed(ended) => return Err(NotOurs::Failed(ended)),
        AttemptState::Ended(ended) => return Err(NotOurs::Over(ended)),
    }
    attempt.state = AttemptState::Committed;
    attempt.stage = Stage::Running;
    attempt.text = Text::from(text);
    let slot = attempt.slot;
    let before = record.committed;
    // Settled before the slot changes, which may be what was wrong with it.
    let rolled_back = before.is_some_and(|it| it != slot && hindrance(record, it).is_some());
    let entry = record.slot_mut(slot);
    entry.good = true;
    entry.tries_left = TRIES;
    entry.power_cuts = 0;
    entry.priority = entry.priority.max(SECOND);
    entry.verity_bad &= !running.root_read_whole;
    note_system(entry, running);
    let security_version = entry.security_version;
    record.security_floor = record.security_floor.max(security_version);
    if record.trial == Some(slot) {
        record.trial = None;
        record.phase = Phase::Settled;
    }
    if before != Some(slot) {
        record.committed = Some(slot);
        prefer(record, slot);
        if record.trial.is_none() {
            record.phase = if rolled_back {
                Phase::RolledBack
            } else {
                Phase::Settled
            };
        }
    }
    record.rescues = 0;
    written_by(record, running, Reason::Commit);
    Ok(())
}

/// The running boot failed, and this is why. The slot is charged when the next boot judges it. A
/// boot that has failed already keeps its first cause.
///
/// # Errors
/// [`NotOurs`]: the attempt is another boot's; the record is as it was.
pub fn fail(
    record: &mut Record,
    running: &Running,
    ended: Ended,
    uptime_seconds: u32,
    text: &str,
) -> Result<(), NotOurs> {
    let attempt = ours(record, running)?;
    attempt.uptime_seconds = attempt.uptime_seconds.max(uptime_seconds);
    match attempt.state {
        AttemptState::Failed(_) => {}
        AttemptState::Open | AttemptState::Committed | AttemptState::Ended(_) => {
            attempt.state = AttemptState::Failed(ended);
            attempt.stage = attempt.stage.max(Stage::Gate);
            attempt.text = Text::from(text);
        }
    }
    written_by(record, running, Reason::Failed);
    Ok(())
}

/// The running boot ends in order. A boot that has failed keeps its cause; how long it ran is noted.
///
/// # Errors
/// [`NotOurs`]: the attempt is another boot's; the record is as it was.
pub fn end(
    record: &mut Record,
    running: &Running,
    ended: Ended,
    uptime_seconds: u32,
) -> Result<(), NotOurs> {
    let attempt = ours(record, running)?;
    attempt.uptime_seconds = attempt.uptime_seconds.max(uptime_seconds);
    match attempt.state {
        AttemptState::Failed(_) => {}
        // It never passed its gate: how far it came must still be seen by whoever judges it.
        AttemptState::Open => {
            attempt.state = AttemptState::Ended(ended);
            attempt.stage = Stage::Gate;
        }
        AttemptState::Committed => {
            attempt.state = AttemptState::Ended(ended);
            attempt.stage = Stage::Ending;
        }
        AttemptState::Ended(_) => attempt.state = AttemptState::Ended(ended),
    }
    written_by(record, running, Reason::Ended);
    Ok(())
}

/// The running boot has been up for so long after its commit that earlier crashes of its slot are
/// forgotten. False when there is nothing to forget, and so nothing to write.
///
/// # Errors
/// [`NotOurs`]: the attempt is another boot's; the record is as it was.
pub fn settle(record: &mut Record, running: &Running) -> Result<bool, NotOurs> {
    let attempt = ours(record, running)?;
    let slot = attempt.slot;
    let committed = attempt.state == AttemptState::Committed;
    if !committed || record.slot(slot).crashes == 0 {
        return Ok(false);
    }
    record.slot_mut(slot).crashes = 0;
    written_by(record, running, Reason::Settled);
    Ok(true)
}

/// An operator gives `slot` up: it has no tries left. If it is the one that runs, this boot has
/// failed by it; otherwise the history tells who did it.
pub fn give_up(record: &mut Record, slot: Slot, text: &str, now: Stamp) {
    record.slot_mut(slot).tries_left = 0;
    end_trial(record, slot);
    record.reason = Reason::Operator;
    match &mut record.attempt {
        Some(attempt)
            if attempt.slot == slot
                && matches!(attempt.state, AttemptState::Open | AttemptState::Committed) =>
        {
            attempt.state = AttemptState::Failed(Ended::Operator);
            attempt.stage = attempt.stage.max(Stage::Gate);
            attempt.text = Text::from(text);
        }
        Some(_) | None => tell(record, slot, text, now),
    }
}

/// An operator wants `slot` booted next: it gets the higher priority and all its tries, and what was
/// counted against it is forgotten. Unless it is the committed one, it is on trial then.
pub fn set_slot(record: &mut Record, slot: Slot, now: Stamp) {
    let entry = record.slot_mut(slot);
    entry.tries_left = TRIES;
    entry.verity_bad = false;
    entry.crashes = 0;
    entry.power_cuts = 0;
    prefer(record, slot);
    record.rescues = 0;
    if record.committed == Some(slot) {
        record.trial = None;
        record.phase = Phase::Settled;
    } else {
        record.trial = Some(slot);
        record.phase = Phase::Trial;
    }
    record.reason = Reason::Operator;
    tell(record, slot, "set to be booted", now);
}

/// A new record, where both regions were read and hold none: the slot that runs and passed its gate
/// is committed; the other one may try once. Which boots were before is not known.
#[must_use]
pub fn rebuild(running: &Running, now: Stamp) -> Record {
    let other = SlotRecord {
        priority: SECOND,
        tries_left: 1,
        ..SlotRecord::default()
    };
    let mut record = Record {
        sequence: 0,
        boot_id: running.boot_id,
        committed: None,
        trial: None,
        phase: Phase::Settled,
        reason: Reason::Rebuilt,
        rescues: 0,
        redirects: 0,
        boots: 0,
        crash_id: 0,
        security_floor: 0,
        key_link: LinkId::default(),
        slots: [other; 2],
        attempt: None,
        history: History::default(),
    };
    let Some(slot) = running.slot else {
        return record;
    };
    record.committed = Some(slot);
    let entry = record.slot_mut(slot);
    entry.priority = FIRST;
    entry.tries_left = TRIES;
    entry.good = true;
    note_system(entry, running);
    let security_version = entry.security_version;
    record.security_floor = security_version;
    record.boots = 1;
    record.attempt = Some(Attempt {
        slot,
        number: 1,
        boot_id: running.boot_id,
        state: AttemptState::Committed,
        stage: Stage::Running,
        started_unix: now.unix,
        uptime_seconds: 0,
        text: Text::default(),
    });
    record
}

/// A new record, where both regions were read and hold none, by a boot that has failed: its slot has
/// no tries left, and the other one is tried first, once. Without it a slot that fails its gate would
/// be booted again and again, as nothing counts it.
///
/// # Errors
/// [`NotOurs::NoSlot`]: which slot runs is not known.
pub fn rebuild_failed(
    running: &Running,
    ended: Ended,
    uptime_seconds: u32,
    text: &str,
    now: Stamp,
) -> Result<Record, NotOurs> {
    let slot = running.slot.ok_or(NotOurs::NoSlot)?;
    let mut record = rebuild(running, now);
    record.committed = None;
    let entry = record.slot_mut(slot);
    entry.good = false;
    entry.tries_left = 0;
    prefer(&mut record, slot.other());
    // The history tells it when the next boot judges it, like every boot that has failed.
    if let Some(attempt) = &mut record.attempt {
        attempt.state = AttemptState::Failed(ended);
        attempt.stage = Stage::Gate;
        attempt.started_unix = now.unix.saturating_sub(u64::from(uptime_seconds));
        attempt.uptime_seconds = uptime_seconds;
        attempt.text = Text::from(text);
    }
    Ok(record)
}

/// The attempt, if it is the running boot's.
fn ours<'a>(record: &'a mut Record, running: &Running) -> Result<&'a mut Attempt, NotOurs> {
    let slot = running.slot.ok_or(NotOurs::NoSlot)?;
    let attempt = record.attempt.as_mut().ok_or(NotOurs::NoAttempt)?;
    if attempt.boot_id != running.boot_id {
        return Err(NotOurs::OtherBoot(attempt.number));
    }
    if attempt.slot != slot {
        return Err(NotOurs::OtherSlot(attempt.slot));
    }
    Ok(attempt)
}

pub(super) fn written_by(record: &mut Record, running: &Running, reason: Reason) {
    record.boot_id = running.boot_id;
    record.reason = reason;
}

fn note_system(entry: &mut SlotRecord, running: &Running) {
    if let Some(root_hash) = running.root_hash {
        entry.root_hash = root_hash;
    }
    if let Some(security_version) = running.security_version {
        entry.security_version = security_version;
    }
    if let Some(generation) = running.state_generation {
        entry.state_generation = generation;
    }
}

/// `slot` is tried before the other one; a slot that is never booted stays so.
pub(super) fn prefer(record: &mut Record, slot: Slot) {
    record.slot_mut(slot).priority = FIRST;
    let other = record.slot_mut(slot.other());
    other.priority = other.priority.min(SECOND);
}

/// An operator's word about a slot, in the history.
fn tell(record: &mut Record, slot: Slot, text: &str, now: Stamp) {
    let (stage, uptime_seconds) = record
        .attempt
        .as_ref()
        .map_or((Stage::Stage1, 0), |it| (it.stage, it.uptime_seconds));
    record.history.push(PastBoot {
        number: 0,
        slot,
        ended: Ended::Operator,
        stage,
        uptime_seconds,
        ended_unix: now.unix,
        times: 1,
        text: Text::from(text),
    });
}
