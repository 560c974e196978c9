//! The life of a device whose state follows the slot: updates, boots, commits, failures, rollbacks and
//! resets, as stage1, PID 1 and the updater perform them, with the power going at any step. The record is
//! taken to be written whole (`tests/disk` is about that).

use std::collections::BTreeMap;

use fastrand::Rng;
use mounts::slot::Slot;
use mounts::slot::account::{self, Running};
use mounts::slot::decide::{Circumstances, decide};
use mounts::slot::generation::{choose, unused};
use mounts::slot::judge::{Evidence, Stamp, judge};
use mounts::slot::record::{Ended, Record};
use mounts::slot::region::{Newest, Place, RecordState};
use mounts::slot::update::{self, System};
use mounts::state::{Data, begin, discard, is_left_over, reset};
use mounts::verity::RootHash;

use crate::platter::{Loss, Node, Platter, Tree};

const NOW: Stamp = Stamp {
    unix: 1_800_000_000,
};
const GENERATIONS: &str = "/lib/shark/state";
const MARK: &str = "/lib/shark/factory-reset";
/// What happens in one life.
const EVENTS: u32 = 60;

/// How often things happened.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) boots: u64,
    pub(crate) copies: u64,
    pub(crate) cuts: u64,
    pub(crate) commits: u64,
    pub(crate) rollbacks: u64,
    pub(crate) resets: u64,
}

struct Device<'a> {
    rng: Rng,
    record: Record,
    data: Platter,
    /// What each state generation holds; its files all hold the same.
    model: BTreeMap<u64, u32>,
    running: Option<Running>,
    versions: u8,
    boots: u8,
    seen: &'a mut Seen,
}

/// One life; what is not as it must be is told with the seed.
pub(crate) fn live(seed: u64, seen: &mut Seen) {
    let root = ["/lib", "/lib/shark", GENERATIONS];
    let start: Tree = root.map(|path| (path.to_owned(), Node::Dir)).into();
    let system = |number| Some((RootHash::new([number; 32]), 1));
    let mut device = Device {
        rng: Rng::with_seed(seed),
        record: Record::for_image(system(1), system(2)),
        data: Platter::with(&start),
        model: BTreeMap::new(),
        running: None,
        versions: 2,
        boots: 0,
        seen,
    };
    for _ in 0..EVENTS {
        let before = format!("seed {seed}: {:?} {:?}", device.record, device.model);
        if let Err(why) = device.event() {
            panic!(
                "{why}\n{before}\nafter {:?}\n{:?}",
                device.record,
                device.data.tree()
            );
        }
    }
}

fn path(generation: u64) -> String {
    format!("{GENERATIONS}/{generation}")
}

impl Device<'_> {
    fn event(&mut self) -> Result<(), String> {
        let Some(running) = self.running else {
            return self.boot();
        };
        match self.rng.u8(0..12) {
            0..3 => self.write(&running),
            3..5 => {
                if account::commit(&mut self.record, &running, "").is_ok() {
                    self.seen.commits += 1;
                }
                Ok(())
            }
            5 => {
                let _refused = account::fail(&mut self.record, &running, Ended::GateFailed, 9, "");
                self.running = None;
                Ok(())
            }
            6..8 => self.update(&running),
            8 => {
                if update::roll_back(&mut self.record, &running).is_ok() {
                    self.seen.rollbacks += 1;
                }
                Ok(())
            }
            9 => {
                let _refused = account::end(&mut self.record, &running, Ended::Reboot, 9);
                self.running = None;
                Ok(())
            }
            10 => {
                // The power goes while nothing is written.
                self.seen.cuts += 1;
                self.running = None;
                Ok(())
            }
            _ => {
                self.data.write(MARK, 1)?;
                self.data.sync(GENERATIONS)?;
                self.running = None;
                Ok(())
            }
        }
    }

    /// A service changes its state, and has it written out.
    fn write(&mut self, running: &Running) -> Result<(), String> {
        let own = running.state_generation.unwrap_or(0);
        let value = self.rng.u32(1..);
        for file in ["etc/a", "etc/b", "lib/c"] {
            self.data.write(&format!("{}/{file}", path(own)), value)?;
        }
        self.data.sync(GENERATIONS)?;
        self.model.insert(own, value);
        Ok(())
    }

    /// The updater: what is not needed goes, and another system is armed.
    fn update(&mut self, running: &Running) -> Result<(), String> {
        self.maybe_cut();
        if self.tidy(running).is_err() {
            return self.power_is_back();
        }
        self.data.start_again(Loss::Mask(u64::MAX));
        self.versions = self.versions.wrapping_add(1);
        let system = System {
            root_hash: RootHash::new([self.versions; 32]),
            security_version: 1,
        };
        if update::begin(&mut self.record, running, system).is_ok() && self.rng.u8(0..4) > 0 {
            update::arm(&mut self.record, running, system).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn tidy(&mut self, running: &Running) -> Result<(), String> {
        let names = self.data.entries(GENERATIONS)?;
        for name in names.iter().filter(|name| is_left_over(name)) {
            self.data.remove(&format!("{GENERATIONS}/{name}"))?;
        }
        let there: Vec<u64> = names.iter().filter_map(|it| it.parse().ok()).collect();
        let runs = running.state_generation.unwrap_or(0);
        for generation in unused(&self.record, runs, &there) {
            discard(&mut self.data, &path(generation))?;
        }
        Ok(())
    }

    /// stage1, and the power may go in it.
    fn boot(&mut self) -> Result<(), String> {
        self.seen.boots += 1;
        self.maybe_cut();
        if self.data.tree().contains_key(MARK) {
            if reset(&mut self.data, "", MARK).is_err() {
                return self.power_is_back();
            }
            self.seen.resets += 1;
            self.model.clear();
            // A new filesystem has these, before anybody looks for a generation.
            self.data = Platter::with(&self.data.tree());
            self.data.make_dir(GENERATIONS)?;
            self.data.sync(GENERATIONS)?;
        }
        let _judged = judge(&mut self.record, &Evidence::default(), NOW);
        let state = RecordState::Newest(Box::new(Newest {
            record: self.record.clone(),
            place: Place::FIRST,
            skipped: Vec::new(),
            highest: self.record.sequence,
        }));
        let candidates = decide(&state, &Circumstances::default());
        let Some((slot, why)) = candidates.into_iter().next() else {
            // Rescue: an operator sets a slot right.
            account::set_slot(&mut self.record, Slot::A, NOW);
            return Ok(());
        };
        self.boots = self.boots.wrapping_add(1);
        let boot_id = [self.boots; 16];
        account::charge(&mut self.record, slot, &why, boot_id, NOW);
        match self.prepare(slot) {
            Ok(own) => {
                self.running = Some(Running {
                    slot: Some(slot),
                    boot_id,
                    root_hash: Some(self.record.slot(slot).root_hash),
                    security_version: Some(1),
                    root_read_whole: true,
                    state_generation: Some(own),
                });
                self.data.start_again(Loss::Mask(u64::MAX));
                self.look(own)
            }
            Err(_) => self.power_is_back(),
        }
    }

    /// As stage1 has a slot's generation ready.
    fn prepare(&mut self, slot: Slot) -> Result<u64, String> {
        let names = self.data.entries(GENERATIONS)?;
        let there: Vec<u64> = names.iter().filter_map(|it| it.parse().ok()).collect();
        let choice = choose(Some(&self.record), slot, &there);
        let own = path(choice.own);
        match choice.from {
            _ if there.contains(&choice.own) => {}
            Some(from) => {
                let value = self.model.get(&from).copied();
                // A boot that is cut may have made it.
                let value = value.ok_or("a generation that nobody made")?;
                self.model.insert(choice.own, value);
                begin(&mut self.data, &own, |data, fresh| {
                    data.copy(&path(from), fresh)
                })?;
                self.seen.copies += 1;
            }
            None => {
                self.model.insert(choice.own, 0);
                let tree = ["", "/etc", "/lib"];
                begin(&mut self.data, &own, |data, fresh| {
                    tree.iter()
                        .try_for_each(|dir| data.make_dir(&format!("{fresh}{dir}")))?;
                    ["/etc/a", "/etc/b", "/lib/c"]
                        .iter()
                        .try_for_each(|file| data.write(&format!("{fresh}{file}"), 0))
                })?;
            }
        }
        Ok(choice.own)
    }

    /// The running system finds all files of its generation, with what they last held.
    fn look(&self, own: u64) -> Result<(), String> {
        let expect = self.model.get(&own).copied();
        let expect = Node::File(expect.ok_or("a generation that nobody made")?);
        let found = self.data.below(&path(own));
        let files = ["etc/a", "etc/b", "lib/c"];
        match files.iter().all(|file| found.get(*file) == Some(&expect)) {
            true => Ok(()),
            false => Err(format!(
                "generation {own} is {found:?}, expected {expect:?}"
            )),
        }
    }

    fn maybe_cut(&mut self) {
        if self.rng.bool() {
            self.data.cut_after(self.rng.u32(0..24));
        }
    }

    fn power_is_back(&mut self) -> Result<(), String> {
        self.seen.cuts += 1;
        self.running = None;
        self.data.start_again(Loss::Chance(self.rng.u64(..)));
        Ok(())
    }
}
