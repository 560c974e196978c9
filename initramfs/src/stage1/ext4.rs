//! The few fields of an ext4 superblock that stage1 needs before it mounts the data partition.
//!
//! Only reading of bytes; the check of the filesystem is e2fsck's, the growing is the kernel's.
//! Layout: the kernel's Documentation/filesystems/ext4/super.rst.

/// Where the superblock starts in its partition, in bytes.
pub(crate) const OFFSET: u64 = 1024;
/// Its length in bytes.
pub(crate) const LENGTH: usize = 1024;

const MAGIC: u16 = 0xEF53;
const INCOMPAT_64BIT: u32 = 0x80;

/// Size of an ext2, ext3 or ext4 filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Superblock {
    /// Number of blocks of the filesystem.
    pub(crate) blocks: u64,
    /// Bytes of a block: 1024 to 65536.
    pub(crate) block_size: u64,
}

impl Superblock {
    /// Reads [`LENGTH`] bytes found at [`OFFSET`]; `None` when this is no ext4 superblock.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        if u16_at(bytes, 0x38)? != MAGIC {
            return None;
        }
        let log = u32_at(bytes, 0x18)?;
        if log > 6 {
            return None;
        }
        let low = u64::from(u32_at(bytes, 0x04)?);
        let incompatible = u32_at(bytes, 0x60)?;
        let high = if incompatible & INCOMPAT_64BIT == 0 {
            0
        } else {
            u64::from(u32_at(bytes, 0x150)?)
        };
        Some(Self {
            blocks: high << 32 | low,
            block_size: 1024 << log,
        })
    }

    /// Its size in bytes.
    pub(crate) fn bytes(self) -> u64 {
        self.blocks.saturating_mul(self.block_size)
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(
        bytes.get(at..at.checked_add(2)?)?.try_into().ok()?,
    ))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(
        bytes.get(at..at.checked_add(4)?)?.try_into().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(blocks: u64, log: u32, incompatible: u32) -> Vec<u8> {
        let mut bytes = vec![0; LENGTH];
        bytes[0x38..0x3a].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[0x18..0x1c].copy_from_slice(&log.to_le_bytes());
        bytes[0x60..0x64].copy_from_slice(&incompatible.to_le_bytes());
        bytes[0x04..0x08].copy_from_slice(&blocks.to_le_bytes()[..4]);
        bytes[0x150..0x154].copy_from_slice(&blocks.to_le_bytes()[4..]);
        bytes
    }

    #[test]
    fn sizes() {
        let check = |bytes: &[u8], expect: Option<(u64, u64)>| {
            let found = Superblock::parse(bytes).map(|found| (found.blocks, found.block_size));
            assert_eq!(found, expect);
        };
        check(&bytes(4096, 2, 0), Some((4096, 4096)));
        check(&bytes(4096, 0, 0), Some((4096, 1024)));
        check(
            &bytes(5 << 32 | 7, 2, INCOMPAT_64BIT),
            Some((5 << 32 | 7, 4096)),
        );
        // Without the feature bit the upper half is another field's.
        check(&bytes(5 << 32 | 7, 2, 0), Some((7, 4096)));
        check(&bytes(4096, 7, 0), None);
        check(&[0; LENGTH], None);
        check(&bytes(4096, 2, 0)[..0x50], None);
        check(&[], None);
    }
}
