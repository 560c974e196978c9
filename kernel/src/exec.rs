//! A process that turns into another program: closes what it must not leave open, becomes another
//! user, executes. Not here: making a process (`spawn`).

use std::ffi::CString;
use std::os::fd::RawFd;

use rustix::fs::{Gid, Uid, chown};

use crate::error::{At, Errno, Error, Result, last_errno};
use crate::signals::Signal;
use crate::spawn::Ids;

/// Closes descriptor `number`, which a program that started this one has left open for it.
pub fn close(number: RawFd) {
    // SAFETY: callers name a number that was agreed with the parent; nothing in this process has made
    // an owner of it.
    let _ = unsafe { libc::close(number) };
}

/// Has descriptor `number`, which a program that started this one has left open for it, closed by the next
/// program.
///
/// # Errors
/// fcntl(2): EBADF.
pub fn close_on_exec(number: RawFd) -> Result<()> {
    // SAFETY: plain numbers.
    match unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } {
        0 => Ok(()),
        _ => Err(last_errno()).at("fcntl F_SETFD", number),
    }
}

/// Gives up all rights of root, for good: groups, then group, then user.
///
/// # Errors
/// EPERM without the right, EINVAL for numbers that this user namespace does not have.
pub fn set_ids(ids: &Ids) -> Result<()> {
    let done = |answer: libc::c_int| match answer {
        0 => Ok(()),
        _ => Err(last_errno()),
    };
    // SAFETY: the pointer is to as many numbers as are named, and only read.
    let groups = unsafe { libc::setgroups(ids.groups.len(), ids.groups.as_ptr()) };
    done(groups).at("setgroups", format_args!("{:?}", ids.groups))?;
    // SAFETY: plain numbers.
    done(unsafe { libc::setresgid(ids.gid, ids.gid, ids.gid) }).at("setresgid", ids.gid)?;
    // SAFETY: plain numbers.
    done(unsafe { libc::setresuid(ids.uid, ids.uid, ids.uid) }).at("setresuid", ids.uid)
}

/// Has the kernel kill this process as soon as `parent` ends. A change of user takes that back.
///
/// # Errors
/// ESRCH: it has ended already.
pub fn end_with(parent: u32) -> Result<()> {
    let signal = libc::c_ulong::from(Signal::KILL.number());
    // SAFETY: plain numbers.
    match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal, 0, 0, 0) } {
        0 if std::os::unix::process::parent_id() == parent => Ok(()),
        0 => Err(Errno::SRCH).at("prctl PR_SET_PDEATHSIG", parent),
        _ => Err(last_errno()).at("prctl PR_SET_PDEATHSIG", parent),
    }
}

/// Gives `path` to a user and a group.
///
/// # Errors
/// chown(2).
pub fn give(path: &str, uid: u32, gid: u32) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    chown(path, Some(uid), Some(gid)).at("chown", path)
}

/// Executes `arguments` with `environment` in place of this program; comes back only with an error.
///
/// # Errors
/// execve(2); EINVAL for an empty command.
pub fn execute(arguments: &[CString], environment: &[CString]) -> Result<()> {
    // Rust's runtime ignores SIGPIPE, and what is ignored stays so in the new program.
    // SAFETY: sets a disposition; no handler runs.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    let pointers = |texts: &[CString]| -> Vec<*const libc::c_char> {
        let texts = texts.iter().map(|text| text.as_ptr());
        texts.chain([std::ptr::null()]).collect()
    };
    let Some(program) = arguments.first() else {
        return Err(Error::new("execve", "(nothing)", Errno::INVAL));
    };
    let (argv, envp) = (pointers(arguments), pointers(environment));
    // SAFETY: both arrays end in a null pointer, and they and the texts outlive the call.
    unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    Err(Error::new(
        "execve",
        program.to_string_lossy(),
        last_errno(),
    ))
}
