//! Mounting for real, in a mount namespace that belongs to the test's own thread.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use kernel::mount::{self, MountFlags, UnmountFlags};
use kernel::{Errno, files};

/// A namespace of our own with a tmpfs on a new directory; `None` where that is not allowed.
fn scratch() -> Option<(tempfile::TempDir, String)> {
    if let Err(error) = mount::unshare() {
        println!("SKIPPED: no mount namespace of our own: {error}");
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap().to_owned();
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount::mount("scratch", &path, "tmpfs", flags, "mode=755,size=4m").unwrap();
    Some((dir, path))
}

#[test]
fn mounts_move_turn_read_only_and_go() {
    let Some((_dir, top)) = scratch() else {
        return;
    };
    let info = files::read_text("/proc/thread-self/mountinfo", 1 << 20).unwrap();
    let line = info.lines().find(|line| line.contains(&top)).unwrap();
    assert!(line.contains(" - tmpfs scratch rw,"), "{line}");
    assert!(mount::mountinfo().unwrap().contains(" - "));
    let (a, b) = (format!("{top}/a"), format!("{top}/b"));
    files::make_dirs(&a, 0o755).unwrap();
    files::make_dirs(&b, 0o755).unwrap();
    assert!(mount::is_mount_point(&top).unwrap());
    assert!(!mount::is_mount_point(&a).unwrap());
    mount::mount("inner", &a, "tmpfs", MountFlags::empty(), "size=1m").unwrap();
    files::replace(&format!("{a}/file"), b"x", 0o644).unwrap();
    mount::move_to(&a, &b).unwrap();
    assert!(!mount::is_mount_point(&a).unwrap() && mount::is_mount_point(&b).unwrap());
    mount::bind(&b, &a, false).unwrap();
    mount::remount(&a, MountFlags::BIND | MountFlags::RDONLY, "").unwrap();
    let refused = files::replace(&format!("{a}/file"), b"y", 0o644).unwrap_err();
    assert_eq!(refused.errno, Errno::ROFS);
    files::replace(&format!("{b}/file"), b"y", 0o644).unwrap();
    let space = mount::space(&a).unwrap();
    assert!(space.read_only && space.size == 1 << 20);
    let held = std::fs::File::open(format!("{b}/file")).unwrap();
    mount::unmount(&a, UnmountFlags::empty()).unwrap();
    let busy = mount::unmount(&b, UnmountFlags::empty()).unwrap_err();
    assert_eq!(busy.errno, Errno::BUSY);
    let text = busy.to_string();
    assert!(text.starts_with(&format!("umount {b}: ")) && text.ends_with(" (EBUSY)"));
    drop(held);
    mount::unmount(&b, UnmountFlags::empty()).unwrap();
    let none = mount::mount("none", &a, "nosuchfs", MountFlags::empty(), "").unwrap_err();
    assert_eq!(none.errno, Errno::NODEV);
    mount::unmount(&top, UnmountFlags::DETACH).unwrap();
}

#[test]
fn switch_root_leaves_the_old_root_empty_and_other_filesystems_whole() {
    let Some((_dir, old)) = scratch() else {
        return;
    };
    // The old root: files, nested directories, a filesystem that must survive, the new root.
    files::make_dirs(&format!("{old}/usr/lib/deep"), 0o755).unwrap();
    files::replace(&format!("{old}/usr/lib/deep/file"), b"x", 0o644).unwrap();
    files::link_to("/etc", &format!("{old}/link")).unwrap();
    for name in ["other", "sysroot", "put"] {
        files::make_dirs(&format!("{old}/{name}"), 0o755).unwrap();
    }
    let none = MountFlags::empty();
    mount::mount("other", &format!("{old}/other"), "tmpfs", none, "").unwrap();
    files::replace(&format!("{old}/other/kept"), b"x", 0o644).unwrap();
    let other = std::fs::File::open(format!("{old}/other")).unwrap();
    mount::mount("new", &format!("{old}/sysroot"), "tmpfs", none, "").unwrap();
    files::replace(&format!("{old}/sysroot/new"), b"x", 0o644).unwrap();

    mount::pivot_root(&old, &format!("{old}/put")).unwrap();
    assert!(files::exists("/put/etc") && files::exists("/usr/lib/deep/file"));
    mount::unmount("/put", UnmountFlags::DETACH).unwrap();
    let root = std::fs::File::open("/").unwrap();
    // The same filesystem is no new root: nothing may happen.
    let refused = mount::switch_root("/usr").unwrap_err();
    assert_eq!(refused.errno, Errno::INVAL);
    assert!(files::exists("/usr/lib/deep/file"));

    assert_eq!(mount::switch_root("/sysroot").unwrap(), None);
    assert!(files::exists("/new") && !files::exists("/usr"));
    assert_eq!(std::env::current_dir().unwrap().to_str(), Some("/"));
    let names = |dir: &std::fs::File| -> Vec<_> {
        let entries = rustix::fs::Dir::read_from(dir).unwrap();
        let names = entries.map(|e| e.unwrap().file_name().to_str().unwrap().to_owned());
        let mut names: Vec<_> = names.filter(|name| !name.starts_with('.')).collect();
        names.sort();
        names
    };
    // Only the mount point of the other filesystem is left of the initramfs.
    assert_eq!(names(&root), ["other"]);
    assert_eq!(names(&other), ["kept"]);
}
