//! How many messages the logger has dropped in this boot, in a file beside the logs, for whoever counts:
//! the notes in the logs say which and why. Not here: dropping them (`beside`).

use std::fs;
use std::io;
use std::path::Path;

/// Its name in the directory of logs: no service can have it.
const FILE: &str = "=dropped";
/// Longest file that is looked at.
const FILE_MAX: usize = 32;

/// The count; 0 where nothing has been dropped.
#[must_use]
pub fn read(directory: &Path) -> u64 {
    let path = directory.join(FILE);
    let text = path
        .to_str()
        .map(|it| kernel::files::read_text(it, FILE_MAX));
    let number = text
        .and_then(Result::ok)
        .and_then(|it| it.trim().parse().ok());
    number.unwrap_or(0)
}

/// Keeps the count.
///
/// # Errors
/// The file cannot be written.
pub(super) fn write(directory: &Path, count: u64) -> io::Result<()> {
    fs::write(directory.join(FILE), format!("{count}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(read(directory.path()), 0);
        for count in [0, 812, u64::MAX] {
            write(directory.path(), count).unwrap();
            assert_eq!(read(directory.path()), count);
        }
        fs::write(directory.path().join(FILE), "many\n").unwrap();
        assert_eq!(read(directory.path()), 0);
    }
}
