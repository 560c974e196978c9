//! The draft of a service into its definition: fills in defaults, checks what only several keys
//! together can get wrong, looks up the account. Not here: single values (`value`) and other
//! services (`graph`).

use std::path::PathBuf;

use super::draft::{Draft, Type};
use super::keys::KEYS;
use super::probe;
use super::value::either;
use crate::definition::{
    Account, BootRole, Burst, Definition, FailureAction, GateSettings, Kind, Program, Relations,
    ResourceLimit, Restart, RestartPolicy, Signal, Stop, Watchdog,
};
use crate::diagnostic::{Diagnostic, Place};
use crate::graph::{DEFAULT_START_TIMEOUT, DEFAULT_TARGET, Placed, Relation};
use crate::id::ServiceName;
use crate::time::Duration;
use crate::units::duration_text;
use crate::users::Accounts;

/// Umask of a service whose file says nothing.
const DEFAULT_UMASK: u32 = 0o022;
/// `restart.burst-within`, where only `restart.burst` is written.
const DEFAULT_BURST_WITHIN: Duration = Duration::from_secs(60);

/// A draft, complete: all files of the service are in it.
pub(super) struct Build<'b> {
    pub(super) name: ServiceName,
    /// The file that defines it.
    pub(super) file: &'b str,
    pub(super) draft: Draft,
    /// Whether all its files could be read throughout.
    pub(super) well_formed: bool,
    pub(super) accounts: Option<&'b Accounts>,
    pub(super) diagnostics: &'b mut Vec<Diagnostic>,
}

impl Build<'_> {
    /// The definition. Where something is wrong, it is told, and what is returned stands in, so
    /// that the relations can be checked all the same.
    pub(super) fn build(mut self) -> Placed {
        if self.draft.masked == Some(true) {
            return self.build_masked();
        }
        self.check_types();
        self.check_restart();
        self.check_memory();
        self.check_role();
        self.check_probes();
        let gate = self.gate();
        let timer = self.timer();
        let (sockets, lazy) = self.sockets();
        self.check_line_number(sockets.len());
        let restart = self.restart();
        let stop = Stop::default();
        let stop = Stop {
            signal: self.draft.signal.unwrap_or(stop.signal),
            timeout: self.draft.stop_timeout.unwrap_or(stop.timeout),
            scope: self.draft.stop_scope.unwrap_or(stop.scope),
        };
        let kind = self.kind();
        self.check_lazy(lazy, &kind, timer.is_some());
        let (relations, names) = self.relations();
        let (boot, role) = self.role();
        let definition = Definition {
            name: self.name,
            description: self.draft.description.unwrap_or_default(),
            source: self.file.to_owned(),
            kind,
            timer,
            sockets,
            lazy,
            relations,
            restart,
            failure_action: self.draft.failure_action.unwrap_or_default(),
            start_timeout: self.draft.start_timeout.unwrap_or(DEFAULT_START_TIMEOUT),
            stop,
            boot,
            gate,
            masked: None,
        };
        Placed {
            definition,
            file: Place::start(self.file),
            names,
            role,
        }
    }

    /// A service that is not to run. Who wants it and what it means for the boot are kept, as both are
    /// to be told; whatever else its files say has no meaning now, and cannot be wrong.
    fn build_masked(mut self) -> Placed {
        let by = self.place("masked").file;
        let (all, mut names) = self.relations();
        names.retain(|relation, _| *relation == Relation::WantedBy);
        let (boot, role) = self.role();
        let mut definition = Definition {
            name: self.name,
            description: self.draft.description.unwrap_or_default(),
            source: self.file.to_owned(),
            kind: Kind::Target,
            timer: None,
            sockets: Vec::new(),
            lazy: false,
            relations: Relations {
                wanted_by: all.wanted_by,
                ..Relations::default()
            },
            restart: Restart::default(),
            failure_action: FailureAction::None,
            start_timeout: DEFAULT_START_TIMEOUT,
            stop: Stop::default(),
            boot,
            gate: None,
            masked: None,
        };
        definition.mask(&by);
        Placed {
            definition,
            file: Place::start(self.file),
            names,
            role,
        }
    }

    /// What it means for the boot, and where that is written.
    fn role(&self) -> (BootRole, Option<Place>) {
        let place = ["boot.essential", "boot.wanted"].map(|key| self.draft.written.get(key));
        let role = match (self.draft.essential, self.draft.wanted) {
            (Some(true), _) => BootRole::Essential,
            (_, Some(true)) => BootRole::Wanted,
            (Some(false) | None, Some(false) | None) => BootRole::None,
        };
        (role, place.into_iter().flatten().next().cloned())
    }

    pub(super) fn written(&self, key: &str) -> bool {
        self.draft.written.contains_key(key)
    }

    /// Where `key` is written, or the file as a whole.
    pub(super) fn place(&self, key: &str) -> Place {
        let written = self.draft.written.get(key).cloned();
        written.unwrap_or_else(|| Place::start(self.file))
    }

    pub(super) fn tell(
        &mut self,
        key: &str,
        message: impl Into<String>,
        expected: impl Into<String>,
    ) {
        let told = Diagnostic::new(&self.place(key), message)
            .key(key)
            .expected(expected);
        self.diagnostics.push(told);
    }

    /// `None`: it was written, but could not be read.
    pub(super) fn service_type(&self) -> Option<Type> {
        match self.draft.kind {
            Some(kind) => Some(kind),
            None if self.written("type") || !self.well_formed => None,
            None => Some(Type::Simple),
        }
    }

    /// Every written key must have a meaning for the type of the service.
    fn check_types(&mut self) {
        let Some(kind) = self.service_type() else {
            return;
        };
        let written = |key: &&super::keys::Key| self.draft.written.contains_key(key.name);
        let wrong: Vec<_> = KEYS
            .iter()
            .filter(|key| !key.types.contains(&kind))
            .filter(written)
            .collect();
        for key in wrong {
            let message = format!("has no meaning for a service of type `{}`", kind.name());
            let types = either(key.types.iter().map(|kind| kind.name()));
            self.tell(key.name, message, format!("type {types}"));
        }
    }

    fn check_restart(&mut self) {
        let restart = Restart::default();
        let delay = self.draft.delay.unwrap_or(restart.delay);
        let most = self.draft.max_delay.unwrap_or(restart.max_delay);
        if delay > most {
            let written = match self.written("restart.max-delay") {
                true => "restart.max-delay",
                false => "restart.delay",
            };
            let message = format!("the pause starts with {delay:?} and cannot end at {most:?}");
            self.tell(written, message, "delay of at most max-delay");
        }
        let word = match self.draft.policy {
            Some(RestartPolicy::Always) => Some("always"),
            Some(RestartPolicy::OnSuccess) => Some("on-success"),
            Some(RestartPolicy::OnFailure | RestartPolicy::OnAbnormal | RestartPolicy::Never)
            | None => None,
        };
        if let (Some(word), Some(Type::Oneshot)) = (word, self.draft.kind) {
            self.tell(
                "restart.policy",
                format!(
                    "a oneshot that has ended well is up, and `{word}` would run it without end"
                ),
                "`on-failure`, `on-abnormal` or `never`",
            );
        }
        if self.written("restart.burst-within") && !self.written("restart.burst") {
            let told = Diagnostic::new(&self.place("restart.burst-within"), "is missing")
                .key("restart.burst")
                .expected("how many starts there may be within restart.burst-within");
            self.diagnostics.push(told);
        }
    }

    fn check_memory(&mut self) {
        let limits = &self.draft.cgroup;
        if let (Some(high), Some(max)) = (limits.memory_high, limits.memory_max)
            && high > max
        {
            let message = "is above cgroup.memory-max and could never be reached";
            self.tell("cgroup.memory-high", message, "at most cgroup.memory-max");
        }
        if let (Some(min), Some(max)) = (self.draft.cgroup.memory_min, self.draft.cgroup.memory_max)
            && min > max
        {
            let message = "is above cgroup.memory-max: more is kept for it than it may use";
            self.tell("cgroup.memory-min", message, "at most cgroup.memory-max");
        }
    }

    fn check_role(&mut self) {
        if self.draft.essential == Some(true) && self.draft.wanted == Some(true) {
            let message = "is written beside boot.essential: what is essential decides the boot, \
                           what is wanted is only reported";
            self.tell("boot.wanted", message, "one of the two to be true");
        }
    }

    /// `None`: nothing is written, so that the defaults count.
    fn gate(&mut self) -> Option<GateSettings> {
        let draft = &self.draft.gate;
        let default = GateSettings::default();
        let settings = GateSettings {
            deadline: draft.deadline.unwrap_or(default.deadline),
            soak: draft.soak.unwrap_or(default.soak),
            scrub: draft.scrub.unwrap_or(default.scrub),
        };
        if settings.soak >= settings.deadline {
            let written = match self.written("gate.soak") {
                true => "gate.soak",
                false => "gate.deadline",
            };
            let [soak, deadline] = [settings.soak, settings.deadline].map(duration_text);
            let message = format!("a soak of {soak} is never over within {deadline}");
            self.tell(written, message, "soak shorter than deadline");
        }
        (settings != default).then_some(settings)
    }

    fn restart(&self) -> Restart {
        let default = Restart::default();
        let draft = &self.draft;
        let policy = match draft.kind {
            Some(Type::Oneshot | Type::Target) => RestartPolicy::Never,
            Some(Type::Simple | Type::Notify | Type::Forking) | None => default.policy,
        };
        Restart {
            policy: draft.policy.unwrap_or(policy),
            delay: draft.delay.unwrap_or(default.delay),
            max_delay: draft.max_delay.unwrap_or(default.max_delay),
            reset_after: draft.reset_after.unwrap_or(default.reset_after),
            jitter: u8::try_from(draft.jitter.unwrap_or(0)).unwrap_or(100),
            max_failures: draft.max_failures,
            burst: draft.burst.map(|starts| Burst {
                starts,
                within: draft.burst_within.unwrap_or(DEFAULT_BURST_WITHIN),
            }),
            success: success(draft.success.as_deref().unwrap_or_default()),
        }
    }

    fn kind(&mut self) -> Kind {
        let kind = self.service_type();
        if kind == Some(Type::Target) {
            return Kind::Target;
        }
        if !self.written("exec") && self.well_formed {
            let told = Diagnostic::new(&Place::start(self.file), "is missing")
                .key("exec")
                .expected("the command to run")
                .hint("a service that runs nothing has `type = \"target\"`");
            self.diagnostics.push(told);
        }
        let account = self.account();
        let Some(exec) = self.draft.exec.take() else {
            return Kind::Target;
        };
        let program = Box::new(self.program(exec, account));
        match kind {
            Some(Type::Notify) => Kind::Notify(program),
            Some(Type::Oneshot) => Kind::Oneshot(program),
            Some(Type::Forking) => Kind::Forking(program),
            Some(Type::Simple | Type::Target) | None => Kind::Simple(program),
        }
    }

    fn program(&mut self, exec: Vec<String>, account: Option<Account>) -> Program {
        let draft = &mut self.draft;
        let limits = std::mem::take(&mut draft.limits).into_iter();
        Program {
            exec,
            begin: std::mem::take(&mut draft.begin).build(),
            pid_file: draft.pid_file.take(),
            reload: draft.reload.take(),
            ready: probe::ready(std::mem::take(&mut draft.ready)),
            health: probe::health(std::mem::take(&mut draft.health)),
            watchdog: Watchdog {
                timeout: draft.watchdog_timeout,
                signal: draft.watchdog_signal.unwrap_or(Signal::Abrt),
            },
            fd_store_max: draft.fd_store_max.unwrap_or(0),
            log: draft.log,
            account,
            environment: std::mem::take(&mut draft.environment).into_iter().collect(),
            working_dir: draft.working_dir.take().unwrap_or(PathBuf::from("/")),
            umask: draft.umask.unwrap_or(DEFAULT_UMASK),
            nice: draft.nice,
            oom_score_adj: draft.oom_score_adj.unwrap_or(0),
            runtime_dirs: draft.runtime_dirs.take().unwrap_or_default(),
            state_dirs: draft.state_dirs.take().unwrap_or_default(),
            tty: draft.tty.take(),
            cgroup: std::mem::take(&mut draft.cgroup),
            limits: limits
                .map(|(resource, limit)| ResourceLimit { resource, limit })
                .collect(),
        }
    }

    /// The account, looked up where there are accounts to look in.
    fn account(&mut self) -> Option<Account> {
        let (user, group) = (self.draft.user.take(), self.draft.group.take());
        if user.is_none() && group.is_none() {
            return None;
        }
        let mut account = Account {
            user: user.unwrap_or_else(|| "root".to_owned()),
            group,
            ids: None,
        };
        if let Some(accounts) = self.accounts {
            match accounts.lookup(&account) {
                Ok(ids) => account.ids = Some(ids),
                Err(message) => {
                    let no_group = account.group.as_deref();
                    let no_group = no_group.is_some_and(|name| accounts.group(name).is_none());
                    let user_is_there = accounts.user(&account.user).is_some();
                    let key = match user_is_there && no_group {
                        true => "group",
                        false => "user",
                    };
                    let told = Diagnostic::new(&self.place(key), message).key(key);
                    self.diagnostics.push(told);
                }
            }
        }
        Some(account)
    }

    /// The relations and the places of their names. Those of a file that could not be read
    /// throughout are left out: half of them would only cause more diagnostics.
    fn relations(&mut self) -> (Relations, std::collections::BTreeMap<Relation, Vec<Place>>) {
        let mut lists = std::mem::take(&mut self.draft.relations);
        if !self.well_formed {
            return Default::default();
        }
        let mut places = std::collections::BTreeMap::new();
        let implied = !self.written("wanted-by") && self.name.as_str() != DEFAULT_TARGET;
        let mut take = |relation: Relation| -> Vec<ServiceName> {
            let list = lists.remove(&relation).unwrap_or_default();
            let (names, known): (Vec<_>, Vec<_>) = list.into_iter().unzip();
            places.insert(relation, known);
            names
        };
        let mut relations = Relations {
            requires: take(Relation::Requires),
            wants: take(Relation::Wants),
            after: take(Relation::After),
            before: take(Relation::Before),
            conflicts: take(Relation::Conflicts),
            wanted_by: take(Relation::WantedBy),
            part_of: take(Relation::PartOf),
            binds_to: take(Relation::BindsTo),
            on_failure: take(Relation::OnFailure),
        };
        if implied {
            relations.wanted_by.extend(ServiceName::new(DEFAULT_TARGET));
        }
        (relations, places)
    }
}

/// Exit statuses beside 0 that are a good end, each once.
fn success(written: &[u8]) -> Box<[u8]> {
    let statuses: std::collections::BTreeSet<u8> = written.iter().copied().collect();
    statuses.into_iter().filter(|status| *status != 0).collect()
}
