//! `cargo xtask bench`: what PID 1 costs. `boots` measures the whole image, `peers` the supervisor
//! alone, beside other people's, `updates` the updater.

mod boots;
mod peers;
mod updates;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};

/// Boot the image and print PID 1's figures, or measure it or the updater beside others.
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
    /// Install an update, beside the programs that would write and verify it by hand
    Updates(Box<updates::UpdatesArgs>),
}

/// Measures and prints.
pub(crate) fn run(args: &BenchArgs) -> Result<ExitCode> {
    match &args.what {
        Some(What::Peers(args)) => peers::run(args),
        Some(What::Updates(args)) => updates::run(args),
        None => boots::run(&args.boots),
    }
}
