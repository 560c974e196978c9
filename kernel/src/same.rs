//! Whether two descriptors are the same: so that none is kept twice. Not here: keeping them.

use std::os::fd::{AsFd, AsRawFd};

use rustix::fs::{FileType, fstat};

/// KCMP_FILE (linux/kcmp.h).
const KCMP_FILE: i32 = 0;

/// Whether both refer to the same open file: one is a duplicate of the other. Where the kernel does
/// not compare them (no kcmp(2)), to the same file, socket or pipe.
#[must_use]
pub fn same(a: impl AsFd, b: impl AsFd) -> bool {
    let (first, second) = (a.as_fd().as_raw_fd(), b.as_fd().as_raw_fd());
    let pid = std::process::id();
    // SAFETY: plain numbers.
    let answer = unsafe { libc::syscall(libc::SYS_kcmp, pid, pid, KCMP_FILE, first, second) };
    match answer {
        0 => true,
        -1 => same_inode(a, b),
        _ => false,
    }
}

/// What has no file of its own (an eventfd, a timerfd) shares one inode with its kind, and is never
/// taken for the same.
fn same_inode(a: impl AsFd, b: impl AsFd) -> bool {
    let (Ok(a), Ok(b)) = (fstat(a), fstat(b)) else {
        return false;
    };
    let has_file = FileType::from_raw_mode(a.st_mode) != FileType::Unknown;
    has_file && (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn a_duplicate_is_the_same_and_another_of_its_kind_is_not() {
        let (reader, writer) = crate::pipe::pair().unwrap();
        let duplicate = reader.try_clone().unwrap();
        let event = || rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap();
        let (one, two) = (event(), event());
        let null = || File::open("/dev/null").unwrap();
        assert!(same(&reader, &duplicate) && same_inode(&reader, &duplicate));
        assert!(same(&one, one.try_clone().unwrap()));
        assert!(!same(&one, &two) && !same_inode(&one, &two));
        assert!(!same(&reader, null()) && !same_inode(&reader, null()));
        // Two ends of one pipe are one inode: only the kernel can tell them apart.
        assert!(same_inode(&reader, &writer));
    }
}
