//! What the shell tells of runs: spawned, exited, emptied, and time. Each handler is one column of
//! the state table. Not here: what services say themselves (`notified`), what follows for the
//! neighbours.

use crate::id::RunId;
use crate::time::Duration;

use super::Supervisor;
use super::event::{Action, ExitStatus, Outcome};
use super::mutation::{Mutation, mutated};
use super::requests::Goal;
use super::restart::Ending;
use super::service::{Begun, Desired, End, Manner, Reloading, Run, Service, State};
use super::timers::Due;

impl Supervisor {
    pub(super) fn on_spawned(&mut self, run: RunId) {
        let Some(index) = self.table.by_run(run) else {
            return;
        };
        let Some(service) = self.table.get(index) else {
            return;
        };
        let State::Spawning { recalled } = service.state else {
            return;
        };
        let manner = service.kept.rules.manner;
        let timeout = service.kept.rules.start_timeout;
        let wanted = service.desired == Desired::Up && recalled.is_none();
        let simple = manner == Manner::Simple;
        let begins = service.kept.rules.begins && !mutated(Mutation::BeginNotAwaited);
        if wanted && simple && service.kept.rules.ready.is_none() && !begins {
            self.up(index, Some(Run::NEW));
            return;
        }
        let begun = if begins { Begun::Not } else { Begun::Ready };
        let run = Run { begun, ..Run::NEW };
        self.enter(index, State::Starting(run));
        if wanted {
            self.arm(index, timeout);
            if simple && !begins {
                self.find_ready(index);
            }
        } else {
            self.leave(index, recalled.unwrap_or(End::Asked));
        }
    }

    pub(super) fn on_spawn_failed(&mut self, run: RunId, cause: &str) {
        if let Some(index) = self.still_wanted(run) {
            self.set_reason(index, cause);
            self.judge(index, Ending::Failed);
        }
    }

    /// The service of a spawn that has led to no process, where it is wanted as before. One that is to
    /// stop has nothing to wait for.
    pub(super) fn still_wanted(&mut self, run: RunId) -> Option<u32> {
        let index = self.table.by_run(run)?;
        let service = self.table.get(index)?;
        let State::Spawning { recalled } = service.state else {
            return None;
        };
        match recalled {
            Some(end) => self.over(index, end, None),
            None if service.desired == Desired::Down => self.rest(index),
            None => return Some(index),
        }
        None
    }

    pub(super) fn on_exited(&mut self, run: RunId, status: ExitStatus) {
        let Some(index) = self.table.by_run(run) else {
            return;
        };
        let Some(service) = self.table.get_mut(index) else {
            return;
        };
        let Some(run) = service.state.run_mut() else {
            return;
        };
        if run.exited.is_some() {
            return;
        }
        run.exited = Some(status);
        let run = *run;
        let clean = service.kept.rules.is_clean(status);
        match service.state {
            State::Starting(_) if run.begun == Begun::Skipped => {
                self.clean_up(index, run, End::Skipped);
            }
            State::Starting(_) if run.begun == Begun::Failed => {
                self.clean_up(index, run, End::Itself);
            }
            State::Starting(_)
                if service.kept.rules.manner == Manner::Forking
                    && run.begun == Begun::Ready
                    && clean =>
            {
                self.seek(index);
            }
            State::Starting(_)
                if service.kept.rules.manner == Manner::Oneshot
                    && run.begun == Begun::Ready
                    && clean =>
            {
                let timed = service.kept.rules.timer.is_some();
                self.up(index, (!run.over()).then_some(run));
                if timed {
                    // It is up for a moment only, and then ready for its next time.
                    self.clean_up(index, run, End::Itself);
                }
            }
            State::Starting(_) => {
                let why = super::inform::ending(status, run.out_of_memory);
                let said = service.complained();
                self.set_reason(index, format!("{why} before it was ready{said}"));
                self.clean_up(index, run, End::Itself);
            }
            State::Up { .. } => self.ended(index, run, status),
            State::Leaving { .. } => self.absorb(index),
            State::Stopping { end, killed, .. } => {
                if end == End::Itself {
                    self.note_end(index, status, run.out_of_memory);
                }
                // What has been asked to end has its time for it.
                let first = !killed && !run.swept;
                if self.is_over(index, run) || first || self.sweeps(index, run) {
                    self.clean_up(index, run, end);
                }
            }
            State::Down
            | State::Failed
            | State::Armed
            | State::Listening
            | State::Waiting { .. }
            | State::Spawning { .. }
            | State::Backoff => {}
        }
    }

    /// What was asked to go down, and why, has not done so in its time.
    fn note_killed(&mut self, index: u32, limit: Duration) {
        if let Some(service) = self.table.get_mut(index)
            && service.desired == Desired::Down
            && let State::Stopping { killed: false, .. } = service.state
            && let Some(reason) = &mut service.reason
        {
            **reason = reason.extended(&format!(
                "; it had not ended after {limit:?}, and was killed"
            ));
        }
    }

    /// What a forking service's command has left is the main process, once that is found.
    fn seek(&mut self, index: u32) {
        if let Some(service) = self.table.get_mut(index)
            && let Some(run) = service.state.run_mut()
        {
            run.seeking = true;
            if mutated(Mutation::ForkerUpTooEarly) {
                let run = Some(*run);
                self.up(index, run);
            }
        }
        if let Some(run) = self.table.run_id(index) {
            self.actions.push_back(Action::FindMain { run });
        }
    }

    /// The main process of a forking service is found, or there is none to be found.
    pub(super) fn on_main_sought(&mut self, run: RunId, outcome: Result<(), String>) {
        let Some(index) = self.table.by_run(run) else {
            return;
        };
        let Some(service) = self.table.get_mut(index) else {
            return;
        };
        let forking = service.kept.rules.manner == Manner::Forking;
        let starting = matches!(service.state, State::Starting(_));
        let Some(run) = service.state.run_mut() else {
            return;
        };
        // Only once, and only for the command that has ended.
        if !forking || !run.seeking {
            return;
        }
        run.seeking = false;
        if outcome.is_ok() {
            run.exited = None;
        }
        let run = *run;
        match (outcome, starting) {
            (Ok(()), true) => self.up(index, Some(run)),
            (Err(_), true) if mutated(Mutation::LostMainForgiven) => self.up(index, Some(run)),
            (Err(cause), true) => {
                self.set_reason(index, cause);
                self.clean_up(index, run, End::Itself);
            }
            // It is being stopped, which finds it by its cgroup.
            (Ok(()) | Err(_), false) => {}
        }
    }

    /// The main process of a service that is up has ended by itself.
    fn ended(&mut self, index: u32, run: Run, status: ExitStatus) {
        self.answer_reload(index, "it ended");
        self.note_end(index, status, run.out_of_memory);
        self.clean_up(index, run, End::Itself);
    }

    fn note_end(&mut self, index: u32, status: ExitStatus, out_of_memory: bool) {
        let clean = self
            .table
            .get(index)
            .is_some_and(|service| service.kept.rules.is_clean(status));
        if !clean && !self.failed_to_begin(index) {
            let why = super::inform::ending(status, out_of_memory);
            let said = self.table.get(index).map(Service::complained);
            self.set_reason(index, format!("{why}{}", said.unwrap_or_default()));
        }
    }

    pub(super) fn on_emptied(&mut self, run: RunId) {
        let Some(index) = self.table.by_run(run) else {
            self.left_have_gone(run);
            return;
        };
        let Some(service) = self.table.get_mut(index) else {
            return;
        };
        let Some(run) = service.state.run_mut() else {
            return;
        };
        run.emptied = true;
        let run = *run;
        match service.state {
            State::Up { .. } | State::Leaving { .. } => self.absorb(index),
            State::Stopping { end, .. } if run.over() => self.over(index, end, Some(run)),
            State::Stopping { .. }
            | State::Starting(_)
            | State::Down
            | State::Failed
            | State::Armed
            | State::Listening
            | State::Waiting { .. }
            | State::Spawning { .. }
            | State::Backoff => {}
        }
    }

    /// A run that is over while its service is still held up, or waits for its turn to stop, is
    /// forgotten: nothing is left to be stopped.
    fn absorb(&mut self, index: u32) {
        let Some(service) = self.table.get_mut(index) else {
            return;
        };
        match &mut service.state {
            State::Up { run, .. } | State::Leaving { run, .. } => {
                if run.is_some_and(|run| run.over()) {
                    *run = None;
                    service.left = false;
                }
            }
            State::Down
            | State::Failed
            | State::Armed
            | State::Listening
            | State::Waiting { .. }
            | State::Spawning { .. }
            | State::Starting(_)
            | State::Stopping { .. }
            | State::Backoff => {}
        }
    }

    pub(super) fn on_out_of_memory(&mut self, run: RunId) {
        if let Some(index) = self.table.by_run(run)
            && let Some(service) = self.table.get_mut(index)
            && let Some(run) = service.state.run_mut()
        {
            run.out_of_memory = true;
        }
    }

    pub(super) fn on_reload_ended(&mut self, run: RunId, outcome: Result<(), String>) {
        let Some(index) = self.table.by_run(run) else {
            return;
        };
        let Some(service) = self.table.get_mut(index) else {
            return;
        };
        let State::Up { reload, .. } = &mut service.state else {
            return;
        };
        match core::mem::replace(reload, Reloading::No) {
            Reloading::Command => {}
            // It has been answered, and has been watched since.
            Reloading::Overdue => return,
            other @ (Reloading::No | Reloading::Announced) => {
                *reload = other;
                return;
            }
        }
        self.timers
            .cancel(Due::Service(index), service.deadline.take());
        let answer = match outcome {
            Ok(()) => Outcome::Done,
            Err(cause) => Outcome::Failed(cause),
        };
        self.answer(index, Goal::Reload, &answer);
        self.watch(index);
    }

    /// Its reload command does not end: the service has no longer an excuse for being silent.
    fn reload_is_overdue(&mut self, index: u32) {
        if let Some(service) = self.table.get_mut(index)
            && let State::Up { reload, .. } = &mut service.state
            && *reload == Reloading::Command
        {
            *reload = Reloading::Overdue;
            self.watch(index);
        }
    }

    pub(super) fn on_tick(&mut self) {
        while let Some(due) = self.timers.pop(self.now) {
            match due {
                Due::Service(index) => self.on_deadline(index),
                Due::Probe(index) => self.on_probe_due(index),
                Due::Watchdog(index) => self.on_watchdog_due(index),
                Due::Elapse(index) => self.on_elapse(index),
                Due::Shutdown => self.on_shutdown_limit(),
            }
            // Each timer meets the world as the one before it left it.
            self.drain();
        }
    }

    fn on_deadline(&mut self, index: u32) {
        let Some(service) = self.table.get_mut(index) else {
            return;
        };
        let due = service.deadline.take().unwrap_or_default();
        let limit = due.since(service.armed);
        match service.state {
            State::Starting(_) if mutated(Mutation::StartTimeoutIgnored) => {}
            State::Starting(_) => {
                let words = self.not_ready(index).map(|words| format!(": {words}"));
                let words = words.unwrap_or_default();
                self.set_reason(index, format!("it was not ready within {limit:?}{words}"));
                self.leave(index, End::Unfit);
            }
            State::Up {
                reload: Reloading::Announced,
                ..
            } => self.turn_reload(index, Reloading::Announced, Reloading::No),
            State::Up {
                reload: Reloading::Command | Reloading::No | Reloading::Overdue,
                ..
            } => {
                self.reload_is_overdue(index);
                let cause = format!("its reload command did not end within {limit:?}");
                self.answer(index, Goal::Reload, &Outcome::Failed(cause));
            }
            State::Stopping { .. } if mutated(Mutation::StopTimeoutIgnored) => {}
            State::Stopping { .. } => {
                self.note_killed(index, limit);
                self.kill(index);
            }
            State::Backoff => self.retry(index),
            State::Down
            | State::Failed
            | State::Armed
            | State::Listening
            | State::Waiting { .. }
            | State::Spawning { .. }
            | State::Leaving { .. } => {}
        }
    }
}
