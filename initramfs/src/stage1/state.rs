//! The state generation that a slot boots with, made ready on the mounted data; and all data taken away,
//! where an operator has asked for that. Which generation it is is decided in
//! `mounts::slot::generation`.
//!
//! A generation is there whole or not at all: it is copied beside, written out, and given its name last.

use std::fs;
use std::path::Path;

use kernel::snapshot::{self, Limits};
use mounts::plan::{FACTORY_RESET, GENERATIONS, SYSROOT};
use mounts::slot::Slot;
use mounts::slot::generation::{self, Choice};
use mounts::slot::record::Record;

use super::report::Report;
use super::watchdog;

const LIMITS: Limits = Limits {
    bytes: generation::BYTES_MAX,
    entries: generation::ENTRIES_MAX,
};
/// What the filesystem itself needs.
const LOST_AND_FOUND: &str = "lost+found";

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
        "state generation {own} of slot {slot} begins as a copy of {from}: {} entries, {} bytes",
        copied.entries, copied.bytes
    ));
    Ok(own)
}

fn copy(root: &str, from: u64, to: u64) -> Result<snapshot::Extent, String> {
    let text = |error: kernel::Error| error.to_string();
    let fresh = format!("{root}/{to}.new");
    if kernel::files::is_dir(&fresh) {
        kernel::files::remove_tree(&fresh).map_err(text)?;
    }
    let copied = snapshot::copy(&format!("{root}/{from}"), &fresh, LIMITS).map_err(text)?;
    // An overlay begins with an empty one.
    let work = format!("{fresh}/etc/work");
    if kernel::files::is_dir(&work) {
        kernel::files::remove_tree(&work).map_err(text)?;
    }
    kernel::files::sync_filesystem(&fresh).map_err(text)?;
    fs::rename(&fresh, format!("{root}/{to}"))
        .map_err(|error| format!("rename {fresh} to {to}: {error}"))?;
    kernel::files::sync_filesystem(root).map_err(text)?;
    Ok(copied)
}

/// The generations that are there whole.
fn numbers(root: &str) -> Result<Vec<u64>, String> {
    let entries = fs::read_dir(root).map_err(|error| format!("open {root}: {error}"))?;
    Ok(entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect())
}

/// Takes all data away, if an operator has asked for that. The mark goes last, so that a cut of power in
/// between is followed by the rest.
pub(crate) fn reset_if_asked(report: &mut Report) {
    let mark = format!("{SYSROOT}{FACTORY_RESET}");
    if !Path::new(&mark).exists() {
        return;
    }
    report.note("factory reset: all data are taken away");
    let var = format!("{SYSROOT}/var");
    match reset(&var, &mark) {
        Ok(()) => report.note("factory reset: done"),
        // What is left goes at the next boot.
        Err(why) => report.warn(format!("factory reset: {why}")),
    }
}

fn reset(var: &str, mark: &str) -> Result<(), String> {
    let text = |error: kernel::Error| error.to_string();
    let mut dir = var.to_owned();
    // Along the way to the mark, everything beside it.
    for keep in ["lib", "shark", "factory-reset"] {
        for entry in fs::read_dir(&dir)
            .map_err(|e| format!("open {dir}: {e}"))?
            .flatten()
        {
            let name = entry.file_name();
            if name != keep && name != LOST_AND_FOUND {
                remove(&entry.path())?;
            }
        }
        dir = format!("{dir}/{keep}");
    }
    kernel::files::sync_filesystem(var).map_err(text)?;
    fs::remove_file(mark).map_err(|error| format!("remove {mark}: {error}"))?;
    kernel::files::sync_filesystem(var).map_err(text)
}

fn remove(path: &Path) -> Result<(), String> {
    watchdog::feed();
    let name = path.display().to_string();
    let meta = fs::symlink_metadata(path).map_err(|error| format!("stat {name}: {error}"))?;
    if meta.is_dir() {
        kernel::files::remove_tree_and(&name, &mut watchdog::feed).map_err(|e| e.to_string())
    } else {
        fs::remove_file(path).map_err(|error| format!("remove {name}: {error}"))
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
        fs::create_dir_all(dir.path().join("4.new/etc/upper/half")).unwrap();
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
        assert!(!dir.path().join("4.new").exists());
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
        reset(var, mark.to_str().unwrap()).unwrap();
        let left: Vec<String> = fs::read_dir(dir.path().join("lib/shark"))
            .unwrap()
            .chain(fs::read_dir(dir.path()).unwrap())
            .map(|it| it.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(left.len(), 2, "{left:?}");
        assert!(left.contains(&"lib".to_owned()) && left.contains(&"lost+found".to_owned()));
        // Only the mark was left to remove.
        make("lib/shark/factory-reset");
        reset(var, mark.to_str().unwrap()).unwrap();
        assert!(!mark.exists());
    }
}
