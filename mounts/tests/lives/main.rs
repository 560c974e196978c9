//! One device, one disk, one life: another system is installed, tried, found good and taken back, and then all
//! data go; while the power goes at any step of it. Record, slots and data are those of the other
//! simulations; here they lose power together, each with what it had not written out.
//!
//! Each step is the last one once. Of up to four unflushed writes to a slot each is lost, there, or there in
//! one half of it, in every combination; of up to [`EACH`] steps of the filesystem each is there or not, in
//! every combination, and of more in [`SOME`] by chance; a record is written in none, half or all of its
//! sectors. From each of these states the device lives to the end of its life. `SHARK_SEEDS=N` lets so many
//! devices live whose power goes up to [`CUTS`] times.
// The whole file is a test; clippy takes only what is marked `#[test]` for one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod device;
#[path = "../state/platter.rs"]
mod platter;
#[path = "../disk/platter.rs"]
#[allow(dead_code, reason = "here, this disk is only ever cut")]
mod record_disk;
mod slots;
#[path = "../installs/systems.rs"]
#[allow(dead_code, reason = "here, nothing is counted in chunks")]
mod systems;

use fastrand::Rng;
use mounts::slot::record::Phase;

use device::{Careless, Device, Stop};
use platter::Loss;
use systems::System;

/// Steps of the filesystem in doubt for which every combination is tried.
const EACH: usize = 8;
/// Combinations by chance where there are more.
const SOME: u64 = 100;
/// After a first cut, the power goes once more in each of so many steps.
const AGAIN: u32 = 8;
/// How often the power goes in the life of a seed, at most: twelve cuts give a trial up, and they may.
const CUTS: u32 = 9;
/// Sectors of a record that a cut leaves: none of the new ones, half, all.
const TORN: [u8; 3] = [0x00, 0x0f, 0xff];

/// What a life is about, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    /// The second system runs and is found good.
    Update,
    /// The first one is, again.
    TakeBack,
    /// The data are new.
    Reset,
}

/// A life, and what must be found in it.
#[derive(Clone)]
struct Life<'a> {
    device: Device<'a>,
    goal: Goal,
    /// Which of the two systems may be started next.
    next: Vec<usize>,
    /// What the files of each system's state may hold.
    held: [Vec<u32>; 2],
    /// Which state generation each has.
    generations: [Option<u64>; 2],
    /// A reset was asked for, durably.
    asked: bool,
    /// stage1 has seen that.
    resetting: bool,
    was_reset: bool,
    written: u32,
}

impl<'a> Life<'a> {
    fn new(systems: [&'a System; 2]) -> Self {
        Self {
            device: Device::new(systems),
            goal: Goal::Update,
            next: vec![0],
            held: [vec![0], Vec::new()],
            generations: [None; 2],
            asked: false,
            resetting: false,
            was_reset: false,
            written: 0,
        }
    }

    /// Lives on to the end, or until the power goes.
    fn go_on(&mut self) -> Result<(), Stop> {
        loop {
            let runs = match self.device.running {
                None => self.start()?,
                Some(running) => {
                    let hash = running.root_hash.expect("it was verified");
                    usize::from(hash == self.device.systems[1].header.manifest().root_hash)
                }
            };
            self.write(runs)?;
            self.device.commit()?;
            match (self.goal, runs) {
                (Goal::Update, 1) => self.goal = Goal::TakeBack,
                (Goal::Update, _) => {
                    if self.device.record()?.phase != Phase::Trial {
                        self.next = vec![0, 1];
                        self.device.update()?;
                    }
                    self.next = vec![1];
                    self.device.restart()?;
                }
                (Goal::TakeBack, 0) => self.goal = Goal::Reset,
                (Goal::TakeBack, _) => {
                    self.next = vec![0, 1];
                    self.device.roll_back()?;
                    self.next = vec![0];
                    self.device.restart()?;
                }
                (Goal::Reset, _) if self.was_reset => return Ok(()),
                (Goal::Reset, _) => {
                    self.device.ask_for_reset()?;
                    self.asked = true;
                    self.device.restart()?;
                }
            }
        }
    }

    fn write(&mut self, runs: usize) -> Result<(), Stop> {
        self.written += 1;
        let value = 100 + self.written;
        self.held[runs].push(value);
        self.device.write(value)?;
        self.held[runs] = vec![value];
        Ok(())
    }

    /// Starts it: which of the two systems runs.
    fn start(&mut self) -> Result<usize, Stop> {
        let wrong = |why: String| Err(Stop::Wrong(why));
        self.resetting |= self.device.is_marked();
        let started = self.device.start()?;
        let runs = usize::from(std::ptr::eq(started.system, self.device.systems[1]));
        if !self.next.contains(&runs) {
            return wrong(format!("system {runs} runs, expected {:?}", self.next));
        }
        self.next = vec![runs];
        if self.device.has_own_data() == (self.resetting || self.was_reset) {
            return wrong(format!("a reset has begun: {}", self.resetting));
        }
        if self.asked && !(self.resetting || self.was_reset) {
            return wrong("the reset that was asked for is forgotten".to_owned());
        }
        if self.resetting {
            self.held = [vec![0], vec![0]];
            self.generations = [None; 2];
            self.resetting = false;
            self.was_reset = true;
        }
        if self.generations[runs].is_none() && runs == 1 {
            self.held[1] = self.held[0].clone();
        }
        let own = started.generation;
        if started.copied && self.generations[runs].is_some()
            || self.generations[runs].is_some_and(|it| it != own)
            || self.generations[1 - runs] == Some(own)
        {
            return wrong(format!(
                "system {runs} in slot {} has state {own}, the two had {:?}",
                started.slot, self.generations
            ));
        }
        self.generations[runs] = Some(own);
        let found = self.device.state_of(own);
        let fits = |found: &Vec<u32>| found.iter().all(|it| self.held[runs].contains(it));
        if !found.as_ref().is_some_and(fits) {
            return wrong(format!(
                "the state of system {runs} is {found:?}, expected one of {:?}",
                self.held[runs]
            ));
        }
        Ok(runs)
    }

    /// Lives until the power goes after so many steps more; `false` if it came to the end before.
    fn is_cut(&mut self, steps: u32, torn: u8) -> Result<bool, String> {
        self.device.cut_after(steps, torn);
        match self.go_on() {
            Ok(()) => Ok(false),
            Err(Stop::Power) => Ok(true),
            Err(Stop::Wrong(why)) => Err(why),
        }
    }

    /// With power for ever, the life comes to its end, and that is as it should be.
    fn ends_well(&mut self) -> Result<(), String> {
        match self.go_on() {
            Ok(()) => {}
            Err(Stop::Power) => return Err("there was power".to_owned()),
            Err(Stop::Wrong(why)) => return Err(why),
        }
        let record = self.device.record().map_err(|stop| format!("{stop:?}"))?;
        let committed = record.committed.ok_or("no slot is committed")?;
        let first = self.device.slots.opens(committed, &self.device.systems);
        let is_first = first.is_some_and(|it| std::ptr::eq(it, self.device.systems[0]));
        match record.phase == Phase::Settled && is_first {
            true => Ok(()),
            false => Err(format!("it ends with {record:?}")),
        }
    }
}

/// What a cut may leave of what is in doubt.
fn losses(life: &Life<'_>) -> Vec<(u64, Loss)> {
    let writes = u32::try_from(life.device.slots.in_doubt()).unwrap();
    assert!(writes <= 4, "{writes} writes are in doubt");
    let steps = life.device.data.in_doubt();
    let data: Vec<Loss> = match steps {
        0..=EACH => (0..1 << steps).map(Loss::Mask).collect(),
        _ => (0..SOME)
            .map(Loss::Chance)
            .chain([Loss::Mask(0), Loss::Mask(u64::MAX)])
            .collect(),
    };
    let pairs = |digits| data.iter().map(move |loss| (digits, *loss));
    (0..4_u64.pow(writes)).flat_map(pairs).collect()
}

/// Each step is the last one: how many states were found after it, and how many steps there are.
fn each_cut(systems: [&System; 2], careless: Option<Careless>) -> Result<(u64, u32), String> {
    let mut new = Life::new(systems);
    new.device.careless = careless;
    let mut whole = new.clone();
    whole.ends_well()?;
    let mut states = 0;
    for steps in 0..whole.device.steps {
        for torn in TORN {
            let mut cut = new.clone();
            assert!(cut.is_cut(steps, torn)?, "it ended before step {steps}");
            for (slots, data) in losses(&cut) {
                let mut after = cut.clone();
                after.device.power_on(slots, data);
                let told = |why| {
                    format!(
                        "cut after {steps} steps in {:?} (record {torn:08b}, slots {slots:b}, {data:?}): {why}",
                        cut.goal
                    )
                };
                again(&after, states).map_err(told)?;
                after.ends_well().map_err(told)?;
                states += 1;
            }
            if !cut.device.was_in_record() {
                break;
            }
        }
    }
    Ok((states, whole.device.steps))
}

/// The power goes once more soon; what is in doubt then is there by chance.
fn again(life: &Life<'_>, seed: u64) -> Result<(), String> {
    let mut rng = Rng::with_seed(seed);
    // Each second state has one of these steps, so that all of them have all.
    let steps = u32::try_from(seed).unwrap() % AGAIN;
    let mut second = life.clone();
    // It may come to its end before.
    let _ended = second.is_cut(steps, rng.u8(..))?;
    let data = Loss::Chance(rng.u64(..));
    second.device.power_on(rng.u64(..), data);
    second.ends_well()
}

fn both() -> [System; 2] {
    [System::new(1, 2), System::new(2, 2)]
}

#[test]
fn a_life_whose_power_goes_at_any_step_comes_to_the_same_end() {
    let [old, new] = both();
    let (states, steps) = each_cut([&old, &new], None).unwrap_or_else(|why| panic!("{why}"));
    println!("{states} states after a cut of {steps} steps");
    assert!(steps > 80 && states > 2000, "{states} of {steps}");
}

/// Otherwise it would be no wonder that nothing is found.
#[test]
fn a_rule_that_is_broken_is_found() {
    let [old, new] = both();
    for careless in [
        Careless::NoFlush,
        Careless::NoSync,
        Careless::SharedState,
        Careless::OnePlace,
    ] {
        let found = each_cut([&old, &new], Some(careless));
        println!("{careless:?}: {found:?}");
        assert!(found.is_err(), "{careless:?} is not noticed");
    }
}

#[test]
#[allow(clippy::disallowed_methods, reason = "a test may be told its seeds")]
fn power_that_goes_again_and_again_changes_no_end() {
    let [old, new] = both();
    let seeds = std::env::var("SHARK_SEEDS")
        .ok()
        .and_then(|it| it.parse().ok())
        .unwrap_or(300);
    let mut cuts = 0;
    for seed in 0..seeds {
        let mut rng = Rng::with_seed(seed);
        let mut life = Life::new([&old, &new]);
        let lived = (0..rng.u32(1..=CUTS)).try_for_each(|_| {
            if life.is_cut(rng.u32(0..70), rng.u8(..))? {
                cuts += 1;
            }
            let digits = rng.u64(..);
            life.device.power_on(digits, Loss::Chance(rng.u64(..)));
            Ok::<(), String>(())
        });
        let ended = lived.and_then(|()| life.ends_well());
        ended.unwrap_or_else(|why| panic!("seed {seed}, in {:?}: {why}", life.goal));
    }
    println!("{seeds} lives, {cuts} cuts");
}
