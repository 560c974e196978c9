//! Starting: the queue of marked services, one step of a service, and what blocks it. Not here: how
//! wishes spread (`propagate`), how a run ends (`stop`), what the shell tells (`outcome`).

use std::collections::BTreeSet;

use super::Supervisor;
use super::event::{Action, Change, Outcome};
use super::mutation::{Mutation, mutated};
use super::reason::Reason;
use super::requests::Goal;
use super::service::{BootMark, Desired, End, Manner, Reloading, Run, Service, State};
use super::timers::Due;
use super::topology::{Edge, Tie};

/// Whether a waiting service may start.
enum Verdict {
    Clear,
    /// Not before `on` has changed.
    Blocked {
        on: u32,
        cursor: u32,
        /// It will not soon: an attempt of it has failed, and is repeated after a pause.
        stalled: bool,
    },
    /// Not at all, because of `on`.
    Doomed {
        on: u32,
    },
    /// Not at all: `on`, which it is bound to, is skipped.
    Unbound {
        on: u32,
    },
}

impl Supervisor {
    /// Puts a service into the queue, unless it is there.
    pub(super) fn mark(&mut self, index: u32) {
        if let Some(queued) = self.table.queued_mut(index)
            && !std::mem::replace(queued, true)
        {
            self.queue.push_back(index);
        }
    }

    /// Works off the queue. It ends: each step either brings its service one state further in a
    /// circle that only an event can close, or changes nothing and marks nobody.
    pub(super) fn drain(&mut self) {
        while let Some(index) = self.queue.pop_front() {
            if let Some(queued) = self.table.queued_mut(index) {
                *queued = false;
                self.step(index);
            }
        }
    }

    /// The second phase of an event.
    pub(super) fn work_off(&mut self) {
        self.drain();
        self.settle_boot();
        self.finish_shutdown();
    }

    /// What lies in wait for its timer or its sockets and is wanted before: at once, so that who comes after
    /// it waits for it, whoever is looked at first.
    pub(super) fn wait_no_longer(&mut self, index: u32) {
        let state = self.table.get(index).map(|it| it.state);
        if matches!(state, Some(State::Armed | State::Listening)) {
            self.step(index);
        }
    }

    fn step(&mut self, index: u32) {
        let Some(service) = self.table.get(index) else {
            return;
        };
        match (service.state, service.desired) {
            (State::Down, Desired::Up) if self.waits_for_timer(index) => self.lie_in_wait(index),
            (State::Down, Desired::Up) => {
                self.enter(
                    index,
                    State::Waiting {
                        on: index,
                        cursor: 0,
                    },
                );
                self.try_start(index, 0);
            }
            (State::Waiting { .. }, Desired::Up) if self.waits_for_timer(index) => {
                self.lie_in_wait(index);
            }
            (State::Waiting { cursor, .. }, Desired::Up) => self.try_start(index, cursor),
            (State::Armed, Desired::Up) if self.waits_for_timer(index) => {}
            (State::Armed, Desired::Up) => self.trigger(index),
            (State::Listening, Desired::Up) if self.is_lazy(index) => {}
            (State::Listening, Desired::Up) => self.rouse(index),
            (
                State::Armed
                | State::Listening
                | State::Waiting { .. }
                | State::Backoff
                | State::Failed,
                Desired::Down,
            ) => {
                self.rest(index);
            }
            (State::Spawning { .. } | State::Starting(_) | State::Up { .. }, Desired::Down) => {
                self.leave(index, End::Asked);
                self.try_stop(index);
            }
            (State::Leaving { .. }, Desired::Up | Desired::Down) => self.try_stop(index),
            (State::Spawning { .. } | State::Starting(_) | State::Up { .. }, Desired::Up) => {
                self.mind_bond(index);
            }
            // It was wanted for a moment only, and nobody waits for it.
            (State::Down, Desired::Down) => self.settle(index),
            (State::Stopping { .. }, Desired::Up | Desired::Down)
            | (State::Failed | State::Backoff, Desired::Up) => {}
        }
    }

    /// Nothing of it runs, and it is to start: now, or when its timer says so. Wanted no more before its
    /// turn comes, it is down for good, which has to be told.
    pub(super) fn start_over(&mut self, index: u32) {
        self.enter(index, State::Down);
        let (on, cursor) = (index, 0);
        self.enter(index, State::Waiting { on, cursor });
        self.mark(index);
    }

    /// The one place where a state changes: its timer ends, its neighbours are told.
    pub(super) fn enter(&mut self, index: u32, state: State) {
        let now = self.now;
        let Some(service) = self.table.get_mut(index) else {
            return;
        };
        if !mutated(Mutation::TimerNotCancelled) {
            self.timers
                .cancel(Due::Service(index), service.deadline.take());
        }
        let before = service.state;
        service.state = state;
        service.skipped = false;
        service.since = now;
        if !state.active()
            && let Some(next) = service.next.take()
        {
            service.kept = *next;
            self.table.redefined(index);
            // It may have another timer from now on, or none.
            self.schedule(index);
        }
        self.shutdown.count(before.active(), state.active());
        let asked = match before {
            State::Starting(_) => !matches!(state, State::Starting(_)),
            State::Up { .. } => !matches!(state, State::Up { .. }),
            State::Down
            | State::Failed
            | State::Armed
            | State::Listening
            | State::Waiting { .. }
            | State::Spawning { .. }
            | State::Leaving { .. }
            | State::Stopping { .. }
            | State::Backoff => false,
        };
        if asked {
            self.end_probing(index);
            self.unwatch(index);
            self.look_at_bound(index);
        }
        match state {
            State::Down
            | State::Armed
            | State::Listening
            | State::Failed
            | State::Backoff
            | State::Up { .. } => {
                self.wake(index);
            }
            State::Waiting { .. }
            | State::Spawning { .. }
            | State::Starting(_)
            | State::Leaving { .. }
            | State::Stopping { .. } => {}
        }
    }

    /// Marks the neighbours that wait for `index`.
    pub(super) fn wake(&mut self, index: u32) {
        let after = self.topology.successors(index).iter().map(|e| e.other);
        let before = self.topology.predecessors(index).iter().map(|e| e.other);
        let beside = self.topology.conflicts(index).iter().copied();
        for other in after.chain(before).chain(beside) {
            // Looked at first: who does not wait is not touched.
            let Some(service) = self.table.get(other) else {
                continue;
            };
            let waits = match service.state {
                State::Waiting { on, .. } | State::Leaving { on, .. } => on == index,
                State::Down
                | State::Failed
                | State::Armed
                | State::Listening
                | State::Spawning { .. }
                | State::Starting(_)
                | State::Up { .. }
                | State::Stopping { .. }
                | State::Backoff => false,
            };
            if waits
                && let Some(queued) = self.table.queued_mut(other)
                && !mutated(Mutation::NeighbourNotWoken)
                && !std::mem::replace(queued, true)
            {
                self.queue.push_back(other);
            }
        }
    }

    fn try_start(&mut self, index: u32, cursor: u32) {
        match self.look(index, cursor) {
            Verdict::Clear => {
                // A reload may have made rivals of two that wait: whose turn comes first wins.
                self.oust_for_start(index, &BTreeSet::new());
                self.start(index);
            }
            Verdict::Doomed { on } => {
                let cause = self.doom(on);
                self.fail(index, cause);
            }
            Verdict::Unbound { on } => {
                let why = self.blaming(on, |it| format!("{it}, which it is bound to, is skipped"));
                self.unwant(index, &why);
            }
            Verdict::Blocked {
                on,
                cursor,
                stalled,
            } => {
                if let Some(service) = self.table.get_mut(index) {
                    service.state = State::Waiting { on, cursor };
                }
                if stalled {
                    self.stall(index, on);
                }
                // Or of two of which the other is up: it is stopped, here as ever.
                self.oust_for_start(index, &BTreeSet::new());
            }
        }
    }

    /// Looks through the predecessors from `cursor` on and, when none of those blocks, once more
    /// through the earlier ones, as they may have changed since.
    fn look(&self, index: u32, cursor: u32) -> Verdict {
        let edges = self.topology.predecessors(index);
        let count = u32::try_from(edges.len()).unwrap_or(u32::MAX);
        let cursor = cursor.min(count);
        for at in (cursor..count).chain(0..cursor) {
            let Some(edge) = edges.get(at as usize) else {
                continue;
            };
            let Some(other) = self.table.get(edge.other) else {
                continue;
            };
            match edge.tie {
                Tie::Requires | Tie::Binds if doomed(other) => {
                    return Verdict::Doomed { on: edge.other };
                }
                Tie::Binds if other.skipped => return Verdict::Unbound { on: edge.other },
                Tie::Requires | Tie::Binds | Tie::Wants | Tie::Order => {}
            }
            if self.blocks(*edge) {
                return Verdict::Blocked {
                    on: edge.other,
                    cursor: at,
                    stalled: edge.tie.requires() && other.tried,
                };
            }
        }
        let mut rivals = self.topology.conflicts(index).iter();
        match rivals.find(|other| self.rivals(index, **other)) {
            Some(on) => Verdict::Blocked {
                on: *on,
                cursor: count,
                stalled: false,
            },
            None => Verdict::Clear,
        }
    }

    /// Whether who comes after a predecessor may not start yet.
    pub(super) fn blocks(&self, edge: Edge) -> bool {
        let Some(other) = self.table.get(edge.other) else {
            return false;
        };
        match edge.tie {
            Tie::Requires | Tie::Binds if mutated(Mutation::RequiredNotAwaited) => false,
            Tie::Requires => !other.state.available(),
            Tie::Binds => !matches!(other.state, State::Up { .. }),
            Tie::Wants | Tie::Order if mutated(Mutation::WantedNotAwaited) => false,
            Tie::Wants | Tie::Order => !other.settled(),
        }
    }

    /// Whether `index` may not start while this one, which it conflicts with, is there.
    pub(super) fn rivals(&self, index: u32, other: u32) -> bool {
        let rival = self.table.get(other);
        rival.is_some_and(|service| service.state.active())
            && !self.is_lazy(index)
            && !mutated(Mutation::RivalsNotAwaited)
    }

    /// Why nothing that requires `on` may start.
    fn doom(&self, on: u32) -> Reason {
        let failed = self
            .table
            .get(on)
            .is_some_and(|service| matches!(service.state, State::Failed));
        let what = if failed { "failed" } else { "is not wanted" };
        self.blaming(on, |it| format!("{it}, which it requires, {what}"))
    }

    fn start(&mut self, index: u32) {
        if self.is_lazy(index) {
            return self.open_sockets(index);
        }
        let now = self.now;
        let Some(service) = self.table.get_mut(index) else {
            return;
        };
        service.reason = None;
        service.status_text = None;
        service.complaint = None;
        service.watching = None;
        service.probing = None;
        service.whole = false;
        service.started = Some(now);
        let manner = service.kept.rules.manner;
        self.note_start(index);
        let Some(service) = self.table.get_mut(index) else {
            return;
        };
        match manner {
            Manner::Target if service.kept.rules.masked => self.skip_masked(index),
            Manner::Target => self.up(index, None),
            Manner::Simple | Manner::Notify | Manner::Oneshot | Manner::Forking => {
                service.starts.note(&service.kept.rules.restart, now);
                service.runs = service.runs.wrapping_add(1).max(1);
                service.dirty = true;
                service.listens |= service.kept.rules.sockets;
                self.enter(index, State::Spawning { recalled: None });
                self.announce(index, Change::Starting);
                if let Some(run) = self.table.run_id(index) {
                    self.actions.push_back(Action::Spawn { run });
                }
            }
        }
    }

    /// The pause is over.
    pub(super) fn retry(&mut self, index: u32) {
        if let Some(service) = self.table.get_mut(index) {
            service.restarts = service.restarts.saturating_add(1);
        }
        self.start_without_timer(index);
        self.want_required(index);
        self.enter(
            index,
            State::Waiting {
                on: index,
                cursor: 0,
            },
        );
        self.mark(index);
    }

    /// It is ready.
    pub(super) fn up(&mut self, index: u32, run: Option<Run>) {
        let now = self.now;
        if let Some(service) = self.table.get_mut(index) {
            service.ready = Some(now);
            service.tried = false;
            service.due = false;
            service.reason = None;
        }
        let reload = Reloading::No;
        self.enter(index, State::Up { run, reload });
        self.announce(index, Change::Up);
        self.begin_health(index);
        self.watch(index);
        self.settle(index);
        self.answer(index, Goal::Up, &Outcome::Done);
    }

    /// An attempt has failed, or waits for one that has: nobody waits for it but those that
    /// require it, and whoever asked for it is told.
    fn stall(&mut self, index: u32, on: u32) {
        let Some(service) = self.table.get_mut(index) else {
            return;
        };
        if service.tried {
            return;
        }
        service.tried = true;
        let cause = format!(
            "it requires {}, which failed and is tried again",
            self.name_of(on)
        );
        self.settle(index);
        self.wake(index);
        self.answer(index, Goal::Up, &Outcome::Failed(cause));
    }

    /// It is down, or failed, or up, or has been tried: the boot waits no longer for it.
    pub(super) fn settle(&mut self, index: u32) {
        if let Some(service) = self.table.get_mut(index)
            && service.boot == BootMark::Pending
        {
            service.boot = BootMark::Settled;
            self.boot.one_settled(index);
        }
    }

    pub(super) fn announce(&mut self, index: u32, change: Change) {
        if let Some(service) = self.table.id(index) {
            self.actions.push_back(Action::Announce { service, change });
        }
    }
}

/// Whether nobody who requires it may start.
fn doomed(service: &Service) -> bool {
    service.desired == Desired::Down || matches!(service.state, State::Failed)
}
