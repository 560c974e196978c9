//! The data partition: checked, mounted on `/var` of the new root, grown to its partition.
//!
//! Data never stops a boot. What cannot be used is reported and replaced by a tmpfs, so that the
//! machine comes up and somebody can look at it.

use std::fs::File;
use std::os::unix::fs::FileExt;

use kernel::block::BlockDevice;
use kernel::mount::{UnmountFlags, unmount};
use mounts::dps::DATA_NAME;
use mounts::plan::{self, Data, SYSROOT};
use mounts::slot::Slot;
use mounts::slot::record::Record;
use mounts::superblock::{self, Kind, Superblock};

use super::device_events::DeviceEvents;
use super::disk::{OurDisk, Part};
use super::fsck::{self, Verdict};
use super::mounting;
use super::report::Report;
use super::state;
use super::watchdog;

/// ext4 grows by at most so much at once. The kernel writes some bitmaps and descriptors for
/// each 128 MiB of it and leaves the inode tables for later, so this takes a slow disk a few seconds.
const STEP: u64 = 256 << 30;

/// Whether what is written to `/var` is there after the next boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// The data partition is mounted.
    Yes,
    /// A tmpfs stands for it.
    No,
}

/// What data are mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mounted {
    pub(crate) kept: Kept,
    /// The number of the state generation.
    pub(crate) generation: u64,
}

/// Mounts data, the overlay on `/etc` and `/tmp` over the root of `slot` on [`SYSROOT`].
pub(crate) fn mount_over_root(
    slot: Slot,
    record: Option<&Record>,
    disk: &OurDisk,
    devices: &mut DeviceEvents,
    report: &mut Report,
) -> Result<Mounted, String> {
    devices.load(&["overlay"], report);
    let data = match disk.part(DATA_NAME) {
        Ok(part) => check(part, report),
        Err(why) => Data::Missing { why },
    };
    if let Data::Device { device, fstype } = &data {
        devices.load(&[fstype], report);
        let mounted = mounting::perform(&plan::data(SYSROOT, &data).steps, report);
        let generation = mounted.and_then(|()| {
            state::reset_if_asked(report);
            mounting::perform(&plan::within_data(SYSROOT), report)?;
            state::prepare(record, slot, report)
        });
        let overlaid = match generation {
            Ok(generation) => overlay(generation, report).map(|()| generation),
            // A trial without a state of its own would write into another's.
            Err(why) if is_on_trial(record, slot) => return Err(why),
            Err(why) => Err(why),
        };
        match overlaid {
            Ok(generation) => {
                grow(device, report);
                return Ok(Mounted {
                    kept: Kept::Yes,
                    generation,
                });
            }
            // The data come before what is on them: another try needs both gone.
            Err(why) => {
                undo();
                return without_data(&Data::Missing { why }, report);
            }
        }
    }
    without_data(&data, report)
}

fn is_on_trial(record: Option<&Record>, slot: Slot) -> bool {
    record.is_some_and(|it| it.trial == Some(slot))
}

fn overlay(generation: u64, report: &mut Report) -> Result<(), String> {
    mounting::perform(&plan::over_root(SYSROOT, generation).steps, report)
}

fn without_data(data: &Data, report: &mut Report) -> Result<Mounted, String> {
    let plan = plan::data(SYSROOT, data);
    for missing in plan.missing {
        report.lack(missing);
    }
    mounting::perform(&plan.steps, report)?;
    mounting::perform(&plan::within_data(SYSROOT), report)?;
    overlay(0, report)?;
    Ok(Mounted {
        kept: Kept::No,
        generation: 0,
    })
}

/// Unmounts what a plan, done or half-done, left on the root. Not mounted is the usual case for each.
pub(crate) fn undo() {
    for below in ["/tmp", "/etc", "/var"] {
        let _ = unmount(&format!("{SYSROOT}{below}"), UnmountFlags::empty());
    }
}

/// Finds out which filesystem it is, and checks ext4 with the root's own program; btrfs needs no check
/// before it is mounted.
fn check(part: &Part, report: &mut Report) -> Data {
    let device = part.device.clone();
    let kind = match superblock(&device) {
        Ok(Some(found)) => found.kind,
        Ok(None) => {
            return Data::Missing {
                why: format!(
                    "{device} holds neither an ext4 nor a btrfs filesystem; make one with mkfs.ext4"
                ),
            };
        }
        Err(why) => return Data::Missing { why },
    };
    let fstype = kind.as_str().to_owned();
    match kind {
        Kind::Btrfs => {
            report.step(&format!("data: {device} is btrfs"));
            Data::Device { device, fstype }
        }
        Kind::Ext4 => match fsck(&device, report) {
            Ok(()) => Data::Device { device, fstype },
            Err(why) => Data::Missing { why },
        },
    }
}

/// Checks ext4.
///
/// # Errors
/// It cannot be used.
fn fsck(device: &str, report: &mut Report) -> Result<(), String> {
    let verdict = with_pseudo_filesystems(|| fsck::check(SYSROOT, device));
    watchdog::feed();
    match verdict {
        Ok(Verdict::Clean) => report.step(&format!("data: {device} is clean")),
        Ok(Verdict::Corrected(what)) => report.warn(format!("data: {device}: {what}")),
        Ok(Verdict::Absent) => {
            report.lack("e2fsck: not in the root; the data partition is mounted unchecked".into());
        }
        Ok(Verdict::Unusable(why)) => return Err(format!("{device}: {why}")),
        // The check is a precaution: a journal is replayed by the mount as well.
        Err(error) => report.warn(format!("data: {device} is not checked: {error}")),
    }
    Ok(())
}

/// Runs `work` while the new root has `/dev` and `/proc`.
fn with_pseudo_filesystems<T>(work: impl FnOnce() -> T) -> Result<T, kernel::Error> {
    let (dev, proc) = (format!("{SYSROOT}/dev"), format!("{SYSROOT}/proc"));
    kernel::mount::bind("/dev", &dev, false)?;
    let done = kernel::mount::bind("/proc", &proc, false).map(|()| {
        let done = work();
        let _ = unmount(&proc, UnmountFlags::empty());
        done
    });
    let _ = unmount(&dev, UnmountFlags::empty());
    done
}

fn superblock(device: &str) -> Result<Option<Superblock>, String> {
    let mut bytes = [0; superblock::LENGTH];
    let mut filled = 0;
    let read = |file: File| {
        // A small partition may end before.
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, filled as u64)? {
                0 => break,
                count => filled += count,
            }
        }
        Ok(())
    };
    File::open(device)
        .and_then(read)
        .map_err(|error| format!("read {device}: {error}"))?;
    Ok(Superblock::parse(bytes.get(..filled).unwrap_or_default()))
}

/// Lets the mounted filesystem have all of its partition: an image is written with a small one.
fn grow(device: &str, report: &mut Report) {
    match try_grow(device) {
        Ok(None) => {}
        Ok(Some((from, to))) => {
            report.note(&format!("data: {device} grown from {from} to {to} bytes"));
        }
        Err(error) => report.warn(format!("data: {device} keeps its size: {error}")),
    }
}

/// The sizes before and after, in bytes, when it grew.
fn try_grow(device: &str) -> Result<Option<(u64, u64)>, String> {
    let Some(before) = superblock(device)? else {
        return Ok(None);
    };
    let bytes = BlockDevice::open(device)
        .and_then(|device| device.size())
        .map_err(|error| error.to_string())?;
    if bytes < before.bytes.saturating_add(u64::from(before.block_size)) {
        return Ok(None);
    }
    let var = format!("{SYSROOT}/var");
    let grown = match before.kind {
        Kind::Ext4 => sizes(before.bytes, bytes).try_for_each(|size| {
            watchdog::feed();
            kernel::block::grow_ext4(&var, size)
        }),
        Kind::Btrfs => kernel::block::grow_btrfs(&var),
    };
    grown.map_err(|error| error.to_string())?;
    watchdog::feed();
    // The kernel leaves out a last block group that is too small to be one.
    let after = superblock(device)?.unwrap_or(before);
    Ok((after != before).then_some((before.bytes, after.bytes)))
}

/// The sizes that a filesystem of `from` bytes gets on its way to `to`.
fn sizes(from: u64, to: u64) -> impl Iterator<Item = u64> {
    // Whole block groups, whatever their size: of a part of one the kernel may make nothing.
    let next = move |size: u64| (size / STEP).saturating_add(1).saturating_mul(STEP).min(to);
    std::iter::successors((from < to).then(|| next(from)), move |size| {
        (*size < to).then(|| next(*size))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_filesystem_grows_in_steps() {
        let check = |from, to, expect: &[u64]| {
            assert_eq!(sizes(from, to).collect::<Vec<_>>(), expect);
        };
        check(64 << 20, 1 << 30, &[1 << 30]);
        check(7, 2 * STEP + 9, &[STEP, 2 * STEP, 2 * STEP + 9]);
        check(STEP, 2 * STEP, &[2 * STEP]);
        check(7, 7, &[]);
    }
}
