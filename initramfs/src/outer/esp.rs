//! The EFI system partition as the files that a loader reads. Not here: which files
//! (`mounts::loader`).

use kernel::boot_files;
use mounts::loader::files::BootFiles;

/// Where it is mounted for a moment.
const PLACE: &str = "/run/shark/esp";

/// The mounted partition.
#[derive(Debug)]
pub(super) struct Esp(boot_files::BootFiles);

impl Esp {
    pub(super) fn mount(device: &str) -> Result<Self, String> {
        let mut files = words(boot_files::BootFiles::mount(device, PLACE))?;
        super::lock(device, || files.try_lock())?;
        Ok(Self(files))
    }
}

fn words<T>(result: kernel::Result<T>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}

impl BootFiles for Esp {
    fn list(&mut self, directory: &str) -> Result<Vec<String>, String> {
        words(self.0.list(directory))
    }

    fn read(&mut self, path: &str, offset: u64, into: &mut [u8]) -> Result<usize, String> {
        words(self.0.read(path, offset, into))
    }

    fn write(&mut self, path: &str, offset: u64, bytes: &[u8]) -> Result<(), String> {
        words(self.0.write(path, offset, bytes))
    }

    fn remove(&mut self, path: &str) -> Result<(), String> {
        words(self.0.remove(path))
    }

    fn sync(&mut self) -> Result<(), String> {
        words(self.0.sync())
    }
}
