//! inotify, as the event loop needs it: changes of cgroup files and of directories. Not here: what
//! a change means.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::inotify;
pub use rustix::fs::inotify::WatchFlags;

use crate::error::{At, Errno, Result};

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which watch; `None`: the kernel's queue overflowed and changes were lost: look at everything.
    pub watch: Option<Watch>,
    /// The watch is no more (its file was removed), and its number may be used again.
    pub removed: bool,
    /// For a directory, the name of the entry.
    pub name: Option<String>,
}

/// Number of a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Watch(pub i32);

/// A non-blocking inotify instance.
#[derive(Debug)]
pub struct Inotify {
    fd: OwnedFd,
}

impl Inotify {
    /// An instance that watches nothing.
    ///
    /// # Errors
    /// inotify_init1(2): EMFILE past fs.inotify.max_user_instances.
    pub fn new() -> Result<Self> {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let fd = inotify::init(flags).at("inotify_init", "")?;
        Ok(Self { fd })
    }

    /// Watches `path`. For `cgroup.events`, [`WatchFlags::MODIFY`]; the kernel tells each change of
    /// `populated` that way (cgroup-v2.rst).
    ///
    /// # Errors
    /// inotify_add_watch(2): ENOENT, ENOSPC past fs.inotify.max_user_watches.
    pub fn watch(&self, path: &str, what: WatchFlags) -> Result<Watch> {
        inotify::add_watch(&self.fd, path, what)
            .map(Watch)
            .at("inotify_add_watch", path)
    }

    /// Watches no longer. A watch that went with its file is no error.
    ///
    /// # Errors
    /// inotify_rm_watch(2).
    pub fn unwatch(&self, watch: Watch) -> Result<()> {
        match inotify::remove_watch(&self.fd, watch.0) {
            Ok(()) | Err(Errno::INVAL) => Ok(()),
            Err(errno) => Err(errno).at("inotify_rm_watch", watch.0),
        }
    }

    /// Hands every change that has been queued to `each`.
    ///
    /// # Errors
    /// read(2), except EAGAIN, which ends the list.
    pub fn drain(&self, mut each: impl FnMut(Change)) -> Result<()> {
        let mut space = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.fd, &mut space);
        loop {
            match reader.next() {
                Ok(event) => {
                    let flags = event.events();
                    let overflow = flags.contains(inotify::ReadFlags::QUEUE_OVERFLOW);
                    each(Change {
                        watch: (!overflow).then_some(Watch(event.wd())),
                        removed: flags.contains(inotify::ReadFlags::IGNORED),
                        name: event
                            .file_name()
                            .map(|name| name.to_string_lossy().into_owned()),
                    });
                }
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno).at("read", "inotify"),
            }
        }
    }
}

impl AsFd for Inotify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_changes_and_the_end_of_a_watch() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "a").unwrap();
        let notify = Inotify::new().unwrap();
        let watch = notify
            .watch(path.to_str().unwrap(), WatchFlags::MODIFY)
            .unwrap();
        let mut got = Vec::new();
        notify.drain(|change| got.push(change)).unwrap();
        assert_eq!(got, []);
        std::fs::write(&path, "bc").unwrap();
        notify.drain(|change| got.push(change)).unwrap();
        assert!(!got.is_empty());
        assert!(
            got.iter()
                .all(|c| c.watch == Some(watch) && !c.removed && c.name.is_none())
        );
        got.clear();
        std::fs::remove_file(&path).unwrap();
        notify.drain(|change| got.push(change)).unwrap();
        assert!(got.iter().any(|c| c.watch == Some(watch) && c.removed));
        notify.unwatch(watch).unwrap();
    }
}
