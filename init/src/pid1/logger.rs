//! The logger child as PID 1 sees it: kept alive, and given the read end of every pipe. Not here:
//! what it does with them (`log`).
//!
//! PID 1 keeps both ends of each pipe. A logger that dies costs nothing but time: what the services
//! write meanwhile waits in the pipes, and the next logger gets all of them again. The same holds for
//! the socket of syslog(3). Where that takes too long, nobody waits for it (`overflow`).

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

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
use super::overflow::{Deaf, Lost};
use super::plan;
use super::say::Level;
use super::table::{LogPipe, Owner};
use super::turn::LOGGER;
use crate::load::handoff::Meta;
use crate::log::protocol::{Message, TAKES_MAX, Takes};

/// Name of the log of PID 1's own lines.
const OWN_LOG: &str = "init";
/// Name of the log of who has asked for what.
const AUDIT_LOG: &str = "audit";
/// Pause before the second restart; it doubles with each failure in a row. The first comes at once.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// So many new pipes wait for each other before the logger gets them.
const PIPES_TOGETHER: u32 = 64;
/// The end of one that has closed its socket is waited for so long.
const LEAVING: Duration = Duration::from_millis(200);
/// Alive for so long, its next end counts as the first.
const STEADY: Duration = Duration::from_secs(10);

/// What PID 1 knows of its logger.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Logger {
    state: State,
    failures: u32,
    /// When the last one was started.
    started: Time,
    /// One that has closed its socket and has not ended.
    leaving: Option<u32>,
    /// The number of the settings that it keeps logs by.
    settings: Option<u64>,
    /// It has been told to make room for another one, with other settings.
    renewing: bool,
    /// While none takes anything.
    pub(super) deaf: Option<Deaf>,
    pub(super) lost: Lost,
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
        pid: u32,
        watched_for_room: bool,
    },
    /// The machine is going down: it ends when it has emptied the pipes, and stays ended.
    Dismissed,
}

impl Logger {
    /// When it is to be started again, or there may be something to do in its place.
    pub(super) fn deadline(&self) -> Option<Time> {
        let look_at = self.deaf.as_ref().map(Deaf::look_at);
        [self.restart_at(), look_at].into_iter().flatten().min()
    }

    fn restart_at(&self) -> Option<Time> {
        match &self.state {
            State::Down { restart_at } => Some(*restart_at),
            State::Fresh | State::Running { .. } | State::Dismissed => None,
        }
    }

    /// The socket of syslog(3).
    pub(super) fn syslog_socket(&self) -> Option<&OwnedFd> {
        self.syslog.as_ref().map(|it| &it.socket)
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
            if let Err(error) = self.poller.add(&*socket, LOGGER, Readiness::READ) {
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

    /// Does what is due.
    pub(super) fn logger_due(&mut self) {
        let now = self.now;
        if self.logger.restart_at().is_some_and(|at| at <= now) {
            self.start_logger();
        }
        if self
            .logger
            .deaf
            .as_ref()
            .is_some_and(|it| it.look_at() <= now)
        {
            self.make_room_in_logs();
        }
    }

    /// Starts the logger.
    fn start_logger(&mut self) {
        self.logger_is_deaf();
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
                if let Err(error) = self.poller.add(&socket, LOGGER, Readiness::READ) {
                    self.say(Level::Error, &error.to_string());
                }
                self.logger.started = self.now;
                self.logger.state = State::Running {
                    socket,
                    pid: child.pid,
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
            if let Err(error) = kernel::system::set_sysctl("net.unix.max_dgram_qlen", "512") {
                let line = format!("syslog: senders may have to wait for the logger: {error}");
                self.say(Level::Warning, &line);
            }
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

    /// Whether the settings of logs that `meta` tells of are others than those that count.
    pub(super) fn logs_change(&self, meta: &Meta) -> bool {
        let found = meta.log.as_ref().map(|it| it.number);
        self.logger.settings.is_some() && found.is_some_and(|it| self.logger.settings != Some(it))
    }

    /// Has the logger make room for another one, which reads the settings anew. Should it not end, its timer
    /// ends it.
    pub(super) fn renew_logger(&mut self) {
        let State::Running { socket, .. } = &self.logger.state else {
            return;
        };
        let sent = kernel::unix::send_with_fds(socket, &Message::Renew.encode(), &[]);
        match sent {
            Ok(true) => self.logger.renewing = true,
            Ok(false) => {
                let line = "the logger has no room for a message: its settings stay as they are";
                self.say(Level::Warning, line);
            }
            Err(error) => self.say(Level::Warning, &format!("logger: {error}")),
        }
    }

    /// A logger has ended: another one follows, after a pause that grows.
    pub(super) fn logger_ended(&mut self, pid: u32, status: ExitStatus) {
        let was_leaving = self.logger.leaving.take_if(|it| *it == pid).is_some();
        match &self.logger.state {
            State::Dismissed => return,
            State::Running { pid: present, .. } if *present == pid => {}
            State::Down { .. } if was_leaving => {}
            State::Fresh | State::Down { .. } | State::Running { .. } => {
                return self.say(Level::Info, "a logger of before has ended at last");
            }
        }
        let renewed = std::mem::take(&mut self.logger.renewing);
        if renewed || self.now.since(self.logger.started) >= STEADY {
            self.logger.failures = 0;
        }
        if renewed && status == ExitStatus::Code(0) {
            self.say(
                Level::Notice,
                "another logger takes over, with other settings",
            );
            return self.pause_logger();
        }
        self.say(
            Level::Warning,
            &format!("logger ended ({status:?}): starting another"),
        );
        self.pause_logger();
    }

    /// The logger has closed its socket, so it takes nothing any more. Its end is told right after, or when
    /// a disk goes on that a thread of it hangs at; nobody waits for that.
    fn logger_left(&mut self) {
        let State::Running { socket, pid, .. } = &self.logger.state else {
            return;
        };
        let _removed = self.poller.remove(socket);
        self.logger.leaving = Some(*pid);
        self.logger.state = State::Down {
            restart_at: self.now + LEAVING,
        };
        self.logger_is_deaf();
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
        self.logger_is_deaf();
    }

    /// The logger has said that it takes what comes, its socket has room again, or is closed.
    pub(super) fn logger_ready(&mut self) {
        let mut bytes = [0; TAKES_MAX];
        while let State::Running { socket, .. } = &self.logger.state {
            match kernel::unix::recv_with_fds(socket, &mut bytes) {
                Ok(Some(message)) if message.length > 0 => {
                    let said = bytes.get(..message.length).and_then(Takes::decode);
                    self.logger.settings = said.map(|it| it.0);
                    self.logger_takes();
                }
                Ok(None) => break,
                Ok(Some(_)) | Err(_) => self.logger_left(),
            }
        }
        self.hand_pipes();
    }

    /// Hands over the pipes that the present logger has not got, as long as its socket takes them.
    pub(super) fn hand_pipes(&mut self) {
        let Logger {
            state,
            own,
            audit,
            deaf,
            ..
        } = &mut *self.logger;
        let State::Running {
            socket,
            watched_for_room,
            ..
        } = state
        else {
            return;
        };
        let takes = deaf.is_none();
        let mut full = false;
        let mut failure = None;
        let own = own.iter_mut().map(|log| (OWN_LOG, log));
        let own = own.chain(audit.iter_mut().map(|log| (AUDIT_LOG, log)));
        let services = self
            .table
            .places()
            .filter_map(|place| place.log.as_mut().map(|log| (&*place.name, log)));
        for (name, log) in own.chain(services).filter(|(_, log)| !log.handed) {
            match hand_pipe(socket, name, log, takes) {
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
                Readiness::BOTH
            } else {
                Readiness::READ
            };
            if let Err(error) = self.poller.modify(&*socket, LOGGER, interest) {
                failure = Some(error.to_string());
            }
        }
        if let Some(error) = failure {
            self.say(Level::Warning, &format!("logger: {error}"));
            self.logger_left();
        }
    }

    /// Lets the logger empty the pipes and end.
    pub(super) fn dismiss_logger(&mut self) {
        self.logger_takes();
        self.logger.state = State::Dismissed;
    }
}

/// Sends a pipe to the logger, and to one that `takes` what comes how much of it is lost; `false`: there is
/// no room for that.
fn hand_pipe(socket: &OwnedFd, name: &str, log: &mut LogPipe, takes: bool) -> Result<bool, String> {
    let name = ServiceName::new(name).map_err(|error| error.to_string())?;
    let send = |message: &Message, fds: &[BorrowedFd<'_>]| {
        let sent = kernel::unix::send_with_fds(socket, &message.encode(), fds);
        sent.map_err(|error| error.to_string())
    };
    if takes && log.lost > 0 {
        if !send(&Message::Lost(name.clone(), log.lost), &[])? {
            return Ok(false);
        }
        log.lost = 0;
    }
    send(&Message::Take(name, log.limit), &[log.read.as_fd()])
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
        lost: 0,
    })
}
