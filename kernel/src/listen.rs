//! Sockets and FIFOs that are opened on behalf of a service, before it runs. Not here: which
//! (`services::definition`), and how they get to the service (`spawn`).
//!
//! All are CLOEXEC, and blocking, as most programs that are given one expect: nothing here ever reads
//! or accepts from them, and the calls that make them do not wait.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, chmod, chownat, fstat, lstat, mknodat, open, unlink,
};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
    sockopt,
};
use rustix::process::{Gid, Uid};

use crate::error::{At, Errno, Error, Result};

/// Permissions and owner of what lies in the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// File mode.
    pub mode: u32,
    /// User and group; `None`: those of this process.
    pub owner: Option<(u32, u32)>,
}

/// A TCP socket that listens. IPv6 addresses take IPv4 connections too, where the address allows it.
///
/// # Errors
/// bind(2): EADDRINUSE, EADDRNOTAVAIL (the address is not there yet), EACCES.
pub fn tcp(address: SocketAddr, backlog: u32, reuse_port: bool) -> Result<OwnedFd> {
    let fd = internet(address, SocketType::STREAM, reuse_port)?;
    listen(&fd, backlog_of(backlog)).at("listen", address)?;
    Ok(fd)
}

/// A UDP socket.
///
/// # Errors
/// As [`tcp`].
pub fn udp(address: SocketAddr, reuse_port: bool) -> Result<OwnedFd> {
    internet(address, SocketType::DGRAM, reuse_port)
}

fn internet(address: SocketAddr, kind: SocketType, reuse_port: bool) -> Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let fd = socket_with(family, kind, SocketFlags::CLOEXEC, None).at("socket", address)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&fd, false).at("setsockopt IPV6_V6ONLY", address)?;
    }
    if kind == SocketType::STREAM {
        // Connections of the last run that are not quite over are no reason to refuse new ones.
        sockopt::set_socket_reuseaddr(&fd, true).at("setsockopt SO_REUSEADDR", address)?;
    }
    if reuse_port {
        sockopt::set_socket_reuseport(&fd, true).at("setsockopt SO_REUSEPORT", address)?;
    }
    bind(&fd, &address).at("bind", address)?;
    Ok(fd)
}

/// Kinds of local sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Local {
    /// SOCK_STREAM.
    Stream,
    /// SOCK_DGRAM.
    Datagram,
    /// SOCK_SEQPACKET.
    Seqpacket,
}

/// A local socket at `path`, which listens where its kind does. One that is left there by somebody
/// who listens no more is replaced; anything else stays, and is an error.
///
/// # Errors
/// EADDRINUSE: somebody listens there, or it is no socket. ENAMETOOLONG past 107 bytes; bind(2),
/// chmod(2), chown(2).
pub fn local(path: &str, kind: Local, access: Access, backlog: u32) -> Result<OwnedFd> {
    let address = SocketAddrUnix::new(path).at("bind", path)?;
    let socket_type = match kind {
        Local::Stream => SocketType::STREAM,
        Local::Datagram => SocketType::DGRAM,
        Local::Seqpacket => SocketType::SEQPACKET,
    };
    let flags = SocketFlags::CLOEXEC;
    let fd = socket_with(AddressFamily::UNIX, socket_type, flags, None).at("socket", path)?;
    remove_stale(path, &address, socket_type)?;
    bind(&fd, &address).at("bind", path)?;
    grant(path, access)?;
    match kind {
        // Nobody can connect before this, whatever the permissions were.
        Local::Stream | Local::Seqpacket => listen(&fd, backlog_of(backlog)).at("listen", path)?,
        Local::Datagram => {}
    }
    Ok(fd)
}

fn remove_stale(path: &str, address: &SocketAddrUnix, kind: SocketType) -> Result<()> {
    let in_use = || Err(Error::new("bind", path, Errno::ADDRINUSE));
    match lstat(path) {
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(errno).at("lstat", path),
        Ok(found) if FileType::from_raw_mode(found.st_mode) == FileType::Socket => {}
        Ok(_) => return in_use(),
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let probe = socket_with(AddressFamily::UNIX, kind, flags, None).at("socket", path)?;
    match connect(&probe, address) {
        Err(Errno::CONNREFUSED) => match unlink(path) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno).at("unlink", path),
        },
        Err(Errno::NOENT) => Ok(()),
        // A full queue, or a socket of another kind: somebody is there.
        Ok(()) | Err(_) => in_use(),
    }
}

/// A FIFO at `path`, made where there is none. It is open in both directions, so that a reader meets no
/// end of file between two writers.
///
/// # Errors
/// EEXIST: something else is there. mknod(2), open(2), chmod(2), chown(2).
pub fn fifo(path: &str, access: Access) -> Result<OwnedFd> {
    match mknodat(
        CWD,
        path,
        FileType::Fifo,
        Mode::from_raw_mode(access.mode),
        0,
    ) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno).at("mkfifo", path),
    }
    // Opened in both directions, a FIFO has nobody to wait for; something else might.
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let fd = open(path, flags, Mode::empty()).at("open", path)?;
    let found = fstat(&fd).at("fstat", path)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::Fifo {
        return Err(Error::new("mkfifo", path, Errno::EXIST));
    }
    rustix::fs::fcntl_setfl(&fd, OFlags::RDWR).at("fcntl", path)?;
    grant(path, access)?;
    Ok(fd)
}

/// The mask of this process may have taken bits away.
fn grant(path: &str, access: Access) -> Result<()> {
    if let Some((user, group)) = access.owner {
        let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        chownat(CWD, path, Some(user), Some(group), flags).at("chown", path)?;
    }
    chmod(path, Mode::from_raw_mode(access.mode)).at("chmod", path)
}

/// Removes the socket or FIFO at `path`; one that is gone already is fine.
///
/// # Errors
/// unlink(2).
pub fn remove(path: &str) -> Result<()> {
    match unlink(path) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno).at("unlink", path),
    }
}

/// What kind of local socket `fd` is; `None`: another socket.
///
/// # Errors
/// ENOTSOCK.
pub fn kind_of(fd: impl AsFd) -> Result<Option<Local>> {
    let kind = sockopt::socket_type(&fd).at("getsockopt", "SO_TYPE")?;
    Ok(match kind {
        SocketType::STREAM => Some(Local::Stream),
        SocketType::DGRAM => Some(Local::Datagram),
        SocketType::SEQPACKET => Some(Local::Seqpacket),
        _ => None,
    })
}

fn backlog_of(backlog: u32) -> i32 {
    i32::try_from(backlog).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

    use super::*;

    const OPEN: Access = Access {
        mode: 0o666,
        owner: None,
    };

    #[test]
    fn a_tcp_socket_of_both_families_listens_and_an_address_is_taken_once() {
        let fd = tcp("[::]:0".parse().unwrap(), 5, false).unwrap();
        let listener = TcpListener::from(fd);
        let port = listener.local_addr().unwrap().port();
        let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        client.write_all(b"x").unwrap();
        let mut byte = [0];
        listener.accept().unwrap().0.read_exact(&mut byte).unwrap();
        let taken = tcp(listener.local_addr().unwrap(), 5, false).unwrap_err();
        assert_eq!(taken.errno, Errno::ADDRINUSE);
        assert!(taken.to_string().contains(&port.to_string()), "{taken}");
    }

    #[test]
    fn a_port_can_be_shared_where_that_is_asked_for() {
        let first = udp("127.0.0.1:0".parse().unwrap(), true).unwrap();
        let address = UdpSocket::from(first.try_clone().unwrap())
            .local_addr()
            .unwrap();
        udp(address, true).unwrap();
        let taken = udp(address, false).unwrap_err();
        assert_eq!(taken.errno, Errno::ADDRINUSE);
    }

    #[test]
    fn local_sockets_replace_only_what_nobody_listens_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let text = path.to_str().unwrap();
        let access = Access {
            mode: 0o620,
            owner: None,
        };
        let first = local(text, Local::Stream, access, 5).unwrap();
        assert_eq!(
            path.metadata().unwrap().permissions().mode() & 0o7777,
            0o620
        );
        for kind in [Local::Stream, Local::Datagram, Local::Seqpacket] {
            let taken = local(text, kind, OPEN, 5).unwrap_err();
            assert_eq!(taken.errno, Errno::ADDRINUSE, "{kind:?}");
        }
        drop(UnixStream::connect(&path).unwrap());
        drop(first);
        let second = UnixListener::from(local(text, Local::Stream, OPEN, 5).unwrap());
        drop(UnixStream::connect(&path).unwrap());
        second.accept().unwrap();
        drop(second);
        remove(text).unwrap();
        remove(text).unwrap();
        let datagrams = UnixDatagram::from(local(text, Local::Datagram, OPEN, 5).unwrap());
        UnixDatagram::unbound()
            .unwrap()
            .send_to(b"x", &path)
            .unwrap();
        assert_eq!(datagrams.recv(&mut [0; 4]).unwrap(), 1);
        drop(datagrams);
        drop(local(text, Local::Seqpacket, OPEN, 5).unwrap());
        remove(text).unwrap();
        std::fs::write(&path, "precious").unwrap();
        let taken = local(text, Local::Stream, OPEN, 5).unwrap_err();
        assert_eq!(taken.errno, Errno::ADDRINUSE);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
        let taken = fifo(text, OPEN).unwrap_err();
        assert_eq!(taken.errno, Errno::EXIST);
    }

    #[test]
    fn a_fifo_outlives_its_writers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let text = path.to_str().unwrap();
        drop(fifo(text, OPEN).unwrap());
        let mut reader = std::fs::File::from(fifo(text, OPEN).unwrap());
        assert!(path.metadata().unwrap().file_type().is_fifo());
        for word in ["a", "b"] {
            std::fs::write(&path, word).unwrap();
            let mut byte = [0];
            reader.read_exact(&mut byte).unwrap();
            assert_eq!(byte, word.as_bytes());
        }
    }
}
