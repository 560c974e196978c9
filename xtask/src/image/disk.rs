//! The disk: a partition table, an empty EFI system partition, the first boot record, two slots and
//! the data partition, as one sparse file. Nothing is mounted and no loop device is needed.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use gpt_disk_types::Guid;
use mounts::dps::{self, Architecture};
use mounts::gpt::{self, Partition};
use mounts::loader::Kind;
use mounts::slot::Slot;
use mounts::slot::record::Record;
use mounts::slot::region::{PARTITION_SIZE, Place};
use mounts::superblock;

use super::loader::{self, EspFile};
use super::slots::SlotImage;
use crate::cache::{Hasher, Key};
use crate::command;

const BLOCK: u32 = 512;
const MIB: u64 = 1 << 20;

/// Sizes in MiB. Of the data partition, only the first part holds a filesystem when the device first
/// boots: that it grows is then tried on each first boot.
const ESP_MIB: u64 = 64;
/// With a kernel and an initramfs for each slot.
const ESP_WITH_KERNELS_MIB: u64 = 128;
const SIGNATURE_MIB: u64 = 1;
const DATA_FILESYSTEM_MIB: u64 = 32;
/// The same of btrfs: the kernel makes none of another size that is smaller. One that is has all kinds of blocks
/// in the same place, or it would be full soon.
const DATA_BTRFS_MIB: u64 = 256;

/// Attribute bit of the Discoverable Partitions Specification: never mounted writable.
const READ_ONLY: u64 = 1 << 60;

/// The time that filesystems bear: 2026-01-01, in seconds since 1970.
const FIXED_TIME: &str = "1767225600";

/// What a disk is made of.
pub(super) struct Parts<'a> {
    pub(super) slots: &'a [(Slot, SlotImage)],
    pub(super) architecture: Architecture,
    /// MiB that each root partition has.
    pub(super) root_mib: u64,
    /// MiB that the data partition has.
    pub(super) data_mib: u64,
    /// Its filesystem.
    pub(super) data_filesystem: superblock::Kind,
    /// What chooses between the slots besides the record.
    pub(super) loader: Option<Kind>,
    /// What lies on the EFI system partition.
    pub(super) esp: &'a [EspFile],
    /// What the UUIDs follow from, beside the root hashes.
    pub(super) key: Key,
}

/// A partition to be, and the file that it begins with.
struct Planned {
    name: &'static str,
    type_guid: Guid,
    uuid: Guid,
    mib: u64,
    attributes: u64,
    content: PathBuf,
}

/// Writes the disk to `target`; intermediate files go beside it.
pub(super) fn write(parts: &Parts<'_>, target: &Path) -> Result<()> {
    let dir = target.parent().unwrap_or(Path::new("."));
    let planned = plan(parts, dir)?;
    let partitions = lay_out(&planned)?;
    let last = partitions.last().map_or(0, |partition| partition.last_lba);
    // Room for the backup table behind the last partition, to a full MiB.
    let size = ((last + 1) * u64::from(BLOCK)).next_multiple_of(MIB) + MIB;
    let table = gpt::build(
        BLOCK,
        size / u64::from(BLOCK),
        derived(&parts.key, "disk"),
        &partitions,
    )
    .map_err(|error| anyhow!("partition table: {error}"))?;

    let mut disk =
        File::create(target).with_context(|| format!("cannot create {}", target.display()))?;
    disk.set_len(size)?;
    for (offset, bytes) in &table {
        disk.seek(SeekFrom::Start(*offset))?;
        disk.write_all(bytes)?;
    }
    for (partition, plan) in partitions.iter().zip(&planned) {
        copy_sparse(&plan.content, &mut disk, partition)?;
    }
    Ok(())
}

fn plan(parts: &Parts<'_>, dir: &Path) -> Result<Vec<Planned>> {
    let architecture = parts.architecture;
    let own = |name: &'static str, type_guid, mib, content| Planned {
        name,
        type_guid,
        uuid: derived(&parts.key, name),
        mib,
        attributes: 0,
        content,
    };
    let mut planned = vec![
        own(dps::ESP_NAME, dps::ESP, esp_mib(parts), esp(parts, dir)?),
        own(
            dps::STATE_NAME,
            dps::SHARK_STATE,
            PARTITION_SIZE / MIB,
            state(parts, dir)?,
        ),
    ];
    for (slot, image) in parts.slots {
        let marks = loader::marks(parts.loader, *slot);
        let hash = &image.root_hash;
        let sealed = |name, type_guid, uuid, mib, content: &Path| Planned {
            name,
            type_guid,
            uuid,
            mib,
            attributes: READ_ONLY,
            content: content.to_path_buf(),
        };
        let verity_mib = verity_mib(parts.root_mib)?;
        let signature = derived(&parts.key, dps::signature_name(*slot));
        planned.extend([
            Planned {
                attributes: READ_ONLY | marks,
                ..sealed(
                    dps::root_name(*slot),
                    architecture.root_type(),
                    dps::root_uuid(hash),
                    parts.root_mib,
                    &image.root,
                )
            },
            sealed(
                dps::verity_name(*slot),
                architecture.verity_type(),
                dps::verity_uuid(hash),
                verity_mib,
                &image.verity,
            ),
            sealed(
                dps::signature_name(*slot),
                architecture.signature_type(),
                signature,
                SIGNATURE_MIB,
                &image.signature,
            ),
        ]);
    }
    planned.push(own(
        dps::DATA_NAME,
        dps::VAR,
        parts.data_mib,
        data(parts, dir)?,
    ));
    Ok(planned)
}

/// MiB for the hash tree of a root partition that is full.
fn verity_mib(root_mib: u64) -> Result<u64> {
    let blocks = root_mib * MIB / u64::from(mounts::verity::BLOCK_SIZE);
    let bytes = mounts::verity::hash_area_size(blocks)
        .with_context(|| format!("a root of {root_mib} MiB is too large"))?;
    Ok(bytes.div_ceil(MIB) + 1)
}

/// Places the partitions one after the other, each at a full MiB.
fn lay_out(planned: &[Planned]) -> Result<Vec<Partition>> {
    let mut partitions = Vec::new();
    let mut offset = MIB;
    for (number, plan) in (1..).zip(planned) {
        let size = plan.mib * MIB;
        let content = fs::metadata(&plan.content)
            .with_context(|| format!("cannot look at {}", plan.content.display()))?
            .len();
        if content > size {
            bail!(
                "{} has {content} bytes, more than the {} MiB of its partition; \
                 give a larger --root-size",
                plan.name,
                plan.mib
            );
        }
        partitions.push(Partition {
            number,
            name: plan.name.to_owned(),
            type_guid: plan.type_guid,
            uuid: plan.uuid,
            first_lba: offset / u64::from(BLOCK),
            last_lba: (offset + size) / u64::from(BLOCK) - 1,
            attributes: plan.attributes,
        });
        offset += size;
    }
    Ok(partitions)
}

/// A GUID that follows from the image and the name of what it is for.
fn derived(key: &Key, purpose: &str) -> Guid {
    let mut hasher = Hasher::new("guid");
    hasher.bytes(&key.0).text(purpose);
    let mut bytes = hasher.finish().first_half();
    // Version 8 and the variant of RFC 9562: made in a way of our own.
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    dps::guid_of_text_order(bytes)
}

fn esp_mib(parts: &Parts<'_>) -> u64 {
    if parts.esp.is_empty() {
        ESP_MIB
    } else {
        ESP_WITH_KERNELS_MIB
    }
}

fn esp(parts: &Parts<'_>, dir: &Path) -> Result<PathBuf> {
    let path = empty(dir, "esp.img", esp_mib(parts))?;
    let id: String = parts.key.to_string().chars().take(8).collect();
    command::run(
        command::new("mkfs.vfat")
            .env("PATH", command::path_with_sbin())
            .args([
                "-F",
                "32",
                "-s",
                "1",
                "--invariant",
                "-n",
                "SHARK-ESP",
                "-i",
                &id,
            ])
            .arg(&path),
    )?;
    loader::fill(&path, parts.esp, FIXED_TIME)?;
    Ok(path)
}

/// The partition with the boot record: the first record, and zeros.
fn state(parts: &Parts<'_>, dir: &Path) -> Result<PathBuf> {
    let path = empty(dir, "state.img", PARTITION_SIZE / MIB)?;
    let system = |index: usize| {
        let (_, image) = parts.slots.get(index)?;
        Some((image.root_hash, image.security_version))
    };
    let record = Record::for_image(system(0), system(1)).encode();
    let mut file = File::options().write(true).open(&path)?;
    file.seek(SeekFrom::Start(Place::FIRST.offset()))?;
    file.write_all(&record)
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

fn data(parts: &Parts<'_>, dir: &Path) -> Result<PathBuf> {
    let uuid = derived(&parts.key, "data filesystem").to_string();
    match parts.data_filesystem {
        superblock::Kind::Ext4 => ext4(&uuid, parts.data_mib, dir),
        superblock::Kind::Btrfs => btrfs(&uuid, parts.data_mib, dir),
    }
}

fn ext4(uuid: &str, mib: u64, dir: &Path) -> Result<PathBuf> {
    let path = empty(dir, "data.img", DATA_FILESYSTEM_MIB.min(mib))?;
    // Blocks as the large filesystem will have them, and room in its tables to grow to 1 TiB.
    let extended = format!("hash_seed={uuid},resize=268435456,lazy_itable_init=0,root_owner=0:0");
    command::run(
        command::new("mkfs.ext4")
            .env("PATH", command::path_with_sbin())
            .env("E2FSPROGS_FAKE_TIME", FIXED_TIME)
            .args([
                "-q",
                "-F",
                "-b",
                "4096",
                "-m",
                "1",
                "-L",
                "shark-data",
                "-U",
                uuid,
            ])
            .args(["-E", &extended])
            .arg(&path),
    )?;
    Ok(path)
}

fn btrfs(uuid: &str, mib: u64, dir: &Path) -> Result<PathBuf> {
    let (size, form): (u64, &[&str]) = match mib <= DATA_BTRFS_MIB {
        true => (mib, &["--mixed", "-d", "single", "-m", "single"]),
        false => (DATA_BTRFS_MIB, &[]),
    };
    let path = empty(dir, "data.img", size)?;
    command::run(
        command::new("mkfs.btrfs")
            .env("PATH", command::path_with_sbin())
            .args(["-q", "-L", "shark-data", "-U", uuid])
            .args(form)
            .arg(&path),
    )?;
    Ok(path)
}

fn empty(dir: &Path, name: &str, mib: u64) -> Result<PathBuf> {
    let path = dir.join(name);
    File::create(&path)
        .and_then(|file| file.set_len(mib * MIB))
        .with_context(|| format!("cannot create {}", path.display()))?;
    Ok(path)
}

/// Copies a file to a place on the disk, leaving holes where it has only zeros.
fn copy_sparse(from: &Path, disk: &mut File, partition: &Partition) -> Result<()> {
    let mut file = File::open(from).with_context(|| format!("cannot read {}", from.display()))?;
    let mut offset = partition.offset(BLOCK);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = file.read(&mut buffer)?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else {
            return Ok(());
        };
        if bytes.iter().any(|byte| *byte != 0) {
            disk.seek(SeekFrom::Start(offset))?;
            disk.write_all(bytes)
                .with_context(|| format!("cannot write {} to the disk", partition.name))?;
        }
        offset += read as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_follow_each_other_and_what_does_not_fit_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let content = empty(dir.path(), "two", 2).unwrap();
        let plan = |mib| Planned {
            name: "x",
            type_guid: dps::VAR,
            uuid: derived(&Key([0; 32]), "x"),
            mib,
            attributes: 0,
            content: content.clone(),
        };
        let placed: Vec<(u64, u64)> = lay_out(&[plan(2), plan(3)])
            .unwrap()
            .iter()
            .map(|partition| (partition.first_lba, partition.last_lba))
            .collect();
        assert_eq!(placed, [(2048, 6143), (6144, 12287)]);
        let error = lay_out(&[plan(1)]).unwrap_err().to_string();
        assert!(error.contains("--root-size"), "{error}");
    }

    #[test]
    fn derived_guids_differ_by_purpose_and_image() {
        let guid = |byte, purpose| derived(&Key([byte; 32]), purpose);
        assert_eq!(guid(1, "a"), guid(1, "a"));
        assert_ne!(guid(1, "a"), guid(1, "b"));
        assert_ne!(guid(1, "a"), guid(2, "a"));
        assert!(guid(1, "a").to_string().get(14..15) == Some("8"));
    }
}
