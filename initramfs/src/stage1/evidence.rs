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
use mounts::slot::judge::Evidence;

use super::device_events::DeviceEvents;
use super::dumps::{self, Dump, Entry};
use super::report::Report;

/// Where pstore shows its records.
const PSTORE: &str = "/sys/fs/pstore";
/// Where the text of crashes is kept on the running system.
pub(crate) const KEPT: &str = "/var/lib/shark/crash";
/// Crashes that are kept there.
const KEPT_MAX: usize = 8;
/// Records that are read.
const RECORDS_MAX: usize = 64;
/// Bytes that are read of one record.
const RECORD_MAX: u64 = 1 << 20;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// For the judgement.
    pub(crate) evidence: Evidence,
    /// All crashes in pstore, oldest first.
    dumps: Vec<Dump>,
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
    let dumps = dumps::group(read(Path::new(PSTORE), report));
    let crash = dumps.iter().rev().find_map(Dump::crash);
    if let Some(crash) = &crash {
        report.note(&format!("evidence: pstore: {}", crash.text));
    }
    if watchdog_reset {
        report.note("evidence: a watchdog reset the machine");
    }
    Found {
        evidence: Evidence {
            watchdog_reset,
            crash,
        },
        dumps,
    }
}

impl Found {
    /// Saves the text of all crashes below `root`, whose data is there to stay, and removes them
    /// from pstore. For when the record is written.
    pub(crate) fn settle(&mut self, root: &str, report: &mut Report) {
        let directory = format!("{root}{KEPT}");
        for dump in std::mem::take(&mut self.dumps) {
            match save(&directory, &dump) {
                Ok(()) => remove(&dump, report),
                Err(error) => report.warn(format!("evidence: a crash stays in pstore: {error}")),
            }
        }
        forget(&directory, report);
    }

    /// The same where no data is there to stay: the newest crash is kept in pstore until there is,
    /// and those before it are removed, because a full pstore takes no more.
    pub(crate) fn settle_without_data(&mut self, report: &mut Report) {
        let newest = self.dumps.pop();
        for dump in std::mem::take(&mut self.dumps) {
            remove(&dump, report);
        }
        self.dumps.extend(newest);
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

/// The records of dying kernels; others (`console-`, `pmsg-`) are written while all is well.
fn read(pstore: &Path, report: &Report) -> Vec<Entry> {
    let Ok(entries) = fs::read_dir(pstore) else {
        return Vec::new();
    };
    let mut read = Vec::new();
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if !name.starts_with("dmesg-") || read.len() >= RECORDS_MAX {
            continue;
        }
        let mut bytes = Vec::new();
        let file = fs::File::open(entry.path()).and_then(|file| {
            let metadata = file.metadata()?;
            file.take(RECORD_MAX).read_to_end(&mut bytes)?;
            Ok(metadata)
        });
        match file {
            Ok(metadata) => read.push(Entry {
                name,
                time: (metadata.mtime(), metadata.mtime_nsec()),
                text: dumps::bounded(String::from_utf8_lossy(&bytes).into_owned()),
            }),
            Err(error) => report.step(&format!("evidence: {name}: {error}")),
        }
    }
    read
}

fn save(directory: &str, dump: &Dump) -> Result<(), kernel::Error> {
    let (name, text) = dump.file();
    // Kernel logs are root's: they hold addresses.
    kernel::files::make_dirs(directory, 0o700)?;
    kernel::files::replace(&format!("{directory}/{name}"), text.as_bytes(), 0o600)
}

/// Oldest first: see [`Dump::crash`].
fn remove(dump: &Dump, report: &mut Report) {
    for entry in &dump.entries {
        if let Err(error) = fs::remove_file(Path::new(PSTORE).join(&entry.name)) {
            report.warn(format!("evidence: remove {}: {error}", entry.name));
        }
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

    const PANIC: &str = "Panic#1 Part1\n<0>[    9.0] Kernel panic - not syncing: sysrq\n";

    #[test]
    fn only_the_words_of_dying_kernels_are_read() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("dmesg-ramoops-0"), PANIC).unwrap();
        fs::write(dir.path().join("console-ramoops-0"), PANIC).unwrap();
        let read = read(dir.path(), &Report::default());
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].text, PANIC);
        assert!(read[0].time.0 > 0);
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
        let mut names: Vec<_> = fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names.len(), KEPT_MAX);
        assert!(names[0].starts_with("0000000004-"), "{names:?}");
        assert_eq!(report.notes(), [""; 0]);
    }
}
