//! One turn of the event loop: wait, then take what is there in an order that never lets an exit
//! overtake what the process said before it: notify, exits, timers, jobs. Not here: what a source's
//! data leads to.
//!
//! Every source is level-triggered and read to a bound, so that what is left comes with the next
//! turn, and no source can keep the others waiting. An error of a source is said and never ends the
//! loop.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use kernel::epoll::Readiness;
use services::supervisor::Supervisor;
use services::supervisor::event::Event;
use services::time::{Duration, Time};

use super::Init;
use super::clients::Peer;
use super::connection::Progress;
use super::say::Level;
use super::signals::Meaning;
use super::watchdog::Feeder;

/// Token of the signalfd.
pub(super) const SIGNALS: u64 = 1;
/// Token of the timer.
pub(super) const TIMER: u64 = 2;
/// Token of the watches on cgroups.
pub(super) const WATCHES: u64 = 3;
/// Token of the sd_notify sockets.
pub(super) const NOTIFY: u64 = 4;
/// Token of the control socket.
pub(super) const LISTENER: u64 = 5;
/// Token of the socket to the logger.
pub(super) const LOGGER: u64 = 6;
/// Token of the watch on the machine's clock.
pub(super) const CLOCK: u64 = 7;
/// Tokens from here on are clients.
pub(super) const CLIENT: u64 = 1 << 32;

/// Tokens from here on are pipes of services that say by a line that they are ready.
const READY_LINE: u64 = 1 << 33;
/// Tokens from here on are sockets of services.
const SOCKET: u64 = 1 << 34;

/// The token of the sockets of a service.
pub(super) const fn socket_token(index: u32) -> u64 {
    SOCKET | index as u64
}
/// Tokens from here on are descriptors that are kept for services.
pub(super) const STORED: u64 = 1 << 35;

/// Most datagrams, connections and dead children a turn takes.
pub(super) const BOUND: usize = 256;
/// A source that fails is given so much rest.
const REST: Duration = Duration::from_millis(100);

/// The token of a client.
pub(super) const fn client_token(number: u32) -> u64 {
    CLIENT | number as u64
}

/// The token of the pipe of the service in place `index`.
pub(super) const fn ready_token(index: u32) -> u64 {
    READY_LINE | index as u64
}

/// What a wait brought, by source.
#[derive(Debug, Default)]
pub(super) struct Ready {
    signals: bool,
    watches: bool,
    notify: bool,
    listener: bool,
    logger: bool,
    clock: bool,
    clients: Vec<(u32, Readiness)>,
    ready_lines: Vec<u32>,
    /// Children that signals name; empty but within a turn.
    ended: Vec<u32>,
    /// Services that listen, by place.
    sockets: Vec<u32>,
    /// Kept descriptors whose other side has gone.
    stored: Vec<u32>,
}

fn low_half(token: u64) -> u32 {
    u32::try_from(token & u64::from(u32::MAX)).unwrap_or_default()
}

impl Init {
    /// Runs one turn.
    pub(super) fn turn(&mut self) {
        let mut ready = std::mem::take(&mut self.ready);
        let waited = self.wait(&mut ready);
        let now = kernel::clock::boottime();
        self.now = Time::from_nanos(now);
        self.turns.begin(now);
        let unreaped = std::mem::take(&mut self.unreaped);
        let mut ended = std::mem::take(&mut ready.ended);
        let child_ended = ready.signals && self.take_signals(&mut ended);
        if ready.notify || child_ended {
            self.take_notifications();
        }
        for index in ready.ready_lines.drain(..) {
            self.take_execution(index);
            self.take_ready_line(index);
        }
        // A crash takes no more than what the stage did in which it was.
        self.note();
        // A signal names one child that has ended, but signals that come together are one: the next
        // turn looks for others, which takes the kernel past all children there are.
        for pid in ended.drain(..) {
            self.reap_one(pid);
        }
        ready.ended = ended;
        self.unreaped = child_ended;
        if unreaped {
            self.reap();
        }
        if ready.watches {
            self.take_changes_of_cgroups();
        }
        if ready.clock {
            self.clock_ready();
        }
        self.take_timers();
        self.note();
        if ready.logger {
            self.logger_ready();
        }
        for number in ready.stored.drain(..) {
            self.stored_hung_up(number);
        }
        for (number, readiness) in ready.clients.drain(..) {
            self.client_ready(number, readiness);
            self.note();
        }
        if ready.listener {
            self.take_connections();
        }
        for index in ready.sockets.drain(..) {
            self.socket_ready(index);
        }
        for number in std::mem::take(&mut self.resumed) {
            self.serve(number);
        }
        self.note();
        self.ready = ready;
        if self.loader.is_taking() {
            self.take_result_on();
        }
        self.perform_actions();
        self.mind_gate();
        self.pay_trace();
        if self.shutting_down {
            // The gate may just have begun it.
            self.perform_actions();
        }
        if waited {
            self.feed_watchdog();
        }
        self.note();
        self.replace_if_asked();
    }

    /// The turn has come to its end: the watchdog is fed, unless this boot is past its time and
    /// nothing is done about that. Recording the cause and going down both are something.
    fn feed_watchdog(&mut self) {
        let now = self.now;
        if self.gate.is_overdue(now) && !self.shutting_down {
            return;
        }
        let failed = self.watchdog.as_mut().and_then(|feeder| feeder.feed(now));
        if let Some(line) = failed {
            self.say(Level::Error, &line);
        }
    }

    /// When the watchdog is to be fed next.
    fn feeding_due(&self) -> Option<Time> {
        let earned = self.shutting_down || !self.gate.is_overdue(self.now);
        self.watchdog.as_ref().filter(|_| earned).map(Feeder::due)
    }

    /// Waits for something to happen; `false`: that failed.
    fn wait(&mut self, ready: &mut Ready) -> bool {
        *ready = Ready {
            clients: std::mem::take(&mut ready.clients),
            ready_lines: std::mem::take(&mut ready.ready_lines),
            ended: std::mem::take(&mut ready.ended),
            sockets: std::mem::take(&mut ready.sockets),
            stored: std::mem::take(&mut ready.stored),
            ..Ready::default()
        };
        let taking = self.loader.is_taking();
        let more = self.more_actions || self.unreaped || taking || !self.resumed.is_empty();
        let deadline = if more { None } else { self.next_deadline() };
        let timeout = if more { Some(Duration::ZERO) } else { None };
        if !more {
            // In one go: each piece would wake the logger, in the middle of everything.
            self.hand_new_pipes();
            self.say.flush();
        }
        self.turns.end();
        let waited = self
            .timer
            .set(deadline.map(Time::as_nanos))
            .and_then(|()| self.poller.wait(&mut self.events, timeout));
        if let Err(error) = &waited {
            // Should this ever happen, it must neither end the loop nor make it spin.
            self.say(Level::Error, &format!("event loop: {error}"));
            std::thread::sleep(REST);
        }
        for (token, readiness) in self.events.iter() {
            match token {
                SIGNALS => ready.signals = true,
                WATCHES => ready.watches = true,
                NOTIFY => ready.notify = true,
                LISTENER => ready.listener = true,
                LOGGER => ready.logger = true,
                CLOCK => ready.clock = true,
                TIMER => {
                    let _fired = self.timer.clear();
                }
                STORED.. => ready.stored.push(low_half(token)),
                SOCKET.. => ready.sockets.push(low_half(token)),
                _ => {
                    let number = low_half(token);
                    if token & READY_LINE == 0 {
                        ready.clients.push((number, readiness));
                    } else {
                        ready.ready_lines.push(number);
                    }
                }
            }
        }
        waited.is_ok()
    }

    /// When the next thing is due, of all that is waited for.
    fn next_deadline(&self) -> Option<Time> {
        let core = self
            .supervisor
            .as_ref()
            .and_then(Supervisor::poll_timeout)
            .map(|(at, _why)| at);
        [
            core,
            self.loader.deadline(),
            self.logger.deadline(),
            self.clients.next_deadline(),
            self.listener_rests_until,
            self.recorder.deadline(),
            self.gate.deadline(self.shutting_down),
            self.chores.deadline(),
            self.timekeeper.deadline(),
            self.feeding_due(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Reads all signals; whether a child has ended. Those that are named are added to `ended`.
    fn take_signals(&mut self, ended: &mut Vec<u32>) -> bool {
        let mut child_ended = false;
        for _ in 0..BOUND {
            let (number, sender) = match self.signal_source.next() {
                Ok(Some(received)) => (received.signal.number(), received.pid),
                Ok(None) => break,
                Err(error) => {
                    self.say(Level::Error, &error.to_string());
                    break;
                }
            };
            match self.signals.meaning(number, self.now) {
                Meaning::Reap => {
                    child_ended = true;
                    ended.push(sender);
                }
                Meaning::Reload => self.reload_by_signal(),
                Meaning::Shutdown(kind) => self.shut_down(kind),
                Meaning::AtOnce(kind) => {
                    self.say(Level::Warning, "Ctrl-Alt-Del seven times: going at once");
                    self.finished = Some(kind);
                }
                Meaning::Ignore => {}
            }
        }
        child_ended
    }

    fn take_timers(&mut self) {
        let due = |at: Option<Time>, now| at.is_some_and(|at| at <= now);
        let core = self
            .supervisor
            .as_ref()
            .and_then(Supervisor::poll_timeout)
            .map(|(at, _why)| at);
        if due(core, self.now) {
            self.tell(Event::Tick);
        }
        if due(self.loader.deadline(), self.now) {
            self.loader_overdue();
        }
        if due(self.logger.deadline(), self.now) {
            self.logger_due();
        }
        if due(self.recorder.deadline(), self.now) {
            self.recorder_overdue();
        }
        if due(self.timekeeper.deadline(), self.now) {
            self.timers_overdue();
        }
        if due(self.chores.deadline(), self.now) {
            self.do_chores();
        }
        if due(self.listener_rests_until, self.now) {
            self.listener_rests_until = None;
            self.watch_listener(Readiness::READ);
        }
        if due(self.clients.next_deadline(), self.now) {
            for number in self.clients.numbers() {
                let late = self
                    .clients
                    .get(number)
                    .is_some_and(|client| due(client.connection.deadline(), self.now));
                if late {
                    self.dismiss(number);
                }
            }
        }
    }

    fn take_connections(&mut self) {
        for _ in 0..BOUND {
            match self.listener.accept() {
                Ok(Some(stream)) => self.admit(stream),
                Ok(None) => return,
                Err(error) => {
                    self.say(Level::Warning, &format!("control socket: {error}"));
                    // Without a descriptor to spare the connection stays where it is, and the
                    // socket readable.
                    self.watch_listener(Readiness::NONE);
                    self.listener_rests_until = Some(self.now + REST);
                    return;
                }
            }
        }
    }

    fn watch_listener(&mut self, interest: Readiness) {
        if let Err(error) = self.poller.modify(&self.listener, LISTENER, interest) {
            self.say(Level::Error, &error.to_string());
        }
    }

    fn admit(&mut self, stream: OwnedFd) {
        let peer = match kernel::unix::peer(&stream) {
            Ok(peer) => {
                let mut groups = kernel::unix::peer_groups(&stream).unwrap_or_default();
                groups.push(peer.gid);
                Peer {
                    pid: peer.pid,
                    uid: peer.uid,
                    groups,
                }
            }
            Err(error) => return self.say(Level::Warning, &error.to_string()),
        };
        let Some(number) = self.clients.admit(UnixStream::from(stream), peer) else {
            return self.say(Level::Warning, "control socket: too many clients");
        };
        let Some(client) = self.clients.get(number) else {
            return;
        };
        let stream = client.connection.stream();
        if let Err(error) = self
            .poller
            .add(stream, client_token(number), Readiness::READ)
        {
            self.say(Level::Warning, &error.to_string());
            self.dismiss(number);
        }
    }

    fn client_ready(&mut self, number: u32, readiness: Readiness) {
        let now = self.now;
        let Some(client) = self.clients.get(number) else {
            return;
        };
        let mut progress = Progress::Open;
        if readiness.writable {
            progress = client.connection.flush(now);
        }
        if readiness.readable && progress == Progress::Open {
            progress = client.connection.receive();
        } else if readiness.hangup {
            progress = Progress::Ended("gone");
        }
        match progress {
            Progress::Open => self.serve(number),
            Progress::Ended(_) => self.dismiss(number),
        }
    }

    /// Drops a client; what it waited for goes on.
    pub(super) fn dismiss(&mut self, number: u32) {
        if let Some(request) = self.clients.dismiss(number) {
            self.tell(Event::Forget { request });
        }
        self.end_trace_of(number);
    }

    /// Watches a client for what it may do next.
    pub(super) fn watch_client(&mut self, number: u32) {
        let Some(client) = self.clients.get(number) else {
            return;
        };
        let reading = client.connection.is_reading() && client.waiting.is_none();
        let wanted = (reading, client.connection.is_sending());
        if wanted == client.watched {
            return;
        }
        client.watched = wanted;
        let interest = match wanted {
            (true, true) => Readiness::BOTH,
            (true, false) => Readiness::READ,
            (false, true) => Readiness::WRITE,
            (false, false) => Readiness::NONE,
        };
        let changed =
            self.poller
                .modify(client.connection.stream(), client_token(number), interest);
        if let Err(error) = changed {
            self.say(Level::Warning, &format!("client: {error}"));
            self.dismiss(number);
        }
    }
}
