//! Logs on a disk: a directory for each boot, in which files grow as those in memory do, and all of them
//! within one budget. Not here: when that is done (`keeper`), and what is read of it (`reader`).
//!
//! A file on the disk is the beginning of that in memory, so what was being written when a logger or the
//! disk died is simply gone on with. Where all takes too much, the log that takes most loses its oldest
//! file, of whichever boot.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use services::id::ServiceName;

use super::boot;
use super::memory::MODE;
use super::segment::{Segments, file_name, list, names_in, room_of};

/// statfs(2) of what is in memory and not on a disk.
const IN_MEMORY: [i64; 2] = [0x0102_1994, 0x8584_58f6];
/// Of a filesystem, this part at most.
const PART: u64 = 10;

/// Why nothing is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The directory would be in memory too.
    Absent,
    /// In words.
    Failed(String),
    /// In words: this process may not write there.
    Forbidden(String),
}

/// How far a log is on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    /// The last file that is there.
    pub(super) number: u32,
    /// So much of it.
    pub(super) bytes: u64,
    /// Files with lower numbers are no longer in memory.
    pub(super) freed: u32,
}

/// A directory for logs on a disk, whether it is there or not.
#[derive(Debug)]
pub(super) struct Shelf {
    /// The logs in memory.
    pub(super) memory: PathBuf,
    /// The directory.
    pub(super) root: PathBuf,
    /// The boot that the logs in memory are of.
    pub(super) boot: String,
    /// How many bytes they take at most.
    pub(super) budget: u64,
    /// How many boots are kept.
    pub(super) boots: usize,
    /// What is in it, once that is known.
    pub(super) open: Option<Open>,
}

/// What is in the directory.
#[derive(Debug)]
pub(super) struct Open {
    /// The device it is on: another one is another directory.
    device: u64,
    /// Number and directory of the present boot.
    boot: u32,
    directory: PathBuf,
    /// Directories of all boots.
    boots: BTreeMap<u32, PathBuf>,
    /// The files of each log, from the oldest on.
    logs: BTreeMap<ServiceName, VecDeque<Piece>>,
    /// What all of them take.
    room: u64,
}

#[derive(Clone, Copy, Debug)]
struct Piece {
    boot: u32,
    number: u32,
    size: u64,
}

impl Shelf {
    /// Brings what is new in some logs to the disk, and tells how far each is.
    pub(super) fn keep(
        &mut self,
        names: &BTreeSet<ServiceName>,
        tell: &mut dyn FnMut(&ServiceName, Kept),
    ) -> Result<(), Refused> {
        let result = self.keep_or_fail(names, tell);
        if result.is_err() {
            // What is there may be another filesystem next time.
            self.open = None;
        }
        result
    }

    fn keep_or_fail(
        &mut self,
        names: &BTreeSet<ServiceName>,
        tell: &mut dyn FnMut(&ServiceName, Kept),
    ) -> Result<(), Refused> {
        let failed = |what: &str, path: &Path, error: &io::Error| {
            let cause = format!("{what} {}: {error}", path.display());
            match error.kind() {
                io::ErrorKind::PermissionDenied => Refused::Forbidden(cause),
                _ => Refused::Failed(cause),
            }
        };
        let most = self.room()?;
        let device = fs::metadata(&self.root).map(|it| it.dev()).ok();
        let mut open = match self.open.take() {
            Some(open) if Some(open.device) == device => open,
            Some(_) | None => self
                .look()
                .map_err(|error| failed("open", &self.root, &error))?,
        };
        let logs = list(std::slice::from_ref(&self.memory))
            .map_err(|error| failed("read", &self.memory, &error))?;
        let mut is_new = false;
        for name in names {
            let Some(segments) = logs.get(name) else {
                continue;
            };
            is_new |= open
                .keep(name, segments, tell)
                .map_err(|(path, error)| failed("write", &path, &error))?;
        }
        if is_new {
            sync_directory(&open.directory)
                .map_err(|error| failed("write", &open.directory, &error))?;
        }
        open.trim(most);
        self.open = Some(open);
        Ok(())
    }

    /// How much there may be of it; fails where there is no disk.
    fn room(&self) -> Result<u64, Refused> {
        let there = self.root.ancestors().find(|path| path.is_dir());
        let path = there.unwrap_or(Path::new("/")).display().to_string();
        let space = kernel::mount::space(&path);
        let space = space.map_err(|error| Refused::Failed(error.to_string()))?;
        if IN_MEMORY.contains(&space.magic) {
            return Err(Refused::Absent);
        }
        if space.read_only {
            let cause = format!("{path} is read-only");
            return Err(Refused::Failed(cause));
        }
        Ok(self.budget.min(space.size / PART))
    }

    /// Finds out what is there; the present boot gets its directory, and boots that are too many go.
    fn look(&self) -> io::Result<Open> {
        make_directory(&self.root)?;
        let mut boots = boot::kept(&self.root)?;
        let of_this = boots.iter().find(|it| it.id == self.boot).cloned();
        let of_this = match of_this {
            Some(known) => known,
            None => {
                let last = boots.last().map_or(0, |it| it.number);
                let new = boot::Kept::new(&self.root, last.saturating_add(1), &self.boot);
                make_directory(&new.path)?;
                sync_directory(&self.root)?;
                boots.push(new.clone());
                new
            }
        };
        let surplus = boots.len().saturating_sub(self.boots);
        for old in boots.drain(..surplus) {
            fs::remove_dir_all(&old.path)?;
        }
        let mut open = Open {
            device: fs::metadata(&self.root)?.dev(),
            boot: of_this.number,
            directory: of_this.path,
            boots: BTreeMap::new(),
            logs: BTreeMap::new(),
            room: 0,
        };
        for boot in boots {
            open.take_account(boot.number, &boot.path)?;
            open.boots.insert(boot.number, boot.path);
        }
        Ok(open)
    }
}

impl Open {
    fn take_account(&mut self, boot: u32, path: &Path) -> io::Result<()> {
        let mut names = names_in(path)?;
        names.sort();
        for (name, number) in names {
            let size = fs::metadata(path.join(file_name(&name, number)))?.len();
            self.room += room_of(size);
            let piece = Piece { boot, number, size };
            self.logs.entry(name).or_default().push_back(piece);
        }
        Ok(())
    }

    /// Brings what is new in a log to the disk, and takes the files from memory that nobody writes to
    /// any more. Whether there is a new file.
    fn keep(
        &mut self,
        name: &ServiceName,
        segments: &Segments,
        tell: &mut dyn FnMut(&ServiceName, Kept),
    ) -> Result<bool, (PathBuf, io::Error)> {
        let last = segments.last_key_value().map_or(0, |(number, _)| *number);
        let mut kept = Kept {
            freed: segments.first_key_value().map_or(0, |(number, _)| *number),
            ..Kept::default()
        };
        let mut is_new = false;
        for (&number, path) in segments {
            let target = self.directory.join(file_name(name, number));
            let size = match append_rest(path, &target) {
                Ok(size) => size,
                // Forgotten in the meantime.
                Err(error) if error.kind() == io::ErrorKind::NotFound && !path.exists() => continue,
                Err(error) => return Err((target, error)),
            };
            is_new |= self.note(name, number, size);
            (kept.number, kept.bytes) = (number, size);
            if number < last && fs::remove_file(path).is_ok() {
                kept.freed = number.saturating_add(1);
            }
            tell(name, kept);
        }
        Ok(is_new)
    }

    /// Notes how large a file of the present boot is; whether it is new.
    fn note(&mut self, name: &ServiceName, number: u32, size: u64) -> bool {
        let boot = self.boot;
        self.room += room_of(size);
        let pieces = self.logs.entry(name.clone()).or_default();
        match pieces.back_mut() {
            Some(last) if (last.boot, last.number) == (boot, number) => {
                self.room = self.room.saturating_sub(room_of(last.size));
                last.size = size;
                false
            }
            Some(_) | None => {
                pieces.push_back(Piece { boot, number, size });
                true
            }
        }
    }

    /// Removes the oldest of whatever takes most until no more is left than `most`, but nothing that is
    /// still being written.
    fn trim(&mut self, most: u64) {
        while self.room > most {
            let boot = self.boot;
            let may_go = |pieces: &VecDeque<Piece>| {
                pieces.len() > 1 || pieces.front().is_some_and(|it| it.boot != boot)
            };
            let rooms = self.logs.iter_mut().filter(|(_, pieces)| may_go(pieces));
            let largest = rooms.max_by_key(|(_, pieces)| {
                let rooms = pieces.iter().map(|it| room_of(it.size));
                rooms.sum::<u64>()
            });
            let Some((name, pieces)) = largest else {
                return;
            };
            let Some(oldest) = pieces.pop_front() else {
                return;
            };
            self.room = self.room.saturating_sub(room_of(oldest.size));
            if let Some(directory) = self.boots.get(&oldest.boot) {
                let _ = fs::remove_file(directory.join(file_name(name, oldest.number)));
                if oldest.boot != boot {
                    // It goes with its last file.
                    let _ = fs::remove_dir(directory);
                }
            }
            if pieces.is_empty() {
                let name = name.clone();
                self.logs.remove(&name);
            }
        }
    }
}

/// Appends what `target` has not got of `source`, as far as lines are whole, durably; gives its size.
fn append_rest(source: &Path, target: &Path) -> io::Result<u64> {
    let mut source = File::open(source)?;
    // At its place and not at the end: a logger of before may hang in the very same write, and do it when its
    // disk goes on.
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(MODE)
        .open(target)?;
    let had = file.metadata()?.len();
    source.seek(SeekFrom::Start(had))?;
    let mut rest = Vec::new();
    source.read_to_end(&mut rest)?;
    let whole = rest.iter().rposition(|byte| *byte == b'\n');
    rest.truncate(whole.map_or(0, |at| at + 1));
    if rest.is_empty() {
        return Ok(had);
    }
    let written = file
        .write_all_at(&rest, had)
        .and_then(|()| file.sync_data());
    if let Err(error) = written {
        // Nobody knows what of it is there.
        let _ = file.set_len(had);
        return Err(error);
    }
    Ok(had + rest.len() as u64)
}

fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(path)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests;
