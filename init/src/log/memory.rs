//! All logs of the present boot in memory (a tmpfs), within one budget: appended to, begun anew in further
//! files, and the oldest forgotten. Not here: what a line looks like (`lines`), and the way to a disk
//! (`keeper`).
//!
//! Where all take too much, the log that takes most loses its oldest file. So a service that floods its
//! log pushes out its own lines, and nobody else's.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kernel::headway;
use services::id::ServiceName;

use super::forwarder::Forwarder;
use super::keeper::Shared;
use super::lines::{TEXT_MAX, write_note};
use super::segment::{file_name, names_in, room_of};
use super::stamp::Stamp;

/// Largest file: so much is forgotten at once, or freed when it is on the disk.
pub const SEGMENT_MAX: u64 = 256 * 1024;
/// Smallest size at which a log begins a further file.
const SEGMENT_MIN: u64 = 16 * 1024;
/// So many files each log may have, where all write as much.
const SHARE: u64 = 4;

/// Longest line that is written: each byte of its text takes four at most.
const LINE_MAX: u64 = 5 * TEXT_MAX as u64;

/// Root writes, the file's group may read.
pub(super) const MODE: u32 = 0o640;

/// The logs.
#[derive(Debug)]
pub struct Memory {
    directory: PathBuf,
    budget: u64,
    logs: BTreeMap<ServiceName, Log>,
    /// What all files take.
    room: u64,
    /// Who brings them to a disk.
    keeper: Option<Arc<Shared>>,
    /// Who sends them on.
    forwarders: Vec<Forwarder>,
    /// Lines that were lost, and are not counted elsewhere yet.
    uncounted: u64,
}

#[derive(Debug, Default)]
struct Log {
    /// Never empty, but for a log that has just come to be.
    segments: VecDeque<Segment>,
    lost: Option<Lost>,
}

#[derive(Clone, Copy, Debug)]
struct Segment {
    number: u32,
    size: u64,
}

/// What could not be written or kept, until it can be told.
#[derive(Debug)]
struct Lost {
    lines: u64,
    bytes: u64,
    cause: String,
}

impl Log {
    fn room(&self) -> u64 {
        self.segments.iter().map(|it| room_of(it.size)).sum()
    }

    fn lose(&mut self, lines: u64, bytes: u64, cause: &str) {
        let lost = self.lost.get_or_insert_with(|| Lost {
            lines: 0,
            bytes: 0,
            cause: cause.to_owned(),
        });
        lost.lines = lost.lines.saturating_add(lines);
        lost.bytes = lost.bytes.saturating_add(bytes);
    }
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            lines,
            bytes,
            cause,
        } = self;
        write!(f, "{lines} lines ({bytes} bytes) lost before this: {cause}")
    }
}

impl Memory {
    /// The logs below `directory`, which take `budget` bytes at most. Lines go after those that are
    /// there already; if the last one of a log has no end (a logger died while it wrote), it is taken
    /// away: it is still where it came from.
    #[must_use]
    pub fn open(directory: &Path, budget: u64, keeper: Option<Arc<Shared>>) -> Self {
        let mut memory = Self {
            directory: directory.to_owned(),
            budget,
            logs: BTreeMap::new(),
            room: 0,
            keeper,
            forwarders: Vec::new(),
            uncounted: 0,
        };
        // What cannot be read now cannot be written either, and is counted then.
        let mut names = names_in(directory).unwrap_or_default();
        names.sort();
        for (name, number) in names {
            let path = directory.join(file_name(&name, number));
            let size = fs::metadata(path).map_or(0, |it| it.len());
            memory.room += room_of(size);
            let log = memory.logs.entry(name).or_default();
            log.segments.push_back(Segment { number, size });
        }
        for (name, log) in &mut memory.logs {
            headway::made_some();
            if let Some(last) = log.segments.back_mut() {
                let path = directory.join(file_name(name, last.number));
                if let Ok(size) = cut_torn_line(&path) {
                    memory.room -= room_of(last.size);
                    memory.room += room_of(size);
                    last.size = size;
                }
            }
        }
        memory
    }

    /// The same, with lines sent on as well from now on.
    #[must_use]
    pub(super) fn forwarded(self, forwarders: Vec<Forwarder>) -> Self {
        Self { forwarders, ..self }
    }

    /// Gives what is being sent on a moment to go.
    pub(super) fn end_forwarding(&self) {
        for forwarder in &self.forwarders {
            forwarder.end();
        }
    }

    /// Appends `lines`, whole lines with their newlines, to the log of `name`. What cannot be written is
    /// counted, and told in the log itself by the next write that succeeds.
    pub fn append(&mut self, name: &ServiceName, lines: &[u8], now: Stamp) {
        if lines.is_empty() {
            return;
        }
        // There may be very many logs, and few lines for each.
        headway::made_some();
        if let Some(lost) = self.logs.get_mut(name).and_then(|log| log.lost.take()) {
            let mut note = Vec::new();
            write_note(&mut note, now, &lost.to_string());
            if self.append_all(name, &note).is_err()
                && let Some(log) = self.logs.get_mut(name)
            {
                log.lost = Some(lost);
            }
        }
        if let Err((rest, cause)) = self.append_all(name, lines) {
            let count = count_lines(rest);
            self.uncounted = self.uncounted.saturating_add(count);
            let log = self.logs.entry(name.clone()).or_default();
            log.lose(count, rest.len() as u64, &cause.to_string());
        }
        for forwarder in &self.forwarders {
            forwarder.offer(name, lines);
        }
        self.trim();
        if let Some(keeper) = &self.keeper {
            let half_full = self.room > self.budget / 2;
            keeper.written(name, half_full || has_grave_line(lines));
        }
    }

    /// Appends a note of the logger to the log of `name`.
    pub(super) fn note(&mut self, name: &ServiceName, text: &str) {
        let (mut note, now) = (Vec::new(), Stamp::now());
        write_note(&mut note, now, text);
        self.append(name, &note, now);
    }

    /// How many lines were lost since this was asked last.
    pub fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.uncounted)
    }

    /// Appends whole lines, to further files where they do not fit; on an error, gives what is not
    /// written.
    fn append_all<'a>(
        &mut self,
        name: &ServiceName,
        lines: &'a [u8],
    ) -> Result<(), (&'a [u8], io::Error)> {
        let mut rest = lines;
        while !rest.is_empty() {
            rest = self.append_some(name, rest)?;
        }
        Ok(())
    }

    /// Appends as many whole lines as the last file takes, and gives the others.
    fn append_some<'a>(
        &mut self,
        name: &ServiceName,
        lines: &'a [u8],
    ) -> Result<&'a [u8], (&'a [u8], io::Error)> {
        if !self.logs.contains_key(name) {
            self.logs.insert(name.clone(), Log::default());
        }
        let most = self.segment_max();
        let Some(log) = self.logs.get_mut(name) else {
            return Ok(&[]);
        };
        let last = match log.segments.back() {
            Some(last) if last.size == 0 => *last,
            Some(last) if whole_lines_within(lines, most.saturating_sub(last.size)) > 0 => *last,
            Some(last) => further(log, last.number.saturating_add(1)),
            None => further(log, 0),
        };
        let fitting = match whole_lines_within(lines, most.saturating_sub(last.size)) {
            // One line larger than the file: the splitter makes none, but the loop must end.
            0 => lines.len(),
            fitting => fitting,
        };
        let (now, later) = lines.split_at_checked(fitting).unwrap_or((lines, &[]));
        let path = self.directory.join(file_name(name, last.number));
        let (size, written) = write_lines(&path, last.size, now);
        if let Some(last) = log.segments.back_mut() {
            self.room = (self.room + room_of(size)).saturating_sub(room_of(last.size));
            last.size = size;
        }
        match written {
            Ok(()) => Ok(later),
            Err((count, error)) => Err((lines.get(count..).unwrap_or_default(), error)),
        }
    }

    /// At which size a log begins a further file: the more logs, the sooner.
    fn segment_max(&self) -> u64 {
        let logs = self.logs.len().max(1) as u64;
        (self.budget / SHARE / logs).clamp(SEGMENT_MIN, SEGMENT_MAX)
    }

    /// Forgets the oldest of whatever takes most, until all is within the budget.
    fn trim(&mut self) {
        if self.room <= self.budget {
            return;
        }
        self.leave_out_kept();
        while self.room > self.budget {
            let largest = self.logs.iter_mut().max_by_key(|(_, log)| log.room());
            let Some((name, log)) = largest.filter(|(_, log)| log.room() > 0) else {
                return;
            };
            if let (1, Some(only)) = (log.segments.len(), log.segments.back().copied()) {
                // The numbers go on.
                let next = further(log, only.number.saturating_add(1));
                let _ = File::create(self.directory.join(file_name(name, next.number)));
            }
            let Some(oldest) = log.segments.pop_front() else {
                return;
            };
            self.room = self.room.saturating_sub(room_of(oldest.size));
            let path = self.directory.join(file_name(name, oldest.number));
            if let Some(keeper) = &self.keeper {
                let on_disk = keeper.kept(name, oldest.number);
                let (lines, bytes) = rest_of(&path, on_disk);
                if lines > 0 && keeper.expects_disk() {
                    log.lose(lines, bytes, "the disk did not take them in time");
                    self.uncounted = self.uncounted.saturating_add(lines);
                }
            }
            let _ = fs::remove_file(path);
        }
    }

    /// Leaves files out of the account that are on the disk and in memory no more.
    fn leave_out_kept(&mut self) {
        let Some(keeper) = &self.keeper else {
            return;
        };
        for (name, log) in &mut self.logs {
            let freed = keeper.freed(name);
            while log.segments.len() > 1
                && let Some(oldest) = log.segments.pop_front_if(|it| it.number < freed)
            {
                self.room = self.room.saturating_sub(room_of(oldest.size));
            }
        }
    }
}

fn further(log: &mut Log, number: u32) -> Segment {
    let segment = Segment { number, size: 0 };
    log.segments.push_back(segment);
    segment
}

/// Appends whole lines to a file of `size` bytes. Gives its size then, and on an error how much of the
/// lines is written: whole lines, since half a one would swallow the next.
fn write_lines(path: &Path, size: u64, lines: &[u8]) -> (u64, Result<(), (usize, io::Error)>) {
    let opened = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(MODE)
        .open(path);
    let mut file = match opened {
        Ok(file) => file,
        Err(error) => return (size, Err((0, error))),
    };
    let Err(error) = file.write_all(lines) else {
        return (size + lines.len() as u64, Ok(()));
    };
    let now = file.metadata().map_or(size, |it| it.len());
    let whole = whole_lines_within(lines, now.saturating_sub(size).min(lines.len() as u64 - 1));
    let size = size + whole as u64;
    let _ = file.set_len(size);
    (size, Err((whole, error)))
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

fn count_lines(lines: &[u8]) -> u64 {
    lines.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Lines and bytes of a file from `offset` on.
fn rest_of(path: &Path, offset: u64) -> (u64, u64) {
    let read = || {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(offset))?;
        let mut rest = Vec::new();
        file.take(SEGMENT_MAX + LINE_MAX).read_to_end(&mut rest)?;
        io::Result::Ok(rest)
    };
    let rest = read().unwrap_or_default();
    (count_lines(&rest), rest.len() as u64)
}

/// Whether one of the lines says that something failed, or worse.
fn has_grave_line(lines: &[u8]) -> bool {
    let grave = |line: &[u8]| {
        let text = line.get(super::stamp::STAMP_LEN + 1..);
        text.is_some_and(|text| matches!(text, [b'<', b'0'..=b'3', b'>', ..]))
    };
    lines.split(|byte| *byte == b'\n').any(grave)
}

/// Takes the last line away if it has no end; gives the size of the file then.
fn cut_torn_line(path: &Path) -> io::Result<u64> {
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
    Ok(whole)
}

#[cfg(test)]
mod tests;
