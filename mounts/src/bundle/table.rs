//! The table of a bundle: where each chunk lies, what it holds, and by which digests it is known. Not
//! here: how images are cut ([`super::Layout`]).

use sha2::{Digest, Sha256};

use super::{BundleError, Layout, STORED_MORE, Sum};
use crate::wire::Reader;

/// Most chunks of a bundle.
pub const CHUNKS_MAX: u32 = 1 << 16;
/// Bytes of an entry.
pub const ENTRY_SIZE: usize = 68;

/// One of the two images of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The root.
    Root,
    /// Superblock and hash tree.
    Verity,
}

/// What the table says of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Bytes as it is stored.
    pub stored_length: u32,
    /// SHA-256 of those.
    pub stored_sum: Sum,
    /// SHA-256 of what it holds.
    pub sum: Sum,
}

impl Entry {
    /// The entry of a chunk.
    ///
    /// # Errors
    /// It is stored in no bytes, or in too many for a table.
    pub fn of(stored: &[u8], holds: &[u8]) -> Result<Self, BundleError> {
        let stored_length = u32::try_from(stored.len())
            .ok()
            .filter(|it| *it > 0)
            .ok_or(BundleError::Stored(stored.len()))?;
        Ok(Self {
            stored_length,
            stored_sum: Sha256::digest(stored).into(),
            sum: Sha256::digest(holds).into(),
        })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let length = self.stored_length.to_le_bytes();
        [&length[..], &self.stored_sum, &self.sum].concat()
    }
}

/// A chunk of a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Which image it belongs to.
    pub part: Part,
    /// Where it belongs there, in bytes.
    pub offset: u64,
    /// Bytes that it holds.
    pub length: u32,
    /// Where it lies in the bundle.
    pub stored_at: u64,
    entry: Entry,
}

impl Chunk {
    /// Bytes as it is stored.
    #[must_use]
    pub fn stored_length(&self) -> u32 {
        self.entry.stored_length
    }

    /// Whether these are its bytes as it is stored.
    #[must_use]
    pub fn is_stored_as(&self, bytes: &[u8]) -> bool {
        Sum::from(Sha256::digest(bytes)) == self.entry.stored_sum
    }

    /// Whether these are the bytes that it holds.
    #[must_use]
    pub fn holds(&self, bytes: &[u8]) -> bool {
        Sum::from(Sha256::digest(bytes)) == self.entry.sum
    }
}

/// The chunks of a bundle, in their order.
#[derive(Clone, Debug)]
pub struct Table {
    layout: Layout,
    /// Of each where it lies in the bundle.
    entries: Vec<(u64, Entry)>,
}

impl Table {
    /// The table in `bytes`, for chunks that begin at `start` in a bundle of `size` bytes.
    pub(super) fn read(
        layout: Layout,
        start: u64,
        size: u64,
        bytes: &[u8],
    ) -> Result<Self, BundleError> {
        let short = |_| BundleError::Short { part: "table" };
        let mut input = Reader::new(bytes);
        let mut at = start;
        let mut entries = Vec::with_capacity(bytes.len() / ENTRY_SIZE);
        for _ in 0..layout.chunks() {
            let entry = Entry {
                stored_length: input.u32().map_err(short)?,
                stored_sum: input.array().map_err(short)?,
                sum: input.array().map_err(short)?,
            };
            let most = layout.chunk_size().saturating_add(STORED_MORE);
            if !(1..=most).contains(&entry.stored_length) {
                return Err(BundleError::Stored(entry.stored_length as usize));
            }
            entries.push((at, entry));
            at = at.saturating_add(u64::from(entry.stored_length));
        }
        if input.offset() != bytes.len() {
            return Err(BundleError::field("table", "longer than its chunks need"));
        }
        if at != size {
            return Err(BundleError::field("size", "not what the chunks add up to"));
        }
        Ok(Self { layout, entries })
    }

    /// The chunk with this number, from 0.
    #[must_use]
    pub fn chunk(&self, number: u32) -> Option<Chunk> {
        let (part, offset, length) = self.layout.place(number)?;
        let (stored_at, entry) = *self.entries.get(number as usize)?;
        Some(Chunk {
            part,
            offset,
            length,
            stored_at,
            entry,
        })
    }

    /// Where the chunks before the one with this number end in the bundle.
    #[must_use]
    pub fn stored_end(&self, number: u32) -> Option<u64> {
        let (at, entry) = self.entries.get(number.checked_sub(1)? as usize)?;
        Some(at.saturating_add(u64::from(entry.stored_length)))
    }

    /// All chunks, in order.
    pub fn chunks(&self) -> impl Iterator<Item = Chunk> + '_ {
        (0..self.layout.chunks()).filter_map(|number| self.chunk(number))
    }
}
