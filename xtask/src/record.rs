//! `cargo xtask record`: the boot record of a disk that is not running, as a device itself would
//! tell it. The telling is sharkctl's, built for this machine, so that there is one.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};
use clap::Args;

use crate::arch::Arch;
use crate::{build, command, paths};

/// Print the boot record of a disk image or of a disk.
#[derive(Args)]
pub(crate) struct RecordArgs {
    /// Disk image (as `cargo xtask qemu --disk` keeps one), disk, or the partition `shark-state`
    #[arg(value_name = "PATH")]
    path: PathBuf,

    /// Only the last boots: slot, how each ended, and why
    #[arg(long)]
    history: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints it; exits as sharkctl does.
pub(crate) fn run(args: &RecordArgs) -> Result<ExitCode> {
    let programs = {
        let _lock = paths::lock()?;
        build::programs(Arch::host())?
    };
    let mut sharkctl = Command::new(programs.sharkctl);
    sharkctl.args(["boot", if args.history { "history" } else { "record" }]);
    sharkctl.arg("--device").arg(&args.path);
    if args.json {
        sharkctl.arg("--json");
    }
    let status = sharkctl
        .status()
        .with_context(|| format!("cannot run {}", command::line(&sharkctl)))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
