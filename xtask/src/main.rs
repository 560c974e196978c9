//! What people type: `cargo xtask build`, `image`, `setup` and their kin. Each command has a module
//! of its own; here is only the command line.
#![forbid(unsafe_code)]

mod arch;
mod build;
mod cache;
mod command;
mod image;
mod paths;
mod setup;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Builds, images and tries Shark init.
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    version,
    about,
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build stage1, init and sharkctl as static programs, and check that they are static.
    Build(build::BuildArgs),
    /// Write a bootable disk image with a kernel and an initramfs beside it.
    Image(image::ImageArgs),
    /// Install the host's tools that the other commands need.
    Setup(setup::SetupArgs),
}

fn main() -> ExitCode {
    match run(Cli::parse().task) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<ExitCode> {
    match task {
        Task::Build(args) => build::run(&args)?,
        Task::Image(args) => image::run(&args)?,
        Task::Setup(args) => setup::run(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}
