//! The files that a log consists of: their names, and which there are. Not here: writing them (`memory`,
//! `shelf`) and reading them (`reader`).
//!
//! A log is a row of files with numbers that grow, each of bounded size. Lines go to the last one, so
//! none is ever renamed, and a file of one number has the same lines wherever it lies.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use services::id::ServiceName;

/// Between the name of a service and the number: no name can hold it.
const MARK: char = '=';

/// What a file takes of memory or of a disk: whole pages.
pub(super) const PAGE: u64 = 4096;

/// The name of the file with this number. The first one, which most logs never outgrow, has none.
#[must_use]
pub fn file_name(name: &ServiceName, number: u32) -> String {
    match number {
        0 => name.to_string(),
        _ => format!("{name}{MARK}{number}"),
    }
}

/// The service and the number of a file; `None`: it is something else.
#[must_use]
pub fn parse(file: &str) -> Option<(ServiceName, u32)> {
    let (name, number) = match file.split_once(MARK) {
        None => (file, 0),
        Some((name, number)) => (name, number.parse().ok().filter(|it| *it > 0)?),
    };
    let name = ServiceName::new(name).ok()?;
    (file_name(&name, number) == file).then_some((name, number))
}

/// The files of one log, by number.
pub type Segments = BTreeMap<u32, PathBuf>;

/// All logs in some directories. Of two files of one number, that of the earlier directory counts. No
/// directory is no log.
///
/// # Errors
/// A directory is there and cannot be read.
pub fn list(places: &[PathBuf]) -> io::Result<BTreeMap<ServiceName, Segments>> {
    let mut logs: BTreeMap<ServiceName, Segments> = BTreeMap::new();
    for place in places {
        for (name, number) in names_in(place)? {
            let path = place.join(file_name(&name, number));
            logs.entry(name).or_default().entry(number).or_insert(path);
        }
    }
    Ok(logs)
}

/// What [`parse`] makes of the files of one directory.
pub(super) fn names_in(place: &Path) -> io::Result<Vec<(ServiceName, u32)>> {
    let entries = match fs::read_dir(place) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.file_name().to_str().and_then(parse));
    }
    Ok(names)
}

/// What a file of `size` bytes takes.
pub(super) const fn room_of(size: u64) -> u64 {
    size.div_ceil(PAGE).saturating_mul(PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let name = |text| ServiceName::new(text).unwrap();
        for (text, number, file) in [("x", 0, "x"), ("x", 1, "x=1"), ("x.1", 12, "x.1=12")] {
            assert_eq!(file_name(&name(text), number), file);
            assert_eq!(parse(file), Some((name(text), number)));
        }
        for other in [
            "",
            "=boot",
            "x=",
            "x=0",
            "x=01",
            "x=+1",
            "x=1=2",
            ".x",
            "x=9999999999",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    #[test]
    fn the_earlier_place_counts() {
        let directory = tempfile::tempdir().unwrap();
        let places = ["a", "b", "none"].map(|it| directory.path().join(it));
        for (place, file) in [("a", "x=1"), ("b", "x"), ("b", "x=1"), ("b", "=boot")] {
            let place = directory.path().join(place);
            fs::create_dir_all(&place).unwrap();
            fs::write(place.join(file), "").unwrap();
        }
        let logs = list(&places).unwrap();
        let x = &logs[&ServiceName::new("x").unwrap()];
        let found: Vec<_> = x
            .iter()
            .map(|(number, path)| (*number, path.as_path()))
            .collect();
        assert_eq!(
            found,
            [(0, &*places[1].join("x")), (1, &*places[0].join("x=1"))]
        );
        assert_eq!(logs.len(), 1);
    }
}
