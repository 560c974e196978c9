//! The partitions of both slots, with a cache in front that a cut of power loses, keeps or tears. Not here:
//! what is written to them, and when the power goes.

use std::collections::BTreeMap;
use std::sync::Arc;

use mounts::install::Area;
use mounts::manifest::{self, Manifest};
use mounts::slot::Slot;

use crate::systems::{System, keyring};

/// A sector: written whole or not at all.
const SECTOR: usize = 512;
/// Bytes of each partition.
const SIZE: usize = 160 * 1024;

#[derive(Clone)]
struct Write {
    slot: Slot,
    area: Area,
    at: usize,
    bytes: Vec<u8>,
}

/// Them.
#[derive(Clone)]
pub(crate) struct Slots {
    disk: BTreeMap<(Slot, Area), Arc<Vec<u8>>>,
    /// Writes that were not flushed, in order.
    cache: Vec<Write>,
}

impl Slots {
    /// As they leave the factory.
    pub(crate) fn with(systems: [&System; 2]) -> Self {
        let mut slots = Self {
            disk: BTreeMap::new(),
            cache: Vec::new(),
        };
        for (slot, system) in Slot::ALL.into_iter().zip(systems) {
            let contents = [
                (Area::Root, &*system.root),
                (Area::Verity, &*system.verity),
                (Area::Signature, system.header.signed_manifest()),
            ];
            for (area, content) in contents {
                let mut bytes = vec![0x5a; SIZE];
                bytes[..content.len()].copy_from_slice(content);
                slots.disk.insert((slot, area), Arc::new(bytes));
            }
        }
        slots
    }

    /// What of `systems` a boot of the slot finds signed, and whole behind dm-verity.
    pub(crate) fn opens<'a>(&self, slot: Slot, systems: &[&'a System]) -> Option<&'a System> {
        let signed = self.signed(slot)?;
        let starts = |area, content: &[u8]| self.disk[&(slot, area)].starts_with(content);
        systems.iter().copied().find(|system| {
            *system.header.manifest() == signed
                && starts(Area::Root, &system.root)
                && starts(Area::Verity, &system.verity)
        })
    }

    /// The manifest of the slot, if it is one.
    pub(crate) fn signed(&self, slot: Slot) -> Option<Manifest> {
        manifest::verify(&self.disk[&(slot, Area::Signature)], &keyring()).ok()
    }

    /// How many writes were not flushed.
    pub(crate) fn in_doubt(&self) -> usize {
        self.cache.len()
    }

    /// The power comes back. Of each write, in order, is there what a digit to the base 4 says: nothing,
    /// all, its first half, its second.
    pub(crate) fn start_again(&mut self, digits: u64) {
        for (number, write) in (0..).zip(std::mem::take(&mut self.cache)) {
            let half = write.bytes.len() / SECTOR / 2 * SECTOR;
            let (first, second) = write.bytes.split_at(half);
            let place = (write.slot, write.area);
            match digits.checked_shr(2 * number).unwrap_or(0) % 4 {
                1 => self.put(place, write.at, &write.bytes),
                2 => self.put(place, write.at, first),
                3 => self.put(place, write.at + half, second),
                _ => {}
            }
        }
    }

    pub(crate) fn size(&self, slot: Slot, area: Area) -> u64 {
        self.disk[&(slot, area)].len() as u64
    }

    pub(crate) fn read(&self, slot: Slot, area: Area, offset: u64, into: &mut [u8]) {
        let at = usize::try_from(offset).unwrap();
        into.copy_from_slice(&self.disk[&(slot, area)][at..at + into.len()]);
        // What is in the disk's own cache is read from there.
        let own = self
            .cache
            .iter()
            .filter(|it| (it.slot, it.area) == (slot, area));
        for write in own {
            for (place, byte) in (write.at..).zip(&write.bytes) {
                if let Some(there) = place.checked_sub(at).and_then(|it| into.get_mut(it)) {
                    *there = *byte;
                }
            }
        }
    }

    pub(crate) fn write(&mut self, slot: Slot, area: Area, offset: u64, bytes: &[u8]) {
        let at = usize::try_from(offset).unwrap();
        assert!(at.is_multiple_of(4096) && bytes.len().is_multiple_of(4096));
        let bytes = bytes.to_vec();
        self.cache.push(Write {
            slot,
            area,
            at,
            bytes,
        });
    }

    pub(crate) fn flush(&mut self, slot: Slot, area: Area) {
        let (now, later): (Vec<Write>, Vec<Write>) = std::mem::take(&mut self.cache)
            .into_iter()
            .partition(|write| (write.slot, write.area) == (slot, area));
        self.cache = later;
        for write in now {
            self.put((slot, area), write.at, &write.bytes);
        }
    }

    fn put(&mut self, place: (Slot, Area), at: usize, bytes: &[u8]) {
        let disk = Arc::make_mut(self.disk.get_mut(&place).unwrap());
        disk[at..at + bytes.len()].copy_from_slice(bytes);
    }
}
