//! How long the turns of PID 1's loop took of the processor while one thing after the other was done, by
//! the histogram that a contestant shows of itself (`sharkctl metrics`). Not here: counting (init).

use super::result::milliseconds;

/// Buckets of the histogram begin their lines with this; they add up.
const BUCKET: &str = "shark_loop_turn_cpu_seconds_bucket{le=\"";
/// The last line of what is shown once.
const END: &str = "# EOF";
/// What had been done before a histogram was shown, by the last figure that the probe told.
const DONE: [(&str, &str); 4] = [
    ("restart-ns", "start and restarts"),
    ("answer-reload-ns", "reload, nothing changed"),
    ("answer-change-ns", "reload, one changed"),
    ("storm-init-cpu-ns", "storm of exits"),
];

/// Turns while one thing was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Turns {
    pub(super) what: &'static str,
    /// So many took less than so many nanoseconds, and no less than the bucket before; `None` for what
    /// has no bound.
    pub(super) buckets: Vec<(Option<u64>, u64)>,
}

/// All that are in the text, each without what had been before.
pub(super) fn parse(text: &str) -> Vec<Turns> {
    let mut all = Vec::new();
    let mut what = None;
    let (mut sums, mut former) = (Vec::new(), Vec::new());
    for line in text.lines().map(str::trim) {
        if let Some(told) = line.strip_prefix("BENCH ") {
            let done = DONE.iter().find(|(key, _)| told.starts_with(key));
            what = done.map(|(_, what)| *what).or(what);
        } else if let Some(bucket) = line.strip_prefix(BUCKET) {
            sums.extend(sum(bucket));
        } else if line == END {
            if let (Some(what), false) = (what.take(), sums.is_empty()) {
                let buckets = apart(&sums, &former);
                all.push(Turns { what, buckets });
            }
            former = std::mem::take(&mut sums);
        }
    }
    all
}

/// Bound and sum of a line.
fn sum(bucket: &str) -> Option<(Option<u64>, u64)> {
    let (bound, sum) = bucket.split_once("\"} ")?;
    let bound = match bound
        .strip_prefix("0.")
        .or(bound.split_once('.').map(|_| ""))
    {
        Some(digits) if digits.len() == 9 => Some(digits.parse().ok()?),
        _ => None,
    };
    Some((bound, sum.parse().ok()?))
}

/// Each bucket by itself, without what was in it before.
fn apart(sums: &[(Option<u64>, u64)], former: &[(Option<u64>, u64)]) -> Vec<(Option<u64>, u64)> {
    let before = |at: usize| former.get(at).map_or(0, |(_, sum)| *sum);
    let mut below = 0;
    let mut buckets: Vec<(Option<u64>, u64)> = Vec::new();
    for (at, (bound, sum)) in sums.iter().enumerate() {
        let own = sum.saturating_sub(before(at));
        let count = own.saturating_sub(below);
        below = own;
        match buckets.last_mut() {
            Some((None, rest)) => *rest += count,
            _ => buckets.push((*bound, count)),
        }
    }
    buckets
}

/// A table with a row for each thing that was done, and a column for each bucket that has turns in it.
pub(super) fn table(all: &[Turns]) -> String {
    let filled = |at: usize| {
        let counts = all.iter().filter_map(|it| it.buckets.get(at));
        counts.map(|(_, count)| *count).sum::<u64>() > 0
    };
    let Some(first) = all.first() else {
        return String::new();
    };
    let places: Vec<usize> = (0..first.buckets.len()).filter(|at| filled(*at)).collect();
    let mut text = String::from("| turns that took of the processor less than |");
    for (bound, _) in places.iter().filter_map(|at| first.buckets.get(*at)) {
        let bound = bound.map_or("more".to_owned(), |ns| format!("{} ms", milliseconds(ns)));
        text.push_str(&format!(" {bound} |"));
    }
    text.push_str(&format!("\n|{}\n", "---|".repeat(places.len() + 1)));
    for turns in all {
        text.push_str(&format!("| {} |", turns.what));
        for at in &places {
            let count = turns.buckets.get(*at).map_or(0, |(_, count)| *count);
            text.push_str(&format!(" {count} |"));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(sums: [u64; 4]) -> String {
        let bounds = ["0.000016384", "0.001048576", "2.147483648", "+Inf"];
        let lines = bounds.iter().zip(sums);
        let text: String = lines
            .map(|(bound, sum)| format!("{BUCKET}{bound}\"}} {sum}\r\n"))
            .collect();
        format!("shark_loop_turn_seconds_bucket{{le=\"+Inf\"}} 99\n{text}{END}\r\n")
    }

    #[test]
    fn each_has_its_own_turns_and_those_of_a_second_are_together() {
        let text = format!(
            "BENCH restart-ns 1\n{}BENCH reload-ns 2\nBENCH answer-reload-ns 3\n{}",
            shown([2, 5, 5, 5]),
            shown([2, 9, 10, 12]),
        );
        let all = parse(&text);
        let start = vec![(Some(16_384), 2), (Some(1_048_576), 3), (None, 0)];
        assert_eq!(all[0].buckets, start);
        let reload = vec![(Some(16_384), 0), (Some(1_048_576), 4), (None, 3)];
        assert_eq!(
            (all[1].what, &all[1].buckets),
            ("reload, nothing changed", &reload)
        );
        let expect = "| turns that took of the processor less than | 0.02 ms | 1.05 ms | more |\n\
                      |---|---|---|---|\n\
                      | start and restarts | 2 | 3 | 0 |\n\
                      | reload, nothing changed | 0 | 4 | 3 |\n";
        assert_eq!(table(&all), expect);
        assert_eq!(table(&parse("BENCH restart-ns 1\n")), "");
    }
}
