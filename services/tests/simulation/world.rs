//! One run: the core, the kernel, the script and the books, on one virtual clock.

use std::cell::RefCell;
use std::time::Duration;

use services::definition::{FailureAction, StopScope};
use services::gate::{Gate, Verdict};
use services::graph::Graph;
use services::id::{RunId, ServiceName};
use services::notify::Message;
use services::status::{ShutdownKind, StateName};
use services::supervisor::compiled::Compiled;
use services::supervisor::event::{Action, Command, Event, ExitStatus, RequestId};
use services::supervisor::trace::{Start, action_line, beginning, event_line};
use services::supervisor::{MAX_REQUESTS, Supervisor};
use services::time::Time;

use crate::check::Books;
use crate::generate::{Operation, Script};
use crate::invariants::{Broken, Invariant, Verdict as Held};
use crate::kernel::{Kernel, said};
use crate::lying::CALM;
use crate::model::Model;

/// An invariant that did not hold.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) broken: Broken,
    pub(crate) log: Vec<String>,
}

/// PID 1 is replaced before one event of so many.
const THAWED: u64 = 251;
/// No frozen core is larger.
const FROZEN_MAX: usize = 1 << 20;

/// What the clock of the machine says at the beginning of all time, in seconds.
pub(crate) const EPOCH: i64 = 1_700_000_000;
/// When init takes over.
const START: Time = Time::from_nanos(1_000_000_000);

pub(crate) struct World<'a> {
    script: &'a Script,
    core: Supervisor,
    graph: Graph,
    kernel: Kernel,
    books: Books,
    model: Model,
    gate: Gate,
    now: Time,
    requests: u64,
    /// What a service that was left failed has asked for.
    ordered: Option<ShutdownKind>,
    /// How long the machine has slept.
    slept: Duration,
    /// Events told so far.
    events: u32,
    /// Whether to write a log: most seeds hold, and need none.
    verbose: bool,
    log: Vec<String>,
    /// What is told and asked for, where it is to be recorded.
    trace: Option<&'a RefCell<String>>,
}

impl<'a> World<'a> {
    pub(crate) fn new(
        script: &'a Script,
        verbose: bool,
        trace: Option<&'a RefCell<String>>,
    ) -> Self {
        let graph = Graph::from_definitions(script.services.clone()).unwrap();
        let mut world = Self {
            script,
            core: Supervisor::new(graph.clone()),
            graph: graph.clone(),
            kernel: Kernel::new(script.kernel_seed),
            books: Books::default(),
            model: Model::new(&graph),
            gate: Gate::new(script.gate, false, START),
            now: START,
            requests: 0,
            ordered: None,
            slept: Duration::ZERO,
            events: 0,
            verbose,
            log: Vec::new(),
            trace,
        };
        if let Some(trace) = trace {
            let start = Start::Graph(Compiled::from(&graph).to_bytes().to_vec());
            trace.borrow_mut().push_str(&beginning(&start));
        }
        world.adopt_graph(graph);
        world
    }

    fn adopt_graph(&mut self, graph: Graph) {
        for service in graph.services() {
            // First the main process, then the rest.
            let stop = match service.stop.scope {
                StopScope::Cgroup => service.stop.timeout,
                StopScope::Main => service.stop.timeout * 2,
            };
            self.books.longest_stop = self.books.longest_stop.max(stop);
            let pause = service.restart.max_delay;
            self.books.longest_pause = self.books.longest_pause.max(pause);
        }
        self.graph = graph;
    }

    pub(crate) fn run(mut self) -> Result<Vec<String>, Failure> {
        match self.play() {
            Ok(()) => Ok(self.log),
            Err(broken) => Err(Failure {
                broken,
                log: self.log,
            }),
        }
    }

    fn play(&mut self) -> Held {
        let seed = self.script.kernel_seed;
        self.tell(Event::Machine { seed })?;
        self.set_clock(0)?;
        let target = ServiceName::new("default").unwrap();
        self.tell(Event::Boot { target })?;
        let start = self.now;
        for (at, operation) in self.script.operations.clone() {
            self.until(start + at + self.slept)?;
            self.operate(operation)?;
        }
        // Calm: all accidents end, so everything must come to rest.
        self.kernel.calm = true;
        let rest = self.now + CALM;
        self.until(rest)?;
        self.rested()?;
        if self.books.shutdown_at.is_none() {
            self.operate(Operation::Shutdown(ShutdownKind::Poweroff))?;
        }
        let bound = self.now + self.books.bound() + Duration::from_secs(60);
        self.until(bound)?;
        if self.books.finished.is_none() {
            return Err(Invariant::FinishBound.broken(&"there was no Finish"));
        }
        Ok(())
    }

    /// Lets time pass, with all that happens in it.
    fn until(&mut self, end: Time) -> Held {
        loop {
            let timer = self.core.poll_timeout().map(|(at, _)| at);
            let due = [self.kernel.next(), timer, self.gate.poll_timeout()];
            let next = due.into_iter().flatten().min().unwrap_or(Time::MAX);
            if next > end {
                self.now = end;
                return Ok(());
            }
            self.now = self.now.max(next);
            while let Some(event) = self.kernel.take(self.now) {
                self.tell(event)?;
            }
            self.look_through_the_gate()?;
            let due = self
                .core
                .poll_timeout()
                .is_some_and(|(at, _)| at <= self.now);
            if due {
                self.tell(Event::Tick)?;
                let stuck = self
                    .core
                    .poll_timeout()
                    .is_some_and(|(at, _)| at <= self.now);
                if stuck {
                    return Err(Invariant::Ticks.broken(&"something is due still"));
                }
            }
        }
    }

    /// The gate is asked whenever anything may have changed, and never to no end.
    fn look_through_the_gate(&mut self) -> Held {
        let view = self.core.gate_view();
        let verdict = self.gate.update(&view, self.now);
        if self.verbose
            && let Some(verdict) = &verdict
        {
            let told = format!("{:>10.3} gate {verdict:?}", self.seconds());
            self.log.push(told);
        }
        match verdict {
            Some(Verdict::Commit(_)) => {
                let soak = self.script.gate.soak;
                self.books.committed(&view, soak, self.now)?;
            }
            Some(Verdict::Fail { reason }) if reason.is_empty() => {
                return Err(Invariant::Soak.broken(&"a failed boot without a reason"));
            }
            Some(Verdict::Fail { .. }) | None => {}
        }
        let timeout = self.gate.poll_timeout();
        if timeout.is_some_and(|at| at <= self.now) {
            return Err(Invariant::Ticks.broken(&"the gate waits for what was"));
        }
        Ok(())
    }

    fn tell(&mut self, event: Event) -> Held {
        if let Event::ProbeEnded { run, outcome } = &event
            && self.core.current_run(run.service) == Some(*run)
        {
            let name = self.core.name(run.service).unwrap_or_default().to_owned();
            let killed = self.kernel.reaped.take() == Some((*run, true));
            self.books.probed(&name, outcome.is_ok(), killed, self.now);
        }
        self.events += 1;
        if self.events > 50_000 {
            return Err(Invariant::Ends.broken(&self.events));
        }
        if self.verbose {
            let told = match &event {
                Event::Replace { .. } => "Replace".to_owned(),
                other => format!("{other:?}"),
            };
            self.log.push(format!("{:>10.3} > {told}", self.seconds()));
        }
        if u64::from(self.events) % THAWED == self.script.kernel_seed % THAWED {
            self.freeze_and_thaw()?;
        }
        self.hand_over(event)
    }

    /// Another program takes the place of PID 1, and goes on from what was frozen.
    fn freeze_and_thaw(&mut self) -> Held {
        let frozen = self.core.freeze(FROZEN_MAX);
        let thawed = frozen
            .map_err(|error| format!("{error:?}"))
            .and_then(|bytes| Supervisor::thaw(&bytes).map_err(|error| error.to_string()));
        self.core = thawed.map_err(|error| Invariant::Thawed.broken(&error))?;
        Ok(())
    }

    /// Core and model are told; what the core wants done is checked, and done.
    fn hand_over(&mut self, event: Event) -> Held {
        let over = self.books.finished.is_some();
        if !over {
            self.model.event(&event, self.now);
        }
        if let Some(trace) = self.trace {
            trace.borrow_mut().push_str(&event_line(self.now, &event));
        }
        self.core.handle_event(event, self.now);
        self.model.agree(&self.core);
        let mut count = 0;
        while let Some(action) = self.core.poll_action() {
            count += 1;
            if self.verbose {
                let told = self.describe(&action);
                self.log
                    .push(format!("{:>10.3}     {told}", self.seconds()));
            }
            if let Some(trace) = self.trace {
                trace.borrow_mut().push_str(&action_line(self.now, &action));
            }
            self.check_answer(&action)?;
            self.books
                .action(&action, &self.core, &self.graph, &self.kernel, self.now)?;
            self.model.action(&action, &self.core)?;
            self.perform(&action);
        }
        if count > 12 * (self.core.services().count() + 12) + MAX_REQUESTS {
            let told = format!("{count} actions of one event");
            return Err(Invariant::Bounded.broken(&told));
        }
        self.books.sockets.told()?;
        if self.books.finished.is_none() {
            self.model.compare(&self.core)?;
        }
        if let Some(kind) = self.ordered.take() {
            self.operate(Operation::Shutdown(kind))?;
        }
        self.look_through_the_gate()
    }

    fn check_answer(&self, action: &Action) -> Held {
        let Action::Complete { request, outcome } = action else {
            return Ok(());
        };
        match self.books.open.get(request) {
            Some(Some(command)) => self.model.answer(command, outcome),
            Some(None) | None => Ok(()),
        }
    }

    fn seconds(&self) -> f64 {
        Duration::from_nanos(self.now.as_nanos()).as_secs_f64()
    }

    fn describe(&self, action: &Action) -> String {
        let name = |id| self.core.name(id).unwrap_or("?");
        let run = |run: &RunId| format!("{}/{}", name(run.service), run.run);
        match action {
            Action::Spawn { run: r } => format!("Spawn {}", run(r)),
            Action::Signal { run: r, signal } => format!("Signal {} {signal:?}", run(r)),
            Action::FindMain { run: r } => format!("FindMain {}", run(r)),
            Action::EndAll { run: r } => format!("EndAll {}", run(r)),
            Action::KillAll { run: r } => format!("KillAll {}", run(r)),
            Action::SpawnReload { run: r } => format!("SpawnReload {}", run(r)),
            Action::Probe { run: r, .. } => format!("Probe {}", run(r)),
            Action::KillProbe { run: r } => format!("KillProbe {}", run(r)),
            Action::Adopt { run: r, pid } => format!("Adopt {} {pid}", run(r)),
            Action::Release { service } => format!("Release {}", name(*service)),
            Action::RememberStart {
                service,
                unix_seconds,
            } => format!("RememberStart {} {unix_seconds}", name(*service)),
            Action::RecallStarts => "RecallStarts".into(),
            Action::Listen { run: r } => format!("Listen {}", run(r)),
            Action::Unlisten { service } => format!("Unlisten {}", name(*service)),
            Action::Announce { service, change } => format!("{} {change:?}", name(*service)),
            Action::Escalate { .. }
            | Action::Complete { .. }
            | Action::BootSettled { .. }
            | Action::Finish { .. } => {
                format!("{action:?}")
            }
        }
    }

    fn perform(&mut self, action: &Action) {
        match action {
            Action::Spawn { run } => {
                if let Some(definition) = self.core.definition(run.service) {
                    self.kernel.start(*run, &definition, self.now);
                }
            }
            Action::Listen { run } => self.kernel.listen(*run, self.now),
            Action::Unlisten { service } => self.kernel.unlisten(*service),
            Action::Signal { run, signal } => self.kernel.signal(*run, *signal, self.now),
            Action::EndAll { run } => self.kernel.end_all(*run, self.now),
            Action::FindMain { run } => self.kernel.find_main(*run, self.now),
            Action::KillAll { run } => self.kernel.kill_all(*run, self.now),
            Action::SpawnReload { run } => self.kernel.reload(*run, self.now),
            Action::Probe { run, .. } => self.kernel.probe(*run, self.now),
            Action::KillProbe { run } => self.kernel.kill_probe(*run, self.now),
            Action::RememberStart {
                service,
                unix_seconds,
            } => {
                let name = self.core.name(*service).map(ServiceName::new);
                if let Some(Ok(name)) = name {
                    self.kernel.remember(name, *unix_seconds);
                }
            }
            Action::RecallStarts => self.kernel.recall(self.now),
            Action::Adopt { .. }
            | Action::Release { .. }
            | Action::Announce { .. }
            | Action::Complete { .. }
            | Action::BootSettled { .. }
            | Action::Finish { .. } => {}
            Action::Escalate { action, .. } => self.ordered = Some(after(*action)),
        }
    }

    fn operate(&mut self, operation: Operation) -> Held {
        match operation {
            Operation::Start(name) => self.ask(Command::Start(name)),
            Operation::Stop(name) => self.ask(Command::Stop(name)),
            Operation::StopAll(name) => self.ask(Command::StopAll(name)),
            Operation::Restart(name) => self.ask(Command::Restart(name)),
            Operation::Reload(name) => self.ask(Command::Reload(name)),
            Operation::WaitBoot => self.ask(Command::WaitBoot),
            Operation::Forget => {
                let request = RequestId(self.requests);
                self.books.open.remove(&request);
                self.tell(Event::Forget { request })
            }
            Operation::Replace(services) => self.replace(services),
            Operation::Shutdown(kind) => {
                self.books.meddle();
                self.books.shutdown_at.get_or_insert(self.now);
                self.tell(Event::Shutdown { kind })
            }
            Operation::Crash(name) => {
                self.kernel.crash(&name, self.now);
                Ok(())
            }
            Operation::Storm => {
                let names = self.kernel.processes.values().map(|p| p.name.clone());
                for name in names.collect::<Vec<_>>() {
                    self.kernel.crash(&name, self.now);
                }
                Ok(())
            }
            Operation::Suspend(time) => {
                self.now = self.now + time;
                self.slept += time;
                self.books.suspend(time);
                self.kernel.sleep(time);
                Ok(())
            }
            Operation::ClockBack(time) => {
                let now = self.now;
                self.now = Time::from_nanos(
                    now.as_nanos()
                        .saturating_sub(u64::try_from(time.as_nanos()).unwrap()),
                );
                let told = self.tell(Event::Tick);
                self.now = now;
                told
            }
            Operation::SetClock(ahead) => self.set_clock(ahead),
            Operation::Starve(time) => {
                self.kernel.starve(self.now + time);
                Ok(())
            }
            Operation::Stale(name) => self.stale(&name),
            Operation::Say(name, what) => self.say(&name, what),
            Operation::OutOfMemory(name) => match self.kernel.run_of(&name) {
                Some(run) => self.tell(Event::OutOfMemory { run }),
                None => Ok(()),
            },
        }
    }

    fn ask(&mut self, command: Command) -> Held {
        if self.books.finished.is_some() {
            return Ok(());
        }
        self.requests += 1;
        self.books.meddle();
        let request = RequestId(self.requests);
        self.books.open.insert(request, Some(command.clone()));
        self.tell(Event::Request { request, command })
    }

    fn replace(&mut self, services: Vec<services::definition::Definition>) -> Held {
        let Ok(graph) = Graph::from_definitions(services) else {
            return Ok(());
        };
        if self.books.finished.is_some() {
            return Ok(());
        }
        self.requests += 1;
        self.books.meddle();
        let request = RequestId(self.requests);
        self.books.open.insert(request, None);
        if self.books.shutdown_at.is_none() {
            self.adopt_graph(graph.clone());
            self.books.replaced = true;
        }
        let graph = Box::new(graph.into());
        self.tell(Event::Replace { request, graph })
    }

    /// The clock of the machine is so many seconds ahead of what it said in the beginning.
    fn set_clock(&mut self, ahead: i64) -> Held {
        let now = i64::try_from(self.now.as_nanos()).unwrap_or_default();
        let unix_nanos = (EPOCH + ahead) * 1_000_000_000 + now;
        self.tell(Event::ClockSet { unix_nanos })
    }

    /// News of runs that are over, or never were.
    fn stale(&mut self, name: &ServiceName) -> Held {
        let mut runs: Vec<RunId> = self.kernel.old.iter().rev().take(3).copied().collect();
        if let Some(id) = self.core.lookup(name.as_str()) {
            runs.push(RunId {
                service: id,
                run: 0,
            });
            let mut other = id;
            other.generation += 1;
            runs.push(RunId {
                service: other,
                run: 1,
            });
            other.index = 9999;
            runs.push(RunId {
                service: other,
                run: 1,
            });
        }
        for run in runs {
            let status = ExitStatus::Code(0);
            let cause = String::new();
            self.tell(Event::Spawned { run })?;
            self.tell(Event::Exited { run, status })?;
            self.tell(Event::Emptied { run })?;
            self.tell(Event::SpawnFailed { run, cause })?;
            self.tell(said(run, Message::Ready))?;
            self.tell(Event::ReloadEnded {
                run,
                outcome: Ok(()),
            })?;
            self.tell(Event::ProbeEnded {
                run,
                outcome: Ok(()),
            })?;
            self.tell(Event::ReadyLine {
                run,
                outcome: Ok(()),
            })?;
        }
        Ok(())
    }

    fn say(&mut self, name: &ServiceName, what: u8) -> Held {
        let Some(run) = self.kernel.run_of(name) else {
            return Ok(());
        };
        let message = match what {
            0 => Message::Ready,
            1 => Message::Reloading,
            2 => Message::Stopping,
            3 => Message::Status("busy".into()),
            4 => Message::MainPid(77),
            5 => Message::ExtendTimeout(Duration::from_secs(4)),
            11..14 => Message::ExtendTimeout(Duration::from_millis(500)),
            6 => Message::Alive,
            7 => Message::Broken,
            8 => Message::WatchdogTimeout(Some(Duration::from_secs(2))),
            9 => Message::WatchdogTimeout(None),
            _ => Message::Ignored(1),
        };
        self.tell(said(run, message))
    }

    /// After a long calm nothing is on its way any more.
    fn rested(&self) -> Held {
        if self.books.finished.is_some() {
            return Ok(());
        }
        let open = self.books.open.values();
        let open = open.filter(|it| !it.as_ref().is_some_and(|it| self.model.may_be_open(it)));
        let open = open.count();
        if open > 0 {
            return Err(Invariant::AnsweredOnce.broken(&format!("{open} are not")));
        }
        let boot = self.books.shutdown_at.is_none() && !self.model.may_be_open(&Command::WaitBoot);
        if self.books.settled == 0 && boot {
            return Err(Invariant::SettlesOnce.broken(&"it did not"));
        }
        for id in self.core.services() {
            let Some(status) = self.core.status(id) else {
                return Err(Invariant::Announced.broken(&"a service without a status"));
            };
            let told = format!("{} is {:?}, {:?}", status.name, status.state, status.reason);
            let up = self.books.up.contains(status.name.as_str());
            // A job of a timer ends just now: that is told when nothing is left of it.
            let ends = status.state == StateName::Stopping && status.timer.is_some();
            if !ends && up != matches!(status.state, StateName::Up | StateName::Skipped) {
                return Err(Invariant::Announced.broken(&told));
            }
        }
        self.model.at_rest()
    }
}

/// How the machine ends for a service that is left failed.
fn after(action: FailureAction) -> ShutdownKind {
    match action {
        FailureAction::Poweroff => ShutdownKind::Poweroff,
        FailureAction::None | FailureAction::Reboot | FailureAction::BootBad => {
            ShutdownKind::Reboot
        }
    }
}
