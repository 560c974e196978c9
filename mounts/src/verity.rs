//! dm-verity: root hashes and salts, the superblock that `veritysetup format` writes, the size of a
//! hash tree, and the table line that opens a device.
//!
//! Sources: the kernel's Documentation/admin-guide/device-mapper/verity.rst and cryptsetup's wiki
//! page "DMVerity". Not here: the manifest that says what to expect ([`crate::manifest`]), the
//! device-mapper ioctls.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::hex;
use crate::manifest::Manifest;
use crate::wire::{Reader, Short};

/// Bytes of a data block and of a hash block: the only size we use.
pub const BLOCK_SIZE: u32 = 4096;
/// Longest salt, in bytes; the superblock has room for no more.
pub const SALT_MAX: usize = 256;
/// Bytes of the superblock.
pub const SUPERBLOCK_SIZE: usize = 512;
/// Digests of SHA-256 in a hash block.
const DIGESTS_PER_BLOCK: u64 = 128;

/// Root of a hash tree: a SHA-256 digest. Its text is 64 hexadecimal digits.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RootHash([u8; 32]);

impl RootHash {
    /// A root hash of these bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for RootHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(f, &self.0)
    }
}

impl fmt::Debug for RootHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RootHash({self})")
    }
}

impl FromStr for RootHash {
    type Err = InvalidHex;

    fn from_str(text: &str) -> Result<Self, InvalidHex> {
        hex::parse_array(text).map(Self).ok_or(InvalidHex {
            what: "a root hash",
            expected: "64 hexadecimal digits",
        })
    }
}

impl TryFrom<String> for RootHash {
    type Error = InvalidHex;

    fn try_from(text: String) -> Result<Self, InvalidHex> {
        text.parse()
    }
}

impl From<RootHash> for String {
    fn from(hash: RootHash) -> Self {
        hash.to_string()
    }
}

/// The salt of a hash tree: at most [`SALT_MAX`] bytes, often none. Its text is hexadecimal digits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Salt(Vec<u8>);

impl Salt {
    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(f, &self.0)
    }
}

impl FromStr for Salt {
    type Err = InvalidHex;

    fn from_str(text: &str) -> Result<Self, InvalidHex> {
        hex::parse(text)
            .filter(|salt| salt.len() <= SALT_MAX)
            .map(Self)
            .ok_or(InvalidHex {
                what: "a salt",
                expected: "an even number of hexadecimal digits, 512 at most",
            })
    }
}

impl TryFrom<String> for Salt {
    type Error = InvalidHex;

    fn try_from(text: String) -> Result<Self, InvalidHex> {
        text.parse()
    }
}

impl From<Salt> for String {
    fn from(salt: Salt) -> Self {
        salt.to_string()
    }
}

/// A text that does not have the digits it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidHex {
    /// What it should be.
    pub what: &'static str,
    /// How that is written.
    pub expected: &'static str,
}

impl fmt::Display for InvalidHex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not {}: expected {}", self.what, self.expected)
    }
}

impl std::error::Error for InvalidHex {}

/// What the kernel does when a block fails its hash, or cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnCorruption {
    /// The read fails with EIO.
    Eio,
    /// The kernel panics, and the next boot knows why.
    #[default]
    Panic,
    /// The machine restarts.
    Restart,
}

impl OnCorruption {
    /// Every mode, as `shark.verity=` names it.
    pub const NAMES: [(&'static str, Self); 3] = [
        ("eio", Self::Eio),
        ("panic", Self::Panic),
        ("restart", Self::Restart),
    ];

    /// Reads `eio`, `panic` or `restart`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::NAMES
            .into_iter()
            .find_map(|(name, mode)| (name == text).then_some(mode))
    }

    /// Count and names of the table's optional arguments.
    fn arguments(self, scope: Scope) -> &'static str {
        match (self, scope) {
            (Self::Eio, Scope::CorruptionAndErrors | Scope::Corruption) => "",
            (Self::Panic, Scope::CorruptionAndErrors) => " 2 panic_on_corruption panic_on_error",
            (Self::Panic, Scope::Corruption) => " 1 panic_on_corruption",
            (Self::Restart, Scope::CorruptionAndErrors) => {
                " 2 restart_on_corruption restart_on_error"
            }
            (Self::Restart, Scope::Corruption) => " 1 restart_on_corruption",
        }
    }
}

/// Of which failures [`OnCorruption`] speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Of a block that fails its hash and of one that cannot be read; kernels before 6.12 refuse
    /// such a table with EINVAL, and complain of it on the console.
    CorruptionAndErrors,
    /// Of a block that fails its hash; one that cannot be read is EIO.
    Corruption,
}

impl Scope {
    /// Both, the better one first.
    pub const ALL: [Self; 2] = [Self::CorruptionAndErrors, Self::Corruption];

    /// Those worth asking a kernel for whose target `verity` has this version (major, minor, patch),
    /// in that order. A kernel that has been patched may know one that its version does not tell of.
    #[must_use]
    pub fn worth_asking(version: Option<(u32, u32, u32)>) -> &'static [Self] {
        if version.is_some_and(|version| version >= (1, 10, 0)) {
            &Self::ALL
        } else {
            &[Self::Corruption]
        }
    }
}

/// One device-mapper target, as DM_TABLE_LOAD takes it. It starts at sector 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Sectors of 512 bytes.
    pub sectors: u64,
    /// `verity`.
    pub target_type: &'static str,
    /// The target's parameters.
    pub parameters: String,
}

/// The target that opens a root. Devices are given as the kernel takes them: `/dev/vda3` or `254:3`.
#[must_use]
pub fn target(
    data_device: &str,
    hash_device: &str,
    manifest: &Manifest,
    mode: OnCorruption,
    scope: Scope,
) -> Target {
    let salt = match manifest.salt.to_string() {
        empty if empty.is_empty() => "-".to_owned(),
        digits => digits,
    };
    // Hash blocks start at 1: block 0 of the hash device is the superblock.
    let parameters = format!(
        "1 {data_device} {hash_device} {BLOCK_SIZE} {BLOCK_SIZE} {} 1 sha256 {} {salt}{}",
        manifest.data_blocks,
        manifest.root_hash,
        mode.arguments(scope)
    );
    Target {
        sectors: manifest
            .data_blocks
            .saturating_mul(u64::from(BLOCK_SIZE / 512)),
        target_type: "verity",
        parameters,
    }
}

/// Bytes of superblock and hash tree for so many data blocks: what `veritysetup format` writes.
/// `None` on overflow.
#[must_use]
pub fn hash_area_size(data_blocks: u64) -> Option<u64> {
    let mut blocks: u64 = 1;
    let mut level = data_blocks;
    while level > 1 {
        level = level.div_ceil(DIGESTS_PER_BLOCK);
        blocks = blocks.checked_add(level)?;
    }
    blocks.checked_mul(u64::from(BLOCK_SIZE))
}

/// The superblock at the start of a hash device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// UUID of the hash device.
    pub uuid: [u8; 16],
    /// Blocks of data.
    pub data_blocks: u64,
    /// The salt.
    pub salt: Salt,
}

/// Why a superblock is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SuperblockError {
    /// Fewer than [`SUPERBLOCK_SIZE`] bytes.
    Short(usize),
    /// It does not start with `verity`.
    Magic,
    /// A field is not what we write and the manifest says.
    Field {
        /// Its name.
        field: &'static str,
        /// What it holds.
        found: String,
        /// What it should hold.
        expected: String,
    },
}

impl fmt::Display for SuperblockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "verity superblock: ")?;
        match self {
            Self::Short(length) => write!(f, "only {length} of {SUPERBLOCK_SIZE} bytes"),
            Self::Magic => write!(
                f,
                "no \"verity\" at the start: the partition was not formatted"
            ),
            Self::Field {
                field,
                found,
                expected,
            } => write!(f, "{field} is {found}, expected {expected}"),
        }
    }
}

impl std::error::Error for SuperblockError {}

impl From<Short> for SuperblockError {
    fn from(_: Short) -> Self {
        Self::Short(0)
    }
}

fn expect<T: PartialEq + fmt::Display + ?Sized>(
    field: &'static str,
    found: &T,
    expected: &T,
) -> Result<(), SuperblockError> {
    if found == expected {
        return Ok(());
    }
    Err(SuperblockError::Field {
        field,
        found: found.to_string(),
        expected: expected.to_string(),
    })
}

impl Superblock {
    /// Reads the first bytes of a hash device.
    ///
    /// # Errors
    /// [`SuperblockError`]: it is none, or has another hash, version or block size than we use.
    pub fn parse(bytes: &[u8]) -> Result<Self, SuperblockError> {
        if bytes.len() < SUPERBLOCK_SIZE {
            return Err(SuperblockError::Short(bytes.len()));
        }
        let mut input = Reader::new(bytes);
        if input.array()? != *b"verity\0\0" {
            return Err(SuperblockError::Magic);
        }
        expect("version", &input.u32()?, &1)?;
        expect("hash type", &input.u32()?, &1)?;
        let uuid = input.array()?;
        let algorithm = input.array::<32>()?;
        let name = algorithm.split(|byte| *byte == 0).next().unwrap_or(&[]);
        expect("algorithm", &*String::from_utf8_lossy(name), "sha256")?;
        expect("data block size", &input.u32()?, &BLOCK_SIZE)?;
        expect("hash block size", &input.u32()?, &BLOCK_SIZE)?;
        let data_blocks = input.u64()?;
        let salt_size = usize::from(input.u16()?);
        input.bytes(6)?;
        let salt = input.bytes(SALT_MAX)?;
        let Some(salt) = salt.get(..salt_size) else {
            return Err(SuperblockError::Field {
                field: "salt size",
                found: salt_size.to_string(),
                expected: format!("at most {SALT_MAX}"),
            });
        };
        Ok(Self {
            uuid,
            data_blocks,
            salt: Salt(salt.to_vec()),
        })
    }
}

/// Compares the superblock of a hash device with the manifest. The kernel would find a difference
/// too, block by block and with no better word than EIO; this names the cause.
///
/// # Errors
/// [`SuperblockError`] names the first field that differs.
pub fn check_superblock(bytes: &[u8], manifest: &Manifest) -> Result<(), SuperblockError> {
    let superblock = Superblock::parse(bytes)?;
    expect(
        "number of data blocks",
        &superblock.data_blocks,
        &manifest.data_blocks,
    )?;
    expect(
        "salt",
        &superblock.salt.to_string(),
        &manifest.salt.to_string(),
    )
}
