//! What people type: `cargo xtask build`, `image`, `setup` and their kin. Each command has a module
//! of its own; here is only the command line.
#![forbid(unsafe_code)]

mod arch;
mod bench;
mod build;
mod cache;
mod captures;
mod command;
mod fuzz;
mod image;
mod libsystemd;
mod paths;
mod qemu;
mod record;
mod setup;
mod test;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Builds, images and tries Shark init.
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    version,
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build stage1, init, sharkctl and the updater as static programs, and check that they are static
    Build(build::BuildArgs),
    /// Write a bootable disk image with a kernel and an initramfs beside it
    Image(Box<image::ImageArgs>),
    /// Write a signed bundle, for `sharkctl update install`
    Bundle(Box<image::bundle::BundleArgs>),
    /// Write one more link of keys, by which devices come to trust a key, or to revoke one
    Keyring(image::keyring::KeyringArgs),
    /// Boot the image in QEMU and give a console, or run one command in it
    Qemu(Box<qemu::QemuArgs>),
    /// Print the boot record of a disk image or of a disk
    Record(record::RecordArgs),
    /// Run every test: formatting, lints, unit and namespace tests, boots in QEMU
    Test(test::TestArgs),
    /// Boot the image and print PID 1's figures: sizes, memory, time to ready
    Bench(Box<bench::BenchArgs>),
    /// Boot the image, break it, and write down what `sharkctl why` shows (docs/why.md)
    Captures(captures::CapturesArgs),
    /// Run the fuzz targets, each for some time
    Fuzz(fuzz::FuzzArgs),
    /// Install the host's tools that the other commands need
    Setup(setup::SetupArgs),
}

fn main() -> ExitCode {
    let task = Cli::parse().task;
    let failure = match task {
        // Its other statuses are the guest's.
        Task::Qemu(_) => ExitCode::from(qemu::EXIT_ERROR),
        _ => ExitCode::FAILURE,
    };
    match run(task) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            failure
        }
    }
}

fn run(task: Task) -> Result<ExitCode> {
    let done = ExitCode::SUCCESS;
    match task {
        Task::Build(args) => build::run(&args).map(|()| done),
        Task::Image(args) => image::run(&args).map(|()| done),
        Task::Bundle(args) => image::bundle::run(&args).map(|()| done),
        Task::Keyring(args) => image::keyring::run(&args).map(|()| done),
        Task::Setup(args) => setup::run(&args).map(|()| done),
        Task::Qemu(args) => qemu::run(&args),
        Task::Record(args) => record::run(&args),
        Task::Test(args) => test::run(&args),
        Task::Bench(args) => bench::run(&args),
        Task::Captures(args) => captures::run(&args).map(|()| done),
        Task::Fuzz(args) => fuzz::run(&args),
    }
}
