//! Pipes, and reading and writing without waiting. Not here: sockets' extras (`unix`).

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, OFlags, fcntl_getfl, fcntl_setfl, fstat};
use rustix::io::retry_on_intr;
use rustix::pipe::{PipeFlags, pipe_with};

use crate::error::{At, Errno, Result};

/// What a read without waiting brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// This many bytes, at least one.
    Data(usize),
    /// The other side is closed.
    End,
    /// Nothing yet.
    Later,
}

/// Read end and write end, both CLOEXEC and blocking: the write end is what a service gets as its
/// stdout, and programs do not expect EAGAIN there. The two ends are separate open files, so
/// [`set_nonblocking`] on one leaves the other.
///
/// # Errors
/// pipe2(2): out of descriptors.
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    pipe_with(PipeFlags::CLOEXEC).at("pipe", "")
}

/// Sets or clears O_NONBLOCK of the open file (every descriptor that shares it is affected).
///
/// # Errors
/// fcntl(2).
pub fn set_nonblocking(fd: impl AsFd, on: bool) -> Result<()> {
    let mut flags = fcntl_getfl(&fd).at("fcntl", "F_GETFL")?;
    flags.set(OFlags::NONBLOCK, on);
    fcntl_setfl(&fd, flags).at("fcntl", "F_SETFL")
}

/// Whether the descriptor is one of a pipe or FIFO: from nothing else can be known that a read, once
/// non-blocking, does not wait.
#[must_use]
pub fn is_pipe(fd: impl AsFd) -> bool {
    fstat(&fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo)
}

/// Whether the descriptor, one of a pipe, is for writing.
///
/// # Errors
/// fcntl(2).
pub fn is_write_end(fd: impl AsFd) -> Result<bool> {
    let flags = fcntl_getfl(&fd).at("fcntl", "F_GETFL")?;
    Ok(flags & OFlags::ACCMODE == OFlags::WRONLY)
}

/// Reads what is there, up to `buffer`'s length. `fd` must be non-blocking.
///
/// # Errors
/// read(2), except EAGAIN, which is [`Read::Later`].
pub fn read(fd: impl AsFd, buffer: &mut [u8]) -> Result<Read> {
    match retry_on_intr(|| rustix::io::read(&fd, &mut *buffer)) {
        Ok(0) => Ok(Read::End),
        Ok(count) => Ok(Read::Data(count)),
        Err(Errno::AGAIN) => Ok(Read::Later),
        Err(errno) => Err(errno).at("read", ""),
    }
}

/// Writes as much as there is room for; `None` when there is none. `fd` must be non-blocking.
/// The caller ignores or blocks SIGPIPE (Rust's runtime ignores it).
///
/// # Errors
/// write(2), except EAGAIN. EPIPE: the reader is gone.
pub fn write(fd: impl AsFd, bytes: &[u8]) -> Result<Option<usize>> {
    match retry_on_intr(|| rustix::io::write(&fd, bytes)) {
        Ok(count) => Ok(Some(count)),
        Err(Errno::AGAIN) => Ok(None),
        Err(errno) => Err(errno).at("write", ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_without_waiting() {
        let (reader, writer) = pair().unwrap();
        set_nonblocking(&reader, true).unwrap();
        let mut buffer = [0; 8];
        assert_eq!(read(&reader, &mut buffer).unwrap(), Read::Later);
        assert!(!fcntl_getfl(&writer).unwrap().contains(OFlags::NONBLOCK));
        set_nonblocking(&writer, true).unwrap();
        assert_eq!(write(&writer, b"abc").unwrap(), Some(3));
        assert_eq!(read(&reader, &mut buffer).unwrap(), Read::Data(3));
        assert_eq!(&buffer[..3], b"abc");
        let block = [0; 4096];
        while write(&writer, &block).unwrap().is_some() {}
        drop(reader);
        assert_eq!(write(&writer, b"x").unwrap_err().errno, Errno::PIPE);
        let (reader, writer) = pair().unwrap();
        drop(writer);
        assert_eq!(read(&reader, &mut buffer).unwrap(), Read::End);
    }
}
