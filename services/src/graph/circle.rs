//! Finding circles in the order of starting. Not here: telling of them (`check`).

use std::collections::VecDeque;

use super::edges::Edges;

/// Most circles that are told in one go.
pub(super) const MAX_CIRCLES: usize = 32;

/// Circles of the order: each a list of services, where each is a predecessor of the next, and the
/// last of the first. Every service that lies in a circle is in one of those told, up to
/// [`MAX_CIRCLES`]; each is the shortest through one of its services.
pub(super) fn circles(count: usize, successors: &Edges) -> Vec<Vec<u32>> {
    let component = components(count, successors);
    let mut told = vec![false; count];
    let mut found: Vec<Vec<u32>> = Vec::new();
    for start in (0u32..).take(count) {
        if found.len() == MAX_CIRCLES {
            break;
        }
        if told.get(start as usize).copied().unwrap_or(true) {
            continue;
        }
        let Some(circle) = shortest(start, successors, &component) else {
            continue;
        };
        for &index in &circle {
            if let Some(told) = told.get_mut(index as usize) {
                *told = true;
            }
        }
        found.push(circle);
    }
    found
}

/// The shortest way from `start` back to it; the search does not leave its component, where there
/// always is one unless the component is `start` alone.
fn shortest(start: u32, successors: &Edges, component: &[u32]) -> Option<Vec<u32>> {
    let home = component.get(start as usize)?;
    let mut came_from = std::collections::BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(index) = queue.pop_front() {
        for &next in successors.of(index) {
            if next == start {
                let mut way = vec![index];
                while let Some(&before) = way.last().and_then(|last| came_from.get(last)) {
                    way.push(before);
                }
                way.reverse();
                return Some(way);
            }
            if component.get(next as usize) == Some(home) && !came_from.contains_key(&next) {
                came_from.insert(next, index);
                queue.push_back(next);
            }
        }
    }
    None
}

/// Not yet visited.
const NONE: u32 = u32::MAX;

/// For each service, the number of its strongly connected component (Tarjan's algorithm, with the
/// stack on the heap: a chain of services may be as long as there are services).
fn components(count: usize, successors: &Edges) -> Vec<u32> {
    let mut search = Search {
        number: vec![NONE; count],
        low: vec![0; count],
        component: vec![NONE; count],
        open: Vec::new(),
        next_number: 0,
        next_component: 0,
    };
    let mut path: Vec<(u32, usize)> = Vec::new();
    for root in (0u32..).take(count) {
        if search.visited(root) {
            continue;
        }
        search.enter(root);
        path.push((root, 0));
        while let Some((index, edge)) = path.last_mut() {
            let (current, position) = (*index, *edge);
            *edge += 1;
            match successors.of(current).get(position) {
                Some(&next) if !search.visited(next) => {
                    search.enter(next);
                    path.push((next, 0));
                }
                Some(&next) => search.meet(current, next),
                None => {
                    path.pop();
                    search.leave(current, path.last().map(|(parent, _)| *parent));
                }
            }
        }
    }
    search.component
}

/// What Tarjan's algorithm remembers; every index handed to it is below the count.
struct Search {
    number: Vec<u32>,
    low: Vec<u32>,
    component: Vec<u32>,
    open: Vec<u32>,
    next_number: u32,
    next_component: u32,
}

impl Search {
    fn visited(&self, index: u32) -> bool {
        self.number.get(index as usize) != Some(&NONE)
    }

    fn enter(&mut self, index: u32) {
        set(&mut self.number, index, self.next_number);
        set(&mut self.low, index, self.next_number);
        self.next_number += 1;
        self.open.push(index);
    }

    /// An edge to a visited service: it counts while that one's component is not closed.
    fn meet(&mut self, index: u32, other: u32) {
        if get(&self.component, other) == NONE {
            let low = get(&self.low, index).min(get(&self.number, other));
            set(&mut self.low, index, low);
        }
    }

    /// All edges of `index` are done: close the component it is the root of, or tell its parent.
    fn leave(&mut self, index: u32, parent: Option<u32>) {
        let low = get(&self.low, index);
        if low == get(&self.number, index) {
            while let Some(member) = self.open.pop() {
                set(&mut self.component, member, self.next_component);
                if member == index {
                    break;
                }
            }
            self.next_component += 1;
        }
        if let Some(parent) = parent {
            let low = get(&self.low, parent).min(low);
            set(&mut self.low, parent, low);
        }
    }
}

fn get(table: &[u32], index: u32) -> u32 {
    table.get(index as usize).copied().unwrap_or(NONE)
}

fn set(table: &mut [u32], index: u32, value: u32) {
    if let Some(slot) = table.get_mut(index as usize) {
        *slot = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pairs: &[(u32, u32)], expect: &[&[u32]]) {
        let found = circles(6, &Edges::new(6, pairs.to_vec()));
        assert_eq!(found, expect, "{pairs:?}");
    }

    #[test]
    fn every_service_in_a_circle_is_in_one_that_is_told() {
        check(&[(0, 1), (1, 2), (0, 2)], &[]);
        check(&[(0, 1), (1, 0)], &[&[0, 1]]);
        check(&[(0, 1), (1, 2), (2, 0), (2, 3)], &[&[0, 1, 2]]);
        // Two circles through one service.
        check(&[(0, 2), (2, 0), (1, 2), (2, 1)], &[&[0, 2], &[1, 2]]);
        // Two circles, and a way between them that is in none.
        check(
            &[(0, 1), (1, 0), (1, 2), (2, 3), (3, 4), (4, 3)],
            &[&[0, 1], &[3, 4]],
        );
        // The shorter way is told.
        check(&[(0, 1), (1, 2), (2, 0), (1, 0)], &[&[0, 1], &[2, 0, 1]]);
    }

    #[test]
    fn a_long_chain_does_not_use_the_stack() {
        let count = 16384;
        let mut pairs: Vec<(u32, u32)> = (0..count - 1).map(|n| (n, n + 1)).collect();
        pairs.push((count - 1, 0));
        let found = circles(count as usize, &Edges::new(count as usize, pairs));
        assert_eq!(found.len(), 1);
        assert_eq!(found.first().map(Vec::len), Some(count as usize));
    }
}
