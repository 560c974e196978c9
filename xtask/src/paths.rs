//! Where things lie: the checkout, the output directory, the lock that keeps two runs apart.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::arch::Arch;
use crate::command;

/// The top of the checkout.
pub(crate) fn workspace() -> PathBuf {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest
        .parent()
        .map_or(manifest.clone(), Path::to_path_buf)
}

/// Everything xtask makes: `target/shark`, or below `CARGO_TARGET_DIR` where that is set.
pub(crate) fn output() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => workspace().join(dir).join("shark"),
        None => workspace().join("target/shark"),
    }
}

/// The output of one architecture: `target/shark/<arch>`.
pub(crate) fn arch_output(arch: Arch) -> PathBuf {
    output().join(arch.name())
}

/// Downloads and intermediate results that may be deleted at any time: `target/shark/cache`.
pub(crate) fn cache() -> PathBuf {
    output().join("cache")
}

/// Makes a directory and its parents; being there already is fine.
pub(crate) fn make_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path)
        .with_context(|| format!("cannot make the directory {}", path.display()))
}

/// Waits until no other run of xtask works in the output directory. The lock ends with the file.
pub(crate) fn lock() -> Result<File> {
    make_dir(&output())?;
    let path = output().join("lock");
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    if file.try_lock().is_err() {
        command::step("waiting for another run of xtask in this checkout");
        file.lock()
            .with_context(|| format!("cannot lock {}", path.display()))?;
    }
    Ok(file)
}
