//! The event loop's epoll instance. Not here: what a token means (init).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::time::Timespec;

use crate::error::{At, Errno, Result};

/// How many events one wait returns at most; what is left comes with the next.
pub const BATCH: usize = 64;

/// What is waited for, or what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Data (or a connection, or an end of file) can be read.
    pub readable: bool,
    /// There is room to write.
    pub writable: bool,
    /// The other side is gone, or the descriptor has an error. Always told, never asked for.
    pub hangup: bool,
    /// Exceptional condition (EPOLLPRI): a watched cgroup or sysfs file changed.
    pub priority: bool,
}

impl Readiness {
    /// Waits for data.
    pub const READ: Self = Self::of(true, false, false);
    /// Waits for room.
    pub const WRITE: Self = Self::of(false, true, false);
    /// Waits for both.
    pub const BOTH: Self = Self::of(true, true, false);
    /// Waits for a change of a cgroup or sysfs file.
    pub const PRIORITY: Self = Self::of(false, false, true);
    /// Waits only for the hangup.
    pub const NONE: Self = Self::of(false, false, false);

    const fn of(readable: bool, writable: bool, priority: bool) -> Self {
        Self {
            readable,
            writable,
            hangup: false,
            priority,
        }
    }

    fn flags(self) -> EventFlags {
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::IN, self.readable);
        flags.set(EventFlags::OUT, self.writable);
        flags.set(EventFlags::PRI, self.priority);
        flags
    }

    fn from_flags(flags: EventFlags) -> Self {
        Self {
            readable: flags.contains(EventFlags::IN),
            writable: flags.contains(EventFlags::OUT),
            hangup: flags.intersects(EventFlags::HUP | EventFlags::ERR),
            priority: flags.contains(EventFlags::PRI),
        }
    }
}

/// An epoll instance, level-triggered but for what is added by [`Poller::add_for_changes`].
#[derive(Debug)]
pub struct Poller {
    fd: OwnedFd,
}

impl Poller {
    /// An instance that watches nothing.
    ///
    /// # Errors
    /// epoll_create1(2): out of descriptors or memory.
    pub fn new() -> Result<Self> {
        let fd = epoll::create(epoll::CreateFlags::CLOEXEC).at("epoll_create", "")?;
        Ok(Self { fd })
    }

    /// Watches `source`; `token` comes back with each of its events.
    ///
    /// # Errors
    /// epoll_ctl(2): EPERM for a regular file, ENOSPC past the user's limit of watches.
    pub fn add(&self, source: impl AsFd, token: u64, interest: Readiness) -> Result<()> {
        let data = EventData::new_u64(token);
        epoll::add(&self.fd, source, data, interest.flags()).at("epoll_ctl", "add")
    }

    /// The same, but an event comes only when more has arrived since the last one, and one at first if
    /// something is there: for a source that is not always emptied.
    ///
    /// # Errors
    /// As [`Poller::add`].
    pub fn add_for_changes(
        &self,
        source: impl AsFd,
        token: u64,
        interest: Readiness,
    ) -> Result<()> {
        let data = EventData::new_u64(token);
        let flags = interest.flags() | EventFlags::ET;
        epoll::add(&self.fd, source, data, flags).at("epoll_ctl", "add")
    }

    /// Changes what is waited for.
    ///
    /// # Errors
    /// epoll_ctl(2): ENOENT when `source` is not watched.
    pub fn modify(&self, source: impl AsFd, token: u64, interest: Readiness) -> Result<()> {
        let data = EventData::new_u64(token);
        epoll::modify(&self.fd, source, data, interest.flags()).at("epoll_ctl", "modify")
    }

    /// Watches `source` no longer. Closing the last descriptor of a file does the same.
    ///
    /// # Errors
    /// epoll_ctl(2): ENOENT when `source` is not watched.
    pub fn remove(&self, source: impl AsFd) -> Result<()> {
        epoll::delete(&self.fd, source).at("epoll_ctl", "remove")
    }

    /// Waits until something happens or `timeout` (rounded up to milliseconds; `None`: for ever)
    /// has passed. A signal ends the wait with nothing in `events`.
    ///
    /// # Errors
    /// epoll_wait(2); none is known for a healthy instance.
    pub fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> Result<()> {
        events.ready.clear();
        let timeout = timeout.map(|wait| Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: wait.subsec_nanos().into(),
        });
        let space = rustix::buffer::spare_capacity(&mut events.ready);
        match epoll::wait(&self.fd, space, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno).at("epoll_wait", ""),
        }
    }
}

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What one wait brought; made once and used again, so that the loop does not allocate.
#[allow(missing_debug_implementations, reason = "the kernel's event has none")]
pub struct Events {
    ready: Vec<epoll::Event>,
}

impl Events {
    /// Room for [`BATCH`] events.
    #[must_use]
    pub fn new() -> Self {
        Self {
            ready: Vec::with_capacity(BATCH),
        }
    }

    /// The events: token and what is there.
    pub fn iter(&self) -> impl Iterator<Item = (u64, Readiness)> + '_ {
        self.ready.iter().map(|event| {
            // The kernel's struct is packed: copy the fields before looking at them.
            let (data, flags) = (event.data, event.flags);
            (data.u64(), Readiness::from_flags(flags))
        })
    }

    /// Whether the wait brought nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }
}

impl Default for Events {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_wait_ends_at_its_timeout_or_with_an_event() {
        let poller = Poller::new().unwrap();
        let mut events = Events::new();
        // A signal may end a wait early (other tests of this process have children): not each.
        let waited_whole = (0..20).any(|_| {
            let start = Instant::now();
            let timeout = Duration::from_micros(20_500);
            poller.wait(&mut events, Some(timeout)).unwrap();
            assert!(events.is_empty());
            start.elapsed() >= timeout
        });
        assert!(waited_whole);
        let wait_for_one = |events: &mut Events| {
            poller.wait(events, None).unwrap();
            while events.is_empty() {
                poller.wait(events, None).unwrap();
            }
        };

        let (read, write) = crate::pipe::pair().unwrap();
        poller.add(&read, 7, Readiness::READ).unwrap();
        rustix::io::write(&write, b"x").unwrap();
        wait_for_one(&mut events);
        let got: Vec<_> = events.iter().collect();
        assert_eq!(got, [(7, Readiness::READ)]);
        drop(write);
        poller.modify(&read, 8, Readiness::NONE).unwrap();
        wait_for_one(&mut events);
        let got: Vec<_> = events.iter().collect();
        assert!(matches!(got.as_slice(), [(8, there)] if there.hangup));
        poller.remove(&read).unwrap();
        assert_eq!(poller.remove(&read).unwrap_err().errno, Errno::NOENT);
        poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
        assert!(events.is_empty());
    }
}
