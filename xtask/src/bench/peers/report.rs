//! The table of all contestants, in Markdown: as the project's performance marks are put.

use super::result::{End, Outcome, milliseconds, three_digits};
use super::turns;

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
    for (index, n) in counts.iter().enumerate() {
        let what = if index == 0 { "ready ms, n = " } else { "" };
        text.push_str(&format!(" {what}{n} |"));
    }
    text.push_str(&format!(
        " x floor at {most} | x {OURS} at {most} | restart p50 (p99) ms at {most} | PID 1 RSS KiB (anon) at {most} | \
         whole tree PSS KiB at {most} | idle wake-ups in 10 s: PID 1, others | programs + libs KiB | \
         knows dependencies |\n|"
    ));
    text.push_str(&"---|".repeat(counts.len() + 9));
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
    text.push_str(&remarks(outcomes));
    text.push_str(&reloads(outcomes));
    text.push_str(&histograms(outcomes));
    text
}

/// Whether all outcomes are results: to need too long is one.
pub(super) fn complete(outcomes: &[Outcome]) -> bool {
    !outcomes.iter().any(|it| match it.end {
        End::Measured | End::NotFinished { .. } => false,
        End::Failed(_) => true,
    })
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
        (Some(own), Some(floor)) if floor > 0 => times(own, floor),
        (_, _) => "-".to_owned(),
    };
    let restart = |percent: usize| at_most.and_then(|it| it.restart(percent));
    let mut cells = vec![plain(&any.label)];
    for n in counts {
        cells.push(find(outcomes, name, *n).map_or("-".to_owned(), ready_cell));
    }
    cells.extend([
        ratio(FLOOR),
        ratio(OURS),
        match (restart(50), restart(99)) {
            (Some(half), Some(most)) => format!("{} ({})", milliseconds(half), milliseconds(most)),
            (_, _) => "-".to_owned(),
        },
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
        match any.size {
            0 => "-".to_owned(),
            size => size.div_ceil(1024).to_string(),
        },
        any.dependencies.to_owned(),
    ]);
    format!("| {} |\n", cells.join(" | "))
}

/// The time to ready, or why there is none.
pub(super) fn ready_cell(outcome: &Outcome) -> String {
    match (&outcome.end, outcome.get("ready-ns")) {
        (End::NotFinished { .. }, _) => "not finished".to_owned(),
        (End::Measured | End::Failed(_), Some(ns)) => milliseconds(ns),
        (End::Measured | End::Failed(_), None) => "not measured".to_owned(),
    }
}

/// How often `floor` is in `own`.
#[allow(clippy::cast_precision_loss, reason = "for people")]
fn times(own: u64, floor: u64) -> String {
    three_digits(own as f64 / floor as f64)
}

/// Why a figure is not there, once where it is the same for several numbers of services.
fn remarks(outcomes: &[Outcome]) -> String {
    let mut all: Vec<(&str, String, Vec<String>)> = Vec::new();
    for outcome in outcomes {
        let Some(remark) = outcome.remark() else {
            continue;
        };
        let same = all
            .iter_mut()
            .find(|(name, text, _)| *name == outcome.name && *text == remark);
        match same {
            Some((_, _, counts)) => counts.push(outcome.n.to_string()),
            None => all.push((&outcome.name, remark, vec![outcome.n.to_string()])),
        }
    }
    let lines = all
        .into_iter()
        .map(|(name, text, counts)| (name, plain(&text), counts.join(", ")))
        .map(|(name, text, counts)| format!("\n{name}, n = {counts}: {text}.\n"));
    lines.collect()
}

/// A path or somebody's last words in one line that ends no cell and begins no markup.
fn plain(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines
        .join(" ")
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('|', "\\|")
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
            "\n{}, n = {}: a reload takes {} ms, of it PID 1 {} ms of CPU",
            outcome.name,
            outcome.n,
            milliseconds(whole),
            ms("reload-init-cpu-ns"),
        ));
        if let Some(longest) = outcome.get("answer-reload-ns") {
            text.push_str(&format!(
                "; the longest answer meanwhile {} ms (before it {} ms)",
                milliseconds(longest),
                ms("answer-quiet-ns")
            ));
        }
        if let Some(whole) = outcome.get("change-ns") {
            text.push_str(&format!(
                "; with one service changed it takes {} ms, {} ms of CPU, the longest answer {} ms",
                milliseconds(whole),
                ms("change-init-cpu-ns"),
                ms("answer-change-ns")
            ));
        }
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

/// How long the turns of PID 1's loop took, of those that tell.
fn histograms(outcomes: &[Outcome]) -> String {
    let told = outcomes.iter().filter(|it| !it.turns.is_empty());
    let texts = told.map(|it| {
        let table = turns::table(&it.turns);
        format!(
            "\n{}, n = {}, turns of PID 1's loop:\n\n{table}",
            it.name, it.n
        )
    });
    texts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_have_three_digits() {
        assert_eq!(times(360, 288), "1.25");
        assert_eq!(times(288, 288), "1.00");
        assert_eq!(times(2, 3), "0.67");
        assert_eq!(times(5031, 71), "70.9");
    }
}
