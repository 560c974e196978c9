//! `cargo xtask bench peers`: the same work done by one init after the other, in an emulated machine
//! whose clock counts instructions, so that figures repeat and can be compared. Here is the order of
//! things; `contestant` says who, `machine` how, `result` what is made of it, `report` and `chart`
//! how it is shown.

mod chart;
mod contestant;
mod debian;
mod layers;
mod machine;
mod named;
mod programs;
mod report;
mod result;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use self::contestant::{Contestant, Kit};
use self::result::Outcome;
use crate::arch::Arch;
use crate::setup::{self, Need};
use crate::{build, command, image, paths};

/// Arguments of `cargo xtask bench peers`.
#[derive(Args)]
pub(crate) struct PeersArgs {
    /// How many services, one measurement each
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "10,100,500",
          value_parser = clap::value_parser!(u32).range(5..=1000))]
    n: Vec<u32>,

    /// Only these; the ratios in the table are to `floor` and to `floor-cgroup-ctl`
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,

    /// The program of a contestant that no Debian package brings: dinit, s6-rc, nitro
    #[arg(long = "peer", value_name = "NAME=PATH", value_parser = peer)]
    peers: Vec<(String, PathBuf)>,

    /// Our programs, where they are built already: init and sharkctl of this directory
    #[arg(long, value_name = "DIR")]
    shark: Option<PathBuf>,

    /// Print what the guest printed as well
    #[arg(long)]
    verbose: bool,
}

fn peer(text: &str) -> Result<(String, PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or("NAME=PATH is expected")?;
    Ok((name.to_owned(), PathBuf::from(path)))
}

/// Measures, and writes the table and the chart.
pub(super) fn run(args: &PeersArgs) -> Result<ExitCode> {
    let arch = Arch::X86_64;
    setup::need(&[Need::Image, Need::Qemu(arch)])?;
    let place = paths::arch_output(arch).join("bench");
    let kit = {
        let _lock = paths::lock()?;
        paths::make_dir(&place)?;
        Kit {
            programs: programs::compile(&place.join("programs"))?,
            shark: match &args.shark {
                Some(dir) => build::Programs::in_dir(dir),
                None => build::programs(arch)?,
            },
            packages: image::Packages::open(arch)?,
        }
    };
    let kernel = image::bare_kernel(arch)?;
    let chosen = choose(args)?;
    let mut outcomes = Vec::new();
    for contestant in &chosen {
        for n in &args.n {
            command::step(&format!("{} with {n} services", contestant.name()));
            let prepared = contestant.prepare(&kit, *n)?;
            let text = machine::run(&kernel, &prepared, &kit, *n)?;
            if args.verbose {
                eprintln!("{text}");
            }
            let outcome = Outcome::parse(contestant, *n, prepared.size, &text);
            eprintln!("    {}", outcome.summary());
            outcomes.push(outcome);
        }
    }
    let table = report::table(&outcomes);
    write(&place.join("peers.md"), &table)?;
    write(&place.join("peers.svg"), &chart::bars(&outcomes))?;
    print!("{table}");
    eprintln!("{}/peers.md and peers.svg", place.display());
    Ok(ExitCode::SUCCESS)
}

/// The contestants asked for, the floors ahead of all others.
fn choose(args: &PeersArgs) -> Result<Vec<Contestant>> {
    let mut all = Contestant::known();
    for (name, path) in &args.peers {
        all.push(Contestant::by_path(name, path)?);
    }
    for name in &args.only {
        if !all.iter().any(|it| it.name() == name) {
            let known: Vec<&str> = all.iter().map(Contestant::name).collect();
            bail!("--only {name}: there are {}", known.join(", "));
        }
    }
    let wanted =
        |it: &Contestant| args.only.is_empty() || args.only.iter().any(|name| name == it.name());
    all.retain(wanted);
    Ok(all)
}

fn write(path: &std::path::Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
