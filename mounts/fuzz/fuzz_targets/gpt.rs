//! Partition tables: a disk of hostile bytes, whose checksums are first made to fit so that the
//! fuzzer gets past them.
#![no_main]

use crc::{CRC_32_ISO_HDLC, Crc};
use libfuzzer_sys::fuzz_target;
use mounts::gpt::{Bits, build, change_bits, read};

const CRC32: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// Writes the checksums of the header in the block at `at`, as far as it makes sense.
fn repair(disk: &mut [u8], block: usize, at: usize) -> Option<()> {
    let header = at * block;
    let field = |disk: &[u8], offset: usize, size: usize| -> Option<u64> {
        let bytes = disk.get(header + offset..header + offset + size)?;
        Some(
            bytes
                .iter()
                .rev()
                .fold(0, |n, byte| n << 8 | u64::from(*byte)),
        )
    };
    let start = usize::try_from(field(disk, 72, 8)?)
        .ok()?
        .checked_mul(block)?;
    let length = field(disk, 80, 4)?.checked_mul(field(disk, 84, 4)?)?;
    let end = start.checked_add(usize::try_from(length).ok()?)?;
    if let Some(array) = disk.get(start..end) {
        let sum = CRC32.checksum(array);
        disk.get_mut(header + 88..header + 92)?
            .copy_from_slice(&sum.to_le_bytes());
    }
    let size = usize::try_from(field(disk, 12, 4)?).ok()?;
    disk.get_mut(header + 16..header + 20)?.fill(0);
    let sum = CRC32.checksum(disk.get(header..header.checked_add(size)?)?);
    disk.get_mut(header + 16..header + 20)?
        .copy_from_slice(&sum.to_le_bytes());
    Some(())
}

fuzz_target!(|data: &[u8]| {
    let Some((flags, data)) = data.split_first() else {
        return;
    };
    let block: usize = if flags & 1 == 0 { 512 } else { 4096 };
    // Block 0 is the MBR, which the reader does not look at.
    let mut disk = vec![0; block];
    disk.extend_from_slice(data);
    disk.resize(disk.len().next_multiple_of(block).max(block * 6), 0);
    let blocks = disk.len() / block;
    if flags & 2 != 0 {
        repair(&mut disk, block, 1);
    }
    if flags & 4 != 0 {
        repair(&mut disk, block, blocks - 1);
    }
    let table = read(block as u32, blocks as u64, |lba, buffer| {
        let start = usize::try_from(lba).expect("inside") * block;
        buffer.copy_from_slice(&disk[start..start + buffer.len()]);
        Ok(())
    });
    let Ok(table) = table else { return };
    for partition in &table.partitions {
        assert!(partition.first_lba <= partition.last_lba);
        assert!(partition.last_lba < blocks as u64);
        let _ = table.find(&partition.name);
    }
    if let Some(first) = table.partitions.first() {
        let bits = Bits {
            number: first.number,
            mask: 1 << 50,
            value: !first.attributes,
        };
        let copies = change_bits(
            block as u32,
            blocks as u64,
            |lba, buffer| {
                let start = usize::try_from(lba).expect("inside") * block;
                buffer.copy_from_slice(&disk[start..start + buffer.len()]);
                Ok(())
            },
            &[bits],
        );
        for (offset, bytes) in copies.expect("it was read").into_iter().flatten() {
            let start = usize::try_from(offset).expect("inside");
            assert!(start + bytes.len() <= disk.len(), "past the end");
        }
    }
    let _ = build(
        block as u32,
        blocks as u64,
        table.disk_guid,
        &table.partitions,
    );
});
