//! The table of all contestants, in Markdown: as the project's performance marks are put.

use super::result::{Outcome, milliseconds};

/// What all are compared with.
const FLOOR: &str = "floor";
/// What an init with a cgroup a service is compared with.
const OURS: &str = "floor-cgroup-ctl";

/// The table.
pub(super) fn table(outcomes: &[Outcome]) -> String {
    let mut counts: Vec<u32> = outcomes.iter().map(|it| it.n).collect();
    counts.sort_unstable();
    counts.dedup();
    let most = counts.last().copied().unwrap_or(0);
    let mut text = String::from("| contestant |");
    for n in &counts {
        text.push_str(&format!(" ready ms, n = {n} |"));
    }
    text.push_str(&format!(
        " x floor at {most} | x {OURS} at {most} | restart p50 ms | p99 ms | PID 1 RSS KiB (anon) at {most} | \
         whole tree PSS KiB at {most} | idle wake-ups in 10 s: PID 1, others | programs + libs KiB | \
         knows dependencies |\n|"
    ));
    text.push_str(&"---|".repeat(counts.len() + 10));
    text.push('\n');
    let mut names: Vec<&str> = Vec::new();
    for outcome in outcomes {
        if !names.contains(&outcome.name.as_str()) {
            names.push(&outcome.name);
        }
    }
    for name in names {
        text.push_str(&row(name, outcomes, &counts, most));
    }
    text.push_str(&reloads(outcomes));
    text
}

fn find<'a>(outcomes: &'a [Outcome], name: &str, n: u32) -> Option<&'a Outcome> {
    outcomes.iter().find(|it| it.name == name && it.n == n)
}

fn row(name: &str, outcomes: &[Outcome], counts: &[u32], most: u32) -> String {
    let Some(any) = outcomes.iter().rfind(|it| it.name == name) else {
        return String::new();
    };
    let at_most = find(outcomes, name, most);
    let ready = |name: &str, n: u32| find(outcomes, name, n)?.get("ready-ns");
    let number = |key: &str| {
        let value = at_most.and_then(|it| it.get(key));
        value.map_or("-".to_owned(), |value| value.to_string())
    };
    let ratio = |floor: &str| match (ready(name, most), ready(floor, most)) {
        (Some(own), Some(floor)) if floor > 0 => hundredths(own, floor),
        (_, _) => "-".to_owned(),
    };
    let restart = |percent: usize| {
        let time = at_most.and_then(|it| it.restart(percent));
        time.map_or("-".to_owned(), milliseconds)
    };
    let mut cells = vec![any.label.clone()];
    for n in counts {
        cells.push(ready(name, *n).map_or("not finished".to_owned(), milliseconds));
    }
    cells.extend([
        ratio(FLOOR),
        ratio(OURS),
        restart(50),
        restart(99),
        format!(
            "{} ({})",
            number("init-rss-kib"),
            number("init-anonymous-kib")
        ),
        number("tree-pss-kib"),
        format!(
            "{}, {}",
            number("idle-init-switches"),
            number("idle-other-switches")
        ),
        any.size.div_ceil(1024).to_string(),
        any.dependencies.to_owned(),
    ]);
    format!("| {} |\n", cells.join(" | "))
}

/// How often `floor` is in `own`, to two digits.
fn hundredths(own: u64, floor: u64) -> String {
    let hundredths = own.saturating_mul(100).saturating_add(floor / 2) / floor;
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

/// What a reload of all services costs, for those that have one.
fn reloads(outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    for outcome in outcomes {
        let Some(whole) = outcome.get("reload-ns") else {
            continue;
        };
        let ms = |key: &str| outcome.get(key).map_or("-".to_owned(), milliseconds);
        text.push_str(&format!(
            "\n{}, n = {}: a reload takes {} ms, of it PID 1 {} ms of CPU; the longest answer meanwhile {} ms \
             (before it {} ms)",
            outcome.name,
            outcome.n,
            milliseconds(whole),
            ms("reload-init-cpu-ns"),
            ms("answer-reload-ns"),
            ms("answer-quiet-ns"),
        ));
        if let Some(cpu) = outcome.get("storm-init-cpu-ns") {
            text.push_str(&format!(
                "; 3000 orphans in 3 s cost PID 1 {} ms of CPU",
                milliseconds(cpu)
            ));
        }
        text.push_str(".\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_rounded_to_two_digits() {
        assert_eq!(hundredths(360, 288), "1.25");
        assert_eq!(hundredths(288, 288), "1.00");
        assert_eq!(hundredths(2, 3), "0.67");
    }
}
