//! What services say by sd_notify(3): datagrams into events of the core, descriptors into safe keeping,
//! and whose process has said it. Not here: what a datagram means (`services::notify`) and what
//! follows from it (the core).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use kernel::epoll::{Poller, Readiness};
use kernel::unix::{Datagram, NotifySocket, Process};
use serde::{Deserialize, Serialize};
use services::definition::Program;
use services::id::RunId;
use services::notify::{self, Begun, Message};
use services::supervisor::Supervisor;
use services::supervisor::event::Event;

use super::Init;
use super::kept;
use super::say::Level;
use super::sender;
use super::table::Owner;
use super::turn::{self, BOUND};

/// Most parents of a process that are looked at, where there are no cgroups.
const PARENTS_MAX: usize = 32;

/// Where services report to.
#[derive(Debug)]
pub(super) struct NotifySockets {
    /// At a path of the runtime directory.
    path: NotifySocket,
    /// With an abstract name, for those that cannot reach the path; and that name.
    hidden: Option<(NotifySocket, String)>,
}

/// The sockets, on their way into another program.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Frozen {
    path: i32,
    hidden: Option<(i32, String)>,
}

impl NotifySockets {
    /// Makes both; whoever can reach the path does without the other.
    pub(super) fn open(path: &str) -> kernel::Result<Self> {
        Ok(Self {
            path: NotifySocket::bind(path)?,
            hidden: NotifySocket::autobind().ok(),
        })
    }

    /// Their descriptors and the hidden name, to be found again by another program in this process.
    pub(super) fn freeze(&self) -> Frozen {
        let hidden = self.hidden.as_ref();
        let number = |socket: &NotifySocket| socket.as_fd().as_raw_fd();
        Frozen {
            path: number(&self.path),
            hidden: hidden.map(|(socket, name)| (number(socket), name.clone())),
        }
    }

    /// The same sockets again.
    pub(super) fn thaw(frozen: Frozen) -> Option<Self> {
        let hidden = frozen.hidden;
        let hidden = hidden.and_then(|(number, name)| Some((kept::take(number)?, name)));
        Some(Self {
            path: NotifySocket::from_fd(kept::take(frozen.path)?),
            hidden: hidden.map(|(fd, name)| (NotifySocket::from_fd(fd), name)),
        })
    }

    /// Has the loop watch them.
    pub(super) fn watch(&self, poller: &Poller) -> kernel::Result<()> {
        let hidden = self.hidden.as_ref().map(|(socket, _)| socket);
        for socket in hidden.into_iter().chain([&self.path]) {
            poller.add(socket, turn::NOTIFY, Readiness::READ)?;
        }
        Ok(())
    }
}

impl Init {
    /// Where a service reports to: the path, unless it has an account that cannot reach it.
    pub(super) fn notify_address(&self, program: &Program) -> String {
        let path = self.paths.notify_socket();
        let other = program.account.as_ref().and_then(|it| it.ids.as_ref());
        let hidden = self.notify_sockets.hidden.as_ref();
        match hidden.filter(|_| other.is_some() && !is_open_to_all(&path)) {
            Some((_, name)) => format!("@{name}"),
            None => path.display().to_string(),
        }
    }

    /// Reads the sd_notify sockets and tells the core what is from a service's process.
    pub(super) fn take_notifications(&mut self) {
        let mut buffer = [0; notify::DATAGRAM_MAX + 1];
        for _ in 0..BOUND {
            let socket = &self.notify_sockets;
            let mut received = socket.path.receive(&mut buffer);
            if let (Ok(None), Some((hidden, _))) = (&received, &socket.hidden) {
                received = hidden.receive(&mut buffer);
            }
            let mut datagram = match received {
                Ok(Some(datagram)) => datagram,
                Ok(None) => return,
                Err(error) => {
                    self.say(Level::Warning, &format!("notify socket: {error}"));
                    return;
                }
            };
            match self.run_of_sender(&datagram) {
                Some((run, from_main)) => {
                    // One byte more than the longest is read: a longer one is refused by the parser.
                    let bytes = buffer.get(..datagram.length).unwrap_or_default();
                    self.hear(run, from_main, bytes, &mut datagram);
                }
                None => {
                    let sender = datagram.sender.pid;
                    let why = match datagram.process {
                        Process::Gone => "it has ended, and cannot be told from another",
                        Process::Untold | Process::Pidfd(_) => "it belongs to no running service",
                    };
                    let line = format!("notify: ignored a message of process {sender}: {why}");
                    self.say(Level::Warning, &line);
                }
            }
            // Here the datagram is dropped, and with it what nobody keeps: a barrier is passed.
        }
    }

    fn hear(&mut self, run: RunId, from_main: bool, bytes: &[u8], datagram: &mut Datagram) {
        let told = notify::parse(bytes);
        // Whoever speaks now may be the program already, which only its starter has been heard of.
        self.take_execution(run.service.index);
        for message in told.messages {
            if let (Message::Begin(_), Some(live)) = (&message, self.table.live(run)) {
                live.entering = false;
            }
            match message {
                Message::Begin(Begun::Ready)
                    if from_main && self.await_execution(run, &mut datagram.fds) => {}
                message => self.notified(run, message, from_main),
            }
        }
        if let Some(name) = told.drop {
            self.drop_descriptors(run.service, name.as_str());
        }
        let Some(keep) = told.keep else {
            return;
        };
        if datagram.lost_fds {
            let line = "notify: descriptors to be kept were lost: too many are open";
            self.say(Level::Warning, line);
        }
        let fds = std::mem::take(&mut datagram.fds);
        self.keep_descriptors(run, &keep, fds);
    }

    /// The run whose process has sent the datagram, and whether that is the main one.
    ///
    /// The number of a process that has been waited for may be another's by now, so what it leads to
    /// counts only if the sender has not been, or if it is we who have and have not told it yet.
    fn run_of_sender(&mut self, datagram: &Datagram) -> Option<(RunId, bool)> {
        let pid = datagram.sender.pid;
        let pidfd = match &datagram.process {
            Process::Untold => return self.run_of_process(pid),
            Process::Gone => None,
            Process::Pidfd(pidfd) => Some(pidfd.as_fd()),
        };
        if let Some(pidfd) = pidfd {
            let found = self.run_of_process(pid);
            if !kernel::pidfd::is_reaped(pidfd) {
                return found;
            }
        }
        if self.table.untold.contains(&pid) {
            return self.run_of_child(pid);
        }
        self.run_of_reaped(pidfd?)
    }

    /// The run in whose cgroup the process was when it was waited for, where the kernel tells.
    fn run_of_reaped(&mut self, pidfd: BorrowedFd<'_>) -> Option<(RunId, bool)> {
        let cgroup = kernel::pidfd::cgroup_id(pidfd)?;
        let mut places = self.table.places();
        let place = places.find(|place| place.cgroup == Some(cgroup))?;
        Some((place.live.as_ref()?.run, false))
    }

    /// The run of a process that PID 1 has started itself.
    fn run_of_child(&self, pid: u32) -> Option<(RunId, bool)> {
        match self.table.owner(pid)? {
            Owner::Main(run) => Some((run, true)),
            Owner::Reload(run) | Owner::Probe(run) => Some((run, false)),
            Owner::Loader
            | Owner::Logger
            | Owner::Recorder
            | Owner::Scrub
            | Owner::Budget
            | Owner::Timers => None,
        }
    }

    /// The run whose process `pid` is, and whether it is the main one: what PID 1 knows itself, or
    /// else what the kernel says of that process.
    fn run_of_process(&mut self, pid: u32) -> Option<(RunId, bool)> {
        if self.table.owner(pid).is_some() {
            return self.run_of_child(pid);
        }
        if self.cgroups.is_some() {
            let path = kernel::cgroup::of_process(pid).ok()??;
            let name = sender::service_of_cgroup(&path)?;
            let service = self.supervisor.as_ref()?.lookup(name.as_str())?;
            let live = self.table.get(service)?.live.as_ref()?;
            return Some((live.run, false));
        }
        self.run_of_ancestor(pid)
    }

    /// Without cgroups: the run in whose session the process is, or one of its parents.
    fn run_of_ancestor(&self, pid: u32) -> Option<(RunId, bool)> {
        let mut pid = pid;
        for _ in 0..PARENTS_MAX {
            let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let (parent, session) = sender::parent_and_session(&text)?;
            if let Some(run) = self.table.run_of_session(session) {
                return Some((run, false));
            }
            if let Some(Owner::Main(run)) = self.table.owner(parent) {
                return Some((run, false));
            }
            pid = parent;
        }
        None
    }

    /// Takes one assignment of a service's datagram.
    pub(super) fn notified(&mut self, run: RunId, message: Message, from_main: bool) {
        self.tell(Event::Notified {
            run,
            message,
            from_main,
        });
        // At once: the end of the process that said it may be the next thing told.
        let adoption = self.supervisor.as_mut().and_then(Supervisor::poll_adoption);
        if let Some((run, pid)) = adoption {
            self.adopt(run, pid);
        }
    }

    /// Takes the process that a service names for its main one, if it is one of the service's.
    pub(super) fn adopt(&mut self, run: RunId, pid: u32) {
        // Opened first: what is then said of the number is said of this process, or it has ended.
        let pidfd = match kernel::pidfd::open(pid) {
            Ok(pidfd) => pidfd,
            Err(error) => return self.say(Level::Warning, &error.to_string()),
        };
        match self.run_of_process(pid) {
            Some((found, false)) if found == run && !kernel::pidfd::is_reaped(&pidfd) => {
                self.table.adopt(run, pid, pidfd);
            }
            // It is the main process already, or somebody else's.
            Some(_) | None => {}
        }
    }
}

/// Whether everybody can reach what is at `path`: may go through all directories above it.
fn is_open_to_all(path: &Path) -> bool {
    let mut above = path.ancestors().skip(1);
    above.all(|dir| std::fs::metadata(dir).is_ok_and(|it| it.permissions().mode() & 0o001 != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_below_a_closed_directory_is_not_open_to_all() {
        let dir = tempfile::tempdir().unwrap();
        let set = |mode| {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(dir.path(), mode).unwrap();
        };
        set(0o755);
        assert!(is_open_to_all(&dir.path().join("notify")));
        set(0o750);
        assert!(!is_open_to_all(&dir.path().join("notify")));
        assert!(!is_open_to_all(&dir.path().join("absent/notify")));
    }
}
