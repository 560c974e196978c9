//! In the reference model: lazy services, of which only the sockets are opened, and what traffic does. Not
//! here: when sockets are closed (`sockets`).

use std::collections::BTreeSet;

use services::id::{RunId, ServiceId, ServiceName};

use crate::entry::{Cause, Entry, Life, Live, Sequel};
use crate::invariants::{Invariant, Verdict, ensure};
use crate::model::Model;

impl Entry {
    /// Whether it is lazy from its next start on.
    fn will_be_lazy(&self) -> bool {
        self.next.as_ref().unwrap_or(&self.definition).lazy
    }

    /// What follows a good end, after which no policy starts it again: a lazy one listens again, after a
    /// pause where it was up for no time that counts.
    pub(crate) fn after_good_end(&self, long: bool) -> Sequel {
        let rule = &self.definition.restart;
        let pause = rule.delay.min(rule.max_delay);
        match (self.will_be_lazy(), long) {
            (false, _) => Sequel::Down,
            (true, false) => Sequel::After(pause, pause),
            (true, true) => Sequel::StartsAgain,
        }
    }

    /// Its run has ended well, and it listens again at once.
    pub(crate) fn listens_again(&self, sequel: Sequel) -> bool {
        sequel == Sequel::StartsAgain && self.will_be_lazy()
    }
}

impl Model {
    /// Its sockets are to be opened.
    pub(crate) fn opens(&mut self, name: &ServiceName, run: RunId) -> Verdict {
        let now = self.now;
        let yielded = self.yielded.contains(name) || self.is_unbound(name);
        let Some(entry) = self.entries.get_mut(name) else {
            return Err(Invariant::Listening.broken(name));
        };
        let again = entry.rests_well(now);
        let free = entry.is_free() || again;
        let right = (entry.wanted || yielded) && !entry.failed && free;
        ensure(right, Invariant::StartsWanted, name)?;
        self.its_turn(name)?;
        let Some(entry) = self.entries.get_mut(name) else {
            return Ok(());
        };
        entry.leave_behind();
        entry.renew();
        if again {
            entry.due = false;
        }
        let told = format!("{name}: {entry:?}");
        let lazy = entry.definition.lazy && !entry.due;
        ensure(lazy, Invariant::Listening, &told)?;
        let mut live = Live::new(Some(run));
        live.opening = true;
        live.cause = (yielded && !entry.wanted).then_some(Cause::Asked);
        entry.life = Life::Live(live);
        Ok(())
    }

    /// They are open. Who is to stop meanwhile has nothing to wait for.
    pub(crate) fn opened(&mut self, run: RunId) {
        if let Some((definition, live)) = self.live(run)
            && live.opening
        {
            live.opened = true;
            live.unborn |= live.cause.is_some();
            if live.cause.is_none() {
                let name = definition.name.clone();
                self.opened_in_vain(&name);
            }
        }
    }

    /// Somebody has asked for it meanwhile, or a reload has made another of it: it does not listen.
    fn opened_in_vain(&mut self, name: &ServiceName) {
        let Some(entry) = self.entries.get_mut(name) else {
            return;
        };
        entry.renew();
        let lies = entry.lies();
        if lies && entry.definition.lazy {
            return;
        }
        entry.life = Life::Idle;
        if !lies {
            self.rouse(name);
        }
    }

    /// It is announced as listening.
    pub(crate) fn listens(&mut self, name: &ServiceName) -> Verdict {
        let Some(entry) = self.entries.get_mut(name) else {
            return Err(Invariant::KnownIds.broken(name));
        };
        let opened = entry
            .live()
            .filter(|live| live.opened && live.cause.is_none());
        let run = opened.and_then(|live| live.run).filter(|_| entry.wanted);
        let run = run.ok_or_else(|| Invariant::Listening.broken(name))?;
        entry.settled = true;
        entry.life = Life::Listening(run.service);
        if !entry.rivals.is_empty() {
            self.contested.insert(name.clone());
        }
        Ok(())
    }

    /// Something waits at its sockets. Failures in a row stay what they are.
    pub(crate) fn traffic(&mut self, service: ServiceId) {
        let is = |it: &Entry| matches!(it.life, Life::Listening(id) if id == service) && it.wanted;
        for name in self.names(is) {
            self.rouse(&name);
        }
    }

    /// One that listens is started, with what it requires.
    pub(crate) fn rouse(&mut self, name: &ServiceName) {
        if let Some(entry) = self.entries.get_mut(name) {
            entry.life = Life::Idle;
            entry.due = true;
        }
        self.want_what_ended(name);
        if !self.is_doomed(name) {
            self.oust(name, &BTreeSet::new());
        }
    }
}
