//! Which slots to try, in which order, and why. Pure: the record in, candidates out.
//!
//! A slot may be booted when it has tries left, its priority is not 0 and its root is not known to
//! be bad; the higher priority comes first. That it was committed once changes nothing: a slot that
//! breaks later runs out of tries like any other. When no slot may be booted the machine goes to
//! rescue, and after a pause ([`rescue_pause`]) one slot is tried once more ([`last_good`]). An
//! unreadable record boots what is signed, the newest first unless the machine has just crashed, and
//! changes no counter. Not here: charging an attempt, verifying a slot.

use core::time::Duration;
use std::fmt;

use super::Slot;
use super::record::{Record, SlotRecord, TRIES};
use super::region::RecordState;

/// Why a slot is a candidate. Printed after "slot a: ".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The command line asks for it.
    Forced,
    /// The command line asks for it, and the record has given it up: it comes after the others.
    ForcedLate {
        /// Why it was given up.
        why: PassedOver,
    },
    /// It proved good before.
    Committed {
        /// Its priority.
        priority: u8,
        /// Its place among the candidates of the record, 0 for the first.
        rank: u8,
        /// How often it may still fail.
        tries_left: u8,
    },
    /// It is not the committed one and may try.
    TriesLeft {
        /// Its priority.
        priority: u8,
        /// Its place among the candidates of the record, 0 for the first.
        rank: u8,
        /// How often it may still try.
        tries_left: u8,
    },
    /// There is no record to go by.
    RecordUnreadable {
        /// The cause.
        why: String,
    },
    /// There is no record to go by, and the machine crashed when it last ran.
    UnreadableAfterCrash {
        /// Why there is no record.
        why: String,
    },
    /// Every slot is given up, a pause in rescue is over, and this one is tried once more. Nothing
    /// is refilled: see [`last_good`].
    LastGood,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = |rank: u8| if rank == 0 { "highest" } else { "next" };
        let tries = |left: u8| format!("{left} {} left", if left == 1 { "try" } else { "tries" });
        match self {
            Self::Forced => write!(f, "forced by shark.slot= on the kernel command line"),
            Self::ForcedLate { why } => write!(
                f,
                "forced by shark.slot= on the kernel command line, but given up ({why}): last"
            ),
            Self::Committed {
                priority,
                rank,
                tries_left,
            } => {
                write!(f, "{} priority {priority}, committed", place(*rank))?;
                if *tries_left < TRIES {
                    write!(f, ", {}", tries(*tries_left))?;
                }
                Ok(())
            }
            Self::TriesLeft {
                priority,
                rank,
                tries_left,
            } => {
                write!(
                    f,
                    "{} priority {priority}, not committed, {}",
                    place(*rank),
                    tries(*tries_left)
                )
            }
            Self::RecordUnreadable { why } => {
                write!(
                    f,
                    "boot record unreadable ({why}): newest signed slot first"
                )
            }
            Self::UnreadableAfterCrash { why } => {
                write!(
                    f,
                    "boot record unreadable ({why}), and the machine crashed: newest signed slot last"
                )
            }
            Self::LastGood => write!(f, "every slot is given up: last good one, once more"),
        }
    }
}

/// Why a slot is no candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassedOver {
    /// Its priority is 0: it is empty or was given up.
    Disabled,
    /// A block of its root failed its hash.
    VerityBad,
    /// It has no tries left.
    Exhausted,
}

impl fmt::Display for PassedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disabled => "priority 0: empty or given up",
            Self::VerityBad => "a block of its root failed its hash",
            Self::Exhausted => "no tries left",
        })
    }
}

/// Longest pause in rescue.
const PAUSE_MAX: Duration = Duration::from_secs(60 * 60);
/// Pause in rescue when the last good slot was not tried again yet; each attempt doubles it.
const PAUSE_FIRST_SECONDS: u64 = 60;

/// What bears on the choice of a slot besides the record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// The slot that the command line asks for.
    pub force: Option<Slot>,
    /// The slot with the highest security version among the manifests whose signature holds; asked
    /// when there is no record.
    pub newest_signed: Option<Slot>,
    /// There is evidence that the machine crashed or was reset by a watchdog when it last ran; asked
    /// when there is no record, which would have charged the slot.
    pub crashed: bool,
}

/// The slots to try, in order. Empty when the record allows none: see [`passed_over`], and
/// [`last_good`] for what is left then.
///
/// A forced slot comes before all. One that the record has given up comes after the others, and is no
/// candidate when there is no other: rescue then has its pause. Without a record the newest signed
/// slot comes first, or last when the machine has just crashed. Otherwise a slot that fails would be
/// booted for ever, with nothing that counts it or heeds the count.
#[must_use]
pub fn decide(state: &RecordState, around: &Circumstances) -> Vec<(Slot, Why)> {
    let Circumstances {
        force,
        newest_signed,
        crashed,
    } = *around;
    match state {
        RecordState::Newest(newest) => {
            let mut slots = from_record(&newest.record);
            let spent = force.and_then(|slot| Some((slot, given_up(newest.record.slot(slot))?)));
            let Some((slot, why)) = spent else {
                return forced_first(force, slots);
            };
            if !slots.is_empty() {
                slots.push((slot, Why::ForcedLate { why }));
            }
            slots
        }
        RecordState::Unreadable { why, .. } => {
            let newest = newest_signed.unwrap_or(Slot::A);
            let why = why.clone();
            let (first, because) = if crashed {
                (newest.other(), Why::UnreadableAfterCrash { why })
            } else {
                (newest, Why::RecordUnreadable { why })
            };
            let slots = [first, first.other()].map(|slot| (slot, because.clone()));
            forced_first(force, slots.into())
        }
    }
}

fn forced_first(force: Option<Slot>, mut slots: Vec<(Slot, Why)>) -> Vec<(Slot, Why)> {
    if let Some(forced) = force {
        slots.retain(|(slot, _)| *slot != forced);
        slots.insert(0, (forced, Why::Forced));
    }
    slots
}

/// Whether a slot that could not be charged is put behind those of `rest`: it is on trial, and the
/// committed one is among them. Nothing would count how often it is tried.
#[must_use]
pub fn is_put_off<'a>(uncounted: &Why, rest: impl IntoIterator<Item = &'a Why>) -> bool {
    let is_committed = |why: &Why| matches!(why, Why::Committed { .. });
    matches!(uncounted, Why::TriesLeft { .. }) && rest.into_iter().any(is_committed)
}

/// The slot to try once more when the record gives every slot up, as [`Why::LastGood`]: the
/// committed one, and each second time the other one if it holds a system, so that a committed slot
/// that cannot be opened does not keep a working one from its turn. A slot whose root is known to be
/// bad comes last. `None` when there is no record ([`decide`] then names both slots), or no slot
/// that ever held a system.
#[must_use]
pub fn last_good(state: &RecordState) -> Option<Slot> {
    let record = state.record()?;
    let first = record.committed.unwrap_or(Slot::A);
    let order = if record.rescues.is_multiple_of(2) {
        [first, first.other()]
    } else {
        [first.other(), first]
    };
    order
        .into_iter()
        .filter(|slot| holds_a_system(record, *slot))
        // The first of the least: a sound root before a bad one, otherwise in turn.
        .min_by_key(|slot| record.slot(*slot).verity_bad)
}

/// How long to stay in rescue before the last good slot is tried again, when it was `rescues` times
/// since the last commit: a minute, then twice as long each time, at most an hour.
#[must_use]
pub fn rescue_pause(rescues: u8) -> Duration {
    let seconds = PAUSE_FIRST_SECONDS.saturating_mul(1 << rescues.min(16));
    Duration::from_secs(seconds).min(PAUSE_MAX)
}

/// The slots that the record rules out, and why: for the console, when nothing boots.
#[must_use]
pub fn passed_over(state: &RecordState) -> Vec<(Slot, PassedOver)> {
    let Some(record) = state.record() else {
        return Vec::new();
    };
    Slot::ALL
        .into_iter()
        .filter_map(|slot| Some((slot, hindrance(record, slot)?)))
        .collect()
}

/// The slot that the record has tried first.
pub(crate) fn first(record: &Record) -> Option<Slot> {
    from_record(record).first().map(|(slot, _)| *slot)
}

fn from_record(record: &Record) -> Vec<(Slot, Why)> {
    let mut slots: Vec<(Slot, &SlotRecord)> = Slot::ALL
        .into_iter()
        .filter(|slot| hindrance(record, *slot).is_none())
        .map(|slot| (slot, record.slot(slot)))
        .collect();
    // Equal priorities: the committed slot first, then a. The sort is stable.
    slots.sort_by_key(|(slot, entry)| {
        std::cmp::Reverse((entry.priority, record.committed == Some(*slot)))
    });
    (0u8..)
        .zip(slots)
        .map(|(rank, (slot, entry))| {
            let (priority, tries_left) = (entry.priority, entry.tries_left);
            let why = if record.committed == Some(slot) {
                Why::Committed {
                    priority,
                    rank,
                    tries_left,
                }
            } else {
                Why::TriesLeft {
                    priority,
                    rank,
                    tries_left,
                }
            };
            (slot, why)
        })
        .collect()
}

fn holds_a_system(record: &Record, slot: Slot) -> bool {
    let entry = record.slot(slot);
    entry.priority > 0 || entry.good || record.committed == Some(slot)
}

/// Why `slot` is no candidate; `None` when it is one.
pub(crate) fn hindrance(record: &Record, slot: Slot) -> Option<PassedOver> {
    let entry = record.slot(slot);
    if entry.priority == 0 {
        Some(PassedOver::Disabled)
    } else {
        given_up(entry)
    }
}

/// What a slot has been charged with that rules it out.
pub(super) fn given_up(entry: &SlotRecord) -> Option<PassedOver> {
    if entry.verity_bad {
        Some(PassedOver::VerityBad)
    } else if entry.tries_left == 0 {
        Some(PassedOver::Exhausted)
    } else {
        None
    }
}
