//! State generations as the updater sees them: those that no slot has any more are taken away, and there
//! must be room for one more copy, which the trial begins with. Not here: which one a slot boots with
//! (`mounts::slot::generation`), and the copy itself (stage1).

use kernel::snapshot::{self, Limits};
use mounts::plan::{GENERATIONS, generation};
use mounts::slot::generation::{BYTES_MAX, ENTRIES_MAX, unused};
use mounts::slot::record::Record;
use mounts::state::{self, Data};

use crate::filesystem::Filesystem;

/// As many as stage1 copies.
const LIMITS: Limits = Limits {
    bytes: BYTES_MAX,
    entries: ENTRIES_MAX,
};
/// What a file or directory takes beside its content.
const ENTRY: u64 = 4096;
/// What services need besides.
const SPARE: u64 = 8 << 20;

/// Takes away what no slot has, and what a cut has left.
pub(super) fn tidy(record: &Record, running: u64) {
    let data = &mut Filesystem;
    let names = data.entries(GENERATIONS).unwrap_or_default();
    let there: Vec<u64> = names.iter().filter_map(|name| name.parse().ok()).collect();
    let left_over = names.iter().filter(|name| state::is_left_over(name));
    let unused = unused(record, running, &there).into_iter().map(generation);
    let discarded = unused.map(|path| state::discard(&mut Filesystem, &path));
    let removed = left_over.map(|name| data.remove(&format!("{GENERATIONS}/{name}")));
    for error in removed.chain(discarded).filter_map(Result::err) {
        eprintln!("shark-update: a state generation that is not needed stays: {error}");
    }
}

/// Whether one more copy of the generation has room.
///
/// # Errors
/// For people: it has none, or is too large to be copied at a boot.
pub(super) fn has_room(running: u64) -> Result<(), String> {
    let path = generation(running);
    if !kernel::files::is_dir(&path) {
        return Ok(());
    }
    let extent = snapshot::measure(&path, LIMITS).map_err(|error| {
        format!(
            "what is changed in /etc and what services keep by version is too much to be copied for the new system: {error}; {} MiB or \
             {} files are the most",
            LIMITS.bytes >> 20,
            LIMITS.entries
        )
    })?;
    let needed = extent.bytes + extent.entries * ENTRY + SPARE;
    let space = kernel::mount::space(GENERATIONS).map_err(|error| error.to_string())?;
    if space.available >= needed {
        return Ok(());
    }
    Err(format!(
        "the data partition is too full: the new system begins with a copy of what is changed in /etc \
         and of what services keep by version, which needs {needed} bytes, and {} are free",
        space.available
    ))
}
