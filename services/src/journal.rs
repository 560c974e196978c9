//! A journal in a piece of memory: records, each under a key, and commits between them. Reading it
//! gives what was committed, whatever has been torn after. Not here: what is in a record, and where
//! the memory is.
//!
//! Layout, little-endian: magic (8 bytes), version (u32), zero (u32), then records: kind (u32, not
//! 0), index (u32), length of the body (u32), CRC32C of kind, index, length and body (u32), body,
//! padded to a multiple of 4. A record of kind [`COMMIT`] without a body commits those before it. A
//! kind of 0 is the end, so the memory begins as zeroes.

use std::fmt;

const MAGIC: &[u8; 8] = b"SHARKBOX";
/// Magic, version and a word to spare.
const HEADER: usize = 16;
/// Kind, index, length, checksum.
const RECORD: usize = 16;
/// The kind of a commit.
const COMMIT: u32 = u32::MAX;

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Of what kind; neither 0 nor the largest number.
    pub kind: u32,
    /// Which one of them.
    pub index: u32,
}

/// There is no room for it: begin a new journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Why memory holds no journal that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalError {
    /// It does not start with the magic.
    NotAJournal,
    /// It was written by a program that lays its records out in another way.
    Version {
        /// Its version.
        found: u32,
        /// The one that is read.
        expected: u32,
    },
    /// Nothing in it was ever committed.
    Empty,
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAJournal => write!(f, "this is no state of a supervisor"),
            Self::Version { found, expected } => write!(
                f,
                "the state has version {found}, this program reads {expected}"
            ),
            Self::Empty => write!(f, "no state has been written whole"),
        }
    }
}

impl std::error::Error for JournalError {}

/// Where the next record of a journal goes. The memory itself is given to each call.
#[derive(Debug)]
pub struct Writer {
    at: usize,
    committed: usize,
}

impl Writer {
    /// Begins a journal in `room`, which must be zeroes.
    ///
    /// # Errors
    /// [`Full`]: there is not even room for the header.
    pub fn begin(room: &mut [u8], version: u32) -> Result<Self, Full> {
        let header = room.get_mut(..HEADER).ok_or(Full)?;
        let (magic, rest) = header.split_at_mut(MAGIC.len());
        magic.copy_from_slice(MAGIC);
        if let Some(place) = rest.first_chunk_mut::<4>() {
            *place = version.to_le_bytes();
        }
        Ok(Self {
            at: HEADER,
            committed: HEADER,
        })
    }

    /// Adds a record; `write` puts its body into the room it is given and says how long it is.
    ///
    /// # Errors
    /// [`Full`], also where `write` has no room.
    pub fn record(
        &mut self,
        room: &mut [u8],
        key: Key,
        write: impl FnOnce(&mut [u8]) -> Result<usize, Full>,
    ) -> Result<(), Full> {
        // What has been added can be committed.
        let end = match key.kind {
            COMMIT => room.len(),
            _ => room.len().saturating_sub(RECORD),
        };
        let free = room.get_mut(self.at..end).ok_or(Full)?;
        let (head, body) = free.split_at_mut_checked(RECORD).ok_or(Full)?;
        let length = write(body)?;
        let body = body.get(..length).ok_or(Full)?;
        let words = [
            key.kind,
            key.index,
            u32::try_from(length).map_err(|_| Full)?,
        ];
        let (pieces, _) = head.as_chunks_mut::<4>();
        let checksum = checksum(words, body);
        for (piece, word) in pieces.iter_mut().zip(words.into_iter().chain([checksum])) {
            *piece = word.to_le_bytes();
        }
        self.at = self
            .at
            .saturating_add(RECORD)
            .saturating_add(padded(length));
        Ok(())
    }

    /// Adds records of another journal, with their commits, as they are.
    ///
    /// # Errors
    /// [`Full`].
    pub fn copy(&mut self, room: &mut [u8], records: &[u8]) -> Result<(), Full> {
        let end = self.at.saturating_add(records.len());
        if end > room.len().saturating_sub(RECORD) {
            return Err(Full);
        }
        let free = room.get_mut(self.at..end).ok_or(Full)?;
        free.copy_from_slice(records);
        self.at = end;
        Ok(())
    }

    /// Commits the records since the last commit; of none, nothing is written.
    ///
    /// # Errors
    /// [`Full`]; not where each record was added.
    pub fn commit(&mut self, room: &mut [u8]) -> Result<(), Full> {
        if self.at == self.committed {
            return Ok(());
        }
        let key = Key {
            kind: COMMIT,
            index: 0,
        };
        self.record(room, key, |_| Ok(0))?;
        self.committed = self.at;
        Ok(())
    }

    /// How many bytes are in use.
    #[must_use]
    pub const fn used(&self) -> usize {
        self.at
    }
}

/// The committed records of a journal, in the order in which they were written: of two with the same
/// key, the later counts, unless they say how they follow each other.
///
/// # Errors
/// [`JournalError`]; no bytes make it panic.
pub fn read(bytes: &[u8], version: u32) -> Result<Vec<(Key, &[u8])>, JournalError> {
    let rest = bytes.strip_prefix(MAGIC).ok_or(JournalError::NotAJournal)?;
    let found = word(rest, 0).ok_or(JournalError::NotAJournal)?;
    if found != version {
        let expected = version;
        return Err(JournalError::Version { found, expected });
    }
    let mut rest = bytes.get(HEADER..).unwrap_or_default();
    let mut records = Vec::new();
    let mut committed = None;
    while let Some((key, body, after)) = next(rest) {
        rest = after;
        if key.kind == COMMIT {
            committed = Some(records.len());
        } else {
            records.push((key, body));
        }
    }
    records.truncate(committed.ok_or(JournalError::Empty)?);
    Ok(records)
}

/// The first record, and what follows it; `None`: it is not whole, or there is none.
fn next(bytes: &[u8]) -> Option<(Key, &[u8], &[u8])> {
    let words = [word(bytes, 0)?, word(bytes, 1)?, word(bytes, 2)?];
    let [kind, index, length] = words;
    let length = usize::try_from(length).ok()?;
    let body = bytes.get(RECORD..)?.get(..length)?;
    if kind == 0 || checksum(words, body) != word(bytes, 3)? {
        return None;
    }
    let after = bytes.get(RECORD.checked_add(padded(length))?..);
    Some((Key { kind, index }, body, after.unwrap_or_default()))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let start = at.checked_mul(4)?;
    let word = bytes.get(start..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*word))
}

fn checksum(words: [u32; 3], body: &[u8]) -> u32 {
    let head = words.map(u32::to_le_bytes);
    crc32c::crc32c_append(crc32c::crc32c(head.as_flattened()), body)
}

const fn padded(length: usize) -> usize {
    length.next_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kind: u32, index: u32) -> Key {
        Key { kind, index }
    }

    fn add(writer: &mut Writer, room: &mut [u8], key: Key, body: &[u8]) -> Result<(), Full> {
        writer.record(room, key, |free| {
            free.get_mut(..body.len())
                .ok_or(Full)?
                .copy_from_slice(body);
            Ok(body.len())
        })
    }

    #[test]
    fn what_was_committed_is_read_and_nothing_after() {
        let mut room = vec![0; 4096];
        let mut writer = Writer::begin(&mut room, 7).unwrap();
        assert_eq!(read(&room, 7), Err(JournalError::Empty));
        add(&mut writer, &mut room, key(1, 5), b"first").unwrap();
        add(&mut writer, &mut room, key(2, 0), b"").unwrap();
        writer.commit(&mut room).unwrap();
        add(&mut writer, &mut room, key(1, 5), b"secondly").unwrap();
        let expect = vec![(key(1, 5), &b"first"[..]), (key(2, 0), &b""[..])];
        assert_eq!(read(&room, 7).unwrap(), expect);
        let used = writer.used();
        writer.commit(&mut room).unwrap();
        let again = writer.used();
        writer.commit(&mut room).unwrap();
        assert_eq!(writer.used(), again, "a commit of nothing is nothing");
        assert_eq!(read(&room, 7).unwrap().len(), 3);
        // Whatever is torn after a commit takes only what follows that commit.
        for at in (used - 20)..again {
            let mut torn = room.clone();
            torn[at] ^= 0x40;
            assert_eq!(read(&torn, 7).unwrap(), expect, "byte {at}");
        }
        let expected = 8;
        let version = JournalError::Version { found: 7, expected };
        assert_eq!(read(&room, 8), Err(version));
        assert_eq!(read(b"SHARKBO", 7), Err(JournalError::NotAJournal));
    }

    #[test]
    fn records_are_copied_from_one_journal_to_another() {
        let (mut one, mut other) = (vec![0; 256], vec![0; 100]);
        let mut writer = Writer::begin(&mut one, 7).unwrap();
        let start = writer.used();
        add(&mut writer, &mut one, key(1, 5), b"first").unwrap();
        writer.commit(&mut one).unwrap();
        let records = one[start..writer.used()].to_vec();
        let mut copy = Writer::begin(&mut other, 7).unwrap();
        copy.copy(&mut other, &records).unwrap();
        assert_eq!(read(&other, 7).unwrap(), read(&one, 7).unwrap());
        assert_eq!(copy.copy(&mut other, &records), Err(Full));
        assert_eq!(read(&other, 7).unwrap(), read(&one, 7).unwrap());
    }

    #[test]
    fn a_full_journal_keeps_what_it_has() {
        let mut room = vec![0; 16 + 16 + 8 + 16];
        let mut writer = Writer::begin(&mut room, 1).unwrap();
        add(&mut writer, &mut room, key(1, 0), b"12345678").unwrap();
        writer.commit(&mut room).unwrap();
        assert_eq!(add(&mut writer, &mut room, key(1, 1), b""), Err(Full));
        assert_eq!(read(&room, 1).unwrap().len(), 1);
        assert!(Writer::begin(&mut [0; 8], 1).is_err());
    }
}
