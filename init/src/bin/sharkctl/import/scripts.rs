//! Finds scripts for OpenRC below a root, with their files of variables. Not here: what is in them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use services::import::openrc::Script;

use crate::failure::Failure;

/// Where scripts are, and files of variables.
const SCRIPTS: &str = "etc/init.d";
const VARIABLES: &str = "etc/conf.d";
/// What a script for OpenRC begins with.
const INTERPRETER: &str = "openrc-run";

/// Longest script that is read.
const FILE_MAX: u64 = 1 << 18;

/// Whether `path` is a script for OpenRC, or a directory with one.
pub(super) fn is_any(path: &Path) -> bool {
    match path.is_dir() {
        true => below(path).is_ok_and(|found| !found.is_empty()),
        false => is_script(path),
    }
}

fn is_script(path: &Path) -> bool {
    let text = read(path).unwrap_or_default();
    let first = text.lines().next().unwrap_or_default();
    first.starts_with("#!") && first.trim_end().ends_with(INTERPRETER)
}

fn below(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_file() && is_script(&path) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn read(path: &Path) -> std::io::Result<String> {
    if fs::metadata(path)?.len() > FILE_MAX {
        return Err(std::io::Error::other("is larger than a script can be"));
    }
    fs::read_to_string(path)
}

/// The scripts that `wanted` names: by name, by file, or all of a directory.
pub(super) fn find(root: &Path, wanted: &[String]) -> Result<Vec<Script>, Failure> {
    let mut found = BTreeMap::new();
    for name in wanted {
        let path = match name.contains('/') {
            true => PathBuf::from(name),
            false => root.join(SCRIPTS).join(name),
        };
        let failed = |error: std::io::Error| Failure::of_file("read", &path, &error);
        let paths = match path.is_dir() {
            true => below(&path).map_err(failed)?,
            false => vec![path.clone()],
        };
        if paths.is_empty() {
            let path = path.display();
            return Err(Failure::Failed(format!(
                "there are no scripts for OpenRC in {path}"
            )));
        }
        for path in paths {
            let script = script(root, &path)?;
            found.insert(path, script);
        }
    }
    Ok(found.into_values().collect())
}

fn script(root: &Path, path: &Path) -> Result<Script, Failure> {
    let text = read(path).map_err(|error| Failure::of_file("read", path, &error))?;
    let name = path.file_name().unwrap_or_default();
    let conf = root.join(VARIABLES).join(name);
    let conf = match read(&conf) {
        Ok(text) => Some((conf.display().to_string(), text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(Failure::of_file("read", &conf, &error)),
    };
    Ok(Script {
        name: name.to_string_lossy().into_owned(),
        path: path.display().to_string(),
        text,
        conf,
    })
}
