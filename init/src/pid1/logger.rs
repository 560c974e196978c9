//! The logger child as PID 1 sees it: kept alive, and given the read end of every pipe. Not here:
//! what it does with them (`log`).
//!
//! PID 1 keeps both ends of each pipe. A logger that dies costs nothing but time: what the services
//! write meanwhile waits in the pipes, and the next logger gets all of them again. The same holds for
//! the socket of syslog(3).

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use kernel::epoll::Readiness;
use kernel::signals::Signal;
use kernel::unix::NotifySocket;
use serde::{Deserialize, Serialize};
use services::control::BootMode;
use services::id::{ServiceId, ServiceName};
use services::log::limit::OwnLimit;
use services::supervisor::event::ExitStatus;
use services::time::{Duration, Time};

use super::Init;
use super::kept;
use super::plan;
use super::say::Level;
use super::table::{LogPipe, Owner};
use super::turn::LOGGER;
use crate::log::protocol::Message;

/// Name of the log of PID 1's own lines.
const OWN_LOG: &str = "init";
/// Name of the log of who has asked for what.
const AUDIT_LOG: &str = "audit";
/// Pause before the second restart; it doubles with each failure in a row. The first comes at once.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// So many new pipes wait for each other before the logger gets them.
const PIPES_TOGETHER: u32 = 64;
/// Alive for so long, its next end counts as the first.
const STEADY: Duration = Duration::from_secs(10);

/// What PID 1 knows of its logger.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Logger {
    state: State,
    failures: u32,
    own: Option<LogPipe>,
    audit: Option<LogPipe>,
    syslog: Option<Syslog>,
}

/// The socket to which programs send what they tell syslog(3).
#[derive(Debug, Serialize, Deserialize)]
struct Syslog {
    #[serde(with = "kept")]
    socket: OwnedFd,
}

#[derive(Debug, Default, Serialize, Deserialize)]
enum State {
    /// To be started at this time.
    #[default]
    Fresh,
    Down {
        restart_at: Time,
    },
    Running {
        #[serde(with = "kept")]
        socket: OwnedFd,
        since: Time,
        watched_for_room: bool,
    },
    /// The machine is going down: it ends when it has emptied the pipes, and stays ended.
    Dismissed,
}

impl Logger {
    /// When it is to be started again.
    pub(super) fn deadline(&self) -> Option<Time> {
        match &self.state {
            State::Down { restart_at } => Some(*restart_at),
            State::Fresh | State::Running { .. } | State::Dismissed => None,
        }
    }
}

impl Init {
    /// Makes the pipes for PID 1's own lines, and starts the logger.
    pub(super) fn open_own_log(&mut self) {
        for name in [OWN_LOG, AUDIT_LOG] {
            match own_pipe() {
                Ok(log) if name == OWN_LOG => self.logger.own = Some(log),
                Ok(log) => self.logger.audit = Some(log),
                Err(error) => self.say(Level::Error, &format!("log of {name}: {error}")),
            }
        }
        self.attach_own_log();
        self.start_logger();
    }

    /// Writes into its own logs, whose pipes a former program may have made.
    pub(super) fn attach_own_log(&mut self) {
        let end = |log: &Option<LogPipe>| log.as_ref()?.write.try_clone().ok();
        let (own, audit) = (end(&self.logger.own), end(&self.logger.audit));
        if let Some(write) = own {
            self.say.attach(File::from(write));
        }
        if let Some(write) = audit {
            self.say.attach_audit(File::from(write));
        }
    }

    /// Goes on with the logger of a former program. Pipes are handed to it once more: those it has, it
    /// knows.
    pub(super) fn watch_logger(&mut self) {
        if let State::Running {
            socket,
            watched_for_room,
            ..
        } = &mut self.logger.state
        {
            *watched_for_room = false;
            if let Err(error) = self.poller.add(&*socket, LOGGER, Readiness::NONE) {
                self.say(Level::Error, &format!("logger: {error}"));
            }
        }
        self.hand_pipes();
    }

    /// Makes the log pipe of a service, if it has none. The logger gets it with others at the end of the
    /// turn, or of some turns when services start one after the other: until then what the service
    /// writes waits in it. With another limit it gets it once more.
    pub(super) fn open_log(&mut self, service: ServiceId, limit: OwnLimit) -> Result<(), String> {
        let Some(place) = self.table.get(service) else {
            return Ok(());
        };
        match &mut place.log {
            Some(log) if log.limit == limit => return Ok(()),
            Some(log) => (log.limit, log.handed) = (limit, false),
            None => place.log = Some(pipe(limit)?),
        }
        self.new_pipes += 1;
        if self.new_pipes >= PIPES_TOGETHER {
            self.hand_new_pipes();
        }
        Ok(())
    }

    /// Hands over the pipes that have been made since.
    pub(super) fn hand_new_pipes(&mut self) {
        if std::mem::take(&mut self.new_pipes) > 0 {
            self.hand_pipes();
        }
    }

    /// Starts the logger.
    pub(super) fn start_logger(&mut self) {
        let output = self.say.descriptor();
        let machine = match self.boot.info.mode {
            BootMode::Disk | BootMode::Initramfs | BootMode::Direct => true,
            BootMode::Container => false,
        };
        let output = output.map(|it| it.try_clone_to_owned());
        let output = output.and_then(Result::ok);
        self.open_syslog(machine);
        let syslog = self.logger.syslog.as_ref().map(|it| it.socket.as_fd());
        let surroundings = (syslog, output.as_ref().map(AsFd::as_fd));
        match plan::start_logger(&mut self.spawner, &self.paths, machine, surroundings) {
            Ok((child, socket)) => {
                self.table.own(child.pid, Owner::Logger);
                if let Err(error) = self.poller.add(&socket, LOGGER, Readiness::NONE) {
                    self.say(Level::Error, &error.to_string());
                }
                self.logger.state = State::Running {
                    socket,
                    since: self.now,
                    watched_for_room: false,
                };
                for place in self.table.places() {
                    if let Some(log) = &mut place.log {
                        log.handed = false;
                    }
                }
                let Logger { own, audit, .. } = &mut *self.logger;
                for log in own.iter_mut().chain(audit) {
                    log.handed = false;
                }
                self.hand_pipes();
            }
            Err(error) => {
                self.say(Level::Error, &format!("logger: {error}"));
                self.pause_logger();
            }
        }
    }

    /// Makes the socket of syslog(3), if there is none.
    fn open_syslog(&mut self, machine: bool) {
        if self.logger.syslog.is_some() {
            return;
        }
        if machine {
            // How many messages wait for us before a sender has to; the kernel has ten in mind.
            let _unset = kernel::system::set_sysctl("net.unix.max_dgram_qlen", "512");
        }
        let path = self.paths.syslog_socket().display().to_string();
        match NotifySocket::bind(&path) {
            Ok(socket) => {
                let socket = socket.into_fd();
                self.logger.syslog = Some(Syslog { socket });
            }
            Err(error) => self.say(Level::Error, &format!("syslog: {error}")),
        }
    }

    /// Somebody has stopped the logger. It is of no use so, and whoever writes would wait for it in the
    /// end; and killing it loses nothing.
    pub(super) fn logger_stopped(&mut self, pid: u32) {
        self.say(Level::Warning, "the logger is stopped: killing it");
        // It is not reaped, so the number is its own.
        let killed = kernel::pidfd::open(pid)
            .and_then(|pidfd| kernel::pidfd::send_signal(pidfd, Signal::KILL));
        if let Err(error) = killed {
            self.say(Level::Error, &format!("logger: {error}"));
        }
    }

    /// The logger has ended: another one follows, after a pause that grows.
    pub(super) fn logger_ended(&mut self, status: ExitStatus) {
        match &self.logger.state {
            State::Dismissed => return,
            State::Running { since, .. } if self.now.since(*since) >= STEADY => {
                self.logger.failures = 0;
            }
            State::Fresh | State::Down { .. } | State::Running { .. } => {}
        }
        self.say(
            Level::Warning,
            &format!("logger ended ({status:?}): starting another"),
        );
        self.pause_logger();
    }

    fn pause_logger(&mut self) {
        let pause = match self.logger.failures.checked_sub(1) {
            None => Duration::default(),
            Some(before) => PAUSE_FIRST.saturating_mul(1 << before.min(10)),
        };
        self.logger.failures = self.logger.failures.saturating_add(1);
        self.logger.state = State::Down {
            restart_at: self.now + pause.min(PAUSE_MAX),
        };
    }

    /// The logger's socket has room again, or is closed; a closed one is followed by its end.
    pub(super) fn logger_ready(&mut self) {
        self.hand_pipes();
    }

    /// Hands over the pipes that the present logger has not got, as long as its socket takes them.
    pub(super) fn hand_pipes(&mut self) {
        let Logger {
            state, own, audit, ..
        } = &mut *self.logger;
        let State::Running {
            socket,
            watched_for_room,
            ..
        } = state
        else {
            return;
        };
        let mut full = false;
        let mut failure = None;
        let own = own.iter_mut().map(|log| (OWN_LOG, log));
        let own = own.chain(audit.iter_mut().map(|log| (AUDIT_LOG, log)));
        let services = self
            .table
            .places()
            .filter_map(|place| place.log.as_mut().map(|log| (&*place.name, log)));
        for (name, log) in own.chain(services).filter(|(_, log)| !log.handed) {
            match hand_pipe(socket, name, log) {
                Ok(true) => log.handed = true,
                Ok(false) => {
                    full = true;
                    break;
                }
                Err(error) => {
                    // A logger that is just dying; its successor gets everything.
                    failure = Some(error);
                    break;
                }
            }
        }
        if full != *watched_for_room {
            *watched_for_room = full;
            let interest = if full {
                Readiness::WRITE
            } else {
                Readiness::NONE
            };
            if let Err(error) = self.poller.modify(&*socket, LOGGER, interest) {
                failure = Some(error.to_string());
            }
        }
        if let Some(error) = failure {
            let _removed = self.poller.remove(&*socket);
            self.say(Level::Warning, &format!("logger: {error}"));
        }
    }

    /// Lets the logger empty the pipes and end.
    pub(super) fn dismiss_logger(&mut self) {
        self.logger.state = State::Dismissed;
    }
}

/// Sends a pipe to the logger; `false`: there is no room for it.
fn hand_pipe(socket: &OwnedFd, name: &str, log: &LogPipe) -> Result<bool, String> {
    let name = ServiceName::new(name).map_err(|error| error.to_string())?;
    let message = Message::Take(name, log.limit).encode();
    let sent = kernel::unix::send_with_fds(socket, &message, &[log.read.as_fd()]);
    sent.map_err(|error| error.to_string())
}

/// One that PID 1 itself writes to: with care, so that all of it is kept.
fn own_pipe() -> Result<LogPipe, String> {
    let log = pipe(OwnLimit::NONE)?;
    kernel::pipe::set_nonblocking(&log.write, true).map_err(|error| error.to_string())?;
    Ok(log)
}

fn pipe(limit: OwnLimit) -> Result<LogPipe, String> {
    let (read, write) = kernel::pipe::pair().map_err(|error| error.to_string())?;
    Ok(LogPipe {
        read,
        write,
        handed: false,
        limit,
    })
}
