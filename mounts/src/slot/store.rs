//! Finding the record on a medium and putting the next one there, over an interface of two calls.
//!
//! Responsible for the order of reads and writes, and for what is done when one of them fails. Not
//! here: the calls themselves, which whoever has the disk provides ([`Medium`]).

use std::fmt;

use super::record::{RECORD_SIZE, Record, RecordError};
use super::region::{
    Newest, Place, RECORDS, REGION_OFFSETS, REGION_SIZE, REGIONS, RecordState, Scan, Skip,
};

/// The state partition, or whatever stands for it.
pub trait Medium {
    /// Reads `into.len()` bytes at `offset` of the partition, from the disk and not from a cache.
    ///
    /// # Errors
    /// Operation, object and cause, for people; nothing may be believed of `into` then.
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), String>;

    /// Writes a record at `offset` of the partition. When this returns, the record is on the disk
    /// and would survive a power cut, and has been read back.
    ///
    /// # Errors
    /// Operation, object and cause, for people. The place may then hold the record, what was there
    /// before, or anything.
    fn write(&mut self, offset: u64, block: &[u8; RECORD_SIZE]) -> Result<(), String>;
}

/// Places of a region that are tried before it is given up for this write.
pub const PLACES_TRIED: usize = 4;

/// How far what could not be read may be ahead: so much the next record jumps, to be newer than
/// anything that is hidden.
const HIDDEN_WRITES: u64 = 1 << 16;

/// Why a record was not stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// There is no record to follow, and what is there may hide one: why.
    NoRecord(String),
    /// The record contradicts itself and would not be read again: a mistake of this program.
    Unsound(RecordError),
    /// There is no higher sequence number.
    SequenceExhausted,
    /// Every place that was tried failed: the places, each with its cause.
    Places(Vec<(Place, String)>),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "boot record not written: ")?;
        match self {
            Self::NoRecord(why) => write!(f, "there is none that it could follow ({why})"),
            Self::Unsound(error) => write!(f, "it would not be read again: {error}"),
            Self::SequenceExhausted => write!(
                f,
                "its sequence numbers are used up; write a new record with an image"
            ),
            Self::Places(places) => {
                write!(f, "no place took it, look at the disk:")?;
                for (place, error) in places {
                    write!(f, " {place}: {error};")?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for StoreError {}

/// Reads both regions and finds the record that counts. A region that cannot be read as a whole is
/// read place by place: one bad block costs one record.
pub fn load(medium: &mut impl Medium) -> RecordState {
    let mut scan = Scan::default();
    let mut bytes = vec![0; REGION_SIZE];
    for (number, offset) in REGION_OFFSETS.into_iter().enumerate() {
        match medium.read(offset, &mut bytes) {
            Ok(()) => scan.region(number, &bytes),
            Err(error) => by_place(medium, &mut scan, number, error),
        }
    }
    scan.finish()
}

fn by_place(medium: &mut impl Medium, scan: &mut Scan, region: usize, error: String) {
    let mut block = [0; RECORD_SIZE];
    let mut unread = Vec::new();
    for place in (0..RECORDS).filter_map(|index| Place::new(region, index)) {
        match medium.read(place.offset(), &mut block) {
            Ok(()) => scan.place(place, &block),
            Err(error) => unread.push((place, error)),
        }
    }
    if unread.len() == RECORDS {
        return scan.unread_region(region, error);
    }
    for (place, error) in unread {
        scan.unread_place(place, error);
    }
}

/// Stores `record` as the one that follows `state`, and returns the state after it. The sequence
/// number is set here.
///
/// The record goes into the region that does not hold the newest. It counts only once it has been
/// read back equal. Where that fails, the next places are tried, each with a new sequence number,
/// since the one before may lie there after all; then places of the other region, never that of the
/// newest record. All these places are looked at first: when an earlier call failed with the same
/// `state`, what it left there after all must be older than what is written now.
///
/// # Errors
/// [`StoreError`]. The newest record is then as it was; the new one may or may not be found at the
/// next load, because a write that failed may have reached the disk.
pub fn append(
    medium: &mut impl Medium,
    state: &RecordState,
    mut record: Record,
) -> Result<RecordState, StoreError> {
    let (places, above) = targets(state)?;
    let mut failed = Vec::new();
    record.sequence = above.max(left_over(medium, &places)?);
    for place in places {
        record.sequence = place
            .sequence_above(record.sequence)
            .ok_or(StoreError::SequenceExhausted)?;
        let block = record.encode();
        Record::decode(&block).map_err(StoreError::Unsound)?;
        match write_and_read_back(medium, place, &block) {
            Ok(()) => {
                return Ok(RecordState::Newest(Box::new(Newest {
                    place,
                    skipped: still_skipped(state, place),
                    highest: record.sequence,
                    record,
                })));
            }
            Err(error) => failed.push((place, error)),
        }
    }
    Err(StoreError::Places(failed))
}

fn write_and_read_back(
    medium: &mut impl Medium,
    place: Place,
    block: &[u8; RECORD_SIZE],
) -> Result<(), String> {
    medium.write(place.offset(), block)?;
    let mut there = [0; RECORD_SIZE];
    medium.read(place.offset(), &mut there)?;
    if there == *block {
        Ok(())
    } else {
        Err("the disk took it and gives back something else".to_owned())
    }
}

/// The highest sequence number at these places, or one that is certainly higher if one of them cannot
/// be read.
fn left_over(medium: &mut impl Medium, places: &[Place]) -> Result<u64, StoreError> {
    let mut scan = Scan::default();
    let mut block = [0; RECORD_SIZE];
    for place in places {
        match medium.read(place.offset(), &mut block) {
            Ok(()) => scan.place(*place, &block),
            Err(error) => scan.unread_place(*place, error),
        }
    }
    beyond_hidden(scan.highest(), scan.skipped())
}

/// `highest`, or beyond what a place that could not be read may hold.
fn beyond_hidden(highest: u64, skipped: &[Skip]) -> Result<u64, StoreError> {
    let hidden = skipped.iter().any(|skip| match skip {
        Skip::Unread(..) | Skip::Region(..) => true,
        Skip::Invalid(..) | Skip::Twin(..) => false,
    });
    let ahead = if hidden { HIDDEN_WRITES } else { 0 };
    highest
        .checked_add(ahead)
        .ok_or(StoreError::SequenceExhausted)
}

/// The places to try, in order, and the sequence number that the new record must exceed.
fn targets(state: &RecordState) -> Result<(Vec<Place>, u64), StoreError> {
    match state {
        RecordState::Newest(newest) => {
            let mut places = row(newest.place.next());
            places.extend(row(newest.place.beside()));
            Ok((places, beyond_hidden(newest.highest, &newest.skipped)?))
        }
        RecordState::Unreadable {
            rebuild_above: Some(above),
            ..
        } => {
            let mut places = row(Place::FIRST);
            places.extend(row(Place::FIRST.next()));
            // What is damaged may have been misread, its number too, and be whole the next time.
            let above = above.checked_add(HIDDEN_WRITES);
            Ok((places, above.ok_or(StoreError::SequenceExhausted)?))
        }
        RecordState::Unreadable {
            why,
            rebuild_above: None,
        } => Err(StoreError::NoRecord(why.clone())),
    }
}

/// [`PLACES_TRIED`] places of a region in a row.
fn row(first: Place) -> Vec<Place> {
    std::iter::successors(Some(first), |place| Some(place.beside()))
        .take(PLACES_TRIED)
        .collect()
}

/// What was odd before a write and still is.
fn still_skipped(state: &RecordState, written: Place) -> Vec<Skip> {
    match state {
        RecordState::Newest(newest) => newest
            .skipped
            .iter()
            .filter(|skip| match skip {
                Skip::Invalid(place, _) | Skip::Unread(place, _) => *place != written,
                // The record that had a twin is not the newest any more.
                Skip::Twin(..) => false,
                Skip::Region(..) => true,
            })
            .cloned()
            .collect(),
        RecordState::Unreadable { .. } => Vec::new(),
    }
}

const _: () = assert!(REGIONS == 2 && PLACES_TRIED < RECORDS);
