//! The scrub child, `init scrub DEVICE BYTES`: reads the whole root, so that dm-verity checks every
//! block of it before the boot is found good. Not here: when that is asked for (`services::gate`),
//! and dm-verity itself, which answers a bad block with a panic or an error, as it was set up.

use std::process::ExitCode;

use kernel::Errno;
use kernel::block::BlockDevice;

use crate::errand;

/// Bytes read at once: enough to keep a disk busy, little enough for a small machine.
const CHUNK: usize = 256 << 10;
/// What O_DIRECT asks of an address.
const ALIGNMENT: usize = 4096;

/// In place of a number of bytes: all the device has.
pub const WHOLE: &str = "-";

/// Runs the child.
#[must_use]
pub fn run(device: &str, bytes: &str) -> ExitCode {
    // Services start meanwhile: they go first. Where that cannot be had, it only takes them longer.
    let _unset = kernel::system::idle_io();
    errand::answer(scrub(device, bytes).map(|read| read.to_string().into_bytes()))
}

/// Reads it all; how much that was.
fn scrub(device: &str, bytes: &str) -> Result<u64, String> {
    // Past the page cache: what is read here once would push out what services read again and again.
    let opened = match BlockDevice::open_direct_read(device) {
        Err(error) if error.errno == Errno::INVAL => BlockDevice::open(device),
        other => other,
    };
    let opened = opened.map_err(|error| error.to_string())?;
    let bytes = match bytes {
        WHOLE => opened.size().map_err(|error| error.to_string())?,
        number => number
            .parse()
            .map_err(|_| format!("`{number}` is no number of bytes"))?,
    };
    let mut memory = vec![0; CHUNK + ALIGNMENT];
    let start = memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
    let buffer = memory.get_mut(start..start + CHUNK).unwrap_or_default();
    let mut offset = 0;
    while offset < bytes {
        let left = usize::try_from(bytes - offset).unwrap_or(CHUNK).min(CHUNK);
        let part = buffer.get_mut(..left).unwrap_or_default();
        opened
            .read_at(offset, part)
            .map_err(|error| format!("{error}: it does not verify, or the disk fails"))?;
        offset += left as u64;
    }
    Ok(offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_it_is_read_and_what_is_not_there_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let size = 3 * CHUNK as u64 + 8192;
        file.as_file().set_len(size).unwrap();
        let path = file.path().to_str().unwrap();
        assert_eq!(scrub(path, &size.to_string()), Ok(size));
        assert_eq!(scrub(path, WHOLE), Ok(size));
        assert_eq!(scrub(path, "4096"), Ok(4096));
        let past = scrub(path, &(size + 4096).to_string()).unwrap_err();
        assert!(past.contains("at byte"), "{past}");
        assert!(scrub(path, "much").is_err());
        assert!(scrub("/nonexistent", WHOLE).is_err());
    }
}
