//! Priority, tries and success in the partition table of a simulated disk, whose blocks are lost, kept
//! or swapped when the power goes: one copy of the table is whole at any time, and each says what was
//! before or what was wished.

use mounts::dps::{self, Architecture};
use mounts::gpt::{self, Partition, Source, Table};
use mounts::loader::bits::{Disk, Mark, PartitionBits};
use mounts::loader::{Entry, Loader};
use mounts::slot::Slot;

const BLOCK: u32 = 512;
const BLOCKS: u64 = 1024;
/// Never mounted writable: a bit that is none of ours.
const READ_ONLY: u64 = 1 << 60;

#[derive(Clone)]
struct Platter {
    bytes: Vec<u8>,
    /// Blocks that are not durable yet.
    pending: Vec<(usize, Vec<u8>)>,
    /// Calls until the power goes.
    left: u32,
}

impl Platter {
    fn new() -> Self {
        let root = |number: u32, slot| Partition {
            number,
            name: dps::root_name(slot).to_owned(),
            type_guid: Architecture::X86_64.root_type(),
            uuid: dps::guid_of_text_order([u8::try_from(number).unwrap(); 16]),
            first_lba: 100 * u64::from(number),
            last_lba: 100 * u64::from(number) + 50,
            attributes: READ_ONLY,
        };
        let partitions = [root(2, Slot::A), root(5, Slot::B)];
        let mut bytes = vec![0; usize::try_from(BLOCKS * u64::from(BLOCK)).unwrap()];
        for (offset, chunk) in gpt::build(BLOCK, BLOCKS, dps::VAR, &partitions).unwrap() {
            let at = usize::try_from(offset).unwrap();
            bytes[at..at + chunk.len()].copy_from_slice(&chunk);
        }
        Self {
            bytes,
            pending: Vec::new(),
            left: u32::MAX,
        }
    }

    fn call(&mut self) -> Result<(), String> {
        self.left = self.left.checked_sub(1).ok_or("the power has gone")?;
        Ok(())
    }

    fn table(&self) -> Table {
        gpt::read(BLOCK, BLOCKS, |lba, into| {
            let at = usize::try_from(lba * u64::from(BLOCK)).unwrap();
            into.copy_from_slice(&self.bytes[at..at + into.len()]);
            Ok(())
        })
        .unwrap()
    }

    fn marks(&self) -> [Mark; 2] {
        let table = self.table();
        Slot::ALL.map(|slot| {
            let attributes = table.find(dps::root_name(slot)).unwrap().attributes;
            assert_eq!(
                attributes & !(0x1ff << 48),
                READ_ONLY,
                "another bit changed"
            );
            Mark::of(attributes)
        })
    }

    fn keep(&mut self, kept: impl Fn(usize) -> bool) {
        for (number, (at, block)) in std::mem::take(&mut self.pending).into_iter().enumerate() {
            if kept(number) {
                self.bytes[at..at + block.len()].copy_from_slice(&block);
            }
        }
        self.left = u32::MAX;
    }

    fn act(
        &mut self,
        act: impl FnOnce(&mut dyn Loader) -> Result<(), String>,
    ) -> Result<(), String> {
        act(&mut PartitionBits::new(self))
    }

    fn damage(&mut self, lba: u64) {
        let at = usize::try_from(lba * u64::from(BLOCK)).unwrap();
        self.bytes[at..at + 16].fill(0xee);
    }
}

impl Disk for &mut Platter {
    fn size(&mut self) -> Result<(u32, u64), String> {
        Ok((BLOCK, BLOCKS))
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), String> {
        let at = usize::try_from(offset).unwrap();
        let mut bytes = self.bytes.clone();
        for (at, block) in &self.pending {
            bytes[*at..at + block.len()].copy_from_slice(block);
        }
        into.copy_from_slice(&bytes[at..at + into.len()]);
        Ok(())
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), String> {
        self.call()?;
        let at = usize::try_from(offset).unwrap();
        for (number, block) in bytes.chunks(512).enumerate() {
            self.pending.push((at + 512 * number, block.to_vec()));
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), String> {
        self.call()?;
        let left = self.left;
        self.keep(|_| true);
        self.left = left;
        Ok(())
    }
}

#[test]
fn a_slot_is_armed_blessed_and_withdrawn_in_both_copies() {
    let mut platter = Platter::new();
    platter.act(|it| it.bless(Slot::A)).unwrap();
    platter.act(|it| it.arm(Slot::B)).unwrap();
    assert_eq!(platter.marks(), [Mark::blessed(false), Mark::armed(true)]);
    let standing = PartitionBits::new(&mut platter).standing().unwrap();
    assert_eq!(standing.next, Some(Slot::B));
    assert_eq!(standing.entries, [Entry::Blessed, Entry::Armed]);
    platter.act(|it| it.bless(Slot::B)).unwrap();
    for lba in [1, BLOCKS - 1] {
        let mut one = platter.clone();
        one.damage(lba);
        assert_eq!(one.marks(), [Mark::blessed(false), Mark::blessed(true)]);
    }
    platter.act(|it| it.withdraw(Slot::A)).unwrap();
    assert_eq!(platter.marks(), [Mark::default(), Mark::blessed(true)]);
    let error = platter.act(|it| it.withdraw(Slot::B)).unwrap_err();
    assert!(error.contains("nothing else"), "{error}");
}

#[test]
fn a_damaged_copy_is_mended_by_the_way_and_before_the_good_one_is_touched() {
    for lba in [1, 2, BLOCKS - 1, BLOCKS - 2] {
        let mut platter = Platter::new();
        platter.damage(lba);
        platter.act(|it| it.bless(Slot::B)).unwrap();
        for lost in [1, BLOCKS - 1] {
            let mut one = platter.clone();
            one.damage(lost);
            assert_eq!(one.marks()[1], Mark::blessed(true), "{lba} {lost}");
        }
        assert_eq!(platter.table().source, Source::Primary);
    }
}

#[test]
fn a_cut_at_any_write_leaves_what_was_or_what_was_wished() {
    let mut before = Platter::new();
    before.act(|it| it.bless(Slot::A)).unwrap();
    let (old, new) = (before.marks(), [Mark::blessed(false), Mark::armed(true)]);
    let mut tried = 0;
    for damaged in [None, Some(1), Some(BLOCKS - 1)] {
        for call in 0.. {
            let mut cut = before.clone();
            if let Some(lba) = damaged {
                cut.damage(lba);
            }
            cut.left = call;
            if cut.act(|it| it.arm(Slot::B)).is_ok() {
                break;
            }
            let pending = cut.pending.len();
            for split in 0..=pending {
                let kept: [&dyn Fn(usize) -> bool; 4] = [
                    &|number| number < split,
                    &|number| number >= split,
                    &|number| number == split,
                    &|number| number != split,
                ];
                for kept in kept {
                    let mut left = cut.clone();
                    left.keep(kept);
                    let marks = left.marks();
                    assert!(marks == old || marks == new, "{marks:?}");
                    left.act(|it| it.arm(Slot::B)).unwrap();
                    assert_eq!(left.marks(), new);
                    tried += 1;
                }
            }
        }
    }
    assert!(tried > 300, "only {tried}");
}
