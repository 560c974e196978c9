//! One service: its state with the payload of each, and the rules of it that are needed at all
//! times. Not here: transitions (`machine`, `outcome`, `stop`) and neighbours (`topology`).

use std::collections::BTreeMap;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use crate::definition::{
    BootRole, Definition, FailureAction, Kind, Reload, Restart, Signal, StopScope, Timer,
};
use crate::id::ServiceName;
use crate::status::StateName;
use crate::time::{Duration, Time};

use super::compiled::{Entry, unpack_definition};
use super::event::ExitStatus;
use super::mutation::{Mutation, mutated};
use super::probe::{HealthRules, Probing};
use super::ready::ReadyRules;
use super::reason::Reason;
use super::restart::Starts;
use super::schedule::Schedule;
use super::watchdog::{WatchdogRules, Watching};

/// Whether the service is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Desired {
    Up,
    Down,
}

/// What a service is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum State {
    /// Nothing of it runs.
    Down,
    /// Nothing of it runs, and it is left alone until somebody wants it anew.
    Failed,
    /// Nothing of it runs, and it is started when its timer says so.
    Armed,
    /// Nothing of it runs, its sockets are open, and traffic starts it.
    Listening,
    /// To be started, when the neighbour `on` has changed. `cursor` is how many predecessors have
    /// been looked at and do not block.
    Waiting { on: u32, cursor: u32 },
    /// Its process has been asked for. `recalled`: to be stopped as soon as there is an answer.
    Spawning { recalled: Option<End> },
    /// It runs and is not ready.
    Starting(Run),
    /// It is ready. A target, and a oneshot that is done, has no run.
    Up { run: Option<Run>, reload: Reloading },
    /// To be stopped, when the neighbour `on` has gone before.
    Leaving {
        run: Option<Run>,
        end: End,
        on: u32,
        cursor: u32,
    },
    /// Being stopped, or ended by itself: waits until nothing is left of the run.
    Stopping { run: Run, end: End, killed: bool },
    /// Ended badly; started again when its timer is due.
    Backoff,
}

/// A process tree that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Run {
    /// How the main process ended, once it has.
    pub(super) exited: Option<ExitStatus>,
    /// The cgroup has no process any more.
    pub(super) emptied: bool,
    /// The OOM killer was there.
    pub(super) out_of_memory: bool,
    /// The command of a forking service has ended, and its main process is being looked for.
    pub(super) seeking: bool,
    /// Everything that its main process has left has been asked to end.
    pub(super) swept: bool,
    /// What became of that which is done before its program.
    pub(super) begun: Begun,
}

/// How far a run is with what is done before its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) enum Begun {
    /// It is being done.
    Not,
    /// It is done, or there was nothing to be done.
    Ready,
    /// A condition does not hold.
    Skipped,
    /// It could not be done.
    Failed,
}

impl Run {
    pub(super) const NEW: Self = Self {
        exited: None,
        emptied: false,
        out_of_memory: false,
        begun: Begun::Ready,
        seeking: false,
        swept: false,
    };

    /// Main process reaped and cgroup empty: the run is over.
    pub(super) fn over(&self) -> bool {
        self.exited.is_some() && (self.emptied || mutated(Mutation::RunOverTooEarly))
    }
}

/// Whether the service reads its configuration again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Reloading {
    No,
    /// It said so itself.
    Announced,
    /// Its reload command runs.
    Command,
    /// Its reload command has had its time, and is not gone: the service is watched again, and there is
    /// no second command beside it.
    Overdue,
}

/// Why a run is being ended, and so what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum End {
    /// Somebody asked: down, or up again if wanted again.
    Asked,
    /// What it requires failed: failed.
    Dependency,
    /// By itself: the restart policy decides on the exit status.
    Itself,
    /// It was not ready in time, or not healthy: the restart policy decides on a failure.
    Unfit,
    /// A condition of its does not hold: it counts as up, with nothing running.
    Skipped,
}

impl State {
    /// Whether the service holds anything: from the spawn until the run is over, and while up.
    pub(super) const fn active(&self) -> bool {
        match self {
            Self::Spawning { .. }
            | Self::Starting(_)
            | Self::Up { .. }
            | Self::Leaving { .. }
            | Self::Stopping { .. } => true,
            Self::Down
            | Self::Failed
            | Self::Armed
            | Self::Listening
            | Self::Waiting { .. }
            | Self::Backoff => false,
        }
    }

    /// Whether those that require it may run: it is up, or lies in wait.
    pub(super) const fn available(&self) -> bool {
        match self {
            Self::Up { .. } | Self::Armed | Self::Listening => true,
            Self::Down
            | Self::Failed
            | Self::Waiting { .. }
            | Self::Spawning { .. }
            | Self::Starting(_)
            | Self::Leaving { .. }
            | Self::Stopping { .. }
            | Self::Backoff => false,
        }
    }

    /// Whether a run of it may have processes.
    pub(super) const fn occupied(&self) -> bool {
        match self {
            Self::Spawning { .. } | Self::Starting(_) | Self::Stopping { .. } => true,
            Self::Up { run, .. } | Self::Leaving { run, .. } => run.is_some(),
            Self::Down
            | Self::Failed
            | Self::Armed
            | Self::Listening
            | Self::Waiting { .. }
            | Self::Backoff => false,
        }
    }

    /// The run, while it has one that was answered with `Spawned`.
    pub(super) const fn run_mut(&mut self) -> Option<&mut Run> {
        match self {
            Self::Starting(run) | Self::Stopping { run, .. } => Some(run),
            Self::Up { run, .. } | Self::Leaving { run, .. } => run.as_mut(),
            Self::Down
            | Self::Failed
            | Self::Armed
            | Self::Listening
            | Self::Waiting { .. }
            | Self::Spawning { .. }
            | Self::Backoff => None,
        }
    }

    pub(super) const fn name(&self) -> StateName {
        match self {
            Self::Down => StateName::Down,
            Self::Failed => StateName::Failed,
            Self::Armed => StateName::Armed,
            Self::Listening => StateName::Listening,
            Self::Waiting { .. } => StateName::Waiting,
            Self::Spawning { recalled: None } | Self::Starting(_) => StateName::Starting,
            Self::Up { .. } => StateName::Up,
            Self::Spawning { recalled: Some(_) } | Self::Leaving { .. } | Self::Stopping { .. } => {
                StateName::Stopping
            }
            Self::Backoff => StateName::Backoff,
        }
    }
}

/// What starting means, without the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) enum Manner {
    #[default]
    Target,
    Simple,
    Notify,
    Oneshot,
    Forking,
}

/// How it is told to read its configuration again, without the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) enum ReloadBy {
    #[default]
    Nothing,
    Signal(Signal),
    Command,
}

/// The part of a definition that transitions need, unpacked.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Rules {
    pub(super) manner: Manner,
    /// Something is done before its program.
    pub(super) begins: bool,
    pub(super) reload: ReloadBy,
    pub(super) stop_signal: Signal,
    pub(super) stop_timeout: Duration,
    pub(super) stop_scope: StopScope,
    pub(super) start_timeout: Duration,
    pub(super) restart: Restart,
    pub(super) boot: BootRole,
    pub(super) failure_action: FailureAction,
    pub(super) health: Option<Box<HealthRules>>,
    pub(super) ready: Option<Box<ReadyRules>>,
    /// Only of those that run a program.
    pub(super) watchdog: Option<WatchdogRules>,
    pub(super) timer: Option<Box<Timer>>,
    /// It has sockets.
    pub(super) sockets: bool,
    pub(super) lazy: bool,
    /// It is not to run.
    pub(super) masked: bool,
}

impl Rules {
    /// Those of a definition.
    pub(super) fn new(definition: &Definition) -> Self {
        let manner = match &definition.kind {
            Kind::Target => Manner::Target,
            Kind::Simple(_) => Manner::Simple,
            Kind::Notify(_) => Manner::Notify,
            Kind::Oneshot(_) => Manner::Oneshot,
            Kind::Forking(_) => Manner::Forking,
        };
        let reload = match definition.kind.program().map(|program| &program.reload) {
            None | Some(None) => ReloadBy::Nothing,
            Some(Some(Reload::Signal(signal))) => ReloadBy::Signal(*signal),
            Some(Some(Reload::Command(_))) => ReloadBy::Command,
        };
        let health = definition.kind.program().and_then(|it| it.health.as_ref());
        let ready = definition.kind.program().and_then(|it| it.ready.as_ref());
        let watchdog = definition.kind.program().map(|it| &it.watchdog);
        Self {
            manner,
            begins: definition.has_starter(),
            reload,
            stop_signal: definition.stop.signal,
            stop_timeout: definition.stop.timeout,
            stop_scope: definition.stop.scope,
            start_timeout: definition.start_timeout,
            restart: definition.restart.clone(),
            boot: definition.boot,
            failure_action: definition.failure_action,
            health: health.map(|health| Box::new(HealthRules::new(health))),
            ready: ready.map(|ready| Box::new(ReadyRules::new(ready))),
            watchdog: watchdog.map(WatchdogRules::new),
            timer: definition.timer.clone(),
            sockets: !definition.sockets.is_empty(),
            lazy: definition.lazy,
            masked: definition.masked.is_some(),
        }
    }

    /// Whether a program that ended so has ended well.
    pub(super) fn is_clean(&self, status: ExitStatus) -> bool {
        match status {
            ExitStatus::Code(0) => true,
            ExitStatus::Code(code) => {
                let known = self.restart.success.binary_search(&code).is_ok();
                known && !mutated(Mutation::SuccessStatusUnknown)
            }
            ExitStatus::Signal { .. } => false,
        }
    }

    pub(super) fn health(&self) -> Option<HealthRules> {
        self.health.as_deref().copied()
    }
}

/// A definition as the supervisor keeps it.
/// Without content between the two parts of a thaw, when nothing reads it.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Shared with those that have the same ones.
    pub(super) rules: Rc<Rules>,
    /// The whole definition in postcard's encoding: a fifth of its size in memory.
    pub(super) packed: Box<[u8]>,
}

/// Rules by their encoding, each kept once: most services of a graph have the same ones, and rules are
/// larger than all else that is kept of a service.
#[derive(Debug, Default)]
pub(super) struct Shared(BTreeMap<Box<[u8]>, Rc<Rules>>);

impl Shared {
    /// The rules whose encoding is `bytes`, which `read` makes where they are not here yet.
    fn rules(&mut self, bytes: &[u8], read: impl FnOnce() -> Rules) -> Rc<Rules> {
        if let Some(known) = self.0.get(bytes) {
            return Rc::clone(known);
        }
        let rules = Rc::new(read());
        self.0.insert(bytes.into(), Rc::clone(&rules));
        rules
    }
}

impl Kept {
    /// The one that was packed into `packed`.
    pub(super) fn unpack(packed: &[u8], shared: &mut Shared) -> Result<Self, String> {
        let rules = Rules::new(&unpack_definition(packed)?);
        let bytes = postcard::to_stdvec(&rules).map_err(|error| error.to_string())?;
        Ok(Self {
            rules: shared.rules(&bytes, || rules),
            packed: packed.into(),
        })
    }

    /// The one of a compiled graph. Rules that cannot be read, which its checksum makes all but
    /// impossible, are found in the definition, or are those of a service that never runs.
    pub(super) fn of(entry: &Entry<'_>, shared: &mut Shared) -> Self {
        let read = || {
            let read = postcard::from_bytes(entry.rules).ok();
            let found = || unpack_definition(entry.packed).map(|it| Rules::new(&it));
            read.or_else(|| found().ok()).unwrap_or_default()
        };
        Self {
            rules: shared.rules(entry.rules, read),
            packed: entry.packed.into(),
        }
    }
}

/// A service in its place.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Service {
    pub(super) name: ServiceName,
    /// Frozen beside the rest, since it hardly ever changes.
    #[serde(skip)]
    pub(super) kept: Kept,
    /// The definition that a reload brought while a run goes on.
    #[serde(skip)]
    pub(super) next: Option<Box<Kept>>,
    pub(super) desired: Desired,
    pub(super) state: State,
    /// Counts the spawns.
    pub(super) runs: u32,
    /// Failures in a row.
    pub(super) failures: u32,
    /// Starts by itself since the last start by hand.
    pub(super) restarts: u32,
    /// When it was started lately, where that is bounded.
    pub(super) starts: Starts,
    /// How many services have failed one after the other, each of which started the next one, down
    /// to this one.
    pub(super) rescue: u8,
    /// Since it was last wanted anew, an attempt has failed, or waits for one that has: nobody but
    /// those that require it waits for it any longer.
    pub(super) tried: bool,
    /// It is to be started now, though it has a timer or is lazy.
    pub(super) due: bool,
    /// Its sockets may be open.
    pub(super) listens: bool,
    /// It is in the queue, which is empty whenever this is written down.
    #[serde(skip)]
    pub(super) queued: bool,
    /// It is not in the newest graph: freed when down.
    pub(super) removed: bool,
    /// Its cgroup and directories may exist.
    pub(super) dirty: bool,
    /// It is up only in that nobody waits for it: a condition of its does not hold.
    pub(super) skipped: bool,
    /// Processes of an earlier run may live on in its cgroup, by its scope of stopping.
    pub(super) left: bool,
    /// Somebody wants all of it to end, whatever its scope of stopping: until it is started again.
    pub(super) whole: bool,
    /// Whether the boot waits for it.
    pub(super) boot: BootMark,
    /// When it came into its state.
    pub(super) since: Time,
    /// When it was last spawned.
    pub(super) started: Option<Time>,
    /// When it was last ready.
    pub(super) ready: Option<Time>,
    /// When its timer is due.
    pub(super) deadline: Option<Time>,
    /// When its timer was set: it may have been extended since.
    pub(super) armed: Time,
    /// Its watchdog, where it has had one since its last start.
    pub(super) watching: Option<Box<Watching>>,
    /// Its probes, where it is asked whether it is ready, or for its health.
    pub(super) probing: Option<Box<Probing>>,
    /// Its timer, where it has one and has been wanted.
    pub(super) schedule: Option<Box<Schedule>>,
    /// Why it is in its state.
    pub(super) reason: Option<Box<Reason>>,
    /// How it ended when it last failed: its reason is gone with the next start.
    pub(super) last_failure: Option<Box<str>>,
    /// What it says of itself.
    pub(super) status_text: Option<Box<str>>,
    /// What it says it fails for, should it fail.
    pub(super) complaint: Option<Box<str>>,
}

/// Whether a service belongs to the boot target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum BootMark {
    No,
    Pending,
    Settled,
}

impl Service {
    pub(super) fn new(name: ServiceName, kept: Kept, now: Time) -> Self {
        Self {
            name,
            kept,
            next: None,
            desired: Desired::Down,
            state: State::Down,
            runs: 0,
            failures: 0,
            restarts: 0,
            starts: Starts::default(),
            rescue: 0,
            tried: false,
            due: false,
            listens: false,
            queued: false,
            removed: false,
            dirty: false,
            skipped: false,
            left: false,
            whole: false,
            boot: BootMark::No,
            since: now,
            started: None,
            ready: None,
            deadline: None,
            armed: now,
            watching: None,
            probing: None,
            schedule: None,
            reason: None,
            last_failure: None,
            status_text: None,
            complaint: None,
        }
    }

    pub(super) fn definition(&self) -> Option<Definition> {
        unpack_definition(&self.kept.packed).ok()
    }

    /// The definition of the newest graph, which a present run may not have.
    pub(super) fn newest(&self) -> Option<Definition> {
        let newest = self.next.as_deref().unwrap_or(&self.kept);
        unpack_definition(&newest.packed).ok()
    }

    /// What it means for the boot, in the newest graph.
    pub(super) fn role(&self) -> BootRole {
        let newest = self.next.as_deref().unwrap_or(&self.kept);
        newest.rules.boot
    }

    /// Why it is in its state, in words.
    pub(super) fn reason_text(&self) -> Option<&str> {
        self.reason.as_deref().map(Reason::text)
    }

    /// What it said it would fail for, as the end of a sentence; empty where it said nothing.
    pub(super) fn complained(&self) -> String {
        let complaint = self.complaint.as_deref();
        complaint.map_or_else(String::new, |said| format!(" (it said {said})"))
    }

    /// Whether somebody who only comes after it need not wait for it.
    pub(super) fn settled(&self) -> bool {
        match self.state {
            State::Up { .. } | State::Armed | State::Listening | State::Failed | State::Backoff => {
                true
            }
            State::Down => self.desired == Desired::Down,
            State::Waiting { .. }
            | State::Spawning { .. }
            | State::Starting(_)
            | State::Leaving { .. }
            | State::Stopping { .. } => self.tried || self.desired == Desired::Down,
        }
    }
}
