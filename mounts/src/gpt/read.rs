//! Reading a partition table: primary first, the backup at the last block when the primary is bad.

use std::fmt;

use gpt_disk_types::{GptHeader, GptPartitionEntry};

use super::{
    BLOCK_SIZES, CRC, ENTRIES_MAX, ENTRY_SIZE, ENTRY_SIZE_MAX, Guid, HEADER_SIZE, Partition,
    overlap,
};

/// Which copy of the table was used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The one at block 1.
    Primary,
    /// The one at the last block, because the primary is bad.
    Backup {
        /// What is wrong with the primary.
        primary: GptError,
    },
}

/// A partition table that passed every check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// GUID of the disk.
    pub disk_guid: Guid,
    /// Logical block size in bytes.
    pub block_size: u32,
    /// Which copy it is.
    pub source: Source,
    /// First block that partitions may use.
    pub first_usable_lba: u64,
    /// Last block that partitions may use, inclusive.
    pub last_usable_lba: u64,
    /// The partitions in use, by number.
    pub partitions: Vec<Partition>,
}

impl Table {
    /// The one partition of this name.
    ///
    /// # Errors
    /// There is none, or there is more than one.
    pub fn find(&self, name: &str) -> Result<&Partition, FindError> {
        let mut found = self.partitions.iter().filter(|p| p.name == name);
        let first = found.next().ok_or_else(|| FindError::Missing {
            name: name.to_owned(),
        })?;
        match found.next() {
            None => Ok(first),
            Some(second) => Err(FindError::Ambiguous {
                name: name.to_owned(),
                first: first.number,
                second: second.number,
            }),
        }
    }
}

/// Why a name does not lead to a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FindError {
    /// No partition has it.
    Missing {
        /// The name.
        name: String,
    },
    /// Two have it.
    Ambiguous {
        /// The name.
        name: String,
        /// Number of the first.
        first: u32,
        /// Number of the second.
        second: u32,
    },
}

impl fmt::Display for FindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { name } => write!(f, "no partition is named {name}"),
            Self::Ambiguous {
                name,
                first,
                second,
            } => write!(f, "partitions {first} and {second} are both named {name}"),
        }
    }
}

impl std::error::Error for FindError {}

/// What is wrong with one copy of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GptError {
    /// Blocks could not be read.
    Io(String),
    /// It does not start with `EFI PART`.
    Signature,
    /// A revision other than 1.0.
    Revision(u32),
    /// A header size outside 92 bytes to one block.
    HeaderSize(u32),
    /// The header's checksum does not fit.
    HeaderChecksum,
    /// The header says it is at another block.
    MyLba {
        /// Where it is.
        expected: u64,
        /// Where it says it is.
        found: u64,
    },
    /// More than [`ENTRIES_MAX`] entries, or none.
    EntryCount(u32),
    /// An entry size that is not 128 times a power of two up to [`ENTRY_SIZE_MAX`].
    EntrySize(u32),
    /// The usable blocks are not inside the disk, or not in order.
    UsableRange {
        /// First usable block.
        first: u64,
        /// Last usable block.
        last: u64,
    },
    /// The array of entries is not inside the disk.
    ArrayBounds {
        /// Its first block.
        lba: u64,
    },
    /// The checksum of the array of entries does not fit.
    ArrayChecksum,
    /// A partition outside the usable blocks, or one that ends before it starts.
    PartitionRange {
        /// Its number.
        number: u32,
        /// Its first block.
        first: u64,
        /// Its last block.
        last: u64,
    },
    /// Two partitions share blocks.
    Overlap {
        /// Number of the one that starts first.
        first: u32,
        /// Number of the other.
        second: u32,
    },
}

impl fmt::Display for GptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::Signature => write!(f, "no \"EFI PART\" signature"),
            Self::Revision(revision) => write!(f, "revision {revision:#x}, expected 0x10000"),
            Self::HeaderSize(size) => {
                write!(
                    f,
                    "header of {size} bytes, expected {HEADER_SIZE} to one block"
                )
            }
            Self::HeaderChecksum => write!(f, "header checksum does not fit"),
            Self::MyLba { expected, found } => {
                write!(f, "header at block {expected} says it is at block {found}")
            }
            Self::EntryCount(count) => write!(f, "{count} entries, expected 1 to {ENTRIES_MAX}"),
            Self::EntrySize(size) => write!(
                f,
                "entries of {size} bytes, expected a power of two from {ENTRY_SIZE} to {ENTRY_SIZE_MAX}"
            ),
            Self::UsableRange { first, last } => {
                write!(f, "usable blocks {first} to {last} are not inside the disk")
            }
            Self::ArrayBounds { lba } => {
                write!(
                    f,
                    "partition entries at block {lba} are not inside the disk"
                )
            }
            Self::ArrayChecksum => write!(f, "checksum of the partition entries does not fit"),
            Self::PartitionRange {
                number,
                first,
                last,
            } => write!(
                f,
                "partition {number} has blocks {first} to {last}, which are not usable ones in order"
            ),
            Self::Overlap { first, second } => {
                write!(f, "partitions {first} and {second} share blocks")
            }
        }
    }
}

impl std::error::Error for GptError {}

/// Why a disk has no usable table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// A logical block size that is neither 512 nor 4096.
    BlockSize(u32),
    /// Too few blocks for any table.
    TooSmall(u64),
    /// Both copies are bad.
    Both {
        /// What is wrong with the primary.
        primary: GptError,
        /// What is wrong with the backup.
        backup: GptError,
    },
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BlockSize(size) => {
                write!(f, "logical blocks of {size} bytes, expected 512 or 4096")
            }
            Self::TooSmall(blocks) => {
                write!(f, "{blocks} blocks are too few for a GUID partition table")
            }
            Self::Both { primary, backup } => write!(
                f,
                "no GUID partition table: primary: {primary}; backup: {backup}"
            ),
        }
    }
}

impl std::error::Error for ReadError {}

/// Reads the table of a disk of `blocks` logical blocks of `block_size` bytes. `read(lba, buffer)`
/// fills the buffer, a whole number of blocks, from block `lba` on; its error text is passed on.
///
/// # Errors
/// [`ReadError`] when neither copy is good. Everything is checked: checksums, bounds, and that no
/// partition overlaps another or lies outside the usable blocks.
pub fn read(
    block_size: u32,
    blocks: u64,
    mut read: impl FnMut(u64, &mut [u8]) -> Result<(), String>,
) -> Result<Table, ReadError> {
    if !BLOCK_SIZES.contains(&block_size) {
        return Err(ReadError::BlockSize(block_size));
    }
    let last = match blocks.checked_sub(1) {
        Some(last) if last >= 2 => last,
        Some(_) | None => return Err(ReadError::TooSmall(blocks)),
    };
    let primary = match read_copy(block_size, last, 1, &mut read) {
        Ok(table) => return Ok(table),
        Err(error) => error,
    };
    match read_copy(block_size, last, last, &mut read) {
        Ok(mut table) => {
            table.source = Source::Backup { primary };
            Ok(table)
        }
        Err(backup) => Err(ReadError::Both { primary, backup }),
    }
}

fn read_copy(
    block_size: u32,
    last_lba: u64,
    at: u64,
    read: &mut impl FnMut(u64, &mut [u8]) -> Result<(), String>,
) -> Result<Table, GptError> {
    let mut block = vec![0; usize::try_from(block_size).unwrap_or(512)];
    read(at, &mut block).map_err(GptError::Io)?;
    let header = check_header(&block, block_size, at, last_lba)?;
    let (mut array, length) = raw_array(&header, block_size, last_lba, read)?;
    array.truncate(length);
    let partitions = entries(&header, &array)?;
    if let Some((first, second)) = overlap(&partitions) {
        return Err(GptError::Overlap { first, second });
    }
    Ok(Table {
        disk_guid: header.disk_guid,
        block_size,
        source: Source::Primary,
        first_usable_lba: header.first_usable_lba.to_u64(),
        last_usable_lba: header.last_usable_lba.to_u64(),
        partitions,
    })
}

pub(super) fn check_header(
    block: &[u8],
    block_size: u32,
    at: u64,
    last_lba: u64,
) -> Result<GptHeader, GptError> {
    let header: GptHeader = block
        .get(..size_of::<GptHeader>())
        .and_then(|bytes| bytemuck::try_pod_read_unaligned(bytes).ok())
        .ok_or(GptError::Signature)?;
    if !header.is_signature_valid() {
        return Err(GptError::Signature);
    }
    let size = header.header_size.to_u32();
    if !(HEADER_SIZE..=block_size).contains(&size) {
        return Err(GptError::HeaderSize(size));
    }
    if header_checksum(block, size) != Some(header.header_crc32.0.to_u32()) {
        return Err(GptError::HeaderChecksum);
    }
    let revision = header.revision.0.to_u32();
    if revision != 0x0001_0000 {
        return Err(GptError::Revision(revision));
    }
    let found = header.my_lba.to_u64();
    if found != at {
        return Err(GptError::MyLba {
            expected: at,
            found,
        });
    }
    let count = header.number_of_partition_entries.to_u32();
    if !(1..=ENTRIES_MAX).contains(&count) {
        return Err(GptError::EntryCount(count));
    }
    let size = header.size_of_partition_entry.to_u32();
    if !(ENTRY_SIZE..=ENTRY_SIZE_MAX).contains(&size) || !size.is_power_of_two() {
        return Err(GptError::EntrySize(size));
    }
    let first = header.first_usable_lba.to_u64();
    let last = header.last_usable_lba.to_u64();
    if first < 2 || first > last || last > last_lba {
        return Err(GptError::UsableRange { first, last });
    }
    Ok(header)
}

/// The checksum covers the header with its own four bytes taken as zeros.
pub(super) fn header_checksum(block: &[u8], size: u32) -> Option<u32> {
    let size = usize::try_from(size).ok()?;
    let mut digest = CRC.digest();
    digest.update(block.get(..16)?);
    digest.update(&[0; 4]);
    digest.update(block.get(20..size)?);
    Some(digest.finalize())
}

/// The blocks with the entries, and how many bytes of them are entries.
pub(super) fn raw_array(
    header: &GptHeader,
    block_size: u32,
    last_lba: u64,
    read: &mut impl FnMut(u64, &mut [u8]) -> Result<(), String>,
) -> Result<(Vec<u8>, usize), GptError> {
    let lba = header.partition_entry_lba.to_u64();
    let bounds = GptError::ArrayBounds { lba };
    let bytes = u64::from(header.number_of_partition_entries.to_u32())
        * u64::from(header.size_of_partition_entry.to_u32());
    let blocks = bytes.div_ceil(u64::from(block_size));
    match lba.checked_add(blocks) {
        Some(end) if lba >= 2 && end <= last_lba.saturating_add(1) => {}
        Some(_) | None => return Err(bounds),
    }
    // At most ENTRIES_MAX entries of ENTRY_SIZE_MAX bytes: 4 MiB.
    let whole = usize::try_from(blocks * u64::from(block_size)).map_err(|_| bounds.clone())?;
    let mut array = vec![0; whole];
    read(lba, &mut array).map_err(GptError::Io)?;
    let length = usize::try_from(bytes).map_err(|_| bounds)?;
    if array.get(..length).map(|it| CRC.checksum(it))
        != Some(header.partition_entry_array_crc32.0.to_u32())
    {
        return Err(GptError::ArrayChecksum);
    }
    Ok((array, length))
}

fn entries(header: &GptHeader, array: &[u8]) -> Result<Vec<Partition>, GptError> {
    let size = usize::try_from(header.size_of_partition_entry.to_u32())
        .unwrap_or(size_of::<GptPartitionEntry>());
    let mut partitions = Vec::new();
    for (number, bytes) in (1u32..).zip(array.chunks_exact(size)) {
        let entry: Option<GptPartitionEntry> = bytes
            .get(..size_of::<GptPartitionEntry>())
            .and_then(|bytes| bytemuck::try_pod_read_unaligned(bytes).ok());
        let Some(entry) = entry.filter(GptPartitionEntry::is_used) else {
            continue;
        };
        let first = entry.starting_lba.to_u64();
        let last = entry.ending_lba.to_u64();
        if first > last
            || first < header.first_usable_lba.to_u64()
            || last > header.last_usable_lba.to_u64()
        {
            return Err(GptError::PartitionRange {
                number,
                first,
                last,
            });
        }
        partitions.push(Partition {
            number,
            name: { entry.name }.chars().collect(),
            type_guid: entry.partition_type_guid.0,
            uuid: entry.unique_partition_guid,
            first_lba: first,
            last_lba: last,
            attributes: entry.attributes.0.to_u64(),
        });
    }
    Ok(partitions)
}
