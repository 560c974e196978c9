//! Content keys: a hash over everything a result depends on, so that it is made once, and the same
//! inputs lead to the same place. Not here: what the results are.

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::{command, paths};

/// The hash of some inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key(pub(crate) [u8; 32]);

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Key {
    /// Enough digits to tell results apart in a directory.
    pub(crate) fn short(&self) -> String {
        let mut digits = self.to_string();
        digits.truncate(12);
        digits
    }

    /// The first 128 bits, for UUIDs that follow from content.
    pub(crate) fn first_half(&self) -> [u8; 16] {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ..] = self.0;
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    }
}

/// Collects inputs. Each is written with its length, so that no two lists of inputs look the same.
pub(crate) struct Hasher(Sha256);

impl Hasher {
    /// `purpose` keeps the keys of different results apart.
    pub(crate) fn new(purpose: &str) -> Self {
        let mut hasher = Self(Sha256::new());
        hasher.bytes(purpose.as_bytes());
        hasher
    }

    /// Adds bytes.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    /// Adds a text.
    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    /// Adds a list of texts.
    pub(crate) fn texts<T: AsRef<str>>(&mut self, texts: &[T]) -> &mut Self {
        self.bytes(&(texts.len() as u64).to_le_bytes());
        for text in texts {
            self.text(text.as_ref());
        }
        self
    }

    /// Adds the content of a file.
    pub(crate) fn file(&mut self, path: &Path) -> Result<&mut Self> {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(self.bytes(&bytes))
    }

    /// Adds a directory with everything below it: names, kinds, executability, contents.
    pub(crate) fn tree(&mut self, dir: &Path) -> Result<&mut Self> {
        for path in sorted_entries(dir)? {
            let meta = fs::symlink_metadata(&path)
                .with_context(|| format!("cannot look at {}", path.display()))?;
            self.text(&path.file_name().unwrap_or_default().to_string_lossy());
            if meta.is_dir() {
                self.text("directory").tree(&path)?;
                self.text("end");
            } else if meta.is_symlink() {
                let target = fs::read_link(&path)
                    .with_context(|| format!("cannot read the link {}", path.display()))?;
                self.text("link").text(&target.to_string_lossy());
            } else {
                self.text(if meta.permissions().mode() & 0o111 == 0 {
                    "file"
                } else {
                    "program"
                })
                .file(&path)?;
            }
        }
        Ok(self)
    }

    /// The key of what was added so far.
    pub(crate) fn finish(self) -> Key {
        Key(self.0.finalize().into())
    }
}

/// What is in a directory, sorted by name.
pub(crate) fn sorted_entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = fs::read_dir(dir)
        .and_then(|entries| {
            entries
                .map(|entry| entry.map(|entry| entry.path()))
                .collect::<Result<Vec<_>, _>>()
        })
        .with_context(|| format!("cannot list {}", dir.display()))?;
    paths.sort();
    Ok(paths)
}

/// The directory `target`, made by `make` when it is not there. It appears whole or not at all: what
/// an interrupted run left behind lies beside it and is removed.
pub(crate) fn directory(
    target: PathBuf,
    what: &str,
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    if target.is_dir() {
        // Says when it was last of use: see `prune`.
        let _ =
            fs::File::open(&target).and_then(|dir| dir.set_modified(std::time::SystemTime::now()));
        return Ok(target);
    }
    command::step(what);
    let mut fresh = target.clone().into_os_string();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    remove(&fresh)?;
    paths::make_dir(&fresh)?;
    make(&fresh)?;
    fs::rename(&fresh, &target)
        .with_context(|| format!("cannot rename {} to {}", fresh.display(), target.display()))?;
    Ok(target)
}

/// Removes a directory with everything in it; its absence is fine.
pub(crate) fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}

/// Keeps the `keep` youngest directories of `dir` whose names start with `prefix`.
pub(crate) fn prune(dir: &Path, prefix: &str, keep: usize) -> Result<()> {
    let mut found = Vec::new();
    for path in sorted_entries(dir)? {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.starts_with(prefix) && path.is_dir() {
            let modified = fs::metadata(&path).and_then(|meta| meta.modified());
            found.push((modified.ok(), path));
        }
    }
    found.sort();
    found.reverse();
    for (_, path) in found.into_iter().skip(keep) {
        remove(&path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_that_join_to_the_same_text_have_different_keys() {
        let key = |texts: &[&str]| {
            let mut hasher = Hasher::new("test");
            hasher.texts(texts);
            hasher.finish()
        };
        assert_eq!(key(&["a", "b"]), key(&["a", "b"]));
        assert_ne!(key(&["a", "b"]), key(&["ab"]));
        assert_ne!(key(&["a", "b"]), key(&["b", "a"]));
    }

    #[test]
    fn a_tree_shows_names_contents_and_executability() {
        let dir = tempfile::tempdir().unwrap();
        let key = || {
            let mut hasher = Hasher::new("test");
            hasher.tree(dir.path()).unwrap();
            hasher.finish()
        };
        let file = dir.path().join("f");
        fs::write(&file, "1").unwrap();
        let one = key();
        assert_eq!(one, key());
        fs::write(&file, "2").unwrap();
        let two = key();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        let three = key();
        fs::rename(&file, dir.path().join("g")).unwrap();
        let four = key();
        assert!(one != two && two != three && three != four);
    }

    #[test]
    fn a_failed_directory_does_not_appear_and_a_made_one_is_not_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("x");
        assert!(directory(target.clone(), "test", |_| anyhow::bail!("no")).is_err());
        assert!(!target.exists());
        directory(target.clone(), "test", |fresh| {
            Ok(fs::write(fresh.join("f"), "")?)
        })
        .unwrap();
        directory(target.clone(), "test", |_| anyhow::bail!("made twice")).unwrap();
        assert!(target.join("f").exists());
        prune(dir.path(), "x", 0).unwrap();
        assert!(!target.exists());
    }
}
