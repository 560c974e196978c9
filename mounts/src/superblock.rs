//! The few fields of a superblock that stage1 needs before it mounts the data partition: which filesystem it
//! is, and how large.
//!
//! Only reading of bytes; checking is a program's, growing is the kernel's. Layouts: the kernel's
//! Documentation/filesystems/ext4/super.rst, and uapi/linux/btrfs_tree.h.

/// So many bytes at the start of a partition hold the superblocks of all that are known.
pub const LENGTH: usize = BTRFS_OFFSET + BTRFS_LENGTH;

const EXT4_OFFSET: usize = 1024;
const EXT4_LENGTH: usize = 1024;
const EXT4_MAGIC: u16 = 0xEF53;
const EXT4_64BIT: u32 = 0x80;

const BTRFS_OFFSET: usize = 0x1_0000;
const BTRFS_LENGTH: usize = 4096;
const BTRFS_MAGIC: &[u8] = b"_BHRfS_M";

/// A filesystem that data may lie on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// ext4, and its predecessors.
    Ext4,
    /// btrfs, on one device.
    Btrfs,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Ext4, Self::Btrfs];

    /// The name that mount(2), modules and people use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Btrfs => "btrfs",
        }
    }
}

/// Kind and size of a filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Which one it is.
    pub kind: Kind,
    /// Its bytes.
    pub bytes: u64,
    /// Bytes of a block: 1024 to 65536.
    pub block_size: u32,
}

impl Superblock {
    /// Reads the first [`LENGTH`] bytes of a partition; `None` when there is no such filesystem.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let part = |offset: usize, length| bytes.get(offset..offset.checked_add(length)?);
        // mkfs.btrfs clears what was there before; mkfs.ext4 may leave a superblock of btrfs.
        let ext4 = part(EXT4_OFFSET, EXT4_LENGTH).and_then(ext4);
        ext4.or_else(|| part(BTRFS_OFFSET, BTRFS_LENGTH).and_then(btrfs))
    }
}

fn ext4(bytes: &[u8]) -> Option<Superblock> {
    if u16_at(bytes, 0x38)? != EXT4_MAGIC {
        return None;
    }
    let log = u32_at(bytes, 0x18)?;
    if log > 6 {
        return None;
    }
    let low = u64::from(u32_at(bytes, 0x04)?);
    let high = match u32_at(bytes, 0x60)? & EXT4_64BIT {
        0 => 0,
        _ => u64::from(u32_at(bytes, 0x150)?),
    };
    let block_size = 1024 << log;
    Some(Superblock {
        kind: Kind::Ext4,
        bytes: (high << 32 | low).saturating_mul(u64::from(block_size)),
        block_size,
    })
}

/// The size is that of its first device: there is no other.
fn btrfs(bytes: &[u8]) -> Option<Superblock> {
    if bytes.get(0x40..0x48)? != BTRFS_MAGIC {
        return None;
    }
    let block_size = u32_at(bytes, 0x90)?;
    if !block_size.is_power_of_two() || !(1024..=65_536).contains(&block_size) {
        return None;
    }
    Some(Superblock {
        kind: Kind::Btrfs,
        bytes: u64_at(bytes, 0x70)?,
        block_size,
    })
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

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(
        bytes.get(at..at.checked_add(8)?)?.try_into().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expect: Option<(Kind, u64, u32)>) {
        let found = Superblock::parse(bytes).map(|it| (it.kind, it.bytes, it.block_size));
        assert_eq!(found, expect);
    }

    fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
        bytes[at..at + field.len()].copy_from_slice(field);
    }

    fn with_ext4(blocks: u64, log: u32, incompatible: u32) -> Vec<u8> {
        let mut bytes = vec![0; LENGTH];
        let blocks = blocks.to_le_bytes();
        put(&mut bytes, EXT4_OFFSET + 0x38, &EXT4_MAGIC.to_le_bytes());
        put(&mut bytes, EXT4_OFFSET + 0x18, &log.to_le_bytes());
        put(&mut bytes, EXT4_OFFSET + 0x60, &incompatible.to_le_bytes());
        put(&mut bytes, EXT4_OFFSET + 0x04, &blocks[..4]);
        put(&mut bytes, EXT4_OFFSET + 0x150, &blocks[4..]);
        bytes
    }

    #[test]
    fn sizes_of_ext4() {
        let ext4 = |blocks: u64, size: u32| Some((Kind::Ext4, blocks * u64::from(size), size));
        check(&with_ext4(4096, 2, 0), ext4(4096, 4096));
        check(&with_ext4(4096, 0, 0), ext4(4096, 1024));
        let large = 5 << 32 | 7;
        check(&with_ext4(large, 2, EXT4_64BIT), ext4(large, 4096));
        // Without the feature bit the upper half is another field's.
        check(&with_ext4(large, 2, 0), ext4(7, 4096));
        check(&with_ext4(4096, 7, 0), None);
        // A small partition ends before the superblock of btrfs would begin.
        check(&with_ext4(4096, 2, 0)[..8192], ext4(4096, 4096));
        check(&with_ext4(4096, 2, 0)[..EXT4_OFFSET + 0x50], None);
        check(&[0; LENGTH], None);
        check(&[], None);
    }

    #[test]
    fn sizes_of_btrfs() {
        let with_btrfs = |mut all: Vec<u8>, bytes: u64, sector: u32| {
            put(&mut all, BTRFS_OFFSET + 0x40, BTRFS_MAGIC);
            put(&mut all, BTRFS_OFFSET + 0x70, &bytes.to_le_bytes());
            put(&mut all, BTRFS_OFFSET + 0x90, &sector.to_le_bytes());
            all
        };
        let (nothing, ext4) = (vec![0; LENGTH], with_ext4(4096, 2, 0));
        let found = with_btrfs(nothing.clone(), 1 << 40, 4096);
        check(&found, Some((Kind::Btrfs, 1 << 40, 4096)));
        check(&found[..LENGTH - 1], None);
        check(&with_btrfs(nothing, 1 << 40, 5000), None);
        // One that ext4 was made over.
        check(
            &with_btrfs(ext4, 7, 4096),
            Some((Kind::Ext4, 4096 << 12, 4096)),
        );
    }
}
