//! Performs the steps of a mount plan. What is mounted where is decided in `mounts::plan`.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use kernel::mount::MountFlags;
use mounts::plan::{MountStep, Step};

use super::report::Report;

/// Performs the steps in their order and stops at the first that fails and is required; others are
/// reported as lacking.
pub(crate) fn perform(steps: &[Step], report: &mut Report) -> Result<(), String> {
    for step in steps {
        match step {
            Step::Directory { path, mode } => directory(path, *mode)?,
            Step::Mount(step) => match mount(step) {
                Ok(()) => report.step(&format!(
                    "mount: {} ({}) on {}",
                    step.source, step.fstype, step.target
                )),
                Err(error) if step.required => return Err(error.to_string()),
                Err(error) => report.lack(error.to_string()),
            },
            Step::Move { from, to } => {
                kernel::mount::move_to(from, to).map_err(|error| error.to_string())?;
            }
        }
    }
    Ok(())
}

/// Makes the directory and its parents where they are missing. One that is there keeps its mode: on
/// the data partition an administrator may have changed it, or put a link in its place. Such a link
/// (`/var/log` to `/run/log`) need not lead anywhere before the root is changed, and is no reason to
/// give up the data.
fn directory(path: &str, mode: u32) -> Result<(), String> {
    let is_link = fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
    if is_link || Path::new(path).is_dir() {
        return Ok(());
    }
    let make = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(path);
    // The mode of mkdir(2) is cut by the umask, and knows no sticky bit for the last directory
    // alone.
    make.and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
        .map_err(|error| format!("make directory {path}: {error}"))
}

fn mount(step: &MountStep) -> Result<(), kernel::Error> {
    kernel::mount::mount(
        &step.source,
        &step.target,
        &step.fstype,
        MountFlags::from_bits_retain(step.flags.bits()),
        &step.options,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_there_keeps_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/tmp");
        let name = path.to_str().unwrap();
        directory(name, 0o1777).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
            0o1777
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        directory(name, 0o1777).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
            0o700
        );
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(directory(dir.path().join("file/x").to_str().unwrap(), 0o755).is_err());
    }

    #[test]
    fn a_link_in_its_place_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::os::unix::fs::symlink("/nonexistent/log", &path).unwrap();
        assert_eq!(directory(path.to_str().unwrap(), 0o755), Ok(()));
        assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
    }
}
