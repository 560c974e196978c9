//! Variables of EFI firmware, by efivarfs. Not here: what they mean.
//!
//! The kernel marks most of them as immutable, so that nobody removes by mistake what the firmware
//! cannot do without; the mark is taken off for a change and comes back by itself.

use rustix::fs::{IFlags, Mode, OFlags, ioctl_getflags, ioctl_setflags, open, unlink};

use crate::error::{At, Errno, Result};
use crate::files;
use crate::mount::{MountFlags, UnmountFlags, mount, unmount};

/// Where the kernel tells that there is EFI firmware.
const FIRMWARE: &str = "/sys/firmware/efi";
/// Attributes: kept over a power-off, seen by the loader and by the running system.
const ATTRIBUTES: u32 = 0x1 | 0x2 | 0x4;

/// The variables, mounted for a moment.
#[derive(Debug)]
pub struct Variables {
    place: String,
}

impl Variables {
    /// Mounts them at `place`, which is made.
    ///
    /// # Errors
    /// ENOENT where the machine was not started by EFI firmware; mount(2): ENODEV where the kernel has
    /// no efivarfs.
    pub fn mount(place: &str) -> Result<Self> {
        if !files::is_dir(FIRMWARE) {
            return Err(Errno::NOENT).at("open", FIRMWARE);
        }
        files::make_dirs(place, 0o700)?;
        let flags = MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC;
        mount("efivarfs", place, "efivarfs", flags, "")?;
        Ok(Self {
            place: place.to_owned(),
        })
    }

    /// Sets the variable `name`, which ends with `-` and the GUID of its owner.
    ///
    /// # Errors
    /// open(2), write(2): ENOSPC, EIO, whatever the firmware says.
    pub fn set(&self, name: &str, value: &[u8]) -> Result<()> {
        let path = format!("{}/{name}", self.place);
        make_mutable(&path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
        let fd = open(&*path, flags, files::permissions(0o600)).at("open", &path)?;
        let bytes = [&ATTRIBUTES.to_le_bytes(), value].concat();
        // The variable is what one write brings.
        files::write_once(&fd, &bytes).at("write", &path)
    }

    /// Removes a variable; one that is not there is no error.
    ///
    /// # Errors
    /// unlink(2): whatever the firmware says.
    pub fn remove(&self, name: &str) -> Result<()> {
        let path = format!("{}/{name}", self.place);
        make_mutable(&path)?;
        match unlink(&*path) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno).at("unlink", &path),
        }
    }
}

fn make_mutable(path: &str) -> Result<()> {
    let fd = match open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(errno).at("open", path),
    };
    let flags = ioctl_getflags(&fd).at("FS_IOC_GETFLAGS", path)?;
    if flags.contains(IFlags::IMMUTABLE) {
        ioctl_setflags(&fd, flags.difference(IFlags::IMMUTABLE)).at("FS_IOC_SETFLAGS", path)?;
    }
    Ok(())
}

impl Drop for Variables {
    fn drop(&mut self) {
        // It holds nothing that could be lost.
        let _ = unmount(&self.place, UnmountFlags::DETACH);
    }
}
