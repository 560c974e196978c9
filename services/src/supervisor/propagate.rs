//! How wishes spread along the relations, before anything is done about them. Work lists, no
//! recursion: each visits a service at most once. Not here: the steps that follow (`machine`, `stop`).

use std::collections::BTreeSet;

use super::Supervisor;
use super::event::Outcome;
use super::mutation::{Mutation, mutated};
use super::reason::Reason;
use super::requests::Goal;
use super::service::{Desired, End, Service, State};
use super::topology::Tie;

impl Supervisor {
    /// Somebody wants `root` up: it, and all it requires and wants. Old failures are forgotten, and
    /// pauses end.
    pub(super) fn want(&mut self, root: u32) {
        self.want_all(&[root], 0);
    }

    /// The same of several at once, so many steps after the failure that began it.
    pub(super) fn want_all(&mut self, roots: &[u32], step: u8) {
        // Whoever has to go for them goes first: what is part of that and started here goes on.
        let spared = self.closure(roots, |_, _| true);
        for index in self.reached(roots) {
            self.oust_for_start(index, &spared);
        }
        for index in self.reached(roots) {
            self.wish_up(index, step);
        }
    }

    /// `roots`, and all that a start of them starts: what is up already starts nothing.
    fn reached(&self, roots: &[u32]) -> Vec<u32> {
        let asked: BTreeSet<u32> = roots.iter().copied().collect();
        let mut seen = asked.clone();
        let mut work = roots.to_vec();
        let mut reached = Vec::new();
        while let Some(index) = work.pop() {
            let Some(service) = self.table.get(index) else {
                continue;
            };
            let up = matches!(service.state, State::Up { .. }) && service.desired == Desired::Up;
            if up && !asked.contains(&index) {
                continue;
            }
            reached.push(index);
            for edge in self.topology.predecessors(index) {
                if edge.tie.starts() && seen.insert(edge.other) {
                    work.push(edge.other);
                }
            }
        }
        reached
    }

    fn wish_up(&mut self, index: u32, step: u8) {
        let Some(service) = self.table.get_mut(index) else {
            return;
        };
        let flipped = service.desired == Desired::Down;
        service.desired = Desired::Up;
        service.rescue = step;
        match &mut service.state {
            State::Up { .. } => {}
            State::Waiting { .. } if mutated(Mutation::WaitingNotForgiven) => {}
            State::Failed
            | State::Backoff
            | State::Down
            | State::Armed
            | State::Listening
            | State::Waiting { .. } => {
                service.failures = 0;
                service.restarts = 0;
                service.starts.forget();
                service.tried = false;
            }
            State::Leaving { end, .. } | State::Stopping { end, .. } => {
                *end = End::Asked;
                service.failures = 0;
                service.starts.forget();
                service.tried = false;
            }
            State::Spawning { recalled } => {
                *recalled = recalled.map(|_| End::Asked);
                service.tried = false;
            }
            State::Starting(_) => service.tried = false,
        }
        if matches!(service.state, State::Failed | State::Backoff) {
            self.start_over(index);
        }
        if flipped {
            self.answer(index, Goal::Down, &Outcome::Superseded);
            self.schedule(index);
        }
        self.mark(index);
        self.oust_for_start(index, &BTreeSet::new());
    }

    /// What cannot run beside `index` is stopped, unless it only lies in wait for now. What its start
    /// brings up, and what is started `beside` it, goes on, though it is part of that.
    pub(super) fn oust_for_start(&mut self, index: u32, beside: &BTreeSet<u32>) {
        let alone = self.topology.conflicts(index).is_empty();
        if alone || self.waits_for_timer(index) || self.is_lazy(index) {
            return;
        }
        let mut spared = self.closure(&[index], |_, _| true);
        spared.extend(beside);
        for at in 0.. {
            let Some(rival) = self.topology.conflicts(index).get(at).copied() else {
                break;
            };
            let held = self.table.get(rival).is_some_and(|service| {
                service.desired == Desired::Up && !matches!(service.state, State::Failed)
            });
            if held && !mutated(Mutation::RivalsNotOusted) {
                let why = self.blaming(index, |it| {
                    format!("{it} was started, which it conflicts with")
                });
                self.unwant_but(rival, &why, &spared);
            }
        }
    }

    /// A service starts again by itself: what it requires and what ended well meanwhile does too.
    pub(super) fn want_required(&mut self, root: u32) {
        let step = self.table.get(root).map_or(0, |service| service.rescue);
        let mut seen = BTreeSet::from([root]);
        let mut work = vec![root];
        while let Some(index) = work.pop() {
            for at in 0.. {
                let Some(edge) = self.topology.predecessors(index).get(at).copied() else {
                    break;
                };
                let ended = self.table.get(edge.other).is_some_and(|service| {
                    service.desired == Desired::Down && matches!(service.state, State::Down)
                });
                if edge.tie.requires() && ended && seen.insert(edge.other) {
                    self.wish_up(edge.other, step);
                    work.push(edge.other);
                }
            }
        }
    }

    /// Nobody shall want `root` up, nor anything that requires it.
    pub(super) fn unwant(&mut self, root: u32, why: &Reason) {
        self.unwant_but(root, why, &BTreeSet::new());
    }

    fn unwant_but(&mut self, root: u32, why: &Reason, spared: &BTreeSet<u32>) {
        let mut work = vec![root];
        while let Some(index) = work.pop() {
            let Some(service) = self.table.get(index) else {
                continue;
            };
            let failed = matches!(service.state, State::Failed);
            let wanted = service.desired == Desired::Up;
            if index != root && (failed || !wanted) {
                continue;
            }
            if index == root {
                self.set_reason(index, why.clone());
            } else {
                let what = match self.topology.parts(root).contains(&index) {
                    true => "is part of",
                    false => "requires",
                };
                let cause = self.blaming(root, |it| format!("{it}, which it {what}, was stopped"));
                self.set_reason(index, cause);
            }
            if wanted {
                self.wish_down(index);
            }
            let above = self.topology.successors(index).iter();
            work.extend(
                above
                    .filter(|edge| edge.tie.requires())
                    .filter(|_| !mutated(Mutation::DependentsNotStopped))
                    .map(|edge| edge.other),
            );
            if !mutated(Mutation::PartNotStopped) {
                let parts = self.topology.parts(index).iter();
                work.extend(parts.filter(|part| !spared.contains(part)));
            }
        }
    }

    /// Not wanted any more; who waits for it need not.
    pub(super) fn wish_down(&mut self, index: u32) {
        let Some(service) = self.table.get_mut(index) else {
            return;
        };
        service.desired = Desired::Down;
        service.due = false;
        self.unschedule(index);
        self.mark(index);
        self.wake(index);
        self.answer(index, Goal::Up, &Outcome::Superseded);
    }

    /// `root` failed for good: all that require it and run are stopped, and fail.
    pub(super) fn propagate_failure(&mut self, root: u32) {
        let mut work = vec![root];
        while let Some(index) = work.pop() {
            for at in 0.. {
                let Some(edge) = self.topology.successors(index).get(at).copied() else {
                    break;
                };
                let lost = |s: &Service| held(&s.state) || skips(&s.state);
                let held = self.table.get(edge.other).is_some_and(lost);
                let spreads = !mutated(Mutation::FailureNotSpread);
                if edge.tie.requires() && held && spreads {
                    let cause = self.blaming(root, |it| format!("{it}, which it requires, failed"));
                    self.set_reason(edge.other, cause);
                    self.leave(edge.other, End::Dependency);
                    work.push(edge.other);
                }
            }
        }
    }

    /// `root` and all that require it or are part of it, and run, go down, and come up again as
    /// they are wanted still.
    pub(super) fn bounce(&mut self, root: u32) {
        let mut work = vec![root];
        while let Some(index) = work.pop() {
            self.leave(index, End::Asked);
            let above = self.topology.successors(index).iter();
            let above = above
                .filter(|edge| edge.tie.requires())
                .map(|edge| edge.other);
            let parts = self.topology.parts(index).iter().copied();
            let parts = parts.filter(|_| !mutated(Mutation::PartNotRestarted));
            let others: Vec<u32> = above.chain(parts).collect();
            for other in others {
                let held = self
                    .table
                    .get(other)
                    .is_some_and(|s| held(&s.state) && s.desired == Desired::Up);
                if held {
                    self.leave(other, End::Asked);
                    work.push(other);
                }
            }
        }
    }

    /// `index` is up no more: those that are bound to it are looked at in their turn.
    pub(super) fn look_at_bound(&mut self, index: u32) {
        for at in 0.. {
            let Some(edge) = self.topology.successors(index).get(at).copied() else {
                break;
            };
            if edge.tie == Tie::Binds {
                self.mark(edge.other);
            }
        }
    }

    /// A service that runs and is wanted stops when something it is bound to is not up, with what
    /// requires it. They come up again with that.
    pub(super) fn mind_bond(&mut self, index: u32) {
        let lost = self.topology.predecessors(index).iter().find(|edge| {
            let other = self.table.get(edge.other);
            let up = other.is_some_and(|it| matches!(it.state, State::Up { .. }) && !it.skipped);
            edge.tie == Tie::Binds && !up && !mutated(Mutation::BondIgnored)
        });
        let Some(lost) = lost.map(|edge| edge.other) else {
            return;
        };
        let goes_on = |it: &Service| held(&it.state) && it.desired == Desired::Up;
        if self.table.get(index).is_some_and(goes_on) {
            let cause = self.blaming(lost, |it| format!("{it}, which it is bound to, is not up"));
            self.set_reason(index, cause);
            self.bounce(index);
        }
    }

    /// `root` has ended well and stays down: nobody that is bound to it can be up again.
    pub(super) fn release_bound(&mut self, root: u32) {
        let bound = self.topology.successors(root).iter();
        let bound: Vec<u32> = bound
            .filter(|edge| edge.tie == Tie::Binds)
            .map(|edge| edge.other)
            .collect();
        for index in bound {
            let wanted = self.table.get(index).is_some_and(|service| {
                service.desired == Desired::Up && !matches!(service.state, State::Failed)
            });
            if wanted && !mutated(Mutation::BoundRunsOn) {
                let why = self.blaming(root, |it| format!("{it}, which it is bound to, ended"));
                self.unwant(index, &why);
            }
        }
    }

    pub(super) fn name_of(&self, index: u32) -> String {
        let service = self.table.get(index);
        service.map_or_else(|| "a service".into(), |s| s.name.to_string())
    }

    /// A reason that blames the service `other`, in words made of its name.
    pub(super) fn blaming(&self, other: u32, words: impl FnOnce(&str) -> String) -> Reason {
        match self.table.get(other) {
            Some(service) => Reason::blaming(service.name.clone(), words(service.name.as_str())),
            None => Reason::own(words("a service")),
        }
    }

    pub(super) fn set_reason(&mut self, index: u32, reason: impl Into<Reason>) {
        if let Some(service) = self.table.get_mut(index) {
            service.reason = Some(Box::new(reason.into()));
        }
    }
}

/// Whether a condition of its does not hold: it counts as up as soon as its run is gone.
fn skips(state: &State) -> bool {
    matches!(state, State::Stopping { end, .. } if *end == End::Skipped)
}

/// Whether it runs or is up, and is not yet on its way down.
fn held(state: &State) -> bool {
    match state {
        State::Spawning { recalled } => recalled.is_none(),
        State::Starting(_) | State::Up { .. } => true,
        State::Down
        | State::Failed
        | State::Armed
        | State::Listening
        | State::Waiting { .. }
        | State::Leaving { .. }
        | State::Stopping { .. }
        | State::Backoff => false,
    }
}
