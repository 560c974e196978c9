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
mod profile;
mod programs;
#[cfg(test)]
mod recorded;
mod report;
mod result;
mod turns;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use self::contestant::{Contestant, Kit};
use self::machine::{Boot, Work};
use self::profile::Places;
use self::result::Outcome;
use crate::arch::Arch;
use crate::setup::{self, Need};
use crate::{build, command, image, paths};

/// Where the consoles of all machines are kept, beside the table.
const CONSOLES: &str = "consoles";

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

    /// The static program of a contestant that no Debian package brings: dinit, nitro; for s6-rc the
    /// directory `usr/bin` of skarnet's programs, built static with `--prefix=/usr`
    #[arg(long = "peer", value_name = "NAME=PATH", value_parser = peer)]
    peers: Vec<(String, PathBuf)>,

    /// Seconds of the guest within which all services must run; who needs more has not finished
    #[arg(long, value_name = "SECONDS", default_value_t = 60,
          value_parser = clap::value_parser!(u32).range(1..=900))]
    limit: u32,

    /// Our programs, where they are built already: init and sharkctl of this directory
    #[arg(long, value_name = "DIR")]
    shark: Option<PathBuf>,

    /// Instead of comparing: count where the instructions of Shark's start go, by process, system
    /// call and function. Takes some minutes for 500 services, after a build with symbols
    #[arg(long, conflicts_with_all = ["only", "peers"])]
    profile: bool,

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
        paths::make_dir(&place.join(CONSOLES))?;
        Kit {
            programs: programs::compile(&place.join("programs"))?,
            shark: match &args.shark {
                Some(dir) => build::Programs::in_dir(dir),
                None if args.profile => build::programs_with_symbols(arch)?,
                None => build::programs(arch)?,
            },
            packages: image::Packages::open(arch)?,
        }
    };
    let kernel = image::bare_kernel(arch)?;
    if args.profile {
        return profile(args, &kernel, &place, &kit);
    }
    let mut outcomes = Vec::new();
    for contestant in &choose(args)? {
        for n in &args.n {
            command::step(&format!("{} with {n} services", contestant.name()));
            let work = Work {
                n: *n,
                limit: args.limit,
            };
            // One that cannot be measured does not keep the others out of the table.
            let console = place
                .join(CONSOLES)
                .join(format!("{}-{n}.txt", contestant.name()));
            let outcome = measure(contestant, &kernel, &kit, work, &console)
                .unwrap_or_else(|error| Outcome::failed(contestant, work, format!("{error:#}")));
            if args.verbose {
                eprintln!("{}", fs::read_to_string(&console).unwrap_or_default());
            }
            eprintln!("    {}", outcome.summary());
            outcomes.push(outcome);
        }
    }
    let table = report::table(&outcomes);
    write(&place.join("peers.md"), &table)?;
    write(&place.join("peers.svg"), &chart::bars(&outcomes))?;
    print!("{table}");
    eprintln!(
        "{}/peers.md and peers.svg; what each machine said: {CONSOLES}",
        place.display()
    );
    if report::complete(&outcomes) {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("error: not all was measured: see below the table");
    Ok(ExitCode::FAILURE)
}

/// Counts, once for each number of services, and writes the sums.
fn profile(args: &PeersArgs, kernel: &Path, place: &Path, kit: &Kit) -> Result<ExitCode> {
    for n in &args.n {
        let work = Work {
            n: *n,
            limit: args.limit,
        };
        let places = Places {
            kernel,
            bench: place,
        };
        let text = profile::run(&places, kit, work)?;
        write(&place.join(format!("profile-{n}.md")), &text)?;
        println!("{text}");
    }
    Ok(ExitCode::SUCCESS)
}

fn measure(
    contestant: &Contestant,
    kernel: &Path,
    kit: &Kit,
    work: Work,
    console: &Path,
) -> Result<Outcome> {
    let prepared = contestant.prepare(kit, work.n)?;
    let boot = Boot {
        kernel,
        console,
        arguments: &[],
    };
    let text = machine::run(&boot, &prepared, kit, work)?;
    Ok(Outcome::parse(contestant, work, prepared.size, &text))
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

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
