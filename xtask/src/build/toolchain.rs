//! Ways to a compiler and a standard library for static musl programs, from the plainest to the
//! one that needs nothing but Debian packages (and, for another architecture, two of PyPI's).

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{PACKAGES, Request, Rust};
use crate::arch::Arch;
use crate::setup::{self, Need};
use crate::{command, paths};

/// How long rustup may take to fetch a target: about 30 MB.
const RUSTUP_LIMIT: Duration = Duration::from_secs(90);

/// The programs of PyPI that link for another architecture, as tried with this recipe.
const ZIG: [&str; 2] = ["ziglang==0.13.0.post1", "cargo-zigbuild==0.20.1"];
/// What Rust's own linker is told to leave out.
const NO_UNWINDING: &str = "xtask/src/build/no_unwinding.ld";

/// A way that works on this machine.
pub(super) enum Toolchain {
    /// rustup's, with its own musl; with the linker that comes with it where there is one.
    Rustup {
        linker: Option<PathBuf>,
        how: &'static str,
    },
    /// Debian's compiler and source, and musl-gcc as the linker: this machine's architecture.
    Distribution,
    /// Debian's compiler and source, and zig as the linker: another architecture.
    Zig { venv: PathBuf },
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rustup { how, .. } => write!(f, "rustup's musl target ({how})"),
            Self::Distribution => write!(
                f,
                "the distribution's Rust, std built from its source, musl-gcc"
            ),
            Self::Zig { .. } => write!(
                f,
                "the distribution's Rust, std built from its source, zig as the linker"
            ),
        }
    }
}

/// Finds the first way that works, or prepares the one that is asked for.
pub(super) fn choose(arch: Arch, rust: Rust) -> Result<Toolchain> {
    match rust {
        Rust::Auto => match rustup(arch)? {
            Some(toolchain) => Ok(toolchain),
            None => distribution(arch),
        },
        Rust::Rustup => rustup(arch)?.with_context(|| {
            format!(
                "no musl target, and rustup could not add it; try: rustup target add {}",
                arch.musl_target()
            )
        }),
        Rust::Distribution => distribution(arch),
    }
}

fn rustup(arch: Arch) -> Result<Option<Toolchain>> {
    let how = if has_target(arch)? {
        "it was installed"
    } else if add_target(arch) && has_target(arch)? {
        "added by rustup just now"
    } else {
        return Ok(None);
    };
    let sysroot = rustc(&["--print", "sysroot"])?;
    let host = rustc(&["--print", "host-tuple"])?;
    let linker = Path::new(&sysroot)
        .join("lib/rustlib")
        .join(host)
        .join("bin/rust-lld");
    let linker = linker.is_file().then_some(linker);
    if linker.is_none() && arch != Arch::host() {
        // The target is of no use without something that links for it.
        return Ok(None);
    }
    Ok(Some(Toolchain::Rustup { linker, how }))
}

fn rustc(arguments: &[&str]) -> Result<String> {
    let text = command::text(
        command::new("rustc")
            .args(arguments)
            .current_dir(paths::workspace()),
    )?;
    Ok(text.trim().to_owned())
}

/// Whether the compiler in PATH has a standard library for musl, however it was installed.
fn has_target(arch: Arch) -> Result<bool> {
    let dir = rustc(&["--print", "target-libdir", "--target", arch.musl_target()])?;
    Ok(fs::read_dir(dir).is_ok_and(|entries| {
        entries
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-"))
    }))
}

fn add_target(arch: Arch) -> bool {
    if !command::exists("rustup") {
        return false;
    }
    command::step(&format!(
        "asking rustup for {} (at most {} s)",
        arch.musl_target(),
        RUSTUP_LIMIT.as_secs()
    ));
    let added = command::run_within(
        command::new("rustup")
            .args(["target", "add", arch.musl_target()])
            .current_dir(paths::workspace()),
        RUSTUP_LIMIT,
    );
    match added {
        Ok(()) => true,
        Err(error) => {
            command::step(&format!("rustup has no target to give: {error:#}"));
            false
        }
    }
}

fn distribution(arch: Arch) -> Result<Toolchain> {
    if arch == Arch::host() {
        setup::need(&[Need::DistributionRust])?;
        return Ok(Toolchain::Distribution);
    }
    setup::need(&[Need::CrossRust])?;
    let venv = paths::cache().join("zig");
    if !venv.join("bin/cargo-zigbuild").is_file() {
        command::step("fetching zig from PyPI (about 80 MB, the first time)");
        // A half-made environment of an interrupted run would look complete to venv.
        let _ = fs::remove_dir_all(&venv);
        let fresh = venv.with_extension("new");
        let _ = fs::remove_dir_all(&fresh);
        paths::make_dir(&paths::cache())?;
        command::run(
            command::new("/usr/bin/python3")
                .args(["-m", "venv"])
                .arg(&fresh),
        )?;
        command::run(
            command::new(fresh.join("bin/python3"))
                .args([
                    "-m",
                    "pip",
                    "install",
                    "--quiet",
                    "--disable-pip-version-check",
                ])
                .args(ZIG),
        )?;
        fs::rename(&fresh, &venv).context("cannot move the environment with zig into place")?;
    }
    Ok(Toolchain::Zig { venv })
}

impl Toolchain {
    /// Directory of the intermediate files: ways do not share them, or each would undo the other's.
    pub(super) fn dir_name(&self) -> &'static str {
        match self {
            Self::Rustup { .. } => "cargo-rustup",
            Self::Distribution => "cargo-distribution",
            Self::Zig { .. } => "cargo-zig",
        }
    }

    /// Builds the programs and returns the directory that holds them.
    pub(super) fn build(&self, request: &Request<'_>) -> Result<PathBuf> {
        paths::make_dir(request.target_dir)?;
        let mut cargo = self.cargo(request)?;
        if self.builds_std() && !request.target_dir.join("release").is_dir() {
            command::step("building std for musl too (about 80 s, the first time)");
        }
        cargo
            .args(["--release", "--locked", "--quiet", "--bins"])
            .args(["--target", request.arch.musl_target()])
            .arg("--target-dir")
            .arg(request.target_dir)
            .current_dir(request.workspace);
        for package in PACKAGES {
            cargo.args(["--package", package]);
        }
        command::show(&mut cargo)?;
        Ok(request
            .target_dir
            .join(request.arch.musl_target())
            .join("release"))
    }

    fn builds_std(&self) -> bool {
        match self {
            Self::Rustup { .. } => false,
            Self::Distribution | Self::Zig { .. } => true,
        }
    }

    fn cargo(&self, request: &Request<'_>) -> Result<Command> {
        let target = request.arch.musl_target();
        let linker_key = format!(
            "CARGO_TARGET_{}_LINKER",
            target.to_ascii_uppercase().replace('-', "_")
        );
        let mut flags = common_flags(request.workspace);
        let mut cargo = match self {
            Self::Rustup { linker, .. } => {
                let mut cargo = command::new("cargo");
                cargo.arg("build");
                if let Some(linker) = linker {
                    cargo.env(linker_key, linker);
                    // Seen from the workspace, where the linker runs: flags that name a place would
                    // make other bytes in another one.
                    flags.push(format!("-Clink-arg=-T{NO_UNWINDING}"));
                }
                cargo
            }
            Self::Distribution => {
                let mut cargo = distribution_cargo("/usr/bin/cargo");
                cargo.arg("build").env(linker_key, "musl-gcc");
                let libraries = empty_unwinder(request.target_dir)?;
                flags.push("-Clink-self-contained=no".into());
                flags.push(format!("-Lnative={}", libraries.display()));
                cargo
            }
            Self::Zig { venv } => {
                let mut cargo = distribution_cargo(venv.join("bin/cargo-zigbuild"));
                cargo
                    .arg("zigbuild")
                    .env("CARGO", "/usr/bin/cargo")
                    .env("PATH", prepend(&venv.join("bin"))?);
                flags.push("-Clink-self-contained=no".into());
                cargo
            }
        };
        if self.builds_std() {
            cargo.args(["-Zbuild-std=std,panic_abort", "-Zbuild-std-features="]);
        }
        if request.symbols {
            cargo.env("CARGO_PROFILE_RELEASE_STRIP", "debuginfo");
        }
        cargo
            .env_remove("RUSTFLAGS")
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
            .env("SOURCE_DATE_EPOCH", "0");
        Ok(cargo)
    }
}

/// Flags of every way. Static without relocation: PID 1 then has no pages that relocations dirtied.
/// The prefixes are replaced so that the bytes do not depend on where things lie.
fn common_flags(workspace: &Path) -> Vec<String> {
    let mut flags = vec![
        "-Ctarget-feature=+crt-static".to_owned(),
        "-Crelocation-model=static".to_owned(),
        format!("--remap-path-prefix={}=.", workspace.display()),
    ];
    if let Some(home) = cargo_home() {
        flags.push(format!("--remap-path-prefix={}=/cargo", home.display()));
    }
    flags
}

fn cargo_home() -> Option<PathBuf> {
    std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")))
}

/// A cargo that shall not see what rustup's cargo, which runs xtask, put into the environment.
fn distribution_cargo(program: impl AsRef<Path>) -> Command {
    let mut cargo = command::new(program.as_ref());
    for name in [
        "RUSTUP_TOOLCHAIN",
        "RUSTUP_HOME",
        "CARGO",
        "RUSTC_WRAPPER",
        "RUSTDOC",
    ] {
        cargo.env_remove(name);
    }
    // Building std is an unstable option, and Debian's compiler is a stable one.
    cargo
        .env("RUSTC", "/usr/bin/rustc")
        .env("RUSTC_BOOTSTRAP", "1");
    cargo
}

/// A directory with an empty libunwind.a: std asks for the library, and with `panic = "abort"`
/// nothing refers to it. Debian's unwinders do not link against musl.
fn empty_unwinder(target_dir: &Path) -> Result<PathBuf> {
    let dir = target_dir.join("empty-libunwind");
    paths::make_dir(&dir)?;
    let archive = dir.join("libunwind.a");
    if !archive.is_file() {
        // An archive without members is its magic alone (ar(5)).
        fs::write(&archive, b"!<arch>\n")
            .with_context(|| format!("cannot write {}", archive.display()))?;
    }
    Ok(dir)
}

fn prepend(dir: &Path) -> Result<std::ffi::OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let parts = std::iter::once(dir.to_path_buf()).chain(std::env::split_paths(&path));
    match std::env::join_paths(parts) {
        Ok(path) => Ok(path),
        Err(error) => bail!("PATH cannot begin with {}: {error}", dir.display()),
    }
}
