//! Commands beside the main process of a service: reload commands and probes of its health. They run
//! in its surroundings and its cgroup, whose limits they leave alone. Not here: when they run and
//! what their end means (the core).

use kernel::signals::Signal;
use kernel::spawn::Child;
use services::definition::{Definition, Program, Reload};
use services::id::RunId;
use services::supervisor::event::Event;

use super::Init;
use super::later::Later;
use super::say::Level;
use super::table::{Beside, Owner};

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
        let child = self.start_beside(run, &definition, program, command)?;
        self.table.own(child.pid, Owner::Reload(run));
        // The core answers the request at the same time; what is left of the command goes with it.
        self.do_later(definition.start_timeout, Later::KillReload(run));
        if let Some(live) = self.table.live(run) {
            live.reload = Some(beside(child));
        }
        Ok(())
    }

    /// Runs the probe of a service's health.
    pub(super) fn probe(&mut self, run: RunId) {
        if let Err(cause) = self.try_probe(run) {
            self.tell(Event::ProbeEnded {
                run,
                outcome: Err(cause),
            });
        }
    }

    fn try_probe(&mut self, run: RunId) -> Result<(), String> {
        let definition = self.definition(run.service)?;
        let program = program_of(&definition)?;
        let Some(health) = &program.health else {
            return Err("the service has no probe".to_owned());
        };
        let child = self.start_beside(run, &definition, program, &health.exec)?;
        self.table.own(child.pid, Owner::Probe(run));
        if let Some(live) = self.table.live(run) {
            live.probe = Some(beside(child));
        }
        Ok(())
    }

    fn start_beside(
        &mut self,
        run: RunId,
        definition: &Definition,
        program: &Program,
        command: &[String],
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
        self.execute(run.service, definition, &program, command, cgroup.as_ref())
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

fn beside(child: Child) -> Beside {
    Beside {
        pid: child.pid,
        pidfd: child.pidfd,
    }
}

/// Kills a command and its process group. Its number cannot be another's: it has not been reaped.
fn kill(command: &Beside) -> kernel::Result<()> {
    kernel::pidfd::send_signal(&command.pidfd, Signal::KILL)?;
    kernel::pidfd::signal_group(command.pid, Signal::KILL).map(drop)
}
