//! What the Discoverable Partitions Specification fixes, and what we add to it: type GUIDs, names,
//! and the partition UUIDs that follow from a root hash.
//!
//! Source: <https://uapi-group.org/specifications/specs/discoverable_partitions_specification/>.
//! Not here: the partition table itself ([`crate::gpt`]).

use std::fmt;

use gpt_disk_types::{Guid, guid};
use serde::{Deserialize, Serialize};

use crate::slot::Slot;
use crate::verity::RootHash;

/// EFI system partition.
pub const ESP: Guid = guid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
/// Variable data, mounted on /var: our data partition. (The specification wants its UUID derived from
/// the machine id before it mounts one unasked; an image has no machine yet, so we go by the name.)
pub const VAR: Guid = guid!("4d21b016-b534-45c2-a9fb-5c16e091fd2d");
/// Our state partition with the boot record. The specification has nothing like it; the GUID is our
/// own, so that no other system takes the partition for a filesystem.
pub const SHARK_STATE: Guid = guid!("d424dfde-46f2-4df8-96c3-d900e68b05ed");

/// Attribute bit 60: mount read-only. For roots and hash partitions.
pub const ATTRIBUTE_READ_ONLY: u64 = 1 << 60;
/// Attribute bit 59: grow the filesystem to its partition. For data.
pub const ATTRIBUTE_GROW: u64 = 1 << 59;

/// Name of the EFI system partition.
pub const ESP_NAME: &str = "shark-esp";
/// Name of the partition with the boot record.
pub const STATE_NAME: &str = "shark-state";
/// Name of the data partition.
pub const DATA_NAME: &str = "shark-data";

/// The architectures we boot on, under the kernel's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Architecture {
    /// 64-bit x86.
    #[serde(rename = "x86_64")]
    X86_64,
    /// 64-bit Arm.
    #[serde(rename = "aarch64")]
    Aarch64,
}

impl Architecture {
    /// The architecture this program was built for; `None` on one we do not boot on.
    #[must_use]
    pub const fn current() -> Option<Self> {
        if cfg!(target_arch = "x86_64") {
            Some(Self::X86_64)
        } else if cfg!(target_arch = "aarch64") {
            Some(Self::Aarch64)
        } else {
            None
        }
    }

    /// `x86_64` or `aarch64`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// Its number in ELF programs: `EM_X86_64`, `EM_AARCH64` of elf.h.
    #[must_use]
    pub const fn elf_machine(self) -> u16 {
        match self {
            Self::X86_64 => 62,
            Self::Aarch64 => 183,
        }
    }

    /// Reads `x86_64` or `aarch64`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::X86_64, Self::Aarch64]
            .into_iter()
            .find(|architecture| architecture.as_str() == text)
    }

    /// Type of a root partition.
    #[must_use]
    pub const fn root_type(self) -> Guid {
        match self {
            Self::X86_64 => guid!("4f68bce3-e8cd-4db1-96e7-fbcaf984b709"),
            Self::Aarch64 => guid!("b921b045-1df0-41c3-af44-4c6f280d3fae"),
        }
    }

    /// Type of the partition with the hash tree of a root.
    #[must_use]
    pub const fn verity_type(self) -> Guid {
        match self {
            Self::X86_64 => guid!("2c7357ed-ebd2-46d9-aec1-23d437ec2bf5"),
            Self::Aarch64 => guid!("df3300ce-d69f-4c92-978c-9bfb0f38d820"),
        }
    }

    /// Type of the partition with the signature of a root hash: our manifest.
    #[must_use]
    pub const fn signature_type(self) -> Guid {
        match self {
            Self::X86_64 => guid!("41092b05-9fc8-4523-994f-2def0408b176"),
            Self::Aarch64 => guid!("6db69de6-29f4-4758-a7a5-962190f00ce3"),
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Name of the root partition of `slot`.
#[must_use]
pub const fn root_name(slot: Slot) -> &'static str {
    match slot {
        Slot::A => "shark-root-a",
        Slot::B => "shark-root-b",
    }
}

/// Name of the partition with the hash tree of `slot`.
#[must_use]
pub const fn verity_name(slot: Slot) -> &'static str {
    match slot {
        Slot::A => "shark-verity-a",
        Slot::B => "shark-verity-b",
    }
}

/// Name of the partition with the signed manifest of `slot`.
#[must_use]
pub const fn signature_name(slot: Slot) -> &'static str {
    match slot {
        Slot::A => "shark-sig-a",
        Slot::B => "shark-sig-b",
    }
}

/// PARTUUID of a root partition: the first 128 bits of the root hash, in the order in which both are
/// written as text. (On the disk a GUID's first three fields are little-endian.)
#[must_use]
pub fn root_uuid(hash: &RootHash) -> Guid {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ..] = *hash.as_bytes();
    guid_of_text_order([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p])
}

/// PARTUUID of a hash partition: the last 128 bits of the root hash, likewise.
#[must_use]
pub fn verity_uuid(hash: &RootHash) -> Guid {
    let [.., a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *hash.as_bytes();
    guid_of_text_order([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p])
}

/// The GUID whose text form shows these bytes in this order.
#[must_use]
pub fn guid_of_text_order(bytes: [u8; 16]) -> Guid {
    let [a, b, c, d, e, f, g, h, rest @ ..] = bytes;
    let [i, j, k, l, m, n, o, p] = rest;
    Guid::from_bytes([d, c, b, a, f, e, h, g, i, j, k, l, m, n, o, p])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partition_uuids_show_the_digits_of_the_root_hash() {
        let hash: RootHash = "00112233445566778899aabbccddeeff0123456789abcdeffedcba9876543210"
            .parse()
            .unwrap();
        assert_eq!(
            root_uuid(&hash).to_string(),
            "00112233-4455-6677-8899-aabbccddeeff"
        );
        assert_eq!(
            verity_uuid(&hash).to_string(),
            "01234567-89ab-cdef-fedc-ba9876543210"
        );
    }

    #[test]
    fn names_of_both_slots_differ_and_fit_a_gpt_entry() {
        let names = [Slot::A, Slot::B]
            .map(|slot| [root_name(slot), verity_name(slot), signature_name(slot)])
            .concat();
        for (index, name) in names.iter().enumerate() {
            assert!(name.len() <= 36);
            assert!(!names[..index].contains(name));
        }
    }

    #[test]
    fn architectures_have_one_name_everywhere() {
        for architecture in [Architecture::X86_64, Architecture::Aarch64] {
            assert_eq!(
                Architecture::parse(architecture.as_str()),
                Some(architecture)
            );
            assert_eq!(
                serde_json::to_string(&architecture).unwrap(),
                format!("\"{architecture}\"")
            );
        }
        assert_ne!(
            Architecture::X86_64.root_type(),
            Architecture::Aarch64.root_type()
        );
    }
}
