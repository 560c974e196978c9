//! In the reference model: when it is a service's turn to start, and that nobody waits without a cause.

use services::id::{RunId, ServiceName};

use crate::entry::{Cause, Entry, Life, Live};
use crate::invariants::{Invariant, Verdict, ensure};
use crate::model::Model;

impl Model {
    /// Its process is asked for.
    pub(crate) fn begins(&mut self, name: &ServiceName, run: RunId) -> Verdict {
        let ending = self.ending;
        let yielded = self.yielded.contains(name) || self.is_unbound(name);
        let Some(entry) = self.entries.get_mut(name) else {
            return Err(Invariant::StartsWanted.broken(name));
        };
        let right = (entry.wanted || yielded) && !entry.failed && entry.is_free();
        ensure(right, Invariant::StartsWanted, name)?;
        self.its_turn(name)?;
        self.rivals_are_gone(name)?;
        let Some(entry) = self.entries.get_mut(name) else {
            return Ok(());
        };
        entry.renew();
        ensure(!entry.lies() || yielded, Invariant::Lying, name)?;
        let mut live = Live::new(Some(run));
        live.cause = (yielded && !entry.wanted).then_some(Cause::Asked);
        entry.leave_behind();
        entry.joins(run);
        entry.life = Life::Live(live);
        entry.mind_scope(ending);
        self.note_start(name);
        Ok(())
    }

    /// Nothing that it conflicts with is up or runs.
    pub(crate) fn rivals_are_gone(&self, name: &ServiceName) -> Verdict {
        for rival in &self.entries[name].rivals {
            let live = self.entries.get(rival).and_then(Entry::live);
            let gone = live.is_none_or(|live| live.over() && live.cause.is_some());
            let pair = format!("{name} conflicts with {rival}");
            ensure(gone, Invariant::RivalsApart, &pair)?;
        }
        Ok(())
    }

    /// Whoever comes before it has had its turn.
    pub(crate) fn its_turn(&self, name: &ServiceName) -> Verdict {
        for earlier in &self.entries[name].earlier {
            let Some(entry) = self.entries.get(earlier) else {
                continue;
            };
            let pausing = matches!(entry.life, Life::Pausing(_));
            let settled = !entry.wanted || entry.available() || entry.failed || pausing;
            let told = format!("{name} comes after {earlier}");
            ensure(
                settled
                    || self.is_tried(earlier)
                    || self.fell.contains(earlier)
                    || (self.ticked && self.raised.contains(earlier))
                    || self.is_unbound(earlier)
                    || self.goes_on_without_a_run(earlier),
                Invariant::OrderKept,
                &told,
            )?;
        }
        Ok(())
    }

    /// It was up with nothing that runs, had to go and is wanted again with the same event: nobody may have
    /// looked at it in between.
    fn goes_on_without_a_run(&self, name: &ServiceName) -> bool {
        let entry = self.entries.get(name).filter(|it| it.wanted);
        let live = entry.and_then(Entry::live);
        let up = live.is_some_and(|live| live.run.is_none() && live.ready.is_some());
        up && self.torn.contains(name)
    }

    pub(crate) fn nothing_waits_idly(&self) -> Verdict {
        for (name, entry) in &self.entries {
            let idle = matches!(entry.life, Life::Idle) && !entry.removed;
            if !idle || !entry.wanted || entry.failed {
                continue;
            }
            let pending = |it: &Entry| it.wanted && !it.available() && !it.failed;
            let mut required = entry.requires.iter().filter_map(|it| self.entries.get(it));
            let mut rivals = entry.rivals.iter().filter_map(|it| self.entries.get(it));
            let mut earlier = entry.earlier.iter().filter_map(|it| self.entries.get(it));
            let ordered = earlier.any(|it| pending(it) && !matches!(it.life, Life::Pausing(_)));
            let held_up = required.any(|it| !it.available()) || ordered || self.lacks_bond(entry);
            let cause = held_up || (!entry.lies() && rivals.any(|it| it.live().is_some()));
            ensure(cause, Invariant::NoIdleWait, name)?;
        }
        Ok(())
    }

    /// Something that it is bound to only lies in wait.
    fn lacks_bond(&self, entry: &Entry) -> bool {
        let mut bound = entry.binds.iter().filter_map(|it| self.entries.get(it));
        bound.any(|it| !it.up())
    }
}
