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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// The items of each row, in rising order.
    fn new(pairs: &[(u32, T)], rows: usize) -> Self {
        let mut next = vec![0u32; rows];
        for (row, _) in pairs {
            if let Some(count) = next.get_mut(*row as usize) {
                *count = count.saturating_add(1);
            }
        }
        let mut total = 0u32;
        for count in &mut next {
            let start = total;
            total = total.saturating_add(*count);
            *count = start;
        }
        // Every place is written below: a row has as many items as were counted.
        let mut items = match pairs.first() {
            Some((_, any)) => vec![*any; total as usize],
            None => Vec::new(),
        };
        for (row, item) in pairs {
            if let Some(at) = next.get_mut(*row as usize)
                && let Some(place) = items.get_mut(*at as usize)
            {
                *place = *item;
                *at = at.saturating_add(1);
            }
        }
        let mut made = Self { ends: next, items };
        let mut start = 0;
        for end in &made.ends {
            let end = *end as usize;
            if let Some(row) = made.items.get_mut(start..end) {
                row.sort_unstable();
            }
            start = end;
        }
        made
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

    /// Each item with its row.
    fn pairs(&self) -> impl Iterator<Item = (u32, T)> {
        let rows = (0u32..).take(self.ends.len());
        rows.flat_map(|row| self.of(row).iter().map(move |item| (row, *item)))
    }

    /// Whether there are `count` rows that share all items, and `other` of each is one of them.
    fn is_sound(&self, count: usize, other: impl Fn(&T) -> u32) -> bool {
        let last = self.ends.last().copied().unwrap_or(0);
        self.ends.len() == count
            && self.ends.is_sorted()
            && last as usize == self.items.len()
            && self.items.iter().all(|item| (other(item) as usize) < count)
    }
}

/// The relations of a graph, between the indices of its services.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Relations {
    predecessors: Rows<Edge>,
    conflicts: Rows<u32>,
    parts: Rows<u32>,
    rescuers: Rows<u32>,
    /// All services, each after all its predecessors: shows that there is no circle.
    order: Vec<u32>,
    /// Tells these from others between as many services.
    digest: u64,
}

impl Relations {
    /// Those of a graph.
    pub(super) fn new(graph: &Graph) -> Self {
        let count = graph.services().len();
        let mut ordered = Vec::new();
        for index in (0u32..).take(count) {
            let (requires, wants) = (graph.requires(index), graph.wants(index));
            let binds = graph.binds(index);
            for &other in graph.predecessors(index) {
                let tie = if binds.binary_search(&other).is_ok() {
                    Tie::Binds
                } else if requires.binary_search(&other).is_ok() {
                    Tie::Requires
                } else if wants.binary_search(&other).is_ok() {
                    Tie::Wants
                } else {
                    Tie::Order
                };
                ordered.push((index, Edge { other, tie }));
            }
        }
        fn rows<'a>(count: usize, of: impl Fn(u32) -> &'a [u32]) -> Rows<u32> {
            let indices = (0u32..).take(count);
            let pairs = indices.flat_map(|index| of(index).iter().map(move |it| (index, *it)));
            Rows::new(&pairs.collect::<Vec<_>>(), count)
        }
        let mut made = Self {
            predecessors: Rows::new(&ordered, count),
            conflicts: rows(count, |index| graph.conflicts(index)),
            parts: rows(count, |index| graph.parts(index)),
            rescuers: rows(count, |index| graph.rescuers(index)),
            order: graph.order().to_vec(),
            digest: 0,
        };
        made.digest = made.digested();
        made
    }

    /// FNV-1a of all that a topology is made of.
    fn digested(&self) -> u64 {
        let edges = self.predecessors.items.iter();
        let edges = edges.flat_map(|edge| [edge.other, edge.tie as u32]);
        let plain = [&self.conflicts, &self.parts, &self.rescuers];
        let plain = plain
            .iter()
            .flat_map(|rows| rows.ends.iter().chain(&rows.items));
        let numbers = self.predecessors.ends.iter().copied();
        let numbers = numbers.chain(edges).chain(plain.copied());
        let bytes = numbers.flat_map(u32::to_le_bytes);
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }

    /// These, with the order of others.
    #[cfg(test)]
    pub(super) fn take_order(&mut self, others: Self) {
        self.order = others.order;
    }

    /// What is wrong with them, for so many services.
    pub(super) fn fault(&self, count: usize) -> Option<String> {
        let plain = [&self.conflicts, &self.parts, &self.rescuers];
        let sound = self.predecessors.is_sound(count, |edge| edge.other)
            && plain
                .iter()
                .all(|rows| rows.is_sound(count, |other| *other));
        if !sound {
            return Some("a relation leads nowhere".to_owned());
        }
        let mut position = vec![u32::MAX; count];
        for (at, index) in (0u32..).zip(&self.order) {
            if let Some(position) = position.get_mut(*index as usize) {
                *position = at;
            }
        }
        if self.order.len() != count || position.contains(&u32::MAX) {
            return Some("its order is not one of all services".to_owned());
        }
        let place = |index: u32| position.get(index as usize);
        let mut edges = self.predecessors.pairs();
        edges
            .any(|(later, edge)| place(edge.other) >= place(later))
            .then(|| "its order breaks a relation".to_owned())
    }
}

/// All relations, between places.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Topology {
    /// Of the relations that it was made of, if it was of nothing else.
    digest: Option<u64>,
    predecessors: Rows<Edge>,
    successors: Rows<Edge>,
    conflicts: Rows<u32>,
    parts: Rows<u32>,
    rescuers: Rows<u32>,
}

impl Topology {
    /// The relations of a graph, whose service `i` lies in the place `places[i]`, and those of
    /// `rest`: (earlier, later, tie) of services that are in no graph any more.
    pub(super) fn new(
        relations: &Relations,
        places: &[u32],
        rest: Vec<(u32, u32, Tie)>,
        rows: usize,
    ) -> Self {
        let place = |index: u32| places.get(index as usize).copied();
        let mut back = Vec::with_capacity(rest.len() + relations.predecessors.items.len());
        let of_graph = relations.predecessors.pairs().filter_map(|(index, edge)| {
            let (later, other, tie) = (place(index)?, place(edge.other)?, edge.tie);
            Some((later, Edge { other, tie }))
        });
        back.extend(of_graph);
        let digest = rest.is_empty().then_some(relations.digest);
        let of_rest = rest.into_iter();
        back.extend(of_rest.map(|(other, later, tie)| (later, Edge { other, tie })));
        let turned = |(later, edge): &(u32, Edge)| {
            let (other, tie) = (*later, edge.tie);
            (edge.other, Edge { other, tie })
        };
        let forth: Vec<(u32, Edge)> = back.iter().map(turned).collect();
        let plain = |of: &Rows<u32>| {
            let pairs = of.pairs();
            let pairs = pairs.filter_map(|(index, other)| Some((place(index)?, place(other)?)));
            Rows::new(&pairs.collect::<Vec<_>>(), rows)
        };
        Self {
            digest,
            predecessors: Rows::new(&back, rows),
            successors: Rows::new(&forth, rows),
            conflicts: plain(&relations.conflicts),
            parts: plain(&relations.parts),
            rescuers: plain(&relations.rescuers),
        }
    }

    /// Whether it was made of these relations and of nothing else. The services that they are between must
    /// be the same, and in the same places.
    pub(super) fn is_of(&self, relations: &Relations) -> bool {
        self.digest == Some(relations.digest)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::{Source, load};

    /// The relations of `a`, which has these keys, between `b` and `c`.
    fn relations(keys: &str) -> Relations {
        let source = |name: &str, text: &str| Source {
            path: format!("/v/{name}.toml"),
            layer: 0,
            text: format!("exec = '/x'\n{text}"),
        };
        let sources = [
            source("a", keys),
            source("b", "wanted-by = []"),
            source("c", ""),
        ];
        Relations::new(&load(&sources, None).graph.unwrap())
    }

    #[test]
    fn a_topology_knows_the_relations_that_it_was_made_of() {
        let different = [
            "",
            "requires = ['b']",
            "requires = ['c']",
            "binds-to = ['b']",
            "wants = ['b']",
            "after = ['b']",
            "before = ['b']",
            "conflicts = ['b']",
            "part-of = ['b']",
            "on-failure.start = ['b']",
            "wanted-by = []",
        ];
        for keys in different {
            let made = relations(keys);
            let topology = Topology::new(&made, &[0, 1, 2, 3], Vec::new(), 4);
            for others in different {
                let same = topology.is_of(&relations(others));
                assert_eq!(same, keys == others, "`{keys}` and `{others}`");
            }
            let described = relations(&format!("description = 'x'\n{keys}"));
            assert!(topology.is_of(&described), "`{keys}`");
            let more = Topology::new(&made, &[0, 1, 2, 3], vec![(4, 5, Tie::Order)], 6);
            assert!(!more.is_of(&made), "it is of others too");
        }
    }
}
