//! `cargo xtask build`: the programs, static against musl, by whichever way this machine
//! offers; and a look at the results. Not here: how each way works (`toolchain`).

pub(crate) mod elf;
mod reproducible;
mod toolchain;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use crate::arch::Arch;
use crate::{command, paths};

/// The programs, and the packages of the workspace that hold them.
const PROGRAMS: [&str; 4] = ["stage1", "init", "sharkctl", "shark-update"];
const PACKAGES: [&str; 2] = ["initramfs", "init"];

/// Largest PID 1 binary, and largest sum of all programs, that the project promises.
const INIT_LIMIT: u64 = 1024 * 1024;
const TOTAL_LIMIT: u64 = 2 * 1024 * 1024;

/// Arguments of `cargo xtask build`.
#[derive(Args)]
pub(crate) struct BuildArgs {
    /// Architecture of the programs
    #[arg(long, value_enum, default_value_t = Arch::host())]
    arch: Arch,
    /// Which Rust builds them
    #[arg(long, value_enum, default_value_t = Rust::Auto)]
    rust: Rust,
    /// Build a second time in a copy of the checkout elsewhere, and compare the bytes
    #[arg(long)]
    check_reproducible: bool,
}

/// Where the compiler and the standard library for musl come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Rust {
    /// The first of the others that works
    Auto,
    /// rustup's toolchain with its musl target
    Rustup,
    /// Debian's compiler, and the standard library built from Debian's source
    Distribution,
}

/// The finished programs of one architecture.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    /// The /init of the initramfs.
    pub(crate) stage1: PathBuf,
    /// PID 1.
    pub(crate) init: PathBuf,
    /// The control program.
    pub(crate) sharkctl: PathBuf,
    /// The updater.
    pub(crate) updater: PathBuf,
}

impl Programs {
    /// Those of a directory that has been built.
    pub(crate) fn in_dir(dir: &Path) -> Self {
        Self {
            stage1: dir.join("stage1"),
            init: dir.join("init"),
            sharkctl: dir.join("sharkctl"),
            updater: dir.join("shark-update"),
        }
    }
}

/// One build: from which checkout, for what, into which directory.
struct Request<'a> {
    workspace: &'a Path,
    target_dir: &'a Path,
    arch: Arch,
    /// Names of functions stay in the programs, which run the same.
    symbols: bool,
}

/// The command itself: builds, prints the sizes, and builds once more when asked to.
pub(crate) fn run(args: &BuildArgs) -> Result<()> {
    let _lock = paths::lock()?;
    let toolchain = toolchain::choose(args.arch, args.rust)?;
    let programs = programs_with(args.arch, &toolchain)?;
    report_sizes(&programs)?;
    if args.check_reproducible {
        reproducible::check(args.arch, &toolchain, &programs)?;
    }
    Ok(())
}

/// Builds the programs for `arch` (nothing is done when they are up to date) and checks them.
pub(crate) fn programs(arch: Arch) -> Result<Programs> {
    let toolchain = toolchain::choose(arch, Rust::Auto)?;
    programs_with(arch, &toolchain)
}

/// The programs with the names of their functions, to tell where time goes; in a place of their own.
pub(crate) fn programs_with_symbols(arch: Arch) -> Result<Programs> {
    let toolchain = toolchain::choose(arch, Rust::Auto)?;
    command::step("building the programs with the names of their functions");
    let dir = format!("{}-symbols", toolchain.dir_name());
    let built = toolchain.build(&Request {
        workspace: &paths::workspace(),
        target_dir: &paths::arch_output(arch).join(dir),
        arch,
        symbols: true,
    })?;
    Ok(Programs::in_dir(&built))
}

/// Builds the programs a second time elsewhere, and compares the bytes.
///
/// # Errors
/// When they differ.
pub(crate) fn check_reproducible(arch: Arch) -> Result<()> {
    let _lock = paths::lock()?;
    let toolchain = toolchain::choose(arch, Rust::Auto)?;
    let programs = programs_with(arch, &toolchain)?;
    reproducible::check(arch, &toolchain, &programs)
}

fn programs_with(arch: Arch, toolchain: &toolchain::Toolchain) -> Result<Programs> {
    command::step(&format!(
        "building stage1, init, sharkctl and shark-update for {} with {toolchain}",
        arch.name()
    ));
    let output = paths::arch_output(arch);
    let built = toolchain.build(&Request {
        workspace: &paths::workspace(),
        target_dir: &output.join(toolchain.dir_name()),
        arch,
        symbols: false,
    })?;
    for program in PROGRAMS {
        let from = built.join(program);
        let bytes = fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
        elf::check_static(&bytes, arch)
            .with_context(|| format!("{} is not what was to be built", from.display()))?;
        install(&bytes, &output.join(program))?;
    }
    Ok(Programs::in_dir(&output))
}

/// Replaces a program in one step, and only when it differs: others may be reading the old one.
fn install(bytes: &[u8], to: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if fs::read(to).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let fresh = to.with_extension("new");
    fs::write(&fresh, bytes)
        .and_then(|()| fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755)))
        .and_then(|()| fs::rename(&fresh, to))
        .with_context(|| format!("cannot write {}", to.display()))
}

fn report_sizes(programs: &Programs) -> Result<()> {
    let mut total = 0;
    for program in [
        &programs.stage1,
        &programs.init,
        &programs.sharkctl,
        &programs.updater,
    ] {
        let size = fs::metadata(program)
            .with_context(|| format!("cannot look at {}", program.display()))?
            .len();
        total += size;
        println!("{:>9}  {}", size, program.display());
        if *program == programs.init && size > INIT_LIMIT {
            eprintln!("warning: init is larger than the promised {INIT_LIMIT} bytes");
        }
    }
    println!("{total:>9}  together");
    if total > TOTAL_LIMIT {
        eprintln!("warning: the programs are larger than the promised {TOTAL_LIMIT} bytes");
    }
    Ok(())
}
