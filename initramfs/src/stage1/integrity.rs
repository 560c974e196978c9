//! Reads a root through dm-verity before it is booted, so that a damaged slot is found while the
//! other can still be taken.
//!
//! dm-verity checks a block when it is read. A flipped byte would otherwise be met by a service,
//! minutes later, in a system that has no way back but a reboot. So the whole image is read here,
//! when it is at most [`WHOLE_LIMIT`]; of a larger one, what the boot itself needs: the superblock,
//! init, and what lies in [`ESSENTIAL`]. The rest of a large image is dm-verity's at run time.
//! Setting up the device is not here.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{init_file, watchdog};

/// The largest image that is read whole, in bytes: a third of a second of a slow eMMC's time for
/// each 64 MiB.
pub(crate) const WHOLE_LIMIT: u64 = 256 << 20;
/// Bytes at the start of a larger image that are read: the superblock of every filesystem we boot
/// lies in them.
const HEAD: u64 = 64 << 10;
/// What the boot itself needs from the root: below these, every file of a larger image is read.
const ESSENTIAL: [&str; 2] = [init_file::INIT, "/usr/lib/shark"];
/// The most files read below [`ESSENTIAL`].
const FILE_LIMIT: u32 = 4096;
/// Bytes asked for at once: large enough that the disk is kept busy, small enough for a small
/// machine.
const CHUNK: usize = 1 << 20;
/// What dm-verity checks at once.
const BLOCK: usize = 4096;

/// A block that could not be read.
#[derive(Debug)]
pub(crate) struct Damage {
    /// What was being read, and the offset in it, in bytes.
    what: String,
    offset: u64,
    error: io::Error,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            offset,
            error,
        } = self;
        // Short at its start, since the boot record keeps no more than that.
        let block = offset / BLOCK as u64;
        write!(f, "block {block} of {what} (byte {offset}): {error}")
    }
}

/// How much of an image of `bytes` is read from the device itself.
pub(crate) fn share_of(bytes: u64) -> u64 {
    if bytes <= WHOLE_LIMIT { bytes } else { HEAD }
}

/// Reads the first `bytes` of `device`.
pub(crate) fn read_device(device: &str, bytes: u64) -> Result<(), Damage> {
    let file = File::open(device).map_err(|error| Damage {
        what: device.to_owned(),
        offset: 0,
        error,
    })?;
    read_range(&file, device, bytes)
}

/// Reads every essential file of the root mounted at `root`; how many bytes they have.
pub(crate) fn read_essential(root: &Path) -> Result<u64, Damage> {
    // What does not resolve is not there, and is missed by whoever needs it.
    let mut left: Vec<PathBuf> = ESSENTIAL
        .iter()
        .filter_map(|path| init_file::resolve(root, path).ok())
        .collect();
    let (mut bytes, mut files) = (0, 0);
    while let Some(path) = left.pop() {
        let damage = |error| Damage {
            what: path.display().to_string(),
            offset: 0,
            error,
        };
        let metadata = match fs::symlink_metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(damage(error)),
        };
        if metadata.is_dir() {
            for entry in fs::read_dir(&path).map_err(damage)? {
                left.push(entry.map_err(damage)?.path());
            }
        } else if metadata.is_file() && files < FILE_LIMIT {
            files += 1;
            bytes += read_file(&path)?;
        }
    }
    Ok(bytes)
}

fn read_range(file: &File, name: &str, bytes: u64) -> Result<(), Damage> {
    let mut buffer = vec![0; CHUNK];
    let mut offset = 0;
    while offset < bytes {
        watchdog::feed();
        let length = usize::try_from(bytes - offset).unwrap_or(CHUNK).min(CHUNK);
        let part = buffer.get_mut(..length).unwrap_or_default();
        match file.read_at(part, offset) {
            Ok(0) => {
                let error = io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    format!("ends before {bytes} bytes"),
                );
                return Err(Damage {
                    what: name.to_owned(),
                    offset,
                    error,
                });
            }
            Ok(read) => offset += read as u64,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                return Err(Damage {
                    what: name.to_owned(),
                    offset,
                    error,
                });
            }
        }
    }
    Ok(())
}

fn read_file(path: &Path) -> Result<u64, Damage> {
    let damage = |offset, error| Damage {
        what: path.display().to_string(),
        offset,
        error,
    };
    let mut file = File::open(path).map_err(|error| damage(0, error))?;
    let mut buffer = vec![0; CHUNK / 16];
    let mut offset = 0;
    loop {
        watchdog::feed();
        match file.read(&mut buffer) {
            Ok(0) => return Ok(offset),
            Ok(read) => offset += read as u64,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(damage(offset, error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_images_are_read_whole_and_large_ones_in_part() {
        assert_eq!(share_of(WHOLE_LIMIT), WHOLE_LIMIT);
        assert_eq!(share_of(WHOLE_LIMIT + 4096), HEAD);
        assert_eq!(share_of(0), 0);
    }

    #[test]
    fn a_device_that_ends_early_is_damaged() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(CHUNK as u64 + 8192).unwrap();
        let name = file.path().to_str().unwrap();
        assert!(read_device(name, CHUNK as u64 + 8192).is_ok());
        let damage = read_device(name, CHUNK as u64 + 8193).unwrap_err();
        assert!(damage.to_string().contains("block 258"), "{damage}");
        assert!(read_device("/nonexistent/dm-0", 4096).is_err());
    }

    #[test]
    fn essential_files_are_those_of_init_and_its_services() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(read_essential(root.path()).unwrap(), 0);
        fs::create_dir_all(root.path().join("usr/lib/shark/services")).unwrap();
        fs::create_dir_all(root.path().join("usr/sbin")).unwrap();
        fs::write(root.path().join("usr/sbin/init"), [1; 1000]).unwrap();
        std::os::unix::fs::symlink("usr/sbin", root.path().join("sbin")).unwrap();
        fs::write(root.path().join("usr/lib/shark/services/a.toml"), [1; 10]).unwrap();
        fs::write(root.path().join("usr/lib/other"), [1; 100]).unwrap();
        // The link /sbin is followed.
        assert_eq!(read_essential(root.path()).unwrap(), 1010);
    }
}
