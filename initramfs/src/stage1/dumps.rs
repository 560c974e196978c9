//! The records that pstore kept of crashes, put together: which belong to one crash, which crash is
//! the newest, and what of it is worth a file. Pure.
//!
//! A crash leaves more than one record: an oops and the panic that follows, each in as many parts as
//! the firmware has room for. The kernel counts them from 1 in each boot, and that count alone tells
//! one boot's from another's: on a machine whose clock does not run while it is off, two boots that
//! lie days apart have the same time. Not here: reading and removing records (`evidence`), their
//! meaning (`mounts::slot::judge`).

use std::cmp::Reverse;

use mounts::slot::judge::{Crash, crash_of};

/// The most that is kept of one crash, in bytes.
pub(crate) const TEXT_MAX: usize = 64 << 10;
/// Seconds since 1970 before which no clock stands that was ever set (September 2020).
const CLOCK_SET: i64 = 1_600_000_000;

/// One record of pstore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its file: `dmesg-ramoops-0`.
    pub(crate) name: String,
    /// When it was written: seconds since 1970 and nanoseconds, as far as the kernel knew.
    pub(crate) time: (i64, i64),
    /// Its text.
    pub(crate) text: String,
}

impl Entry {
    /// The count and the part of its first line, `Panic#2 Part1`: part 1 is the end of the log.
    fn header(&self) -> Option<(u32, u32)> {
        let (_, rest) = self.text.lines().next()?.split_once('#')?;
        let (count, part) = rest.trim_end().split_once(" Part")?;
        Some((count.parse().ok()?, part.parse().ok()?))
    }
}

/// The records of one crash, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dump {
    pub(crate) entries: Vec<Entry>,
}

/// Sorts records into crashes, oldest first as far as their clocks tell.
pub(crate) fn group(mut entries: Vec<Entry>) -> Vec<Dump> {
    // In the order of writing: firmware keeps whole seconds only.
    entries.sort_by_cached_key(|entry| {
        let header = entry.header().map(|(count, part)| (count, Reverse(part)));
        (entry.time, header, entry.name.clone())
    });
    let mut dumps: Vec<Dump> = Vec::new();
    for entry in entries {
        match dumps.last_mut() {
            Some(dump) if dump.goes_on_with(&entry) => dump.entries.push(entry),
            Some(_) | None => dumps.push(Dump {
                entries: vec![entry],
            }),
        }
    }
    dumps
}

/// The newest crash that was not judged yet. `judged` is the id of the one judged last.
pub(crate) fn newest_fresh(dumps: &[Dump], judged: Option<u32>) -> Option<Crash> {
    let of_judged = |dump: &&Dump| judged.is_some_and(|id| dump.has(id));
    let judged_at = dumps.iter().rev().find(of_judged).map(Dump::seconds);
    dumps
        .iter()
        .rev()
        .filter(|dump| {
            // Judged with that one. A clock that was never set says nothing of what was first.
            let before = judged_at.is_some_and(|at| dump.seconds() < at);
            !before || dump.seconds() < CLOCK_SET
        })
        .find_map(|dump| dump.after(judged).crash())
}

impl Dump {
    /// Whether `entry`, which is next, is of the same boot: the kernel's count begins anew with each.
    fn goes_on_with(&self, entry: &Entry) -> bool {
        let Some((count, part)) = entry.header() else {
            return true;
        };
        self.entries
            .iter()
            .filter_map(Entry::header)
            .all(|(before, its_part)| before < count || (before == count && its_part != part))
    }

    /// When it was written, in seconds since 1970 by the clock of that boot.
    fn seconds(&self) -> i64 {
        self.entries.last().map_or(0, |entry| entry.time.0.max(0))
    }

    /// Whether it is, or holds, the crash with this id.
    pub(crate) fn has(&self, id: u32) -> bool {
        self.crash().is_some_and(|crash| crash.id == id) || self.position(id).is_some()
    }

    fn position(&self, id: u32) -> Option<usize> {
        let is_it = |entry: &Entry| crash_of(&entry.text).is_some_and(|crash| crash.id == id);
        self.entries.iter().rposition(is_it)
    }

    /// What of it came after the crash that was judged last.
    fn after(&self, judged: Option<u32>) -> Self {
        let Some(id) = judged.filter(|id| self.has(*id)) else {
            return self.clone();
        };
        let from = self.position(id).map_or(self.entries.len(), |at| at + 1);
        Self {
            entries: self.entries.get(from..).unwrap_or_default().to_vec(),
        }
    }

    /// What it tells; `None` when it is no crash: kernels can be told to keep their log at any end.
    pub(crate) fn crash(&self) -> Option<Crash> {
        let crash = crash_of(&self.text())?;
        // Known by its newest record, which is removed last: a power cut while the others are being
        // removed must not make it another crash.
        let newest = self.entries.last().and_then(|entry| crash_of(&entry.text));
        Some(match newest {
            Some(newest) => Crash {
                id: newest.id,
                ..crash
            },
            None => crash,
        })
    }

    /// All of its text.
    fn text(&self) -> String {
        let mut text = String::new();
        for entry in &self.entries {
            text.push_str(entry.text.trim_end_matches('\n'));
            text.push('\n');
        }
        text
    }

    /// The name and content of the file that keeps it.
    pub(crate) fn file(&self) -> (String, String) {
        let text = self.text();
        let start = text.ceil_char_boundary(text.len().saturating_sub(TEXT_MAX));
        let kept = text.get(start..).unwrap_or_default();
        let seconds = self.seconds();
        let id = self.crash().map_or(0, |crash| crash.id);
        (format!("{seconds:010}-{id:08x}.txt"), kept.to_owned())
    }
}

/// Cuts a record that is too large: its first line says what it is, its end tells most.
pub(crate) fn bounded(text: String) -> String {
    if text.len() <= TEXT_MAX {
        return text;
    }
    let first = text.lines().next().unwrap_or_default();
    let first = first
        .get(..first.floor_char_boundary(80))
        .unwrap_or_default();
    let start = text.ceil_char_boundary(text.len() - TEXT_MAX + 81);
    format!("{first}\n{}", text.get(start..).unwrap_or_default())
}

/// Of the files in the directory of crashes those that are to go, so that `room` more fit.
pub(crate) fn too_many(mut names: Vec<String>, keep: usize) -> Vec<String> {
    // Names begin with the time, and nothing else of ours is in that directory.
    names.retain(|name| name.ends_with(".txt"));
    names.sort_unstable();
    let surplus = names.len().saturating_sub(keep);
    names.truncate(surplus);
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use mounts::slot::judge::CrashKind;

    fn entry(name: &str, seconds: i64, text: &str) -> Entry {
        Entry {
            name: name.to_owned(),
            time: (seconds, 0),
            text: text.to_owned(),
        }
    }

    const OOPS: &str = "Oops#1 Part1\n<1>[   10.0] BUG: kernel NULL pointer dereference\n";
    const PANIC: &str = "Panic#2 Part1\n<0>[   10.1] Kernel panic - not syncing: Fatal exception\n";

    #[test]
    fn an_oops_and_its_panic_are_one_crash() {
        let dumps = group(vec![
            entry("dmesg-ramoops-1", 1001, PANIC),
            entry("dmesg-ramoops-0", 1000, OOPS),
            entry("dmesg-ramoops-2", 90_000, PANIC),
        ]);
        assert_eq!(
            names(&dumps),
            [
                vec!["dmesg-ramoops-0", "dmesg-ramoops-1"],
                vec!["dmesg-ramoops-2"]
            ]
        );
        let crash = dumps[0].crash().unwrap();
        assert_eq!(crash.kind, CrashKind::Panic);
        assert!(crash.text.contains("NULL pointer"), "{}", crash.text);
    }

    #[test]
    fn a_crash_stays_the_same_while_its_records_are_removed() {
        let all = vec![entry("a", 1000, OOPS), entry("b", 1001, PANIC)];
        let whole = group(all.clone());
        let rest = group(all[1..].to_vec());
        let id = |dumps: &[Dump]| dumps[0].crash().unwrap().id;
        assert_eq!(id(&whole), id(&rest));
    }

    fn names(dumps: &[Dump]) -> Vec<Vec<&str>> {
        dumps
            .iter()
            .map(|dump| dump.entries.iter().map(|it| it.name.as_str()).collect())
            .collect()
    }

    #[test]
    fn a_count_that_begins_anew_is_another_boot_however_close() {
        let again = "Panic#1 Part1\n<0>[    4.0] Kernel panic - not syncing: sysrq\n";
        let dumps = group(vec![
            entry("a", 10, OOPS),
            entry("b", 11, PANIC),
            entry("c", 12, again),
            entry("d", 13, again),
        ]);
        assert_eq!(names(&dumps), [vec!["a", "b"], vec!["c"], vec!["d"]]);
        let crash = dumps[1].crash().unwrap();
        assert_eq!(crash.text, "sysrq");
        // One boot may live long with its oops.
        let dumps = group(vec![entry("a", 10, OOPS), entry("b", 90_000, PANIC)]);
        assert_eq!(dumps.len(), 1);
    }

    #[test]
    fn the_parts_of_one_second_are_one_crash() {
        let part = |count, part| format!("Oops#{count} Part{part}\n<1>[    4.0] BUG: a\n");
        // By name, part comes before count.
        let dumps = group(vec![
            entry("efi-101001", 5, &part(1, 1)),
            entry("efi-101002", 5, &part(2, 1)),
            entry("efi-102001", 5, &part(1, 2)),
            entry("efi-102002", 5, &part(2, 2)),
            entry("efi-103001", 5, "not to be read"),
        ]);
        assert_eq!(dumps.len(), 1);
        assert_eq!(dumps[0].entries[4].name, "efi-101002");
    }

    #[test]
    fn what_was_judged_is_no_news_and_hides_none() {
        let panic = |cause: &str| {
            format!("Panic#1 Part1\n<0>[    4.0] Kernel panic - not syncing: {cause}\n")
        };
        let fresh = |old: i64, new: i64, judged: &str| {
            let dumps = group(vec![
                entry("old", old, &panic("old")),
                entry("new", new, &panic("new")),
            ]);
            let judged = group(vec![entry("", 0, &panic(judged))])[0].crash();
            newest_fresh(&dumps, judged.map(|crash| crash.id)).map(|crash| crash.text)
        };
        let set = CLOCK_SET + 1;
        assert_eq!(fresh(50, 100, "other").as_deref(), Some("new"));
        assert_eq!(fresh(50, 100, "old").as_deref(), Some("new"));
        // A clock that was never set: the newer boot was shorter.
        assert_eq!(fresh(100, 50, "old").as_deref(), Some("new"));
        assert_eq!(fresh(set, 50, "old").as_deref(), Some("new"));
        // Both were judged, and then power was cut before they could be removed.
        assert_eq!(fresh(set, set + 9, "new"), None);
        let both = group(vec![entry("a", 10, OOPS), entry("b", 11, PANIC)]);
        let id = both[0].crash().map(|crash| crash.id);
        assert_eq!(newest_fresh(&both, id), None);
        assert_eq!(newest_fresh(&both, None).map(|crash| crash.id), id);
    }

    #[test]
    fn what_is_no_crash_is_none() {
        let text = "Shutdown#1 Part1\n<6>[   99.0] reboot: Restarting system\n";
        assert_eq!(group(vec![entry("a", 5, text)])[0].crash(), None);
        assert_eq!(group(Vec::new()), []);
    }

    #[test]
    fn files_are_bounded_and_sort_by_time() {
        let dump = |seconds, text: &str| group(vec![entry("a", seconds, text)]).remove(0).file();
        let (early, kept) = dump(999, PANIC);
        assert_eq!(kept, PANIC);
        let (late, kept) = dump(1_700_000_000, &format!("{}{PANIC}", "é".repeat(40_000)));
        assert!(kept.len() <= TEXT_MAX && kept.ends_with(PANIC));
        assert!(early < late && early.starts_with("0000000999-"), "{early}");
        assert_eq!(early, dump(999, PANIC).0);
    }

    #[test]
    fn a_large_record_keeps_its_first_line_and_its_end() {
        let large = format!("Panic#1 Part1\n{}end\n", "é\n".repeat(TEXT_MAX));
        let kept = bounded(large);
        assert!(kept.len() <= TEXT_MAX, "{}", kept.len());
        assert!(kept.starts_with("Panic#1 Part1\n") && kept.ends_with("end\n"));
        assert_eq!(bounded("short".into()), "short");
    }

    #[test]
    fn the_oldest_files_go() {
        let names = ["0003-c.txt", "0001-a.txt", "0002-b.txt", "lost+found"];
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        assert_eq!(too_many(names.clone(), 1), ["0001-a.txt", "0002-b.txt"]);
        assert_eq!(too_many(names, 3), [""; 0]);
    }
}
