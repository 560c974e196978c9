//! The files that an outer loader reads, on a FAT partition: an interface of five calls, and how a file
//! is copied there and read back.
//!
//! FAT has no journal, and a rename that changes the length of a name is not atomic. So nothing is ever
//! renamed and nothing that counts is written over: what is new has a name of its own, is made durable,
//! and only then is the old one removed. Not here: the calls themselves ([`BootFiles`]).

use super::{Source, entries};
use crate::slot::Slot;

/// Bytes that are copied at once.
const PIECE: usize = 256 << 10;

/// The partition, by paths like `loader/entries/x.conf`. What is written may be lost, or be there in
/// part, until [`BootFiles::sync`]. Errors are for people: operation, object, cause.
pub trait BootFiles {
    /// The names in a directory; none when it is not there.
    ///
    /// # Errors
    /// It cannot be read.
    fn list(&mut self, directory: &str) -> Result<Vec<String>, String>;

    /// Reads from a file at `offset`, from the disk where that can be had: as much as comes, 0 at its
    /// end.
    ///
    /// # Errors
    /// It is not there, or cannot be read.
    fn read(&mut self, path: &str, offset: u64, into: &mut [u8]) -> Result<usize, String>;

    /// Writes to a file at `offset`. At 0 it begins anew, and the directories above it are made.
    ///
    /// # Errors
    /// There is no room; the disk's.
    fn write(&mut self, path: &str, offset: u64, bytes: &[u8]) -> Result<(), String>;

    /// Removes a file. One that is not there is no error.
    ///
    /// # Errors
    /// The disk's.
    fn remove(&mut self, path: &str) -> Result<(), String>;

    /// When this returns, all that was done would survive a power cut.
    ///
    /// # Errors
    /// The disk's: nothing may be believed of what was done.
    fn sync(&mut self) -> Result<(), String>;
}

/// Whether a file is there.
///
/// # Errors
/// Its directory cannot be read.
pub fn exists(files: &mut impl BootFiles, path: &str) -> Result<bool, String> {
    let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
    let names = files.list(directory)?;
    Ok(names.iter().any(|it| it == name))
}

/// What a file of at most `most` bytes holds; nothing when it is longer.
///
/// # Errors
/// It cannot be read.
pub fn bytes(
    files: &mut impl BootFiles,
    path: &str,
    most: usize,
) -> Result<Option<Vec<u8>>, String> {
    let mut bytes = vec![0; most.saturating_add(1)];
    let length = fill(&mut bytes, |offset, into| files.read(path, offset, into))?;
    bytes.truncate(length);
    Ok((length <= most).then_some(bytes))
}

/// The text of a file of at most `most` bytes; nothing when it is longer, or no text.
///
/// # Errors
/// It cannot be read.
pub fn text(files: &mut impl BootFiles, path: &str, most: usize) -> Result<Option<String>, String> {
    let bytes = bytes(files, path, most)?;
    Ok(bytes.and_then(|bytes| String::from_utf8(bytes).ok()))
}

/// Demands that a slot has something to be started: one that has not would be passed over.
///
/// # Errors
/// It has not.
pub fn has_kernel(files: &mut impl BootFiles, slot: Slot) -> Result<(), String> {
    for path in [entries::kernel_path(slot), entries::initramfs_path(slot)] {
        if !exists(files, &path)? {
            return Err(format!(
                "slot {slot} cannot be started: {path} is not on the EFI system partition; install its system again"
            ));
        }
    }
    Ok(())
}

/// Replaces kernel and initramfs of a slot that none starts, and reads them back.
///
/// # Errors
/// A source or a write failed, or what is read back differs.
pub fn place(
    files: &mut impl BootFiles,
    slot: Slot,
    kernel: &mut dyn Source,
    initramfs: &mut dyn Source,
) -> Result<(), String> {
    let (kernel_path, initramfs_path) = (entries::kernel_path(slot), entries::initramfs_path(slot));
    // Both at once, to have their room.
    files.remove(&kernel_path)?;
    files.remove(&initramfs_path)?;
    files.sync()?;
    copy(files, kernel, &kernel_path)?;
    copy(files, initramfs, &initramfs_path)?;
    files.sync()?;
    compare(files, kernel, &kernel_path)?;
    compare(files, initramfs, &initramfs_path)
}

/// Copies `source` to `path`; durable only after a sync.
///
/// # Errors
/// A read or a write failed.
pub fn copy(files: &mut impl BootFiles, source: &mut dyn Source, path: &str) -> Result<(), String> {
    let mut piece = vec![0; PIECE];
    let mut offset = 0_u64;
    loop {
        let length = fill(&mut piece, |at, into| {
            source.read(offset.saturating_add(at), into)
        })?;
        let bytes = piece.get(..length).unwrap_or_default();
        if length > 0 || offset == 0 {
            files.write(path, offset, bytes)?;
        }
        offset = offset.saturating_add(length as u64);
        if length < PIECE {
            return Ok(());
        }
    }
}

/// Compares `path` with `source`, to the end of both.
///
/// # Errors
/// A read failed, or they differ.
pub fn compare(
    files: &mut impl BootFiles,
    source: &mut dyn Source,
    path: &str,
) -> Result<(), String> {
    let (mut wanted, mut there) = (vec![0; PIECE], vec![0; PIECE]);
    let mut offset = 0_u64;
    loop {
        let length = fill(&mut wanted, |at, into| {
            source.read(offset.saturating_add(at), into)
        })?;
        let read = fill(&mut there, |at, into| {
            files.read(path, offset.saturating_add(at), into)
        })?;
        if wanted.get(..length) != there.get(..read) {
            return Err(format!(
                "{path}: what is read back from byte {offset} on is not what was written; look at the disk"
            ));
        }
        if length < PIECE {
            return Ok(());
        }
        offset = offset.saturating_add(length as u64);
    }
}

/// Reads until `into` is full or there is no more; how much that is.
fn fill(
    into: &mut [u8],
    mut read: impl FnMut(u64, &mut [u8]) -> Result<usize, String>,
) -> Result<usize, String> {
    let mut done = 0;
    while let Some(rest) = into.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match read(done as u64, rest)? {
            0 => break,
            count => done = done.saturating_add(count),
        }
    }
    Ok(done)
}
