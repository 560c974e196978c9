//! What must be: the rules of accounting once more, in the fewest words, as sums on plain numbers.
//!
//! Written from the tables of shark-boot-record(5) and not from the code under test, which it is
//! compared with after each step.

use mounts::slot::Slot;
use mounts::slot::record::{AttemptState, Ended, Phase, Record, Stage};
use mounts::verity::RootHash;

/// How the last boot came to its end, as far as the machine can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Cut,
    Panic,
    Watchdog,
    Verity,
}

impl Cause {
    pub(crate) const ALL: [Self; 4] = [Self::Cut, Self::Panic, Self::Watchdog, Self::Verity];
}

/// How an attempt stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Open,
    Committed,
    Failed { committed: bool, verity: bool },
    Ended { committed: bool },
}

/// One slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) priority: u8,
    pub(crate) tries: u8,
    pub(crate) good: bool,
    pub(crate) bad: bool,
    pub(crate) crashes: u8,
    pub(crate) cuts: u8,
    pub(crate) system: RootHash,
    pub(crate) security: u32,
    pub(crate) generation: u64,
}

impl Sums {
    fn may_boot(self) -> bool {
        self.priority > 0 && self.tries > 0 && !self.bad
    }

    fn fault(&mut self) {
        self.tries = self.tries.saturating_sub(1);
    }

    fn crash(&mut self) {
        self.crashes = self.crashes.saturating_add(1);
        if self.crashes >= 3 {
            self.tries = 0;
        }
    }

    fn cut(&mut self) {
        self.cuts = self.cuts.saturating_add(1);
        if self.cuts >= if self.good { 100 } else { 12 } {
            self.tries = 0;
        }
    }
}

/// All that a record says and that decides anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) committed: Option<Slot>,
    pub(crate) trial: Option<Slot>,
    pub(crate) phase: Phase,
    pub(crate) floor: u32,
    pub(crate) slots: [Sums; 2],
    pub(crate) attempt: Option<(Slot, Standing)>,
    pub(crate) boots: u32,
    pub(crate) rescues: u8,
    pub(crate) last: Option<(Slot, Ended)>,
}

fn at(slot: Slot) -> usize {
    match slot {
        Slot::A => 0,
        Slot::B => 1,
    }
}

impl Facts {
    /// What a record says.
    pub(crate) fn of(record: &Record) -> Self {
        Self {
            committed: record.committed,
            trial: record.trial,
            phase: record.phase,
            floor: record.security_floor,
            slots: Slot::ALL.map(|slot| {
                let entry = record.slot(slot);
                Sums {
                    priority: entry.priority,
                    tries: entry.tries_left,
                    good: entry.good,
                    bad: entry.verity_bad,
                    crashes: entry.crashes,
                    cuts: entry.power_cuts,
                    system: entry.root_hash,
                    security: entry.security_version,
                    generation: entry.state_generation,
                }
            }),
            attempt: record.attempt.as_ref().map(|attempt| {
                let committed = attempt.stage >= Stage::Running;
                let standing = match attempt.state {
                    AttemptState::Open => Standing::Open,
                    AttemptState::Committed => Standing::Committed,
                    AttemptState::Failed(ended) => Standing::Failed {
                        committed,
                        verity: ended == Ended::VerityFault,
                    },
                    AttemptState::Ended(_) => Standing::Ended { committed },
                };
                (attempt.slot, standing)
            }),
            boots: record.boots,
            rescues: record.rescues,
            last: record.history.newest().map(|boot| (boot.slot, boot.ended)),
        }
    }

    pub(crate) fn slot(&mut self, slot: Slot) -> &mut Sums {
        &mut self.slots[at(slot)]
    }

    /// The next boot finds the attempt.
    pub(crate) fn judge(&mut self, cause: Cause, said: Option<Ended>) {
        let Some((slot, standing)) = self.attempt.take() else {
            return;
        };
        let sums = self.slot(slot);
        let ended = match (standing, cause) {
            (Standing::Failed { .. } | Standing::Ended { .. }, _) => said.unwrap(),
            (_, Cause::Cut) => Ended::PowerCut,
            (_, Cause::Panic) => Ended::Panic,
            (_, Cause::Watchdog) => Ended::Watchdog,
            (_, Cause::Verity) => Ended::VerityFault,
        };
        let quiet = cause == Cause::Cut;
        match standing {
            Standing::Failed { verity: true, .. } => sums.bad = true,
            Standing::Failed {
                committed: true, ..
            } => sums.crash(),
            Standing::Failed { .. } => sums.fault(),
            Standing::Ended { committed: true } => sums.crashes = 0,
            Standing::Ended { committed: false } => sums.cut(),
            Standing::Open if quiet => sums.cut(),
            Standing::Committed if quiet => {}
            Standing::Open | Standing::Committed if cause == Cause::Verity => sums.bad = true,
            Standing::Open => sums.fault(),
            Standing::Committed => sums.crash(),
        }
        self.last = Some((slot, ended));
        self.end_trial(slot);
    }

    /// A slot on trial that is given up is on trial no more.
    fn end_trial(&mut self, slot: Slot) {
        let sums = self.slots[at(slot)];
        if self.trial == Some(slot) && (sums.tries == 0 || sums.bad) {
            self.trial = None;
            self.phase = Phase::RolledBack;
        }
    }

    /// The slots to try, the first one first: a forced one before the others, or after them when it
    /// has been given up.
    pub(crate) fn candidates(&self, force: Option<Slot>) -> Vec<Slot> {
        let mut slots = self.may_boot();
        let Some(forced) = force else { return slots };
        let sums = self.slots[at(forced)];
        slots.retain(|slot| *slot != forced);
        if sums.tries > 0 && !sums.bad {
            slots.insert(0, forced);
        } else if !slots.is_empty() {
            slots.push(forced);
        }
        slots
    }

    fn may_boot(&self) -> Vec<Slot> {
        let mut slots: Vec<Slot> = Slot::ALL
            .into_iter()
            .filter(|slot| self.slots[at(*slot)].may_boot())
            .collect();
        slots.sort_by_key(|slot| {
            std::cmp::Reverse((
                self.slots[at(*slot)].priority,
                self.committed == Some(*slot),
            ))
        });
        slots
    }

    pub(crate) fn charge(&mut self, slot: Slot, last_good: bool) {
        self.boots += 1;
        self.rescues += u8::from(last_good);
        self.attempt = Some((slot, Standing::Open));
    }

    pub(crate) fn refuse(&mut self) {
        if let Some((slot, _)) = self.attempt.take() {
            self.slot(slot).fault();
            self.last = Some((slot, Ended::RootRefused));
            self.end_trial(slot);
        }
    }

    /// False when the boot may not be committed.
    pub(crate) fn commit(&mut self) -> bool {
        let Some((slot, Standing::Open | Standing::Committed)) = self.attempt else {
            return false;
        };
        self.attempt = Some((slot, Standing::Committed));
        let left = self.committed.filter(|before| *before != slot);
        let was_given_up = left.is_some_and(|before| !self.slots[at(before)].may_boot());
        let sums = self.slot(slot);
        *sums = Sums {
            good: true,
            tries: 3,
            cuts: 0,
            priority: sums.priority.max(1),
            ..*sums
        };
        let security = sums.security;
        self.floor = self.floor.max(security);
        if self.trial == Some(slot) {
            self.trial = None;
            self.phase = Phase::Settled;
        }
        if self.committed != Some(slot) {
            self.prefer(slot);
            if self.trial.is_none() && was_given_up {
                self.phase = Phase::RolledBack;
            } else if self.trial.is_none() {
                self.phase = Phase::Settled;
            }
        }
        self.committed = Some(slot);
        self.rescues = 0;
        true
    }

    pub(crate) fn fail(&mut self, verity: bool) -> bool {
        let Some((slot, standing)) = self.attempt else {
            return false;
        };
        let committed = match standing {
            Standing::Failed { .. } => return true,
            Standing::Open => false,
            Standing::Committed => true,
            Standing::Ended { committed } => committed,
        };
        self.attempt = Some((slot, Standing::Failed { committed, verity }));
        true
    }

    pub(crate) fn end(&mut self) -> bool {
        let Some((slot, standing)) = self.attempt else {
            return false;
        };
        let standing = match standing {
            Standing::Open => Standing::Ended { committed: false },
            Standing::Committed => Standing::Ended { committed: true },
            Standing::Failed { .. } | Standing::Ended { .. } => standing,
        };
        self.attempt = Some((slot, standing));
        true
    }

    pub(crate) fn settle(&mut self) {
        if let Some((slot, Standing::Committed)) = self.attempt {
            self.slot(slot).crashes = 0;
        }
    }

    pub(crate) fn give_up(&mut self, slot: Slot) {
        self.slot(slot).tries = 0;
        self.end_trial(slot);
        match self.attempt {
            Some((own, Standing::Open)) if own == slot => {
                let standing = Standing::Failed {
                    committed: false,
                    verity: false,
                };
                self.attempt = Some((slot, standing));
            }
            Some((own, Standing::Committed)) if own == slot => {
                let standing = Standing::Failed {
                    committed: true,
                    verity: false,
                };
                self.attempt = Some((slot, standing));
            }
            Some(_) | None => self.last = Some((slot, Ended::Operator)),
        }
    }

    pub(crate) fn set_slot(&mut self, slot: Slot) {
        let sums = self.slot(slot);
        *sums = Sums {
            tries: 3,
            bad: false,
            crashes: 0,
            cuts: 0,
            ..*sums
        };
        self.prefer(slot);
        self.rescues = 0;
        self.on_trial(slot);
        self.last = Some((slot, Ended::Operator));
    }

    /// Unless it is the committed one.
    fn on_trial(&mut self, slot: Slot) {
        let is_committed = self.committed == Some(slot);
        self.trial = (!is_committed).then_some(slot);
        self.phase = if is_committed {
            Phase::Settled
        } else {
            Phase::Trial
        };
    }

    /// The slot that an update may go to: only a boot that was found good spares the other one.
    fn spared(&self) -> Option<Slot> {
        match self.attempt {
            Some((slot, Standing::Committed)) if self.committed == Some(slot) => Some(slot.other()),
            Some(_) | None => None,
        }
    }

    /// Another system is written into the slot that does not run; false when that is refused.
    pub(crate) fn begin(&mut self, system: RootHash, security: u32) -> bool {
        let Some(slot) = self.spared().filter(|_| security >= self.floor) else {
            return false;
        };
        let generation = self.slot(slot).generation;
        *self.slot(slot) = Sums {
            system,
            security,
            generation,
            ..Sums::default()
        };
        self.trial = Some(slot);
        self.phase = Phase::Installing;
        true
    }

    /// What was begun is tried once, with a state of its own.
    pub(crate) fn arm(&mut self, system: RootHash) -> bool {
        let begun = (self.phase == Phase::Installing)
            .then_some(self.trial)
            .flatten();
        let Some(slot) = self.spared().filter(|slot| begun == Some(*slot)) else {
            return false;
        };
        let newest = self.slots.iter().map(|it| it.generation).max();
        let sums = self.slot(slot);
        if sums.system != system {
            return false;
        }
        sums.tries = 1;
        sums.generation = newest.unwrap() + 1;
        self.prefer(slot);
        self.phase = Phase::Trial;
        true
    }

    /// What is installed or on trial is not booted, unless it runs.
    pub(crate) fn cancel(&mut self, running: Option<Slot>) -> bool {
        let Some(slot) = self.trial.filter(|slot| running == Some(slot.other())) else {
            return false;
        };
        let sums = self.slot(slot);
        sums.priority = 0;
        sums.tries = 0;
        self.trial = None;
        self.phase = Phase::Settled;
        true
    }

    /// Back to the slot that does not run, if it was good and is not given up.
    pub(crate) fn roll_back(&mut self, running: Option<Slot>) -> bool {
        let Some(slot) = running.map(Slot::other) else {
            return false;
        };
        let sums = self.slot(slot);
        if !sums.good || sums.bad || sums.tries == 0 {
            return false;
        }
        sums.tries = 3;
        sums.crashes = 0;
        sums.cuts = 0;
        self.prefer(slot);
        self.rescues = 0;
        self.on_trial(slot);
        true
    }

    fn prefer(&mut self, slot: Slot) {
        self.slot(slot).priority = 2;
        let other = self.slot(slot.other());
        other.priority = other.priority.min(1);
    }
}
