//! Reads logs back: the last lines of a service, and those that come after, across rotation. Not here:
//! writing them (`file`), waiting for more, and showing them to people (`sharkctl`).

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use services::id::ServiceName;

use super::file::{current_path, rotated_path, service_of};

/// Bytes read at a time.
const BLOCK: usize = 64 * 1024;

/// Reads one service's log, from its oldest kept line on.
///
/// It holds the file it reads open, so that a rotation takes nothing away from it: the rest of a
/// renamed file is read first, then the new one.
#[derive(Debug)]
pub struct Reader {
    current: PathBuf,
    rotated: PathBuf,
    open: Option<Open>,
    /// A line whose end has not been read yet.
    partial: Vec<u8>,
}

#[derive(Debug)]
struct Open {
    file: File,
    identity: Identity,
}

/// Device and inode: what stays the same when a file is renamed.
type Identity = (u64, u64);

/// What one [`Reader::read`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Whole lines, each with its newline.
    pub lines: Vec<u8>,
    /// The log was rotated more than once since the last call: lines in between may be gone.
    pub gap: bool,
}

impl Reader {
    /// A reader of the log of `name` below `directory`, at its beginning.
    #[must_use]
    pub fn new(directory: &Path, name: &ServiceName) -> Self {
        Self {
            current: current_path(directory, name),
            rotated: rotated_path(directory, name),
            open: None,
            partial: Vec::new(),
        }
    }

    /// Whether the service has a log at all.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.current.exists() || self.rotated.exists()
    }

    /// Everything that was written since the last call, and at the first call everything that is
    /// kept. Nothing new, or no file yet, is empty, not an error.
    ///
    /// # Errors
    /// The file exists and cannot be opened or read.
    pub fn read(&mut self) -> io::Result<Found> {
        let mut found = Found::default();
        match self.open.take() {
            None => {
                self.read_whole_file(&self.rotated.clone(), &mut found)?;
                self.open = self.read_whole_file(&self.current.clone(), &mut found)?;
            }
            Some(open) => self.read_on(open, &mut found)?,
        }
        Ok(found)
    }

    fn read_on(&mut self, mut open: Open, found: &mut Found) -> io::Result<()> {
        // First ask which file has the name, then read: what the logger wrote before it renamed
        // the file is then certainly read.
        let now = identity(&self.current)?;
        self.drain(&mut open.file, found)?;
        if now == Some(open.identity) {
            self.open = Some(open);
            return Ok(());
        }
        self.end_partial(found);
        let mut last = open;
        let before = identity(&self.rotated)?;
        if before.is_some() && before != Some(last.identity) {
            found.gap = true;
            last = self
                .read_whole_file(&self.rotated.clone(), found)?
                .unwrap_or(last);
        }
        // Renamed, and not made again yet: stay with the last one, which is read to its end.
        let next = self.read_whole_file(&self.current.clone(), found)?;
        self.open = Some(next.unwrap_or(last));
        Ok(())
    }

    fn read_whole_file(&mut self, path: &Path, found: &mut Found) -> io::Result<Option<Open>> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        self.drain(&mut file, found)?;
        Ok(Some(Open {
            file,
            identity: (metadata.dev(), metadata.ino()),
        }))
    }

    /// Reads to the end of `file`; keeps the beginning of a line whose end is not there yet.
    fn drain(&mut self, file: &mut File, found: &mut Found) -> io::Result<()> {
        if file.metadata()?.len() < file.stream_position()? {
            // Somebody emptied it: what is in it now is new.
            file.seek(SeekFrom::Start(0))?;
            self.end_partial(found);
        }
        let mut block = vec![0; BLOCK];
        loop {
            let read = file.read(&mut block)?;
            let bytes = block.get(..read).unwrap_or_default();
            match bytes.iter().rposition(|byte| *byte == b'\n') {
                _ if bytes.is_empty() => return Ok(()),
                None => self.partial.extend_from_slice(bytes),
                Some(at) => {
                    let (whole, rest) = bytes.split_at(at + 1);
                    found.lines.append(&mut self.partial);
                    found.lines.extend_from_slice(whole);
                    self.partial.extend_from_slice(rest);
                }
            }
        }
    }

    fn end_partial(&mut self, found: &mut Found) {
        if !self.partial.is_empty() {
            found.lines.append(&mut self.partial);
            found.lines.push(b'\n');
        }
    }
}

/// All services that have a log in `directory`, by name. No directory is no log.
///
/// # Errors
/// The directory is there and cannot be read.
pub fn services_in(directory: &Path) -> io::Result<Vec<ServiceName>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.file_name().to_str().and_then(service_of));
    }
    names.sort();
    names.dedup();
    Ok(names)
}

fn identity(path: &Path) -> io::Result<Option<Identity>> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(Some((metadata.dev(), metadata.ino()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The last `count` lines of `lines`; continuations and notes count as lines.
#[must_use]
pub fn last_lines(lines: &[u8], count: usize) -> &[u8] {
    let Some(before) = count.checked_sub(1) else {
        return &[];
    };
    let end = lines.strip_suffix(b"\n").unwrap_or(lines);
    end.iter()
        .enumerate()
        .rev()
        .filter(|(_, byte)| **byte == b'\n')
        .nth(before)
        .and_then(|(at, _)| lines.get(at + 1..))
        .unwrap_or(lines)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::file::{LogFile, ROTATE_AT};
    use super::super::stamp::Stamp;
    use super::*;

    fn name() -> ServiceName {
        ServiceName::new("x").unwrap()
    }

    fn read(reader: &mut Reader) -> (String, bool) {
        let found = reader.read().unwrap();
        (String::from_utf8(found.lines).unwrap(), found.gap)
    }

    #[test]
    fn nothing_there_yet() {
        let directory = tempfile::tempdir().unwrap();
        let mut reader = Reader::new(directory.path(), &name());
        assert!(!reader.exists());
        assert_eq!(read(&mut reader), (String::new(), false));
        fs::write(directory.path().join("x"), "a\n").unwrap();
        assert_eq!(read(&mut reader), ("a\n".into(), false));
        assert_eq!(read(&mut reader), (String::new(), false));
    }

    #[test]
    fn a_line_is_given_when_it_is_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        fs::write(&path, "a\nhal").unwrap();
        let mut reader = Reader::new(directory.path(), &name());
        assert_eq!(read(&mut reader).0, "a\n");
        fs::write(&path, "a\nhalf\nb\n").unwrap();
        assert_eq!(read(&mut reader).0, "half\nb\n");
        // Emptied by hand: begins anew.
        fs::write(&path, "c\n").unwrap();
        assert_eq!(read(&mut reader).0, "c\n");
    }

    #[test]
    fn following_loses_nothing_over_rotations() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = LogFile::new(directory.path(), &name());
        let mut reader = Reader::new(directory.path(), &name());
        let (mut written, mut seen) = (String::new(), String::new());
        for number in 0..40_000 {
            let line = format!("{number:>40}\n");
            log.append(line.as_bytes(), Stamp::now());
            written.push_str(&line);
            if number % 3000 == 0 {
                let (lines, gap) = read(&mut reader);
                assert!(!gap);
                seen.push_str(&lines);
            }
        }
        seen.push_str(&read(&mut reader).0);
        assert!(written.len() as u64 > 4 * ROTATE_AT);
        assert_eq!(seen, written);
    }

    #[test]
    fn too_slow_a_reader_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = LogFile::new(directory.path(), &name());
        log.append(b"first\n", Stamp::now());
        let mut reader = Reader::new(directory.path(), &name());
        assert_eq!(read(&mut reader).0, "first\n");
        log.append("0123456789\n".repeat(80_000).as_bytes(), Stamp::now());
        let (lines, gap) = read(&mut reader);
        assert!(gap && lines.ends_with("\n0123456789\n"));
    }

    #[test]
    fn the_logs_of_a_directory() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(services_in(&directory.path().join("none")).unwrap(), []);
        for file in ["b", "b.1", "a.1", "c.1=", "=boot", ".hidden"] {
            fs::write(directory.path().join(file), "").unwrap();
        }
        let names = services_in(directory.path()).unwrap();
        let names: Vec<&str> = names.iter().map(ServiceName::as_str).collect();
        assert_eq!(names, ["a", "b", "c.1"]);
    }

    #[test]
    fn tail() {
        let check = |lines: &str, count, expect: &str| {
            assert_eq!(last_lines(lines.as_bytes(), count), expect.as_bytes());
        };
        check("a\nb\nc\n", 0, "");
        check("a\nb\nc\n", 1, "c\n");
        check("a\nb\nc\n", 2, "b\nc\n");
        check("a\nb\nc\n", 3, "a\nb\nc\n");
        check("a\nb\nc\n", 9, "a\nb\nc\n");
        check("\n\n", 1, "\n");
        check("", 5, "");
    }
}
