//! Descriptors that the program which started this one has left open for it, at agreed numbers. Not
//! here: leaving them (`spawn`).

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use rustix::io::retry_on_intr;

use crate::error::{Error, Result, last_errno};

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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsRawFd;

    use super::*;
    use crate::error::Errno;

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
