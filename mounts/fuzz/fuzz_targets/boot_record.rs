//! Boot records and regions: hostile bytes, with checksums that are made to fit.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mounts::slot::Slot;
use mounts::slot::decide::{decide, passed_over};
use mounts::slot::record::{RECORD_SIZE, Record};
use mounts::slot::region::newest;

fuzz_target!(|data: &[u8]| {
    let mut regions = [Vec::new(), Vec::new()];
    for (index, chunk) in data.chunks(RECORD_SIZE).enumerate() {
        let mut bytes = [0; RECORD_SIZE];
        bytes[..chunk.len()].copy_from_slice(chunk);
        let crc = crc32c::crc32c(&bytes[..RECORD_SIZE - 4]);
        // One in four keeps the checksum it came with.
        if bytes[12] != 1 {
            bytes[RECORD_SIZE - 4..].copy_from_slice(&crc.to_le_bytes());
        }
        if let Ok(record) = Record::decode(&bytes) {
            assert_eq!(record.encode(), bytes, "two byte strings for one record");
        }
        regions[index % 2].extend_from_slice(&bytes);
    }
    let [first, second] = &regions;
    let state = newest([Ok(first), Ok(second)]);
    for force in [None, Some(Slot::A), Some(Slot::B)] {
        let candidates = decide(&state, force, None);
        assert!(candidates.len() <= 2);
        for (slot, why) in &candidates {
            let _ = format!("slot {slot}: {why}");
        }
    }
    let _ = passed_over(&state);
});
