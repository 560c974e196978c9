//! `cargo xtask test`: every test, in the order in which a mistake is cheapest to find. CI runs this
//! same command. Not here: the tests.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;
use machine::image::Firmware;

use crate::arch::Arch;
use crate::image::{self, ImageOptions};
use crate::setup::Need;
use crate::{build, command, libsystemd, paths, setup};

/// Service files that the boots of `tests-qemu` put to the test.
const TEST_SERVICES: &str = "tests-qemu/services";

/// Packages whose units a test imports.
const UNITS_LIST: &str = "init/tests/import/packages.txt";
/// Tells the test where they are.
const UNITS_VARIABLE: &str = "SHARK_TEST_UNITS";
/// Sources that have scripts for OpenRC, and where in them.
const SOURCES_LIST: &str = "init/tests/import/sources.txt";
/// Tells the test where they are.
const SOURCES_VARIABLE: &str = "SHARK_TEST_SOURCES";

/// Run every test: formatting, lints, unit and namespace tests, then boots in QEMU.
#[derive(Args)]
pub(crate) struct TestArgs {
    /// Leave out the boots in QEMU
    #[arg(long)]
    no_qemu: bool,

    /// Only the boots in QEMU
    #[arg(long, conflicts_with = "no_qemu")]
    only_qemu: bool,

    /// Only tests whose name contains this
    #[arg(value_name = "NAME")]
    filter: Option<String>,
}

/// Runs them; the first step that fails ends the run.
pub(crate) fn run(args: &TestArgs) -> Result<ExitCode> {
    let start = Instant::now();
    setup::need(&[Need::Test])?;
    if !args.only_qemu {
        if args.filter.is_none() {
            step("formatting", cargo(&["fmt", "--all", "--check"]))?;
            step(
                "lints",
                cargo(&[
                    "clippy",
                    "--workspace",
                    "--all-targets",
                    "--locked",
                    "--",
                    "-D",
                    "warnings",
                ]),
            )?;
        }
        let mut tests = cargo(&["test", "--workspace", "--exclude", "tests-qemu", "--locked"]);
        tests.args(&args.filter);
        tests.env(libsystemd::VARIABLE, libsystemd::unpacked()?);
        tests.env(UNITS_VARIABLE, units()?);
        tests.env(SOURCES_VARIABLE, sources()?);
        step("unit and namespace tests", tests)?;
        if args.filter.is_none() {
            step("rules broken on purpose", broken_rules())?;
            step("ten thousand services", ten_thousand())?;
        }
        let mut machine = cargo(&["test", "--package", "tests-qemu", "--lib", "--locked"]);
        machine.args(&args.filter);
        step("tests of the test machine", machine)?;
    }
    if !args.no_qemu {
        boots(args)?;
    }
    command::step(&format!(
        "all tests passed in {} s",
        start.elapsed().as_secs()
    ));
    Ok(ExitCode::SUCCESS)
}

/// The supervisor with one rule after the other broken on purpose: its simulation has to find each.
fn broken_rules() -> Command {
    cargo(&[
        "test",
        "--package",
        "services",
        "--features",
        "mutations",
        "--test",
        "simulation",
        "--locked",
        "mutations",
    ])
}

/// The units of the packages that a test imports; fetched once.
fn units() -> Result<PathBuf> {
    let list = std::fs::read_to_string(paths::workspace().join(UNITS_LIST))?;
    let names: Vec<&str> = list.lines().filter(|it| !it.starts_with('#')).collect();
    image::Packages::open(Arch::host())?.services(&names)
}

/// The scripts for OpenRC in sources of packages, that a test imports; fetched once.
fn sources() -> Result<PathBuf> {
    let list = std::fs::read_to_string(paths::workspace().join(SOURCES_LIST))?;
    let lines = list.lines().filter(|it| !it.starts_with('#'));
    let files: Vec<(&str, &str)> = lines.filter_map(|it| it.split_once(' ')).collect();
    image::original_files(&files)
}

/// By itself, as it needs the machine; what it prints is part of the evidence.
fn ten_thousand() -> Command {
    let mut test = cargo(&[
        "test",
        "--package",
        "init",
        "--test",
        "many",
        "--locked",
        "--",
        "--nocapture",
    ]);
    test.env("SHARK_SERVICES", "10000");
    test
}

/// The boots. Two run side by side: a guest mostly waits for one processor.
fn boots(args: &TestArgs) -> Result<()> {
    let options = ImageOptions {
        services: vec![paths::workspace().join(TEST_SERVICES)],
        ..ImageOptions::default()
    };
    setup::need(&[
        Need::Qemu(options.arch),
        Need::Firmware(Firmware::Efi),
        Need::Qemu(Arch::Aarch64),
        Need::Firmware(Firmware::UBoot),
    ])?;
    let folder = image::make_folder(&options)?;
    if args.filter.is_none() {
        same_bytes(&options, &folder)?;
    }
    let imported = image::imported::make()?;
    let small = image::small::make()?;
    let daemons = image::daemons::make()?;
    let mut tests = cargo(&["test", "--package", "tests-qemu", "--test", "*", "--locked"]);
    tests.args(&args.filter).args(["--", "--test-threads=2"]);
    // A failed scenario tells what the machine did; where its code stood is of no help.
    tests.env("RUST_BACKTRACE", "0");
    tests.env(machine::image::VARIABLE, folder);
    tests.env(machine::image::DAEMONS_VARIABLE, daemons);
    tests.env(machine::image::IMPORTED_VARIABLE, imported);
    tests.env(
        machine::image::SMALL_VARIABLE,
        serde_json::to_string(&small)?,
    );
    step("boots in QEMU", tests)
}

/// Builds and images a second time, from another checkout and in another folder.
fn same_bytes(options: &ImageOptions, folder: &Path) -> Result<()> {
    command::step("same inputs, same bytes: programs");
    build::check_reproducible(options.arch)?;
    command::step("same inputs, same bytes: image and bundle");
    image::check_reproducible(options, folder)
}

fn cargo(args: &[&str]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = command::new(cargo);
    command.args(args).current_dir(paths::workspace());
    command
}

/// Runs one step with its output as it comes: the test runners' closing lines are the evidence.
fn step(what: &str, mut run: Command) -> Result<()> {
    command::step(what);
    let start = Instant::now();
    let status = run.status()?;
    if !status.success() {
        bail!("{what}: {} failed: {status}", command::line(&run));
    }
    command::step(&format!(
        "{what}: passed in {} s",
        start.elapsed().as_secs()
    ));
    Ok(())
}
