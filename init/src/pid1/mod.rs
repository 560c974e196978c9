//! PID 1: one loop that turns what the kernel tells into events of the core, and actions of the core
//! into system calls. Not here: what is to happen (`services::supervisor`), reading service files
//! (`load`), keeping logs (`log`), and what comes after the last service (`ending`).
//!
//! Nothing here blocks, everything is bounded, and there is one reaper.

mod begin;
mod beside;
mod boot;
mod cgroups;
mod clients;
mod connection;
pub(crate) mod emergency;
pub(crate) mod errands;
mod exits;
mod forking;
mod gate;
mod handover;
mod heard;
mod later;
mod loader;
mod logger;
mod passed;
mod perform;
mod plan;
mod rate;
mod ready_line;
mod recorder;
mod requests;
pub mod say;
mod sender;
mod setup;
mod signals;
mod sockets;
mod store;
mod table;
mod timekeeper;
mod turn;
mod turns;
pub(crate) mod watchdog;

use std::process::ExitCode;

use kernel::clock::{BootTimer, ClockWatch};
use kernel::epoll::{Events, Poller, Readiness};
use kernel::inotify::Inotify;
use kernel::signals::{Signal, SignalFd};
use kernel::spawn::Spawner;
use kernel::unix::Listener;
use services::control::BootMode;
use services::status::ShutdownKind;
use services::supervisor::Supervisor;
use services::time::Time;

use crate::ending::bequest::Bequest;
use crate::paths::Paths;
use boot::Boot;
use cgroups::Cgroups;
use clients::Clients;
use gate::Keeper;
use handover::Told;
use heard::NotifySockets;
use later::Chores;
use loader::Loader;
use logger::Logger;
use recorder::Recorder;
use say::{Level, Say};
use signals::Signals;
use table::Table;
use timekeeper::Timekeeper;
use turns::Turns;
use watchdog::Feeder;

/// Everything PID 1 has.
struct Init {
    now: Time,
    paths: Paths,
    say: Say,
    boot: Boot,
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
    clients: Clients,
    control_group: Option<u32>,
    machine_seed: u64,
    signals: Signals,
    loader: Loader,
    logger: Logger,
    recorder: Recorder,
    gate: Keeper,
    watchdog: Option<Feeder>,
    chores: Chores,
    turns: Turns,
    timekeeper: Timekeeper,
    // What is left for the next turn.
    more_actions: bool,
    unreaped: bool,
    resumed: Vec<u32>,
    listener_rests_until: Option<Time>,
    shutting_down: bool,
    finished: Option<ShutdownKind>,
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
}

pub(crate) use exits::exit_status;
pub(crate) use plan::start_part;

/// Is PID 1, until the end.
#[must_use]
pub fn run() -> ExitCode {
    match supervise() {
        Ok(finished) => crate::ending::run(finished),
        Err((mode, error)) => emergency::die(mode, "init cannot begin", &error.to_string()),
    }
}

/// Supervises until the last service is down. Without its sources, PID 1 can do nothing but say so.
fn supervise() -> Result<Finished, (BootMode, kernel::Error)> {
    let started = Time::from_nanos(kernel::clock::boottime());
    let mut prepared = setup::prepare(started);
    let mode = prepared.told.boot.info.mode;
    emergency::install(mode);
    emergency::remember(prepared.told.recorder.end_mark());
    for line in std::mem::take(&mut prepared.told.notes) {
        prepared.say.line(started, Level::Warning, &line);
    }
    let mut init = open(prepared, started).map_err(|error| (mode, error))?;
    let line = format!(
        "Shark init {} as PID 1 ({:?})",
        env!("CARGO_PKG_VERSION"),
        init.boot.info.mode
    );
    init.say(Level::Notice, &line);
    for lacking in init.boot.info.missing.clone() {
        init.say(Level::Warning, &format!("missing: {lacking}"));
    }
    init.announce_gate();
    init.open_own_log();
    init.look_for_lost_hand_over();
    init.load_for_boot();
    loop {
        init.turn();
        if let Some(kind) = init.finished {
            return Ok(init.finish(kind));
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
        Finished {
            kind,
            mode: self.boot.info.mode,
            bequest: Bequest::new(
                self.recorder.end_mark(),
                self.recorder.uncounted_failure(),
                self.watchdog,
            ),
            say: self.say,
        }
    }
}

/// Opens the sources of the loop.
fn open(prepared: setup::Prepared, now: Time) -> kernel::Result<Init> {
    let setup::Prepared {
        paths,
        say,
        told,
        cgroups,
        masks,
        rescue,
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
        boot,
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
        clients: Clients::default(),
        control_group: None,
        machine_seed: 0,
        signals: Signals::default(),
        loader: Loader::default(),
        logger: Logger::default(),
        recorder,
        gate,
        watchdog,
        chores: Chores::default(),
        turns: Turns::default(),
        timekeeper: Timekeeper::default(),
        more_actions: false,
        // A child may have ended before the signal was blocked.
        unreaped: true,
        resumed: Vec::new(),
        listener_rests_until: None,
        shutting_down: false,
        finished: None,
        paths,
    };
    let poller = &init.poller;
    poller.add(&init.signal_source, turn::SIGNALS, Readiness::READ)?;
    poller.add(&init.timer, turn::TIMER, Readiness::READ)?;
    poller.add(&init.clock, turn::CLOCK, Readiness::READ)?;
    poller.add(&init.watches, turn::WATCHES, Readiness::READ)?;
    init.notify_sockets.watch(poller)?;
    poller.add(&init.listener, turn::LISTENER, Readiness::READ)?;
    Ok(init)
}
