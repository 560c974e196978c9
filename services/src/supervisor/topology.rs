//! Relations between places of the table, in compressed rows. Not here: what follows from them.

use serde::{Deserialize, Serialize};

use crate::graph::Graph;

/// What a neighbour in the order is to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Tie {
    /// As `Requires`, and who comes after it is up only while it is.
    Binds,
    /// It must be up, and the start of one is the start of the other.
    Requires,
    /// It is started too.
    Wants,
    /// Only the order is given.
    Order,
}

impl Tie {
    /// Whether it must be up.
    pub(super) const fn requires(self) -> bool {
        match self {
            Self::Binds | Self::Requires => true,
            Self::Wants | Self::Order => false,
        }
    }

    /// Whether a start of the one who has it starts it too.
    pub(super) const fn starts(self) -> bool {
        match self {
            Self::Binds | Self::Requires | Self::Wants => true,
            Self::Order => false,
        }
    }
}

/// A neighbour in the order of starting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Edge {
    pub(super) other: u32,
    pub(super) tie: Tie,
}

/// Rows of variable length in one allocation.
#[derive(Debug, Serialize, Deserialize)]
struct Rows<T> {
    /// Where each row ends.
    ends: Vec<u32>,
    items: Vec<T>,
}

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Self {
            ends: Vec::new(),
            items: Vec::new(),
        }
    }
}

impl<T: Ord + Copy> Rows<T> {
    fn new(mut pairs: Vec<(u32, T)>, rows: usize) -> Self {
        pairs.sort_unstable();
        let mut ends = Vec::with_capacity(rows);
        let mut end = 0usize;
        for row in 0..rows {
            while pairs
                .get(end)
                .is_some_and(|(from, _)| *from as usize <= row)
            {
                end += 1;
            }
            ends.push(u32::try_from(end).unwrap_or(u32::MAX));
        }
        let items = pairs.into_iter().map(|(_, item)| item).collect();
        Self { ends, items }
    }

    fn of(&self, row: u32) -> &[T] {
        let row = row as usize;
        let start = match row.checked_sub(1) {
            Some(before) => self.ends.get(before).copied().unwrap_or(0),
            None => 0,
        };
        let end = self.ends.get(row).copied().unwrap_or(start);
        self.items
            .get(start as usize..end as usize)
            .unwrap_or_default()
    }
}

/// All relations.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Topology {
    predecessors: Rows<Edge>,
    successors: Rows<Edge>,
    conflicts: Rows<u32>,
    parts: Rows<u32>,
    rescuers: Rows<u32>,
}

impl Topology {
    /// The relations of `graph`, whose service `i` lies in the place `places[i]`, and those of
    /// `rest`: (earlier, later, tie) of services that are in no graph any more.
    pub(super) fn new(
        graph: &Graph,
        places: &[u32],
        rest: Vec<(u32, u32, Tie)>,
        rows: usize,
    ) -> Self {
        let mut ordered = rest;
        let mut conflicts = Vec::new();
        let (mut parts, mut rescuers) = (Vec::new(), Vec::new());
        let place = |index: u32| places.get(index as usize).copied();
        for (index, at) in (0u32..).zip(places.iter().copied()) {
            let requires = graph.requires(index);
            let wants = graph.wants(index);
            let binds = graph.binds(index);
            for predecessor in graph.predecessors(index) {
                let tie = if binds.binary_search(predecessor).is_ok() {
                    Tie::Binds
                } else if requires.binary_search(predecessor).is_ok() {
                    Tie::Requires
                } else if wants.binary_search(predecessor).is_ok() {
                    Tie::Wants
                } else {
                    Tie::Order
                };
                if let Some(earlier) = place(*predecessor) {
                    ordered.push((earlier, at, tie));
                }
            }
            let others = graph.conflicts(index).iter().filter_map(|i| place(*i));
            conflicts.extend(others.map(|other| (at, other)));
            let members = graph.parts(index).iter().filter_map(|i| place(*i));
            parts.extend(members.map(|member| (at, member)));
            let helpers = graph.rescuers(index).iter().filter_map(|i| place(*i));
            rescuers.extend(helpers.map(|helper| (at, helper)));
        }
        let edge = |from: u32, other: u32, tie: Tie| (from, Edge { other, tie });
        let back = ordered.iter().map(|(a, b, tie)| edge(*b, *a, *tie));
        let forth = ordered.iter().map(|(a, b, tie)| edge(*a, *b, *tie));
        Self {
            predecessors: Rows::new(back.collect(), rows),
            successors: Rows::new(forth.collect(), rows),
            conflicts: Rows::new(conflicts, rows),
            parts: Rows::new(parts, rows),
            rescuers: Rows::new(rescuers, rows),
        }
    }

    /// What comes before `index`: what it requires and wants, and mere order.
    pub(super) fn predecessors(&self, index: u32) -> &[Edge] {
        self.predecessors.of(index)
    }

    /// What comes after `index`.
    pub(super) fn successors(&self, index: u32) -> &[Edge] {
        self.successors.of(index)
    }

    /// What is part of `index`: stopped and restarted with it.
    pub(super) fn parts(&self, index: u32) -> &[u32] {
        self.parts.of(index)
    }

    /// What is started when `index` is left failed.
    pub(super) fn rescuers(&self, index: u32) -> &[u32] {
        self.rescuers.of(index)
    }

    /// What cannot run beside `index`.
    pub(super) fn conflicts(&self, index: u32) -> &[u32] {
        self.conflicts.of(index)
    }
}
