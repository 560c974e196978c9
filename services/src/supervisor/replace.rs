//! Taking over a graph: at the start, and in place of another while services run. Not here: whether
//! the graph is right (`graph`; an existing one is).

use std::collections::BTreeSet;

use crate::graph::{Graph, MAX_SERVICES};

use super::Supervisor;
use super::event::{Outcome, RequestId};
use super::mutation::{Mutation, mutated};
use super::requests::going_down;
use super::service::{BootMark, Desired, Kept, Service, State};
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

impl Supervisor {
    pub(super) fn compare(&self, graph: &Graph) -> Differences {
        let mut differences = Differences::default();
        for definition in graph.services() {
            let name = definition.name.as_str();
            let Some(service) = self.table.lookup(name).and_then(|i| self.table.get(i)) else {
                differences.added.push(name.into());
                continue;
            };
            let packed = Kept::new(definition).packed;
            let newest = service.next.as_deref().unwrap_or(&service.kept);
            if newest.packed != packed {
                differences.changed.push(name.into());
                if differences.keys.len() < DETAILED_MAX
                    && let Some(before) = service.newest()
                {
                    let keys = crate::file::differing_keys(&before, definition);
                    differences.keys.push((name.into(), keys));
                }
            }
            if service.state.active() && service.kept.packed != packed {
                differences.keeping.push(name.into());
            }
        }
        let names = self.services().filter_map(|id| self.name(id));
        let removed = names.filter(|name| graph.index_of(name).is_none());
        differences.removed = removed.map(str::to_owned).collect();
        differences
    }

    pub(super) fn on_replace(&mut self, request: RequestId, graph: Graph) {
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
    /// and those that are in it no more are stopped.
    pub(super) fn install(&mut self, graph: Graph) {
        let gone = self.remove_missing(&graph);
        let mut fresh = BTreeSet::new();
        let mut places = Vec::with_capacity(graph.services().len());
        for definition in graph.services() {
            let (index, new) = self.place(definition);
            places.push(index);
            if new {
                fresh.insert(index);
            }
        }
        self.table.sort();
        self.table.all_touched();
        let rest = self.ties_among(&gone);
        let rows = self.table.indices().len();
        self.topology = Topology::new(&graph, &places, rest, rows);
        drop(graph);
        self.look_again();
        self.start_fresh(&fresh);
        self.mark_roles();
    }

    /// Stops what `graph` does not have. Gives all that is removed and not yet freed.
    fn remove_missing(&mut self, graph: &Graph) -> BTreeSet<u32> {
        let mut gone = BTreeSet::new();
        for index in self.table.indices() {
            let Some(service) = self.table.get(index) else {
                continue;
            };
            if graph.index_of(service.name.as_str()).is_some() {
                continue;
            }
            gone.insert(index);
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
        gone
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

    /// The place of a service of the new graph, and whether it was not there before.
    fn place(&mut self, definition: &crate::definition::Definition) -> (u32, bool) {
        let kept = Kept::new(definition);
        let now = self.now;
        let Some(index) = self.table.lookup_any(definition.name.as_str()) else {
            let service = Service::new(definition.name.clone(), kept, now);
            return (self.table.insert(Box::new(service)), true);
        };
        let back = self.table.get(index).is_some_and(|s| s.removed);
        self.table.set_removed(index, false);
        if let Some(service) = self.table.get_mut(index) {
            if kept.packed == service.kept.packed {
                service.next = None;
            } else if service.state.active() && !mutated(Mutation::ReloadAppliedAtOnce) {
                service.next = Some(Box::new(kept));
            } else {
                service.kept = kept;
                service.next = None;
            }
        }
        (index, back)
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

    /// Whoever waits may wait for somebody else now, or for nobody.
    fn look_again(&mut self) {
        for index in self.table.indices() {
            if let Some(service) = self.table.get_mut(index) {
                match &mut service.state {
                    State::Waiting { cursor, .. } | State::Leaving { cursor, .. } => {
                        *cursor = 0;
                        self.mark(index);
                    }
                    // Its timer may be another, or be there no longer.
                    State::Armed => {
                        self.schedule(index);
                        self.mark(index);
                    }
                    // Its sockets may be others; those that are the same stay open.
                    State::Listening => {
                        self.enter(
                            index,
                            State::Waiting {
                                on: index,
                                cursor: 0,
                            },
                        );
                        self.mark(index);
                    }
                    State::Failed => self.schedule(index),
                    // What it is bound to may be another service now: before anything is started
                    // that would only be stopped with it.
                    State::Spawning { .. } | State::Starting(_) | State::Up { .. } => {
                        self.mind_bond(index);
                    }
                    State::Down | State::Stopping { .. } | State::Backoff => {}
                }
            }
        }
    }

    /// New services that the boot target needs or wants are started, as they would have been at
    /// boot. What an operator has stopped stays down, and so does what hangs on it.
    fn start_fresh(&mut self, fresh: &BTreeSet<u32>) {
        let target = self
            .boot
            .target()
            .and_then(|t| self.table.lookup(t.as_str()));
        let Some(root) = target else {
            return;
        };
        let reached = self.closure(root, |service| {
            service.desired == Desired::Up || service.boot == BootMark::No
        });
        let started: Vec<u32> = reached.intersection(fresh).copied().collect();
        self.want_all(&started, 0);
        for index in started {
            self.expect(index);
        }
    }
}
