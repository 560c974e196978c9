//! The health of services that are up: when a probe is run, what its answer means, and when a run
//! has been unhealthy for too long. Not here: running a probe (the shell), and what follows from a
//! run that failed (`stop`, `restart`).
//!
//! A probe belongs to one run. It is asked for while the service is up, one at a time, and ends with
//! the run: whatever takes the service out of `Up` kills it first. What a probe of an earlier run
//! has to say is told for that run, and ignored.
//!
//! ```text
//!   up ──> Pausing ── due ──> Running ── answer ──> Pausing ...
//!                                │ too long: a bad answer, and killed
//!                                v
//!                             Killed ── gone ──> Pausing ...
//!                                │ still not gone: one more bad answer, each time
//! ```

use crate::definition;
use crate::id::RunId;
use crate::status::{HealthName, HealthStatus};
use crate::time::{Duration, Time};
use crate::units::duration_text;

use super::Supervisor;
use super::event::Action;
use super::mutation::{Mutation, mutated};
use super::service::{End, Service, State};
use super::timers::{Due, Why};

/// Longest words of a probe that are kept, in characters.
const WORDS_MAX: usize = 200;

/// When probes are run, without the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HealthRules {
    interval: Duration,
    timeout: Duration,
    delay: Duration,
    failures: u32,
}

impl HealthRules {
    pub(super) const fn new(health: &definition::Health) -> Self {
        Self {
            interval: health.interval,
            timeout: health.timeout,
            delay: health.delay,
            failures: health.failures,
        }
    }
}

/// Where the probes of a run are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No probe runs; the next is due at the timer.
    Pausing,
    /// One runs, and must have ended at the timer.
    Running,
    /// It took too long and has been killed; its end has not been told.
    Killed,
    /// The service is not up any more.
    Over,
}

/// What the last probe of a run said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// None has been answered.
    None,
    /// Good, since then.
    Good(Time),
    /// Bad, so many times in a row.
    Bad {
        since: Time,
        count: u32,
        words: Box<str>,
    },
}

/// The probes of the present run, or of the last one.
#[derive(Debug)]
pub(super) struct Probing {
    phase: Phase,
    due: Option<Time>,
    pub(super) answer: Answer,
    /// Whether any answer of the run was good.
    proven: bool,
}

impl Probing {
    /// Until when a run that was ready at `ready` and ended at `now` was all right.
    pub(super) const fn good_until(&self, ready: Time, now: Time) -> Time {
        match self.answer {
            Answer::Bad { since, .. } if self.proven => since,
            Answer::Bad { .. } => ready,
            Answer::None | Answer::Good(_) => now,
        }
    }
}

impl Supervisor {
    /// The service is up: its first probe comes after the delay.
    pub(super) fn begin_probing(&mut self, index: u32) {
        let Some(service) = self.table.get_mut(index) else {
            return;
        };
        let Some(delay) = service.kept.rules.health.as_ref().map(|it| it.delay) else {
            return;
        };
        service.health = Some(Box::new(Probing {
            phase: Phase::Pausing,
            due: None,
            answer: Answer::None,
            proven: false,
        }));
        self.arm_probe(index, delay);
    }

    /// The service is not up any more. Called before anything is done about its run.
    pub(super) fn end_probing(&mut self, index: u32) {
        let run = self.table.run_id(index);
        let Some(probing) = self.probing(index) else {
            return;
        };
        let (phase, due) = (probing.phase, probing.due.take());
        probing.phase = Phase::Over;
        self.timers.cancel(Due::Probe(index), due);
        if let (Phase::Running, Some(run)) = (phase, run)
            && !mutated(Mutation::ProbeOutlivesRun)
        {
            self.actions.push_back(Action::KillProbe { run });
        }
    }

    /// The timer of the probes is due.
    pub(super) fn on_probe_due(&mut self, index: u32) {
        let run = self.table.run_id(index);
        let rules = self.table.get(index).and_then(|it| it.kept.rules.health());
        let (Some(run), Some(rules)) = (run, rules) else {
            return;
        };
        let Some(probing) = self.probing(index) else {
            return;
        };
        probing.due = None;
        match probing.phase {
            Phase::Pausing => {
                probing.phase = Phase::Running;
                self.actions.push_back(Action::Probe { run });
                self.arm_probe(index, rules.timeout);
            }
            Phase::Running => {
                probing.phase = Phase::Killed;
                self.actions.push_back(Action::KillProbe { run });
                self.arm_probe(index, rules.interval + rules.timeout);
                let limit = duration_text(rules.timeout);
                self.answered_badly(index, &format!("no answer within {limit}"));
            }
            Phase::Killed => {
                self.arm_probe(index, rules.interval + rules.timeout);
                self.answered_badly(index, "its probe does not even end when killed");
            }
            Phase::Over => {}
        }
    }

    pub(super) fn on_probe_ended(&mut self, run: RunId, outcome: Result<(), String>) {
        let Some(index) = self.table.by_run(run) else {
            return;
        };
        let rules = self.table.get(index).and_then(|it| it.kept.rules.health());
        let now = self.now;
        let (Some(rules), Some(probing)) = (rules, self.probing(index)) else {
            return;
        };
        let phase = probing.phase;
        match phase {
            Phase::Running | Phase::Killed => probing.phase = Phase::Pausing,
            Phase::Pausing | Phase::Over => return,
        }
        // A killed one has been judged already.
        let bad = match (phase, outcome) {
            (Phase::Running, Ok(())) => {
                probing.proven = true;
                if !matches!(probing.answer, Answer::Good(_)) {
                    probing.answer = Answer::Good(now);
                }
                None
            }
            (Phase::Running, Err(words)) => Some(words),
            (Phase::Killed | Phase::Pausing | Phase::Over, Ok(()) | Err(_)) => None,
        };
        self.arm_probe(index, rules.interval);
        if let Some(words) = bad {
            self.answered_badly(index, &words);
        }
    }

    /// One more bad answer; with too many in a row, the run has failed.
    fn answered_badly(&mut self, index: u32, words: &str) {
        let now = self.now;
        let rules = self.table.get(index).and_then(|it| it.kept.rules.health());
        let (Some(rules), Some(probing)) = (rules, self.probing(index)) else {
            return;
        };
        let words: Box<str> = words.chars().take(WORDS_MAX).collect();
        let (since, before) = match probing.answer {
            Answer::Bad { since, count, .. } => (since, count),
            Answer::None | Answer::Good(_) => (now, 0),
        };
        let count = before.saturating_add(1);
        let reason = format!("health: {words}");
        probing.answer = Answer::Bad {
            since,
            count,
            words,
        };
        if count >= rules.failures && !mutated(Mutation::BadProbeForgiven) {
            self.set_reason(index, &reason);
            self.leave(index, End::Unfit);
        }
    }

    fn arm_probe(&mut self, index: u32, after: Duration) {
        let at = self.now + after;
        if let Some(probing) = self.probing(index) {
            let before = probing.due.replace(at);
            self.timers.cancel(Due::Probe(index), before);
            self.timers.arm(at, Due::Probe(index));
        }
    }

    fn probing(&mut self, index: u32) -> Option<&mut Probing> {
        self.table.get_mut(index)?.health.as_deref_mut()
    }

    /// What the timer of the probes is for.
    pub(super) fn why_probe(&self, index: u32) -> Why {
        let id = self.table.id(index);
        let probing = self.table.get(index).and_then(|it| it.health.as_deref());
        let (Some(id), Some(probing)) = (id, probing) else {
            return Why::ShutdownLimit;
        };
        match probing.phase {
            Phase::Pausing | Phase::Over => Why::Probe(id),
            Phase::Running | Phase::Killed => Why::ProbeTimeout(id),
        }
    }
}

/// What is told of the health of a service that is up.
pub(super) fn status(service: &Service) -> Option<HealthStatus> {
    let State::Up { .. } = service.state else {
        return None;
    };
    let probing = service.health.as_deref()?;
    let micros = |time: Time| time.as_nanos() / 1000;
    Some(match &probing.answer {
        Answer::None => HealthStatus {
            state: HealthName::Unknown,
            since_us: micros(service.since),
            failed: 0,
            words: None,
        },
        Answer::Good(since) => HealthStatus {
            state: HealthName::Good,
            since_us: micros(*since),
            failed: 0,
            words: None,
        },
        Answer::Bad {
            since,
            count,
            words,
        } => HealthStatus {
            state: HealthName::Failing,
            since_us: micros(*since),
            failed: *count,
            words: Some(words.to_string()),
        },
    })
}
