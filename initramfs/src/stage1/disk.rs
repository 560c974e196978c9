//! Finds the disk that carries our partitions, and the kernel's devices for them.
//!
//! The partition table is read from the whole disk and not taken from the kernel, because the kernel tells neither a
//! damaged table nor a second disk of the same names. What the kernel made of the table is matched by number and place.
//! Waiting is `device_events`'; what is in the partitions is others'.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use mounts::dps;
use mounts::gpt::{self, Source, Table};
use mounts::slot::Slot;

use super::report::Report;
use super::sysfs::{self, Disk, KernelPartition};

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

/// What a disk turned out to be.
#[derive(Clone, Debug)]
enum Verdict {
    /// No partition of ours; the text says what there is instead.
    NotOurs(String),
    /// A partition table with our names.
    Ours(Table),
}

/// The search, over all looks at `/sys`.
#[derive(Debug, Default)]
pub(crate) struct Search {
    /// By the disk's name; with its size when it was judged, because a medium can be changed.
    judged: BTreeMap<String, (u64, Verdict)>,
    /// The disk that is ours, once there is one: later ones do not replace it.
    chosen: Option<String>,
    /// What that disk's devices still lack.
    lacking: Option<String>,
}

impl Search {
    /// Looks at all disks. Some once the first disk with our partitions has all its devices.
    pub(crate) fn look(&mut self, report: &mut Report) -> Option<OurDisk> {
        let sys = Path::new("/sys");
        for disk in sysfs::disks(sys) {
            self.judge(&disk, report);
        }
        let name = self.chosen.clone()?;
        let (_, Verdict::Ours(table)) = self.judged.get(&name)? else {
            return None;
        };
        match attach(&name, table, &sysfs::partitions(sys, &name)) {
            Ok(disk) => match disk
                .parts
                .iter()
                .find(|part| !Path::new(&part.device).exists())
            {
                None => Some(disk),
                Some(part) => {
                    self.lacking = Some(format!("the device node {}", part.device));
                    None
                }
            },
            Err(lacking) => {
                self.lacking = Some(lacking);
                None
            }
        }
    }

    /// Whether a disk with our partition names was seen at all.
    pub(crate) fn saw_ours(&self) -> bool {
        self.chosen.is_some()
    }

    /// What was waited for and what there was instead, for people.
    pub(crate) fn waited_for(&self) -> String {
        if let Some(lacking) = &self.lacking {
            return lacking.clone();
        }
        let mut seen: Vec<String> = Vec::new();
        for (name, (_, verdict)) in &self.judged {
            if let Verdict::NotOurs(what) = verdict {
                seen.push(format!("/dev/{name}: {what}"));
            }
        }
        let seen = if seen.is_empty() {
            "no disk at all".to_owned()
        } else {
            seen.join("; ")
        };
        format!(
            "a disk with a partition named {} or {}; there is {seen}",
            dps::root_name(Slot::A),
            dps::root_name(Slot::B)
        )
    }

    fn judge(&mut self, disk: &Disk, report: &mut Report) {
        if self
            .judged
            .get(&disk.name)
            .is_some_and(|(sectors, _)| *sectors == disk.sectors)
        {
            return;
        }
        let Some(read) = read_table(disk) else { return };
        let verdict = verdict(read);
        match &verdict {
            Verdict::NotOurs(what) => report.step(&format!("disk: /dev/{}: {what}", disk.name)),
            Verdict::Ours(table) => self.ours(&disk.name, table, report),
        }
        self.judged
            .insert(disk.name.clone(), (disk.sectors, verdict));
    }

    fn ours(&mut self, name: &str, table: &Table, report: &mut Report) {
        if let Source::Backup { primary } = &table.source {
            report.warn(format!(
                "disk: /dev/{name}: primary partition table is bad ({primary}), the backup is used"
            ));
        }
        match &self.chosen {
            None => {
                report.step(&format!("disk: /dev/{name} carries our partitions"));
                self.chosen = Some(name.to_owned());
            }
            Some(chosen) if chosen == name => {}
            Some(chosen) => report.warn(format!(
                "disk: /dev/{name} has partitions of the same names as /dev/{chosen} and is left alone; remove one"
            )),
        }
    }
}

/// Reads the table of a disk; `None` while its device node is not there or it has no medium.
fn read_table(disk: &Disk) -> Option<Result<Table, String>> {
    if disk.sectors == 0 {
        return None;
    }
    let block_size = sysfs::logical_block_size(Path::new("/sys"), &disk.name);
    let device = format!("/dev/{}", disk.name);
    let file = match File::open(&device) {
        Ok(file) => file,
        // The node follows the entry in /sys, and the event follows the node.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => return Some(Err(format!("open {device}: {error}"))),
    };
    let blocks = disk.sectors / u64::from(block_size / 512).max(1);
    let table = gpt::read(block_size, blocks, |lba, buffer| {
        let offset = lba.saturating_mul(u64::from(block_size));
        file.read_exact_at(buffer, offset)
            .map_err(|error| format!("read block {lba}: {error}"))
    });
    Some(table.map_err(|error| error.to_string()))
}

fn verdict(read: Result<Table, String>) -> Verdict {
    match read {
        Err(error) => Verdict::NotOurs(error),
        Ok(table) => {
            let roots = Slot::ALL.map(dps::root_name);
            if table
                .partitions
                .iter()
                .any(|partition| roots.contains(&partition.name.as_str()))
            {
                Verdict::Ours(table)
            } else {
                Verdict::NotOurs(format!(
                    "a partition table of {} without our names",
                    table.partitions.len()
                ))
            }
        }
    }
}

/// Finds the kernel's device for each partition of ours; otherwise what is still lacking.
fn attach(disk: &str, table: &Table, kernel: &[KernelPartition]) -> Result<OurDisk, String> {
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
