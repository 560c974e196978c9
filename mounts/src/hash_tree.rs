//! The hash tree of dm-verity, made from the blocks of an image as they come by: what a root that was
//! written must be, block by block, without holding more of it than one block a level.
//!
//! Source: the kernel's Documentation/admin-guide/device-mapper/verity.rst. Not here: the superblock
//! before the tree and the table that opens it ([`crate::verity`]), any I/O.

use sha2::{Digest, Sha256};

use crate::verity::{BLOCK_SIZE, RootHash, Salt};

/// Bytes of a block of data and of a block of hashes.
pub const BLOCK: usize = BLOCK_SIZE as usize;
/// Bytes of a digest.
const DIGEST: usize = 32;
/// Digests in a block of hashes.
const DIGESTS: u64 = 128;

/// A block of hashes that is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashBlock {
    /// Where it lies on the hash partition, in bytes.
    pub offset: u64,
    /// What it holds.
    pub bytes: Box<[u8; BLOCK]>,
}

/// One level of the tree: the block of it that is being filled.
#[derive(Clone, Debug)]
struct Level {
    /// Where the level begins on the hash partition, in blocks.
    start: u64,
    /// Which block of the level is being filled.
    index: u64,
    bytes: Box<[u8; BLOCK]>,
    filled: usize,
}

impl Level {
    fn take(&mut self) -> HashBlock {
        let block = HashBlock {
            offset: self.start.saturating_add(self.index) * u64::from(BLOCK_SIZE),
            bytes: std::mem::replace(&mut self.bytes, Box::new([0; BLOCK])),
        };
        self.index = self.index.saturating_add(1);
        self.filled = 0;
        block
    }
}

/// A tree in the making. Blocks of data go in by [`HashTree::push`], in order; blocks of hashes come
/// out as soon as they are complete, and the root hash at the end.
#[derive(Clone, Debug)]
pub struct HashTree {
    salted: Sha256,
    /// Blocks of data that are still to come.
    left: u64,
    /// The lowest level first.
    levels: Vec<Level>,
    /// The digest of the only block of the highest level.
    root: [u8; DIGEST],
}

impl HashTree {
    /// A tree over so many blocks of data.
    #[must_use]
    pub fn new(data_blocks: u64, salt: &Salt) -> Self {
        let mut sizes = Vec::new();
        let mut blocks = data_blocks;
        while blocks > 1 {
            blocks = blocks.div_ceil(DIGESTS);
            sizes.push(blocks);
        }
        // On the disk the highest level comes first, after the block of the superblock.
        let mut start = 1;
        let mut levels: Vec<Level> = Vec::new();
        for size in sizes.iter().rev() {
            levels.push(Level {
                start,
                index: 0,
                bytes: Box::new([0; BLOCK]),
                filled: 0,
            });
            start = start.saturating_add(*size);
        }
        levels.reverse();
        Self {
            salted: Sha256::new().chain_update(salt.as_bytes()),
            left: data_blocks,
            levels,
            root: [0; DIGEST],
        }
    }

    /// Takes the next block of data; `complete` gets each block of hashes that it completes. Blocks
    /// beyond the last one change nothing.
    ///
    /// # Errors
    /// Those of `complete`.
    pub fn push<E>(
        &mut self,
        data: &[u8; BLOCK],
        mut complete: impl FnMut(HashBlock) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(left) = self.left.checked_sub(1) else {
            return Ok(());
        };
        self.left = left;
        let mut digest = self.digest(data);
        let is_last = left == 0;
        for number in 0..self.levels.len() {
            let Some(level) = self.levels.get_mut(number) else {
                break;
            };
            let end = level.filled.saturating_add(DIGEST);
            if let Some(place) = level.bytes.get_mut(level.filled..end) {
                place.copy_from_slice(&digest);
            }
            level.filled = end;
            if end < BLOCK && !is_last {
                return Ok(());
            }
            let block = level.take();
            digest = self.digest(&block.bytes);
            complete(block)?;
        }
        self.root = digest;
        Ok(())
    }

    /// The root hash, once every block has come.
    #[must_use]
    pub fn root_hash(&self) -> Option<RootHash> {
        (self.left == 0).then(|| RootHash::new(self.root))
    }

    fn digest(&self, block: &[u8; BLOCK]) -> [u8; DIGEST] {
        self.salted.clone().chain_update(block).finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verity::hash_area_size;

    /// Root hash, blocks and hash area for `blocks` blocks, each filled with its number modulo 251.
    fn of(blocks: u64, salt: &str) -> (String, u64, Vec<u8>) {
        let mut tree = HashTree::new(blocks, &salt.parse().unwrap());
        let size = usize::try_from(hash_area_size(blocks).unwrap()).unwrap();
        let mut area = vec![0; size];
        let mut count = 1;
        for number in 0..blocks {
            assert_eq!(tree.root_hash(), None);
            let block = [u8::try_from(number % 251).unwrap(); BLOCK];
            let put = |block: HashBlock| {
                let at = usize::try_from(block.offset).unwrap();
                assert!(area[at..at + BLOCK].iter().all(|byte| *byte == 0));
                area[at..at + BLOCK].copy_from_slice(&*block.bytes);
                count += 1;
                Ok::<(), ()>(())
            };
            tree.push(&block, put).unwrap();
        }
        (tree.root_hash().unwrap().to_string(), count, area)
    }

    #[test]
    fn the_tree_is_the_one_that_veritysetup_makes() {
        // Root hash and SHA-256 of what follows the superblock, by `veritysetup format` 2.6.1.
        for (blocks, root, area) in [
            (
                1,
                "e6de437283ccbf15e9d07dc012a3a95fabffe2287566ab462c958e8d3e8c8b32",
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            ),
            (
                2,
                "e85ae39c6a248746a53c2962af5fe078dd3f4a46bcf84ef43a0af72dcac320f7",
                "ae0351b9abc070a593893be3b3e998bd7db33cabe4ddab8570202fa370bbc8ca",
            ),
            (
                129,
                "70f8bdc9f0e0b7af207389a29c1dcca9745a06e73c567fe4c53411cc63473625",
                "d3fb5c145b84995174e844a5464149fc7951e3d58ed96c80cc574b1a89964d29",
            ),
            (
                16385,
                "034ea7c77518c304763856fb00f72b0cb9cd8f92b47ccc312e11268087fec9e9",
                "c3d1ae2b5a8ecf34cba7fa3fa07a97002441591a08bdb89d2daf0154b657418b",
            ),
        ] {
            let (got, _, bytes) = of(blocks, "a0b1");
            let tree = RootHash::new(Sha256::digest(&bytes[BLOCK..]).into());
            assert_eq!((got.as_str(), tree.to_string().as_str()), (root, area));
        }
    }

    #[test]
    fn every_block_of_the_hash_area_is_made_once() {
        for blocks in [1, 2, 127, 128, 129, 128 * 128, 128 * 128 + 1, 20_000] {
            let (_, count, area) = of(blocks, "a0b1");
            assert_eq!(
                count * u64::from(BLOCK_SIZE),
                u64::try_from(area.len()).unwrap(),
                "{blocks}"
            );
        }
    }

    #[test]
    fn one_more_block_than_announced_changes_nothing() {
        let mut tree = HashTree::new(1, &Salt::default());
        tree.push(&[1; BLOCK], |_| Err("none")).unwrap();
        let root = tree.root_hash();
        tree.push(&[2; BLOCK], |_| Err("none")).unwrap();
        assert_eq!(tree.root_hash(), root);
    }
}
