//! All services together, checked: who needs whom, in which order, who excludes whom. A graph that
//! exists has no missing name, no circle and no contradiction. Not here: reading files (`file`),
//! and what is running (`supervisor`).

mod check;
mod circle;
mod edges;
pub(crate) mod promises;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::definition::{
    BootRole, Definition, FailureAction, Kind, Relations, Restart, RestartPolicy, Stop,
};
use crate::diagnostic::{Diagnostic, Place};
use crate::id::ServiceName;
use crate::time::Duration;

use edges::Edges;

/// Most services of one graph.
pub const MAX_SERVICES: usize = 16384;

/// The target that is brought up when nobody names another. It is made up when no file defines it.
pub const DEFAULT_TARGET: &str = "default";

/// Services and their relations, checked and resolved. Services are known by their index, which is
/// their place in the order of names; an index out of range is related to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Graph {
    services: Vec<Definition>,
    requires: Edges,
    required_by: Edges,
    wants: Edges,
    wanted_by: Edges,
    predecessors: Edges,
    successors: Edges,
    conflicts: Edges,
    binds: Edges,
    parts: Edges,
    rescuers: Edges,
    order: Order,
}

impl Graph {
    /// Checks `definitions` as one set, and resolves their relations.
    ///
    /// The target [`DEFAULT_TARGET`] is added when it is not among them.
    ///
    /// # Errors
    /// Everything that is wrong: names that do not exist, circles, services that relate to
    /// themselves, services that exclude each other but are brought up together. Without places:
    /// the diagnostics name the file only.
    pub fn from_definitions(definitions: Vec<Definition>) -> Result<Self, Vec<Diagnostic>> {
        Self::check(definitions.into_iter().map(Placed::from).collect())
    }

    /// The same, for definitions whose places in their files are known.
    ///
    /// # Errors
    /// As of [`Graph::from_definitions`], with lines and columns.
    pub fn check(placed: Vec<Placed>) -> Result<Self, Vec<Diagnostic>> {
        check::check(placed)
    }

    /// All services, in the order of their names.
    #[must_use]
    pub fn services(&self) -> &[Definition] {
        &self.services
    }

    /// Gives the definitions back, in the same order.
    #[must_use]
    pub fn into_services(self) -> Vec<Definition> {
        self.services
    }

    /// One service.
    #[must_use]
    pub fn service(&self, index: u32) -> Option<&Definition> {
        self.services.get(index as usize)
    }

    /// The index of the service called `name`.
    #[must_use]
    pub fn index_of(&self, name: &str) -> Option<u32> {
        let found = self
            .services
            .binary_search_by(|service| service.name.as_str().cmp(name));
        found.ok().and_then(|index| u32::try_from(index).ok())
    }

    /// What `index` requires.
    #[must_use]
    pub fn requires(&self, index: u32) -> &[u32] {
        self.requires.of(index)
    }

    /// Who requires `index`.
    #[must_use]
    pub fn required_by(&self, index: u32) -> &[u32] {
        self.required_by.of(index)
    }

    /// What `index` wants, by its own `wants` or by the other's `wanted-by`.
    #[must_use]
    pub fn wants(&self, index: u32) -> &[u32] {
        self.wants.of(index)
    }

    /// Who wants `index`.
    #[must_use]
    pub fn wanted_by(&self, index: u32) -> &[u32] {
        self.wanted_by.of(index)
    }

    /// What comes before `index` in the order of starting, if it is started as well: all it
    /// requires and wants, its `after`, and the `before` of others.
    #[must_use]
    pub fn predecessors(&self, index: u32) -> &[u32] {
        self.predecessors.of(index)
    }

    /// What comes after `index` in the order of starting, if it is started as well.
    #[must_use]
    pub fn successors(&self, index: u32) -> &[u32] {
        self.successors.of(index)
    }

    /// What `index` is bound to: some of what it requires.
    #[must_use]
    pub fn binds(&self, index: u32) -> &[u32] {
        self.binds.of(index)
    }

    /// What is part of `index`.
    #[must_use]
    pub fn parts(&self, index: u32) -> &[u32] {
        self.parts.of(index)
    }

    /// What is started when `index` is left failed.
    #[must_use]
    pub fn rescuers(&self, index: u32) -> &[u32] {
        self.rescuers.of(index)
    }

    /// What cannot run beside `index`, whichever of the two says so.
    #[must_use]
    pub fn conflicts(&self, index: u32) -> &[u32] {
        self.conflicts.of(index)
    }

    /// Essential services that a boot of `target` does not bring up, and so is judged without.
    #[must_use]
    pub fn essential_left_out(&self, target: &str) -> Vec<u32> {
        let mut reached: BTreeSet<u32> = self.index_of(target).into_iter().collect();
        let mut open: Vec<u32> = reached.iter().copied().collect();
        while let Some(index) = open.pop() {
            for &other in self.requires(index).iter().chain(self.wants(index)) {
                if reached.insert(other) {
                    open.push(other);
                }
            }
        }
        let essential = |index: &u32| {
            let role = self.service(*index).map(|service| service.boot);
            role == Some(BootRole::Essential) && !reached.contains(index)
        };
        (0u32..)
            .take(self.services.len())
            .filter(essential)
            .collect()
    }

    /// All services in an order of starting: each after all its predecessors.
    #[must_use]
    pub fn order(&self) -> &[u32] {
        &self.order.services
    }

    /// The same in layers: a service lies in the layer after the last one that holds a predecessor
    /// of it. Services of one layer do not wait for each other.
    pub fn layers(&self) -> impl Iterator<Item = &[u32]> {
        self.order.layers()
    }
}

/// Services in an order of starting, cut into layers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Order {
    services: Vec<u32>,
    /// Where each layer ends.
    ends: Vec<u32>,
}

impl Order {
    fn layers(&self) -> impl Iterator<Item = &[u32]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(self.ends.iter().copied())
            .filter_map(|(start, end)| self.services.get(start as usize..end as usize))
    }

    /// Layer by layer takes what has no predecessor left. What lies in a circle, or behind one, is
    /// never taken.
    fn new(count: usize, predecessors: &Edges, successors: &Edges) -> Self {
        let indices = (0u32..).take(count);
        let mut waiting: Vec<usize> = indices
            .clone()
            .map(|index| predecessors.of(index).len())
            .collect();
        let mut layer: Vec<u32> = indices
            .filter(|&index| predecessors.of(index).is_empty())
            .collect();
        let mut order = Self::default();
        while !layer.is_empty() {
            let mut next = Vec::new();
            for &successor in layer.iter().flat_map(|&index| successors.of(index)) {
                if let Some(left) = waiting.get_mut(successor as usize) {
                    *left = left.saturating_sub(1);
                    if *left == 0 {
                        next.push(successor);
                    }
                }
            }
            order.services.append(&mut layer);
            order
                .ends
                .push(u32::try_from(order.services.len()).unwrap_or(u32::MAX));
            next.sort_unstable();
            layer = next;
        }
        order
    }
}

/// The relations that a service file can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Relation {
    /// `requires`
    Requires,
    /// `wants`
    Wants,
    /// `after`
    After,
    /// `before`
    Before,
    /// `conflicts`
    Conflicts,
    /// `wanted-by`
    WantedBy,
    /// `part-of`
    PartOf,
    /// `binds-to`
    BindsTo,
    /// `on-failure.start`
    OnFailure,
}

impl Relation {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Requires,
        Self::Wants,
        Self::After,
        Self::Before,
        Self::Conflicts,
        Self::WantedBy,
        Self::PartOf,
        Self::BindsTo,
        Self::OnFailure,
    ];

    /// The key of the service file.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Requires => "requires",
            Self::Wants => "wants",
            Self::After => "after",
            Self::Before => "before",
            Self::Conflicts => "conflicts",
            Self::WantedBy => "wanted-by",
            Self::PartOf => "part-of",
            Self::BindsTo => "binds-to",
            Self::OnFailure => "on-failure.start",
        }
    }

    /// The names that `relations` gives for it.
    #[must_use]
    pub fn names(self, relations: &Relations) -> &[ServiceName] {
        match self {
            Self::Requires => &relations.requires,
            Self::Wants => &relations.wants,
            Self::After => &relations.after,
            Self::Before => &relations.before,
            Self::Conflicts => &relations.conflicts,
            Self::WantedBy => &relations.wanted_by,
            Self::PartOf => &relations.part_of,
            Self::BindsTo => &relations.binds_to,
            Self::OnFailure => &relations.on_failure,
        }
    }
}

/// A definition, and where its files say what it relates to.
#[derive(Clone, Debug)]
pub struct Placed {
    /// The definition.
    pub definition: Definition,
    /// The file that first defined it.
    pub file: Place,
    /// Places of the names, in their order. A name without a place was not written: the
    /// `wanted-by` that every service has.
    pub names: BTreeMap<Relation, Vec<Place>>,
    /// Where its role in the boot is written, if it is.
    pub role: Option<Place>,
}

impl Placed {
    /// Where the name at `item` of `relation` is written.
    fn place(&self, relation: Relation, item: usize) -> Option<&Place> {
        self.names.get(&relation)?.get(item)
    }
}

impl From<Definition> for Placed {
    fn from(definition: Definition) -> Self {
        Self {
            file: Place::whole(&definition.source),
            definition,
            names: BTreeMap::new(),
            role: None,
        }
    }
}

/// The default target, for a set of files that does not define it.
fn default_target(name: ServiceName) -> Definition {
    Definition {
        name,
        description: "What is started at boot".to_owned(),
        source: "(built in)".to_owned(),
        kind: Kind::Target,
        relations: Relations::default(),
        restart: Restart {
            policy: RestartPolicy::Never,
            ..Restart::default()
        },
        failure_action: FailureAction::None,
        start_timeout: DEFAULT_START_TIMEOUT,
        stop: Stop::default(),
        timer: None,
        sockets: Vec::new(),
        lazy: false,
        boot: BootRole::None,
        gate: None,
        masked: None,
    }
}

/// How long a service may take to become ready when its file does not say.
pub(crate) const DEFAULT_START_TIMEOUT: Duration = Duration::from_secs(90);

impl Default for Restart {
    fn default() -> Self {
        Self {
            policy: RestartPolicy::OnFailure,
            delay: Duration::from_millis(200),
            max_delay: Duration::from_secs(30),
            jitter: 0,
            reset_after: Duration::from_secs(10),
            max_failures: None,
            burst: None,
            success: Box::default(),
        }
    }
}

impl Default for Stop {
    fn default() -> Self {
        Self {
            signal: crate::definition::Signal::Term,
            timeout: Duration::from_secs(10),
            scope: crate::definition::StopScope::Cgroup,
        }
    }
}
