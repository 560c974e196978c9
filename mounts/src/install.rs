//! How a bundle becomes a slot: the order in which things are written, checked and told, so that a
//! machine that loses power between any two of them boots the system it had.
//!
//! 1. The record takes the slot out of the choice ([`crate::slot::update::begin`]).
//! 2. The slot's manifest is made void: nothing signed names what is about to change.
//! 3. Chunk by chunk, what is not there already is fetched, compared with the signed table and written
//!    ([`Machine::store`]).
//! 4. All of it is read back from the disk and hashed up to the root hash of the manifest.
//! 5. The new system is proven: its services as one graph, against what is in it.
//! 6. Kernel and initramfs are brought to where the outer loader finds them, if it takes them by slot.
//! 7. The manifest is written and read back.
//! 8. The record arms the slot for one try ([`crate::slot::update::arm`]).
//!
//! Whatever fails, the slot stays out of the choice, and the next call goes on with the chunks that are
//! missing. Not here: the disk, the record and the source themselves, which whoever calls provides
//! ([`Machine`]).

use std::fmt;
use std::ops::Range;

use crate::bundle::{BundleError, Chunk, Header, Part, Table};
use crate::hash_tree::{BLOCK, HashBlock, HashTree};
use crate::manifest::Manifest;
use crate::slot::update::System;
use crate::verity::{SUPERBLOCK_SIZE, check_superblock};

/// Bytes that are read back at once.
const READ_SIZE: usize = 1 << 20;

/// A partition of the slot that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Area {
    /// The root.
    Root,
    /// Superblock and hash tree.
    Verity,
    /// The signed manifest.
    Signature,
}

impl From<Part> for Area {
    fn from(part: Part) -> Self {
        match part {
            Part::Root => Self::Root,
            Part::Verity => Self::Verity,
        }
    }
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Root => "root",
            Self::Verity => "hash tree",
            Self::Signature => "manifest",
        })
    }
}

/// What is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// What an earlier call has written is looked through.
    Comparing,
    /// Chunks are fetched and written.
    Writing,
    /// All of it is read back.
    Checking,
    /// The services of the new system are checked.
    Proving,
    /// Manifest and record are written.
    Arming,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is under way.
    pub step: Step,
    /// Bytes of it that are done.
    pub done: u64,
    /// Bytes of it in all; 0 where there is nothing to count.
    pub total: u64,
}

/// The disk, the record and the source of an installation. Errors are for people: operation, object,
/// cause.
pub trait Machine {
    /// Bytes of a partition of the slot.
    ///
    /// # Errors
    /// It is not there.
    fn size(&mut self, area: Area) -> Result<u64, String>;

    /// Reads from a partition of the slot, from the disk and not from a cache.
    ///
    /// # Errors
    /// The disk's.
    fn read(&mut self, area: Area, offset: u64, into: &mut [u8]) -> Result<(), String>;

    /// Writes whole blocks of [`BLOCK`] bytes. What is written may be lost until [`Machine::flush`].
    ///
    /// # Errors
    /// The disk's.
    fn write(&mut self, area: Area, offset: u64, bytes: &[u8]) -> Result<(), String>;

    /// When this returns, all that was written to `area` would survive a power cut.
    ///
    /// # Errors
    /// The disk's: nothing may be believed of what was written.
    fn flush(&mut self, area: Area) -> Result<(), String>;

    /// Whether the record has said, before this call, that this system is being installed or lies in
    /// the slot: then chunks of it may be there already.
    fn may_be_there(&mut self, system: System) -> bool;

    /// Takes the slot out of the choice; durable when it returns.
    ///
    /// # Errors
    /// The record refuses it, or could not be written.
    fn begin(&mut self, system: System) -> Result<(), String>;

    /// Arms the slot for one try; durable when it returns.
    ///
    /// # Errors
    /// The record refuses it, or could not be written.
    fn arm(&mut self, system: System) -> Result<(), String>;

    /// Announces which chunks will be asked for, in their order.
    ///
    /// # Errors
    /// The source cannot give them.
    fn want(&mut self, runs: &[Range<u32>]) -> Result<(), Failure>;

    /// Takes the chunk from the source, as it is told by the table, and writes what it holds to its
    /// place; as with [`Machine::write`], it may be lost until [`Machine::flush`].
    ///
    /// # Errors
    /// The source has ended, stalls, or has something else; the disk's.
    fn store(&mut self, number: u32, chunk: &Chunk) -> Result<(), Failure>;

    /// The source has nothing more after the last chunk.
    ///
    /// # Errors
    /// It has.
    fn finish(&mut self) -> Result<(), Failure>;

    /// Checks the new system as a whole, from its partitions.
    ///
    /// # Errors
    /// [`Failure::Unproven`] with all that is wrong with it; another one when this machine cannot find
    /// that out, or has no room for the new system's state any more.
    fn prove(&mut self) -> Result<(), Failure>;

    /// Brings kernel and initramfs of the new system to where the outer loader finds them, if it takes
    /// them by slot; durable when it returns.
    ///
    /// # Errors
    /// The system has none, or they could not be written.
    fn place(&mut self) -> Result<(), String>;

    /// Is told how far it is. `false` calls the installation off.
    fn progress(&mut self, progress: Progress) -> bool;
}

/// Why nothing was armed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A partition of the slot is smaller than what comes into it.
    TooSmall {
        /// Which.
        area: Area,
        /// Its bytes.
        size: u64,
        /// Bytes that come into it.
        needed: u64,
    },
    /// The record refuses, or cannot be written.
    Record(String),
    /// A rule that is none of the record's, or a bundle that nobody trusts.
    Refused(String),
    /// The source fails.
    Source(String),
    /// The bundle is not what was signed.
    Bundle(BundleError),
    /// The disk fails.
    Disk(String),
    /// The disk gives back something else than what was signed: what, and where, in bytes.
    NotAsSigned(Area, u64),
    /// What was signed contradicts itself: the words of [`check_superblock`], or the root hash.
    Unsound(String),
    /// The new system would not run: all that is wrong.
    Unproven(Vec<String>),
    /// It was called off.
    Cancelled,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooSmall { area, size, needed } => write!(
                f,
                "the {area} of this system has {needed} bytes, the partition for it only {size}"
            ),
            Self::Record(why) | Self::Refused(why) | Self::Source(why) | Self::Disk(why) => {
                f.write_str(why)
            }
            Self::Bundle(error) => write!(f, "{error}"),
            Self::NotAsSigned(area, offset) => write!(
                f,
                "the disk does not give back what was signed: {area}, at byte {offset}; it is fetched \
                 again by the next try; look at the disk if that ends like this one"
            ),
            Self::Unsound(why) => write!(f, "the system in this bundle contradicts itself: {why}"),
            Self::Unproven(problems) => {
                let many = if problems.len() == 1 { "" } else { "s" };
                write!(
                    f,
                    "the new system would not run: {} problem{many}",
                    problems.len()
                )?;
                problems.iter().try_for_each(|it| write!(f, "\n  {it}"))
            }
            Self::Cancelled => write!(f, "called off"),
        }
    }
}

impl std::error::Error for Failure {}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Installed {
    /// Bytes that were there already.
    pub kept: u64,
    /// Bytes that were fetched and written.
    pub written: u64,
}

/// Installs a bundle whose header and table hold. The links of keys are written behind the manifest, so
/// that stage1 finds those by which it is trusted beside it.
///
/// # Errors
/// [`Failure`]: nothing is armed, and the running system is as it was.
pub fn install(
    machine: &mut impl Machine,
    header: &Header,
    table: &Table,
    links: &[u8],
) -> Result<Installed, Failure> {
    let manifest = header.manifest();
    let signature = in_blocks(&[header.signed_manifest(), links].concat());
    let system = System {
        root_hash: manifest.root_hash,
        security_version: manifest.security_version,
    };
    fits(machine, header, &signature)?;
    let may_be_there = machine.may_be_there(system);
    machine.begin(system).map_err(Failure::Record)?;
    make_void(machine)?;
    let missing = if may_be_there {
        missing(machine, header, table)?
    } else {
        (0..header.layout().chunks()).collect()
    };
    let written = write_chunks(machine, table, &missing)?;
    for area in [Area::Root, Area::Verity] {
        machine.flush(area).map_err(Failure::Disk)?;
    }
    check(machine, header, table)?;
    tell(machine, Step::Proving, 0, 0)?;
    machine.prove()?;
    // From here on it cannot be called off: the record is asked for that.
    tell(machine, Step::Arming, 0, 0)?;
    machine.place().map_err(Failure::Disk)?;
    write_manifest(machine, &signature)?;
    machine.arm(system).map_err(Failure::Record)?;
    let all = manifest.image_size.saturating_add(manifest.hash_size);
    Ok(Installed {
        kept: all.saturating_sub(written),
        written,
    })
}

fn fits(machine: &mut impl Machine, header: &Header, signature: &[u8]) -> Result<(), Failure> {
    let manifest = header.manifest();
    for (area, needed) in [
        (Area::Root, manifest.image_size),
        (Area::Verity, manifest.hash_size),
        (Area::Signature, signature.len() as u64),
    ] {
        let size = machine.size(area).map_err(Failure::Disk)?;
        if size < needed {
            return Err(Failure::TooSmall { area, size, needed });
        }
    }
    Ok(())
}

/// A machine without a record boots what is signed, so nothing may be signed while it is written.
fn make_void(machine: &mut impl Machine) -> Result<(), Failure> {
    let disk = Failure::Disk;
    machine
        .write(Area::Signature, 0, &[0; BLOCK])
        .map_err(disk)?;
    machine.flush(Area::Signature).map_err(disk)
}

/// The chunks that are not on the disk already.
fn missing(
    machine: &mut impl Machine,
    header: &Header,
    table: &Table,
) -> Result<Vec<u32>, Failure> {
    let mut memory = vec![0; (header.layout().chunk_size() as usize).saturating_add(BLOCK)];
    let total = table.chunks().map(|it| u64::from(it.length)).sum();
    let mut done = 0;
    let mut missing = Vec::new();
    for (number, chunk) in (0..).zip(table.chunks()) {
        tell(machine, Step::Comparing, done, total)?;
        let place = aligned(&mut memory, chunk.length as usize);
        // What cannot be read can perhaps be written.
        let read = machine.read(chunk.part.into(), chunk.offset, place);
        if read.is_err() || !chunk.holds(place) {
            missing.push(number);
        }
        done += u64::from(chunk.length);
    }
    Ok(missing)
}

/// Bytes that were written.
fn write_chunks(
    machine: &mut impl Machine,
    table: &Table,
    missing: &[u32],
) -> Result<u64, Failure> {
    let wanted = || {
        missing
            .iter()
            .filter_map(|it| Some((*it, table.chunk(*it)?)))
    };
    let total = wanted().map(|(_, chunk)| u64::from(chunk.length)).sum();
    let mut done = 0;
    machine.want(&runs(missing))?;
    for (number, chunk) in wanted() {
        tell(machine, Step::Writing, done, total)?;
        machine.store(number, &chunk)?;
        done += u64::from(chunk.length);
    }
    machine.finish()?;
    tell(machine, Step::Writing, total, total)?;
    Ok(total)
}

/// Numbers in order as runs of such that follow each other.
fn runs(numbers: &[u32]) -> Vec<Range<u32>> {
    let mut runs: Vec<Range<u32>> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some(run) if run.end == *number => run.end += 1,
            Some(_) | None => runs.push(*number..number.saturating_add(1)),
        }
    }
    runs
}

/// Reads all of it back and hashes it up to the root hash. Nothing else vouches for what was written:
/// whoever has checked it on the way may have been deceived.
fn check(machine: &mut impl Machine, header: &Header, table: &Table) -> Result<(), Failure> {
    let Some(why) = contradiction(machine, header.manifest())? else {
        return Ok(());
    };
    // Which part it is takes another look at all of them.
    let first = missing(machine, header, table)?.into_iter().next();
    Err(match first.and_then(|number| table.chunk(number)) {
        Some(chunk) => Failure::NotAsSigned(chunk.part.into(), chunk.offset),
        // Each chunk is as it was signed.
        None => Failure::Unsound(why),
    })
}

/// What does not fit together on the disk; nothing when all of it does.
fn contradiction(
    machine: &mut impl Machine,
    manifest: &Manifest,
) -> Result<Option<String>, Failure> {
    let mut superblock = [0; BLOCK];
    machine
        .read(Area::Verity, 0, &mut superblock)
        .map_err(Failure::Disk)?;
    let superblock = superblock.get(..SUPERBLOCK_SIZE).unwrap_or_default();
    if let Err(error) = check_superblock(superblock, manifest) {
        return Ok(Some(error.to_string()));
    }
    let mut tree = HashTree::new(manifest.data_blocks, &manifest.salt);
    let mut memory = Vec::new();
    let mut is_right = true;
    let mut offset = 0;
    while offset < manifest.image_size {
        tell(machine, Step::Checking, offset, manifest.image_size)?;
        let left = usize::try_from(manifest.image_size - offset).unwrap_or(READ_SIZE);
        let piece = aligned(&mut memory, left.min(READ_SIZE));
        machine
            .read(Area::Root, offset, piece)
            .map_err(Failure::Disk)?;
        let (blocks, _) = piece.as_chunks::<BLOCK>();
        for block in blocks {
            tree.push(block, |made| {
                is_right &= is_on_disk(machine, &made)?;
                Ok::<(), Failure>(())
            })?;
        }
        offset = offset.saturating_add(piece.len() as u64);
        if !is_right {
            return Ok(Some(format!(
                "its hash tree is not that of its blocks before byte {offset}"
            )));
        }
    }
    tell(machine, Step::Checking, offset, manifest.image_size)?;
    let hash = manifest.root_hash;
    Ok((tree.root_hash() != Some(hash)).then(|| format!("its blocks do not hash to {hash}")))
}

fn is_on_disk(machine: &mut impl Machine, made: &HashBlock) -> Result<bool, Failure> {
    let mut there = [0; BLOCK];
    machine
        .read(Area::Verity, made.offset, &mut there)
        .map_err(Failure::Disk)?;
    Ok(there == *made.bytes)
}

/// So many bytes of `memory`, beginning where a disk can put them without a copy.
fn aligned(memory: &mut Vec<u8>, length: usize) -> &mut [u8] {
    if memory.len() < length.saturating_add(BLOCK) {
        memory.resize(length.saturating_add(BLOCK), 0);
    }
    let start = memory.as_ptr().align_offset(BLOCK);
    memory
        .get_mut(start..start.saturating_add(length))
        .unwrap_or_default()
}

fn write_manifest(machine: &mut impl Machine, bytes: &[u8]) -> Result<(), Failure> {
    machine
        .write(Area::Signature, 0, bytes)
        .map_err(Failure::Disk)?;
    machine.flush(Area::Signature).map_err(Failure::Disk)?;
    let mut there = vec![0; bytes.len()];
    machine
        .read(Area::Signature, 0, &mut there)
        .map_err(Failure::Disk)?;
    if there == bytes {
        Ok(())
    } else {
        Err(Failure::NotAsSigned(Area::Signature, 0))
    }
}

fn in_blocks(bytes: &[u8]) -> Vec<u8> {
    let mut padded = bytes.to_vec();
    padded.resize(bytes.len().next_multiple_of(BLOCK), 0);
    padded
}

fn tell(machine: &mut impl Machine, step: Step, done: u64, total: u64) -> Result<(), Failure> {
    if machine.progress(Progress { step, done, total }) {
        Ok(())
    } else {
        Err(Failure::Cancelled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_follow_each_other_are_one_run() {
        assert_eq!(runs(&[]), []);
        assert_eq!(runs(&[3, 7]), [3..4, 7..8]);
        assert_eq!(runs(&[0, 1, 2, 5, 6, 9]), [0..3, 5..7, 9..10]);
    }
}
