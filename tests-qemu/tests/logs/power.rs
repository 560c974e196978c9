//! Power that is cut at moments of chance while services write: of what they wrote longer ago than the page
//! on logs says, nothing is missing after it, and what is there is whole and in order. Not here: a cut at a
//! chosen moment (`main`), and cuts while an update is installed (`updates`).
//!
//! What was written, and when, is known from the serial console, to which the service says it as well.
//! `SHARK_CUTS=N` asks for so many cuts, `SHARK_SEED=N` begins the chances elsewhere.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use machine::chance::{Chance, number};
use machine::disk::DiskCopy;
use machine::overlay::Overlay;
use machine::scenario::{ANSWER, BOOT, ask, booted, spec, tell};
use machine::{Image, Machine, Spec};

use crate::{FLUSHED, FLUSHED_AT_ONCE, install};

/// Cuts of both lives together, where nobody says how many.
const CUTS: u64 = 8;
/// After the first line of a boot, the power stays at most so long.
const LONGEST: Duration = Duration::from_secs(15);
/// Settings by which lines are sooner on the disk than goes without saying, and longer than they take then.
const SOONER: &str = "flush = \"2s\"";
const FLUSHED_SOONER: Duration = Duration::from_secs(5);
/// Of the time between two lines, so much counts: more passes only while the machine stands still.
const STEP: Duration = Duration::from_millis(500);

#[test]
fn logs_outlive_cuts_of_power_at_any_moment() -> anyhow::Result<()> {
    Life::begin(1, None)?.go_on(number("SHARK_CUTS", CUTS)?.div_ceil(2))
}

#[test]
fn logs_with_grave_lines_outlive_cuts_of_power_at_any_moment() -> anyhow::Result<()> {
    Life::begin(2, Some(40))?.go_on(number("SHARK_CUTS", CUTS)? / 2)
}

/// Writes some twenty lines a second, each with its number and the time, and says each on the console once it
/// is written. One in so many is grave.
fn ticker(grave: Option<u32>) -> String {
    let mark = match grave {
        None => String::new(),
        Some(every) => format!("[ $((n % {every})) = 0 ] && mark=\"<3>\";"),
    };
    format!(
        "exec = [\"/bin/sh\", \"-c\", '''\n\
         mkfifo /run/ticker; exec 3<>/run/ticker; n=0\n\
         id=$(tr -d - </proc/sys/kernel/random/boot_id)\n\
         while :; do\n  \
           n=$((n+1)); read -r up idle </proc/uptime; mark=; {mark}\n  \
           echo \"${{mark}}tick $id $n $up end\"\n  \
           echo \"said $id $n $up end\" >/dev/console\n  \
           read -t 0.05 -u 3 none\n\
         done''']\n\
         log.burst = 0\n"
    )
}

/// One line of the service, by its number and the time since the kernel's start.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Tick {
    number: u32,
    at: Duration,
}

/// The boot and the line that are told after `word`; `None`: it is none, or torn.
fn tick<'a>(line: &'a str, word: &str) -> Option<(&'a str, Tick)> {
    let (_, rest) = line.split_once(word)?;
    let mut parts = rest.split_whitespace();
    let (id, number, at) = (parts.next()?, parts.next()?, parts.next()?);
    let whole = id.len() == 32 && parts.next() == Some("end") && parts.next().is_none();
    let number = number.parse().ok()?;
    let at = Duration::try_from_secs_f64(at.parse().ok()?).ok()?;
    whole.then_some((id, Tick { number, at }))
}

/// A boot that was cut.
struct Cut {
    boot: String,
    ticks: Vec<Tick>,
}

impl Cut {
    /// What the service had said by then.
    fn of(console: &str) -> anyhow::Result<Self> {
        let said: Vec<(&str, Tick)> = console.lines().filter_map(|it| tick(it, "said ")).collect();
        let (boot, _) = said.first().context("the service said nothing")?;
        Ok(Self {
            boot: (*boot).to_owned(),
            ticks: said.iter().map(|(_, tick)| *tick).collect(),
        })
    }

    /// The last line, of those that `counts`, that had been written for longer than `age`. A machine that
    /// stands still brings nothing to its disk, so that time does not count.
    fn older_than(&self, age: Duration, counts: impl Fn(u32) -> bool) -> u32 {
        let mut passed = Duration::ZERO;
        let mut later = self.ticks.last().map_or(Duration::ZERO, |it| it.at);
        for tick in self.ticks.iter().rev() {
            passed += later.saturating_sub(tick.at).min(STEP);
            later = tick.at;
            if passed > age && counts(tick.number) {
                return tick.number;
            }
        }
        0
    }
}

/// A disk that goes through many boots.
struct Life {
    disk: DiskCopy,
    chance: Chance,
    /// One line in so many is grave.
    grave: Option<u32>,
}

impl Life {
    fn begin(purpose: u64, grave: Option<u32>) -> anyhow::Result<Self> {
        let disk = DiskCopy::of(&Image::from_environment()?.disk)?;
        let mut machine = booted(&spec(Some(disk.path()))?)?;
        install(&mut machine, "ticker", &ticker(grave))?;
        if grave.is_none() {
            ask(
                &mut machine,
                &format!("echo '{SOONER}' >/etc/shark/log.toml"),
            )?;
        }
        machine.power_off(ANSWER)?;
        Ok(Self {
            disk,
            chance: Chance::new(purpose)?,
            grave,
        })
    }

    /// Every other boot is asked for the lines of the former ones first; the others are cut before anybody
    /// could ask.
    fn go_on(mut self, count: u64) -> anyhow::Result<()> {
        let mut cuts: Vec<Cut> = Vec::new();
        for number in 1..=count {
            let spec = spec(Some(self.disk.path()))?;
            let mut machine = match number % 2 {
                0 => self.checked(&spec, &mut cuts)?,
                _ => Machine::quiet(&spec, Overlay::default())?,
            };
            let deadline = Instant::now() + BOOT;
            let first = machine.console.wait_for(&["said "], 0, deadline);
            ensure!(first.is_ok(), "no line: {}", machine.console.tail(60));
            let moment = self.chance.up_to(LONGEST);
            std::thread::sleep(moment);
            machine.cut_power();
            let cut = Cut::of(&machine.console.text())?;
            println!(
                "cut {number} of {count}, after {} ms: {} lines of {}",
                moment.as_millis(),
                cut.ticks.last().map_or(0, |it| it.number),
                cut.boot
            );
            cuts.push(cut);
        }
        let spec = spec(Some(self.disk.path()))?;
        let mut machine = self.checked(&spec, &mut cuts)?;
        let status = machine.power_off(ANSWER)?;
        ensure!(status.success(), "QEMU ended with {status}");
        Ok(())
    }

    /// Boots, and looks at what is kept of the boots that were cut since this was done last.
    fn checked(&self, spec: &Spec, cuts: &mut Vec<Cut>) -> anyhow::Result<Machine> {
        let mut machine = booted(spec)?;
        if let Some(last) = cuts.last().filter(|it| self.must_be_kept(it) > 0) {
            let kept = tell(&mut machine, "sharkctl logs --boot -1 ticker")?.text();
            self.is_kept(last, &kept).context("--boot -1")?;
        }
        for cut in cuts.drain(..) {
            // Of one that was cut very soon, nothing has to be there.
            let command = format!("sharkctl logs --boot {} ticker", cut.boot);
            let kept = tell(&mut machine, &command)?.text();
            self.is_kept(&cut, &kept)?;
        }
        Ok(machine)
    }

    /// The last line that has to be there.
    fn must_be_kept(&self, cut: &Cut) -> u32 {
        match self.grave {
            None => cut.older_than(FLUSHED_SOONER, |_| true),
            Some(every) => {
                let grave = cut.older_than(FLUSHED_AT_ONCE, |number| number % every == 0);
                grave.max(cut.older_than(FLUSHED, |_| true))
            }
        }
    }

    fn is_kept(&self, cut: &Cut, kept: &str) -> anyhow::Result<()> {
        let most = self.must_be_kept(cut);
        let told = || format!("{most} lines of {} have to be there: {kept}", cut.boot);
        let mut last = 0;
        for line in kept.lines() {
            let (boot, tick) = tick(line, "tick ").with_context(|| format!("torn: {line}"))?;
            ensure!(
                boot == cut.boot && tick.number == last + 1,
                "{line}: {}",
                told()
            );
            last = tick.number;
        }
        println!(
            "{last} lines of {} are kept, and {most} had to be",
            cut.boot
        );
        ensure!(last >= most, "{}", told());
        Ok(())
    }
}
