//! The life of one machine: power on, commands, power cut, end. Not here: what it is made of
//! (`spec`).

use std::io::{Write, sink};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tempfile::TempDir;

use crate::agent::{Agent, Output, Report};
use crate::console::{Console, Missed};
use crate::debugger::{Debugger, Fault};
use crate::monitor::Monitor;
use crate::overlay::Overlay;
use crate::spec::{Arch, Spec};

/// How long QEMU may take to listen on its sockets.
const CONNECT: Duration = Duration::from_secs(20);

/// stage1 prints it, and why, when no slot can be booted.
pub const RESCUE: &str = "shark: rescue:";

/// The kernel prints it when it can do no more.
pub const PANIC: &str = "Kernel panic - not syncing";

/// A running machine. Dropping it cuts its power.
pub struct Machine {
    child: Child,
    /// What it prints on its serial console.
    pub console: Console,
    agent: Option<Agent>,
    arch: Arch,
    // Holds the sockets and the initramfs until the machine has ended.
    folder: TempDir,
}

/// How a boot went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Boot {
    /// Every service of the boot target is up; where the agent waits for the verdict, the boot is
    /// committed.
    Good,
    /// The machine is up, and something failed.
    Bad(String),
    /// stage1 found nothing to boot: its line.
    Rescue(String),
    /// The kernel panicked: its line.
    Panic(String),
    /// The machine ended.
    Ended,
    /// Nothing of this came in time.
    Deadline,
}

impl Machine {
    /// Powers on a machine with an agent; its console is copied to `copy`.
    ///
    /// # Errors
    /// When QEMU cannot be started.
    pub fn start(
        spec: &Spec,
        overlay: Overlay,
        copy: impl Write + Send + 'static,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("no temporary folder for the machine")?;
        let initrd = folder.path().join("initrd");
        overlay.with_agent().append_to(&spec.initrd, &initrd)?;
        let mut command = spec.command(&initrd, Some(folder.path()));
        command.args(["-serial", "stdio"]);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {}", spec.arch.qemu()))?;
        let console = Console::default();
        if let Some(output) = child.stdout.take() {
            console.follow(output, copy);
        }
        let mut machine = Self {
            child,
            console,
            agent: None,
            arch: spec.arch,
            folder,
        };
        let agent = Agent::connect(machine.folder.path(), Instant::now() + CONNECT)?;
        machine.agent = Some(agent);
        Ok(machine)
    }

    /// The same, with nobody listening to the console.
    ///
    /// # Errors
    /// When QEMU cannot be started.
    pub fn quiet(spec: &Spec, overlay: Overlay) -> anyhow::Result<Self> {
        Self::start(spec, overlay, sink())
    }

    /// Waits until it is known how the boot went, or `deadline` passes. Only what the console prints
    /// at or after `from` counts, so that the boot after a reboot can be waited for.
    pub fn boot(&self, from: usize, deadline: Instant) -> Boot {
        let Some(agent) = &self.agent else {
            return Boot::Ended;
        };
        loop {
            match agent.report(Duration::from_millis(50)) {
                Some(Report::BootGood) => {
                    agent.forget();
                    return Boot::Good;
                }
                Some(Report::BootBad(why)) => {
                    agent.forget();
                    return Boot::Bad(why);
                }
                Some(Report::Ended(_)) | None => {}
            }
            match self
                .console
                .wait_for(&[RESCUE, PANIC], from, Instant::now())
            {
                Ok(line) if line.contains(RESCUE) => return Boot::Rescue(line),
                Ok(line) => return Boot::Panic(line),
                Err(Missed::Ended) => return Boot::Ended,
                Err(Missed::Deadline) if Instant::now() >= deadline => return Boot::Deadline,
                Err(Missed::Deadline) => {}
            }
        }
    }

    /// Waits until a boot is good, however the ones before it ended, or there is nothing more to
    /// wait for: rescue, the end of the machine, the deadline.
    ///
    /// Only what the console prints at or after `from` counts.
    pub fn good_at_last(&self, from: usize, deadline: Instant) -> Boot {
        let Some(agent) = &self.agent else {
            return Boot::Ended;
        };
        loop {
            if let Some(Report::BootGood) = agent.report(Duration::from_millis(50)) {
                agent.forget();
                return Boot::Good;
            }
            match self.console.wait_for(&[RESCUE], from, Instant::now()) {
                Ok(line) => return Boot::Rescue(line),
                Err(Missed::Ended) => return Boot::Ended,
                Err(Missed::Deadline) if Instant::now() >= deadline => return Boot::Deadline,
                Err(Missed::Deadline) => {}
            }
        }
    }

    /// Types a line on the console.
    ///
    /// # Errors
    /// When the machine has ended.
    pub fn type_line(&mut self, line: &str) -> anyhow::Result<()> {
        let keyboard = self
            .child
            .stdin
            .as_mut()
            .context("QEMU has no standard input")?;
        keyboard
            .write_all(format!("{line}\n").as_bytes())
            .and_then(|()| keyboard.flush())
            .context("nobody reads what is typed: the machine has ended")
    }

    /// Puts the cable into the network card, or takes it out.
    ///
    /// # Errors
    /// When QEMU does not answer.
    pub fn set_link(&self, up: bool) -> anyhow::Result<()> {
        Monitor::connect(self.folder.path())?.set_link(up)
    }

    /// Plants `fault` over the code of a function in the guest's kernel.
    ///
    /// # Errors
    /// When the kernel has no such function.
    pub fn plant(&mut self, fault: Fault, function: &str, wait: Duration) -> anyhow::Result<()> {
        let lines = self.shell(&format!("grep -w {function} /proc/kallsyms"), wait)?;
        let text = lines.text();
        let address = text
            .split_whitespace()
            .next()
            .and_then(|word| u64::from_str_radix(word, 16).ok())
            .filter(|address| *address != 0)
            .with_context(|| format!("the kernel does not say where {function} is: {text:?}"))?;
        let mut debugger = Debugger::attach(self.folder.path())?;
        debugger.write(address, fault.code(self.arch))?;
        debugger.detach()
    }

    /// Runs a command in the guest, and copies what it prints as it comes.
    ///
    /// # Errors
    /// When the machine ends first or `deadline` passes.
    pub fn run(
        &mut self,
        command: &str,
        out: &mut dyn Write,
        err: &mut dyn Write,
        deadline: Instant,
    ) -> anyhow::Result<u8> {
        let agent = self.agent.as_mut().context("this machine has no agent")?;
        agent.run(command, out, err, deadline)
    }

    /// Runs a command in the guest and keeps what it prints.
    ///
    /// # Errors
    /// When the machine ends first, or `wait` passes.
    pub fn shell(&mut self, command: &str, wait: Duration) -> anyhow::Result<Output> {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let status = self.run(command, &mut out, &mut err, Instant::now() + wait)?;
        Ok(Output { status, out, err })
    }

    /// Sends a command whose end is not awaited: the machine may be gone by then.
    ///
    /// # Errors
    /// When the machine has ended already.
    pub fn send(&mut self, command: &str) -> anyhow::Result<()> {
        self.agent
            .as_mut()
            .context("this machine has no agent")?
            .send(command)
    }

    /// Waits for QEMU to end by itself.
    ///
    /// # Errors
    /// When it has not by `deadline`.
    pub fn wait(&mut self, deadline: Instant) -> anyhow::Result<ExitStatus> {
        loop {
            if let Some(status) = self.child.try_wait().context("QEMU is lost")? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                bail!(
                    "the machine is still on; its last lines:\n{}",
                    self.console.tail(20)
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Powers the guest off in order, and waits for the end.
    ///
    /// # Errors
    /// When it does not end within `wait`.
    pub fn power_off(&mut self, wait: Duration) -> anyhow::Result<ExitStatus> {
        self.send("sharkctl poweroff")?;
        self.wait(Instant::now() + wait)
    }

    /// Cuts the power, at once.
    pub fn cut_power(&mut self) {
        // It may have ended by itself a moment ago; gone it is either way.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.cut_power();
    }
}
