//! `tree`: what a service needs, or what needs it, each with its state. Not here: what init tells
//! (`known`).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::known::{Kind, Known};
use crate::failure::Failure;
use crate::screen::{Paint, Screen, state_word};
use crate::table::printable;

/// Which way the tree grows.
type Below<'a> = BTreeMap<&'a str, Vec<(Kind, &'a str)>>;

/// `tree`.
pub(crate) fn tree(
    known: &Known,
    screen: &mut Screen<'_>,
    service: Option<&str>,
    reverse: bool,
) -> Result<(), Failure> {
    let root = known.find(service)?.status.name.as_str();
    let below = if reverse {
        known.needed_by()
    } else {
        needs(known)
    };
    if screen.json {
        return screen.print_json(&for_programs(known, root, &below));
    }
    let text = for_people(known, root, &below, screen.paint());
    screen.print(text)
}

fn needs(known: &Known) -> Below<'_> {
    let all = known.services.iter();
    let all = all.map(|(name, one)| (name.as_str(), one.others(&Kind::NEEDS).collect()));
    all.collect()
}

/// Each service once, in the order in which the tree meets it.
fn for_programs(known: &Known, root: &str, below: &Below<'_>) -> serde_json::Value {
    let mut services = Vec::new();
    let mut seen = BTreeSet::from([root]);
    let mut work = vec![root];
    while let Some(name) = work.pop() {
        let others = below.get(name).map(Vec::as_slice).unwrap_or_default();
        services.push(json!({
            "name": name,
            "state": known.state(name),
            "below": others.iter().map(|(kind, other)| json!({
                "name": other,
                "relation": kind.key(),
            })).collect::<Vec<_>>(),
        }));
        let fresh = others.iter().rev().map(|(_, other)| *other);
        work.extend(fresh.filter(|other| seen.insert(other)));
    }
    json!({ "root": root, "services": services })
}

/// One line to come, and whether others follow at each depth above it.
struct Branch<'a> {
    name: &'a str,
    kind: Option<Kind>,
    follow: Vec<bool>,
}

fn for_people(known: &Known, root: &str, below: &Below<'_>, paint: Paint) -> String {
    let mut out = String::new();
    let mut seen = BTreeSet::new();
    let mut work = vec![Branch {
        name: root,
        kind: None,
        follow: Vec::new(),
    }];
    while let Some(branch) = work.pop() {
        let others = below
            .get(branch.name)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let again = !seen.insert(branch.name) && !others.is_empty();
        push_line(&mut out, known, &branch, again, paint);
        if again {
            continue;
        }
        for (at, (kind, name)) in others.iter().enumerate().rev() {
            let mut follow = branch.follow.clone();
            follow.push(at + 1 < others.len());
            work.push(Branch {
                name,
                kind: Some(*kind),
                follow,
            });
        }
    }
    out
}

fn push_line(out: &mut String, known: &Known, branch: &Branch<'_>, again: bool, paint: Paint) {
    if let Some((own, above)) = branch.follow.split_last() {
        out.extend(above.iter().map(|more| if *more { "│  " } else { "   " }));
        out.push_str(if *own { "├─ " } else { "└─ " });
    }
    if let Some(kind) = branch.kind {
        out.push_str(&paint.dim(kind.key()));
        out.push(' ');
    }
    out.push_str(&printable(branch.name));
    let state = match known.state(branch.name) {
        Some(state) => paint.state(state, state_word(state)),
        None => paint.dim("removed"),
    };
    out.push_str(": ");
    out.push_str(&state);
    if again {
        out.push_str(&paint.dim(" (shown above)"));
    }
    out.push('\n');
}
