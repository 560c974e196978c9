//! The search for the disk to boot: which disks are read, how often, and which one is taken.
//!
//! A disk that is dying can keep whoever reads it for minutes, and a watchdog does not wait so long;
//! so no disk is read that cannot be the one. Waiting is `device_events`'; reading one disk is
//! `disk`'s.

use std::collections::BTreeMap;
use std::path::Path;

use mounts::dps;
use mounts::gpt::{Source, Table};
use mounts::slot::Slot;

use super::device_events::News;
use super::disk::{NoTable, OurDisk, attach, is_root, read_table};
use super::report::Report;
use super::sysfs::{self, Disk};
use super::watchdog;

/// How often a disk is read in one search that does not answer: each time may take minutes.
const READS_MAX: u32 = 3;

/// What a disk turned out to be.
#[derive(Clone, Debug)]
enum Verdict {
    /// No partition of ours; the text says what there is instead.
    NotOurs(String),
    /// It could not be read, which may pass: it is read again when an event tells of it.
    Unread {
        what: String,
        /// How often it was tried.
        reads: u32,
    },
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
    /// Looks at the disks. Some once a disk with our partitions has all its devices: no other is read
    /// then, because one that is dying may take minutes. `news` is what events have told since the
    /// last look.
    pub(crate) fn look(&mut self, news: &News, report: &mut Report) -> Option<OurDisk> {
        let sys = Path::new("/sys");
        let mut disks = sysfs::disks(sys);
        let has_root = |disk: &Disk| {
            let names = sysfs::partition_names(sys, &disk.name);
            names.iter().any(|name| is_root(name))
        };
        // The kernel has read them all before. That is no proof, but says where to begin.
        disks.sort_by_cached_key(|disk| (disk.removable, !has_root(disk)));
        let attach = |name: &str, table: &Table| {
            let disk = attach(name, table, &sysfs::partitions(sys, name))?;
            let mut nodes = disk.parts.iter().map(|part| &part.device);
            match nodes.find(|node| !Path::new(node).exists()) {
                None => Ok(disk),
                Some(node) => Err(format!("the device node {node}")),
            }
        };
        let found = self.look_at(&disks, news, report, &read_table, &attach)?;
        if let Some(chosen) = &self.chosen {
            let others = disks.iter().filter(|disk| disk.name != chosen.name);
            for other in others.filter(|disk| has_root(disk)) {
                report.warn(left_alone(&other.name, &chosen.name));
            }
        }
        Some(found)
    }

    fn look_at(
        &mut self,
        disks: &[Disk],
        news: &News,
        report: &mut Report,
        read: &impl Fn(&Disk) -> Option<Result<Table, NoTable>>,
        attach: &impl Fn(&str, &Table) -> Result<OurDisk, String>,
    ) -> Option<OurDisk> {
        self.forget_gone(disks);
        for disk in disks {
            if !self.may_be_taken(disk) {
                continue;
            }
            watchdog::feed();
            self.judge(disk, news, report, read);
            if let Some((_, Verdict::Ours(table))) = self.judged.get(&disk.name)
                && self.is_chosen(disk)
            {
                match attach(&disk.name, table) {
                    Ok(found) => return Some(found),
                    Err(lacking) => self.lacking = Some(lacking),
                }
            }
        }
        None
    }

    /// What was taken out is no disk any more; what comes in its place is judged anew.
    fn forget_gone(&mut self, disks: &[Disk]) {
        let is_there = |name: &str| disks.iter().any(|disk| disk.name == name);
        self.judged.retain(|name, _| is_there(name));
        if self.chosen.as_ref().is_some_and(|it| !is_there(&it.name)) {
            self.chosen = None;
            self.lacking = None;
        }
    }

    /// Whether it is the disk to take, or could be.
    fn may_be_taken(&self, disk: &Disk) -> bool {
        match &self.chosen {
            None => true,
            Some(chosen) => self.is_chosen(disk) || (chosen.removable && !disk.removable),
        }
    }

    fn is_chosen(&self, disk: &Disk) -> bool {
        self.chosen
            .as_ref()
            .is_some_and(|chosen| chosen.name == disk.name)
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
                Verdict::NotOurs(what) | Verdict::Unread { what, .. } => {
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

    fn judge(
        &mut self,
        disk: &Disk,
        news: &News,
        report: &mut Report,
        read: &impl Fn(&Disk) -> Option<Result<Table, NoTable>>,
    ) {
        let same_medium = |(sectors, _): &&(u64, Verdict)| *sectors == disk.sectors;
        let reads = match self.judged.get(&disk.name).filter(same_medium) {
            None => 0,
            Some((_, Verdict::NotOurs(_))) => return,
            Some((_, Verdict::Ours(_))) => {
                // It was left alone for one that is gone.
                self.chosen.get_or_insert_with(|| disk.clone());
                return;
            }
            Some((_, Verdict::Unread { reads, .. })) => {
                if *reads >= READS_MAX || !news.is_about(&disk.name) {
                    return;
                }
                *reads
            }
        };
        let Some(table) = read(disk) else { return };
        let verdict = verdict(table, reads + 1);
        match &verdict {
            Verdict::NotOurs(what) | Verdict::Unread { what, .. } => {
                report.step(&format!("disk: /dev/{}: {what}", disk.name));
                if self.is_chosen(disk) {
                    self.chosen = None;
                    self.lacking = None;
                }
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

/// What a disk is that was read for the `reads`th time.
fn verdict(read: Result<Table, NoTable>, reads: u32) -> Verdict {
    match read {
        Err(NoTable { why, unread: true }) => Verdict::Unread { what: why, reads },
        Err(NoTable { why, unread: false }) => Verdict::NotOurs(why),
        Ok(table) => {
            let mut names = table.partitions.iter().map(|it| it.name.as_str());
            if names.any(is_root) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage1::disk::tests::{kernel, table};

    #[test]
    fn a_disk_is_ours_by_the_name_of_a_root() {
        let ours = |names: &[&str]| matches!(verdict(Ok(table(names)), 1), Verdict::Ours(_));
        assert!(ours(&["shark-root-a"]));
        assert!(ours(&["other", "shark-root-b"]));
        assert!(!ours(&["shark-data", "shark-state"]));
        let bad = |unread| {
            let why = "bad".to_owned();
            verdict(Err(NoTable { why, unread }), 1)
        };
        assert!(matches!(bad(false), Verdict::NotOurs(what) if what == "bad"));
        assert!(matches!(bad(true), Verdict::Unread { what, reads: 1 } if what == "bad"));
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

    /// A machine for a search: what its disks hold, and which of them lack a device.
    #[derive(Default)]
    struct Disks {
        disks: Vec<Disk>,
        dying: Vec<&'static str>,
        lacking: Vec<&'static str>,
        read: std::cell::RefCell<Vec<String>>,
    }

    impl Disks {
        fn of(disks: &[(&str, bool)]) -> Self {
            let disk = |(name, removable): &(&str, bool)| Disk {
                name: (*name).to_owned(),
                sectors: 8192,
                removable: *removable,
            };
            Self {
                disks: disks.iter().map(disk).collect(),
                ..Self::default()
            }
        }

        /// The disk that was found, and those that were read for it.
        fn look(&self, search: &mut Search, news: &News) -> (Option<String>, Vec<String>) {
            let read = |disk: &Disk| {
                self.read.borrow_mut().push(disk.name.clone());
                Some(if self.dying.contains(&disk.name.as_str()) {
                    Err(NoTable {
                        why: "EIO".to_owned(),
                        unread: true,
                    })
                } else {
                    Ok(table(&["shark-root-a"]))
                })
            };
            let attach = |name: &str, table: &Table| match self.lacking.contains(&name) {
                true => Err("a device".to_owned()),
                false => attach(name, table, &kernel(&[1])),
            };
            let mut report = Report::default();
            let found = search.look_at(&self.disks, news, &mut report, &read, &attach);
            (found.map(|it| it.device), self.read.take())
        }
    }

    #[test]
    fn no_disk_is_read_beside_one_that_is_whole() {
        let mut search = Search::default();
        let mut disks = Disks::of(&[("vda", false), ("vdb", false), ("sda", true)]);
        disks.dying = vec!["vdb", "sda"];
        let (found, read) = disks.look(&mut search, &News::default());
        assert_eq!(found.as_deref(), Some("/dev/vda"));
        assert_eq!(read, ["vda"]);
        // Nor while it waits for a device of that one, which is not read again either.
        let mut search = Search::default();
        disks.lacking = vec!["vda"];
        assert_eq!(disks.look(&mut search, &News::default()).1, ["vda"]);
        assert_eq!(disks.look(&mut search, &News::everything()).1, [""; 0]);
        disks.lacking.clear();
        let (found, read) = disks.look(&mut search, &News::default());
        assert_eq!((found.as_deref(), read.len()), (Some("/dev/vda"), 0));
    }

    #[test]
    fn a_disk_that_does_not_answer_is_read_again_on_its_own_news_and_not_for_ever() {
        let mut search = Search::default();
        let mut disks = Disks::of(&[("vda", false), ("vdb", false)]);
        disks.dying = vec!["vda", "vdb"];
        let reads = |search: &mut Search, news: &News| disks.look(search, news).1;
        assert_eq!(reads(&mut search, &News::default()), ["vda", "vdb"]);
        assert_eq!(reads(&mut search, &News::default()), [""; 0]);
        let news = News::about("vdb");
        for _ in 1..READS_MAX {
            assert_eq!(reads(&mut search, &news), ["vdb"]);
        }
        assert_eq!(reads(&mut search, &news), [""; 0]);
        assert!(search.waited_for().contains("/dev/vdb: EIO"));
        // Another medium is another disk.
        disks.disks[1].sectors += 1;
        disks.dying.clear();
        let (found, read) = disks.look(&mut search, &News::default());
        assert_eq!(
            (found.as_deref(), read),
            (Some("/dev/vdb"), vec!["vdb".to_owned()])
        );
    }

    #[test]
    fn a_disk_that_was_taken_out_makes_room_for_another() {
        let mut search = Search::default();
        let mut disks = Disks::of(&[("sda", true)]);
        disks.lacking = vec!["sda", "sdb"];
        assert_eq!(disks.look(&mut search, &News::default()).0, None);
        assert!(search.saw_ours());
        let disks = Disks::of(&[("sdb", true)]);
        let (found, _) = disks.look(&mut search, &News::default());
        assert_eq!(found.as_deref(), Some("/dev/sdb"));
        // One that stays comes before it, also when it comes later.
        let disks = Disks::of(&[("vda", false), ("sdb", true)]);
        let (found, _) = disks.look(&mut search, &News::default());
        assert_eq!(found.as_deref(), Some("/dev/vda"));
    }
}
