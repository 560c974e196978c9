//! The watchdog of services: how long one that is up may be silent, and what happens to one that is
//! silent for longer. Not here: the watchdog of the machine (the shell), and what follows from a run
//! that failed (`stop`, `restart`).
//!
//! It counts while the service is up and does not read its configuration again, or has had the time
//! for that. A service that bites
//! is given its signal at once, whoever depends on it, as if it had crashed; if it is still there
//! after the time of a stop, everything of it is killed.

use serde::{Deserialize, Serialize};

use crate::definition::{self, Signal};
use crate::time::{Duration, Time};
use crate::units::duration_text;

use super::Supervisor;
use super::event::{Action, Change};
use super::mutation::{Mutation, mutated};
use super::service::{End, Reloading, Service, State};
use super::timers::Due;

/// The watchdog of a service file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct WatchdogRules {
    timeout: Option<Duration>,
    signal: Signal,
}

impl WatchdogRules {
    pub(super) const fn new(watchdog: &definition::Watchdog) -> Self {
        Self {
            timeout: watchdog.timeout,
            signal: watchdog.signal,
        }
    }
}

/// The watchdog of a run that has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Watching {
    /// How long it may be silent; `None`: it asked not to be watched.
    timeout: Option<Duration>,
    /// When it has been silent for too long, while that counts.
    due: Option<Time>,
}

/// How long the run may be silent: what it asked for itself, or else what its file says.
pub(super) fn timeout(service: &Service) -> Option<Duration> {
    match service.watching.as_deref() {
        Some(watching) => watching.timeout,
        None => service.kept.rules.watchdog?.timeout,
    }
}

impl Supervisor {
    /// It is up, has finished a reload, or has said that it is alive: it may be silent for a whole
    /// time-out from now on.
    pub(super) fn watch(&mut self, index: u32) {
        let now = self.now;
        let Some(service) = self.table.get_mut(index) else {
            return;
        };
        let State::Up {
            run: Some(run),
            reload: Reloading::No | Reloading::Overdue,
        } = service.state
        else {
            return;
        };
        let Some(timeout) = timeout(service).filter(|_| run.exited.is_none()) else {
            return;
        };
        let at = now + timeout;
        let watching = service.watching.get_or_insert(Box::new(Watching {
            timeout: Some(timeout),
            due: None,
        }));
        self.timers
            .cancel(Due::Watchdog(index), watching.due.replace(at));
        if !mutated(Mutation::WatchdogAsleep) {
            self.timers.arm(at, Due::Watchdog(index));
        }
    }

    /// It is no longer up, or reads its configuration again.
    pub(super) fn unwatch(&mut self, index: u32) {
        let service = self.table.get_mut(index);
        if let Some(watching) = service.and_then(|it| it.watching.as_deref_mut()) {
            self.timers
                .cancel(Due::Watchdog(index), watching.due.take());
        }
    }

    /// `WATCHDOG_USEC=`: holds for this run.
    pub(super) fn on_watchdog_timeout(&mut self, index: u32, timeout: Option<Duration>) {
        self.unwatch(index);
        if let Some(service) = self.table.get_mut(index) {
            service.watching = Some(Box::new(Watching { timeout, due: None }));
        }
        self.watch(index);
    }

    /// It has been silent for too long.
    pub(super) fn on_watchdog_due(&mut self, index: u32) {
        let Some(service) = self.table.get_mut(index) else {
            return;
        };
        if let Some(watching) = service.watching.as_deref_mut() {
            watching.due = None;
        }
        let limit = timeout(service).unwrap_or_default();
        let cause = format!("no sign of life within {}", duration_text(limit));
        self.bite(index, &cause);
    }

    /// Ends a run that does not work any more.
    pub(super) fn bite(&mut self, index: u32, cause: &str) {
        let Some(service) = self.table.get(index) else {
            return;
        };
        let (State::Starting(run) | State::Up { run: Some(run), .. }) = service.state else {
            return;
        };
        if run.exited.is_some() {
            return;
        }
        let rules = &service.kept.rules;
        let signal = rules.watchdog.map_or(Signal::Abrt, |it| it.signal);
        let timeout = rules.stop_timeout;
        let reason = format!("watchdog: {cause}{}", service.complained());
        self.set_reason(index, reason);
        self.answer_reload(index, "its watchdog ended it");
        let (end, killed) = (End::Unfit, false);
        self.enter(index, State::Stopping { run, end, killed });
        if let Some(run) = self.table.run_id(index) {
            self.actions.push_back(Action::Signal { run, signal });
        }
        self.arm(index, timeout);
        self.announce(index, Change::Stopping);
    }
}
