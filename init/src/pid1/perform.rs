//! Performs what the core asks for and tells it the outcome. Not here: any decision, and how a
//! program's surroundings are put together (`plan`).

use std::os::fd::{AsFd, BorrowedFd};

use kernel::cgroup::Cgroup;
use kernel::signals::Signal;
use mounts::slot::judge::SAID_ENDING;
use services::control::BootState;
use services::definition::{CgroupLimits, Definition, FailureAction, Kind, Program, StopScope};
use services::id::{RunId, ServiceId};
use services::notify::{Begun, Message};
use services::status::ShutdownKind;
use services::supervisor::Supervisor;
use services::supervisor::event::{Action, Change, Event};
use services::time::Duration;

use super::Init;
use super::beside::Words;
use super::cgroups::{self, Cgroups, Remains};
use super::later::Later;
use super::plan::{self, Surroundings};
use super::ready_line;
use super::reserves;
use super::say::Level;
use super::sockets;
use super::table::Seek;

/// Pause before a kill that failed, for want of descriptors or memory, is tried again.
const KILL_AGAIN: Duration = Duration::from_secs(1);
/// Most actions of one turn: starting a thousand services must not keep signals waiting.
const ACTIONS_MAX: usize = 64;
/// No action is begun in a turn after so much time: to start a program takes about as long.
const ACTIONS_WITHIN: u64 = 350_000;

/// What a process is to its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Its main process.
    Main,
    /// A command beside it.
    Beside,
}

/// What a main process executes first.
enum First {
    /// What the core awaits of a service: the program, or the starter.
    Awaited,
    /// The program, although the core waits for the word of a starter.
    Program,
}

/// What is executed for a service, and what is its own of the surroundings.
pub(super) struct Execution<'a> {
    /// The surroundings as the service's file has them.
    pub(super) program: &'a Program,
    /// Path and arguments.
    pub(super) command: &'a [String],
    /// What it is to the service.
    pub(super) part: Part,
    /// The cgroup it is to be in, where there are any.
    pub(super) cgroup: Option<&'a Cgroup>,
    /// Whether others live there: then it is born beside PID 1, and its starter gets there. PID 1 waits from
    /// clone to exec, and would wait with a child of that cgroup until its turn comes there, which takes
    /// seconds where weight is low or a quota is used up.
    pub(super) joins: bool,
    /// Where a command beside the main process says something.
    pub(super) words: Option<Words<'a>>,
    /// Where it writes the line that it is ready, and at which number.
    pub(super) ready_line: Option<(BorrowedFd<'a>, i32)>,
}

impl Init {
    /// Tells the core something. Before there is a core, nothing can have happened to a service.
    pub(super) fn tell(&mut self, event: Event) {
        let (now, supervisor) = (self.now, self.supervisor.as_mut());
        match (supervisor, &mut self.tracer) {
            (Some(supervisor), None) => supervisor.handle_event(event, now),
            (Some(supervisor), Some(tracer)) => {
                tracer.event(now, &event);
                let before = supervisor.actions().count();
                supervisor.handle_event(event, now);
                for action in supervisor.actions().skip(before) {
                    tracer.action(now, action);
                }
            }
            (None, _) => {}
        }
    }

    /// Performs what the core asks for, up to a bound.
    pub(super) fn perform_actions(&mut self) {
        self.more_actions = false;
        let until = kernel::clock::boottime().saturating_add(ACTIONS_WITHIN);
        for number in 0..ACTIONS_MAX {
            if number > 0 && kernel::clock::boottime() >= until {
                break;
            }
            let action = self.supervisor.as_mut().and_then(Supervisor::poll_action);
            match action {
                Some(action) => self.perform(action),
                None => return,
            }
        }
        self.more_actions = true;
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Spawn { run } => self.spawn(run),
            Action::Listen { run } => self.listen(run),
            Action::Unlisten { service } => self.unlisten(service),
            Action::Signal { run, signal } => self.signal(run, signal),
            Action::Adopt { run, pid } => self.adopt(run, pid),
            Action::FindMain { run } => self.find_main(run),
            Action::EndAll { run } => self.end_all(run),
            Action::KillAll { run } => self.kill_all(run),
            Action::SpawnReload { run } => self.spawn_reload(run),
            Action::Probe { run, purpose } => self.probe(run, purpose),
            Action::KillProbe { run } => self.kill_probe(run),
            Action::Release { service } => self.release(service),
            Action::RememberStart {
                service,
                unix_seconds,
            } => self.remember_start(service, unix_seconds),
            Action::RecallStarts => self.recall_starts(),
            Action::Announce { service, change } => self.announce(service, &change),
            Action::Complete { request, outcome } => self.complete(request, outcome),
            Action::Escalate {
                service,
                action,
                cause,
            } => self.escalate(service, action, &cause),
            Action::BootSettled { failed } => self.boot_settled(&failed),
            Action::Finish { kind } => self.finished = Some(kind),
        }
    }

    /// Asks for an orderly end; without a core there is nothing to put in order.
    pub(super) fn shut_down(&mut self, kind: ShutdownKind) {
        let word = crate::arguments::shutdown_word(kind);
        let line = match kind {
            // The kernel goes on, and so does this boot: whatever ends it later is no orderly end.
            ShutdownKind::SoftReboot => format!("user space ends: {word}"),
            ShutdownKind::Poweroff | ShutdownKind::Reboot | ShutdownKind::Halt => {
                format!("{SAID_ENDING}{word}")
            }
        };
        self.say(Level::Notice, &line);
        if !std::mem::replace(&mut self.shutting_down, true) {
            self.gate_at_shutdown();
        }
        if self.supervisor.is_some() {
            self.tell(Event::Shutdown { kind });
        } else {
            self.finished = Some(kind);
        }
    }

    fn spawn(&mut self, run: RunId) {
        match self.try_spawn(run) {
            Ok(First::Awaited) => self.tell(Event::Spawned { run }),
            Ok(First::Program) => {
                self.tell(Event::Spawned { run });
                self.notified(run, Message::Begin(Begun::Ready), true);
            }
            Err(cause) => self.tell(Event::SpawnFailed { run, cause }),
        }
    }

    fn try_spawn(&mut self, run: RunId) -> Result<First, String> {
        let definition = self.definition(run.service)?;
        let program = definition
            .kind
            .program()
            .ok_or("a target has no program to start")?;
        // What an earlier run has left, by the scope of stopping, lives on beside this one.
        self.table.inherit(run);
        let name = definition.name.as_str();
        // Before the cgroup is renewed, which keeps what limits the processor while they are there.
        let joins =
            definition.stop.scope == StopScope::Main && self.has_leftovers(run.service, name);
        self.renew_cgroup(run.service, name, &program.cgroup);
        // Noted first: the child may make them and then fail to execute the program.
        let place = self.table.place(run.service, definition.name.as_str());
        place.runtime_dirs = program.runtime_dirs.as_slice().into();
        self.open_sockets(run.service, &definition)?;
        self.limit_store(run.service, program.fd_store_max.into());
        let scope = definition.stop.scope;
        let cgroup = self.prepare_cgroup(run.service, name, program, scope)?;
        let pipe = ready_line::open(program)?;
        let order = Execution {
            program,
            command: &program.exec,
            part: Part::Main,
            cgroup: cgroup.as_ref(),
            joins,
            words: None,
            ready_line: pipe.as_ref().map(ready_line::Pipe::for_service),
        };
        let child = self.execute(run.service, &definition, &order)?;
        let entering = joins && cgroup.is_some();
        self.table.started(run, child.pid, child.pidfd, entering);
        if let Some(cgroup) = &cgroup {
            self.limit_cpu(run.service, cgroup, &program.cgroup);
        }
        if let Some(pipe) = pipe {
            self.watch_ready_line(run, pipe);
        }
        if let (Kind::Forking(_), Some(live)) = (&definition.kind, self.table.live(run)) {
            live.seek = Some(Seek::default());
        }
        // The others whom a starter would have had to get to are not there.
        Ok(match definition.only_joins() && !joins {
            true => First::Program,
            false => First::Awaited,
        })
    }

    /// Whether former runs have left processes, as far as has been told or the kernel knows.
    fn has_leftovers(&mut self, service: ServiceId, name: &str) -> bool {
        let told = self.table.get(service).is_some_and(|it| it.live.is_some());
        told || self.cgroups.as_ref().is_some_and(|it| it.populated(name))
    }

    /// Removes what an earlier run has left of its cgroup, unless the next can be born in it. One that
    /// passed controllers down to cgroups of its own making, as a container engine does, takes no
    /// process any more (EBUSY); one that all were killed in may kill whoever is born there.
    fn renew_cgroup(&mut self, service: ServiceId, name: &str, limits: &CgroupLimits) {
        if self.table.get(service).is_some_and(|it| it.live.is_some()) {
            return;
        }
        let Some(cgroups) = &self.cgroups else { return };
        let place = self.table.place(service, name);
        let gone = match (cgroups.remains(name, limits), place.killed) {
            (Remains::Nothing, _) => true,
            (Remains::Usable, false) => false,
            // Where it cannot be removed it is still the one that is watched, and is used again.
            (Remains::Usable, true) | (Remains::Divided, _) => cgroups.remove(name).is_ok(),
        };
        if gone {
            place.killed = false;
            self.table.unwatched(service);
        }
    }

    pub(super) fn definition(&self, service: ServiceId) -> Result<Definition, String> {
        self.supervisor
            .as_ref()
            .and_then(|supervisor| supervisor.definition(service))
            .ok_or_else(|| "the service is no more".to_owned())
    }

    /// Starts a command in the surroundings of the service.
    pub(super) fn execute(
        &mut self,
        service: ServiceId,
        definition: &Definition,
        order: &Execution<'_>,
    ) -> Result<kernel::spawn::Child, String> {
        self.table.place(service, definition.name.as_str());
        let limit = definition.kind.program().map(|it| it.log);
        self.open_log(service, limit.unwrap_or_default())?;
        let name = definition.name.as_str();
        let joined = order.cgroup.filter(|_| order.joins);
        let entered = joined.map(|cgroup| cgroup.path().to_owned());
        let before = self.starter_order(service, name, order, entered)?;
        let heard = plan::is_heard(&definition.kind);
        let notify_socket = heard.then(|| self.notify_address(order.program));
        let place = self.table.get(service).map(|place| &*place);
        let log = place.and_then(|place| place.log.as_ref());
        let passed = match (order.part, place) {
            (Part::Main, Some(place)) => {
                let mut passed = sockets::passed(&place.sockets);
                passed.extend(place.store.passed());
                passed
            }
            (Part::Main, None) | (Part::Beside, _) => Vec::new(),
        };
        let surroundings = Surroundings {
            cgroup: order.cgroup.filter(|_| !order.joins).map(AsFd::as_fd),
            output: match order.words {
                Some(Words::All(words)) => Some(words.as_fd()),
                Some(Words::Of(_)) | None => log.map(|log| log.write.as_fd()),
            },
            words: match order.words {
                Some(Words::Of(words)) => Some(words.as_fd()),
                Some(Words::All(_)) | None => None,
            },
            notify_socket: notify_socket.as_deref(),
            watchdog: match order.part {
                Part::Main => order.program.watchdog.timeout,
                Part::Beside => None,
            },
            passed: &passed,
            ready_line: order.ready_line,
            runtime_dir: self.paths.moved_runtime_dir(),
            order: before.as_deref(),
        };
        plan::start(
            &mut self.spawner,
            order.program,
            order.command,
            &surroundings,
        )
    }

    fn prepare_cgroup(
        &mut self,
        service: ServiceId,
        name: &str,
        program: &Program,
        scope: StopScope,
    ) -> Result<Option<Cgroup>, String> {
        let Some(cgroups) = &self.cgroups else {
            return Ok(None);
        };
        let owner = program.account.as_ref().and_then(|it| it.ids.as_ref());
        let limits = &program.cgroup;
        let earlier = self.table.get(service).and_then(|it| it.limits.as_ref());
        let has_them = earlier == Some(limits);
        let (cgroup, unset) = cgroups.prepare(name, limits, owner, has_them)?;
        let leaf = cgroups.leaf(&cgroup, scope, limits)?;
        let mut unset = unset;
        let bytes = limits.memory_min.map_or(0, |it| it.0);
        unset.extend(reserves::keep(&mut self.table, cgroups, service, bytes).err());
        if let Some(place) = self.table.get(service) {
            place.oom_kills = cgroups::oom_kills(&cgroup);
            // What could not be set is tried again, and told again.
            place.limits = unset.is_empty().then(|| limits.clone());
            place.cgroup = cgroup.id().ok();
            if place.watch.is_none() {
                let watch = self
                    .watches
                    .watch(&cgroup.events_path(), kernel::inotify::WatchFlags::MODIFY)
                    .map_err(|error| error.to_string())?;
                self.table.watched(service, watch.0);
            }
        }
        for cause in unset {
            self.say(Level::Warning, &format!("{name}: {cause}"));
        }
        Ok(Some(leaf.unwrap_or(cgroup)))
    }

    /// Limits the processor of a service whose program is executed.
    fn limit_cpu(&mut self, service: ServiceId, cgroup: &Cgroup, limits: &CgroupLimits) {
        let refused = Cgroups::limit_cpu(cgroup, limits);
        let (false, Some(place)) = (refused.is_empty(), self.table.get(service)) else {
            return;
        };
        let name = place.name.clone();
        place.limits = None;
        for cause in refused {
            self.say(Level::Warning, &format!("{name}: {cause}"));
        }
    }

    fn signal(&mut self, run: RunId, signal: services::definition::Signal) {
        let Some(live) = self.table.live(run).filter(|live| !live.ended) else {
            return;
        };
        if let Err(error) = kernel::pidfd::send_signal(&live.pidfd, plan::signal_number(signal)) {
            self.say(Level::Warning, &error.to_string());
        }
    }

    /// Asks all that is left of a service to end.
    fn end_all(&mut self, run: RunId) {
        let Some(place) = self.table.get(run.service) else {
            return self.tell(Event::Emptied { run });
        };
        let name = place.name.clone();
        let known = place.live.is_some();
        let group = place.live.as_ref().map(|live| live.group);
        let asked = match (&self.cgroups, group) {
            (Some(cgroups), _) => cgroups.end(&name),
            (None, Some(group)) => {
                kernel::pidfd::signal_group(group, kernel::signals::Signal::TERM)
                    .map(drop)
                    .map_err(|error| error.to_string())
            }
            (None, None) => Ok(()),
        };
        if let Err(error) = asked {
            // It is killed in a while.
            self.say(Level::Warning, &format!("{name}: {error}"));
        }
        let empty = self.cgroups.as_ref().is_none_or(|it| !it.populated(&name));
        match known {
            true => self.check_emptied(run.service),
            false if empty => self.tell(Event::Emptied { run }),
            false => {}
        }
    }

    /// Kills all that belongs to a run: its cgroup, or else its process group.
    pub(super) fn kill_all(&mut self, run: RunId) {
        let Some(place) = self.table.get(run.service) else {
            return;
        };
        let name = place.name.clone();
        let Some(live) = place.live.as_ref().filter(|live| live.run == run) else {
            return;
        };
        let group = live.group;
        let ended = live.ended;
        place.killed = true;
        // Not among those of the cgroup yet: it would be killed by nobody.
        let comes = live.entering && !ended;
        let alone = comes.then(|| kernel::pidfd::send_signal(&live.pidfd, Signal::KILL));
        // Whoever is killed need not be found.
        if let Some(live) = self.table.live(run) {
            live.seek = None;
        }
        let killed = match &self.cgroups {
            Some(cgroups) => cgroups.kill(&name).and_then(|()| match alone {
                Some(Err(error)) => Err(error.to_string()),
                Some(Ok(_)) | None => Ok(()),
            }),
            // The group outlives its leader, and so does the number, for as long as it has members.
            None => kernel::pidfd::signal_group(group, kernel::signals::Signal::KILL)
                .map(drop)
                .map_err(|error| error.to_string()),
        };
        if let Err(error) = killed {
            self.say(Level::Error, &format!("{name}: {error}; tried again"));
            self.do_later(KILL_AGAIN, Later::KillAll(run));
        }
        if ended {
            self.check_emptied(run.service);
        }
    }

    /// Gives back what a service that is down and stays down has.
    fn release(&mut self, service: ServiceId) {
        let Some(place) = self.table.get(service) else {
            return;
        };
        let name = place.name.clone();
        let directories = std::mem::take(&mut place.runtime_dirs);
        self.table.unwatched(service);
        self.limit_store(service, 0);
        for directory in directories {
            let path = plan::runtime_dir(&directory);
            if let Err(error) = kernel::files::remove_tree(&path.display().to_string()) {
                self.say(Level::Warning, &format!("{name}: {error}"));
            }
        }
        let Some(cgroups) = &self.cgroups else {
            return;
        };
        let removed = cgroups.remove(&name);
        let done = [
            removed,
            reserves::keep(&mut self.table, cgroups, service, 0),
        ];
        for error in done.into_iter().filter_map(Result::err) {
            self.say(Level::Warning, &format!("{name}: {error}"));
        }
    }

    /// Does what the file of a service that is left failed says of the machine.
    fn escalate(&mut self, service: ServiceId, action: FailureAction, cause: &str) {
        let name = self.name(service);
        let (word, kind) = match action {
            FailureAction::None => return,
            FailureAction::Reboot => ("the machine restarts", ShutdownKind::Reboot),
            FailureAction::Poweroff => ("the machine is switched off", ShutdownKind::Poweroff),
            FailureAction::BootBad => {
                return self.call_bad_for(&format!("{name} failed: {cause}"));
            }
        };
        let line = format!("{name} failed, and its file says what follows: {word}");
        self.say(Level::Error, &line);
        if !self.shutting_down {
            self.shut_down(kind);
        }
    }

    /// The name of a service that may be no more.
    fn name(&mut self, service: ServiceId) -> String {
        let core = self.supervisor.as_ref();
        match core.and_then(|core| core.name(service)) {
            Some(name) => name.to_owned(),
            None => self.table.get(service).map_or_else(
                || "a removed service".to_owned(),
                |place| place.name.to_string(),
            ),
        }
    }

    fn announce(&mut self, service: ServiceId, change: &Change) {
        let name = self.name(service);
        let (level, text) = match change {
            Change::Starting => (Level::Info, format!("{name}: starting")),
            Change::Up => (Level::Info, format!("{name}: up")),
            Change::Skipped { cause } => (Level::Info, format!("{name}: skipped: {cause}")),
            Change::Listening => (Level::Info, format!("{name}: listening")),
            Change::Armed => (Level::Info, format!("{name}: waits for its timer")),
            Change::Stopping => (Level::Info, format!("{name}: stopping")),
            Change::Killed => (
                Level::Warning,
                format!("{name}: did not stop in time and was killed"),
            ),
            Change::Down => (Level::Info, format!("{name}: down")),
            Change::Backoff { cause, pause } => (
                Level::Warning,
                format!("{name}: {cause}; starts again in {pause:?}"),
            ),
            Change::Failed { cause } => (Level::Error, format!("{name}: failed: {cause}")),
        };
        self.say(level, &text);
    }

    fn boot_settled(&mut self, failed: &[ServiceId]) {
        let names: Vec<String> = failed.iter().map(|id| self.name(*id)).collect();
        self.boot.settled(self.now, names);
        // Files and graphs were read, and are not any more.
        kernel::heap::trim();
        let info = &self.boot.info;
        let line = match (info.state, info.failed.as_slice()) {
            (BootState::Ready | BootState::Starting, _) => format!("{} is up", info.target),
            (BootState::Degraded, []) => format!("{} is up, but degraded", info.target),
            (BootState::Degraded, failed) => {
                format!("{} is degraded: {} failed", info.target, failed.join(", "))
            }
        };
        self.say(Level::Notice, &line);
    }
}
