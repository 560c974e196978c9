//! The core held against the reference model: each action, and after each event what every service
//! is and is wanted to be. Not here: what the model makes of an event (`model`).

use std::fmt;

use services::definition::{Kind, Signal};
use services::id::{RunId, ServiceName};
use services::status::StateName;
use services::supervisor::Supervisor;
use services::supervisor::event::{Action, Change, Command, Outcome};
use services::time::Time;

use crate::entry::{Asked, Before, Cause, Deadline, Entry, Life, Live, Reloading, Sequel, is_good};
use crate::invariants::{Broken, Invariant, Verdict, ensure};
use crate::model::Model;
use crate::open::standing;

/// What the core says of a service: put into words only where it is wrong.
struct Told<'a>(&'a ServiceName, StateName, bool);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(name, state, wanted) = self;
        write!(f, "{name} is {state:?}, wanted: {wanted}")
    }
}

impl Model {
    pub(crate) fn action(&mut self, action: &Action, core: &Supervisor) -> Verdict {
        self.took(action, core)?;
        self.yield_to_rivals(core);
        self.go_on(core, |live| live.run.is_some());
        self.mind_bonds();
        self.free_unbound(core, |_, _| false);
        Ok(())
    }

    fn took(&mut self, action: &Action, core: &Supervisor) -> Verdict {
        match action {
            Action::Spawn { run } => {
                let name = self.name(run, core)?;
                self.begins(&name, *run)
                    .map(|()| self.goes_along(&name, core))
            }
            Action::Signal { run, signal } => {
                let name = self.name(run, core)?;
                self.signalled(&name, *signal)
            }
            Action::Listen { run } => {
                let name = self.name(run, core)?;
                self.opens(&name, *run)
            }
            Action::KillAll { run } => {
                let name = self.name(run, core)?;
                self.culled(&name)
            }
            Action::EndAll { run } => {
                let name = self.name(run, core)?;
                self.swept(&name)
            }
            Action::Release { service } => self.released(*service, core),
            Action::Probe { run, purpose: _ } => {
                let name = self.name(run, core)?;
                self.probes(&name);
                Ok(())
            }
            Action::Announce { service, change } => match core.name(*service) {
                Some(name) => {
                    let name = ServiceName::new(name).unwrap();
                    if *change == Change::Down {
                        self.free_unbound(core, |it, root| {
                            it.swayed(root, |_| true).contains(&name)
                        });
                    }
                    self.announced(&name, change)?;
                    self.rings_after_failure(&name, core);
                    self.rings_after_wish(&name, core);
                    Ok(())
                }
                None => Err(Invariant::KnownIds.broken(&"an announcement")),
            },
            Action::BootSettled { .. } => self.boot_settled(),
            Action::Escalate {
                service, action, ..
            } => match core.name(*service) {
                Some(name) => self.escalated(&ServiceName::new(name).unwrap(), *action),
                None => Err(Invariant::KnownIds.broken(&"an escalation")),
            },
            Action::SpawnReload { run } => {
                let name = self.name(run, core)?;
                self.reloads(&name);
                Ok(())
            }
            Action::RememberStart {
                service,
                unix_seconds,
            } => self.remembers(*service, *unix_seconds, core),
            Action::RecallStarts => self.recalls(),
            Action::Unlisten { .. }
            | Action::KillProbe { .. }
            | Action::FindMain { .. }
            | Action::Adopt { .. }
            | Action::Complete { .. }
            | Action::Finish { .. } => Ok(()),
        }
    }

    /// It is asked how it is.
    fn probes(&mut self, name: &ServiceName) {
        let now = self.now;
        if let Some(entry) = self.entries.get_mut(name) {
            let limit = entry.probe_limit();
            if let Life::Live(live) = &mut entry.life {
                live.probe = Asked::Running(now + limit);
            }
        }
    }

    /// Its command for a reload runs.
    fn reloads(&mut self, name: &ServiceName) {
        let now = self.now;
        if let Some(entry) = self.entries.get_mut(name) {
            let limit = entry.definition.start_timeout;
            if let Life::Live(live) = &mut entry.life {
                live.reload = Reloading::Command(Deadline::new(now, limit));
                live.alive_by = None;
            }
        }
    }

    /// It was sent a signal: to stop, or by its watchdog; others are no business of the model.
    fn signalled(&mut self, name: &ServiceName, signal: Signal) -> Verdict {
        let now = self.now;
        let Some(entry) = self.entries.get(name) else {
            return Err(Invariant::KnownIds.broken(name));
        };
        let program = entry.definition.kind.program();
        let abort = program.map(|it| it.watchdog.signal) == Some(signal);
        let (stop, limit) = (
            entry.definition.stop.signal == signal,
            entry.definition.stop.timeout,
        );
        if signal == Signal::Kill && !stop {
            return self.main_killed(name);
        }
        if abort && !stop {
            self.fell_bitten(name);
            let live = self.ending_run(name)?;
            let right = live.cause == Some(Cause::Bitten) && !live.aborted;
            live.aborted = true;
            return ensure(right, Invariant::Watchdog, name);
        }
        if stop {
            let live = self.ending_run(name)?;
            live.stop.get_or_insert(Deadline::new(now, limit));
        }
        Ok(())
    }

    /// It was wanted anew and silent for too long with one tick.
    fn fell_bitten(&mut self, name: &ServiceName) {
        if let Some(entry) = self.entries.get_mut(name)
            && let Some(live) = entry.live()
            && matches!(live.instead, Some((Cause::Bitten, _, _)))
        {
            entry.fell_after_all();
        }
    }

    fn name(&self, run: &RunId, core: &Supervisor) -> Result<ServiceName, Broken> {
        let name = core.name(run.service);
        let name = name.ok_or_else(|| Invariant::KnownIds.broken(&format!("{run:?}")))?;
        Ok(ServiceName::new(name).unwrap())
    }

    /// The run of a service that has a cause to end.
    pub(crate) fn ending_run(&mut self, name: &ServiceName) -> Result<&mut Live, Broken> {
        match self.entries.get_mut(name).map(|it| &mut it.life) {
            Some(Life::Live(live)) if live.cause.is_some() => Ok(live),
            Some(
                Life::Live(_) | Life::Idle | Life::Lying | Life::Listening(_) | Life::Pausing(_),
            )
            | None => Err(Invariant::Undisturbed.broken(name)),
        }
    }

    fn announced(&mut self, name: &ServiceName, change: &Change) -> Verdict {
        let (now, ending) = (self.now, self.ending);
        if *change == Change::Down && self.was_down_for_a_moment(name) {
            return Ok(());
        }
        let yielded = self.yielded.contains(name) || self.is_unbound(name);
        // It may have been told of its end before somebody was found to have to go.
        let until_now = yielded && self.dropped.contains(name);
        let doomed = self.is_doomed(name)
            || self.was_doomed(name)
            || (until_now && self.requires_what_is_lost(name));
        let Some(entry) = self.entries.get_mut(name) else {
            return Err(Invariant::KnownIds.broken(name));
        };
        match change {
            Change::Starting | Change::Stopping => return Ok(()),
            Change::Skipped { .. } => return self.skipped(name),
            Change::Armed | Change::Listening => return self.lies_down(name, change),
            Change::Killed => return entry.killed(now, ending),
            Change::Up => {
                entry.settled = true;
                entry.comes_up(now, yielded)?;
                let starts = matches!(entry.definition.kind, Kind::Target);
                return if starts { self.its_turn(name) } else { Ok(()) };
            }
            Change::Down | Change::Backoff { .. } | Change::Failed { .. } => {}
        }
        (entry.settled, entry.troubled) = (true, true);
        if !doomed && *change != Change::Down {
            entry.fell_after_all();
        }
        let free = entry.is_free();
        let over = entry.live().is_none_or(Live::over);
        let was_wanted = entry.wanted;
        let stuck = ending && matches!(change, Change::Failed { .. });
        ensure(over || stuck, Invariant::Sequel, name)?;
        entry.wanted |= until_now && *change != Change::Down;
        let follows = entry.follows(change, doomed, stuck, now);
        entry.wanted = was_wanted;
        follows?;
        entry.leave_behind();
        entry.renew();
        entry.life = match change {
            Change::Backoff { pause, .. } => Life::Pausing(now + *pause),
            _ => Life::Idle,
        };
        entry.failed = matches!(change, Change::Failed { .. });
        entry.due = false;
        if *change == Change::Down {
            let lies = was_wanted && entry.definition.timer.is_some() && !free;
            ensure(!lies, Invariant::Lying, name)?;
            entry.wanted = false;
            if entry.removed {
                self.entries.remove(name);
                self.awaited.remove(name);
            } else if was_wanted {
                self.free_bound(name);
            }
        }
        if matches!(change, Change::Failed { .. }) {
            self.left_failed(name);
        }
        Ok(())
    }

    /// Whether something that it requires has failed, or is not wanted.
    pub(crate) fn is_doomed(&self, name: &ServiceName) -> bool {
        let wanted = self.entries.get(name).is_some_and(|it| it.wanted);
        wanted && self.requires_what_is_lost(name)
    }

    fn requires_what_is_lost(&self, name: &ServiceName) -> bool {
        self.entries.get(name).is_some_and(|entry| {
            let mut required = entry.requires.iter().filter_map(|it| self.entries.get(it));
            required.any(|it| it.failed || !it.wanted)
        })
    }

    /// Whether something that it requires was left failed, or not wanted, until the latest event.
    fn was_doomed(&self, name: &ServiceName) -> bool {
        let entry = self.entries.get(name);
        let raised = |it: &ServiceName| self.ticked && self.raised.contains(it);
        let until_now = |it: &ServiceName| self.revived.contains(it) || raised(it);
        entry.is_some_and(|it| it.requires.iter().any(until_now))
    }

    /// Whether an attempt of it, or of something that it requires, has failed.
    pub(crate) fn is_tried(&self, name: &ServiceName) -> bool {
        let tried = |name| self.entries.get(name).is_some_and(|it: &Entry| it.troubled);
        self.closure(name, |_| true).iter().any(tried)
    }

    /// Once tried is tried, whatever a reload makes of what it requires.
    fn note_tried(&mut self) {
        let waiting = |it: &Entry| !it.troubled && it.wanted && matches!(it.life, Life::Idle);
        for name in self.names(waiting) {
            if self.is_tried(&name) {
                self.entries.entry(name).and_modify(|it| it.troubled = true);
            }
        }
    }

    fn boot_settled(&mut self) -> Verdict {
        self.former.settles();
        for name in &self.awaited {
            let Some(entry) = self.entries.get(name) else {
                continue;
            };
            let down = !entry.wanted && matches!(entry.life, Life::Idle);
            let settled = entry.settled || entry.removed || down || self.is_tried(name);
            ensure(settled, Invariant::SettlesOnce, name)?;
        }
        self.awaited.clear();
        Ok(())
    }

    /// Whether the answer to what was asked is right.
    pub(crate) fn answer(&self, command: &Command, outcome: &Outcome) -> Verdict {
        let told = format!("{command:?}: {outcome:?}");
        let (Command::Start(name)
        | Command::Stop(name)
        | Command::StopAll(name)
        | Command::Restart(name)
        | Command::Reload(name)) = command
        else {
            return Ok(());
        };
        let entry = self.entries.get(name).filter(|it| !it.removed);
        let (up, wanted) = (
            entry.is_some_and(|it| it.up() || it.is_up_for_a_moment(self.now)),
            entry.is_some_and(|it| it.wanted),
        );
        let right = match (command, outcome) {
            (_, Outcome::NoSuchService(_)) => entry.is_none(),
            (Command::Start(_) | Command::Restart(_), Outcome::Done) => up,
            (Command::Stop(_) | Command::StopAll(_), Outcome::Done) => !up && !wanted,
            (Command::Start(_) | Command::Restart(_), Outcome::Failed(_)) => {
                !up && self.is_tried(name)
            }
            (Command::Start(_) | Command::Restart(_), Outcome::Superseded) => {
                !wanted || self.dropped.contains(name) || self.is_unbound(name)
            }
            // Maybe for a moment only.
            (Command::Stop(_) | Command::StopAll(_), Outcome::Superseded) => {
                wanted || self.yielded.contains(name) || self.is_unbound(name)
            }
            (Command::Start(_) | Command::Restart(_), Outcome::Refused(_)) => self.ending,
            (Command::Stop(_) | Command::StopAll(_), Outcome::Refused(_)) => self.ending,
            (Command::Stop(_) | Command::StopAll(_), Outcome::Failed(_)) => false,
            (Command::Reload(_), Outcome::Superseded) => false,
            (Command::Reload(_), Outcome::Refused(_)) => true,
            (Command::Reload(_), Outcome::Done | Outcome::Failed(_)) => true,
            (Command::WaitBoot, _) => true,
        };
        ensure(right, Invariant::AnsweredRightly, &told)
    }

    /// All actions of an event have been looked at: every service is what it should be.
    pub(crate) fn compare(&mut self, core: &Supervisor) -> Verdict {
        self.free_unbound(core, |_, _| true);
        self.go_on(core, |_| true);
        let now = self.now;
        for (name, entry) in &mut self.entries {
            if entry.removed {
                continue;
            }
            let Some((state, wanted)) = standing(name, core) else {
                return Err(Invariant::KnownIds.broken(name));
            };
            let told = Told(name, state, wanted);
            ensure(wanted == entry.wanted, Invariant::Wanted, &told)?;
            // Down and to start again: nobody is told.
            if state == StateName::Waiting && (entry.is_free() || entry.rests_well(now)) {
                entry.leave_behind();
                entry.renew();
                entry.life = Life::Idle;
            }
            entry.stands(state, &told)?;
            entry.minds_left(state)?;
            ensure(
                !(self.ticked && entry.overdue(self.now)),
                Invariant::StopTimeout,
                &told,
            )?;
        }
        self.note_tried();
        self.nothing_waits_idly()?;
        self.plan_all();
        self.nobody_oversleeps()?;
        self.all_is_kept()?;
        for (name, _) in &self.owed {
            ensure(false, Invariant::Rescue, name)?;
        }
        for (name, entry) in &self.entries {
            let mut required = entry.requires.iter().filter_map(|it| self.entries.get(it));
            self.is_put_off(name, entry, core)?;
            let lost = entry.held() && !entry.excused && required.any(|it| it.failed);
            ensure(!lost, Invariant::FailureSpreads, name)?;
        }
        Ok(())
    }

    /// After a long calm: who must be up is up, who must be down is down.
    pub(crate) fn at_rest(&self) -> Verdict {
        self.all_is_recalled()?;
        for (name, entry) in &self.entries {
            let told = format!("{name}: {entry:?}");
            let right = match &entry.life {
                // One with a timer may run just now.
                Life::Live(_) if entry.definition.timer.is_some() => entry.wanted,
                Life::Live(live) => entry.wanted && entry.up() && live.cause.is_none(),
                Life::Idle => !entry.wanted || entry.failed || self.waits_for_a_time(name),
                // A oneshot may be started again for ever, when its policy is `always`.
                Life::Pausing(_) | Life::Lying | Life::Listening(_) => entry.wanted,
            };
            ensure(right && !entry.removed, Invariant::Rest, &told)?;
        }
        Ok(())
    }
}

impl Entry {
    /// It came up with the latest event, and is down already.
    fn is_up_for_a_moment(&self, now: Time) -> bool {
        let oneshot = matches!(self.definition.kind, Kind::Oneshot(_));
        oneshot && self.live().is_some_and(|live| live.ready == Some(now))
    }

    /// Nothing of it runs, and a new run may begin.
    pub(crate) fn is_free(&self) -> bool {
        match &self.life {
            Life::Idle | Life::Lying | Life::Listening(_) => true,
            Life::Pausing(_) => false,
            Life::Live(live) => {
                let again = matches!(live.cause, Some(Cause::Asked | Cause::Bond));
                live.over() && again && self.wanted
            }
        }
    }

    /// What is announced is what follows from the end of its run, or, of one that only waited, from what it
    /// waited for.
    fn follows(&mut self, change: &Change, doomed: bool, stuck: bool, now: Time) -> Verdict {
        let failed = matches!(change, Change::Failed { .. });
        if failed && self.wanted && self.fell() && self.live().is_some_and(|it| it.lost) {
            return Ok(());
        }
        // Of those that only waited, no run has ended.
        let sequel = if self.is_free() {
            None
        } else {
            Some(self.judge(now))
        };
        // One that was to listen again at once only waited as well.
        let sequel = sequel.filter(|it| !self.listens_again(*it));
        let name = &self.definition.name;
        let told = format!("{name}: {change:?}, it should be {sequel:?}");
        let right = match (change, sequel) {
            (Change::Down, None) => !self.wanted,
            (Change::Down, Some(sequel)) => sequel == Sequel::Down,
            (Change::Failed { .. }, None) => doomed,
            // One start too many is not made: at the earliest, it would come after the least pause.
            (Change::Failed { .. }, Some(Sequel::After(_, least))) => {
                self.bursts(now + least) || stuck
            }
            (Change::Failed { .. }, Some(sequel)) => sequel == Sequel::Failed || stuck,
            (Change::Backoff { pause, .. }, Some(Sequel::After(most, least))) => {
                ensure((least..=most).contains(pause), Invariant::Pause, &told)?;
                ensure(!self.bursts(now + *pause), Invariant::Burst, &told)?;
                true
            }
            (_, _) => false,
        };
        let rule = if failed {
            Invariant::FailedRightly
        } else {
            Invariant::Sequel
        };
        ensure(right, rule, &told)
    }

    fn killed(&mut self, now: Time, ending: bool) -> Verdict {
        let stop = self.live().and_then(|live| live.stop);
        let late = stop.is_some_and(|it| it.at <= now);
        ensure(
            late || ending,
            Invariant::StopTimeout,
            &self.definition.name,
        )
    }

    /// `yielded`: maybe for a moment only.
    fn comes_up(&mut self, now: Time, yielded: bool) -> Verdict {
        let free = self.is_free();
        if free {
            self.leave_behind();
            self.renew();
        }
        let name = &self.definition.name;
        if free && matches!(self.definition.kind, Kind::Target) {
            ensure(self.wanted || yielded, Invariant::UpRightly, name)?;
            self.life = Life::Live(Live::new(None));
        }
        let parts = (free && !self.wanted).then_some(Cause::Asked);
        let ready = self.is_ready();
        let Life::Live(live) = &mut self.life else {
            return Err(Invariant::UpRightly.broken(name));
        };
        let right = ready && live.cause.is_none() && live.ready.is_none();
        ensure(right, Invariant::UpRightly, name)?;
        live.ready = Some(now);
        live.cause = parts;
        live.shows_life(&self.definition, now);
        self.due = false;
        let oneshot = matches!(self.definition.kind, Kind::Oneshot(_));
        if oneshot && self.definition.timer.is_some() {
            live.is_done();
        }
        Ok(())
    }

    /// Whether its process has done what being up asks for.
    fn is_ready(&self) -> bool {
        self.live().is_some_and(|live| match self.definition.kind {
            Kind::Target => true,
            Kind::Simple(_) => match self.found_by() {
                Some(_) => live.said_ready && live.before == Before::Done,
                None => live.spawned.is_some() && live.before == Before::Done,
            },
            Kind::Notify(_) => live.said_ready,
            Kind::Oneshot(_) => {
                let rule = &self.definition.restart;
                let good = live.exited.is_some_and(|status| is_good(rule, status));
                good && live.before == Before::Done
            }

            Kind::Forking(_) => live.found,
        })
    }

    /// The state that the core tells is the one that it must be in.
    fn stands(&self, state: StateName, told: &Told<'_>) -> Verdict {
        let (right, rule) = match &self.life {
            Life::Pausing(_) => (state == StateName::Backoff, Invariant::Sequel),
            Life::Lying => (state == StateName::Armed, Invariant::Lying),
            Life::Listening(_) => (state == StateName::Listening, Invariant::Listening),
            Life::Idle if self.failed => (state == StateName::Failed, Invariant::Announced),
            Life::Idle if self.wanted => (state == StateName::Waiting, Invariant::Announced),
            Life::Idle => (state == StateName::Down, Invariant::Announced),
            Life::Live(live) => match live.cause {
                None if live.ready.is_some() => (state == StateName::Up, Invariant::Undisturbed),
                None => {
                    let right = state == StateName::Starting && !self.is_ready();
                    (right, Invariant::Announced)
                }
                Some(Cause::Late) => (state == StateName::Stopping, Invariant::StartTimeout),
                Some(Cause::Bitten) => {
                    let right = state == StateName::Stopping && live.aborted;
                    (right, Invariant::Watchdog)
                }
                Some(Cause::Skipped) => (state == StateName::Stopping, Invariant::Skipped),
                Some(Cause::Bond) => (state == StateName::Stopping, Invariant::Bound),
                Some(Cause::Unhealthy) => (state == StateName::Stopping, Invariant::Unhealthy),
                Some(Cause::Dependency) => {
                    (state == StateName::Stopping, Invariant::FailureSpreads)
                }
                Some(Cause::Asked | Cause::Itself) => {
                    (state == StateName::Stopping, Invariant::Announced)
                }
            },
        };
        ensure(right, rule, told)
    }

    /// It should have been killed by now.
    fn overdue(&self, now: Time) -> bool {
        self.live().is_some_and(|live| {
            let late = live.stop.is_some_and(|it| it.at <= now);
            let there = live.exited.is_none() || (live.swept && !live.emptied);
            late && !live.killed && there
        })
    }
}
