//! One installation: the slot's partitions, the boot record and the supply of chunks put together for
//! `mounts::install`. Not here: who asked for it (`server`).

use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use mounts::bundle::{Chunk, Front};
use mounts::dps::Architecture;
use mounts::handover::{self, Handover};
use mounts::install::{self, Area, Failure, Machine};
use mounts::keyring::Link;
use mounts::manifest::Manifest;
use mounts::slot::Slot;
use mounts::slot::update::System;
use services::update::{Installed, Progress, Step};

use super::disk::SlotDisk;
use super::generations;
use super::keys;
use super::proof::{self, Candidate};
use super::supply::{Listener, Origin, Supply};
use crate::outer::Outer;
use crate::record::{self, Change, Identity, UpdateStep};

/// What an installation shows to others, and what they tell it.
#[derive(Debug, Default)]
pub(super) struct Shared {
    board: Mutex<Board>,
    changed: Condvar,
}

/// What is on the board.
#[derive(Clone, Debug, Default)]
pub(super) struct Board {
    /// How far the installation is; nothing when there is none.
    pub(super) progress: Option<Progress>,
    /// Whether it is to be called off.
    pub(super) cancelled: bool,
    /// How the last one ended.
    pub(super) last: Option<String>,
    /// Counts the changes.
    pub(super) edition: u64,
}

impl Shared {
    pub(super) fn look(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Board)) {
        let mut board = self.look();
        change(&mut board);
        board.edition = board.edition.wrapping_add(1);
        drop(board);
        self.changed.notify_all();
    }

    /// Waits until the board is another than `edition`.
    pub(super) fn wait(&self, edition: u64) -> Board {
        let board = self.look();
        let waited = self.changed.wait_while(board, |it| it.edition == edition);
        waited.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// This boot: what stage1 has told.
#[derive(Clone, Debug)]
pub(super) struct Booted {
    pub(super) identity: Identity,
    pub(super) slot: Slot,
    pub(super) disk: String,
    /// The partition with the boot record.
    pub(super) record: String,
    /// The loader that has started this machine, where it chooses between the slots.
    pub(super) outer: Option<Outer>,
    /// What the initramfs says of keys.
    pub(super) keys: Link,
}

impl Booted {
    /// Reads the hand-over.
    ///
    /// # Errors
    /// For people: this machine was not booted from a slot.
    pub(super) fn read(path: &str) -> Result<Self, String> {
        let json = kernel::files::read(path, handover::SIZE_MAX).map_err(|e| e.to_string())?;
        let told = Handover::decode(&json).map_err(|error| error.to_string())?;
        let (Some(slot), Some(disk)) = (told.slot, told.disk) else {
            return Err(format!(
                "this machine was not booted from a slot of a disk: {}",
                told.why
            ));
        };
        let record = told.record.device;
        Ok(Self {
            identity: Identity {
                slot: Some(slot),
                boot_id: kernel::system::boot_id().unwrap_or_default(),
                root_hash: told.root_hash,
                security_version: told.security_version,
                root_read_whole: told.root_read_whole,
                state_generation: told.state_generation,
            },
            slot,
            outer: Outer::of_machine(&disk),
            disk,
            record: record.ok_or("stage1 has found no boot record")?,
            keys: keys::of_initramfs(&told.keys, &told.revoked_keys, told.key_links),
        })
    }

    /// The state generation that this boot runs with.
    pub(super) fn generation(&self) -> u64 {
        self.identity.state_generation.unwrap_or(0)
    }

    /// Makes a step in the boot record, and tells the outer loader of it.
    ///
    /// # Errors
    /// For people: the rules refuse it, it could not be written, or the loader, without which there is no
    /// trial, could not be told.
    pub(super) fn step(&self, step: UpdateStep) -> Result<(), String> {
        self.record(step)?.map_or(Ok(()), |why| match step {
            UpdateStep::Begin(_) => Err(why),
            // Nothing is armed then, neither here nor there.
            UpdateStep::Arm(_) => match self.record(UpdateStep::Cancel) {
                Ok(_) => Err(why),
                Err(error) => Err(format!("{why}; and it could not be called off: {error}")),
            },
            UpdateStep::Cancel | UpdateStep::RollBack => {
                eprintln!("shark-update: {why}; the next boot sees to it");
                Ok(())
            }
        })
    }

    /// The step in the boot record; with it comes why the loader could not be told.
    fn record(&self, step: UpdateStep) -> Result<Option<String>, String> {
        let running = self.identity.clone();
        let state = record::apply(&self.record, &Change::Update { running, step })?;
        let (Some(outer), Some(record)) = (&self.outer, state.record()) else {
            return Ok(None);
        };
        Ok(match outer.follow(record) {
            Ok(told) => {
                told.inspect(|told| eprintln!("shark-update: {told}"));
                None
            }
            Err(why) => Some(why),
        })
    }
}

/// Installs what comes from `origin`.
///
/// # Errors
/// [`Failure`]: nothing is armed.
pub(super) fn run(booted: &Booted, origin: Origin, shared: &Shared) -> Result<Installed, Failure> {
    let state = record::load(&booted.record);
    if let Some(record) = state.record() {
        generations::tidy(record, booted.generation());
    }
    generations::has_room(booted.generation()).map_err(Failure::Refused)?;
    let slot = booted.slot.other();
    let mut watcher = Watcher { shared };
    watcher.show(Step::Fetching, 0, 0);
    // What is known of them is kept before anything is trusted by it.
    let mut trust = keys::gather(booted);
    trust.keep(booted).map_err(Failure::Disk)?;
    let mut supply = Supply::new(origin, trust.basis.clone());
    let Front {
        links,
        header,
        table,
    } = supply.open(&mut watcher)?;
    if !links.is_empty() {
        trust.basis.chains.push(keys::bytes_of(&links));
        trust.keep(booted).map_err(Failure::Disk)?;
    }
    let manifest = header.manifest().clone();
    if Architecture::current() != Some(manifest.architecture) {
        return Err(Failure::Refused(format!(
            "the bundle is for {}, this machine is {}",
            manifest.architecture,
            std::env::consts::ARCH
        )));
    }
    let mut job = Job {
        booted,
        disk: SlotDisk::open(&booted.disk, slot).map_err(Failure::Disk)?,
        supply,
        watcher,
        manifest: &manifest,
    };
    let done = install::install(&mut job, &header, &table, &trust.chain)?;
    Ok(Installed {
        slot: slot.as_str().to_owned(),
        version: manifest.version.clone(),
        security_version: manifest.security_version,
        kept: done.kept,
        written: done.written,
    })
}

struct Watcher<'a> {
    shared: &'a Shared,
}

impl Watcher<'_> {
    fn show(&mut self, step: Step, done: u64, total: u64) {
        self.shared.change(|board| {
            board.progress = Some(Progress {
                step,
                done,
                total,
                trouble: None,
            });
        });
    }
}

impl Listener for Watcher<'_> {
    fn goes_on(&mut self) -> bool {
        !self.shared.look().cancelled
    }

    fn trouble(&mut self, words: &str) {
        eprintln!("shark-update: {words}; trying again");
        self.shared.change(|board| {
            if let Some(progress) = &mut board.progress {
                progress.trouble = Some(words.to_owned());
            }
        });
    }
}

struct Job<'a> {
    booted: &'a Booted,
    disk: SlotDisk,
    supply: Supply,
    watcher: Watcher<'a>,
    manifest: &'a Manifest,
}

impl Job<'_> {
    fn candidate<'a>(&'a self, etc: &'a str) -> Candidate<'a> {
        Candidate {
            root: self.disk.path(Area::Root),
            verity: self.disk.path(Area::Verity),
            manifest: self.manifest,
            etc,
        }
    }

    /// What lies over /etc on this machine.
    fn etc(&self) -> String {
        mounts::plan::etc_of(self.booted.generation())
    }
}

impl Machine for Job<'_> {
    fn size(&mut self, area: Area) -> Result<u64, String> {
        self.disk.size(area)
    }

    fn read(&mut self, area: Area, offset: u64, into: &mut [u8]) -> Result<(), String> {
        self.disk.read(area, offset, into)
    }

    fn write(&mut self, area: Area, offset: u64, bytes: &[u8]) -> Result<(), String> {
        self.disk.write(area, offset, bytes)
    }

    fn flush(&mut self, area: Area) -> Result<(), String> {
        self.disk.flush(area)
    }

    fn may_be_there(&mut self, system: System) -> bool {
        let state = record::load(&self.booted.record);
        let slot = self.booted.slot.other();
        state
            .record()
            .is_some_and(|record| record.slot(slot).root_hash == system.root_hash)
    }

    fn begin(&mut self, system: System) -> Result<(), String> {
        self.booted.step(UpdateStep::Begin(system))
    }

    fn arm(&mut self, system: System) -> Result<(), String> {
        self.booted.step(UpdateStep::Arm(system))
    }

    fn want(&mut self, runs: &[Range<u32>]) -> Result<(), Failure> {
        self.supply.want(runs)
    }

    fn store(&mut self, number: u32, chunk: &Chunk) -> Result<(), Failure> {
        let Self {
            supply,
            watcher,
            disk,
            ..
        } = self;
        supply.chunk(number, chunk.length, watcher, |content| {
            disk.write(chunk.part.into(), chunk.offset, content)
                .map_err(Failure::Disk)
        })
    }

    fn finish(&mut self) -> Result<(), Failure> {
        self.supply.finish(&mut self.watcher)
    }

    fn prove(&mut self) -> Result<(), Failure> {
        // There was when it began; an installation may take long.
        generations::has_room(self.booted.generation()).map_err(Failure::Refused)?;
        proof::prove(&self.candidate(&self.etc()))
    }

    fn place(&mut self) -> Result<(), String> {
        let outer = self.booted.outer.as_ref();
        let Some(outer) = outer.filter(|it| it.kind.has_kernels()) else {
            return Ok(());
        };
        proof::opened(&self.candidate(&self.etc()), |root| {
            outer.place(self.booted.slot.other(), root)
        })
    }

    fn progress(&mut self, progress: install::Progress) -> bool {
        let step = match progress.step {
            install::Step::Comparing => Step::Comparing,
            install::Step::Writing => Step::Writing,
            install::Step::Checking => Step::Checking,
            install::Step::Proving => Step::Proving,
            install::Step::Arming => Step::Arming,
        };
        self.watcher.show(step, progress.done, progress.total);
        self.watcher.goes_on()
    }
}
