//! A service while its files are read one after the other: the keys written so far. Not here: what
//! they become (`build`).

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::before::BeginDraft;
use super::sockets::SocketDraft;
use super::value::Value;
use crate::calendar::Calendar;
use crate::definition::{
    CgroupLimits, FailureAction, Probe, Reload, Resource, RestartPolicy, Signal, StopScope,
};
use crate::diagnostic::Place;
use crate::graph::Relation;
use crate::id::ServiceName;
use crate::log::limit::OwnLimit;
use crate::time::Duration;

/// The values of `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Target,
    Simple,
    Notify,
    Oneshot,
    Forking,
}

impl Type {
    pub(super) const NAMES: [(&'static str, Self); 5] = [
        ("simple", Self::Simple),
        ("notify", Self::Notify),
        ("oneshot", Self::Oneshot),
        ("forking", Self::Forking),
        ("target", Self::Target),
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Target => "target",
            Self::Simple => "simple",
            Self::Notify => "notify",
            Self::Oneshot => "oneshot",
            Self::Forking => "forking",
        }
    }
}

/// Policies of `restart.policy`.
pub(super) const POLICIES: [(&str, RestartPolicy); 5] = [
    ("always", RestartPolicy::Always),
    ("on-failure", RestartPolicy::OnFailure),
    ("on-abnormal", RestartPolicy::OnAbnormal),
    ("on-success", RestartPolicy::OnSuccess),
    ("never", RestartPolicy::Never),
];

/// Values of `stop.scope`.
pub(super) const SCOPES: [(&str, StopScope); 2] =
    [("cgroup", StopScope::Cgroup), ("main", StopScope::Main)];

/// Values of `on-failure.action`.
pub(super) const FAILURE_ACTIONS: [(&str, FailureAction); 4] = [
    ("none", FailureAction::None),
    ("reboot", FailureAction::Reboot),
    ("poweroff", FailureAction::Poweroff),
    ("boot-bad", FailureAction::BootBad),
];

/// The keys written so far; `None` and empty mean not written (or not readable).
#[derive(Default)]
pub(super) struct Draft {
    /// Where each key was written last, readable or not.
    pub(super) written: BTreeMap<&'static str, Place>,
    pub(super) description: Option<String>,
    pub(super) masked: Option<bool>,
    pub(super) kind: Option<Type>,
    pub(super) relations: BTreeMap<Relation, Vec<(ServiceName, Place)>>,
    pub(super) exec: Option<Vec<String>>,
    pub(super) pid_file: Option<PathBuf>,
    pub(super) reload: Option<Reload>,
    pub(super) user: Option<String>,
    pub(super) group: Option<String>,
    pub(super) environment: BTreeMap<String, String>,
    pub(super) working_dir: Option<PathBuf>,
    pub(super) umask: Option<u32>,
    pub(super) nice: Option<i8>,
    pub(super) oom_score_adj: Option<i16>,
    pub(super) runtime_dirs: Option<Vec<String>>,
    pub(super) state_dirs: Option<Vec<String>>,
    pub(super) tty: Option<PathBuf>,
    pub(super) start_timeout: Option<Duration>,
    pub(super) policy: Option<RestartPolicy>,
    pub(super) delay: Option<Duration>,
    pub(super) max_delay: Option<Duration>,
    pub(super) reset_after: Option<Duration>,
    pub(super) max_failures: Option<u32>,
    pub(super) jitter: Option<u32>,
    pub(super) burst: Option<u8>,
    pub(super) burst_within: Option<Duration>,
    pub(super) success: Option<Vec<u8>>,
    pub(super) failure_action: Option<FailureAction>,
    pub(super) signal: Option<Signal>,
    pub(super) stop_timeout: Option<Duration>,
    pub(super) stop_scope: Option<StopScope>,
    pub(super) essential: Option<bool>,
    pub(super) wanted: Option<bool>,
    pub(super) ready: ReadyDraft,
    pub(super) begin: BeginDraft,
    pub(super) health: HealthDraft,
    pub(super) watchdog_timeout: Option<Duration>,
    pub(super) watchdog_signal: Option<Signal>,
    pub(super) fd_store_max: Option<u16>,
    pub(super) log: OwnLimit,
    pub(super) gate: GateDraft,
    pub(super) timer: TimerDraft,
    pub(super) sockets: Vec<SocketDraft>,
    pub(super) lazy: Option<bool>,
    pub(super) cgroup: CgroupLimits,
    pub(super) limits: BTreeMap<Resource, Option<u64>>,
}

/// The keys of `[ready]`.
#[derive(Default)]
pub(super) struct ReadyDraft {
    pub(super) by: Option<ReadyBy>,
    pub(super) interval: Option<Duration>,
    pub(super) timeout: Option<Duration>,
}

/// What tells that a service is ready.
pub(super) enum ReadyBy {
    Line(i32),
    Probe(Probe),
}

impl ReadyBy {
    /// Its key in the table.
    pub(super) const fn word(&self) -> &'static str {
        match self {
            Self::Line(_) => "fd",
            Self::Probe(probe) => probe.word(),
        }
    }
}

/// The keys of `[health]`.
#[derive(Default)]
pub(super) struct HealthDraft {
    pub(super) probe: Option<Probe>,
    pub(super) interval: Option<Duration>,
    pub(super) timeout: Option<Duration>,
    pub(super) failures: Option<u32>,
    pub(super) delay: Option<Duration>,
}

/// The keys of `[gate]`.
#[derive(Default)]
pub(super) struct GateDraft {
    pub(super) deadline: Option<Duration>,
    pub(super) soak: Option<Duration>,
    pub(super) scrub: Option<bool>,
}

/// The keys of `[timer]`.
#[derive(Default)]
pub(super) struct TimerDraft {
    pub(super) on_boot: Option<Duration>,
    pub(super) every: Option<Duration>,
    pub(super) calendar: Option<Vec<Calendar>>,
    pub(super) persistent: Option<bool>,
    pub(super) random_delay: Option<Duration>,
}

impl Draft {
    /// A later file adds to a relation; an empty list empties it.
    pub(super) fn relate(&mut self, relation: Relation, value: &mut Value<'_, '_>) {
        let Some(names) = value.names() else { return };
        let list = self.relations.entry(relation).or_default();
        if names.is_empty() {
            list.clear();
        }
        list.extend(names);
    }

    /// A later file replaces the limit.
    pub(super) fn limit(&mut self, resource: Resource, limit: Option<Option<u64>>) {
        if let Some(limit) = limit {
            self.limits.insert(resource, limit);
        }
    }
}

/// A later file replaces the value; an unreadable value leaves it.
pub(super) fn put<T>(slot: &mut Option<T>, value: Option<T>) {
    if value.is_some() {
        *slot = value;
    }
}
