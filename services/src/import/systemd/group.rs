//! One service being made of a unit and the sockets and timers that start it: which line goes where,
//! and what no line says. Not here: single keys (`service`, `programs`, `socket`, `timer`,
//! `conditions`, `relations`).

use std::collections::BTreeSet;

use super::super::draft::{Draft, Value};
use super::super::report::{Implied, Outcome};
use super::programs::is_program;
use super::reasons;
use super::relations::is_relation;
use super::set::{Names, Parsed, Suffix};
use super::syntax::{Assignment, Form, Line};
use crate::file::known_keys;
use crate::id::ServiceName;

/// What a service is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Simple,
    Notify,
    Oneshot,
    Forking,
    Target,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::Notify => "notify",
            Self::Oneshot => "oneshot",
            Self::Forking => "forking",
            Self::Target => "target",
        }
    }
}

/// Why there is no file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Blocker {
    pub(super) why: String,
    /// Whether a file can be made all the same.
    pub(super) forceable: bool,
}

pub(super) struct Group<'u> {
    /// Name of the service.
    pub(super) name: String,
    /// The service first, or the target; then what starts it.
    pub(super) units: Vec<Parsed<'u>>,
    /// What became of each line of each unit.
    pub(super) outcomes: Vec<Vec<Option<Outcome>>>,
    pub(super) kind: Kind,
    pub(super) draft: Draft,
    pub(super) blockers: Vec<Blocker>,
    pub(super) implied: Vec<Implied>,
    /// It has a timer.
    pub(super) timed: bool,
    /// Something brings it up besides its sockets and its timer.
    pub(super) enabled_itself: bool,
    /// It may be started as often as it likes.
    pub(super) unlimited_starts: bool,
}

impl<'u> Group<'u> {
    pub(super) fn new(name: String, units: Vec<Parsed<'u>>) -> Self {
        let outcomes = units.iter().map(|unit| settled(&unit.lines)).collect();
        let timed = units.iter().any(|unit| unit.suffix == Suffix::Timer);
        let first = units.first();
        let wanted = first.and_then(|unit| unit.last("Install", "WantedBy"));
        let enabled_itself = wanted.is_some();
        Self {
            name,
            units,
            outcomes,
            kind: Kind::Simple,
            draft: Draft::default(),
            blockers: Vec::new(),
            implied: Vec::new(),
            timed,
            enabled_itself,
            unlimited_starts: false,
        }
    }

    pub(super) const fn is_target(&self) -> bool {
        matches!(self.kind, Kind::Target)
    }

    pub(super) fn block(&mut self, forceable: bool, why: impl Into<String>) {
        let why = why.into();
        if self.blockers.iter().all(|blocker| blocker.why != why) {
            self.blockers.push(Blocker { why, forceable });
        }
    }

    /// Says a key, where it means something for this kind of service.
    pub(super) fn put(&mut self, key: &str, value: Value) -> Outcome {
        if !self.may_have(key) {
            let kind = self.kind.word();
            return Outcome::lost(format!("`{key}` has no meaning for a {kind} service here"));
        }
        self.draft.set(key, value);
        Outcome::carried(key)
    }

    pub(super) fn may_have(&self, key: &str) -> bool {
        let word = self.kind.word();
        let mut known = known_keys().into_iter();
        known
            .find(|it| it.name == key)
            .is_none_or(|it| it.types.contains(&word))
    }

    /// A key that no line asks for.
    pub(super) fn imply(&mut self, key: &str, value: Value, why: &str) {
        if self.may_have(key) && !self.draft.has(key) {
            self.draft.set(key, value);
            self.implied.push(Implied {
                service: self.name.clone(),
                key: key.to_owned(),
                why: why.to_owned(),
            });
        }
    }

    /// Everything but relations, which need to know what else there is a file of.
    pub(super) fn read(&mut self) {
        self.read_kind();
        self.each_line(|group, unit, it| {
            if is_relation(&it.section, &it.key) || is_program(&it.section, &it.key) {
                return None;
            }
            Some(group.line(unit, it))
        });
        if !self.is_target() {
            self.programs();
        }
        if self.timed {
            self.check_timer();
        }
        if self.has_sockets() {
            self.check_sockets();
        }
    }

    /// The template that this is an instance of, and the instance.
    pub(super) fn instance_of(&self) -> Option<(String, &str)> {
        let (prefix, instance) = self.name.split_once('@')?;
        (!instance.is_empty()).then(|| (format!("{prefix}@"), instance))
    }

    /// A file of an instance adds to that of its template here, and replaces it there: what the one
    /// that is there already says is not known.
    pub(super) fn check_instance(&mut self, known: &BTreeSet<String>) {
        if let Some((template, _)) = self.instance_of()
            && known.contains(&template)
        {
            let why = format!("`{template}.toml` is there already, and it would only add to that");
            self.block(false, why);
        }
        let Some(unit) = self.units.first() else {
            return;
        };
        let bad = unit.unit.instances.iter().find_map(|instance| {
            let problem = ServiceName::new(&format!("{}{instance}", self.name)).err()?;
            Some(format!("the instance `{instance}`: {problem}"))
        });
        if let Some(why) = bad {
            self.block(false, why);
        }
    }

    /// What a service with sockets cannot be.
    fn check_sockets(&mut self) {
        if self.kind == Kind::Oneshot || self.timed {
            self.block(
                false,
                "a oneshot, or a service with a timer, is not started by a socket here",
            );
        } else if !self.draft.has_table("sockets") && !self.enabled_itself {
            self.block(true, "none of the sockets that start it can be opened here");
        }
    }

    /// The relations, and what follows from them.
    pub(super) fn read_relations(&mut self, names: &Names) {
        self.each_line(|group, unit, it| {
            (it.section == "Unit").then(|| group.relate(names, unit, it))
        });
        self.each_line(|group, unit, it| {
            (it.section == "Install").then(|| group.install(names, unit, it))
        });
        self.follow_up();
    }

    /// Hands every line that nothing is known of yet to `read`.
    pub(super) fn each_line(
        &mut self,
        mut read: impl FnMut(&mut Self, &Parsed<'u>, &Assignment) -> Option<Outcome>,
    ) {
        let units = std::mem::take(&mut self.units);
        let mut outcomes = std::mem::take(&mut self.outcomes);
        for (unit, outcomes) in units.iter().zip(&mut outcomes) {
            for (line, outcome) in unit.lines.iter().zip(outcomes) {
                if outcome.is_none()
                    && let Some(assignment) = line.assignment()
                {
                    *outcome = read(self, unit, assignment);
                }
            }
        }
        (self.units, self.outcomes) = (units, outcomes);
    }

    /// One line that is no relation and no command.
    fn line(&mut self, unit: &Parsed<'u>, it: &Assignment) -> Outcome {
        if it.section.starts_with("X-") || it.key.starts_with("X-") {
            return Outcome::irrelevant("systemd leaves it to others as well");
        }
        if let Some(outcome) = reasons::of(&it.section, &it.key, &it.value) {
            return outcome;
        }
        let known = match (it.section.as_str(), unit.suffix) {
            ("Unit", _) => self.unit_key(unit, it),
            ("Service", Suffix::Service) => self.service_key(unit, it),
            ("Socket", Suffix::Socket) => self.socket_key(unit, it),
            ("Timer", Suffix::Timer) => self.timer_key(unit, it),
            _ => Some(Outcome::irrelevant(format!(
                "[{}] means nothing in a {} unit, and systemd ignores it",
                it.section,
                unit.unit.name.rsplit('.').next().unwrap_or("")
            ))),
        };
        known.unwrap_or_else(|| Outcome::lost("is not known to this converter"))
    }

    /// A line of `[Unit]` that is no relation.
    fn unit_key(&mut self, unit: &Parsed<'u>, it: &Assignment) -> Option<Outcome> {
        if super::conditions::test_of(&it.key).is_some() {
            return Some(self.condition(unit, it));
        }
        match it.key.as_str() {
            "Description" => Some(self.description(unit, &it.value)),
            "FailureAction" => Some(self.failure_action(&it.value)),
            "StartLimitBurst" | "StartLimitInterval" | "StartLimitIntervalSec" => {
                Some(self.start_limit(&it.key, &it.value))
            }
            _ => None,
        }
    }

    fn description(&mut self, unit: &Parsed<'u>, value: &str) -> Outcome {
        if matches!(unit.suffix, Suffix::Socket | Suffix::Timer) {
            return Outcome::irrelevant("the service describes itself");
        }
        let text = match unit.specifiers.expand(value) {
            Ok(text) => text,
            Err(why) => return Outcome::lost(why),
        };
        if text.chars().count() > 200 || text.contains(char::is_control) {
            return Outcome::lost("is more than one line of 200 characters");
        }
        self.put("description", Value::Text(text))
    }

    /// What no line says, and systemd's defaults do.
    fn follow_up(&mut self) {
        if self.draft.has_table("sockets") && !self.enabled_itself {
            let why = "a socket starts it, and nothing else brings it up";
            self.imply("lazy", Value::Flag(true), why);
        }
        if self.draft.texts("wanted-by").is_empty() {
            let why =
                "no [Install] brings it up: it is started when something wants it, or by hand";
            self.imply("wanted-by", Value::Texts(Vec::new()), why);
        } else if self.draft.texts("wanted-by") == ["default"] {
            // That is what a service without the key has.
            self.draft.remove("wanted-by");
        }
        if self.is_target() {
            return;
        }
        self.imply_restart();
        if self.kind == Kind::Oneshot {
            let why = "systemd's default for a oneshot is no limit; a year stands for it";
            self.imply("start-timeout", Value::Text("365d".to_owned()), why);
        }
        let why = "systemd's default; that of init is 10s";
        self.imply("stop.timeout", Value::Text("1min 30s".to_owned()), why);
    }

    fn imply_restart(&mut self) {
        let never = Value::Text("never".to_owned());
        if self.kind == Kind::Oneshot {
            // The same default in both.
            return;
        }
        self.imply(
            "restart.policy",
            never.clone(),
            "systemd starts nothing again without Restart=",
        );
        let restarts = self.draft.get("restart.policy") != Some(&never);
        if self.unlimited_starts {
            self.draft.remove("restart.burst");
            self.draft.remove("restart.burst-within");
            for outcome in self.outcomes.iter_mut().flatten().flatten() {
                if outcome
                    .into
                    .iter()
                    .any(|key| key.starts_with("restart.burst"))
                {
                    *outcome = Outcome::irrelevant("starts are not limited at all");
                }
            }
        } else if restarts && !self.draft.has("restart.burst") && !self.timed {
            let why = "systemd's default: more than 5 starts within 10s are not made";
            self.imply("restart.burst", Value::Number(5), why);
        }
        if self.draft.has("restart.burst") {
            let why = "systemd's default for StartLimitIntervalSec=";
            self.imply("restart.burst-within", Value::Text("10s".to_owned()), why);
        }
        if restarts {
            let why = "systemd's default for RestartSec=, and its pauses do not grow";
            self.imply("restart.delay", Value::Text("100ms".to_owned()), why);
            if let Some(delay) = self.draft.get("restart.delay").cloned() {
                self.imply("restart.max-delay", delay, "systemd's pauses do not grow");
            }
        }
    }
}

/// What is known of lines without knowing what they mean: headings, what is wrong, what later lines
/// replace or take back.
fn settled(lines: &[Line]) -> Vec<Option<Outcome>> {
    let mut outcomes: Vec<Option<Outcome>> = Vec::with_capacity(lines.len());
    let mut replaced: BTreeSet<(String, String)> = BTreeSet::new();
    let mut by: std::collections::BTreeMap<(String, String), String> = Default::default();
    for line in lines.iter().rev() {
        let place = format!("{}:{}", line.file, line.line);
        outcomes.push(match &line.form {
            Form::Heading => Some(Outcome::irrelevant("a heading")),
            Form::Wrong(why) => Some(Outcome::lost(*why)),
            Form::Assignment(it) => {
                let of = (it.section.clone(), family(&it.key).to_owned());
                let empty = it.value.is_empty();
                if replaced.contains(&of) {
                    let by = by.get(&of).map_or("", String::as_str);
                    Some(Outcome::irrelevant(format!(
                        "{by} replaces it or takes it back"
                    )))
                } else if is_relation("Unit", &it.key) && it.section == "Unit" {
                    empty.then(|| Outcome::irrelevant("systemd takes back no dependencies"))
                } else if empty || !is_list(&it.section, &it.key) {
                    replaced.insert(of.clone());
                    by.insert(of, place);
                    // The only key of which nothing is something: no capability at all.
                    let reset = empty && it.key != "CapabilityBoundingSet";
                    reset.then(|| Outcome::irrelevant("takes back what was said before it"))
                } else {
                    None
                }
            }
        });
    }
    outcomes.reverse();
    outcomes
}

/// The keys that an empty one takes back together.
fn family(key: &str) -> &str {
    match key {
        key if key.starts_with("Condition") => "Condition",
        key if key.starts_with("Assert") => "Assert",
        key if key.starts_with("Listen") => "Listen",
        "OnActiveSec" | "OnBootSec" | "OnStartupSec" | "OnUnitActiveSec" | "OnUnitInactiveSec"
        | "OnCalendar" => "On",
        key => key,
    }
}

/// Whether several lines of the key add up.
fn is_list(section: &str, key: &str) -> bool {
    let starts = [
        "Condition",
        "Assert",
        "Exec",
        "Listen",
        "On",
        "Documentation",
    ];
    let known = [
        "WantedBy",
        "RequiredBy",
        "Also",
        "Alias",
        "Environment",
        "EnvironmentFile",
        "PassEnvironment",
        "UnsetEnvironment",
        "SuccessExitStatus",
        "RestartPreventExitStatus",
        "RestartForceExitStatus",
        "RuntimeDirectory",
        "StateDirectory",
        "CacheDirectory",
        "LogsDirectory",
        "ConfigurationDirectory",
        "SupplementaryGroups",
        "LoadCredential",
        "SetCredential",
        "CPUAffinity",
        "AllowedCPUs",
        "Symlinks",
    ];
    let exec = section == "Service" || section == "Socket";
    starts
        .iter()
        .any(|it| key.starts_with(it) && (*it != "Exec" || exec))
        || known.contains(&key)
        || reasons::is_confinement_list(key)
}
