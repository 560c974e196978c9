//! Which boot the logs of a directory are of: the file `=boot`, with the ID that the kernel gave that
//! boot. Not here: logs of other boots, of which there are none.

use std::fs;
use std::io;
use std::path::Path;

/// Its name in the directory of logs: no service can have it.
const FILE: &str = "=boot";
/// Where the kernel tells the ID of its boot.
const KERNEL: &str = "/proc/sys/kernel/random/boot_id";
/// Hexadecimal digits of an ID.
const DIGITS: usize = 32;
/// Longest file that is looked at.
const FILE_MAX: usize = 64;

/// Notes in `directory` which boot this is.
///
/// # Errors
/// The ID cannot be read, or the file not be written.
pub fn note(directory: &Path) -> io::Result<()> {
    let id = read(Path::new(KERNEL)).ok_or_else(|| io::Error::other("no boot ID in /proc"))?;
    fs::write(directory.join(FILE), id + "\n")
}

/// The boot that the logs in `directory` are of, 32 digits; `None` where no logger has noted it.
#[must_use]
pub fn of(directory: &Path) -> Option<String> {
    read(&directory.join(FILE))
}

fn read(path: &Path) -> Option<String> {
    let text = kernel::files::read_text(path.to_str()?, FILE_MAX).ok()?;
    id(text.trim_end())
}

/// The ID that `text` is: 32 digits, with hyphens or without, in lower case.
#[must_use]
pub fn id(text: &str) -> Option<String> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let whole = digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    whole.then(|| digits.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_read() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(of(directory.path()), None);
        note(directory.path()).unwrap();
        let kernel = fs::read_to_string(KERNEL).unwrap();
        assert_eq!(of(directory.path()), id(kernel.trim_end()));
        assert_eq!(of(directory.path()).unwrap().len(), DIGITS);
        fs::write(directory.path().join(FILE), "nothing\n").unwrap();
        assert_eq!(of(directory.path()), None);
    }

    #[test]
    fn an_id_is_thirty_two_digits() {
        let expect = Some("0123456789abcdef0123456789abcdef".to_owned());
        assert_eq!(id("0123456789abcdef0123456789abcdef"), expect);
        assert_eq!(id("01234567-89AB-cdef-0123-456789abcdef"), expect);
        for wrong in ["", "0", "0123456789abcdef0123456789abcdeg", "-1"] {
            assert_eq!(id(wrong), None);
        }
    }
}
