use super::*;

/// A target called `name`, not wanted by anybody.
fn target(name: &str) -> Definition {
    let name = ServiceName::new(name).unwrap();
    Definition {
        source: format!("{name}.toml"),
        ..default_target(name)
    }
}

#[test]
fn relations_are_resolved_in_both_directions() {
    let mut web = target("web");
    web.relations.requires = vec![ServiceName::new("db").unwrap()];
    web.relations.wanted_by = vec![ServiceName::new("default").unwrap()];
    let graph = Graph::from_definitions(vec![web, target("db")]).unwrap();
    let index = |name| graph.index_of(name).unwrap();
    assert_eq!(graph.requires(index("web")), [index("db")]);
    assert_eq!(graph.required_by(index("db")), [index("web")]);
    assert_eq!(graph.wants(index("default")), [index("web")]);
    assert_eq!(graph.wanted_by(index("web")), [index("default")]);
    assert_eq!(graph.predecessors(index("default")), [index("web")]);
    assert_eq!(graph.successors(index("db")), [index("web")]);
    assert_eq!(graph.index_of("nobody"), None);
}
