//! Kernel uevents: the netlink socket, and what was there before it was opened. Not here: what a
//! message says (`mounts::uevent`).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Dir, Mode, OFlags, open};
use rustix::io::retry_on_intr;
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recvfrom, socket_with, sockopt,
};

use crate::error::{At, Errno, Result};

/// Longest message: the kernel's UEVENT_BUFFER_SIZE is 2048, its header comes on top.
pub const MAX: usize = 4096;

/// What one receive brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uevent {
    /// A message of the kernel, of this many bytes.
    Message(usize),
    /// Messages were lost because nobody read: list the devices anew.
    Lost,
}

/// A non-blocking socket that hears the kernel's uevents.
#[derive(Debug)]
pub struct UeventSocket {
    fd: OwnedFd,
}

impl UeventSocket {
    /// Opens the socket. Open it first and list the devices ([`block_devices`]) after, so that none
    /// falls between.
    ///
    /// # Errors
    /// socket(2), bind(2): EPERM outside of the first network namespace's owner.
    pub fn open() -> Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let protocol = Some(KOBJECT_UEVENT);
        let fd = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, protocol)
            .at("socket", "uevent")?;
        // Best effort: the default of 208 KiB holds some hundred messages.
        let _ = sockopt::set_socket_recv_buffer_size_force(&fd, 1024 * 1024);
        // Group 1 is the kernel's own voice; 2 is udev's.
        bind(&fd, &SocketAddrNetlink::new(0, 1)).at("bind", "uevent")?;
        Ok(Self { fd })
    }

    /// The next message of the kernel, written to `buffer`; `None` when there is none. What other
    /// processes send is dropped.
    ///
    /// # Errors
    /// recvfrom(2), except EAGAIN and ENOBUFS.
    pub fn receive(&self, buffer: &mut [u8]) -> Result<Option<Uevent>> {
        loop {
            let received = retry_on_intr(|| recvfrom(&self.fd, &mut *buffer, RecvFlags::DONTWAIT));
            let (length, sender) = match received {
                Ok((length, _, sender)) => (length, sender),
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::NOBUFS) => return Ok(Some(Uevent::Lost)),
                Err(errno) => return Err(errno).at("recvfrom", "uevent"),
            };
            let sender = sender.and_then(|any| SocketAddrNetlink::try_from(any).ok());
            if sender.is_some_and(|sender| sender.pid() == 0) {
                return Ok(Some(Uevent::Message(length)));
            }
        }
    }
}

impl AsFd for UeventSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A block device that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockDevice {
    /// Its name: `vda1`. `/dev/NAME` is its node.
    pub name: String,
    /// Its uevent file: `MAJOR=…`, `DEVTYPE=…`, `PARTNAME=…`, a line each.
    pub uevent: String,
}

/// Disks and partitions that are there now, at most 4096, by name.
///
/// # Errors
/// open(2) on /sys/class/block. A device that vanishes meanwhile is left out.
pub fn block_devices() -> Result<Vec<BlockDevice>> {
    const PATH: &str = "/sys/class/block";
    let mut devices = Vec::new();
    for name in names(PATH, 4096)? {
        if let Ok(uevent) = crate::files::read_text(&format!("{PATH}/{name}/uevent"), MAX) {
            devices.push(BlockDevice { name, uevent });
        }
    }
    Ok(devices)
}

/// The entries of a directory, sorted; at most `limit` of them.
///
/// # Errors
/// open(2), getdents(2).
pub fn names(path: &str, limit: usize) -> Result<Vec<String>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = open(path, flags, Mode::empty()).at("open", path)?;
    let mut names = Vec::new();
    for entry in Dir::new(fd).at("open", path)? {
        let entry = entry.at("getdents", path)?;
        let name = entry.file_name().to_string_lossy();
        if name != "." && name != ".." && names.len() < limit {
            names.push(name.into_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// The modalias of every device, sorted and each once: what modules could be loaded for the
/// hardware that is there. At most 16384, /sys/devices walked 16 levels deep.
///
/// # Errors
/// open(2) on /sys/devices.
pub fn modaliases() -> Result<Vec<String>> {
    let mut found = std::collections::BTreeSet::new();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let top = open("/sys/devices", flags, Mode::empty()).at("open", "/sys/devices")?;
    walk(&top, 16, &mut found);
    Ok(found.into_iter().collect())
}

fn walk(dir: &OwnedFd, depth: u32, found: &mut std::collections::BTreeSet<String>) {
    // A device may vanish while we look: what cannot be read is not there.
    let Ok(entries) = Dir::read_from(dir) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name == c"modalias" {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            let text = rustix::fs::openat(dir, name, flags, Mode::empty())
                .and_then(|fd| crate::files::read_fd(&fd, MAX));
            let text = text.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned());
            if let Ok(text) = text
                && !text.is_empty()
                && found.len() < 16384
            {
                found.insert(text);
            }
            continue;
        }
        let is_dir = entry.file_type() == rustix::fs::FileType::Directory;
        if !is_dir || name == c"." || name == c".." || depth == 0 {
            continue;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        if let Ok(child) = rustix::fs::openat(dir, name, flags, Mode::empty()) {
            walk(&child, depth.saturating_sub(1), found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_what_is_there() {
        let devices = block_devices().unwrap();
        assert!(devices.iter().all(|d| d.uevent.contains("MAJOR=")));
        assert_eq!(
            devices.len(),
            std::fs::read_dir("/sys/class/block").unwrap().count()
        );
        let names = names("/proc/self/ns", 100).unwrap();
        assert!(names.iter().any(|name| name == "pid"));
        let aliases = modaliases().unwrap();
        assert!(aliases.iter().all(|alias| !alias.contains('\n')));
    }

    #[test]
    fn hears_the_kernel() {
        let socket = match UeventSocket::open() {
            Ok(socket) => socket,
            Err(error) => return println!("SKIPPED: no uevent socket here: {error}"),
        };
        let mut buffer = [0; MAX];
        while socket.receive(&mut buffer).unwrap().is_some() {}
        // Asks the kernel to repeat the announcement of a device that is everywhere.
        if let Err(error) = crate::files::write_value("/sys/class/mem/null/uevent", "change") {
            return println!("SKIPPED: cannot ask for a uevent: {error}");
        }
        let poller = crate::epoll::Poller::new().unwrap();
        poller
            .add(&socket, 0, crate::epoll::Readiness::READ)
            .unwrap();
        let mut events = crate::epoll::Events::new();
        for _ in 0..20 {
            let wait = std::time::Duration::from_millis(100);
            poller.wait(&mut events, Some(wait)).unwrap();
            if let Some(Uevent::Message(length)) = socket.receive(&mut buffer).unwrap() {
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                if text.starts_with("change@") && text.contains("DEVNAME=null") {
                    return;
                }
            }
        }
        println!("SKIPPED: the kernel sends no uevents to this network namespace");
    }
}
