//! Descriptors that the program which started this one has left open for it, at agreed numbers. Not
//! here: leaving them (`spawn`).

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

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

/// Descriptor `number`, which the program that ran in this process before has left open for us; it is
/// CLOEXEC from now on. Whatever this program has opened itself is refused.
///
/// # Errors
/// EBADF: nothing is open there. EINVAL: one of 0, 1 and 2, or one that is CLOEXEC, as all of ours are
/// and nothing that outlived execve(2) can be. EMFILE: out of descriptors.
pub fn take(number: RawFd) -> Result<OwnedFd> {
    let object = || format!("descriptor {number}");
    // SAFETY: the call takes integers only.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if flags < 0 {
        return Err(Error::new("fcntl", object(), last_errno()));
    }
    if number <= 2 || flags & libc::FD_CLOEXEC != 0 {
        return Err(Error::new("take", object(), Errno::INVAL));
    }
    let taken = duplicate(number)?;
    // SAFETY: it is not CLOEXEC, so it is older than this program, and nobody in it owns it.
    let _closed = unsafe { libc::close(number) };
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsRawFd;

    use super::*;

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

    #[test]
    fn only_what_outlived_execve_is_taken() {
        let (reader, writer) = std::io::pipe().unwrap();
        assert_eq!(take(writer.as_raw_fd()).unwrap_err().errno, Errno::INVAL);
        assert_eq!(take(2).unwrap_err().errno, Errno::INVAL);
        assert_eq!(take(-1).unwrap_err().errno, Errno::BADF);
        // SAFETY: the call takes integers only; nobody else owns the new descriptor.
        let left = unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_DUPFD, 3) };
        let taken = take(left).unwrap();
        drop(writer);
        drop(taken);
        let mut text = String::new();
        std::fs::File::from(OwnedFd::from(reader))
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "");
    }
}
