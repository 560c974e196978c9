//! The logger's loop: takes pipes from PID 1, reads them in turn, writes what it reads. Not here: what a
//! line is (`lines`) and how files are kept small (`file`).
//!
//! One pipe gets one look at [`READ_MAX`] bytes a turn, and those that are ready take turns: however
//! much one service writes, each other one waits for one such look.
//!
//! What is in a pipe is taken out of it after it has been written, and a line without its end stays in
//! it. So a logger that is killed at any moment loses nothing: the next one finds in the pipe what was
//! not written, and at most one look's worth that was.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{DirBuilder, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use kernel::epoll::{Events, Poller, Readiness};
use kernel::error::Error;
use kernel::pipe::{self, Peek, Read};
use kernel::signals::{Signal, SignalFd};
use kernel::unix::recv_with_fds;
use services::graph::MAX_SERVICES;
use services::id::ServiceName;

use super::beside::{self, Beside};
use super::boot;
use super::file::LogFile;
use super::lines::{Splitter, Unfinished};
use super::protocol::{CONTROL_FD, MESSAGE_MAX, Message};
use super::stamp::Stamp;
use crate::paths::Paths;

/// Bytes taken of one pipe before the next one has its turn.
const READ_MAX: usize = 16 * 1024;

/// Messages of PID 1 taken in one turn.
const MESSAGES_MAX: usize = 64;

/// Pipes held at most: one for each service, and as many that were replaced and not closed yet.
const PIPES_MAX: usize = 2 * MAX_SERVICES;

/// How long pipes are emptied at the end, where somebody goes on writing.
const DRAIN_WITHIN: Duration = Duration::from_secs(2);

/// Turns of each pipe after that: what there is room for in one, and an unfinished line.
const LAST_TURNS: usize = 5;

const CONTROL: u64 = 0;
const SIGNALS: u64 = 1;
const SYSLOG: u64 = 2;
const KERNEL: u64 = 3;
const FIRST_PIPE: u64 = 4;

/// What has been dropped is told after so long, if nothing more comes before.
const TELL_AFTER: Duration = Duration::from_secs(1);

/// `init log`, and with the word `machine` where this is not a container: runs until PID 1 closes its end of the socket, or SIGTERM.
#[must_use]
pub fn run(machine: bool) -> ExitCode {
    match serve(machine) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn serve(machine: bool) -> Result<(), Error> {
    let control = kernel::inherited::duplicate(CONTROL_FD)?;
    let signals = SignalFd::new(&[Signal::TERM])?;
    let paths = Paths::from_environment();
    let mut logger = Logger::new(paths.log_dir(), control)?;
    logger.poller.add(&signals, SIGNALS, Readiness::READ)?;
    logger.open_syslog(&paths.syslog_socket(), machine);
    if machine {
        logger.open_kernel();
    }
    logger.serve()?;
    logger.poller.remove(&signals)?;
    logger.finish()
}

/// Standard error of the logger is the kernel log, or whatever PID 1 has chosen.
fn complain(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "shark log: {text}");
}

/// What is done about the loop after an event.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    GoOn,
    End,
}

struct Logger {
    directory: PathBuf,
    control: OwnedFd,
    poller: Poller,
    pipes: BTreeMap<u64, Pipe>,
    /// The tokens of those of each service.
    tokens: BTreeMap<ServiceName, Vec<u64>>,
    next_token: u64,
    /// Pipes in which there may be something to write.
    ready: VecDeque<u64>,
    peek: Peek,
    buffer: Vec<u8>,
    beside: Beside,
}

/// One pipe of a service. Two may belong to one service, while processes with the older one live;
/// both then append to the same file.
struct Pipe {
    name: ServiceName,
    reader: File,
    identity: (u64, u64),
    lines: Splitter,
    log: LogFile,
    /// It is among those that are ready.
    waits: bool,
    /// Nobody can write to it any more.
    closed: bool,
}

/// What a turn of a pipe has come to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Something was written, and there may be more.
    Again,
    /// There is nothing more to write until more comes.
    Rest,
    /// Nothing will come any more.
    Over,
}

impl Logger {
    fn new(directory: PathBuf, control: OwnedFd) -> Result<Self, Error> {
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&directory);
        if let Err(error) = made {
            // Lines are counted as lost until somebody makes the directory.
            complain(&format!("make directory {}: {error}", directory.display()));
        }
        if let Err(error) = boot::note(&directory) {
            complain(&format!(
                "note the boot in {}: {error}",
                directory.display()
            ));
        }
        let poller = Poller::new()?;
        poller.add(&control, CONTROL, Readiness::READ)?;
        Ok(Self {
            beside: Beside::new(&directory),
            directory,
            control,
            poller,
            pipes: BTreeMap::new(),
            tokens: BTreeMap::new(),
            next_token: FIRST_PIPE,
            ready: VecDeque::new(),
            peek: Peek::new()?,
            buffer: vec![0; READ_MAX],
        })
    }

    /// Serves until PID 1 is gone or a signal says to end.
    fn serve(&mut self) -> Result<(), Error> {
        let mut events = Events::new();
        let mut tell_at = None;
        loop {
            let at_once = (!self.ready.is_empty()).then_some(Duration::ZERO);
            if self.beside.owes() {
                let due = *tell_at.get_or_insert_with(|| Instant::now() + TELL_AFTER);
                let left = due.saturating_duration_since(Instant::now());
                self.poller.wait(&mut events, at_once.or(Some(left)))?;
                if Instant::now() >= due {
                    self.beside.tell_dropped();
                    tell_at = None;
                }
            } else {
                tell_at = None;
                self.poller.wait(&mut events, at_once)?;
            }
            for (token, readiness) in events.iter() {
                let next = match token {
                    CONTROL => self.receive()?,
                    SIGNALS => Next::End,
                    other => {
                        self.note_ready(other, readiness);
                        Next::GoOn
                    }
                };
                if next == Next::End {
                    return Ok(());
                }
            }
            self.take_turns();
        }
    }

    /// What is ready beside the pipes is taken at once; pipes take turns.
    fn note_ready(&mut self, token: u64, readiness: Readiness) {
        if matches!(token, SYSLOG | KERNEL) {
            return self.take_beside(token);
        }
        // An event of this batch may be about a pipe that an earlier one removed.
        if let Some(pipe) = self.pipes.get_mut(&token) {
            pipe.closed |= readiness.hangup;
            self.queue(token);
        }
    }

    fn queue(&mut self, token: u64) {
        if let Some(pipe) = self.pipes.get_mut(&token)
            && !pipe.waits
        {
            pipe.waits = true;
            self.ready.push_back(token);
        }
    }

    /// A turn for each pipe that is ready.
    fn take_turns(&mut self) {
        for _ in 0..self.ready.len() {
            let Some(token) = self.ready.pop_front() else {
                return;
            };
            if let Some(pipe) = self.pipes.get_mut(&token) {
                pipe.waits = false;
            }
            match self.turn(token, Unfinished::Wait) {
                Turn::Again => self.queue(token),
                Turn::Rest => {}
                Turn::Over => self.drop_pipe(token),
            }
        }
    }

    /// Empties the pipes, ends unfinished lines.
    fn finish(&mut self) -> Result<(), Error> {
        while self.receive()? == Next::GoOn && self.readable(CONTROL)? {}
        self.poller.remove(&self.control)?;
        let until = Instant::now() + DRAIN_WITHIN;
        let mut events = Events::new();
        while Instant::now() < until {
            self.poller.wait(&mut events, Some(Duration::ZERO))?;
            if events.is_empty() && self.ready.is_empty() {
                break;
            }
            for (token, readiness) in events.iter() {
                self.note_ready(token, readiness);
            }
            self.take_turns();
        }
        let tokens: Vec<u64> = self.pipes.keys().copied().collect();
        for token in tokens {
            for _ in 0..LAST_TURNS {
                self.turn(token, Unfinished::End);
            }
        }
        self.beside.tell_dropped();
        Ok(())
    }

    fn readable(&self, wanted: u64) -> Result<bool, Error> {
        let mut events = Events::new();
        self.poller.wait(&mut events, Some(Duration::ZERO))?;
        Ok(events.iter().any(|(token, _)| token == wanted))
    }

    /// Takes what PID 1 has sent.
    fn receive(&mut self) -> Result<Next, Error> {
        let mut bytes = [0; MESSAGE_MAX + 1];
        for _ in 0..MESSAGES_MAX {
            let Some(mut message) = recv_with_fds(&self.control, &mut bytes)? else {
                return Ok(Next::GoOn);
            };
            if message.length == 0 && message.fds.is_empty() {
                return Ok(Next::End);
            }
            let text = bytes.get(..message.length).unwrap_or_default();
            match (Message::decode(text), message.fds.pop()) {
                (Ok(Message::Take(name)), Some(fd)) => self.take(&name, fd),
                (Ok(Message::Take(name)), None) => complain(&format!("no pipe came for {name}")),
                (Err(error), _) => complain(&error.to_string()),
            }
        }
        Ok(Next::GoOn)
    }

    fn take(&mut self, name: &ServiceName, fd: OwnedFd) {
        if self.pipes.len() >= PIPES_MAX {
            complain(&format!(
                "{name} is not logged: there are {PIPES_MAX} pipes already"
            ));
            return;
        }
        if let Err(error) = self.add(name, fd) {
            complain(&format!("{name} is not logged: {error}"));
        }
    }

    fn add(&mut self, name: &ServiceName, fd: OwnedFd) -> Result<(), Box<dyn std::error::Error>> {
        let reader = File::from(fd);
        let metadata = reader.metadata()?;
        let identity = (metadata.dev(), metadata.ino());
        let others = self.tokens.get(name).cloned().unwrap_or_default();
        let known = |token| self.pipes.get(token).map(|pipe| pipe.identity);
        if others.iter().filter_map(known).any(|it| it == identity) {
            // Two readers of one pipe would tear its lines apart.
            return Ok(());
        }
        for token in others {
            while self.turn(token, Unfinished::End) == Turn::Again {}
        }
        // The description is shared with PID 1, which never reads from it.
        pipe::set_nonblocking(&reader, true)?;
        // A line without its end stays in it, and must not wake us again and again.
        self.poller
            .add_for_changes(&reader, self.next_token, Readiness::READ)?;
        let pipe = Pipe {
            name: name.clone(),
            reader,
            identity,
            lines: Splitter::default(),
            log: LogFile::new(&self.directory, name),
            waits: false,
            closed: false,
        };
        self.pipes.insert(self.next_token, pipe);
        let tokens = self.tokens.entry(name.clone()).or_default();
        tokens.push(self.next_token);
        self.next_token += 1;
        Ok(())
    }

    /// Makes the socket of syslog(3). On a machine it is /dev/log too, unless somebody else is.
    fn open_syslog(&mut self, path: &Path, machine: bool) {
        if machine {
            // How many messages wait for us before a sender has to; the kernel has ten in mind.
            let _unset = kernel::system::set_sysctl("net.unix.max_dgram_qlen", "512");
        }
        let opened = self.beside.open_syslog(path);
        let added = opened.and_then(|()| match self.beside.syslog() {
            Some(socket) => self.poller.add(socket, SYSLOG, Readiness::READ),
            None => Ok(()),
        });
        if let Err(error) = added {
            complain(&format!("syslog: {error}"));
        } else if machine && let Err(error) = beside::lead_dev_log(path) {
            complain(&format!("syslog: link /dev/log: {error}"));
        }
    }

    fn open_kernel(&mut self) {
        let opened = self.beside.open_kernel("/dev/kmsg");
        let added = opened.map_err(|error| error.to_string()).and_then(|()| {
            let kernel = self.beside.kernel();
            kernel.map_or(Ok(()), |it| {
                let added = self.poller.add(it, KERNEL, Readiness::READ);
                added.map_err(|error| error.to_string())
            })
        });
        if let Err(error) = added {
            complain(&format!("log of the kernel: {error}"));
        }
    }

    /// What is ready beside the pipes.
    fn take_beside(&mut self, token: u64) {
        let taken = match token {
            SYSLOG => self.beside.take_syslog().map_err(|error| error.to_string()),
            _ => self.beside.take_kernel().map_err(|error| error.to_string()),
        };
        if let Err(error) = taken {
            complain(&format!("no more of syslog or of the kernel: {error}"));
            // Closed, so that no sender waits for somebody who does not listen.
            let _gone = match token {
                SYSLOG => self.beside.syslog().map(|it| self.poller.remove(it)),
                _ => self.beside.kernel().map(|it| self.poller.remove(it)),
            };
            match token {
                SYSLOG => self.beside.close_syslog(),
                _ => self.beside.close_kernel(),
            }
        }
    }

    /// One turn of one pipe.
    fn turn(&mut self, token: u64, unfinished: Unfinished) -> Turn {
        let Some(pipe) = self.pipes.get_mut(&token) else {
            return Turn::Rest;
        };
        let turn = pipe.turn(&self.peek, &mut self.buffer, unfinished);
        turn.unwrap_or_else(|error| {
            complain(&format!("{}: {error}", pipe.name));
            Turn::Over
        })
    }

    fn drop_pipe(&mut self, token: u64) {
        if let Some(pipe) = self.pipes.remove(&token) {
            if let Some(tokens) = self.tokens.get_mut(&pipe.name) {
                tokens.retain(|it| *it != token);
                if tokens.is_empty() {
                    self.tokens.remove(&pipe.name);
                }
            }
            // Closing is not enough: while PID 1 holds the same description, epoll keeps it.
            if let Err(error) = self.poller.remove(&pipe.reader) {
                complain(&format!("{}: {error}", pipe.name));
            }
        }
    }
}

impl Pipe {
    /// Writes what is in the pipe, and then takes it out.
    fn turn(
        &mut self,
        peek: &Peek,
        buffer: &mut [u8],
        unfinished: Unfinished,
    ) -> Result<Turn, Error> {
        let count = match peek.look(&self.reader, buffer)? {
            Read::Data(count) => count,
            Read::Later => return Ok(Turn::Rest),
            Read::End => return Ok(Turn::Over),
        };
        let bytes = buffer.get(..count).unwrap_or_default();
        let now = Stamp::now();
        let stamp = now.to_string();
        let mut out = Vec::with_capacity(count * 2);
        let mut used = self.lines.feed(bytes, Unfinished::Wait, &stamp, &mut out);
        if used == 0 {
            let unfinished = match unfinished {
                _ if self.closed => Unfinished::End,
                // Its end cannot come: there is no room for it.
                Unfinished::Wait if peek.is_full(&self.reader)? => Unfinished::Cut,
                other => other,
            };
            used = self.lines.feed(bytes, unfinished, &stamp, &mut out);
        }
        if used == 0 {
            return Ok(Turn::Rest);
        }
        self.log.append(&out, now);
        pipe::discard(&self.reader, used, buffer)?;
        Ok(Turn::Again)
    }
}

#[cfg(test)]
mod tests;
