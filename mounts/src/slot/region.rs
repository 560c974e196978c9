//! The two regions of records on the state partition: where they are, which record counts, where
//! the next one goes.
//!
//! A write never touches the region that holds the newest record, so that a torn write, or an erase
//! block that dies with its neighbours, costs at most the record being written. Not here: the
//! record itself ([`super::record`]), the reading and writing.

use std::fmt;

use super::record::{RECORD_SIZE, Record, RecordError};

/// Regions on the partition.
pub const REGIONS: usize = 2;
/// Records of a region.
pub const RECORDS: usize = 64;
/// Bytes of a region.
pub const REGION_SIZE: usize = RECORDS * RECORD_SIZE;
/// Offset of each region in the partition, in bytes: 4 MiB apart, further than the erase blocks of
/// common flash.
pub const REGION_OFFSETS: [u64; REGIONS] = [0, 4 << 20];
/// Bytes that the state partition has at least.
pub const PARTITION_SIZE: u64 = 16 << 20;

/// The place of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    second: bool,
    index: u8,
}

impl Place {
    /// Where the first record of a disk goes.
    pub const FIRST: Self = Self {
        second: false,
        index: 0,
    };

    /// Record `index` of region `region`; `None` if there is no such place.
    #[must_use]
    pub fn new(region: usize, index: usize) -> Option<Self> {
        let index = u8::try_from(index)
            .ok()
            .filter(|i| usize::from(*i) < RECORDS)?;
        (region < REGIONS).then_some(Self {
            second: region == 1,
            index,
        })
    }

    /// 0 or 1.
    #[must_use]
    pub fn region(self) -> usize {
        usize::from(self.second)
    }

    /// Index in the region.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.index)
    }

    /// Offset in the partition, in bytes.
    #[must_use]
    pub fn offset(self) -> u64 {
        let [first, second] = REGION_OFFSETS;
        let region = if self.second { second } else { first };
        region + u64::from(self.index) * RECORD_SIZE as u64
    }

    /// The place after this one in the same region, round robin.
    #[must_use]
    pub fn beside(self) -> Self {
        let index = self.index + 1;
        Self {
            second: self.second,
            index: if usize::from(index) < RECORDS {
                index
            } else {
                0
            },
        }
    }

    /// Where the record after the one at this place goes: round robin, in the other region.
    #[must_use]
    pub fn next(self) -> Self {
        let step = u8::from(self.second);
        Self {
            second: !self.second,
            index: if usize::from(self.index + step) < RECORDS {
                self.index + step
            } else {
                0
            },
        }
    }

    /// The lowest sequence number above `sequence` that a record here may bear; `None` if there is none.
    ///
    /// Each place has one of as many remainders as there are places, so that no two records in different
    /// places ever share a number, whatever could not be seen when they were written. Places that follow
    /// each other, as [`Place::next`] goes, have numbers that do.
    #[must_use]
    pub fn sequence_above(self, sequence: u64) -> Option<u64> {
        const PLACES: u64 = (REGIONS * RECORDS) as u64;
        let lowest = sequence.checked_add(1)?;
        let own = u64::from(self.index) * REGIONS as u64 + u64::from(self.second) + 1;
        lowest.checked_add((own + PLACES - lowest % PLACES) % PLACES)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "record {} of region {}", self.index, self.region())
    }
}

/// Why something on the partition does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Skip {
    /// The record at this place is not valid.
    Invalid(Place, RecordError),
    /// The record at this place has the sequence number of the newest and says something else.
    Twin(Place, u64),
    /// This place could not be read, others of its region could.
    Unread(Place, String),
    /// This region could not be read at all.
    Region(usize, String),
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(place, error) => write!(f, "{place}: {error}"),
            Self::Twin(place, sequence) => write!(
                f,
                "{place}: a second, different record with sequence number {sequence}"
            ),
            Self::Unread(place, error) => write!(f, "{place}: {error}"),
            Self::Region(region, error) => write!(f, "region {region}: {error}"),
        }
    }
}

/// The record that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Newest {
    /// It.
    pub record: Record,
    /// Where it is.
    pub place: Place,
    /// What was passed over: damaged and unknown records, not the places never written.
    pub skipped: Vec<Skip>,
    /// The highest sequence number that anything readable bears, damaged records included: the next
    /// record gets a higher one, so that what cannot be read today is no rival tomorrow.
    pub highest: u64,
}

/// What the state partition says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordState {
    /// A record was found.
    Newest(Box<Newest>),
    /// None was.
    Unreadable {
        /// The cause, for people.
        why: String,
        /// Set when both regions could be read and hold nothing but empty places and damaged
        /// records: then, and only then, may a new record be begun, with a sequence number above
        /// this one. An I/O error or a record of another layout may hide the counters.
        rebuild_above: Option<u64>,
    },
}

impl RecordState {
    /// There is no state partition, or it cannot be opened.
    #[must_use]
    pub fn unreadable(why: impl Into<String>) -> Self {
        Self::Unreadable {
            why: why.into(),
            rebuild_above: None,
        }
    }

    /// The record, if there is one.
    #[must_use]
    pub fn record(&self) -> Option<&Record> {
        match self {
            Self::Newest(newest) => Some(&newest.record),
            Self::Unreadable { .. } => None,
        }
    }
}

/// Finds the valid record with the highest sequence number. Each region comes as its bytes
/// ([`REGION_SIZE`] of them), or as the text of the error that reading it gave.
#[must_use]
pub fn newest(regions: [Result<&[u8], String>; REGIONS]) -> RecordState {
    let mut scan = Scan::default();
    for (number, region) in regions.into_iter().enumerate() {
        match region {
            Ok(bytes) => scan.region(number, bytes),
            Err(error) => scan.unread_region(number, error),
        }
    }
    scan.finish()
}

/// Looks at one place after the other; [`newest`] for those who do not have whole regions at hand.
#[derive(Debug, Default)]
pub(super) struct Scan {
    newest: Option<(Place, Record)>,
    skipped: Vec<Skip>,
    highest: u64,
    /// Something may be there that was not seen or not understood.
    hidden: bool,
}

/// A damaged record's sequence number beyond this is damaged itself: no device writes so often.
const SEQUENCE_BELIEVED: u64 = 1 << 48;

impl Scan {
    pub(super) fn region(&mut self, number: usize, bytes: &[u8]) {
        if bytes.len() < REGION_SIZE {
            let length = bytes.len();
            self.unread_region(number, format!("only {length} of {REGION_SIZE} bytes"));
        }
        let (records, _) = bytes.as_chunks::<RECORD_SIZE>();
        for (index, bytes) in records.iter().take(RECORDS).enumerate() {
            if let Some(place) = Place::new(number, index) {
                self.place(place, bytes);
            }
        }
    }

    pub(super) fn place(&mut self, place: Place, bytes: &[u8; RECORD_SIZE]) {
        match Record::decode(bytes) {
            Ok(record) => self.consider(place, record),
            Err(RecordError::Blank) => {}
            Err(error) => {
                match error {
                    RecordError::Checksum { sequence, .. } => {
                        if sequence < SEQUENCE_BELIEVED {
                            self.highest = self.highest.max(sequence);
                        }
                    }
                    RecordError::Magic(_) | RecordError::Blank => {}
                    // Its checksum holds, or cannot be known: somebody's record all the same.
                    RecordError::Length(_)
                    | RecordError::Version(_)
                    | RecordError::Slot { .. }
                    | RecordError::Value { .. }
                    | RecordError::HistoryGap { .. }
                    | RecordError::Reserved { .. }
                    | RecordError::Text { .. }
                    | RecordError::Contradiction(_)
                    | RecordError::Authentication(_) => self.hidden = true,
                }
                self.skipped.push(Skip::Invalid(place, error));
            }
        }
    }

    /// The highest sequence number seen.
    pub(super) fn highest(&self) -> u64 {
        self.highest
    }

    /// What does not count, so far.
    pub(super) fn skipped(&self) -> &[Skip] {
        &self.skipped
    }

    pub(super) fn unread_place(&mut self, place: Place, error: String) {
        self.hidden = true;
        self.skipped.push(Skip::Unread(place, error));
    }

    pub(super) fn unread_region(&mut self, number: usize, error: String) {
        self.hidden = true;
        self.skipped.push(Skip::Region(number, error));
    }

    fn consider(&mut self, place: Place, record: Record) {
        self.highest = self.highest.max(record.sequence);
        match &self.newest {
            Some((_, best)) if best.sequence > record.sequence => {}
            // The earlier place stays: any fixed rule does, as long as every reader has the same.
            Some((_, best)) if best.sequence == record.sequence => {
                if *best != record {
                    self.skipped.push(Skip::Twin(place, record.sequence));
                }
            }
            Some(_) | None => self.newest = Some((place, record)),
        }
    }

    pub(super) fn finish(mut self) -> RecordState {
        match self.newest {
            Some((place, record)) => {
                drop_stale_twins(&mut self.skipped, record.sequence);
                RecordState::Newest(Box::new(Newest {
                    record,
                    place,
                    skipped: self.skipped,
                    highest: self.highest,
                }))
            }
            None => RecordState::Unreadable {
                why: say_unreadable(&self.skipped),
                rebuild_above: (!self.hidden).then_some(self.highest),
            },
        }
    }
}

/// Twins of a record that later turned out not to be the newest are of no interest.
fn drop_stale_twins(skipped: &mut Vec<Skip>, newest: u64) {
    skipped.retain(|skip| match skip {
        Skip::Twin(_, sequence) => *sequence == newest,
        Skip::Invalid(..) | Skip::Unread(..) | Skip::Region(..) => true,
    });
}

/// One line for the console: the first causes, and how many more there are.
fn say_unreadable(skipped: &[Skip]) -> String {
    const SHOWN: usize = 3;
    if skipped.is_empty() {
        return "both regions are empty".to_owned();
    }
    let mut text = String::from("no valid record");
    for skip in skipped.iter().take(SHOWN) {
        text.push_str("; ");
        text.push_str(&skip.to_string());
    }
    if let Some(more) = skipped.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        text.push_str(&format!("; and {more} more"));
    }
    text
}
