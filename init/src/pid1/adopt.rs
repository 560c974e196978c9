//! PID 1 that cannot read what a former program of this process has noted down, since it is of another
//! version: it begins anew, and takes services that run already as they are, by what the kernel says of
//! them. Not here: going on with a state that can be read (`resume`).
//!
//! What is known without a state: a process that PID 1 made is its child and leads a session; it lies
//! in the cgroup of its service; its output is a pipe of which PID 1 has both ends. What is not known is
//! lost: clients and their requests, back-off, what was stopped by hand. A oneshot that is done is run
//! again. Without cgroups nobody knows whose a process is, and none is taken.

use std::collections::BTreeMap;
use std::os::fd::{IntoRawFd, OwnedFd};

use services::id::{RunId, ServiceId};
use services::notify::{Begun, Message};
use services::supervisor::event::Event;

use super::Init;
use super::kept;
use super::say::Level;
use super::table::LogPipe;

/// How links of /proc/PID/fd to pipes and to watchdogs begin.
const PIPE: &str = "pipe:";
const WATCHDOG: &str = "/dev/watchdog";

/// What a former program has left open, and nobody knows yet what it is for.
#[derive(Debug, Default)]
pub(super) struct Left {
    pipes: BTreeMap<String, Vec<OwnedFd>>,
}

impl Left {
    /// Looks through what came over execve(2). The watchdog is left open for whoever looks for it; what
    /// is neither that nor a pipe is closed.
    pub(super) fn sort() -> Self {
        let mut left = Self::default();
        for (number, fd) in kept::rest() {
            let link = link_of(&format!("/proc/self/fd/{number}"));
            if link.starts_with(WATCHDOG) {
                let _left_open = fd.into_raw_fd();
            } else if link.starts_with(PIPE) {
                left.pipes.entry(link).or_default().push(fd);
            }
        }
        left
    }

    /// The pipe that `pid` writes its output to, if both ends are here.
    fn log_of(&mut self, pid: u32) -> Option<LogPipe> {
        let link = link_of(&format!("/proc/{pid}/fd/1"));
        let ends = self.pipes.remove(&link)?;
        let (mut read, mut write) = (None, None);
        for end in ends {
            match kernel::pipe::is_write_end(&end) {
                Ok(true) => write = Some(end),
                Ok(false) => read = Some(end),
                Err(_) => {}
            }
        }
        Some(LogPipe {
            read: read?,
            write: write?,
            handed: false,
            limit: services::log::limit::OwnLimit::default(),
            lost: 0,
        })
    }
}

fn link_of(path: &str) -> String {
    let link = std::fs::read_link(path).unwrap_or_default();
    link.to_string_lossy().into_owned()
}

impl Init {
    /// Takes the services that run already; told before the boot begins.
    pub(super) fn adopt_running(&mut self) {
        let Some(mut left) = self.left.take() else {
            return;
        };
        let services: Vec<(ServiceId, String)> = match &self.supervisor {
            Some(core) => core
                .services()
                .filter_map(|id| Some((id, core.name(id)?.to_owned())))
                .collect(),
            None => Vec::new(),
        };
        for (service, name) in services {
            let Some(cgroups) = &self.cgroups else {
                let why = "without cgroups it is not known which services run already";
                return self.say(Level::Error, why);
            };
            let main = cgroups
                .processes(&name)
                .unwrap_or_default()
                .into_iter()
                .find(|pid| super::resume::is_first_of_run(*pid));
            if let Some(pid) = main {
                self.adopt_service(service, &name, pid, &mut left);
            }
        }
        self.hand_pipes();
    }

    fn adopt_service(&mut self, service: ServiceId, name: &str, pid: u32, left: &mut Left) {
        let now = self.now;
        let core = self.supervisor.as_mut();
        let run: Option<RunId> = core.and_then(|core| core.found_running(service, now));
        let (Some(run), Ok(pidfd)) = (run, kernel::pidfd::open(pid)) else {
            return;
        };
        let log = left.log_of(pid);
        self.table.place(service, name).log = log;
        self.find_reserve(service, name);
        self.watch_cgroup(service, name);
        self.table.started(run, pid, pidfd, false);
        self.tell(Event::Spawned { run });
        // What its starter did is long done.
        self.notified(run, Message::Begin(Begun::Ready), true);
        // It may have been ready for long, and says so only once.
        self.tell(Event::ReadyLine {
            run,
            outcome: Ok(()),
        });
        self.notified(run, Message::Ready, true);
        self.say(
            Level::Notice,
            &format!("{name}: runs already, as process {pid}"),
        );
    }
}
