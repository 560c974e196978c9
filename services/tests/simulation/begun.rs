//! In the reference model: a run before its program, and what a service is whose condition does not
//! hold; and the main process of a forking service.

use services::definition::Kind;
use services::id::{RunId, ServiceName};
use services::notify::Begun;
use services::status::StateName;
use services::supervisor::Supervisor;
use services::supervisor::event::ExitStatus;

use crate::entry::{Before, Cause, Entry, Life, Live, is_good};
use crate::invariants::{Invariant, Verdict, ensure};
use crate::model::Model;
use crate::open::standing;

impl Model {
    /// The starter says how far it is.
    pub(crate) fn begun(&mut self, run: RunId, told: &Begun) {
        let Some((_, live)) = self.live(run) else {
            return;
        };
        if live.cause.is_some() || live.exited.is_some() || live.spawned.is_none() {
            return;
        }
        match told {
            Begun::Ready if live.before == Before::Going => live.before = Before::Done,
            Begun::Skipped(_) if live.before == Before::Going => live.before = Before::Skipped,
            Begun::Failed(_) => live.before = Before::Failed,
            Begun::Ready | Begun::Skipped(_) => {}
        }
    }

    pub(crate) fn exited(&mut self, run: RunId, status: ExitStatus) {
        let Some((definition, live)) = self.live(run) else {
            return;
        };
        if live.spawned.is_none() || live.exited.is_some() {
            return;
        }
        live.exited = Some(status);
        let good = is_good(&definition.restart, status);
        let (up, done) = (live.ready.is_some(), live.before == Before::Done);
        if live.cause.is_some() {
            return;
        }
        match definition.kind {
            _ if live.before == Before::Skipped => live.cause = Some(Cause::Skipped),
            Kind::Oneshot(_) if good && done => {}
            Kind::Forking(_) if good && done && !up => live.sought = true,
            Kind::Target
            | Kind::Simple(_)
            | Kind::Notify(_)
            | Kind::Oneshot(_)
            | Kind::Forking(_) => {
                live.cause = Some(Cause::Itself);
                live.early = !up || live.before == Before::Failed;
            }
        }
    }

    /// What the command of a forking service has left has been found, or nothing of that sort.
    pub(crate) fn sought(&mut self, run: RunId, found: bool) {
        let Some((_, live)) = self.live(run) else {
            return;
        };
        if !std::mem::take(&mut live.sought) {
            return;
        }
        if found {
            live.found = true;
            live.exited = None;
        } else if live.cause.is_none() {
            live.cause = Some(Cause::Itself);
            live.early = true;
        }
    }

    /// Its condition does not hold: it counts as up, and nothing of it runs.
    pub(crate) fn skipped(&mut self, name: &ServiceName) -> Verdict {
        let now = self.now;
        let Some(entry) = self.entries.get_mut(name) else {
            return Err(Invariant::Skipped.broken(name));
        };
        let over = entry.live().is_some_and(Live::over);
        let skipped = entry.live().map(|live| live.cause) == Some(Some(Cause::Skipped));
        ensure(over && skipped && entry.wanted, Invariant::Skipped, name)?;
        entry.settled = true;
        entry.due = false;
        entry.failures = 0;
        let mut live = Live::new(None);
        live.ready = Some(now);
        live.skipped = true;
        entry.leave_behind();
        entry.life = Life::Live(live);
        Ok(())
    }

    /// Whether it is bound to a skipped service, or goes along with one that is.
    pub(crate) fn is_unbound(&self, name: &ServiceName) -> bool {
        let skipped = |name: &ServiceName| self.entries.get(name).is_some_and(Entry::is_skipped);
        let bound = self.names(|it| it.binds.iter().any(skipped));
        let mut swayed = bound.iter().map(|it| self.swayed(it, |_| true));
        swayed.any(|all| all.contains(name))
    }

    /// What waits and is bound to a skipped service cannot be up: it is wanted no more, as soon as it
    /// is looked at. That is open as long as it waits for another as well; `told`: it has been.
    pub(crate) fn free_unbound(
        &mut self,
        core: &Supervisor,
        told: impl Fn(&Self, &ServiceName) -> bool,
    ) {
        let is = |name: &ServiceName, which: fn(&Entry) -> bool| {
            self.entries.get(name).is_some_and(which)
        };
        let unbound = self.names(|it| {
            let waits = it.wanted && !it.failed && it.is_free();
            let looked_at = it.requires.iter().all(|name| is(name, Entry::available));
            let told = told(self, &it.definition.name);
            let skipped = it.binds.iter().any(|name| is(name, Entry::is_skipped));
            waits && skipped && (told || looked_at)
        });
        for name in unbound {
            if standing(&name, core).is_some_and(|(_, wanted)| !wanted) {
                self.free(&name, core);
            }
        }
    }

    /// Whether its time came, and it could not be up, before a time of what requires it had it wanted
    /// again, with one tick: it was down in between.
    pub(crate) fn was_down_for_a_moment(&mut self, name: &ServiceName) -> bool {
        let may_be = self.ticked && self.is_unbound(name);
        let Some(entry) = self.entries.get_mut(name).filter(|it| {
            let waits = it.wanted && it.due && matches!(it.life, Life::Idle);
            may_be && waits
        }) else {
            return false;
        };
        (entry.due, entry.plan) = (false, None);
        self.dropped.insert(name.clone());
        true
    }

    /// It is wanted no more, and so is nothing that goes along with it: but for what requires one that has
    /// failed, and was looked at before.
    fn free(&mut self, root: &ServiceName, core: &Supervisor) {
        // What is left failed with the same event may start them in between.
        let sides = self.swayed(root, |_| true);
        self.sides.extend(sides);
        let failed = |name: &ServiceName| standing(name, core) == Some((StateName::Failed, true));
        let goes = |it: &Entry| it.wanted && !it.failed && !failed(&it.definition.name);
        for name in self.swayed(root, goes) {
            if self.entries[&name].wanted {
                self.unwish(&name);
            }
        }
    }
}

impl Entry {
    /// A condition of its does not hold, and its run is not gone yet.
    pub(crate) fn skips_soon(&self) -> bool {
        self.live()
            .is_some_and(|live| live.cause == Some(Cause::Skipped))
    }

    pub(crate) fn is_skipped(&self) -> bool {
        self.live().is_some_and(|live| live.skipped)
    }
}
