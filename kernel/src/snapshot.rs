//! A copy of a directory with all that its files have: owners, modes, times, extended attributes, and
//! the devices by which an overlay says that something is gone. Blocks are shared where the filesystem
//! can (FICLONE); files are not, by hard links, as one that is written in place would then change in the
//! original too. Not here: which directory, and when its copy counts.
//!
//! Sources: ioctl_ficlone(2), xattr(7), the kernel's Documentation/filesystems/overlayfs.rst.

use std::ffi::CStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, RawMode, Stat, Timespec, Timestamps, Uid,
    XattrFlags, chownat, fchmod, fgetxattr, flistxattr, fsetxattr, fstat, futimens, ioctl_ficlone,
    mkdirat, mknodat, openat, readlinkat, statat, symlinkat, utimensat,
};

use crate::error::{At, Errno, Error, Result};

/// How deep a tree may be.
const DEPTH: u32 = 128;
/// Bytes that are copied at once.
const PIECE: usize = 128 * 1024;
/// Largest list of names, and largest value, of extended attributes (linux/limits.h).
const XATTR_MAX: usize = 64 * 1024;

/// How much may be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of files, whether or not their blocks are shared.
    pub bytes: u64,
    /// Files, directories and all else.
    pub entries: u64,
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Bytes of files.
    pub bytes: u64,
    /// Files, directories and all else.
    pub entries: u64,
}

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// How much.
    pub extent: Extent,
    /// Bytes of it that share their blocks with the original.
    pub shared: u64,
}

impl Extent {
    fn add(&mut self, bytes: u64, limits: Limits, path: &str) -> Result<()> {
        self.bytes = self.bytes.saturating_add(bytes);
        self.entries = self.entries.saturating_add(1);
        if self.bytes > limits.bytes || self.entries > limits.entries {
            return Err(Error::new("copy", path, Errno::FBIG));
        }
        Ok(())
    }
}

/// Copies the directory `from` to `to`, which is made. Other filesystems mounted below are not entered.
///
/// # Errors
/// EEXIST when `to` is there, EFBIG beyond `limits`, ENOSPC, EIO; what was copied stays.
pub fn copy(from: &str, to: &str, limits: Limits) -> Result<Copied> {
    let source = open_dir(CWD, from).at("open", from)?;
    let device = fstat(&source).at("fstat", from)?.st_dev;
    mkdirat(CWD, to, Mode::RWXU).at("mkdir", to)?;
    let target = open_dir(CWD, to).at("open", to)?;
    let mut walk = Walk {
        limits,
        device,
        done: Copied::default(),
    };
    walk.directory(source.as_fd(), target.as_fd(), from, DEPTH)?;
    Ok(walk.done)
}

/// How much is below the directory `path`, without what is mounted there.
///
/// # Errors
/// ENOENT; EFBIG beyond `limits`.
pub fn measure(path: &str, limits: Limits) -> Result<Extent> {
    let source = open_dir(CWD, path).at("open", path)?;
    let device = fstat(&source).at("fstat", path)?.st_dev;
    let mut extent = Extent::default();
    measure_below(source.as_fd(), path, (device, limits), DEPTH, &mut extent)?;
    Ok(extent)
}

fn measure_below(
    dir: BorrowedFd<'_>,
    path: &str,
    (device, limits): (u64, Limits),
    depth: u32,
    extent: &mut Extent,
) -> Result<()> {
    for entry in Dir::read_from(dir).at("open", path)? {
        let entry = entry.at("getdents", path)?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let below = format!("{path}/{}", name.to_string_lossy());
        let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).at("stat", &below)?;
        extent.add(size_of_file(&stat), limits, &below)?;
        let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if is_dir && stat.st_dev == device && depth > 0 {
            let inner = open_dir(dir, name).at("open", &below)?;
            measure_below(inner.as_fd(), &below, (device, limits), depth - 1, extent)?;
        }
    }
    Ok(())
}

struct Walk {
    limits: Limits,
    device: u64,
    done: Copied,
}

impl Walk {
    fn directory(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        path: &str,
        depth: u32,
    ) -> Result<()> {
        if depth == 0 {
            return Err(Error::new("copy", path, Errno::NAMETOOLONG));
        }
        for entry in Dir::read_from(from).at("open", path)? {
            let entry = entry.at("getdents", path)?;
            let name = entry.file_name();
            if name != c"." && name != c".." {
                let below = format!("{path}/{}", name.to_string_lossy());
                self.entry(from, to, name, &below, depth)?;
            }
        }
        let stat = fstat(from).at("fstat", path)?;
        finish(from, to, &stat, path)
    }

    fn entry(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
        path: &str,
        depth: u32,
    ) -> Result<()> {
        let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW).at("stat", path)?;
        self.done
            .extent
            .add(size_of_file(&stat), self.limits, path)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory if stat.st_dev != self.device => Ok(()),
            FileType::Directory => {
                let inner = open_dir(from, name).at("open", path)?;
                mkdirat(to, name, Mode::RWXU).at("mkdir", path)?;
                let made = open_dir(to, name).at("open", path)?;
                self.directory(inner.as_fd(), made.as_fd(), path, depth.saturating_sub(1))
            }
            FileType::RegularFile => {
                if file(from, to, name, &stat, path)? {
                    self.done.shared += size_of_file(&stat);
                }
                Ok(())
            }
            FileType::Symlink => {
                let target = readlinkat(from, name, Vec::new()).at("readlink", path)?;
                symlinkat(&*target, to, name).at("symlink", path)?;
                owner_and_times(to, name, &stat, path)
            }
            // A socket without its process is of no use.
            FileType::Socket | FileType::Unknown => Ok(()),
            FileType::Fifo | FileType::CharacterDevice | FileType::BlockDevice => {
                let kind = FileType::from_raw_mode(stat.st_mode);
                mknodat(to, name, kind, mode_of(&stat), stat.st_rdev).at("mknod", path)?;
                owner_and_times(to, name, &stat, path)
            }
        }
    }
}

/// Whether it shares its blocks.
fn file(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    name: &CStr,
    stat: &Stat,
    path: &str,
) -> Result<bool> {
    let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let source = openat(from, name, read, Mode::empty()).at("open", path)?;
    let make = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let target = openat(to, name, make, Mode::RUSR | Mode::WUSR).at("create", path)?;
    let is_shared = ioctl_ficlone(&target, &source).is_ok();
    if !is_shared {
        content(&source, &target, path)?;
    }
    finish(source.as_fd(), target.as_fd(), stat, path)?;
    Ok(is_shared)
}

fn content(source: &OwnedFd, target: &OwnedFd, path: &str) -> Result<()> {
    let text = |operation| {
        move |error: std::io::Error| {
            let errno = error
                .raw_os_error()
                .map_or(Errno::IO, Errno::from_raw_os_error);
            Error::new(operation, path, errno)
        }
    };
    let mut source = File::from(source.try_clone().map_err(text("dup"))?);
    let mut target = File::from(target.try_clone().map_err(text("dup"))?);
    let mut piece = vec![0; PIECE];
    loop {
        match source.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(count) => target
                .write_all(piece.get(..count).unwrap_or_default())
                .map_err(text("write"))?,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(text("read")(error)),
        }
    }
}

/// Owner, mode, attributes and times of a file or directory; the owner first, since a change of it
/// takes bits of the mode away.
fn finish(from: BorrowedFd<'_>, to: BorrowedFd<'_>, stat: &Stat, path: &str) -> Result<()> {
    let (uid, gid) = owner_of(stat);
    rustix::fs::fchown(to, Some(uid), Some(gid)).at("chown", path)?;
    fchmod(to, mode_of(stat)).at("chmod", path)?;
    attributes(from, to, path)?;
    futimens(to, &times_of(stat)).at("utimens", path)
}

fn attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>, path: &str) -> Result<()> {
    let mut names = vec![0; XATTR_MAX];
    let length = match flistxattr(from, &mut names) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(errno) => return Err(Error::new("flistxattr", path, errno)),
    };
    let mut value = vec![0; XATTR_MAX];
    for name in names
        .get(..length)
        .unwrap_or_default()
        .split(|byte| *byte == 0)
    {
        if name.is_empty() {
            continue;
        }
        let length = fgetxattr(from, name, &mut value).at("fgetxattr", path)?;
        let value = value.get(..length).unwrap_or_default();
        fsetxattr(to, name, value, XattrFlags::empty()).at("fsetxattr", path)?;
    }
    Ok(())
}

fn owner_and_times(to: BorrowedFd<'_>, name: &CStr, stat: &Stat, path: &str) -> Result<()> {
    let (uid, gid) = owner_of(stat);
    let here = AtFlags::SYMLINK_NOFOLLOW;
    chownat(to, name, Some(uid), Some(gid), here).at("chown", path)?;
    utimensat(to, name, &times_of(stat), here).at("utimens", path)
}

fn owner_of(stat: &Stat) -> (Uid, Gid) {
    (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid))
}

fn mode_of(stat: &Stat) -> Mode {
    Mode::from_raw_mode(stat.st_mode as RawMode & 0o7777)
}

fn times_of(stat: &Stat) -> Timestamps {
    let time = |seconds, nanos: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanos).unwrap_or(0),
    };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

fn size_of_file(stat: &Stat) -> u64 {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => u64::try_from(stat.st_size).unwrap_or(0),
        FileType::Directory
        | FileType::Symlink
        | FileType::Fifo
        | FileType::Socket
        | FileType::CharacterDevice
        | FileType::BlockDevice
        | FileType::Unknown => 0,
    }
}

fn open_dir(at: impl AsFd, path: impl rustix::path::Arg) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(at, path, flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    const MANY: Limits = Limits {
        bytes: 1 << 20,
        entries: 100,
    };

    #[test]
    fn a_copy_has_all_that_its_original_has_and_lives_on_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("from");
        fs::create_dir_all(from.join("a/b")).unwrap();
        fs::write(from.join("a/file"), "text").unwrap();
        fs::set_permissions(from.join("a/file"), fs::Permissions::from_mode(0o4640)).unwrap();
        fs::set_permissions(from.join("a"), fs::Permissions::from_mode(0o1750)).unwrap();
        symlink("/nowhere", from.join("link")).unwrap();
        // As an overlay says that a file of the lower layer is gone; only root may make it.
        let whiteout = mknodat(
            CWD,
            from.join("gone"),
            FileType::CharacterDevice,
            Mode::empty(),
            0,
        );
        let (name, to) = (from.to_str().unwrap(), dir.path().join("to"));
        let copied = copy(name, to.to_str().unwrap(), MANY).unwrap();
        assert_eq!(measure(name, MANY).unwrap(), copied.extent);
        assert_eq!(copied.extent.bytes, 4);
        assert!(copied.shared <= 4);
        for path in ["a", "a/b", "a/file", "link"] {
            let [one, two] = [&from, &to].map(|it| fs::symlink_metadata(it.join(path)).unwrap());
            assert_eq!(
                (one.mode(), one.uid(), one.mtime(), one.mtime_nsec()),
                (two.mode(), two.uid(), two.mtime(), two.mtime_nsec()),
                "{path}"
            );
        }
        if whiteout.is_ok() {
            assert_eq!(fs::symlink_metadata(to.join("gone")).unwrap().rdev(), 0);
        }
        fs::write(to.join("a/file"), "other").unwrap();
        assert_eq!(fs::read_to_string(from.join("a/file")).unwrap(), "text");
        assert_eq!(
            fs::read_link(to.join("link")).unwrap().to_str(),
            Some("/nowhere")
        );
        let again = copy(name, to.to_str().unwrap(), MANY).unwrap_err();
        assert_eq!(again.errno, Errno::EXIST);
    }

    #[test]
    fn what_is_too_much_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("from");
        fs::create_dir(&from).unwrap();
        fs::write(from.join("file"), vec![0; 100]).unwrap();
        let name = from.to_str().unwrap();
        let check = |bytes, entries, expect: bool| {
            let limits = Limits { bytes, entries };
            let to = dir.path().join(format!("{bytes}-{entries}"));
            let copied = copy(name, to.to_str().unwrap(), limits);
            assert_eq!(copied.is_ok(), expect);
            assert_eq!(measure(name, limits).is_ok(), expect);
        };
        check(100, 1, true);
        check(99, 1, false);
        check(100, 0, false);
    }
}
