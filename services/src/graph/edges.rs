//! One relation between services, as a compact table. Not here: what the relation means.

/// For each service, the services it is related to, in rising order and without repetition.
///
/// All lists lie in one vector, so that ten thousand services cost two allocations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Edges {
    starts: Vec<u32>,
    ends: Vec<u32>,
}

impl Edges {
    /// The table of `pairs` (from, to), in any order, for `count` services.
    pub(super) fn new(count: usize, mut pairs: Vec<(u32, u32)>) -> Self {
        pairs.sort_unstable();
        pairs.dedup();
        let mut starts = Vec::with_capacity(count + 1);
        let mut ends = Vec::with_capacity(pairs.len());
        let mut pairs = pairs.into_iter().peekable();
        for from in (0u32..).take(count) {
            starts.push(length(&ends));
            while let Some((_, to)) = pairs.next_if(|(f, _)| *f <= from) {
                ends.push(to);
            }
        }
        starts.push(length(&ends));
        Self { starts, ends }
    }

    /// The same relation seen from the other side.
    pub(super) fn reversed(count: usize, pairs: &[(u32, u32)]) -> Self {
        Self::new(count, pairs.iter().map(|&(from, to)| (to, from)).collect())
    }

    /// What `from` is related to; nothing for an index out of range.
    pub(super) fn of(&self, from: u32) -> &[u32] {
        let from = from as usize;
        let (Some(&start), Some(&end)) = (self.starts.get(from), self.starts.get(from + 1)) else {
            return &[];
        };
        self.ends.get(start as usize..end as usize).unwrap_or(&[])
    }
}

/// Saturates: the number of edges is far below, because files are bounded.
fn length(ends: &[u32]) -> u32 {
    u32::try_from(ends.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_directions_agree() {
        let pairs = [(2, 1), (0, 2), (0, 1), (0, 2)];
        let forth = Edges::new(3, pairs.to_vec());
        let back = Edges::reversed(3, &pairs);
        assert_eq!(forth.of(0), [1, 2]);
        assert_eq!(forth.of(1), [0u32; 0]);
        assert_eq!(forth.of(2), [1]);
        assert_eq!(forth.of(3), [0u32; 0]);
        assert_eq!(back.of(0), [0u32; 0]);
        assert_eq!(back.of(1), [0, 2]);
        assert_eq!(back.of(2), [0]);
    }
}
