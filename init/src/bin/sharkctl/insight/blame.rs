//! `blame` and `critical-chain`: how long services took to be ready, and which of them made others wait.
//! Not here: drawing it (`plot`).

use std::collections::BTreeSet;

use serde_json::json;
use services::status::{ServiceStatus, StateName};

use super::known::{Kind, Known, One};
use crate::failure::Failure;
use crate::quantity::{seconds, span};
use crate::screen::{Paint, Screen, state_word};
use crate::table::{Align, Cell, Table};

/// When its latest start was over, for those that come after it: it was ready, had failed, or was skipped.
pub(crate) fn settled(status: &ServiceStatus) -> Option<u64> {
    let started = status.started_us.unwrap_or(0);
    let ready = status.ready_us.filter(|ready| *ready >= started);
    ready.or(match status.state {
        StateName::Failed | StateName::Backoff | StateName::Skipped | StateName::Stopping => {
            Some(status.since_us.max(started))
        }
        StateName::Down
        | StateName::Waiting
        | StateName::Starting
        | StateName::Up
        | StateName::Armed
        | StateName::Listening => None,
    })
}

/// `blame`.
pub(crate) fn blame(known: &Known, screen: &mut Screen<'_>, now_us: u64) -> Result<(), Failure> {
    let mut took: Vec<(u64, &ServiceStatus)> = Vec::new();
    for One { status, .. } in known.services.values() {
        // A target takes no time of its own.
        if let Some(started) = status.started_us.filter(|_| status.kind != "target") {
            let until = match status.state {
                StateName::Starting => Some(now_us),
                _ => settled(status),
            };
            took.extend(until.map(|until| (until.saturating_sub(started), status)));
        }
    }
    took.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.name.cmp(&b.1.name)));
    if screen.json {
        let all = took.iter().map(|(took, status)| {
            json!({
                "name": status.name,
                "state": status.state,
                "startedUs": status.started_us,
                "readyUs": status.ready_us,
                "tookUs": took,
            })
        });
        return screen.print_json(&json!({ "services": all.collect::<Vec<_>>() }));
    }
    let text = blame_table(&took, screen.paint());
    screen.print(text)
}

fn blame_table(took: &[(u64, &ServiceStatus)], paint: Paint) -> String {
    let head = |text: &str| Cell::painted(text, |text| paint.bold(text));
    let mut table = Table::new(vec![
        (Align::Right, head("TOOK")),
        (Align::Right, head("STARTED")),
        (Align::Left, head("STATE")),
        (Align::Left, head("SERVICE")),
    ]);
    for (took, status) in took {
        table.row(vec![
            span(*took).into(),
            seconds(status.started_us.unwrap_or(0)).into(),
            Cell::painted(state_word(status.state), |text| {
                paint.state(status.state, text)
            }),
            status.name.as_str().into(),
        ]);
    }
    table.render()
}

/// One service of a chain, and what it is to the one before it.
struct Step<'a> {
    one: &'a One,
    by: Option<Kind>,
    /// From when the next one of the chain was ready until this one was started.
    waited: u64,
}

/// `critical-chain`.
pub(crate) fn chain(
    known: &Known,
    screen: &mut Screen<'_>,
    service: Option<&str>,
) -> Result<(), Failure> {
    let one = known.find(service)?;
    let name = &one.status.name;
    if one.status.started_us.is_none() || settled(&one.status).is_none() {
        return Err(Failure::Failed(format!(
            "{name} has not been ready: `sharkctl why {name}` tells what it waits for"
        )));
    }
    let steps = chain_of(known, one);
    if screen.json {
        let all = steps.iter().map(|step| {
            json!({
                "name": step.one.status.name,
                "state": step.one.status.state,
                "relation": step.by.map(Kind::key),
                "startedUs": step.one.status.started_us,
                "settledUs": settled(&step.one.status),
                "waitedUs": step.waited,
            })
        });
        return screen.print_json(&json!({ "chain": all.collect::<Vec<_>>() }));
    }
    let text = chain_table(&steps, screen.paint());
    screen.print(text)
}

/// Each time the one of those before it that was ready last, as long as it was started after that: what was
/// started anew since says nothing of that start.
fn chain_of<'a>(known: &'a Known, one: &'a One) -> Vec<Step<'a>> {
    let mut steps = Vec::new();
    let mut seen = BTreeSet::new();
    let mut next = Some((one, None));
    while let Some((one, by)) = next {
        if !seen.insert(one.status.name.as_str()) {
            break;
        }
        let started = one.status.started_us.unwrap_or(0);
        let before = one.others(&Kind::ORDER).filter_map(|(kind, name)| {
            let other = known.get(name)?;
            let settled = settled(&other.status).filter(|it| *it <= started)?;
            // What never ran in this boot, as a condition kept it from that, held nobody up.
            other.status.started_us.map(|_| (settled, kind, other))
        });
        let last = before.max_by(|a, b| a.0.cmp(&b.0));
        steps.push(Step {
            one,
            by,
            waited: last.map_or(0, |(settled, ..)| started.saturating_sub(settled)),
        });
        next = last.map(|(_, kind, other)| (other, Some(kind)));
    }
    steps
}

fn chain_table(steps: &[Step<'_>], paint: Paint) -> String {
    let head = |text: &str| Cell::painted(text, |text| paint.bold(text));
    let mut table = Table::new(vec![
        (Align::Right, head("READY")),
        (Align::Right, head("TOOK")),
        (Align::Right, head("STARTED")),
        (Align::Right, head("WAITED")),
        (Align::Left, head("SERVICE")),
    ]);
    for Step { one, by, waited } in steps {
        let status = &one.status;
        let started = status.started_us.unwrap_or(0);
        let ready = settled(status).unwrap_or(started);
        let by = by
            .map(|kind| format!(" ({})", kind.key()))
            .unwrap_or_default();
        let well = matches!(status.state, StateName::Up);
        let state = if well { "" } else { state_word(status.state) };
        let colon = if well { "" } else { ": " };
        table.row(vec![
            seconds(ready).into(),
            span(ready.saturating_sub(started)).into(),
            seconds(started).into(),
            span(*waited).into(),
            format!("{}{by}{colon}{state}", status.name).into(),
        ]);
    }
    table.render()
}
