//! Mounting, unmounting, and changing the root. Not here: what goes where (`mounts::plan`), and in
//! which order it goes away (`mounts::unmount`).

use std::ffi::CString;

pub use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

use rustix::fs::{AtFlags, CWD, StatxFlags, fstat, fstatfs, statx};
use rustix::process::{chdir, chroot, pivot_root as pivot};

use crate::error::{At, Errno, Error, Result};
use crate::files;

/// statfs(2) types of the filesystems an initramfs can live in (linux/magic.h).
/// Magic of ramfs, as [`Space`] has it (linux/magic.h).
pub const RAMFS_MAGIC: i64 = 0x8584_58f6;
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// Mounts `source` (a device, or any word) on `target`. `data` is the filesystem's own options,
/// separated by commas.
///
/// # Errors
/// mount(2): ENODEV for a filesystem this kernel does not have, ENOENT, EBUSY, EINVAL for options
/// or a bad superblock, EACCES for writing to a read-only device.
pub fn mount(
    source: &str,
    target: &str,
    filesystem: &str,
    flags: MountFlags,
    data: &str,
) -> Result<()> {
    let object = || format!("{source} on {target} as {filesystem}");
    let data = CString::new(data).map_err(|_| Error::new("mount", object(), Errno::INVAL))?;
    let data = (!data.is_empty()).then_some(data);
    rustix::mount::mount(source, target, filesystem, flags, data.as_deref())
        .map_err(|errno| Error::new("mount", object(), errno))
}

/// Makes the tree `source` (what is mounted below it included, where `recursive`) visible at
/// `target` too.
///
/// # Errors
/// mount(2).
pub fn bind(source: &str, target: &str, recursive: bool) -> Result<()> {
    let bound = if recursive {
        rustix::mount::mount_bind_recursive(source, target)
    } else {
        rustix::mount::mount_bind(source, target)
    };
    bound.at("bind", format_args!("{source} on {target}"))
}

/// Changes flags and options of what is mounted on `target`; with [`MountFlags::BIND`], of this
/// mount point only and not of its filesystem.
///
/// # Errors
/// mount(2): EBUSY when files are open for writing and it is to be read-only.
pub fn remount(target: &str, flags: MountFlags, data: &str) -> Result<()> {
    rustix::mount::mount_remount(target, flags, data).at("remount", target)
}

/// Moves what is mounted on `source`, with all below it, to `target`.
///
/// # Errors
/// mount(2): EINVAL when `source` is no mount point or lies below a shared one.
pub fn move_to(source: &str, target: &str) -> Result<()> {
    rustix::mount::mount_move(source, target).at("move", format_args!("{source} to {target}"))
}

/// Changes how mounts below `target` are passed on to other namespaces.
///
/// # Errors
/// mount(2).
pub fn set_propagation(target: &str, flags: MountPropagationFlags) -> Result<()> {
    rustix::mount::mount_change(target, flags).at("propagate", target)
}

/// Unmounts what is mounted on `target`. Links are not followed.
///
/// # Errors
/// umount2(2): EBUSY while it is used, EINVAL when nothing is mounted there.
pub fn unmount(target: &str, flags: UnmountFlags) -> Result<()> {
    rustix::mount::unmount(target, flags | UnmountFlags::NOFOLLOW).at("umount", target)
}

/// Makes `new_root`, a mount point, the root, and puts the old one below it at `put_old`; then
/// changes to the new root.
///
/// # Errors
/// pivot_root(2): EINVAL when the root is the initramfs ([`switch_root`] is for that), or when
/// either is shared; EBUSY.
pub fn pivot_root(new_root: &str, put_old: &str) -> Result<()> {
    let object = || format!("{new_root}, old one on {put_old}");
    pivot(new_root, put_old).map_err(|errno| Error::new("pivot_root", object(), errno))?;
    chdir("/").at("chdir", "/")
}

/// Leaves the initramfs: moves the mount on `new_root` over `/`, makes it the root, and then deletes
/// what the initramfs held, so that its memory is free. Mounts that are to be kept (/dev, /proc,
/// /sys, /run) have been moved below `new_root` before.
///
/// Nothing is deleted unless the old root is a ramfs or tmpfs and `new_root` is another filesystem;
/// only the old root's own filesystem is touched. The files of the running program go too, but
/// stay readable while it runs.
///
/// # Errors
/// EINVAL when those conditions do not hold: nothing has changed then. mount(2), chroot(2). A
/// failure to delete is the answer's `Some`: the root has been changed all the same.
pub fn switch_root(new_root: &str) -> Result<Option<Error>> {
    let old = files::open_dir("/")?;
    let new = files::open_dir(new_root)?;
    let kind = fstatfs(&old).at("statfs", "/")?.f_type;
    let old_device = fstat(&old).at("fstat", "/")?.st_dev;
    let new_device = fstat(&new).at("fstat", new_root)?.st_dev;
    if (kind != RAMFS_MAGIC && kind != TMPFS_MAGIC) || old_device == new_device {
        return Err(Error::new("switch_root", new_root, Errno::INVAL));
    }
    drop(new);
    chdir(new_root).at("chdir", new_root)?;
    rustix::mount::mount_move(".", "/").at("move", format_args!("{new_root} to /"))?;
    chroot(".").at("chroot", new_root)?;
    chdir("/").at("chdir", "/")?;
    Ok(crate::tree::remove_content(&old, "(initramfs)", &mut || {}).err())
}

/// Size and room of the filesystem that `path` is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// statfs(2) type.
    pub magic: i64,
    /// Bytes.
    pub size: u64,
    /// Bytes that an ordinary user can still fill.
    pub available: u64,
    /// Whether it is mounted read-only.
    pub read_only: bool,
}

/// Reads [`Space`] of `path`. It may wait for a network filesystem.
///
/// # Errors
/// statfs(2).
pub fn space(path: &str) -> Result<Space> {
    let fs = rustix::fs::statfs(path).at("statfs", path)?;
    let vfs = rustix::fs::statvfs(path).at("statvfs", path)?;
    Ok(Space {
        magic: fs.f_type,
        size: vfs.f_blocks.saturating_mul(vfs.f_frsize),
        available: vfs.f_bavail.saturating_mul(vfs.f_frsize),
        read_only: vfs.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY),
    })
}

/// The text of /proc/self/mountinfo (proc_pid_mountinfo(5)), at most 4 MiB.
///
/// # Errors
/// open(2): ENOENT without /proc; EFBIG.
pub fn mountinfo() -> Result<String> {
    files::read_text("/proc/self/mountinfo", 4 << 20)
}

/// Whether something is mounted on `path` itself.
///
/// # Errors
/// statx(2): ENOENT; ENOSYS-like answers before Linux 5.8 are EOPNOTSUPP.
pub fn is_mount_point(path: &str) -> Result<bool> {
    // STATX_ATTR_MOUNT_ROOT of linux/stat.h.
    const MOUNT_ROOT: u64 = 0x2000;
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    let stat = statx(CWD, path, flags, StatxFlags::BASIC_STATS).at("statx", path)?;
    if stat.stx_attributes_mask.bits() & MOUNT_ROOT == 0 {
        return Err(Errno::OPNOTSUPP).at("statx", path);
    }
    Ok(stat.stx_attributes.bits() & MOUNT_ROOT != 0)
}

/// Gives this process a mount namespace of its own, whose changes nobody else sees.
///
/// # Errors
/// unshare(2): EPERM without CAP_SYS_ADMIN.
pub fn unshare() -> Result<()> {
    // SAFETY: a flag that concerns mounts only; no memory or descriptors are unshared.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
        return Err(crate::error::last_errno()).at("unshare", "mounts");
    }
    set_propagation(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
}
