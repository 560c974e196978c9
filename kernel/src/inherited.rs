//! Descriptors that the program which started this one has left open for it, at agreed numbers. Not
//! here: leaving them (`spawn`).

use std::collections::BTreeMap;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::retry_on_intr;

use crate::error::{Errno, Error, Result, last_errno};

/// A duplicate (CLOEXEC) of descriptor `number`. The original stays open, so this may be called for
/// any number, and more than once, whoever owns it.
///
/// # Errors
/// EBADF: nothing is open there. EMFILE: out of descriptors.
pub fn duplicate(number: RawFd) -> Result<OwnedFd> {
    let duplicated = retry_on_intr(|| {
        // SAFETY: the call takes integers only, and changes nothing about the original.
        let raw = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) };
        if raw < 0 { Err(last_errno()) } else { Ok(raw) }
    });
    match duplicated {
        // SAFETY: the kernel has just made this descriptor; nobody else knows of it.
        Ok(raw) => Ok(unsafe { OwnedFd::from_raw_fd(raw) }),
        Err(errno) => Err(Error::new(
            "fcntl",
            format_args!("F_DUPFD_CLOEXEC {number}"),
            errno,
        )),
    }
}

/// Gives the calling thread a table of descriptors of its own, in which the standard ones alone are left:
/// what the others hold is theirs alone, and is closed when they end, whatever this thread waits for. It
/// must not use any that it had before.
///
/// # Errors
/// ENOSYS before Linux 5.9, ENOMEM: nothing has changed.
pub fn leave_to_others() -> Result<()> {
    // linux/close_range.h
    const UNSHARE: libc::c_uint = 2;
    // SAFETY: plain numbers. Descriptors are closed in a table that nobody else has.
    let answer = unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, UNSHARE) };
    match answer {
        0 => Ok(()),
        _ => Err(Error::new("close_range", "", last_errno())),
    }
}

/// Whether they have been taken.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Takes every descriptor but the standard ones over, CLOEXEC from now on, by its number: for a
/// program that goes on where another one in the same process stopped. Whatever is dropped of them is
/// closed. It must be called once, and before this program opens anything itself.
///
/// # Errors
/// EBUSY when it was called before, EPERM when this is not PID 1, which alone is started so;
/// /proc/self/fd cannot be read.
pub fn take_all() -> Result<BTreeMap<RawFd, OwnedFd>> {
    let refused = |errno| Err(Error::new("take over descriptors", "", errno));
    if std::process::id() != 1 {
        return refused(Errno::PERM);
    }
    if TAKEN.swap(true, Ordering::SeqCst) {
        return refused(Errno::BUSY);
    }
    let entries = std::fs::read_dir("/proc/self/fd");
    let Ok(entries) = entries else {
        return refused(Errno::NOENT);
    };
    let numbers: Vec<RawFd> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|number| *number > 2)
        .collect();
    let mut taken = BTreeMap::new();
    for number in numbers {
        // The one that read the directory is closed by now.
        // SAFETY: plain numbers.
        if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } == 0 {
            // SAFETY: it is open, and this program has opened nothing before: it came over execve(2),
            // and nobody else in here knows of it. This is done once.
            taken.insert(number, unsafe { OwnedFd::from_raw_fd(number) });
        }
    }
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsRawFd;

    use super::*;
    use crate::error::Errno;

    #[test]
    fn what_a_thread_has_left_is_closed_by_the_others() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let (end, wait) = std::sync::mpsc::channel::<()>();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            leave_to_others().unwrap();
            tell.send(()).unwrap();
            let _ended = wait.recv();
        });
        told.recv().unwrap();
        drop(writer);
        // The thread is there yet, and has no copy of it.
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
        drop(end);
        thread.join().unwrap();
    }

    #[test]
    fn a_duplicate_is_the_same_file_and_independent() {
        let (reader, writer) = std::io::pipe().unwrap();
        let copy = duplicate(writer.as_raw_fd()).unwrap();
        drop(writer);
        std::fs::File::from(copy).write_all(b"x").unwrap();
        let mut text = String::new();
        std::fs::File::from(OwnedFd::from(reader))
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "x");
        assert_eq!(duplicate(-1).unwrap_err().errno, Errno::BADF);
    }
}
