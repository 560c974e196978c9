//! Changing attribute bits of partitions in a table that is there, in both of its copies, and nothing
//! else of it.

use super::read::{ReadError, Source, check_header, header_checksum, raw_array, read};
use super::{CRC, Chunk, Table};

/// Attribute bits of a partition that are to be set and cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits {
    /// The partition's number.
    pub number: u32,
    /// Which bits are meant.
    pub mask: u64,
    /// What they are to be.
    pub value: u64,
}

/// Where the attributes are in an entry, in bytes.
const ATTRIBUTES_AT: usize = 48;
/// Fields of a header, in bytes from its start.
const HEADER_CRC_AT: usize = 16;
const MY_LBA_AT: usize = 24;
const OTHER_LBA_AT: usize = 32;
const ARRAY_LBA_AT: usize = 72;
const ARRAY_CRC_AT: usize = 88;

/// One copy of a table as it lies on the disk.
struct Copy {
    /// The block with the header.
    block: Vec<u8>,
    header_size: u32,
    array_lba: u64,
    /// Entries, and what follows them up to a whole block.
    array: Vec<u8>,
    /// Bytes of it that are entries.
    entries: usize,
    entry_size: usize,
}

/// The writes that change these bits: copy after copy, the one that is relied on last, and each with its
/// chunks; what one has written must be durable before the next begins. Empty when both have the bits
/// already.
///
/// # Errors
/// [`ReadError`]: neither copy is good.
pub fn change_bits(
    block_size: u32,
    blocks: u64,
    mut read_blocks: impl FnMut(u64, &mut [u8]) -> Result<(), String>,
    changes: &[Bits],
) -> Result<Vec<Vec<Chunk>>, ReadError> {
    let table = read(block_size, blocks, &mut read_blocks)?;
    let last = blocks.saturating_sub(1);
    let (good_at, other_at) = match &table.source {
        Source::Primary => (1, last),
        Source::Backup { .. } => (last, 1),
    };
    let mut copy = |at| Copy::read(block_size, last, at, &mut read_blocks);
    let good = copy(good_at)?;
    let other = copy(other_at).ok();
    let mut array = good.array.clone();
    for change in changes {
        change.apply(&mut array, good.entry_size);
    }
    let is_done = |it: &Copy| it.array.get(..it.entries) == array.get(..good.entries);
    if is_done(&good) && other.as_ref().is_some_and(is_done) {
        return Ok(Vec::new());
    }
    let other = other.or_else(|| good.moved(&table, other_at, good_at));
    let other = other.map(|copy| (copy, other_at));
    Ok(other
        .into_iter()
        .chain([(good, good_at)])
        .map(|(copy, at)| copy.chunks(block_size, at, &array))
        .collect())
}

impl Bits {
    fn apply(&self, array: &mut [u8], entry_size: usize) {
        let index = usize::try_from(self.number).unwrap_or(0).wrapping_sub(1);
        let start = index
            .saturating_mul(entry_size)
            .saturating_add(ATTRIBUTES_AT);
        let place = array.get_mut(start..).and_then(<[u8]>::first_chunk_mut);
        if let Some(bytes) = place {
            let before = u64::from_le_bytes(*bytes);
            *bytes = ((before & !self.mask) | (self.value & self.mask)).to_le_bytes();
        }
    }
}

impl Copy {
    fn read(
        block_size: u32,
        last: u64,
        at: u64,
        read: &mut impl FnMut(u64, &mut [u8]) -> Result<(), String>,
    ) -> Result<Self, ReadError> {
        let gone = |primary: super::GptError| ReadError::Both {
            backup: primary.clone(),
            primary,
        };
        let mut block = vec![0; usize::try_from(block_size).unwrap_or(512)];
        read(at, &mut block).map_err(|error| gone(super::GptError::Io(error)))?;
        let header = check_header(&block, block_size, at, last).map_err(gone)?;
        let (array, entries) = raw_array(&header, block_size, last, read).map_err(gone)?;
        Ok(Self {
            block,
            header_size: header.header_size.to_u32(),
            array_lba: header.partition_entry_lba.to_u64(),
            array,
            entries,
            entry_size: usize::try_from(header.size_of_partition_entry.to_u32()).unwrap_or(128),
        })
    }

    /// The same table as the copy at `at`, where there is none that could be read; nothing where
    /// partitions may have the blocks that it needs.
    fn moved(&self, table: &Table, at: u64, other: u64) -> Option<Self> {
        let blocks = (self.array.len() as u64) / u64::from(table.block_size.max(1));
        let array_lba = if at == 1 {
            Some(2).filter(|first| first + blocks <= table.first_usable_lba)
        } else {
            let first = at.checked_sub(blocks);
            first.filter(|first| *first > table.last_usable_lba)
        }?;
        let mut block = self.block.clone();
        put(&mut block, MY_LBA_AT, &at.to_le_bytes());
        put(&mut block, OTHER_LBA_AT, &other.to_le_bytes());
        put(&mut block, ARRAY_LBA_AT, &array_lba.to_le_bytes());
        Some(Self {
            block,
            header_size: self.header_size,
            array_lba,
            array: self.array.clone(),
            entries: self.entries,
            entry_size: self.entry_size,
        })
    }

    /// What is written so that this copy has the entries of `array`: they first, then the header.
    fn chunks(mut self, block_size: u32, at: u64, array: &[u8]) -> Vec<Chunk> {
        let entries = array.get(..self.entries).unwrap_or(array);
        put(
            &mut self.block,
            ARRAY_CRC_AT,
            &CRC.checksum(entries).to_le_bytes(),
        );
        let checksum = header_checksum(&self.block, self.header_size).unwrap_or(0);
        put(&mut self.block, HEADER_CRC_AT, &checksum.to_le_bytes());
        let offset = |lba: u64| lba.saturating_mul(u64::from(block_size));
        vec![
            (offset(self.array_lba), array.to_vec()),
            (offset(at), self.block),
        ]
    }
}

fn put(block: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = block.get_mut(at..at.saturating_add(bytes.len())) {
        place.copy_from_slice(bytes);
    }
}
