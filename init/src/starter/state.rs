//! Directories of a service that follow the slot (`state.versioned`): each lies in the state generation of
//! this boot, and is bound over its usual place below /var/lib. It is bound for the whole machine, since a
//! mount namespace would cut off those that mount for others; and it stays bound until the end, so that a
//! second start finds it. Not here: which generation it is and how the next one begins (stage1).

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use kernel::snapshot::{self, Limits};
use mounts::plan::versioned;
use mounts::slot::generation::{BYTES_MAX, ENTRIES_MAX};
use mounts::state::{self, Data};
use services::definition::Ids;

use crate::filesystem::Filesystem;

/// Where services have their directories.
const PARENT: &str = "/var/lib";
const MODE: u32 = 0o755;
/// As many as stage1 copies.
const LIMITS: Limits = Limits {
    bytes: BYTES_MAX,
    entries: ENTRIES_MAX,
};

/// Puts each directory in place: from the `generation`, or where there is none as it is.
pub(super) fn put_in_place(
    generation: Option<&str>,
    names: &[String],
    ids: Option<&Ids>,
) -> Result<(), String> {
    let Some(generation) = generation else {
        return names.iter().try_for_each(|name| {
            let path = format!("{PARENT}/{name}");
            make(&path, ids).map_err(|why| format!("state.versioned: {why}"))
        });
    };
    for name in names {
        let place = format!("{PARENT}/{name}");
        let kept = versioned(generation, name);
        bring(generation, &kept, &place, ids)
            .map_err(|why| format!("state.versioned: {name}: {why}"))?;
    }
    Ok(())
}

/// Binds `kept` over `place`, both made where they are not there. Services that share the directory may
/// be started at the same time: one after the other.
fn bring(generation: &str, kept: &str, place: &str, ids: Option<&Ids>) -> Result<(), String> {
    let text = |error: kernel::Error| error.to_string();
    let parent = kept.rsplit_once('/').map_or(kept, |(parent, _)| parent);
    kernel::files::make_dirs(parent, MODE).map_err(text)?;
    let turn = File::open(generation).map_err(|error| format!("open {generation}: {error}"))?;
    kernel::files::wait_for_lock(turn.as_fd()).map_err(text)?;
    begin(kept, place, ids)?;
    kernel::files::make_dirs(place, MODE).map_err(text)?;
    if is_same(kept, place)? {
        return Ok(());
    }
    kernel::mount::bind(kept, place, false).map_err(text)
}

/// Makes `kept` with the content that `place` has.
fn begin(kept: &str, place: &str, ids: Option<&Ids>) -> Result<(), String> {
    let text = |error: kernel::Error| error.to_string();
    let made = state::begin(&mut Filesystem, kept, |data, fresh| {
        match data.is_dir(place) {
            true => snapshot::copy(place, fresh, LIMITS).map(drop).map_err(text),
            false => make(fresh, ids),
        }
    });
    made.map(drop)
}

/// Makes a directory for the user, or leaves it as it is.
fn make(path: &str, ids: Option<&Ids>) -> Result<(), String> {
    let text = |error: kernel::Error| error.to_string();
    kernel::files::make_dirs(path, MODE).map_err(text)?;
    match ids {
        Some(ids) => kernel::exec::give(path, ids.uid, ids.gid).map_err(text),
        None => Ok(()),
    }
}

fn is_same(one: &str, other: &str) -> Result<bool, String> {
    let place = |path: &str| {
        let found = fs::metadata(path).map_err(|error| format!("stat {path}: {error}"))?;
        Ok::<_, String>((found.dev(), found.ino()))
    };
    Ok(place(one)? == place(other)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_begins_with_what_is_there_and_is_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let [kept, place] = ["7/lib/app", "var/lib/app"].map(path);
        fs::create_dir_all(path("7/lib/app.shark-new/half")).unwrap();
        fs::create_dir_all(&place).unwrap();
        fs::write(path("var/lib/app/data"), "1").unwrap();
        begin(&kept, &place, None).unwrap();
        assert_eq!(fs::read_to_string(path("7/lib/app/data")).unwrap(), "1");
        assert!(!kernel::files::exists(&path("7/lib/app/half")));
        assert!(!kernel::files::exists(&path("7/lib/app.shark-new")));
        fs::write(path("7/lib/app/data"), "2").unwrap();
        begin(&kept, &place, None).unwrap();
        assert_eq!(fs::read_to_string(path("7/lib/app/data")).unwrap(), "2");
        assert_eq!(fs::read_to_string(path("var/lib/app/data")).unwrap(), "1");
        begin(&path("7/lib/new"), &path("var/lib/new"), None).unwrap();
        assert!(kernel::files::is_dir(&path("7/lib/new")));
        assert_eq!(is_same(&kept, &place), Ok(false));
        assert_eq!(is_same(&kept, &format!("{kept}/.")), Ok(true));
    }
}
