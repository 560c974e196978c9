//! The keys that may sign an update: those of the verified root. Not here: what is signed
//! (`mounts::bundle`), and the keys of the initramfs, by which stage1 boots.

use std::fs;
use std::path::Path;

use mounts::manifest::PublicKey;
use services::update::Key;

/// Where they lie in the root, each a file `NAME.pub`.
pub(super) const DIRECTORY: &str = "/usr/lib/shark/keys";
/// Longest key file that is read.
const FILE_MAX: usize = 4096;

/// All keys, with what is wrong with those that cannot be used.
pub(super) fn list(directory: &str) -> Vec<Key> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.ends_with(".pub"))
        .collect();
    names.sort();
    names
        .into_iter()
        .map(|name| read(directory, &name))
        .collect()
}

fn read(directory: &str, file: &str) -> Key {
    let path = Path::new(directory).join(file).display().to_string();
    let text = kernel::files::read_text(&path, FILE_MAX).map_err(|error| error.to_string());
    let parsed = text.and_then(|text| PublicKey::parse(&text).map_err(|error| error.to_string()));
    let (key, problem) = match parsed {
        Ok(key) => (key.to_string(), None),
        Err(problem) => (String::new(), Some(problem)),
    };
    Key {
        name: file.strip_suffix(".pub").unwrap_or(file).to_owned(),
        key,
        source: path,
        problem,
    }
}

/// The keys that are trusted.
pub(super) fn trusted(directory: &str) -> Vec<PublicKey> {
    list(directory)
        .iter()
        .filter(|key| key.problem.is_none())
        .filter_map(|key| PublicKey::parse(&key.key).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_listed_with_what_is_wrong_with_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        let good = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        fs::write(dir.path().join("b.pub"), format!("{good}\n")).unwrap();
        fs::write(dir.path().join("a.pub"), "none").unwrap();
        fs::write(dir.path().join("readme"), "").unwrap();
        let keys = list(path);
        let names: Vec<&str> = keys.iter().map(|key| key.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert!(keys[0].problem.is_some() && keys[1].problem.is_none());
        assert_eq!(trusted(path).len(), 1);
        assert_eq!(list("/none/such"), []);
    }
}
