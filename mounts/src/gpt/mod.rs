//! GUID partition tables (UEFI specification, chapter 5.3): the types that reading and writing share.
//!
//! [`read`] reads and checks a table through a closure that hands out blocks; [`build`] gives the
//! bytes of a new one, [`change_bits`] those that change attribute bits of one that is there. Not here: which partitions we look for ([`crate::dps`]), any I/O.

mod attributes;
mod read;
mod write;

pub use attributes::{Bits, change_bits};
pub use gpt_disk_types::Guid;
pub use read::{FindError, GptError, ReadError, Source, Table, read};
pub use write::{BuildError, Chunk, build, first_usable_lba, last_usable_lba};

use crc::Crc;
use gpt_disk_types::Crc32;

/// Logical block sizes, in bytes, that we read and write.
pub const BLOCK_SIZES: [u32; 2] = [512, 4096];
/// Entries a table may have at most. Common tables have 128.
pub const ENTRIES_MAX: u32 = 1024;
/// Largest entry, in bytes; 128 is the smallest and the common one.
pub const ENTRY_SIZE_MAX: u32 = 4096;
/// Bytes of the header that the specification names.
const HEADER_SIZE: u32 = 92;
/// Bytes of an entry that the specification names.
const ENTRY_SIZE: u32 = 128;

static CRC: Crc<u32> = Crc::<u32>::new(&Crc32::ALGORITHM);

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its number, from 1: its place in the table and the number in its device name.
    pub number: u32,
    /// Its name, at most 36 UTF-16 code units (35 when we write it).
    pub name: String,
    /// Its type.
    pub type_guid: Guid,
    /// Its own GUID: the PARTUUID.
    pub uuid: Guid,
    /// First logical block.
    pub first_lba: u64,
    /// Last logical block, inclusive.
    pub last_lba: u64,
    /// Attribute bits as in the table.
    pub attributes: u64,
}

impl Partition {
    /// Logical blocks it has.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        self.last_lba
            .saturating_sub(self.first_lba)
            .saturating_add(1)
    }

    /// Where it starts on the disk, in bytes.
    #[must_use]
    pub fn offset(&self, block_size: u32) -> u64 {
        self.first_lba.saturating_mul(u64::from(block_size))
    }

    /// Its size in bytes.
    #[must_use]
    pub fn size(&self, block_size: u32) -> u64 {
        self.blocks().saturating_mul(u64::from(block_size))
    }
}

/// The first two partitions that share a block, by number.
fn overlap(partitions: &[Partition]) -> Option<(u32, u32)> {
    let mut sorted: Vec<&Partition> = partitions.iter().collect();
    sorted.sort_by_key(|partition| (partition.first_lba, partition.number));
    sorted.windows(2).find_map(|pair| match pair {
        [left, right] if right.first_lba <= left.last_lba => Some((left.number, right.number)),
        _ => None,
    })
}
