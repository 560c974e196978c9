//! The last step: the mounts are moved to the new root, the initramfs is freed, and init is executed.
//!
//! After this there is no way back, so everything that can be checked is checked before the first file is deleted.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use mounts::plan::{self, SYSROOT};

use super::mounting;
use super::report::Report;

/// What stage1 executes, in the new root.
pub(crate) const INIT: &str = "/sbin/init";

/// Leaves the initramfs for `/sysroot` and executes init there. Returns only with the reason why it could not.
pub(crate) fn switch_root(report: &mut Report) -> Result<Infallible, String> {
    executable(Path::new(&format!("{SYSROOT}{INIT}")))?;
    mounting::perform(&plan::move_below(SYSROOT), report)?;
    free_initramfs(report);
    kernel::mount::switch_root(SYSROOT).map_err(|error| error.to_string())?;
    execute()
}

/// Executes init with the arguments and the environment the kernel gave to stage1.
pub(crate) fn execute() -> Result<Infallible, String> {
    let error = Command::new(INIT).args(std::env::args_os().skip(1)).exec();
    Err(format!("execute {INIT}: {error}"))
}

/// `path` names a file that somebody may execute.
pub(crate) fn executable(path: &Path) -> Result<(), String> {
    let metadata = fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
    if metadata.is_file() && metadata.permissions().mode() & 0o111 != 0 {
        Ok(())
    } else {
        Err(format!("{}: not an executable file", path.display()))
    }
}

/// Deletes every file of the initramfs: they are memory that nobody could reach any more. A root that is a disk (a
/// stage1 started by hand on an ordinary system) is never touched.
fn free_initramfs(report: &Report) {
    match kernel::mount::is_memory_filesystem("/") {
        Ok(true) => {}
        Ok(false) => return report.note("the old root is not an initramfs and is left as it is"),
        Err(error) => return report.note(&format!("the initramfs is not freed: {error}")),
    }
    match fs::symlink_metadata("/") {
        Ok(metadata) => delete_below(Path::new("/"), metadata.dev()),
        Err(error) => report.note(&format!("the initramfs is not freed: stat /: {error}")),
    }
}

/// Deletes what is below `directory` on the filesystem `device`; another filesystem's mount point stays. Failures are
/// passed over: they cost some memory and nothing else.
fn delete_below(directory: &Path, device: u64) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let _ = delete(&path, device);
    }
}

fn delete(path: &Path, device: u64) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    if metadata.dev() != device {
        return Ok(());
    }
    if metadata.is_dir() {
        delete_below(path, device);
        fs::remove_dir(path)
    } else {
        fs::remove_file(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn deletes_the_tree_but_not_what_links_point_to() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("kept"), "kept").unwrap();
        let inside = tempfile::tempdir().unwrap();
        fs::create_dir_all(inside.path().join("a/b/c")).unwrap();
        fs::write(inside.path().join("a/b/file"), "x").unwrap();
        symlink(outside.path(), inside.path().join("a/link")).unwrap();
        delete_below(inside.path(), fs::metadata(inside.path()).unwrap().dev());
        assert_eq!(fs::read_dir(inside.path()).unwrap().count(), 0);
        assert!(outside.path().join("kept").is_file());
    }

    #[test]
    fn leaves_other_filesystems_alone() {
        let inside = tempfile::tempdir().unwrap();
        fs::write(inside.path().join("file"), "x").unwrap();
        let other = fs::metadata(inside.path()).unwrap().dev() + 1;
        delete_below(inside.path(), other);
        assert!(inside.path().join("file").is_file());
    }

    #[test]
    fn init_must_be_an_executable_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("init");
        assert!(executable(&file).is_err());
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(
            executable(&file)
                .unwrap_err()
                .contains("not an executable file")
        );
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(executable(&file), Ok(()));
        assert!(executable(dir.path()).is_err());
    }
}
