//! In the reference model: what befalls services that are bound to another, or part of it, and what a
//! service that is left failed starts and asks for.

use std::collections::BTreeSet;

use services::definition::FailureAction;
use services::id::ServiceName;

use crate::entry::{Cause, Entry, Life};
use crate::invariants::{Invariant, Verdict, ensure};
use crate::model::Model;

/// So many failures, each of which has started the next service, and no further one is started.
const FAILURES_MAX: u8 = 8;

impl Model {
    /// `root`, and all that a stop or a restart of it takes along, each by one that is `which`: those
    /// that require it, and those that are part of it.
    pub(crate) fn swayed(
        &self,
        root: &ServiceName,
        which: impl Fn(&Entry) -> bool,
    ) -> BTreeSet<ServiceName> {
        self.reached(root, |entry, whole| {
            let along = entry.requires.contains(whole) || entry.part_of.contains(whole);
            along && which(entry)
        })
    }

    /// What is bound to a service that is not up is stopped, and comes up again with it; so with all
    /// that a restart takes along.
    pub(crate) fn mind_bonds(&mut self) {
        let active = |it: &Entry| it.held() && it.wanted;
        loop {
            let there = |it: &Entry| it.up() && !it.is_skipped();
            let lost = |name: &ServiceName| !self.entries.get(name).is_some_and(there);
            let mut found = self.entries.iter();
            let loose = found.find(|(_, it)| active(it) && it.binds.iter().any(lost));
            let Some(name) = loose.map(|(name, _)| name.clone()) else {
                return;
            };
            let fell = |it: &Entry| self.fell.contains(&it.definition.name) && it.fell();
            for name in self.swayed(&name, |it| active(it) || (it.wanted && fell(it))) {
                self.lose_bond(&name);
                self.loosed.insert(name);
            }
        }
    }

    /// With one tick it may have lost a bond before it was found late or unhealthy.
    fn lose_bond(&mut self, name: &ServiceName) {
        let fell = self.fell.contains(name);
        let Some(entry) = self.entries.get_mut(name) else {
            return;
        };
        if let Life::Live(live) = &mut entry.life {
            let cause = *live.cause.get_or_insert(Cause::Bond);
            if fell && cause.is_fall() {
                live.instead = Some((cause, entry.failures, entry.starts.clone()));
                live.cause = Some(Cause::Bond);
            }
        }
    }

    /// It has ended well and stays down: so does what is bound to it.
    pub(crate) fn free_bound(&mut self, root: &ServiceName) {
        for name in self.names(|it| it.binds.contains(root) && it.wanted && !it.failed) {
            self.unwant(&name);
        }
    }

    /// It is left failed: those that require it and run fail, and what it names is started.
    pub(crate) fn left_failed(&mut self, name: &ServiceName) {
        // They may have lost their bond by this very failure.
        let lost = |it: &Entry| self.loosed.contains(&it.definition.name);
        let skips = |it: &Entry| it.skips_soon();
        let lost_by_now = |it: &Entry| it.held() || lost(it) || skips(it);
        let above = self.above(name, lost_by_now);
        // Of two reasons that they got at once, this is the one that counts. What only goes along with
        // them is left alone, as failures do not go that way.
        if !self.reloaded {
            self.bind_again(name);
        }
        self.lost_while_they_fell(&above);
        for above in above {
            if self.entries.get(&above).is_some_and(Entry::skips_soon) {
                self.part_again(&above, Cause::Dependency);
            }
            self.part(&above, Cause::Dependency);
        }
        let Some(entry) = self.entries.get(name).filter(|_| !self.ending) else {
            return;
        };
        let (step, helpers) = (entry.rescue.saturating_add(1), entry.on_failure.clone());
        let action = entry.definition.failure_action;
        if action != FailureAction::None {
            self.owed.push((name.clone(), action));
        }
        if step <= FAILURES_MAX {
            self.want_all(&helpers.into_iter().collect(), step);
        }
    }

    /// With one tick they were found late, unhealthy or silent, and one of those that they require was left
    /// failed.
    fn lost_while_they_fell(&mut self, failed: &BTreeSet<ServiceName>) {
        for name in &self.fell {
            if let Some(entry) = self.entries.get_mut(name)
                && entry.requires.iter().any(|it| failed.contains(it))
                && let Life::Live(live) = &mut entry.life
            {
                live.lost |= live.cause.is_some_and(Cause::is_fall);
            }
        }
    }

    /// Who has lost a bond with this very event has not: it is looked at again. But where the one that is left
    /// failed had lost its own before, whatever goes along with it has gone.
    fn bind_again(&mut self, failed: &ServiceName) {
        let loosed = std::mem::take(&mut self.loosed);
        let gone = match loosed.contains(failed) {
            true => self.swayed(failed, |it| loosed.contains(&it.definition.name)),
            false => BTreeSet::new(),
        };
        for name in loosed.difference(&gone) {
            let Some(entry) = self.entries.get_mut(name) else {
                continue;
            };
            let wanted = entry.wanted;
            if let Life::Live(live) = &mut entry.life
                && live.cause == Some(Cause::Bond)
            {
                live.cause = live.instead.take().map(|(cause, _, _)| cause);
                if !wanted {
                    live.cause = Some(Cause::Asked);
                }
            }
        }
    }

    /// It is said what becomes of the machine.
    pub(crate) fn escalated(&mut self, name: &ServiceName, action: FailureAction) -> Verdict {
        let owed = (name.clone(), action);
        let at = self.owed.iter().position(|it| *it == owed);
        ensure(at.is_some(), Invariant::Rescue, name)?;
        self.owed.remove(at.unwrap_or_default());
        Ok(())
    }
}
