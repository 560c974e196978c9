//! One service's log on disk: appended, rotated, and never more than twice [`ROTATE_AT`]. Not here: what
//! a line looks like (`lines`) and how it is read back (`reader`).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use services::id::ServiceName;

use super::lines::{TEXT_MAX, write_note};
use super::stamp::Stamp;

/// A file that would grow beyond this many bytes is renamed to `NAME.1`, over the one before.
pub const ROTATE_AT: u64 = 256 * 1024;

/// Longest line that is written: each byte of its text takes four at most.
const LINE_MAX: u64 = 5 * TEXT_MAX as u64;

/// Root writes, the file's group may read.
const MODE: u32 = 0o640;

/// The file that is being written for `name`, below `directory`.
///
/// It is the name itself. A name that ends in `.1` gets a `=`, which no name can hold, so that the log
/// of a service `x.1` never is the rotated log of `x`.
#[must_use]
pub fn current_path(directory: &Path, name: &ServiceName) -> PathBuf {
    let name = name.as_str();
    let mark = if name.ends_with(".1") { "=" } else { "" };
    directory.join(format!("{name}{mark}"))
}

/// The file with the lines before those of [`current_path`].
#[must_use]
pub fn rotated_path(directory: &Path, name: &ServiceName) -> PathBuf {
    let mut path = current_path(directory, name).into_os_string();
    path.push(".1");
    path.into()
}

/// The service that has written a file of the directory of logs; `None`: the file is something else.
#[must_use]
pub fn service_of(file: &str) -> Option<ServiceName> {
    let base = file.strip_suffix(".1").unwrap_or(file);
    let name = ServiceName::new(base.strip_suffix('=').unwrap_or(base)).ok()?;
    let nowhere = Path::new("");
    let paths = [current_path(nowhere, &name), rotated_path(nowhere, &name)];
    paths.contains(&PathBuf::from(file)).then_some(name)
}

/// The log of one service. It holds no descriptor between two writes: with thousands of services the
/// pipes alone are as many descriptors as a process wants to have.
#[derive(Debug)]
pub struct LogFile {
    current: PathBuf,
    rotated: PathBuf,
    lost: Option<Lost>,
}

/// What could not be written, until it can be told.
#[derive(Debug)]
struct Lost {
    lines: u64,
    bytes: u64,
    cause: String,
}

impl LogFile {
    /// The log of `name` below `directory`. Lines go after those that are there already; if the last
    /// one has no end (a logger died while it wrote), it is taken away: it is still where it came from.
    #[must_use]
    pub fn new(directory: &Path, name: &ServiceName) -> Self {
        let current = current_path(directory, name);
        // No file, or one that cannot be read: the first write tells.
        let _ = cut_torn_line(&current);
        Self {
            rotated: rotated_path(directory, name),
            current,
            lost: None,
        }
    }

    /// Appends `lines`, whole lines with their newlines. What cannot be written is counted, and told
    /// in the log itself by the next write that succeeds.
    pub fn append(&mut self, lines: &[u8], now: Stamp) {
        if lines.is_empty() {
            return;
        }
        let mut pending = Vec::new();
        if let Some(lost) = &self.lost {
            write_note(&mut pending, now, &lost.to_string());
            if self.append_all(&pending).is_ok() {
                self.lost = None;
            }
        }
        if let Err((rest, cause)) = self.append_all(lines) {
            self.count_lost(rest, &cause);
        }
    }

    /// Appends whole lines, rotating where they do not fit; on an error, gives what is not written.
    fn append_all<'a>(&self, lines: &'a [u8]) -> Result<(), (&'a [u8], io::Error)> {
        let mut rest = lines;
        while !rest.is_empty() {
            rest = self.append_some(rest).map_err(|error| (rest, error))?;
        }
        Ok(())
    }

    /// Appends as many whole lines as the file takes, and gives the others.
    fn append_some<'a>(&self, lines: &'a [u8]) -> io::Result<&'a [u8]> {
        let mut file = self.open()?;
        let mut size = file.metadata()?.len();
        let mut fitting = whole_lines_within(lines, ROTATE_AT.saturating_sub(size));
        if fitting == 0 && size > 0 {
            fs::rename(&self.current, &self.rotated)?;
            file = self.open()?;
            size = 0;
            fitting = whole_lines_within(lines, ROTATE_AT);
        }
        let (now, later) = match lines.split_at_checked(fitting) {
            Some((now, later)) if !now.is_empty() => (now, later),
            // One line larger than the file: the splitter makes none, but the loop must end.
            Some(_) | None => (lines, &[][..]),
        };
        if let Err(error) = file.write_all(now) {
            // Half a line would swallow the next one: take back what did get in.
            file.set_len(size)?;
            return Err(error);
        }
        Ok(later)
    }

    fn open(&self) -> io::Result<File> {
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(MODE)
            .open(&self.current)
    }

    fn count_lost(&mut self, rest: &[u8], cause: &io::Error) {
        let lines = rest.iter().filter(|byte| **byte == b'\n').count();
        let lost = self.lost.get_or_insert_with(|| Lost {
            lines: 0,
            bytes: 0,
            cause: cause.to_string(),
        });
        lost.lines = lost.lines.saturating_add(lines as u64);
        lost.bytes = lost.bytes.saturating_add(rest.len() as u64);
    }
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            lines,
            bytes,
            cause,
        } = self;
        write!(
            f,
            "{lines} lines ({bytes} bytes) lost before this one: {cause}"
        )
    }
}

/// How many bytes of `lines` are whole lines and not more than `room`.
fn whole_lines_within(lines: &[u8], room: u64) -> usize {
    let room = usize::try_from(room).unwrap_or(usize::MAX);
    match lines.get(..room) {
        None => lines.len(),
        Some(front) => front
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1),
    }
}

/// Takes the last line away if it has no end.
fn cut_torn_line(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let length = file.metadata()?.len();
    let mut tail = Vec::new();
    let looked_at = length.saturating_sub(LINE_MAX);
    file.seek(SeekFrom::Start(looked_at))?;
    file.read_to_end(&mut tail)?;
    let whole = tail.iter().rposition(|byte| *byte == b'\n');
    let whole = whole.map_or(looked_at, |at| looked_at + at as u64 + 1);
    if whole < length {
        file.set_len(whole)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const NOW: Stamp = Stamp::from_micros(1_000_000_000_000_000);

    fn name(text: &str) -> ServiceName {
        ServiceName::new(text).unwrap()
    }

    #[test]
    fn the_file_is_bounded_and_the_newest_lines_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = LogFile::new(directory.path(), &name("x"));
        let mut written = String::new();
        for number in 0..30_000 {
            let line = format!("{number:>40}\n");
            log.append(line.as_bytes(), NOW);
            written.push_str(&line);
        }
        let current = fs::read_to_string(directory.path().join("x")).unwrap();
        let rotated = fs::read_to_string(directory.path().join("x.1")).unwrap();
        assert!(current.len() as u64 <= ROTATE_AT && rotated.len() as u64 <= ROTATE_AT);
        assert!(rotated.len() as u64 > ROTATE_AT - 41);
        assert!(written.ends_with(&(rotated + &current)));
        let mode = fs::metadata(directory.path().join("x"))
            .unwrap()
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o640);
    }

    #[test]
    fn one_batch_larger_than_the_file_is_spread() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = LogFile::new(directory.path(), &name("x"));
        let batch = "0123456789\n".repeat(100_000);
        log.append(batch.as_bytes(), NOW);
        let current = fs::read_to_string(directory.path().join("x")).unwrap();
        let rotated = fs::read_to_string(directory.path().join("x.1")).unwrap();
        assert!(current.starts_with("0123456789\n") && rotated.starts_with("0123456789\n"));
        assert!(current.len() as u64 <= ROTATE_AT && rotated.len() as u64 <= ROTATE_AT);
    }

    #[test]
    fn a_torn_last_line_is_taken_away() {
        let directory = tempfile::tempdir().unwrap();
        for (before, whole) in [("torn", ""), ("one\ntorn", "one\n"), ("one\n", "one\n")] {
            fs::write(directory.path().join("x"), before).unwrap();
            let mut log = LogFile::new(directory.path(), &name("x"));
            log.append(b"next\n", NOW);
            let text = fs::read_to_string(directory.path().join("x")).unwrap();
            assert_eq!(text, format!("{whole}next\n"));
        }
    }

    #[test]
    fn what_is_lost_is_counted_and_told() {
        let directory = tempfile::tempdir().unwrap();
        let away = directory.path().join("log");
        let mut log = LogFile::new(&away, &name("x"));
        log.append(b"one\ntwo\n", NOW);
        log.append(b"three\n", NOW);
        fs::create_dir(&away).unwrap();
        log.append(b"four\n", NOW);
        log.append(b"five\n", NOW);
        assert_eq!(
            fs::read_to_string(away.join("x")).unwrap(),
            "2001-09-09T01:46:40.000000Z!3 lines (14 bytes) lost before this one: \
             No such file or directory (os error 2)\nfour\nfive\n"
        );
    }

    #[test]
    fn no_service_writes_into_the_rotated_log_of_another() {
        let directory = Path::new("/log");
        let mut paths = Vec::new();
        for text in ["x", "x.1", "x.1.1", "x.2"] {
            paths.push(current_path(directory, &name(text)));
            paths.push(rotated_path(directory, &name(text)));
            for path in paths.iter().rev().take(2) {
                let file = path.file_name().unwrap().to_str().unwrap();
                assert_eq!(service_of(file), Some(name(text)), "{file}");
            }
        }
        let all = paths.len();
        paths.sort();
        paths.dedup();
        assert_eq!(paths.len(), all);
        for other in ["", "=boot", "x=", "x=.1", ".1", "=.1", "x.1.1", ".x"] {
            assert_eq!(service_of(other), None, "{other}");
        }
        assert_eq!(current_path(directory, &name("x")), Path::new("/log/x"));
        assert_eq!(rotated_path(directory, &name("x")), Path::new("/log/x.1"));
    }
}
