//! Reads logs back: all that is kept of a service, and what comes after, over files that are begun, moved
//! to a disk and forgotten. Not here: writing them (`memory`, `shelf`), waiting for more, and showing
//! them to people (`sharkctl`).

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use services::id::ServiceName;

use super::boot;
use super::segment::{Segments, list};

/// How often files are looked for that were moved just when they were to be read.
const ATTEMPTS: usize = 3;

/// Reads one service's log, from its oldest kept line on.
#[derive(Debug)]
pub struct Reader {
    places: Vec<PathBuf>,
    name: ServiceName,
    at: Option<Position>,
}

/// Up to where a log has been read.
#[derive(Clone, Copy, Debug)]
struct Position {
    number: u32,
    offset: u64,
}

/// What one [`Reader::read`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Whole lines, each with its newline.
    pub lines: Vec<u8>,
    /// Files were forgotten since the last call: lines in between may be gone.
    pub gap: bool,
    /// Lines that a cut of power has torn, and which are left out.
    pub torn: u64,
    /// There is the beginning of a line after those.
    pub unfinished: bool,
}

/// Where the logs of the present boot are, when those in memory are in `directory`.
///
/// # Errors
/// The directory on the disk is there and cannot be read.
pub fn places(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut places = vec![directory.to_owned()];
    if let (Some(disk), Some(id)) = (boot::disk_of(directory), boot::of(directory)) {
        let boots = boot::kept(&disk)?;
        let this = boots.into_iter().rev().find(|it| it.id == id);
        places.extend(this.map(|it| it.path));
    }
    Ok(places)
}

impl Reader {
    /// A reader of the log of `name` in these directories, at its beginning. Where two have a file, the
    /// earlier one counts.
    #[must_use]
    pub fn new(places: &[PathBuf], name: &ServiceName) -> Self {
        Self {
            places: places.to_vec(),
            name: name.clone(),
            at: None,
        }
    }

    /// Everything that was written since the last call, and at the first call everything that is
    /// kept. Nothing new, or no file yet, is empty, not an error.
    ///
    /// # Errors
    /// A file exists and cannot be opened or read.
    pub fn read(&mut self) -> io::Result<Found> {
        let mut found = Found::default();
        for _ in 0..ATTEMPTS {
            let segments = list(&self.places)?.remove(&self.name).unwrap_or_default();
            if self.read_listed(&segments, &mut found)? {
                break;
            }
        }
        Ok(found)
    }

    /// The same, of files that are known; whether all of them were there.
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub fn read_listed(&mut self, segments: &Segments, found: &mut Found) -> io::Result<bool> {
        let first = self.at.map_or(0, |at| at.number);
        for (&number, path) in segments.range(first..) {
            let offset = match self.at {
                Some(at) if at.number == number => at.offset,
                Some(at) => {
                    found.gap |=
                        number > at.number.saturating_add(1) || !segments.contains_key(&at.number);
                    // Nobody goes on with it.
                    found.torn += u64::from(std::mem::take(&mut found.unfinished));
                    0
                }
                None => 0,
            };
            match read_from(path, offset, found) {
                Ok(offset) => self.at = Some(Position { number, offset }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

/// Appends the whole lines of a file from `offset` on; gives the offset behind them.
fn read_from(path: &Path, offset: u64, found: &mut Found) -> io::Result<u64> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    // Somebody emptied it: what is in it now is new.
    let offset = if length < offset { 0 } else { offset };
    found.unfinished = false;
    if length == offset {
        return Ok(offset);
    }
    file.seek(SeekFrom::Start(offset))?;
    let before = found.lines.len();
    file.read_to_end(&mut found.lines)?;
    let new = found.lines.get(before..).unwrap_or_default();
    let whole = new.iter().rposition(|byte| *byte == b'\n');
    let whole = whole.map_or(0, |at| at + 1);
    found.unfinished = whole < new.len();
    found.lines.truncate(before + whole);
    leave_out_torn(before, found);
    Ok(offset + whole as u64)
}

/// Leaves out lines with a byte 0, which no line is written with: a disk that had no time to write it.
fn leave_out_torn(before: usize, found: &mut Found) {
    let new = found.lines.get(before..).unwrap_or_default();
    if !new.contains(&0) {
        return;
    }
    let mut good = Vec::with_capacity(new.len());
    for line in new.split_inclusive(|byte| *byte == b'\n') {
        if line.contains(&0) {
            found.torn += 1;
        } else {
            good.extend_from_slice(line);
        }
    }
    found.lines.truncate(before);
    found.lines.append(&mut good);
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
mod tests;
