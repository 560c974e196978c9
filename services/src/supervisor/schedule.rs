//! Services with a timer: when each is started next, and what a jump of the machine's clock, a run
//! that still goes on and a time without power mean for that. Not here: calendar expressions
//! (`crate::calendar`), where times are kept over a power-off (the shell), and any clock.
//!
//! A service with a timer that is wanted and does not run is *armed*: nothing of it runs, nobody waits
//! for it, and one timer stands for all its times, the earliest of them. A run that ends well leads
//! back there; one that fails leaves the service failed, and armed all the same.
//!
//! The core has no clock. The shell tells what the machine's clock says, and again whenever it is
//! set; between two such words it goes as CLOCK_BOOTTIME goes. A clock that is set by up to
//! [`SMALL_STEP`] was corrected: points of the calendar that it leaps over are made up for at once, those
//! it comes to again are not repeated. A clock set by more was wrong, and everything is reckoned anew.

use serde::{Deserialize, Serialize};

use crate::definition::Timer;
use crate::id::ServiceName;
use crate::status::TimerStatus;
use crate::time::{Duration, Time};

use super::Supervisor;
use super::event::{Action, Change};
use super::mutation::{Mutation, mutated};
use super::reason::Reason;
use super::service::{Desired, Service, State};
use super::timers::Due;

/// The largest step of the machine's clock that counts as a correction.
pub const SMALL_STEP: Duration = Duration::from_secs(3 * 60 * 60);
const SECOND: i128 = 1_000_000_000;

/// What is known of the machine and of its clock.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Clock {
    /// Nanoseconds since 1970 at the zero of CLOCK_BOOTTIME; `None`: nobody has told.
    zero: Option<i128>,
    /// Differs from machine to machine.
    pub(super) seed: u64,
    /// The last starts of former boots have been asked for.
    recalling: bool,
}

impl Clock {
    fn nanos(&self, at: Time) -> Option<i128> {
        Some(self.zero? + i128::from(at.as_nanos()))
    }

    /// Seconds since 1970.
    pub(super) fn seconds(&self, at: Time) -> Option<i64> {
        i64::try_from(self.nanos(at)?.div_euclid(SECOND)).ok()
    }

    /// When the clock will say `seconds`, if nobody sets it; what is past is now.
    fn when(&self, seconds: i64, now: Time) -> Option<Time> {
        let wait = i128::from(seconds) * SECOND - self.nanos(now)?;
        let wait = u64::try_from(wait.max(0)).unwrap_or(u64::MAX);
        Some(now + Duration::from_nanos(wait))
    }

    /// By how much the times of a service are put off: the same whenever it is asked for.
    fn delay(&self, name: &ServiceName, most: Duration) -> Duration {
        let zero = self.zero.filter(|_| mutated(Mutation::DelayVaries));
        let more = zero.and_then(|zero| u64::try_from(zero).ok());
        let seed = self.seed.wrapping_add(more.unwrap_or(0)).to_le_bytes();
        let bytes = seed.iter().chain(name.as_str().as_bytes());
        // FNV-1a, and its high half, which its last bytes reach too.
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let mixed = (hash ^ hash >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16;
        Duration::from_secs(mixed % most.as_secs().saturating_add(1))
    }
}

/// How far the timer of a service is.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Schedule {
    /// When it is due; it is armed for then.
    next: Option<Time>,
    /// Since when it has been wanted, or wanted again; `None`: it is not.
    armed: Option<Time>,
    /// The time after the boot has come.
    booted: bool,
    /// Its last start, or the time that went by while it ran.
    counted: Option<Time>,
    /// Points of the calendar up to this one are done with.
    after: Option<i64>,
    /// Its last start by the machine's clock, over power-offs for a persistent one.
    ran_at: Option<i64>,
    /// What is known of former boots has been taken in.
    recalled: bool,
    /// Times that went by while it still ran.
    missed: u32,
    /// How its last run ended.
    result: Option<Result<(), Box<str>>>,
}

impl Supervisor {
    /// Whether the service has a timer, in the newest graph.
    pub(super) fn is_timed(&self, index: u32) -> bool {
        self.table.get(index).is_some_and(|service| {
            let newest = service.next.as_deref().unwrap_or(&service.kept);
            newest.rules.timer.is_some()
        })
    }

    /// Whether the service is to wait for its timer instead of being started.
    pub(super) fn waits_for_timer(&self, index: u32) -> bool {
        let service = self.table.get(index);
        let timed = service.is_some_and(|it| it.kept.rules.timer.is_some() && !it.due);
        timed && !mutated(Mutation::TimerNotAwaited)
    }

    /// It is on its way to be started: its timer is not waited for.
    pub(super) fn start_without_timer(&mut self, index: u32) {
        if let Some(service) = self.table.get_mut(index) {
            service.due |= service.kept.rules.timer.is_some();
        }
    }

    /// It is wanted, or its run has ended well: it waits for its timer.
    pub(super) fn lie_in_wait(&mut self, index: u32) {
        self.enter(index, State::Armed);
        self.announce(index, Change::Armed);
        self.release(index);
        self.schedule(index);
        self.settle(index);
        self.answer_reload(index, "it ended");
        // A reload may have brought a definition without a timer.
        self.mark(index);
    }

    /// Sets its timer to the earliest of its times; without a timer in its file, to none.
    pub(super) fn schedule(&mut self, index: u32) {
        let now = self.now;
        let Some(service) = self.table.get_mut(index) else {
            return;
        };
        if service.kept.rules.timer.is_none() || service.desired == Desired::Down {
            return self.unschedule(index);
        }
        service.schedule.get_or_insert_with(|| {
            Box::new(Schedule {
                next: None,
                armed: None,
                booted: false,
                counted: None,
                after: None,
                ran_at: None,
                recalled: false,
                missed: 0,
                result: None,
            })
        });
        let service = self.table.get_mut(index);
        if let Some(schedule) = service.and_then(|it| it.schedule.as_mut()) {
            schedule.armed.get_or_insert(now);
        }
        self.ask_for_former_starts(index);
        let next = self.next_start(index);
        let Some(schedule) = self
            .table
            .get_mut(index)
            .and_then(|it| it.schedule.as_mut())
        else {
            return;
        };
        let before = std::mem::replace(&mut schedule.next, next);
        self.timers.cancel(Due::Elapse(index), before);
        if let Some(next) = next {
            self.timers.arm(next, Due::Elapse(index));
        }
    }

    /// Its timer is taken away; what is known of its runs stays.
    pub(super) fn unschedule(&mut self, index: u32) {
        let schedule = self
            .table
            .get_mut(index)
            .and_then(|it| it.schedule.as_mut());
        let next = schedule.and_then(|schedule| {
            // Wanted again, everything counts from then.
            (schedule.armed, schedule.after, schedule.counted) = (None, None, None);
            schedule.next.take()
        });
        self.timers.cancel(Due::Elapse(index), next);
    }

    fn next_start(&mut self, index: u32) -> Option<Time> {
        let (now, begun) = (self.now, self.boot.begun_at());
        let service = self.table.get_mut(index)?;
        let timer = service.kept.rules.timer.as_deref()?;
        let schedule = service.schedule.as_deref_mut()?;
        let armed = schedule.armed.unwrap_or(now);
        let delay = self.clock.delay(&service.name, timer.random_delay);
        let after_boot = timer.on_boot.filter(|_| !schedule.booted);
        let after_boot = after_boot.map(|wait| begun.unwrap_or(armed) + wait + delay);
        // Where the first start is one after the boot, repetition begins with it.
        let every = timer.every.filter(|_| after_boot.is_none());
        let every = every.map(|every| schedule.counted.unwrap_or(armed) + every);
        let calendar = schedule.next_of_calendar(timer, &self.clock, delay, now);
        let earliest = [after_boot, every, calendar].into_iter().flatten().min();
        earliest.map(|at| at.max(now))
    }

    /// Its time has come. One that still runs is not started a second time.
    pub(super) fn on_elapse(&mut self, index: u32) {
        let (now, begun) = (self.now, self.boot.begun_at());
        let down = self.shutdown.begun();
        let Some(service) = self.table.get_mut(index) else {
            return;
        };
        let (Some(timer), Some(schedule)) = (
            service.kept.rules.timer.as_deref(),
            service.schedule.as_mut(),
        ) else {
            return;
        };
        schedule.next = None;
        let armed = schedule.armed.unwrap_or(now);
        if down || service.desired == Desired::Down {
            return;
        }
        let delay = self.clock.delay(&service.name, timer.random_delay);
        let after_boot = timer
            .on_boot
            .map(|wait| begun.unwrap_or(armed) + wait + delay);
        schedule.booted |= after_boot.is_some_and(|at| at <= now);
        schedule.counted = Some(now);
        schedule.pass(&self.clock, delay, now);
        match service.state {
            State::Armed if mutated(Mutation::TimerAsleep) => {}
            State::Armed | State::Failed => self.trigger(index),
            State::Down
            | State::Waiting { .. }
            | State::Spawning { .. }
            | State::Starting(_)
            | State::Up { .. }
            | State::Leaving { .. }
            | State::Stopping { .. }
            | State::Listening
            | State::Backoff => schedule.missed = schedule.missed.saturating_add(1),
        }
        self.schedule(index);
    }

    /// A service that lies in wait is started, with what it requires and what ended well meanwhile.
    pub(super) fn trigger(&mut self, index: u32) {
        let Some(service) = self.table.get_mut(index) else {
            return;
        };
        service.failures = 0;
        service.restarts = 0;
        service.tried = false;
        service.due = true;
        self.want_required(index);
        let (on, cursor) = (index, 0);
        self.enter(index, State::Waiting { on, cursor });
        self.mark(index);
    }

    /// It is being started, by whatever.
    pub(super) fn note_start(&mut self, index: u32) {
        let now = self.now;
        let seconds = self.clock.seconds(now);
        let id = self.table.id(index);
        let Some(service) = self.table.get_mut(index) else {
            return;
        };
        let Some(timer) = service.kept.rules.timer.as_deref() else {
            return;
        };
        let persistent = timer.persistent;
        let delay = self.clock.delay(&service.name, timer.random_delay);
        let first = timer.on_boot.map(|wait| wait + delay);
        let begun = self.boot.begun_at();
        self.schedule(index);
        let Some(schedule) = self
            .table
            .get_mut(index)
            .and_then(|it| it.schedule.as_mut())
        else {
            return;
        };
        schedule.counted = Some(now);
        // A time that has passed by now is this start's.
        let begun = begun.or(schedule.armed).unwrap_or(now);
        schedule.booted |= first.is_some_and(|wait| begun + wait <= now);
        schedule.ran_at = seconds.or(schedule.ran_at);
        let told = persistent && !mutated(Mutation::StartNotRemembered);
        if let (true, Some(service), Some(unix_seconds)) = (told, id, seconds) {
            self.actions.push_back(Action::RememberStart {
                service,
                unix_seconds,
            });
        }
        self.schedule(index);
    }

    /// How its run has ended, for people.
    pub(super) fn note_result(&mut self, index: u32, clean: bool) {
        if let Some(service) = self.table.get_mut(index)
            && let Some(schedule) = &mut service.schedule
        {
            let why = service.reason.as_deref().map_or("it failed", Reason::text);
            schedule.result = Some(if clean { Ok(()) } else { Err(why.into()) });
        }
    }

    /// The machine's clock says this; it has been set, or is told for the first time.
    pub(super) fn on_clock_set(&mut self, unix_nanos: i64) {
        let now = self.now;
        let before = self.clock.nanos(now);
        self.clock.zero = Some(i128::from(unix_nanos) - i128::from(now.as_nanos()));
        let small = i128::try_from(SMALL_STEP.as_nanos()).unwrap_or(0);
        let corrected = before.is_some_and(|it| (it - i128::from(unix_nanos)).abs() <= small);
        for index in self.table.indices() {
            let Some(schedule) = self
                .table
                .get_mut(index)
                .and_then(|it| it.schedule.as_mut())
            else {
                continue;
            };
            if !corrected || mutated(Mutation::CorrectionForgets) {
                schedule.after = None;
            }
            self.schedule(index);
        }
    }

    /// Once the boot has settled, asks for what a persistent service did in former boots.
    fn ask_for_former_starts(&mut self, index: u32) {
        let service = self.table.get(index);
        let unknown = service.is_some_and(|it| {
            let persistent = it.kept.rules.timer.as_ref().is_some_and(|it| it.persistent);
            let wanted = it.desired == Desired::Up;
            persistent && wanted && it.schedule.as_ref().is_some_and(|it| !it.recalled)
        });
        if unknown && self.boot.settled() && !self.clock.recalling {
            self.clock.recalling = true;
            self.actions.push_back(Action::RecallStarts);
        }
    }

    /// The boot has settled: what was missed while the machine was off is now made up for.
    pub(super) fn catch_up(&mut self) {
        for index in self.table.indices() {
            self.ask_for_former_starts(index);
        }
    }

    /// The last starts of former boots, seconds since 1970; `None`: they cannot be read.
    pub(super) fn on_starts_recalled(&mut self, starts: Option<&[(ServiceName, i64)]>) {
        self.clock.recalling = false;
        let seconds = self.clock.seconds(self.now);
        for index in self.table.indices() {
            let id = self.table.id(index);
            let Some(service) = self.table.get_mut(index) else {
                continue;
            };
            let persistent = service
                .kept
                .rules
                .timer
                .as_ref()
                .is_some_and(|it| it.persistent);
            // Who is not wanted asks when it is again.
            let asks = persistent && service.desired == Desired::Up;
            let schedule = service.schedule.as_mut().filter(|it| !it.recalled && asks);
            let Some(schedule) = schedule else {
                continue;
            };
            schedule.recalled = true;
            let found = starts.map(|starts| starts.iter().find(|(name, _)| *name == service.name));
            match (found, schedule.ran_at) {
                (Some(Some(_)), None) if mutated(Mutation::MissedForgotten) => {}
                (Some(Some((_, at))), None) => {
                    schedule.ran_at = Some(*at);
                    schedule.after = None;
                }
                // Seen for the first time: what goes by from now on is missed.
                (Some(None), None) => {
                    if let (Some(service), Some(unix_seconds)) = (id, seconds) {
                        self.actions.push_back(Action::RememberStart {
                            service,
                            unix_seconds,
                        });
                    }
                }
                (Some(_) | None, _) => {}
            }
            self.schedule(index);
        }
    }

    /// What is told of the timer of a service.
    pub(super) fn timer_status(&self, service: &Service) -> Option<TimerStatus> {
        service.kept.rules.timer.as_ref()?;
        let schedule = service.schedule.as_deref();
        let next = schedule.and_then(|it| it.next);
        let result = schedule.and_then(|it| it.result.as_ref());
        Some(TimerStatus {
            next_us: next.map(|at| at.as_nanos() / 1000),
            next_unix: next.and_then(|at| self.clock.seconds(at)),
            last_unix: schedule.and_then(|it| it.ran_at),
            result: result.map(|it| match it {
                Ok(()) => "success".to_owned(),
                Err(why) => why.to_string(),
            }),
            missed: schedule.map_or(0, |it| it.missed),
        })
    }
}

impl Schedule {
    /// The next point of the calendar. What was missed counts once, however often.
    fn next_of_calendar(
        &mut self,
        timer: &Timer,
        clock: &Clock,
        delay: Duration,
        now: Time,
    ) -> Option<Time> {
        let seconds = clock.seconds(now)?;
        let delay = i64::try_from(delay.as_secs()).unwrap_or(0);
        let after = *self.after.get_or_insert_with(|| {
            // Of former boots only what this clock can have seen is believed.
            let former = self.ran_at.filter(|at| timer.persistent && *at <= seconds);
            former.unwrap_or(seconds).saturating_sub(delay)
        });
        let next = timer
            .calendar
            .iter()
            .filter_map(|it| it.next_after(after))
            .min()?;
        clock.when(next.saturating_add(delay), now)
    }

    /// All points of the calendar up to now are done with.
    fn pass(&mut self, clock: &Clock, delay: Duration, now: Time) {
        let delay = i64::try_from(delay.as_secs()).unwrap_or(0);
        let until = clock
            .seconds(now)
            .map(|seconds| seconds.saturating_sub(delay));
        self.after = self.after.max(until);
    }
}
