//! `--profile`: where the instructions go between PID 1's first and the last service's, by process,
//! system call and function. A plugin of QEMU counts (`xtask/bench/profile.c`); here names are put
//! to its numbers and sums are made. Not here: names of addresses (`names`).

mod counts;
mod names;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use self::counts::Counts;
use self::names::{Names, Program};
use super::contestant::{Contestant, Kit};
use super::machine::{self, Boot, Work};
use super::result::Outcome;
use crate::{command, paths};

/// What takes less than this share of all is left out of the lists, in thousandths; of functions
/// half of it.
const SHARE: u64 = 4;
/// Where a system call begins in the kernel, and what else is told apart.
const CALL: &str = "__x64_sys_";
const OTHERS: [&str; 4] = [
    "asm_exc_page_fault",
    "asm_sysvec_apic_timer_interrupt",
    "asm_common_interrupt",
    "ret_from_fork",
];

/// Where things are.
pub(super) struct Places<'a> {
    pub(super) kernel: &'a Path,
    pub(super) bench: &'a Path,
}

/// Boots Shark with the plugin, and returns the sums as Markdown.
pub(super) fn run(places: &Places<'_>, kit: &Kit, work: Work) -> Result<String> {
    let kernel = symbols(places, kit)?;
    let plugin = compile(places.bench)?;
    let calls: Vec<(u64, String)> = kernel
        .beginning(CALL)
        .map(|(at, name)| (at, name.to_owned()))
        .chain(OTHERS.iter().filter_map(|name| {
            let address = kernel.find(name).ok()?;
            Some((address, name.trim_start_matches("asm_").to_owned()))
        }))
        .collect();
    let (out, list) = (
        places.bench.join("profile.counts"),
        places.bench.join("profile.calls"),
    );
    let lines: String = calls.iter().map(|(at, _)| format!("{at:x}\n")).collect();
    fs::write(&list, lines).with_context(|| format!("cannot write {}", list.display()))?;
    let plugin = format!(
        "{},out={},switch={:x},fork={:x},exec={:x},calls={}",
        plugin.display(),
        out.display(),
        kernel.find("__switch_to_asm")?,
        kernel.find("ret_from_fork")?,
        kernel.find("begin_new_exec")?,
        list.display()
    );
    let mut prepared = Contestant::Shark.prepare(kit, work.n)?;
    prepared.extras.push(("brief", "yes".into()));
    let boot = Boot {
        kernel: places.kernel,
        console: &places.bench.join("profile.txt"),
        arguments: &["-plugin".to_owned(), plugin],
    };
    command::step(&format!("counting Shark's start of {} services", work.n));
    let said = machine::run(&boot, &prepared, kit, work)
        .context("QEMU must be of 7.2 or later, and built with plugins")?;
    let text =
        fs::read_to_string(&out).with_context(|| format!("cannot read {}", out.display()))?;
    // A hundred megabytes, and of no use to anybody else.
    fs::remove_file(&out).with_context(|| format!("cannot remove {}", out.display()))?;
    let programs = [
        Program::read("init", &kit.shark.init)?,
        Program::read("service", &kit.programs.path("service"))?,
        Program::read("probe", &kit.programs.path("probe"))?,
        Program::read("trampoline", &kit.programs.path("trampoline"))?,
    ];
    let names: Vec<&str> = calls.iter().map(|(_, name)| name.as_str()).collect();
    let sums = Counts::parse(&text).sums(&programs, &kernel, &names);
    let outcome = Outcome::parse(&Contestant::Shark, work, 0, &said);
    match outcome.get("ready-ns") {
        Some(ready) => Ok(report(&sums, work.n, ready)),
        None => bail!("there is nothing to tell: {}", outcome.summary()),
    }
}

/// The symbols of the kernel, as a guest tells them.
fn symbols(places: &Places<'_>, kit: &Kit) -> Result<Names> {
    command::step("asking the kernel for its symbols");
    let file = places.bench.join("kallsyms.txt");
    let mut prepared = Contestant::Floor("floor").prepare(kit, 5)?;
    prepared.extras.push(("symbols", "yes".into()));
    prepared.extras.push(("brief", "yes".into()));
    let boot = Boot {
        kernel: places.kernel,
        console: &places.bench.join("profile.txt"),
        arguments: &["-debugcon".to_owned(), format!("file:{}", file.display())],
    };
    machine::run(&boot, &prepared, kit, Work { n: 5, limit: 60 })?;
    let text =
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(Names::kernel(&text))
}

fn compile(place: &Path) -> Result<PathBuf> {
    let to = place.join("profile.so");
    let source = paths::workspace().join("xtask/bench/profile.c");
    command::run(
        command::new("cc")
            .args(["-O2", "-Wall", "-Wextra", "-shared", "-fPIC", "-o"])
            .arg(&to)
            .arg(source),
    )?;
    Ok(to)
}

/// Instructions of one kind of process.
#[derive(Default)]
pub(super) struct Sum {
    /// How many processes there were.
    pub(super) processes: u64,
    /// In user mode, by function.
    pub(super) user: BTreeMap<String, u64>,
    /// In the kernel, by system call, and within it by function.
    pub(super) calls: BTreeMap<String, BTreeMap<String, u64>>,
}

impl Sum {
    fn of_user(&self) -> u64 {
        self.user.values().sum()
    }

    fn of_kernel(&self) -> u64 {
        self.calls.values().flat_map(BTreeMap::values).sum()
    }
}

/// An instruction is a nanosecond, so what of the time to ready is no instruction was waiting.
fn report(sums: &BTreeMap<String, Sum>, n: u32, ready: u64) -> String {
    let whole: u64 = sums.values().map(|it| it.of_user() + it.of_kernel()).sum();
    let least = whole * SHARE / 1000;
    let mut text = format!(
        "Shark, n = {n}: {} million instructions from PID 1's first to the last service's, and {} ms \
         in which all waited.\n\n\
         | process | how many | user, million | kernel, million |\n|---|---|---|---|\n",
        millions(whole),
        millions(ready.saturating_sub(whole)),
    );
    for (name, sum) in by_size(sums, |it| it.of_user() + it.of_kernel()) {
        let (user, kernel) = (millions(sum.of_user()), millions(sum.of_kernel()));
        let _ = writeln!(text, "| {name} | {} | {user} | {kernel} |", sum.processes);
    }
    for (name, sum) in by_size(sums, |it| it.of_user() + it.of_kernel()) {
        let calls = by_size(&sum.calls, |it| it.values().sum());
        let calls = calls.into_iter().map(|(call, functions)| {
            let most: Vec<String> = by_size(functions, |it| *it)
                .into_iter()
                .take(5)
                .map(|(name, times)| format!("{name} {}", millions(*times)))
                .collect();
            (
                format!("{call}: {}", most.join(", ")),
                functions.values().sum(),
            )
        });
        list(&mut text, name, "kernel, by system call", calls, least);
        let functions = by_size(&sum.user, |it| *it).into_iter();
        let functions = functions.map(|(name, times)| (name.clone(), *times));
        list(
            &mut text,
            name,
            "user mode, by function",
            functions,
            least / 2,
        );
    }
    text
}

/// What is at least so large, the largest first; nothing where nothing is.
fn list(
    text: &mut String,
    process: &str,
    what: &str,
    all: impl Iterator<Item = (String, u64)>,
    least: u64,
) {
    let mut lines = all.take_while(|(_, times)| *times >= least).peekable();
    if lines.peek().is_some() {
        let _ = write!(text, "\n{process}, {what}, million:\n\n");
    }
    for (name, times) in lines {
        let _ = writeln!(text, "* {} {name}", millions(times));
    }
}

fn by_size<T>(all: &BTreeMap<String, T>, size: impl Fn(&T) -> u64) -> Vec<(&String, &T)> {
    let mut sorted: Vec<(&String, &T)> = all.iter().collect();
    sorted.sort_by_key(|(_, it)| std::cmp::Reverse(size(it)));
    sorted
}

/// Millions with one digit behind the point.
fn millions(count: u64) -> String {
    let tenths = (count + 50_000) / 100_000;
    format!("{}.{}", tenths / 10, tenths % 10)
}
