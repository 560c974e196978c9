//! Partition tables: what is built can be read, and what is damaged is found.
// The whole file is a test; clippy takes only what is marked `#[test]` for one.
#![allow(clippy::unwrap_used, clippy::panic)]

use mounts::dps;
use mounts::gpt::{
    BuildError, FindError, GptError, Guid, Partition, ReadError, Source, Table, build,
    first_usable_lba, last_usable_lba, read,
};
use proptest::prelude::*;

const BLOCKS: u64 = 4096;

fn partition(number: u32, name: &str, first_lba: u64, last_lba: u64) -> Partition {
    Partition {
        number,
        name: name.to_owned(),
        type_guid: dps::VAR,
        uuid: dps::guid_of_text_order([u8::try_from(number).unwrap_or(0xee); 16]),
        first_lba,
        last_lba,
        attributes: 0,
    }
}

fn guid() -> Guid {
    dps::guid_of_text_order([0x5a; 16])
}

fn disk(block_size: u32, partitions: &[Partition]) -> Vec<u8> {
    let chunks = build(block_size, BLOCKS, guid(), partitions).unwrap();
    let mut disk = vec![0; usize::try_from(BLOCKS * u64::from(block_size)).unwrap()];
    let mut end = 0;
    for (offset, bytes) in chunks {
        let offset = usize::try_from(offset).unwrap();
        assert!(offset >= end, "chunks overlap");
        end = offset + bytes.len();
        disk[offset..end].copy_from_slice(&bytes);
    }
    assert_eq!(end, disk.len());
    disk
}

fn read_disk(block_size: u32, disk: &[u8]) -> Result<Table, ReadError> {
    let blocks = disk.len() as u64 / u64::from(block_size);
    read(block_size, blocks, |lba, buffer| {
        let start = usize::try_from(lba * u64::from(block_size)).unwrap();
        let bytes = disk
            .get(start..start + buffer.len())
            .ok_or("past the end")?;
        buffer.copy_from_slice(bytes);
        Ok(())
    })
}

fn two() -> [Partition; 2] {
    [
        partition(1, "shark-state", 40, 99),
        partition(3, "shark-data", 100, 200),
    ]
}

/// Rewrites one field of the primary header, with checksums that fit, and gives the error.
fn primary_error(offset: usize, bytes: &[u8]) -> GptError {
    let mut disk = disk(512, &two());
    disk[512 + offset..512 + offset + bytes.len()].copy_from_slice(bytes);
    reseal(&mut disk);
    match read_disk(512, &disk).unwrap().source {
        Source::Backup { primary } => primary,
        Source::Primary => panic!("the primary should have been refused"),
    }
}

fn reseal(disk: &mut [u8]) {
    let crc = |bytes: &[u8]| {
        let mut crc = u32::MAX;
        for byte in bytes {
            crc ^= u32::from(*byte);
            for _ in 0..8 {
                crc = if crc & 1 == 1 {
                    crc >> 1 ^ 0xedb8_8320
                } else {
                    crc >> 1
                };
            }
        }
        !crc
    };
    let array = crc(&disk[1024..1024 + 128 * 128]);
    disk[512 + 88..512 + 92].copy_from_slice(&array.to_le_bytes());
    disk[512 + 16..512 + 20].fill(0);
    let header = crc(&disk[512..512 + 92]);
    disk[512 + 16..512 + 20].copy_from_slice(&header.to_le_bytes());
}

#[test]
fn what_is_built_is_read_back_on_both_block_sizes() {
    for block_size in [512, 4096] {
        let table = read_disk(block_size, &disk(block_size, &two())).unwrap();
        assert_eq!(table.partitions, two());
        assert_eq!(table.source, Source::Primary);
        assert_eq!(table.disk_guid, guid());
        assert_eq!(table.first_usable_lba, first_usable_lba(block_size));
        assert_eq!(
            Some(table.last_usable_lba),
            last_usable_lba(block_size, BLOCKS)
        );
        assert_eq!(
            table.find("shark-data").unwrap().offset(block_size),
            100 * u64::from(block_size)
        );
        assert_eq!(
            table.find("shark-data").unwrap().size(block_size),
            101 * u64::from(block_size)
        );
    }
    assert_eq!(first_usable_lba(512), 34);
    assert_eq!(last_usable_lba(512, BLOCKS), Some(BLOCKS - 34));
}

#[test]
fn a_protective_mbr_covers_the_disk() {
    let disk = disk(512, &two());
    assert_eq!(&disk[510..512], &[0x55, 0xaa]);
    assert_eq!(disk[446 + 4], 0xee);
    assert_eq!(&disk[446 + 8..446 + 16], &[1, 0, 0, 0, 0xff, 0x0f, 0, 0]);
}

#[test]
fn a_damaged_primary_is_no_harm_and_both_damaged_is_an_error() {
    let mut disk = disk(512, &two());
    disk[512 + 40] ^= 1;
    let table = read_disk(512, &disk).unwrap();
    assert_eq!(
        table.source,
        Source::Backup {
            primary: GptError::HeaderChecksum
        }
    );
    assert_eq!(table.partitions, two());
    let last = disk.len() - 512;
    disk[last] = 0;
    let error = read_disk(512, &disk).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no GUID partition table: primary: header checksum does not fit; backup: no \"EFI PART\" signature"
    );
}

#[test]
fn each_defect_of_a_header_has_its_own_error() {
    assert_eq!(primary_error(0, b"X"), GptError::Signature);
    assert_eq!(
        primary_error(8, &[0, 0, 2, 0]),
        GptError::Revision(0x2_0000)
    );
    assert_eq!(primary_error(12, &[91, 0, 0, 0]), GptError::HeaderSize(91));
    assert_eq!(primary_error(12, &[1, 2, 0, 0]), GptError::HeaderSize(513));
    assert_eq!(
        primary_error(24, &[2]),
        GptError::MyLba {
            expected: 1,
            found: 2
        }
    );
    assert_eq!(
        primary_error(40, &[1]),
        GptError::UsableRange {
            first: 1,
            last: 4062
        }
    );
    assert_eq!(
        primary_error(48, &[0, 0x10]),
        GptError::UsableRange {
            first: 34,
            last: 4096
        }
    );
    assert_eq!(primary_error(72, &[1]), GptError::ArrayBounds { lba: 1 });
    assert_eq!(
        primary_error(72, &[0xff; 8]),
        GptError::ArrayBounds { lba: u64::MAX }
    );
    assert_eq!(primary_error(80, &[0, 0]), GptError::EntryCount(0));
    assert_eq!(primary_error(80, &[1, 4]), GptError::EntryCount(1025));
    assert_eq!(primary_error(84, &[64]), GptError::EntrySize(64));
    assert_eq!(primary_error(84, &[0xc0]), GptError::EntrySize(192));
}

#[test]
fn partitions_outside_or_over_each_other_are_refused() {
    let entry = |index: usize| 512 + 128 * index;
    // Partition 1 starts before the usable blocks; then ends before it starts; then over partition 3.
    assert_eq!(
        primary_error(entry(0) + 32, &[33]),
        GptError::PartitionRange {
            number: 1,
            first: 33,
            last: 99
        }
    );
    assert_eq!(
        primary_error(entry(0) + 40, &[39]),
        GptError::PartitionRange {
            number: 1,
            first: 40,
            last: 39
        }
    );
    assert_eq!(
        primary_error(entry(0) + 40, &[100]),
        GptError::Overlap {
            first: 1,
            second: 3
        }
    );
}

#[test]
fn errors_of_the_disk_are_passed_on() {
    let error = read(512, 100, |_, _| Err("read /dev/vda: EIO".to_owned())).unwrap_err();
    let io = GptError::Io("read /dev/vda: EIO".to_owned());
    assert_eq!(
        error,
        ReadError::Both {
            primary: io.clone(),
            backup: io
        }
    );
    let never = |_: u64, _: &mut [u8]| panic!("nothing is to be read");
    assert_eq!(read(520, 100, never), Err(ReadError::BlockSize(520)));
    for blocks in 0..3 {
        assert_eq!(read(512, blocks, never), Err(ReadError::TooSmall(blocks)));
    }
}

#[test]
fn names_lead_to_one_partition_or_to_an_error() {
    let table = read_disk(
        512,
        &disk(512, &[partition(1, "x", 40, 50), partition(2, "x", 60, 70)]),
    );
    let table = table.unwrap();
    assert!(matches!(
        table.find("x"),
        Err(FindError::Ambiguous {
            first: 1,
            second: 2,
            ..
        })
    ));
    assert_eq!(
        table.find("y").unwrap_err().to_string(),
        "no partition is named y"
    );
}

#[test]
fn what_cannot_be_read_is_not_built() {
    let check = |partitions: &[Partition], expect: BuildError| {
        assert_eq!(build(512, BLOCKS, guid(), partitions), Err(expect));
    };
    check(&[partition(0, "x", 40, 50)], BuildError::Number(0));
    check(&[partition(129, "x", 40, 50)], BuildError::Number(129));
    check(
        &[partition(1, "x", 40, 50), partition(1, "y", 60, 70)],
        BuildError::Number(1),
    );
    check(
        &[partition(1, "x", 40, 50), partition(2, "y", 50, 70)],
        BuildError::Overlap(1, 2),
    );
    let long = "x".repeat(36);
    check(
        &[partition(1, &long, 40, 50)],
        BuildError::Name(long.clone()),
    );
    check(
        &[partition(1, "a\0b", 40, 50)],
        BuildError::Name("a\0b".to_owned()),
    );
    check(
        &[partition(1, "\u{1f988}", 40, 50)],
        BuildError::Name("\u{1f988}".to_owned()),
    );
    let range = |number| BuildError::Range {
        number,
        first_usable: 34,
        last_usable: 4062,
    };
    check(&[partition(1, "x", 33, 50)], range(1));
    check(&[partition(2, "x", 40, 4063)], range(2));
    check(&[partition(2, "x", 50, 40)], range(2));
    let mut zero = partition(1, "x", 40, 50);
    zero.uuid = Guid::ZERO;
    check(&[zero], BuildError::ZeroGuid(1));
    let mut twin = partition(2, "y", 60, 70);
    twin.uuid = partition(1, "x", 40, 50).uuid;
    check(
        &[partition(1, "x", 40, 50), twin],
        BuildError::DuplicateGuid(2),
    );
    assert_eq!(build(512, 66, guid(), &[]), Err(BuildError::TooSmall(66)));
    assert_eq!(
        build(513, BLOCKS, guid(), &[]),
        Err(BuildError::BlockSize(513))
    );
}

proptest! {
    #[test]
    fn tables_round_trip(
        large in any::<bool>(),
        sizes in prop::collection::vec((0u64..20, 1u64..40, "[a-zA-Zé0-9 -]{0,35}"), 0..40),
    ) {
        let block_size = if large { 4096 } else { 512 };
        let mut next = first_usable_lba(block_size);
        let partitions: Vec<Partition> = (1..).zip(sizes).map(|(number, (gap, length, name))| {
            let first = next + gap;
            next = first + length;
            partition(number, &name, first, next - 1)
        }).collect();
        prop_assert_eq!(read_disk(block_size, &disk(block_size, &partitions)).unwrap().partitions, partitions);
    }

    #[test]
    fn a_damaged_byte_of_the_primary_never_changes_what_is_read(at in 512usize..512 + 92 + 128 * 128, flip in 1u8..) {
        let mut disk = disk(512, &two());
        disk[at] ^= flip;
        prop_assert_eq!(read_disk(512, &disk).unwrap().partitions, two());
    }

    #[test]
    fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 0..512), at in 512usize..2048) {
        let mut disk = disk(512, &two());
        disk[at..at + noise.len()].copy_from_slice(&noise);
        reseal(&mut disk);
        let _ = read_disk(512, &disk);
    }
}
