//! The reference model: what `man/shark-service.5` says must be, service by service, found by looking
//! at all of them each time. It has no queue, no timers and no order of work of its own; it is told
//! the same events as the core, and the core's actions must be such as follow from them.
//!
//! What the page leaves open is left open: who is looked at first, and how long a thing takes within
//! its limits. Here is what an event means for wishes and runs; one service is in `entry`, and how
//! all that is held against the core in `judgement`.

use std::collections::{BTreeMap, BTreeSet};

use services::definition::{Definition, FailureAction, Kind};
use services::graph::Graph;
use services::id::{RunId, ServiceName};
use services::supervisor::event::{Command, Event};
use services::time::Time;

use crate::entry::{Asked, Before, Cause, Deadline, Entry, Life, Live};
use crate::former::Former;
use crate::lying::Civil;

/// All services.
#[derive(Default)]
pub(crate) struct Model {
    pub(crate) entries: BTreeMap<ServiceName, Entry>,
    pub(crate) target: Option<ServiceName>,
    /// Services that the boot waits for.
    pub(crate) awaited: BTreeSet<ServiceName>,
    pub(crate) now: Time,
    pub(crate) ending: bool,
    pub(crate) ending_since: Option<Time>,
    /// When the boot began.
    pub(crate) boot: Time,
    pub(crate) civil: Civil,
    pub(crate) former: Former,
    /// Whether the latest event was a tick.
    pub(crate) ticked: bool,
    /// Whether it was a reload, which looks at bonds before anything fails.
    pub(crate) reloaded: bool,
    /// Held until the latest event, a tick, found them late or unhealthy, or lying in wait until then.
    /// What else was due then may have been done before that: a suspended machine makes many things
    /// due at once.
    pub(crate) fell: BTreeSet<ServiceName>,
    /// Left failed until the latest event, a tick, in which their timer was due: what else was due then may
    /// have found them so.
    pub(crate) revived: BTreeSet<ServiceName>,
    /// A time of their timers came while they waited, with the latest event, a tick.
    pub(crate) rung: BTreeSet<ServiceName>,
    /// Wanted anew with the latest event, a tick, by what started again: what else was due then may have been
    /// done before that.
    pub(crate) raised: BTreeSet<ServiceName>,
    /// They have lost what they are bound to with the latest event.
    pub(crate) loosed: BTreeSet<ServiceName>,
    /// Not wanted since the latest event, or for a moment of it.
    pub(crate) dropped: BTreeSet<ServiceName>,
    /// They ran and were wanted until somebody had to go with the latest event.
    pub(crate) torn: BTreeSet<ServiceName>,
    /// What is still to be asked for the machine, of services left failed.
    pub(crate) owed: Vec<(ServiceName, FailureAction)>,
    /// New with the latest reload.
    pub(crate) fresh: BTreeSet<ServiceName>,
    /// Wanted when a reload made them rivals, or lying in wait beside a rival: one of each pair has to
    /// go, when it is looked at.
    pub(crate) contested: BTreeSet<ServiceName>,
    /// Of those, and of what requires them, whoever had to go with the latest event: it may have been
    /// started before that.
    pub(crate) yielded: BTreeSet<ServiceName>,
    /// Contested in the course of the latest event, and what requires those or is part of them.
    pub(crate) sides: BTreeSet<ServiceName>,
}

impl Model {
    pub(crate) fn new(graph: &Graph) -> Self {
        let mut model = Self::default();
        model.lay(graph);
        model.fresh.clear();
        model
    }

    /// Takes in what the core is about to be told.
    pub(crate) fn event(&mut self, event: &Event, now: Time) {
        self.now = self.now.max(now);
        self.ticked = matches!(event, Event::Tick);
        self.reloaded = matches!(event, Event::Replace { .. });
        self.former.forget_event();
        self.fell.clear();
        self.revived.clear();
        self.rung.clear();
        self.raised.clear();
        self.loosed.clear();
        self.dropped.clear();
        self.torn.clear();
        self.yielded.clear();
        self.sides.clear();
        match event {
            Event::Boot { target } => {
                self.target = Some(target.clone());
                self.boot = self.now;
                self.want(target);
                self.awaited = self.closure(target, |_| true);
            }
            Event::Request { command, .. } => self.request(command),
            Event::Replace { graph, .. } if !self.ending => self.replace(&graph.unpack().unwrap()),
            Event::Shutdown { .. } => {
                self.ending = true;
                self.ending_since.get_or_insert(now);
                for name in self.names(|it| it.wanted && !it.failed) {
                    self.unwish(&name);
                }
            }
            Event::ClockSet { unix_nanos } => self.clock_set(*unix_nanos),
            Event::Tick => self.time_passes(),
            Event::Spawned { run } => self.spawned(*run),
            Event::SpawnFailed { run, .. } => self.unborn(*run),
            Event::Exited { run, status } => self.exited(*run, *status),
            Event::Emptied { run } => self.emptied(*run),
            Event::Notified { run, message, .. } => self.said(*run, message),
            Event::ReadyLine { run, outcome } => self.line(*run, outcome.is_ok()),
            Event::ProbeEnded { run, outcome } => self.answered(*run, outcome.is_ok()),
            Event::ReloadEnded { run, .. } => self.reloaded(*run),
            Event::MainSought { run, outcome } => self.sought(*run, outcome.is_ok()),
            Event::Listening { run } => self.opened(*run),
            Event::Traffic { service } => self.traffic(*service),
            Event::Machine { seed } => self.former.seed = *seed,
            Event::StartsRecalled { starts } => self.starts_recalled(starts.as_deref()),
            Event::OutOfMemory { .. } | Event::Forget { .. } | Event::Replace { .. } => {}
        }
        self.mind_left();
        self.mind_bonds();
    }

    fn spawned(&mut self, run: RunId) {
        let now = self.now;
        let Some((definition, live)) = self.live(run) else {
            return;
        };
        let limit = definition.start_timeout;
        let program = definition.kind.program();
        let begins = definition.has_starter();
        let awaited = match definition.kind {
            Kind::Notify(_) | Kind::Oneshot(_) | Kind::Forking(_) => true,
            Kind::Simple(_) => program.is_some_and(|it| it.ready.is_some()),
            Kind::Target => false,
        };
        if live.spawned.is_none() {
            live.spawned = Some(now);
            live.start = (awaited || begins).then_some(Deadline::new(now, limit));
            if begins {
                live.before = Before::Going;
            }
        }
    }

    fn request(&mut self, command: &Command) {
        match command {
            Command::Stop(name) if self.is_known(name) => self.unwant(name),
            Command::StopAll(name) if self.is_known(name) => {
                self.unwant(name);
                let whole = |it: &mut Entry| it.remains.whole = true;
                self.entries.entry(name.clone()).and_modify(whole);
            }
            Command::Start(name) if self.is_known(name) && !self.ending => {
                let entry = &self.entries[name];
                let skipped = entry.is_skipped();
                if !(entry.up() && entry.wanted) || skipped {
                    self.make_due(name);
                    self.want(name);
                }
                // Its condition is looked at again.
                if skipped {
                    self.part(name, Cause::Asked);
                }
            }
            Command::Restart(name) if self.is_known(name) && !self.ending => {
                self.make_due(name);
                self.want(name);
                for name in self.swayed(name, |it| it.held() && it.wanted) {
                    self.part(&name, Cause::Asked);
                }
            }
            Command::Start(_)
            | Command::Stop(_)
            | Command::StopAll(_)
            | Command::Restart(_)
            | Command::Reload(_)
            | Command::WaitBoot => {}
        }
    }

    fn make_due(&mut self, name: &ServiceName) {
        if let Some(entry) = self.entries.get_mut(name) {
            entry.due = true;
        }
    }

    pub(crate) fn is_known(&self, name: &ServiceName) -> bool {
        self.entries.get(name).is_some_and(|it| !it.removed)
    }

    pub(crate) fn names(&self, which: impl Fn(&Entry) -> bool) -> Vec<ServiceName> {
        let found = self.entries.iter().filter(|(_, entry)| which(entry));
        found.map(|(name, _)| name.clone()).collect()
    }

    /// `root` and all that it requires and wants.
    pub(crate) fn closure(
        &self,
        root: &ServiceName,
        through: impl Fn(&Entry) -> bool,
    ) -> BTreeSet<ServiceName> {
        let mut seen = BTreeSet::from([root.clone()]);
        let mut work = vec![root.clone()];
        while let Some(entry) = work.pop().and_then(|name| self.entries.get(&name)) {
            if through(entry) {
                for other in entry.requires.iter().chain(&entry.wants) {
                    if seen.insert(other.clone()) {
                        work.push(other.clone());
                    }
                }
            }
        }
        seen
    }

    /// `root`, and all that require it, each by one that is `which`.
    pub(crate) fn above(
        &self,
        root: &ServiceName,
        which: impl Fn(&Entry) -> bool,
    ) -> BTreeSet<ServiceName> {
        self.reached(root, |entry, below| {
            entry.requires.contains(below) && which(entry)
        })
    }

    /// `root`, and all to whom it leads, from one to the next that `follows` it.
    pub(crate) fn reached(
        &self,
        root: &ServiceName,
        follows: impl Fn(&Entry, &ServiceName) -> bool,
    ) -> BTreeSet<ServiceName> {
        let mut seen = BTreeSet::from([root.clone()]);
        let mut work = vec![root.clone()];
        while let Some(from) = work.pop() {
            for (name, entry) in &self.entries {
                if follows(entry, &from) && seen.insert(name.clone()) {
                    work.push(name.clone());
                }
            }
        }
        seen
    }

    /// A run begins to end; a cause that is there stays.
    pub(crate) fn part(&mut self, name: &ServiceName, cause: Cause) {
        if let Some(Life::Live(live)) = self.entries.get_mut(name).map(|it| &mut it.life) {
            live.cause.get_or_insert(cause);
        }
    }

    /// It is wanted, with all it requires and wants; what is up is left as it is.
    pub(crate) fn want(&mut self, root: &ServiceName) {
        self.want_all(&BTreeSet::from([root.clone()]), 0);
    }

    /// Several at once; so many failures have led to it.
    pub(crate) fn want_all(&mut self, roots: &BTreeSet<ServiceName>, step: u8) {
        let at_rest = |it: &Entry| it.up() && it.wanted;
        let starts = |it: &Entry| roots.contains(&it.definition.name) || !at_rest(it);
        let reached = |model: &Self| {
            let closures = roots.iter().map(|root| model.closure(root, starts));
            let mut all: BTreeSet<ServiceName> = closures.flatten().collect();
            all.retain(|name| model.entries.get(name).is_some_and(starts));
            all
        };
        // Whoever has to go for it goes first: what is part of that and wanted now goes on.
        let all = roots.iter().map(|root| self.closure(root, |_| true));
        let spared = all.flatten().collect();
        for name in reached(self) {
            self.oust_for_start(&name, &spared);
        }
        for name in reached(self) {
            self.wish(&name, step);
        }
    }

    fn wish(&mut self, name: &ServiceName, step: u8) {
        let Some(entry) = self.entries.get_mut(name) else {
            return;
        };
        entry.wanted = true;
        entry.rescue = step;
        self.plan(name);
        let Some(entry) = self.entries.get_mut(name) else {
            return;
        };
        match &mut entry.life {
            Life::Lying if entry.definition.timer.is_some() && !entry.due => {
                entry.failures = 0;
                entry.starts.clear();
            }
            Life::Lying => {
                entry.starts.clear();
                self.trigger(name);
            }
            Life::Listening(_) => {
                entry.failures = 0;
                entry.starts.clear();
                if entry.due {
                    self.rouse(name);
                }
            }
            Life::Idle | Life::Pausing(_) => {
                entry.life = Life::Idle;
                entry.failed = false;
                entry.failures = 0;
                entry.starts.clear();
            }
            Life::Live(live) => {
                if let Some(cause) = live.cause {
                    if self.fell.contains(name) && cause.is_fall() {
                        live.instead = Some((cause, entry.failures, entry.starts.clone()));
                    }
                    live.cause = Some(Cause::Asked);
                    let asked_for = live.run.is_some() && live.spawned.is_none();
                    if !asked_for {
                        entry.failures = 0;
                        entry.starts.clear();
                    }
                }
            }
        }
        self.oust_for_start(name, &BTreeSet::new());
    }

    fn oust_for_start(&mut self, name: &ServiceName, spared: &BTreeSet<ServiceName>) {
        let Some(entry) = self.entries.get(name) else {
            return;
        };
        if !entry.lies() {
            self.oust(name, spared);
        } else if !entry.rivals.is_empty() {
            // It goes for a rival whose turn comes.
            self.contested.insert(name.clone());
        }
    }

    /// What it conflicts with is stopped; what its start brings up, and what is started beside it, goes on.
    pub(crate) fn oust(&mut self, name: &ServiceName, beside: &BTreeSet<ServiceName>) {
        let mut spared = self.closure(name, |_| true);
        spared.extend(beside.iter().cloned());
        let rivals = self.entries.get(name).map(|it| it.rivals.clone());
        for rival in rivals.unwrap_or_default() {
            let other = self.entries.get(&rival);
            if other.is_some_and(|it| it.wanted && !it.failed) {
                self.unwant_but(&rival, &spared);
            }
        }
    }

    /// It is not wanted, and so is nothing that requires it.
    pub(crate) fn unwant(&mut self, root: &ServiceName) {
        self.unwant_but(root, &BTreeSet::new());
    }

    fn unwant_but(&mut self, root: &ServiceName, spared: &BTreeSet<ServiceName>) {
        let goes = |it: &Entry| it.wanted && !it.failed;
        let spared = |it: &Entry| spared.contains(&it.definition.name);
        let swayed = self.reached(root, |entry, whole| {
            let along = entry.part_of.contains(whole) && !spared(entry);
            (entry.requires.contains(whole) || along) && goes(entry)
        });
        for name in swayed {
            if self.entries[&name].wanted {
                self.unwish(&name);
            }
        }
    }

    pub(crate) fn unwish(&mut self, name: &ServiceName) {
        if self.entries.get(name).is_some_and(Entry::held) {
            self.torn.insert(name.clone());
        }
        self.part(name, Cause::Asked);
        self.dropped.insert(name.clone());
        if let Some(entry) = self.entries.get_mut(name) {
            entry.wanted = false;
            entry.plan = None;
            entry.due = false;
        }
    }

    /// It ends for another reason than it began to end for.
    pub(crate) fn part_again(&mut self, name: &ServiceName, cause: Cause) {
        if let Some(Life::Live(live)) = self.entries.get_mut(name).map(|it| &mut it.life) {
            live.cause = live.cause.and(Some(cause));
        }
    }

    /// The present run of that id, unless there is none.
    pub(crate) fn live(&mut self, run: RunId) -> Option<(&Definition, &mut Live)> {
        self.entries.values_mut().find_map(|entry| {
            let Life::Live(live) = &mut entry.life else {
                return None;
            };
            (live.run == Some(run)).then_some((&entry.definition, live))
        })
    }

    /// What is due, one after the other: attempts that took too long, probes that did, silence, and
    /// pauses that are over.
    fn time_passes(&mut self) {
        let now = self.now;
        let held = self.names(Entry::held);
        let dues = self.entries.values().flat_map(Entry::dues);
        let dues: BTreeSet<Time> = dues.filter(|at| *at <= now).collect();
        let (boot, civil) = (self.boot, self.civil);
        let rings = self.entries.values();
        let rings = rings.filter_map(|it| it.rings(boot, civil).filter(|at| *at <= now));
        let dues: BTreeSet<Time> = dues.into_iter().chain(rings).collect();
        for due in dues {
            self.passes(due);
        }
        let fell = held.into_iter().filter(|name| !self.entries[name].held());
        self.fell.extend(fell.collect::<Vec<_>>());
    }

    fn passes(&mut self, due: Time) {
        let now = self.now;
        for entry in self.entries.values_mut() {
            if let Life::Live(live) = &mut entry.life
                && live.cause.is_none()
                && live.ready.is_none()
                && (live.start.is_some_and(|it| it.at <= due)
                    || live.mute.is_some_and(|at| at <= due))
            {
                live.cause = Some(Cause::Late);
            }
            entry.probe_is_late(due, now);
            entry.silence(due, now);
        }
        self.mind_bonds();
        for name in self.names(|it| matches!(it.life, Life::Pausing(until) if until <= due)) {
            if self.entries[&name].wanted {
                self.set_life(&name, Life::Idle);
                self.goes_before_its_time(&name);
                self.want_what_ended(&name);
            }
        }
        self.ring(due);
    }

    pub(crate) fn set_life(&mut self, name: &ServiceName, life: Life) {
        if let Some(entry) = self.entries.get_mut(name) {
            entry.life = life;
        }
    }

    /// It starts again by itself, and so does what it requires and what ended well meanwhile.
    pub(crate) fn want_what_ended(&mut self, root: &ServiceName) {
        let step = self.entries[root].rescue;
        let mut work = vec![root.clone()];
        while let Some(name) = work.pop() {
            for other in self.entries[&name].requires.clone() {
                let ended = self
                    .entries
                    .get(&other)
                    .is_some_and(|it| !it.wanted && matches!(it.life, Life::Idle));
                if ended {
                    self.raised.insert(other.clone());
                    self.wish(&other, step);
                    work.push(other);
                }
            }
        }
    }

    fn answered(&mut self, run: RunId, good: bool) {
        let now = self.now;
        let found = self.entries.values_mut();
        for entry in found {
            let limit = entry.health_failures();
            let Life::Live(live) = &mut entry.life else {
                continue;
            };
            if live.run != Some(run) || live.cause.is_some() {
                continue;
            }
            let asked = std::mem::replace(&mut live.probe, Asked::No);
            if live.ready.is_none() {
                live.said_ready |= good && matches!(asked, Asked::Running(_));
                continue;
            }
            match asked {
                Asked::Running(_) if good => {
                    live.bad = 0;
                    live.bad_since = None;
                    live.ever_good = true;
                }
                Asked::Running(_) => live.bad_answer(limit, now),
                Asked::No | Asked::Killed(_) => {}
            }
        }
    }

    fn replace(&mut self, graph: &Graph) {
        for (name, entry) in std::mem::take(&mut self.entries) {
            let kept = graph.index_of(name.as_str()).is_some();
            let rests = !entry.wanted || entry.failed;
            let idle = matches!(entry.life, Life::Idle) && rests && entry.remains.left.is_none();
            if kept || !idle {
                self.entries.insert(name, entry);
            } else {
                self.awaited.remove(&name);
            }
        }
        for name in self.names(|it| graph.index_of(it.definition.name.as_str()).is_none()) {
            self.unwish(&name);
            self.entries.entry(name).and_modify(|it| it.removed = true);
        }
        self.lay(graph);
        self.turn_from_timers();
        let failed: BTreeSet<ServiceName> = self.names(|it| it.failed).into_iter().collect();
        let held = self.names(|it| it.wanted && !it.failed);
        for entry in self.entries.values_mut() {
            entry.excused = entry.requires.iter().any(|it| failed.contains(it));
            if held.contains(&entry.definition.name) {
                let rivals = entry.rivals.iter().filter(|it| held.contains(it));
                self.contested.extend(rivals.cloned());
            }
        }
    }

    /// A reload has taken the timer away, or given one.
    fn turn_from_timers(&mut self) {
        // What waits for others already is started, though it has a timer now.
        for name in self.names(|it| matches!(it.life, Life::Idle) && it.wanted && !it.failed) {
            self.goes_before_its_time(&name);
        }
        let lies = |it: &Entry| matches!(it.life, Life::Lying) && !it.removed;
        for name in self.names(|it| lies(it) && it.definition.timer.is_none()) {
            if self.entries[&name].definition.lazy {
                self.set_life(&name, Life::Idle);
            } else {
                // Of rivals, whose turn comes first stays.
                self.rise(&name);
            }
        }
        self.plan_all();
    }

    /// Definitions and relations as `graph` has them; those that are removed keep their own.
    fn lay(&mut self, graph: &Graph) {
        self.fresh.clear();
        for (index, definition) in (0u32..).zip(graph.services()) {
            let names = |of: &[u32]| -> Vec<ServiceName> {
                let found = of.iter().filter_map(|other| graph.service(*other));
                found.map(|other| other.name.clone()).collect()
            };
            let (requires, wants) = (names(graph.requires(index)), names(graph.wants(index)));
            let rivals = names(graph.conflicts(index));
            let earlier = names(graph.predecessors(index));
            let name = definition.name.clone();
            let known = self.entries.get(&name);
            if known.is_none_or(|it| it.removed) {
                self.fresh.insert(name.clone());
            }
            let entry = self.entries.entry(name);
            let entry = entry.or_insert_with(|| Entry::new(definition.clone()));
            (entry.requires, entry.wants, entry.rivals) = (requires, wants, rivals);
            entry.earlier = earlier;
            let relations = &definition.relations;
            entry.binds.clone_from(&relations.binds_to);
            entry.part_of.clone_from(&relations.part_of);
            entry.on_failure.clone_from(&relations.on_failure);
            entry.removed = false;
            entry.next = None;
            if entry.definition != *definition {
                entry.next = Some(definition.clone());
                if entry.live().is_none() {
                    entry.renew();
                }
            }
        }
        let gone: BTreeSet<ServiceName> = self.names(|it| it.removed).into_iter().collect();
        for entry in self.entries.values_mut().filter(|it| it.removed) {
            entry.requires.retain(|it| gone.contains(it));
            entry.wants.retain(|it| gone.contains(it));
            entry.earlier.retain(|it| gone.contains(it));
            entry.rivals.clear();
            entry.binds.retain(|it| gone.contains(it));
            entry.part_of.clear();
            entry.on_failure.clear();
        }
    }
}
