//! `cargo xtask bench`: what PID 1 costs. `boots` measures the whole image, `peers` the supervisor
//! alone, beside other people's.

mod boots;
mod peers;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};

/// Boot the image and print PID 1's figures, or measure it beside other inits.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    what: Option<What>,

    #[command(flatten)]
    boots: boots::BootsArgs,
}

#[derive(Subcommand)]
enum What {
    /// Let inits do the same work on the same kernel, and compare them
    Peers(peers::PeersArgs),
}

/// Measures and prints.
pub(crate) fn run(args: &BenchArgs) -> Result<ExitCode> {
    match &args.what {
        Some(What::Peers(args)) => peers::run(args),
        None => boots::run(&args.boots),
    }
}
