//! Where a boot record is: a partition, a disk or an image file; reading it, writing it durably, and
//! the lock between those who write. Not here: what a record says (`mounts::slot`).

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use kernel::Errno;
use kernel::block::BlockDevice;
use mounts::dps::STATE_NAME;
use mounts::gpt::{self, GptError, ReadError, Table};
use mounts::slot::record::RECORD_SIZE;
use mounts::slot::store::Medium;

/// Where the kernel shows its block devices.
const CLASS: &str = "/sys/class/block";
/// Kinds of devices that never carry our disk; asking some of them takes seconds.
const NO_DISKS: [&str; 8] = ["ram", "loop", "dm-", "zram", "sr", "fd", "nbd", "md"];
/// How long another writer may keep the lock: longer than any write takes on a disk that lives.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);

/// The partition named `shark-state`, as `/dev/NAME`. Of several disks the one that stage1 takes as
/// well: a fixed one before those that can be taken out, then the first by the length of its name and
/// by the name. It reads `/sys` alone and asks no disk.
#[must_use]
pub fn find() -> Option<String> {
    find_in(Path::new(CLASS), |_| true)
}

fn find_in(class: &Path, wanted: impl Fn(&str) -> bool) -> Option<String> {
    let mut names: Vec<String> = fs::read_dir(class)
        .ok()?
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !NO_DISKS.iter().any(|kind| is_kind(name, kind)))
        .filter(|name| wanted(name) && is_named(&class.join(name)))
        .collect();
    names.sort_by_cached_key(|name| (is_removable(class, name), name.len(), name.clone()));
    names.first().map(|name| format!("/dev/{name}"))
}

/// Whether the disk of this partition can be taken out.
fn is_removable(class: &Path, partition: &str) -> bool {
    let disk = class.join(partition).join("../removable");
    fs::read_to_string(disk).is_ok_and(|text| text.trim() == "1")
}

fn is_kind(name: &str, kind: &str) -> bool {
    name.strip_prefix(kind)
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

fn is_named(device: &Path) -> bool {
    let text = fs::read_to_string(device.join("uevent")).unwrap_or_default();
    text.lines()
        .any(|line| line.strip_prefix("PARTNAME=") == Some(STATE_NAME))
}

/// An open place of boot records.
#[derive(Debug)]
pub(super) struct Device {
    device: BlockDevice,
    path: String,
    /// Where the state partition starts, in bytes.
    base: u64,
}

impl Device {
    /// Opens the state partition `path`, or the one on the disk or in the image file `path`, to read.
    ///
    /// # Errors
    /// For people: it cannot be opened, or it has a partition table without a `shark-state`.
    pub(super) fn open(path: &str) -> Result<Self, String> {
        // Past the page cache, which may hold what was there before another program wrote.
        Self::open_by(path, BlockDevice::open_direct_read, BlockDevice::open)
    }

    /// The same to read and write.
    ///
    /// # Errors
    /// As [`Device::open`].
    pub(super) fn open_to_write(path: &str) -> Result<Self, String> {
        Self::open_by(path, BlockDevice::open_direct, BlockDevice::open_buffered)
    }

    /// Opens it in one way or, where that cannot be done with it (an image on a filesystem without
    /// O_DIRECT), in another.
    fn open_by(
        path: &str,
        first: impl Fn(&str) -> kernel::Result<BlockDevice>,
        second: impl Fn(&str) -> kernel::Result<BlockDevice>,
    ) -> Result<Self, String> {
        let path = partition_of(Path::new(CLASS), path).unwrap_or_else(|| path.to_owned());
        let device = match first(&path) {
            Err(error) if error.errno == Errno::INVAL => second(&path),
            other => other,
        };
        let device = device.map_err(|error| error.to_string())?;
        let base = match device_name(&path) {
            Some(name) if is_partition(Path::new(CLASS), &name) => 0,
            Some(_) | None => base(&path)?,
        };
        Ok(Self { device, path, base })
    }

    /// Waits for its turn among those who write, and has it until the end of this value.
    ///
    /// # Errors
    /// For people: another writer keeps the lock.
    pub(super) fn lock(&self) -> Result<(), String> {
        let start = Instant::now();
        while !self.device.try_lock().map_err(|error| error.to_string())? {
            if start.elapsed() >= LOCK_PATIENCE {
                return Err(format!(
                    "{}: another process has been writing the boot record for {} s; try again when \
                     it has ended",
                    self.path,
                    LOCK_PATIENCE.as_secs()
                ));
            }
            sleep(PAUSE);
        }
        Ok(())
    }

    fn at(&self, offset: u64) -> u64 {
        self.base.saturating_add(offset)
    }
}

impl Medium for Device {
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), String> {
        self.device
            .read_blocks(self.at(offset), into)
            .map_err(|error| error.to_string())
    }

    fn write(&mut self, offset: u64, bytes: &[u8; RECORD_SIZE]) -> Result<(), String> {
        self.device
            .write_block(self.at(offset), bytes)
            .map_err(|error| error.to_string())
    }
}

/// The state partition of the disk `path` as a device of its own, where the kernel has one: whoever
/// comes by the disk then meets the lock of whoever comes by the partition.
fn partition_of(class: &Path, path: &str) -> Option<String> {
    let inside = class.join(device_name(path)?);
    find_in(class, |name| is_partition(&inside, name))
}

/// What the kernel calls the device `path`.
fn device_name(path: &str) -> Option<String> {
    let device = fs::canonicalize(path).ok()?;
    device.to_str()?.strip_prefix("/dev/").map(str::to_owned)
}

/// Whether the kernel knows `name` as a partition: then there is no partition table to look for, and
/// a bad block where one would be costs nothing but itself.
fn is_partition(class: &Path, name: &str) -> bool {
    class.join(name).join("partition").exists()
}

/// Where the state partition starts in `path`: at its start, where there is no partition table.
fn base(path: &str) -> Result<u64, String> {
    let text = |error: kernel::Error| error.to_string();
    // Through the page cache, since a table's blocks may be smaller than what O_DIRECT takes.
    let reader = BlockDevice::open(path).map_err(text)?;
    let size = reader.size().map_err(text)?;
    let own = reader.sector_size().map_err(text)?;
    base_in(path, size, own, |offset, buffer| {
        reader.read_at(offset, buffer).map_err(text)
    })
}

fn base_in(
    path: &str,
    size: u64,
    own_sector: u32,
    mut read: impl FnMut(u64, &mut [u8]) -> Result<(), String>,
) -> Result<u64, String> {
    let mut damaged = None;
    for sector in [own_sector, 4096] {
        let blocks = size / u64::from(sector);
        let table = gpt::read(sector, blocks, |lba, buffer| {
            read(lba.saturating_mul(sector.into()), buffer)
        });
        match table {
            Ok(table) => return state_partition(path, &table),
            Err(error) if is_no_table(&error) => {}
            Err(error) => damaged = damaged.or(Some(error)),
        }
    }
    match damaged {
        None => Ok(0),
        Some(error) => Err(format!("{path}: {error}")),
    }
}

/// Neither copy so much as starts like a partition table, as far as they can be read: then this is no
/// disk, but a copy of the partition, or the partition on a disk that is wearing out.
fn is_no_table(error: &ReadError) -> bool {
    let unlike = |error: &GptError| *error == GptError::Signature;
    let unread = |error: &GptError| matches!(error, GptError::Io(_));
    match error {
        ReadError::Both { primary, backup } => {
            (unlike(primary) && (unlike(backup) || unread(backup)))
                || (unread(primary) && unlike(backup))
        }
        ReadError::TooSmall(_) => true,
        ReadError::BlockSize(_) => false,
    }
}

fn state_partition(path: &str, table: &Table) -> Result<u64, String> {
    let partition = table
        .find(STATE_NAME)
        .map_err(|error| format!("{path}: {error}"))?;
    let offset = partition.offset(table.block_size);
    if offset % RECORD_SIZE as u64 == 0 {
        Ok(offset)
    } else {
        Err(format!(
            "{path}: partition {STATE_NAME} starts at byte {offset}, expected a multiple of {RECORD_SIZE}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mounts::dps;
    use mounts::gpt::Partition;
    use std::os::unix::fs::FileExt;

    /// A `/sys/class/block` with these devices: name, and partition name where it is one.
    fn class(devices: &[(&str, Option<&str>)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, partition) in devices {
            let path = dir.path().join(name);
            fs::create_dir(&path).unwrap();
            let text = partition.map_or_else(String::new, |it| format!("PARTNAME={it}\n"));
            fs::write(path.join("uevent"), format!("MAJOR=8\n{text}")).unwrap();
        }
        dir
    }

    #[test]
    fn the_partition_is_found_by_its_name_on_the_first_disk() {
        let check = |devices: &[(&str, Option<&str>)], expect: Option<&str>| {
            let dir = class(devices);
            assert_eq!(find_in(dir.path(), |_| true).as_deref(), expect);
        };
        let state = Some("shark-state");
        check(&[("vda", None), ("vda2", state)], Some("/dev/vda2"));
        check(&[("sdb1", state), ("sda9", state)], Some("/dev/sda9"));
        check(&[("nvme0n1p2", state), ("vdb2", state)], Some("/dev/vdb2"));
        check(&[("loop0", state), ("vda2", Some("shark-state-2"))], None);
        check(&[], None);
    }

    /// As the kernel does it: partitions lie below their disk, and the class has links to both.
    #[test]
    fn a_stick_with_the_same_names_comes_after_the_fixed_disk() {
        let sys = tempfile::tempdir().unwrap();
        let class = sys.path().join("class");
        fs::create_dir(&class).unwrap();
        for (disk, partition, removable) in [("sda", "sda2", "1"), ("nvme0n1", "nvme0n1p2", "0")] {
            let device = sys.path().join(disk);
            fs::create_dir_all(device.join(partition)).unwrap();
            fs::write(device.join("removable"), format!("{removable}\n")).unwrap();
            let uevent = format!("PARTNAME={STATE_NAME}\n");
            fs::write(device.join(partition).join("uevent"), uevent).unwrap();
            std::os::unix::fs::symlink(device.join(partition), class.join(partition)).unwrap();
        }
        let found = find_in(&class, |_| true);
        assert_eq!(found.as_deref(), Some("/dev/nvme0n1p2"));
    }

    fn disk(block_size: u32, names: &[&str]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let size = 64_u64 << 20;
        file.as_file().set_len(size).unwrap();
        let per = u64::from(8192 / block_size);
        let partitions: Vec<Partition> = (1_u32..)
            .zip(names)
            .map(|(number, name)| Partition {
                number,
                name: (*name).to_owned(),
                type_guid: dps::SHARK_STATE,
                uuid: dps::guid_of_text_order([u8::try_from(number).unwrap(); 16]),
                first_lba: u64::from(number) * 512 * per,
                last_lba: u64::from(number) * 512 * per + 511,
                attributes: 0,
            })
            .collect();
        let blocks = size / u64::from(block_size);
        for (offset, bytes) in gpt::build(block_size, blocks, dps::VAR, &partitions).unwrap() {
            file.as_file().write_all_at(&bytes, offset).unwrap();
        }
        file
    }

    #[test]
    fn a_disk_is_searched_and_a_partition_is_taken_as_it_is() {
        let path = |file: &tempfile::NamedTempFile| file.path().to_str().unwrap().to_owned();
        for block_size in [512, 4096] {
            let found = base(&path(&disk(block_size, &["shark-esp", "shark-state"])));
            assert_eq!(found, Ok(2 * 512 * 8192), "blocks of {block_size}");
        }
        let without = base(&path(&disk(512, &["shark-esp"]))).unwrap_err();
        assert!(
            without.contains("no partition is named shark-state"),
            "{without}"
        );
        let blank = tempfile::NamedTempFile::new().unwrap();
        blank.as_file().set_len(16 << 20).unwrap();
        assert_eq!(base(&path(&blank)), Ok(0));
        let damaged = disk(512, &["shark-state"]);
        for at in [512 + 16, (64 << 20) - 512 + 16] {
            damaged.as_file().write_all_at(&[0xff], at).unwrap();
        }
        let error = base(&path(&damaged)).unwrap_err();
        assert!(error.contains("checksum"), "{error}");
    }

    #[test]
    fn a_bad_block_where_a_table_would_be_is_no_reason_to_refuse_all_of_it() {
        const SIZE: u64 = 16 << 20;
        let check = |bad: &[u64], expect: Result<u64, &str>| {
            let found = base_in("x", SIZE, 512, |offset, buffer| {
                buffer.fill(0);
                let hit = bad.iter().any(|at| (*at..at + 4096).contains(&offset));
                if hit { Err("EIO".to_owned()) } else { Ok(()) }
            });
            match expect {
                Ok(base) => assert_eq!(found, Ok(base), "{bad:?}"),
                Err(word) => assert!(found.unwrap_err().contains(word), "{bad:?}"),
            }
        };
        check(&[], Ok(0));
        check(&[0], Ok(0));
        check(&[SIZE - 4096], Ok(0));
        check(&[0, 4096, SIZE - 4096], Err("EIO"));
    }

    #[test]
    fn what_the_kernel_knows_as_a_partition_is_not_searched() {
        let class = class(&[("vda", None), ("vda2", Some("shark-state"))]);
        fs::write(class.path().join("vda2/partition"), "2\n").unwrap();
        let known = |name| is_partition(class.path(), name);
        assert!(known("vda2") && !known("vda") && !known("vdb"));
        assert_eq!(device_name("/dev/null").as_deref(), Some("null"));
        let image = disk(512, &["shark-state"]);
        assert_eq!(device_name(image.path().to_str().unwrap()), None);
    }

    #[test]
    fn what_is_written_is_read_and_no_other_place_is_touched() {
        let file = disk(512, &["shark-state"]);
        let mut device = Device::open_to_write(file.path().to_str().unwrap()).unwrap();
        device.lock().unwrap();
        device.write(4096, &[7; RECORD_SIZE]).unwrap();
        let mut back = vec![1; 3 * RECORD_SIZE - 5];
        device.read(0, &mut back).unwrap();
        assert!(back[..4096].iter().all(|byte| *byte == 0));
        assert!(back[4096..8192].iter().all(|byte| *byte == 7));
        assert!(back[8192..].iter().all(|byte| *byte == 0));
        let error = device.read(1 << 40, &mut back).unwrap_err();
        assert!(error.contains("at byte"), "{error}");
    }

    #[test]
    fn what_cannot_be_opened_is_named() {
        let error = Device::open("/nonexistent/disk").unwrap_err();
        assert!(error.contains("/nonexistent/disk"), "{error}");
        assert!(Device::open("/").is_err());
    }
}
