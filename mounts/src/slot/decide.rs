//! Which slots to try, in which order, and why. Pure: the record in, candidates out.
//!
//! A slot may be booted when it is committed or has tries left, its priority is not 0 and its root
//! is not known to be bad; the higher priority comes first. An unreadable record boots what is
//! signed, a before b, and changes no counter. Not here: charging an attempt, verifying a slot.

use std::fmt;

use super::Slot;
use super::record::{Record, SlotRecord};
use super::region::RecordState;

/// Why a slot is a candidate. Printed after "slot a: ".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The command line asks for it.
    Forced,
    /// It proved good before.
    Committed {
        /// Its priority.
        priority: u8,
        /// Its place among the candidates of the record, 0 for the first.
        rank: u8,
    },
    /// It has not proved good yet and may try.
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
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = |rank: u8| if rank == 0 { "highest" } else { "next" };
        match self {
            Self::Forced => write!(f, "forced by shark.slot= on the kernel command line"),
            Self::Committed { priority, rank } => {
                write!(f, "{} priority {priority}, committed", place(*rank))
            }
            Self::TriesLeft {
                priority,
                rank,
                tries_left,
            } => {
                let plural = if *tries_left == 1 { "try" } else { "tries" };
                write!(
                    f,
                    "{} priority {priority}, not committed, {tries_left} {plural} left",
                    place(*rank)
                )
            }
            Self::RecordUnreadable { why } => {
                write!(f, "boot record unreadable ({why}): trying a, then b")
            }
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
    /// It is not committed and has no tries left.
    Exhausted,
}

impl fmt::Display for PassedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disabled => "priority 0: empty or given up",
            Self::VerityBad => "a block of its root failed its hash",
            Self::Exhausted => "not committed and no tries left",
        })
    }
}

/// The slots to try, in order. Empty when the record allows none: see [`passed_over`].
#[must_use]
pub fn decide(state: &RecordState, force: Option<Slot>) -> Vec<(Slot, Why)> {
    let by_record = match state {
        RecordState::Newest(newest) => from_record(&newest.record),
        RecordState::Unreadable { why } => Slot::ALL
            .map(|slot| (slot, Why::RecordUnreadable { why: why.clone() }))
            .into(),
    };
    let forced = force.map(|slot| (slot, Why::Forced));
    let others = by_record
        .into_iter()
        .filter(|(slot, _)| Some(*slot) != force);
    forced.into_iter().chain(others).collect()
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
            let priority = entry.priority;
            let why = if record.committed == Some(slot) {
                Why::Committed { priority, rank }
            } else {
                Why::TriesLeft {
                    priority,
                    rank,
                    tries_left: entry.tries_left,
                }
            };
            (slot, why)
        })
        .collect()
}

fn hindrance(record: &Record, slot: Slot) -> Option<PassedOver> {
    let entry = record.slot(slot);
    if entry.priority == 0 {
        Some(PassedOver::Disabled)
    } else if entry.verity_bad {
        Some(PassedOver::VerityBad)
    } else if record.committed != Some(slot) && entry.tries_left == 0 {
        Some(PassedOver::Exhausted)
    } else {
        None
    }
}
