//! A run before its program is executed: what the starter tells of conditions, files of variables and
//! credentials. Until it is done, a run is starting, whatever the type of the service. Not here: doing
//! any of it.
//!
//! A service whose condition does not hold is *skipped*. It takes the place of one that is up, and
//! nothing of it runs: those that require it start, it is stopped like a target, and its conditions are
//! looked at again when it is started again. For the verdict on the boot it is good: that it is not to
//! run here is what its files say. Its sockets are closed, since nobody will take what comes there: of a
//! lazy one, whose condition is looked at when there is traffic, as of any other.

use crate::notify;

use super::Supervisor;
use super::event::{Change, Outcome};
use super::mutation::{Mutation, mutated};
use super::requests::Goal;
use super::service::{Begun, Manner, Reloading, Service, State};

/// What there is to say of a masked service, whether or not it has been started since it is one.
pub(super) fn masked(service: &Service) -> Option<String> {
    let newest = service.next.as_deref().unwrap_or(&service.kept);
    if !newest.rules.masked {
        return None;
    }
    let by = service.newest().and_then(|it| it.masked);
    Some(format!("masked by {}", by.unwrap_or_default()))
}

impl Supervisor {
    pub(super) fn on_begun(&mut self, index: u32, told: notify::Begun) {
        let Some(service) = self.table.get_mut(index) else {
            return;
        };
        let simple = service.kept.rules.manner == Manner::Simple;
        match (&mut service.state, told) {
            (State::Starting(run), told) if run.begun == Begun::Not => match told {
                notify::Begun::Ready => {
                    run.begun = Begun::Ready;
                    if simple {
                        self.find_ready(index);
                    }
                }
                notify::Begun::Skipped(condition) => {
                    run.begun = if mutated(Mutation::ConditionForgotten) {
                        Begun::Ready
                    } else {
                        Begun::Skipped
                    };
                    service.reason = Some(Box::new(format!("condition: {condition}").into()));
                }
                notify::Begun::Failed(cause) => {
                    run.begun = Begun::Failed;
                    service.reason = Some(Box::new(cause.into()));
                }
            },
            (
                State::Down
                | State::Failed
                | State::Waiting { .. }
                | State::Spawning { .. }
                | State::Starting(_)
                | State::Up { .. }
                | State::Leaving { .. }
                | State::Stopping { .. }
                | State::Armed
                | State::Listening
                | State::Backoff,
                notify::Begun::Ready | notify::Begun::Skipped(_) | notify::Begun::Failed(_),
            ) => {}
        }
    }

    /// Whether the program was not executed after all, which says more than how its process ended.
    pub(super) fn failed_to_begin(&self, index: u32) -> bool {
        let Some(service) = self.table.get(index) else {
            return false;
        };
        match service.state {
            State::Starting(run)
            | State::Up { run: Some(run), .. }
            | State::Stopping { run, .. }
            | State::Leaving { run: Some(run), .. } => run.begun == Begun::Failed,
            State::Up { run: None, .. }
            | State::Leaving { run: None, .. }
            | State::Down
            | State::Failed
            | State::Armed
            | State::Listening
            | State::Waiting { .. }
            | State::Spawning { .. }
            | State::Backoff => false,
        }
    }

    /// It is not to run. Those that need it start, like those of one whose condition does not hold.
    pub(super) fn skip_masked(&mut self, index: u32) {
        if let Some(service) = self.table.get_mut(index) {
            service.reason = masked(service).map(|by| Box::new(by.into()));
        }
        self.skip(index);
    }

    /// The run whose condition does not hold is over.
    pub(super) fn skip(&mut self, index: u32) {
        let reload = Reloading::No;
        self.enter(index, State::Up { run: None, reload });
        // Who connected would wait for somebody who does not come.
        self.close_sockets(index);
        let Some(service) = self.table.get_mut(index) else {
            return;
        };
        service.skipped = true;
        service.due = false;
        service.tried = false;
        service.failures = 0;
        let cause: String = service.reason_text().unwrap_or_default().into();
        self.announce(index, Change::Skipped { cause });
        self.settle(index);
        self.answer(index, Goal::Up, &Outcome::Done);
        // What it is bound to may have gone while its run did.
        self.mark(index);
        if self.is_timed(index) {
            // The condition may hold at its next time.
            if let Some(service) = self.table.get_mut(index) {
                service.skipped = false;
            }
            self.lie_in_wait(index);
        }
    }
}
