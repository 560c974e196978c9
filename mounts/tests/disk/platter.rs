//! A simulated disk: blocks of eight sectors that a power cut may tear, writes that were acknowledged
//! and are lost, bits that flip, and regions that cannot be read or written.
//!
//! Each block knows which write it holds whole, so that what a reboot must find is known without
//! decoding a byte. Not here: which faults are tried.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mounts::slot::record::{RECORD_SIZE, Record};
use mounts::slot::region::{Place, RECORDS, REGION_OFFSETS};
use mounts::slot::store::{Medium, PLACES_TRIED};

/// A record as bytes.
pub(crate) type Block = [u8; RECORD_SIZE];
/// Which of the eight sectors of a block are new: bit 0 is the first.
pub(crate) type Mask = u8;

const SECTOR: usize = RECORD_SIZE / 8;

/// What lies at a place.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    pub(crate) bytes: Arc<Block>,
    /// The write that lies here whole; none when what lies here is damaged.
    pub(crate) holds: Option<usize>,
}

/// The content of a disk. Places never written are not in it and read as zeros.
pub(crate) type Content = BTreeMap<Place, Cell>;

/// A write that the disk was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    /// The disk before it.
    pub(crate) before: Arc<Content>,
    pub(crate) place: Place,
    pub(crate) bytes: Arc<Block>,
    pub(crate) sequence: u64,
}

/// How far a fault of writing reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// That one write.
    Once,
    /// That write and the seven after it: all the places that one record is tried at.
    Record,
    /// That write and all that follow to the same place.
    Place,
    /// That write and all that follow to the same region.
    Region,
    /// That write and all that follow.
    Disk,
}

/// What is wrong with a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// Nothing is written, and the disk says so.
    Refused,
    /// Some sectors are written, and the disk says that it failed.
    Partly(Mask),
    /// All is written, and the disk says that it failed.
    Late,
    /// The disk says that all is well, and a bit is wrong.
    Silent,
    /// All is written, and cannot be read back now or later.
    Unread,
}

/// A fault of writing: from write `from` on, within `scope`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WriteFault {
    pub(crate) from: usize,
    pub(crate) scope: Scope,
    pub(crate) wrong: Wrong,
}

/// The disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub(crate) content: Content,
    pub(crate) journal: Arc<Vec<Written>>,
    pub(crate) write_fault: Option<WriteFault>,
    /// Where that fault struck first.
    struck: Option<Place>,
    pub(crate) unreadable_regions: BTreeSet<usize>,
    pub(crate) unreadable_places: BTreeSet<Place>,
    /// Places of which a bit is wrong whenever they are read, though it was written well.
    pub(crate) misread: BTreeMap<Place, usize>,
    /// That is so only where more than one place is read at once, and until it is written again.
    pub(crate) misread_at_once: bool,
    /// Power fails during this write, which is torn so.
    pub(crate) cut: Option<(usize, Mask)>,
    pub(crate) off: bool,
}

impl Disk {
    /// A disk with this content and nothing wrong with it.
    pub(crate) fn with(content: Content, journal: &Arc<Vec<Written>>) -> Self {
        Self {
            content,
            journal: journal.clone(),
            ..Self::default()
        }
    }

    /// Lays a block at a place as the image builder does, before anything can go wrong.
    pub(crate) fn lay(&mut self, place: Place, bytes: &Block) {
        let bytes = Arc::new(*bytes);
        Arc::make_mut(&mut self.journal).push(Written {
            before: Arc::new(self.content.clone()),
            place,
            bytes: bytes.clone(),
            sequence: sequence(&bytes),
        });
        let holds = Some(self.journal.len() - 1);
        self.content.insert(place, Cell { bytes, holds });
    }

    /// From now on writes go wrong so.
    pub(crate) fn fail_writes(&mut self, fault: WriteFault) {
        self.write_fault = Some(fault);
        self.struck = None;
    }

    /// All that is on the disk can be read again.
    pub(crate) fn show(&mut self) {
        self.unreadable_regions.clear();
        self.unreadable_places.clear();
        self.misread.clear();
    }

    /// Whether a place can be read as it is.
    pub(crate) fn is_readable(&self, place: Place) -> bool {
        !self.unreadable_regions.contains(&place.region())
            && !self.unreadable_places.contains(&place)
            && !self.misread.contains_key(&place)
    }

    /// The write with the highest sequence number that can be read whole.
    pub(crate) fn newest(&self) -> Option<usize> {
        let readable = self
            .content
            .iter()
            .filter(|(place, _)| self.is_readable(**place));
        readable
            .filter_map(|(_, cell)| cell.holds)
            .max_by_key(|write| self.journal[*write].sequence)
    }

    /// Two writes that can be read whole and have the same sequence number.
    pub(crate) fn twins(&self) -> Option<(usize, usize)> {
        let mut seen = BTreeMap::new();
        let readable = self
            .content
            .iter()
            .filter(|(place, _)| self.is_readable(**place));
        readable
            .filter_map(|(_, cell)| cell.holds)
            .find_map(|write| Some((seen.insert(self.journal[write].sequence, write)?, write)))
    }

    /// Flips one bit of a block, wherever it is in it.
    pub(crate) fn flip(&mut self, place: Place, bit: usize) {
        if let Some(cell) = self.content.get_mut(&place) {
            let mut bytes = *cell.bytes;
            bytes[bit / 8] ^= 1 << (bit % 8);
            *cell = Cell {
                bytes: Arc::new(bytes),
                holds: None,
            };
        }
    }

    fn strikes(&mut self, place: Place) -> Option<Wrong> {
        let fault = self.write_fault?;
        let write = self.journal.len() - 1;
        let first = match self.struck {
            None if write == fault.from => *self.struck.insert(place),
            None => return None,
            Some(first) => first,
        };
        let hit = match fault.scope {
            Scope::Once => write == fault.from,
            Scope::Record => write < fault.from + 2 * PLACES_TRIED,
            Scope::Place => place == first,
            Scope::Region => place.region() == first.region(),
            Scope::Disk => true,
        };
        hit.then_some(fault.wrong)
    }
}

/// A block of which only the sectors of `mask` were written by `write` over what was there.
pub(crate) fn torn(journal: &[Written], write: usize, before: &Content, mask: Mask) -> Cell {
    let Written { place, bytes, .. } = &journal[write];
    let old = before.get(place);
    let mut mixed = old.map_or([0; RECORD_SIZE], |cell| *cell.bytes);
    for sector in (0..8).filter(|sector| mask & (1 << sector) != 0) {
        let range = sector * SECTOR..(sector + 1) * SECTOR;
        mixed[range.clone()].copy_from_slice(&bytes[range]);
    }
    let holds = if mixed == **bytes {
        Some(write)
    } else if let Some(cell) = old.filter(|cell| *cell.bytes == mixed) {
        cell.holds
    } else {
        // A sector may also mend what an earlier write left damaged there.
        journal.iter().rposition(|it| *it.bytes == mixed)
    };
    Cell {
        bytes: Arc::new(mixed),
        holds,
    }
}

fn sequence(bytes: &Block) -> u64 {
    Record::decode(bytes).map_or(0, |record| record.sequence)
}

fn place_at(offset: u64) -> Place {
    let [first, second] = REGION_OFFSETS;
    let (region, base) = if offset < second {
        (0, first)
    } else {
        (1, second)
    };
    let index = usize::try_from((offset - base) / RECORD_SIZE as u64).unwrap();
    Place::new(region, index).expect("the store keeps to the places there are")
}

impl Medium for Disk {
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), String> {
        if self.off {
            return Err("read: no power".to_owned());
        }
        let first = place_at(offset);
        let count = into.len() / RECORD_SIZE;
        assert!(count * RECORD_SIZE == into.len() && first.index() + count <= RECORDS);
        into.fill(0);
        let last = Place::new(first.region(), first.index() + count - 1).unwrap();
        if self.unreadable_regions.contains(&first.region()) {
            return Err(format!("read region {}: EIO", first.region()));
        }
        if let Some(place) = self.unreadable_places.range(first..=last).next() {
            return Err(format!("read {place}: EIO"));
        }
        for (place, cell) in self.content.range(first..=last) {
            let at = (place.index() - first.index()) * RECORD_SIZE;
            into[at..at + RECORD_SIZE].copy_from_slice(&*cell.bytes);
        }
        let is_misread = count > 1 || !self.misread_at_once;
        for (place, bit) in self.misread.range(first..=last).filter(|_| is_misread) {
            let at = (place.index() - first.index()) * RECORD_SIZE;
            into[at + bit / 8] ^= 1 << (bit % 8);
        }
        Ok(())
    }

    fn write(&mut self, offset: u64, block: &Block) -> Result<(), String> {
        if self.off {
            return Err("write: no power".to_owned());
        }
        let place = place_at(offset);
        if self.misread_at_once {
            self.misread.remove(&place);
        }
        let bytes = Arc::new(*block);
        let write = self.journal.len();
        Arc::make_mut(&mut self.journal).push(Written {
            before: Arc::new(self.content.clone()),
            place,
            bytes: bytes.clone(),
            sequence: sequence(block),
        });
        let whole = Cell {
            bytes: bytes.clone(),
            holds: Some(write),
        };
        if let Some((_, mask)) = self.cut.filter(|(at, _)| *at == write) {
            let cell = torn(&self.journal, write, &self.content, mask);
            self.content.insert(place, cell);
            self.off = true;
            return Err("write: no power".to_owned());
        }
        match self.strikes(place) {
            None => {
                self.content.insert(place, whole);
                Ok(())
            }
            Some(Wrong::Refused) => Err(format!("write {place}: EIO")),
            Some(Wrong::Partly(mask)) => {
                let cell = torn(&self.journal, write, &self.content, mask);
                self.content.insert(place, cell);
                Err(format!("write {place}: EIO after some sectors"))
            }
            Some(Wrong::Late) => {
                self.content.insert(place, whole);
                Err(format!("write {place}: timeout"))
            }
            Some(Wrong::Silent) => {
                self.content.insert(place, whole);
                self.flip(place, 12_345);
                Ok(())
            }
            Some(Wrong::Unread) => {
                self.content.insert(place, whole);
                self.unreadable_places.insert(place);
                Ok(())
            }
        }
    }
}
