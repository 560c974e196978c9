//! Probes of runs: when one is made, what its answer means, and when a run has been unhealthy for too
//! long. Not here: making a probe (the shell), which services become ready by probes (`ready`), and
//! what follows from a run that failed (`stop`, `restart`).
//!
//! A probe belongs to one run. It is asked for while the service starts, to find it ready, and while
//! it is up, for its health; one at a time. It ends with that state: whatever takes the service out of
//! it kills the probe first. What a probe of an earlier run has to say is told for that run, and
//! ignored.
//!
//! ```text
//! begun ──> Pausing ── due ──> Running ── answer ──> Pausing ...
//!                                │ too long: a bad answer, and killed
//!                                v
//!                             Killed ── gone ──> Pausing ...
//!                                │ still not gone: one more bad answer, each time
//! ```

use serde::{Deserialize, Serialize};

use crate::definition;
use crate::id::RunId;
use crate::status::{HealthName, HealthStatus};
use crate::time::{Duration, Time};
use crate::units::duration_text;

use super::Supervisor;
use super::event::{Action, Purpose};
use super::mutation::{Mutation, mutated};
use super::service::{End, Service, State};
use super::timers::{Due, Why};

/// Longest words of a probe that are kept, in characters.
const WORDS_MAX: usize = 200;

/// When the health is asked for, without the probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// How often a run is asked, and for how long.
struct Pace {
    pause: Duration,
    timeout: Duration,
}

/// Where the probes of a run are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    /// No probe runs; the next is due at the timer.
    Pausing,
    /// One runs, and must have ended at the timer.
    Running,
    /// It took too long and has been killed; its end has not been told.
    Killed,
    /// Nothing can tell any more that the run is ready: it has failed at the timer.
    Mute,
    /// Nothing is asked any more.
    Over,
}

/// What the last probe of a run said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// The probes of the present run, or of the last one: for its readiness or, once it is up, its health.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Probing {
    purpose: Purpose,
    phase: Phase,
    due: Option<Time>,
    pub(super) answer: Answer,
    /// Whether any answer of the run was good.
    proven: bool,
}

impl Probing {
    const fn new(purpose: Purpose, phase: Phase, answer: Answer) -> Self {
        Self {
            purpose,
            phase,
            due: None,
            answer,
            proven: false,
        }
    }

    /// Why the last probe for readiness was bad.
    pub(super) fn not_ready(&self) -> Option<&str> {
        match (self.purpose, &self.answer) {
            (Purpose::Ready, Answer::Bad { words, .. }) => Some(words),
            (Purpose::Ready, Answer::None | Answer::Good(_)) | (Purpose::Health, _) => None,
        }
    }

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
    /// The service is up: the first probe of its health comes after the delay.
    pub(super) fn begin_health(&mut self, index: u32) {
        let Some(service) = self.table.get_mut(index) else {
            return;
        };
        service.probing = None;
        if let Some(delay) = service.kept.rules.health.as_ref().map(|it| it.delay) {
            self.begin_probing(index, Purpose::Health, delay);
        }
    }

    /// The first probe comes after `delay`.
    pub(super) fn begin_probing(&mut self, index: u32, purpose: Purpose, delay: Duration) {
        let probing = Probing::new(purpose, Phase::Pausing, Answer::None);
        self.set_probing(index, probing, delay);
    }

    /// The service starts, and nothing can tell any more that it is ready. Unless its run ends by
    /// itself within `grace`, it has failed with these words.
    pub(super) fn fall_mute(&mut self, index: u32, words: &str, grace: Duration) {
        let (since, count) = (self.now, 1);
        let words = cut(words);
        let answer = Answer::Bad {
            since,
            count,
            words,
        };
        let probing = Probing::new(Purpose::Ready, Phase::Mute, answer);
        self.set_probing(index, probing, grace);
    }

    fn set_probing(&mut self, index: u32, probing: Probing, delay: Duration) {
        if let Some(service) = self.table.get_mut(index) {
            service.probing = Some(Box::new(probing));
            self.arm_probe(index, delay);
        }
    }

    /// The service leaves the state in which it is asked. Called before anything is done about its
    /// run.
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
        let (Some(run), Some(pace)) = (run, self.pace(index)) else {
            return;
        };
        let Some(probing) = self.probing(index) else {
            return;
        };
        probing.due = None;
        let purpose = probing.purpose;
        match probing.phase {
            Phase::Pausing => {
                probing.phase = Phase::Running;
                self.actions.push_back(Action::Probe { run, purpose });
                self.arm_probe(index, pace.timeout);
            }
            Phase::Running => {
                probing.phase = Phase::Killed;
                self.actions.push_back(Action::KillProbe { run });
                self.arm_probe(index, pace.pause + pace.timeout);
                let limit = duration_text(pace.timeout);
                self.answered_badly(index, &format!("no answer within {limit}"));
                self.judge_health(index);
            }
            Phase::Killed => {
                self.arm_probe(index, pace.pause + pace.timeout);
                self.answered_badly(index, "its probe does not even end when killed");
                self.judge_health(index);
            }
            Phase::Mute if mutated(Mutation::MuteAwaited) => {}
            Phase::Mute => self.never_ready(index),
            Phase::Over => {}
        }
    }

    pub(super) fn on_probe_ended(&mut self, run: RunId, outcome: Result<(), String>) {
        let Some(index) = self.table.by_run(run) else {
            return;
        };
        let Some(probing) = self.probing(index) else {
            return;
        };
        let (phase, purpose) = (probing.phase, probing.purpose);
        match phase {
            Phase::Running | Phase::Killed => probing.phase = Phase::Pausing,
            Phase::Pausing | Phase::Mute | Phase::Over => return,
        }
        let outcome = match outcome {
            Err(_) if mutated(Mutation::BadProbeIsReady) && purpose == Purpose::Ready => Ok(()),
            outcome => outcome,
        };
        match (phase, outcome, purpose) {
            (Phase::Running, Ok(()), Purpose::Ready) => {
                self.found_ready(index);
                return;
            }
            (Phase::Running, Ok(()), Purpose::Health) => self.answered_well(index),
            (Phase::Running, Err(words), _) => self.answered_badly(index, &words),
            // A killed one has been judged already.
            (Phase::Killed | Phase::Pausing | Phase::Mute | Phase::Over, _, _) => {}
        }
        if let Some(pace) = self.pace(index) {
            self.arm_probe(index, pace.pause);
        }
        self.judge_health(index);
    }

    fn answered_well(&mut self, index: u32) {
        let now = self.now;
        if let Some(probing) = self.probing(index) {
            probing.proven = true;
            if !matches!(probing.answer, Answer::Good(_)) {
                probing.answer = Answer::Good(now);
            }
        }
    }

    /// Notes one more bad answer.
    fn answered_badly(&mut self, index: u32, words: &str) {
        let now = self.now;
        let Some(probing) = self.probing(index) else {
            return;
        };
        let (since, before) = match probing.answer {
            Answer::Bad { since, count, .. } => (since, count),
            Answer::None | Answer::Good(_) => (now, 0),
        };
        probing.answer = Answer::Bad {
            since,
            count: before.saturating_add(1),
            words: cut(words),
        };
    }

    /// With too many bad answers in a row, the run has failed.
    fn judge_health(&mut self, index: u32) {
        let rules = self.table.get(index).and_then(|it| it.kept.rules.health());
        let (Some(rules), Some(probing)) = (rules, self.probing(index)) else {
            return;
        };
        let (Purpose::Health, Answer::Bad { count, words, .. }) =
            (probing.purpose, &probing.answer)
        else {
            return;
        };
        if *count >= rules.failures && !mutated(Mutation::BadProbeForgiven) {
            let reason = format!("health: {words}");
            self.set_reason(index, reason);
            self.leave(index, End::Unfit);
        }
    }

    fn pace(&self, index: u32) -> Option<Pace> {
        let service = self.table.get(index)?;
        let probing = service.probing.as_deref()?;
        let bad = match probing.answer {
            Answer::Bad { count, .. } => count,
            Answer::None | Answer::Good(_) => 0,
        };
        let rules = &service.kept.rules;
        let (pause, timeout) = match probing.purpose {
            Purpose::Health => rules.health().map(|it| (it.interval, it.timeout))?,
            Purpose::Ready => rules.ready.as_deref()?.pace(bad),
        };
        Some(Pace { pause, timeout })
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
        self.table.get_mut(index)?.probing.as_deref_mut()
    }

    /// What the timer of the probes is for.
    pub(super) fn why_probe(&self, index: u32) -> Why {
        let id = self.table.id(index);
        let probing = self.table.get(index).and_then(|it| it.probing.as_deref());
        let (Some(id), Some(probing)) = (id, probing) else {
            return Why::ShutdownLimit;
        };
        match probing.phase {
            Phase::Pausing | Phase::Over => Why::Probe(id),
            Phase::Running | Phase::Killed => Why::ProbeTimeout(id),
            Phase::Mute => Why::StartTimeout(id),
        }
    }
}

fn cut(words: &str) -> Box<str> {
    words.chars().take(WORDS_MAX).collect()
}

/// What is told of the health of a service that is up.
pub(super) fn status(service: &Service) -> Option<HealthStatus> {
    let State::Up { .. } = service.state else {
        return None;
    };
    let probing = service.probing.as_deref()?;
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
