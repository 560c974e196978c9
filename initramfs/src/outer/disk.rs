//! The whole disk, for a loader that reads its partition table. Not here: what is written there
//! (`mounts::loader::bits`).

use kernel::block::BlockDevice;
use mounts::loader::bits::Disk;

/// The disk.
#[derive(Debug)]
pub(super) struct WholeDisk(BlockDevice);

impl WholeDisk {
    pub(super) fn open(device: &str) -> Result<Self, String> {
        let disk = words(BlockDevice::open_direct(device))?;
        super::lock(device, || disk.try_lock())?;
        Ok(Self(disk))
    }
}

fn words<T>(result: kernel::Result<T>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}

impl Disk for WholeDisk {
    fn size(&mut self) -> Result<(u32, u64), String> {
        let block = words(self.0.sector_size())?;
        let bytes = words(self.0.size())?;
        Ok((block, bytes / u64::from(block.max(1))))
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), String> {
        words(self.0.read_blocks(offset, into))
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), String> {
        words(self.0.write_blocks(offset, bytes))
    }

    fn flush(&mut self) -> Result<(), String> {
        words(self.0.flush())
    }
}
