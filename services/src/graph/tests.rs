//! Sets of definitions in, graphs or diagnostics out; definitions that break a promise.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::definition::{Probe, Ready};
use crate::supervisor::compiled::{Compiled, GraphBytesError};

fn name(text: &str) -> ServiceName {
    ServiceName::new(text).unwrap()
}

/// A target, not wanted by anybody, with relations such as `requires b`.
fn target(text: &str, relations: &[&str]) -> Definition {
    let mut definition = Definition {
        source: format!("{text}.toml"),
        ..default_target(name(text))
    };
    for relation in relations {
        let (relation, other) = relation.split_once(' ').unwrap();
        let known = Relation::ALL.into_iter().find(|r| r.key() == relation);
        relate(&mut definition.relations, known.unwrap(), name(other));
    }
    definition
}

fn relate(relations: &mut Relations, relation: Relation, other: ServiceName) {
    let list = match relation {
        Relation::Requires => &mut relations.requires,
        Relation::Wants => &mut relations.wants,
        Relation::After => &mut relations.after,
        Relation::Before => &mut relations.before,
        Relation::Conflicts => &mut relations.conflicts,
        Relation::WantedBy => &mut relations.wanted_by,
        Relation::PartOf => &mut relations.part_of,
        Relation::BindsTo => &mut relations.binds_to,
        Relation::OnFailure => &mut relations.on_failure,
    };
    list.push(other);
}

#[test]
fn relations_are_resolved_in_both_directions() {
    let graph = Graph::from_definitions(vec![
        target(
            "web",
            &[
                "requires db",
                "wanted-by default",
                "before late",
                "requires db",
            ],
        ),
        target("late", &["wants cache", "after db", "conflicts early"]),
        target("early", &[]),
        target("db", &[]),
        target("cache", &[]),
    ])
    .unwrap();
    let index = |name| graph.index_of(name).unwrap();
    let names = |indices: &[u32]| -> Vec<String> {
        let services = indices.iter().map(|&index| graph.service(index).unwrap());
        services.map(|service| service.name.to_string()).collect()
    };
    assert_eq!(names(graph.requires(index("web"))), ["db"]);
    assert_eq!(names(graph.required_by(index("db"))), ["web"]);
    assert_eq!(names(graph.wants(index("default"))), ["web"]);
    assert_eq!(names(graph.wants(index("late"))), ["cache"]);
    assert_eq!(names(graph.wanted_by(index("web"))), ["default"]);
    assert_eq!(
        names(graph.predecessors(index("late"))),
        ["cache", "db", "web"]
    );
    assert_eq!(names(graph.successors(index("web"))), ["default", "late"]);
    assert_eq!(names(graph.conflicts(index("late"))), ["early"]);
    assert_eq!(names(graph.conflicts(index("early"))), ["late"]);
    let layers: Vec<Vec<String>> = graph.layers().map(names).collect();
    let expect: [&[&str]; 3] = [&["cache", "db", "early"], &["web"], &["default", "late"]];
    assert_eq!(layers, expect);
    assert_eq!(graph.index_of("nobody"), None);
    assert_eq!(graph.requires(99), [0u32; 0]);
    assert_eq!(graph.service(99), None);
}

#[test]
fn the_default_target_is_made_up_only_when_nobody_defines_it() {
    let graph = Graph::from_definitions(vec![]).unwrap();
    assert_eq!(graph.services().len(), 1);
    assert_eq!(graph.service(0).unwrap().kind, Kind::Target);
    let own = target("default", &[]);
    let graph = Graph::from_definitions(vec![own.clone()]).unwrap();
    assert_eq!(graph.into_services(), [own]);
}

/// What is told of `definitions`.
#[track_caller]
fn check_refused(definitions: Vec<Definition>, expect: &[&str]) {
    let diagnostics = Graph::from_definitions(definitions).unwrap_err();
    let told: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
    assert_eq!(told, expect);
}

#[test]
fn names_must_exist_and_be_others() {
    check_refused(
        vec![
            target("network", &["after network"]),
            target("web", &["requires netwrok"]),
        ],
        &[
            "network.toml: key `after`: `network` names itself; expected the name of another service",
            "web.toml: key `requires`: there is no service `netwrok`; did you mean `network`?",
        ],
    );
    check_refused(
        vec![target("a", &[]), target("a", &[])],
        &["a.toml: service `a` is already defined in a.toml"],
    );
}

#[test]
fn every_circle_is_told_with_every_edge() {
    let hint = "take one of these out: nothing is left out by itself";
    check_refused(
        vec![
            target("a", &["requires b", "wants x"]),
            target("b", &["wants c"]),
            target("c", &["after d"]),
            target("d", &["wanted-by b", "before e", "after e"]),
            target("e", &["before a", "after a"]),
            target("x", &[]),
        ],
        &[
            &format!(
                "e.toml: key `after`: the order of starting is a circle: a -> e -> a: \
                 `e` after `a` (e.toml), `e` before `a` (e.toml); {hint}"
            ),
            &format!(
                "a.toml: key `requires`: the order of starting is a circle: b -> a -> e -> d -> b: \
                 `a` requires `b` (a.toml), `e` after `a` (e.toml), `d` after `e` (d.toml), \
                 `d` wanted-by `b` (d.toml); {hint}"
            ),
            &format!(
                "b.toml: key `wants`: the order of starting is a circle: c -> b -> a -> e -> d -> c: \
                 `b` wants `c` (b.toml), `a` requires `b` (a.toml), `e` after `a` (e.toml), \
                 `d` after `e` (d.toml), `c` after `d` (c.toml); {hint}"
            ),
        ],
    );
}

#[test]
fn many_and_long_circles_are_cut() {
    let pair = |n: u32| {
        let (one, other) = (format!("a{n:03}"), format!("b{n:03}"));
        let one_is_after = format!("after {other}");
        let other_is_after = format!("after {one}");
        [
            target(&one, &[&one_is_after]),
            target(&other, &[&other_is_after]),
        ]
    };
    let diagnostics = Graph::from_definitions((0..100).flat_map(pair).collect()).unwrap_err();
    assert_eq!(diagnostics.len(), circle::MAX_CIRCLES);
    let last = diagnostics.last().unwrap().to_string();
    assert!(
        last.ends_with("; there may be more circles: only so many are told at once"),
        "{last}"
    );

    let link = |n: u32| target(&format!("s{n}"), &[&format!("after s{}", (n + 1) % 500)]);
    let diagnostics = Graph::from_definitions((0..500).map(link).collect()).unwrap_err();
    assert_eq!(diagnostics.len(), 1);
    let told = diagnostics[0].to_string();
    assert!(told.contains(", and 436 more steps; "), "{told}");
}

#[test]
fn those_who_exclude_each_other_are_not_brought_up_together() {
    let key = "a.toml: key `conflicts`:";
    check_refused(
        vec![
            target("a", &["conflicts b", "requires x"]),
            target("x", &["wants b"]),
            target("b", &[]),
        ],
        &[&format!("{key} `a` excludes `b`, but also needs it")],
    );
    check_refused(
        vec![target("a", &["conflicts b"]), target("b", &["requires a"])],
        &[&format!("{key} `a` excludes `b`, which needs it")],
    );
    check_refused(
        vec![
            target("a", &["conflicts b"]),
            target("b", &[]),
            target("set", &["requires a", "wants b"]),
        ],
        &[&format!("{key} `a` excludes `b`, but `set` brings up both")],
    );
    let apart = vec![
        target("a", &["conflicts b", "wanted-by one"]),
        target("b", &["conflicts a", "wanted-by two"]),
        target("one", &[]),
        target("two", &["after one"]),
    ];
    Graph::from_definitions(apart).unwrap();
}

#[test]
fn there_are_not_too_many_services() {
    let services = |count| (0..count).map(|n| target(&format!("s{n}"), &[])).collect();
    assert!(Graph::from_definitions(services(MAX_SERVICES - 1)).is_ok());
    let told = Graph::from_definitions(services(MAX_SERVICES)).unwrap_err();
    assert_eq!(told.len(), 1);
    let text = told[0].to_string();
    assert!(
        text.ends_with(": there are 16385 services; expected at most 16384 of them"),
        "{text}"
    );
}

#[test]
fn a_chain_as_long_as_there_are_services_has_a_layer_for_each() {
    let count = 10_000;
    let link = |n: u32| match n {
        0 => target("s00000", &[]),
        n => target(&format!("s{n:05}"), &[&format!("requires s{:05}", n - 1)]),
    };
    let graph = Graph::from_definitions((0..count).map(link).collect()).unwrap();
    assert_eq!(graph.layers().count(), count as usize);
    assert_eq!(graph.order().len(), count as usize + 1);
}

/// Whether the definitions of `graph` are refused when they are unpacked.
fn is_refused(graph: &Graph) -> bool {
    let unpacked = Compiled::new(graph).unwrap().unpack();
    matches!(unpacked, Err(GraphBytesError::Definition(_)))
}

#[test]
fn the_receiver_checks_again() {
    let mut nothing_to_run = crate::file::load(&[program("a", "exec = '/a'")], None)
        .graph
        .unwrap();
    assert!(!is_refused(&nothing_to_run));
    if let Kind::Simple(program) = &mut nothing_to_run.services[0].kind {
        program.exec.clear();
    }
    assert!(is_refused(&nothing_to_run));
}

#[test]
fn the_receiver_believes_no_probe() {
    let text = "exec = '/a'\nhealth.tcp = ':1'";
    let mut graph = crate::file::load(&[program("a", text)], None)
        .graph
        .unwrap();
    let mut refused = |probe| {
        if let Kind::Simple(program) = &mut graph.services[0].kind {
            program.health.as_mut().unwrap().probe = probe;
        }
        is_refused(&graph)
    };
    let http = |address: &str, path: &str| Probe::Http {
        address: address.parse().unwrap(),
        path: path.to_owned(),
    };
    assert!(!refused(Probe::Tcp("127.0.0.1:1".parse().unwrap())));
    assert!(!refused(http("[::1]:80", "/a?b")));
    assert!(refused(Probe::Exec(Vec::new())));
    assert!(refused(Probe::Exec(vec!["probe".to_owned()])));
    assert!(refused(Probe::Tcp("127.0.0.1:0".parse().unwrap())));
    assert!(refused(Probe::Unix("run/x".into())));
    assert!(refused(Probe::Unix("/x".repeat(54).into())));
    assert!(refused(Probe::Path("x".into())));
    assert!(refused(http("[::1]:0", "/")));
    assert!(refused(http("[::1]:80", "x")));
    assert!(refused(http("[::1]:80", "/\r\nX: y")));
    let mut found = |ready| {
        if let Kind::Simple(program) = &mut graph.services[0].kind {
            program.health = None;
            program.ready = Some(ready);
        }
        !is_refused(&graph)
    };
    assert!(found(Ready::Line(3)));
    assert!(!found(Ready::Line(2)));
    let mut asked = |path: &str, interval| {
        found(Ready::Probe {
            probe: Probe::Path(path.into()),
            interval: std::time::Duration::from_millis(interval),
            timeout: std::time::Duration::ZERO,
        })
    };
    assert!(asked("/x", 1));
    assert!(!asked("/x", 0));
    assert!(!asked("x", 1));
}

fn program(name: &str, text: &str) -> crate::file::Source {
    crate::file::Source {
        path: format!("/v/{name}.toml"),
        layer: 0,
        text: text.to_owned(),
    }
}

/// A relation of the first service to the second.
type Link = (u32, Relation, u32);

fn links(services: u32, most: usize) -> impl Strategy<Value = Vec<Link>> {
    let relation = (0..Relation::ALL.len()).prop_map(|at| Relation::ALL[at]);
    proptest::collection::vec((0..services, relation, 0..services), 0..most)
}

fn definitions(services: u32, links: &[Link]) -> Vec<Definition> {
    let name_of = |n: u32| format!("s{n:02}");
    let mut all: Vec<_> = (0..services).map(|n| target(&name_of(n), &[])).collect();
    for &(from, relation, to) in links {
        relate(
            &mut all[from as usize].relations,
            relation,
            name(&name_of(to)),
        );
    }
    all
}

/// Pairs (earlier, later) of `links`, taken from the manual and not from the program.
fn order_of(links: &[Link]) -> BTreeSet<(u32, u32)> {
    let pair = |&(from, relation, to): &Link| match relation {
        Relation::Requires | Relation::BindsTo | Relation::Wants | Relation::After => {
            Some((to, from))
        }
        Relation::Before | Relation::WantedBy => Some((from, to)),
        Relation::Conflicts | Relation::PartOf | Relation::OnFailure => None,
    };
    links
        .iter()
        .filter_map(pair)
        .filter(|(a, b)| a != b)
        .collect()
}

/// Whether a circle is left when services without predecessor are taken away one by one.
fn has_circle(mut order: BTreeSet<(u32, u32)>) -> bool {
    loop {
        let later: BTreeSet<u32> = order.iter().map(|(_, later)| *later).collect();
        let before = order.len();
        order.retain(|(earlier, _)| later.contains(earlier));
        if order.len() == before {
            return before > 0;
        }
    }
}

const SERVICES: u32 = 12;

proptest! {
    #[test]
    fn circles_are_told_exactly_when_there_are_some(links in links(SERVICES, 24)) {
        let found = Graph::from_definitions(definitions(SERVICES, &links));
        let told = found.err().unwrap_or_default();
        let circle = told.iter().any(|one| one.message.contains("circle"));
        prop_assert_eq!(circle, has_circle(order_of(&links)));
    }

    #[test]
    fn layers_respect_the_order(links in links(SERVICES, 24)) {
        // Links that lead to a lower number only cannot make a circle.
        let forward: Vec<Link> = links
            .into_iter()
            .filter(|&(_, relation, _)| relation != Relation::Conflicts)
            .filter(|&link| order_of(&[link]).iter().all(|(a, b)| a < b))
            .filter(|&(from, _, to)| from != to)
            .collect();
        let graph = Graph::from_definitions(definitions(SERVICES, &forward)).unwrap();
        let layer_of = |number: u32| {
            let index = graph.index_of(&format!("s{number:02}")).unwrap();
            graph.layers().position(|layer| layer.contains(&index)).unwrap()
        };
        for (earlier, later) in order_of(&forward) {
            prop_assert!(layer_of(earlier) < layer_of(later));
        }
        let taken: BTreeSet<u32> = graph.order().iter().copied().collect();
        prop_assert_eq!(taken.len(), graph.services().len());
    }
}
