//! Block devices: reading, durable writing past every cache, growing ext4. Not here: what the blocks
//! hold (`mounts`).

use std::io::IoSlice;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{FileType, FlockOperation, Mode, OFlags, flock, fstat, open};
use rustix::io::{ReadWriteFlags, pwritev2, retry_on_intr};

use crate::error::{At, Errno, Error, Result, last_errno};

/// Unit of durable reads and writes, bytes; a multiple of every sector size in use.
pub const BLOCK: usize = 4096;

/// A block in memory, aligned as O_DIRECT asks.
#[repr(C, align(4096))]
struct Block([u8; BLOCK]);

impl Block {
    /// A copy of `bytes`, on the heap.
    fn of(bytes: &[u8; BLOCK]) -> Box<Self> {
        Box::new(Self(*bytes))
    }
}

/// Bytes in memory that begin where O_DIRECT asks: [`BlockDevice::read_blocks`] and
/// [`BlockDevice::write_blocks`] reach them without a copy. Memory that is kept is not fetched from the
/// kernel page by page again.
#[derive(Debug, Default)]
pub struct Buffer {
    /// With up to a block before those that are meant.
    bytes: Vec<u8>,
    start: usize,
}

impl Buffer {
    /// Makes it so many bytes long. What it held may be lost; what is new is no more than initialised.
    pub fn resize(&mut self, length: usize) {
        self.bytes.resize(length.saturating_add(BLOCK), 0);
        self.start = self.bytes.as_ptr().align_offset(BLOCK);
        self.bytes.truncate(self.start.saturating_add(length));
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.start..).unwrap_or_default()
    }
}

fn is_aligned(bytes: &[u8]) -> bool {
    bytes.as_ptr().align_offset(BLOCK) == 0
}

/// A disk, a partition, or an image file.
#[derive(Debug)]
pub struct BlockDevice {
    fd: OwnedFd,
    path: String,
}

impl BlockDevice {
    /// Opens `path` for reading, through the page cache.
    ///
    /// # Errors
    /// open(2): ENOENT, ENXIO, ENOMEDIUM.
    pub fn open(path: &str) -> Result<Self> {
        Self::open_with(path, OFlags::RDONLY)
    }

    /// Opens `path` for [`BlockDevice::read_blocks`] and [`BlockDevice::write_block`], past the page
    /// cache.
    ///
    /// # Errors
    /// open(2): EINVAL on a filesystem without O_DIRECT, EROFS, EACCES.
    pub fn open_direct(path: &str) -> Result<Self> {
        Self::open_with(path, OFlags::RDWR | OFlags::DIRECT)
    }

    /// Opens `path` for reading past the page cache: for what is read once, and must not push out what
    /// others read again.
    ///
    /// # Errors
    /// open(2): EINVAL on a filesystem without O_DIRECT.
    pub fn open_direct_read(path: &str) -> Result<Self> {
        Self::open_with(path, OFlags::RDONLY | OFlags::DIRECT)
    }

    /// Opens an image file as [`BlockDevice::open_direct`] does, but through the page cache: where it lies on a filesystem without
    /// O_DIRECT (a tmpfs, before Linux 6.6). On a disk this would not say what the medium holds.
    ///
    /// # Errors
    /// open(2): EROFS, EACCES; EINVAL for anything but a regular file.
    pub fn open_buffered(path: &str) -> Result<Self> {
        let device = Self::open_with(path, OFlags::RDWR)?;
        let stat = fstat(&device.fd).at("fstat", path)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(device),
            _ => Err(Errno::INVAL).at("open", path),
        }
    }

    /// Takes the lock between those who write to `path` (flock(2)), without waiting; `false`:
    /// somebody else has it. It is given back when the device is dropped.
    ///
    /// # Errors
    /// flock(2): ENOLCK.
    pub fn try_lock(&self) -> Result<bool> {
        let locked = retry_on_intr(|| flock(&self.fd, FlockOperation::NonBlockingLockExclusive));
        match locked {
            Ok(()) => Ok(true),
            Err(Errno::AGAIN) => Ok(false),
            Err(errno) => Err(errno).at("flock", &self.path),
        }
    }

    fn open_with(path: &str, flags: OFlags) -> Result<Self> {
        let fd = open(
            path,
            flags | OFlags::CLOEXEC | OFlags::NOCTTY,
            Mode::empty(),
        );
        Ok(Self {
            fd: fd.at("open", path)?,
            path: path.to_owned(),
        })
    }

    /// Its size, bytes (of an image file: its length).
    ///
    /// # Errors
    /// ioctl BLKGETSIZE64; ENOTBLK when it is neither a device nor a file.
    pub fn size(&self) -> Result<u64> {
        /// `_IOR(0x12, 114, size_t)` of linux/fs.h.
        #[allow(
            clippy::cast_possible_wrap,
            reason = "an int in musl, where the bits count"
        )]
        const BLKGETSIZE64: libc::Ioctl = 0x8008_1272_u32 as libc::Ioctl;
        let stat = fstat(&self.fd).at("fstat", &self.path)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(u64::try_from(stat.st_size).unwrap_or(0)),
            FileType::BlockDevice => {
                let mut size = 0_u64;
                // SAFETY: the request writes one 64-bit number to a pointer that is good for it.
                unsafe { ioctl(&self.fd, BLKGETSIZE64, (&raw mut size).cast()) }
                    .at("ioctl", format_args!("BLKGETSIZE64 {}", self.path))?;
                Ok(size)
            }
            _ => Err(Errno::NOTBLK).at("stat", &self.path),
        }
    }

    /// Bytes of a logical sector: 512 or 4096; of an image file 512.
    ///
    /// # Errors
    /// ioctl BLKSSZGET.
    pub fn sector_size(&self) -> Result<u32> {
        /// `_IO(0x12, 104)` of linux/fs.h.
        const BLKSSZGET: libc::Ioctl = 0x1268;
        let stat = fstat(&self.fd).at("fstat", &self.path)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::BlockDevice {
            return Ok(512);
        }
        let mut size = 0_i32;
        // SAFETY: the request writes one int to a pointer that is good for it.
        unsafe { ioctl(&self.fd, BLKSSZGET, (&raw mut size).cast()) }
            .at("ioctl", format_args!("BLKSSZGET {}", self.path))?;
        Ok(u32::try_from(size).unwrap_or(512))
    }

    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    /// EIO for a medium error or past the end; EINVAL on a direct device when offset, length or
    /// address are not aligned.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let object = || format!("{} at byte {offset}", self.path);
        let mut done = 0_usize;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let at = offset.saturating_add(u64::try_from(done).unwrap_or(u64::MAX));
            match retry_on_intr(|| rustix::io::pread(&self.fd, &mut *rest, at)) {
                Ok(0) => return Err(Error::new("read", object(), Errno::IO)),
                Ok(count) => done = done.saturating_add(count),
                Err(errno) => return Err(Error::new("read", object(), errno)),
            }
        }
        Ok(())
    }

    /// Fills `into`, wherever in memory it lies, with whole blocks from `offset`; both length and
    /// offset are multiples of [`BLOCK`]. Without a copy where it begins at such a multiple itself.
    ///
    /// # Errors
    /// As [`BlockDevice::read_at`].
    pub fn read_blocks(&self, offset: u64, into: &mut [u8]) -> Result<()> {
        if is_aligned(into) {
            return self.read_at(offset, into);
        }
        let mut aligned = Buffer::default();
        aligned.resize(into.len());
        self.read_at(offset, &mut aligned)?;
        into.copy_from_slice(&aligned);
        Ok(())
    }

    /// Writes whole blocks, wherever in memory they lie, at `offset`; both are multiples of [`BLOCK`].
    /// Without a copy where they begin at such a multiple themselves. The medium holds them only after [`BlockDevice::flush`].
    ///
    /// # Errors
    /// EIO for a medium error, ENOSPC past the end; EINVAL when offset or length are not aligned.
    pub fn write_blocks(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let mut copy = Buffer::default();
        let bytes = if is_aligned(bytes) {
            bytes
        } else {
            copy.resize(bytes.len());
            copy.copy_from_slice(bytes);
            &copy
        };
        let object = || format!("{} at byte {offset}", self.path);
        let mut done = 0_usize;
        while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
            let at = offset.saturating_add(u64::try_from(done).unwrap_or(u64::MAX));
            match retry_on_intr(|| rustix::io::pwrite(&self.fd, rest, at)) {
                Ok(0) => return Err(Error::new("write", object(), Errno::NOSPC)),
                Ok(count) => done = done.saturating_add(count),
                Err(errno) => return Err(Error::new("write", object(), errno)),
            }
        }
        Ok(())
    }

    /// Waits until the medium holds all that was written (fdatasync(2)).
    ///
    /// # Errors
    /// EIO: some of what was written is lost.
    pub fn flush(&self) -> Result<()> {
        retry_on_intr(|| rustix::fs::fdatasync(&self.fd)).at("fdatasync", &self.path)
    }

    /// Writes the block at `offset`, a multiple of [`BLOCK`], waits until the medium holds it
    /// (RWF_DSYNC: a flush or FUA write), and reads it back.
    ///
    /// # Errors
    /// EIO for a medium error, a partial write, or when what is read back differs.
    pub fn write_block(&self, offset: u64, bytes: &[u8; BLOCK]) -> Result<()> {
        let block = Block::of(bytes);
        let object = || format!("{} at byte {offset}", self.path);
        let written = retry_on_intr(|| {
            pwritev2(
                &self.fd,
                &[IoSlice::new(&block.0)],
                offset,
                ReadWriteFlags::DSYNC,
            )
        });
        match written {
            Ok(BLOCK) => {}
            Ok(_) => return Err(Error::new("write", object(), Errno::IO)),
            Err(errno) => return Err(Error::new("write", object(), errno)),
        }
        let mut back = Block::of(&[0; BLOCK]);
        self.read_at(offset, &mut back.0)?;
        if back.0 == block.0 {
            Ok(())
        } else {
            Err(Error::new("read back", object(), Errno::IO))
        }
    }
}

/// Grows the mounted ext4 filesystem at `mount_point` to `bytes` (rounded down to its blocks), as
/// resize2fs does; one that is that large already stays.
///
/// # Errors
/// ioctl EXT4_IOC_RESIZE_FS: ENOTTY when it is no ext4, EPERM without CAP_SYS_RESOURCE, EROFS,
/// EINVAL when the device is smaller; EOPNOTSUPP for a filesystem without room for its descriptors.
pub fn grow_ext4(mount_point: &str, bytes: u64) -> Result<()> {
    /// `_IOW('f', 16, __u64)` of fs/ext4/ext4.h.
    const EXT4_IOC_RESIZE_FS: libc::Ioctl = 0x4008_6610;
    let dir = crate::files::open_dir(mount_point)?;
    let fs = rustix::fs::statvfs(mount_point).at("statvfs", mount_point)?;
    let blocks = bytes.checked_div(fs.f_frsize).unwrap_or(0);
    let object = || format!("EXT4_IOC_RESIZE_FS {mount_point} to {blocks} blocks");
    // SAFETY: the request reads one 64-bit number from a pointer that is good for it.
    unsafe {
        ioctl(
            &dir,
            EXT4_IOC_RESIZE_FS,
            (&raw const blocks).cast_mut().cast(),
        )
    }
    .map_err(|errno| Error::new("ioctl", object(), errno))
}

/// Grows the mounted btrfs filesystem at `mount_point` to its device, as `btrfs filesystem resize max` does.
///
/// # Errors
/// ioctl BTRFS_IOC_RESIZE: ENOTTY when it is no btrfs, EPERM without CAP_SYS_ADMIN, EROFS, EIO.
pub fn grow_btrfs(mount_point: &str) -> Result<()> {
    /// `_IOW(0x94, 3, struct btrfs_ioctl_vol_args)` of uapi/linux/btrfs.h: 8 bytes that do not matter here,
    /// and 4088 of text.
    const BTRFS_IOC_RESIZE: libc::Ioctl = 0x5000_9403;
    const SIZE: &[u8] = b"max\0";
    let dir = crate::files::open_dir(mount_point)?;
    let mut arguments = [0_u8; 4096];
    if let Some(text) = arguments.get_mut(8..8 + SIZE.len()) {
        text.copy_from_slice(SIZE);
    }
    let object = || format!("BTRFS_IOC_RESIZE {mount_point} to max");
    // SAFETY: the request reads 4096 bytes from a pointer that is good for them.
    unsafe { ioctl(&dir, BTRFS_IOC_RESIZE, arguments.as_mut_ptr().cast()) }
        .map_err(|errno| Error::new("ioctl", object(), errno))
}

/// # Safety
/// `argument` is what the request asks for.
unsafe fn ioctl(
    fd: impl AsFd,
    request: libc::Ioctl,
    argument: *mut libc::c_void,
) -> rustix::io::Result<()> {
    retry_on_intr(|| {
        // SAFETY: the caller's promise.
        match unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), request, argument) } {
            -1 => Err(last_errno()),
            _ => Ok(()),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_written_and_read_back() {
        // The target directory is on a real filesystem, /tmp may be a tmpfs without O_DIRECT.
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR"))
            .or_else(|_| tempfile::tempdir())
            .unwrap();
        let path = dir.path().join("image").to_str().unwrap().to_owned();
        std::fs::write(&path, vec![7; 3 * BLOCK]).unwrap();
        let device = match BlockDevice::open_direct(&path) {
            Ok(device) => device,
            Err(error) => return println!("SKIPPED: no O_DIRECT here: {error}"),
        };
        assert_eq!(device.size().unwrap(), 3 * 4096);
        assert_eq!(device.sector_size().unwrap(), 512);
        let mut block = [0; BLOCK];
        block[..5].copy_from_slice(b"shark");
        device.write_block(4096, &block).unwrap();
        let mut back = vec![0; 2 * BLOCK];
        device.read_blocks(4096, &mut back).unwrap();
        assert!(back[..BLOCK] == block && back[BLOCK..] == [7; BLOCK]);
        let many: Vec<u8> = (0..2 * BLOCK)
            .map(|it| u8::try_from(it % 251).unwrap())
            .collect();
        device.write_blocks(4096, &many).unwrap();
        device.flush().unwrap();
        device.read_blocks(4096, &mut back).unwrap();
        assert!(back == many);
        device.write_block(4096, &block).unwrap();
        // However the memory lies.
        let mut odd = vec![0; BLOCK + 1];
        device.read_blocks(4096, &mut odd[1..]).unwrap();
        assert!(odd[1..] == block);
        let end = device
            .read_blocks(3 * 4096, &mut back[..BLOCK])
            .unwrap_err();
        assert_eq!(end.errno, Errno::IO);
        assert!(end.to_string().contains("at byte 12288"));
        let mut few = [0; 5];
        let reader = BlockDevice::open(&path).unwrap();
        reader.read_at(4096, &mut few).unwrap();
        assert_eq!(&few, b"shark");
        let errno = reader.write_block(0, &block).unwrap_err().errno;
        assert_eq!(errno, Errno::BADF);
    }

    #[test]
    fn of_two_writers_one_has_the_lock() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        let first = BlockDevice::open_buffered(path).unwrap();
        let second = BlockDevice::open_buffered(path).unwrap();
        assert!(first.try_lock().unwrap());
        assert!(!second.try_lock().unwrap());
        drop(first);
        assert!(second.try_lock().unwrap());
        let errno = BlockDevice::open_buffered("/dev/null").unwrap_err().errno;
        assert_eq!(errno, Errno::INVAL);
    }

    #[test]
    fn only_what_can_grows() {
        for errno in [
            grow_ext4("/proc", 1 << 30).unwrap_err().errno,
            grow_btrfs("/proc").unwrap_err().errno,
        ] {
            assert!([Errno::NOTTY, Errno::INVAL].contains(&errno), "{errno:?}");
        }
        assert!(BlockDevice::open("/dev/null").unwrap().size().is_err());
    }
}
