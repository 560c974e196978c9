//! The records that pstore kept of crashes, put together: which belong to one crash, which crash is
//! the newest, and what of it is worth a file. Pure.
//!
//! A crash leaves more than one record: an oops and the panic that follows, each in as many parts as
//! the firmware has room for. Not here: reading and removing records (`evidence`), their meaning
//! (`mounts::slot::judge`).

use mounts::slot::judge::{Crash, crash_of};

/// The most that is kept of one crash, in bytes.
pub(crate) const TEXT_MAX: usize = 64 << 10;
/// Records that were written within so many seconds of each other are of one crash.
const TOGETHER: i64 = 600;

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

/// The records of one crash, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dump {
    pub(crate) entries: Vec<Entry>,
}

/// Sorts records into crashes, oldest first.
pub(crate) fn group(mut entries: Vec<Entry>) -> Vec<Dump> {
    entries.sort_by(|a, b| (a.time, &a.name).cmp(&(b.time, &b.name)));
    let mut dumps: Vec<Dump> = Vec::new();
    for entry in entries {
        let belongs = dumps.last().is_some_and(|dump| {
            let newest = dump.entries.last().map_or(i64::MIN, |it| it.time.0);
            entry.time.0.saturating_sub(newest) <= TOGETHER
        });
        match dumps.last_mut() {
            Some(dump) if belongs => dump.entries.push(entry),
            Some(_) | None => dumps.push(Dump {
                entries: vec![entry],
            }),
        }
    }
    dumps
}

impl Dump {
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
        let seconds = self.entries.last().map_or(0, |entry| entry.time.0.max(0));
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
        let names: Vec<Vec<&str>> = dumps
            .iter()
            .map(|dump| dump.entries.iter().map(|it| it.name.as_str()).collect())
            .collect();
        assert_eq!(
            names,
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
