//! The order in which directories of the data filesystem come and go, so that power may fail between any
//! two steps: one that begins as a copy is there whole or not at all, one that goes is gone by its name
//! before any of its content, and a reset that has begun ends. Not here: which state generation is meant
//! ([`crate::slot::generation`]), and the filesystem itself ([`Data`]).
//!
//! What a filesystem has been told may reach the medium in any order until it is told to write all out.

/// Behind the name of a directory that is not whole yet.
const FRESH: &str = ".shark-new";
/// Behind the name of a directory that is being removed.
const GONE: &str = ".shark-gone";
/// What the filesystem itself needs.
const LOST_AND_FOUND: &str = "lost+found";

/// The filesystem. Errors are for people: operation, object, cause.
pub trait Data {
    /// Whether there is a directory of this name.
    fn is_dir(&mut self, path: &str) -> bool;

    /// The names in a directory.
    ///
    /// # Errors
    /// It cannot be read.
    fn entries(&mut self, dir: &str) -> Result<Vec<String>, String>;

    /// Removes a file, or a directory with all that is in it.
    ///
    /// # Errors
    /// It is not there, or some of it cannot be removed.
    fn remove(&mut self, path: &str) -> Result<(), String>;

    /// Gives a directory another name on the same filesystem.
    ///
    /// # Errors
    /// It is not there, or the name is taken.
    fn rename(&mut self, from: &str, to: &str) -> Result<(), String>;

    /// When this returns, the medium has all that was done to the filesystem of the directory `path`.
    ///
    /// # Errors
    /// Some of it is lost.
    fn sync(&mut self, path: &str) -> Result<(), String>;
}

/// Has the directory `path` whole: `make` makes it, under another name, unless it is there. What `make`
/// returns comes back.
///
/// # Errors
/// Those of `make` and of the filesystem; then there is no `path`.
pub fn begin<D: Data, T>(
    data: &mut D,
    path: &str,
    make: impl FnOnce(&mut D, &str) -> Result<T, String>,
) -> Result<Option<T>, String> {
    if data.is_dir(path) {
        return Ok(None);
    }
    let fresh = format!("{path}{FRESH}");
    if data.is_dir(&fresh) {
        data.remove(&fresh)?;
    }
    let made = make(data, &fresh)?;
    data.sync(&fresh)?;
    data.rename(&fresh, path)?;
    data.sync(path)?;
    Ok(Some(made))
}

/// Removes the directory `path`.
///
/// # Errors
/// Those of the filesystem. What is left of it has another name.
pub fn discard(data: &mut impl Data, path: &str) -> Result<(), String> {
    let gone = format!("{path}{GONE}");
    if data.is_dir(&gone) {
        data.remove(&gone)?;
    }
    data.rename(path, &gone)?;
    data.sync(&gone)?;
    data.remove(&gone)
}

/// Whether this is the name of what a cut has left of [`begin`] or [`discard`]: nobody needs it.
#[must_use]
pub fn is_left_over(name: &str) -> bool {
    name.ends_with(FRESH) || name.ends_with(GONE)
}

/// Takes away all that is in `root`, but `mark`, a path below it, and then the mark: while that is there,
/// a reset that was cut is to be done again.
///
/// # Errors
/// Those of the filesystem; the mark is still there.
pub fn reset(data: &mut impl Data, root: &str, mark: &str) -> Result<(), String> {
    let mut dir = root.to_owned();
    // Along the way to the mark, everything beside it.
    for keep in mark.split('/').filter(|part| !part.is_empty()) {
        for name in data.entries(&dir)? {
            let needed = dir == root && name == LOST_AND_FOUND;
            if name != keep && !needed {
                data.remove(&format!("{dir}/{name}"))?;
            }
        }
        dir = format!("{dir}/{keep}");
    }
    data.sync(root)?;
    data.remove(&dir)?;
    data.sync(root)
}
