//! What the machine remembers of how its last boot ended: the kernel's last words in pstore, and
//! whether a watchdog reset it.
//!
//! Records stay in pstore until they have been judged, and the judgement is on the disk, and their
//! text is saved: whatever is interrupted before that is done again. Not here: what follows
//! (`mounts::slot::judge`), which records belong together (`dumps`).

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use kernel::mount::MountFlags;
use mounts::slot::judge::{Crash, Evidence};

use super::device_events::DeviceEvents;
use super::dumps::{self, Dump, Entry};
use super::report::Report;

/// Where pstore shows its records.
const PSTORE: &str = "/sys/fs/pstore";
/// Where the text of crashes is kept on the running system.
pub(crate) const KEPT: &str = "/var/lib/shark/crash";
/// Crashes that are kept there.
const KEPT_MAX: usize = 8;
/// Records that are read, the newest.
const RECORDS_MAX: usize = 64;
/// Bytes that are read of one record.
const RECORD_MAX: u64 = 1 << 20;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// A watchdog says that it reset the machine.
    watchdog_reset: bool,
    /// All crashes in pstore that were read, oldest first.
    dumps: Vec<Dump>,
    /// Older records than those, which are too many.
    surplus: Vec<String>,
    /// The crash that is evidence in this boot.
    given: Option<Crash>,
}

/// Looks for it. `watchdog_reset` is what the watchdog says.
pub(crate) fn find(watchdog_reset: bool, devices: &mut DeviceEvents, report: &mut Report) -> Found {
    // Where the last words are kept is the machine's choice: memory that outlives a reset, or the
    // firmware's variables.
    devices.load(&["ramoops"], report);
    if Path::new("/sys/firmware/efi").is_dir() {
        devices.load(&["efi_pstore"], report);
    }
    mount(report);
    let (entries, surplus) = read(Path::new(PSTORE), report);
    let mut found = Found {
        dumps: dumps::group(entries),
        surplus,
        ..Found::default()
    };
    for crash in found.dumps.iter().filter_map(Dump::crash) {
        report.note(&format!("evidence: pstore: {}", crash.text));
    }
    found.watchdog_says(watchdog_reset, report);
    found
}

impl Found {
    /// A watchdog says whether it reset the machine. Some say so late, because their driver comes
    /// late.
    pub(crate) fn watchdog_says(&mut self, reset: bool, report: &Report) {
        if reset && !self.watchdog_reset {
            self.watchdog_reset = true;
            report.note("evidence: a watchdog reset the machine");
        }
    }

    /// What counts for the judgement. `judged` is the crash that the record was judged by last: it
    /// is no evidence again, and must not hide a newer one.
    pub(crate) fn evidence(&mut self, judged: Option<u32>) -> Evidence {
        // One boot is judged by one crash, also when it is judged twice because it went to rescue.
        let again = self.given.as_ref().is_some_and(|it| Some(it.id) == judged);
        if !again {
            self.given = dumps::newest_fresh(&self.dumps, judged);
        }
        Evidence {
            watchdog_reset: self.watchdog_reset,
            crash: self.given.clone(),
        }
    }

    /// Saves the text of all crashes below `root`, whose data is there to stay, and removes them
    /// from pstore. For when the record is written.
    pub(crate) fn settle(&mut self, root: &str, report: &mut Report) {
        self.settle_at(Path::new(PSTORE), root, report);
    }

    fn settle_at(&mut self, pstore: &Path, root: &str, report: &mut Report) {
        let directory = format!("{root}{KEPT}");
        for dump in std::mem::take(&mut self.dumps) {
            match save(&directory, &dump) {
                Ok(()) => remove(pstore, &dump, report),
                Err(error) => {
                    report.warn(format!(
                        "evidence: the text of a crash is not saved: {error}"
                    ));
                    self.dumps.push(dump);
                }
            }
        }
        self.settle_without_data_at(pstore, report);
        forget(&directory, report);
    }

    /// The same where no data is there to stay: the crash that was judged is kept in pstore until
    /// there is, otherwise the newest, and all others are removed, because a full pstore takes no
    /// more.
    pub(crate) fn settle_without_data(&mut self, report: &mut Report) {
        self.settle_without_data_at(Path::new(PSTORE), report);
    }

    fn settle_without_data_at(&mut self, pstore: &Path, report: &mut Report) {
        for name in std::mem::take(&mut self.surplus) {
            remove_record(pstore, &name, report);
        }
        // Any other would be taken for news in the next boot.
        let judged = self.given.as_ref().map(|crash| crash.id);
        let is_judged = |dump: &Dump| judged.is_some_and(|id| dump.has(id));
        let keep = self.dumps.iter().rposition(is_judged);
        let keep = keep.or(self.dumps.len().checked_sub(1));
        let mut kept = None;
        for (at, dump) in std::mem::take(&mut self.dumps).into_iter().enumerate() {
            if Some(at) == keep {
                kept = Some(dump);
            } else {
                remove(pstore, &dump, report);
            }
        }
        self.dumps.extend(kept);
    }
}

fn mount(report: &Report) {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    if matches!(kernel::mount::is_mount_point(PSTORE), Ok(false))
        && let Err(error) = kernel::mount::mount("pstore", PSTORE, "pstore", flags, "")
    {
        report.step(&format!("evidence: {error}"));
    }
}

/// The records of dying kernels, at most [`RECORDS_MAX`], and the names of those that are older and
/// left out. Others (`console-`, `pmsg-`) are written while all is well.
fn read(pstore: &Path, report: &Report) -> (Vec<Entry>, Vec<String>) {
    let Ok(entries) = fs::read_dir(pstore) else {
        return (Vec::new(), Vec::new());
    };
    let mut found: Vec<((i64, i64), String)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let metadata = entry.metadata().ok()?;
            let time = (metadata.mtime(), metadata.mtime_nsec());
            name.starts_with("dmesg-").then_some((time, name))
        })
        .collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    let surplus = found.split_off(found.len().min(RECORDS_MAX));
    let mut read = Vec::new();
    for (time, name) in found {
        let mut bytes = Vec::new();
        let file = fs::File::open(pstore.join(&name))
            .and_then(|file| file.take(RECORD_MAX).read_to_end(&mut bytes));
        match file {
            Ok(_) => read.push(Entry {
                name,
                time,
                text: dumps::bounded(String::from_utf8_lossy(&bytes).into_owned()),
            }),
            Err(error) => report.step(&format!("evidence: {name}: {error}")),
        }
    }
    (read, surplus.into_iter().map(|(_, name)| name).collect())
}

fn save(directory: &str, dump: &Dump) -> Result<(), kernel::Error> {
    let (name, text) = dump.file();
    // Kernel logs are root's: they hold addresses.
    kernel::files::make_dirs(directory, 0o700)?;
    kernel::files::replace(&format!("{directory}/{name}"), text.as_bytes(), 0o600)
}

/// Oldest first: see [`Dump::crash`].
fn remove(pstore: &Path, dump: &Dump, report: &mut Report) {
    for entry in &dump.entries {
        remove_record(pstore, &entry.name, report);
    }
}

fn remove_record(pstore: &Path, name: &str, report: &mut Report) {
    if let Err(error) = fs::remove_file(pstore.join(name)) {
        report.warn(format!("evidence: remove {name}: {error}"));
    }
}

/// Removes the oldest saved crashes.
fn forget(directory: &str, report: &mut Report) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    let names = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    for name in dumps::too_many(names, KEPT_MAX) {
        if let Err(error) = fs::remove_file(Path::new(directory).join(&name)) {
            report.warn(format!("evidence: remove {name}: {error}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::time::{Duration, SystemTime};

    const PANIC: &str = "Panic#1 Part1\n<0>[    9.0] Kernel panic - not syncing: sysrq\n";

    #[test]
    fn only_the_words_of_dying_kernels_are_read() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("dmesg-ramoops-0"), PANIC).unwrap();
        fs::write(dir.path().join("console-ramoops-0"), PANIC).unwrap();
        let (read, surplus) = read(dir.path(), &Report::default());
        assert_eq!((read.len(), surplus.len()), (1, 0));
        assert_eq!(read[0].text, PANIC);
        assert!(read[0].time.0 > 0);
    }

    /// A pstore with a crash for each name, the first the oldest.
    fn pstore(names: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (second, name) in (1_u64..).zip(names) {
            let file = fs::File::create(dir.path().join(name)).unwrap();
            let text = format!("Panic#1 Part1\n<0>[ 9.0] Kernel panic - not syncing: {name}\n");
            io::Write::write_all(&mut &file, text.as_bytes()).unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
            file.set_modified(time).unwrap();
        }
        dir
    }

    fn found(pstore: &Path) -> Found {
        let (entries, surplus) = read(pstore, &Report::default());
        Found {
            dumps: dumps::group(entries),
            surplus,
            ..Found::default()
        }
    }

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn of_too_many_records_the_newest_are_read_and_all_removed() {
        let all: Vec<String> = (0..RECORDS_MAX + 3)
            .map(|number| format!("dmesg-{:03}", 500 - number))
            .collect();
        let pstore = pstore(&all.iter().map(String::as_str).collect::<Vec<_>>());
        // Neither first nor last, in whatever order the directory lists them.
        for name in &all[30..33] {
            let file = fs::File::options()
                .append(true)
                .open(pstore.path().join(name));
            file.unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        }
        let mut found = found(pstore.path());
        assert_eq!(found.dumps.len(), RECORDS_MAX);
        found.surplus.sort_unstable_by(|a, b| b.cmp(a));
        assert_eq!(found.surplus, all[30..33]);
        let evidence = found.evidence(None);
        assert_eq!(evidence.crash.unwrap().text, all[RECORDS_MAX + 2]);
        let root = tempfile::tempdir().unwrap();
        let mut report = Report::default();
        found.settle_at(pstore.path(), root.path().to_str().unwrap(), &mut report);
        assert_eq!(names(pstore.path()), [""; 0]);
        assert_eq!(report.notes(), [""; 0]);
    }

    #[test]
    fn where_nothing_can_be_saved_pstore_keeps_the_crash_that_was_judged() {
        let pstore = pstore(&["dmesg-0", "dmesg-1", "dmesg-2"]);
        let full = tempfile::NamedTempFile::new().unwrap();
        let mut report = Report::default();
        let mut found = found(pstore.path());
        let newest = found.dumps[2].crash().map(|crash| crash.id);
        let evidence = found.evidence(newest);
        assert_eq!(evidence.crash.unwrap().text, "dmesg-1");
        found.settle_at(pstore.path(), full.path().to_str().unwrap(), &mut report);
        assert_eq!(names(pstore.path()), ["dmesg-1"]);
        let note = &report.notes()[0];
        assert!(note.contains("not saved"), "{note}");
        // Judged again in the same boot it is the same crash, which the record knows by now.
        let id = found.given.clone().unwrap().id;
        assert_eq!(found.evidence(Some(id)).crash.unwrap().id, id);
    }

    #[test]
    fn a_watchdog_may_say_it_late_and_does_not_take_it_back() {
        let mut found = Found::default();
        let report = Report::default();
        let mut says = |reset| {
            found.watchdog_says(reset, &report);
            found.evidence(None).watchdog_reset
        };
        assert_eq!([says(false), says(true), says(false)], [false, true, true]);
    }

    #[test]
    fn eight_crashes_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_str().unwrap();
        let mut report = Report::default();
        let directory = format!("{root}{KEPT}");
        for second in 1..12 {
            let entry = Entry {
                name: "dmesg-ramoops-0".to_owned(),
                time: (second, 0),
                text: PANIC.to_owned(),
            };
            let dump = dumps::group(vec![entry]).remove(0);
            save(&directory, &dump).unwrap();
            forget(&directory, &mut report);
        }
        let names = names(Path::new(&directory));
        assert_eq!(names.len(), KEPT_MAX);
        assert!(names[0].starts_with("0000000004-"), "{names:?}");
        assert_eq!(report.notes(), [""; 0]);
    }
}
