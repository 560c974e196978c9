//! How far the gate of this boot is, and when there is something to do about it. Not here: doing it
//! (the parent module).

use serde::{Deserialize, Serialize};
use services::control::GateState;
use services::gate::{Gate, GateSettings};
use services::time::{Duration, Time};

use crate::pid1::errands::Errand;

/// Pause before a boot restarts that has failed and is counted nowhere.
const UNCOUNTED_PAUSE: Duration = Duration::from_secs(10 * 60);

/// How the verdict stands.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum State {
    /// There is no slot to judge, and why.
    Absent(String),
    /// The boot is being watched.
    Open(Box<Watched>),
    /// It was found good, which is not in the record yet.
    Found(Found),
    /// It was found good, and the record says so.
    Passed,
    /// It was found bad: until the record says so, or until this time.
    Failing { reason: String, until: Time },
    /// It was found bad and nothing counts it: the machine stays as it is until this time.
    Pausing { reason: String, until: Time },
    /// It was found bad, and the machine restarts; or an operator wants it to go on all the same.
    Failed { reason: String },
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Watched {
    pub(super) gate: Gate,
    /// Why nothing can pass it.
    pub(super) hopeless: Option<String>,
    /// What had been told to the supervisor at the last look.
    pub(super) seen: Option<u64>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Found {
    pub(super) failures: u32,
    pub(super) again: Option<Time>,
    pub(super) problem: Option<String>,
}

/// The root as it is read whole.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::pid1) struct Root {
    /// The dm-verity device.
    pub(in crate::pid1) device: String,
    /// Bytes of it; without a number, all it has.
    pub(in crate::pid1) bytes: Option<u64>,
}

/// What PID 1 knows of its gate.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::pid1) struct Keeper {
    pub(super) state: State,
    pub(super) since: Time,
    /// What has still to be read for the whole root; `None`: nothing.
    pub(super) root: Option<Root>,
    pub(super) scrub: Option<Errand>,
    pub(super) learning: Option<Errand>,
    pub(super) wanted_failing: Vec<String>,
    pub(super) slow: Vec<String>,
    /// When the crashes of the slot are forgotten.
    pub(super) settle_at: Option<Time>,
}

impl Keeper {
    fn new(state: State, since: Time) -> Self {
        Self {
            state,
            since,
            root: None,
            scrub: None,
            learning: None,
            wanted_failing: Vec::new(),
            slow: Vec::new(),
            settle_at: None,
        }
    }

    /// A boot without a gate.
    pub(in crate::pid1) fn absent(why: &str) -> Self {
        Self::new(State::Absent(why.to_owned()), Time::default())
    }

    /// A boot that an earlier user space of it has found good.
    pub(in crate::pid1) fn passed(since: Time) -> Self {
        Self::new(State::Passed, since)
    }

    /// Whether the boot was found good, and that is in the record.
    pub(in crate::pid1) const fn is_passed(&self) -> bool {
        matches!(self.state, State::Passed)
    }

    /// A gate that is open since `opened`; with `hopeless`, nothing can pass it. `root` is what the
    /// target may ask to have read.
    pub(in crate::pid1) fn open(
        opened: Time,
        hopeless: Option<String>,
        root: Option<Root>,
    ) -> Self {
        let watched = Watched {
            gate: Gate::new(GateSettings::default(), false, opened),
            hopeless,
            seen: None,
        };
        Self {
            root,
            ..Self::new(State::Open(Box::new(watched)), opened)
        }
    }

    /// How far it is, as clients are told.
    pub(in crate::pid1) fn state_name(&self) -> GateState {
        match &self.state {
            State::Absent(_) => GateState::None,
            State::Open(_) | State::Found(_) => GateState::Open,
            State::Passed => GateState::Passed,
            State::Failing { .. } | State::Pausing { .. } | State::Failed { .. } => {
                GateState::Failed
            }
        }
    }

    /// When there is something to do though nothing has happened; while the machine is `going_down`,
    /// nothing is done any more.
    pub(in crate::pid1) fn deadline(&self, going_down: bool) -> Option<Time> {
        if going_down {
            return None;
        }
        let own = match &self.state {
            State::Open(watched) if watched.hopeless.is_some() => Some(watched.gate.deadline()),
            State::Open(watched) => watched.gate.poll_timeout(),
            State::Found(found) => found.again,
            State::Passed => self.settle_at,
            State::Failing { until, .. } | State::Pausing { until, .. } => Some(*until),
            State::Absent(_) | State::Failed { .. } => None,
        };
        let errands = [&self.scrub, &self.learning].into_iter().flatten();
        own.into_iter()
            .chain(errands.filter_map(Errand::deadline))
            .min()
    }

    /// Whether the boot is past its time and nothing is done about it yet: then PID 1 has not earned
    /// that the watchdog is fed.
    pub(in crate::pid1) fn is_overdue(&self, now: Time) -> bool {
        match &self.state {
            State::Open(watched) => watched.gate.deadline() <= now,
            // Writing the cause down is something, and so is a pause.
            State::Failing { until, .. } | State::Pausing { until, .. } => *until < now,
            State::Absent(_) | State::Found(_) | State::Passed | State::Failed { .. } => false,
        }
    }

    /// Takes the settings of the boot target; what is to be read of the root from now on. What is being
    /// read already is waited for, whatever they say.
    pub(super) fn configure(&mut self, settings: GateSettings) -> Option<Root> {
        let State::Open(watched) = &mut self.state else {
            return None;
        };
        let root = self.root.take_if(|_| settings.scrub);
        let needed = root.is_some() || self.scrub.is_some();
        watched.gate.configure(settings, needed);
        watched.seen = None;
        root
    }

    /// That this boot failed could not be recorded. True: the machine is to restart all the same,
    /// because the boot is `charged` already. One that is counted nowhere would come back for ever,
    /// and each time too short for anybody to mend it: that one pauses first, as it is.
    pub(super) fn unrecorded(&mut self, charged: bool, why: &str, now: Time) -> bool {
        let State::Failing { reason, .. } = &mut self.state else {
            return false;
        };
        if charged {
            return true;
        }
        let minutes = UNCOUNTED_PAUSE.as_secs() / 60;
        let reason = format!(
            "{}; no boot record counts that ({why}), so the machine restarts {minutes} minutes later",
            std::mem::take(reason)
        );
        let until = now + UNCOUNTED_PAUSE;
        self.state = State::Pausing { reason, until };
        false
    }

    pub(super) fn enter(&mut self, state: State, now: Time) {
        self.state = state;
        self.since = now;
    }
}

#[cfg(test)]
impl Keeper {
    pub(in crate::pid1) fn is_hopeless(&self) -> bool {
        matches!(&self.state, State::Open(watched) if watched.hopeless.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pid1::gate::FAIL_PATIENCE;
    use services::gate::GateView;

    fn at(seconds: u64) -> Time {
        Time::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn past_its_deadline_the_watchdog_is_not_earned_until_something_is_done() {
        let limit = GateSettings::default().deadline.as_secs();
        for hopeless in [None, Some("no hand-over".to_owned())] {
            let mut keeper = Keeper::open(at(10), hopeless, None);
            assert!(!keeper.is_overdue(at(10 + limit - 1)));
            assert!(keeper.is_overdue(at(10 + limit)));
            assert!(keeper.deadline(false) <= Some(at(10 + limit)));
            assert_eq!(keeper.deadline(true), None, "nobody would meet it");
            let reason = "app is not ready".to_owned();
            let until = at(10 + limit) + FAIL_PATIENCE;
            keeper.enter(State::Failing { reason, until }, at(10 + limit));
            assert!(!keeper.is_overdue(until), "the cause is being recorded");
            assert!(keeper.is_overdue(until + Duration::from_secs(1)));
            assert_eq!(keeper.deadline(false), Some(until));
            assert_eq!(keeper.state_name(), GateState::Failed);
            let reason = String::new();
            keeper.enter(State::Failed { reason }, until);
            assert!(!keeper.is_overdue(until + Duration::from_secs(1)));
            assert_eq!(keeper.deadline(false), None);
        }
    }

    /// A machine whose record could not be written restarted on a bad slot at once, for ever.
    #[test]
    fn a_failure_that_nothing_counts_pauses_before_the_restart() {
        let failing = || {
            let mut keeper = Keeper::open(at(10), None, None);
            let reason = "app is not ready".to_owned();
            keeper.enter(
                State::Failing {
                    reason,
                    until: at(320),
                },
                at(310),
            );
            keeper
        };
        let mut counted = failing();
        assert!(counted.unrecorded(true, "no answer", at(320)));
        assert!(matches!(counted.state, State::Failing { .. }));
        let mut keeper = failing();
        assert!(!keeper.unrecorded(false, "no disk", at(320)));
        let State::Pausing { reason, until } = &keeper.state else {
            panic!("{:?}", keeper.state);
        };
        assert_eq!(*until, at(920));
        assert_eq!(
            reason,
            "app is not ready; no boot record counts that (no disk), so the machine restarts \
             10 minutes later"
        );
        assert_eq!(keeper.since, at(310), "when it failed");
        assert_eq!(keeper.state_name(), GateState::Failed);
        assert_eq!(keeper.deadline(false), Some(at(920)));
        assert_eq!(keeper.deadline(true), None, "an operator restarts it");
        assert!(!keeper.is_overdue(at(920)), "the watchdog is fed");
        assert!(keeper.is_overdue(at(921)), "and no longer than that");
        // A late answer begins no second pause.
        assert!(!keeper.unrecorded(false, "later", at(600)));
        assert_eq!(keeper.deadline(false), Some(at(920)));
        assert!(!Keeper::absent("a container").unrecorded(false, "", at(1)));
    }

    #[test]
    fn a_commit_that_waits_for_its_next_try_is_no_reason_to_starve_the_watchdog() {
        let mut keeper = Keeper::open(at(0), None, None);
        let found = Found {
            failures: 1,
            again: Some(at(9999)),
            problem: Some("no disk".to_owned()),
        };
        keeper.enter(State::Found(found), at(400));
        assert!(!keeper.is_overdue(at(5000)));
        assert_eq!(keeper.deadline(false), Some(at(9999)));
        assert_eq!(
            keeper.state_name(),
            GateState::Open,
            "it is not in the record"
        );
        keeper.enter(State::Passed, at(5000));
        assert_eq!(
            (keeper.deadline(false), keeper.state_name()),
            (None, GateState::Passed)
        );
        let absent = Keeper::absent("a container");
        assert_eq!(
            (absent.deadline(false), absent.is_overdue(at(9999))),
            (None, false)
        );
    }

    #[test]
    fn new_settings_count_and_end_no_reading_of_the_root() {
        let root = Root {
            device: "/dev/dm-0".to_owned(),
            bytes: None,
        };
        let mut keeper = Keeper::open(at(0), None, Some(root));
        let settings = |scrub, deadline| GateSettings {
            scrub,
            deadline: Duration::from_secs(deadline),
            ..GateSettings::default()
        };
        let waits = |keeper: &Keeper| {
            let State::Open(watched) = &keeper.state else {
                return false;
            };
            let waiting = watched.gate.waiting(&GateView::default(), at(1));
            waiting.iter().any(|it| it.starts_with("root: "))
        };
        assert!(keeper.configure(settings(false, 100)).is_none());
        assert!(!waits(&keeper));
        assert_eq!(keeper.deadline(false), Some(at(100)));
        let root = keeper.configure(settings(true, 50)).unwrap();
        assert_eq!(root.device, "/dev/dm-0");
        assert!(waits(&keeper));
        assert_eq!(keeper.deadline(false), Some(at(50)));
        keeper.scrub = Some(Errand::for_test());
        for scrub in [true, false] {
            assert!(keeper.configure(settings(scrub, 70)).is_none());
            assert!(waits(&keeper), "scrub: {scrub}");
        }
        keeper.enter(State::Passed, at(60));
        assert!(keeper.configure(settings(true, 80)).is_none());
    }
}
