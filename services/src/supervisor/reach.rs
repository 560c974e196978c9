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
use super::service::{Desired, End, Run, State};

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
    fn reach(&self, index: u32) -> Reach {
        let Some(service) = self.table.get(index) else {
            return Reach::All;
        };
        let everything = self.shutdown.begun() || service.removed || service.whole;
        match service.kept.rules.stop_scope {
            StopScope::Cgroup => Reach::All,
            StopScope::Main if self.killing() => Reach::All,
            StopScope::Main if everything => Reach::Sweep,
            StopScope::Main => Reach::Main,
        }
    }

    /// Whether nothing is left of the run that belongs to it.
    pub(super) fn is_over(&self, index: u32, run: Run) -> bool {
        match self.reach(index) {
            Reach::All | Reach::Sweep => run.over(),
            // Until it is found, nobody knows which one is to be ended.
            Reach::Main => run.exited.is_some() && (!run.seeking || run.emptied),
        }
    }

    /// Whether what is left of the run is still to be asked to end.
    pub(super) fn sweeps(&self, index: u32, run: Run) -> bool {
        self.reach(index) == Reach::Sweep && !run.swept
    }

    /// The main process is gone, or must go: whatever the end reaches is killed.
    pub(super) fn clean_up(&mut self, index: u32, mut run: Run, end: End) {
        if self.is_over(index, run) {
            self.over(index, end, Some(run));
            return;
        }
        let alone = match self.reach(index) {
            Reach::Main | Reach::Sweep => run.exited.is_none(),
            Reach::All => false,
        };
        let sweep = !alone && self.sweeps(index, run);
        run.swept |= sweep;
        let killed = !sweep;
        self.enter(index, State::Stopping { run, end, killed });
        let Some(id) = self.table.run_id(index).filter(|_| !run.emptied || alone) else {
            return;
        };
        self.actions.push_back(if alone {
            let signal = crate::definition::Signal::Kill;
            Action::Signal { run: id, signal }
        } else if sweep {
            Action::EndAll { run: id }
        } else {
            Action::KillAll { run: id }
        });
        if sweep && let Some(service) = self.table.get(index) {
            let timeout = service.kept.rules.stop_timeout;
            self.arm(index, timeout);
        }
    }

    /// What is left of earlier runs of a service that is down ends when the machine goes down, its file
    /// has gone, or somebody asks for it; `false`: nothing is to be ended.
    pub(super) fn sweep_left(&mut self, index: u32) -> bool {
        let begun = self.shutdown.begun();
        let due = self
            .table
            .get(index)
            .is_some_and(|it| it.left && (begun || it.removed || it.whole) && !it.state.active());
        if due {
            // A failed one, which is wanted still, must not start for it.
            if let Some(service) = self.table.get_mut(index) {
                service.desired = Desired::Down;
            }
            let run = Run {
                exited: Some(ExitStatus::Code(0)),
                ..Run::NEW
            };
            self.clean_up(index, run, End::Asked);
        }
        due
    }

    /// What had been left of an earlier run has ended by itself.
    pub(super) fn left_have_gone(&mut self, run: RunId) {
        let Some((index, service)) = self.table.by_id(run.service) else {
            return;
        };
        if service.runs != run.run || !service.left {
            return;
        }
        let down = match service.state {
            State::Down | State::Failed => true,
            State::Armed
            | State::Listening
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
        if down {
            self.release(index);
        }
    }
}
