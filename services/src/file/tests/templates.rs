//! Templates and their instances.

use super::*;

const GETTY: (&str, &str) = (
    "/v/getty@.toml",
    "exec = '/sbin/getty -n %n %i'\ndescription = \"%p on %i, 100%%\"\ncgroup.cpu-max = '20%'\n\
     wanted-by = []\n[env]\nTTY = '%i'\n",
);

fn graph(files: &[(&str, &str)]) -> Graph {
    let loaded = load(&sources(files), None);
    loaded
        .graph
        .unwrap_or_else(|| panic!("{:?}", loaded.diagnostics))
}

fn names(graph: &Graph) -> Vec<&str> {
    graph.services().iter().map(|it| it.name.as_str()).collect()
}

fn find<'g>(graph: &'g Graph, name: &str) -> &'g Definition {
    let index = graph.index_of(name);
    graph
        .service(index.unwrap_or_else(|| panic!("{name}: {:?}", names(graph))))
        .unwrap()
}

#[test]
fn a_template_alone_makes_no_service() {
    assert_eq!(names(&graph(&[GETTY])), ["default"]);
}

#[test]
fn an_instance_is_there_when_it_is_named_or_has_a_file() {
    let graph = graph(&[
        GETTY,
        (
            "/v/consoles.toml",
            "type = 'target'\nwants = ['getty@tty1']\nafter = ['getty@a@b']",
        ),
        ("/e/getty@ttyS0.toml", ""),
        ("/e/plain@x.toml", "exec = '/bin/x %z'"),
    ]);
    let expect = [
        "consoles",
        "default",
        "getty@a@b",
        "getty@tty1",
        "getty@ttyS0",
        "plain@x",
    ];
    assert_eq!(names(&graph), expect);
    let getty = find(&graph, "getty@tty1");
    assert_eq!(getty.description, "getty on tty1, 100%");
    assert_eq!(getty.source, "/v/getty@.toml");
    let program = getty.kind.program().unwrap();
    assert_eq!(program.exec, ["/sbin/getty", "-n", "getty@tty1", "tty1"]);
    assert_eq!(program.environment, [("TTY".to_owned(), "tty1".to_owned())]);
    assert_eq!(program.cgroup.cpu_max_percent, Some(20));
    assert_eq!(find(&graph, "getty@a@b").description, "getty on a@b, 100%");
    // Without a template, a percent sign is one.
    let plain = find(&graph, "plain@x").kind.program().unwrap();
    assert_eq!(plain.exec, ["/bin/x", "%z"]);
}

#[test]
fn what_belongs_to_one_instance_goes_over_what_belongs_to_all() {
    let graph = graph(&[
        GETTY,
        (
            "/e/getty@.toml.d/10-all.toml",
            "nice = 1\numask = '0011'\nenv.ALL = '%i'",
        ),
        ("/r/getty@a.toml", "nice = 2"),
        ("/e/getty@a.toml", "nice = 3\noom-score-adj = 3"),
        ("/e/getty@a.toml.d/x.toml", "oom-score-adj = 4"),
        ("/e/getty@b.toml", ""),
    ]);
    let of = |name: &str| {
        let program = find(&graph, name).kind.program().unwrap();
        (
            program.nice.unwrap_or(0),
            program.umask,
            program.oom_score_adj,
        )
    };
    assert_eq!(of("getty@a"), (3, 0o011, 4));
    assert_eq!(of("getty@b"), (1, 0o011, 0));
}

#[test]
fn instances_name_instances() {
    let graph = graph(&[
        ("/v/web@.toml", "exec = '/bin/web'\nrequires = ['net@%i']"),
        ("/v/net@.toml", "exec = '/bin/net'\nafter = ['disk@%i-x']"),
        ("/v/disk@.toml", "exec = '/bin/disk'"),
        ("/e/web@a.toml", ""),
    ]);
    assert_eq!(names(&graph), ["default", "disk@a-x", "net@a", "web@a"]);
}

#[test]
fn a_template_is_checked_with_an_instance_or_without() {
    let bad = (
        "/v/a@.toml",
        "exec = '/bin/a %i %d'\nrequires = ['nobody-%i']\n",
    );
    let unknown = "/v/a@.toml:1:19: key `exec`: `%d` means nothing; expected `%i` (the instance), \
                   `%n` (the whole name), `%p` (what is before the `@`) or `%%` (a percent sign)";
    let nobody = |instance: &str| {
        format!("/v/a@.toml:2:13: key `requires`: there is no service `nobody-{instance}`")
    };
    assert_eq!(told(&[bad]), [unknown.to_owned(), nobody("example")]);
    let with = [bad, ("/v/a@x.toml", ""), ("/v/a@y.toml", "")];
    assert_eq!(told(&with), [unknown.to_owned(), nobody("x"), nobody("y")]);
}

#[test]
fn a_percent_sign_is_found_where_it_is_written() {
    let check = |value: &str, column: usize, what: &str| {
        let text = format!("exec = '/a'\nenv.A = {value}\n");
        let found = told(&[("/v/a@.toml", &text)]);
        let start = format!("/v/a@.toml:2:{column}: key `env.A`: {what}; expected");
        assert!(
            found.len() == 1 && found[0].starts_with(&start),
            "{value}: {found:?}"
        );
    };
    check("'%x'", 10, "`%x` means nothing");
    check("'%i%%%I'", 14, "`%I` means nothing");
    check("'is 100 %'", 17, "a single `%` means nothing at the end");
    check("'é%'", 11, "a single `%` means nothing at the end");
}

#[test]
fn drop_ins_need_something_to_add_to() {
    let found = told(&[
        GETTY,
        ("/e/gety@.toml.d/a.toml", ""),
        ("/e/getty@tty9.toml.d/a.toml", "nise = 1"),
    ]);
    let expect = [
        "/e/getty@tty9.toml.d/a.toml:1:1: key `nise`: is not a key of a service file; did you mean `nice`?",
        "/e/gety@.toml.d/a.toml:1:1: this adds to a template `gety@` that does not exist; did you mean `getty@`?",
    ];
    assert_eq!(found, expect);
}

#[test]
fn a_template_without_end_is_cut() {
    let found = told(&[
        ("/v/a@.toml", "exec = '/a'\nwants = ['a@%iz', 'a@%iy']"),
        ("/v/a@x.toml", ""),
    ]);
    let size = "/v/a@.toml:1:1: there are 16386 services; expected at most 16384 of them";
    assert_eq!(found.first().map(String::as_str), Some(size));
}

#[test]
fn the_files_of_an_instance_are_known_in_their_order() {
    let sources = sources(&[
        ("/e/getty@a.toml.d/x.toml", ""),
        ("/e/getty@a.toml", ""),
        ("/v/getty@.toml.d/y.toml", ""),
        GETTY,
    ]);
    let files = files_of(&sources, "getty@a");
    let paths: Vec<&str> = files.iter().map(|it| it.path.as_str()).collect();
    let expect = [
        "/v/getty@.toml",
        "/v/getty@.toml.d/y.toml",
        "/e/getty@a.toml",
        "/e/getty@a.toml.d/x.toml",
    ];
    assert_eq!(paths, expect);
    assert!(has_template(&sources, "getty@z") && !has_template(&sources, "getty@"));
    assert!(!has_template(&sources, "gety@z") && !has_template(&sources, "@z"));
}
