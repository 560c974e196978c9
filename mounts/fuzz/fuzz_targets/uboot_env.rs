//! The environment of U-Boot: two files of hostile bytes, whose checksums are first made to fit so that
//! the fuzzer gets past them.
#![no_main]

use crc::{CRC_32_ISO_HDLC, Crc};
use libfuzzer_sys::fuzz_target;
use mounts::loader::environment::{Copy, Pair, SIZE};

const CRC32: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

fn file(data: &[u8], fits: bool) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    bytes.extend_from_slice(data);
    if fits {
        bytes.resize(SIZE, 0);
        let sum = CRC32.checksum(&bytes[5..]);
        bytes[..4].copy_from_slice(&sum.to_le_bytes());
    }
    bytes
}

fuzz_target!(|data: &[u8]| {
    let Some((flags, data)) = data.split_first() else {
        return;
    };
    let (first, second) = data.split_at(data.len() / 2);
    let first = Copy::parse(&file(first, flags & 1 == 0));
    let second = Copy::parse(&file(second, flags & 2 == 0));
    let pair = Pair::of([first.clone(), second.clone()]);
    assert!(pair.next < 2);
    let Ok(bytes) = pair.environment.encode(pair.serial) else {
        return;
    };
    // What is written counts afterwards, and says the same.
    let written = Copy::parse(&bytes);
    assert!(written.is_some());
    let copies = match pair.next {
        0 => [written, second],
        _ => [first, written],
    };
    let again = Pair::of(copies);
    assert!(again.whole && again.environment == pair.environment);
});
