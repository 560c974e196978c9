//! Systems to be installed: an image of a few chunks, its hash tree, its manifest, its bundle's head.

use ed25519_dalek::{Signer, SigningKey};
use mounts::bundle::{Entry, Front, Header, Layout, Part, Table, encode};
use mounts::dps::Architecture;
use mounts::hash_tree::{BLOCK, HashBlock, HashTree};
use mounts::keyring::{Keyring, Named};
use mounts::manifest::{self, Algorithm, Filesystem, Manifest, PublicKey};
use mounts::verity::{Salt, hash_area_size};

/// Bytes that a chunk holds.
const CHUNK: u32 = 64 * 1024;

/// A system with its images.
pub(crate) struct System {
    pub(crate) header: Header,
    pub(crate) table: Table,
    pub(crate) root: Vec<u8>,
    pub(crate) verity: Vec<u8>,
}

/// The key that signs all of them.
pub(crate) fn keyring() -> Keyring {
    let key = PublicKey::from_bytes(signing().verifying_key().as_bytes()).unwrap();
    let name = "test".to_owned();
    Keyring::of([Named { name, key }])
}

fn signing() -> SigningKey {
    SigningKey::from_bytes(&[3; 32])
}

impl System {
    /// A system whose root has so many chunks less a block; `seed` fills it.
    pub(crate) fn new(seed: u8, chunks: u64) -> Self {
        let data_blocks = chunks * u64::from(CHUNK) / 4096 - 1;
        let mut rng = fastrand::Rng::with_seed(seed.into());
        let size = usize::try_from(data_blocks).unwrap() * BLOCK;
        let root: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(size).collect();
        let salt: Salt = "0a0b".parse().unwrap();
        let hash_size = hash_area_size(data_blocks).unwrap();
        let mut verity = vec![0; usize::try_from(hash_size).unwrap()];
        let mut tree = HashTree::new(data_blocks, &salt);
        for block in root.as_chunks::<BLOCK>().0 {
            let put = |made: HashBlock| {
                let at = usize::try_from(made.offset).unwrap();
                verity[at..at + BLOCK].copy_from_slice(&*made.bytes);
                Ok::<(), ()>(())
            };
            tree.push(block, put).unwrap();
        }
        verity[..SUPERBLOCK.len()].copy_from_slice(SUPERBLOCK);
        verity[8] = 1;
        verity[12] = 1;
        verity[32..38].copy_from_slice(b"sha256");
        verity[64..68].copy_from_slice(&4096u32.to_le_bytes());
        verity[68..72].copy_from_slice(&4096u32.to_le_bytes());
        verity[72..80].copy_from_slice(&data_blocks.to_le_bytes());
        verity[80..82].copy_from_slice(&2u16.to_le_bytes());
        verity[88..90].copy_from_slice(&[0x0a, 0x0b]);
        let manifest = Manifest {
            version: format!("{seed}"),
            security_version: seed.into(),
            architecture: Architecture::X86_64,
            image_size: root.len() as u64,
            data_blocks,
            root_hash: tree.root_hash().unwrap(),
            salt,
            hash_size,
            block_size: 4096,
            algorithm: Algorithm::Sha256,
            filesystem: Filesystem::Erofs,
        };
        let sign = |message: &[u8]| signing().sign(message).to_bytes();
        let signed = manifest::encode(&manifest, sign).unwrap();
        let layout = Layout::new(&manifest, CHUNK).unwrap();
        let entries: Vec<Entry> = (0..layout.chunks())
            .map(|number| {
                let content = content(&layout, &root, &verity, number);
                Entry::of(content, content).unwrap()
            })
            .collect();
        let head = encode(&signed, &layout, &entries, sign).unwrap();
        let front = Front::read(&head, &mut keyring()).unwrap();
        Self {
            header: front.header,
            table: front.table,
            root,
            verity,
        }
    }

    /// How many chunks there are.
    pub(crate) fn chunks(&self) -> u32 {
        self.header.layout().chunks()
    }

    /// Bytes of both images.
    pub(crate) fn bytes(&self) -> u64 {
        (self.root.len() + self.verity.len()) as u64
    }

    /// What a chunk holds.
    pub(crate) fn content(&self, number: u32) -> &[u8] {
        content(self.header.layout(), &self.root, &self.verity, number)
    }
}

/// The first bytes of a hash partition.
const SUPERBLOCK: &[u8] = b"verity\0\0";

fn content<'a>(layout: &Layout, root: &'a [u8], verity: &'a [u8], number: u32) -> &'a [u8] {
    let (part, offset, length) = layout.place(number).unwrap();
    let image = match part {
        Part::Root => root,
        Part::Verity => verity,
    };
    let at = usize::try_from(offset).unwrap();
    &image[at..at + length as usize]
}
