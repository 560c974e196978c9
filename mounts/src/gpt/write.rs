//! Building a partition table: protective MBR, primary and backup, as bytes with their offsets.

use std::fmt;

use gpt_disk_types::{
    Crc32, GptHeader, GptPartitionAttributes, GptPartitionEntry, GptPartitionType, LbaLe,
    MasterBootRecord, U32Le, U64Le,
};

use super::{BLOCK_SIZES, CRC, ENTRY_SIZE, Guid, Partition, overlap};

/// Entries of a table we write; the specification asks for at least 16 KiB of them.
const ENTRIES: u32 = 128;

/// Bytes to be written at an offset of the disk, both in bytes.
pub type Chunk = (u64, Vec<u8>);

/// Why no table can be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuildError {
    /// A logical block size that is neither 512 nor 4096.
    BlockSize(u32),
    /// The disk has no room for partitions.
    TooSmall(u64),
    /// A partition number outside 1 to 128, or one given twice.
    Number(u32),
    /// A name longer than 35 UTF-16 code units, or with something that is no plain character.
    Name(String),
    /// The type or the GUID of a partition is all zeros.
    ZeroGuid(u32),
    /// A GUID given twice, by the number of the second partition.
    DuplicateGuid(u32),
    /// A partition outside the usable blocks.
    Range {
        /// Its number.
        number: u32,
        /// First usable block.
        first_usable: u64,
        /// Last usable block.
        last_usable: u64,
    },
    /// Two partitions share blocks.
    Overlap(u32, u32),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BlockSize(size) => {
                write!(f, "logical blocks of {size} bytes, expected 512 or 4096")
            }
            Self::TooSmall(blocks) => write!(f, "a disk of {blocks} blocks has no room"),
            Self::Number(number) => {
                write!(
                    f,
                    "partition number {number}: expected 1 to {ENTRIES}, each once"
                )
            }
            Self::Name(name) => write!(
                f,
                "partition name {name:?}: expected at most 35 characters, none of them a control character"
            ),
            Self::ZeroGuid(number) => write!(f, "partition {number} has a GUID of zeros"),
            Self::DuplicateGuid(number) => {
                write!(f, "partition {number} has the GUID of another one")
            }
            Self::Range {
                number,
                first_usable,
                last_usable,
            } => write!(
                f,
                "partition {number} is outside the usable blocks {first_usable} to {last_usable}"
            ),
            Self::Overlap(first, second) => {
                write!(f, "partitions {first} and {second} share blocks")
            }
        }
    }
}

impl std::error::Error for BuildError {}

fn array_blocks(block_size: u32) -> u64 {
    u64::from((ENTRIES * ENTRY_SIZE).div_ceil(block_size.max(1)))
}

/// First block that partitions may use on a disk with this logical block size.
#[must_use]
pub fn first_usable_lba(block_size: u32) -> u64 {
    2 + array_blocks(block_size)
}

/// Last block that partitions may use on a disk of `blocks` blocks, inclusive; `None` if none is left.
#[must_use]
pub fn last_usable_lba(block_size: u32, blocks: u64) -> Option<u64> {
    blocks
        .checked_sub(2 + array_blocks(block_size))
        .filter(|last| *last >= first_usable_lba(block_size))
}

/// Builds the table of a disk of `blocks` logical blocks of `block_size` bytes: the chunks to write,
/// in order of their offsets (protective MBR, primary header, its entries, backup entries, backup
/// header). The same arguments give the same bytes.
///
/// # Errors
/// [`BuildError`]; what this function builds, [`super::read`] accepts.
pub fn build(
    block_size: u32,
    blocks: u64,
    disk_guid: Guid,
    partitions: &[Partition],
) -> Result<Vec<Chunk>, BuildError> {
    if !BLOCK_SIZES.contains(&block_size) {
        return Err(BuildError::BlockSize(block_size));
    }
    let last_usable = last_usable_lba(block_size, blocks).ok_or(BuildError::TooSmall(blocks))?;
    check(partitions, first_usable_lba(block_size), last_usable)?;
    let array = encode_entries(partitions)?;

    let last_lba = blocks - 1;
    let backup_array_lba = last_usable + 1;
    let mut header = GptHeader {
        my_lba: LbaLe::from_u64(1),
        alternate_lba: LbaLe::from_u64(last_lba),
        first_usable_lba: LbaLe::from_u64(first_usable_lba(block_size)),
        last_usable_lba: LbaLe::from_u64(last_usable),
        disk_guid,
        partition_entry_lba: LbaLe::from_u64(2),
        number_of_partition_entries: U32Le::from_u32(ENTRIES),
        size_of_partition_entry: U32Le::from_u32(ENTRY_SIZE),
        partition_entry_array_crc32: Crc32(U32Le::from_u32(CRC.checksum(&array))),
        ..GptHeader::default()
    };
    header.update_header_crc32();
    let mut backup = header;
    backup.my_lba = LbaLe::from_u64(last_lba);
    backup.alternate_lba = LbaLe::from_u64(1);
    backup.partition_entry_lba = LbaLe::from_u64(backup_array_lba);
    backup.update_header_crc32();

    let mbr = MasterBootRecord::protective_mbr(blocks);
    let at = |lba: u64| lba * u64::from(block_size);
    Ok(vec![
        (0, padded(bytemuck::bytes_of(&mbr), block_size)),
        (at(1), padded(bytemuck::bytes_of(&header), block_size)),
        (at(2), padded(&array, block_size)),
        (at(backup_array_lba), padded(&array, block_size)),
        (
            at(last_lba),
            padded(bytemuck::bytes_of(&backup), block_size),
        ),
    ])
}

fn check(partitions: &[Partition], first_usable: u64, last_usable: u64) -> Result<(), BuildError> {
    for (index, partition) in partitions.iter().enumerate() {
        let number = partition.number;
        let mut earlier = partitions.iter().take(index);
        if !(1..=ENTRIES).contains(&number) || earlier.clone().any(|p| p.number == number) {
            return Err(BuildError::Number(number));
        }
        if partition.type_guid.is_zero() || partition.uuid.is_zero() {
            return Err(BuildError::ZeroGuid(number));
        }
        if earlier.any(|p| p.uuid == partition.uuid) {
            return Err(BuildError::DuplicateGuid(number));
        }
        if partition.first_lba < first_usable
            || partition.last_lba > last_usable
            || partition.first_lba > partition.last_lba
        {
            return Err(BuildError::Range {
                number,
                first_usable,
                last_usable,
            });
        }
    }
    match overlap(partitions) {
        Some((first, second)) => Err(BuildError::Overlap(first, second)),
        None => Ok(()),
    }
}

fn encode_entries(partitions: &[Partition]) -> Result<Vec<u8>, BuildError> {
    let mut entries = vec![GptPartitionEntry::default(); 128];
    for partition in partitions {
        let index = usize::try_from(partition.number).map_or(0, |number| number.wrapping_sub(1));
        let entry = entries
            .get_mut(index)
            .ok_or(BuildError::Number(partition.number))?;
        let bad_name = || BuildError::Name(partition.name.clone());
        if partition.name.contains(char::is_control) {
            return Err(bad_name());
        }
        *entry = GptPartitionEntry {
            partition_type_guid: GptPartitionType(partition.type_guid),
            unique_partition_guid: partition.uuid,
            starting_lba: LbaLe::from_u64(partition.first_lba),
            ending_lba: LbaLe::from_u64(partition.last_lba),
            attributes: GptPartitionAttributes(U64Le::from_u64(partition.attributes)),
            name: partition.name.parse().map_err(|_| bad_name())?,
        };
    }
    Ok(bytemuck::cast_slice(&entries).to_vec())
}

fn padded(bytes: &[u8], block_size: u32) -> Vec<u8> {
    let block = usize::try_from(block_size).unwrap_or(512);
    let mut padded = bytes.to_vec();
    padded.resize(bytes.len().next_multiple_of(block), 0);
    padded
}
