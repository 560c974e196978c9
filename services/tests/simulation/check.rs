//! What must always hold, checked from outside: by what the core asks for and what the kernel and
//! the clients have seen, never by the core's own books (but for the final states).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use services::definition::BootRole;
use services::gate::GateView;
use services::graph::Graph;
use services::id::{RunId, ServiceName};
use services::supervisor::event::{Action, Change, Command, Outcome, Purpose, RequestId};
use services::supervisor::{SHUTDOWN_GRACE, SHUTDOWN_MARGIN, Supervisor};
use services::time::Time;

use crate::invariants::{Broken, Invariant, Verdict, ensure};
use crate::kernel::Kernel;
use crate::sockets::Sockets;

/// The books of an observer.
#[derive(Default)]
pub(crate) struct Books {
    /// Announced up and not announced otherwise since.
    pub(crate) up: BTreeSet<ServiceName>,
    /// Announced as lying in wait and not announced otherwise since.
    lying: BTreeSet<ServiceName>,
    /// Up, and healthy where that is asked for, without a break since then.
    good_since: BTreeMap<ServiceName, Time>,
    /// Announced as stopping, and not down or failed since.
    stopping: BTreeSet<ServiceName>,
    pub(crate) sockets: Sockets,
    /// Not to be started by itself before.
    backoff: BTreeMap<ServiceName, Time>,
    /// Open requests and what they asked.
    pub(crate) open: BTreeMap<RequestId, Option<Command>>,
    pub(crate) settled: u32,
    pub(crate) finished: Option<Time>,
    pub(crate) shutdown_at: Option<Time>,
    /// Longest stop timeout of any definition there ever was.
    pub(crate) longest_stop: Duration,
    /// Longest `max-delay` of any definition there ever was.
    pub(crate) longest_pause: Duration,
    /// The graph was replaced.
    pub(crate) replaced: bool,
    /// The clock jumped during a shutdown.
    suspended: bool,
}

fn unknown(what: &dyn core::fmt::Display) -> Broken {
    Invariant::KnownIds.broken(what)
}

impl Books {
    /// What is known of pauses no longer counts once somebody meddled.
    pub(crate) fn meddle(&mut self) {
        self.backoff.clear();
    }

    /// The clock jumps forward: what is due by then is due at once, and what the kernel had begun
    /// goes on as before.
    pub(crate) fn suspend(&mut self, time: Duration) {
        if let Some(at) = &mut self.shutdown_at {
            *at = *at + time;
            self.suspended = true;
        }
    }

    pub(crate) fn bound(&self) -> Duration {
        self.longest_stop + SHUTDOWN_MARGIN
    }

    fn past_bound(&self, now: Time) -> bool {
        self.shutdown_at
            .is_some_and(|at| self.suspended || now.since(at) >= SHUTDOWN_MARGIN)
    }

    /// Checks one action against all that happened before it.
    pub(crate) fn action(
        &mut self,
        action: &Action,
        core: &Supervisor,
        graph: &Graph,
        kernel: &Kernel,
        now: Time,
    ) -> Verdict {
        ensure(self.finished.is_none(), Invariant::FinishOnce, &"")?;
        self.sockets.ending = self.shutdown_at.is_some();
        self.sockets.action(action, core)?;
        match action {
            Action::Spawn { run } => self.spawn(*run, core, graph, kernel, now),
            Action::Signal { run, signal } => {
                let name = live(*run, core, kernel)?;
                if *signal == services::definition::Signal::Term {
                    no_probe(&name, kernel)?;
                    self.order(&name, graph, kernel, now)?;
                }
                Ok(())
            }
            Action::KillAll { run } => {
                let name = live(*run, core, kernel)?;
                no_probe(&name, kernel)?;
                let emptied = kernel.processes.get(run).is_some_and(|p| p.emptied);
                ensure(!emptied, Invariant::Undisturbed, &name)
            }
            Action::Probe { run, purpose } => self.probe(*run, *purpose, core, kernel),
            Action::KillProbe { run } => {
                let name = core
                    .name(run.service)
                    .ok_or_else(|| unknown(&"a service"))?;
                self.good_since.remove(name);
                let there = kernel.probes.get(run).is_some_and(|probe| !probe.killed);
                ensure(there, Invariant::OneProbe, &name)
            }
            Action::EndAll { run } | Action::FindMain { run } => {
                let name = live(*run, core, kernel)?;
                no_probe(&name, kernel)
            }
            Action::SpawnReload { run } | Action::Adopt { run, .. } => {
                let name = live(*run, core, kernel)?;
                let dead = kernel.processes.get(run).is_some_and(|p| p.dead);
                ensure(!dead, Invariant::KnownIds, &name)
            }
            Action::Release { service } => {
                let name = core.name(*service).ok_or_else(|| unknown(&"a service"))?;
                let name = ServiceName::new(name).unwrap();
                no_probe(&name, kernel)?;
                let none = kernel.run_of(&name).is_none();
                ensure(none, Invariant::Released, &name)
            }
            Action::Unlisten { .. } | Action::RecallStarts => Ok(()),
            Action::RememberStart { service, .. } => ensure(
                core.name(*service).is_some(),
                Invariant::KnownIds,
                &"a start",
            ),
            Action::Listen { run } => Self::listens(*run, core, kernel),
            Action::Announce { service, change } => {
                let definition = core.definition(*service);
                let definition = definition.ok_or_else(|| unknown(&"a service"))?;
                self.announce(&definition, change, now)
            }
            Action::Complete { request, outcome } => self.complete(*request, outcome, kernel),
            Action::Escalate { service, .. } => {
                let known = core.name(*service).is_some();
                ensure(known, Invariant::KnownIds, &"Escalate")
            }
            Action::BootSettled { failed } => {
                self.settled += 1;
                let known = failed.iter().all(|id| core.name(*id).is_some());
                ensure(known, Invariant::KnownIds, &"BootSettled")?;
                ensure(self.settled == 1, Invariant::SettlesOnce, &"")
            }
            Action::Finish { .. } => self.finish(kernel, now),
        }
    }

    fn spawn(
        &mut self,
        run: RunId,
        core: &Supervisor,
        graph: &Graph,
        kernel: &Kernel,
        now: Time,
    ) -> Verdict {
        let name = core
            .name(run.service)
            .ok_or_else(|| unknown(&"a service"))?;
        let name = ServiceName::new(name).unwrap();
        ensure(!kernel.runs(&name), Invariant::OneRun, &name)?;
        no_probe(&name, kernel)?;
        let quiet = self.shutdown_at.is_none();
        ensure(quiet, Invariant::StartsWanted, &name)?;
        let index = graph.index_of(name.as_str());
        let index = index.ok_or_else(|| Invariant::StartsWanted.broken(&name))?;
        let definition = graph.service(index);
        for required in graph.requires(index) {
            let required = &graph.service(*required).unwrap().name;
            let bound = definition.is_some_and(|it| it.relations.binds_to.contains(required));
            let lies = !bound && self.lying.contains(required);
            let up = self.up.contains(required) || lies;
            let pair = format!("{name} requires {required}");
            ensure(up, Invariant::RequiredUp, &pair)?;
        }
        for rival in graph.conflicts(index) {
            let rival = &graph.service(*rival).unwrap().name;
            let free = !kernel.runs(rival);
            let pair = format!("{name} conflicts with {rival}");
            ensure(free, Invariant::RivalsApart, &pair)?;
        }
        let pause_over = self.backoff.get(&name).is_none_or(|at| now >= *at);
        ensure(pause_over, Invariant::Pause, &name)
    }

    /// The sockets of a lazy service are opened.
    fn listens(run: RunId, core: &Supervisor, kernel: &Kernel) -> Verdict {
        let definition = core.definition(run.service);
        let definition = definition.ok_or_else(|| unknown(&"a service"))?;
        let name = &definition.name;
        ensure(definition.lazy, Invariant::Listening, name)?;
        ensure(!kernel.runs(name), Invariant::OneRun, name)
    }

    fn probe(&self, run: RunId, purpose: Purpose, core: &Supervisor, kernel: &Kernel) -> Verdict {
        let name = live(run, core, kernel)?;
        let dead = kernel.processes.get(&run).is_some_and(|p| p.dead);
        ensure(!dead, Invariant::KnownIds, &name)?;
        let right = match purpose {
            Purpose::Ready => !self.up.contains(&name) && !self.stopping.contains(&name),
            Purpose::Health => self.up.contains(&name),
        };
        ensure(right, Invariant::OneProbe, &name)?;
        let alone = !kernel.probes.contains_key(&run) && !kernel.live_probe(&name);
        ensure(alone, Invariant::OneProbe, &name)
    }

    /// What a probe said, as the gate has to understand it.
    pub(crate) fn probed(&mut self, name: &str, good: bool, killed: bool, now: Time) {
        match ServiceName::new(name) {
            Ok(name) if good && !killed && self.up.contains(&name) => {
                self.good_since.entry(name).or_insert(now);
            }
            Ok(_) | Err(_) if !good => {
                self.good_since.remove(name);
            }
            Ok(_) | Err(_) => {}
        }
    }

    /// The gate has found the boot good.
    pub(crate) fn committed(&self, view: &GateView<'_>, soak: Duration, now: Time) -> Verdict {
        for service in &view.services {
            if service.role == BootRole::Essential {
                let since = self.good_since.get(service.name);
                let soaked = since.is_some_and(|since| now.since(*since) >= soak);
                let told = format!("{} since {since:?}, now {now:?}", service.name);
                ensure(soaked, Invariant::Soak, &told)?;
            }
        }
        Ok(())
    }

    /// Whoever comes after `name` and is on its way down, is gone.
    fn order(&self, name: &ServiceName, graph: &Graph, kernel: &Kernel, now: Time) -> Verdict {
        let Some(index) = graph.index_of(name.as_str()) else {
            return Ok(());
        };
        if self.past_bound(now) {
            return Ok(());
        }
        for later in graph.successors(index) {
            let later = &graph.service(*later).unwrap().name;
            let leaves = self.stopping.contains(later) || self.shutdown_at.is_some();
            // At the end, nothing is spared.
            let gone = match self.shutdown_at {
                Some(_) => kernel.run_of(later).is_none(),
                None => !kernel.runs(later),
            };
            let pair = format!("{name} is stopped, {later} comes after it and still runs");
            ensure(!leaves || gone, Invariant::ReverseOrder, &pair)?;
        }
        Ok(())
    }

    fn announce(
        &mut self,
        definition: &services::definition::Definition,
        change: &Change,
        now: Time,
    ) -> Verdict {
        let name = &definition.name;
        self.up.remove(name);
        self.lying.remove(name);
        self.good_since.remove(name);
        let probed = definition
            .kind
            .program()
            .is_some_and(|it| it.health.is_some());
        match change {
            Change::Up => {
                self.up.insert(name.clone());
                if !probed {
                    self.good_since.insert(name.clone(), now);
                }
            }
            Change::Stopping => {
                self.stopping.insert(name.clone());
            }
            Change::Armed | Change::Listening => {
                self.stopping.remove(name);
                self.backoff.remove(name);
                self.lying.insert(name.clone());
                self.good_since.insert(name.clone(), now);
            }
            Change::Down | Change::Failed { .. } | Change::Starting => {
                self.stopping.remove(name);
                self.backoff
                    .remove(name)
                    .filter(|_| *change != Change::Starting);
            }
            Change::Backoff { pause, .. } => {
                self.stopping.remove(name);
                self.backoff.insert(name.clone(), now + *pause);
                let restart = &definition.restart;
                let least = restart.delay.min(restart.max_delay);
                let least = least * (100 - u32::from(restart.jitter)) / 100;
                // After a reload the definition is the next run's, and the pause was the last one's.
                let right = self.replaced || *pause >= least && *pause <= restart.max_delay;
                ensure(*pause <= self.longest_pause, Invariant::Pause, name)?;
                ensure(right, Invariant::Pause, name)?;
            }
            // Whoever needs it starts, and for the gate it is good.
            Change::Skipped { .. } => {
                self.stopping.remove(name);
                self.up.insert(name.clone());
                self.good_since.insert(name.clone(), now);
            }
            Change::Killed => {}
        }
        Ok(())
    }

    fn complete(&mut self, request: RequestId, outcome: &Outcome, kernel: &Kernel) -> Verdict {
        let number = request.0;
        let Some(command) = self.open.remove(&request) else {
            return Err(Invariant::AnsweredOnce.broken(&number));
        };
        match (command, outcome) {
            (Some(Command::Start(name) | Command::Restart(name)), Outcome::Done) => {
                let up = self.up.contains(&name);
                ensure(up, Invariant::AnsweredRightly, &name)
            }
            (Some(Command::Stop(name)), Outcome::Done) => {
                let gone = !kernel.runs(&name) && !self.up.contains(&name);
                ensure(gone, Invariant::AnsweredRightly, &name)
            }
            (Some(Command::StopAll(name)), Outcome::Done) => {
                let gone = kernel.run_of(&name).is_none() && !self.up.contains(&name);
                ensure(gone, Invariant::AnsweredRightly, &name)
            }
            _ => Ok(()),
        }
    }

    fn finish(&mut self, kernel: &Kernel, now: Time) -> Verdict {
        self.finished = Some(now);
        let Some(begun) = self.shutdown_at else {
            return Err(Invariant::FinishOnce.broken(&"no shutdown"));
        };
        let open = self.open.len();
        ensure(open == 0, Invariant::AnsweredOnce, &open)?;
        let took = now.since(begun);
        let bound = self.bound() + SHUTDOWN_GRACE;
        let told = format!("{took:?} of {bound:?}");
        ensure(took <= bound, Invariant::FinishBound, &told)?;
        let probes = kernel.probes.values().filter(|probe| !probe.killed).count();
        ensure(probes == 0, Invariant::OneProbe, &probes)?;
        let empty = kernel.processes.is_empty();
        // Who does not even die of SIGKILL does not hold up the end.
        let left = format!("{:?}", kernel.processes.keys());
        ensure(
            empty || self.suspended || took >= SHUTDOWN_MARGIN + SHUTDOWN_GRACE,
            Invariant::FinishEmpty,
            &left,
        )
    }
}

/// Whatever is done to a run, its probe has been killed before.
fn no_probe(name: &ServiceName, kernel: &Kernel) -> Verdict {
    ensure(!kernel.live_probe(name), Invariant::OneProbe, name)
}

/// The name behind a run that has been spawned and is not over.
fn live(run: RunId, core: &Supervisor, kernel: &Kernel) -> Result<ServiceName, Broken> {
    let name = core
        .name(run.service)
        .ok_or_else(|| unknown(&"a service"))?;
    let name = ServiceName::new(name).unwrap();
    let spawned = kernel.processes.get(&run).is_some_and(|p| p.spawned);
    ensure(spawned, Invariant::KnownIds, &name)?;
    Ok(name)
}
