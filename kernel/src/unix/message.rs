//! Messages with control data: descriptors and credentials. Not here: the sockets themselves.
//!
//! Receiving is written on libc and not on rustix, because rustix's credentials cannot hold pid 0,
//! which is what the kernel tells of a sender outside of our PID namespace.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::retry_on_intr;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::{Credentials, credentials};
use crate::error::{At, Errno, Result, last_errno};

/// Descriptors in one message at most, as we send and expect them.
pub const MAX_FDS: usize = 8;
/// Descriptors in one message at most, as the kernel allows them (SCM_MAX_FD).
pub(super) const KERNEL_MAX_FDS: usize = 253;
/// SCM_PIDFD, which the libc crate does not name everywhere (asm-generic and linux/socket.h).
const SCM_PIDFD: i32 = 4;

/// A message that was received.
#[derive(Debug)]
pub struct Message {
    /// Bytes of it in the buffer; 0 with no descriptors: the other side is closed.
    pub length: usize,
    /// The message was longer than the buffer.
    pub truncated: bool,
    /// It brought more descriptors than are taken, or than this process may have: those are closed.
    pub lost_fds: bool,
    /// The descriptors, CLOEXEC.
    pub fds: Vec<OwnedFd>,
    /// Sender, where the socket asks for it (SO_PASSCRED).
    pub sender: Option<Credentials>,
    /// The sender as a process, where the socket asks for it (SO_PASSPIDFD).
    pub process: Process,
}

/// The process that sent a message, beyond its number.
#[derive(Debug)]
pub enum Process {
    /// The kernel does not tell: only the number is known, and may be another's by now.
    Untold,
    /// It had ended, and been waited for, when the message was received.
    Gone,
    /// This one, whatever has become of its number.
    Pidfd(OwnedFd),
}

/// Sends `bytes` with `fds` in one message; `false`: no room now, nothing was sent.
///
/// # Errors
/// EINVAL for more than [`MAX_FDS`] descriptors; sendmsg(2), except EAGAIN. EPIPE: the other side
/// is closed.
pub fn send_with_fds(fd: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<bool> {
    if fds.len() > MAX_FDS {
        return Err(Errno::INVAL).at("sendmsg", "too many descriptors");
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Errno::INVAL).at("sendmsg", "too many descriptors");
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    match retry_on_intr(|| sendmsg(&fd, &[IoSlice::new(bytes)], &mut control, flags)) {
        Ok(_) => Ok(true),
        Err(Errno::AGAIN) => Ok(false),
        Err(errno) => Err(errno).at("sendmsg", ""),
    }
}

/// Receives one message into `buffer`; `None` when there is none.
///
/// # Errors
/// recvmsg(2), except EAGAIN.
pub fn recv_with_fds(fd: impl AsFd, buffer: &mut [u8]) -> Result<Option<Message>> {
    receive(fd.as_fd(), buffer, MAX_FDS, Mode::Take)
}

/// Room for the control data of one message, aligned as cmsg(3) asks.
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// Descriptors, credentials and a pidfd, each with its header.
const CONTROL: usize = KERNEL_MAX_FDS * 4 + 156;

/// What becomes of a message that is received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// It is gone from the socket.
    Take,
    /// It stays there as the next one.
    Look,
}

/// Receives one message, with at most `most` descriptors.
pub(super) fn receive(
    fd: BorrowedFd<'_>,
    buffer: &mut [u8],
    most: usize,
    mode: Mode,
) -> Result<Option<Message>> {
    let mut control = Control([0; CONTROL]);
    let mut iov = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: all zeroes is a valid msghdr: null pointers with zero lengths.
    let mut header: libc::msghdr = unsafe { core::mem::zeroed() };
    header.msg_iov = &raw mut iov;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = CONTROL as _;
    let stays = match mode {
        Mode::Take => 0,
        Mode::Look => libc::MSG_PEEK,
    };
    let flags = libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT | stays;
    let received = retry_on_intr(|| {
        // SAFETY: the header points to buffers of the lengths it names; all outlive the call.
        let count = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut header, flags) };
        usize::try_from(count).map_err(|_| last_errno())
    });
    let length = match received {
        Ok(length) => length,
        Err(Errno::AGAIN) => return Ok(None),
        Err(errno) => return Err(errno).at("recvmsg", ""),
    };
    let mut message = Message {
        length,
        truncated: header.msg_flags & libc::MSG_TRUNC != 0,
        lost_fds: header.msg_flags & libc::MSG_CTRUNC != 0,
        fds: Vec::new(),
        sender: None,
        process: Process::Untold,
    };
    // SAFETY: recvmsg filled the header and the control buffer it points to, which still lives.
    unsafe { collect(&header, &mut message, most) };
    Ok(Some(message))
}

/// Moves descriptors and credentials out of the control data.
///
/// # Safety
/// `header` was filled by a successful recvmsg, its control buffer is alive, and this is the only
/// time it is looked at (the descriptors in it change hands).
unsafe fn collect(header: &libc::msghdr, message: &mut Message, most: usize) {
    // SAFETY: the caller vouches for the header.
    let mut part = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !part.is_null() {
        // SAFETY: FIRSTHDR and NXTHDR give null or a whole, aligned cmsghdr inside the buffer.
        let head = unsafe { part.read() };
        // SAFETY: as above; the data follows the header.
        let data = unsafe { libc::CMSG_DATA(part) };
        // SAFETY: pointer arithmetic inside the buffer, for the length of the bare header.
        let bare = unsafe { libc::CMSG_LEN(0) } as usize;
        #[allow(
            clippy::unnecessary_cast,
            reason = "socklen_t in musl, size_t in glibc"
        )]
        let size = (head.cmsg_len as usize).saturating_sub(bare);
        match (head.cmsg_level, head.cmsg_type) {
            (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                for place in 0..size / size_of::<i32>() {
                    // SAFETY: `place` is inside the `size` bytes of data; the kernel has put a new
                    // descriptor there, which nobody else owns.
                    let fd = unsafe {
                        let raw = data.cast::<i32>().add(place).read_unaligned();
                        OwnedFd::from_raw_fd(raw)
                    };
                    if message.fds.len() < most {
                        message.fds.push(fd);
                    } else {
                        message.lost_fds = true;
                    }
                }
            }
            (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) if size >= size_of::<libc::ucred>() => {
                // SAFETY: the size was checked; ucred is three integers, any bytes are valid.
                let from = unsafe { data.cast::<libc::ucred>().read_unaligned() };
                message.sender = Some(credentials(from));
            }
            (libc::SOL_SOCKET, SCM_PIDFD) if size >= size_of::<i32>() => {
                // SAFETY: the size was checked, and any bytes are a number.
                let raw = unsafe { data.cast::<i32>().read_unaligned() };
                message.process = if raw < 0 {
                    Process::Gone
                } else {
                    // SAFETY: the kernel has made it for this message; nobody else owns it.
                    Process::Pidfd(unsafe { OwnedFd::from_raw_fd(raw) })
                };
            }
            _ => {}
        }
        // SAFETY: as for FIRSTHDR; `part` belongs to `header`.
        part = unsafe { libc::CMSG_NXTHDR(header, part) };
    }
}
