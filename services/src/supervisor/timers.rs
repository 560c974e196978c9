//! Who is to be woken when. At most four timers a service, one of them for its probes, one for
//! its watchdog, one for its next start, and one of the shutdown. Not here: what happens then
//! (`outcome`, `probe`, `watchdog`, `schedule`, `shutdown`).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::id::ServiceId;
use crate::time::{Duration, Time};

use super::Supervisor;
use super::service::State;

/// What the next timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The service must be ready by then.
    StartTimeout(ServiceId),
    /// The service must be gone by then, or is killed.
    StopTimeout(ServiceId),
    /// The service is started again.
    Restart(ServiceId),
    /// The reload command of the service must have ended by then.
    ReloadTimeout(ServiceId),
    /// The service is asked next whether it is ready, or for its health.
    Probe(ServiceId),
    /// The probe of the service must have ended by then.
    ProbeTimeout(ServiceId),
    /// The service must have said by then that it is alive.
    Watchdog(ServiceId),
    /// The service is started by its timer.
    Elapse(ServiceId),
    /// All services must be down by then.
    ShutdownLimit,
}

/// Whose timer it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Due {
    Service(u32),
    Probe(u32),
    Watchdog(u32),
    Elapse(u32),
    Shutdown,
}

/// All timers, in order. What is due at the farthest expressible time is never due.
#[derive(Debug, Default)]
pub(super) struct Timers {
    set: BTreeSet<(Time, Due)>,
    changes: Vec<Turned>,
    /// There were too many changes to remember each.
    all_changed: bool,
}

/// A change: whose timer, when it is due, and whether it was set.
pub(super) type Turned = (Time, Due, bool);

/// Changes that are remembered one by one. Beyond, all timers are told anew.
const CHANGES_MAX: usize = 4096;

/// What has changed of the timers since that was last asked.
#[derive(Debug)]
pub(super) enum TimerChanges {
    /// These, in this order.
    Some(Vec<Turned>),
    /// So many that it is shorter to look at all.
    All,
}

impl Timers {
    pub(super) fn next(&self) -> Option<(Time, Due)> {
        self.set.first().copied()
    }

    pub(super) fn pop(&mut self, now: Time) -> Option<Due> {
        let (at, _) = self.set.first()?;
        if *at > now {
            return None;
        }
        let (at, due) = self.set.pop_first()?;
        self.turned((at, due, false));
        Some(due)
    }

    fn turned(&mut self, change: Turned) {
        if self.changes.len() < CHANGES_MAX {
            self.changes.push(change);
        } else {
            self.all_changed = true;
        }
    }

    /// What has changed since this was last called.
    pub(super) fn take_changes(&mut self) -> TimerChanges {
        let changes = core::mem::take(&mut self.changes);
        if core::mem::take(&mut self.all_changed) {
            TimerChanges::All
        } else {
            TimerChanges::Some(changes)
        }
    }

    /// All that are set.
    pub(super) const fn set(&self) -> &BTreeSet<(Time, Due)> {
        &self.set
    }

    /// The timers of `set`, after `changes`.
    pub(super) fn thaw(set: BTreeSet<(Time, Due)>, changes: Vec<Turned>) -> Self {
        let mut timers = Self {
            set,
            changes: Vec::new(),
            all_changed: true,
        };
        for (at, due, set) in changes {
            if set {
                timers.set.insert((at, due));
            } else {
                timers.set.remove(&(at, due));
            }
        }
        timers
    }

    pub(super) fn cancel(&mut self, due: Due, deadline: Option<Time>) {
        if let Some(at) = deadline {
            self.set.remove(&(at, due));
            self.turned((at, due, false));
        }
    }

    pub(super) fn arm(&mut self, at: Time, due: Due) {
        if at < Time::MAX {
            self.set.insert((at, due));
            self.turned((at, due, true));
        }
    }
}

impl Supervisor {
    /// Sets the timer of a service, `after` from now.
    pub(super) fn arm(&mut self, index: u32, after: Duration) {
        let at = self.now + after;
        if let Some(service) = self.table.get_mut(index) {
            service.armed = self.now;
            self.timers
                .cancel(Due::Service(index), service.deadline.replace(at));
            self.timers.arm(at, Due::Service(index));
        }
    }

    pub(super) fn why(&self, due: Due) -> Why {
        let index = match due {
            Due::Service(index) => index,
            Due::Probe(index) => return self.why_probe(index),
            Due::Watchdog(index) => {
                return self
                    .table
                    .id(index)
                    .map_or(Why::ShutdownLimit, Why::Watchdog);
            }
            Due::Elapse(index) => {
                return self.table.id(index).map_or(Why::ShutdownLimit, Why::Elapse);
            }
            Due::Shutdown => return Why::ShutdownLimit,
        };
        let (Some(id), Some(service)) = (self.table.id(index), self.table.get(index)) else {
            return Why::ShutdownLimit;
        };
        match service.state {
            State::Up { .. } => Why::ReloadTimeout(id),
            State::Stopping { .. } | State::Leaving { .. } => Why::StopTimeout(id),
            State::Backoff => Why::Restart(id),
            State::Starting(_)
            | State::Spawning { .. }
            | State::Down
            | State::Failed
            | State::Armed
            | State::Listening
            | State::Waiting { .. } => Why::StartTimeout(id),
        }
    }
}
