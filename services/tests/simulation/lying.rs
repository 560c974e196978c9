//! In the reference model: services with a timer, which lie in wait until a time of it has come. When
//! that is, is reckoned from the page alone: anew each time, by looking at all that it names.

use std::collections::BTreeSet;
use std::time::Duration;

use services::definition::Timer;
use services::id::ServiceName;
use services::supervisor::SMALL_STEP;
use services::supervisor::event::{Change, Command};
use services::time::Time;

use crate::entry::{Cause, Entry, Life, Live};
use crate::invariants::{Invariant, Verdict, ensure};
use crate::model::Model;

/// So long nothing happens at the end but what must; no point of a calendar in a script comes then.
pub(crate) const CALM: Duration = Duration::from_secs(400);
const SECOND: i128 = 1_000_000_000;

/// The clock of the machine, as it was last told.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Civil {
    /// What it said at the beginning of all time, in nanoseconds.
    zero: i128,
}

impl Civil {
    fn nanos(self, at: Time) -> i128 {
        self.zero + i128::from(at.as_nanos())
    }

    pub(crate) fn seconds(self, at: Time) -> i64 {
        i64::try_from(self.nanos(at).div_euclid(SECOND)).unwrap()
    }

    fn when(self, seconds: i64) -> Time {
        let nanos = i128::from(seconds) * SECOND - self.zero;
        Time::from_nanos(u64::try_from(nanos.max(0)).unwrap())
    }
}

/// What the times of a timer are counted from.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// It is wanted since then.
    since: Time,
    /// Its last start, or the last of its times that found it running.
    last: Option<Time>,
    /// Points of the calendar up to this one are done with.
    pub(crate) done: i64,
}

impl Entry {
    /// Whether it waits for its timer, or would if it were wanted.
    pub(crate) fn lies(&self) -> bool {
        (self.definition.timer.is_some() || self.definition.lazy) && !self.due
    }

    /// Those that require it may run.
    pub(crate) fn available(&self) -> bool {
        self.up() || matches!(self.life, Life::Lying | Life::Listening(_))
    }

    /// The next of its times.
    pub(crate) fn rings(&self, boot: Time, civil: Civil) -> Option<Time> {
        let timer = self.definition.timer.as_ref()?;
        let plan = self.plan.as_ref().filter(|_| self.wanted)?;
        let first = timer.on_boot.filter(|_| !self.booted);
        let again = timer.every.filter(|_| first.is_none());
        let points = timer.calendar.iter();
        let point = points.filter_map(|it| it.next_after(plan.done)).min();
        let delay = self.delay_seconds();
        let times = [
            first.map(|wait| boot + wait + self.delay()),
            again.map(|pause| plan.last.unwrap_or(plan.since) + pause),
            point.map(|seconds| civil.when(seconds + delay)),
        ];
        times.into_iter().flatten().min()
    }
}

impl Live {
    /// A oneshot with a timer was up for a moment.
    pub(crate) fn is_done(&mut self) {
        self.cause.get_or_insert(Cause::Itself);
    }
}

impl Model {
    /// Its timer counts from now on, unless it does already.
    pub(crate) fn plan(&mut self, name: &ServiceName) {
        let (since, seconds) = (self.now, self.civil.seconds(self.now));
        let seed = self.former.seed;
        let Some(entry) = self.entries.get_mut(name) else {
            return;
        };
        if entry.definition.timer.is_none() || !entry.wanted {
            entry.plan = None;
            return;
        }
        entry.find_delay(seed);
        let (last, done) = (None, entry.done_by(seconds));
        entry.plan.get_or_insert(Plan { since, last, done });
    }

    pub(crate) fn plan_all(&mut self) {
        for name in self.names(|it| it.definition.timer.is_some() || it.plan.is_some()) {
            self.plan(&name);
        }
    }

    /// It is on its way to be started already, whatever its timer says.
    pub(crate) fn goes_before_its_time(&mut self, name: &ServiceName) {
        if let Some(entry) = self.entries.get_mut(name) {
            entry.due |= entry.definition.timer.is_some();
        }
    }

    /// It is started now, by its timer or by somebody.
    pub(crate) fn note_start(&mut self, name: &ServiceName) {
        let (now, boot) = (self.now, self.boot);
        self.plan(name);
        self.note_for_later(name);
        // A time after the boot that has passed by now is this start's.
        let delay = self.entries.get(name).map_or(Duration::ZERO, Entry::delay);
        let first = |it: &Timer| it.on_boot.is_some_and(|wait| boot + wait + delay <= now);
        if let Some(entry) = self.entries.get_mut(name) {
            entry.note_start(now);
            if let Some(plan) = &mut entry.plan {
                plan.last = Some(now);
                entry.booted |= entry.definition.timer.as_deref().is_some_and(first);
            }
        }
    }

    /// What has come by `due`: whoever lies in wait or is left failed is started.
    pub(crate) fn ring(&mut self, due: Time) {
        let (now, boot, civil) = (self.now, self.boot, self.civil);
        if self.ending {
            return;
        }
        let comes = |it: &Entry| it.rings(boot, civil).is_some_and(|at| at <= due);
        // What is only wanted with this tick lies down first.
        let lies_down = |it: &Entry| matches!(it.life, Life::Idle) && !it.failed && it.lies();
        let rings = self.names(|it| comes(it) && !lies_down(it));
        for name in &rings {
            let Some(entry) = self.entries.get_mut(name).filter(|it| it.wanted) else {
                continue;
            };
            let first = entry.definition.timer.as_ref().and_then(|it| it.on_boot);
            let delay = entry.delay();
            entry.booted |= first.is_some_and(|wait| boot + wait + delay <= now);
            let done = civil.seconds(now) - entry.delay_seconds();
            if let Some(plan) = &mut entry.plan {
                plan.last = Some(now);
                plan.done = plan.done.max(done);
            }
            if matches!(entry.life, Life::Lying) || entry.failed {
                if entry.failed {
                    self.revived.insert(name.clone());
                }
                let rivals = entry.rivals.clone();
                // One that runs is not started by its time, and has to go.
                let runs = |it: &ServiceName| self.entries.get(it).is_some_and(Entry::held);
                let open = rivals.iter().any(|it| rings.contains(it) && !runs(it));
                self.rise(name);
                if open {
                    // Whose turn comes first is open.
                    self.contested.insert(name.clone());
                } else if !self.is_doomed(name) {
                    self.oust(name, &BTreeSet::new());
                }
                self.fell.insert(name.clone());
                self.had_to_go_again();
            } else if matches!(entry.life, Life::Idle) {
                self.rung.insert(name.clone());
            }
        }
    }

    /// Of two rivals whose times came with one tick, the first may have been started before the second.
    fn had_to_go_again(&mut self) {
        let gone = |name: &&ServiceName| self.entries.get(*name).is_some_and(|it| !it.wanted);
        let gone: Vec<ServiceName> = self.fell.iter().filter(gone).cloned().collect();
        self.yielded.extend(gone);
    }

    /// It lies in wait no longer: it is to be started, with what it requires.
    pub(crate) fn trigger(&mut self, name: &ServiceName) {
        self.rise(name);
        if !self.is_doomed(name) {
            self.oust(name, &BTreeSet::new());
        }
    }

    /// The same, and rivals are as they are.
    pub(crate) fn rise(&mut self, name: &ServiceName) {
        let Some(entry) = self.entries.get_mut(name) else {
            return;
        };
        entry.due = true;
        entry.life = Life::Idle;
        entry.failed = false;
        entry.failures = 0;
        self.want_what_ended(name);
    }

    /// It is told that it lies in wait.
    pub(crate) fn lies_down(&mut self, name: &ServiceName, change: &Change) -> Verdict {
        if *change == Change::Listening {
            return self.listens(name);
        }
        let now = self.now;
        ensure(*change == Change::Armed, Invariant::Announced, name)?;
        let Some(entry) = self.entries.get_mut(name) else {
            return Err(Invariant::KnownIds.broken(name));
        };
        // It may have been wanted for a moment only.
        let dropped = self.dropped.contains(name);
        let waited = entry.is_free();
        let ended = !waited && (entry.is_skipped() || entry.ends_well(now));
        entry.leave_behind();
        entry.renew();
        let told = format!("{name}: {entry:?}");
        let lies = (waited && (entry.lies() || self.revived.contains(name)))
            || (ended && entry.definition.timer.is_some());
        ensure(
            lies && (entry.wanted || dropped) && !entry.failed,
            Invariant::Lying,
            &told,
        )?;
        entry.life = Life::Lying;
        entry.settled = true;
        entry.troubled |= ended;
        entry.due = false;
        // It has ousted nobody, and a rival that starts by itself ousts it.
        if !entry.rivals.is_empty() {
            self.contested.insert(name.clone());
        }
        self.plan(name);
        // A tick looks for what is due until nothing is.
        if self.ticked {
            self.ring(now);
        }
        Ok(())
    }

    /// Whether it waits, maybe through others, for something that is bound to a service with a timer:
    /// it does so as long as that is not up.
    pub(crate) fn waits_for_a_time(&self, name: &ServiceName) -> bool {
        let timed = |it: &ServiceName| {
            let bound = self.entries.get(it);
            bound.is_some_and(|it| {
                (it.definition.timer.is_some() || it.definition.lazy) && it.wanted
            })
        };
        let mut seen = BTreeSet::from([name.clone()]);
        let mut work = vec![name.clone()];
        while let Some(entry) = work.pop().and_then(|name| self.entries.get(&name)) {
            if !entry.wanted || entry.failed || !matches!(entry.life, Life::Idle) {
                continue;
            }
            if entry.binds.iter().any(timed) {
                return true;
            }
            let earlier = entry.earlier.iter();
            work.extend(earlier.filter(|it| seen.insert((*it).clone())).cloned());
        }
        false
    }

    /// Whether it may be for a time of a timer that a request is not answered.
    pub(crate) fn may_be_open(&self, command: &Command) -> bool {
        match command {
            Command::Start(name) | Command::Restart(name) => self.waits_for_a_time(name),
            Command::WaitBoot => self.awaited.iter().any(|it| self.waits_for_a_time(it)),
            Command::Stop(_) | Command::StopAll(_) | Command::Reload(_) => false,
        }
    }

    /// The machine's clock is set: by a little it was corrected, by more it was wrong before.
    pub(crate) fn clock_set(&mut self, unix_nanos: i64) {
        let now = self.now;
        let before = self.civil.nanos(now);
        let step = (before - i128::from(unix_nanos)).unsigned_abs();
        self.civil.zero = i128::from(unix_nanos) - i128::from(now.as_nanos());
        let seconds = self.civil.seconds(now);
        if step <= SMALL_STEP.as_nanos() {
            return;
        }
        for entry in self.entries.values_mut() {
            let done = entry.done_by(seconds);
            entry.plan.iter_mut().for_each(|it| it.done = done);
        }
    }

    /// After a tick, nobody who lies in wait has a time that has come.
    pub(crate) fn nobody_oversleeps(&self) -> Verdict {
        let (boot, civil, now) = (self.boot, self.civil, self.now);
        for (name, entry) in &self.entries {
            let waits = matches!(entry.life, Life::Lying) || entry.failed;
            let late = entry.rings(boot, civil).is_some_and(|at| at <= now);
            let slept = self.ticked && !self.ending && waits && late;
            ensure(!slept, Invariant::Lying, name)?;
        }
        Ok(())
    }
}
