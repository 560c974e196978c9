//! One boot record, byte by byte: what is written is read, and what is not written so is refused.
// The whole file is a test; clippy takes only what is marked `#[test]` for one.
#![allow(clippy::unwrap_used, clippy::panic)]

use mounts::keyring::LinkId;
use mounts::slot::Slot;
use mounts::slot::account::charge;
use mounts::slot::decide::Why;
use mounts::slot::judge::{CRASHES_MAX, CUTS_GOOD, CUTS_TRIAL, Stamp};
use mounts::slot::record::{
    Attempt, AttemptState, Ended, HISTORY_MAX, PastBoot, Phase, RECORD_SIZE, Reason, Record,
    RecordError, SlotRecord, Stage, TEXT_MAX, TRIES, Text,
};
use mounts::verity::RootHash;
use proptest::prelude::*;

fn image() -> Record {
    Record::for_image(
        Some((RootHash::new([0xaa; 32]), 3)),
        Some((RootHash::new([0xbb; 32]), 4)),
    )
}

fn attempt() -> Attempt {
    Attempt {
        slot: Slot::B,
        number: 5,
        boot_id: [9; 16],
        state: AttemptState::Failed(Ended::GateFailed),
        stage: Stage::Gate,
        started_unix: 0x0102_0304,
        uptime_seconds: 61,
        text: Text::from("app: not ready"),
    }
}

fn past(ended: Ended, number: u32) -> PastBoot {
    PastBoot {
        number,
        slot: Slot::A,
        ended,
        stage: Stage::Running,
        uptime_seconds: 300,
        ended_unix: 0x0506_0708,
        times: 1,
        text: Text::default(),
    }
}

fn full() -> Record {
    let mut record = image();
    record.sequence = 0x0102_0304_0506_0708;
    record.boot_id = [9; 16];
    record.trial = Some(Slot::B);
    record.phase = Phase::Trial;
    record.reason = Reason::Failed;
    record.rescues = 2;
    record.redirects = 1;
    record.boots = 6;
    record.crash_id = 0x0a0b_0c0d;
    record.security_floor = 0x0304;
    record.key_link = LinkId {
        sequence: 0x0506,
        digest: [0xdd; 16],
    };
    let b = record.slot_mut(Slot::B);
    b.state_generation = 7;
    b.crashes = 1;
    b.power_cuts = 11;
    record.attempt = Some(attempt());
    record.history.push(PastBoot {
        text: Text::from("ja, größer"),
        ..past(Ended::VerityFault, 3)
    });
    record.history.push(past(Ended::Reboot, 4));
    record
}

/// `good` with one byte changed and the checksum made to fit.
fn resealed(mut bytes: [u8; RECORD_SIZE], offset: usize, value: u8) -> [u8; RECORD_SIZE] {
    bytes[offset] = value;
    let crc = crc32c::crc32c(&bytes[..RECORD_SIZE - 4]);
    bytes[RECORD_SIZE - 4..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

#[test]
fn the_layout_is_the_documented_one() {
    let record = full();
    let bytes = record.encode();
    for (offset, expect) in [
        (0, &b"SHARKREC"[..]),
        (8, &[1, 0, 0, 0, 0, 0, 0, 0]),
        (16, &[8, 7, 6, 5, 4, 3, 2, 1]),
        (24, &[9; 16]),
        (40, &[1, 2, 2, 3, 2, 1, 0, 0]),
        (48, &[6, 0, 0, 0, 0x0d, 0x0c, 0x0b, 0x0a]),
        (56, &[4, 3, 0, 0, 6, 5, 0, 0]),
        // Slot a.
        (64, &[2, 3, 1, 0, 3, 0, 0, 0]),
        (80, &[0xaa; 32]),
        (112, &[0; 16]),
        // Slot b.
        (128, &[1, 3, 0, 0, 4, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0]),
        (144, &[0xbb; 32]),
        (176, &[1, 11, 0, 0]),
        // The attempt.
        (192, &[2, 2, 6, 1, 5, 0, 0, 0]),
        (200, &[4, 3, 2, 1, 0, 0, 0, 0]),
        (208, &[9; 16]),
        (224, &[61, 0, 0, 0]),
        (228, b"app: not ready\0\0"),
        (300, &[0; 20]),
        (320, &[0xdd; 16]),
        (336, &[0; 176]),
        // The history, the newest first.
        (512, &[1, 2, 2, 0, 4, 0, 0, 0, 8, 7, 6, 5, 0, 0, 0, 0]),
        (528, &[0x2c, 1, 0, 0, 1, 0, 0, 0, 0]),
        (608, &[1, 5, 2, 0, 3, 0, 0, 0]),
        (632, "ja, größer\0".as_bytes()),
        (704, &[0; 96]),
        (4056, &[0; 36]),
    ] {
        assert_eq!(&bytes[offset..offset + expect.len()], expect, "{offset}");
    }
    assert_eq!(Record::decode(&bytes), Ok(record));
}

#[test]
fn each_word_has_its_byte_and_no_other_byte_has_a_word() {
    let check = |offset: usize, words: &[&str]| {
        let mut record = full();
        // A trial slot belongs to some phases and not to others.
        record.trial = None;
        record.phase = Phase::Settled;
        let bytes = record.encode();
        for (byte, word) in (0..).zip(words) {
            let bytes = resealed(bytes, offset, byte);
            let told = match Record::decode(&bytes) {
                Ok(record) => format!("{record:?}"),
                Err(RecordError::Contradiction(_)) => continue,
                Err(error) => panic!("byte {byte} at {offset}: {error}"),
            };
            let variant: String = word.split('-').map(capital).collect();
            assert!(told.contains(&variant), "{variant}: {told}");
        }
        let next = u8::try_from(words.len()).unwrap();
        assert!(matches!(
            Record::decode(&resealed(bytes, offset, next)),
            Err(RecordError::Value { value, .. }) if value == next
        ));
    };
    let phases: Vec<&str> = Phase::ALL.iter().map(|it| it.as_str()).collect();
    let reasons: Vec<&str> = Reason::ALL.iter().map(|it| it.as_str()).collect();
    let ends: Vec<&str> = Ended::ALL.iter().map(|it| it.as_str()).collect();
    let stages: Vec<&str> = Stage::ALL.iter().map(|it| it.as_str()).collect();
    check(42, &phases);
    check(43, &reasons);
    check(194, &ends);
    check(195, &stages);
    check(513, &ends);
    check(514, &stages);
}

fn capital(word: &str) -> String {
    let (first, rest) = word.split_at(1);
    first.to_uppercase() + rest
}

#[test]
fn each_defect_has_its_own_error() {
    let good = full().encode();
    let check = |bytes: &[u8], expect: RecordError| {
        assert_eq!(Record::decode(bytes), Err(expect.clone()), "{expect}");
    };
    let at = |offset, value| resealed(good, offset, value);
    check(&good[1..], RecordError::Length(RECORD_SIZE - 1));
    check(&[0; RECORD_SIZE], RecordError::Blank);
    check(&[0xff; RECORD_SIZE], RecordError::Blank);
    check(&at(0, b'X'), RecordError::Magic(*b"XHARKREC"));
    check(&at(8, 2), RecordError::Version(2));
    let slot = |field, value| RecordError::Slot { field, value };
    check(&at(40, 3), slot("committed slot", 3));
    check(&at(41, 255), slot("trial slot", 255));
    check(&at(192, 3), slot("slot of the attempt", 3));
    check(&at(608, 9), slot("slot of a past boot", 9));
    let value = |field, value| RecordError::Value { field, value };
    check(&at(42, 4), value("phase", 4));
    check(&at(43, 11), value("reason", 11));
    check(&at(66, 2), value("good", 2));
    check(&at(131, 7), value("verity-bad", 7));
    check(&at(193, 4), value("state of the attempt", 4));
    check(&at(194, 15), value("end of a boot", 15));
    check(&at(195, 4), value("stage of a boot", 4));
    check(&at(513, 15), value("end of a boot", 15));
    check(&at(532, 0), value("times of a past boot", 0));
    for offset in [
        12, 46, 114, 127, 178, 300, 319, 336, 511, 515, 534, 3584, 4055, 4060, 4091,
    ] {
        check(&at(offset, 1), RecordError::Reserved { offset });
    }
    // An open attempt has not ended in any way.
    check(&at(193, 0), RecordError::Reserved { offset: 194 });
    check(&at(705, 1), RecordError::Reserved { offset: 705 });
    let mut gap = good;
    gap.copy_within(608..704, 704);
    gap[608..704].fill(0);
    check(
        &resealed(gap, 608, 0),
        RecordError::HistoryGap { offset: 608 },
    );
    check(&at(4056, 1), RecordError::Authentication(1));
    for (offset, byte) in [
        (228, 0xff),
        (229, b'\n'),
        (228, b' '),
        (242, b' '),
        (299, 1),
    ] {
        check(&at(offset, byte), RecordError::Text { offset: 228 });
    }
    check(&at(632, 0), RecordError::Text { offset: 632 });
    let mut torn = good;
    torn[512..].fill(0);
    assert!(matches!(
        Record::decode(&torn),
        Err(RecordError::Checksum {
            stored: 0,
            sequence: 0x0102_0304_0506_0708,
            ..
        })
    ));
    let words = RecordError::Version(2).to_string();
    assert!(words.contains("knows only version 1"), "{words}");
}

#[test]
fn fields_that_contradict_each_other_are_no_record() {
    let contradicts = |change: &dyn Fn(&mut Record)| {
        let mut record = full();
        change(&mut record);
        let decoded = Record::decode(&record.encode());
        assert!(
            matches!(decoded, Err(RecordError::Contradiction(_))),
            "{decoded:?}"
        );
    };
    contradicts(&|record| record.trial = None);
    contradicts(&|record| record.phase = Phase::RolledBack);
    contradicts(&|record| record.committed = Some(Slot::B));
    contradicts(&|record| record.boots = 4);
    contradicts(&|record| record.attempt.as_mut().unwrap().number = 0);
}

#[test]
fn the_history_forgets_the_oldest() {
    let mut record = image();
    for number in 0..100 {
        let ended = if number % 2 == 0 {
            Ended::Reboot
        } else {
            Ended::Panic
        };
        record.history.push(past(ended, number));
    }
    let decoded = Record::decode(&record.encode()).unwrap();
    let numbers: Vec<u32> = decoded.history.iter().map(|boot| boot.number).collect();
    assert_eq!(numbers.len(), HISTORY_MAX);
    assert_eq!(numbers[0], 99);
    assert_eq!(numbers[HISTORY_MAX - 1], 68);
}

/// Flapping power wrote the history full of the same line, and the one that mattered was gone.
#[test]
fn equal_ends_in_a_row_are_one_entry_that_counts_them() {
    let mut record = image();
    record.history.push(past(Ended::Panic, 1));
    for number in 2..102 {
        record.history.push(past(Ended::PowerCut, number));
    }
    record.history.push(PastBoot {
        text: Text::from("other words"),
        ..past(Ended::PowerCut, 102)
    });
    let told: Vec<(Ended, u32, u16)> = record
        .history
        .iter()
        .map(|boot| (boot.ended, boot.number, boot.times))
        .collect();
    assert_eq!(
        told,
        [
            (Ended::PowerCut, 102, 1),
            (Ended::PowerCut, 101, 100),
            (Ended::Panic, 1, 1)
        ]
    );
    let mut counted = past(Ended::Panic, 1);
    counted.times = u16::MAX;
    record.history.push(counted);
    record.history.push(past(Ended::Panic, 2));
    assert_eq!(record.history.newest().unwrap().times, u16::MAX);
}

#[test]
fn a_text_is_one_line_that_fits() {
    for (text, expect) in [
        ("plain", "plain"),
        (
            "two\nlines\tand\u{7f}more\u{9b}31m",
            "two lines and more 31m",
        ),
        ("  \nspaces at the ends\r\n", "spaces at the ends"),
        ("", ""),
    ] {
        assert_eq!(Text::from(text).as_str(), expect);
    }
    let long = Text::from("ä".repeat(40).as_str());
    assert_eq!(long.as_str(), "ä".repeat(36));
    // A cut inside a character leaves that out, and then the space before it.
    let cut = Text::from(format!("{} äää", "x".repeat(70)).as_str());
    assert_eq!(cut.as_str(), "x".repeat(70));
    assert!(cut.as_str().len() <= TEXT_MAX);
}

/// The manual without its markup.
fn manual() -> String {
    include_str!("../../man/shark-boot-record.5").replace('\\', "")
}

#[test]
fn the_manual_has_every_word_with_its_byte_and_every_figure() {
    let manual = manual().replace('\n', " ");
    let words = |all: &[&str]| {
        let list: Vec<String> = (0..)
            .zip(all)
            .map(|(byte, word): (u8, _)| format!("{byte} {word}"))
            .collect();
        let list = list.join(", ");
        assert!(manual.contains(&list), "{list}");
    };
    words(&Ended::ALL.iter().map(|it| it.as_str()).collect::<Vec<_>>());
    words(&Stage::ALL.iter().map(|it| it.as_str()).collect::<Vec<_>>());
    words(&Phase::ALL.iter().map(|it| it.as_str()).collect::<Vec<_>>());
    words(&Reason::ALL.iter().map(|it| it.as_str()).collect::<Vec<_>>());
    for figure in [
        format!("A slot has {TRIES}, a committed slot too."),
        format!("history: {HISTORY_MAX} entries of 96 bytes"),
        format!("36|{TEXT_MAX}|"),
        "Twelve of a slot that was never good, 100 of one that was".to_owned(),
        "Three of them use up all tries".to_owned(),
    ] {
        assert!(manual.contains(&figure), "{figure}");
    }
    assert_eq!((CRASHES_MAX, CUTS_TRIAL, CUTS_GOOD), (3, 12, 100));
}

#[test]
fn the_manual_shows_a_record_as_it_is() {
    let mut record = image();
    charge(
        &mut record,
        Slot::B,
        &Why::Forced,
        [7; 16],
        Stamp {
            unix: 1_800_000_000,
        },
    );
    record.sequence = 2;
    let bytes = record.encode();
    let manual = manual();
    let mut lines = 0;
    for line in manual.lines().filter(|line| line.starts_with("0000")) {
        let (offset, dump) = line.split_once(' ').unwrap();
        let at: usize = offset.parse().unwrap();
        let expect: Vec<String> = bytes[at..at + 16]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(dump, expect.join(" "), "{offset}");
        lines += 1;
    }
    assert_eq!(lines, 7);
}

fn slot() -> impl Strategy<Value = Slot> {
    prop_oneof![Just(Slot::A), Just(Slot::B)]
}

fn text() -> impl Strategy<Value = Text> {
    any::<String>().prop_map(|text| Text::from(text.as_str()))
}

fn ended() -> impl Strategy<Value = Ended> {
    prop::sample::select(Ended::ALL)
}

fn stage() -> impl Strategy<Value = Stage> {
    prop::sample::select(Stage::ALL)
}

fn slot_record() -> impl Strategy<Value = SlotRecord> {
    let counters = any::<(u8, u8, u8, u8)>();
    (counters, any::<(bool, bool, u32, u64, [u8; 32])>()).prop_map(
        |(
            (priority, tries_left, crashes, power_cuts),
            (good, verity_bad, security_version, state_generation, hash),
        )| SlotRecord {
            priority,
            tries_left,
            good,
            verity_bad,
            security_version,
            state_generation,
            root_hash: RootHash::new(hash),
            crashes,
            power_cuts,
        },
    )
}

fn past_boot() -> impl Strategy<Value = PastBoot> {
    (
        any::<(u32, u32, u64)>(),
        slot(),
        ended(),
        stage(),
        1u16..,
        text(),
    )
        .prop_map(
            |((number, uptime_seconds, ended_unix), slot, ended, stage, times, text)| PastBoot {
                number,
                slot,
                ended,
                stage,
                uptime_seconds,
                ended_unix,
                times,
                text,
            },
        )
}

fn any_attempt() -> impl Strategy<Value = Attempt> {
    let state = prop_oneof![
        Just(AttemptState::Open),
        Just(AttemptState::Committed),
        ended().prop_map(AttemptState::Failed),
        ended().prop_map(AttemptState::Ended),
    ];
    (
        1u32..=1000,
        any::<([u8; 16], u64, u32)>(),
        slot(),
        state,
        stage(),
        text(),
    )
        .prop_map(
            |(number, (boot_id, started_unix, uptime_seconds), slot, state, stage, text)| Attempt {
                slot,
                number,
                boot_id,
                state,
                stage,
                started_unix,
                uptime_seconds,
                text,
            },
        )
}

/// Any record at all that does not contradict itself.
fn record() -> impl Strategy<Value = Record> {
    (
        any::<(u64, [u8; 16], u8, u32)>(),
        prop::option::of(slot()),
        prop::option::of(prop::sample::select(&[Phase::Installing, Phase::Trial][..])),
        prop::sample::select(Reason::ALL),
        [slot_record(), slot_record()],
        prop::option::of(any_attempt()),
        prop::collection::vec(past_boot(), 0..40),
    )
        .prop_map(
            |(
                (sequence, boot_id, rescues, crash_id),
                committed,
                on_trial,
                reason,
                slots,
                attempt,
                boots,
            )| {
                let mut record = image();
                record.sequence = sequence;
                record.boot_id = boot_id;
                record.rescues = rescues;
                record.redirects = rescues.rotate_left(3);
                record.crash_id = crash_id;
                record.security_floor = crash_id.rotate_left(8);
                record.key_link = LinkId {
                    sequence: crash_id.rotate_left(16),
                    digest: boot_id,
                };
                record.boots = 1000;
                record.committed = committed;
                if let Some(phase) = on_trial {
                    record.phase = phase;
                    record.trial = Some(committed.unwrap_or(Slot::A).other());
                }
                record.reason = reason;
                record.slots = slots;
                record.attempt = attempt;
                for boot in boots {
                    record.history.push(boot);
                }
                record
            },
        )
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
    fn texts_fit_and_come_back(text in any::<String>()) {
        let text = Text::from(text.as_str());
        prop_assert!(text.as_str().len() <= TEXT_MAX);
        prop_assert_eq!(Text::from(text.as_str()), text);
    }
}
