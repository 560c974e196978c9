//! device-mapper by ioctl: create, load a table, resume, ask, remove. Not here: what a table says
//! (`mounts::verity`).
//!
//! Source: include/uapi/linux/dm-ioctl.h, Documentation/admin-guide/device-mapper. No udev: the node
//! is /dev/dm-N, which devtmpfs makes.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{CWD, FileType, Mode, OFlags, makedev, mknodat, open};

use crate::error::{At, Errno, Error, Result, last_errno};
use crate::files;

/// Bytes of `struct dm_ioctl`.
const HEADER: usize = 312;
/// Bytes of `struct dm_target_spec`.
const SPEC: usize = 40;
/// Header and room for tables and answers.
const BUFFER: usize = 16 * 1024;
/// Name and uuid, with their NUL.
const NAME_LEN: usize = 128;
const UUID_LEN: usize = 129;
const CONTROL: &str = "/dev/mapper/control";

/// `_IOWR(0xfd, 0, struct dm_ioctl)`; the command goes into the lowest byte.
#[allow(
    clippy::cast_possible_wrap,
    reason = "an int in musl, where the bits count"
)]
const OPCODE: libc::Ioctl = 0xc138_fd00_u32 as libc::Ioctl;

const READONLY: u32 = 1;
const STATUS_TABLE: u32 = 1 << 4;
const BUFFER_FULL: u32 = 1 << 8;
const DEFERRED_REMOVE: u32 = 1 << 17;

/// Commands: their number and their name in the header file.
#[derive(Clone, Copy)]
enum Command {
    Version,
    ListDevices,
    Create,
    Remove,
    Suspend,
    TableLoad,
    TableStatus,
    ListVersions,
}

impl Command {
    const fn number(self) -> u8 {
        match self {
            Self::Version => 0,
            Self::ListDevices => 2,
            Self::Create => 3,
            Self::Remove => 4,
            Self::Suspend => 6,
            Self::TableLoad => 9,
            Self::TableStatus => 12,
            Self::ListVersions => 13,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Version => "DM_VERSION",
            Self::ListDevices => "DM_LIST_DEVICES",
            Self::Create => "DM_DEV_CREATE",
            Self::Remove => "DM_DEV_REMOVE",
            Self::Suspend => "DM_DEV_SUSPEND",
            Self::TableLoad => "DM_TABLE_LOAD",
            Self::TableStatus => "DM_TABLE_STATUS",
            Self::ListVersions => "DM_LIST_VERSIONS",
        }
    }
}

/// One line of a table: `START LENGTH KIND PARAMETERS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// First sector (512 bytes) of the mapped device.
    pub start: u64,
    /// Sectors.
    pub length: u64,
    /// `verity`, `linear`, ...; for a status, the same.
    pub kind: String,
    /// What the kind asks for; for a status, what it tells (verity: `V` or `C`).
    pub parameters: String,
}

/// A mapped device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Minor number.
    pub minor: u32,
}

impl Device {
    /// Its node.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/dev/dm-{}", self.minor)
    }
}

/// The control device.
#[derive(Debug)]
pub struct Control {
    fd: OwnedFd,
}

impl Control {
    /// Opens /dev/mapper/control; makes the node where /proc/misc knows its number and devtmpfs has
    /// not made it.
    ///
    /// # Errors
    /// ENODEV when the kernel has no device-mapper (load dm-mod); EACCES.
    pub fn open() -> Result<Self> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let fd = match open(CONTROL, flags, Mode::empty()) {
            Err(Errno::NOENT) => {
                make_node()?;
                open(CONTROL, flags, Mode::empty())
            }
            other => other,
        };
        Ok(Self {
            fd: fd.at("open", CONTROL)?,
        })
    }

    /// Version of the interface: major, minor, patch.
    ///
    /// # Errors
    /// ioctl DM_VERSION.
    pub fn version(&self) -> Result<(u32, u32, u32)> {
        let answer = self.call(Command::Version, &Request::new("", ""))?;
        Ok((answer.word(0), answer.word(4), answer.word(8)))
    }

    /// Version of a kind of target (major, minor, patch); `None` while the kernel does not have it:
    /// its module may still have to be loaded.
    ///
    /// # Errors
    /// ioctl DM_LIST_VERSIONS; E2BIG past 16 KiB.
    pub fn target_version(&self, kind: &str) -> Result<Option<(u32, u32, u32)>> {
        let answer = self.call(Command::ListVersions, &Request::new("", ""))?;
        Ok(answer.version_of(kind))
    }

    /// Makes a device without a table.
    ///
    /// # Errors
    /// EBUSY when name or uuid are taken; EINVAL when they are too long.
    pub fn create(&self, name: &str, uuid: &str) -> Result<Device> {
        let request = Request::new(name, uuid);
        let answer = self.call(Command::Create, &request)?;
        Ok(Device {
            name: name.to_owned(),
            minor: answer.minor(),
        })
    }

    /// Loads a table, which [`Control::resume`] makes active.
    ///
    /// # Errors
    /// EINVAL for a table the kind refuses (the kernel log says why), ENXIO or ENOENT for a device
    /// in it, E2BIG past 16 KiB.
    pub fn load(&self, name: &str, table: &[Target], read_only: bool) -> Result<()> {
        let mut request = Request::new(name, "");
        request.flags = if read_only { READONLY } else { 0 };
        for target in table {
            request.push(target).at("DM_TABLE_LOAD", name)?;
        }
        self.call(Command::TableLoad, &request).map(drop)
    }

    /// Makes the loaded table active.
    ///
    /// # Errors
    /// ENXIO for no such device; EINVAL when nothing was loaded.
    pub fn resume(&self, name: &str) -> Result<()> {
        // Suspend without the suspend flag is resume.
        self.call(Command::Suspend, &Request::new(name, ""))
            .map(drop)
    }

    /// Removes a device. With `deferred`, one that is in use goes with its last user.
    ///
    /// # Errors
    /// EBUSY while it is in use, ENXIO for no such device.
    pub fn remove(&self, name: &str, deferred: bool) -> Result<()> {
        let mut request = Request::new(name, "");
        request.flags = if deferred { DEFERRED_REMOVE } else { 0 };
        self.call(Command::Remove, &request).map(drop)
    }

    /// What each target of the device tells of itself.
    ///
    /// # Errors
    /// ENXIO for no such device; E2BIG past 16 KiB.
    pub fn status(&self, name: &str) -> Result<Vec<Target>> {
        let answer = self.call(Command::TableStatus, &Request::new(name, ""))?;
        Ok(answer.targets())
    }

    /// The table of the device, as it was loaded.
    ///
    /// # Errors
    /// As [`Control::status`].
    pub fn table(&self, name: &str) -> Result<Vec<Target>> {
        let mut request = Request::new(name, "");
        request.flags = STATUS_TABLE;
        Ok(self.call(Command::TableStatus, &request)?.targets())
    }

    /// All mapped devices.
    ///
    /// # Errors
    /// ioctl; E2BIG past 16 KiB of names.
    pub fn devices(&self) -> Result<Vec<Device>> {
        let answer = self.call(Command::ListDevices, &Request::new("", ""))?;
        Ok(answer.names())
    }

    fn call(&self, command: Command, request: &Request) -> Result<Answer> {
        let object = &request.name;
        let mut buffer = request.encode().at(command.name(), object)?;
        let opcode = OPCODE | libc::Ioctl::from(command.number());
        let raw = self.fd.as_fd().as_raw_fd();
        // SAFETY: the buffer has the size its header names, and a header of the kernel's layout.
        let answer = unsafe { libc::ioctl(raw, opcode, buffer.0.as_mut_ptr()) };
        if answer < 0 {
            return Err(Error::new(command.name(), object, last_errno()));
        }
        let answer = Answer { buffer };
        if answer.flags() & BUFFER_FULL != 0 {
            return Err(Error::new(command.name(), object, Errno::TOOBIG));
        }
        Ok(answer)
    }
}

fn make_node() -> Result<()> {
    let misc = files::read_text("/proc/misc", 64 * 1024)?;
    let minor = misc_minor(&misc)
        .ok_or(Errno::NODEV)
        .at("open", "device-mapper")?;
    files::make_dirs("/dev/mapper", 0o755)?;
    let mode = Mode::RUSR | Mode::WUSR;
    // 10 is the major number of misc devices.
    match mknodat(
        CWD,
        CONTROL,
        FileType::CharacterDevice,
        mode,
        makedev(10, minor),
    ) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno).at("mknod", CONTROL),
    }
}

fn misc_minor(misc: &str) -> Option<u32> {
    misc.lines()
        .filter_map(|line| line.trim().split_once(' '))
        .find(|(_, name)| name.trim() == "device-mapper")
        .and_then(|(minor, _)| minor.parse().ok())
}

/// A buffer aligned for the 64-bit fields in it.
#[repr(C, align(8))]
struct Buffer([u8; BUFFER]);

struct Request {
    name: String,
    uuid: String,
    flags: u32,
    targets: u32,
    data: Vec<u8>,
}

impl Request {
    fn new(name: &str, uuid: &str) -> Self {
        Self {
            name: name.to_owned(),
            uuid: uuid.to_owned(),
            flags: 0,
            targets: 0,
            data: Vec::new(),
        }
    }

    /// Appends a target: `dm_target_spec`, then its parameters, NUL-terminated, padded to 8 bytes.
    fn push(&mut self, target: &Target) -> rustix::io::Result<()> {
        let name_ok = target.kind.len() < 16 && !target.kind.contains('\0');
        if !name_ok || target.parameters.contains('\0') {
            return Err(Errno::INVAL);
        }
        let length = target
            .parameters
            .len()
            .saturating_add(1)
            .next_multiple_of(8);
        // From this spec to the next one.
        let next = u32::try_from(SPEC.saturating_add(length)).map_err(|_| Errno::TOOBIG)?;
        self.data.extend_from_slice(&target.start.to_ne_bytes());
        self.data.extend_from_slice(&target.length.to_ne_bytes());
        self.data.extend_from_slice(&0_u32.to_ne_bytes());
        self.data.extend_from_slice(&next.to_ne_bytes());
        let mut kind = [0; 16];
        copy_text(&mut kind, &target.kind)?;
        self.data.extend_from_slice(&kind);
        let end = self.data.len().saturating_add(length);
        self.data.extend_from_slice(target.parameters.as_bytes());
        self.data.resize(end, 0);
        self.targets = self.targets.saturating_add(1);
        Ok(())
    }

    fn encode(&self) -> rustix::io::Result<Box<Buffer>> {
        let mut buffer = Box::new(Buffer([0; BUFFER]));
        let mut put =
            |at: usize, bytes: &[u8]| match buffer.0.get_mut(at..at.saturating_add(bytes.len())) {
                Some(place) => {
                    place.copy_from_slice(bytes);
                    Ok(())
                }
                None => Err(Errno::TOOBIG),
            };
        let words: [(usize, u32); 6] = [
            (0, 4), // version 4.0.0: the oldest interface with all that is used here
            (12, u32::try_from(BUFFER).unwrap_or(u32::MAX)),
            (16, u32::try_from(HEADER).unwrap_or(u32::MAX)),
            (20, self.targets),
            (28, self.flags),
            (32, 0),
        ];
        for (at, value) in words {
            put(at, &value.to_ne_bytes())?;
        }
        let mut name = [0; NAME_LEN];
        copy_text(&mut name, &self.name)?;
        put(48, &name)?;
        let mut uuid = [0; UUID_LEN];
        copy_text(&mut uuid, &self.uuid)?;
        put(176, &uuid)?;
        put(HEADER, &self.data)?;
        Ok(buffer)
    }
}

/// Copies `text` with room for its NUL.
fn copy_text(field: &mut [u8], text: &str) -> rustix::io::Result<()> {
    if text.len() >= field.len() || text.contains('\0') {
        return Err(Errno::INVAL);
    }
    for (place, byte) in field.iter_mut().zip(text.bytes()) {
        *place = byte;
    }
    Ok(())
}

struct Answer {
    buffer: Box<Buffer>,
}

impl Answer {
    fn word(&self, at: usize) -> u32 {
        let bytes = self.buffer.0.get(at..).and_then(|rest| rest.first_chunk());
        bytes.map_or(0, |bytes| u32::from_ne_bytes(*bytes))
    }

    fn long(&self, at: usize) -> u64 {
        let bytes = self.buffer.0.get(at..).and_then(|rest| rest.first_chunk());
        bytes.map_or(0, |bytes| u64::from_ne_bytes(*bytes))
    }

    fn text(&self, at: usize, limit: usize) -> String {
        let bytes = self.buffer.0.get(at..).unwrap_or_default();
        let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        let bytes = bytes.get(..limit).unwrap_or(bytes);
        String::from_utf8_lossy(bytes).into_owned()
    }

    fn flags(&self) -> u32 {
        self.word(28)
    }

    fn start(&self) -> usize {
        usize::try_from(self.word(16)).unwrap_or(HEADER)
    }

    /// The minor of `dev`, as huge_encode_dev of the kernel packs it.
    fn minor(&self) -> u32 {
        minor_of(self.long(40))
    }

    fn targets(&self) -> Vec<Target> {
        let start = self.start();
        let mut at = start;
        let mut targets = Vec::new();
        for _ in 0..self.word(20).min(1024) {
            targets.push(Target {
                start: self.long(at),
                length: self.long(at.saturating_add(8)),
                kind: self.text(at.saturating_add(24), 16),
                parameters: self.text(at.saturating_add(SPEC), BUFFER),
            });
            // In answers, `next` counts from the start of the data, not from this spec.
            let next = usize::try_from(self.word(at.saturating_add(20))).unwrap_or(0);
            at = start.saturating_add(next);
        }
        targets
    }

    /// `struct dm_target_versions`: offset to the next, version, name.
    fn version_of(&self, kind: &str) -> Option<(u32, u32, u32)> {
        let mut at = self.start();
        for _ in 0..1024 {
            let word = |index: usize| self.word(at.saturating_add(4 * index));
            if self.text(at.saturating_add(16), 16) == kind {
                return Some((word(1), word(2), word(3)));
            }
            match word(0) {
                0 => return None,
                next => at = at.saturating_add(usize::try_from(next).unwrap_or(BUFFER)),
            }
        }
        None
    }

    /// `struct dm_name_list`: device, offset to the next, name. An empty list has device 0.
    fn names(&self) -> Vec<Device> {
        let mut at = self.start();
        let mut devices = Vec::new();
        while self.long(at) != 0 && devices.len() < 1024 {
            devices.push(Device {
                name: self.text(at.saturating_add(12), NAME_LEN),
                minor: minor_of(self.long(at)),
            });
            match self.word(at.saturating_add(8)) {
                0 => break,
                next => at = at.saturating_add(usize::try_from(next).unwrap_or(BUFFER)),
            }
        }
        devices
    }
}

fn minor_of(device: u64) -> u32 {
    u32::try_from((device & 0xff) | ((device >> 12) & 0xf_ff00)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_the_kernels() {
        let mut request = Request::new("root-a", "SHARK-1");
        request.flags = READONLY;
        request
            .push(&Target {
                start: 0,
                length: 8,
                kind: "verity".to_owned(),
                parameters: "1 /dev/vda2".to_owned(),
            })
            .unwrap();
        let answer = Answer {
            buffer: request.encode().unwrap(),
        };
        assert_eq!((answer.word(0), answer.word(12)), (4, 16384));
        assert_eq!(
            (answer.start(), answer.word(20), answer.flags()),
            (312, 1, 1)
        );
        assert_eq!(answer.text(48, 128), "root-a");
        assert_eq!(answer.text(176, 129), "SHARK-1");
        assert_eq!(answer.word(312 + 20), 56);
        let target = &answer.targets()[0];
        assert_eq!((target.kind.as_str(), target.length), ("verity", 8));
        assert_eq!(target.parameters, "1 /dev/vda2");
        assert!(Request::new(&"x".repeat(128), "").encode().is_err());
        assert_eq!(minor_of(0x0010_fd01), 0x101);
    }

    #[test]
    fn versions_are_found_by_the_name_of_their_target() {
        let mut request = Request::new("", "");
        for (next, minor, name) in [(32_u32, 5_u32, "linear"), (0, 9, "verity")] {
            for word in [next, 1, minor, 0] {
                request.data.extend(word.to_ne_bytes());
            }
            let mut field = [0; 16];
            copy_text(&mut field, name).unwrap();
            request.data.extend(field);
        }
        let answer = Answer {
            buffer: request.encode().unwrap(),
        };
        assert_eq!(answer.version_of("linear"), Some((1, 5, 0)));
        assert_eq!(answer.version_of("verity"), Some((1, 9, 0)));
        assert_eq!(answer.version_of("zero"), None);
    }

    #[test]
    fn misc_names_the_control_device() {
        assert_eq!(misc_minor("130 watchdog\n236 device-mapper\n"), Some(236));
        assert_eq!(misc_minor(" 61 device-mapper\n"), Some(61));
        assert_eq!(misc_minor("236 device-mapper-x\n"), None);
    }

    #[test]
    fn a_linear_device_comes_and_goes() {
        let control = match Control::open() {
            Ok(control) => control,
            Err(error) => return println!("SKIPPED: no device-mapper here: {error}"),
        };
        assert_eq!(control.version().unwrap().0, 4);
        let name = format!("shark-test-{}", std::process::id());
        let device = control.create(&name, "").unwrap();
        let target = Target {
            start: 0,
            length: 16,
            kind: "zero".to_owned(),
            parameters: String::new(),
        };
        let loaded = control.load(&name, &[target], true);
        let listed = control.devices().unwrap();
        let resumed = control.resume(&name);
        let status = control.status(&name);
        control.remove(&name, false).unwrap();
        loaded.unwrap();
        resumed.unwrap();
        assert_eq!(status.unwrap()[0].kind, "zero");
        assert!(listed.contains(&device));
    }
}
