//! The last step: the mounts are moved to the new root, the initramfs is freed, and init is
//! executed.
//!
//! After this there is no way back, so everything that can be checked is checked before the first
//! file is deleted.

use std::convert::Infallible;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use mounts::plan::{self, SYSROOT};

use super::mounting;
use super::report::Report;

/// What stage1 executes, in the new root.
pub(crate) const INIT: &str = "/sbin/init";

/// Leaves the initramfs for `/sysroot` and executes init there. Returns only with the reason why it
/// could not.
pub(crate) fn switch_root(report: &mut Report) -> Result<Infallible, String> {
    executable(Path::new(&format!("{SYSROOT}{INIT}")))?;
    mounting::perform(&plan::move_below(SYSROOT), report)?;
    match kernel::mount::switch_root(SYSROOT) {
        Ok(None) => {}
        Ok(Some(error)) => report.note(&format!("the initramfs is not all freed: {error}")),
        Err(error) => return Err(error.to_string()),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

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
