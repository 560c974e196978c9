//! The outer loader of this machine, as stage1 and init reach it: the backends of `mounts::loader` over
//! the partitions, disks and variables that the kernel shows. Not here: what a backend does, and when it
//! is asked.
//!
//! A loader is open for a moment: what it mounts is unmounted again when it goes. Whoever shares a mount
//! namespace with others takes one of its own first.

mod disk;
mod esp;
mod variables;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use mounts::loader::bits::PartitionBits;
use mounts::loader::boot_loader_spec::BootLoaderSpec;
use mounts::loader::uboot::UBoot;
use mounts::loader::{INITRAMFS_IN_ROOT, KERNEL_IN_ROOT, Kind, Loader, Source};
use mounts::slot::Slot;

use disk::WholeDisk;
use esp::Esp;
use variables::Variables;

/// Modules that the way to a loader needs; a kernel that lacks one has it built in, or needs another
/// one of them.
pub const MODULES: &[&str] = &[
    "vfat",
    "nls_cp437",
    "nls_ascii",
    "nls_iso8859_1",
    "nls_utf8",
    "efivarfs",
];

/// Where this machine keeps what the loader reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// The EFI system partition, such as `/dev/vda1`, where there is one.
    pub esp: Option<String>,
    /// The disk with the slots, such as `/dev/vda`.
    pub disk: String,
}

/// How long another one who changes what the loader reads may take.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);

/// Waits until `try_lock` has the lock of `what`.
fn lock(what: &str, mut try_lock: impl FnMut() -> kernel::Result<bool>) -> Result<(), String> {
    let start = Instant::now();
    while !try_lock().map_err(|error| error.to_string())? {
        if start.elapsed() >= LOCK_PATIENCE {
            return Err(format!(
                "{what}: another process has been changing it for {} s; try again when it has ended",
                LOCK_PATIENCE.as_secs()
            ));
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// Opens the loader. What it has to say, and what nothing depends on, goes to `say`.
///
/// # Errors
/// For people: the partition it reads is not there, or cannot be mounted.
pub fn open(kind: Kind, places: &Places, say: fn(&str)) -> Result<Box<dyn Loader>, String> {
    let files = || {
        let esp = places.esp.as_deref();
        Esp::mount(esp.ok_or("the disk has no EFI system partition named shark-esp")?)
    };
    Ok(match kind {
        Kind::Gpt => Box::new(PartitionBits::new(WholeDisk::open(&places.disk)?)),
        Kind::Uefi => Box::new(BootLoaderSpec::new(files()?, Variables::new(say))),
        Kind::UBoot => Box::new(UBoot::new(files()?)),
    })
}

/// Copies kernel and initramfs of the system whose root is mounted at `root` to where the loader finds
/// them.
///
/// # Errors
/// For people: the system has none, or they could not be copied.
pub fn place(loader: &mut dyn Loader, slot: Slot, root: &str) -> Result<(), String> {
    let mut kernel = RootFile::open(root, KERNEL_IN_ROOT)?;
    let mut initramfs = RootFile::open(root, INITRAMFS_IN_ROOT)?;
    loader.place(slot, &mut kernel, &mut initramfs)
}

/// A file of a verified root.
struct RootFile {
    path: String,
    file: File,
}

impl RootFile {
    fn open(root: &str, path: &str) -> Result<Self, String> {
        let file = File::open(format!("{root}{path}")).map_err(|error| {
            format!(
                "{path} of the new system: {error}; this machine's boot loader takes kernel and \
                 initramfs from there: make the system with --loader"
            )
        })?;
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }
}

impl Source for RootFile {
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<usize, String> {
        self.file
            .read_at(into, offset)
            .map_err(|error| format!("read {} of the new system: {error}", self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_without_a_kernel_is_told_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_str().unwrap();
        let error = RootFile::open(root, KERNEL_IN_ROOT).err().unwrap();
        assert!(
            error.contains(KERNEL_IN_ROOT) && error.contains("--loader"),
            "{error}"
        );
        let path = format!("{root}{KERNEL_IN_ROOT}");
        std::fs::create_dir_all(std::path::Path::new(&path).parent().unwrap()).unwrap();
        std::fs::write(&path, "kernel").unwrap();
        let mut file = RootFile::open(root, KERNEL_IN_ROOT).unwrap();
        let mut piece = [0; 16];
        assert_eq!(file.read(3, &mut piece), Ok(3));
        assert_eq!(&piece[..3], b"nel");
        assert_eq!(file.read(6, &mut piece), Ok(0));
    }

    #[test]
    fn a_disk_without_the_partition_is_named() {
        let nowhere = Places {
            esp: None,
            disk: "/nonexistent/disk".to_owned(),
        };
        let error = open(Kind::Uefi, &nowhere, |_| {}).err().unwrap();
        assert!(error.contains("shark-esp"), "{error}");
        let error = open(Kind::Gpt, &nowhere, |_| {}).err().unwrap();
        assert!(error.contains("/nonexistent/disk"), "{error}");
    }
}
