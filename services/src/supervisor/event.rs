//! The one vocabulary between core and shell: what may happen, and what may be asked for.

use serde::{Deserialize, Serialize};

use crate::definition::{FailureAction, Signal};
use crate::id::{RunId, ServiceId, ServiceName};
use crate::status::ShutdownKind;

use super::compiled::Compiled;

/// A request of a client, named by the shell, so that the answer finds its way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RequestId(pub u64);

/// What the shell tells the core.
#[derive(Debug, Serialize, Deserialize)]
pub enum Event {
    /// Bring up a target; told once, at boot.
    Boot {
        /// The target's name.
        target: ServiceName,
    },
    /// A process of `run` now exists.
    Spawned {
        /// The run.
        run: RunId,
    },
    /// The sockets of a lazy service are open, and watched for traffic.
    Listening {
        /// The run, which is not to be started yet.
        run: RunId,
    },
    /// Something waits on a socket of a lazy service that listens. Told once for each
    /// [`Action::Listen`].
    Traffic {
        /// The service.
        service: ServiceId,
    },
    /// The process of `run` could not be made, or could not be executed.
    SpawnFailed {
        /// The run.
        run: RunId,
        /// What failed, for people.
        cause: String,
    },
    /// The main process of `run` has ended and has been reaped.
    Exited {
        /// The run.
        run: RunId,
        /// How it ended.
        status: ExitStatus,
    },
    /// The main process of `run` has been looked for, as [`Action::FindMain`] asks.
    MainSought {
        /// The run.
        run: RunId,
        /// It is found, and its end will be the run's `Exited`; or why not.
        outcome: Result<(), String>,
    },
    /// The cgroup of `run` has no process any more (`populated 0`). Where there are no cgroups, the
    /// shell tells it as soon as the main process is gone and its process group has been killed.
    Emptied {
        /// The run.
        run: RunId,
    },
    /// The kernel's OOM killer took a process of the run's cgroup.
    OutOfMemory {
        /// The run.
        run: RunId,
    },
    /// A datagram of sd_notify(3) whose sender belongs to `run`, one of its assignments at a time.
    Notified {
        /// The run.
        run: RunId,
        /// What it says.
        message: crate::notify::Message,
        /// Whether the sender is the main process itself.
        from_main: bool,
    },
    /// The reload command of `run` has ended.
    ReloadEnded {
        /// The run that was told to reload.
        run: RunId,
        /// How the command ended.
        outcome: Result<(), String>,
    },
    /// The probe of `run` has ended, or could not be started, or was killed: told once for each
    /// [`Action::Probe`]. When the run is over by then, it is ignored.
    ProbeEnded {
        /// The run that was asked.
        run: RunId,
        /// Good, or what is wrong in a few words: `it exited with status 1`.
        outcome: Result<(), String>,
    },
    /// The descriptor by which `run` is to say that it is ready (`ready.fd`): a line was read from it,
    /// or none will ever be. Told once at most.
    ReadyLine {
        /// The run that has the descriptor.
        run: RunId,
        /// A line, or why there will be none.
        outcome: Result<(), String>,
    },
    /// A client asks for something.
    Request {
        /// Answered by [`Action::Complete`] with the same id, exactly once.
        request: RequestId,
        /// What it asks for.
        command: Command,
    },
    /// A client went away: its request need not be answered, what it asked for goes on.
    Forget {
        /// Whose request.
        request: RequestId,
    },
    /// A new graph has been read and checked: take it over.
    Replace {
        /// Answered when the swap is done.
        request: RequestId,
        /// The graph.
        #[serde(with = "super::trace::graph_text")]
        graph: Box<Compiled>,
    },
    /// Stop everything in reverse order, then end with [`Action::Finish`]. A second one of another
    /// kind changes what happens at the end; of the same kind, it changes nothing.
    Shutdown {
        /// What happens at the end.
        kind: ShutdownKind,
    },
    /// Which machine this is: a number that differs from machine to machine, for delays that are to
    /// differ. Told before the boot.
    Machine {
        /// The number.
        seed: u64,
    },
    /// The machine's clock has been set, or is told for the first time.
    ClockSet {
        /// What it says now: nanoseconds since 1970, UTC.
        unix_nanos: i64,
    },
    /// The answer to [`Action::RecallStarts`].
    StartsRecalled {
        /// Last starts in former boots, seconds since 1970; `None`: they cannot be read.
        starts: Option<Vec<(ServiceName, i64)>>,
    },
    /// Time has passed: whatever was due is done.
    Tick,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitStatus {
    /// exit(3) with this code.
    Code(u8),
    /// Killed by this signal number.
    Signal {
        /// Number of the signal, signal(7).
        number: u8,
        /// Whether a core was dumped.
        core_dumped: bool,
    },
}

/// What a probe is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// To find out when a service that starts is ready: the probe of `[ready]`.
    Ready,
    /// To find out how a service is that is up: the probe of `[health]`.
    Health,
}

/// What a client may ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Want it up, with all it requires and wants; done when it is up or has failed.
    Start(ServiceName),
    /// Want it down, with all that require it; done when everything of it is gone.
    Stop(ServiceName),
    /// The same, and end what its scope of stopping leaves; done when nothing of it is left at all.
    StopAll(ServiceName),
    /// Down and up again, with those that require it and were up; done when it is up or has failed.
    Restart(ServiceName),
    /// Ask the service to read its configuration again; done when it has.
    Reload(ServiceName),
    /// Done when the boot target has settled: every service of it is up or has failed.
    WaitBoot,
}

/// What the core asks of the shell. The shell performs actions in the order given, and tells the
/// outcome of each by an event; it never decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Make the cgroup of the service where there is none, and start the program of `run` in it.
    /// Answered by `Spawned` or `SpawnFailed`; after `Spawned`, one `Exited` and one `Emptied`.
    Spawn {
        /// The run; its definition is `Supervisor::definition(run.service)`.
        run: RunId,
    },
    /// Open the sockets of a lazy service, but for those that are open already, and watch them for
    /// the first traffic. Answered by `Listening` or `SpawnFailed`; then `Traffic` may come.
    Listen {
        /// The run; its definition is `Supervisor::definition(run.service)`.
        run: RunId,
    },
    /// Close the sockets of a service, lazy or not: it stays down.
    Unlisten {
        /// The service.
        service: ServiceId,
    },
    /// Send the main process of `run` a signal, by pidfd. Gone already: nothing happens.
    Signal {
        /// The run.
        run: RunId,
        /// Which signal.
        signal: Signal,
    },
    /// The service says that its main process is another one (`MAINPID=`, said by the main process
    /// itself while it runs). If `pid` lies in the cgroup of `run`, it is the main process from now
    /// on: its end is the run's `Exited`, and that of the former one is nothing.
    Adopt {
        /// The run.
        run: RunId,
        /// The process, as the shell knows it.
        pid: u32,
    },
    /// The command of a forking service has ended well: find the process it has left, which is the
    /// main one from now on. Answered by `MainSought`.
    FindMain {
        /// The run.
        run: RunId,
    },
    /// Ask everything in the cgroup of `run` and below it to end (SIGTERM). `Emptied` follows when
    /// it has; otherwise `KillAll` will.
    EndAll {
        /// The run.
        run: RunId,
    },
    /// Kill everything in the cgroup of `run` (`cgroup.kill`). `Emptied` follows, if it has not
    /// been told already.
    KillAll {
        /// The run.
        run: RunId,
    },
    /// Run the reload command of the service beside its main process, in the same cgroup.
    /// Answered by `ReloadEnded`.
    SpawnReload {
        /// The run to be reloaded.
        run: RunId,
    },
    /// Make a probe of the service beside its main process, in the same surroundings and the same
    /// cgroup. Answered by `ProbeEnded`. A service has at most one at a time, for its readiness only
    /// while it starts, for its health only while it is up.
    Probe {
        /// The run that is asked; what is done is in its definition.
        run: RunId,
        /// Which of its probes.
        purpose: Purpose,
    },
    /// Kill the probe of `run` with all it has started: it takes too long, or the service is
    /// about to be stopped. `ProbeEnded` follows, if it has not been told already.
    KillProbe {
        /// The run.
        run: RunId,
    },
    /// The service is down and will not start again by itself: its cgroup and runtime directories
    /// may go.
    Release {
        /// The service.
        service: ServiceId,
    },
    /// Keep, over a power-off too, when a service with a persistent timer was last started.
    RememberStart {
        /// The service.
        service: ServiceId,
        /// Its start by the machine's clock, seconds since 1970.
        unix_seconds: i64,
    },
    /// Look up what `RememberStart` has kept in former boots. Answered by `StartsRecalled`.
    RecallStarts,
    /// Say what changed, to the kernel log and to whoever watches.
    Announce {
        /// The service.
        service: ServiceId,
        /// What changed.
        change: Change,
    },
    /// Answer a request.
    Complete {
        /// Which request.
        request: RequestId,
        /// Its answer.
        outcome: Outcome,
    },
    /// A service is left failed, and its file says what becomes of the machine then. `Shutdown` is
    /// told as for an operator; nothing else is decided by it.
    Escalate {
        /// The service.
        service: ServiceId,
        /// Never [`FailureAction::None`].
        action: FailureAction,
        /// Why it failed.
        cause: String,
    },
    /// The boot target has settled; told once.
    BootSettled {
        /// Services of the target that failed.
        failed: Vec<ServiceId>,
    },
    /// Every service is down: unmount and go. Nothing follows it.
    Finish {
        /// Where to.
        kind: ShutdownKind,
    },
}

/// What changed about a service, as told to people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Its process has been asked for.
    Starting,
    /// It is up: ready, or a oneshot that ended well, or a target whose services are up.
    Up,
    /// A condition of its does not hold: nothing of it runs, and nobody waits for it.
    Skipped {
        /// Which.
        cause: String,
    },
    /// It waits for its timer.
    Armed,
    /// Its sockets are open, and it waits for traffic.
    Listening,
    /// It has been asked to stop.
    Stopping,
    /// It did not stop in time and everything of it was killed.
    Killed,
    /// It is down because somebody wanted it so, or ended well by itself.
    Down,
    /// It ended, and will be started again after a pause.
    Backoff {
        /// How it ended.
        cause: String,
        /// The pause.
        pause: core::time::Duration,
    },
    /// It failed and is left alone.
    Failed {
        /// Why.
        cause: String,
    },
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Done as asked.
    Done,
    /// There is no service of that name.
    NoSuchService(ServiceName),
    /// It was tried and failed, for this reason.
    Failed(String),
    /// It cannot be done at all, for this reason (no reload command, shutting down, queue full).
    Refused(String),
    /// A later request of the opposite kind took its place.
    Superseded,
}
