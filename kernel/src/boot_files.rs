//! The files of a small filesystem that a boot loader reads (FAT): mounted for a moment where nobody
//! else looks, read past the page cache, written and made durable. Not here: which files
//! (`mounts::loader`).

use std::os::fd::OwnedFd;

use rustix::fs::{
    Advice, Dir, FlockOperation, Mode, OFlags, fadvise, flock, ftruncate, open, unlink,
};
use rustix::io::retry_on_intr;

use crate::error::{At, Errno, Result};
use crate::files;
use crate::mount::{MountFlags, UnmountFlags, mount, unmount};

/// Names of a directory that are looked at; a loader's have a dozen.
const NAMES_MAX: usize = 1024;

/// A directory with such files, mounted or not.
#[derive(Debug)]
pub struct BootFiles {
    root: String,
    mounted: bool,
    lock: Option<OwnedFd>,
}

impl BootFiles {
    /// Mounts the FAT filesystem on `device` at `place`, which is made.
    ///
    /// # Errors
    /// mount(2): ENODEV where the kernel has no FAT, EINVAL for something else than FAT, EBUSY where it
    /// is mounted otherwise.
    pub fn mount(device: &str, place: &str) -> Result<Self> {
        files::make_dirs(place, 0o700)?;
        let flags =
            MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::NOATIME;
        mount(device, place, "vfat", flags, "umask=0077")?;
        Ok(Self {
            root: place.to_owned(),
            mounted: true,
            lock: None,
        })
    }

    /// The files below a directory that is there.
    #[must_use]
    pub fn at(root: &str) -> Self {
        Self {
            root: root.to_owned(),
            mounted: false,
            lock: None,
        }
    }

    fn path(&self, path: &str) -> String {
        format!("{}/{path}", self.root)
    }

    /// Takes the lock of all who change such files, wherever each has mounted them, until the end of
    /// this value. False: another one has it.
    ///
    /// # Errors
    /// open(2), flock(2).
    pub fn try_lock(&mut self) -> Result<bool> {
        let root = files::open_dir(&self.root)?;
        match flock(&root, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                self.lock = Some(root);
                Ok(true)
            }
            Err(Errno::WOULDBLOCK) => Ok(false),
            Err(errno) => Err(errno).at("flock", &self.root),
        }
    }

    /// The names in a directory; none when it is not there.
    ///
    /// # Errors
    /// open(2), getdents(2); EFBIG for more than a loader's directory ever has.
    pub fn list(&self, directory: &str) -> Result<Vec<String>> {
        let path = self.path(directory);
        let fd = match files::open_dir(&path) {
            Ok(fd) => fd,
            Err(error) if error.errno == Errno::NOENT => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in Dir::read_from(&fd).at("read", &path)? {
            let entry = entry.at("read", &path)?;
            match entry.file_name().to_str() {
                Ok("." | "..") => {}
                Ok(_) if names.len() >= NAMES_MAX => return Err(Errno::FBIG).at("read", &path),
                Ok(name) => names.push(name.to_owned()),
                // None of ours.
                Err(_) => {}
            }
        }
        Ok(names)
    }

    /// Reads from a file at `offset`: as much as comes, 0 at its end. What is in the page cache and
    /// durable is read from the disk again.
    ///
    /// # Errors
    /// open(2), pread(2).
    pub fn read(&self, path: &str, offset: u64, into: &mut [u8]) -> Result<usize> {
        let path = self.path(path);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let fd = open(&*path, flags, Mode::empty()).at("open", &path)?;
        // Only a hint: a filesystem that does not take it gives what it has.
        let _ = fadvise(&fd, offset, None, Advice::DontNeed);
        retry_on_intr(|| rustix::io::pread(&fd, &mut *into, offset)).at("read", &path)
    }

    /// Writes to a file at `offset`; at 0 it begins anew, and the directories above it are made.
    ///
    /// # Errors
    /// open(2), pwrite(2): ENOSPC.
    pub fn write(&self, path: &str, offset: u64, bytes: &[u8]) -> Result<()> {
        let path = self.path(path);
        if offset == 0
            && let Some((directory, _)) = path.rsplit_once('/')
        {
            files::make_dirs(directory, 0o700)?;
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = open(&*path, flags, files::permissions(0o600)).at("open", &path)?;
        if offset == 0 {
            ftruncate(&fd, 0).at("truncate", &path)?;
        }
        let mut done = 0_usize;
        while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
            let at = offset.saturating_add(u64::try_from(done).unwrap_or(u64::MAX));
            match retry_on_intr(|| rustix::io::pwrite(&fd, rest, at)).at("write", &path)? {
                0 => return Err(Errno::NOSPC).at("write", &path),
                count => done = done.saturating_add(count),
            }
        }
        Ok(())
    }

    /// Removes a file; one that is not there is no error.
    ///
    /// # Errors
    /// unlink(2).
    pub fn remove(&self, path: &str) -> Result<()> {
        let path = self.path(path);
        match unlink(&*path) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno).at("unlink", &path),
        }
    }

    /// When this returns, the disk holds all that was done.
    ///
    /// # Errors
    /// syncfs(2).
    pub fn sync(&self) -> Result<()> {
        files::sync_filesystem(&self.root)
    }
}

impl Drop for BootFiles {
    fn drop(&mut self) {
        self.lock = None;
        if self.mounted {
            // All that counts is durable already; whoever mounts it next is told what is wrong.
            let _ = unmount(&self.root, UnmountFlags::DETACH);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_made_read_in_pieces_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let files = BootFiles::at(dir.path().to_str().unwrap());
        assert_eq!(files.list("loader/entries").unwrap(), Vec::<String>::new());
        files.write("loader/entries/x.conf", 0, b"hello").unwrap();
        files.write("loader/entries/x.conf", 5, b" world").unwrap();
        files.sync().unwrap();
        assert_eq!(files.list("loader/entries").unwrap(), ["x.conf"]);
        let mut piece = [0; 6];
        assert_eq!(
            files.read("loader/entries/x.conf", 6, &mut piece).unwrap(),
            5
        );
        assert_eq!(&piece[..5], b"world");
        assert_eq!(
            files.read("loader/entries/x.conf", 11, &mut piece).unwrap(),
            0
        );
        files.write("loader/entries/x.conf", 0, b"new").unwrap();
        assert_eq!(
            files.read("loader/entries/x.conf", 0, &mut piece).unwrap(),
            3
        );
        files.remove("loader/entries/x.conf").unwrap();
        files.remove("loader/entries/x.conf").unwrap();
        let error = files
            .read("loader/entries/x.conf", 0, &mut piece)
            .unwrap_err();
        assert_eq!(error.errno, Errno::NOENT);
    }

    #[test]
    fn only_one_changes_files_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let [mut first, mut second] = [0; 2].map(|_| BootFiles::at(dir.path().to_str().unwrap()));
        assert!(first.try_lock().unwrap());
        assert!(!second.try_lock().unwrap());
        drop(first);
        assert!(second.try_lock().unwrap());
    }

    #[test]
    fn what_is_no_fat_is_not_mounted() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("place");
        assert!(BootFiles::mount("/dev/null", place.to_str().unwrap()).is_err());
    }
}
