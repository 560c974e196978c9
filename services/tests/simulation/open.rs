//! What the page leaves open, taken over from the core, as far as it may be so: which of two rivals goes,
//! and whether one that was dropped for a moment was looked at in between. Not here: what must be.

use std::collections::BTreeSet;

use services::id::ServiceName;
use services::status::StateName;
use services::supervisor::Supervisor;

use crate::entry::{Cause, Entry, Life, Live};
use crate::model::Model;

/// What the core says of a service, and whether that is wanted.
pub(crate) fn standing(name: &ServiceName, core: &Supervisor) -> Option<(StateName, bool)> {
    core.lookup(name.as_str()).and_then(|id| core.standing(id))
}

impl Model {
    /// The core has been told, and its actions are not looked at yet: what the page leaves open is
    /// taken over from it, as far as it may be so.
    pub(crate) fn agree(&mut self, core: &Supervisor) {
        if self.reloaded {
            self.listen_anew(core);
        }
        self.start_fresh();
        self.yield_to_rivals(core);
        let held = self.names(|it| it.wanted && !it.failed);
        let entries = &self.entries;
        self.contested.retain(|name| {
            let rivals = entries.get(name).map(|it| &it.rivals);
            held.contains(name) && rivals.is_some_and(|it| it.iter().any(|it| held.contains(it)))
        });
        self.mind_bonds();
        self.free_unbound(core, |_, _| false);
    }

    /// What a reload has added is started, where the boot target leads to it.
    fn start_fresh(&mut self) {
        let fresh = std::mem::take(&mut self.fresh);
        let Some(target) = self.target.clone().filter(|it| self.is_known(it)) else {
            return;
        };
        let reached = self.closure(&target, |it| {
            it.wanted || fresh.contains(&it.definition.name)
        });
        let started: BTreeSet<ServiceName> = reached.intersection(&fresh).cloned().collect();
        self.awaited.extend(started.iter().cloned());
        self.want_all(&started, 0);
    }

    /// One of two rivals goes, with all that require it; not before it is told of the end of its run.
    pub(crate) fn yield_to_rivals(&mut self, core: &Supervisor) {
        let mut open = BTreeSet::new();
        for name in &self.contested {
            open.extend(self.swayed(name, |_| true));
        }
        // What is left failed may have started it before its rival was looked at.
        self.sides.extend(open);
        let open = self.sides.clone();
        // It may have been so for a moment only.
        self.dropped.extend(open.iter().cloned());
        for name in open {
            let goes = |it: &Entry| it.wanted && !it.ends_by_itself();
            if self.entries.get(&name).is_some_and(goes)
                && !standing(&name, core).is_some_and(|(_, wanted)| wanted)
            {
                self.unwish(&name);
                self.yielded.insert(name);
            }
        }
    }

    /// A time of its timer came with the same tick with which it failed: it is started again, if that came
    /// later.
    pub(crate) fn rings_after_failure(&mut self, name: &ServiceName, core: &Supervisor) {
        let failed = self.entries.get(name).is_some_and(|it| it.failed);
        let state = standing(name, core).map(|(state, _)| state);
        if failed && state != Some(StateName::Failed) && self.rung.remove(name) {
            self.trigger(name);
        }
    }

    /// Left failed, wanted anew and due with one tick, in an order that is open: it lay down in between, and
    /// is started if its time came later.
    pub(crate) fn rings_after_wish(&mut self, name: &ServiceName, core: &Supervisor) {
        let lies = self.entries.get(name).map(|it| &it.life);
        let state = standing(name, core).map(|(state, _)| state);
        if matches!(lies, Some(Life::Lying))
            && state != Some(StateName::Armed)
            && self.revived.remove(name)
        {
            self.trigger(name);
        }
    }

    /// It was started before something that takes it along was stopped, with one tick.
    pub(crate) fn goes_along(&mut self, name: &ServiceName, core: &Supervisor) {
        let Some(entry) = self.entries.get(name) else {
            return;
        };
        let mut others = entry.requires.iter().chain(&entry.part_of);
        let along = others.any(|it| self.loosed.contains(it));
        let stops = standing(name, core) == Some((StateName::Stopping, true));
        if self.ticked && along && stops {
            self.part(name, Cause::Bond);
            self.loosed.insert(name.clone());
        }
    }

    /// What had to go and is wanted again with the same event may have been left alone, where nobody had
    /// looked at it in between.
    pub(crate) fn go_on(&mut self, core: &Supervisor, which: impl Fn(&Live) -> bool) {
        for name in &self.torn {
            let Some(entry) = self.entries.get_mut(name).filter(|it| it.wanted) else {
                continue;
            };
            let id = core.lookup(name.as_str());
            let run = id.and_then(|id| core.current_run(id));
            let state = standing(name, core).map(|(state, _)| state);
            if let Life::Live(live) = &mut entry.life
                && live.cause == Some(Cause::Asked)
                && which(live)
                && live.run == run
                && matches!(state, Some(StateName::Starting | StateName::Up))
            {
                live.cause = None;
            }
        }
    }

    /// A reload that changes anything lets the sockets of those that listen be opened anew, as they may be
    /// others.
    fn listen_anew(&mut self, core: &Supervisor) {
        for name in self.names(|it| matches!(it.life, Life::Listening(_)) && it.wanted) {
            let listens = standing(&name, core).is_some_and(|(it, _)| it == StateName::Listening);
            if !listens {
                self.set_life(&name, Life::Idle);
            }
        }
    }
}
