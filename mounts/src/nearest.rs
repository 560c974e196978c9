//! The known word nearest to an unknown one, for "did you mean". Not here: who asks and why.

/// Words longer than this are not compared: the answer would be no help, and the cost is quadratic.
const LONGEST: usize = 64;

/// The candidate with the smallest edit distance to `word`, if it is near enough to be a slip.
pub(crate) fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    if word.len() > LONGEST {
        return None;
    }
    let (distance, candidate) = candidates
        .iter()
        .map(|candidate| (distance(word, candidate), *candidate))
        .min_by_key(|(distance, _)| *distance)?;
    (distance <= word.chars().count().div_ceil(3)).then_some(candidate)
}

/// Edit distance with a swap of neighbours as one edit (optimal string alignment).
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    let mut previous_left = None;
    for (row, l) in left.chars().enumerate() {
        let mut current = vec![row + 1];
        let mut previous_right = None;
        for (column, &r) in right.iter().enumerate() {
            let at =
                |line: &[usize], column: usize| line.get(column).copied().unwrap_or(usize::MAX / 2);
            let mut best = (at(&last, column) + usize::from(l != r))
                .min(at(&last, column + 1) + 1)
                .min(at(&current, column) + 1);
            if previous_left == Some(r) && previous_right == Some(l) && column > 0 {
                best = best.min(at(&before_last, column - 1) + 1);
            }
            current.push(best);
            previous_right = Some(r);
        }
        before_last = std::mem::replace(&mut last, current);
        previous_left = Some(l);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_understood_and_another_word_is_not() {
        let keys = ["slot", "target", "rescue", "watchdog"];
        assert_eq!(nearest("slto", &keys), Some("slot"));
        assert_eq!(nearest("watchdgo", &keys), Some("watchdog"));
        assert_eq!(nearest("resue", &keys), Some("rescue"));
        assert_eq!(nearest("zebra", &keys), None);
        assert_eq!(nearest("", &[]), None);
    }

    #[test]
    fn distances() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
        assert_eq!(distance("ab", "ba"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
