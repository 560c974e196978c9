//! Power that is cut at moments of chance while an update is installed, booted and committed. After each
//! cut the machine boots what it had or what is whole, with the state that it had, and goes on from
//! there: one device lives through all of them.
//!
//! `SHARK_CUTS=N` asks for so many, `SHARK_SEED=N` begins the chances elsewhere.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use machine::Machine;
use machine::chance::{Chance, number};
use machine::scenario::{ANSWER, ask};
use machine::server::{Manner, Server};
use machine::slots::{Device, commits, running};
use mounts::slot::Slot;
use mounts::slot::record::{Attempt, AttemptState, Ended, Record};

use crate::{bytes, installed, network};

/// Cuts of both lives together, where nobody says how many.
const CUTS: u64 = 30;
/// Where the bundle is kept on the device.
const KEPT: &str = "/var/update.bundle";
/// Reads every file of the root, through dm-verity.
const READ_ALL: &str = "find /usr -xdev -type f -exec cat {} + >/dev/null";

#[test]
fn power_cuts_while_a_bundle_is_fetched_tried_and_committed() -> anyhow::Result<()> {
    let server = Server::start(bytes("good")?, Manner::Good)?;
    Life::begin(server.url(), 1)?.go_on(number("SHARK_CUTS", CUTS)?.div_ceil(2))
}

#[test]
fn power_cuts_while_a_bundle_of_the_data_partition_is_tried_and_committed() -> anyhow::Result<()> {
    let server = Server::start(bytes("good")?, Manner::Good)?;
    let mut life = Life::begin(server.url(), 2)?;
    let fetch = format!("wget -q -O {KEPT} {} && sync", server.url());
    ask(&mut life.machine, &fetch)?;
    life.source = KEPT.to_owned();
    life.go_on(number("SHARK_CUTS", CUTS)? / 2)
}

/// A device that runs, and how long what it does takes on this host.
struct Life {
    device: Device,
    machine: Machine,
    source: String,
    runs: Slot,
    chance: Chance,
    /// From the call to an armed slot.
    installs: Duration,
    /// From the call to reboot to a committed boot.
    commits: Duration,
}

impl Life {
    /// The first update of its life, with no cut.
    fn begin(source: String, purpose: u64) -> anyhow::Result<Self> {
        let device = Device::new()?;
        let mut machine = device.committed("")?;
        network(&mut machine)?;
        let begun = Instant::now();
        installed(&mut machine, &source)?;
        let installs = begun.elapsed();
        let position = machine.console.position();
        let begun = Instant::now();
        machine.send("sharkctl reboot")?;
        commits(&machine, position)?;
        let commits = begun.elapsed();
        network(&mut machine)?;
        Ok(Self {
            device,
            machine,
            source,
            runs: Slot::B,
            chance: Chance::new(purpose)?,
            installs,
            commits,
        })
    }

    fn go_on(mut self, count: u64) -> anyhow::Result<()> {
        let mut tried = 0;
        for number in 1..=count {
            let moment = self.moment(number);
            let from = self.runs;
            let what = format!("cut {number} of {count}, after {} ms", moment.as_millis());
            self.cut(number, moment).with_context(|| what.clone())?;
            println!("{what}, in slot {from}: then slot {} runs", self.runs);
            tried += u64::from(self.runs != from);
        }
        self.machine.power_off(ANSWER)?;
        println!("{count} cuts, after {tried} of which the new system runs");
        Ok(())
    }

    /// One of three is about the arming, one of three about the commit, both of which are short; the
    /// others are anywhere.
    fn moment(&mut self, number: u64) -> Duration {
        let whole = self.installs + self.commits;
        let ms = Duration::from_millis;
        match number % 3 {
            0 => self.installs.saturating_sub(ms(500)) + self.chance.up_to(ms(900)),
            1 => self.chance.up_to(whole + ms(1000)),
            _ => whole.saturating_sub(ms(900)) + self.chance.up_to(ms(1200)),
        }
    }

    fn cut(&mut self, number: u64, moment: Duration) -> anyhow::Result<()> {
        let (old, new) = (self.runs, self.runs.other());
        let before = self.device.disk.record()?;
        ensure!(before.committed == Some(old), "{before:?}");
        // Nothing of what is installed is there already, and the state is one that no boot had before.
        let wipe = format!(
            "dev=$(grep -l PARTNAME=shark-root-{new} /sys/class/block/*/uevent | cut -d/ -f5); \
             dd if=/dev/zero of=/dev/$dev bs=1M count=4 conv=fsync 2>/dev/null; \
             echo life-{number} >/etc/who; sync"
        );
        ask(&mut self.machine, &wipe)?;
        let update = format!("sharkctl update install {} && sharkctl reboot", self.source);
        self.machine.send(&update)?;
        std::thread::sleep(moment);
        self.machine.cut_power();

        let after = self.device.disk.record().context("after the cut")?;
        let told = || format!("before {before:?}\nafter {after:?}");
        is_kept(old, &before, &after).with_context(told)?;
        self.machine = self.device.committed("").with_context(told)?;
        let runs = running(&mut self.machine)?;
        self.runs = Slot::parse(&runs).with_context(|| format!("slot {runs}"))?;
        ensure!(
            may_run(&after, new).contains(&self.runs),
            "slot {runs} runs: {}",
            told()
        );
        let settled = self.device.disk.record()?;
        ensure!(settled.committed == Some(self.runs), "{settled:?}");
        if let Some(attempt) = &after.attempt {
            is_told(attempt, &settled).with_context(told)?;
        }
        ask(&mut self.machine, READ_ALL)?;
        let who = ask(&mut self.machine, "cat /etc/who")?;
        ensure!(who == format!("life-{number}"), "the state is {who}");
        network(&mut self.machine)
    }
}

/// The slot that ran is as good as it was, and one of the two is committed.
fn is_kept(old: Slot, before: &Record, after: &Record) -> anyhow::Result<()> {
    let (was, is) = (before.slot(old), after.slot(old));
    ensure!(
        is.good && !is.verity_bad && is.tries_left == was.tries_left && is.crashes == was.crashes,
        "slot {old} was charged with a fault"
    );
    ensure!(after.committed.is_some(), "no slot is committed");
    Ok(())
}

/// What may be booted next: the new system once it is committed, also while it is on trial, and never
/// before it was armed. A trial that was charged and then cut is not owed another.
fn may_run(after: &Record, new: Slot) -> Vec<Slot> {
    let slot = after.slot(new);
    let charged = after.attempt.as_ref().is_some_and(|it| it.slot == new);
    match (after.committed == Some(new), slot.priority > 0) {
        (true, _) => vec![new],
        (false, false) => vec![new.other()],
        (false, true) if charged => vec![new, new.other()],
        (false, true) => vec![new],
    }
}

/// The history has the boot that was cut.
fn is_told(attempt: &Attempt, record: &Record) -> anyhow::Result<()> {
    let ended = match attempt.state {
        AttemptState::Open | AttemptState::Committed => Ended::PowerCut,
        AttemptState::Failed(ended) | AttemptState::Ended(ended) => ended,
    };
    let mut boots = record.history.iter();
    ensure!(
        boots.any(|it| (it.number, it.slot, it.ended) == (attempt.number, attempt.slot, ended)),
        "the history does not tell of {attempt:?}: {:?}",
        record.history
    );
    Ok(())
}
