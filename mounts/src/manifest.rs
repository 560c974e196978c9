//! The signed manifest of a slot: the content of its signature partition, an envelope
//! ([`crate::envelope`]) of the kind `SHARKMAN`, version 1, signed after the bytes `shark-manifest-v1` and
//! a zero byte. Its content is JSON.
//!
//! Links of keys ([`crate::keyring`]) may follow in the partition; nothing else there counts. The
//! manifest is parsed only once its signature holds; it is strict JSON, so that two systems never read
//! it differently. Not here: where keys come from, dm-verity itself ([`crate::verity`]).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::dps::Architecture;
use crate::envelope::{EnvelopeError, HEAD_SIZE, Kind};
pub use crate::key::{KeyError, PublicKey};
use crate::keyring::{Keyring, Known, SignatureError};
use crate::verity::{BLOCK_SIZE, RootHash, Salt, hash_area_size};

/// Longest manifest, in bytes.
pub const MANIFEST_MAX: usize = 16 * 1024;
/// Bytes of a signature partition that its manifest may take: read no more than these.
pub const READ_MAX: usize = HEAD_SIZE + MANIFEST_MAX;
/// Largest root image, in bytes: 256 GiB.
pub const IMAGE_MAX: u64 = 256 << 30;
/// Longest version text, in bytes.
pub const VERSION_MAX: usize = 64;

const KIND: Kind = Kind {
    name: "manifest",
    magic: "SHARKMAN",
    version: 1,
    max: MANIFEST_MAX,
    context: b"shark-manifest-v1\0",
};

/// Hash of the tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// SHA-256.
    #[default]
    Sha256,
}

/// Filesystem of a root image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filesystem {
    /// erofs.
    Erofs,
    /// squashfs.
    Squashfs,
}

impl Filesystem {
    /// The name for mount(2), and of the kernel module.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Erofs => "erofs",
            Self::Squashfs => "squashfs",
        }
    }
}

/// What is in a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the system, for people: 1 to [`VERSION_MAX`] of `A-Z a-z 0-9 . _ + ~ -`.
    pub version: String,
    /// Grows when an older system must not be booted any more.
    pub security_version: u32,
    /// What it runs on.
    pub architecture: Architecture,
    /// Bytes of the root image: `data_blocks` blocks.
    pub image_size: u64,
    /// Blocks of the root image.
    pub data_blocks: u64,
    /// Root of its hash tree.
    pub root_hash: RootHash,
    /// Salt of its hash tree.
    pub salt: Salt,
    /// Bytes of superblock and hash tree on the hash partition.
    pub hash_size: u64,
    /// Bytes of a block, 4096.
    pub block_size: u32,
    /// Hash of the tree.
    pub algorithm: Algorithm,
    /// Filesystem of the root image.
    pub filesystem: Filesystem,
}

/// Why a signature partition is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManifestError {
    /// It holds no manifest.
    Envelope(EnvelopeError),
    /// No key made the signature that may.
    Signature(SignatureError),
    /// Signed, but no manifest: the JSON parser's words.
    Json(String),
    /// Signed, but a field breaks a rule.
    Field {
        /// Its name.
        field: &'static str,
        /// What it holds.
        found: String,
        /// What it should hold.
        expected: String,
    },
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Envelope(error) => write!(f, "{error}"),
            Self::Signature(error) => write!(f, "manifest {error}"),
            Self::Json(error) => write!(f, "manifest: {error}"),
            Self::Field {
                field,
                found,
                expected,
            } => write!(f, "manifest: {field} is {found}, expected {expected}"),
        }
    }
}

impl std::error::Error for ManifestError {}

impl From<EnvelopeError> for ManifestError {
    fn from(error: EnvelopeError) -> Self {
        Self::Envelope(error)
    }
}

impl From<SignatureError> for ManifestError {
    fn from(error: SignatureError) -> Self {
        Self::Signature(error)
    }
}

impl Manifest {
    /// Checks every rule that the types do not.
    ///
    /// # Errors
    /// [`ManifestError::Field`] names the first field that breaks one.
    pub fn check(&self) -> Result<(), ManifestError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._+~-".contains(&byte);
        let version = self.version.as_bytes();
        let starts_well = version.first().is_some_and(u8::is_ascii_alphanumeric);
        if !starts_well || version.len() > VERSION_MAX || !version.iter().all(|b| allowed(*b)) {
            return Err(ManifestError::Field {
                field: "version",
                found: format!("{:?}", self.version.chars().take(80).collect::<String>()),
                expected: format!(
                    "1 to {VERSION_MAX} of A-Z a-z 0-9 . _ + ~ -, a letter or digit first"
                ),
            });
        }
        equal(
            "block_size",
            u64::from(self.block_size),
            u64::from(BLOCK_SIZE),
        )?;
        if self.image_size == 0 || self.image_size > IMAGE_MAX {
            return Err(ManifestError::Field {
                field: "image_size",
                found: self.image_size.to_string(),
                expected: format!("1 to {IMAGE_MAX}"),
            });
        }
        let image_size = self
            .data_blocks
            .checked_mul(u64::from(BLOCK_SIZE))
            .unwrap_or(0);
        equal("image_size", self.image_size, image_size)?;
        let hash_size = hash_area_size(self.data_blocks).unwrap_or(0);
        equal("hash_size", self.hash_size, hash_size)
    }
}

fn equal(field: &'static str, found: u64, expected: u64) -> Result<(), ManifestError> {
    if found == expected {
        return Ok(());
    }
    Err(ManifestError::Field {
        field,
        found: found.to_string(),
        expected: expected.to_string(),
    })
}

/// The bytes of a signature partition. `sign` gets the message to sign and gives its Ed25519
/// signature. The same manifest gives the same message.
///
/// # Errors
/// The manifest breaks a rule of [`Manifest::check`].
pub fn encode(
    manifest: &Manifest,
    sign: impl FnOnce(&[u8]) -> [u8; 64],
) -> Result<Vec<u8>, ManifestError> {
    manifest.check()?;
    let json =
        serde_json::to_vec(manifest).map_err(|error| ManifestError::Json(error.to_string()))?;
    Ok(KIND.seal(&json, sign)?)
}

/// Checks the signature of a signature partition and gives its manifest. `bytes` are the first
/// [`READ_MAX`] bytes of the partition, or all when it has fewer.
///
/// # Errors
/// [`ManifestError`]. Nothing of the manifest is looked at before a trusted key is found to have
/// signed it.
pub fn verify(bytes: &[u8], keyring: &Keyring) -> Result<Manifest, ManifestError> {
    let (head, json, _) = KIND.open(bytes)?;
    keyring.check(&KIND.message(json), &head.signature)?;
    parse(json)
}

/// The same for a machine that has the system already: what it knows of the system that the manifest
/// describes is told by `known`.
///
/// # Errors
/// [`ManifestError`]. Nothing of the manifest is looked at before one of all keys that were ever
/// trusted is found to have signed it.
pub fn verify_installed(
    bytes: &[u8],
    keyring: &Keyring,
    known: impl FnOnce(&Manifest) -> Known,
) -> Result<Manifest, ManifestError> {
    let (head, json, _) = KIND.open(bytes)?;
    let signer = keyring.signer(&KIND.message(json), &head.signature)?;
    let manifest = parse(json)?;
    keyring.admits(signer, known(&manifest))?;
    Ok(manifest)
}

/// What follows the manifest in a signature partition; nothing where there is none.
#[must_use]
pub fn after(bytes: &[u8]) -> &[u8] {
    KIND.open(bytes).map_or(&[], |(_, _, rest)| rest)
}

/// Reads the JSON of a manifest and checks it. Only for what is signed, or was just made.
///
/// # Errors
/// [`ManifestError::Json`] or [`ManifestError::Field`].
pub fn parse(json: &[u8]) -> Result<Manifest, ManifestError> {
    let manifest: Manifest =
        serde_json::from_slice(json).map_err(|error| ManifestError::Json(error.to_string()))?;
    manifest.check()?;
    Ok(manifest)
}
