//! `cargo xtask image`: a disk image, a kernel and an initramfs.

use anyhow::Result;
use clap::Args;

use crate::arch::Arch;

/// Arguments of `cargo xtask image`.
#[derive(Args)]
pub(crate) struct ImageArgs {
    /// Architecture of the image
    #[arg(long, value_enum, default_value_t = Arch::host())]
    arch: Arch,
}

pub(crate) fn run(_args: &ImageArgs) -> Result<()> {
    Ok(())
}
