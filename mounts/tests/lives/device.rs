//! A device with all that its disk has: the boot record, two slots, the data; and stage1, PID 1 and the
//! updater as they work on it, until the power goes. Not here: what it is meant to do with its life, and
//! what must hold.

use std::ops::Range;

use mounts::bundle::Chunk;
use mounts::install::{Area, Failure, Machine, Progress, install};
use mounts::slot::Slot;
use mounts::slot::account::{self, Running};
use mounts::slot::decide::{Circumstances, decide};
use mounts::slot::generation::{choose, unused};
use mounts::slot::judge::{Evidence, Stamp, judge};
use mounts::slot::record::{Ended, Record};
use mounts::slot::region::{Newest, Place, RecordState};
use mounts::slot::store::{append, load};
use mounts::slot::update::{self, System as Named};
use mounts::state::{Data, begin, discard, is_left_over, reset};

use crate::platter::{Loss, Node, Platter, Tree};
use crate::record_disk::Disk;
use crate::slots::Slots;
use crate::systems::System;

const NOW: Stamp = Stamp {
    unix: 1_800_000_000,
};
const GENERATIONS: &str = "/lib/shark/state";
const MARK: &str = "/lib/shark/factory-reset";
/// What a service keeps of its own: a reset takes it away, and no slot has a copy.
const OTHER: &str = "/lib/app";
/// The files of a generation.
const FILES: [&str; 2] = ["etc/a", "lib/b"];

/// Why the life does not go on.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The power has gone.
    Power,
    /// It is not as it must be.
    Wrong(String),
}

/// What is on the disk besides the two systems.
#[derive(Clone)]
pub(crate) struct Device<'a> {
    pub(crate) systems: [&'a System; 2],
    disk: Disk,
    pub(crate) slots: Slots,
    pub(crate) data: Platter,
    /// Steps that were made: writes, flushes, steps of the filesystem.
    pub(crate) steps: u32,
    /// So many more are made before the power goes.
    left: Option<u32>,
    /// Which sectors of the record are written in the step in which it goes.
    torn: u8,
    /// Rules that are broken on purpose.
    pub(crate) careless: Option<Careless>,
    pub(crate) running: Option<Running>,
    boots: u8,
}

/// A rule that is broken, so that the test has something to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Careless {
    /// What is written to a slot is not flushed.
    NoFlush,
    /// What is written to the data is not written out.
    NoSync,
    /// A trial has the state of the system before it.
    SharedState,
    /// The boot record is changed where it is, and not beside.
    OnePlace,
}

/// What a start has come to.
pub(crate) struct Started<'a> {
    pub(crate) slot: Slot,
    pub(crate) system: &'a System,
    pub(crate) generation: u64,
    /// The generation that it began as a copy of.
    pub(crate) copied: bool,
}

impl<'a> Device<'a> {
    /// As it leaves the factory: the first system in both slots.
    pub(crate) fn new(systems: [&'a System; 2]) -> Self {
        let hash = systems[0].header.manifest().root_hash;
        let record = Record::for_image(Some((hash, 1)), Some((hash, 1)));
        let mut disk = Disk::default();
        disk.lay(Place::FIRST, &record.encode());
        let root = ["/lib", "/lib/shark", GENERATIONS, OTHER];
        let mut tree: Tree = root.map(|path| (path.to_owned(), Node::Dir)).into();
        tree.insert(format!("{OTHER}/data"), Node::File(7));
        Self {
            systems,
            disk,
            slots: Slots::with([systems[0], systems[0]]),
            data: Platter::with(&tree),
            steps: 0,
            left: None,
            torn: 0,
            careless: None,
            running: None,
            boots: 0,
        }
    }

    /// So many more steps are made, and then the power goes; if in a write of the record, these of its
    /// sectors are written.
    pub(crate) fn cut_after(&mut self, steps: u32, torn: u8) {
        self.left = Some(steps);
        self.torn = torn;
    }

    /// The power is back, and of what was in doubt so much is there.
    pub(crate) fn power_on(&mut self, slots: u64, data: Loss) {
        self.left = None;
        self.running = None;
        self.disk.cut = None;
        self.disk.off = false;
        self.slots.start_again(slots);
        self.data.start_again(data);
    }

    /// Whether the power went in a write of the record.
    pub(crate) fn was_in_record(&self) -> bool {
        self.disk.off
    }

    pub(crate) fn record(&mut self) -> Result<Record, Stop> {
        let state = load(&mut self.disk);
        match state.record() {
            Some(record) => Ok(record.clone()),
            None if self.disk.off => Err(Stop::Power),
            None => Err(Stop::Wrong("there is no boot record".to_owned())),
        }
    }

    /// Something failed: for want of power, or it should not have.
    fn stop(&self, why: &str) -> Stop {
        match self.left {
            Some(0) => Stop::Power,
            Some(_) | None => Stop::Wrong(why.to_owned()),
        }
    }

    fn step(&mut self) -> Result<(), String> {
        if self.left == Some(0) {
            return Err("the power is gone".to_owned());
        }
        self.took(1);
        Ok(())
    }

    fn took(&mut self, steps: u32) {
        self.steps += steps;
        self.left = self.left.map(|it| it.saturating_sub(steps));
    }

    /// Writes a record, which takes one step.
    fn store(&mut self, state: &RecordState, record: Record) -> Result<RecordState, String> {
        let first = self.disk.journal.len();
        let last = self.left.map(|left| first + left as usize);
        self.disk.cut = last.map(|last| (last, self.torn));
        let stored = append(&mut self.disk, state, record).map_err(|error| error.to_string());
        let writes = self.disk.journal.len() - first;
        self.took(u32::try_from(writes).unwrap());
        if self.careless == Some(Careless::OnePlace)
            && let RecordState::Newest(before) = state
        {
            self.disk.content.remove(&before.place);
        }
        stored
    }

    /// A change of the record as PID 1's child and the updater make it.
    pub(crate) fn change<E: ToString>(
        &mut self,
        change: impl FnOnce(&mut Record, &Running) -> Result<(), E>,
    ) -> Result<(), String> {
        let running = self.running.ok_or("nothing runs")?;
        let state = load(&mut self.disk);
        let before = state.record().ok_or("there is no boot record")?;
        let mut record = before.clone();
        change(&mut record, &running).map_err(|error| error.to_string())?;
        if record != *before {
            self.store(&state, record)?;
        }
        Ok(())
    }

    fn with_data<T>(
        &mut self,
        work: impl FnOnce(&mut Flushed<'_>) -> Result<T, String>,
    ) -> Result<T, String> {
        let before = self.data.steps;
        if let Some(left) = self.left {
            self.data.cut_after(left);
        }
        let mut data = Flushed {
            data: &mut self.data,
            syncs: self.careless != Some(Careless::NoSync),
        };
        let done = work(&mut data);
        let steps = self.data.steps - before;
        self.took(steps);
        done
    }

    /// stage1: judges, decides, charges, opens, resets, has the state ready.
    pub(crate) fn start(&mut self) -> Result<Started<'a>, Stop> {
        self.boots = self.boots.wrapping_add(1);
        let boot_id = [self.boots; 16];
        let mut state = load(&mut self.disk);
        let mut record = match state.record() {
            Some(record) => record.clone(),
            None => return Err(self.stop("there is no boot record")),
        };
        judge(&mut record, &Evidence::default(), NOW);
        for (slot, why) in decide(&with(&state, &record), &Circumstances::default()) {
            account::charge(&mut record, slot, &why, boot_id, NOW);
            match self.store(&state, record.clone()) {
                Ok(after) => state = after,
                Err(why) => return Err(self.stop(&why)),
            }
            let Some(system) = self.slots.opens(slot, &self.systems) else {
                account::refuse(&mut record, Ended::RootRefused, "", NOW);
                continue;
            };
            let prepared = self.prepare(&record, slot);
            let (generation, copied) = prepared.map_err(|why| self.stop(&why))?;
            self.running = Some(Running {
                slot: Some(slot),
                boot_id,
                root_hash: Some(system.header.manifest().root_hash),
                security_version: Some(system.header.manifest().security_version),
                root_read_whole: true,
                state_generation: Some(generation),
            });
            return Ok(Started {
                slot,
                system,
                generation,
                copied,
            });
        }
        Err(self.stop("no slot can be booted"))
    }

    /// The data as stage1 has them ready, and which generation the slot has of them.
    fn prepare(&mut self, record: &Record, slot: Slot) -> Result<(u64, bool), String> {
        let careless = self.careless;
        self.with_data(|data| {
            if data.data.tree().contains_key(MARK) {
                reset(data, "", MARK)?;
            }
            if !data.is_dir(GENERATIONS) {
                data.data.make_dir(GENERATIONS)?;
            }
            let names = data.entries(GENERATIONS)?;
            let there: Vec<u64> = names.iter().filter_map(|it| it.parse().ok()).collect();
            let choice = choose(Some(record), slot, &there);
            if careless == Some(Careless::SharedState)
                && let Some(from) = choice.from
            {
                return Ok((from, false));
            }
            let own = path(choice.own);
            match choice.from {
                _ if there.contains(&choice.own) => Ok((choice.own, false)),
                Some(from) => {
                    begin(data, &own, |data, fresh| data.data.copy(&path(from), fresh))?;
                    Ok((choice.own, true))
                }
                None => {
                    begin(data, &own, |data, fresh| {
                        ["", "/etc", "/lib"]
                            .iter()
                            .try_for_each(|dir| data.data.make_dir(&format!("{fresh}{dir}")))?;
                        FILES
                            .iter()
                            .try_for_each(|file| data.data.write(&format!("{fresh}/{file}"), 0))
                    })?;
                    Ok((choice.own, false))
                }
            }
        })
    }

    /// What the files of a generation hold.
    pub(crate) fn state_of(&self, generation: u64) -> Option<Vec<u32>> {
        let found = self.data.below(&path(generation));
        let content = |file: &&str| match found.get(*file) {
            Some(Node::File(content)) => Some(*content),
            Some(Node::Dir) | None => None,
        };
        FILES.iter().map(content).collect()
    }

    /// Whether something is there that a reset takes away.
    pub(crate) fn has_own_data(&self) -> bool {
        self.data.tree().contains_key(OTHER)
    }

    /// A reset is asked for, or may still be.
    pub(crate) fn is_marked(&self) -> bool {
        self.data.tree().contains_key(MARK)
    }

    /// A service writes its state, and has it written out.
    pub(crate) fn write(&mut self, value: u32) -> Result<(), Stop> {
        let own = self.running.and_then(|it| it.state_generation).unwrap_or(0);
        let written = self.with_data(|data| {
            for file in FILES {
                data.data.write(&format!("{}/{file}", path(own)), value)?;
            }
            data.sync(GENERATIONS)
        });
        written.map_err(|why| self.stop(&why))
    }

    /// An operator asks for a reset.
    pub(crate) fn ask_for_reset(&mut self) -> Result<(), Stop> {
        let marked = self.with_data(|data| {
            data.data.write(MARK, 1)?;
            data.sync(GENERATIONS)
        });
        marked.map_err(|why| self.stop(&why))
    }

    pub(crate) fn commit(&mut self) -> Result<(), Stop> {
        let done = self.change(|record, running| account::commit(record, running, ""));
        done.map_err(|why| self.stop(&why))
    }

    pub(crate) fn roll_back(&mut self) -> Result<(), Stop> {
        let done = self.change(|record, running| update::roll_back(record, running).map(drop));
        done.map_err(|why| self.stop(&why))
    }

    /// It is restarted in order.
    pub(crate) fn restart(&mut self) -> Result<(), Stop> {
        let ended = self.change(|record, running| account::end(record, running, Ended::Reboot, 9));
        ended.map_err(|why| self.stop(&why))?;
        let synced = self.with_data(|data| data.sync(""));
        synced.map_err(|why| self.stop(&why))?;
        self.running = None;
        Ok(())
    }

    /// The updater: what no slot needs goes, and the second system comes.
    pub(crate) fn update(&mut self) -> Result<(), Stop> {
        let record = self.record()?;
        let runs = self.running.and_then(|it| it.state_generation).unwrap_or(0);
        let tidied = self.with_data(|data| {
            let names = data.entries(GENERATIONS)?;
            for name in names.iter().filter(|name| is_left_over(name)) {
                data.remove(&format!("{GENERATIONS}/{name}"))?;
            }
            let there: Vec<u64> = names.iter().filter_map(|it| it.parse().ok()).collect();
            let unused = unused(&record, runs, &there).into_iter();
            unused.map(path).try_for_each(|it| discard(data, &it))
        });
        tidied.map_err(|why| self.stop(&why))?;
        let system = self.systems[1];
        let done = install(self, &system.header, &system.table, &[]);
        done.map(drop).map_err(|why| self.stop(&why.to_string()))
    }

    fn other(&self) -> Slot {
        let slot = self.running.and_then(|it| it.slot);
        slot.unwrap_or(Slot::A).other()
    }
}

fn path(generation: u64) -> String {
    format!("{GENERATIONS}/{generation}")
}

/// The state with what stage1 made of its record.
fn with(state: &RecordState, record: &Record) -> RecordState {
    match state {
        RecordState::Newest(newest) => RecordState::Newest(Box::new(Newest {
            record: record.clone(),
            ..(**newest).clone()
        })),
        RecordState::Unreadable { .. } => state.clone(),
    }
}

/// The data, written out when they should be.
struct Flushed<'p> {
    data: &'p mut Platter,
    syncs: bool,
}

impl Data for Flushed<'_> {
    fn is_dir(&mut self, path: &str) -> bool {
        self.data.is_dir(path)
    }

    fn entries(&mut self, dir: &str) -> Result<Vec<String>, String> {
        self.data.entries(dir)
    }

    fn remove(&mut self, path: &str) -> Result<(), String> {
        self.data.remove(path)
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), String> {
        self.data.rename(from, to)
    }

    fn sync(&mut self, path: &str) -> Result<(), String> {
        match self.syncs {
            true => self.data.sync(path),
            false => Ok(()),
        }
    }
}

impl Machine for Device<'_> {
    fn size(&mut self, area: Area) -> Result<u64, String> {
        Ok(self.slots.size(self.other(), area))
    }

    fn read(&mut self, area: Area, offset: u64, into: &mut [u8]) -> Result<(), String> {
        self.slots.read(self.other(), area, offset, into);
        Ok(())
    }

    fn write(&mut self, area: Area, offset: u64, bytes: &[u8]) -> Result<(), String> {
        self.step()?;
        self.slots.write(self.other(), area, offset, bytes);
        Ok(())
    }

    fn flush(&mut self, area: Area) -> Result<(), String> {
        self.step()?;
        if self.careless != Some(Careless::NoFlush) {
            self.slots.flush(self.other(), area);
        }
        Ok(())
    }

    fn may_be_there(&mut self, system: Named) -> bool {
        let slot = self.other();
        let record = self.record().ok();
        record.is_some_and(|it| it.slot(slot).root_hash == system.root_hash)
    }

    fn begin(&mut self, system: Named) -> Result<(), String> {
        self.change(|record, running| update::begin(record, running, system).map(drop))
    }

    fn arm(&mut self, system: Named) -> Result<(), String> {
        self.change(|record, running| update::arm(record, running, system).map(drop))
    }

    fn want(&mut self, _runs: &[Range<u32>]) -> Result<(), Failure> {
        Ok(())
    }

    fn store(&mut self, number: u32, chunk: &Chunk) -> Result<(), Failure> {
        let content = self.systems[1].content(number);
        Machine::write(self, chunk.part.into(), chunk.offset, content).map_err(Failure::Disk)
    }

    fn finish(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    fn prove(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    fn place(&mut self) -> Result<(), String> {
        Ok(())
    }

    fn progress(&mut self, _progress: Progress) -> bool {
        true
    }
}
