//! Signals to processes: by pidfd, which cannot hit a stranger that got the number again, and to all
//! of them at the end. Not here: reaping (`reap`), cgroups (`cgroup`).

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::error::{At, Errno, Error, Result, last_errno};
use crate::signals::Signal;

/// What became of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It was sent.
    Delivered,
    /// The process has ended and been reaped.
    Gone,
}

/// Sends `signal` to the process of `pidfd`.
///
/// # Errors
/// pidfd_send_signal(2), except ESRCH, which is [`Sent::Gone`].
pub fn send_signal(pidfd: impl AsFd, signal: Signal) -> Result<Sent> {
    let fd = pidfd.as_fd().as_raw_fd();
    // SAFETY: plain numbers and a null pointer (no siginfo), which the call allows.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            fd,
            i32::from(signal.number()),
            core::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if answer == 0 {
        return Ok(Sent::Delivered);
    }
    match last_errno() {
        Errno::SRCH => Ok(Sent::Gone),
        errno => Err(Error::new("pidfd_send_signal", signal, errno)),
    }
}

/// Whether the process of `pidfd` has ended and been waited for: until then its number is its own,
/// and everything below /proc that has this number speaks of it.
#[must_use]
pub fn is_reaped(pidfd: impl AsFd) -> bool {
    let fd = pidfd.as_fd().as_raw_fd();
    let none = core::ptr::null::<libc::siginfo_t>();
    // SAFETY: plain numbers and a null pointer (no siginfo); signal 0 only asks.
    let answer = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, 0, none, 0) };
    answer != 0 && last_errno() == Errno::SRCH
}

/// `struct pidfd_info` as it was first (PIDFD_INFO_SIZE_VER0).
#[repr(C)]
struct Info {
    mask: u64,
    cgroup: u64,
    rest: [u32; 12],
}

/// PIDFD_GET_INFO: _IOWR(0xFF, 11, struct pidfd_info).
const GET_INFO: u64 = 0xC000_FF0B | (size_of::<Info>() as u64) << 16;
/// PIDFD_INFO_CGROUPID.
const INFO_CGROUP: u64 = 1 << 2;
/// PIDFD_INFO_EXIT.
const INFO_EXIT: u64 = 1 << 3;

/// The cgroup (the inode of its directory) in which the process of `pidfd` is, or was when it was
/// waited for; `None` where the kernel does not tell: of the living since Linux 6.13, of the dead
/// since 6.16.
#[must_use]
pub fn cgroup_id(pidfd: impl AsFd) -> Option<u64> {
    let mut info = Info {
        mask: INFO_CGROUP | INFO_EXIT,
        cgroup: 0,
        rest: [0; 12],
    };
    let fd = pidfd.as_fd().as_raw_fd();
    // SAFETY: the request names the size of the struct, which outlives the call.
    let answer = unsafe { libc::ioctl(fd, GET_INFO as _, &raw mut info) };
    (answer == 0 && info.mask & INFO_CGROUP != 0).then_some(info.cgroup)
}

/// A pidfd of a process that somebody else started (a main process named by `MAINPID=`).
///
/// # Errors
/// pidfd_open(2): ESRCH when there is no such process, EINVAL for 0 or a thread.
pub fn open(pid: u32) -> Result<OwnedFd> {
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
    raw.ok_or(Errno::INVAL)
        .and_then(|raw| pidfd_open(raw, PidfdFlags::empty()))
        .at("pidfd_open", pid)
}

/// Sends `signal` to every process of the PID namespace but PID 1 and the caller, kill(2) with -1.
/// `false`: there was none.
///
/// # Errors
/// EPERM without the right to signal any of them; EINVAL when the caller is not PID 1: outside of
/// its own PID namespace this would take the machine down, so it is refused.
pub fn signal_all(signal: Signal) -> Result<bool> {
    if std::process::id() != 1 {
        return Err(Error::new("kill", "-1", Errno::INVAL));
    }
    // SAFETY: plain numbers.
    if unsafe { libc::kill(-1, signal.number().into()) } == 0 {
        return Ok(true);
    }
    match last_errno() {
        Errno::SRCH => Ok(false),
        errno => Err(Error::new("kill", "-1", errno)),
    }
}

/// Sends `signal` to the process group `pgid`. Services without a cgroup are killed so: each leads
/// a session, and so a group, of its own.
///
/// # Errors
/// kill(2), except ESRCH, which is [`Sent::Gone`]. EINVAL for 0 and 1.
pub fn signal_group(pgid: u32, signal: Signal) -> Result<Sent> {
    let raw = i32::try_from(pgid).unwrap_or(0);
    // 0 is the caller's own group and -1 is everybody.
    if raw <= 1 {
        return Err(Error::new("kill", pgid, Errno::INVAL));
    }
    // SAFETY: plain numbers.
    if unsafe { libc::kill(raw.wrapping_neg(), signal.number().into()) } == 0 {
        return Ok(Sent::Delivered);
    }
    match last_errno() {
        Errno::SRCH => Ok(Sent::Gone),
        errno => Err(Error::new("kill", pgid, errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_would_hit_everybody() {
        assert_eq!(signal_all(Signal::WINCH).unwrap_err().errno, Errno::INVAL);
        for pgid in [0, 1, u32::MAX] {
            assert_eq!(
                signal_group(pgid, Signal::WINCH).unwrap_err().errno,
                Errno::INVAL
            );
        }
        assert_eq!(open(0).unwrap_err().errno, Errno::INVAL);
        let own = open(std::process::id()).unwrap();
        assert_eq!(
            send_signal(&own, Signal::CONT).unwrap(),
            Sent::Delivered,
            "SIGCONT to a running process does nothing"
        );
    }
}
