//! In the simulated kernel: processes that outlive the main process in the cgroup of a service, as the
//! pods of an engine do. They end by themselves, or when asked to, or when killed; the next run joins
//! them there, and the cgroup is empty only when both are gone.

use std::time::Duration;

use services::definition::{Definition, StopScope};
use services::id::{RunId, ServiceName};
use services::supervisor::event::{Event, ExitStatus};
use services::time::Time;

use crate::kernel::{Kernel, Process, micros};

/// What lives on in the cgroup of a service.
#[derive(Debug)]
pub(crate) struct Pods {
    /// The latest run in that cgroup: by its number their end is told.
    run: RunId,
    /// When they end by themselves, if they do.
    ends: Option<Time>,
}

impl Process {
    /// The main process is gone, and what is left may stay.
    fn is_spared(&self) -> bool {
        self.dead && self.scope == StopScope::Main
    }
}

impl Kernel {
    /// Starts a run in the cgroup of its service, beside what an earlier one has left there.
    pub(crate) fn start(&mut self, run: RunId, definition: &Definition, now: Time) {
        let inherited = self.inherit(run, &definition.name, now);
        self.spawn(run, definition, now);
        if let Some(process) = self.processes.get_mut(&run) {
            process.scope = definition.stop.scope;
            process.inherited = inherited;
        }
    }

    /// Whether the cgroup of an earlier run is that of `run` now.
    fn inherit(&mut self, run: RunId, name: &ServiceName, now: Time) -> bool {
        let Some(old) = self.run_of(name) else {
            return false;
        };
        let empty = self.processes.remove(&old).is_none_or(|it| it.gone);
        if empty {
            // Nobody has seen it yet. Its end is told just before the next process is there, or not
            // at all.
            let told = run.run.is_multiple_of(2);
            if told {
                self.late.insert(old);
                self.at(now, Event::Emptied { run: old });
            }
            return !told;
        }
        let forever = Pods { run, ends: None };
        self.pods.entry(name.clone()).or_insert(forever).run = run;
        true
    }

    /// There is no process of its own. The cgroup may be that of an earlier run, all the same.
    pub(crate) fn not_born(&mut self, run: RunId, now: Time) {
        let Some(process) = self.processes.get_mut(&run).filter(|it| it.inherited) else {
            self.processes.remove(&run);
            self.old.push(run);
            return;
        };
        (process.spawned, process.dead) = (true, true);
        process.scope = StopScope::Main;
        if !self.pods.contains_key(&process.name) {
            process.gone = true;
            let after = micros(&mut process.rng, 3_000);
            self.at(now + after, Event::Emptied { run });
        }
    }

    /// The main process has died whose scope of stopping is itself: the others stay, if there are any.
    pub(crate) fn leave_pods(&mut self, run: RunId, now: Time) {
        let Some(process) = self.processes.get_mut(&run).filter(|it| !it.gone) else {
            return;
        };
        let (new, forever) = (process.rng.bool(), process.rng.u8(0..3) == 0);
        let life = micros(&mut process.rng, 40_000_000);
        if self.pods.contains_key(&process.name) {
            return;
        }
        if new {
            let ends = (!forever).then_some(now + life);
            self.pods.insert(process.name.clone(), Pods { run, ends });
            return;
        }
        process.gone = true;
        let after = micros(&mut process.rng, 3_000);
        self.at(now + after, Event::Emptied { run });
    }

    pub(crate) fn pods_end(&self) -> Option<Time> {
        self.pods.values().filter_map(|it| it.ends).min()
    }

    /// Pods whose time has come are gone: the kernel tells it, where nothing else is in their cgroup.
    pub(crate) fn end_pods(&mut self, now: Time) {
        let due = |it: &Pods| it.ends.is_some_and(|at| at <= now);
        let ended: Vec<RunId> = self
            .pods
            .values()
            .filter(|it| due(it))
            .map(|it| it.run)
            .collect();
        self.pods.retain(|_, it| !due(it));
        for run in ended {
            let alone = self
                .processes
                .get_mut(&run)
                .filter(|it| it.dead && !it.gone);
            if let Some(process) = alone {
                process.gone = true;
                self.at(now, Event::Emptied { run });
            }
        }
    }

    /// The machine slept.
    pub(crate) fn pods_sleep(&mut self, time: Duration) {
        for pods in self.pods.values_mut() {
            pods.ends = pods.ends.map(|at| at + time);
        }
    }

    /// All that is left of a run is asked to end: some do so in time, some later, some never.
    pub(crate) fn end_all(&mut self, run: RunId, now: Time) {
        let calm = self.calm;
        let Some(process) = self.processes.get_mut(&run) else {
            return;
        };
        let ignored = !calm && process.rng.u8(0..3) == 0;
        let slow = if calm { 50_000 } else { 12_000_000 };
        let at = now + micros(&mut process.rng, slow);
        if ignored {
            return;
        }
        if let Some(pods) = self.pods.get_mut(&process.name) {
            pods.ends = Some(pods.ends.map_or(at, |ends| ends.min(at)));
        } else if process.dead && !process.gone {
            (process.gone, process.has_left) = (true, false);
            self.at(at, Event::Emptied { run });
        }
    }

    /// The main process alone is killed; once in a while it hangs in the kernel.
    pub(crate) fn kill_main(&mut self, run: RunId, now: Time) {
        let calm = self.calm;
        let Some(process) = self.processes.get_mut(&run).filter(|it| !it.dead) else {
            return;
        };
        let hangs = !calm && process.rng.u8(0..60) == 0;
        let wait = if hangs { 150_000_000 } else { 2_000 };
        let at = now + micros(&mut process.rng, wait);
        let status = ExitStatus::Signal {
            number: 9,
            core_dumped: false,
        };
        self.die_later(run, at, status);
    }

    /// Whether a run of the service goes on, whatever an earlier one may have left.
    pub(crate) fn runs(&self, name: &ServiceName) -> bool {
        let mut processes = self.processes.values();
        processes.any(|it| it.name == *name && !it.is_spared())
    }
}
