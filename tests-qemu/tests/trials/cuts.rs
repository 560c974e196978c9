//! Power cuts, by killing the machine at moments of chance: after each a signed slot boots, nothing
//! is lost, and the record tells what happened.
//!
//! `SHARK_CUTS=N` asks for so many, `SHARK_SEED=N` begins the chances elsewhere: both are printed, so
//! that a run can be repeated.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use machine::Machine;
use machine::chance::{Chance, number};
use machine::scenario::{ANSWER, BOOT};
use machine::slots::{Device, commits, running};
use mounts::slot::Slot;
use mounts::slot::decide::{Circumstances, decide};
use mounts::slot::record::{AttemptState, Ended, Record, TRIES};

/// Cuts of both kinds together, and cuts in a row, where nobody says how many.
const CUTS: u64 = 30;
/// Each step of the boot on the console.
const WORDS: &str = "shark.debug";
/// The beginning of every line that stage1 prints, so of its first.
const STAGE1: &str = "shark: ";
/// stage1 prints it when the attempt has been charged and the root opened.
const CHARGED: &str = "shark: booting slot";
/// So long before a boot is known to be committed is the commit about to be written, and how long
/// that moment lasts.
const COMMIT: (Duration, Duration) = (Duration::from_millis(700), Duration::from_millis(900));

/// Powers on, and waits for a line of the console.
fn power_on_until(device: &Device, line: &str) -> anyhow::Result<Machine> {
    let machine = device.power_on(WORDS)?;
    match machine.console.wait_for(&[line], 0, Instant::now() + BOOT) {
        Ok(_) => Ok(machine),
        Err(missed) => bail!("{line:?}: {missed:?}:\n{}", machine.console.tail(40)),
    }
}

/// How long a boot takes on this host until it is known to be committed.
#[derive(Clone, Copy, Debug)]
struct Length {
    /// From the first line of stage1.
    whole: Duration,
    /// From the line that tells of the charge.
    charged: Duration,
}

impl Length {
    fn measure(device: &Device) -> anyhow::Result<Self> {
        let mut machine = power_on_until(device, STAGE1)?;
        let begun = Instant::now();
        let charged = machine.console.wait_for(&[CHARGED], 0, begun + BOOT);
        ensure!(charged.is_ok(), "{CHARGED:?}: {charged:?}");
        let before = begun.elapsed();
        commits(&machine, 0)?;
        let whole = begun.elapsed();
        machine.power_off(ANSWER)?;
        Ok(Self {
            whole,
            charged: whole.saturating_sub(before),
        })
    }
}

/// When the power is cut: so long after a line on the console.
#[derive(Clone, Copy, Debug)]
struct Moment {
    line: &'static str,
    after: Duration,
}

impl Moment {
    /// Every third is about the commit, which is short; the others are anywhere from stage1 to a
    /// second after it.
    fn of_chance(number: u64, chance: &mut Chance, length: Length) -> Self {
        if number.is_multiple_of(3) {
            let (before, span) = COMMIT;
            Self {
                line: CHARGED,
                after: length.charged.saturating_sub(before) + chance.up_to(span),
            }
        } else {
            Self {
                line: STAGE1,
                after: chance.up_to(length.whole + Duration::from_secs(1)),
            }
        }
    }
}

/// One cut: the record before, the record after, and whether the console had told of the charge.
struct Cut {
    before: Record,
    after: Record,
    charged: bool,
    slot: Slot,
}

impl Cut {
    fn make(device: &Device, slot: Slot, moment: Moment) -> anyhow::Result<Self> {
        let before = device.disk.record()?;
        let mut machine = power_on_until(device, moment.line)?;
        std::thread::sleep(moment.after);
        machine.cut_power();
        Ok(Self {
            before,
            after: device.disk.record().context("after the cut")?,
            charged: machine.console.text().contains(CHARGED),
            slot,
        })
    }

    /// No charge is forgotten, no slot is lost, and there is something to boot.
    fn check(&self) -> anyhow::Result<()> {
        let Self { before, after, .. } = self;
        let boots = after.boots - before.boots;
        ensure!(
            boots <= 1 && (boots == 1 || !self.charged),
            "{boots} boots were charged; console told of it: {}",
            self.charged
        );
        for slot in Slot::ALL {
            let (was, is) = (before.slot(slot), after.slot(slot));
            ensure!(is.good >= was.good, "slot {slot} is not good any more");
            ensure!(
                is.tries_left >= was.tries_left && is.crashes <= was.crashes && !is.verity_bad,
                "slot {slot} was charged with a fault"
            );
        }
        let state =
            mounts::slot::region::RecordState::Newest(Box::new(mounts::slot::region::Newest {
                record: after.clone(),
                place: mounts::slot::region::Place::FIRST,
                skipped: Vec::new(),
                highest: after.sequence,
            }));
        let candidates = decide(&state, &Circumstances::default());
        ensure!(
            candidates.first().map(|(slot, _)| *slot) == Some(self.slot),
            "{candidates:?} are to be booted, and not slot {}",
            self.slot
        );
        Ok(())
    }

    fn is_after_the_commit(&self) -> bool {
        let attempt = self.after.attempt.as_ref();
        self.after.boots > self.before.boots
            && attempt.is_some_and(|attempt| attempt.state == AttemptState::Committed)
    }

    /// What the boot after it has to tell of it.
    fn is_told(&self, device: &Device) -> anyhow::Result<()> {
        let record = device.disk.record()?;
        let Some(attempt) = &self.after.attempt else {
            return Ok(());
        };
        let expected = match attempt.state {
            AttemptState::Open | AttemptState::Committed => Ended::PowerCut,
            AttemptState::Failed(ended) | AttemptState::Ended(ended) => ended,
        };
        let newest = record.history.newest();
        ensure!(
            newest.is_some_and(|boot| boot.number == attempt.number
                && boot.slot == attempt.slot
                && boot.ended == expected),
            "boot {} was cut ({:?}), and the newest of the history is {newest:?}",
            attempt.number,
            attempt.state
        );
        Ok(())
    }
}

/// Cuts the power `count` times, each time in a boot of `slot` from the state that `prepare` makes.
fn cut(
    device: &Device,
    slot: Slot,
    count: u64,
    prepare: impl Fn() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    prepare()?;
    let length = Length::measure(device)?;
    let mut chance = Chance::new(0)?;
    let mut committed = 0;
    for number in 1..=count {
        prepare()?;
        let moment = Moment::of_chance(number, &mut chance, length);
        let what = || {
            let (after, line) = (moment.after.as_millis(), moment.line);
            format!("cut {number} of {count}, {after} ms after {line:?}")
        };
        let cut = Cut::make(device, slot, moment).with_context(what)?;
        cut.check()
            .with_context(what)
            .with_context(|| format!("before {:?}\nafter {:?}", cut.before, cut.after))?;
        committed += u64::from(cut.is_after_the_commit());
        // Now without: the slot that was cut boots, and is committed.
        let mut machine = device.committed("").with_context(what)?;
        let runs = running(&mut machine)?;
        ensure!(runs == slot.as_str(), "{}: then slot {runs} runs", what());
        machine.cut_power();
        cut.is_told(device).with_context(what)?;
    }
    println!(
        "{count} cuts within {} ms of boot, gate and commit; {committed} came after the commit",
        length.whole.as_millis()
    );
    Ok(())
}

#[test]
fn power_cuts_in_boot_gate_and_commit_of_a_slot_on_trial() -> anyhow::Result<()> {
    let device = Device::new()?;
    let count = number("SHARK_CUTS", CUTS)? * 3 / 5;
    cut(&device, Slot::B, count, || {
        device.disk.change_record(|record| {
            // As if a had been good for long, and b had come just now.
            record.committed = Some(Slot::A);
            record.slot_mut(Slot::A).tries_left = TRIES;
        })?;
        device.disk.put_b_on_trial(TRIES)
    })
}

#[test]
fn power_cuts_in_boot_gate_and_commit_of_a_good_slot() -> anyhow::Result<()> {
    let device = Device::new()?;
    let count = number("SHARK_CUTS", CUTS)?;
    cut(&device, Slot::A, count - count * 3 / 5, || Ok(()))
}

#[test]
fn power_that_flaps_thirty_times_in_a_row_does_not_demote_a_good_slot() -> anyhow::Result<()> {
    let device = Device::new()?;
    let mut chance = Chance::new(0)?;
    device.committed("")?.power_off(ANSWER)?;
    let before = device.disk.record()?;
    for _ in 0..CUTS {
        let mut machine = power_on_until(&device, CHARGED)?;
        std::thread::sleep(chance.up_to(Duration::from_millis(800)));
        machine.cut_power();
    }
    let record = device.disk.record()?;
    ensure!(
        u64::from(record.boots - before.boots) == CUTS,
        "not every boot was charged: {record:?}"
    );
    let slot = record.slot(Slot::A);
    ensure!(
        record.committed == Some(Slot::A) && slot.tries_left == TRIES && slot.good,
        "slot a was demoted: {record:?}"
    );
    let mut machine = device.committed("")?;
    ensure!(running(&mut machine)? == "a", "slot b runs");
    machine.cut_power();
    let record = device.disk.record()?;
    ensure!(record.slot(Slot::A).power_cuts == 0, "{record:?}");
    let cuts: u64 = record
        .history
        .iter()
        .filter(|boot| boot.ended == Ended::PowerCut && boot.slot == Slot::A)
        .map(|boot| u64::from(boot.times))
        .sum();
    ensure!(cuts >= CUTS, "the history tells of {cuts} cuts: {record:?}");
    Ok(())
}
