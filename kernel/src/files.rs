//! Small files: bounded reads, one-write files of the kernel, atomic replacement, copies. Not here:
//! what is in them.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    Access, AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, RawMode, ResolveFlags, accessat,
    flock, fstat, fsync, mkdir, open, openat2, rename, statat, symlink, unlink,
};
use rustix::io::retry_on_intr;

use crate::error::{At, Errno, Result};

/// Reads all of `path`, of which there must be no more than `limit` bytes. Never waits: a FIFO
/// without a writer is empty.
///
/// # Errors
/// EFBIG past the limit; open(2), read(2).
pub fn read(path: &str, limit: usize) -> Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = retry_on_intr(|| open(path, flags, Mode::empty())).at("open", path)?;
    read_fd(&fd, limit).at("read", path)
}

/// Reads `path` as text, as [`read_text`] does, where its last component is no symbolic link.
///
/// # Errors
/// As [`read`]; ELOOP for a symbolic link.
pub fn read_text_here(path: &str, limit: usize) -> Result<String> {
    let flags =
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
    let fd = retry_on_intr(|| open(path, flags, Mode::empty())).at("open", path)?;
    let bytes = read_fd(&fd, limit).at("read", path)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads `path` as text; what is not UTF-8 is replaced.
///
/// # Errors
/// As [`read`].
pub fn read_text(path: &str, limit: usize) -> Result<String> {
    let bytes = read(path, limit)?;
    Ok(match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    })
}

/// The first bytes of `path`, at most `most`.
///
/// # Errors
/// open(2), read(2).
pub fn read_head(path: &str, most: usize) -> Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = retry_on_intr(|| open(path, flags, Mode::empty())).at("open", path)?;
    let mut head = vec![0; most];
    let count = retry_on_intr(|| rustix::io::read(&fd, &mut head)).at("read", path)?;
    head.truncate(count);
    Ok(head)
}

/// The first bytes, at most `most`, of the program that is `path` for whoever has `root` as the root:
/// links are followed in there.
///
/// # Errors
/// open(2), ENOSYS before Linux 5.6; EACCES when it is no file or nobody may execute it; read(2).
pub fn program_head(root: &str, path: &str, most: usize) -> Result<Vec<u8>> {
    let top = open_dir(root)?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = retry_on_intr(|| openat2(&top, path, flags, Mode::empty(), ResolveFlags::IN_ROOT))
        .at("open", path)?;
    let stat = fstat(&fd).at("stat", path)?;
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    if !is_file || stat.st_mode & 0o111 == 0 {
        return Err(Errno::ACCESS).at("execute", path);
    }
    let mut head = vec![0; most];
    let count = retry_on_intr(|| rustix::io::read(&fd, &mut head)).at("read", path)?;
    head.truncate(count);
    Ok(head)
}

/// Whether `path` is a file that this process may execute.
///
/// # Errors
/// ENOENT, EACCES when it is no file or may not be executed.
pub fn executable(path: &str) -> Result<()> {
    let stat = statat(CWD, path, AtFlags::empty()).at("stat", path)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Errno::ACCESS).at("execute", path);
    }
    accessat(CWD, path, Access::EXEC_OK, AtFlags::empty()).at("execute", path)
}

/// Reads from the current position to the end, at most `limit` bytes.
pub(crate) fn read_fd(fd: impl AsFd, limit: usize) -> rustix::io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match retry_on_intr(|| rustix::io::read(&fd, &mut chunk))? {
            0 => return Ok(content),
            count => content.extend_from_slice(chunk.get(..count).unwrap_or_default()),
        }
        if content.len() > limit {
            return Err(Errno::FBIG);
        }
    }
}

/// Writes `text` to an existing file in one write(2), as files of /proc, /sys and cgroups ask for.
///
/// # Errors
/// open(2) and write(2): what the kernel thinks of the value. EIO for a partial write.
pub fn write_value(path: &str, text: &str) -> Result<()> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
    let fd = open(path, flags, Mode::empty()).at("open", path)?;
    write_once(&fd, text.as_bytes()).at("write", format_args!("{} to {path}", text.trim_end()))
}

pub(crate) fn write_once(fd: impl AsFd, bytes: &[u8]) -> rustix::io::Result<()> {
    let count = retry_on_intr(|| rustix::io::write(&fd, bytes))?;
    if count == bytes.len() {
        Ok(())
    } else {
        Err(Errno::IO)
    }
}

/// Writes all of `bytes`, in as many writes as it takes; `fd` is blocking.
pub(crate) fn write_all(fd: impl AsFd, bytes: &[u8]) -> rustix::io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let count = retry_on_intr(|| rustix::io::write(&fd, rest))?;
        rest = rest.get(count..).unwrap_or_default();
    }
    Ok(())
}

/// Replaces `path` by a file with this content, or leaves it alone: temporary file beside it,
/// fsync, rename, fsync of the directory. It waits for the disk, so on PID 1's loop it is for
/// files on a tmpfs only.
///
/// # Errors
/// open(2), write(2): ENOSPC, fsync(2): EIO, rename(2). The temporary file is removed.
pub fn replace(path: &str, content: &[u8], mode: u32) -> Result<()> {
    let temporary = format!("{path}.new");
    let flags =
        OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let result = (|| {
        let fd = open(&*temporary, flags, permissions(mode)).at("open", &temporary)?;
        write_all(&fd, content).at("write", &temporary)?;
        // The mask may have taken bits away.
        rustix::fs::fchmod(&fd, permissions(mode)).at("chmod", &temporary)?;
        fsync(&fd).at("fsync", &temporary)?;
        rename(&*temporary, path).at("rename", path)
    })();
    if result.is_err() {
        // The first error is the one to tell.
        let _ = unlink(&*temporary);
    }
    result?;
    let parent = match path.rsplit_once('/') {
        Some(("", _)) => "/",
        Some((parent, _)) => parent,
        None => ".",
    };
    let dir = open_dir(parent)?;
    fsync(&dir).at("fsync", parent)
}

/// Copies the file `from` to a new file `to` with the permissions `mode`.
///
/// # Errors
/// open(2): EEXIST when `to` exists; read(2), write(2).
pub fn copy(from: &str, to: &str, mode: u32) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let source = open(from, flags, Mode::empty()).at("open", from)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let target = open(to, flags, permissions(mode)).at("open", to)?;
    let mut chunk = vec![0; 64 * 1024];
    loop {
        match retry_on_intr(|| rustix::io::read(&source, &mut *chunk)).at("read", from)? {
            0 => break,
            count => {
                let piece = chunk.get(..count).unwrap_or_default();
                write_all(&target, piece).at("write", to)?;
            }
        }
    }
    rustix::fs::fchmod(&target, permissions(mode)).at("chmod", to)
}

/// Makes the directory `path` and what is missing above it, `mode` for each that is made. One that
/// exists is left as it is.
///
/// # Errors
/// mkdir(2): ENOTDIR, EROFS, ENOSPC. EEXIST when `path` is something other than a directory.
pub fn make_dirs(path: &str, mode: u32) -> Result<()> {
    let ends = path
        .char_indices()
        .filter(|(at, c)| *c == '/' && *at > 0)
        .map(|(at, _)| at)
        .chain([path.len()]);
    for end in ends {
        let prefix = path.get(..end).unwrap_or(path);
        match mkdir(prefix, permissions(mode)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno).at("mkdir", prefix),
        }
    }
    if is_dir(path) {
        Ok(())
    } else {
        Err(Errno::EXIST).at("mkdir", path)
    }
}

/// Removes the directory `path` and everything below it, on its filesystem only, never through a
/// symbolic link. One that is not there is no error.
///
/// # Errors
/// The first failure of open(2), unlink(2) or rmdir(2); the rest is removed all the same.
pub fn remove_tree(path: &str) -> Result<()> {
    remove_tree_and(path, &mut || {})
}

/// The same, for a tree that may be large: `each` is called for each thing that is removed.
///
/// # Errors
/// As [`remove_tree`].
pub fn remove_tree_and(path: &str, each: &mut dyn FnMut()) -> Result<()> {
    let dir = match open_dir(path) {
        Ok(dir) => dir,
        Err(error) if error.errno == Errno::NOENT => return Ok(()),
        Err(error) => return Err(error),
    };
    let content = crate::tree::remove_content(&dir, path, each);
    drop(dir);
    content?;
    rustix::fs::rmdir(path).at("rmdir", path)
}

/// Waits until the medium holds all that was written to the filesystem of the directory `path`
/// (syncfs(2)).
///
/// # Errors
/// EIO: some of it is lost.
pub fn sync_filesystem(path: &str) -> Result<()> {
    let dir = open_dir(path)?;
    rustix::fs::syncfs(dir).at("syncfs", path)
}

/// Waits for the lock of an open file or directory (flock(2)), which others may have until they close
/// theirs. It is not for PID 1.
///
/// # Errors
/// flock(2): ENOLCK.
pub fn wait_for_lock(file: impl AsFd) -> Result<()> {
    let locked = retry_on_intr(|| flock(&file, FlockOperation::LockExclusive));
    locked.at("flock", "(an open file)")
}

/// Makes the symbolic link `path` that points to `target`; whatever had that name is replaced.
///
/// # Errors
/// unlink(2), symlink(2).
pub fn link_to(target: &str, path: &str) -> Result<()> {
    match unlink(path) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno).at("unlink", path),
    }
    symlink(target, path).at("symlink", path)
}

/// Whether `path` is there, links followed.
#[must_use]
pub fn exists(path: &str) -> bool {
    statat(CWD, path, AtFlags::empty()).is_ok()
}

/// Whether `path` is a directory, links followed.
#[must_use]
pub fn is_dir(path: &str) -> bool {
    statat(CWD, path, AtFlags::empty())
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// Changes the permissions of `path`.
///
/// # Errors
/// chmod(2).
pub fn set_mode(path: &str, mode: u32) -> Result<()> {
    rustix::fs::chmod(path, permissions(mode)).at("chmod", path)
}

pub(crate) fn open_dir(path: &str) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    open(path, flags, Mode::empty()).at("open", path)
}

pub(crate) fn permissions(mode: u32) -> Mode {
    Mode::from_raw_mode(mode as RawMode & 0o7777)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn reads_no_more_than_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f").to_str().unwrap().to_owned();
        assert_eq!(read(&path, 9).unwrap_err().errno, Errno::NOENT);
        replace(&path, b"123456789", 0o640).unwrap();
        assert_eq!(read(&path, 9).unwrap(), b"123456789");
        assert_eq!(read(&path, 8).unwrap_err().errno, Errno::FBIG);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o640);
        replace(&path, b"\xff!", 0o600).unwrap();
        assert_eq!(read_text(&path, 9).unwrap(), "\u{fffd}!");
        assert!(!exists(&format!("{path}.new")));
        let copied = format!("{path}.copy");
        copy(&path, &copied, 0o755).unwrap();
        assert_eq!(read(&copied, 9).unwrap(), b"\xff!");
        assert_eq!(copy(&path, &copied, 0o755).unwrap_err().errno, Errno::EXIST);
        let missing = format!("{path}/x");
        assert_eq!(
            replace(&missing, b"", 0o600).unwrap_err().errno,
            Errno::NOTDIR
        );
    }

    #[test]
    fn a_fifo_does_not_make_a_reader_wait() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo").to_str().unwrap().to_owned();
        rustix::fs::mknodat(CWD, &*path, FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert_eq!(read(&path, 10).unwrap(), b"");
    }

    #[test]
    fn directories_are_made_and_removed_whole() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("a").to_str().unwrap().to_owned();
        let deep = format!("{top}/b/c");
        make_dirs(&deep, 0o755).unwrap();
        make_dirs(&deep, 0o755).unwrap();
        replace(&format!("{deep}/file"), b"x", 0o600).unwrap();
        link_to("/etc", &format!("{top}/link")).unwrap();
        link_to("/usr", &format!("{top}/link")).unwrap();
        let at_file = format!("{deep}/file/x");
        assert_eq!(make_dirs(&at_file, 0o755).unwrap_err().errno, Errno::NOTDIR);
        remove_tree(&top).unwrap();
        remove_tree(&top).unwrap();
        assert!(!exists(&top) && exists("/usr"));
    }
}
