//! The chain of links on the state partition: two copies, far from each other and from the boot records.
//!
//! | offset | size | field |
//! |-------:|-----:|-------|
//! | 0 | 8 | magic, the bytes `SHARKRNG` |
//! | 8 | 4 | version of this layout, 1, little-endian |
//! | 12 | 4 | bytes of the chain, little-endian, at most [`CHAIN_MAX`] |
//! | 16 | 4 | CRC32C (Castagnoli) over the bytes before it, and the chain |
//! | 20 | length | the chain: links, one after the other |
//!
//! Both copies say the same. They are written one after the other, the second only when the first has
//! been read back, so that a cut leaves one whole. Not here: what the links say ([`super`]).

use std::fmt;

use super::link::CHAIN_MAX;
use crate::slot::record::RECORD_SIZE;
use crate::slot::region::{PARTITION_SIZE, REGION_OFFSETS, REGION_SIZE};
use crate::slot::store::Medium;
use crate::wire::{Reader, Short};

/// First bytes of a copy.
pub const MAGIC: [u8; 8] = *b"SHARKRNG";
/// The layout this code reads and writes.
pub const VERSION: u32 = 1;
/// Offset of each copy in the partition, in bytes: further apart than the erase blocks of common flash.
pub const OFFSETS: [u64; 2] = [8 << 20, 12 << 20];

const HEAD: usize = 20;
/// Bytes of a copy at most, in whole blocks.
const SIZE: usize = (HEAD + CHAIN_MAX).next_multiple_of(RECORD_SIZE);

/// What is wrong with a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyError {
    /// Nothing was ever written there.
    Blank,
    /// Something is there that is no copy, or was changed since: what is wrong with it.
    Damaged(String),
    /// It cannot be read.
    Unread(String),
}

impl fmt::Display for CopyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blank => write!(f, "nothing is there"),
            Self::Damaged(why) | Self::Unread(why) => f.write_str(why),
        }
    }
}

/// Both copies as they were found: the chain of each.
pub type Copies = [Result<Vec<u8>, CopyError>; 2];

/// Reads both.
pub fn load(medium: &mut impl Medium) -> Copies {
    OFFSETS.map(|offset| read(medium, offset))
}

/// The chains among `copies`, and what is wrong with the others. A blank one is odd only beside one that
/// is not.
#[must_use]
pub fn chains(copies: &Copies) -> (Vec<Vec<u8>>, Vec<String>) {
    let blank = |it: &Result<Vec<u8>, CopyError>| *it == Err(CopyError::Blank);
    if copies.iter().all(blank) {
        return (Vec::new(), Vec::new());
    }
    let mut chains: Vec<Vec<u8>> = Vec::new();
    let mut problems = Vec::new();
    for (number, copy) in (1..).zip(copies) {
        match copy {
            Ok(chain) if chains.contains(chain) => {}
            Ok(chain) => chains.push(chain.clone()),
            Err(error) => problems.push(format!("copy {number} of the links of keys: {error}")),
        }
    }
    (chains, problems)
}

/// Writes `chain` to both, unless it is there; the one that `copies` finds no chain in goes first. Durable
/// when it returns.
///
/// # Errors
/// For people: the first failure. As long as one copy was written, the next call mends the other.
pub fn store(medium: &mut impl Medium, copies: &Copies, chain: &[u8]) -> Result<(), String> {
    let [first, second] = OFFSETS;
    let order = match copies {
        [Ok(_), Err(_)] => [(second, 1), (first, 0)],
        [Err(_) | Ok(_), _] => [(first, 0), (second, 1)],
    };
    for (offset, index) in order {
        let there = copies.get(index).and_then(|it| it.as_deref().ok());
        if there != Some(chain) {
            write(medium, offset, chain)?;
        }
    }
    Ok(())
}

fn read(medium: &mut impl Medium, offset: u64) -> Result<Vec<u8>, CopyError> {
    let mut bytes = vec![0; RECORD_SIZE];
    medium.read(offset, &mut bytes).map_err(CopyError::Unread)?;
    let length = head(&bytes)?;
    let size = HEAD.saturating_add(length).next_multiple_of(RECORD_SIZE);
    if size > RECORD_SIZE {
        bytes.resize(size, 0);
        medium.read(offset, &mut bytes).map_err(CopyError::Unread)?;
    }
    let damaged = |why: &str| CopyError::Damaged(why.to_owned());
    let chain = bytes.get(HEAD..HEAD.saturating_add(length));
    let chain = chain.ok_or_else(|| damaged("it is cut short"))?;
    // Head and chain must be of one read.
    if encode(chain).get(..HEAD) != bytes.get(..HEAD) {
        return Err(damaged("its checksum does not hold"));
    }
    Ok(chain.to_vec())
}

/// Bytes of the chain that follows.
fn head(bytes: &[u8]) -> Result<usize, CopyError> {
    if bytes.iter().all(|it| *it == 0) || bytes.iter().all(|it| *it == 0xff) {
        return Err(CopyError::Blank);
    }
    let short = |_: Short| CopyError::Damaged("it is cut short".to_owned());
    let mut input = Reader::new(bytes);
    if input.array().map_err(short)? != MAGIC {
        return Err(CopyError::Damaged(
            "expected \"SHARKRNG\" at its start".to_owned(),
        ));
    }
    let version = input.u32().map_err(short)?;
    if version != VERSION {
        return Err(CopyError::Damaged(format!(
            "it is of format {version}, and this system knows only format {VERSION}"
        )));
    }
    let length = usize::try_from(input.u32().map_err(short)?).unwrap_or(usize::MAX);
    if length > CHAIN_MAX {
        return Err(CopyError::Damaged(format!(
            "it has {length} bytes, expected at most {CHAIN_MAX}"
        )));
    }
    Ok(length)
}

fn encode(chain: &[u8]) -> Vec<u8> {
    let length = u32::try_from(chain.len()).unwrap_or(u32::MAX);
    let mut bytes = [&MAGIC[..], &VERSION.to_le_bytes(), &length.to_le_bytes()].concat();
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes), chain);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(chain);
    bytes.resize(bytes.len().next_multiple_of(RECORD_SIZE), 0);
    bytes
}

fn write(medium: &mut impl Medium, offset: u64, chain: &[u8]) -> Result<(), String> {
    if chain.len() > CHAIN_MAX {
        return Err(format!(
            "links of keys with {} bytes, expected at most {CHAIN_MAX}",
            chain.len()
        ));
    }
    let bytes = encode(chain);
    let (blocks, _) = bytes.as_chunks::<RECORD_SIZE>();
    for (block, number) in blocks.iter().zip(0_u64..) {
        medium.write(offset + number * RECORD_SIZE as u64, block)?;
    }
    match read(medium, offset) {
        Ok(there) if there == chain => Ok(()),
        Ok(_) => Err("the disk took the links of keys and gives back something else".to_owned()),
        Err(error) => Err(format!("links of keys, read back: {error}")),
    }
}

const _: () = {
    let [_, last_region] = REGION_OFFSETS;
    let [first, second] = OFFSETS;
    assert!(last_region + REGION_SIZE as u64 <= first);
    assert!(first + SIZE as u64 <= second && second + SIZE as u64 <= PARTITION_SIZE);
};
