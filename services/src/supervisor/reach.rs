//! How far the end of a run reaches: to its whole cgroup, or to its main process alone
//! (`stop.scope`), and what becomes of the rest. Not here: when a run ends (`stop`, `outcome`).
//!
//! With the scope `main`, a run is over when its main process is, and the rest lives on in the
//! cgroup: containers, as a rule, whose engine is only replaced. The next run joins them there. A
//! shutdown, the removal of the service file, and who asks for it, end them all the same: first the main process is
//! stopped like any other, then everything is asked to end, and after the time of a stop killed.

use crate::definition::StopScope;
use crate::id::RunId;

use super::Supervisor;
use super::event::{Action, ExitStatus};
use super::mutation::{Mutation, mutated};
use super::service::{Desired, End, Run, Service, State};

/// What is ended with a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// Everything, as soon as the main process is gone.
    All,
    /// The main process.
    Main,
    /// The main process, then everything, with a time for it to end by itself.
    Sweep,
}

impl Supervisor {
    fn reach(&self, index: u32, run: Run) -> Reach {
        let Some(service) = self.table.get(index) else {
            return Reach::All;
        };
        let everything = self.ends_whole(service);
        match service.kept.rules.stop_scope {
            // What has been asked to end has its time, and is not spared again: its service starts after.
            StopScope::Cgroup | StopScope::Main if run.swept && !self.killing() => Reach::Sweep,
            StopScope::Cgroup => Reach::All,
            StopScope::Main if self.killing() || mutated(Mutation::SparedKilled) => Reach::All,
            StopScope::Main if everything => Reach::Sweep,
            StopScope::Main => Reach::Main,
        }
    }

    /// Whether nothing of it is to stay, whatever its scope.
    fn ends_whole(&self, service: &Service) -> bool {
        let ending = self.shutdown.begun() && !mutated(Mutation::EndSpares);
        ending || service.removed || service.whole
    }

    /// Whether nothing is left of the run that belongs to it.
    pub(super) fn is_over(&self, index: u32, run: Run) -> bool {
        match self.reach(index, run) {
            Reach::All | Reach::Sweep => run.over(),
            Reach::Main if mutated(Mutation::SparedAwaited) => run.over(),
            // Until it is found, nobody knows which one is to be ended.
            Reach::Main => run.exited.is_some() && (!run.seeking || run.emptied),
        }
    }

    /// Whether what is left of the run is still to be asked to end.
    pub(super) fn sweeps(&self, index: u32, run: Run) -> bool {
        let asks = !run.swept && !mutated(Mutation::SweepUnasked);
        self.reach(index, run) == Reach::Sweep && asks
    }

    /// The main process is gone, or must go: whatever the end reaches is killed.
    pub(super) fn clean_up(&mut self, index: u32, run: Run, end: End) {
        if self.is_over(index, run) {
            self.over(index, end, Some(run));
            return;
        }
        let alone = match self.reach(index, run) {
            Reach::Main => run.exited.is_none(),
            // Of what has been asked to end, nothing is left for another time.
            Reach::Sweep => run.exited.is_none() && !run.swept,
            Reach::All => false,
        };
        if !alone && self.sweeps(index, run) {
            return self.ask_all_to_end(index, run, end);
        }
        let killed = true;
        self.enter(index, State::Stopping { run, end, killed });
        let Some(id) = self.table.run_id(index).filter(|_| !run.emptied || alone) else {
            return;
        };
        self.actions.push_back(if alone {
            let signal = crate::definition::Signal::Kill;
            Action::Signal { run: id, signal }
        } else {
            Action::KillAll { run: id }
        });
    }

    /// The main process is gone: all else is asked to end, and has the time of a stop for it.
    fn ask_all_to_end(&mut self, index: u32, mut run: Run, end: End) {
        let killed = false;
        run.swept = true;
        self.enter(index, State::Stopping { run, end, killed });
        if let Some(run) = self.table.run_id(index).filter(|_| !run.emptied) {
            self.actions.push_back(Action::EndAll { run });
        }
        if let Some(service) = self.table.get(index)
            && !mutated(Mutation::SweepUnbounded)
        {
            let timeout = service.kept.rules.stop_timeout;
            let short = mutated(Mutation::SweepCutShort);
            self.arm(index, if short { timeout / 2 } else { timeout });
        }
    }

    /// What is left of earlier runs of a service that is down ends when the machine goes down, its file
    /// has gone, or somebody asks for it; `false`: nothing is to be ended.
    pub(super) fn sweep_left(&mut self, index: u32) -> bool {
        let idle = self.table.get(index).is_some_and(|it| !it.state.active());
        let due = idle && self.sweep(index, End::Asked);
        // A failed one, which is wanted still, must not start for it, and its timer counts no further.
        if due {
            if let Some(service) = self.table.get_mut(index) {
                service.desired = Desired::Down;
            }
            self.unschedule(index);
        }
        due
    }

    /// The same of one that comes down, or down and up again, and of which no run is there any more.
    pub(super) fn sweep(&mut self, index: u32, end: End) -> bool {
        let service = self.table.get(index);
        let due = service.is_some_and(|it| it.left && self.ends_whole(it))
            && !mutated(Mutation::LeftForgotten);
        if due {
            let run = Run {
                exited: Some(ExitStatus::Code(0)),
                ..Run::NEW
            };
            // Whatever the scope is by now: it was left to live on.
            if self.killing() || mutated(Mutation::SweepUnasked) {
                self.clean_up(index, run, end);
            } else {
                self.ask_all_to_end(index, run, end);
            }
        }
        due
    }

    /// What had been left of an earlier run has ended by itself.
    pub(super) fn left_have_gone(&mut self, run: RunId) {
        let Some((index, service)) = self.table.by_id(run.service) else {
            return;
        };
        // The next run may have been asked for already, and its process is not there yet; or it has only
        // had sockets opened.
        let before = matches!(service.state, State::Spawning { .. } | State::Listening);
        let next = before && service.runs == run.run.wrapping_add(1);
        if !(service.runs == run.run || next) || !service.left {
            return;
        }
        let down = match service.state {
            State::Down | State::Failed | State::Armed => true,
            State::Listening
            | State::Waiting { .. }
            | State::Spawning { .. }
            | State::Starting(_)
            | State::Up { .. }
            | State::Leaving { .. }
            | State::Stopping { .. }
            | State::Backoff => false,
        };
        if let Some(service) = self.table.get_mut(index) {
            service.left = false;
        }
        if down && !mutated(Mutation::ReleaseForgotten) {
            self.release(index);
        }
    }
}
