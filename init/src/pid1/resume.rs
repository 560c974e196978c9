//! PID 1 that goes on where a former program of this process stopped: it was replaced, or it has
//! crashed. Its state comes out of the black box, its descriptors over execve(2). Not here: writing the
//! box (`blackbox`), and asking for a replacement (`replacement`).
//!
//! What the kernel made for the former program and what hangs on it is made anew: epoll, timer,
//! signalfd, inotify. Signals stayed blocked, so none is lost, and children are looked for once in any
//! case. After a crash the kernel knows more than the box: [`Init::reconcile`].

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::ExitCode;

use kernel::clock::{BootTimer, ClockWatch};
use kernel::epoll::{Events, Poller, Readiness};
use kernel::inotify::Inotify;
use kernel::signals::{Signal, SignalFd};
use kernel::spawn::Spawner;
use kernel::successor::{self, Cause, Left};
use kernel::unix::Listener;
use kernel::watchdog::Watchdog;
use serde::de::DeserializeOwned;
use services::control::BootMode;
use services::journal::{self, Key};
use services::notify::{Begun, Message};
use services::supervisor::Supervisor;
use services::supervisor::frozen::{self, SHELL_KINDS, Thawing};
use services::time::{Duration, Time};

use super::blackbox::{Kind, SIZE_MAX, Start, Status, Watched};
use super::boot::Boot;
use super::cgroups::Cgroups;
use super::clients::Clients;
use super::heard::NotifySockets;
use super::kept;
use super::noted::Noted;
use super::recorder::Recorder;
use super::say::{Level, Say};
use super::table::{Owner, Place, Table};
use super::turns::Turns;
use super::watchdog::Feeder;
use super::{Finished, Init, emergency, setup, signals, turn};
use crate::paths::Paths;

/// Crashes within [`WINDOW`] that PID 1 goes on after; one more, and the machine restarts.
const CRASHES_MAX: usize = 3;
const WINDOW: Duration = Duration::from_secs(60);

/// Is PID 1 again, with the state in descriptor `number`. Where nothing of the kind is there (the
/// kernel passes words of its command line on), it is PID 1 for the first time.
#[must_use]
pub(super) fn run(number: i32) -> ExitCode {
    let ours = kernel::inherited::duplicate(number).is_ok_and(successor::is_memory);
    if !ours {
        return super::run();
    }
    let Ok(mut descriptors) = kernel::inherited::take_all() else {
        return super::run();
    };
    let Some(memory) = descriptors.remove(&number) else {
        return super::run();
    };
    kept::offer(descriptors);
    let contained = setup::is_contained();
    // Should this program crash before it has a box of its own, the next one begins with the same.
    successor::keep(memory.as_fd());
    let crude = if contained {
        BootMode::Container
    } else {
        BootMode::Direct
    };
    let origin = super::origin();
    super::survive(crude, &origin);
    let mut spare = kept::spare_pipes();
    match go_on(&memory, contained, origin, &mut spare) {
        Err(Stop::Strange(why)) => {
            successor::forget();
            drop(memory);
            kept::add(spare);
            let line = format!("the state cannot be read, so init begins anew: {why}");
            emergency::say(contained, "init has been replaced", &line);
            super::begin(Some(super::adopt::Left::sort()))
        }
        Ok(finished) => crate::ending::run(finished),
        Err(Stop::Broken(why)) => {
            successor::forget();
            emergency::die(crude, "init cannot go on", &why)
        }
    }
}

/// Why PID 1 does not go on with the state.
enum Stop {
    /// It cannot be read.
    Strange(String),
    /// Something else is wrong.
    Broken(String),
}

fn go_on(
    memory: &OwnedFd,
    contained: bool,
    origin: String,
    spare: &mut Vec<OwnedFd>,
) -> Result<Finished, Stop> {
    let left = successor::read(memory, SIZE_MAX + successor::HEADER);
    let left = left.map_err(|error| Stop::Strange(error.to_string()))?;
    let now = Time::from_nanos(kernel::clock::boottime());
    let layout = super::blackbox::layout();
    let records = journal::read(&left.state, layout);
    let records = records.map_err(|error| Stop::Strange(error.to_string()))?;
    let records = Records::new(records);
    too_often(&left, &records, now);
    let mut init = records
        .thaw(&left, contained, origin, now, layout)
        .map_err(|error| Stop::Strange(error.to_string()))?;
    spare.clear();
    emergency::remember(init.recorder.end_mark());
    init.resumed_from(left.cause)
        .map_err(|error| Stop::Broken(error.to_string()))?;
    Ok(init.run())
}

/// A program that crashes again and again does not get better by being started again.
fn too_often(left: &Left, records: &Records<'_>, now: Time) {
    let crashes = left.crashes.iter().map(|at| Time::from_nanos(*at));
    let lately = crashes.filter(|at| *at != Time::default() && now.since(*at) <= WINDOW);
    let lately = lately.count();
    if left.cause == Cause::Asked || lately <= CRASHES_MAX {
        return;
    }
    successor::forget();
    let mode = match records.last::<Boot>(Kind::Boot, 0) {
        Ok(Some(boot)) => boot.info.mode,
        Ok(None) | Err(_) => BootMode::Direct,
    };
    if let Ok(Some(recorder)) = records.last::<Recorder>(Kind::Recorder, 0) {
        emergency::remember(recorder.end_mark());
    }
    let why = format!(
        "{lately} crashes within {} s: {}",
        WINDOW.as_secs(),
        words(left.cause)
    );
    emergency::die(mode, "init is broken", &why);
}

fn words(cause: Cause) -> String {
    match cause {
        Cause::Asked => "replaced as asked".to_owned(),
        Cause::Panic => "the last was a panic".to_owned(),
        Cause::Signal(number) => format!("the last was signal {number}"),
    }
}

/// Why PID 1 cannot go on.
#[derive(Debug)]
enum Error {
    Record(Key, String),
    Missing(Kind),
    Kernel(kernel::Error),
    Thaw(frozen::ThawError),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(key, cause) => {
                let Key { kind, index } = key;
                write!(f, "record {index} of kind {kind}: {cause}")
            }
            Self::Missing(kind) => write!(f, "the state has no {kind:?}"),
            Self::Kernel(error) => error.fmt(f),
            Self::Thaw(error) => error.fmt(f),
        }
    }
}

impl From<kernel::Error> for Error {
    fn from(error: kernel::Error) -> Self {
        Self::Kernel(error)
    }
}

impl From<frozen::ThawError> for Error {
    fn from(error: frozen::ThawError) -> Self {
        Self::Thaw(error)
    }
}

/// What the box has: of the supervisor all records in order, of the shell the last of each key, since
/// reading one takes its descriptors.
struct Records<'a> {
    supervisor: Vec<(Key, &'a [u8])>,
    shell: BTreeMap<Key, &'a [u8]>,
}

impl<'a> Records<'a> {
    fn new(records: Vec<(Key, &'a [u8])>) -> Self {
        let (shell, supervisor) = records
            .into_iter()
            .partition::<Vec<_>, _>(|(key, _)| key.kind >= SHELL_KINDS);
        Self {
            supervisor,
            shell: shell.into_iter().collect(),
        }
    }

    fn last<T: DeserializeOwned>(&self, kind: Kind, index: u32) -> Result<Option<T>, Error> {
        let key = kind.key(index);
        let Some(bytes) = self.shell.get(&key) else {
            return Ok(None);
        };
        postcard::from_bytes(bytes)
            .map(Some)
            .map_err(|error| Error::Record(key, error.to_string()))
    }

    fn one<T: DeserializeOwned>(&self, kind: Kind) -> Result<T, Error> {
        self.last(kind, 0)?.ok_or(Error::Missing(kind))
    }

    fn noted<T: DeserializeOwned>(&self, kind: Kind) -> Result<Noted<T>, Error> {
        self.one(kind).map(Noted::new)
    }

    fn indices(&self, kind: Kind) -> impl Iterator<Item = u32> {
        let keys = self.shell.range(kind.key(0)..=kind.key(u32::MAX));
        keys.map(|(key, _)| key.index)
    }

    fn thaw_supervisor(&self) -> Result<Option<Supervisor>, Error> {
        if self.supervisor.is_empty() {
            return Ok(None);
        }
        let mut thawing = Thawing::default();
        for (key, bytes) in &self.supervisor {
            thawing.take(*key, bytes)?;
        }
        Ok(Some(thawing.finish()?))
    }

    fn table(&self) -> Result<Table, Error> {
        let mut table = Table::default();
        for index in self.indices(Kind::Place) {
            if let Some(Some(place)) = self.last::<Option<Place>>(Kind::Place, index)? {
                table.put_back(place);
            }
        }
        for pid in self.indices(Kind::Process) {
            if let Some(Some(owner)) = self.last::<Option<Owner>>(Kind::Process, pid)? {
                table.own(pid, owner);
            }
        }
        Ok(table)
    }

    fn thaw(
        &self,
        left: &Left,
        contained: bool,
        origin: String,
        now: Time,
        layout: u32,
    ) -> Result<Init, Error> {
        let start: Start = self.one(Kind::Start)?;
        let status: Status = self.one(Kind::Status)?;
        let watched: Option<Watched> = self.one(Kind::Watchdog)?;
        let watchdog = watched.and_then(|Watched { fd, path, seconds }| {
            let device = Watchdog::from_fd(kept::take(fd)?, &path);
            Some(Feeder::new(device, seconds))
        });
        let listener = kept::take(start.listener).ok_or(Error::Missing(Kind::Start))?;
        let notify_sockets = NotifySockets::thaw(start.notify);
        let notify_sockets = notify_sockets.ok_or(Error::Missing(Kind::Start))?;
        let received: Vec<Signal> = signals::RECEIVED
            .into_iter()
            .filter_map(Signal::from_number)
            .collect();
        let mut init = Init {
            now,
            paths: Paths::from_environment(),
            say: Say::open(!contained, start.verbose),
            boot: self.noted(Kind::Boot)?,
            poller: Poller::new()?,
            events: Events::new(),
            timer: BootTimer::new()?,
            clock: ClockWatch::new()?,
            signal_source: SignalFd::new(&received)?,
            watches: Inotify::new()?,
            notify_sockets,
            listener: Listener::from_fd(listener),
            ready: turn::Ready::default(),
            spawner: Spawner::new()?,
            masks: start.masks,
            rescue: start.rescue,
            last_good: start.last_good,
            supervisor: self.thaw_supervisor()?,
            table: self.table()?,
            cgroups: start.cgroups.map(Cgroups::again),
            clients: self.noted::<Clients>(Kind::Clients)?,
            control_group: status.control_group,
            machine_seed: status.machine_seed,
            signals: signals::Signals::default(),
            loader: self.noted(Kind::Loader)?,
            logger: self.noted(Kind::Logger)?,
            recorder: self.noted(Kind::Recorder)?,
            gate: self.noted(Kind::Gate)?,
            watchdog,
            chores: self.noted(Kind::Chores)?,
            turns: Turns::default(),
            timekeeper: self.noted(Kind::Timekeeper)?,
            new_pipes: 0,
            more_actions: true,
            // Its client asks for a new one.
            tracer: None,
            unreaped: true,
            resumed: Vec::new(),
            listener_rests_until: None,
            shutting_down: status.shutting_down,
            finished: None,
            debug: start.debug,
            black_box: None,
            layout,
            crashes: left.crashes,
            origin,
            replacing: None,
            left: None,
            previous: start.previous,
        };
        init.table.stored_count = status.stored_count;
        init.resumed = init.clients.numbers();
        Ok(init)
    }
}

impl Init {
    /// Watches what is to be watched, and makes the state agree with the kernel's.
    fn resumed_from(&mut self, cause: Cause) -> kernel::Result<()> {
        self.watch_sources()?;
        self.attach_own_log();
        let lost = kept::rest().len();
        let line = match cause {
            Cause::Asked => "init has been replaced, and goes on".to_owned(),
            Cause::Panic | Cause::Signal(_) => {
                format!("init has crashed, and goes on ({})", words(cause))
            }
        };
        let level = match cause {
            Cause::Asked => Level::Notice,
            Cause::Panic | Cause::Signal(_) => Level::Error,
        };
        self.say(level, &line);
        self.say(
            Level::Info,
            &format!("{lost} descriptors were of no use any more"),
        );
        // From here on a crash is one of this program.
        self.renew_black_box(self.black_box_size());
        self.watch_logger();
        self.watch_clients(cause);
        self.watch_executions();
        self.watch_ready_lines();
        self.watch_sockets();
        self.watch_stored();
        self.watch_cgroups();
        self.reconcile(cause);
        // It may have been set when nobody looked.
        self.tell_clock();
        self.answer_replaced();
        match cause {
            Cause::Asked => {}
            Cause::Panic | Cause::Signal(_) => self.gate_after_crash(&words(cause)),
        }
        Ok(())
    }

    /// What the kernel knows better than the box: who is there, and who is not any more.
    fn reconcile(&mut self, cause: Cause) {
        self.check_pidfds();
        if cause != Cause::Asked {
            self.attribute();
        }
        self.reap();
        self.end_lost();
        let services: Vec<_> = self
            .table
            .places()
            .filter(|place| place.live.is_some())
            .map(|place| place.service)
            .collect();
        for service in services {
            self.check_emptied(service);
        }
        self.note();
    }

    /// A pidfd that is another one's, or none, is opened again: the number of a child that was not
    /// reaped is still its own.
    fn check_pidfds(&mut self) {
        let places = self.table.places();
        for live in places.filter_map(|place| place.live.as_mut()) {
            let beside = live.reload.as_mut().into_iter().chain(live.probe.as_mut());
            let others = beside.map(|it| (it.pid, &mut it.pidfd));
            let main = (!live.ended).then_some((live.pid, &mut live.pidfd));
            for (pid, pidfd) in others.chain(main) {
                if pid_of(pidfd) != Some(pid)
                    && let Ok(again) = kernel::pidfd::open(pid)
                {
                    *pidfd = again;
                }
            }
        }
    }

    /// Runs whose main process was reaped, and whose end was not noted any more.
    fn end_lost(&mut self) {
        let mut lost = Vec::new();
        for live in self.table.places().filter_map(|place| place.live.as_ref()) {
            // An adopted one may be another's child: its cgroup tells.
            if !live.ended && !live.adopted && is_gone(live.pid) {
                lost.push((live.pid, live.run));
            }
        }
        for (pid, run) in lost {
            self.table.disown(pid);
            self.lost_end(run);
        }
    }

    /// Processes that were started just before a crash, and not noted any more: found in the cgroup
    /// of a service that is to be started.
    fn attribute(&mut self) {
        let Some(supervisor) = &self.supervisor else {
            return;
        };
        for run in supervisor.spawning() {
            let Some(name) = self.name_of(run.service) else {
                continue;
            };
            let Some(cgroups) = &self.cgroups else {
                return;
            };
            let first = cgroups
                .processes(&name)
                .unwrap_or_default()
                .into_iter()
                .find(|pid| self.table.owner(*pid).is_none() && is_first_of_run(*pid));
            let Some(pid) = first else {
                // What is there and is no main process belongs to nobody.
                if cgroups.populated(&name)
                    && let Err(error) = cgroups.kill(&name)
                {
                    self.say(Level::Error, &format!("{name}: {error}"));
                }
                continue;
            };
            let Ok(pidfd) = kernel::pidfd::open(pid) else {
                continue;
            };
            if self
                .supervisor
                .as_mut()
                .is_some_and(|supervisor| supervisor.retract_spawn(run))
            {
                self.table.place(run.service, &name);
                self.watch_cgroup(run.service, &name);
                self.table.started(run, pid, pidfd, false);
                self.tell(services::supervisor::event::Event::Spawned { run });
                if self.definition(run.service).is_ok_and(|it| it.only_joins()) {
                    // It has, and whether by a starter is not known.
                    self.notified(run, Message::Begin(Begun::Ready), true);
                }
                self.say(Level::Notice, &format!("{name}: process {pid} is its run"));
            }
        }
    }

    fn name_of(&self, service: services::id::ServiceId) -> Option<String> {
        let name = self.supervisor.as_ref()?.name(service)?;
        Some(name.to_owned())
    }

    /// Watches the cgroups of services that run.
    fn watch_cgroups(&mut self) {
        let live = self.table.places().filter(|place| place.live.is_some());
        let places: Vec<_> = live
            .map(|place| (place.service, place.name.to_string()))
            .collect();
        for (service, name) in places {
            self.watch_cgroup(service, &name);
        }
    }

    pub(super) fn watch_cgroup(&mut self, service: services::id::ServiceId, name: &str) {
        let Some(cgroups) = &self.cgroups else {
            return;
        };
        let path = cgroups.events_path(name);
        match self
            .watches
            .watch(&path, kernel::inotify::WatchFlags::MODIFY)
        {
            Ok(watch) => self.table.watched(service, watch.0),
            Err(error) => self.say(Level::Error, &format!("{name}: {error}")),
        }
    }

    /// Watches the clients. After a crash, of those that wait for nothing it is not known whether
    /// they have asked for something: they are dismissed, and see that.
    fn watch_clients(&mut self, cause: Cause) {
        for number in self.clients.numbers() {
            let Some(client) = self.clients.get(number) else {
                continue;
            };
            let peer = kernel::unix::peer(client.connection.stream());
            let same = peer.is_ok_and(|peer| peer.pid == client.peer.pid);
            let keeps = same && (cause == Cause::Asked || client.waiting.is_some());
            client.watched = (true, false);
            let stream = client.connection.stream();
            let added = self
                .poller
                .add(stream, turn::client_token(number), Readiness::READ);
            if !keeps || added.is_err() {
                self.dismiss(number);
            } else {
                self.watch_client(number);
            }
        }
    }
}

/// Whose pidfd it is, as the kernel says.
fn pid_of(pidfd: &OwnedFd) -> Option<u32> {
    let path = format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd());
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pid:"))?;
    line.trim().parse().ok()
}

/// Whether no process has the number, not even one that is dead and not reaped.
fn is_gone(pid: u32) -> bool {
    !std::path::Path::new(&format!("/proc/{pid}")).exists()
}

/// Whether the process was made by PID 1 to be the first of a run: its child, in a session of its own.
pub(super) fn is_first_of_run(pid: u32) -> bool {
    let Ok(text) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    super::sender::parent_and_session(&text) == Some((1, pid))
}
