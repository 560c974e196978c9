//! Taking over a graph: at the start, and in place of another while services run. Not here: whether
//! the graph is right (`graph`; an existing one is).

use std::collections::BTreeSet;

use crate::graph::MAX_SERVICES;
use crate::id::ServiceName;

use super::Supervisor;
use super::compiled::{Compiled, Entry, is_same, unpack_definition};
use super::event::{Outcome, RequestId};
use super::mutation::{Mutation, mutated};
use super::requests::going_down;
use super::service::{Desired, Kept, Service, Shared, State};
use super::topology::{Tie, Topology};

/// So many changed services are compared key by key: unpacking a thousand would hold up the loop.
const DETAILED_MAX: usize = 256;

/// What differs between the present graph and another, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// Only in the other.
    pub added: Vec<String>,
    /// In both, and not the same.
    pub changed: Vec<String>,
    /// Which keys differ, for the first [`DETAILED_MAX`] of those.
    pub keys: Vec<(String, Vec<String>)>,
    /// Those that run, and go on as another definition than the newest has them, until their next
    /// start.
    pub keeping: Vec<String>,
    /// Only in the present one.
    pub removed: Vec<String>,
}

/// Where the services of a graph and those of the table meet.
struct Meeting {
    /// For each service of the graph its place, if it has one.
    places: Vec<Option<u32>>,
    /// Places of services that are not in the graph.
    others: Vec<u32>,
}

/// What has become of the services of a graph that was laid over the table.
#[derive(Default)]
struct Laid {
    /// The place of each, in the order of the graph.
    places: Vec<u32>,
    /// Those that were there, and are others now.
    others: Vec<u32>,
    /// Those that were not there, or had been removed.
    fresh: BTreeSet<u32>,
    /// Some have got a new place.
    more: bool,
    /// Some that were there mean something else for the boot.
    roles: bool,
}

/// What a new graph says of a service.
enum News {
    /// What the one before has said.
    Nothing,
    /// It is another one now, or will be at its next start; `role`: for the boot too.
    Other { role: bool },
    /// It was not there before, or had been removed.
    Fresh,
}

impl Supervisor {
    /// Goes through the names of both, which are in order.
    fn meet(&self, graph: &Compiled) -> Meeting {
        let mut meeting = Meeting {
            places: Vec::with_capacity(graph.count()),
            others: Vec::new(),
        };
        let mut known = self.table.by_name().peekable();
        for entry in graph.services() {
            while let Some((_, index)) = known.next_if(|(name, _)| *name < entry.name) {
                meeting.others.push(index);
            }
            let same = known.next_if(|(name, _)| *name == entry.name);
            meeting.places.push(same.map(|(_, index)| index));
        }
        meeting.others.extend(known.map(|(_, index)| index));
        meeting
    }

    pub(super) fn compare(&self, graph: &Compiled) -> Differences {
        let meeting = self.meet(graph);
        let mut differences = Differences::default();
        for (entry, place) in graph.services().zip(&meeting.places) {
            let service = place.and_then(|index| self.table.get(index));
            let Some(service) = service.filter(|service| !service.removed) else {
                differences.added.push(entry.name.into());
                continue;
            };
            let kept = is_same(&service.kept.packed, entry.packed);
            let same = match &service.next {
                Some(newest) => is_same(&newest.packed, entry.packed),
                None => kept,
            };
            if !same {
                differences.changed.push(entry.name.into());
                if differences.keys.len() < DETAILED_MAX
                    && let Some(before) = service.newest()
                    && let Ok(after) = unpack_definition(entry.packed)
                {
                    let keys = crate::file::differing_keys(&before, &after);
                    differences.keys.push((entry.name.into(), keys));
                }
            }
            if service.state.active() && !kept {
                differences.keeping.push(entry.name.into());
            }
        }
        let others = meeting.others.iter().filter_map(|it| self.table.get(*it));
        let removed = others.filter(|service| !service.removed);
        differences.removed = removed.map(|it| it.name.as_str().to_owned()).collect();
        differences
    }

    pub(super) fn on_replace(&mut self, request: RequestId, graph: &Compiled) {
        if let Some(refused) = self.refusal(request) {
            self.complete(request, refused);
            return;
        }
        if self.shutdown.begun() {
            self.complete(request, going_down());
            return;
        }
        if self.table.removed() > MAX_SERVICES {
            let why = "too many services that earlier reloads removed are still being stopped";
            self.complete(request, Outcome::Refused(why.into()));
            return;
        }
        self.install(graph);
        self.complete(request, Outcome::Done);
    }

    /// Lays `graph` over the table: new services get places, changed ones their next definition,
    /// and those that are in it no more are stopped. What stays as it is costs a look.
    pub(super) fn install(&mut self, graph: &Compiled) {
        let Meeting { places, others } = self.meet(graph);
        let gone: BTreeSet<u32> = others.into_iter().collect();
        gone.iter().for_each(|index| self.remove(*index));
        let laid = self.lay(graph, places);
        let same_services = gone.is_empty() && laid.fresh.is_empty();
        // All the rest follows from the definitions, and has followed from these before.
        if same_services && laid.others.is_empty() {
            return;
        }
        // Nothing follows for anybody else.
        if same_services && self.topology.is_of(graph.relations()) {
            laid.others.iter().for_each(|index| self.look_again(*index));
            if laid.roles {
                self.mark_roles();
            }
            return;
        }
        if laid.more {
            self.table.sort();
        }
        let rest = self.ties_among(&gone);
        let rows = self.table.indices().len();
        let topology = Topology::new(graph.relations(), &laid.places, rest, rows);
        if topology != self.topology {
            self.topology = topology;
            self.table.related();
        }
        // Whoever waits may wait for somebody else now, or for nobody.
        self.table
            .indices()
            .for_each(|index| self.look_again(index));
        self.start_fresh(&laid.fresh);
        self.mark_roles();
    }

    /// Gives each service of `graph` its place, and its definition.
    fn lay(&mut self, graph: &Compiled, places: Vec<Option<u32>>) -> Laid {
        let mut laid = Laid {
            places: Vec::with_capacity(places.len()),
            ..Laid::default()
        };
        let mut shared = Shared::default();
        for (entry, place) in graph.services().zip(places) {
            let (index, news) = match place {
                Some(index) => (index, self.redefine(index, &entry, &mut shared)),
                None => (self.settle_in(&entry, &mut shared), News::Fresh),
            };
            laid.more |= place.is_none();
            laid.places.push(index);
            match news {
                News::Nothing => {}
                News::Other { role } => {
                    laid.others.push(index);
                    laid.roles |= role;
                }
                News::Fresh => {
                    laid.fresh.insert(index);
                }
            }
        }
        laid
    }

    /// Stops what the newest graph does not have.
    fn remove(&mut self, index: u32) {
        let Some(service) = self.table.get(index) else {
            return;
        };
        let wanted = service.desired == Desired::Up;
        let idle = matches!(service.state, State::Down | State::Failed);
        self.table.set_removed(index, true);
        if idle && self.sweep_left(index) {
            self.settle(index);
        } else if idle {
            self.drop_idle(index);
        } else if wanted && !mutated(Mutation::RemovedRunsOn) {
            self.set_reason(index, "its service file was removed");
            self.wish_down(index);
        }
    }

    /// A removed service that does nothing: its place is free at the next event.
    fn drop_idle(&mut self, index: u32) {
        if let Some(service) = self.table.get_mut(index) {
            service.desired = Desired::Down;
            service.state = State::Down;
        }
        self.unschedule(index);
        self.settle(index);
        self.answer(index, super::requests::Goal::Up, &Outcome::Superseded);
        self.table.condemn(index);
    }

    /// A place for a service that was not there before.
    fn settle_in(&mut self, entry: &Entry<'_>, shared: &mut Shared) -> u32 {
        let name = ServiceName::of_valid(entry.name);
        let service = Service::new(name, Kept::of(entry, shared), self.now);
        self.table.insert(Box::new(service))
    }

    /// What the new graph says of a service that has a place.
    fn redefine(&mut self, index: u32, entry: &Entry<'_>, shared: &mut Shared) -> News {
        let Some(service) = self.table.get(index) else {
            return News::Nothing;
        };
        let back = service.removed;
        let same = is_same(&service.kept.packed, entry.packed);
        if same && !back && service.next.is_none() {
            return News::Nothing;
        }
        let before = service.role();
        self.table.set_removed(index, false);
        if let Some(service) = self.table.get_mut(index) {
            if same {
                service.next = None;
            } else if service.state.active() && !mutated(Mutation::ReloadAppliedAtOnce) {
                service.next = Some(Box::new(Kept::of(entry, shared)));
            } else {
                service.kept = Kept::of(entry, shared);
                service.next = None;
            }
        }
        self.table.redefined(index);
        let after = self.table.get(index).map(Service::role);
        match back {
            true => News::Fresh,
            false => News::Other {
                role: after != Some(before),
            },
        }
    }

    /// Services that are removed keep their order among each other. With the others they have none
    /// any more: old and new order together could be a circle.
    fn ties_among(&self, gone: &BTreeSet<u32>) -> Vec<(u32, u32, Tie)> {
        let mut ties = Vec::new();
        for later in gone {
            for edge in self.topology.predecessors(*later) {
                if gone.contains(&edge.other) {
                    ties.push((edge.other, *later, edge.tie));
                }
            }
        }
        ties
    }

    /// A service whose definition is another, or whose neighbours may be, goes on from its state.
    fn look_again(&mut self, index: u32) {
        // Most are up and bound to nobody: they are looked at and not touched.
        let Some(service) = self.table.get(index) else {
            return;
        };
        let wanted = service.desired == Desired::Up;
        match service.state {
            State::Waiting { .. } => {
                self.begin_again(index);
                self.schedule(index);
                // One that has just been removed starts for nobody, whatever it waited for.
                if wanted {
                    self.start_without_timer(index);
                }
                self.mark(index);
            }
            State::Leaving { .. } => {
                self.begin_again(index);
                self.mark(index);
            }
            // Its timer may be another, or be there no longer: then those after it wait for it.
            State::Armed => {
                let freed = wanted && !self.waits_for_timer(index);
                self.schedule(index);
                self.mark(index);
                if freed && self.is_lazy(index) {
                    self.start_over(index);
                } else if freed {
                    self.trigger(index);
                }
            }
            // Its sockets may be others; those that are the same stay open. Or it has a timer now.
            State::Listening if wanted => self.start_over(index),
            State::Listening => self.mark(index),
            State::Failed | State::Backoff => self.schedule(index),
            // What it is bound to may be another service now: before anything is started
            // that would only be stopped with it.
            State::Spawning { .. } | State::Starting(_) | State::Up { .. } => {
                self.mind_bond(index);
            }
            State::Down | State::Stopping { .. } => {}
        }
    }

    /// It looks at its neighbours from the first on.
    fn begin_again(&mut self, index: u32) {
        if let Some(service) = self.table.get_mut(index)
            && let State::Waiting { cursor, .. } | State::Leaving { cursor, .. } =
                &mut service.state
        {
            *cursor = 0;
        }
    }

    /// New services that the boot target needs or wants are started, as they would have been at
    /// boot. What an operator has stopped stays down, and so does what hangs on it.
    fn start_fresh(&mut self, fresh: &BTreeSet<u32>) {
        if fresh.is_empty() {
            return;
        }
        let target = self
            .boot
            .target()
            .and_then(|t| self.table.lookup(t.as_str()));
        let Some(root) = target else {
            return;
        };
        let reached = self.closure(&[root], |index, service| {
            service.desired == Desired::Up || fresh.contains(&index)
        });
        let started: Vec<u32> = reached.intersection(fresh).copied().collect();
        self.want_all(&started, 0);
        for index in started {
            self.expect(index);
        }
    }
}
