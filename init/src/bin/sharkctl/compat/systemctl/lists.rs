//! Verbs of `systemctl` that list what belongs to units: timers, what they need, and what is under way.

use std::collections::{BTreeMap, BTreeSet};

use init::log::stamp::Stamp;
use serde_json::json;
use services::status::{ServiceStatus, StateName, TimerStatus};

use super::super::list;
use super::super::units::{Kind as UnitKind, States, Unit, is_pattern, matches};
use super::Call;
use super::tell::{dated, mark};
use crate::failure::Failure;
use crate::insight::known::{Kind, Known};
use crate::quantity::span;
use crate::screen::Screen;

/// Does one of the verbs.
pub(super) fn lists(
    call: &Call<'_>,
    screen: &mut Screen<'_>,
    verb: &str,
    words: &[String],
) -> Result<u8, Failure> {
    match verb {
        "list-timers" => timers(call, screen, words),
        "list-jobs" => jobs(call, screen, words),
        _ => dependencies(call, screen, words),
    }
}

/// Whether a unit is one that is asked for.
fn is_meant(words: &[String], name: &str) -> bool {
    let meant = |word: &String| match is_pattern(word) {
        true => matches(word, name),
        false => word == name || Unit::parse(word).is_some_and(|unit| unit.name() == name),
    };
    words.is_empty() || words.iter().any(meant)
}

/// Columns with one blank between them; the last one is not filled.
fn columns(call: &Call<'_>, head: &[&str], rows: &[Vec<String>], what: &str, more: &str) -> String {
    let legend = !call.words.has("no-legend");
    let head: Vec<String> = head.iter().map(|text| (*text).to_owned()).collect();
    let all: Vec<&Vec<String>> = legend.then_some(&head).into_iter().chain(rows).collect();
    let width = |at: usize| {
        let cells = all.iter().filter_map(|row| row.get(at));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let mut text = String::new();
    for row in &all {
        let cells = row.iter().enumerate();
        let cells: Vec<String> = cells
            .map(|(at, cell)| format!("{cell:width$}", width = width(at)))
            .collect();
        text.push_str(cells.join(" ").trim_end());
        text.push('\n');
    }
    if legend {
        text.push_str(&format!("\n{} {what} listed.\n{more}", rows.len()));
    }
    text
}

/// The next one first; those that are not armed only with `--all`.
fn timers(call: &Call<'_>, screen: &mut Screen<'_>, words: &[String]) -> Result<u8, Failure> {
    let all = list(call.context, screen)?;
    let mut timed: Vec<(String, &ServiceStatus, &TimerStatus)> = all
        .iter()
        .filter_map(|it| {
            let unit = Unit {
                service: it.name.clone(),
                kind: UnitKind::Timer,
            };
            Some((unit.name(), it, it.timer.as_ref()?))
        })
        .filter(|(name, _, timer)| {
            let shown = timer.next_us.is_some() || call.words.has("all");
            shown && is_meant(words, name)
        })
        .collect();
    timed.sort_by_key(|(_, _, timer)| timer.next_us.unwrap_or(u64::MAX));
    let output = call.words.value("output");
    if output.is_some_and(|it| it.starts_with("json")) {
        let micros = |unix: Option<i64>| unix.map(|it| it.saturating_mul(1_000_000));
        let rows = timed.iter().map(|(name, it, timer)| {
            json!({
                "next": micros(timer.next_unix), "left": micros(timer.next_unix),
                "last": micros(timer.last_unix), "passed": micros(timer.last_unix),
                "unit": name, "activates": Unit::of(it).name(),
            })
        });
        let rows: Vec<_> = rows.collect();
        return screen.print(format!("{}\n", json!(rows))).map(|()| 0);
    }
    let rows: Vec<Vec<String>> = timed
        .iter()
        .map(|(name, it, timer)| timer_row(call, name, it, timer))
        .collect();
    let head = ["NEXT", "LEFT", "LAST", "PASSED", "UNIT", "ACTIVATES"];
    let more = match call.words.has("all") {
        true => "",
        false => "Pass --all to see loaded but inactive timers, too.\n",
    };
    screen.print(columns(call, &head, &rows, "timers", more))?;
    Ok(0)
}

fn timer_row(call: &Call<'_>, name: &str, it: &ServiceStatus, timer: &TimerStatus) -> Vec<String> {
    let none = || "-".to_owned();
    let micros = |unix: Option<i64>| {
        let seconds = unix.and_then(|it| u64::try_from(it).ok());
        seconds.map(|it| it.saturating_mul(1_000_000))
    };
    let now = (call.context.boottime_us)();
    let left = |at: u64| format!("{} left", span(at.saturating_sub(now)));
    let last = micros(timer.last_unix);
    let ago = |at: u64| format!("{} ago", span(Stamp::now().as_micros().saturating_sub(at)));
    vec![
        micros(timer.next_unix).map_or_else(none, dated),
        timer.next_us.map_or_else(none, left),
        last.map_or_else(none, dated),
        last.map_or_else(none, ago),
        name.to_owned(),
        Unit::of(it).name(),
    ]
}

/// What is under way. Jobs have no numbers here: they are counted.
fn jobs(call: &Call<'_>, screen: &mut Screen<'_>, words: &[String]) -> Result<u8, Failure> {
    let all = list(call.context, screen)?;
    let jobs = all.iter().filter_map(|it| {
        let (kind, state) = match it.state {
            StateName::Waiting => ("start", "waiting"),
            StateName::Starting => ("start", "running"),
            StateName::Stopping => ("stop", "running"),
            StateName::Up
            | StateName::Down
            | StateName::Skipped
            | StateName::Armed
            | StateName::Listening
            | StateName::Backoff
            | StateName::Failed => return None,
        };
        let name = Unit::of(it).name();
        is_meant(words, &name).then(|| [name, kind.to_owned(), state.to_owned()])
    });
    let rows: Vec<Vec<String>> = jobs
        .zip(1_u32..)
        .map(|(job, number)| std::iter::once(number.to_string()).chain(job).collect())
        .collect();
    if rows.is_empty() {
        let none = match call.words.has("no-legend") {
            true => "",
            false => "No jobs running.\n",
        };
        return screen.print(none).map(|()| 0);
    }
    let head = ["JOB", "UNIT", "TYPE", "STATE"];
    screen.print(columns(call, &head, &rows, "jobs", ""))?;
    Ok(0)
}

/// Names below a name.
type Below<'k> = BTreeMap<&'k str, BTreeSet<&'k str>>;

/// A tree of what units need, or of what needs them, or of the order.
fn dependencies(call: &Call<'_>, screen: &mut Screen<'_>, words: &[String]) -> Result<u8, Failure> {
    let known = Known::ask(call.context, screen)?;
    let kinds: &'static [Kind] = match call.words.has("after") || call.words.has("before") {
        true => &Kind::ORDER,
        false => &Kind::NEEDS,
    };
    let turned = call.words.has("reverse") || call.words.has("before");
    let mut below = Below::new();
    for (name, one) in &known.services {
        for (_, other) in one.others(kinds) {
            let (from, to) = if turned {
                (other, name.as_str())
            } else {
                (name.as_str(), other)
            };
            below.entry(from).or_default().insert(to);
        }
    }
    let default = ["default.target".to_owned()];
    let words = if words.is_empty() { &default } else { words };
    let (mut text, mut status) = (String::new(), 0);
    for unit in call.units(screen, words)? {
        let name = match &unit {
            Ok(unit) => unit.name(),
            Err(word) => word.clone(),
        };
        let one = unit
            .ok()
            .and_then(|unit| known.services.get_key_value(&unit.service));
        let Some((service, one)) = one else {
            screen.complain_bare(&format!("Unit {name} could not be found."));
            status = 1;
            continue;
        };
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&format!("{}\n", Unit::of(&one.status).name()));
        tree(call, &known, &below, service, &mut text);
    }
    screen.print(text)?;
    Ok(status)
}

/// A line to come: a service, and for each depth whether more follow there.
type Branch<'k> = (&'k str, Vec<bool>);

/// Only targets are gone into, but for `--all`; each once.
fn tree<'k>(
    call: &Call<'_>,
    known: &'k Known,
    below: &Below<'k>,
    root: &'k str,
    text: &mut String,
) {
    let (all, plain) = (call.words.has("all"), call.words.has("plain"));
    let unit = |name: &str| match known.get(name) {
        Some(one) => Unit::of(&one.status),
        None => Unit {
            service: name.to_owned(),
            kind: UnitKind::Service,
        },
    };
    let mut seen = BTreeSet::new();
    let mut work: Vec<Branch<'k>> = vec![(root, Vec::new())];
    while let Some((name, follow)) = work.pop() {
        let own = unit(name);
        if let Some((more, above)) = follow.split_last() {
            let states = known
                .get(name)
                .map_or(States::NONE, |one| States::of(&one.status, own.kind));
            match plain {
                true => text.push_str("  "),
                false => {
                    text.push_str(&format!("{} ", mark(states)));
                    let bars = above.iter().map(|more| if *more { "│ " } else { "  " });
                    text.extend(bars);
                    text.push_str(if *more { "├─" } else { "└─" });
                }
            }
            text.push_str(&format!("{}\n", own.name()));
        }
        let goes_on = follow.is_empty() || all || own.kind == UnitKind::Target;
        if !goes_on || !seen.insert(name) {
            continue;
        }
        let mut others: Vec<&'k str> = below.get(name).into_iter().flatten().copied().collect();
        // Targets come last.
        others.sort_by_key(|other| (unit(other).kind == UnitKind::Target, *other));
        let count = others.len();
        for (at, other) in others.into_iter().enumerate().rev() {
            let mut follow = follow.clone();
            follow.push(at + 1 < count);
            work.push((other, follow));
        }
    }
}
