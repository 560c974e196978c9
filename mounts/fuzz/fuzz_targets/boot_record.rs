//! Boot records and regions: hostile bytes, with checksums that are made to fit. What can be read is
//! judged, decided, charged and written again, on a disk in memory.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use mounts::slot::Slot;
use mounts::slot::account::{Running, charge, commit, end, fail, refuse};
use mounts::slot::decide::{Circumstances, Why, decide, last_good, passed_over, rescue_pause};
use mounts::slot::judge::{Evidence, Stamp, judge};
use mounts::slot::record::{Ended, RECORD_SIZE, Record};
use mounts::slot::region::{Newest, Place, RecordState, newest};
use mounts::slot::store::{Medium, append, load};

/// Records at their offsets; what is not there reads as zeros.
#[derive(Default)]
struct Memory(BTreeMap<u64, [u8; RECORD_SIZE]>);

impl Medium for Memory {
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), String> {
        into.fill(0);
        let end = offset + into.len() as u64;
        for (at, bytes) in self.0.range(offset..end) {
            let at = usize::try_from(at - offset).unwrap();
            into[at..at + RECORD_SIZE].copy_from_slice(bytes);
        }
        Ok(())
    }

    fn write(&mut self, offset: u64, block: &[u8; RECORD_SIZE]) -> Result<(), String> {
        self.0.insert(offset, *block);
        Ok(())
    }
}

fuzz_target!(|data: &[u8]| {
    let mut regions = [Vec::new(), Vec::new()];
    let mut memory = Memory::default();
    let mut place = Place::FIRST;
    for (index, chunk) in data.chunks(RECORD_SIZE).enumerate() {
        let mut bytes = [0; RECORD_SIZE];
        bytes[..chunk.len()].copy_from_slice(chunk);
        let crc = crc32c::crc32c(&bytes[..RECORD_SIZE - 4]);
        // Some keep the checksum they came with.
        if bytes[12] != 1 {
            bytes[RECORD_SIZE - 4..].copy_from_slice(&crc.to_le_bytes());
        }
        if let Ok(record) = Record::decode(&bytes) {
            assert_eq!(record.encode(), bytes, "two byte strings for one record");
        }
        regions[index % 2].extend_from_slice(&bytes);
        memory.0.insert(place.offset(), bytes);
        place = place.next();
    }
    let [first, second] = &regions;
    let seen = newest([Ok(first), Ok(second)]);
    let state = load(&mut memory);
    assert_eq!(seen.record(), state.record(), "two readers disagree");
    for force in [None, Some(Slot::A), Some(Slot::B)] {
        let around = Circumstances {
            force,
            newest_signed: Some(Slot::B),
            crashed: data.len() % 2 == 1,
        };
        let candidates = decide(&state, &around);
        assert!(candidates.len() <= 2);
        for (slot, why) in &candidates {
            let _ = format!("slot {slot}: {why}");
        }
    }
    let _ = passed_over(&state);
    if let RecordState::Newest(newest) = state {
        boot(&mut memory, &newest);
    }
});

/// A boot of whatever slot the record allows, to its end.
fn boot(memory: &mut Memory, newest: &Newest) {
    let now = Stamp { unix: 1 };
    let evidence = Evidence {
        watchdog_reset: newest.record.boots % 2 == 1,
        crash: None,
    };
    let mut record = newest.record.clone();
    if let Some(judged) = judge(&mut record, &evidence, now) {
        let _ = judged.to_string();
    }
    assert_eq!(judge(&mut record, &evidence, now), None, "judged twice");
    let judged = RecordState::Newest(Box::new(Newest {
        record: record.clone(),
        ..newest.clone()
    }));
    assert!(rescue_pause(record.rescues).as_secs() >= 60);
    let chosen = decide(&judged, &Circumstances::default()).into_iter().next();
    let chosen = chosen.or_else(|| Some((last_good(&judged)?, Why::LastGood)));
    let Some((slot, why)) = chosen else { return };
    charge(&mut record, slot, &why, [1; 16], now);
    let Ok(state) = append(memory, &judged, record) else {
        // The sequence numbers are used up: the only reason, on a disk that takes everything.
        assert!(newest.highest > u64::MAX - 2);
        return;
    };
    assert_eq!(load(memory).record(), state.record(), "not what was stored");
    let mut record = state.record().unwrap().clone();
    let running = Running {
        slot: Some(slot),
        boot_id: [1; 16],
        ..Running::default()
    };
    match newest.record.crash_id % 4 {
        0 => refuse(&mut record, Ended::ManifestRefused, "fuzz", now),
        1 => fail(&mut record, &running, Ended::GateFailed, 1, "fuzz").unwrap(),
        2 => end(&mut record, &running, Ended::Reboot, 1).unwrap(),
        _ => commit(&mut record, &running, "fuzz").unwrap(),
    }
    if let Ok(state) = append(memory, &state, record) {
        assert_eq!(load(memory).record(), state.record(), "not what was stored");
    }
}
