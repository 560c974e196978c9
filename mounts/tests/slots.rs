//! Regions of boot records and the choice of a slot, as their callers use them.
// The whole file is a test; clippy takes only what is marked `#[test]` for one.
#![allow(clippy::unwrap_used, clippy::panic)]

use core::time::Duration;

use mounts::slot::Slot;
use mounts::slot::decide::{
    Circumstances, PassedOver, Why, decide, is_put_off, last_good, passed_over, rescue_pause,
};
use mounts::slot::record::{RECORD_SIZE, Record, RecordError, SlotRecord};
use mounts::slot::region::{
    PARTITION_SIZE, Place, RECORDS, REGION_OFFSETS, REGION_SIZE, RecordState, Skip, newest,
};
use mounts::verity::RootHash;
use proptest::prelude::*;

fn image() -> Record {
    Record::for_image(
        Some((RootHash::new([0xaa; 32]), 3)),
        Some((RootHash::new([0xbb; 32]), 4)),
    )
}

fn valid(record: &Record) -> RecordState {
    let mut region = vec![0; REGION_SIZE];
    region[..RECORD_SIZE].copy_from_slice(&record.encode());
    newest([Ok(&region), Ok(&vec![0xff; REGION_SIZE])])
}

#[test]
fn places_go_round_in_the_other_region() {
    let mut place = Place::FIRST;
    let mut seen = Vec::new();
    for sequence in 1..=2 * RECORDS as u64 {
        assert!(!seen.contains(&place));
        seen.push(place);
        // One after the other where nothing fails, and after each lap too.
        for laps in [0, 1 << 40] {
            assert_eq!(
                place.sequence_above(laps + sequence - 1),
                Some(laps + sequence)
            );
        }
        let next = place.next();
        assert_ne!(next.region(), place.region());
        assert!(next.offset() + RECORD_SIZE as u64 <= PARTITION_SIZE);
        place = next;
    }
    assert_eq!(place, Place::FIRST);
    assert_eq!(
        Place::new(1, 63).unwrap().offset(),
        REGION_OFFSETS[1] + 63 * 4096
    );
    assert_eq!(Place::new(2, 0), None);
    assert_eq!(Place::new(0, 64), None);
}

#[test]
fn no_two_places_share_a_sequence_number() {
    let all =
        || (0..2).flat_map(|region| (0..RECORDS).filter_map(move |it| Place::new(region, it)));
    for above in [0, 1, 127, 128, 65_536 + 77, u64::MAX - 256] {
        let mut numbers: Vec<u64> = all()
            .map(|place| place.sequence_above(above).unwrap())
            .collect();
        numbers.sort_unstable();
        let expected: Vec<u64> = (1..=128).map(|it| above + it).collect();
        assert_eq!(numbers, expected);
    }
    let last = all().filter_map(|place| place.sequence_above(u64::MAX - 1));
    assert_eq!(last.collect::<Vec<u64>>(), [u64::MAX]);
    assert!(all().all(|place| place.sequence_above(u64::MAX).is_none()));
}

#[test]
fn the_newest_valid_record_counts_and_the_rest_is_named() {
    let mut old = image();
    old.sequence = 7;
    let mut new = image();
    new.sequence = 8;
    let mut first = vec![0; REGION_SIZE];
    let mut second = vec![0; REGION_SIZE];
    first[..RECORD_SIZE].copy_from_slice(&old.encode());
    second[..RECORD_SIZE].copy_from_slice(&new.encode());
    let torn = {
        let mut newer = image();
        newer.sequence = 9;
        let mut bytes = newer.encode();
        bytes[30] ^= 1;
        bytes
    };
    first[RECORD_SIZE..2 * RECORD_SIZE].copy_from_slice(&torn);
    let RecordState::Newest(found) = newest([Ok(&first), Ok(&second)]) else {
        panic!("a record is there");
    };
    assert_eq!(found.record, new);
    assert_eq!(found.place, Place::new(1, 0).unwrap());
    let [Skip::Invalid(place, RecordError::Checksum { .. })] = found.skipped.as_slice() else {
        panic!("{:?}", found.skipped);
    };
    assert_eq!(*place, Place::new(0, 1).unwrap());
    // The next write goes to where the torn one was: never over the newest.
    assert_eq!(found.place.next(), *place);
}

#[test]
fn a_region_that_cannot_be_read_is_no_reason_to_give_up_the_other() {
    let mut region = vec![0; REGION_SIZE];
    region[..RECORD_SIZE].copy_from_slice(&image().encode());
    let state = newest([Err("read /dev/vda1: EIO".to_owned()), Ok(&region)]);
    let RecordState::Newest(found) = state else {
        panic!("a record is there");
    };
    assert_eq!(
        found.skipped,
        [Skip::Region(0, "read /dev/vda1: EIO".to_owned())]
    );
    // A short region still gives what is in it.
    let state = newest([Ok(&region[..RECORD_SIZE]), Ok(&[])]);
    assert_eq!(state.record(), Some(&image()));
}

#[test]
fn two_records_of_one_sequence_are_told() {
    let mut other = image();
    other.committed = Some(Slot::B);
    let mut first = vec![0; REGION_SIZE];
    first[..RECORD_SIZE].copy_from_slice(&image().encode());
    let mut second = vec![0; REGION_SIZE];
    second[..RECORD_SIZE].copy_from_slice(&other.encode());
    let RecordState::Newest(found) = newest([Ok(&first), Ok(&second)]) else {
        panic!("a record is there");
    };
    assert_eq!(found.record, image());
    assert_eq!(found.skipped, [Skip::Twin(Place::new(1, 0).unwrap(), 1)]);
    // The same record twice is fine: so an image builder writes it.
    let RecordState::Newest(found) = newest([Ok(&first), Ok(&first)]) else {
        panic!("a record is there");
    };
    assert_eq!(found.skipped, []);
}

fn say(state: &RecordState, force: Option<Slot>) -> Vec<String> {
    told(state, &forced(force))
}

fn forced(force: Option<Slot>) -> Circumstances {
    Circumstances {
        force,
        ..Circumstances::default()
    }
}

#[test]
fn choices_and_their_reasons() {
    let check = |change: &dyn Fn(&mut Record), force, expect: &[&str]| {
        let mut record = image();
        change(&mut record);
        assert_eq!(say(&valid(&record), force), expect);
    };
    check(
        &|_| {},
        None,
        &[
            "slot a: highest priority 2, committed",
            "slot b: next priority 1, not committed, 3 tries left",
        ],
    );
    check(
        &|_| {},
        Some(Slot::B),
        &[
            "slot b: forced by shark.slot= on the kernel command line",
            "slot a: highest priority 2, committed",
        ],
    );
    let raise_b = |record: &mut Record| {
        record.slot_mut(Slot::B).priority = 5;
        record.slot_mut(Slot::B).tries_left = 1;
    };
    check(
        &raise_b,
        None,
        &[
            "slot b: highest priority 5, not committed, 1 try left",
            "slot a: next priority 2, committed",
        ],
    );
    // A slot with no tries left is no candidate, and the committed one is a slot like any other.
    check(
        &|record| record.slot_mut(Slot::A).tries_left = 0,
        None,
        &["slot b: highest priority 1, not committed, 3 tries left"],
    );
    check(
        &|record| record.slot_mut(Slot::A).tries_left = 2,
        None,
        &[
            "slot a: highest priority 2, committed, 2 tries left",
            "slot b: next priority 1, not committed, 3 tries left",
        ],
    );
    check(
        &|record| record.slot_mut(Slot::A).verity_bad = true,
        None,
        &["slot b: highest priority 1, not committed, 3 tries left"],
    );
    // An empty slot has no tries.
    check(
        &|record| *record.slot_mut(Slot::B) = SlotRecord::default(),
        Some(Slot::B),
        &[
            "slot a: highest priority 2, committed",
            "slot b: forced by shark.slot= on the kernel command line, but given up (no tries left): last",
        ],
    );
    // Equal priorities: the committed slot first.
    check(
        &|record| {
            record.committed = Some(Slot::B);
            record.slot_mut(Slot::B).priority = 2;
        },
        None,
        &[
            "slot b: highest priority 2, committed",
            "slot a: next priority 2, not committed, 3 tries left",
        ],
    );
}

#[test]
fn without_a_record_both_slots_are_tried() {
    let state = newest([Ok(&[0; REGION_SIZE]), Ok(&[0; REGION_SIZE])]);
    let because = "boot record unreadable (both regions are empty): newest signed slot first";
    assert_eq!(
        say(&state, None),
        [format!("slot a: {because}"), format!("slot b: {because}")]
    );
    let around = Circumstances {
        newest_signed: Some(Slot::B),
        ..Circumstances::default()
    };
    let order: Vec<Slot> = decide(&state, &around)
        .into_iter()
        .map(|(slot, _)| slot)
        .collect();
    assert_eq!(order, [Slot::B, Slot::A]);
    assert_eq!(last_good(&state), None);
    let forced = decide(
        &RecordState::unreadable("no partition"),
        &forced(Some(Slot::B)),
    );
    assert_eq!(forced[0], (Slot::B, Why::Forced));
    assert_eq!(forced[1].0, Slot::A);
    assert_eq!(passed_over(&state), []);
}

fn told(state: &RecordState, around: &Circumstances) -> Vec<String> {
    decide(state, around)
        .iter()
        .map(|(slot, why)| format!("slot {slot}: {why}"))
        .collect()
}

/// A device with `shark.slot=b` on its command line booted a bad b for ever, without a pause.
#[test]
fn a_forced_slot_that_is_given_up_comes_last_or_not_at_all() {
    let check = |change: &dyn Fn(&mut Record), expect: &[&str]| {
        let mut record = image();
        change(&mut record);
        let around = Circumstances {
            force: Some(Slot::B),
            // Both are for a record that cannot be read.
            newest_signed: Some(Slot::B),
            crashed: true,
        };
        assert_eq!(told(&valid(&record), &around), expect);
    };
    let first = "slot b: forced by shark.slot= on the kernel command line";
    let a = "slot a: highest priority 2, committed";
    check(&|_| {}, &[first, a]);
    check(
        &|record| record.slot_mut(Slot::B).tries_left = 1,
        &[first, a],
    );
    // The record does not try it, and nothing speaks against it.
    check(&|record| record.slot_mut(Slot::B).priority = 0, &[first, a]);
    check(
        &|record| record.slot_mut(Slot::B).tries_left = 0,
        &[a, &format!("{first}, but given up (no tries left): last")],
    );
    check(
        &|record| record.slot_mut(Slot::B).verity_bad = true,
        &[
            a,
            &format!("{first}, but given up (a block of its root failed its hash): last"),
        ],
    );
    let spend = |record: &mut Record| record.slot_mut(Slot::A).tries_left = 0;
    check(&spend, &[first]);
    // No other is left: rescue, with its pause.
    check(
        &|record| {
            spend(record);
            record.slot_mut(Slot::B).tries_left = 0;
        },
        &[],
    );
}

/// A newest slot that crashed was booted again, since nothing could be charged.
#[test]
fn after_a_crash_without_a_record_the_other_slot_is_first() {
    let state = newest([Ok(&[0; REGION_SIZE]), Ok(&[0; REGION_SIZE])]);
    let because = "boot record unreadable (both regions are empty), and the machine crashed: \
                   newest signed slot last";
    let crashed = Circumstances {
        newest_signed: Some(Slot::B),
        crashed: true,
        force: None,
    };
    let order = [format!("slot a: {because}"), format!("slot b: {because}")];
    assert_eq!(told(&state, &crashed), order);
    let unsigned = Circumstances {
        newest_signed: None,
        ..crashed
    };
    assert_eq!(decide(&state, &unsigned)[0].0, Slot::B);
    let forced = Circumstances {
        force: Some(Slot::B),
        ..crashed
    };
    let forced = decide(&state, &forced);
    assert_eq!(forced[0], (Slot::B, Why::Forced));
    assert_eq!(forced[1].0, Slot::A);
    let quiet = Circumstances {
        crashed: false,
        ..crashed
    };
    assert_eq!(decide(&state, &quiet)[0].0, Slot::B);
}

/// A slot on trial was booted on a disk that takes no writes, for ever.
#[test]
fn a_slot_on_trial_that_cannot_be_counted_lets_the_committed_one_pass() {
    let committed = Why::Committed {
        priority: 1,
        rank: 1,
        tries_left: 3,
    };
    let trial = Why::TriesLeft {
        priority: 2,
        rank: 0,
        tries_left: 3,
    };
    let late = Why::ForcedLate {
        why: PassedOver::Exhausted,
    };
    assert!(is_put_off(&trial, [&committed]));
    assert!(is_put_off(&trial, [&late, &committed]));
    for (why, rest) in [
        (&trial, vec![]),
        (&trial, vec![&trial, &late]),
        (&committed, vec![&trial]),
        (&Why::Forced, vec![&committed]),
        (&Why::LastGood, vec![&committed]),
    ] {
        assert!(!is_put_off(why, rest.iter().copied()), "{why}, {rest:?}");
    }
}

#[test]
fn when_nothing_may_boot_the_record_says_why() {
    let mut record = image();
    record.committed = None;
    record.slot_mut(Slot::A).tries_left = 0;
    record.slot_mut(Slot::B).priority = 0;
    let state = valid(&record);
    assert_eq!(say(&state, None), Vec::<String>::new());
    assert_eq!(
        passed_over(&state),
        [
            (Slot::A, PassedOver::Exhausted),
            (Slot::B, PassedOver::Disabled)
        ]
    );
}

#[test]
fn an_image_with_one_slot_never_offers_the_empty_one() {
    let record = Record::for_image(None, Some((RootHash::new([1; 32]), 1)));
    assert_eq!(record.committed, Some(Slot::B));
    assert_eq!(
        say(&valid(&record), None),
        ["slot b: highest priority 1, committed"]
    );
}

/// Both slots given up, and the only loop left was an endless reboot.
#[test]
fn the_last_good_slot_gets_its_turn_and_so_does_the_other() {
    let mut record = image();
    for slot in &mut record.slots {
        slot.tries_left = 0;
    }
    let turns = |change: &dyn Fn(&mut Record)| {
        let mut record = record.clone();
        change(&mut record);
        [0, 1, 2, 255].map(|rescues| {
            record.rescues = rescues;
            assert_eq!(say(&valid(&record), None), Vec::<String>::new());
            last_good(&valid(&record))
        })
    };
    let (a, b) = (Some(Slot::A), Some(Slot::B));
    assert_eq!(turns(&|_| {}), [a, b, a, b]);
    assert_eq!(turns(&|record| record.committed = b), [b, a, b, a]);
    // A sound root before one that is known to be bad, and that before none.
    assert_eq!(turns(&|record| record.slots[0].verity_bad = true), [b; 4]);
    assert_eq!(
        turns(&|record| record
            .slots
            .iter_mut()
            .for_each(|slot| slot.verity_bad = true)),
        [a, b, a, b]
    );
    // A slot that never held a system has no turn.
    assert_eq!(turns(&|record| record.slots[1].priority = 0), [a; 4]);
    assert_eq!(
        turns(&|record| {
            record.committed = None;
            record.slots = [SlotRecord::default(); 2];
        }),
        [None; 4]
    );
}

#[test]
fn pauses_in_rescue_grow_to_an_hour() {
    let minutes =
        [0, 1, 2, 3, 4, 5, 6, 7, 200, 255].map(|rescues| rescue_pause(rescues).as_secs() / 60);
    assert_eq!(minutes, [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]);
    assert_eq!(rescue_pause(0), Duration::from_secs(60));
}

/// Where an unreadable record was taken for an empty one, a device forgot what it had counted.
#[test]
fn a_new_record_may_be_begun_only_where_nothing_is_hidden() {
    let above = |regions: [Result<&[u8], String>; 2]| match newest(regions) {
        RecordState::Unreadable { rebuild_above, .. } => rebuild_above,
        RecordState::Newest(newest) => panic!("{:?}", newest.record),
    };
    let with = |change: &dyn Fn(&mut Record, &mut [u8; RECORD_SIZE])| {
        let mut record = image();
        record.sequence = 77;
        let mut bytes = record.encode();
        change(&mut record, &mut bytes);
        let mut region = vec![0; REGION_SIZE];
        region[..RECORD_SIZE].copy_from_slice(&bytes);
        region
    };
    let empty = vec![0; REGION_SIZE];
    assert_eq!(above([Ok(&empty), Ok(&vec![0xff; REGION_SIZE])]), Some(0));
    // Damaged beyond use: the new record is counted on from what can be seen of it.
    let damaged = with(&|_, bytes| bytes[2000] ^= 1);
    assert_eq!(above([Ok(&empty), Ok(&damaged)]), Some(77));
    // A damaged number is not believed.
    let absurd = with(&|_, bytes| bytes[23] ^= 0x80);
    assert_eq!(above([Ok(&absurd), Ok(&empty)]), Some(0));
    let foreign = with(&|_, bytes| bytes[..8].copy_from_slice(b"ANOTHER!"));
    assert_eq!(above([Ok(&foreign), Ok(&empty)]), Some(0));
    // It may hold the counters, only not for us.
    let newer = with(&|_, bytes| bytes[8] = 2);
    assert_eq!(above([Ok(&newer), Ok(&empty)]), None);
    let unsound = with(&|record, bytes| {
        record.trial = Some(Slot::A);
        *bytes = record.encode();
    });
    assert_eq!(above([Ok(&unsound), Ok(&empty)]), None);
    assert_eq!(above([Err("EIO".to_owned()), Ok(&empty)]), None);
    assert_eq!(above([Ok(&empty[..RECORD_SIZE]), Ok(&empty)]), None);
}

#[test]
fn places_beside_stay_in_their_region() {
    let first = Place::new(1, RECORDS - 2).unwrap();
    let beside = first.beside();
    assert_eq!(beside, Place::new(1, RECORDS - 1).unwrap());
    assert_eq!(beside.beside(), Place::new(1, 0).unwrap());
}

proptest! {
    #[test]
    fn a_decision_names_each_slot_once_and_the_forced_one_first(
        slots in any::<[(u8, u8, bool); 2]>(), committed in 0..3usize, force in 0..3usize
    ) {
        let any_slot = [None, Some(Slot::A), Some(Slot::B)];
        let mut record = image();
        record.committed = any_slot[committed];
        for (entry, (priority, tries_left, verity_bad)) in record.slots.iter_mut().zip(slots) {
            (entry.priority, entry.tries_left, entry.verity_bad) = (priority, tries_left, verity_bad);
        }
        let state = valid(&record);
        let candidates = decide(&state, &forced(any_slot[force]));
        prop_assert!(candidates.len() <= 2);
        prop_assert!(candidates.len() < 2 || candidates[0].0 != candidates[1].0);
        if let Some(forced) = any_slot[force] {
            let entry = record.slot(forced);
            let allowed = decide(&state, &Circumstances::default());
            if entry.tries_left > 0 && !entry.verity_bad {
                prop_assert_eq!(candidates[0].0, forced);
            } else if let Some((first, _)) = allowed.first() {
                // Given up, it never stands before one that may boot.
                prop_assert_eq!((candidates[0].0, candidates[1].0), (*first, forced));
            } else {
                prop_assert!(candidates.is_empty());
            }
        } else {
            // Each slot is a candidate or passed over, and never both.
            let out = passed_over(&state);
            prop_assert_eq!(candidates.len() + out.len(), 2);
            let priorities: Vec<u8> = candidates
                .iter()
                .map(|(slot, _)| record.slot(*slot).priority)
                .collect();
            prop_assert!(priorities.is_sorted_by(|a, b| a >= b));
        }
    }
}
