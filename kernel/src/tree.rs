//! Removing everything below a directory. Not here: deciding that it should go.

use std::ffi::CStr;
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
pub(crate) fn remove_content(dir: impl AsFd, path: &str, each: &mut dyn FnMut()) -> Result<()> {
    let device = fstat(&dir).at("fstat", path)?.st_dev;
    let mut removal = Removal {
        device,
        first: None,
        each,
    };
    removal.below(dir.as_fd(), path, DEPTH);
    removal.first.map_or(Ok(()), Err)
}

struct Removal<'a> {
    /// The filesystem that is not left.
    device: u64,
    /// The first failure.
    first: Option<Error>,
    each: &'a mut dyn FnMut(),
}

impl Removal<'_> {
    fn below(&mut self, dir: BorrowedFd<'_>, path: &str, depth: u32) {
        let entries = match Dir::read_from(dir).at("open", path) {
            Ok(entries) => entries,
            Err(error) => return self.note(Err(error)),
        };
        for entry in entries {
            let entry = match entry.at("getdents", path) {
                Ok(entry) => entry,
                Err(error) => return self.note(Err(error)),
            };
            let name = entry.file_name();
            if name != c"." && name != c".." {
                (self.each)();
                self.entry(dir, path, name, depth);
            }
        }
    }

    fn entry(&mut self, dir: BorrowedFd<'_>, path: &str, name: &CStr, depth: u32) {
        let object = || format!("{path}/{}", name.to_string_lossy());
        let stat = match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(errno) => return self.note(Err(Error::new("stat", object(), errno))),
        };
        if stat.st_dev != self.device {
            return;
        }
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            let gone = unlinkat(dir, name, AtFlags::empty());
            return self.note(gone.map_err(|e| Error::new("unlink", object(), e)));
        }
        match enter(dir, name, depth) {
            Ok(child) => self.below(child.as_fd(), &object(), depth.saturating_sub(1)),
            Err(errno) => self.note(Err(Error::new("open", object(), errno))),
        }
        let gone = unlinkat(dir, name, AtFlags::REMOVEDIR);
        self.note(gone.map_err(|e| Error::new("rmdir", object(), e)));
    }

    fn note(&mut self, result: Result<()>) {
        if let (None, Err(error)) = (&self.first, result) {
            self.first = Some(error);
        }
    }
}

fn enter(dir: BorrowedFd<'_>, name: &core::ffi::CStr, depth: u32) -> rustix::io::Result<OwnedFd> {
    if depth == 0 {
        return Err(rustix::io::Errno::NAMETOOLONG);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::empty())
}
