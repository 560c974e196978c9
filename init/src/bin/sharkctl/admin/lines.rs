//! Two texts compared line by line, as diff(1) shows them with `-u`. Not here: which texts.

/// Lines shown around what differs.
const AROUND: usize = 3;
/// Above so many pairs of lines, everything between what is the same at both ends counts as different.
const PAIRS_MAX: usize = 4_000_000;

/// One line of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line<'t> {
    Same(&'t str),
    Old(&'t str),
    New(&'t str),
}

/// What has to be done to `old` to have `new`, without a heading; empty where they are the same.
pub(super) fn unified(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let all = compare(&old, &new);
    let differs: Vec<usize> = all
        .iter()
        .enumerate()
        .filter(|(_, line)| !matches!(line, Line::Same(_)))
        .map(|(at, _)| at)
        .collect();
    let near = |at: usize| differs.iter().any(|it| it.abs_diff(at) <= AROUND);
    let (mut text, mut gap) = (String::new(), false);
    for (at, line) in all.iter().enumerate() {
        if !near(at) {
            gap = true;
            continue;
        }
        if std::mem::take(&mut gap) {
            text.push_str("@@\n");
        }
        let (mark, line) = match line {
            Line::Same(line) => (' ', line),
            Line::Old(line) => ('-', line),
            Line::New(line) => ('+', line),
        };
        text.push_str(&format!("{mark}{line}\n"));
    }
    text
}

fn compare<'t>(old: &[&'t str], new: &[&'t str]) -> Vec<Line<'t>> {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let (old_rest, new_rest) = (
        old.get(head..).unwrap_or_default(),
        new.get(head..).unwrap_or_default(),
    );
    let ends = old_rest.iter().rev().zip(new_rest.iter().rev());
    let tail = ends.take_while(|(a, b)| a == b).count();
    let middle = |rest: &[&'t str]| rest.get(..rest.len() - tail).unwrap_or_default().to_vec();
    let mut all: Vec<Line<'_>> = old.iter().take(head).map(|it| Line::Same(it)).collect();
    all.extend(between(&middle(old_rest), &middle(new_rest)));
    let last = old_rest.iter().skip(old_rest.len() - tail);
    all.extend(last.map(|it| Line::Same(it)));
    all
}

/// Along a longest common subsequence.
fn between<'t>(old: &[&'t str], new: &[&'t str]) -> Vec<Line<'t>> {
    let width = new.len() + 1;
    if old.len().saturating_mul(width) > PAIRS_MAX {
        let old = old.iter().map(|it| Line::Old(it));
        return old.chain(new.iter().map(|it| Line::New(it))).collect();
    }
    // How many lines are the same from this pair on.
    let mut same = vec![0_u32; (old.len() + 1) * width];
    let at = |same: &[u32], a: usize, b: usize| same.get(a * width + b).copied().unwrap_or(0);
    for (a, old) in old.iter().enumerate().rev() {
        for (b, new) in new.iter().enumerate().rev() {
            let here = match old == new {
                true => at(&same, a + 1, b + 1) + 1,
                false => at(&same, a + 1, b).max(at(&same, a, b + 1)),
            };
            if let Some(place) = same.get_mut(a * width + b) {
                *place = here;
            }
        }
    }
    let (mut a, mut b, mut lines) = (0, 0, Vec::new());
    loop {
        match (old.get(a), new.get(b)) {
            (Some(one), Some(other)) if one == other => {
                lines.push(Line::Same(one));
                (a, b) = (a + 1, b + 1);
            }
            (Some(one), other) if other.is_none() || at(&same, a + 1, b) >= at(&same, a, b + 1) => {
                lines.push(Line::Old(one));
                a += 1;
            }
            (_, Some(other)) => {
                lines.push(Line::New(other));
                b += 1;
            }
            (_, None) => return lines,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::unified;

    #[test]
    fn what_differs_is_shown_with_what_is_around_it() {
        assert_eq!(unified("a\nb\n", "a\nb\n"), "");
        assert_eq!(unified("a\nb\nc\n", "a\nx\nc\n"), " a\n-b\n+x\n c\n");
        assert_eq!(unified("", "a\n"), "+a\n");
        assert_eq!(unified("a\nb\n", ""), "-a\n-b\n");
        let long = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";
        let other = long.replace('5', "five").replace('9', "9\nten");
        let got = unified(long, &other);
        assert_eq!(got, "@@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n 9\n+ten\n");
        assert_eq!(unified("a\nb\nc\nd\n", "b\nd\ne\n"), "-a\n b\n-c\n d\n+e\n");
        // Too much to compare: nothing is left out.
        let (old, new) = ("x\n".repeat(3000), "y\n".repeat(3000));
        assert_eq!(unified(&old, &new).lines().count(), 6000);
    }
}
