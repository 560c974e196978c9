//! What lies on the data partition: hostile bytes where superblocks are looked for.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mounts::superblock::{LENGTH, Superblock};

fuzz_target!(|data: &[u8]| {
    let _ = Superblock::parse(data);
    let (ext4, btrfs) = data.split_at(data.len() / 2);
    let mut partition = vec![0; LENGTH];
    for (at, field) in [(1024, ext4), (0x1_0000, btrfs)] {
        let length = field.len().min(1024);
        partition[at..at + length].copy_from_slice(&field[..length]);
    }
    for magic in [false, true] {
        if magic {
            partition[0x1_0040..0x1_0048].copy_from_slice(b"_BHRfS_M");
        }
        if let Some(found) = Superblock::parse(&partition) {
            assert!(found.block_size.is_power_of_two() && found.block_size <= 65_536);
        }
        partition[1024 + 0x38..1024 + 0x3a].copy_from_slice(&0xEF53_u16.to_le_bytes());
    }
});
