//! Commands beside the main process of a service: reload commands and probes. They run in its
//! surroundings and its cgroup, whose limits they leave alone, as children of a starter beside PID 1, that ends
//! as they do. Not here: when they run and what their end means (the core).
//!
//! # Why a probe is a process
//!
//! PID 1 could connect by itself, without waiting. But a probe in a process of the service sees what
//! its clients see: its user's rights, its network, its files. A path on a dead filesystem, a server
//! that sends its answer byte by byte, and whatever else never ends is then no state of PID 1's loop
//! and no memory of PID 1, and is killed. And all kinds are one mechanism: a command is another word in
//! the same place. What it costs is a clone and two execve, about a millisecond, each time.

use std::os::fd::OwnedFd;

use kernel::signals::Signal;
use kernel::spawn::Child;
use services::definition::{Definition, Probe, Program, Ready, Reload};
use services::id::RunId;
use services::supervisor::event::{Event, Purpose};

use super::Init;
use super::kept::Kept;
use super::later::Later;
use super::perform::{Execution, Part};
use super::plan::OWN_PROGRAM;
use super::say::Level;
use super::table::{Beside, Owner};

/// Most bytes of a probe's words that are read: longer ones are not ours.
const WORDS_MAX: usize = 4096;

/// Where a command beside a service says something.
#[derive(Clone, Copy)]
pub(super) enum Words<'a> {
    /// All that it writes.
    All(&'a OwnedFd),
    /// Why it was not executed; what it writes goes to the log of the service.
    Of(&'a OwnedFd),
}

impl Init {
    /// Runs the reload command of a service.
    pub(super) fn spawn_reload(&mut self, run: RunId) {
        if let Err(cause) = self.try_spawn_reload(run) {
            self.tell(Event::ReloadEnded {
                run,
                outcome: Err(cause),
            });
        }
    }

    fn try_spawn_reload(&mut self, run: RunId) -> Result<(), String> {
        let definition = self.definition(run.service)?;
        let program = program_of(&definition)?;
        let Some(Reload::Command(command)) = &program.reload else {
            return Err("the service has no reload command".to_owned());
        };
        let words = memory_file()?;
        let child = self.start_beside(run, &definition, program, command, Words::Of(&words))?;
        self.table.own(child.pid, Owner::Reload(run));
        // The core answers the request at the same time; what is left of the command goes with it.
        self.do_later(definition.start_timeout, Later::KillReload(run));
        if let Some(live) = self.table.live(run) {
            live.reload = Some(beside(child, words));
        }
        Ok(())
    }

    /// Makes a probe of a service.
    pub(super) fn probe(&mut self, run: RunId, purpose: Purpose) {
        if let Err(cause) = self.try_probe(run, purpose) {
            self.tell(Event::ProbeEnded {
                run,
                outcome: Err(cause),
            });
        }
    }

    fn try_probe(&mut self, run: RunId, purpose: Purpose) -> Result<(), String> {
        let definition = self.definition(run.service)?;
        let program = program_of(&definition)?;
        let probe = probe_for(purpose, program).ok_or("the service has no such probe")?;
        let (child, words) = self.start_probe(run, &definition, program, probe)?;
        self.table.own(child.pid, Owner::Probe(run));
        if let Some(live) = self.table.live(run) {
            live.probe = Some(beside(child, words));
        }
        Ok(())
    }

    /// Starts the command of a probe, or the part of init that makes it. Why it is bad, or was not made,
    /// is left in a memory file: many probes of a service that is slow to start would fill its log.
    fn start_probe(
        &mut self,
        run: RunId,
        definition: &Definition,
        program: &Program,
        probe: &Probe,
    ) -> Result<(Child, OwnedFd), String> {
        let words = memory_file()?;
        let Some(arguments) = crate::probe::arguments(probe) else {
            let command = probe.command().unwrap_or_default();
            let child = self.start_beside(run, definition, program, command, Words::Of(&words))?;
            return Ok((child, words));
        };
        let program_itself = std::iter::once(OWN_PROGRAM.to_owned());
        let command: Vec<String> = program_itself.chain(arguments).collect();
        let child = self.start_beside(run, definition, program, &command, Words::All(&words))?;
        Ok((child, words))
    }

    fn start_beside(
        &mut self,
        run: RunId,
        definition: &Definition,
        program: &Program,
        command: &[String],
        words: Words<'_>,
    ) -> Result<Child, String> {
        if self.table.live(run).is_none() {
            return Err("the service has ended".to_owned());
        }
        let cgroup = match &self.cgroups {
            Some(cgroups) => Some(cgroups.beside(definition.name.as_str())?),
            None => None,
        };
        // Beside a main process that owns the terminal, the command has none; its directories are
        // there.
        let program = Program {
            tty: None,
            runtime_dirs: Vec::new(),
            state_dirs: Vec::new(),
            ..program.clone()
        };
        let order = Execution {
            program: &program,
            command,
            part: Part::Beside,
            cgroup: cgroup.as_ref(),
            joins: true,
            words: Some(words),
            ready_line: None,
        };
        self.execute(run.service, definition, &order)
    }

    /// Kills a probe, with all it has started.
    pub(super) fn kill_probe(&mut self, run: RunId) {
        let live = self.table.live(run);
        let probe = live.and_then(|live| live.probe.as_ref());
        if let Some(Err(error)) = probe.map(kill) {
            self.say(Level::Warning, &error.to_string());
        }
    }

    /// Kills a reload command that has not ended in its time.
    pub(super) fn kill_reload(&mut self, run: RunId) {
        let core = self.supervisor.as_ref();
        if let Some(at) = core.and_then(|core| core.reload_deadline(run))
            && at > self.now
        {
            // The service has asked for more time.
            self.do_later(at.since(self.now), Later::KillReload(run));
            return;
        }
        let live = self.table.live(run);
        let reload = live.and_then(|live| live.reload.as_ref());
        if let Some(Err(error)) = reload.map(kill) {
            self.say(Level::Warning, &error.to_string());
        }
    }
}

fn program_of(definition: &Definition) -> Result<&Program, String> {
    let program = definition.kind.program();
    program.ok_or_else(|| "a target has no program".to_owned())
}

fn probe_for(purpose: Purpose, program: &Program) -> Option<&Probe> {
    match (purpose, &program.ready) {
        (Purpose::Ready, Some(Ready::Probe { probe, .. })) => Some(probe),
        (Purpose::Ready, Some(Ready::Line(_)) | None) => None,
        (Purpose::Health, _) => program.health.as_ref().map(|health| &health.probe),
    }
}

fn memory_file() -> Result<OwnedFd, String> {
    kernel::memfd::create("words").map_err(|error| error.to_string())
}

fn beside(child: Child, words: OwnedFd) -> Beside {
    Beside {
        pid: child.pid,
        pidfd: child.pidfd,
        words: Some(Kept::from(words)),
    }
}

/// What a probe that was bad has left in words, on one line.
pub(super) fn words(probe: &Beside) -> Option<String> {
    let bytes = kernel::memfd::read_sealed(probe.words.as_ref()?, WORDS_MAX).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim().replace(char::is_control, " ");
    (!text.is_empty()).then_some(text)
}

/// Kills a command and its process group: its starter, which leads that, and with it the command, wherever
/// that has gone. Its number cannot be another's: it has not been reaped.
fn kill(command: &Beside) -> kernel::Result<()> {
    kernel::pidfd::send_signal(&command.pidfd, Signal::KILL)?;
    kernel::pidfd::signal_group(command.pid, Signal::KILL).map(drop)
}
