//! The logger's loop: takes pipes from PID 1, reads them in turn, writes what it reads. Not here: what is
//! done about one pipe (`pipe`), what a line is (`lines`) and how files are kept small (`memory`).
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
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kernel::epoll::{Events, Poller, Readiness};
use kernel::error::{Errno, Error};
use kernel::headway;
use kernel::pipe::{self, Peek};
use kernel::signals::{Signal, SignalFd};
use kernel::unix::{NotifySocket, recv_with_fds};
use services::graph::MAX_SERVICES;
use services::id::ServiceName;
use services::log::limit::{Limit, OwnLimit};
use services::log::settings::Settings;

use super::beside::{self, Beside};
use super::boot;
use super::forwarder::Forwarder;
use super::keeper::{self, Shared};
use super::lines::Unfinished;
use super::memory::Memory;
use super::pipe::{Pipe, Turn};
use super::protocol::{CONTROL_FD, MESSAGE_MAX, Message, SYSLOG_FD, Takes};
use super::segment::names_in;
use super::settings;
use super::shelf::Shelf;
use crate::paths::Paths;

/// Bytes taken of one pipe before the next one has its turn.
const READ_MAX: usize = 16 * 1024;

/// Messages of PID 1 taken in one turn.
const MESSAGES_MAX: usize = 64;

/// Pipes held at most: one for each service, and as many that were replaced and not closed yet.
const PIPES_MAX: usize = 2 * MAX_SERVICES;

/// How long one look at a pipe may take, and whatever else comes before the next one; a logger that hangs is
/// ended then, and the next one goes on.
const HEADWAY_WITHIN: Duration = Duration::from_secs(2);

/// How long pipes are emptied at the end, where somebody goes on writing.
const DRAIN_WITHIN: Duration = Duration::from_secs(2);

/// Turns of each pipe after that: what there is room for in one, and an unfinished line.
const LAST_TURNS: usize = 5;

const CONTROL: u64 = 0;
const SIGNALS: u64 = 1;
const SYSLOG: u64 = 2;
const KERNEL: u64 = 3;
const MOUNTS: u64 = 4;
const FIRST_PIPE: u64 = 5;

/// How long the disk may take at the end.
const KEEP_WITHIN: Duration = Duration::from_secs(2);

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
    // What is in its way may be so from the beginning.
    if let Err(error) = headway::watch(HEADWAY_WITHIN) {
        complain(&format!("if it hangs, it does so for good: {error}"));
    }
    let control = kernel::inherited::duplicate(CONTROL_FD)?;
    let signals = SignalFd::new(&[Signal::TERM])?;
    let paths = Paths::from_environment();
    let directory = paths.log_dir();
    // For whatever is confined to it.
    make_directory(&directory);
    let settings = settings::read(&paths, complain);
    let kernel = machine.then(|| Beside::open_kernel("/dev/kmsg"));
    if machine && let Err(error) = beside::lead_dev_log(&paths.syslog_socket()) {
        complain(&format!("syslog: link /dev/log: {error}"));
    }
    confine(&directory, &settings);
    let mut logger = Logger::new(&directory, control, &settings)?;
    logger.poller.add(&signals, SIGNALS, Readiness::READ)?;
    logger.take_syslog();
    if let Some(opened) = kernel {
        logger.take_kernel(opened);
    }
    logger.watch_mounts();
    let next = logger.serve()?;
    logger.poller.remove(&signals)?;
    match next {
        Next::Renew => {
            logger.leave();
            Ok(())
        }
        Next::GoOn | Next::End => logger.finish(),
    }
}

/// Standard error of the logger is the kernel log, or whatever PID 1 has chosen.
fn complain(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "shark log: {text}");
}

fn make_directory(directory: &Path) {
    let made = DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(directory);
    if let Err(error) = made {
        // Lines are counted as lost until somebody makes the directory.
        complain(&format!("make directory {}: {error}", directory.display()));
    }
}

/// Gives up all that is not needed to write the logs in `directory` and on the disk.
fn confine(directory: &Path, settings: &Settings) {
    let disk = settings.directory.as_deref().unwrap_or(directory);
    // What of it is there; a disk that is mounted above it later is out of reach for this logger.
    let disk = disk.ancestors().find(|path| path.is_dir());
    let writable = [directory, disk.unwrap_or(directory)].map(|it| it.display().to_string());
    match kernel::confine::enter_writer(&writable) {
        Ok(lacking) => lacking.iter().for_each(|it| complain(it)),
        Err(error) => complain(&format!("not confined: {error}")),
    }
}

/// Starts what brings the logs in `directory` to a disk, where they are to be kept on one.
fn start_keeper(directory: &Path, settings: &Settings) -> Option<Arc<Shared>> {
    let boot = boot::note(directory);
    let disk = settings.directory.as_deref().filter(|_| settings.disk > 0);
    let noted = boot::note_disk(directory, disk);
    if let Some(error) = boot.as_ref().err().or(noted.as_ref().err()) {
        complain(&format!(
            "note the boot in {}: {error}",
            directory.display()
        ));
    }
    let shelf = Shelf {
        memory: directory.to_owned(),
        root: disk?.to_owned(),
        boot: boot.ok()?,
        budget: settings.disk,
        boots: usize::try_from(settings.boots).unwrap_or(usize::MAX),
        open: None,
    };
    let flush = Duration::from_nanos(u64::try_from(settings.flush.as_nanos()).unwrap_or(u64::MAX));
    let names = names_in(directory).unwrap_or_default();
    match keeper::start(shelf, flush, complain) {
        Ok(keeper) => {
            // A former logger may have died before all was there.
            for (name, _) in names {
                keeper.written(&name, false);
            }
            Some(keeper)
        }
        Err(error) => {
            complain(&format!("logs stay in memory: {error}"));
            None
        }
    }
}

/// Starts what sends lines on.
fn start_forwarders(settings: &Settings) -> Vec<Forwarder> {
    let mut forwarders = Vec::new();
    for target in &settings.forward {
        match Forwarder::start(target.clone(), settings.forward_priority, complain) {
            Ok(forwarder) => forwarders.push(forwarder),
            Err(error) => complain(&format!("{target}: {error}")),
        }
    }
    forwarders
}

/// What is done about the loop after an event.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    GoOn,
    End,
    /// Another one takes over.
    Renew,
}

/// How far it is with what it found when it began.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    /// There may be messages of PID 1.
    Begun,
    /// All have been taken; what is in the pipes has not been looked at.
    Heard,
    /// PID 1 knows that it takes what comes.
    Told,
}

struct Logger {
    memory: Memory,
    keeper: Option<Arc<Shared>>,
    /// Tells when something is mounted.
    mounts: Option<File>,
    control: OwnedFd,
    poller: Poller,
    pipes: BTreeMap<u64, Pipe>,
    /// The tokens of those of each service.
    tokens: BTreeMap<ServiceName, Vec<u64>>,
    next_token: u64,
    /// Pipes in which there may be something to write.
    ready: VecDeque<u64>,
    /// Of services that say nothing of it.
    limit: Limit,
    /// When lines that were dropped are told.
    tell_at: Option<Instant>,
    start: Start,
    /// What is said then.
    takes: Takes,
    peek: Peek,
    buffer: Vec<u8>,
    beside: Beside,
}

impl Logger {
    fn new(directory: &Path, control: OwnedFd, settings: &Settings) -> Result<Self, Error> {
        make_directory(directory);
        let keeper = start_keeper(directory, settings);
        let poller = Poller::new()?;
        poller.add(&control, CONTROL, Readiness::READ)?;
        Ok(Self {
            beside: Beside::new(directory),
            memory: Memory::open(directory, settings.memory, keeper.clone())
                .forwarded(start_forwarders(settings)),
            keeper,
            mounts: None,
            control,
            poller,
            pipes: BTreeMap::new(),
            tokens: BTreeMap::new(),
            next_token: FIRST_PIPE,
            ready: VecDeque::new(),
            limit: settings.limit,
            tell_at: None,
            start: Start::Begun,
            takes: Takes(settings::number(settings)),
            peek: Peek::new()?,
            buffer: vec![0; READ_MAX],
        })
    }

    /// Serves until PID 1 is gone or a signal says to end, or another one is to take over.
    fn serve(&mut self) -> Result<Next, Error> {
        let mut events = Events::new();
        loop {
            let started = self.start;
            let busy = !self.ready.is_empty() || started == Start::Heard;
            let at_once = busy.then_some(Duration::ZERO);
            let timeout = at_once.or(self.tell_within());
            if at_once.is_none() {
                headway::rest();
            }
            self.poller.wait(&mut events, timeout)?;
            // Whatever hangs from here on, nobody shall wait for it longer than that.
            headway::made_some();
            for (token, readiness) in events.iter() {
                let next = match token {
                    CONTROL => self.receive()?,
                    SIGNALS => Next::End,
                    other => {
                        self.note_ready(other, readiness);
                        Next::GoOn
                    }
                };
                if next != Next::GoOn {
                    return Ok(next);
                }
            }
            self.take_turns();
            if started == Start::Heard {
                self.start = Start::Told;
                // Where PID 1 does not hear it, it is no more, or has no room for it and holds others.
                let _ = kernel::unix::send_with_fds(&self.control, &self.takes.encode(), &[]);
            }
            if self.tell_at.is_some_and(|due| Instant::now() >= due) {
                self.tell_dropped();
            }
            self.beside.count_dropped(self.memory.take_lost());
        }
    }

    /// Within which time something has to be told that was dropped; looks for it.
    fn tell_within(&mut self) -> Option<Duration> {
        if self.tell_at.is_none() && (self.beside.owes() || self.pipes.values().any(Pipe::owes)) {
            self.tell_at = Some(Instant::now() + TELL_AFTER);
        }
        let due = self.tell_at?;
        Some(due.saturating_duration_since(Instant::now()))
    }

    /// Tells what was dropped.
    fn tell_dropped(&mut self) {
        self.tell_at = None;
        self.beside.tell_dropped(&mut self.memory);
        for pipe in self.pipes.values_mut() {
            pipe.tell_dropped(&mut self.memory);
            self.beside.count_dropped(pipe.take_told());
        }
    }

    /// What is ready beside the pipes is taken at once; pipes take turns.
    fn note_ready(&mut self, token: u64, readiness: Readiness) {
        match token {
            SYSLOG | KERNEL => return self.take_beside(token),
            MOUNTS => {
                if let Some(keeper) = &self.keeper {
                    keeper.look_again();
                }
            }
            _ => {}
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

    /// Leaves everything to the next one: what is in the pipes stays in them, and what is in memory is
    /// brought to the disk by it.
    fn leave(&mut self) {
        self.tell_dropped();
        self.beside.count_dropped(self.memory.take_lost());
        // This has a deadline of its own.
        headway::rest();
        self.memory.end_forwarding();
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
        self.tell_dropped();
        self.beside.count_dropped(self.memory.take_lost());
        // What follows has deadlines of its own.
        headway::rest();
        if let Some(keeper) = &self.keeper {
            keeper.end(KEEP_WITHIN);
        }
        self.memory.end_forwarding();
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
            let received = match recv_with_fds(&self.control, &mut bytes) {
                // PID 1 has closed it, and had not read what it was told.
                Err(error) if error.errno == Errno::CONNRESET => return Ok(Next::End),
                other => other?,
            };
            headway::made_some();
            let Some(mut message) = received else {
                if self.start == Start::Begun {
                    self.start = Start::Heard;
                }
                return Ok(Next::GoOn);
            };
            if message.length == 0 && message.fds.is_empty() {
                return Ok(Next::End);
            }
            let text = bytes.get(..message.length).unwrap_or_default();
            match (Message::decode(text), message.fds.pop()) {
                (Ok(Message::Take(name, limit)), Some(fd)) => self.take(&name, fd, limit),
                (Ok(Message::Take(name, _)), None) => {
                    complain(&format!("no pipe came for {name}"));
                }
                (Ok(Message::Lost(name, bytes)), _) => {
                    let note = format!("{bytes} bytes were lost while no logger took them");
                    self.memory.note(&name, &note);
                }
                (Ok(Message::Renew), _) => return Ok(Next::Renew),
                (Err(error), _) => complain(&error.to_string()),
            }
        }
        Ok(Next::GoOn)
    }

    fn take(&mut self, name: &ServiceName, fd: OwnedFd, limit: OwnLimit) {
        if self.pipes.len() >= PIPES_MAX {
            complain(&format!(
                "{name} is not logged: there are {PIPES_MAX} pipes already"
            ));
            return;
        }
        if let Err(error) = self.add(name, fd, limit.or(self.limit)) {
            complain(&format!("{name} is not logged: {error}"));
        }
    }

    fn add(
        &mut self,
        name: &ServiceName,
        fd: OwnedFd,
        limit: Limit,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let pipe = Pipe::new(name, fd, limit)?;
        let others = self.tokens.get(name).cloned().unwrap_or_default();
        for token in &others {
            if let Some(known) = self.pipes.get_mut(token).filter(|it| it.is(&pipe)) {
                // Two readers of one pipe would tear its lines apart.
                known.limit(limit);
                return Ok(());
            }
        }
        for token in others {
            while self.turn(token, Unfinished::End) == Turn::Again {}
        }
        // The description is shared with PID 1, which never reads from it.
        pipe::set_nonblocking(&pipe.reader, true)?;
        // A line without its end stays in it, and must not wake us again and again.
        self.poller
            .add_for_changes(&pipe.reader, self.next_token, Readiness::READ)?;
        self.pipes.insert(self.next_token, pipe);
        let tokens = self.tokens.entry(name.clone()).or_default();
        tokens.push(self.next_token);
        self.next_token += 1;
        Ok(())
    }

    /// Takes the socket of syslog(3), which is PID 1's.
    fn take_syslog(&mut self) {
        let Ok(socket) = kernel::inherited::duplicate(SYSLOG_FD) else {
            return complain("syslog: no socket came");
        };
        let socket = NotifySocket::from_fd(socket);
        if let Err(error) = self.poller.add(&socket, SYSLOG, Readiness::READ) {
            return complain(&format!("syslog: {error}"));
        }
        self.beside.take_syslog_socket(socket);
    }

    /// A disk for the logs may come at any time.
    fn watch_mounts(&mut self) {
        if self.keeper.is_none() {
            return;
        }
        let Ok(mounts) = File::open("/proc/self/mountinfo") else {
            return;
        };
        if let Err(error) = self.poller.add(&mounts, MOUNTS, Readiness::PRIORITY) {
            complain(&format!("mounts: {error}"));
        }
        self.mounts = Some(mounts);
    }

    fn take_kernel(&mut self, opened: std::io::Result<File>) {
        let added = opened.map_err(|error| error.to_string()).and_then(|file| {
            let added = self.poller.add(&file, KERNEL, Readiness::READ);
            added.map_err(|error| error.to_string())?;
            self.beside.take_kernel_log(file);
            Ok(())
        });
        if let Err(error) = added {
            complain(&format!("log of the kernel: {error}"));
        }
    }

    /// What is ready beside the pipes.
    fn take_beside(&mut self, token: u64) {
        let taken = match token {
            SYSLOG => {
                let taken = self.beside.read_syslog(&mut self.memory);
                taken.map_err(|error| error.to_string())
            }
            _ => {
                let taken = self.beside.read_kernel(&mut self.memory);
                taken.map_err(|error| error.to_string())
            }
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
        headway::made_some();
        let turn = pipe.turn(&self.peek, &mut self.memory, &mut self.buffer, unfinished);
        self.beside.count_dropped(pipe.take_told());
        turn.unwrap_or_else(|error| {
            complain(&format!("{}: {error}", pipe.name));
            Turn::Over
        })
    }

    fn drop_pipe(&mut self, token: u64) {
        if let Some(mut pipe) = self.pipes.remove(&token) {
            pipe.tell_dropped(&mut self.memory);
            self.beside.count_dropped(pipe.take_told());
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

#[cfg(test)]
mod tests;
