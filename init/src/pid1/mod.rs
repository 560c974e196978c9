//! PID 1: one loop that turns what the kernel tells into events of the core, and actions of the core
//! into system calls. Not here: what is to happen (`services::supervisor`), reading service files
//! (`load`), keeping logs (`log`), and what comes after the last service (`ending`).
//!
//! Nothing here blocks, everything is bounded, and there is one reaper.

mod adopt;
mod begin;
mod beside;
mod blackbox;
mod boot;
mod cgroups;
mod clients;
mod connection;
pub(crate) mod emergency;
pub(crate) mod errands;
mod executed;
mod exits;
mod forking;
mod gate;
mod handover;
mod heard;
mod kept;
mod later;
mod loader;
mod logger;
mod noted;
mod overflow;
mod passed;
mod perform;
mod plan;
mod ready_line;
mod recorder;
pub(crate) mod replacement;
mod requests;
mod rescue;
mod reserves;
mod resume;
pub mod say;
pub(crate) mod sender;
mod setup;
mod signals;
mod sockets;
mod store;
mod table;
mod timekeeper;
mod tracer;
mod turn;
mod turns;
pub(crate) mod watchdog;

use std::process::ExitCode;

use kernel::clock::{BootTimer, ClockWatch};
use kernel::epoll::{Events, Poller, Readiness};
use kernel::inotify::Inotify;
use kernel::signals::{Signal, SignalFd};
use kernel::spawn::Spawner;
use kernel::successor::CRASHES;
use kernel::unix::Listener;
use services::control::BootMode;
use services::status::ShutdownKind;
use services::supervisor::Supervisor;
use services::supervisor::event::RequestId;
use services::time::Time;

use crate::ending::bequest::Bequest;
use crate::ending::soft::Previous;
use crate::paths::Paths;
use adopt::Left;
use blackbox::BlackBox;
use boot::Boot;
use cgroups::Cgroups;
use clients::Clients;
use gate::Keeper;
use handover::Told;
use heard::NotifySockets;
use later::Chores;
use loader::Loader;
use logger::Logger;
use noted::Noted;
use recorder::Recorder;
use say::{Level, Say};
use signals::Signals;
use table::Table;
use timekeeper::Timekeeper;
use tracer::Tracer;
use turns::Turns;
use watchdog::Feeder;

/// Everything PID 1 has.
struct Init {
    now: Time,
    paths: Paths,
    say: Say,
    boot: Noted<Boot>,
    // Sources of the loop.
    poller: Poller,
    events: Events,
    timer: BootTimer,
    clock: ClockWatch,
    signal_source: SignalFd,
    watches: Inotify,
    notify_sockets: NotifySockets,
    listener: Listener,
    ready: turn::Ready,
    // What it knows.
    spawner: Spawner,
    masks: Vec<String>,
    rescue: bool,
    last_good: bool,
    supervisor: Option<Supervisor>,
    table: Table,
    cgroups: Option<Cgroups>,
    clients: Noted<Clients>,
    control_group: Option<u32>,
    machine_seed: u64,
    signals: Signals,
    loader: Noted<Loader>,
    logger: Noted<Logger>,
    recorder: Noted<Recorder>,
    gate: Noted<Keeper>,
    watchdog: Option<Feeder>,
    chores: Noted<Chores>,
    turns: Turns,
    timekeeper: Noted<Timekeeper>,
    // What is left for the next turn.
    more_actions: bool,
    /// Log pipes that the logger has not been given.
    new_pipes: u32,
    /// The trace that a client takes.
    tracer: Option<Tracer>,
    unreaped: bool,
    resumed: Vec<u32>,
    listener_rests_until: Option<Time>,
    shutting_down: bool,
    finished: Option<ShutdownKind>,
    // How it would go on as another program.
    debug: bool,
    black_box: Option<BlackBox>,
    layout: u32,
    crashes: [u64; CRASHES],
    origin: String,
    replacing: Option<(RequestId, String)>,
    left: Option<Left>,
    previous: Previous,
}

impl Init {
    /// Says a line to people.
    fn say(&mut self, level: Level, text: &str) {
        self.say.line(self.now, level, text);
    }

    /// Whether this is the first process of a container and not of a machine.
    fn is_contained(&self) -> bool {
        match self.boot.info.mode {
            BootMode::Container => true,
            BootMode::Disk | BootMode::Initramfs | BootMode::Direct => false,
        }
    }
}

/// How the supervision ended.
pub struct Finished {
    /// Where to go.
    pub kind: ShutdownKind,
    /// Whether there is a machine to switch off, or only a namespace to leave.
    pub mode: BootMode,
    /// Tells people what goes on.
    pub say: Say,
    /// What the last stage is to do beside.
    pub bequest: Bequest,
    /// The file that PID 1 was started from.
    pub origin: String,
    /// What is left to the next user space, where one follows.
    pub previous: Previous,
}

pub(crate) use exits::exit_status;
pub(crate) use plan::start_part;

/// Is PID 1, until the end.
#[must_use]
pub fn run() -> ExitCode {
    begin(None)
}

/// Is PID 1 from the start, with what a former program has left.
fn begin(left: Option<Left>) -> ExitCode {
    match supervise(left) {
        Ok(finished) => crate::ending::run(finished),
        Err((mode, error)) => emergency::die(mode, "init cannot begin", &error.to_string()),
    }
}

/// Supervises until the last service is down. Without its sources, PID 1 can do nothing but say so.
fn supervise(left: Option<Left>) -> Result<Finished, (BootMode, kernel::Error)> {
    let started = Time::from_nanos(kernel::clock::boottime());
    let mut prepared = setup::prepare(started);
    let mode = prepared.told.boot.info.mode;
    let origin = origin();
    survive(mode, &origin);
    emergency::remember(prepared.told.recorder.end_mark());
    for line in std::mem::take(&mut prepared.told.notes) {
        prepared.say.line(started, Level::Warning, &line);
    }
    let mut init = open(prepared, started, origin).map_err(|error| (mode, error))?;
    let line = format!(
        "Shark init {} as PID 1 ({:?})",
        env!("CARGO_PKG_VERSION"),
        init.boot.info.mode
    );
    init.say(Level::Notice, &line);
    for lacking in init.boot.info.missing.clone() {
        init.say(Level::Warning, &format!("missing: {lacking}"));
    }
    init.left = left;
    init.announce_gate();
    init.open_own_log();
    init.look_for_lost_hand_over();
    init.load_for_boot();
    init.renew_black_box(0);
    Ok(init.run())
}

/// Makes a crash of PID 1 lead to another program in its place, if it can, or to the way out.
fn survive(mode: BootMode, origin: &str) {
    let contained = match mode {
        BootMode::Container => true,
        BootMode::Disk | BootMode::Initramfs | BootMode::Direct => false,
    };
    replacement::prepare(origin, contained);
    emergency::install(mode);
}

/// The file that PID 1 was started from: as its zeroth argument names it, since that goes on naming
/// the program when its file is replaced, or else as the kernel does.
fn origin() -> String {
    let named = std::env::args_os().next();
    let named = named.and_then(|name| name.into_string().ok());
    named
        .filter(|name| name.starts_with('/'))
        .unwrap_or_else(|| {
            let link = std::fs::read_link("/proc/self/exe").unwrap_or_default();
            let link = link.to_string_lossy().into_owned();
            link.trim_end_matches(" (deleted)").to_owned()
        })
}

/// Is PID 1 again, in place of a former program, until the end.
#[must_use]
pub fn resume(number: i32) -> ExitCode {
    resume::run(number)
}

impl Init {
    /// Has the loop wait for its own sources.
    fn watch_sources(&self) -> kernel::Result<()> {
        let poller = &self.poller;
        poller.add(&self.signal_source, turn::SIGNALS, Readiness::READ)?;
        poller.add(&self.timer, turn::TIMER, Readiness::READ)?;
        poller.add(&self.clock, turn::CLOCK, Readiness::READ)?;
        poller.add(&self.watches, turn::WATCHES, Readiness::READ)?;
        self.notify_sockets.watch(poller)?;
        poller.add(&self.listener, turn::LISTENER, Readiness::READ)
    }

    /// Turns, until the last service is down.
    fn run(mut self) -> Finished {
        loop {
            self.turn();
            if let Some(kind) = self.finished {
                return self.finish(kind);
            }
        }
    }
}

impl Init {
    /// Lets go of everything the services and the logger could wait for.
    fn finish(mut self, kind: ShutdownKind) -> Finished {
        self.say(Level::Notice, "all services are down");
        self.say.flush();
        for number in self.clients.numbers() {
            self.clients.dismiss(number);
        }
        self.dismiss_logger();
        self.table.retain(|_| false);
        // What comes now has a way out of its own, and nothing to go back to.
        kernel::successor::forget();
        Finished {
            kind,
            mode: self.boot.info.mode,
            bequest: Bequest::new(
                self.recorder.end_mark(),
                self.recorder.uncounted_failure(),
                self.watchdog,
            ),
            say: self.say,
            origin: self.origin,
            previous: Previous {
                passed: self.gate.is_passed(),
                ..self.previous
            },
        }
    }
}

/// Opens the sources of the loop.
#[allow(clippy::too_many_lines, reason = "every field of PID 1, once")]
fn open(prepared: setup::Prepared, now: Time, origin: String) -> kernel::Result<Init> {
    let setup::Prepared {
        paths,
        say,
        told,
        cgroups,
        masks,
        rescue,
        debug,
        previous,
    } = prepared;
    let Told {
        boot,
        gate,
        recorder,
        watchdog,
        last_good,
        notes: _,
    } = told;
    let received: Vec<Signal> = signals::RECEIVED
        .into_iter()
        .filter_map(Signal::from_number)
        .collect();
    let control = paths.control_socket().display().to_string();
    let notify = paths.notify_socket().display().to_string();
    let init = Init {
        now,
        say,
        boot: Noted::new(boot),
        poller: Poller::new()?,
        events: Events::new(),
        timer: BootTimer::new()?,
        clock: ClockWatch::new()?,
        signal_source: SignalFd::new(&received)?,
        watches: Inotify::new()?,
        notify_sockets: NotifySockets::open(&notify)?,
        // Whoever can connect may ask; who may change something is checked with each request.
        listener: Listener::bind(&control, 0o666)?,
        ready: turn::Ready::default(),
        spawner: Spawner::new()?,
        masks,
        rescue,
        last_good,
        supervisor: None,
        table: Table::default(),
        cgroups,
        clients: Noted::default(),
        control_group: None,
        machine_seed: 0,
        signals: Signals::default(),
        loader: Noted::default(),
        logger: Noted::default(),
        recorder: Noted::new(recorder),
        gate: Noted::new(gate),
        watchdog,
        chores: Noted::default(),
        turns: Turns::default(),
        timekeeper: Noted::default(),
        more_actions: false,
        new_pipes: 0,
        tracer: None,
        // A child may have ended before the signal was blocked.
        unreaped: true,
        resumed: Vec::new(),
        listener_rests_until: None,
        shutting_down: false,
        finished: None,
        debug,
        black_box: None,
        layout: blackbox::layout(),
        crashes: [0; CRASHES],
        origin,
        replacing: None,
        left: None,
        previous,
        paths,
    };
    init.watch_sources()?;
    Ok(init)
}
