//! `graph`: services and their relations in the language of Graphviz. Not here: laying it out, which
//! dot(1) does.

use std::collections::BTreeSet;

use serde_json::json;
use services::status::StateName;

use super::known::{Kind, Known};
use crate::failure::Failure;
use crate::screen::{Screen, state_word};

/// `graph`.
pub(crate) fn graph(
    known: &Known,
    screen: &mut Screen<'_>,
    service: Option<&str>,
) -> Result<(), Failure> {
    let shown = shown(known, service)?;
    if screen.json {
        let of = |name: &&str| json!({ "name": name, "state": known.state(name) });
        let services: Vec<_> = shown.iter().map(of).collect();
        let edges: Vec<_> = edges(known, &shown)
            .into_iter()
            .map(|(from, relation, to)| json!({ "from": from, "relation": relation, "to": to }))
            .collect();
        return screen.print_json(&json!({ "services": services, "edges": edges }));
    }
    let mut text = "digraph services {\n  rankdir=LR;\n  node [shape=box, style=filled, \
                    fontname=\"sans-serif\"];\n"
        .to_owned();
    for name in &shown {
        let state = known.state(name);
        let word = state.map_or("removed", state_word);
        let colour = state.map_or("white", colour);
        text.push_str(&format!(
            "  {} [label=\"{}\\n{word}\", fillcolor=\"{colour}\"];\n",
            quoted(name),
            escaped(name)
        ));
    }
    for (from, relation, to) in edges(known, &shown) {
        let style = match relation {
            "binds-to" => "style=bold, color=\"black\"",
            "requires" => "color=\"black\"",
            "wants" => "style=dashed, color=\"gray40\"",
            "conflicts" => "color=\"red\", dir=none",
            "on-failure.start" => "style=dotted, color=\"red\"",
            "part-of" => "style=dotted, color=\"blue\"",
            _ => "style=dotted, color=\"gray60\"",
        };
        text.push_str(&format!(
            "  {} -> {} [{style}, tooltip=\"{relation}\"];\n",
            quoted(from),
            quoted(to)
        ));
    }
    text.push_str("}\n");
    screen.print(text)
}

/// All services, or one with all that it needs.
fn shown<'a>(known: &'a Known, service: Option<&'a str>) -> Result<BTreeSet<&'a str>, Failure> {
    let Some(service) = service else {
        return Ok(known.services.keys().map(String::as_str).collect());
    };
    let root = known.find(Some(service))?.status.name.as_str();
    let mut shown = BTreeSet::from([root]);
    let mut work = vec![root];
    while let Some(name) = work.pop() {
        let one = known.get(name).into_iter();
        let others = one.flat_map(|one| one.others(&Kind::NEEDS));
        work.extend(
            others
                .map(|(_, other)| other)
                .filter(|other| shown.insert(other)),
        );
    }
    Ok(shown)
}

/// All relations between services that are shown: who has it, its key, and to whom.
fn edges<'a>(known: &'a Known, shown: &BTreeSet<&'a str>) -> Vec<(&'a str, &'static str, &'a str)> {
    let mut edges = Vec::new();
    for &name in shown {
        let Some(one) = known.get(name) else { continue };
        let ordered = one.others(&Kind::ORDER);
        edges.extend(ordered.map(|(kind, other)| (name, kind.key(), other)));
        let relations = &one.relations;
        // Either of two rivals tells of the other.
        let rivals = relations
            .conflicts
            .iter()
            .filter(|other| name < other.as_str());
        edges.extend(rivals.map(|other| (name, "conflicts", other.as_str())));
        edges.extend(
            relations
                .parts
                .iter()
                .map(|it| (it.as_str(), "part-of", name)),
        );
        edges.extend(
            relations
                .on_failure
                .iter()
                .map(|it| (name, "on-failure.start", it.as_str())),
        );
    }
    edges.retain(|(from, _, to)| shown.contains(from) && shown.contains(to));
    edges
}

/// Colours of states, in `graph` and `plot`.
pub(super) const fn colour(state: StateName) -> &'static str {
    match state {
        StateName::Up => "#8fce9b",
        StateName::Armed | StateName::Listening => "#bfe3c6",
        StateName::Failed => "#f08a80",
        StateName::Backoff => "#f5b98a",
        StateName::Waiting | StateName::Starting | StateName::Stopping => "#f3d98b",
        StateName::Down | StateName::Skipped => "#dddddd",
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", escaped(name))
}

fn escaped(name: &str) -> String {
    name.replace('\\', "\\\\").replace('"', "\\\"")
}
