//! The supervisor: every service's state machine, and the rules between services.
//!
//! Responsible for what is to happen; the shell only performs it. Not here: processes, clocks and
//! files (the shell), how service files are written (`file`), who may ask (the shell).
//!
//! # One service
//!
//! A service is *desired* up or down, and beside that is in one actual state:
//!
//! ```text
//!               wanted            nothing blocks            Spawned
//!      Down ─────────────> Waiting ────────────> Spawning ───────────> Starting
//!       ^ ^                  ^  ^   (a target is    │ SpawnFailed         │ simple: at once
//!       │ │                  │  │    up at once)    v                     │ notify: READY=1
//!       │ │            pause │  │             Backoff or Failed           │ oneshot: ended well
//!       │ │             over │  │ still wanted, or wanted again           v
//!       │ │                  │  └───────────────────────────┐             Up
//!       │ └─ not wanted ── Backoff <── policy: restart ──┐  │             │ to be stopped
//!       │                                                │  │             v
//!       │                    Failed <─ policy: not ────┐ │  │          Leaving
//!       │                                              │ │  │             │ nobody up needs it
//!       │                                              │ │  │  all gone   v
//!       └─── not wanted ──────────────────────────────(run over) <──── Stopping
//! ```
//!
//! `Stopping` is also where a run goes whose main process ended by itself, or that was not ready in
//! time: what is left of it is killed, and the run is over when its main process is reaped *and*
//! its cgroup is empty. Only then the next run may start.
//!
//! A service with a timer that is wanted is not `Waiting` but `Armed`: its timer, or somebody who asks
//! for it, takes it to `Waiting`, and a run that ended well takes it back. A lazy one is
//! `Listening` in the same way, until there is traffic on its sockets.
//!
//! # All services
//!
//! Every event is handled in two phases. First it *propagates*: wishes travel along the relations
//! (up to all that is required and wanted, down to all that requires) and mark services. Then the
//! *queue* of marked services is worked off, one step each; a step that changes a state marks the
//! neighbours that wait for just that. Nothing recurses, and an event costs the neighbourhood it
//! touches. A waiting service remembers the one neighbour it waits for, so that a target with
//! thousands of services is not looked through each time one of them comes up.
//!
//! Wanted services start after all their predecessors in the order have settled, so services that
//! do not depend on each other start at the same time. Stopping takes the same order backwards.

mod actions;
mod begin;
mod boot;
pub mod compiled;
pub mod event;
pub mod frozen;
mod gate;
mod inform;
mod listen;
mod machine;
pub mod mutation;
mod neighbours;
mod notified;
mod outcome;
mod probe;
mod propagate;
mod reach;
mod ready;
mod reason;
mod replace;
mod requests;
mod rescue;
mod restart;
mod schedule;
mod service;
mod shutdown;
mod stop;
mod table;
mod timers;
mod topology;
pub mod trace;
mod watchdog;

use std::collections::VecDeque;

use crate::control::metrics::StateCount;
use crate::definition::Definition;
use crate::id::{RunId, ServiceId};
use crate::status::{ServiceStatus, StateName};
use crate::time::Time;

pub use boot::BootReport;
pub use notified::EXTENDED_MAX;
pub use replace::Differences;
pub use schedule::SMALL_STEP;
pub use shutdown::{SHUTDOWN_GRACE, SHUTDOWN_MARGIN, SHUTDOWN_TIMEOUT_MAX};
pub use timers::Why;

use compiled::Compiled;
use event::{Action, Event};

/// Requests that may be unanswered at one time. One more is refused.
pub const MAX_REQUESTS: usize = 256;

/// All services, what is wanted of them, and what they do.
///
/// Driven by [`Supervisor::handle_event`]; after each, the shell takes all actions by
/// [`Supervisor::poll_action`], performs them, and sleeps until [`Supervisor::poll_timeout`] or the
/// next event.
///
/// Bounds: at most [`crate::graph::MAX_SERVICES`] services (and as many that a reload has removed
/// and that have not ended yet), [`MAX_REQUESTS`] open requests, four timers, one probe and one
/// place in the queue a service. One event makes a few actions a service at the most.
#[derive(Debug)]
pub struct Supervisor {
    table: table::Table,
    topology: topology::Topology,
    timers: timers::Timers,
    requests: requests::Requests,
    boot: boot::Boot,
    marks: gate::Marks,
    shutdown: shutdown::Shutdown,
    clock: schedule::Clock,
    /// Services to be looked at, each at most once.
    queue: VecDeque<u32>,
    actions: actions::Actions,
    /// The latest time told; never goes back.
    now: Time,
    /// How many events have been told.
    events: u64,
    /// How many had been when it was last frozen.
    frozen_at: u64,
}

impl Supervisor {
    /// All services of `graph`, down, and nothing wanted.
    #[must_use]
    pub fn new(graph: impl Into<Compiled>) -> Self {
        let mut supervisor = Self {
            table: table::Table::default(),
            topology: topology::Topology::default(),
            timers: timers::Timers::default(),
            requests: requests::Requests::default(),
            boot: boot::Boot::default(),
            marks: gate::Marks::default(),
            shutdown: shutdown::Shutdown::default(),
            clock: schedule::Clock::default(),
            queue: VecDeque::new(),
            actions: actions::Actions::default(),
            now: Time::default(),
            events: 0,
            frozen_at: 0,
        };
        supervisor.install(&graph.into());
        supervisor
    }

    /// Takes in what happened at `now`. What follows from it is then in [`Self::poll_action`].
    ///
    /// Cannot fail: what speaks of a service or run that is no more is ignored. A `now` before an
    /// earlier one counts as the earlier one. Timers are only run by [`Event::Tick`], so that the
    /// shell can tell all that happened first.
    pub fn handle_event(&mut self, event: Event, now: Time) {
        self.now = self.now.max(now);
        self.events = self.events.wrapping_add(1);
        self.table.bury();
        if self.shutdown.finished() {
            return;
        }
        match event {
            Event::Boot { target } => self.on_boot(&target),
            Event::Spawned { run } => self.on_spawned(run),
            Event::Listening { run } => self.on_listening(run),
            Event::Traffic { service } => self.on_traffic(service),
            Event::SpawnFailed { run, cause } => self.on_spawn_failed(run, &cause),
            Event::Exited { run, status } => self.on_exited(run, status),
            Event::MainSought { run, outcome } => self.on_main_sought(run, outcome),
            Event::Emptied { run } => self.on_emptied(run),
            Event::OutOfMemory { run } => self.on_out_of_memory(run),
            Event::Notified {
                run,
                message,
                from_main,
            } => self.on_notified(run, message, from_main),
            Event::ReloadEnded { run, outcome } => self.on_reload_ended(run, outcome),
            Event::ProbeEnded { run, outcome } => self.on_probe_ended(run, outcome),
            Event::ReadyLine { run, outcome } => self.on_ready_line(run, outcome),
            Event::Request { request, command } => self.on_request(request, command),
            Event::Forget { request } => self.requests.forget(request),
            Event::Replace { request, graph } => self.on_replace(request, &graph),
            Event::Shutdown { kind } => self.on_shutdown(kind),
            Event::Machine { seed } => self.clock.seed = seed,
            Event::ClockSet { unix_nanos } => self.on_clock_set(unix_nanos),
            Event::StartsRecalled { starts } => self.on_starts_recalled(starts.as_deref()),
            Event::Tick => self.on_tick(),
        }
        self.work_off();
    }

    /// The next thing to do, in order.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// What is to be done and has not been taken yet, in order.
    pub fn actions(&self) -> impl Iterator<Item = &Action> {
        self.actions.iter()
    }

    /// The adoption that the latest event asked for, ahead of all other actions: run and pid. A main
    /// process that names its successor and ends at once is told to have ended right after, and by
    /// then the successor must be the main process.
    pub fn poll_adoption(&mut self) -> Option<(RunId, u32)> {
        let Some(Action::Adopt { run, pid }) = self.actions.back() else {
            return None;
        };
        let adoption = (*run, *pid);
        self.actions.pop_back();
        Some(adoption)
    }

    /// When an [`Event::Tick`] is due next, and for what. `None`: only an event can change anything.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Time, Why)> {
        let (at, due) = self.timers.next()?;
        Some((at, self.why(due)))
    }

    /// What the service is: the definition of its present run, or of its next one.
    ///
    /// Definitions are kept packed, as most of them are read once at boot: this unpacks one, in
    /// some microseconds. `None`: the id is of no service (any more). Ids in actions are good until
    /// the next [`Self::handle_event`].
    #[must_use]
    pub fn definition(&self, id: ServiceId) -> Option<Definition> {
        self.table.by_id(id)?.1.definition()
    }

    /// The name of the service, without unpacking its definition.
    #[must_use]
    pub fn name(&self, id: ServiceId) -> Option<&str> {
        Some(self.table.by_id(id)?.1.name.as_str())
    }

    /// The service of that name.
    #[must_use]
    pub fn lookup(&self, name: &str) -> Option<ServiceId> {
        let index = self.table.lookup(name)?;
        self.table.id(index)
    }

    /// All services, in the order of their names.
    pub fn services(&self) -> impl Iterator<Item = ServiceId> + '_ {
        self.table.sorted()
    }

    /// Services in the order of their names, from `name` on, or the next one there is.
    pub fn services_from(&self, name: &str) -> impl Iterator<Item = ServiceId> + '_ {
        self.table.sorted_from(name)
    }

    /// The run of the service that has not ended, if there is one.
    #[must_use]
    pub fn current_run(&self, id: ServiceId) -> Option<RunId> {
        let (_, service) = self.table.by_id(id)?;
        service.state.occupied().then_some(RunId {
            service: id,
            run: service.runs,
        })
    }

    /// Until when the reload command of `run` may run; `None`: it has no reload command that may.
    #[must_use]
    pub fn reload_deadline(&self, run: RunId) -> Option<Time> {
        let service = self.table.get(self.table.by_run(run)?)?;
        let by_command = service::Reloading::Command;
        let runs =
            matches!(service.state, service::State::Up { reload, .. } if reload == by_command);
        service.deadline.filter(|_| runs)
    }

    /// Runs whose process has been asked for, and of which nothing has been told yet.
    #[must_use]
    pub fn spawning(&self) -> Vec<RunId> {
        let indices = self.table.indices();
        let spawning = indices.filter(|index| {
            let service = self.table.get(*index);
            service.is_some_and(|it| matches!(it.state, service::State::Spawning { .. }))
        });
        spawning
            .filter_map(|index| self.table.run_id(index))
            .collect()
    }

    /// Another program has started the service before there was this supervisor, and it runs. The
    /// shell tells that its process is there, and what else it knows. `None`: it is none that can run,
    /// or does already.
    pub fn found_running(&mut self, id: ServiceId, now: Time) -> Option<RunId> {
        self.now = self.now.max(now);
        let (index, service) = self.table.by_id(id)?;
        let down = matches!(service.state, service::State::Down);
        if !down || service.kept.rules.manner == service::Manner::Target {
            return None;
        }
        let service = self.table.get_mut(index)?;
        service.desired = service::Desired::Up;
        service.runs = service.runs.saturating_add(1);
        service.dirty = true;
        service.started = Some(now);
        self.enter(index, service::State::Spawning { recalled: None });
        self.work_off();
        self.table.run_id(index)
    }

    /// Takes the request for the process of `run` back: it is there already. `false`: there is no
    /// such request.
    pub fn retract_spawn(&mut self, run: RunId) -> bool {
        self.actions.retract(&Action::Spawn { run })
    }

    /// What is told of the service; `pid`, `memory_bytes`, `tasks` and `stored` are the shell's to
    /// fill in.
    #[must_use]
    pub fn status(&self, id: ServiceId) -> Option<ServiceStatus> {
        self.describe(id)
    }

    /// What the service is doing, and whether it is wanted up: of the status, what costs nothing.
    #[must_use]
    pub fn standing(&self, id: ServiceId) -> Option<(StateName, bool)> {
        let (_, service) = self.table.by_id(id)?;
        let wanted = service.desired == service::Desired::Up;
        Some((service.state.name(), wanted))
    }

    /// Events told, starts that nobody asked for, and how many services are in each state.
    #[must_use]
    pub fn tally(&self) -> (u64, u64, Vec<StateCount>) {
        let (restarts, services) = self.count_states();
        (self.events, restarts, services)
    }

    /// How far the boot is.
    #[must_use]
    pub fn boot_report(&self) -> BootReport {
        self.boot.report(&self.table)
    }

    /// What [`Event::Replace`] with `graph` would change, by name.
    #[must_use]
    pub fn differences(&self, graph: &Compiled) -> Differences {
        self.compare(graph)
    }
}
