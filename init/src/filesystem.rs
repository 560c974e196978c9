//! A filesystem as `mounts::state` asks for it. Not here: the order of what is asked, and stage1, which
//! feeds a watchdog meanwhile.

use std::fs;

use mounts::state::Data;

/// All that is mounted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filesystem;

impl Data for Filesystem {
    fn is_dir(&mut self, path: &str) -> bool {
        kernel::files::is_dir(path)
    }

    fn entries(&mut self, dir: &str) -> Result<Vec<String>, String> {
        let entries = fs::read_dir(dir).map_err(|error| format!("open {dir}: {error}"))?;
        // A name that is not UTF-8 is none of ours.
        Ok(entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect())
    }

    fn remove(&mut self, path: &str) -> Result<(), String> {
        kernel::files::remove_tree(path).map_err(|error| error.to_string())
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), String> {
        fs::rename(from, to).map_err(|error| format!("rename {from} to {to}: {error}"))
    }

    fn sync(&mut self, path: &str) -> Result<(), String> {
        kernel::files::sync_filesystem(path).map_err(|error| error.to_string())
    }
}
