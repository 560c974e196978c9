//! In the reference model: what the end of a run leaves in its cgroup by the scope of stopping, who
//! ends that after all, and when what a service has is given back.

use services::definition::StopScope;
use services::id::{RunId, ServiceId, ServiceName};
use services::status::StateName;
use services::supervisor::event::ExitStatus;
use services::supervisor::{SHUTDOWN_MARGIN, Supervisor};

use crate::entry::{Cause, Deadline, Entry, Life, Live};
use crate::invariants::{Invariant, Verdict, ensure};
use crate::model::Model;

/// What a service holds beside its present run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Remains {
    /// Something of earlier runs may be there; the latest that was to begin in that cgroup.
    pub(crate) left: Option<RunId>,
    /// Somebody wants all of it to end, until it is started again.
    pub(crate) whole: bool,
    /// It has been started since what it had was given back.
    pub(crate) held: bool,
}

impl Model {
    /// Nothing is in the cgroup of a run.
    pub(crate) fn emptied(&mut self, run: RunId) {
        if let Some((_, live)) = self.live(run) {
            live.emptied |= live.spawned.is_some();
        }
        for entry in self.entries.values_mut() {
            // It may be told when the next run has been asked for already.
            let next = entry
                .live()
                .is_some_and(|it| it.run.is_some() && it.spawned.is_none())
                || matches!(entry.life, Life::Listening(_));
            let left = entry.remains.left.filter(|it| it.service == run.service);
            if left.is_some_and(|it| it.run == run.run || (next && it.run == run.run + 1)) {
                entry.remains.left = None;
            }
        }
    }

    /// There is no process of its own. What earlier runs have left has to end first, where nothing is
    /// to stay.
    pub(crate) fn unborn(&mut self, run: RunId) {
        let ending = self.ending;
        let found = self.entries.values_mut();
        for entry in found.filter(|it| it.live().is_some_and(|live| live.run == Some(run))) {
            let whole = entry.ends_whole(ending) && entry.remains.left.is_some();
            let Life::Live(live) = &mut entry.life else {
                continue;
            };
            if live.spawned.is_none() {
                let swept = whole && live.cause.is_some();
                live.cause.get_or_insert(Cause::Itself);
                live.unborn = !swept;
                if swept {
                    live.only_left();
                }
            }
        }
    }

    /// Who is to end as a whole does, also when nothing of it runs but what earlier runs have left.
    pub(crate) fn mind_left(&mut self) {
        let (now, ending) = (self.now, self.ending);
        for entry in self.entries.values_mut() {
            entry.mind_scope(ending);
            let left = entry.remains.left.filter(|_| entry.ends_whole(ending));
            let Some(run) = left else {
                continue;
            };
            match &mut entry.life {
                Life::Live(live) if live.run.is_none() => {
                    live.run = Some(run);
                    live.only_left();
                }
                Life::Live(_) => {}
                Life::Idle | Life::Lying | Life::Listening(_) | Life::Pausing(_) => {
                    let mut live = Live::new(Some(run));
                    live.only_left();
                    live.cause = Some(Cause::Asked);
                    live.stop = Some(Deadline::new(now, entry.definition.stop.timeout));
                    (entry.wanted, entry.failed) = (false, false);
                    entry.life = Life::Live(live);
                }
            }
        }
    }

    /// Everything that is left has been asked to end.
    pub(crate) fn swept(&mut self, name: &ServiceName) -> Verdict {
        let now = self.now;
        let (main, limit) = self.scope_of(name);
        let live = self.ending_run(name)?;
        ensure(!live.spared, Invariant::Spared, name)?;
        let due = live.exited.is_some() && !live.emptied && !live.culled;
        let right = (main || live.only_left) && due && !live.swept;
        ensure(right, Invariant::Swept, name)?;
        (live.swept, live.killed) = (true, false);
        live.stop = Some(Deadline::new(now, limit));
        Ok(())
    }

    /// Everything has been killed.
    pub(crate) fn culled(&mut self, name: &ServiceName) -> Verdict {
        let now = self.now;
        let begun = self.ending_since;
        let over = begun.is_some_and(|begun| now.since(begun) >= SHUTDOWN_MARGIN);
        let (main, _) = self.scope_of(name);
        let live = self.ending_run(name)?;
        // Nobody knows which one to kill, as long as it is looked for.
        ensure(!live.spared || live.sought, Invariant::Spared, name)?;
        let late = live.swept && live.stop.is_some_and(|it| it.at <= now);
        let right = !(main || live.only_left) || live.spared || late || over;
        ensure(right, Invariant::Swept, name)?;
        (live.killed, live.culled) = (true, true);
        Ok(())
    }

    /// The main process has been killed, and it alone.
    pub(crate) fn main_killed(&mut self, name: &ServiceName) -> Verdict {
        let now = self.now;
        let (main, _) = self.scope_of(name);
        let live = self.ending_run(name)?;
        let late = live.stop.is_some_and(|it| it.at <= now);
        let right = main && late && live.exited.is_none() && !live.swept;
        ensure(right, Invariant::StopTimeout, name)?;
        live.killed = true;
        Ok(())
    }

    fn scope_of(&self, name: &ServiceName) -> (bool, std::time::Duration) {
        let stop = self.entries.get(name).map(|it| &it.definition.stop);
        let main = stop.is_some_and(|it| it.scope == StopScope::Main);
        (main, stop.map(|it| it.timeout).unwrap_or_default())
    }

    /// What it has is given back.
    pub(crate) fn released(&mut self, service: ServiceId, core: &Supervisor) -> Verdict {
        let name = core.name(service).unwrap_or_default();
        // Its file may have gone, and it with it.
        let Some(entry) = self.entries.get_mut(name) else {
            return Ok(());
        };
        let right = entry.remains.held && entry.remains.left.is_none();
        entry.remains.held = false;
        ensure(right, Invariant::Released, &name)
    }
}

impl Entry {
    /// Whether nothing of it may stay when it ends.
    fn ends_whole(&self, ending: bool) -> bool {
        ending || self.removed || self.remains.whole
    }

    /// What the end of its present run spares.
    pub(crate) fn mind_scope(&mut self, ending: bool) {
        let main = self.definition.stop.scope == StopScope::Main;
        let spared = main && !self.ends_whole(ending);
        if let Life::Live(live) = &mut self.life {
            // What has been asked to end is not spared again.
            live.spared = spared && !live.swept;
        }
    }

    /// Its run is looked at no more: something of it may still be there.
    pub(crate) fn leave_behind(&mut self) {
        if let Life::Live(live) = &self.life
            && let Some(run) = live.run.filter(|_| !live.unborn)
        {
            let nothing = live.exited.is_some() && live.emptied;
            self.remains.left = (!nothing).then_some(run);
        }
    }

    /// A run is asked for.
    pub(crate) fn joins(&mut self, run: RunId) {
        self.remains.left = self.remains.left.map(|_| run);
        self.remains.whole = false;
        self.remains.held = true;
    }

    /// After an event: nobody waits for what is spared, all else has been asked to end in its turn, and
    /// who has nothing keeps nothing.
    pub(crate) fn minds_left(&self, state: StateName) -> Verdict {
        let name = &self.definition.name;
        let live = match &self.life {
            Life::Pausing(_) => return Ok(()),
            Life::Idle | Life::Lying | Life::Listening(_) => {
                let rests = !self.wanted || self.failed || matches!(self.life, Life::Lying);
                let keeps = self.remains.held && self.remains.left.is_none();
                return ensure(!(rests && keeps), Invariant::Released, name);
            }
            Life::Live(live) => live,
        };
        let its_turn = live.stop.is_some() || live.cause == Some(Cause::Itself);
        let gone = live.cause.is_some() && live.run.is_some() && live.exited.is_some();
        if !its_turn || !gone || live.sought || live.culled {
            return Ok(());
        }
        let waits = live.spared && state == StateName::Stopping;
        ensure(!waits, Invariant::Spared, name)?;
        let main = self.definition.stop.scope == StopScope::Main;
        let asks = live.only_left || (main && !live.spared);
        let forgotten = asks && !live.emptied && !live.swept;
        ensure(!forgotten, Invariant::Swept, name)
    }
}

impl Live {
    /// All that is there of it is what earlier runs have left.
    fn only_left(&mut self) {
        self.spawned.get_or_insert_default();
        self.exited = Some(ExitStatus::Code(0));
        self.spared = false;
        self.only_left = true;
    }
}
