//! What a service is, once its file has been read and checked. Not here: how it is written (`file`)
//! and what it is doing (`supervisor`).

use core::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::begin::Begin;
use crate::calendar::Calendar;
use crate::cpus::CpuList;
use crate::id::ServiceName;
use crate::log::limit::OwnLimit;
use crate::time::Duration;

/// One service, with every default filled in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// Its name: the file's name without `.toml`.
    pub name: ServiceName,
    /// One line for people.
    pub description: String,
    /// The file that first defined it, as it was named to the loader.
    pub source: String,
    /// What it does when it is started.
    pub kind: Kind,
    /// Whom it needs, in which order, and whom it cannot run beside.
    pub relations: Relations,
    /// What happens after it has ended by itself.
    pub restart: Restart,
    /// What becomes of the machine when it is left failed.
    pub failure_action: FailureAction,
    /// How long it may take to become ready.
    pub start_timeout: Duration,
    /// How it is stopped.
    pub stop: Stop,
    /// When it is started; `None`: as soon as it is wanted.
    pub timer: Option<Box<Timer>>,
    /// What is opened for it before it runs, in the order in which it gets them.
    pub sockets: Vec<Socket>,
    /// Whether only its sockets are opened when it is wanted, and the first traffic starts it.
    pub lazy: bool,
    /// What it means for the boot it belongs to.
    pub boot: BootRole,
    /// When a boot of this target is found good; only targets have it, and `None` is
    /// [`GateSettings::default`].
    pub gate: Option<GateSettings>,
    /// What says that it is not to run, for people; it is a target then, and skipped.
    pub masked: Option<String>,
}

/// What a service means for the verdict on the boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BootRole {
    /// Nothing.
    #[default]
    None,
    /// It is reported when it is not up and healthy, and decides nothing.
    Wanted,
    /// The boot is good only when it is up and healthy.
    Essential,
    /// It was one of the two, and the operator has switched it off for this boot: reported, as the
    /// boot was not tried as it was meant.
    Masked,
}

/// When the boot of a target is found good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateSettings {
    /// The boot has failed when it is not found good within this time, counted from the hand-over
    /// to init.
    pub deadline: Duration,
    /// How long all that is essential must be up and healthy without a break.
    pub soak: Duration,
    /// Whether the whole root must have been read through verity.
    pub scrub: bool,
}

impl Default for GateSettings {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(5 * 60),
            soak: Duration::from_secs(10),
            scrub: false,
        }
    }
}

impl Definition {
    /// Whether a run of it begins with the starter, which does what must not hold up PID 1: what is asked
    /// for before the program, and its way into a cgroup where former runs have left processes, since
    /// whoever is born among those waits with them for the processor. Where they have left none, and nothing
    /// else is asked for, its word comes from whoever has executed the program.
    #[must_use]
    pub fn has_starter(&self) -> bool {
        let program = self.kind.program();
        let joins = self.stop.scope == StopScope::Main;
        program.is_some_and(|it| joins || !it.begin.is_empty())
    }

    /// Whether the way into that cgroup is all that a starter has to do.
    #[must_use]
    pub fn only_joins(&self) -> bool {
        let program = self.kind.program();
        self.has_starter() && program.is_some_and(|it| it.begin.is_empty())
    }

    /// Empties the service, so that those who need it start and it runs nothing: the operator, or the
    /// administrator, wants the machine without it. `by` says where that is written.
    pub fn mask(&mut self, by: &str) {
        self.masked = Some(by.to_owned());
        self.kind = Kind::Target;
        self.restart.policy = RestartPolicy::Never;
        self.gate = None;
        self.timer = None;
        self.sockets.clear();
        self.lazy = false;
        self.description = format!("(masked) {}", self.description);
        self.boot = match self.boot {
            BootRole::None => BootRole::None,
            BootRole::Wanted | BootRole::Essential | BootRole::Masked => BootRole::Masked,
        };
    }
}

/// When a service is started, again and again. It has at least one of the three.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timer {
    /// So long after the boot began.
    pub on_boot: Option<Duration>,
    /// So long after its last start; never zero.
    pub every: Option<Duration>,
    /// At these points of civil time, UTC.
    pub calendar: Vec<Calendar>,
    /// Started after the boot when a point of the calendar went by while the machine was off.
    pub persistent: bool,
    /// `on_boot` and `calendar` are put off by up to this, always by the same.
    pub random_delay: Duration,
}

impl Timer {
    /// Whether it names a time, and not one right after the other.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let named = self.on_boot.is_some() || self.every.is_some() || !self.calendar.is_empty();
        named
            && self
                .every
                .is_none_or(|every| every >= Duration::from_secs(1))
    }
}

/// A socket or FIFO that is opened on behalf of a service, and that it finds open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Socket {
    /// The name under which the service knows it (`$LISTEN_FDNAMES`).
    pub name: String,
    /// Where it listens.
    pub listen: Listen,
    /// Permissions of what lies in the file system.
    pub mode: u32,
    /// Its owner there; `None` is root.
    pub owner: Option<Account>,
    /// Connections that wait to be accepted, at most.
    pub backlog: u32,
    /// Whether others may listen at the same address (SO_REUSEPORT).
    pub reuse_port: bool,
    /// Whether it is removed from the file system when the service is stopped.
    pub remove_on_stop: bool,
}

/// Where a socket listens. Paths are absolute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Listen {
    Tcp(SocketAddr),
    Udp(SocketAddr),
    Unix(String),
    UnixDatagram(String),
    UnixSeqpacket(String),
    Fifo(String),
}

impl Listen {
    /// The path of what lies in the file system.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        match self {
            Self::Tcp(_) | Self::Udp(_) => None,
            Self::Unix(path)
            | Self::UnixDatagram(path)
            | Self::UnixSeqpacket(path)
            | Self::Fifo(path) => Some(path),
        }
    }
}

/// What starting the service means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Runs nothing: a name for a set of services.
    Target,
    /// Ready as soon as the program has been executed, or when [`Program::ready`] says so.
    Simple(Box<Program>),
    /// Ready when it says so with `READY=1` (sd_notify(3)).
    Notify(Box<Program>),
    /// Ready when it has ended with success.
    Oneshot(Box<Program>),
    /// Its command leaves a process behind and ends: ready when it has ended with success and that
    /// process, the main one from then on, is found.
    Forking(Box<Program>),
}

impl Kind {
    /// The program, for every kind that runs one.
    #[must_use]
    pub fn program(&self) -> Option<&Program> {
        match self {
            Self::Target => None,
            Self::Simple(program)
            | Self::Notify(program)
            | Self::Oneshot(program)
            | Self::Forking(program) => Some(program),
        }
    }
}

/// Relations to other services, as written; `graph` turns them into edges.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relations {
    /// Must be up first; when one stops or fails to start, this service stops or fails too.
    pub requires: Vec<ServiceName>,
    /// Started too, and waited for, but their failure does not matter.
    pub wants: Vec<ServiceName>,
    /// If they are started as well, this service waits until they are settled.
    pub after: Vec<ServiceName>,
    /// The same from the other side.
    pub before: Vec<ServiceName>,
    /// Starting one stops the other.
    pub conflicts: Vec<ServiceName>,
    /// Services (targets, as a rule) that want this one. Without the key: `default`.
    pub wanted_by: Vec<ServiceName>,
    /// When one of them is stopped or restarted by somebody, so is this service. No order.
    pub part_of: Vec<ServiceName>,
    /// As `requires`, and this service is up only while they are.
    pub binds_to: Vec<ServiceName>,
    /// Started when this service is left failed.
    pub on_failure: Vec<ServiceName>,
}

/// What is executed and in which surroundings. Every path in it is absolute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Path and arguments; never empty.
    pub exec: Vec<String>,
    /// What is done in its process before it is executed.
    pub begin: Begin,
    /// Where a forking service writes the number of its main process.
    pub pid_file: Option<PathBuf>,
    /// How the service is told to read its configuration again; `None`: it cannot.
    pub reload: Option<Reload>,
    /// What tells that it is ready; `None`: what its type says.
    pub ready: Option<Ready>,
    /// How its health is asked for while it is up; `None`: it is taken to be healthy.
    pub health: Option<Health>,
    /// How its life is watched.
    pub watchdog: Watchdog,
    /// How many descriptors are kept for it at most (`FDSTORE=1`).
    pub fd_store_max: u16,
    /// How many of its lines are kept.
    pub log: OwnLimit,
    /// Account to run as; `None` is root.
    pub account: Option<Account>,
    /// Variables added to the minimal environment (PATH, and what init passes).
    pub environment: Vec<(String, String)>,
    /// Directory to start in; `/` when the file says nothing.
    pub working_dir: PathBuf,
    /// File mode creation mask.
    pub umask: u32,
    /// Scheduling priority, -20 to 19; `None`: that of init.
    pub nice: Option<i8>,
    /// Bias of the OOM killer, -1000 to 1000.
    pub oom_score_adj: i16,
    /// Made below /run (and removed with the stop of the service), owned by the account.
    pub runtime_dirs: Vec<String>,
    /// Made below /var/lib, owned by the account, and kept.
    pub state_dirs: Vec<String>,
    /// A terminal that becomes stdin, stdout, stderr and the controlling terminal.
    pub tty: Option<PathBuf>,
    /// Limits of its cgroup.
    pub cgroup: CgroupLimits,
    /// Limits of its processes (setrlimit(2)).
    pub limits: Vec<ResourceLimit>,
}

/// An account, by name as written and by number once it has been looked up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Name of the user.
    pub user: String,
    /// Name of the group, where the file names one; otherwise the user's own.
    pub group: Option<String>,
    /// Numbers; `None` until a loader with /etc/passwd at hand has looked them up.
    pub ids: Option<Ids>,
}

/// Numbers of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ids {
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// How a service is told to read its configuration again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reload {
    /// Send the main process a signal.
    Signal(Signal),
    /// Run a command in the surroundings of the service.
    Command(Vec<String>),
}

/// How it is found out that a service is ready, where that is neither at once nor told by
/// sd_notify(3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ready {
    /// The program writes a line to this descriptor, 3 or more, which it finds open.
    Line(i32),
    /// A probe is good; it is made again and again until then.
    Probe {
        /// What is done each time.
        probe: Probe,
        /// Longest pause between the end of one probe and the next.
        interval: Duration,
        /// A probe that takes longer is killed, and was a bad one.
        timeout: Duration,
    },
}

/// One attempt to find out from outside how a service is, made in its surroundings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Probe {
    /// Run a command: path and arguments, never empty. Status 0 is good.
    Exec(Vec<String>),
    /// Connect to this address. Numbers only: nobody is asked for a name.
    Tcp(SocketAddr),
    /// Connect to a local stream or seqpacket socket at this absolute path.
    Unix(PathBuf),
    /// Ask a server for a page. A status of 200 to 399 is good.
    Http {
        /// Where it listens.
        address: SocketAddr,
        /// What is asked for: path and query, printable ASCII that starts with `/`.
        path: String,
    },
    /// See whether there is something at this absolute path.
    Path(PathBuf),
}

impl Probe {
    /// What it does in a word: its key in a service file.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Exec(_) => "exec",
            Self::Tcp(_) => "tcp",
            Self::Unix(_) => "unix",
            Self::Http { .. } => "http",
            Self::Path(_) => "path",
        }
    }

    /// The command, for the only kind that has one.
    #[must_use]
    pub fn command(&self) -> Option<&[String]> {
        match self {
            Self::Exec(command) => Some(command),
            Self::Tcp(_) | Self::Unix(_) | Self::Http { .. } | Self::Path(_) => None,
        }
    }
}

/// How a service that is up is asked for its health, again and again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// What is done each time.
    pub probe: Probe,
    /// Pause between the end of one probe and the next.
    pub interval: Duration,
    /// A probe that takes longer is killed, and was a bad one.
    pub timeout: Duration,
    /// After so many bad ones in a row, the run counts as failed; at least 1.
    pub failures: u32,
    /// Time between up and the first probe.
    pub delay: Duration,
}

/// Largest `fd-store.max`.
pub const FD_STORE_MOST: u16 = 64;

/// How a service that is up is watched: it says again and again that it is alive (`WATCHDOG=1`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watchdog {
    /// How long it may be silent, never zero; `None`: for ever, unless it asks to be watched itself.
    pub timeout: Option<Duration>,
    /// Sent to the main process of a service that has been silent for longer.
    pub signal: Signal,
}

impl Default for Watchdog {
    fn default() -> Self {
        Self {
            timeout: None,
            signal: Signal::Abrt,
        }
    }
}

/// A signal that may be named in a service file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Default)]
#[allow(missing_docs)]
pub enum Signal {
    Hup,
    Int,
    Quit,
    Usr1,
    Usr2,
    #[default]
    Term,
    Winch,
    Kill,
    Abrt,
}

/// What happens after a service has ended by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restart {
    /// After which ends it is started again.
    pub policy: RestartPolicy,
    /// Pause before the first start after a failure.
    pub delay: Duration,
    /// The pause doubles with each failure in a row, up to this.
    pub max_delay: Duration,
    /// Each pause is shorter than that by a random share of up to so many percent, at most 100.
    pub jitter: u8,
    /// Up for this long, the next failure counts as the first.
    pub reset_after: Duration,
    /// After this many failures in a row it is left failed; `None`: never.
    pub max_failures: Option<u32>,
    /// More starts than this are not made; `None`: there is no limit.
    pub burst: Option<Burst>,
    /// Exit statuses beside 0 that are a good end, in rising order.
    pub success: Box<[u8]>,
}

/// How many starts within how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Burst {
    /// How many, from 1 to [`Burst::MOST`].
    pub starts: u8,
    /// Within how long.
    pub within: Duration,
}

impl Burst {
    /// Most starts of a burst: each is remembered.
    pub const MOST: u8 = 100;
}

/// What becomes of the machine when a service is left failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureAction {
    /// Nothing.
    #[default]
    None,
    /// It restarts, in order.
    Reboot,
    /// It is switched off, in order.
    Poweroff,
    /// The boot is recorded as bad, for the service's cause, and the machine restarts.
    BootBad,
}

/// After which ends a service is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestartPolicy {
    /// Whatever the end.
    Always,
    /// A non-zero exit, a signal, a missed readiness.
    OnFailure,
    /// A failure that the program has not told by an exit status: a signal, a missed readiness.
    OnAbnormal,
    /// A good end only.
    OnSuccess,
    /// Never.
    Never,
}

/// How a service is stopped: the signal to the main process, then time, then `cgroup.kill`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// Asks the main process to end.
    pub signal: Signal,
    /// How long it may take before everything in the cgroup is killed.
    pub timeout: Duration,
    /// What a stop or a restart ends; a shutdown always ends everything.
    pub scope: StopScope,
}

/// What a stop or a restart of a service ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum StopScope {
    /// Everything in its cgroup.
    #[default]
    Cgroup,
    /// The main process alone; the rest lives on, and the next run joins it.
    Main,
}

/// Limits of the service's cgroup (cgroup v2); `None` leaves the kernel's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupLimits {
    /// `memory.min`, bytes: what is kept for the service when memory is short.
    pub memory_min: Option<Bytes>,
    /// `memory.high`, bytes.
    pub memory_high: Option<Bytes>,
    /// `memory.max`, bytes.
    pub memory_max: Option<Bytes>,
    /// `pids.max`.
    pub pids_max: Option<u32>,
    /// `cpu.weight`, 1 to 10000.
    pub cpu_weight: Option<u16>,
    /// `cpu.max` as a share of one CPU, in percent: 150 is one CPU and a half.
    pub cpu_max_percent: Option<u32>,
    /// `cpuset.cpus`: the processors that it runs on.
    pub cpus: Option<CpuList>,
    /// Whether the service may make cgroups of its own below its cgroup.
    pub delegate: bool,
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Bytes(pub u64);

/// One resource limit, soft and hard alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceLimit {
    /// Which resource.
    pub resource: Resource,
    /// The limit; `None` is unlimited.
    pub limit: Option<u64>,
}

/// Resources of setrlimit(2) that a service file may limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Resource {
    /// RLIMIT_CORE, bytes.
    Core,
    /// RLIMIT_MEMLOCK, bytes.
    Memlock,
    /// RLIMIT_NOFILE, descriptors.
    Nofile,
    /// RLIMIT_NPROC, processes of the user.
    Nproc,
    /// RLIMIT_STACK, bytes.
    Stack,
}
