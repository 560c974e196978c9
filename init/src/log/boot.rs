//! Which boots there are logs of: the file `=boot` in memory, with the ID that the kernel gave the present
//! one, and a directory for each boot on a disk. Not here: the logs in them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Its name in the directory of logs: no service can have it.
const FILE: &str = "=boot";
/// In the same directory: where logs are kept on a disk.
const DISK: &str = "=disk";
/// Where the kernel tells the ID of its boot.
const KERNEL: &str = "/proc/sys/kernel/random/boot_id";
/// Hexadecimal digits of an ID.
const DIGITS: usize = 32;
/// Longest file that is looked at.
const FILE_MAX: usize = 4096;
/// Digits of the number of a boot in the name of its directory.
const NUMBER: usize = 8;

/// Notes in `directory` which boot this is, and gives its ID.
///
/// # Errors
/// The ID cannot be read, or the file not be written.
pub fn note(directory: &Path) -> io::Result<String> {
    let id = read(Path::new(KERNEL)).ok_or_else(|| io::Error::other("no boot ID in /proc"))?;
    fs::write(directory.join(FILE), format!("{id}\n"))?;
    Ok(id)
}

/// The boot that the logs in `directory` are of, 32 digits; `None` where no logger has noted it.
#[must_use]
pub fn of(directory: &Path) -> Option<String> {
    read(&directory.join(FILE))
}

/// Notes in `directory` where the logs are kept on a disk, or that they are not.
///
/// # Errors
/// The file cannot be written, or not be removed.
pub fn note_disk(directory: &Path, disk: Option<&Path>) -> io::Result<()> {
    let file = directory.join(DISK);
    match disk {
        Some(disk) => fs::write(file, format!("{}\n", disk.display())),
        None => match fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        },
    }
}

/// Where the logs of `directory` are kept on a disk, if they are.
#[must_use]
pub fn disk_of(directory: &Path) -> Option<PathBuf> {
    let path = directory.join(DISK);
    let text = kernel::files::read_text(path.to_str()?, FILE_MAX).ok()?;
    let text = text.trim_end_matches('\n');
    text.starts_with('/').then(|| PathBuf::from(text))
}

/// A boot with logs on a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its number: later ones have larger ones, whatever the clock says.
    pub number: u32,
    /// Its ID, 32 digits.
    pub id: String,
    /// The directory with its logs.
    pub path: PathBuf,
}

impl Kept {
    /// The boot with this number and ID below `root`, whether it is there or not.
    #[must_use]
    pub fn new(root: &Path, number: u32, id: &str) -> Self {
        Self {
            number,
            id: id.to_owned(),
            path: root.join(format!("{number:0NUMBER$}-{id}")),
        }
    }
}

/// All boots with logs below `root`, from the oldest on. No directory is no boot.
///
/// # Errors
/// The directory is there and cannot be read.
pub fn kept(root: &Path) -> io::Result<Vec<Kept>> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut boots = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let parts = name.to_str().and_then(|name| name.split_once('-'));
        let found = parts.and_then(|(number, name)| {
            let boot = Kept::new(root, number.parse().ok()?, &id(name)?);
            (number.len() >= NUMBER && boot.path.is_dir()).then_some(boot)
        });
        boots.extend(found);
    }
    boots.sort_by_key(|it| it.number);
    Ok(boots)
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
        let noted = note(directory.path()).unwrap();
        let kernel = fs::read_to_string(KERNEL).unwrap();
        assert_eq!(of(directory.path()), id(kernel.trim_end()));
        assert_eq!(of(directory.path()), Some(noted));
        fs::write(directory.path().join(FILE), "nothing\n").unwrap();
        assert_eq!(of(directory.path()), None);
        assert_eq!(disk_of(directory.path()), None);
        for disk in [Some(Path::new("/var/log")), None, None] {
            note_disk(directory.path(), disk).unwrap();
            assert_eq!(disk_of(directory.path()).as_deref(), disk);
        }
    }

    #[test]
    fn boots_have_an_order() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        assert_eq!(kept(&root.join("none")).unwrap(), []);
        let boots: Vec<Kept> = [(2, "a"), (9, "b"), (10, "0")]
            .map(|(number, digit)| Kept::new(root, number, &digit.repeat(DIGITS)))
            .into();
        for boot in &boots {
            fs::create_dir(&boot.path).unwrap();
        }
        for other in [
            "lost+found",
            "3-a",
            &format!("00000004-{}", "g".repeat(DIGITS)),
        ] {
            fs::create_dir(root.join(other)).unwrap();
        }
        assert_eq!(kept(root).unwrap(), boots);
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
