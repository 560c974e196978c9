//! Local sockets: the control listener, the notify socket, descriptor passing. Not here: what is
//! said over them (`services::control`, `services::notify`).
//!
//! Everything is CLOEXEC and, but for [`connect_any`], non-blocking. Sending never raises SIGPIPE.

mod message;

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, chmod, unlink};
use rustix::io::retry_on_intr;
use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect,
    getsockname, listen, send, socket_with, socketpair, sockopt,
};

use crate::error::{At, Errno, Error, Result, last_errno};
pub use message::{MAX_FDS, Message, Process, recv_with_fds, send_with_fds};

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

/// Who is on the other side, as the kernel vouches for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Process; 0 when it lives outside of our PID namespace.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// A stream socket that others connect to.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
}

impl Listener {
    /// Makes the socket `path` with the permissions `mode` and listens. A socket left by an earlier
    /// run is removed first. Nobody can connect before the permissions are set.
    ///
    /// # Errors
    /// ENAMETOOLONG past 107 bytes; bind(2), chmod(2), listen(2).
    pub fn bind(path: &str, mode: u32) -> Result<Self> {
        let fd = bound(path, SocketType::STREAM, mode)?;
        listen(&fd, 64).at("listen", path)?;
        Ok(Self { fd })
    }

    /// One that a former program of this process has left open.
    #[must_use]
    pub const fn from_fd(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// The next connection, non-blocking; `None` when there is none (or it is gone already).
    ///
    /// # Errors
    /// accept4(2): EMFILE and ENFILE leave the connection queued, so the listener stays readable:
    /// stop watching it until a descriptor is free.
    pub fn accept(&self) -> Result<Option<OwnedFd>> {
        match retry_on_intr(|| accept_with(&self.fd, FLAGS)) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::AGAIN | Errno::CONNABORTED) => Ok(None),
            Err(errno) => Err(errno).at("accept", ""),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Connects to the stream socket `path`; the connection is non-blocking.
///
/// # Errors
/// connect(2): ENOENT, ECONNREFUSED (nobody listens), EACCES, EAGAIN (the queue is full).
pub fn connect_stream(path: &str) -> Result<OwnedFd> {
    let fd = socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None).at("socket", "")?;
    let address = SocketAddrUnix::new(path).at("connect", path)?;
    connect(&fd, &address).at("connect", path)?;
    Ok(fd)
}

/// Connects to the socket `path`, a stream or else a seqpacket one; waits while its queue is full.
///
/// # Errors
/// connect(2): ENOENT, ECONNREFUSED (nobody listens), EACCES, EPROTOTYPE (it takes datagrams).
pub fn connect_any(path: &str) -> Result<OwnedFd> {
    let address = SocketAddrUnix::new(path).at("connect", path)?;
    let attempt = |kind| {
        let fd = socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
        retry_on_intr(|| connect(&fd, &address)).map(|()| fd)
    };
    match attempt(SocketType::STREAM) {
        Err(Errno::PROTOTYPE) => attempt(SocketType::SEQPACKET),
        other => other,
    }
    .at("connect", path)
}

/// Who connected (SO_PEERCRED): the credentials at the time of connect(2).
///
/// # Errors
/// getsockopt(2); none is known for a connected socket.
pub fn peer(fd: impl AsFd) -> Result<Credentials> {
    // Not rustix: its pid cannot be 0, which is what a peer of another PID namespace has.
    let mut peer = MaybeUninit::<libc::ucred>::zeroed();
    let mut size = libc::socklen_t::try_from(size_of::<libc::ucred>()).unwrap_or(0);
    // SAFETY: `peer` has room for `size` bytes and both outlive the call.
    let answer = unsafe {
        libc::getsockopt(
            fd.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            peer.as_mut_ptr().cast(),
            &raw mut size,
        )
    };
    if answer != 0 {
        return Err(Error::new("getsockopt", "SO_PEERCRED", last_errno()));
    }
    // SAFETY: three integers, zeroed before and written by the kernel.
    let peer = unsafe { peer.assume_init() };
    Ok(credentials(peer))
}

/// Most supplementary groups of a peer that are looked at.
const PEER_GROUPS: usize = 256;

/// Supplementary groups of who connected (SO_PEERGROUPS, since Linux 4.13), as they were at the time
/// of connect(2).
///
/// # Errors
/// getsockopt(2): ERANGE for somebody in more than 256 groups.
pub fn peer_groups(fd: impl AsFd) -> Result<Vec<u32>> {
    let mut groups = [0_u32; PEER_GROUPS];
    let mut size = libc::socklen_t::try_from(size_of_val(&groups)).unwrap_or(0);
    // SAFETY: `groups` has room for `size` bytes, any bytes are valid in it, and both outlive the
    // call.
    let answer = unsafe {
        libc::getsockopt(
            fd.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERGROUPS,
            groups.as_mut_ptr().cast(),
            &raw mut size,
        )
    };
    if answer != 0 {
        return Err(Error::new("getsockopt", "SO_PEERGROUPS", last_errno()));
    }
    let count = usize::try_from(size).unwrap_or(0) / size_of::<u32>();
    Ok(groups.into_iter().take(count).collect())
}

fn credentials(from: libc::ucred) -> Credentials {
    Credentials {
        pid: u32::try_from(from.pid).unwrap_or(0),
        uid: from.uid,
        gid: from.gid,
    }
}

/// Sends what there is room for on a stream; `None`: no room now.
///
/// # Errors
/// send(2), except EAGAIN. EPIPE or ECONNRESET: the other side is gone.
pub fn send_some(fd: impl AsFd, bytes: &[u8]) -> Result<Option<usize>> {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    match retry_on_intr(|| send(&fd, bytes, flags)) {
        Ok(count) => Ok(Some(count)),
        Err(Errno::AGAIN) => Ok(None),
        Err(errno) => Err(errno).at("send", ""),
    }
}

/// Two connected sockets that keep message boundaries and tell the end (SOCK_SEQPACKET).
///
/// # Errors
/// socketpair(2): out of descriptors.
pub fn seqpacket_pair() -> Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, FLAGS, None).at("socketpair", "")
}

/// Whether the datagram socket `path` is full: whoever sends to it has to wait.
///
/// # Errors
/// connect(2): ENOENT, ECONNREFUSED (nobody listens), EPROTOTYPE (it takes no datagrams); poll(2).
pub fn is_full(path: &str) -> Result<bool> {
    let fd = socket_with(AddressFamily::UNIX, SocketType::DGRAM, FLAGS, None).at("socket", "")?;
    let address = SocketAddrUnix::new(path).at("connect", path)?;
    connect(&fd, &address).at("connect", path)?;
    let mut room = [PollFd::new(&fd, PollFlags::OUT)];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let ready = retry_on_intr(|| poll(&mut room, Some(&at_once))).at("poll", path)?;
    Ok(ready == 0)
}

/// One datagram of sd_notify(3).
#[derive(Debug)]
pub struct Datagram {
    /// Bytes of it in the buffer.
    pub length: usize,
    /// It was longer than the buffer: its end is lost, so it had better not be believed.
    pub truncated: bool,
    /// Who sent it; the kernel fills it in, a sender without CAP_SYS_ADMIN cannot forge it.
    pub sender: Credentials,
    /// The sender as a process, where the kernel tells (since Linux 6.5).
    pub process: Process,
    /// The descriptors that came along, CLOEXEC.
    pub fds: Vec<OwnedFd>,
    /// More came than could be taken; those are closed.
    pub lost_fds: bool,
}

/// SO_PASSPIDFD, which the libc crate does not name everywhere (asm-generic/socket.h).
const SO_PASSPIDFD: i32 = 76;

/// The socket that services report to.
#[derive(Debug)]
pub struct NotifySocket {
    fd: OwnedFd,
}

impl NotifySocket {
    /// Makes the datagram socket `path`, writable by everybody: who may say what is decided by the
    /// credentials of each datagram.
    ///
    /// # Errors
    /// As [`Listener::bind`].
    pub fn bind(path: &str) -> Result<Self> {
        Self::listening(bound(path, SocketType::DGRAM, 0o666)?)
    }

    /// Makes a datagram socket with an abstract name of the kernel's choice, which nobody else can
    /// have taken: it has no permissions, and can be reached by whoever shares our network namespace.
    ///
    /// # Errors
    /// bind(2), getsockname(2): none is known.
    pub fn autobind() -> Result<(Self, String)> {
        let fd =
            socket_with(AddressFamily::UNIX, SocketType::DGRAM, FLAGS, None).at("socket", "")?;
        bind(&fd, &SocketAddrUnix::new_unnamed()).at("bind", "(abstract)")?;
        let address = getsockname(&fd).at("getsockname", "")?;
        let address = SocketAddrUnix::try_from(address).at("getsockname", "")?;
        let name = address.abstract_name().ok_or(Errno::INVAL);
        let name = String::from_utf8_lossy(name.at("getsockname", "(abstract)")?).into_owned();
        Ok((Self::listening(fd)?, name))
    }

    fn listening(fd: OwnedFd) -> Result<Self> {
        sockopt::set_socket_passcred(&fd, true).at("setsockopt", "SO_PASSCRED")?;
        let on = 1_i32;
        let size = libc::socklen_t::try_from(size_of_val(&on)).unwrap_or(0);
        // A kernel before 6.5 does not know it: then a sender is known by its number alone.
        // SAFETY: `on` has `size` bytes and outlives the call.
        let _unknown = unsafe {
            libc::setsockopt(
                fd.as_raw_fd(),
                libc::SOL_SOCKET,
                SO_PASSPIDFD,
                (&raw const on).cast(),
                size,
            )
        };
        Ok(Self { fd })
    }

    /// One that a former program of this process has left open.
    #[must_use]
    pub const fn from_fd(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// Leaves the socket itself.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// The next datagram, written to `buffer`; `None` when there is none. What is not taken out of
    /// it is closed with it. A datagram without credentials is dropped.
    ///
    /// # Errors
    /// recvmsg(2), except EAGAIN.
    pub fn receive(&self, buffer: &mut [u8]) -> Result<Option<Datagram>> {
        self.next(buffer, message::Mode::Take)
    }

    /// The same, and it stays the next one: whoever is done with it takes it by [`Self::receive`].
    ///
    /// # Errors
    /// As [`Self::receive`].
    pub fn look(&self, buffer: &mut [u8]) -> Result<Option<Datagram>> {
        self.next(buffer, message::Mode::Look)
    }

    fn next(&self, buffer: &mut [u8], mode: message::Mode) -> Result<Option<Datagram>> {
        loop {
            let most = message::KERNEL_MAX_FDS;
            let Some(message) = message::receive(self.fd.as_fd(), buffer, most, mode)? else {
                return Ok(None);
            };
            if message.sender.is_none() && mode == message::Mode::Look {
                message::receive(self.fd.as_fd(), &mut [], most, message::Mode::Take)?;
            }
            if let Some(sender) = message.sender {
                return Ok(Some(Datagram {
                    length: message.length,
                    truncated: message.truncated,
                    sender,
                    process: message.process,
                    fds: message.fds,
                    lost_fds: message.lost_fds,
                }));
            }
        }
    }
}

impl AsFd for NotifySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn bound(path: &str, kind: SocketType, mode: u32) -> Result<OwnedFd> {
    let address = SocketAddrUnix::new(path).at("bind", path)?;
    let fd = socket_with(AddressFamily::UNIX, kind, FLAGS, None).at("socket", "")?;
    match unlink(path) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno).at("unlink", path),
    }
    bind(&fd, &address).at("bind", path)?;
    chmod(path, Mode::from_raw_mode(mode)).at("chmod", path)?;
    Ok(fd)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipe::{self, Read};

    fn path(dir: &tempfile::TempDir, name: &str) -> String {
        dir.path().join(name).to_str().unwrap().to_owned()
    }

    #[test]
    fn a_listener_knows_its_peers() {
        let dir = tempfile::tempdir().unwrap();
        let path = path(&dir, "control");
        drop(Listener::bind(&path, 0o600).unwrap());
        let listener = Listener::bind(&path, 0o600).unwrap();
        assert!(listener.accept().unwrap().is_none());
        let client = connect_stream(&path).unwrap();
        let server = listener.accept().unwrap().unwrap();
        let who = peer(&server).unwrap();
        assert_eq!(who.pid, std::process::id());
        assert_eq!(who.uid, rustix::process::geteuid().as_raw());
        let own = rustix::process::getgroups().unwrap();
        let own: Vec<u32> = own.into_iter().map(rustix::process::Gid::as_raw).collect();
        assert_eq!(peer_groups(&server).unwrap(), own);
        assert_eq!(send_some(&server, b"hello").unwrap(), Some(5));
        let mut buffer = [0; 16];
        assert_eq!(pipe::read(&client, &mut buffer).unwrap(), Read::Data(5));
        assert_eq!(pipe::read(&client, &mut buffer).unwrap(), Read::Later);
        drop(client);
        assert_eq!(send_some(&server, b"x").unwrap_err().errno, Errno::PIPE);
        let long = format!("{path}{}", "x".repeat(120));
        let errno = Listener::bind(&long, 0o600).unwrap_err().errno;
        assert_eq!(errno, Errno::NAMETOOLONG);
    }

    #[test]
    fn a_stream_and_a_seqpacket_socket_both_take_connections() {
        let dir = tempfile::tempdir().unwrap();
        let path = path(&dir, "s");
        let errno = |path: &str| connect_any(path).unwrap_err().errno;
        assert_eq!(errno(&path), Errno::NOENT);
        let listener = Listener::bind(&path, 0o600).unwrap();
        assert!(connect_any(&path).is_ok());
        drop(listener);
        assert_eq!(errno(&path), Errno::CONNREFUSED);
        let packets = bound(&path, SocketType::SEQPACKET, 0o600).unwrap();
        listen(&packets, 1).unwrap();
        assert!(connect_any(&path).is_ok());
        drop(bound(&path, SocketType::DGRAM, 0o600).unwrap());
        let _datagrams = bound(&path, SocketType::DGRAM, 0o600).unwrap();
        assert_eq!(errno(&path), Errno::PROTOTYPE);
        assert_eq!(errno(&"x".repeat(200)), Errno::NAMETOOLONG);
    }

    #[test]
    fn a_datagram_names_its_sender_and_its_descriptors_are_closed() {
        let dir = tempfile::tempdir().unwrap();
        let path = path(&dir, "notify");
        let socket = NotifySocket::bind(&path).unwrap();
        let mut buffer = [0; 16];
        assert!(socket.receive(&mut buffer).unwrap().is_none());
        let client = socket_with(AddressFamily::UNIX, SocketType::DGRAM, FLAGS, None).unwrap();
        connect(&client, &SocketAddrUnix::new(path.as_str()).unwrap()).unwrap();
        let (reader, writer) = pipe::pair().unwrap();
        assert!(send_with_fds(&client, b"READY=1", &[writer.as_fd()]).unwrap());
        drop(writer);
        let got = socket.receive(&mut buffer).unwrap().unwrap();
        assert_eq!(&buffer[..got.length], b"READY=1");
        assert!(!got.truncated && !got.lost_fds);
        assert_eq!(got.fds.len(), 1);
        match &got.process {
            Process::Pidfd(pidfd) => assert!(!crate::pidfd::is_reaped(pidfd)),
            Process::Untold => {}
            Process::Gone => panic!("this very process is there"),
        }
        assert_eq!(got.sender.pid, std::process::id());
        assert_eq!(got.sender.uid, rustix::process::geteuid().as_raw());
        drop(got);
        // The only other write end was in the datagram: the end of file tells that it was closed.
        assert_eq!(pipe::read(&reader, &mut [0]).unwrap(), Read::End);
        send_some(&client, &[b'x'; 17]).unwrap();
        let got = socket.receive(&mut buffer).unwrap().unwrap();
        assert!(got.truncated && got.length == 16);
        assert!(socket.receive(&mut buffer).unwrap().is_none());
    }

    #[test]
    fn as_many_descriptors_come_as_the_kernel_lets_through() {
        let (socket, name) = NotifySocket::autobind().unwrap();
        let client = socket_with(AddressFamily::UNIX, SocketType::DGRAM, FLAGS, None).unwrap();
        let address = SocketAddrUnix::new_abstract_name(name.as_bytes()).unwrap();
        connect(&client, &address).unwrap();
        let (reader, writer) = pipe::pair().unwrap();
        let many = vec![writer.as_fd(); message::KERNEL_MAX_FDS];
        let mut space = [MaybeUninit::uninit(); 2048];
        let mut control = rustix::net::SendAncillaryBuffer::new(&mut space);
        assert!(control.push(rustix::net::SendAncillaryMessage::ScmRights(&many)));
        let text = [std::io::IoSlice::new(b"FDSTORE=1")];
        rustix::net::sendmsg(&client, &text, &mut control, SendFlags::empty()).unwrap();
        drop(writer);
        let mut buffer = [0; 16];
        let got = socket.receive(&mut buffer).unwrap().unwrap();
        assert_eq!(got.fds.len(), message::KERNEL_MAX_FDS);
        assert!(!got.lost_fds && got.sender.pid == std::process::id());
        drop(got);
        assert_eq!(pipe::read(&reader, &mut [0]).unwrap(), Read::End);
    }

    #[test]
    fn descriptors_travel() {
        let (left, right) = seqpacket_pair().unwrap();
        let mut buffer = [0; 16];
        assert!(recv_with_fds(&right, &mut buffer).unwrap().is_none());
        let (reader, writer) = pipe::pair().unwrap();
        assert!(send_with_fds(&left, b"name", &[reader.as_fd()]).unwrap());
        drop(reader);
        let message = recv_with_fds(&right, &mut buffer).unwrap().unwrap();
        assert_eq!(&buffer[..message.length], b"name");
        let [got] = message.fds.as_slice() else {
            panic!("one descriptor was sent");
        };
        let flags = rustix::io::fcntl_getfd(got).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        rustix::io::write(&writer, b"hi").unwrap();
        assert_eq!(pipe::read(got, &mut buffer).unwrap(), Read::Data(2));
        drop(left);
        let end = recv_with_fds(&right, &mut buffer).unwrap().unwrap();
        assert!(end.length == 0 && end.fds.is_empty());
        let many = vec![writer.as_fd(); MAX_FDS + 1];
        let errno = send_with_fds(&right, b"x", &many).unwrap_err().errno;
        assert_eq!(errno, Errno::INVAL);
    }
}
