//! The end: everything down in reverse order, within a bound, then one `Finish`. Not here: how one
//! service stops (`stop`), unmounting and reboot(2) (the shell).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::definition::StopScope;
use crate::status::ShutdownKind;
use crate::time::Duration;

use super::Supervisor;
use super::event::{Action, Change};
use super::mutation::{Mutation, mutated};
use super::requests::going_down;
use super::service::{Desired, State};
use super::timers::Due;

/// Time for all services together, beyond the longest stop timeout among them. Then everything
/// that is left is killed.
pub const SHUTDOWN_MARGIN: Duration = Duration::from_secs(60);
/// Longest stop timeout that is respected by a shutdown.
pub const SHUTDOWN_TIMEOUT_MAX: Duration = Duration::from_secs(30 * 60);
/// Time between that kill and going without those that did not even die of it.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

/// How far the shutdown is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    /// Nobody has asked for it.
    #[default]
    No,
    /// Services are being stopped.
    Stopping(ShutdownKind),
    /// The bound is over: all that is left has been killed.
    Killing(ShutdownKind),
    /// `Finish` has been said.
    Finished,
}

/// The shutdown's own state, and the number of services it would have to wait for.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Shutdown {
    phase: Phase,
    active: u32,
}

impl Shutdown {
    pub(super) const fn begun(&self) -> bool {
        match self.phase {
            Phase::No => false,
            Phase::Stopping(_) | Phase::Killing(_) | Phase::Finished => true,
        }
    }

    pub(super) const fn finished(&self) -> bool {
        matches!(self.phase, Phase::Finished)
    }

    /// A service began or ceased to hold something.
    pub(super) fn count(&mut self, before: bool, after: bool) {
        match (before, after) {
            (false, true) => self.active += 1,
            (true, false) => self.active = self.active.saturating_sub(1),
            (false, false) | (true, true) => {}
        }
    }
}

impl Supervisor {
    pub(super) fn on_shutdown(&mut self, kind: ShutdownKind) {
        match &mut self.shutdown.phase {
            Phase::Stopping(old) | Phase::Killing(old) => {
                *old = kind;
                return;
            }
            Phase::Finished => return,
            Phase::No => self.shutdown.phase = Phase::Stopping(kind),
        }
        for request in self.requests.take_boot() {
            self.complete(request, going_down());
        }
        let mut longest = Duration::ZERO;
        // First nobody is wanted any more, so that nothing starts while others stop.
        for index in self.table.indices() {
            let Some(service) = self.table.get(index) else {
                continue;
            };
            if service.state.active() || service.left {
                let rules = &service.kept.rules;
                // First the main process, then the rest.
                let times = match rules.stop_scope {
                    StopScope::Cgroup => 1,
                    StopScope::Main => 2,
                };
                longest = longest.max(rules.stop_timeout.saturating_mul(times));
            }
            if service.desired == Desired::Up && !matches!(service.state, State::Failed) {
                self.set_reason(index, "the machine is going down");
                self.wish_down(index);
            }
            self.sweep_left(index);
        }
        let limit = longest.min(SHUTDOWN_TIMEOUT_MAX) + SHUTDOWN_MARGIN;
        self.timers.arm(self.now + limit, Due::Shutdown);
    }

    pub(super) fn on_shutdown_limit(&mut self) {
        match self.shutdown.phase {
            Phase::Stopping(_) if mutated(Mutation::ShutdownUnbounded) => {}
            Phase::Stopping(kind) => {
                self.shutdown.phase = Phase::Killing(kind);
                for index in self.table.indices() {
                    self.kill(index);
                }
                self.timers.arm(self.now + SHUTDOWN_GRACE, Due::Shutdown);
            }
            Phase::Killing(kind) => self.finish(kind),
            Phase::No | Phase::Finished => {}
        }
    }

    pub(super) fn finish_shutdown(&mut self) {
        match self.shutdown.phase {
            Phase::Stopping(kind) | Phase::Killing(kind) if self.shutdown.active == 0 => {
                self.finish(kind);
            }
            Phase::Stopping(_) | Phase::Killing(_) | Phase::No | Phase::Finished => {}
        }
    }

    fn finish(&mut self, kind: ShutdownKind) {
        for index in self.table.indices() {
            let stuck = self.table.get(index).is_some_and(|s| s.state.occupied());
            if stuck {
                let cause = "it did not end even when killed".into();
                self.announce(index, Change::Failed { cause });
            }
        }
        for (request, _) in self.requests.take_all() {
            self.complete(request, going_down());
        }
        self.shutdown.phase = Phase::Finished;
        self.actions.push_back(Action::Finish { kind });
        self.queue.clear();
        self.timers = super::timers::Timers::thaw(BTreeSet::new(), Vec::new());
    }

    /// Whether the bound of the shutdown is over: whoever still comes up is killed at once.
    pub(super) const fn killing(&self) -> bool {
        matches!(self.shutdown.phase, Phase::Killing(_))
    }
}
