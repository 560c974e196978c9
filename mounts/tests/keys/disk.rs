//! The two copies of the chain on a disk that loses power after each of its blocks, tears the one it was
//! at, fails, or wears out.

use mounts::keyring::copies::{Copies, CopyError, OFFSETS, chains, load, store};
use mounts::slot::record::RECORD_SIZE;
use mounts::slot::store::Medium;

/// A partition whose power goes after so many blocks; of the last one only a part was written.
struct Disk {
    bytes: Vec<u8>,
    left: usize,
    torn: usize,
    /// A byte that cannot be read.
    unread: Option<usize>,
}

impl Disk {
    fn new() -> Self {
        Self {
            bytes: vec![0; 16 << 20],
            left: usize::MAX,
            torn: 0,
            unread: None,
        }
    }
}

fn at(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}

impl Medium for Disk {
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), String> {
        let range = at(offset)..at(offset) + into.len();
        if self.unread.is_some_and(|bad| range.contains(&bad)) {
            return Err("input/output error".to_owned());
        }
        into.copy_from_slice(&self.bytes[range]);
        Ok(())
    }

    fn write(&mut self, offset: u64, block: &[u8; RECORD_SIZE]) -> Result<(), String> {
        let whole = self.left > 0;
        let length = if whole { RECORD_SIZE } else { self.torn };
        self.bytes[at(offset)..at(offset) + length].copy_from_slice(&block[..length]);
        self.left = self.left.saturating_sub(1);
        if whole {
            Ok(())
        } else {
            Err("power is gone".to_owned())
        }
    }
}

fn chain(seed: u8, length: usize) -> Vec<u8> {
    (0..length).map(|it| seed ^ it.to_le_bytes()[0]).collect()
}

fn put(disk: &mut Disk, chain: &[u8]) -> Result<(), String> {
    let copies = load(disk);
    store(disk, &copies, chain)
}

fn found(copies: &Copies) -> Vec<Vec<u8>> {
    chains(copies).0
}

#[test]
fn a_cut_at_any_block_leaves_the_old_chain_or_the_new_one() {
    let (old, new) = (chain(1, 9000), chain(2, 13_000));
    for (left, torn) in (0..9).flat_map(|left| [0, 1, 20, 512, 4095].map(|torn| (left, torn))) {
        let mut disk = Disk::new();
        put(&mut disk, &old).unwrap();
        (disk.left, disk.torn) = (left, torn);
        let done = put(&mut disk, &new).is_ok();
        let there = found(&load(&mut disk));
        assert!(
            !there.is_empty(),
            "cut after {left} blocks and {torn} bytes"
        );
        assert!(there.iter().all(|it| *it == old || *it == new));
        assert!(!done || there == [new.clone()]);
        assert!(
            left < 4 || there.contains(&new),
            "the first copy was read back"
        );
        // The next call writes what is missing.
        disk.left = usize::MAX;
        put(&mut disk, &new).unwrap();
        assert_eq!(load(&mut disk), [Ok(new.clone()), Ok(new.clone())]);
    }
}

#[test]
fn one_copy_may_be_damaged_anywhere_or_unreadable_and_is_mended() {
    let kept = chain(3, 5000);
    for (number, offset) in OFFSETS.into_iter().enumerate() {
        for place in [0, 8, 12, 16, 20, 4096, 5019] {
            let mut disk = Disk::new();
            put(&mut disk, &kept).unwrap();
            disk.bytes[at(offset) + place] ^= 4;
            let copies = load(&mut disk);
            assert!(matches!(copies[number], Err(CopyError::Damaged(_))));
            let (there, problems) = chains(&copies);
            assert_eq!((there, problems.len()), (vec![kept.clone()], 1), "{place}");
            // Power goes while it is mended: the other copy is not touched.
            (disk.left, disk.torn) = (0, 100);
            assert!(put(&mut disk, &kept).is_err());
            assert_eq!(found(&load(&mut disk)), std::slice::from_ref(&kept));
            disk.left = usize::MAX;
            put(&mut disk, &kept).unwrap();
            assert_eq!(load(&mut disk), [Ok(kept.clone()), Ok(kept.clone())]);
        }
        let mut disk = Disk::new();
        put(&mut disk, &kept).unwrap();
        disk.unread = Some(at(offset) + 4500);
        assert_eq!(found(&load(&mut disk)), std::slice::from_ref(&kept));
    }
}

#[test]
fn what_was_never_written_is_no_problem_and_a_new_chain_goes_over_the_bad_copy_first() {
    let mut disk = Disk::new();
    assert_eq!(chains(&load(&mut disk)), (Vec::new(), Vec::new()));
    let (old, new) = (chain(1, 100), chain(2, 200));
    put(&mut disk, &old).unwrap();
    let [_, second] = OFFSETS;
    disk.bytes[at(second)..at(second) + RECORD_SIZE].fill(0);
    let (there, problems) = chains(&load(&mut disk));
    assert_eq!((there, problems.len()), (vec![old.clone()], 1));
    // The only good copy is the last that a cut can hit.
    (disk.left, disk.torn) = (1, 50);
    assert!(put(&mut disk, &new).is_err());
    assert_eq!(found(&load(&mut disk)), [new]);
}
