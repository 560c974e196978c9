//! `cargo xtask fuzz`: the fuzz targets of every crate that parses. Not here: the targets
//! (`services/fuzz`, `mounts/fuzz`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::{command, paths};

/// Crates with fuzz targets.
const CRATES: [&str; 2] = ["services", "mounts"];

/// No parser may ask for more at once, MiB: what a device can spare is less, and inputs are a few KiB.
const MEMORY_MAX: u32 = 64;

/// No input may take longer, seconds: each is a few KiB, and the sanitizer makes it some times slower.
const TIME_MAX: u32 = 10;

/// Run fuzz targets, each for some time; a finding ends the run and its input is kept.
#[derive(Args)]
pub(crate) struct FuzzArgs {
    /// Targets to run; all where none is named
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,

    /// How long each target runs, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    seconds: u32,

    /// Name the targets, and run none
    #[arg(long)]
    list: bool,
}

/// A target and the crate it belongs to.
struct Target {
    krate: &'static str,
    name: String,
}

/// Runs the targets one after the other.
pub(crate) fn run(args: &FuzzArgs) -> Result<ExitCode> {
    let all = targets()?;
    if args.list {
        for target in &all {
            println!("{} ({})", target.name, target.krate);
        }
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(unknown) = args
        .targets
        .iter()
        .find(|name| all.iter().all(|t| t.name != **name))
    {
        bail!("there is no fuzz target {unknown:?}: `cargo xtask fuzz --list` names them");
    }
    let chosen = all
        .iter()
        .filter(|t| args.targets.is_empty() || args.targets.contains(&t.name));
    let tool = tool()?;
    for target in chosen {
        fuzz(&tool, target, args.seconds)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn targets() -> Result<Vec<Target>> {
    let mut targets = Vec::new();
    for krate in CRATES {
        let folder = paths::workspace().join(krate).join("fuzz/fuzz_targets");
        let entries =
            fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if let Some(name) = path
                .file_stem()
                .filter(|_| path.extension().is_some_and(|e| e == "rs"))
            {
                targets.push(Target {
                    krate,
                    name: name.to_string_lossy().into_owned(),
                });
            }
        }
    }
    targets.sort_by(|a, b| (a.krate, &a.name).cmp(&(b.krate, &b.name)));
    Ok(targets)
}

/// cargo-fuzz, installed below the output folder where the host has none.
fn tool() -> Result<PathBuf> {
    if command::exists("cargo-fuzz") {
        return Ok("cargo-fuzz".into());
    }
    let root = paths::output().join("tools");
    let tool = root.join("bin/cargo-fuzz");
    if !tool.exists() {
        command::step("installing cargo-fuzz (two minutes, once)");
        command::show(
            command::new("cargo")
                .args(["install", "--locked", "cargo-fuzz", "--root"])
                .arg(&root),
        )?;
    }
    Ok(tool)
}

fn fuzz(tool: &Path, target: &Target, seconds: u32) -> Result<()> {
    command::step(&format!("fuzzing {} for {seconds} s", target.name));
    let mut run = Command::new(tool);
    // The sanitizer flags are unstable; the stable compiler accepts them from those who say so.
    run.env("RUSTC_BOOTSTRAP", "1")
        .current_dir(paths::workspace().join(target.krate));
    run.args([
        "run",
        &target.name,
        "--",
        &format!("-max_total_time={seconds}"),
        "-print_final_stats=1",
        "-verbosity=0",
        &format!("-malloc_limit_mb={MEMORY_MAX}"),
        &format!("-timeout={TIME_MAX}"),
    ]);
    let status = run
        .status()
        .with_context(|| format!("cannot run {}", tool.display()))?;
    if !status.success() {
        bail!(
            "fuzz target {} found something; the input is in {}/fuzz/artifacts/{}",
            target.name,
            target.krate,
            target.name
        );
    }
    Ok(())
}
