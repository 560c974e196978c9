//! Descriptors for the child at low numbers, so that it need not copy, nor close, all those that the
//! parent has: PID 1 has three for each service. The child begins with the parent's table itself
//! (CLONE_FILES), and its first call takes a table of its own with what is below [`Low::floor`]
//! (CLOSE_RANGE_UNSHARE). Not here: where they end up (`child`).

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::{DupFlags, dup3, fcntl_dupfd_cloexec};

use super::plan::{Stdio, Wiring};
use crate::error::{At, Errno, Result};

/// So many different descriptors a child is given this way; one with more copies the whole table.
const SLOTS: usize = 8;

/// Numbers that are kept for this, each open on /dev/null in between.
#[derive(Debug)]
pub(super) struct Low {
    null: OwnedFd,
    slots: Vec<OwnedFd>,
}

/// What a child is given, under numbers below the floor.
pub(super) struct Held {
    pub(super) standard: [Option<i32>; 3],
    /// Number now, number in the program.
    pub(super) extra: Vec<(i32, i32)>,
    used: usize,
}

impl Low {
    /// Takes the lowest numbers that are free.
    pub(super) fn new() -> Result<Self> {
        let null = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .at("open", "/dev/null")?;
        let slots = (0..SLOTS).map(|_| fcntl_dupfd_cloexec(&null, 3));
        let slots = slots.collect::<core::result::Result<Vec<_>, Errno>>();
        let slots = slots.at("fcntl", "F_DUPFD_CLOEXEC")?;
        Ok(Self { null, slots })
    }

    /// The first number that the child has no use for.
    pub(super) fn floor(&self) -> i32 {
        let highest = self.slots.iter().map(AsRawFd::as_raw_fd).max();
        highest
            .unwrap_or(2)
            .max(self.null.as_raw_fd())
            .saturating_add(1)
    }

    /// Puts what `wiring` names at numbers below the floor. `None`: it is too much for them.
    pub(super) fn hold(
        &mut self,
        wiring: &Wiring<'_>,
    ) -> core::result::Result<Option<Held>, Errno> {
        let null = self.null.as_raw_fd();
        let mut taken: Vec<i32> = Vec::new();
        let mut place = |fd: BorrowedFd<'_>| {
            let there = taken.iter().position(|it| *it == fd.as_raw_fd());
            let Some(slot) = self.slots.get_mut(there.unwrap_or(taken.len())) else {
                return Ok(None);
            };
            if there.is_none() {
                dup3(fd, slot, DupFlags::CLOEXEC)?;
                taken.push(fd.as_raw_fd());
            }
            Ok(Some(slot.as_raw_fd()))
        };
        let mut held = Held {
            standard: [Some(null); 3],
            extra: Vec::with_capacity(wiring.extra.len()),
            used: 0,
        };
        let mut fits = true;
        if let Stdio::Each {
            stdin,
            stdout,
            stderr,
        } = wiring.stdio
        {
            for (slot, fd) in held.standard.iter_mut().zip([stdin, stdout, stderr]) {
                if let Some(fd) = fd {
                    *slot = place(fd)?;
                    fits &= slot.is_some();
                }
            }
        }
        for (fd, number) in wiring.extra {
            match place(*fd)? {
                Some(slot) => held.extra.push((slot, *number)),
                None => fits = false,
            }
        }
        held.used = taken.len();
        if fits {
            return Ok(Some(held));
        }
        self.release(&held);
        Ok(None)
    }

    /// Lets go of what was held: it may be the last to hold it.
    pub(super) fn release(&mut self, held: &Held) {
        for slot in self.slots.iter_mut().take(held.used) {
            // Both are open, so the number is only made to mean something else.
            let _ = dup3(&self.null, slot, DupFlags::CLOEXEC);
        }
    }
}
