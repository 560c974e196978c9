//! Pipes, reading and writing without waiting, and seeing what is in a pipe without taking it out. Not
//! here: sockets' extras (`unix`).

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, OFlags, fcntl_getfl, fcntl_setfl, fstat};
use rustix::io::{ioctl_fionread, retry_on_intr};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_getpipe_size, pipe_with, tee};

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

/// Takes `count` bytes that are there out of the pipe, by way of `buffer`. `fd` must be non-blocking.
///
/// # Errors
/// read(2). Fewer bytes are no error.
pub fn discard(fd: impl AsFd, count: usize, buffer: &mut [u8]) -> Result<()> {
    let mut left = count;
    while left > 0 {
        let most = left.min(buffer.len());
        match read(&fd, buffer.get_mut(..most).unwrap_or_default())? {
            Read::Data(taken) => left = left.saturating_sub(taken),
            Read::End | Read::Later => break,
        }
    }
    Ok(())
}

/// Takes all that is in a pipe out of it, by way of `buffer`, where it is more than half full or whoever
/// writes to it has to wait; gives how much. The read end is non-blocking from then on.
///
/// # Errors
/// ioctl(2), fcntl(2), poll(2), read(2).
pub fn relieve(reader: impl AsFd, writer: impl AsFd, buffer: &mut [u8]) -> Result<u64> {
    let held = ioctl_fionread(&reader).at("ioctl", "FIONREAD")?;
    let size = fcntl_getpipe_size(&reader).at("fcntl", "F_GETPIPE_SZ")?;
    if held <= size as u64 / 2 && has_room(&writer)? {
        return Ok(0);
    }
    set_nonblocking(&reader, true)?;
    let mut taken = 0;
    while taken < held {
        match read(&reader, buffer)? {
            Read::Data(count) => taken += count as u64,
            Read::End | Read::Later => break,
        }
    }
    Ok(taken)
}

/// Whether a write to this pipe finds room.
fn has_room(writer: impl AsFd) -> Result<bool> {
    let mut room = [PollFd::new(&writer, PollFlags::OUT)];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let ready = retry_on_intr(|| poll(&mut room, Some(&at_once))).at("poll", "")?;
    Ok(ready > 0)
}

/// Sees what is in pipes and leaves it there (tee(2)), by way of a pipe of its own.
#[derive(Debug)]
pub struct Peek {
    read: OwnedFd,
    write: OwnedFd,
}

impl Peek {
    /// Makes its pipe.
    ///
    /// # Errors
    /// pipe2(2), fcntl(2).
    pub fn new() -> Result<Self> {
        let (read, write) = pair()?;
        set_nonblocking(&read, true)?;
        set_nonblocking(&write, true)?;
        Ok(Self { read, write })
    }

    /// Copies what is in `pipe` to `buffer`, from its beginning on and as much as there is room for.
    ///
    /// # Errors
    /// tee(2), read(2).
    pub fn look(&self, pipe: impl AsFd, buffer: &mut [u8]) -> Result<Read> {
        match self.copy(&pipe, buffer.len())? {
            Read::Data(_) => read(&self.read, buffer),
            other @ (Read::End | Read::Later) => Ok(other),
        }
    }

    /// Whether `pipe` holds as many pieces as a pipe can, however short they are: a writer then waits.
    ///
    /// # Errors
    /// tee(2), poll(2), read(2).
    pub fn is_full(&self, pipe: impl AsFd) -> Result<bool> {
        self.copy(&pipe, i32::MAX.unsigned_abs() as usize)?;
        let room = has_room(&self.write)?;
        let mut block = [0; 4096];
        while matches!(read(&self.read, &mut block)?, Read::Data(_)) {}
        Ok(!room)
    }

    fn copy(&self, pipe: impl AsFd, most: usize) -> Result<Read> {
        match retry_on_intr(|| tee(&pipe, &self.write, most, SpliceFlags::NONBLOCK)) {
            Ok(0) => Ok(Read::End),
            Ok(count) => Ok(Read::Data(count)),
            Err(Errno::AGAIN) => Ok(Read::Later),
            Err(errno) => Err(errno).at("tee", ""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_seen_stays() {
        let (reader, writer) = pair().unwrap();
        set_nonblocking(&reader, true).unwrap();
        set_nonblocking(&writer, true).unwrap();
        let peek = Peek::new().unwrap();
        let mut buffer = [0; 8];
        assert_eq!(peek.look(&reader, &mut buffer).unwrap(), Read::Later);
        write(&writer, b"0123456789").unwrap();
        for _ in 0..3 {
            assert_eq!(peek.look(&reader, &mut buffer).unwrap(), Read::Data(8));
            assert_eq!(&buffer, b"01234567");
            assert!(!peek.is_full(&reader).unwrap());
        }
        discard(&reader, 9, &mut buffer).unwrap();
        assert_eq!(peek.look(&reader, &mut buffer).unwrap(), Read::Data(1));
        assert_eq!(buffer[0], b'9');
        // Each write a piece of its own, as a program may have it.
        let mut flags = fcntl_getfl(&writer).unwrap();
        flags.set(OFlags::DIRECT, true);
        fcntl_setfl(&writer, flags).unwrap();
        while write(&writer, b"x").unwrap().is_some() {}
        assert!(peek.is_full(&reader).unwrap());
        drop(writer);
        discard(&reader, usize::MAX, &mut buffer).unwrap();
        assert_eq!(peek.look(&reader, &mut buffer).unwrap(), Read::End);
    }

    #[test]
    fn a_pipe_is_relieved_when_it_fills() {
        let (reader, writer) = pair().unwrap();
        set_nonblocking(&writer, true).unwrap();
        let mut buffer = [0; 5000];
        let mut relieve = || super::relieve(&reader, &writer, &mut buffer).unwrap();
        let half = fcntl_getpipe_size(&reader).unwrap() / 2;
        assert_eq!(relieve(), 0);
        assert_eq!(write(&writer, &vec![b'x'; half]).unwrap(), Some(half));
        assert_eq!(relieve(), 0);
        assert_eq!(write(&writer, b"x").unwrap(), Some(1));
        assert_eq!(relieve(), half as u64 + 1);
        assert_eq!(relieve(), 0);
        // Full of pieces, however short they are.
        let mut flags = fcntl_getfl(&writer).unwrap();
        flags.set(OFlags::DIRECT, true);
        fcntl_setfl(&writer, flags).unwrap();
        let mut pieces = 0;
        while write(&writer, b"x").unwrap().is_some() {
            pieces += 1;
        }
        assert_eq!(relieve(), pieces);
        assert_eq!(write(&writer, b"x").unwrap(), Some(1));
    }

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
