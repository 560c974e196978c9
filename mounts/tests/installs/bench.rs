//! A machine on a bench: a disk with a cache in front, a record, a source; and the power, which goes
//! when it is asked to.

use std::collections::BTreeMap;
use std::ops::Range;

use fastrand::Rng;
use mounts::bundle::Chunk;
use mounts::install::{Area, Failure, Machine, Progress};
use mounts::manifest;
use mounts::slot::Slot;
use mounts::slot::account::{Running, charge, commit};
use mounts::slot::decide::Why;
use mounts::slot::judge::Stamp;
use mounts::slot::record::{RECORD_SIZE, Record};
use mounts::slot::region::{REGION_SIZE, RecordState, newest};
use mounts::slot::update::{self, System as Named};

use crate::systems::{System, keyring};

/// A sector: written whole or not at all.
const SECTOR: usize = 512;
/// Bytes of each partition.
const SIZE: usize = 2 << 20;
const NOW: Stamp = Stamp { unix: 9 };

/// What becomes of what was not flushed when the power goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Loss {
    /// All of it is on the disk.
    Nothing,
    /// None of it is.
    Everything,
    /// Some writes are, whole.
    SomeWrites,
    /// Some sectors are.
    SomeSectors,
    /// Of each write, in order, what a digit to the base 4 says: nothing, all, its first half, its second.
    Each(u64),
}

impl Loss {
    /// Every combination of what so many writes may leave: in whatever order a disk writes them, it is one
    /// of these or a finer one.
    pub(crate) fn each(writes: usize) -> impl Iterator<Item = Self> {
        (0..4_u64.pow(u32::try_from(writes).unwrap())).map(Self::Each)
    }

    pub(crate) fn all() -> [Self; 4] {
        [
            Self::Nothing,
            Self::Everything,
            Self::SomeWrites,
            Self::SomeSectors,
        ]
    }
}

/// What is wrong with the machine.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// A byte is stored wrong, and nobody is told.
    StoresWrong(Area, usize),
    RefusesWrites(Area),
    RefusesFlush(Area),
    RefusesReads(Area),
    /// The source sends another byte in this chunk.
    SendsWrong(u32),
}

#[derive(Clone)]
struct Write {
    area: Area,
    at: usize,
    bytes: Vec<u8>,
}

/// The machine.
#[derive(Clone)]
pub(crate) struct Bench {
    disk: BTreeMap<Area, Vec<u8>>,
    /// Writes that were not flushed, in order.
    cache: Vec<Write>,
    pub(crate) record: Record,
    running: Running,
    boots: u8,
    offered: Vec<Vec<u8>>,
    pub(crate) calls: u64,
    last_call: Option<u64>,
    pub(crate) fault: Option<Fault>,
    pub(crate) problems: Vec<String>,
    pub(crate) goes_on_for: u32,
    /// Kernel and initramfs are where the loader finds them.
    placed: bool,
    pub(crate) fetched: u32,
    pub(crate) fetches_left: Option<u32>,
}

impl Bench {
    /// Slot a runs and is committed; slot b holds `old`, which was good once.
    pub(crate) fn with(old: &System) -> Self {
        let area = |content: &[u8]| {
            let mut bytes = vec![0x5a; SIZE];
            bytes[..content.len()].copy_from_slice(content);
            bytes
        };
        let hash = old.header.manifest().root_hash;
        let mut bench = Self {
            disk: BTreeMap::from([
                (Area::Root, area(&old.root)),
                (Area::Verity, area(&old.verity)),
                (Area::Signature, area(old.header.signed_manifest())),
            ]),
            cache: Vec::new(),
            record: Record::for_image(Some((hash, 1)), Some((hash, 1))),
            running: Running::default(),
            boots: 0,
            offered: Vec::new(),
            calls: 0,
            last_call: None,
            fault: None,
            problems: Vec::new(),
            goes_on_for: u32::MAX,
            placed: false,
            fetched: 0,
            fetches_left: None,
        };
        bench.record.slot_mut(Slot::B).good = true;
        bench.boot();
        bench
    }

    /// Slot a boots and is found good.
    fn boot(&mut self) {
        self.boots += 1;
        self.running = Running {
            slot: Some(Slot::A),
            boot_id: [self.boots; 16],
            ..Running::default()
        };
        charge(
            &mut self.record,
            Slot::A,
            &Why::Forced,
            self.running.boot_id,
            NOW,
        );
        let phase = (self.record.phase, self.record.trial);
        commit(&mut self.record, &self.running, "").unwrap();
        assert_eq!((self.record.phase, self.record.trial), phase);
    }

    pub(crate) fn offer(&mut self, system: &System) {
        let content = |number| system.content(number).to_vec();
        self.offered = (0..system.chunks()).map(content).collect();
    }

    /// The power goes before the call with this number.
    pub(crate) fn cut_before(&mut self, call: u64) {
        self.last_call = Some(call);
    }

    /// The power comes back: some of what was not flushed is on the disk.
    pub(crate) fn start_again(&mut self, loss: Loss, rng: &mut Rng) {
        self.last_call = None;
        for (place, write) in (0..).zip(std::mem::take(&mut self.cache)) {
            let whole = match loss {
                Loss::Each(digits) => {
                    let half = (write.bytes.len() / SECTOR / 2) * SECTOR;
                    let (first, second) = write.bytes.split_at(half);
                    match digits / 4_u64.pow(place) % 4 {
                        2 => self.put(write.area, write.at, first),
                        3 => self.put(write.area, write.at + half, second),
                        _ => {}
                    }
                    digits / 4_u64.pow(place) % 4 == 1
                }
                Loss::Nothing => true,
                Loss::Everything => false,
                Loss::SomeWrites => rng.bool(),
                Loss::SomeSectors => {
                    for (number, sector) in write.bytes.chunks(SECTOR).enumerate() {
                        if rng.bool() {
                            self.put(write.area, write.at + number * SECTOR, sector);
                        }
                    }
                    false
                }
            };
            if whole {
                self.put(write.area, write.at, &write.bytes);
            }
        }
        if self.record.phase != mounts::slot::record::Phase::Trial {
            self.boot();
        }
    }

    /// How many writes were not flushed.
    pub(crate) fn in_doubt(&self) -> usize {
        self.cache.len()
    }

    fn put(&mut self, area: Area, at: usize, bytes: &[u8]) {
        let disk = self.disk.get_mut(&area).unwrap();
        disk[at..at + bytes.len()].copy_from_slice(bytes);
        if let Some(Fault::StoresWrong(wrong, place)) = self.fault
            && wrong == area
            && (at..at + bytes.len()).contains(&place)
        {
            disk[place] ^= 1;
        }
    }

    /// What a boot would find signed.
    pub(crate) fn signed(&self) -> Option<mounts::manifest::Manifest> {
        manifest::verify(&self.disk[&Area::Signature], &keyring()).ok()
    }

    /// Whether the slot holds this system whole.
    pub(crate) fn holds(&self, system: &System) -> bool {
        let starts = |area: Area, content: &[u8]| self.disk[&area].starts_with(content);
        self.signed().as_ref() == Some(system.header.manifest())
            && starts(Area::Root, &system.root)
            && starts(Area::Verity, &system.verity)
    }

    pub(crate) fn state(&self) -> RecordState {
        let mut region = vec![0; REGION_SIZE];
        region[..RECORD_SIZE].copy_from_slice(&self.record.encode());
        newest([Ok(&region), Ok(&vec![0; REGION_SIZE])])
    }

    pub(crate) fn shrink(&mut self, area: Area, size: u64) {
        self.disk
            .get_mut(&area)
            .unwrap()
            .truncate(usize::try_from(size).unwrap());
    }

    /// One more call, unless the power has gone.
    fn call(&mut self) -> Result<(), String> {
        if self.last_call.is_some_and(|last| self.calls >= last) {
            return Err("the power has gone".to_owned());
        }
        self.calls += 1;
        Ok(())
    }

    fn flush_all(&mut self, area: Area) {
        let (now, later) = std::mem::take(&mut self.cache)
            .into_iter()
            .partition(|write| write.area == area);
        self.cache = later;
        for write in Vec::<Write>::from_iter::<Vec<Write>>(now) {
            self.put(write.area, write.at, &write.bytes);
        }
    }
}

impl Machine for Bench {
    fn size(&mut self, area: Area) -> Result<u64, String> {
        Ok(self.disk[&area].len() as u64)
    }

    fn read(&mut self, area: Area, offset: u64, into: &mut [u8]) -> Result<(), String> {
        self.call()?;
        if matches!(self.fault, Some(Fault::RefusesReads(bad)) if bad == area) {
            return Err("input/output error".into());
        }
        let at = usize::try_from(offset).unwrap();
        into.copy_from_slice(&self.disk[&area][at..at + into.len()]);
        // What is in the disk's own cache is read from there.
        for write in self.cache.iter().filter(|write| write.area == area) {
            for (place, byte) in (write.at..).zip(&write.bytes) {
                if let Some(there) = place.checked_sub(at).and_then(|it| into.get_mut(it)) {
                    *there = *byte;
                }
            }
        }
        Ok(())
    }

    fn write(&mut self, area: Area, offset: u64, bytes: &[u8]) -> Result<(), String> {
        self.call()?;
        if matches!(self.fault, Some(Fault::RefusesWrites(bad)) if bad == area) {
            return Err("input/output error".into());
        }
        let at = usize::try_from(offset).unwrap();
        assert!(at.is_multiple_of(4096) && bytes.len().is_multiple_of(4096));
        let bytes = bytes.to_vec();
        self.cache.push(Write { area, at, bytes });
        Ok(())
    }

    fn flush(&mut self, area: Area) -> Result<(), String> {
        self.call()?;
        if matches!(self.fault, Some(Fault::RefusesFlush(bad)) if bad == area) {
            return Err("input/output error".into());
        }
        self.flush_all(area);
        Ok(())
    }

    fn may_be_there(&mut self, system: Named) -> bool {
        self.record.slot(Slot::B).root_hash == system.root_hash
    }

    fn begin(&mut self, system: Named) -> Result<(), String> {
        self.call()?;
        self.placed = false;
        update::begin(&mut self.record, &self.running, system)
            .map(drop)
            .map_err(|error| error.to_string())
    }

    fn arm(&mut self, system: Named) -> Result<(), String> {
        self.call()?;
        assert!(self.placed, "armed without a kernel");
        update::arm(&mut self.record, &self.running, system)
            .map(drop)
            .map_err(|error| error.to_string())
    }

    fn want(&mut self, _runs: &[Range<u32>]) -> Result<(), Failure> {
        self.call().map_err(Failure::Source)
    }

    fn store(&mut self, number: u32, chunk: &Chunk) -> Result<(), Failure> {
        self.call().map_err(Failure::Source)?;
        if let Some(left) = &mut self.fetches_left {
            *left = left
                .checked_sub(1)
                .ok_or_else(|| Failure::Source("the server has gone".into()))?;
        }
        self.fetched += 1;
        let mut sent = self.offered[number as usize].clone();
        if matches!(self.fault, Some(Fault::SendsWrong(bad)) if bad == number) {
            sent[0] ^= 1;
        }
        self.write(chunk.part.into(), chunk.offset, &sent)
            .map_err(Failure::Disk)
    }

    fn finish(&mut self) -> Result<(), Failure> {
        self.call().map_err(Failure::Source)
    }

    fn prove(&mut self) -> Result<(), Failure> {
        self.call().map_err(Failure::Disk)?;
        match self.problems.is_empty() {
            true => Ok(()),
            false => Err(Failure::Unproven(self.problems.clone())),
        }
    }

    fn place(&mut self) -> Result<(), String> {
        self.call()?;
        self.placed = true;
        Ok(())
    }

    fn progress(&mut self, _progress: Progress) -> bool {
        self.goes_on_for = self.goes_on_for.saturating_sub(1);
        self.goes_on_for > 0
    }
}
