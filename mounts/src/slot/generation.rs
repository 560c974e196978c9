//! State generations: which one a slot boots with, and from which it begins. What is changed in /etc
//! belongs to a generation, and each slot has its own, so that an older system never reads what a newer
//! one has written. Not here: the directories, and how one is copied (stage1).
//!
//! A slot that an update has armed has a new number ([`super::update::arm`]); its first boot makes a copy
//! of the committed slot's. So the trial begins with what the machine has, a rollback returns to what the
//! older system left, and nothing is written back.

use super::Slot;
use super::record::Record;

/// Most bytes of a generation's files: it is copied while a machine boots, before a watchdog bites.
pub const BYTES_MAX: u64 = 256 << 20;
/// Most files, directories and all else of a generation.
pub const ENTRIES_MAX: u64 = 50_000;

/// What a slot boots with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The number of its generation.
    pub own: u64,
    /// The one that it begins as a copy of, where it is not there yet.
    pub from: Option<u64>,
}

/// The generation of `slot`. Without a record, it is the newest of those that are `there`: no number is
/// then known to be another slot's.
#[must_use]
pub fn choose(record: Option<&Record>, slot: Slot, there: &[u64]) -> Choice {
    let Some(record) = record else {
        let own = there.iter().copied().max().unwrap_or(0);
        return Choice { own, from: None };
    };
    let own = record.slot(slot).state_generation;
    let committed = record.committed.unwrap_or(slot.other());
    let sources = [committed, slot.other()].map(|it| record.slot(it).state_generation);
    let from = sources
        .into_iter()
        .find(|it| *it != own && there.contains(it));
    Choice { own, from }
}

/// Those of `there` that no slot has, and that can go.
#[must_use]
pub fn unused(record: &Record, running: u64, there: &[u64]) -> Vec<u64> {
    let [a, b] = Slot::ALL.map(|slot| record.slot(slot).state_generation);
    let used = [a, b, running];
    there
        .iter()
        .copied()
        .filter(|it| !used.contains(it))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verity::RootHash;

    fn record(a: u64, b: u64, committed: Option<Slot>) -> Record {
        let system = Some((RootHash::new([1; 32]), 1));
        let mut record = Record::for_image(system, system);
        record.slot_mut(Slot::A).state_generation = a;
        record.slot_mut(Slot::B).state_generation = b;
        record.committed = committed;
        record
    }

    #[test]
    fn a_trial_begins_with_a_copy_and_a_rollback_with_what_was_left() {
        let check = |record: &Record, slot, there: &[u64], own, from| {
            let choice = choose(Some(record), slot, there);
            assert_eq!(choice, Choice { own, from });
        };
        let fresh = record(0, 0, Some(Slot::A));
        check(&fresh, Slot::A, &[], 0, None);
        check(&fresh, Slot::B, &[0], 0, None);
        let trial = record(0, 1, Some(Slot::A));
        check(&trial, Slot::B, &[0], 1, Some(0));
        check(&trial, Slot::A, &[0, 1], 0, Some(1));
        // The data are new: there is nothing to begin with.
        check(&trial, Slot::B, &[], 1, None);
        let settled = record(0, 1, Some(Slot::B));
        check(&settled, Slot::B, &[0, 1], 1, Some(0));
        check(&record(3, 7, None), Slot::A, &[7], 3, Some(7));
    }

    #[test]
    fn without_a_record_the_newest_counts() {
        let own = |there: &[u64]| choose(None, Slot::B, there).own;
        assert_eq!((own(&[]), own(&[2, 9, 4])), (0, 9));
    }

    #[test]
    fn what_no_slot_has_can_go() {
        let record = record(4, 6, Some(Slot::A));
        assert_eq!(unused(&record, 4, &[1, 4, 5, 6]), [1, 5]);
        assert_eq!(unused(&record, 5, &[4, 5, 6]), Vec::<u64>::new());
    }
}
