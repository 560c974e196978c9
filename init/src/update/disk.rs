//! The partitions of the slot that does not run: found by their names on the disk that this machine was
//! booted from, read and written past the page cache. Not here: what is written, and in which order
//! (`mounts::install`).

use std::fs;
use std::path::Path;

use kernel::Errno;
use kernel::block::BlockDevice;
use mounts::dps;
use mounts::install::Area;
use mounts::keyring::CHAIN_MAX;
use mounts::manifest::READ_MAX;
use mounts::slot::Slot;

/// Where the kernel shows its block devices.
const CLASS: &str = "/sys/class/block";

/// The three partitions of a slot.
#[derive(Debug)]
pub(super) struct SlotDisk {
    root: Part,
    verity: Part,
    signature: Part,
}

#[derive(Debug)]
struct Part {
    device: BlockDevice,
    path: String,
}

impl SlotDisk {
    /// Opens the partitions of `slot` on `disk`, such as `/dev/vda`.
    ///
    /// # Errors
    /// For people: one is not there, or cannot be opened.
    pub(super) fn open(disk: &str, slot: Slot) -> Result<Self, String> {
        let part = |name: &str| {
            let path = find(Path::new(CLASS), disk, name)
                .ok_or_else(|| format!("{disk} has no partition named {name}"))?;
            Part::open(path)
        };
        Ok(Self {
            root: part(dps::root_name(slot))?,
            verity: part(dps::verity_name(slot))?,
            signature: part(dps::signature_name(slot))?,
        })
    }

    /// The device of a partition.
    pub(super) fn path(&self, area: Area) -> &str {
        &self.part(area).path
    }

    pub(super) fn size(&self, area: Area) -> Result<u64, String> {
        self.device(area).size().map_err(|error| error.to_string())
    }

    pub(super) fn read(&self, area: Area, offset: u64, into: &mut [u8]) -> Result<(), String> {
        self.device(area)
            .read_blocks(offset, into)
            .map_err(|error| error.to_string())
    }

    pub(super) fn write(&self, area: Area, offset: u64, bytes: &[u8]) -> Result<(), String> {
        self.device(area)
            .write_blocks(offset, bytes)
            .map_err(|error| error.to_string())
    }

    pub(super) fn flush(&self, area: Area) -> Result<(), String> {
        self.device(area).flush().map_err(|error| error.to_string())
    }

    fn device(&self, area: Area) -> &BlockDevice {
        &self.part(area).device
    }

    fn part(&self, area: Area) -> &Part {
        match area {
            Area::Root => &self.root,
            Area::Verity => &self.verity,
            Area::Signature => &self.signature,
        }
    }
}

impl Part {
    fn open(path: String) -> Result<Self, String> {
        let device = match BlockDevice::open_direct(&path) {
            // An image file on a filesystem without O_DIRECT.
            Err(error) if error.errno == Errno::INVAL => BlockDevice::open_buffered(&path),
            other => other,
        };
        let device = device.map_err(|error| error.to_string())?;
        Ok(Self { device, path })
    }
}

/// The partition of `disk` with this name, as `/dev/NAME`.
pub(crate) fn find(class: &Path, disk: &str, name: &str) -> Option<String> {
    let disk = fs::canonicalize(disk).ok()?;
    let inside = class.join(disk.file_name()?);
    let wanted = format!("PARTNAME={name}");
    let mut found: Vec<String> = fs::read_dir(inside)
        .ok()?
        .flatten()
        .filter(|entry| {
            let text = fs::read_to_string(entry.path().join("uevent")).unwrap_or_default();
            text.lines().any(|line| line == wanted)
        })
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    // Two of one name: which one is meant nobody can say.
    let only = found.pop().filter(|_| found.is_empty())?;
    Some(format!("/dev/{only}"))
}

/// The start of the signature partition of `slot`: its manifest, and the links of keys behind it.
///
/// # Errors
/// For people: it is not there, or cannot be read.
pub(super) fn signed_manifest(disk: &str, slot: Slot) -> Result<Vec<u8>, String> {
    let name = dps::signature_name(slot);
    let path = find(Path::new(CLASS), disk, name)
        .ok_or_else(|| format!("{disk} has no partition named {name}"))?;
    let part = Part::open(path)?;
    let most = part.device.size().map_err(|error| error.to_string())?;
    let wanted = (READ_MAX + CHAIN_MAX).next_multiple_of(kernel::block::BLOCK);
    let mut bytes = vec![0; wanted.min(usize::try_from(most).unwrap_or(wanted))];
    part.device
        .read_blocks(0, &mut bytes)
        .map_err(|error| error.to_string())?;
    Ok(bytes)
}
