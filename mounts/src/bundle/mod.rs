//! A bundle: one system as it travels to a device, signed, in chunks that are checked one by one.
//!
//! | what | bytes |
//! |------|-------|
//! | links of keys ([`crate::keyring`]), as many as there are, in their order | each an envelope |
//! | the header: JSON, [`Header`] | an envelope of the kind `SHARKBUN`, version 1, of at most [`HEADER_MAX`] bytes, signed after `shark-bundle-v1` and a zero byte |
//! | the table: length of the stored chunk (4 bytes, little-endian), SHA-256 of it as it is stored, SHA-256 of what it holds | 68 a chunk |
//! | the chunks, each a zstd frame, without gaps | |
//!
//! Links are signed one by one and stand before the header, whose signature may be of a key that they
//! bring; all other places are counted from where the header's envelope begins.
//!
//! The chunks hold first the root image, then superblock and hash tree; each holds `chunk_size` bytes
//! of one of them, the last of each what is left. Nothing follows the last one. The header names the
//! SHA-256 of the table, so that every chunk is known by the signature before anything decompresses
//! it, and what is on the disk already need not be fetched.
//!
//! Not here: what makes chunks of an image and an image of chunks (zstd), where a bundle comes from,
//! and what is done with it ([`crate::install`]).

mod error;
mod table;

pub use error::BundleError;
pub use table::{CHUNKS_MAX, Chunk, ENTRY_SIZE, Entry, Part, Table};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::envelope::{self, Kind};
use crate::hex::Hex;
use crate::keyring::{self, Keyring, SignedLink};
use crate::manifest::{self, Manifest, READ_MAX};

/// Bytes before the header.
pub const PREFIX_SIZE: usize = envelope::HEAD_SIZE;
/// Longest header, in bytes.
pub const HEADER_MAX: usize = 64 * 1024;
/// Smallest and largest chunk, in bytes of what it holds: powers of two between them are allowed.
pub const CHUNK_SIZES: [u32; 2] = [64 * 1024, 4 * 1024 * 1024];
/// Bytes that a stored chunk may be longer than what it holds.
pub const STORED_MORE: u32 = 1024;

const KIND: Kind = Kind {
    name: "bundle",
    magic: "SHARKBUN",
    version: 1,
    max: HEADER_MAX,
    context: b"shark-bundle-v1\0",
};

/// A SHA-256 digest.
pub type Sum = [u8; 32];

/// What begins at a place of a bundle, as its first [`PREFIX_SIZE`] bytes tell.
#[derive(Clone, Debug)]
pub enum Start {
    /// A link of keys; something else begins after so many bytes.
    Link(usize),
    /// The header.
    Header(Prefix),
}

impl Start {
    /// Reads them.
    ///
    /// # Errors
    /// [`BundleError`]: it is no bundle, or one of another layout.
    pub fn parse(bytes: &[u8; PREFIX_SIZE]) -> Result<Self, BundleError> {
        match keyring::link_size(bytes) {
            Some(size) => size.map(Self::Link).map_err(BundleError::Links),
            None => Prefix::parse(bytes).map(Self::Header),
        }
    }
}

/// The first bytes of a bundle's header.
#[derive(Clone, Debug)]
pub struct Prefix(envelope::Head);

impl Prefix {
    /// Reads them.
    ///
    /// # Errors
    /// [`BundleError`]: it is no bundle, or one of another layout.
    pub fn parse(bytes: &[u8; PREFIX_SIZE]) -> Result<Self, BundleError> {
        KIND.head(bytes).map(Self).map_err(BundleError::Envelope)
    }

    /// Bytes of the header, which follows.
    #[must_use]
    pub fn header_size(&self) -> usize {
        self.0.length
    }

    /// Checks the signature of the header and reads it.
    ///
    /// # Errors
    /// [`BundleError`]. Nothing of the header is looked at before a trusted key is found to have signed
    /// it.
    pub fn verify(&self, header: &[u8], keyring: &Keyring) -> Result<Header, BundleError> {
        if header.len() != self.0.length {
            return Err(BundleError::Short { part: "header" });
        }
        keyring
            .check(&KIND.message(header), &self.0.signature)
            .map_err(BundleError::Signature)?;
        let fields: Fields =
            serde_json::from_slice(header).map_err(|error| BundleError::Json(error.to_string()))?;
        fields.check(header, keyring)
    }
}

/// All of a bundle before its chunks.
#[derive(Clone, Debug)]
pub struct Front {
    /// The links of keys that it brings.
    pub links: Vec<SignedLink>,
    /// Its header.
    pub header: Header,
    /// Its table.
    pub table: Table,
}

impl Front {
    /// Reads and checks it; `keyring` takes the links that it brings.
    ///
    /// # Errors
    /// [`BundleError`].
    pub fn read(bytes: &[u8], keyring: &mut Keyring) -> Result<Self, BundleError> {
        let (links, rest) = keyring::split(bytes).map_err(BundleError::Links)?;
        // What is passed over changes nothing; a bundle that is trusted only by it says so.
        let _passed = keyring.extend(&links);
        let short = BundleError::Short { part: "header" };
        let (first, rest) = rest.split_first_chunk().ok_or(short.clone())?;
        let prefix = Prefix::parse(first)?;
        let (json, table) = rest.split_at_checked(prefix.header_size()).ok_or(short)?;
        let header = prefix.verify(json, keyring)?;
        let table = header.table(table)?;
        Ok(Self {
            links,
            header,
            table,
        })
    }
}

/// The header as it is written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    /// The content of the slot's signature partition, in hexadecimal.
    manifest: Hex,
    /// Bytes that a chunk holds.
    chunk_size: u32,
    /// SHA-256 of the table.
    table: Hex,
    /// Bytes of the whole bundle.
    size: u64,
}

impl Fields {
    fn check(self, header: &[u8], keyring: &Keyring) -> Result<Header, BundleError> {
        let signed_manifest = self.manifest.0;
        if signed_manifest.len() > READ_MAX {
            return Err(BundleError::field(
                "manifest",
                "longer than a manifest may be",
            ));
        }
        let manifest =
            manifest::verify(&signed_manifest, keyring).map_err(BundleError::Manifest)?;
        let table = Sum::try_from(self.table.0)
            .map_err(|_| BundleError::field("table", "expected 64 hexadecimal digits"))?;
        let layout = Layout::new(&manifest, self.chunk_size)?;
        let header = Header {
            id: Sha256::digest(header).into(),
            manifest,
            signed_manifest,
            layout,
            table,
            size: self.size,
            chunks_at: (PREFIX_SIZE + header.len() + layout.table_size()) as u64,
        };
        // Each chunk has a byte at least; that the sizes add up is known when the table is there.
        if self.size < header.chunks_at + u64::from(layout.chunks) {
            return Err(BundleError::field(
                "size",
                "less than header and table need",
            ));
        }
        Ok(header)
    }
}

/// How two images of known sizes are cut into chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    pub(self) image_size: u64,
    pub(self) hash_size: u64,
    pub(self) chunk_size: u32,
    pub(self) root_chunks: u32,
    pub(self) chunks: u32,
}

impl Layout {
    /// The layout for the images of `manifest`.
    ///
    /// # Errors
    /// [`BundleError::Field`]: a chunk size that is not allowed, or too many chunks.
    pub fn new(manifest: &Manifest, chunk_size: u32) -> Result<Self, BundleError> {
        let [smallest, largest] = CHUNK_SIZES;
        if !chunk_size.is_power_of_two() || !(smallest..=largest).contains(&chunk_size) {
            let expected =
                format!("{chunk_size}, expected a power of two from {smallest} to {largest}");
            return Err(BundleError::field("chunk_size", &expected));
        }
        let count = |bytes: u64| {
            let chunks = bytes.div_ceil(u64::from(chunk_size));
            u32::try_from(chunks).ok().filter(|it| *it <= CHUNKS_MAX)
        };
        let root = count(manifest.image_size);
        let both = root.zip(count(manifest.hash_size));
        let sum = both.map(|(root, hash)| (root, root.saturating_add(hash)));
        let (root_chunks, chunks) = sum
            .filter(|(_, chunks)| *chunks <= CHUNKS_MAX)
            .ok_or_else(|| BundleError::field("chunk_size", "too small for images of this size"))?;
        Ok(Self {
            image_size: manifest.image_size,
            hash_size: manifest.hash_size,
            chunk_size,
            root_chunks,
            chunks,
        })
    }

    /// How many chunks there are.
    #[must_use]
    pub fn chunks(&self) -> u32 {
        self.chunks
    }

    /// Bytes that one chunk holds at most.
    #[must_use]
    pub fn chunk_size(&self) -> u32 {
        self.chunk_size
    }

    /// What the chunk with this number holds: which image, from which offset, how many bytes.
    #[must_use]
    pub fn place(&self, number: u32) -> Option<(Part, u64, u32)> {
        if number >= self.chunks {
            return None;
        }
        let (part, index, size) = match number.checked_sub(self.root_chunks) {
            None => (Part::Root, number, self.image_size),
            Some(index) => (Part::Verity, index, self.hash_size),
        };
        let offset = u64::from(index) * u64::from(self.chunk_size);
        let left = size.saturating_sub(offset).min(u64::from(self.chunk_size));
        Some((part, offset, u32::try_from(left).unwrap_or(self.chunk_size)))
    }

    fn table_size(&self) -> usize {
        self.chunks as usize * ENTRY_SIZE
    }
}

/// A header whose signature holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    id: Sum,
    manifest: Manifest,
    signed_manifest: Vec<u8>,
    layout: Layout,
    table: Sum,
    size: u64,
    chunks_at: u64,
}

impl Header {
    /// SHA-256 of the header's JSON, which names this bundle and no other.
    #[must_use]
    pub fn id(&self) -> &Sum {
        &self.id
    }

    /// What is in it.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The content of the slot's signature partition.
    #[must_use]
    pub fn signed_manifest(&self) -> &[u8] {
        &self.signed_manifest
    }

    /// How it is cut.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Bytes of the whole bundle.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of the table, which follows the header.
    #[must_use]
    pub fn table_size(&self) -> usize {
        self.layout.table_size()
    }

    /// Checks the bytes of the table and reads them.
    ///
    /// # Errors
    /// [`BundleError`]: it is not the table that was signed, or its chunks do not add up.
    pub fn table(&self, bytes: &[u8]) -> Result<Table, BundleError> {
        if Sum::from(Sha256::digest(bytes)) != self.table {
            return Err(BundleError::Table);
        }
        Table::read(self.layout, self.chunks_at, self.size, bytes)
    }
}

/// Everything of a bundle before its chunks. `sign` gets the message to sign and gives its Ed25519
/// signature; `signed_manifest` is what [`manifest::encode`] has made.
///
/// # Errors
/// [`BundleError`]: what [`Prefix::verify`] and [`Header::table`] would refuse.
pub fn encode(
    signed_manifest: &[u8],
    layout: &Layout,
    entries: &[Entry],
    sign: impl FnOnce(&[u8]) -> [u8; 64],
) -> Result<Vec<u8>, BundleError> {
    if entries.len() != layout.chunks as usize {
        return Err(BundleError::field("table", "another number of chunks"));
    }
    let table: Vec<u8> = entries.iter().flat_map(Entry::encode).collect();
    let stored: u64 = entries.iter().map(|it| u64::from(it.stored_length)).sum();
    let mut fields = Fields {
        manifest: Hex(signed_manifest.to_vec()),
        chunk_size: layout.chunk_size,
        table: Hex(Sha256::digest(&table).to_vec()),
        size: 0,
    };
    // The header names the size of all, and its own length depends on the digits of that.
    let json = loop {
        let json = serde_json::to_vec(&fields).map_err(|e| BundleError::Json(e.to_string()))?;
        let size = (PREFIX_SIZE + json.len() + table.len()) as u64 + stored;
        if size == fields.size {
            break json;
        }
        fields.size = size;
    };
    let mut head = KIND.seal(&json, sign).map_err(BundleError::Envelope)?;
    head.extend_from_slice(&table);
    Ok(head)
}
