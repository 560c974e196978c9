//! The state partition as a medium for boot records: reads and writes past every cache.
//!
//! Not here: what is written and where (`mounts::slot::store`).

use kernel::block::BlockDevice;
use mounts::slot::record::RECORD_SIZE;
use mounts::slot::store::Medium;

/// The state partition.
#[derive(Debug)]
pub(crate) struct Partition {
    device: BlockDevice,
    /// Why it can be read only.
    read_only: Option<String>,
}

impl Partition {
    /// Opens it to read and write past the page cache, or as far as that goes.
    pub(crate) fn open(path: &str) -> Result<Self, String> {
        let opened = BlockDevice::open_direct(path).or_else(|error| {
            // An image file on a filesystem without O_DIRECT; a disk is refused there.
            BlockDevice::open_buffered(path).map_err(|_| error)
        });
        let error = match opened {
            Ok(device) => {
                return Ok(Self {
                    device,
                    read_only: None,
                });
            }
            Err(error) => error,
        };
        let device = BlockDevice::open_direct_read(path).or_else(|_| BlockDevice::open(path));
        Ok(Self {
            // The first error says most.
            device: device.map_err(|_| error.to_string())?,
            read_only: Some(format!("it can be read only ({error})")),
        })
    }
}

impl Medium for Partition {
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), String> {
        self.device
            .read_blocks(offset, into)
            .map_err(|error| error.to_string())
    }

    fn write(&mut self, offset: u64, bytes: &[u8; RECORD_SIZE]) -> Result<(), String> {
        if let Some(why) = &self.read_only {
            return Err(why.clone());
        }
        self.device
            .write_block(offset, bytes)
            .map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_the_end_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(3 * RECORD_SIZE as u64).unwrap();
        let mut partition = Partition::open(file.path().to_str().unwrap()).unwrap();
        partition.write(4096, &[7; RECORD_SIZE]).unwrap();
        let mut all = vec![1; 3 * RECORD_SIZE];
        partition.read(0, &mut all).unwrap();
        assert_eq!(all[..4096], [0; 4096]);
        assert_eq!(all[4096..8192], [7; 4096]);
        assert!(partition.read(8192, &mut all).is_err());
        assert!(Partition::open("/nonexistent/partition").is_err());
    }
}
