//! One slot, from its signature to its mounted root: everything that must hold before the slot is
//! booted.
//!
//! In order: the partitions are there, the manifest is signed by a key of ours, it is for this
//! machine and fits the partitions, the hash partition belongs to it, dm-verity opens it, its
//! blocks verify (`integrity` says which), it can be mounted, and it has an init. The first thing
//! that does not hold is the reason kept for the slot. Which slot is tried, and what follows from a
//! failure, is not here.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use kernel::Errno;
use kernel::dm::{Control, Target};
use kernel::mount::{UnmountFlags, unmount};
use mounts::dps::{self, Architecture};
use mounts::keyring::{CHAIN_MAX, Known};
use mounts::manifest::{self, Manifest, ManifestError, READ_MAX};
use mounts::plan::{self, SYSROOT};
use mounts::slot::Slot;
use mounts::slot::record::Ended;
use mounts::verity::{self, OnCorruption, SUPERBLOCK_SIZE, Scope, SuperblockError};

use super::device_events::{DeviceEvents, News};
use super::disk::{OurDisk, Part};
use super::init_file;
use super::integrity::{self, Damage};
use super::keys::{KEYS, Trusted};
use super::mounting;
use super::report::Report;
use super::watchdog;

/// How long a device-mapper node may take to appear; it is made by the kernel's own thread.
const NODE_PATIENCE: Duration = Duration::from_secs(5);

/// A root that holds, mounted on [`SYSROOT`].
#[derive(Debug)]
pub(crate) struct Root {
    /// What is booted.
    pub(crate) manifest: Manifest,
    /// Name of its device-mapper device.
    pub(crate) dm_name: String,
    /// Node of its device-mapper device.
    pub(crate) dm_node: String,
    /// Every block of it was read and verified.
    pub(crate) read_whole: bool,
}

/// Why a slot is not booted.
#[derive(Debug)]
pub(crate) enum Refused {
    /// A partition of it is not there, or there twice.
    Partition(String),
    /// A partition of it cannot be read.
    Read { device: String, error: io::Error },
    /// The initramfs has no usable key.
    NoKeys,
    /// Signature or manifest are not right.
    Manifest {
        device: String,
        error: ManifestError,
    },
    /// It is for other machines.
    Architecture(Architecture),
    /// The image does not fit its partition.
    TooSmall {
        device: String,
        bytes: u64,
        needed: u64,
    },
    /// The hash partition is none, or belongs to another image.
    Superblock {
        device: String,
        error: SuperblockError,
    },
    /// device-mapper did not open it.
    DeviceMapper(kernel::Error),
    /// Its device node did not appear.
    NoNode(String),
    /// A block does not verify.
    Damaged(Damage),
    /// A block cannot be read, and nothing says that it would not verify.
    Unreadable(Damage),
    /// device-mapper met a block that does not verify.
    Corrupt,
    /// It cannot be mounted.
    Mount(String),
    /// It has no init.
    NoInit(String),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Partition(what) => f.write_str(what),
            Self::Read { device, error } => write!(f, "read {device}: {error}"),
            Self::NoKeys => write!(
                f,
                "no key in {KEYS} of the initramfs to check its signature with"
            ),
            Self::Manifest { device, error } => write!(f, "signature: {device}: {error}"),
            Self::Architecture(found) => write!(
                f,
                "it is for {found}, this machine is {}",
                std::env::consts::ARCH
            ),
            Self::TooSmall {
                device,
                bytes,
                needed,
            } => {
                write!(f, "{device} has {bytes} bytes, its manifest needs {needed}")
            }
            Self::Superblock { device, error } => write!(f, "{device}: {error}"),
            Self::DeviceMapper(error) => write!(f, "dm-verity: {error}"),
            Self::NoNode(node) => write!(
                f,
                "dm-verity: {node} did not appear within {} s",
                NODE_PATIENCE.as_secs()
            ),
            Self::Damaged(damage) => write!(f, "root does not verify: {damage}"),
            Self::Unreadable(damage) => write!(f, "root cannot be read: {damage}"),
            Self::Corrupt => write!(f, "root does not verify: dm-verity found a corrupted block"),
            Self::Mount(error) => f.write_str(error),
            Self::NoInit(error) => write!(f, "root has no init: {error}"),
        }
    }
}

impl Refused {
    /// How a boot of the slot ends by it, in the words of the boot record.
    pub(crate) fn ended(&self) -> Ended {
        match self {
            Self::NoKeys | Self::Manifest { .. } | Self::Architecture(_) => Ended::ManifestRefused,
            Self::Damaged(_) | Self::Corrupt => Ended::VerityFault,
            Self::NoInit(_) => Ended::InitFailed,
            Self::Partition(_)
            | Self::Read { .. }
            | Self::TooSmall { .. }
            | Self::Superblock { .. }
            | Self::DeviceMapper(_)
            | Self::NoNode(_)
            | Self::Unreadable(_)
            | Self::Mount(_) => Ended::RootRefused,
        }
    }
}

/// The slot with the highest security version among those whose manifest is signed; of two alike
/// slot a. For when no boot record says more.
pub(crate) fn newest_signed(disk: &OurDisk, trusted: &Trusted) -> Option<Slot> {
    let version = |slot| {
        let part = disk.part(dps::signature_name(slot)).ok()?;
        // One whose key was revoked comes after the others.
        let manifest = signed_manifest(part, trusted, |_| Known::Untried).ok()?;
        Some(manifest.security_version)
    };
    newest(Slot::ALL.map(|slot| (slot, version(slot))))
}

fn newest(slots: [(Slot, Option<u32>); 2]) -> Option<Slot> {
    let signed = |(slot, version): (Slot, Option<u32>)| version.map(|version| (slot, version));
    slots
        .into_iter()
        .filter_map(signed)
        .reduce(|best, next| if next.1 > best.1 { next } else { best })
        .map(|(slot, _)| slot)
}

/// Opens, checks and mounts the root of `slot`. After a refusal nothing of it is left mounted or
/// open.
pub(crate) fn open(
    slot: Slot,
    disk: &OurDisk,
    trusted: &Trusted,
    known: impl Fn(&Manifest) -> Known,
    on_corruption: OnCorruption,
    devices: &mut DeviceEvents,
    report: &mut Report,
) -> Result<Root, Refused> {
    let part = |name| disk.part(name).map_err(Refused::Partition);
    let (data, hash) = (part(dps::root_name(slot))?, part(dps::verity_name(slot))?);
    let manifest = signed_manifest(part(dps::signature_name(slot))?, trusted, known)?;
    fits(&manifest, data, hash)?;
    note_uuids(slot, &manifest, data, hash, report);
    devices.load(
        &["dm_mod", "dm_verity", manifest.filesystem.as_str()],
        report,
    );

    let dm_name = dps::root_name(slot).to_owned();
    // While the root is checked a bad block must be an error here, where the other slot is still to
    // be had, and not a panic or a restart into the same slot. What was asked for is put in place
    // before the root is used.
    let table = |mode, scope| verity::target(&data.device, &hash.device, &manifest, mode, scope);
    let control = Control::open().map_err(Refused::DeviceMapper)?;
    let mild = table(OnCorruption::Eio, Scope::Corruption);
    let dm_node = create(&control, &dm_name, &mild).map_err(Refused::DeviceMapper)?;
    let checked = wait_for_node(&dm_node, devices, report)
        .and_then(|()| check_and_mount(&control, &dm_name, &dm_node, &manifest, report))
        .and_then(|read_whole| {
            harden(&control, &dm_name, on_corruption, table, report)?;
            Ok(read_whole)
        });
    match checked {
        Ok(read_whole) => Ok(Root {
            manifest,
            dm_name,
            dm_node,
            read_whole,
        }),
        Err(refused) => {
            close(&control, &dm_name, report);
            Err(refused)
        }
    }
}

/// Takes a root apart that was opened and is not booted after all. What is mounted on it is gone.
pub(crate) fn give_up(root: &Root, report: &mut Report) {
    match Control::open() {
        Ok(control) => close(&control, &root.dm_name, report),
        Err(error) => report.warn(format!("dm-verity: {error}")),
    }
}

/// Puts in place what is to happen when a block of the running root fails.
fn harden(
    control: &Control,
    name: &str,
    mode: OnCorruption,
    table: impl Fn(OnCorruption, Scope) -> verity::Target,
    report: &Report,
) -> Result<(), Refused> {
    if mode == OnCorruption::Eio {
        return Ok(());
    }
    let version = control.target_version("verity").unwrap_or_default();
    let mut refused = None;
    for scope in Scope::worth_asking(version) {
        match replace(control, name, &table(mode, *scope)) {
            Ok(()) => {
                report.step(&format!("root: {mode:?} for {scope:?}"));
                return Ok(());
            }
            // A kernel that does not know one of the arguments.
            Err(error) if error.errno == Errno::INVAL => refused = Some(error),
            Err(error) => return Err(Refused::DeviceMapper(error)),
        }
    }
    refused.map_or(Ok(()), |error| Err(Refused::DeviceMapper(error)))
}

/// Takes an opened root apart again.
fn close(control: &Control, dm_name: &str, report: &mut Report) {
    // Not mounted is the usual case.
    let _ = unmount(SYSROOT, UnmountFlags::empty());
    if let Err(error) = control.remove(dm_name, false) {
        report.warn(format!("dm-verity: {error}"));
    }
}

fn signed_manifest(
    part: &Part,
    trusted: &Trusted,
    known: impl Fn(&Manifest) -> Known,
) -> Result<Manifest, Refused> {
    if trusted.keyring.entries().is_empty() {
        return Err(Refused::NoKeys);
    }
    let bytes = head(&part.device, READ_MAX)?;
    let mut verified = manifest::verify_installed(&bytes, &trusted.keyring, &known);
    if matches!(verified, Err(ManifestError::Signature(_))) {
        let bytes = head(&part.device, READ_MAX + CHAIN_MAX)?;
        let keyring = trusted.with_links_of(&bytes);
        verified = manifest::verify_installed(&bytes, &keyring, &known);
    }
    let manifest = verified.map_err(|error| Refused::Manifest {
        device: part.device.clone(),
        error,
    })?;
    if Architecture::current() == Some(manifest.architecture) {
        Ok(manifest)
    } else {
        Err(Refused::Architecture(manifest.architecture))
    }
}

/// The image and its hashes fit their partitions, and the hash partition is the one that belongs to
/// the image.
fn fits(manifest: &Manifest, data: &Part, hash: &Part) -> Result<(), Refused> {
    for (part, needed) in [(data, manifest.image_size), (hash, manifest.hash_size)] {
        if part.bytes < needed {
            return Err(Refused::TooSmall {
                device: part.device.clone(),
                bytes: part.bytes,
                needed,
            });
        }
    }
    let superblock = head(&hash.device, SUPERBLOCK_SIZE)?;
    verity::check_superblock(&superblock, manifest).map_err(|error| Refused::Superblock {
        device: hash.device.clone(),
        error,
    })
}

/// The partitions' UUIDs repeat the root hash. A difference harms nothing, because the hash itself
/// is checked, and two slots with the same image cannot both have them: a step and not a warning.
fn note_uuids(slot: Slot, manifest: &Manifest, data: &Part, hash: &Part, report: &Report) {
    let hash_value = &manifest.root_hash;
    for (part, expected) in [
        (data, dps::root_uuid(hash_value)),
        (hash, dps::verity_uuid(hash_value)),
    ] {
        let expected = expected.to_string();
        if part.uuid != expected {
            report.step(&format!(
                "slot {slot}: {} has UUID {}, its root hash is {expected}",
                part.device, part.uuid
            ));
        }
    }
}

/// At most `length` bytes from the start of a device.
fn head(device: &str, length: usize) -> Result<Vec<u8>, Refused> {
    let mut bytes = Vec::with_capacity(length);
    let read = File::open(device).and_then(|file| file.take(length as u64).read_to_end(&mut bytes));
    match read {
        Ok(_) => Ok(bytes),
        Err(error) => Err(Refused::Read {
            device: device.to_owned(),
            error,
        }),
    }
}

fn wait_for_node(
    node: &str,
    devices: &mut DeviceEvents,
    report: &mut Report,
) -> Result<(), Refused> {
    let there = |_: &News, _: &mut Report| Path::new(node).exists().then_some(());
    devices
        .wait_for(NODE_PATIENCE, report, there)
        .ok_or_else(|| Refused::NoNode(node.to_owned()))
}

/// Whether every block was read.
fn check_and_mount(
    control: &Control,
    dm_name: &str,
    dm_node: &str,
    manifest: &Manifest,
    report: &mut Report,
) -> Result<bool, Refused> {
    // A read fails as well when the disk does not answer, which is no fault of the image's.
    let blame = |damage| match is_corrupt(control, dm_name) {
        Ok(true) => Refused::Damaged(damage),
        Ok(false) | Err(_) => Refused::Unreadable(damage),
    };
    let share = integrity::share_of(manifest.image_size);
    integrity::read_device(dm_node, share).map_err(blame)?;
    report.step(&format!(
        "root: {share} of {} bytes read and verified",
        manifest.image_size
    ));
    watchdog::feed();
    mounting::perform(&plan::root(dm_node, manifest.filesystem).steps, report).map_err(
        |error| match is_corrupt(control, dm_name) {
            Ok(true) => Refused::Corrupt,
            Ok(false) | Err(_) => Refused::Mount(error),
        },
    )?;
    if share < manifest.image_size {
        let bytes = integrity::read_essential(Path::new(SYSROOT)).map_err(blame)?;
        report.step(&format!(
            "root: {bytes} bytes of init and its service files read and verified"
        ));
    }
    if is_corrupt(control, dm_name)? {
        return Err(Refused::Corrupt);
    }
    init_file::check(Path::new(SYSROOT)).map_err(Refused::NoInit)?;
    Ok(share == manifest.image_size)
}

/// Makes the read-only device of `table` and returns its node.
fn create(control: &Control, name: &str, table: &verity::Target) -> Result<String, kernel::Error> {
    let device = control.create(name, &format!("SHARK-{name}"))?;
    if let Err(error) = replace(control, name, table) {
        // A device without a table would keep its name from the next try.
        let _ = control.remove(name, false);
        return Err(error);
    }
    Ok(device.path())
}

/// Puts `table` in place of the device's table.
fn replace(control: &Control, name: &str, table: &verity::Target) -> Result<(), kernel::Error> {
    let target = Target {
        start: 0,
        length: table.sectors,
        kind: table.target_type.to_owned(),
        parameters: table.parameters.clone(),
    };
    control.load(name, &[target], true)?;
    control.resume(name)
}

/// The status of dm-verity is `V` until a block fails, then `C`.
fn is_corrupt(control: &Control, name: &str) -> Result<bool, Refused> {
    let status = control.status(name).map_err(Refused::DeviceMapper)?;
    Ok(status
        .iter()
        .any(|target| target.parameters.starts_with('C')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_record_the_newest_signed_slot_comes_first() {
        let check = |a, b, expect| assert_eq!(newest([(Slot::A, a), (Slot::B, b)]), expect);
        check(Some(1), Some(2), Some(Slot::B));
        check(Some(2), Some(1), Some(Slot::A));
        check(Some(2), Some(2), Some(Slot::A));
        check(None, Some(0), Some(Slot::B));
        check(None, None, None);
    }

    #[test]
    fn only_a_block_that_fails_its_hash_marks_a_root_as_bad() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let damage = || {
            let name = file.path().to_str().unwrap();
            integrity::read_device(name, 4096).unwrap_err()
        };
        assert_eq!(Refused::Damaged(damage()).ended(), Ended::VerityFault);
        assert_eq!(Refused::Unreadable(damage()).ended(), Ended::RootRefused);
        assert_eq!(Refused::NoKeys.ended(), Ended::ManifestRefused);
        assert_eq!(Refused::NoInit(String::new()).ended(), Ended::InitFailed);
    }
}
