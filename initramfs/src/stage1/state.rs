//! The state generation that a slot boots with, made ready on the mounted data; and all data taken away,
//! where an operator has asked for that. Which generation it is is decided in
//! `mounts::slot::generation`, and in which order it comes in `mounts::state`.

use std::fs;

use kernel::snapshot::{self, Limits};
use mounts::plan::{FACTORY_RESET, GENERATIONS, SYSROOT};
use mounts::slot::Slot;
use mounts::slot::generation::{self, Choice};
use mounts::slot::record::Record;
use mounts::state::{self, Data};

use super::report::Report;
use super::watchdog;

const LIMITS: Limits = Limits {
    bytes: generation::BYTES_MAX,
    entries: generation::ENTRIES_MAX,
};
/// Where the data filesystem is mounted, as the running system sees it.
const VAR: &str = "/var";

/// Makes the generation of `slot` ready and returns its number.
pub(crate) fn prepare(
    record: Option<&Record>,
    slot: Slot,
    report: &mut Report,
) -> Result<u64, String> {
    let root = format!("{SYSROOT}{GENERATIONS}");
    let there = numbers(&root)?;
    let Choice { own, from } = generation::choose(record, slot, &there);
    if there.contains(&own) {
        return Ok(own);
    }
    let Some(from) = from else {
        return Ok(own);
    };
    watchdog::feed();
    let copied = copy(&root, from, own)
        .map_err(|why| format!("state generation {own} of slot {slot}, from {from}: {why}"))?;
    watchdog::feed();
    report.note(&format!(
        "state generation {own} of slot {slot} begins as a copy of {from}: {} entries, {} bytes, of \
         which {} share their blocks",
        copied.extent.entries, copied.extent.bytes, copied.shared
    ));
    Ok(own)
}

fn copy(root: &str, from: u64, to: u64) -> Result<snapshot::Copied, String> {
    let text = |error: kernel::Error| error.to_string();
    let copied = state::begin(&mut Fed, &format!("{root}/{to}"), |data, fresh| {
        let copied = snapshot::copy(&format!("{root}/{from}"), fresh, LIMITS).map_err(text)?;
        // An overlay begins with an empty one.
        let work = format!("{fresh}/etc/work");
        if data.is_dir(&work) {
            data.remove(&work)?;
        }
        Ok(copied)
    })?;
    Ok(copied.unwrap_or_default())
}

/// The data filesystem; the watchdog is fed on the way.
struct Fed;

impl Data for Fed {
    fn is_dir(&mut self, path: &str) -> bool {
        kernel::files::is_dir(path)
    }

    fn entries(&mut self, dir: &str) -> Result<Vec<String>, String> {
        let failed = |error: std::io::Error| format!("open {dir}: {error}");
        let entries = fs::read_dir(dir).map_err(failed)?;
        entries
            .map(|entry| {
                let name = entry.map_err(failed)?.file_name();
                let odd = |name| format!("{dir}: {name:?} is not UTF-8");
                name.into_string().map_err(odd)
            })
            .collect()
    }

    fn remove(&mut self, path: &str) -> Result<(), String> {
        watchdog::feed();
        let meta = fs::symlink_metadata(path).map_err(|error| format!("stat {path}: {error}"))?;
        if meta.is_dir() {
            kernel::files::remove_tree_and(path, &mut watchdog::feed).map_err(|e| e.to_string())
        } else {
            fs::remove_file(path).map_err(|error| format!("remove {path}: {error}"))
        }
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), String> {
        fs::rename(from, to).map_err(|error| format!("rename {from} to {to}: {error}"))
    }

    fn sync(&mut self, path: &str) -> Result<(), String> {
        kernel::files::sync_filesystem(path).map_err(|error| error.to_string())
    }
}

/// The generations that are there whole.
fn numbers(root: &str) -> Result<Vec<u64>, String> {
    let entries = fs::read_dir(root).map_err(|error| format!("open {root}: {error}"))?;
    Ok(entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect())
}

/// Takes all data away, if an operator has asked for that.
pub(crate) fn reset_if_asked(report: &mut Report) {
    let var = format!("{SYSROOT}{VAR}");
    let Some(mark) = FACTORY_RESET.strip_prefix(VAR) else {
        return;
    };
    if !kernel::files::exists(&format!("{var}{mark}")) {
        return;
    }
    report.note("factory reset: all data are taken away");
    match state::reset(&mut Fed, &var, mark) {
        Ok(()) => report.note("factory reset: done"),
        // What is left goes at the next boot.
        Err(why) => report.warn(format!("factory reset: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_takes_its_name_last_and_a_torn_one_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_str().unwrap();
        fs::create_dir_all(dir.path().join("3/etc/upper")).unwrap();
        fs::create_dir_all(dir.path().join("3/etc/work/work")).unwrap();
        fs::write(dir.path().join("3/etc/upper/hostname"), "three").unwrap();
        // What a cut of power has left of another try.
        fs::create_dir_all(dir.path().join("4.shark-new/etc/upper/half")).unwrap();
        assert_eq!(numbers(root), Ok(vec![3]));
        copy(root, 3, 4).unwrap();
        let mut there = numbers(root).unwrap();
        there.sort_unstable();
        assert_eq!(there, [3, 4]);
        let made = dir.path().join("4/etc");
        assert_eq!(
            fs::read_to_string(made.join("upper/hostname")).unwrap(),
            "three"
        );
        assert!(!made.join("upper/half").exists() && !made.join("work").exists());
        assert!(!dir.path().join("4.shark-new").exists());
        assert!(copy(root, 9, 10).unwrap_err().contains("ENOENT"));
    }

    #[test]
    fn a_reset_that_was_cut_goes_on_with_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let var = dir.path().to_str().unwrap();
        let mark = dir.path().join("lib/shark/factory-reset");
        let make = |path: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        };
        make("lib/shark/factory-reset");
        make("lib/shark/state/0/etc/upper/hostname");
        make("lib/app/data");
        make("log/x");
        fs::create_dir(dir.path().join("lost+found")).unwrap();
        std::os::unix::fs::symlink("/nowhere", dir.path().join("run")).unwrap();
        state::reset(&mut Fed, var, "/lib/shark/factory-reset").unwrap();
        let left: Vec<String> = fs::read_dir(dir.path().join("lib/shark"))
            .unwrap()
            .chain(fs::read_dir(dir.path()).unwrap())
            .map(|it| it.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(left.len(), 2, "{left:?}");
        assert!(left.contains(&"lib".to_owned()) && left.contains(&"lost+found".to_owned()));
        // Only the mark was left to remove.
        make("lib/shark/factory-reset");
        state::reset(&mut Fed, var, "/lib/shark/factory-reset").unwrap();
        assert!(!mark.exists());
    }
}
