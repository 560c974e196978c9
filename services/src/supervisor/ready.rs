//! Readiness that is found out: by a line that the program writes to a descriptor, or by probes that
//! are made until one is good. Not here: sd_notify(3) (`outcome`), the probes themselves (`probe`).

use serde::{Deserialize, Serialize};

use crate::definition::Ready;
use crate::id::RunId;
use crate::time::Duration;

use super::Supervisor;
use super::event::Purpose;
use super::service::{Begun, End, Manner, Service, State};

/// Pause after the first bad probe; it doubles up to the interval of the service. What is ready soon
/// is found so soon, and what takes long is not asked more often than its file says.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// Time for the end of a program to be told that has closed its descriptors: how it ended says more
/// than that it never wrote its line.
const GRACE: Duration = Duration::from_millis(500);

/// What tells that the service is ready, without the probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ReadyRules {
    /// A line.
    Line,
    /// A good probe.
    Probe {
        interval: Duration,
        timeout: Duration,
    },
}

impl ReadyRules {
    pub(super) const fn new(ready: &Ready) -> Self {
        match ready {
            Ready::Line(_) => Self::Line,
            Ready::Probe {
                interval, timeout, ..
            } => Self::Probe {
                interval: *interval,
                timeout: *timeout,
            },
        }
    }

    /// Pause and time-out of a probe after so many bad ones.
    pub(super) fn pace(&self, bad: u32) -> (Duration, Duration) {
        match self {
            Self::Line => (GRACE, GRACE),
            Self::Probe { interval, timeout } => {
                let doublings = bad.saturating_sub(1).min(31);
                let pause = FIRST_PAUSE.saturating_mul(1 << doublings);
                (pause.min(*interval), *timeout)
            }
        }
    }
}

impl Supervisor {
    /// The program of a service that starts is there. It is up, unless something else is to tell so.
    pub(super) fn find_ready(&mut self, index: u32) {
        let Some(service) = self.table.get(index) else {
            return;
        };
        match service.kept.rules.ready.as_deref() {
            None => self.found_ready(index),
            Some(ReadyRules::Line) => {}
            Some(ReadyRules::Probe { .. }) => {
                self.begin_probing(index, Purpose::Ready, Duration::ZERO);
            }
        }
    }

    /// A probe was good, or the line has been read.
    pub(super) fn found_ready(&mut self, index: u32) {
        if let Some(service) = self.table.get(index)
            && let State::Starting(run) = service.state
        {
            self.up(index, Some(run));
        }
    }

    pub(super) fn on_ready_line(&mut self, run: RunId, outcome: Result<(), String>) {
        let Some(index) = self.table.by_run(run) else {
            return;
        };
        let Some(service) = self.table.get(index) else {
            return;
        };
        let by_line = service.kept.rules.ready.as_deref() == Some(&ReadyRules::Line);
        if !by_line || !matches!(service.state, State::Starting(_)) {
            return;
        }
        match outcome {
            Ok(()) => self.found_ready(index),
            Err(words) => self.fall_mute(index, &words, GRACE),
        }
    }

    /// Nothing can tell any more that it is ready.
    pub(super) fn never_ready(&mut self, index: u32) {
        if let Some(words) = self.not_ready(index) {
            self.set_reason(index, words);
        }
        self.leave(index, End::Unfit);
    }

    /// Why it has not been found ready so far, where something is known.
    pub(super) fn not_ready(&self, index: u32) -> Option<String> {
        let service = self.table.get(index)?;
        let probing = service.probing.as_deref();
        let words = probing.and_then(|probing| probing.not_ready());
        words.or_else(|| lacks(service)).map(str::to_owned)
    }
}

/// What a service that starts has not done yet, by its kind.
fn lacks(service: &Service) -> Option<&'static str> {
    let State::Starting(run) = service.state else {
        return None;
    };
    match (run.begun, service.kept.rules.manner) {
        (Begun::Not, _) => Some("what is done before its program has not ended"),
        (Begun::Skipped | Begun::Failed, _) | (Begun::Ready, Manner::Target) => None,
        (Begun::Ready, Manner::Simple) => match service.kept.rules.ready.as_deref() {
            Some(ReadyRules::Line) => Some("it has not written its line"),
            Some(ReadyRules::Probe { .. }) => Some("no probe has been answered"),
            None => None,
        },
        (Begun::Ready, Manner::Notify) => Some("it has not said READY=1"),
        (Begun::Ready, Manner::Oneshot) => Some("it has not ended"),
        (Begun::Ready, Manner::Forking) if run.seeking => Some("its main process is not found"),
        (Begun::Ready, Manner::Forking) => Some("its command has not ended"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_interval() {
        let milli = Duration::from_millis;
        let rules = |interval| ReadyRules::Probe {
            interval,
            timeout: milli(70),
        };
        let pauses = |interval| [0, 1, 2, 3, 4, 5, 99].map(|bad| rules(interval).pace(bad).0);
        let expect = [10, 10, 20, 40, 80, 100, 100].map(milli);
        assert_eq!(pauses(milli(100)), expect);
        assert_eq!(pauses(milli(5)), [milli(5); 7]);
        assert_eq!(rules(milli(100)).pace(3).1, milli(70));
    }
}
