//! The health gate: whether a boot is found good, decided from what the supervisor sees and from
//! nothing else. Not here: what a service is doing (`supervisor`), what a verdict leads to (the
//! shell writes the boot record, and restarts the machine), how long a service usually takes
//! (`budget`).
//!
//! The rules, in this order:
//!
//! 1. Without its own services (a rescue shell) the boot has failed.
//! 2. An essential service that has failed for good fails the boot at once: waiting cannot help.
//! 3. A root that cannot be read whole fails the boot at once.
//! 4. Everything essential has been up and healthy for the whole soak time, and the root has been
//!    read whole where that is asked for: the boot is good. Whoever goes down or is unhealthy
//!    meanwhile starts the soak anew. With nothing essential the target must have settled instead.
//! 5. Past the deadline the boot has failed, and the reason names who was waited for.
//!
//! What is only wanted never decides. Neither does a set of service files of the administrator that
//! was refused, as long as the vendor's runs: a slip in /etc is no fault of the slot, the other slot
//! would read the same files, and going back and forth between the two would help nobody.

use serde::{Deserialize, Serialize};

use crate::definition::BootRole;
pub use crate::definition::GateSettings;
use crate::status::StateName;
use crate::supervisor::mutation::{Mutation, mutated};
use crate::time::Time;
use crate::units::duration_text;

/// What the gate sees of a boot at one time. [`crate::supervisor::Supervisor::gate_view`] makes it;
/// the default is a machine whose service files have not been read yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GateView<'a> {
    /// The boot target; empty while there is none.
    pub target: &'a str,
    /// When every service of the target had come up or failed.
    pub settled: Option<Time>,
    /// How many of them have done neither yet.
    pub pending: u32,
    /// One of those.
    pub pending_name: Option<&'a str>,
    /// The services of the target that have a role in the boot, by name.
    pub services: Vec<GateService<'a>>,
}

/// A service with a role in the boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateService<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it means for the boot.
    pub role: BootRole,
    /// How it is.
    pub condition: Condition<'a>,
    /// Starts by itself since the boot began.
    pub restarts: u32,
    /// How it ended when it last failed.
    pub last_failure: Option<&'a str>,
}

/// How a service with a role in the boot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition<'a> {
    /// Up, and healthy where that is asked for.
    Good {
        /// Without a break since then.
        since: Time,
    },
    /// Up; no probe of its health has been answered yet.
    Unproven,
    /// Up, and the last probe was a bad one.
    Unhealthy {
        /// What the probe said.
        words: &'a str,
    },
    /// To be started after this service.
    Waiting {
        /// The one at the end of the chain, which does not wait itself.
        on: &'a str,
        /// How that one failed, where it did.
        why: Option<&'a str>,
    },
    /// On its way up or down, or down.
    NotUp {
        /// What it is doing.
        state: StateName,
        /// Why.
        reason: Option<&'a str>,
    },
    /// It failed, and is left alone.
    Failed {
        /// How.
        cause: &'a str,
        /// The service that it requires and whose failure it was, and how that one failed.
        blame: Option<(&'a str, &'a str)>,
    },
}

/// What the gate has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The boot is good.
    Commit(GateReport),
    /// It is not.
    Fail {
        /// Why, in one line, for the boot record: the first 72 bytes say most.
        reason: String,
    },
}

/// What is told with a commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GateReport {
    /// Wanted services that are not up and healthy, and masked ones, each as `name: why`.
    pub wanted_failing: Vec<String>,
    /// Why the machine runs with the vendor's service files only, where it does.
    pub fell_back: Option<String>,
}

/// Whether the root is read whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Scrub {
    NotNeeded,
    Running,
    Good,
    Bad(String),
}

/// The gate of one boot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Gate {
    settings: GateSettings,
    opened: Time,
    scrub: Scrub,
    refused: Option<String>,
    fell_back: Option<String>,
    /// Since when all that is essential was good, at the last look.
    good_since: Option<Time>,
    told: bool,
}

impl Gate {
    /// A gate that is open since `opened`, the hand-over to init. With `needs_scrub`, it waits for
    /// [`Self::scrubbed`].
    #[must_use]
    pub const fn new(settings: GateSettings, needs_scrub: bool, opened: Time) -> Self {
        Self {
            settings,
            opened,
            scrub: if needs_scrub {
                Scrub::Running
            } else {
                Scrub::NotNeeded
            },
            refused: None,
            fell_back: None,
            good_since: None,
            told: false,
        }
    }

    /// The settings of the boot target, once its file has been read. The time of the opening stays.
    pub fn configure(&mut self, settings: GateSettings, needs_scrub: bool) {
        self.settings = settings;
        match self.scrub {
            Scrub::NotNeeded if needs_scrub => self.scrub = Scrub::Running,
            Scrub::Running if !needs_scrub => self.scrub = Scrub::NotNeeded,
            Scrub::NotNeeded | Scrub::Running | Scrub::Good | Scrub::Bad(_) => {}
        }
    }

    /// The machine runs none of its services, for this reason: only a rescue shell.
    pub fn refuse(&mut self, why: &str) {
        self.refused = Some(why.to_owned());
    }

    /// The machine runs the vendor's services only, as the administrator's files were refused for
    /// this reason. That is reported, and decides nothing.
    pub fn fell_back(&mut self, why: &str) {
        self.fell_back = Some(why.to_owned());
    }

    /// The root has been read whole, or could not be.
    pub fn scrubbed(&mut self, outcome: Result<(), String>) {
        self.scrub = match outcome {
            Ok(()) => Scrub::Good,
            Err(why) => Scrub::Bad(why),
        };
    }

    /// When the boot has failed if it is not found good.
    #[must_use]
    pub fn deadline(&self) -> Time {
        self.opened + self.settings.deadline
    }

    /// Whether the verdict has been told.
    #[must_use]
    pub const fn told(&self) -> bool {
        self.told
    }

    /// Looks at the boot as it is at `now`. The verdict is told once.
    pub fn update(&mut self, view: &GateView<'_>, now: Time) -> Option<Verdict> {
        if self.told {
            return None;
        }
        self.good_since = good_since(view);
        let verdict = match self.at_once(view) {
            Some(reason) => Some(Verdict::Fail { reason }),
            None if self.passed(now) => Some(Verdict::Commit(self.report(view))),
            None if now >= self.deadline() => Some(Verdict::Fail {
                reason: self.overdue(view),
            }),
            None => None,
        };
        self.told = verdict.is_some();
        verdict
    }

    /// When [`Self::update`] may find something though nothing has happened. `None`: it has told
    /// its verdict.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        if self.told {
            return None;
        }
        let deadline = self.deadline();
        Some(match self.soaked_at() {
            // What is still read makes itself heard.
            Some(at) if self.scrub != Scrub::Running => at.min(deadline),
            Some(_) | None => deadline,
        })
    }

    /// What is waited for, each as `name: why`; empty once the verdict has been told.
    #[must_use]
    pub fn waiting(&self, view: &GateView<'_>, now: Time) -> Vec<String> {
        if self.told {
            return Vec::new();
        }
        let mut waiting: Vec<String> = not_good(view)
            .map(|service| format!("{}: {}", service.name, why(service)))
            .collect();
        if waiting.is_empty() {
            waiting.extend(unsettled(view));
        }
        // Not how long it still takes: whoever watches wants to hear of changes only.
        if self.soaked_at().is_some_and(|at| at > now) {
            let soak = duration_text(self.settings.soak);
            waiting.push(format!("soak: all of it good for {soak}"));
        }
        if self.scrub == Scrub::Running {
            waiting.push("root: it is being read whole".to_owned());
        }
        waiting
    }

    fn soaked_at(&self) -> Option<Time> {
        Some(self.good_since? + self.settings.soak)
    }

    /// What no waiting can mend.
    fn at_once(&self, view: &GateView<'_>) -> Option<String> {
        if let Some(why) = &self.refused {
            return Some(one_line(&format!("no services: {why}")));
        }
        let failed = essential(view).find_map(|service| match service.condition {
            Condition::Failed { cause, blame } => {
                Some(format!("{} {}", service.name, failed(cause, blame)))
            }
            Condition::Good { .. }
            | Condition::Unproven
            | Condition::Unhealthy { .. }
            | Condition::Waiting { .. }
            | Condition::NotUp { .. } => None,
        });
        match (&self.scrub, failed) {
            (_, Some(reason)) => Some(one_line(&reason)),
            (Scrub::Bad(why), None) => Some(one_line(&format!("root not read whole: {why}"))),
            (Scrub::NotNeeded | Scrub::Running | Scrub::Good, None) => None,
        }
    }

    /// Good for the whole soak, which was over before the deadline was.
    fn passed(&self, now: Time) -> bool {
        let scrubbed = match self.scrub {
            Scrub::NotNeeded | Scrub::Good => true,
            Scrub::Running | Scrub::Bad(_) => false,
        };
        let soaked = self.soaked_at();
        let over = |at| at <= now || mutated(Mutation::SoakCutShort);
        scrubbed && soaked.is_some_and(|at| over(at) && at <= self.deadline())
    }

    fn report(&self, view: &GateView<'_>) -> GateReport {
        let failing = view.services.iter().filter_map(|service| {
            let told = match (service.role, service.condition) {
                (BootRole::Masked, _) => "masked".to_owned(),
                (BootRole::Wanted, Condition::Good { .. }) => return None,
                (BootRole::Wanted, _) => why(service),
                (BootRole::None | BootRole::Essential, _) => return None,
            };
            Some(format!("{}: {told}", service.name))
        });
        GateReport {
            wanted_failing: failing.collect(),
            fell_back: self.fell_back.clone(),
        }
    }

    /// Who was waited for when the deadline came.
    fn overdue(&self, view: &GateView<'_>) -> String {
        let limit = duration_text(self.settings.deadline);
        let mut late = not_good(view);
        if let Some(first) = late.next() {
            let more = match late.count() {
                0 => String::new(),
                more => format!(" (and {more} more)"),
            };
            return one_line(&format!(
                "{} not ready within {limit}: {}{more}",
                first.name,
                why(first)
            ));
        }
        if let Some(pending) = unsettled(view) {
            return one_line(&format!("not settled within {limit}: {pending}"));
        }
        if self.scrub == Scrub::Running {
            return format!("root not read whole within {limit}");
        }
        let soak = duration_text(self.settings.soak);
        match last_good(view) {
            Some(last) => one_line(&format!(
                "{} not good for {soak} within {limit}: {}",
                last.name,
                history(last).unwrap_or_else(|| "it came up too late".to_owned())
            )),
            None => format!("settled too late for {soak} of soak within {limit}"),
        }
    }
}

fn essential<'v, 'a>(view: &'v GateView<'a>) -> impl Iterator<Item = &'v GateService<'a>> {
    let services = view.services.iter();
    services.filter(|service| service.role == BootRole::Essential)
}

fn not_good<'v, 'a>(view: &'v GateView<'a>) -> impl Iterator<Item = &'v GateService<'a>> {
    essential(view).filter(|service| good(service).is_none())
}

const fn good(service: &GateService<'_>) -> Option<Time> {
    match service.condition {
        Condition::Good { since } => Some(since),
        Condition::Unproven
        | Condition::Unhealthy { .. }
        | Condition::Waiting { .. }
        | Condition::NotUp { .. }
        | Condition::Failed { .. } => None,
    }
}

/// The essential service that was good last.
fn last_good<'v, 'a>(view: &'v GateView<'a>) -> Option<&'v GateService<'a>> {
    essential(view).max_by_key(|service| good(service))
}

/// Since when everything essential is good; without anything essential, since the target settled.
fn good_since(view: &GateView<'_>) -> Option<Time> {
    let mut all = essential(view).map(good).peekable();
    if all.peek().is_none() {
        return view.settled;
    }
    all.try_fold(Time::default(), |latest, since| Some(latest.max(since?)))
}

/// What the target waits for, where nothing in it is essential.
fn unsettled(view: &GateView<'_>) -> Option<String> {
    if view.target.is_empty() {
        return Some("the service files are being read".to_owned());
    }
    if view.settled.is_some() || essential(view).next().is_some() {
        return None;
    }
    let target = view.target;
    let name = view.pending_name.unwrap_or(target);
    // The target itself is one of them.
    Some(match view.pending.saturating_sub(2) {
        0 => format!("{target}: waits for {name}"),
        more => format!("{target}: waits for {name} and {more} more"),
    })
}

/// Why a service is not good, in a few words.
fn why(service: &GateService<'_>) -> String {
    let now = match service.condition {
        Condition::Good { .. } => "good".to_owned(),
        Condition::Unproven => "its health is not known yet".to_owned(),
        Condition::Unhealthy { words } => format!("unhealthy: {}", clause(words)),
        Condition::Waiting { on, why: None } => format!("waits for {on}"),
        Condition::Waiting { on, why: Some(why) } => format!("waits for {on}: {}", clause(why)),
        Condition::Failed { cause, blame } => failed(cause, blame),
        Condition::NotUp { state, reason } => match (state, reason) {
            (StateName::Starting | StateName::Waiting, _) => {
                return history(service).unwrap_or_else(|| "starting".to_owned());
            }
            (StateName::Backoff, Some(reason)) => clause(reason).to_owned(),
            (StateName::Backoff, None) => "failed, and is tried again".to_owned(),
            (
                StateName::Down | StateName::Failed | StateName::Up | StateName::Skipped,
                Some(reason),
            ) => clause(reason).to_owned(),
            (StateName::Down | StateName::Failed | StateName::Up | StateName::Skipped, None) => {
                "down".to_owned()
            }
            (StateName::Stopping, Some(reason)) => format!("stopping: {}", clause(reason)),
            (StateName::Stopping, None) => "stopping".to_owned(),
            (StateName::Listening, _) => "waiting for traffic".to_owned(),
            (StateName::Armed, _) => "waiting for its timer".to_owned(),
        },
    };
    match service.restarts {
        0 => now,
        1 => format!("{now}, 1 restart"),
        more => format!("{now}, {more} restarts"),
    }
}

/// How it failed: by the service at the root of it, where it was not itself.
fn failed(cause: &str, blame: Option<(&str, &str)>) -> String {
    match blame {
        Some((name, cause)) => format!("failed: {name} failed: {}", clause(cause)),
        None => format!("failed: {}", clause(cause)),
    }
}

/// How it failed before, where it did.
fn history(service: &GateService<'_>) -> Option<String> {
    let last = clause(service.last_failure?);
    Some(match service.restarts {
        0 => last.to_owned(),
        1 => format!("{last}, 1 restart"),
        more => format!("{last}, {more} restarts"),
    })
}

/// A cause without the "it" that it has as a sentence of its own: room in the record is short.
fn clause(cause: &str) -> &str {
    cause.strip_prefix("it ").unwrap_or(cause)
}

/// Causes come from programs: one line, whatever they say.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests;
