//! The life of a device: boots, commits, failures, ends and an operator's words, as stage1 and PID 1
//! perform them on a simulated disk, each step compared with the model.

use std::fmt;
use std::ops::Range;

use mounts::slot::Slot;
use mounts::slot::account::{self, NotOurs, Running};
use mounts::slot::decide::{Circumstances, Why, decide, last_good};
use mounts::slot::judge::{Crash, CrashKind, Evidence, Stamp, judge};
use mounts::slot::record::{AttemptState, Ended, Record};
use mounts::slot::region::{Newest, Place, RecordState};
use mounts::slot::store::{append, load};
use mounts::slot::update::{self, System};
use mounts::verity::RootHash;

use super::model::{Cause, Facts};
use super::platter::Disk;

const NOW: Stamp = Stamp {
    unix: 1_800_000_000,
};

/// What happens to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// It starts. What ran before ended so, unless that was recorded.
    Boot(Cause),
    /// It starts with `shark.slot=`.
    Forced(Slot),
    Commit,
    Fail(Ended),
    End(Ended),
    Settle,
    GiveUp(Slot),
    SetSlot(Slot),
    /// An update: another system comes into the slot that does not run.
    Begin(u8),
    /// It is whole, and tried next.
    Arm(u8),
    /// It is called off.
    Cancel,
    /// Back to the other slot.
    RollBack,
    /// The root of a slot cannot be opened any more.
    Break(Slot),
    /// It can again.
    Mend(Slot),
}

/// A system that an update brings: the higher its number, the newer.
fn system(number: u8) -> System {
    System {
        root_hash: RootHash::new([number; 32]),
        security_version: number.into(),
    }
}

#[allow(clippy::needless_pass_by_value, reason = "it is what map_err gives")]
fn ours(error: NotOurs) -> String {
    error.to_string()
}

/// A record that the device meant to write.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) what: String,
    pub(crate) facts: Facts,
    /// The writes of the disk that tried to store it.
    pub(crate) writes: Range<usize>,
    /// The device was told that it is stored.
    pub(crate) stored: bool,
    /// Which roots could not be opened then.
    pub(crate) broken: [bool; 2],
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b] = self.facts.slots;
        write!(
            f,
            "writes {:?} {}: {} -> a {a:?} b {b:?} committed {:?} attempt {:?}",
            self.writes,
            if self.stored { "stored" } else { "NOT STORED" },
            self.what,
            self.facts.committed,
            self.facts.attempt,
        )
    }
}

/// A promise that was broken.
#[derive(Clone, Debug)]
pub(crate) struct Broken {
    /// Which.
    pub(crate) promise: &'static str,
    pub(crate) details: String,
}

pub(crate) fn broken(promise: &'static str, details: impl fmt::Debug) -> Broken {
    Broken {
        promise,
        details: format!("{details:?}"),
    }
}

/// The device.
#[derive(Clone, Debug)]
pub(crate) struct Device {
    pub(crate) disk: Disk,
    pub(crate) entries: Vec<Entry>,
    /// A disk that only ever failed by being cut keeps what it said it had stored.
    pub(crate) is_honest: bool,
    pub(crate) roots_broken: [bool; 2],
    running: Running,
    boots: u8,
    crashes: u32,
}

impl Device {
    /// As it leaves the factory.
    pub(crate) fn new() -> Self {
        let record = Record::for_image(
            Some((RootHash::new([0xaa; 32]), 3)),
            Some((RootHash::new([0xbb; 32]), 4)),
        );
        let mut disk = Disk::default();
        disk.lay(Place::FIRST, &record.encode());
        Self {
            disk,
            entries: vec![Entry {
                what: "image".to_owned(),
                facts: Facts::of(&record),
                writes: 0..1,
                stored: true,
                broken: [false; 2],
            }],
            is_honest: true,
            roots_broken: [false; 2],
            running: Running::default(),
            boots: 0,
            crashes: 0,
        }
    }

    /// The same device with another disk: what a reboot finds after this has happened.
    pub(crate) fn on(&self, disk: Disk) -> Self {
        Self {
            disk,
            is_honest: false,
            running: Running::default(),
            ..self.clone()
        }
    }

    /// The last entry whose record was stored.
    pub(crate) fn last_stored(&self) -> usize {
        self.entries.iter().rposition(|entry| entry.stored).unwrap()
    }

    /// The entry that a write belongs to.
    pub(crate) fn entry_of(&self, write: usize) -> usize {
        let of = |entry: &Entry| entry.writes.contains(&write);
        self.entries.iter().position(of).unwrap()
    }

    /// Performs one step.
    pub(crate) fn perform(&mut self, op: Op) -> Result<(), Broken> {
        if self.disk.off && !matches!(op, Op::Boot(_) | Op::Forced(_)) {
            return Ok(());
        }
        match op {
            Op::Boot(cause) => self.boot(cause, None),
            Op::Forced(slot) => self.boot(Cause::Cut, Some(slot)),
            Op::Break(slot) => {
                self.roots_broken[usize::from(slot == Slot::B)] = true;
                Ok(())
            }
            Op::Mend(slot) => {
                self.roots_broken[usize::from(slot == Slot::B)] = false;
                Ok(())
            }
            Op::Commit => self.change(op, |record, running| {
                account::commit(record, running, "").map_err(ours)
            }),
            Op::Fail(ended) => self.change(op, |record, running| {
                account::fail(record, running, ended, 9, "words").map_err(ours)
            }),
            Op::End(ended) => self.change(op, |record, running| {
                account::end(record, running, ended, 9).map_err(ours)
            }),
            Op::Settle => self.change(op, |record, running| {
                account::settle(record, running).map(drop).map_err(ours)
            }),
            Op::Begin(number) => self.change(op, |record, running| {
                let begun = update::begin(record, running, system(number));
                begun.map(drop).map_err(|error| error.to_string())
            }),
            Op::Arm(number) => self.change(op, |record, running| {
                let armed = update::arm(record, running, system(number));
                armed.map(drop).map_err(|error| error.to_string())
            }),
            Op::Cancel => self.change(op, |record, running| {
                let called_off = update::cancel(record, running);
                called_off.map(drop).map_err(|error| error.to_string())
            }),
            Op::RollBack => self.change(op, |record, running| {
                let back = update::roll_back(record, running);
                back.map(drop).map_err(|error| error.to_string())
            }),
            Op::GiveUp(slot) => self.change(op, |record, _| {
                account::give_up(record, slot, "words", NOW);
                Ok(())
            }),
            Op::SetSlot(slot) => self.change(op, |record, _| {
                account::set_slot(record, slot, NOW);
                Ok(())
            }),
        }
    }

    /// Loads, and finds what lies on the disk whole and nothing else.
    pub(crate) fn load(&mut self) -> Result<(RecordState, Option<usize>), Broken> {
        let state = load(&mut self.disk);
        let newest = self.disk.newest();
        if let Some(twins) = self.disk.twins() {
            return Err(broken("no two records share a sequence number", twins));
        }
        let expect = newest.map(|write| *self.disk.journal[write].bytes);
        if state.record().map(Record::encode) != expect {
            let found = state.record().map(|record| record.sequence);
            return Err(broken("the newest whole record counts", (found, newest)));
        }
        let entry = newest.map(|write| self.entry_of(write));
        if self.is_honest && !self.disk.off && entry < Some(self.last_stored()) {
            return Err(broken(
                "what was stored is there",
                (entry, self.last_stored()),
            ));
        }
        if let (Some(record), Some(entry)) = (state.record(), entry) {
            self.agree(record, &self.entries[entry].facts)?;
        }
        Ok((state, entry))
    }

    fn agree(&self, record: &Record, facts: &Facts) -> Result<(), Broken> {
        if Facts::of(record) == *facts {
            Ok(())
        } else {
            Err(broken(
                "the record says what the model says",
                (Facts::of(record), facts),
            ))
        }
    }

    /// Appends a record; the state after it, if it was stored.
    fn store(
        &mut self,
        what: String,
        state: &RecordState,
        record: Record,
        facts: Facts,
    ) -> Result<Option<RecordState>, Broken> {
        self.agree(&record, &facts)?;
        let first = self.disk.journal.len();
        let stored = append(&mut self.disk, state, record);
        let writes = first..self.disk.journal.len();
        if let RecordState::Newest(newest) = state
            && writes
                .clone()
                .any(|write| self.disk.journal[write].place == newest.place)
        {
            return Err(broken(
                "the newest record is never written over",
                newest.place,
            ));
        }
        self.entries.push(Entry {
            what,
            facts,
            writes,
            stored: stored.is_ok(),
            broken: self.roots_broken,
        });
        let Ok(state) = stored else {
            return Ok(None);
        };
        // It says success: then it is there now, whatever the disk had claimed.
        let (found, entry) = self.load()?;
        if found.record() != state.record() || entry != Some(self.entries.len() - 1) {
            return Err(broken("what was called stored can be loaded", entry));
        }
        Ok(Some(state))
    }

    /// A change as PID 1's child makes it: on what is loaded anew.
    fn change(
        &mut self,
        op: Op,
        change: impl Fn(&mut Record, &Running) -> Result<(), String>,
    ) -> Result<(), Broken> {
        let (state, entry) = self.load()?;
        let (Some(before), Some(entry)) = (state.record(), entry) else {
            return self.begin_anew(op, &state);
        };
        let mut facts = self.entries[entry].facts;
        let mut record = before.clone();
        let done = change(&mut record, &self.running);
        let ours = before.attempt.as_ref().is_some_and(|attempt| {
            attempt.boot_id == self.running.boot_id && Some(attempt.slot) == self.running.slot
        });
        let expect = match op {
            Op::Commit => ours && facts.commit(),
            Op::Fail(ended) => ours && facts.fail(ended == Ended::VerityFault),
            Op::End(_) => ours && facts.end(),
            Op::Settle => {
                if ours {
                    facts.settle();
                }
                ours
            }
            Op::GiveUp(slot) => {
                facts.give_up(slot);
                true
            }
            Op::SetSlot(slot) => {
                facts.set_slot(slot);
                true
            }
            Op::Begin(number) => ours && facts.begin(system(number).root_hash, number.into()),
            Op::Arm(number) => ours && facts.arm(system(number).root_hash),
            Op::Cancel => facts.cancel(self.running.slot),
            Op::RollBack => facts.roll_back(self.running.slot),
            Op::Boot(_) | Op::Forced(_) | Op::Break(_) | Op::Mend(_) => true,
        };
        if done.is_ok() != expect {
            return Err(broken("only the running boot has a say", (op, done)));
        }
        if done.is_err() || record == *before {
            return Ok(());
        }
        // Nothing signed is in a slot from then on, until all of it is there.
        let roots = self.roots_broken;
        if let (Op::Begin(_) | Op::Arm(_), Some(slot)) = (op, facts.trial) {
            self.roots_broken[usize::from(slot == Slot::B)] = matches!(op, Op::Begin(_));
        }
        let stored = self.store(format!("{op:?}"), &state, record, facts)?;
        if stored.is_none() {
            self.roots_broken = roots;
        }
        Ok(())
    }

    /// A commit or a failure where there is no record any more.
    fn begin_anew(&mut self, op: Op, state: &RecordState) -> Result<(), Broken> {
        if self.running.slot.is_none() {
            return Ok(());
        }
        let record = match op {
            Op::Commit => account::rebuild(&self.running, NOW),
            Op::Fail(ended) => {
                let begun = account::rebuild_failed(&self.running, ended, 9, "words", NOW);
                begun.map_err(|error| broken("a boot of a slot can fail", error))?
            }
            Op::Boot(_)
            | Op::Forced(_)
            | Op::End(_)
            | Op::Settle
            | Op::GiveUp(_)
            | Op::SetSlot(_)
            | Op::Begin(_)
            | Op::Arm(_)
            | Op::Cancel
            | Op::RollBack
            | Op::Break(_)
            | Op::Mend(_) => return Ok(()),
        };
        let facts = Facts::of(&record);
        let hidden =
            !self.disk.unreadable_places.is_empty() || !self.disk.unreadable_regions.is_empty();
        let stored = self.store("begin anew".to_owned(), state, record, facts)?;
        if hidden && stored.is_some() {
            return Err(broken("nothing is begun over what cannot be read", ()));
        }
        Ok(())
    }

    fn evidence(&mut self, cause: Cause) -> Evidence {
        self.crashes += 1;
        let crash = |kind| Evidence {
            watchdog_reset: false,
            crash: Some(Crash {
                kind,
                id: self.crashes,
                text: format!("crash {}", self.crashes),
                stage: None,
            }),
        };
        match cause {
            Cause::Cut => Evidence::default(),
            Cause::Panic => crash(CrashKind::Panic),
            Cause::Verity => crash(CrashKind::Verity),
            Cause::Watchdog => Evidence {
                watchdog_reset: true,
                crash: None,
            },
        }
    }

    fn opens(&self, slot: Slot) -> bool {
        !self.roots_broken[usize::from(slot == Slot::B)]
    }

    /// The power comes back, and stage1 does its part.
    fn boot(&mut self, cause: Cause, force: Option<Slot>) -> Result<(), Broken> {
        self.disk.off = false;
        self.boots = self.boots.wrapping_add(1);
        self.running = Running {
            boot_id: [self.boots; 16],
            ..Running::default()
        };
        let evidence = self.evidence(cause);
        let around = Circumstances {
            force,
            newest_signed: None,
            crashed: cause != Cause::Cut,
        };
        let (state, entry) = self.load()?;
        let (RecordState::Newest(newest), Some(entry)) = (&state, entry) else {
            // Nothing is written: the counters may only be hidden.
            let slots = decide(&state, &around);
            self.running.slot = slots
                .into_iter()
                .map(|(slot, _)| slot)
                .find(|it| self.opens(*it));
            return Ok(());
        };
        let mut facts = self.entries[entry].facts;
        let mut record = newest.record.clone();
        let said = record
            .attempt
            .as_ref()
            .and_then(|attempt| match attempt.state {
                AttemptState::Failed(ended) | AttemptState::Ended(ended) => Some(ended),
                AttemptState::Open | AttemptState::Committed => None,
            });
        judge(&mut record, &evidence, NOW);
        facts.judge(cause, said);
        self.agree(&record, &facts)?;
        let candidates = decide(&with(newest, &record), &around);
        let order: Vec<Slot> = candidates.iter().map(|(slot, _)| *slot).collect();
        if order != facts.candidates(force) {
            return Err(broken("the order of slots is the model's", order));
        }
        let mut state = state;
        for (slot, why) in candidates {
            match self.attempt(slot, &why, state, &mut record, &mut facts)? {
                Some(after) => state = after,
                None => return Ok(()),
            }
        }
        // Rescue: what was refused is written, and after a pause the last good slot has its turn.
        if let Some(after) = self.store("rescue".into(), &state, record.clone(), facts)? {
            state = after;
        }
        if let Some(slot) = last_good(&state) {
            self.attempt(slot, &Why::LastGood, state, &mut record, &mut facts)?;
        }
        Ok(())
    }

    /// Charges a slot and opens it. `None`: it runs, or there is no power.
    fn attempt(
        &mut self,
        slot: Slot,
        why: &Why,
        state: RecordState,
        record: &mut Record,
        facts: &mut Facts,
    ) -> Result<Option<RecordState>, Broken> {
        account::charge(record, slot, why, self.running.boot_id, NOW);
        facts.charge(slot, *why == Why::LastGood);
        let what = format!("charge {slot}: {why}");
        let after = self.store(what, &state, record.clone(), *facts)?;
        if self.disk.off {
            return Ok(None);
        }
        if self.opens(slot) {
            self.running.slot = Some(slot);
            return Ok(None);
        }
        account::refuse(record, Ended::RootRefused, "words", NOW);
        facts.refuse();
        self.agree(record, facts)?;
        Ok(Some(after.unwrap_or(state)))
    }
}

/// The state with what stage1 made of its record.
pub(crate) fn with(newest: &Newest, record: &Record) -> RecordState {
    RecordState::Newest(Box::new(Newest {
        record: record.clone(),
        ..newest.clone()
    }))
}
