//! Taking notice of ended children: the one place that does. Not here: whose child it was (init).

use std::mem::MaybeUninit;

use rustix::io::retry_on_intr;

use crate::error::{Errno, Error, Result, last_errno};

/// A child that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reaped {
    /// Its number, free from now on.
    pub pid: u32,
    /// How it ended.
    pub end: End,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// exit(3) with this code.
    Exited(u8),
    /// Killed by a signal.
    Killed {
        /// Its number.
        signal: u8,
        /// Whether a core was dumped.
        core_dumped: bool,
    },
}

/// What has happened to a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It has ended, and is reaped.
    Ended(Reaped),
    /// A signal has stopped it: its number. This is told once.
    Stopped(u32),
}

/// What has happened to one child, if something has: [`next`] that tells of those that are stopped too.
///
/// # Errors
/// As [`next`].
pub fn next_change() -> Result<Option<Change>> {
    match wait_id(libc::P_ALL, 0, libc::WNOHANG | libc::WSTOPPED) {
        Ok(change) => Ok(change),
        Err(Errno::CHILD) => Ok(None),
        Err(errno) => Err(Error::new("waitid", "", errno)),
    }
}

/// Reaps one ended child, if there is one. Call it until it gives `None`: SIGCHLD does not count.
///
/// As PID 1 that includes orphans nobody here ever started.
///
/// # Errors
/// waitid(2), except ECHILD (no children at all), which is `None`.
pub fn next() -> Result<Option<Reaped>> {
    match reap(libc::P_ALL, 0, libc::WNOHANG) {
        Ok(reaped) => Ok(reaped),
        Err(Errno::CHILD) => Ok(None),
        Err(errno) => Err(Error::new("waitid", "", errno)),
    }
}

/// Reaps the child `pid` if it has ended. Of a thousand children the kernel looks at this one alone.
///
/// # Errors
/// waitid(2), except ECHILD (no child of ours, or reaped already), which is `None`.
pub fn one(pid: u32) -> Result<Option<Reaped>> {
    match reap(libc::P_PID, pid, libc::WNOHANG) {
        Ok(reaped) => Ok(reaped),
        Err(Errno::CHILD) => Ok(None),
        Err(errno) => Err(Error::new("waitid", pid, errno)),
    }
}

/// Waits until the child `pid` has ended, and reaps it. It blocks, so it is not for PID 1's loop:
/// stage1 runs its few programs one after the other.
///
/// # Errors
/// waitid(2): ECHILD when it is no child of ours.
pub fn wait(pid: u32) -> Result<End> {
    match reap(libc::P_PID, pid, 0) {
        Ok(Some(reaped)) => Ok(reaped.end),
        // Without WNOHANG there is always a child in the answer.
        Ok(None) => Err(Error::new("waitid", pid, Errno::CHILD)),
        Err(errno) => Err(Error::new("waitid", pid, errno)),
    }
}

/// Waits until the child `pid` has ended, and leaves it to whoever inherits this process's children. It
/// blocks, as [`wait`] does.
///
/// # Errors
/// waitid(2): ECHILD when it is no child of ours.
pub fn watch(pid: u32) -> Result<End> {
    match reap(libc::P_PID, pid, libc::WNOWAIT) {
        Ok(Some(ended)) => Ok(ended.end),
        // Without WNOHANG there is always a child in the answer.
        Ok(None) => Err(Error::new("waitid", pid, Errno::CHILD)),
        Err(errno) => Err(Error::new("waitid", pid, errno)),
    }
}

fn reap(
    kind: libc::idtype_t,
    id: libc::id_t,
    options: libc::c_int,
) -> rustix::io::Result<Option<Reaped>> {
    match wait_id(kind, id, options)? {
        Some(Change::Ended(reaped)) => Ok(Some(reaped)),
        // Nobody has asked for it.
        Some(Change::Stopped(_)) | None => Ok(None),
    }
}

fn wait_id(
    kind: libc::idtype_t,
    id: libc::id_t,
    options: libc::c_int,
) -> rustix::io::Result<Option<Change>> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    retry_on_intr(|| {
        // SAFETY: `info` is room for one siginfo_t and outlives the call.
        match unsafe { libc::waitid(kind, id, info.as_mut_ptr(), libc::WEXITED | options) } {
            0 => Ok(()),
            _ => Err(last_errno()),
        }
    })?;
    // SAFETY: all zeroes is a valid siginfo_t, and so is what waitid wrote over it.
    let info = unsafe { info.assume_init() };
    // SAFETY: for WEXITED the kernel fills the fields of SIGCHLD; with nothing to reap they are 0.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    let Some(pid) = u32::try_from(pid).ok().filter(|pid| *pid != 0) else {
        return Ok(None);
    };
    let number = u8::try_from(status & 0xff).unwrap_or(u8::MAX);
    let end = match info.si_code {
        libc::CLD_STOPPED => return Ok(Some(Change::Stopped(pid))),
        libc::CLD_EXITED => End::Exited(number),
        code => End::Killed {
            signal: number,
            core_dumped: code == libc::CLD_DUMPED,
        },
    };
    Ok(Some(Change::Ended(Reaped { pid, end })))
}
