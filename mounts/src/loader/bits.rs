//! Priority, tries and success of each slot in the attribute bits of its root partition, as loaders of
//! the ChromeOS family read them: bits 48 to 51 priority, 52 to 55 tries left, 56 successful.
//!
//! The loader starts the partition with the highest priority that was successful or has a try left, and
//! takes that try off. 0 is never started. The bits are in both copies of the partition table; the one
//! that is relied on is written last. Not here: the disk ([`Disk`]), the table ([`crate::gpt`]).

use super::{Entry, Loader, Source, Standing};
use crate::dps;
use crate::gpt::{self, Bits, Partition, Table};
use crate::slot::Slot;

/// Priority of the slot that comes first, and of the other one.
const FIRST: u8 = 2;
const SECOND: u8 = 1;
/// Where the bits begin, and all of them.
const SHIFT: u32 = 48;
const MASK: u64 = 0x1ff << SHIFT;

/// A whole disk. Errors are for people: operation, object, cause.
pub trait Disk {
    /// Bytes of a logical block, and how many there are.
    ///
    /// # Errors
    /// The disk does not say.
    fn size(&mut self) -> Result<(u32, u64), String>;

    /// Reads at a byte, a whole number of blocks, from the disk and not from a cache.
    ///
    /// # Errors
    /// The disk's.
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), String>;

    /// Writes at a byte, a whole number of blocks.
    ///
    /// # Errors
    /// The disk's.
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), String>;

    /// When this returns, all that was written would survive a power cut.
    ///
    /// # Errors
    /// The disk's.
    fn flush(&mut self) -> Result<(), String>;
}

/// What the bits of a partition say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// 0 to 15; 0 is never started.
    pub priority: u8,
    /// 0 to 15.
    pub tries: u8,
    /// It needs no tries.
    pub successful: bool,
}

impl Mark {
    /// Out of the attributes of a partition.
    #[must_use]
    pub fn of(attributes: u64) -> Self {
        let nibble = |shift: u32| u8::try_from(attributes >> shift & 0xf).unwrap_or(0);
        Self {
            priority: nibble(SHIFT),
            tries: nibble(SHIFT + 4),
            successful: attributes >> (SHIFT + 8) & 1 == 1,
        }
    }

    /// As attributes of a partition.
    #[must_use]
    pub fn attributes(self) -> u64 {
        let Self {
            priority,
            tries,
            successful,
        } = self;
        let bits =
            u64::from(priority & 0xf) | u64::from(tries & 0xf) << 4 | u64::from(successful) << 8;
        bits << SHIFT
    }

    /// A slot that is started from now on, at this place.
    #[must_use]
    pub fn blessed(first: bool) -> Self {
        Self {
            priority: if first { FIRST } else { SECOND },
            tries: 0,
            successful: true,
        }
    }

    /// A slot that is tried once, at this place.
    #[must_use]
    pub fn armed(first: bool) -> Self {
        Self {
            priority: if first { FIRST } else { SECOND },
            tries: 1,
            successful: false,
        }
    }

    fn entry(self) -> Entry {
        match self {
            Self { priority: 0, .. } => Entry::Absent,
            Self {
                successful: true, ..
            } => Entry::Blessed,
            Self { tries: 0, .. } => Entry::Tried,
            Self { .. } => Entry::Armed,
        }
    }

    fn may_start(self) -> bool {
        match self.entry() {
            Entry::Blessed | Entry::Armed => true,
            Entry::Absent | Entry::Tried => false,
        }
    }

    /// The same, behind another one.
    fn behind(self) -> Self {
        Self {
            priority: self.priority.min(SECOND),
            ..self
        }
    }
}

/// The bits on a disk.
#[derive(Debug)]
pub struct PartitionBits<D> {
    disk: D,
}

impl<D: Disk> PartitionBits<D> {
    /// Those of this disk.
    pub const fn new(disk: D) -> Self {
        Self { disk }
    }

    fn table(&mut self) -> Result<Table, String> {
        let (block_size, blocks) = self.disk.size()?;
        gpt::read(block_size, blocks, |lba, into| {
            self.disk.read(lba.saturating_mul(block_size.into()), into)
        })
        .map_err(|error| error.to_string())
    }

    fn marks(&mut self) -> Result<[Mark; 2], String> {
        let table = self.table()?;
        let [a, b] = Slot::ALL.map(|slot| root(&table, slot).map(|it| Mark::of(it.attributes)));
        Ok([a?, b?])
    }

    fn set(&mut self, slot: Slot, own: Mark, other: Mark) -> Result<(), String> {
        let table = self.table()?;
        let mut changes = Vec::new();
        for (slot, mark) in [(slot, own), (slot.other(), other)] {
            changes.push(Bits {
                number: root(&table, slot)?.number,
                mask: MASK,
                value: mark.attributes(),
            });
        }
        let (block_size, blocks) = self.disk.size()?;
        let read =
            |lba: u64, into: &mut [u8]| self.disk.read(lba.saturating_mul(block_size.into()), into);
        let copies = gpt::change_bits(block_size, blocks, read, &changes)
            .map_err(|error| error.to_string())?;
        for chunks in copies {
            for (offset, bytes) in &chunks {
                self.disk.write(*offset, bytes)?;
            }
            self.disk.flush()?;
            for (offset, bytes) in &chunks {
                let mut there = vec![0; bytes.len()];
                self.disk.read(*offset, &mut there)?;
                if there != *bytes {
                    return Err(format!(
                        "partition table: what is read back at byte {offset} is not what was written; look at the disk"
                    ));
                }
            }
        }
        Ok(())
    }

    fn mark(&mut self, slot: Slot) -> Result<Mark, String> {
        let [a, b] = self.marks()?;
        Ok(match slot {
            Slot::A => a,
            Slot::B => b,
        })
    }
}

fn root(table: &Table, slot: Slot) -> Result<&Partition, String> {
    table
        .find(dps::root_name(slot))
        .map_err(|error| error.to_string())
}

impl<D: Disk> Loader for PartitionBits<D> {
    fn standing(&mut self) -> Result<Standing, String> {
        let [a, b] = self.marks()?;
        let next = if b.may_start() && (!a.may_start() || b.priority > a.priority) {
            Some(Slot::B)
        } else {
            a.may_start().then_some(Slot::A)
        };
        Ok(Standing {
            next,
            entries: [a.entry(), b.entry()],
        })
    }

    /// Such a loader has one kernel for both slots, or takes it from the partition itself.
    fn place(
        &mut self,
        _slot: Slot,
        _kernel: &mut dyn Source,
        _initramfs: &mut dyn Source,
    ) -> Result<(), String> {
        Ok(())
    }

    fn arm(&mut self, slot: Slot) -> Result<(), String> {
        let other = self.mark(slot.other())?.behind();
        self.set(slot, Mark::armed(true), other)
    }

    fn bless(&mut self, slot: Slot) -> Result<(), String> {
        let other = self.mark(slot.other())?.behind();
        self.set(slot, Mark::blessed(true), other)
    }

    fn withdraw(&mut self, slot: Slot) -> Result<(), String> {
        let other = self.mark(slot.other())?;
        if !other.may_start() {
            return Err(format!(
                "slot {slot} keeps its priority, as the loader has nothing else to start"
            ));
        }
        self.set(slot, Mark::default(), other)
    }
}
