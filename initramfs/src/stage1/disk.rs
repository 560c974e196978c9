//! One disk: its partition table, and the kernel's devices for our partitions in it.
//!
//! The partition table is read from the whole disk and not taken from the kernel, because the
//! kernel does not tell a damaged one. What the kernel made of the table is matched by number and
//! place. Which disk is taken is `search`'s; what is in the partitions is others'.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use mounts::dps;
use mounts::gpt::{self, GptError, ReadError, Source, Table};
use mounts::slot::Slot;

use super::sysfs::{self, Disk, KernelPartition};
use super::watchdog;

/// A partition of ours, with its device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Its name in the partition table.
    pub(crate) name: String,
    /// Its device, `/dev/vda2`.
    pub(crate) device: String,
    /// Its size in bytes.
    pub(crate) bytes: u64,
    /// Its UUID, as text.
    pub(crate) uuid: String,
}

/// The disk that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OurDisk {
    /// Its device, `/dev/vda`.
    pub(crate) device: String,
    /// The partitions that the kernel has devices for.
    pub(crate) parts: Vec<Part>,
}

impl OurDisk {
    /// The one partition with this name.
    pub(crate) fn part(&self, name: &str) -> Result<&Part, String> {
        let mut found = self.parts.iter().filter(|part| part.name == name);
        match (found.next(), found.next()) {
            (Some(part), None) => Ok(part),
            (Some(first), Some(second)) => Err(format!(
                "{} and {} are both named {name}",
                first.device, second.device
            )),
            (None, _) => Err(format!("{} has no partition named {name}", self.device)),
        }
    }
}

/// Why a disk gave no table.
#[derive(Debug)]
pub(crate) struct NoTable {
    pub(crate) why: String,
    /// The disk did not answer, which says nothing of what is on it.
    pub(crate) unread: bool,
}

/// Reads the table of a disk; `None` while its device node is not there or it has no medium.
pub(crate) fn read_table(disk: &Disk) -> Option<Result<Table, NoTable>> {
    if disk.sectors == 0 {
        return None;
    }
    let block_size = sysfs::logical_block_size(Path::new("/sys"), &disk.name);
    let device = format!("/dev/{}", disk.name);
    let file = match File::open(&device) {
        Ok(file) => file,
        // The node follows the entry in /sys, and the event follows the node.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => {
            return Some(Err(NoTable {
                why: format!("open {device}: {error}"),
                unread: true,
            }));
        }
    };
    let blocks = disk.sectors / u64::from(block_size / 512).max(1);
    let table = gpt::read(block_size, blocks, |lba, buffer| {
        watchdog::feed();
        let offset = lba.saturating_mul(u64::from(block_size));
        file.read_exact_at(buffer, offset)
            .map_err(|error| format!("read block {lba}: {error}"))
    });
    Some(table.map_err(|error| NoTable {
        why: error.to_string(),
        unread: is_unread(&error),
    }))
}

fn is_unread(error: &ReadError) -> bool {
    let io = |error: &GptError| matches!(error, GptError::Io(_));
    match error {
        ReadError::Both { primary, backup } => io(primary) || io(backup),
        ReadError::BlockSize(_) | ReadError::TooSmall(_) => false,
    }
}

/// Whether a partition of this name holds a root, which makes its disk ours.
pub(crate) fn is_root(name: &str) -> bool {
    Slot::ALL.map(dps::root_name).contains(&name)
}

/// Finds the kernel's device for each partition of ours; otherwise what is still lacking.
pub(crate) fn attach(
    disk: &str,
    table: &Table,
    kernel: &[KernelPartition],
) -> Result<OurDisk, String> {
    let mut parts = Vec::new();
    for partition in table
        .partitions
        .iter()
        .filter(|partition| partition.name.starts_with("shark-"))
    {
        let Some(found) = kernel.iter().find(|found| found.number == partition.number) else {
            return Err(match &table.source {
                Source::Primary => format!(
                    "the kernel's device for partition {} of /dev/{disk}",
                    partition.number
                ),
                Source::Backup { .. } => format!(
                    "the kernel's device for partition {} of /dev/{disk}, whose primary partition table is bad: the \
                     kernel takes the backup only with gpt on its command line",
                    partition.number
                ),
            });
        };
        let (offset, bytes) = (
            partition.offset(table.block_size),
            partition.size(table.block_size),
        );
        if (
            found.start.saturating_mul(512),
            found.sectors.saturating_mul(512),
        ) != (offset, bytes)
        {
            return Err(format!(
                "/dev/{} at byte {offset} with {bytes} bytes as the partition table has it; the kernel has another one",
                found.name
            ));
        }
        parts.push(Part {
            name: partition.name.clone(),
            device: format!("/dev/{}", found.name),
            bytes,
            uuid: partition.uuid.to_string(),
        });
    }
    Ok(OurDisk {
        device: format!("/dev/{disk}"),
        parts,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn table(names: &[&str]) -> Table {
        let blocks = 8192;
        let partitions: Vec<gpt::Partition> = (1u32..)
            .zip(names)
            .map(|(number, name)| gpt::Partition {
                number,
                name: (*name).to_owned(),
                type_guid: dps::SHARK_STATE,
                uuid: dps::guid_of_text_order([u8::try_from(number).unwrap(); 16]),
                first_lba: 1024 + u64::from(number) * 8,
                last_lba: 1024 + u64::from(number) * 8 + 7,
                attributes: 0,
            })
            .collect();
        let chunks = gpt::build(512, blocks, dps::VAR, &partitions).unwrap();
        let mut disk = vec![0; 512 * 8192];
        for (offset, bytes) in chunks {
            let offset = usize::try_from(offset).unwrap();
            disk[offset..offset + bytes.len()].copy_from_slice(&bytes);
        }
        gpt::read(512, blocks, |lba, buffer| {
            let offset = usize::try_from(lba * 512).unwrap();
            buffer.copy_from_slice(&disk[offset..offset + buffer.len()]);
            Ok(())
        })
        .unwrap()
    }

    pub(crate) fn kernel(numbers: &[u32]) -> Vec<KernelPartition> {
        let partition = |number: &u32| KernelPartition {
            name: format!("vda{number}"),
            number: *number,
            start: 1024 + u64::from(*number) * 8,
            sectors: 8,
        };
        numbers.iter().map(partition).collect()
    }

    #[test]
    fn partitions_get_the_devices_of_their_numbers() {
        let table = table(&["esp", "shark-root-a", "shark-data"]);
        let disk = attach("vda", &table, &kernel(&[1, 2, 3])).unwrap();
        assert_eq!(disk.part("shark-root-a").unwrap().device, "/dev/vda2");
        assert_eq!(disk.part("shark-data").unwrap().bytes, 4096);
        assert!(
            disk.part("esp")
                .unwrap_err()
                .contains("no partition named esp")
        );
    }

    #[test]
    fn what_is_lacking_is_named() {
        let mut table = table(&["shark-root-a", "shark-data"]);
        let check = |table: &Table, kernel: &[KernelPartition], expect: &str| {
            let error = attach("vda", table, kernel).unwrap_err();
            assert!(error.contains(expect), "{error}");
        };
        check(&table, &kernel(&[1]), "device for partition 2 of /dev/vda");
        let mut moved = kernel(&[1, 2]);
        moved[1].start += 1;
        check(&table, &moved, "/dev/vda2 at byte");
        table.source = Source::Backup {
            primary: gpt::GptError::Signature,
        };
        check(&table, &kernel(&[]), "only with gpt on its command line");
    }

    #[test]
    fn two_partitions_of_one_name_are_refused() {
        let table = table(&["shark-root-a", "shark-root-a"]);
        let disk = attach("vda", &table, &kernel(&[1, 2])).unwrap();
        let error = disk.part("shark-root-a").unwrap_err();
        assert_eq!(error, "/dev/vda1 and /dev/vda2 are both named shark-root-a");
    }

    #[test]
    fn a_disk_that_did_not_answer_is_asked_again() {
        let check = |primary, backup, expect| {
            assert_eq!(is_unread(&ReadError::Both { primary, backup }), expect);
        };
        check(GptError::Signature, GptError::Signature, false);
        check(GptError::Io("EIO".into()), GptError::Signature, true);
        check(GptError::HeaderChecksum, GptError::Io("EIO".into()), true);
        assert!(!is_unread(&ReadError::TooSmall(1)));
    }
}
