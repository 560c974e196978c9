//! The signed manifest of a slot: the content of its signature partition.
//!
//! | offset | size | field |
//! |-------:|-----:|-------|
//! | 0 | 8 | magic, the bytes `SHARKMAN` |
//! | 8 | 4 | version of this layout, 1, little-endian |
//! | 12 | 4 | length of the manifest in bytes, little-endian, at most [`MANIFEST_MAX`] |
//! | 16 | 64 | Ed25519 signature over the bytes `shark-manifest-v1`, a zero byte, and the manifest |
//! | 80 | length | the manifest: JSON |
//!
//! What follows in the partition does not count: the length rules. The manifest is parsed only once
//! its signature holds; it is strict JSON, so that two systems never read it differently. Not here:
//! where keys come from, dm-verity itself ([`crate::verity`]).

use std::fmt;

use ed25519_dalek::{Signature, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::dps::Architecture;
use crate::hex;
use crate::verity::{BLOCK_SIZE, RootHash, Salt, hash_area_size};
use crate::wire::{Reader, Short};

/// First bytes of a signature partition.
pub const MAGIC: [u8; 8] = *b"SHARKMAN";
/// The layout this code reads and writes.
pub const FORMAT_VERSION: u32 = 1;
/// Bytes before the manifest.
pub const HEADER_SIZE: usize = 80;
/// Longest manifest, in bytes.
pub const MANIFEST_MAX: usize = 16 * 1024;
/// Bytes of a signature partition that matter: read no more than these.
pub const READ_MAX: usize = HEADER_SIZE + MANIFEST_MAX;
/// Largest root image, in bytes: 256 GiB.
pub const IMAGE_MAX: u64 = 256 << 30;
/// Longest version text, in bytes.
pub const VERSION_MAX: usize = 64;

const CONTEXT: &[u8] = b"shark-manifest-v1\0";

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

/// A public Ed25519 key that is trusted to sign manifests. Its text, in a `.pub` file, is 64
/// hexadecimal digits and a newline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// The key of these bytes.
    ///
    /// # Errors
    /// They are no point of the curve, or one of the weak ones.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::NoPoint)?;
        if key.is_weak() {
            return Err(KeyError::Weak);
        }
        Ok(Self(key))
    }

    /// Reads the content of a `.pub` file.
    ///
    /// # Errors
    /// [`KeyError`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let digits = text.strip_suffix('\n').unwrap_or(text);
        Self::from_bytes(&hex::parse_array(digits).ok_or(KeyError::Text)?)
    }

    /// Whether this key made `signature` over `message`.
    pub(crate) fn signed(&self, message: &[u8], signature: &Signature) -> bool {
        self.0.verify_strict(message, signature).is_ok()
    }

    /// The content of its `.pub` file.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{self}\n")
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(f, self.0.as_bytes())
    }
}

/// Why something is no public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// Not 64 digits.
    Text,
    /// No point of the curve.
    NoPoint,
    /// A point of small order, for which anyone can make signatures.
    Weak,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "no public key: expected 64 hexadecimal digits and a newline",
            Self::NoPoint => "no public key: these 32 bytes are no point of the curve",
            Self::Weak => "a weak public key: anyone could sign for it",
        })
    }
}

impl std::error::Error for KeyError {}

/// Why a signature partition is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManifestError {
    /// It ends before its manifest does.
    Short {
        /// Bytes there are.
        length: usize,
        /// Bytes there should be.
        expected: usize,
    },
    /// It starts with something else than `SHARKMAN`.
    Magic,
    /// A layout this code does not know.
    FormatVersion(u32),
    /// A manifest longer than [`MANIFEST_MAX`].
    TooLong(usize),
    /// No trusted key made the signature.
    Untrusted {
        /// How many keys are trusted.
        keys: usize,
    },
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
            Self::Short { length, expected } => {
                write!(f, "manifest cut short: {length} bytes, expected {expected}")
            }
            Self::Magic => write!(f, "no manifest: expected \"SHARKMAN\" at the start"),
            Self::FormatVersion(version) => write!(
                f,
                "manifest of format {version}, and this system knows only format {FORMAT_VERSION}"
            ),
            Self::TooLong(length) => {
                write!(
                    f,
                    "manifest of {length} bytes, expected at most {MANIFEST_MAX}"
                )
            }
            Self::Untrusted { keys: 0 } => {
                write!(f, "manifest cannot be verified: there is no trusted key")
            }
            Self::Untrusted { keys } => {
                write!(f, "manifest signed by none of {keys} trusted keys")
            }
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

impl From<Short> for ManifestError {
    fn from(_: Short) -> Self {
        Self::Short {
            length: 0,
            expected: HEADER_SIZE,
        }
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

fn signed_message(manifest: &[u8]) -> Vec<u8> {
    [CONTEXT, manifest].concat()
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
    let length = u32::try_from(json.len())
        .ok()
        .filter(|_| json.len() <= MANIFEST_MAX)
        .ok_or(ManifestError::TooLong(json.len()))?;
    let signature = sign(&signed_message(&json));
    Ok([
        &MAGIC[..],
        &FORMAT_VERSION.to_le_bytes(),
        &length.to_le_bytes(),
        &signature,
        &json,
    ]
    .concat())
}

/// Checks the signature of a signature partition and gives its manifest. `bytes` are the first
/// [`READ_MAX`] bytes of the partition, or all when it has fewer.
///
/// # Errors
/// [`ManifestError`]. Nothing of the manifest is looked at before a trusted key is found to have
/// signed it.
pub fn verify(bytes: &[u8], keys: &[PublicKey]) -> Result<Manifest, ManifestError> {
    let mut input = Reader::new(bytes);
    let short = |expected| ManifestError::Short {
        length: bytes.len(),
        expected,
    };
    let magic = input.array().map_err(|_| short(HEADER_SIZE))?;
    if magic != MAGIC {
        return Err(ManifestError::Magic);
    }
    let version = input.u32().map_err(|_| short(HEADER_SIZE))?;
    if version != FORMAT_VERSION {
        return Err(ManifestError::FormatVersion(version));
    }
    let length = input.u32().map_err(|_| short(HEADER_SIZE))?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > MANIFEST_MAX {
        return Err(ManifestError::TooLong(length));
    }
    let signature = input.array().map_err(|_| short(HEADER_SIZE))?;
    let json = input
        .bytes(length)
        .map_err(|_| short(HEADER_SIZE + length))?;

    let signature = Signature::from_bytes(&signature);
    let message = signed_message(json);
    if !keys.iter().any(|key| key.signed(&message, &signature)) {
        return Err(ManifestError::Untrusted { keys: keys.len() });
    }
    parse(json)
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
