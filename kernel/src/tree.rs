//! Removing everything below a directory. Not here: deciding that it should go.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, fstat, openat, statat, unlinkat};

use crate::error::{At, Error, Result};

/// How deep a tree may be; deeper ones are refused instead of exhausting the stack.
const DEPTH: u32 = 128;

/// Removes what is below `dir`, which is `path` for messages. Other filesystems mounted below are
/// not entered, symbolic links not followed.
///
/// # Errors
/// The first failure; the rest is removed all the same.
pub(crate) fn remove_content(dir: impl AsFd, path: &str) -> Result<()> {
    let device = fstat(&dir).at("fstat", path)?.st_dev;
    let mut first = None;
    remove_below(dir.as_fd(), path, device, DEPTH, &mut first);
    first.map_or(Ok(()), Err)
}

fn remove_below(
    dir: BorrowedFd<'_>,
    path: &str,
    device: u64,
    depth: u32,
    first: &mut Option<Error>,
) {
    let entries = match Dir::read_from(dir).at("open", path) {
        Ok(entries) => entries,
        Err(error) => return note(first, Err(error)),
    };
    for entry in entries {
        let entry = match entry.at("getdents", path) {
            Ok(entry) => entry,
            Err(error) => return note(first, Err(error)),
        };
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let object = || format!("{path}/{}", name.to_string_lossy());
        let stat = match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(errno) => {
                note(first, Err(Error::new("stat", object(), errno)));
                continue;
            }
        };
        if stat.st_dev != device {
            continue;
        }
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            let gone = unlinkat(dir, name, AtFlags::empty());
            note(first, gone.map_err(|e| Error::new("unlink", object(), e)));
            continue;
        }
        match enter(dir, name, depth) {
            Ok(child) => {
                let below = depth.saturating_sub(1);
                remove_below(child.as_fd(), &object(), device, below, first);
            }
            Err(errno) => note(first, Err(Error::new("open", object(), errno))),
        }
        let gone = unlinkat(dir, name, AtFlags::REMOVEDIR);
        note(first, gone.map_err(|e| Error::new("rmdir", object(), e)));
    }
}

fn enter(dir: BorrowedFd<'_>, name: &core::ffi::CStr, depth: u32) -> rustix::io::Result<OwnedFd> {
    if depth == 0 {
        return Err(rustix::io::Errno::NAMETOOLONG);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::empty())
}

fn note(first: &mut Option<Error>, result: Result<()>) {
    if let (None, Err(error)) = (&first, result) {
        *first = Some(error);
    }
}
