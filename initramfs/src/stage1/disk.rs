//! Finds the disk that carries our partitions, and the kernel's devices for them.
//!
//! The partition table is read from the whole disk and not taken from the kernel, because the
//! kernel tells neither a damaged table nor a second disk of the same names. What the kernel made
//! of the table is matched by number and place. Waiting is `device_events`'; what is in the
//! partitions is others'.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use mounts::dps;
use mounts::gpt::{self, GptError, ReadError, Source, Table};
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
    /// It could not be read, which may pass: it is read again at the next look.
    Unread(String),
    /// A partition table with our names.
    Ours(Table),
}

/// The search, over all looks at `/sys`.
#[derive(Debug, Default)]
pub(crate) struct Search {
    /// By the disk's name; with its size when it was judged, because a medium can be changed.
    judged: BTreeMap<String, (u64, Verdict)>,
    /// The disk that is ours, once there is one. A later one replaces it only when this one can be
    /// taken out and that one cannot.
    chosen: Option<Disk>,
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
        let name = self.chosen.as_ref()?.name.clone();
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
            match verdict {
                Verdict::NotOurs(what) | Verdict::Unread(what) => {
                    seen.push(format!("/dev/{name}: {what}"));
                }
                Verdict::Ours(_) => {}
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
        match self.judged.get(&disk.name) {
            Some((sectors, Verdict::NotOurs(_) | Verdict::Ours(_))) if *sectors == disk.sectors => {
                return;
            }
            Some(_) | None => {}
        }
        let Some(read) = read_table(disk) else { return };
        let verdict = verdict(read);
        match &verdict {
            Verdict::NotOurs(what) | Verdict::Unread(what) => {
                report.step(&format!("disk: /dev/{}: {what}", disk.name));
            }
            Verdict::Ours(table) => self.ours(disk, table, report),
        }
        self.judged
            .insert(disk.name.clone(), (disk.sectors, verdict));
    }

    fn ours(&mut self, disk: &Disk, table: &Table, report: &mut Report) {
        let name = &disk.name;
        if let Source::Backup { primary } = &table.source {
            report.warn(format!(
                "disk: /dev/{name}: primary partition table is bad ({primary}), the backup is used"
            ));
        }
        match &self.chosen {
            None => {
                report.step(&format!("disk: /dev/{name} carries our partitions"));
                self.chosen = Some(disk.clone());
            }
            Some(chosen) if chosen.name == *name => {}
            Some(chosen) if chosen.removable && !disk.removable => {
                report.warn(left_alone(&chosen.name, name));
                self.chosen = Some(disk.clone());
                self.lacking = None;
            }
            Some(chosen) => report.warn(left_alone(name, &chosen.name)),
        }
    }
}

fn left_alone(name: &str, chosen: &str) -> String {
    format!(
        "disk: /dev/{name} has partitions of the same names as /dev/{chosen} and is left alone; remove one"
    )
}

/// Why a disk gave no table.
#[derive(Debug)]
struct NoTable {
    why: String,
    /// The disk did not answer, which says nothing of what is on it.
    unread: bool,
}

/// Reads the table of a disk; `None` while its device node is not there or it has no medium.
fn read_table(disk: &Disk) -> Option<Result<Table, NoTable>> {
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

fn verdict(read: Result<Table, NoTable>) -> Verdict {
    match read {
        Err(NoTable { why, unread: true }) => Verdict::Unread(why),
        Err(NoTable { why, unread: false }) => Verdict::NotOurs(why),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn table(names: &[&str]) -> Table {
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

    fn kernel(numbers: &[u32]) -> Vec<KernelPartition> {
        let partition = |number: &u32| KernelPartition {
            name: format!("vda{number}"),
            number: *number,
            start: 1024 + u64::from(*number) * 8,
            sectors: 8,
        };
        numbers.iter().map(partition).collect()
    }

    #[test]
    fn a_disk_is_ours_by_the_name_of_a_root() {
        let ours = |names: &[&str]| matches!(verdict(Ok(table(names))), Verdict::Ours(_));
        assert!(ours(&["shark-root-a"]));
        assert!(ours(&["other", "shark-root-b"]));
        assert!(!ours(&["shark-data", "shark-state"]));
        let bad = |unread| {
            let why = "bad".to_owned();
            verdict(Err(NoTable { why, unread }))
        };
        assert!(matches!(bad(false), Verdict::NotOurs(what) if what == "bad"));
        assert!(matches!(bad(true), Verdict::Unread(what) if what == "bad"));
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
    fn of_two_disks_the_first_stays() {
        let mut report = Report::default();
        let mut search = Search::default();
        assert!(search.waited_for().contains("there is no disk at all"));
        let mut ours = |name: &str, removable| {
            let disk = Disk {
                name: name.to_owned(),
                sectors: 8192,
                removable,
            };
            search.ours(&disk, &table(&["shark-root-a"]), &mut report);
            search.chosen.as_ref().map(|it| it.name.clone())
        };
        assert_eq!(ours("vda", false).as_deref(), Some("vda"));
        assert_eq!(ours("vdb", false).as_deref(), Some("vda"));
        assert_eq!(ours("sda", true).as_deref(), Some("vda"));
        let [vdb, sda] = report.notes() else {
            panic!("{:?}", report.notes())
        };
        for (note, name) in [(vdb, "vdb"), (sda, "sda")] {
            let expect = format!("/dev/{name} has partitions of the same names as /dev/vda");
            assert!(note.contains(&expect), "{note}");
        }
    }

    #[test]
    fn a_disk_that_stays_takes_the_place_of_a_stick() {
        let mut report = Report::default();
        let mut search = Search::default();
        for (name, removable) in [("sda", true), ("sdb", true), ("vda", false)] {
            let disk = Disk {
                name: name.to_owned(),
                sectors: 8192,
                removable,
            };
            search.ours(&disk, &table(&["shark-root-a"]), &mut report);
        }
        assert_eq!(search.chosen.map(|it| it.name).as_deref(), Some("vda"));
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
