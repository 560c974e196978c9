//! Two builds, same bytes: builds once more from a copy of the checkout, in another place and with
//! another target directory, and compares.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::toolchain::Toolchain;
use super::{PROGRAMS, Programs, Request};
use crate::arch::Arch;
use crate::{command, paths};

/// What a copy of the checkout needs for a build.
const SOURCES: [&str; 10] = [
    "Cargo.toml",
    "Cargo.lock",
    "init",
    "initramfs",
    "kernel",
    "mounts",
    "services",
    "tests-qemu",
    "xtask",
    "LICENSE",
];

/// Builds from a copy and compares each program with the one in `programs`.
///
/// # Errors
/// Names the programs that differ; the second ones are left for a look.
pub(super) fn check(arch: Arch, toolchain: &Toolchain, programs: &Programs) -> Result<()> {
    command::step("building once more from a copy of the checkout");
    let place = std::env::temp_dir().join(format!("shark-reproducible-{}", std::process::id()));
    let checkout = place.join("a/longer/way/down/shark");
    paths::make_dir(&checkout)?;
    for source in SOURCES {
        let from = paths::workspace().join(source);
        if from.exists() {
            command::run(command::new("cp").arg("-a").arg(from).arg(&checkout))?;
        }
    }
    let built = toolchain.build(&Request {
        workspace: &checkout,
        target_dir: &place.join("other-target"),
        arch,
        symbols: false,
    })?;
    let first = programs.init.parent().unwrap_or(Path::new("."));
    let mut differing = Vec::new();
    for program in PROGRAMS {
        let one = read(&first.join(program))?;
        let two = read(&built.join(program))?;
        if one != two {
            differing.push(program);
        }
    }
    if !differing.is_empty() {
        bail!(
            "not reproducible: {} differ from those in {}",
            differing.join(", "),
            built.display()
        );
    }
    println!("reproducible: both builds gave the same bytes");
    fs::remove_dir_all(&place).with_context(|| format!("cannot remove {}", place.display()))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
