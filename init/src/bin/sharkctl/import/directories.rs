//! Finds service directories of runit, s6 and their like below a root. Not here: what is in them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use services::import::directory::{Content, Directory};

use crate::failure::Failure;

/// Where they usually are.
const DIRECTORIES: [&str; 5] = [
    "etc/sv",
    "etc/runit/sv",
    "usr/share/runit/sv",
    "etc/s6/sv",
    "etc/s6-rc/source",
];

/// Longest script that is read.
const TEXT_MAX: u64 = 1 << 18;
/// Most files of one directory.
const FILES_MAX: usize = 1000;

/// Whether `path` is such a directory.
pub(super) fn is_service(path: &Path) -> bool {
    let there = |name: &str| path.join(name).symlink_metadata().is_ok();
    there("run") || there("type") && (there("up") || there("contents") || there("contents.d"))
}

/// Whether `path` is one, or holds some.
pub(super) fn is_any(path: &Path) -> bool {
    is_service(path) || !below(path).unwrap_or_default().is_empty()
}

fn below(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        if is_service(&path) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The service directories that `wanted` names: by name, as one, or as a directory of some.
pub(super) fn find(root: &Path, wanted: &[String]) -> Result<Vec<Directory>, Failure> {
    let mut found: BTreeMap<PathBuf, Directory> = BTreeMap::new();
    for name in wanted {
        let paths = match name.contains('/') {
            true if is_service(Path::new(name)) => vec![PathBuf::from(name)],
            true => below(Path::new(name))
                .map_err(|error| Failure::of_file("read", Path::new(name), &error))?,
            false => {
                let usual = DIRECTORIES.iter().map(|it| root.join(it).join(name));
                usual.filter(|path| is_service(path)).take(1).collect()
            }
        };
        if paths.is_empty() {
            return Err(Failure::Failed(format!(
                "there is no service directory `{name}`, neither by itself nor in /{}",
                DIRECTORIES.join(" /")
            )));
        }
        for path in paths {
            let directory = read(root, &path)?;
            found.insert(path, directory);
        }
    }
    Ok(found.into_values().collect())
}

fn read(root: &Path, path: &Path) -> Result<Directory, Failure> {
    let mut files = BTreeMap::new();
    read_below(path, Path::new(""), &mut files)
        .map_err(|error| Failure::of_file("read", path, &error))?;
    let whole =
        std::path::absolute(path).map_err(|error| Failure::of_file("find", path, &error))?;
    let root = std::path::absolute(root).map_err(|error| Failure::of_file("find", root, &error))?;
    // Where it is for a system whose root this is.
    let inside = whole.strip_prefix(&root).unwrap_or(&whole);
    let name = path.file_name().unwrap_or_default();
    Ok(Directory {
        name: name.to_string_lossy().into_owned(),
        path: Path::new("/").join(inside).display().to_string(),
        shown: path.display().to_string(),
        files,
    })
}

/// Files of a directory and of those in it, by path. Links are named, and not followed into
/// directories.
fn read_below(
    top: &Path,
    below: &Path,
    files: &mut BTreeMap<String, Content>,
) -> std::io::Result<()> {
    for entry in fs::read_dir(top.join(below))? {
        let entry = entry?;
        let name = below.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() && name.components().count() < 4 {
            read_below(top, &name, files)?;
            continue;
        }
        if files.len() >= FILES_MAX {
            return Err(std::io::Error::other(
                "it holds more files than a service has",
            ));
        }
        files.insert(name.display().to_string(), content(&entry.path()));
    }
    Ok(())
}

/// A pipe or a link to nowhere has no text.
fn content(path: &Path) -> Content {
    let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_file);
    let text = metadata.as_ref().filter(|it| it.len() <= TEXT_MAX);
    let text = text.and_then(|_| fs::read_to_string(path).ok());
    Content {
        text,
        executable: metadata.is_some_and(|it| it.permissions().mode() & 0o111 != 0),
    }
}
