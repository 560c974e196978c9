//! What the health gate is shown: the services of the boot target that have a role in the boot, and
//! how each of them is. Not here: the verdict (`crate::gate`).

use crate::definition::{BootRole, Definition, GateSettings};
use crate::gate::{Condition, GateService, GateView};
use crate::id::ServiceName;
use crate::time::Duration;

use super::Supervisor;
use super::probe::{Answer, Probing};
use super::service::{Desired, Manner, Service, State};

/// Longest chain of services that wait for each other that is followed, to name who is at its end.
const CHAIN_MAX: usize = 64;

/// Places of the services that the gate looks at, by name.
#[derive(Debug, Default)]
pub(super) struct Marks {
    marked: Vec<u32>,
    /// Essential, but the boot target does not bring them up.
    left_out: Vec<u32>,
}

impl Supervisor {
    /// Looks for the services that have a role in the boot. Their number is that of service files
    /// which say so: few, and looked for at the boot and at a reload only.
    pub(super) fn mark_roles(&mut self) {
        let root = self
            .boot
            .target()
            .and_then(|target| self.table.lookup(target.as_str()));
        let reached = root.map(|root| self.closure(&[root], |_, _| true));
        let reached = reached.unwrap_or_default();
        let mut marks = Marks::default();
        for id in self.table.sorted() {
            let role = self.table.get(id.index).map(Service::role);
            match role {
                None | Some(BootRole::None) => {}
                Some(BootRole::Wanted | BootRole::Essential | BootRole::Masked)
                    if reached.contains(&id.index) =>
                {
                    marks.marked.push(id.index);
                }
                Some(BootRole::Essential) => marks.left_out.push(id.index),
                Some(BootRole::Wanted | BootRole::Masked) => {}
            }
        }
        self.marks = marks;
    }

    /// What the gate is shown. Looks at marked services only; where nothing has been told since
    /// ([`Self::events`]), it is the same as before.
    #[must_use]
    pub fn gate_view(&self) -> GateView<'_> {
        let marked = self.marks.marked.iter();
        let services = marked.filter_map(|index| self.gate_service(*index));
        GateView {
            target: self.boot.target().map_or("", ServiceName::as_str),
            settled: self.boot.settled_at(),
            pending: self.boot.pending(),
            pending_name: self.pending_name(),
            services: services.collect(),
        }
    }

    /// Counts what has been told to the supervisor: while it stays the same, so does everything.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// The gate's settings of the boot target.
    #[must_use]
    pub fn gate_settings(&self) -> GateSettings {
        let target = self.boot.target();
        let target = target.and_then(|target| self.table.lookup(target.as_str()));
        let definition: Option<Definition> = target
            .and_then(|index| self.table.get(index))
            .and_then(Service::newest);
        definition.and_then(|it| it.gate).unwrap_or_default()
    }

    /// Essential services that the boot target does not bring up: the boot is judged without them,
    /// and somebody should know.
    pub fn essential_left_out(&self) -> impl Iterator<Item = &str> {
        let left_out = self.marks.left_out.iter();
        left_out.filter_map(|index| Some(self.table.get(*index)?.name.as_str()))
    }

    /// How long the start of each service took that is up since its first start: what is learned
    /// of a boot. Targets start nothing.
    pub fn start_times(&self) -> impl Iterator<Item = (&str, Duration)> {
        self.table.sorted().filter_map(|id| {
            let service = self.table.get(id.index)?;
            let up = matches!(service.state, State::Up { .. });
            let once = service.runs == 1 && service.kept.rules.manner != Manner::Target;
            let (started, ready) = (service.started?, service.ready?);
            (up && once).then(|| (service.name.as_str(), ready.since(started)))
        })
    }

    /// Who holds up the target.
    fn pending_name(&self) -> Option<&str> {
        let target = self.boot.target()?;
        let target = self.table.lookup(target.as_str());
        let first = self.boot.first_pending(target)?;
        Some(self.table.get(self.blocker(first))?.name.as_str())
    }

    /// Who a waiting service really waits for: the first on the way that does not wait itself.
    fn blocker(&self, index: u32) -> u32 {
        let mut at = index;
        for _ in 0..CHAIN_MAX {
            match self.table.get(at).map(|service| service.state) {
                Some(State::Waiting { on, .. }) if on != at => at = on,
                Some(
                    State::Waiting { .. }
                    | State::Down
                    | State::Failed
                    | State::Armed
                    | State::Listening
                    | State::Spawning { .. }
                    | State::Starting(_)
                    | State::Up { .. }
                    | State::Leaving { .. }
                    | State::Stopping { .. }
                    | State::Backoff,
                )
                | None => break,
            }
        }
        at
    }

    /// Who failed first, of those that a failed service requires, and how; `None`: it was itself.
    fn blame(&self, index: u32) -> Option<(&str, &str)> {
        let mut at = index;
        for _ in 0..CHAIN_MAX {
            let mut required = self.topology.predecessors(at).iter();
            let failed = required.find(|edge| {
                let other = self.table.get(edge.other);
                let failed = other.is_some_and(|it| matches!(it.state, State::Failed));
                edge.tie.requires() && failed
            });
            match failed {
                Some(edge) => at = edge.other,
                None => break,
            }
        }
        let root = self.table.get(at).filter(|_| at != index)?;
        Some((root.name.as_str(), root.reason_text()?))
    }

    fn gate_service(&self, index: u32) -> Option<GateService<'_>> {
        let service = self.table.get(index)?;
        Some(GateService {
            name: service.name.as_str(),
            role: service.role(),
            condition: self.condition(index, service),
            restarts: service.restarts,
            last_failure: service.last_failure.as_deref(),
        })
    }

    fn condition<'s>(&'s self, index: u32, service: &'s Service) -> Condition<'s> {
        let reason = service.reason_text();
        match service.state {
            State::Up { .. } => match service.probing.as_ref().map(|it| &it.answer) {
                None => Condition::Good {
                    since: service.since,
                },
                Some(Answer::None) => Condition::Unproven,
                Some(Answer::Good(since)) => Condition::Good { since: *since },
                Some(Answer::Bad { words, .. }) => Condition::Unhealthy { words },
            },
            // Whoever comes is served.
            State::Listening => Condition::Good {
                since: service.since,
            },
            State::Failed => Condition::Failed {
                cause: reason.unwrap_or("it failed"),
                blame: self.blame(index),
            },
            // It ended well, and its policy leaves it at that: without an operator it stays down.
            State::Down
                if service.desired == Desired::Down
                    && service.ready.is_some()
                    && reason.is_none() =>
            {
                Condition::Failed {
                    cause: "it ended, and is not started again",
                    blame: None,
                }
            }
            State::Waiting { on, .. } if on != index => {
                let other = self.table.get(self.blocker(on));
                Condition::Waiting {
                    on: other.map_or("", |it| it.name.as_str()),
                    why: other.and_then(|it| it.last_failure.as_deref()),
                }
            }
            State::Starting(_) => {
                let words = service.probing.as_deref().and_then(Probing::not_ready);
                Condition::NotUp {
                    state: service.state.name(),
                    reason: words.or(reason),
                }
            }
            State::Waiting { .. }
            | State::Down
            | State::Armed
            | State::Spawning { .. }
            | State::Leaving { .. }
            | State::Stopping { .. }
            | State::Backoff => Condition::NotUp {
                state: service.state.name(),
                reason,
            },
        }
    }
}
