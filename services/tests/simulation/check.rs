//! What must always hold, checked from outside: by what the core asks for and what the kernel and
//! the clients have seen, never by the core's own books (but for the final states).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use services::definition::BootRole;
use services::gate::GateView;
use services::graph::Graph;
use services::id::{RunId, ServiceName};
use services::supervisor::event::{Action, Change, Command, Outcome, RequestId};
use services::supervisor::{SHUTDOWN_GRACE, SHUTDOWN_MARGIN, Supervisor};
use services::time::Time;

use crate::kernel::Kernel;

/// The books of an observer.
#[derive(Default)]
pub(crate) struct Books {
    /// Announced up and not announced otherwise since.
    pub(crate) up: BTreeSet<ServiceName>,
    /// Up, and healthy where that is asked for, without a break since then.
    good_since: BTreeMap<ServiceName, Time>,
    /// Announced as stopping, and not down or failed since.
    stopping: BTreeSet<ServiceName>,
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
}

type Verdict = Result<(), String>;

fn ensure(holds: bool, invariant: &str, who: &dyn core::fmt::Display) -> Verdict {
    if holds {
        Ok(())
    } else {
        Err(format!("{invariant}: {who}"))
    }
}

impl Books {
    /// What is known of pauses no longer counts once somebody meddled.
    pub(crate) fn meddle(&mut self) {
        self.backoff.clear();
    }

    pub(crate) fn bound(&self) -> Duration {
        self.longest_stop + SHUTDOWN_MARGIN
    }

    fn past_bound(&self, now: Time) -> bool {
        self.shutdown_at
            .is_some_and(|at| now.since(at) >= SHUTDOWN_MARGIN)
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
        ensure(self.finished.is_none(), "nothing follows Finish", &"")?;
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
                ensure(!emptied, "nothing empty is killed", &name)
            }
            Action::Probe { run } => self.probe(*run, core, kernel),
            Action::KillProbe { run } => {
                let name = core.name(run.service).ok_or("no action for unknown ids")?;
                self.good_since.remove(name);
                let there = kernel.probes.get(run).is_some_and(|probe| !probe.killed);
                ensure(there, "only a probe that runs is killed", &name)
            }
            Action::SpawnReload { run } | Action::Adopt { run, .. } => {
                let name = live(*run, core, kernel)?;
                let dead = kernel.processes.get(run).is_some_and(|p| p.dead);
                ensure(!dead, "only the living are told", &name)
            }
            Action::Release { service } => {
                let name = core.name(*service).ok_or("no action for unknown ids")?;
                let name = ServiceName::new(name).unwrap();
                no_probe(&name, kernel)?;
                let none = kernel.run_of(&name).is_none();
                ensure(none, "nothing that runs is released", &name)
            }
            Action::Announce { service, change } => {
                let definition = core.definition(*service);
                let definition = definition.ok_or("no action for unknown ids")?;
                self.announce(&definition, change, now)
            }
            Action::Complete { request, outcome } => self.complete(*request, outcome, kernel),
            Action::BootSettled { failed } => {
                self.settled += 1;
                let known = failed.iter().all(|id| core.name(*id).is_some());
                ensure(known, "no action for unknown ids", &"BootSettled")?;
                ensure(self.settled == 1, "the boot settles once", &"")
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
        let name = core.name(run.service).ok_or("no action for unknown ids")?;
        let name = ServiceName::new(name).unwrap();
        let none = kernel.run_of(&name).is_none();
        ensure(none, "never two runs of a service at once", &name)?;
        no_probe(&name, kernel)?;
        let quiet = self.shutdown_at.is_none();
        ensure(quiet, "nothing starts during a shutdown", &name)?;
        let index = graph.index_of(name.as_str());
        let index = index.ok_or("nothing starts that is in no graph")?;
        for required in graph.requires(index) {
            let required = &graph.service(*required).unwrap().name;
            let up = self.up.contains(required);
            let pair = format!("{name} requires {required}");
            ensure(up, "all that is required is up at a start", &pair)?;
        }
        for rival in graph.conflicts(index) {
            let rival = &graph.service(*rival).unwrap().name;
            let free = kernel.run_of(rival).is_none() && !self.up.contains(rival);
            let pair = format!("{name} conflicts with {rival}");
            ensure(free, "rivals never run at once", &pair)?;
        }
        let pause_over = self.backoff.get(&name).is_none_or(|at| now >= *at);
        ensure(pause_over, "no start before the pause is over", &name)
    }

    fn probe(&self, run: RunId, core: &Supervisor, kernel: &Kernel) -> Verdict {
        let name = live(run, core, kernel)?;
        let dead = kernel.processes.get(&run).is_some_and(|p| p.dead);
        ensure(!dead, "only the living are told", &name)?;
        let up = self.up.contains(&name);
        ensure(up, "a service is probed only while it is up", &name)?;
        let alone = !kernel.probes.contains_key(&run) && !kernel.live_probe(&name);
        ensure(alone, "never two probes of a service at once", &name)
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
                ensure(soaked, "a boot is good after a whole soak", &told)?;
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
            let gone = kernel.run_of(later).is_none();
            let pair = format!("{name} is stopped, {later} comes after it and still runs");
            ensure(!leaves || gone, "stopped in reverse order", &pair)?;
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
                // After a reload the definition is the next run's, and the pause was the last one's.
                let right = self.replaced || *pause >= least && *pause <= restart.max_delay;
                ensure(
                    *pause <= self.longest_pause,
                    "no pause is over max-delay",
                    name,
                )?;
                ensure(right, "the pause lies between delay and max-delay", name)?;
            }
            Change::Killed => {}
        }
        Ok(())
    }

    fn complete(&mut self, request: RequestId, outcome: &Outcome, kernel: &Kernel) -> Verdict {
        let number = request.0;
        let Some(command) = self.open.remove(&request) else {
            return Err(format!("every request is answered once: {number}"));
        };
        match (command, outcome) {
            (Some(Command::Start(name) | Command::Restart(name)), Outcome::Done) => {
                let up = self.up.contains(&name);
                ensure(up, "a start is done when the service is up", &name)
            }
            (Some(Command::Stop(name)), Outcome::Done) => {
                let gone = kernel.run_of(&name).is_none() && !self.up.contains(&name);
                ensure(gone, "a stop is done when nothing is left", &name)
            }
            _ => Ok(()),
        }
    }

    fn finish(&mut self, kernel: &Kernel, now: Time) -> Verdict {
        self.finished = Some(now);
        let Some(begun) = self.shutdown_at else {
            return Err("Finish only after a shutdown".into());
        };
        let open = self.open.len();
        ensure(open == 0, "all requests are answered before Finish", &open)?;
        let took = now.since(begun);
        let bound = self.bound() + SHUTDOWN_GRACE;
        let told = format!("{took:?} of {bound:?}");
        ensure(took <= bound, "a shutdown ends within its bound", &told)?;
        let probes = kernel.probes.values().filter(|probe| !probe.killed).count();
        ensure(probes == 0, "no probe outlives its run", &probes)?;
        let empty = kernel.processes.is_empty();
        // Who does not even die of SIGKILL does not hold up the end.
        let left = format!("{:?}", kernel.processes.keys());
        ensure(
            empty || took >= SHUTDOWN_MARGIN + SHUTDOWN_GRACE,
            "Finish only with all empty",
            &left,
        )
    }
}

/// Whatever is done to a run, its probe has been killed before.
fn no_probe(name: &ServiceName, kernel: &Kernel) -> Verdict {
    ensure(!kernel.live_probe(name), "no probe outlives its run", name)
}

/// The name behind a run that has been spawned and is not over.
fn live(run: RunId, core: &Supervisor, kernel: &Kernel) -> Result<ServiceName, String> {
    let name = core.name(run.service).ok_or("no action for unknown ids")?;
    let name = ServiceName::new(name).unwrap();
    let spawned = kernel.processes.get(&run).is_some_and(|p| p.spawned);
    ensure(spawned, "only runs that are there are acted on", &name)?;
    Ok(name)
}
