//! A process that goes on twice, here and as a child in another cgroup. Not here: programs in children
//! (`spawn`), and what the two are for.
//!
//! The child has a copy of the memory and the descriptors, and runs when its cgroup lets it: nobody waits
//! for it. That is for small processes with few descriptors. PID 1 is none: what it closes would stay open
//! in children whose turn has not come.
//!
//! # Why nobody moves by himself
//!
//! Read in kernel/cgroup/cgroup.c of Linux 6.1, and seen in a trace. Birth in a cgroup (CLONE_INTO_CGROUP)
//! holds the lock of all cgroups (`cgroup_mutex`) for some microseconds, and the parent holds it, which runs
//! when its own cgroup lets it; it shuts nobody out (`cgroup_threadgroup_rwsem` is taken to read). Who writes to
//! cgroup.procs takes that to write: nobody makes or ends a process meanwhile, and whoever is in the
//! middle of it, in whatever cgroup, has to come to its end first. And who moves himself is of the new
//! cgroup before he has given the locks back, and loses the processor there: hundreds of milliseconds
//! where a quota is used up. PID 1 needs `cgroup_mutex` with each start.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use rustix::fs::stat;

use super::clone3::{CLONE_INTO_CGROUP, CloneArgs};
use crate::error::{At, Errno, Error, Result, last_errno};

/// Which of the two this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The process that was there before: number of its child, which it can wait for.
    Parent(u32),
    /// The new one.
    Child,
}

/// Goes on twice; the child is born in `cgroup`, or in that of this process.
///
/// # Errors
/// EDEADLK: this process has threads, whose locks nobody would ever give back in the child. clone3(2): EAGAIN when
/// `pids.max` or the like is reached, EBUSY when the cgroup passes controllers down, ENODEV when it is gone.
pub fn fork(cgroup: Option<BorrowedFd<'_>>) -> Result<Side> {
    // Two links of its own, and one of each thread.
    let threads = stat("/proc/self/task").at("stat", "/proc/self/task")?;
    if threads.st_nlink > 3 {
        return Err(Error::new("clone3", "with threads", Errno::DEADLK));
    }
    let mut args = CloneArgs {
        exit_signal: u64::from(crate::signals::Signal::CHLD.number()),
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::try_from(cgroup.as_raw_fd()).unwrap_or(u64::MAX);
    }
    // SAFETY: the kernel reads `args`. Without a stack of its own and without CLONE_VM, the child has copies
    // of this stack and of all memory, in which no other thread was in the middle of anything. What libc
    // notes of the thread's number stays the parent's, and is used by nothing but raise(3) and locks
    // that only this thread can ask for.
    let answer =
        unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) };
    match u32::try_from(answer) {
        Ok(0) => Ok(Side::Child),
        Ok(pid) => Ok(Side::Parent(pid)),
        Err(_) => Err(last_errno()).at("clone3", "into its cgroup"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_threads_does_not_go_on_twice() {
        let other = std::thread::spawn(|| fork(None).unwrap_err().errno);
        assert_eq!(other.join().unwrap(), Errno::DEADLK);
    }
}
