//! The C programs of the measurement, compiled as they are needed. They use no libc, so any C
//! compiler of the machine will do.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::{command, paths};

/// Where the sources are, from the top of the checkout.
const SOURCES: &str = "xtask/bench";
/// What is compiled.
const NAMES: [&str; 5] = ["trampoline", "probe", "service", "run", "floor"];
/// Small, alone, and with nothing that a libc would be needed for.
const FLAGS: [&str; 13] = [
    "-Os",
    "-Wall",
    "-Wextra",
    "-static",
    "-nostdlib",
    "-ffreestanding",
    "-fno-stack-protector",
    "-fno-pic",
    "-no-pie",
    "-fno-asynchronous-unwind-tables",
    "-Wl,--build-id=none,-z,norelro,-z,noseparate-code",
    "-s",
    "-o",
];

/// The compiled programs.
pub(super) struct CPrograms {
    dir: PathBuf,
}

impl CPrograms {
    /// Where a program is.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The bytes of a program.
    pub(super) fn read(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.path(name);
        fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
    }
}

/// Compiles all of them into `dir`.
pub(super) fn compile(dir: &Path) -> Result<CPrograms> {
    paths::make_dir(dir)?;
    for name in NAMES {
        let source = paths::workspace().join(SOURCES).join(format!("{name}.c"));
        command::run(
            command::new("cc")
                .args(FLAGS)
                .arg(dir.join(name))
                .arg(source),
        )?;
    }
    Ok(CPrograms {
        dir: dir.to_path_buf(),
    })
}
