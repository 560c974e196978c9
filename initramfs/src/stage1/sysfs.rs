//! Disks and partitions as `/sys` shows them.
//!
//! Reading only, and below a given directory, so that tests can bring their own. What is a disk of
//! ours is decided in `disk`, not here.

use std::fs;
use std::path::{Path, PathBuf};

/// A whole disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Disk {
    /// The kernel's name, `vda`.
    pub(crate) name: String,
    /// Size in sectors of 512 bytes, whatever the disk's own are; 0 without a medium.
    pub(crate) sectors: u64,
    /// Its medium can be taken out: a stick, a card reader.
    pub(crate) removable: bool,
}

/// A partition as the kernel made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KernelPartition {
    /// The kernel's name, `vda2`.
    pub(crate) name: String,
    /// Its number in the partition table, from 1.
    pub(crate) number: u32,
    /// Where it starts on the disk, in sectors of 512 bytes.
    pub(crate) start: u64,
    /// Its length, in sectors of 512 bytes.
    pub(crate) sectors: u64,
}

/// All disks below `sys` (`/sys`) that may carry a system: those that stay before those that can be
/// taken out, then by name. Memory disks, loops,
/// device-mapper, optical and floppy drives are not among them: asking a floppy drive takes
/// seconds, and none of them carries our partitions.
pub(crate) fn disks(sys: &Path) -> Vec<Disk> {
    let mut disks: Vec<Disk> = names(&sys.join("block"))
        .into_iter()
        .filter(|name| {
            !["ram", "loop", "dm-", "zram", "sr", "fd", "nbd", "md"]
                .iter()
                .any(|kind| is_kind(name, kind))
        })
        .map(|name| {
            let disk = sys.join("block").join(&name);
            Disk {
                sectors: number(&disk.join("size")).unwrap_or(0),
                removable: number(&disk.join("removable")) == Some(1),
                name,
            }
        })
        .collect();
    disks.sort_by(|a, b| {
        (a.removable, a.name.len(), &a.name).cmp(&(b.removable, b.name.len(), &b.name))
    });
    disks
}

/// The partitions of `disk` that the kernel knows by now, by number.
pub(crate) fn partitions(sys: &Path, disk: &str) -> Vec<KernelPartition> {
    let directory = sys.join("block").join(disk);
    let mut found: Vec<KernelPartition> = names(&directory)
        .into_iter()
        .filter_map(|name| {
            let partition = directory.join(&name);
            Some(KernelPartition {
                number: u32::try_from(number(&partition.join("partition"))?).ok()?,
                start: number(&partition.join("start"))?,
                sectors: number(&partition.join("size"))?,
                name,
            })
        })
        .collect();
    found.sort_by_key(|partition| partition.number);
    found
}

/// The names that the kernel read in the partition table of `disk`. No disk is asked for them.
pub(crate) fn partition_names(sys: &Path, disk: &str) -> Vec<String> {
    let directory = sys.join("block").join(disk);
    names(&directory)
        .into_iter()
        .filter_map(|name| {
            let uevent = fs::read_to_string(directory.join(name).join("uevent")).ok()?;
            let mut lines = uevent.lines();
            lines.find_map(|line| line.strip_prefix("PARTNAME=").map(str::to_owned))
        })
        .collect()
}

/// Bytes of a logical block of `disk`; 512 where `/sys` does not say.
pub(crate) fn logical_block_size(sys: &Path, disk: &str) -> u32 {
    let size = number(
        &sys.join("block")
            .join(disk)
            .join("queue/logical_block_size"),
    );
    size.and_then(|size| u32::try_from(size).ok())
        .unwrap_or(512)
}

fn is_kind(name: &str, kind: &str) -> bool {
    name.strip_prefix(kind)
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

fn names(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

fn number(file: &PathBuf) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(root: &Path, file: &str, text: &str) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn disks_in_order_without_those_that_cannot_carry_a_system() {
        let sys = tempfile::tempdir().unwrap();
        for name in [
            "vdb", "vda", "vdaa", "loop0", "ram3", "dm-0", "sr0", "fd0", "nvme0n1",
        ] {
            put(sys.path(), &format!("block/{name}/size"), "2048\n");
        }
        put(sys.path(), "block/vda/removable", "1\n");
        put(sys.path(), "block/vdb/removable", "0\n");
        let found: Vec<String> = disks(sys.path())
            .into_iter()
            .map(|disk| disk.name)
            .collect();
        assert_eq!(found, ["vdb", "vdaa", "nvme0n1", "vda"]);
    }

    #[test]
    fn partitions_are_told_from_other_directories() {
        let sys = tempfile::tempdir().unwrap();
        put(sys.path(), "block/vda/size", "2048\n");
        put(sys.path(), "block/vda/queue/rotational", "1\n");
        for (name, number, start) in [("vda10", 10, 900), ("vda2", 2, 100)] {
            put(
                sys.path(),
                &format!("block/vda/{name}/partition"),
                &format!("{number}\n"),
            );
            put(
                sys.path(),
                &format!("block/vda/{name}/start"),
                &format!("{start}\n"),
            );
            put(sys.path(), &format!("block/vda/{name}/size"), "64\n");
        }
        let found = partitions(sys.path(), "vda");
        assert_eq!(
            found.iter().map(|found| found.number).collect::<Vec<_>>(),
            [2, 10]
        );
        assert_eq!(
            found[0],
            KernelPartition {
                name: "vda2".into(),
                number: 2,
                start: 100,
                sectors: 64
            }
        );
        assert_eq!(partitions(sys.path(), "vdb"), []);
        let uevent = "MAJOR=254\nPARTN=2\nPARTNAME=shark-root-a\n";
        put(sys.path(), "block/vda/vda2/uevent", uevent);
        assert_eq!(partition_names(sys.path(), "vda"), ["shark-root-a"]);
    }
}
