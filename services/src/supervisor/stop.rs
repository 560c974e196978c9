//! Stopping, and how runs end: who goes first, signal, kill, and what follows when nothing is left.
//! Not here: how the wish to stop spreads (`propagate`), arithmetic of pauses (`restart`).

use crate::definition::StopScope;

use super::Supervisor;
use super::event::{Action, Change, ExitStatus, Outcome};
use super::mutation::{Mutation, mutated};
use super::reason::Reason;
use super::requests::Goal;
use super::restart::{Ending, Sequel, seed, sequel};
use super::service::{Desired, End, Run, Service, State};
use super::topology::Edge;
use crate::units::duration_text;

impl Supervisor {
    /// Takes a service that runs or is up on its way down. Its turn comes in [`Self::try_stop`].
    pub(super) fn leave(&mut self, index: u32, end: End) {
        let Some(service) = self.table.get_mut(index) else {
            return;
        };
        let run = match &mut service.state {
            State::Spawning { recalled } => {
                recalled.get_or_insert(end);
                return;
            }
            State::Starting(run) => Some(*run),
            State::Up { run, .. } => *run,
            // It does not count as up after all.
            State::Stopping { end: skips, .. } if *skips == End::Skipped => {
                *skips = end;
                return;
            }
            State::Down
            | State::Failed
            | State::Armed
            | State::Listening
            | State::Waiting { .. }
            | State::Leaving { .. }
            | State::Stopping { .. }
            | State::Backoff => return,
        };
        self.enter(
            index,
            State::Leaving {
                run,
                end,
                on: index,
                cursor: 0,
            },
        );
        self.answer_reload(index, "it is being stopped");
        // Of a oneshot that is done as well: when it is restarted, this is all that is told of its end.
        self.announce(index, Change::Stopping);
        self.mark(index);
    }

    /// Stops a leaving service, when all that come after it and stop as well are gone.
    pub(super) fn try_stop(&mut self, index: u32) {
        let Some(service) = self.table.get(index) else {
            return;
        };
        let State::Leaving {
            run, end, cursor, ..
        } = service.state
        else {
            return;
        };
        // Past the bound of a shutdown nobody waits for anybody.
        let killing = self.killing();
        if let Some((on, cursor)) = self.still_above(index, cursor)
            && !killing
        {
            if let Some(service) = self.table.get_mut(index) {
                service.state = State::Leaving {
                    run,
                    end,
                    on,
                    cursor,
                };
            }
            return;
        }
        match run {
            None => self.over(index, end, None),
            Some(run) if killing || run.exited.is_some() => self.clean_up(index, run, end),
            Some(run) => self.ask_to_stop(index, run, end),
        }
    }

    /// A successor in the order that is on its way down and not there yet.
    fn still_above(&self, index: u32, cursor: u32) -> Option<(u32, u32)> {
        let edges = self.topology.successors(index);
        let count = u32::try_from(edges.len()).unwrap_or(u32::MAX);
        let cursor = cursor.min(count);
        (cursor..count).chain(0..cursor).find_map(|at| {
            let edge = edges.get(at as usize)?;
            self.is_above(*edge).then_some((edge.other, at))
        })
    }

    /// Whether what it comes before is on its way down, and so goes first.
    pub(super) fn is_above(&self, edge: Edge) -> bool {
        let above = self.table.get(edge.other);
        above.is_some_and(going_down) && !mutated(Mutation::StopOrderIgnored)
    }

    /// Signal to the main process, and a time limit.
    pub(super) fn ask_to_stop(&mut self, index: u32, run: Run, end: End) {
        let killed = false;
        self.enter(index, State::Stopping { run, end, killed });
        let Some(service) = self.table.get(index) else {
            return;
        };
        let signal = service.kept.rules.stop_signal;
        let timeout = service.kept.rules.stop_timeout;
        if let Some(run) = self.table.run_id(index) {
            self.actions.push_back(Action::Signal { run, signal });
        }
        self.arm(index, timeout);
    }

    /// Nothing is left of the run.
    pub(super) fn over(&mut self, index: u32, end: End, run: Option<Run>) {
        if run.is_none() && self.sweep(index, end) {
            return;
        }
        let Some(service) = self.table.get_mut(index) else {
            return;
        };
        if let Some(run) = run {
            service.left = !run.emptied && !mutated(Mutation::RunOverTooEarly);
        }
        let exited = run.and_then(|run| run.exited);
        match (service.desired, end) {
            (
                Desired::Down,
                End::Asked | End::Dependency | End::Itself | End::Unfit | End::Skipped,
            ) => {
                self.rest(index);
            }
            (Desired::Up, End::Asked) => self.start_over(index),
            (Desired::Up, End::Dependency) => {
                let cause = self.reason(index);
                self.fail(index, cause);
            }
            (Desired::Up, End::Itself) => {
                // A service that must tell that it is ready, and ended before, has failed, whatever
                // its exit code. The reason was noted when it ended.
                let ending = match exited {
                    Some(ExitStatus::Code(_)) if service.reason.is_none() => Ending::Clean,
                    Some(ExitStatus::Code(_)) | None => Ending::Failed,
                    Some(ExitStatus::Signal { .. }) => Ending::Abnormal,
                };
                self.judge(index, ending);
            }
            (Desired::Up, End::Unfit) => self.judge(index, Ending::Abnormal),
            (Desired::Up, End::Skipped) => self.skip(index),
        }
    }

    /// It ended by itself: its restart policy decides what follows.
    pub(super) fn judge(&mut self, index: u32, ending: Ending) {
        let now = self.now;
        let clean = ending == Ending::Clean;
        let Some(service) = self.table.get_mut(index) else {
            return;
        };
        // Where only sockets were to be opened, there was no run at all.
        let ran = !matches!(service.state, State::Spawning { .. });
        let up_since = service
            .ready
            .filter(|ready| ran && service.started <= Some(*ready));
        let reset_after = service.kept.rules.restart.reset_after;
        // A service that is up and never healthy has not been up for any time that counts.
        let health = service.probing.as_deref();
        let good_for = up_since.map(|ready| {
            let until = health.map_or(now, |health| health.good_until(ready, now));
            until.since(ready)
        });
        let long = good_for.is_some_and(|good_for| good_for >= reset_after);
        if clean || (long && !mutated(Mutation::FailuresNotReset)) {
            service.failures = 0;
            service.rescue = 0;
        }
        if !clean {
            service.failures = service.failures.saturating_add(1);
            service.last_failure = service.reason_text().map(Into::into);
        }
        service.due = false;
        let newest = service.next.as_deref().unwrap_or(&service.kept);
        let timed = newest.rules.timer.is_some();
        let lazy = newest.rules.lazy;
        let restart = &service.kept.rules.restart;
        let brief = up_since.is_none_or(|ready| now.since(ready) < reset_after);
        let seed = seed(self.clock.seed, index, service.runs, service.failures);
        let sequel = match sequel(restart, ending, service.failures, seed) {
            // Traffic that it left waiting would start it again at once, and so without end.
            Sequel::Rest if lazy && brief => Sequel::Again(restart.delay.min(restart.max_delay)),
            sequel => sequel,
        };
        self.note_result(index, clean);
        match self.within_burst(index, sequel) {
            Sequel::Rest if timed => self.lie_in_wait(index),
            Sequel::Rest if lazy => {
                self.start_over(index);
                self.release(index);
            }
            Sequel::Rest => {
                if let Some(service) = self.table.get_mut(index) {
                    service.desired = Desired::Down;
                }
                self.rest(index);
                self.release_bound(index);
            }
            Sequel::Again(pause) => {
                let cause = self.try_again(index);
                self.enter(index, State::Backoff);
                if mutated(Mutation::SocketsClosedEarly) {
                    self.close_sockets(index);
                }
                self.arm(index, pause);
                self.settle(index);
                let told = format!("{cause}; it is tried again");
                self.announce(index, Change::Backoff { cause, pause });
                self.answer(index, Goal::Up, &Outcome::Failed(told));
            }
            Sequel::GiveUp => {
                let cause = self.reason(index);
                self.fail(index, cause);
            }
        }
    }

    /// It is tried again: why.
    fn try_again(&mut self, index: u32) -> String {
        let Some(service) = self.table.get_mut(index) else {
            return String::new();
        };
        service.tried = true;
        service.reason_text().unwrap_or("it ended").into()
    }

    /// One start too many within the time of its burst is not made.
    fn within_burst(&mut self, index: u32, sequel: Sequel) -> Sequel {
        let Sequel::Again(pause) = sequel else {
            return sequel;
        };
        let next = self.now + pause;
        let Some(service) = self.table.get_mut(index) else {
            return sequel;
        };
        let Some(burst) = service.starts.exceeded(&service.kept.rules.restart, next) else {
            return sequel;
        };
        let times = burst.starts;
        let within = duration_text(burst.within);
        let more = format!("; it was started {times} times within {within}");
        let ended = Reason::own("it ended");
        let last = service.reason.as_deref().unwrap_or(&ended);
        service.reason = Some(Box::new(last.extended(&more)));
        Sequel::GiveUp
    }

    /// It is down, and stays so.
    pub(super) fn rest(&mut self, index: u32) {
        if self.sweep(index, End::Asked) {
            return;
        }
        self.enter(index, State::Down);
        self.unschedule(index);
        if let Some(service) = self.table.get_mut(index) {
            service.due = false;
        }
        self.close_sockets(index);
        self.announce(index, Change::Down);
        self.release(index);
        self.settle(index);
        self.answer(index, Goal::Down, &Outcome::Done);
        let ended = Outcome::Failed("it ended without becoming ready".into());
        self.answer(index, Goal::Up, &ended);
        self.answer_reload(index, "it ended");
        if self.table.get(index).is_some_and(|s| s.removed) {
            self.table.condemn(index);
        }
    }

    /// It failed and is left alone; those that require it and run are stopped.
    pub(super) fn fail(&mut self, index: u32, cause: Reason) {
        let told: String = cause.text().into();
        if let Some(service) = self.table.get_mut(index) {
            service.last_failure = Some(cause.text().into());
            service.reason = Some(Box::new(cause));
            service.tried = true;
            service.due = false;
        }
        self.note_result(index, false);
        self.enter(index, State::Failed);
        self.close_sockets(index);
        let cause = told.clone();
        self.announce(index, Change::Failed { cause });
        self.release(index);
        self.settle(index);
        self.answer(index, Goal::Up, &Outcome::Failed(told.clone()));
        self.answer_reload(index, &told);
        self.propagate_failure(index);
        self.rescue(index, &told);
    }

    pub(super) fn release(&mut self, index: u32) {
        let id = self.table.id(index);
        if let Some(service) = self.table.get_mut(index)
            && let Some(id) = id
            && service.dirty
            && (!service.left || mutated(Mutation::ReleasedTooEarly))
        {
            service.dirty = false;
            self.actions.push_back(Action::Release { service: id });
        }
    }

    /// Kills what has not stopped in time.
    pub(super) fn kill(&mut self, index: u32) {
        let Some(service) = self.table.get(index) else {
            return;
        };
        match service.state {
            State::Stopping {
                run,
                end,
                killed: false,
            } => {
                self.announce(index, Change::Killed);
                self.clean_up(index, run, end);
            }
            State::Leaving {
                run: Some(run),
                end,
                ..
            } => {
                self.announce(index, Change::Killed);
                self.clean_up(index, run, end);
            }
            State::Leaving { run: None, end, .. } => self.over(index, end, None),
            // Its main process alone was killed: now it is the turn of all.
            State::Stopping {
                run,
                end,
                killed: true,
            } if self.killing() && service.kept.rules.stop_scope == StopScope::Main => {
                self.clean_up(index, run, end);
            }
            State::Down
            | State::Failed
            | State::Armed
            | State::Listening
            | State::Waiting { .. }
            | State::Spawning { .. }
            | State::Starting(_)
            | State::Up { .. }
            | State::Stopping { killed: true, .. }
            | State::Backoff => {}
        }
    }
}

/// Whether it is on its way down and holds something still.
fn going_down(service: &Service) -> bool {
    match service.state {
        State::Leaving { .. } | State::Stopping { .. } => true,
        State::Spawning { recalled } => recalled.is_some() || service.desired == Desired::Down,
        State::Starting(_) | State::Up { .. } => service.desired == Desired::Down,
        State::Down
        | State::Failed
        | State::Armed
        | State::Listening
        | State::Waiting { .. }
        | State::Backoff => false,
    }
}
