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
    },
}

impl RecordState {
    /// There is no state partition, or it cannot be opened.
    #[must_use]
    pub fn unreadable(why: impl Into<String>) -> Self {
        Self::Unreadable { why: why.into() }
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
    let mut newest: Option<(Place, Record)> = None;
    let mut skipped = Vec::new();
    for (number, region) in regions.into_iter().enumerate() {
        let bytes = match region {
            Ok(bytes) => bytes,
            Err(error) => {
                skipped.push(Skip::Region(number, error));
                continue;
            }
        };
        if bytes.len() < REGION_SIZE {
            let length = bytes.len();
            skipped.push(Skip::Region(
                number,
                format!("only {length} of {REGION_SIZE} bytes"),
            ));
        }
        let (records, _) = bytes.as_chunks::<RECORD_SIZE>();
        for (index, bytes) in records.iter().take(RECORDS).enumerate() {
            let Some(place) = Place::new(number, index) else {
                continue;
            };
            match Record::decode(bytes) {
                Ok(record) => consider(&mut newest, &mut skipped, place, record),
                Err(RecordError::Blank) => {}
                Err(error) => skipped.push(Skip::Invalid(place, error)),
            }
        }
    }
    match newest {
        Some((place, record)) => {
            drop_stale_twins(&mut skipped, record.sequence);
            RecordState::Newest(Box::new(Newest {
                record,
                place,
                skipped,
            }))
        }
        None => RecordState::Unreadable {
            why: say_unreadable(&skipped),
        },
    }
}

fn consider(
    newest: &mut Option<(Place, Record)>,
    skipped: &mut Vec<Skip>,
    place: Place,
    record: Record,
) {
    match newest {
        Some((_, best)) if best.sequence > record.sequence => {}
        // The earlier place stays: any fixed rule does, as long as every reader has the same.
        Some((_, best)) if best.sequence == record.sequence => {
            if *best != record {
                skipped.push(Skip::Twin(place, record.sequence));
            }
        }
        Some(_) | None => *newest = Some((place, record)),
    }
}

/// Twins of a record that later turned out not to be the newest are of no interest.
fn drop_stale_twins(skipped: &mut Vec<Skip>, newest: u64) {
    skipped.retain(|skip| match skip {
        Skip::Twin(_, sequence) => *sequence == newest,
        Skip::Invalid(..) | Skip::Region(..) => true,
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
