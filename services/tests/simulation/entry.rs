//! One service in the reference model: its run, what is wanted of it, and what follows the end of a
//! run by its restart policy. Not here: what happens to it (`model`).

use std::time::Duration;

use services::definition::{Definition, Ready, Restart, RestartPolicy};
use services::id::{RunId, ServiceId, ServiceName};
use services::supervisor::event::ExitStatus;
use services::time::Time;

use crate::left::Remains;
use crate::lying::Plan;

/// Why a run comes to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Somebody wants it down, or down and up again.
    Asked,
    /// Something that it is bound to is not up.
    Bond,
    /// What it requires is left failed.
    Dependency,
    /// By itself.
    Itself,
    /// Not ready in time.
    Late,
    /// A condition of its does not hold.
    Skipped,
    /// Too many bad probes in a row.
    Unhealthy,
    /// It was silent for too long, or said that it is broken.
    Bitten,
}

impl Cause {
    /// It was found late, unhealthy or silent.
    pub(crate) const fn is_fall(self) -> bool {
        match self {
            Self::Late | Self::Unhealthy | Self::Bitten => true,
            Self::Asked | Self::Bond | Self::Dependency | Self::Itself | Self::Skipped => false,
        }
    }
}

/// Longest time that a service can make of a deadline by asking for more.
const EXTENDED_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A time by which something must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deadline {
    set: Time,
    pub(crate) at: Time,
}

impl Deadline {
    pub(crate) fn new(now: Time, limit: Duration) -> Self {
        Self {
            set: now,
            at: now + limit,
        }
    }

    /// It takes up to so long from now on; never less than before.
    pub(crate) fn extend(&mut self, now: Time, by: Duration) {
        self.at = self.at.max((now + by).min(self.set + EXTENDED_MAX));
    }
}

/// Whether a service that is up reads its configuration again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reloading {
    No,
    /// By its own word.
    Announced(Deadline),
    /// Its reload command runs.
    Command(Deadline),
    /// Its reload command has had its time, and still runs.
    Overdue,
}

/// How far a run is with what is done before its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    Going,
    /// Or there is nothing to be done.
    Done,
    Skipped,
    Failed,
}

/// The probe of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    No,
    /// Until when it may take.
    Running(Time),
    /// Killed, and not gone; when that is one more bad answer.
    Killed(Time),
}

/// A service that runs, or is up without a process.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    pub(crate) run: Option<RunId>,
    pub(crate) spawned: Option<Time>,
    /// It is no run: only its sockets are opened.
    pub(crate) opening: bool,
    pub(crate) opened: bool,
    pub(crate) before: Before,
    /// What its command has left is looked for.
    pub(crate) sought: bool,
    pub(crate) found: bool,
    /// It only counts as up.
    pub(crate) skipped: bool,
    /// By its word, by its line, or by a good probe.
    pub(crate) said_ready: bool,
    /// It has closed the descriptor by which it was to say so: it has failed at that time.
    pub(crate) mute: Option<Time>,
    pub(crate) ready: Option<Time>,
    pub(crate) cause: Option<Cause>,
    /// With one tick it was wanted anew and found late or unhealthy, and which came first is open: what
    /// counts where that was the wish, with failures in a row and starts.
    pub(crate) instead: Option<(Cause, u32, Vec<Time>)>,
    /// With one tick it was found late or unhealthy, and what it requires was left failed: which came first is
    /// open.
    pub(crate) lost: bool,
    pub(crate) exited: Option<ExitStatus>,
    pub(crate) emptied: bool,
    /// There was no process at all.
    pub(crate) unborn: bool,
    /// It ended by itself before it was ready.
    pub(crate) early: bool,
    /// Until when it may take to be ready, where it has to be told.
    pub(crate) start: Option<Deadline>,
    /// Until when it may take to stop, once it was told to, or said that it does.
    pub(crate) stop: Option<Deadline>,
    pub(crate) reload: Reloading,
    /// How often it said it would say that it is alive, if it said so.
    pub(crate) watch: Option<Option<Duration>>,
    /// When it has been silent for too long.
    pub(crate) alive_by: Option<Time>,
    /// It has got the signal of its watchdog.
    pub(crate) aborted: bool,
    pub(crate) killed: bool,
    /// Its end is the end of its main process.
    pub(crate) spared: bool,
    /// All that is left of it has been asked to end.
    pub(crate) swept: bool,
    /// There is nothing of it but what earlier runs have left.
    pub(crate) only_left: bool,
    /// All of it has been killed.
    pub(crate) culled: bool,
    pub(crate) probe: Asked,
    pub(crate) bad: u32,
    pub(crate) bad_since: Option<Time>,
    pub(crate) ever_good: bool,
}

impl Live {
    pub(crate) fn new(run: Option<RunId>) -> Self {
        Self {
            run,
            spawned: None,
            opening: false,
            opened: false,
            before: Before::Done,
            sought: false,
            found: false,
            skipped: false,
            said_ready: false,
            mute: None,
            ready: None,
            cause: None,
            instead: None,
            lost: false,
            exited: None,
            emptied: false,
            unborn: false,
            early: false,
            start: None,
            stop: None,
            reload: Reloading::No,
            watch: None,
            alive_by: None,
            aborted: false,
            killed: false,
            spared: false,
            swept: false,
            only_left: false,
            culled: false,
            probe: Asked::No,
            bad: 0,
            bad_since: None,
            ever_good: false,
        }
    }

    /// Nothing is left of it that ends with it.
    pub(crate) fn over(&self) -> bool {
        let empty = self.emptied || (self.spared && !self.sought);
        self.run.is_none() || self.unborn || (self.exited.is_some() && empty)
    }

    /// How it ended, as its restart policy has it.
    fn ending(&self, rule: &Restart) -> Ending {
        match (self.cause, self.exited) {
            (Some(Cause::Itself), Some(status)) if is_good(rule, status) && !self.early => {
                Ending::Good
            }
            (Some(Cause::Itself), Some(ExitStatus::Code(_))) => Ending::Bad,
            // There was no process to end in another way.
            (Some(Cause::Itself), None) => Ending::Bad,
            (_, _) => Ending::Abnormal,
        }
    }
}

#[allow(
    clippy::large_enum_variant,
    reason = "there are a few of them in a test"
)]
#[derive(Clone, Debug)]
pub(crate) enum Life {
    /// Nothing of it is there.
    Idle,
    /// Nothing of it is there, and it waits for its timer.
    Lying,
    /// Nothing of it is there but its sockets, at which it waits for traffic.
    Listening(ServiceId),
    /// Started again at this time.
    Pausing(Time),
    Live(Live),
}

/// How a run ended that nobody asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Good,
    /// By an exit status that is none of the good ones, or too early, or there was no process.
    Bad,
    /// By a signal, late, or unhealthy.
    Abnormal,
}

/// What follows the end of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sequel {
    Down,
    StartsAgain,
    Failed,
    /// A pause, of the first at most, and at least the second: by how much less, chance decides.
    After(Duration, Duration),
}

/// Whether a program that has ended so has ended with success.
pub(crate) fn is_good(rule: &Restart, status: ExitStatus) -> bool {
    match status {
        ExitStatus::Code(code) => code == 0 || rule.success.contains(&code),
        ExitStatus::Signal { .. } => false,
    }
}

/// One service.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Of the present run, or the next one.
    pub(crate) definition: Definition,
    /// A reload has brought it while a run goes on.
    pub(crate) next: Option<Definition>,
    pub(crate) requires: Vec<ServiceName>,
    pub(crate) wants: Vec<ServiceName>,
    /// Whatever comes before it in the order.
    pub(crate) earlier: Vec<ServiceName>,
    pub(crate) rivals: Vec<ServiceName>,
    pub(crate) binds: Vec<ServiceName>,
    pub(crate) part_of: Vec<ServiceName>,
    pub(crate) on_failure: Vec<ServiceName>,
    pub(crate) wanted: bool,
    pub(crate) failed: bool,
    pub(crate) removed: bool,
    /// It is to be started, though it has a timer.
    pub(crate) due: bool,
    pub(crate) plan: Option<Plan>,
    /// By how much its times are put off, where its file says that they are put off by up to so much.
    pub(crate) delay: Option<(Duration, Duration)>,
    /// Its last start by the clock of the machine, in a former boot too.
    pub(crate) ran: Option<i64>,
    /// What former boots have left of it has been told.
    pub(crate) recalled: bool,
    /// The time of its timer after the boot has come.
    pub(crate) booted: bool,
    /// How many failures have started one service after the other, down to this one.
    pub(crate) rescue: u8,
    pub(crate) failures: u32,
    /// When it was started, since somebody wanted it anew; no more than its burst speaks of.
    pub(crate) starts: Vec<Time>,
    pub(crate) life: Life,
    pub(crate) remains: Remains,
    /// It has been up, down or failed, or an attempt has failed, at least once.
    pub(crate) settled: bool,
    /// A run of it has ended, or could not begin, at least once.
    pub(crate) troubled: bool,
    /// A reload has made it require something that is failed already.
    pub(crate) excused: bool,
}

impl Entry {
    pub(crate) fn live(&self) -> Option<&Live> {
        match &self.life {
            Life::Live(live) => Some(live),
            Life::Idle | Life::Lying | Life::Listening(_) | Life::Pausing(_) => None,
        }
    }

    /// Runs or is up, and nothing speaks against it.
    pub(crate) fn held(&self) -> bool {
        self.live().is_some_and(|live| live.cause.is_none())
    }

    pub(crate) fn fell(&self) -> bool {
        let cause = self.live().and_then(|live| live.cause);
        cause.is_some_and(Cause::is_fall)
    }

    /// Its run is over, and its restart policy says what follows.
    pub(crate) fn ends_by_itself(&self) -> bool {
        let asked = |live: &Live| matches!(live.cause, None | Some(Cause::Asked | Cause::Bond));
        self.live().is_some_and(|live| live.over() && !asked(live))
    }

    /// It was wanted anew before it was found late or unhealthy.
    pub(crate) fn fell_after_all(&mut self) {
        if let Life::Live(live) = &mut self.life
            && let Some((cause, failures, starts)) = live.instead.take()
        {
            live.cause = Some(cause);
            (self.failures, self.starts) = (failures, starts);
        }
    }

    pub(crate) fn up(&self) -> bool {
        let ready = self.live().is_some_and(|live| live.ready.is_some());
        self.held() && ready
    }

    /// The next run is of the newest definition.
    pub(crate) fn renew(&mut self) {
        if let Some(next) = self.next.take() {
            self.definition = next;
            if self.definition.timer.is_none() {
                self.plan = None;
            }
        }
    }

    /// The run is over: what follows, by its cause and by the restart policy.
    pub(crate) fn judge(&mut self, now: Time) -> Sequel {
        let Life::Live(live) = &self.life else {
            return Sequel::Down;
        };
        match live.cause {
            _ if !self.wanted => return Sequel::Down,
            None | Some(Cause::Asked | Cause::Bond) => return Sequel::StartsAgain,
            Some(Cause::Dependency) => return Sequel::Failed,
            // It is told in another way.
            Some(Cause::Skipped) => return Sequel::Down,
            Some(Cause::Itself | Cause::Late | Cause::Unhealthy | Cause::Bitten) => {}
        }
        let rule = &self.definition.restart;
        let ending = live.ending(rule);
        let clean = ending == Ending::Good;
        let up_for = live.ready.map(|ready| now.since(ready));
        let long = up_for.is_some_and(|time| time >= rule.reset_after);
        let good_for = live
            .ready
            .map(|ready| match (live.bad_since, live.ever_good) {
                (None, _) => now.since(ready),
                (Some(since), true) => since.since(ready),
                (Some(_), false) => Duration::ZERO,
            });
        if clean || good_for.is_some_and(|time| time >= rule.reset_after) {
            self.failures = 0;
            self.rescue = 0;
        }
        if !clean {
            self.failures += 1;
        }
        let limit = rule.max_failures.unwrap_or(u32::MAX);
        // No pause before the first start is none before all others.
        let least = Duration::from_millis(u64::from(self.failures > 1));
        let mut pause = rule.delay.max(least);
        for _ in 1..self.failures {
            pause = (pause * 2).min(rule.max_delay);
        }
        let again = match (rule.policy, ending) {
            (RestartPolicy::Always, _) => true,
            (RestartPolicy::OnFailure, Ending::Bad | Ending::Abnormal) => true,
            (RestartPolicy::OnAbnormal, Ending::Abnormal) => true,
            (RestartPolicy::OnSuccess, Ending::Good) => true,
            (RestartPolicy::OnFailure | RestartPolicy::OnAbnormal, _) => false,
            (RestartPolicy::OnSuccess | RestartPolicy::Never, _) => false,
        };
        match (again, clean) {
            (false, true) => self.after_good_end(long),
            (false, false) => Sequel::Failed,
            (true, false) if self.failures >= limit => Sequel::Failed,
            (true, _) => {
                let most = pause.min(rule.max_delay);
                let least = most * (100 - u32::from(rule.jitter)) / 100;
                Sequel::After(most, least)
            }
        }
    }

    /// Its run has ended well, and it lies in wait again at once.
    pub(crate) fn rests_well(&mut self, now: Time) -> bool {
        let over = self
            .live()
            .is_some_and(|live| live.over() && live.cause == Some(Cause::Itself));
        if !over || !self.wanted {
            return false;
        }
        let sequel = self.judge(now);
        self.listens_again(sequel)
    }

    /// Its run is over, by itself and well, and its policy does not start it again.
    pub(crate) fn ends_well(&mut self, now: Time) -> bool {
        let over = self.live().is_some_and(Live::over);
        over && self.judge(now) == Sequel::Down
    }

    /// It is started now.
    pub(crate) fn note_start(&mut self, now: Time) {
        let most = self.definition.restart.burst.map_or(0, |it| it.starts);
        self.starts.push(now);
        let surplus = self.starts.len().saturating_sub(usize::from(most));
        self.starts.drain(..surplus);
    }

    /// Whether a start at `next` would be one too many.
    pub(crate) fn bursts(&self, next: Time) -> bool {
        self.definition.restart.burst.is_some_and(|burst| {
            let recent = |at: &&Time| next.since(**at) < burst.within;
            self.starts.iter().filter(recent).count() >= usize::from(burst.starts)
        })
    }
}

impl Live {
    pub(crate) fn bad_answer(&mut self, limit: u32, now: Time) {
        self.bad += 1;
        self.bad_since.get_or_insert(now);
        if self.bad >= limit {
            self.cause = Some(Cause::Unhealthy);
        }
    }
}

impl Entry {
    pub(crate) fn new(definition: Definition) -> Self {
        Self {
            definition,
            next: None,
            requires: Vec::new(),
            wants: Vec::new(),
            earlier: Vec::new(),
            rivals: Vec::new(),
            binds: Vec::new(),
            part_of: Vec::new(),
            on_failure: Vec::new(),
            wanted: false,
            failed: false,
            removed: false,
            due: false,
            plan: None,
            delay: None,
            ran: None,
            recalled: false,
            booted: false,
            rescue: 0,
            failures: 0,
            starts: Vec::new(),
            life: Life::Idle,
            remains: Remains::default(),
            settled: false,
            troubled: false,
            excused: false,
        }
    }

    /// When something of it may be due.
    pub(crate) fn dues(&self) -> Vec<Time> {
        let live = match &self.life {
            Life::Idle | Life::Lying | Life::Listening(_) => return Vec::new(),
            Life::Pausing(until) => return vec![*until],
            Life::Live(live) => live,
        };
        let start = live.start.map(|it| it.at);
        let asked = match live.probe {
            Asked::Running(until) | Asked::Killed(until) => Some(until),
            Asked::No => None,
        };
        let reload = match live.reload {
            Reloading::Announced(deadline) | Reloading::Command(deadline) => Some(deadline.at),
            Reloading::Overdue | Reloading::No => None,
        };
        let dues = [start, live.mute, asked, reload, live.alive_by];
        dues.into_iter().flatten().collect()
    }

    /// What tells that it is ready, beside its type.
    pub(crate) fn found_by(&self) -> Option<&Ready> {
        self.definition.kind.program()?.ready.as_ref()
    }

    /// How long the probe may take that is due now: for its health once it is up.
    pub(crate) fn probe_limit(&self) -> Duration {
        let up = self.live().is_some_and(|live| live.ready.is_some());
        let program = self.definition.kind.program();
        let health = program.and_then(|it| it.health.as_ref());
        match self.found_by() {
            Some(Ready::Probe { timeout, .. }) if !up => *timeout,
            Some(_) | None => health.map(|it| it.timeout).unwrap_or_default(),
        }
    }

    pub(crate) fn health_failures(&self) -> u32 {
        let health = self.definition.kind.program();
        let health = health.and_then(|it| it.health.as_ref());
        health.map_or(u32::MAX, |it| it.failures)
    }

    /// A probe that should have ended by `due`.
    pub(crate) fn probe_is_late(&mut self, due: Time, now: Time) {
        let limit = self.health_failures();
        let health = self.definition.kind.program();
        let pause = health.and_then(|it| it.health.as_ref());
        let again = now + pause.map(|it| it.interval + it.timeout).unwrap_or_default();
        if let Life::Live(live) = &mut self.life
            && live.cause.is_none()
            && let Asked::Running(until) | Asked::Killed(until) = live.probe
            && until <= due
        {
            if live.ready.is_some() {
                live.probe = Asked::Killed(again);
                live.bad_answer(limit, now);
            } else {
                // Nobody counts how often it was not ready.
                live.probe = Asked::Killed(Time::MAX);
            }
        }
    }
}
