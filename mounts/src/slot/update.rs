//! What an update changes in the boot record: the other slot is taken out of the choice while it is
//! written, armed for one try when all of it is proven, given up when the update is called off; and the
//! way back to the slot before.
//!
//! As in [`super::account`], each function changes a record in memory. Not here: what is written to the
//! slot, and in which order ([`crate::install`]).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Slot;
use super::account::{Running, prefer, written_by};
use super::decide::{PassedOver, given_up};
use super::record::{AttemptState, Phase, Reason, Record, SlotRecord, TRIES};
use crate::keyring::LinkId;
use crate::verity::RootHash;

/// A system that is being installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct System {
    /// Root hash of its manifest.
    pub root_hash: RootHash,
    /// Security version of its manifest.
    pub security_version: u32,
}

/// Why an update cannot be begun, armed, called off or taken back. The record is as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// This machine was not booted from a slot.
    NoSlot,
    /// The running boot is not the one that the record has under way.
    OtherBoot,
    /// The running boot has not been found good yet.
    NotCommitted,
    /// The running boot has failed.
    Failed,
    /// The system is older than one that this machine has found good.
    Older {
        /// Its security version.
        found: u32,
        /// The least that is allowed.
        least: u32,
    },
    /// Nothing is being installed, or something else is.
    NotInstalling,
    /// The slot on trial runs already.
    TrialRuns,
    /// There is no update that could be called off.
    NoUpdate,
    /// The other slot cannot be gone back to.
    NoWayBack(Slot, WayBack),
}

/// Why the other slot cannot be gone back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WayBack {
    /// It holds no system that was ever found good.
    NeverGood,
    /// It has been given up.
    GivenUp(PassedOver),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSlot => write!(f, "this machine was not booted from a slot"),
            Self::OtherBoot => write!(
                f,
                "the boot record has another boot under way than this one"
            ),
            Self::NotCommitted => write!(
                f,
                "this boot has not been found good yet, and the other slot may be needed; wait for it \
                 (sharkctl boot wait) or call it good (sharkctl boot good)"
            ),
            Self::Failed => write!(
                f,
                "this boot has failed, and the other slot is the way out; restart first"
            ),
            Self::Older { found, least } => write!(
                f,
                "security version {found}, and this machine boots nothing below {least} any more"
            ),
            Self::NotInstalling => write!(
                f,
                "the boot record does not say that this update is being installed; begin again"
            ),
            Self::TrialRuns => write!(
                f,
                "the update runs already; `sharkctl boot bad` gives it up and goes back"
            ),
            Self::NoUpdate => write!(f, "no update is being installed or waits for its trial"),
            Self::NoWayBack(slot, WayBack::NeverGood) => write!(
                f,
                "slot {slot} holds no system that was found good on this machine"
            ),
            Self::NoWayBack(slot, WayBack::GivenUp(why)) => {
                write!(f, "slot {slot} is given up: {why}")
            }
        }
    }
}

impl std::error::Error for Refusal {}

/// Begins to install `system` into the slot that does not run, and says which that is. From now on it
/// is not booted.
///
/// # Errors
/// [`Refusal`]: a boot that is not committed keeps the other slot as its way out; a system with a lower
/// security version than one that was found good here is refused.
pub fn begin(record: &mut Record, running: &Running, system: System) -> Result<Slot, Refusal> {
    let slot = committed(record, running)?.other();
    let least = record.security_floor;
    if system.security_version < least {
        return Err(Refusal::Older {
            found: system.security_version,
            least,
        });
    }
    let before = record.slot(slot);
    *record.slot_mut(slot) = SlotRecord {
        root_hash: system.root_hash,
        security_version: system.security_version,
        state_generation: before.state_generation,
        ..SlotRecord::default()
    };
    record.trial = Some(slot);
    record.phase = Phase::Installing;
    written_by(record, running, Reason::Update);
    Ok(slot)
}

/// The system that [`begin`] announced is whole and proven: its slot is tried next, once, with a state
/// generation of its own.
///
/// # Errors
/// [`Refusal`]: the record tells of another boot, or of another installation.
pub fn arm(record: &mut Record, running: &Running, system: System) -> Result<Slot, Refusal> {
    let slot = committed(record, running)?.other();
    let generation = next_generation(record);
    let is_it = record.phase == Phase::Installing && record.trial == Some(slot);
    let entry = record.slot_mut(slot);
    if !is_it
        || entry.root_hash != system.root_hash
        || entry.security_version != system.security_version
    {
        return Err(Refusal::NotInstalling);
    }
    entry.tries_left = 1;
    entry.state_generation = generation;
    prefer(record, slot);
    record.phase = Phase::Trial;
    written_by(record, running, Reason::Update);
    Ok(slot)
}

/// Calls off what is being installed, or waits for its trial: its slot is not booted.
///
/// # Errors
/// [`Refusal`]: there is none, or it runs already.
pub fn cancel(record: &mut Record, running: &Running) -> Result<Slot, Refusal> {
    let slot = record.trial.ok_or(Refusal::NoUpdate)?;
    if running.slot.is_none_or(|it| it == slot) {
        return Err(Refusal::TrialRuns);
    }
    let entry = record.slot_mut(slot);
    entry.priority = 0;
    entry.tries_left = 0;
    record.trial = None;
    record.phase = Phase::Settled;
    written_by(record, running, Reason::Update);
    Ok(slot)
}

/// The slot that does not run is booted next, with all its tries: the system before the last update,
/// with the state it had.
///
/// # Errors
/// [`Refusal::NoWayBack`]: it was never found good, or has been given up since; [`Refusal`].
pub fn roll_back(record: &mut Record, running: &Running) -> Result<Slot, Refusal> {
    let slot = running.slot.ok_or(Refusal::NoSlot)?.other();
    let entry = record.slot_mut(slot);
    if !entry.good {
        return Err(Refusal::NoWayBack(slot, WayBack::NeverGood));
    }
    if let Some(why) = given_up(entry) {
        return Err(Refusal::NoWayBack(slot, WayBack::GivenUp(why)));
    }
    entry.tries_left = TRIES;
    entry.crashes = 0;
    entry.power_cuts = 0;
    prefer(record, slot);
    record.rescues = 0;
    let is_committed = record.committed == Some(slot);
    record.trial = (!is_committed).then_some(slot);
    record.phase = if is_committed {
        Phase::Settled
    } else {
        Phase::Trial
    };
    written_by(record, running, Reason::Operator);
    Ok(slot)
}

/// This link of keys counts on this machine: where it is not found from now on, it is known to be lost.
/// Whether the record says more by that.
pub fn keep_link(record: &mut Record, running: &Running, newest: LinkId) -> bool {
    if newest.sequence <= record.key_link.sequence {
        return false;
    }
    record.key_link = newest;
    written_by(record, running, Reason::Update);
    true
}

/// A state generation that no slot has had.
fn next_generation(record: &Record) -> u64 {
    let [a, b] = Slot::ALL.map(|slot| record.slot(slot).state_generation);
    a.max(b).saturating_add(1)
}

/// The running slot, if its boot is the one under way and was found good.
fn committed(record: &Record, running: &Running) -> Result<Slot, Refusal> {
    let slot = running.slot.ok_or(Refusal::NoSlot)?;
    let attempt = record.attempt.as_ref().ok_or(Refusal::OtherBoot)?;
    if attempt.boot_id != running.boot_id || attempt.slot != slot {
        return Err(Refusal::OtherBoot);
    }
    match attempt.state {
        AttemptState::Committed if record.committed == Some(slot) => Ok(slot),
        AttemptState::Committed | AttemptState::Open => Err(Refusal::NotCommitted),
        AttemptState::Failed(_) | AttemptState::Ended(_) => Err(Refusal::Failed),
    }
}
