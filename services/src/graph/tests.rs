//! Sets of definitions in, graphs or diagnostics out; graphs to bytes and back.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::definition::{Probe, Ready};

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

#[test]
fn bytes_that_are_no_graph_are_refused_with_the_reason() {
    let graph = Graph::from_definitions(vec![target("a", &["wanted-by default"])]).unwrap();
    let good = graph.to_bytes().unwrap();
    assert_eq!(Graph::from_bytes(&good), Ok(graph));
    let change = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        Graph::from_bytes(&bytes).unwrap_err()
    };
    assert_eq!(change(0, b'X'), GraphBytesError::NotAGraph);
    assert_eq!(change(8, 9), GraphBytesError::Version(9));
    assert_eq!(change(16, good[16] ^ 1), GraphBytesError::Checksum);
    assert_eq!(change(30, good[30] ^ 1), GraphBytesError::Checksum);
    assert_eq!(Graph::from_bytes(&[]), Err(GraphBytesError::NotAGraph));
    let body = good.len() - 20;
    let length = GraphBytesError::Length {
        found: body - 1,
        expected: body,
    };
    assert_eq!(Graph::from_bytes(&good[..good.len() - 1]), Err(length));
}

/// The bytes of definitions that nobody has checked.
fn unchecked_bytes(services: &[Definition]) -> Vec<u8> {
    with_header(&postcard::to_stdvec(services).unwrap())
}

fn with_header(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap();
    let header = [3, length, crc32c::crc32c(body)].map(u32::to_le_bytes);
    [b"SHARKGRA".as_slice(), header.as_flattened(), body].concat()
}

#[test]
fn the_receiver_checks_again() {
    let circle = [target("a", &["after b"]), target("b", &["after a"])];
    let refused = Graph::from_bytes(&unchecked_bytes(&circle)).unwrap_err();
    assert!(matches!(&refused, GraphBytesError::Check(told) if told.len() == 1));
    assert!(
        refused
            .to_string()
            .starts_with("read the graph: it does not pass the check\nb.toml: ")
    );
    let mut nothing_to_run = crate::file::load(&[program("a", "exec = '/a'")], None)
        .graph
        .unwrap();
    let services = &mut nothing_to_run.services;
    if let Kind::Simple(program) = &mut services[0].kind {
        program.exec.clear();
    }
    let refused = Graph::from_bytes(&unchecked_bytes(services)).unwrap_err();
    assert!(matches!(refused, GraphBytesError::Definition(_)));
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
        let read = Graph::from_bytes(&unchecked_bytes(&graph.services));
        matches!(read, Err(GraphBytesError::Definition(_)))
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
        Graph::from_bytes(&unchecked_bytes(&graph.services)).is_ok()
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

    #[test]
    fn bytes_give_the_same_graph(links in links(SERVICES, 12)) {
        if let Ok(graph) = Graph::from_definitions(definitions(SERVICES, &links)) {
            let bytes = graph.to_bytes().unwrap();
            prop_assert_eq!(Graph::from_bytes(&bytes), Ok(graph));
        }
    }

    #[test]
    fn no_change_of_bytes_panics(
        at in 0usize..400,
        value: u8,
        length in 0usize..400,
        right_checksum: bool,
    ) {
        let everything = "exec = '/a b'\nuser = 'u'\nreload = 'HUP'\nenv = { A = '1' }\ntty = '/t'\n\
            cgroup.memory-max = '1G'\nlimits.core = 0\nwants = ['b']";
        let sources = [program("a", everything), program("b", "exec = '/b'")];
        let graph = crate::file::load(&sources, None).graph.unwrap();
        let mut bytes = graph.to_bytes().unwrap();
        if let Some(byte) = bytes.get_mut(at) {
            *byte = value;
        }
        bytes.truncate(bytes.len().min(length.max(20)));
        if right_checksum {
            bytes = with_header(&bytes[20..]);
        }
        // Accepted or refused: what is accepted can be written again.
        if let Ok(graph) = Graph::from_bytes(&bytes) {
            prop_assert!(graph.to_bytes().is_ok());
        }
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Graph::from_bytes(&bytes);
        let _ = Graph::from_bytes(&with_header(&bytes));
    }
}
