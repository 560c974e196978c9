//! Boot records, regions and the choice of a slot, as their callers use them.
// The whole file is a test; clippy takes only what is marked `#[test]` for one.
#![allow(clippy::unwrap_used, clippy::panic)]

use mounts::slot::Slot;
use mounts::slot::decide::{PassedOver, Why, decide, passed_over};
use mounts::slot::record::{
    Ended, HISTORY_MAX, PastBoot, Phase, RECORD_SIZE, Reason, Record, RecordError, SlotRecord,
};
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

fn resealed(mut bytes: [u8; RECORD_SIZE], offset: usize, value: u8) -> [u8; RECORD_SIZE] {
    bytes[offset] = value;
    let crc = crc32c::crc32c(&bytes[..RECORD_SIZE - 4]);
    bytes[RECORD_SIZE - 4..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn valid(record: &Record) -> RecordState {
    let mut region = vec![0; REGION_SIZE];
    region[..RECORD_SIZE].copy_from_slice(&record.encode());
    newest([Ok(&region), Ok(&vec![0xff; REGION_SIZE])])
}

#[test]
fn the_layout_is_the_documented_one() {
    let mut record = image();
    record.sequence = 0x0102_0304_0506_0708;
    record.boot_id = [9; 16];
    record.trial = Some(Slot::B);
    record.phase = Phase::Trial;
    record.reason = Reason::Update;
    record.slot_mut(Slot::B).state_generation = 7;
    record.history.push(PastBoot {
        slot: Slot::A,
        ended: Ended::VerityFault,
        uptime_seconds: 300,
    });
    let bytes = record.encode();
    for (offset, expect) in [
        (0, &b"SHARKREC"[..]),
        (8, &[1, 0, 0, 0, 0, 0, 0, 0]),
        (16, &[8, 7, 6, 5, 4, 3, 2, 1]),
        (24, &[9; 16]),
        (40, &[1, 2, 2, 4, 0, 0, 0, 0]),
        (48, &[2, 3, 1, 0, 3, 0, 0, 0]),
        (64, &[0xaa; 32]),
        (96, &[0; 16]),
        (112, &[1, 3, 0, 0, 4, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0]),
        (128, &[0xbb; 32]),
        (256, &[1, 5, 0, 0, 0x2c, 1, 0, 0, 0]),
        (272, &[0; 16]),
        (4056, &[0; 36]),
    ] {
        assert_eq!(&bytes[offset..offset + expect.len()], expect, "{offset}");
    }
    assert_eq!(Record::decode(&bytes), Ok(record));
}

#[test]
fn each_defect_has_its_own_error() {
    let good = image().encode();
    let check = |bytes: &[u8], expect: RecordError| {
        assert_eq!(Record::decode(bytes), Err(expect.clone()), "{expect}");
    };
    check(&good[1..], RecordError::Length(RECORD_SIZE - 1));
    check(&[0; RECORD_SIZE], RecordError::Blank);
    check(&[0xff; RECORD_SIZE], RecordError::Blank);
    check(&resealed(good, 0, b'X'), RecordError::Magic(*b"XHARKREC"));
    check(&resealed(good, 8, 2), RecordError::Version(2));
    check(&resealed(good, 12, 1), RecordError::Reserved { offset: 12 });
    let slot = |field, value| RecordError::Slot { field, value };
    check(&resealed(good, 40, 3), slot("committed slot", 3));
    check(&resealed(good, 41, 255), slot("trial slot", 255));
    check(&resealed(good, 256, 9), slot("slot of a past boot", 9));
    let value = |field, value| RecordError::Value { field, value };
    check(&resealed(good, 42, 4), value("phase", 4));
    check(&resealed(good, 43, 6), value("reason", 6));
    check(&resealed(good, 50, 2), value("good", 2));
    check(&resealed(good, 115, 7), value("verity-bad", 7));
    check(&resealed(good, 44, 1), RecordError::Reserved { offset: 44 });
    check(
        &resealed(good, 111, 1),
        RecordError::Reserved { offset: 111 },
    );
    check(
        &resealed(good, 255, 1),
        RecordError::Reserved { offset: 255 },
    );
    check(
        &resealed(good, 260, 1),
        RecordError::Reserved { offset: 256 },
    );
    check(
        &resealed(good, 272, 1),
        RecordError::HistoryGap { offset: 256 },
    );
    check(
        &resealed(good, 4055, 1),
        RecordError::Reserved { offset: 4055 },
    );
    check(&resealed(good, 4056, 1), RecordError::Authentication(1));
    check(
        &resealed(good, 4060, 1),
        RecordError::Reserved { offset: 4060 },
    );
    let mut torn = good;
    torn[512..].fill(0);
    assert!(matches!(
        Record::decode(&torn),
        Err(RecordError::Checksum { stored: 0, .. })
    ));
    assert!(
        RecordError::Version(2)
            .to_string()
            .contains("knows only version 1")
    );
}

#[test]
fn the_history_forgets_the_oldest() {
    let mut record = image();
    for uptime_seconds in 0..100 {
        record.history.push(PastBoot {
            slot: Slot::B,
            ended: Ended::Reboot,
            uptime_seconds,
        });
    }
    let decoded = Record::decode(&record.encode()).unwrap();
    let uptimes: Vec<u32> = decoded.history.iter().map(|b| b.uptime_seconds).collect();
    assert_eq!(uptimes.len(), HISTORY_MAX);
    assert_eq!(uptimes[0], 99);
    assert_eq!(uptimes[63], 36);
}

#[test]
fn places_go_round_in_the_other_region() {
    let mut place = Place::FIRST;
    let mut seen = Vec::new();
    for _ in 0..2 * RECORDS {
        assert!(!seen.contains(&place));
        seen.push(place);
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
    decide(state, force)
        .iter()
        .map(|(slot, why)| format!("slot {slot}: {why}"))
        .collect()
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
    // A committed slot needs no tries; one that is not does.
    check(
        &|record| record.slots.iter_mut().for_each(|slot| slot.tries_left = 0),
        None,
        &["slot a: highest priority 2, committed"],
    );
    check(
        &|record| record.slot_mut(Slot::A).verity_bad = true,
        None,
        &["slot b: highest priority 1, not committed, 3 tries left"],
    );
    // Forced is forced, whatever the record says.
    check(
        &|record| *record.slot_mut(Slot::B) = SlotRecord::default(),
        Some(Slot::B),
        &[
            "slot b: forced by shark.slot= on the kernel command line",
            "slot a: highest priority 2, committed",
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
    let because = "boot record unreadable (both regions are empty): trying a, then b";
    assert_eq!(
        say(&state, None),
        [format!("slot a: {because}"), format!("slot b: {because}")]
    );
    let forced = decide(&RecordState::unreadable("no partition"), Some(Slot::B));
    assert_eq!(forced[0], (Slot::B, Why::Forced));
    assert_eq!(forced[1].0, Slot::A);
    assert_eq!(passed_over(&state), []);
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

fn slot() -> impl Strategy<Value = Option<Slot>> {
    prop_oneof![Just(None), Just(Some(Slot::A)), Just(Some(Slot::B))]
}

fn slot_record() -> impl Strategy<Value = SlotRecord> {
    any::<(u8, u8, bool, bool, u32, u64, [u8; 32])>().prop_map(
        |(priority, tries_left, good, verity_bad, security_version, state_generation, hash)| {
            SlotRecord {
                priority,
                tries_left,
                good,
                verity_bad,
                security_version,
                state_generation,
                root_hash: RootHash::new(hash),
            }
        },
    )
}

fn record() -> impl Strategy<Value = Record> {
    let boots = prop::collection::vec(any::<(bool, u32)>(), 0..80);
    (
        any::<(u64, [u8; 16])>(),
        slot(),
        slot(),
        [slot_record(), slot_record()],
        boots,
    )
        .prop_map(|((sequence, boot_id), committed, trial, slots, boots)| {
            let mut record = image();
            record.sequence = sequence;
            record.boot_id = boot_id;
            record.committed = committed;
            record.trial = trial;
            record.slots = slots;
            for (b, uptime_seconds) in boots {
                record.history.push(PastBoot {
                    slot: if b { Slot::B } else { Slot::A },
                    ended: Ended::Panic,
                    uptime_seconds,
                });
            }
            record
        })
}

proptest! {
    #[test]
    fn records_round_trip(record in record()) {
        prop_assert_eq!(Record::decode(&record.encode()), Ok(record));
    }

    #[test]
    fn one_flipped_bit_is_found(record in record(), bit in 0..RECORD_SIZE * 8) {
        let mut bytes = record.encode();
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(Record::decode(&bytes).is_err());
    }

    #[test]
    fn hostile_fields_never_panic_and_never_alias(
        offset in 12usize..RECORD_SIZE - 4, value in any::<u8>(), record in record()
    ) {
        let bytes = resealed(record.encode(), offset, value);
        if let Ok(decoded) = Record::decode(&bytes) {
            prop_assert_eq!(decoded.encode(), bytes);
        }
    }

    #[test]
    fn a_torn_write_leaves_the_record_before_it(old in record(), cut in 0usize..RECORD_SIZE) {
        let mut old = old;
        old.sequence = 10;
        let mut new = old.clone();
        new.sequence = 11;
        let mut first = vec![0; REGION_SIZE];
        first[..RECORD_SIZE].copy_from_slice(&old.encode());
        let mut second = vec![0; REGION_SIZE];
        second[..cut].copy_from_slice(&new.encode()[..cut]);
        let state = newest([Ok(&first), Ok(&second)]);
        let found = state.record().unwrap();
        // A tear may spare the record when all that is lost were zeros anyway.
        prop_assert!(*found == old || *found == new);
        prop_assert!(cut == RECORD_SIZE || *found == old || new.encode()[cut..].iter().all(|b| *b == 0));
    }

    #[test]
    fn a_decision_names_each_slot_once(record in record(), force in slot()) {
        let state = valid(&record);
        let candidates = decide(&state, force);
        prop_assert!(candidates.len() <= 2);
        prop_assert!(candidates.len() < 2 || candidates[0].0 != candidates[1].0);
        if let Some(forced) = force {
            prop_assert_eq!(candidates[0].0, forced);
        }
    }
}
