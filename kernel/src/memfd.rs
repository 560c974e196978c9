//! Sealed memory files: how the loader hands its result to init. Not here: what is in them.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, memfd_create};
use rustix::io::retry_on_intr;

use crate::error::{At, Errno, Result};

/// Seals after which nobody can change the content any more.
const FROZEN: SealFlags = SealFlags::SHRINK
    .union(SealFlags::GROW)
    .union(SealFlags::WRITE);

/// An empty memory file that can be sealed; `name` shows in /proc/PID/fd only.
///
/// # Errors
/// memfd_create(2): out of descriptors or memory.
pub fn create(name: &str) -> Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        // Before Linux 6.3 there is no NOEXEC_SEAL.
        Err(Errno::INVAL) => memfd_create(name, flags),
        other => other,
    }
    .at("memfd_create", name)
}

/// Fixes size and content for ever.
///
/// # Errors
/// fcntl(2): EBUSY while a writable mapping exists, EPERM when sealing itself is sealed.
pub fn seal(fd: impl AsFd) -> Result<()> {
    fcntl_add_seals(fd, FROZEN | SealFlags::SEAL).at("fcntl", "F_ADD_SEALS")
}

/// A sealed memory file with this content.
///
/// # Errors
/// As [`create`], and write(2): ENOMEM.
pub fn sealed(name: &str, content: &[u8]) -> Result<OwnedFd> {
    let fd = create(name)?;
    crate::files::write_all(&fd, content).at("write", name)?;
    seal(&fd)?;
    Ok(fd)
}

/// The whole content, from the start whatever the file position, of a file that cannot change
/// while it is being read.
///
/// # Errors
/// EPERM when it is not sealed against changes, EFBIG when it has more than `limit` bytes, EIO when
/// it is shorter than it says; fcntl(2), read(2).
pub fn read_sealed(fd: impl AsFd, limit: usize) -> Result<Vec<u8>> {
    let seals = fcntl_get_seals(&fd).at("fcntl", "F_GET_SEALS")?;
    if !seals.contains(FROZEN) {
        return Err(Errno::PERM).at("read", "memfd that is not sealed");
    }
    let size = usize::try_from(fstat(&fd).at("fstat", "memfd")?.st_size).unwrap_or(usize::MAX);
    if size > limit {
        return Err(Errno::FBIG).at("read", format_args!("memfd of {size} bytes, limit {limit}"));
    }
    let mut content = vec![0; size];
    let mut done = 0;
    while let Some(rest) = content.get_mut(done..).filter(|rest| !rest.is_empty()) {
        let offset = u64::try_from(done).unwrap_or(u64::MAX);
        match retry_on_intr(|| rustix::io::pread(&fd, &mut *rest, offset)).at("read", "memfd")? {
            0 => return Err(Errno::IO).at("read", "memfd"),
            count => done = done.saturating_add(count),
        }
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_stays() {
        let fd = sealed("test", b"graph").unwrap();
        assert_eq!(read_sealed(&fd, 5).unwrap(), b"graph");
        assert_eq!(read_sealed(&fd, 4).unwrap_err().errno, Errno::FBIG);
        assert_eq!(rustix::io::pwrite(&fd, b"x", 0), Err(Errno::PERM));
        assert_eq!(rustix::fs::ftruncate(&fd, 0), Err(Errno::PERM));
        assert_eq!(seal(&fd).unwrap_err().errno, Errno::PERM);
        let open = create("open").unwrap();
        assert_eq!(read_sealed(&open, 5).unwrap_err().errno, Errno::PERM);
        seal(&open).unwrap();
        assert_eq!(read_sealed(&open, 0).unwrap(), b"");
    }
}
