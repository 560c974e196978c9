//! Whole loads: texts of files in, diagnostics or definitions out.

use super::*;
use crate::begin::{
    Architecture, Begin, Condition, Credential, CredentialSource, EnvFile, Slot, Test,
    Virtualization,
};
use crate::definition::{
    Account, BootRole, Burst, Bytes, CgroupLimits, Definition, FailureAction, Health, Kind, Probe,
    Program, Reload, Resource, ResourceLimit, Restart, RestartPolicy, Signal, Stop, StopScope,
    Watchdog,
};
use crate::graph::Relation;
use crate::time::Duration;

mod before;
mod boot;
mod everything;
mod page;
mod probes;
mod sockets;
mod templates;
mod timer;

/// Layer 0 is /v, 1 is /r, 2 is /e; the layer is taken from the path.
fn sources(files: &[(&str, &str)]) -> Vec<Source> {
    let layer = |path: &str| match path.get(..3) {
        Some("/v/") => 0,
        Some("/r/") => 1,
        _ => 2,
    };
    let source = |(path, text): &(&str, &str)| Source {
        path: (*path).to_owned(),
        layer: layer(path),
        text: (*text).to_owned(),
    };
    files.iter().map(source).collect()
}

fn told(files: &[(&str, &str)]) -> Vec<String> {
    let loaded = load(&sources(files), None);
    assert_eq!(loaded.graph.is_some(), loaded.diagnostics.is_empty());
    loaded.diagnostics.iter().map(ToString::to_string).collect()
}

/// What is told of one file /v/a.toml.
#[track_caller]
fn check(text: &str, expect: &[&str]) {
    assert_eq!(told(&[("/v/a.toml", text)]), expect, "{text}");
}

const MISSING: &str = "/v/a.toml:1:1: key `exec`: is missing; expected the command to run; \
    a service that runs nothing has `type = \"target\"`";
const COMMAND: &str =
    "expected a command: a string or a list of strings, the program with its whole path";

#[test]
fn unknown_keys_have_a_hint() {
    check("", &[MISSING]);
    check(
        "exec = '/a'\n'stop.timeout' = '1s'\n",
        &["/v/a.toml:2:1: key `stop.timeout`: is not a key of a service file"],
    );
    check(
        "exce = \"/bin/a\"\n",
        &[
            "/v/a.toml:1:1: key `exce`: is not a key of a service file; did you mean `exec`?",
            MISSING,
        ],
    );
    check(
        "exec = '/a'\n\n  [cgrop]\n[stop]\ncolour = 1\ntime-out = '5s'\nrequires = []\nmemory-max = 1\n",
        &[
            "/v/a.toml:3:4: key `cgrop`: is not a key of a service file; did you mean `cgroup`?",
            "/v/a.toml:5:1: key `stop.colour`: is not a key of a service file",
            "/v/a.toml:6:1: key `stop.time-out`: is not a key of a service file; did you mean `timeout`?",
            "/v/a.toml:7:1: key `stop.requires`: is not a key of a service file; \
             `requires` belongs to the top of the file, before the first [table]",
            "/v/a.toml:8:1: key `stop.memory-max`: is not a key of a service file; \
             `memory-max` belongs to the table [cgroup]",
        ],
    );
}

#[test]
fn wrong_types_say_what_was_found() {
    let integer = "expected a whole number from -20 to 19";
    for (value, found) in [
        ("'5'", "the string \"5\""),
        ("5.5", "the fraction 5.5"),
        ("true", "`true`"),
        ("2026-01-01", "a date"),
        ("[5]", "a list"),
        ("{ a = 5 }", "a table"),
    ] {
        check(
            &format!("exec = '/a'\nnice = {value}"),
            &[&format!("/v/a.toml:2:8: key `nice`: is {found}; {integer}")],
        );
    }
    check(
        "exec = 5\nstop = 5\nwants = 'b'\nafter = [5]\nenv = { A = 1 }\n\
         runtime-dirs = 'a'\n[[limits]]\n[cgroup]\ndelegate = 'yes'\n",
        &[
            &format!("/v/a.toml:1:8: key `exec`: is the number 5; {COMMAND}"),
            "/v/a.toml:2:8: key `stop`: is the number 5; expected a table such as [stop]",
            "/v/a.toml:3:9: key `wants`: is the string \"b\"; expected a list of service names such as [\"network\"]",
            "/v/a.toml:4:10: key `after`: is the number 5; expected the name of a service",
            "/v/a.toml:5:13: key `env.A`: is the number 1; expected a string",
            "/v/a.toml:6:16: key `runtime-dirs`: is the string \"a\"; expected a list of names of directories such as [\"chrony\"]",
            "/v/a.toml:7:1: key `limits`: is a list; expected a table such as [limits]",
            "/v/a.toml:9:12: key `cgroup.delegate`: is the string \"yes\"; expected `true` or `false`",
        ],
    );
}

#[test]
fn bad_units_list_the_units() {
    let bytes = "expected an amount of memory such as \"512M\" \
        (units: K M G T, powers of 1024; none is bytes)";
    let duration = "expected a duration such as \"30s\" or \"1min 30s\" (units: us ms s min h d)";
    check(
        "exec = '/a'\n[cgroup]\nmemory-max = '512X'\nmemory-high = -1\ncpu-max = '1'\n\
         [stop]\ntimeout = '5'\n[restart]\ndelay = '1m'\nmax-delay = 5\n[limits]\ncore = 'much'\n",
        &[
            &format!(
                "/v/a.toml:3:14: key `cgroup.memory-max`: \"512X\" has the unknown unit `X`; {bytes}"
            ),
            &format!("/v/a.toml:4:15: key `cgroup.memory-high`: -1 is out of range; {bytes}"),
            "/v/a.toml:5:11: key `cgroup.cpu-max`: \"1\" has no unit; expected a percentage such as \"20%\"",
            &format!("/v/a.toml:7:11: key `stop.timeout`: \"5\" has no unit; {duration}"),
            &format!(
                "/v/a.toml:9:9: key `restart.delay`: \"1m\" has the unknown unit `m`; {duration}"
            ),
            &format!("/v/a.toml:10:13: key `restart.max-delay`: is the number 5; {duration}"),
            &format!(
                "/v/a.toml:12:8: key `limits.core`: \"much\" does not start with a number; {bytes}"
            ),
        ],
    );
}

#[test]
fn values_out_of_range_and_unknown_words() {
    check(
        "exec = '/a'\ntype = 'notfy'\nnice = 20\numask = '0888'\nworking-dir = 'tmp'\n\
         state-dirs = ['a/b']\nruntime-dirs = ['shark', '..']\nuser = ''\ndescription = \"a\\nb\"\n\
         wants = ['b.toml', '-x']\n[stop]\nsignal = 'SIGHUB'\n[restart]\nmax-failures = 0\n\
         policy = 'alway'\nmax-delay = '0s'\n[env]\n'A=B' = 'c'\n",
        &[
            "/v/a.toml:2:8: key `type`: \"notfy\" is not known; expected `simple`, `notify`, `oneshot`, `forking` or `target`; did you mean `notify`?",
            "/v/a.toml:3:8: key `nice`: 20 is out of range; expected a whole number from -20 to 19",
            "/v/a.toml:4:9: key `umask`: \"0888\" is not a mask; expected an octal string from \"0000\" to \"0777\"",
            "/v/a.toml:5:15: key `working-dir`: \"tmp\" does not start with `/`; expected an absolute path",
            "/v/a.toml:6:15: key `state-dirs`: \"a/b\" is not a name; expected the name of a directory, without `/`",
            "/v/a.toml:7:17: key `runtime-dirs`: \"shark\" belongs to init; expected another name",
            "/v/a.toml:7:26: key `runtime-dirs`: \"..\" is not a name; expected the name of a directory, without `/`",
            "/v/a.toml:8:8: key `user`: \"\" is not a name; expected the name of a user",
            "/v/a.toml:9:15: key `description`: \"a\\nb\" holds a line break or another control character; expected one line of at most 200 characters",
            "/v/a.toml:10:10: key `wants`: there is no service `b.toml`",
            "/v/a.toml:10:20: key `wants`: \"-x\": a service name starts with a letter or a digit, not '-'",
            "/v/a.toml:12:10: key `stop.signal`: \"SIGHUB\" is not such a signal; expected `HUP`, `INT`, `QUIT`, `USR1`, `USR2`, `TERM`, `WINCH`, `KILL` or `ABRT`; did you mean `HUP`?",
            "/v/a.toml:14:16: key `restart.max-failures`: 0 is out of range; expected a whole number from 1 to 1000000",
            "/v/a.toml:15:10: key `restart.policy`: \"alway\" is not known; expected `always`, `on-failure`, `on-abnormal`, `on-success` or `never`; did you mean `always`?",
            "/v/a.toml:16:13: key `restart.max-delay`: \"0s\" is too short; expected at least 1ms",
            "/v/a.toml:18:1: key `env.A=B`: is not a name of a variable; expected letters, digits and `_`",
        ],
    );
}

#[test]
fn commands_are_checked() {
    let at = "/v/a.toml:1:8: key `exec`:";
    for (value, problem) in [
        ("'a b'", "\"a\" is not a whole path"),
        ("''", "is empty"),
        ("[]", "is empty"),
        ("\"/a 'b\"", "has a quotation mark ' without partner"),
        ("'/a \\'", "ends in a backslash that escapes nothing"),
        ("\"/a\\u0000\"", "holds a NUL character"),
    ] {
        check(
            &format!("exec = {value}"),
            &[&format!("{at} {problem}; {COMMAND}")],
        );
    }
    check(
        "exec = ['/a', 5]\nreload = 'KILL'",
        &[
            "/v/a.toml:1:15: key `exec`: is the number 5; expected a string",
            "/v/a.toml:2:10: key `reload`: \"KILL\" is not such a signal; expected `HUP`, `USR1`, \
             `USR2`, `WINCH` or `INT`, or a command with its whole path",
        ],
    );
}

#[test]
fn keys_must_have_a_meaning_for_the_type() {
    check(
        "type = 'target'\nexec = '/a'\nstart-timeout = '5s'\n[stop]\ntimeout = '5s'\n",
        &[
            "/v/a.toml:2:1: key `exec`: has no meaning for a service of type `target`; expected type `simple`, `notify`, `oneshot` or `forking`",
            "/v/a.toml:3:1: key `start-timeout`: has no meaning for a service of type `target`; expected type `simple`, `notify`, `oneshot` or `forking`",
            "/v/a.toml:5:1: key `stop.timeout`: has no meaning for a service of type `target`; expected type `simple`, `notify`, `oneshot` or `forking`",
        ],
    );
    check(
        "type = 'oneshot'\nexec = '/a'\nreload = 'HUP'\nrestart = { policy = 'always' }\n",
        &[
            "/v/a.toml:3:1: key `reload`: has no meaning for a service of type `oneshot`; expected type `simple`, `notify` or `forking`",
            "/v/a.toml:4:13: key `restart.policy`: a oneshot that has ended well is up, and `always` would run it without end; expected `on-failure`, `on-abnormal` or `never`",
        ],
    );
    check(
        "exec = '/a'\nrestart = { delay = '1min' }\ncgroup = { memory-high = '2M', memory-max = '1M' }",
        &[
            "/v/a.toml:2:13: key `restart.delay`: the pause starts with 60s and cannot end at 30s; expected delay of at most max-delay",
            "/v/a.toml:3:12: key `cgroup.memory-high`: is above cgroup.memory-max and could never be reached; expected at most cgroup.memory-max",
        ],
    );
}

#[test]
fn errors_of_syntax_do_not_hide_the_rest() {
    check(
        "exec = \"/bin/a\nafter = [\"b\"]\nnicee = 3\nnice = 1\nnice = 2\n",
        &[
            "/v/a.toml:1:15: this is not TOML: invalid basic string, expected `\"`",
            "/v/a.toml:3:1: key `nicee`: is not a key of a service file; did you mean `nice`?",
            "/v/a.toml:5:1: `nice` is already written further up",
        ],
    );
    check(
        "# é\n[stop] # é\n\"timeout\" = \"é\"\n",
        &[
            MISSING,
            "/v/a.toml:3:13: key `stop.timeout`: \"é\" does not start with a number; \
             expected a duration such as \"30s\" or \"1min 30s\" (units: us ms s min h d)",
        ],
    );
    let long = format!("# {}", "x".repeat(MAX_FILE));
    let told = told(&[("/v/a.toml", &long)]);
    assert_eq!(
        told,
        ["/v/a.toml:1:1: the file has 1048578 bytes; expected at most 1048576"]
    );
}

#[test]
fn files_that_define_nothing_are_told() {
    let found = told(&[
        ("/v/sshd.toml", "exec = '/a'"),
        ("/e/shd.toml.d/10-x.toml", "nice = 1"),
        ("/e/sshd.toml.d/README", "not read"),
        ("/e/.sshd.toml", "not read"),
        ("/e/a b.toml", "exec = '/a'"),
        ("/e/getty@.toml", "exec = '/a'"),
    ]);
    let expect = [
        "/e/a b.toml:1:1: a service name cannot hold ' ': use A-Z a-z 0-9 . _ - @",
        "/e/shd.toml.d/10-x.toml:1:1: this adds to a service `shd` that does not exist; did you mean `sshd`?",
    ];
    assert_eq!(found, expect);
}

#[test]
fn relations_are_checked_over_all_files() {
    let found = told(&[
        ("/v/a.toml", "exec = '/a'\nwanted-by = []\nrequires = ['b']"),
        ("/v/b.toml", "exec = '/b'\nafter = [\n  'c',\n  'd',\n]\n"),
        (
            "/v/c.toml",
            "exec = '/c'\nafter = ['a', 'c']\nconflicts = ['b']\n",
        ),
        (
            "/v/late.toml",
            "exec = '/d'\nafter = ['default']\nwants = ['defualt']",
        ),
        (
            "/v/x.toml",
            "exec = '/x'\nrequires = ['y']\nconflicts = ['y']",
        ),
        ("/v/y.toml", "exec = 'y'\nnise = 3\n"),
    ]);
    let expect = [
        "/v/b.toml:4:3: key `after`: there is no service `d`",
        "/v/c.toml:2:10: key `after`: the order of starting is a circle: a -> c -> b -> a: \
         `c` after `a` (/v/c.toml:2), `b` after `c` (/v/b.toml:3), `a` requires `b` (/v/a.toml:3); \
         take one of these out: nothing is left out by itself",
        "/v/c.toml:2:15: key `after`: `c` names itself; expected the name of another service",
        "/v/c.toml:3:14: key `conflicts`: `c` excludes `b`, but `default` brings up both; \
         give one of them `wanted-by = []`",
        "/v/late.toml:2:10: key `after`: the order of starting is a circle: default -> late -> default: \
         `late` after `default` (/v/late.toml:2), `late` wanted-by `default` (/v/late.toml, implied); \
         without `wanted-by`, `late` is wanted by `default`: say otherwise with `wanted-by = []`",
        "/v/late.toml:3:10: key `wants`: there is no service `defualt`; did you mean `default`?",
        "/v/x.toml:3:14: key `conflicts`: `x` excludes `y`, but also needs it",
        &format!("/v/y.toml:1:8: key `exec`: \"y\" is not a whole path; {COMMAND}"),
        "/v/y.toml:2:1: key `nise`: is not a key of a service file; did you mean `nice`?",
    ];
    assert_eq!(found, expect);
}

/// The service `a` of `files`, which must be right.
#[track_caller]
fn service(files: &[(&str, &str)]) -> Definition {
    let loaded = load(&sources(files), None);
    assert_eq!(loaded.diagnostics, []);
    let graph = loaded.graph.unwrap();
    let index = graph.index_of("a").unwrap();
    graph.service(index).unwrap().clone()
}

fn program(definition: &Definition) -> &Program {
    definition.kind.program().unwrap()
}

fn names(names: &[ServiceName]) -> Vec<&str> {
    names.iter().map(ServiceName::as_str).collect()
}

#[test]
fn one_line_is_a_service() {
    let a = service(&[("/v/a.toml", "exec = \"/usr/sbin/chronyd -d\"")]);
    assert_eq!(a.source, "/v/a.toml");
    assert!(matches!(a.kind, Kind::Simple(_)));
    assert_eq!(program(&a).exec, ["/usr/sbin/chronyd", "-d"]);
    assert_eq!(program(&a).umask, 0o022);
    assert_eq!(names(&a.relations.wanted_by), ["default"]);
    assert_eq!(a.restart, crate::definition::Restart::default());
    assert_eq!(a.restart.policy, RestartPolicy::OnFailure);
    assert_eq!(a.stop.signal, Signal::Term);
    assert_eq!(a.start_timeout, crate::time::Duration::from_secs(90));
}

#[test]
fn drop_ins_are_laid_over_in_their_order() {
    let other = ("/v/b.toml", "exec = '/b'");
    let more = ("/v/c.toml", "exec = '/c'");
    let a = service(&[
        other,
        more,
        (
            "/e/a.toml.d/10-late.toml",
            "nice = 3\nafter = ['c']\n[stop]\ntimeout = '3s'",
        ),
        (
            "/v/a.toml",
            "exec = '/v'\nnice = 9\numask = '0077'\nruntime-dirs = ['x']",
        ),
        (
            "/e/a.toml",
            "exec = '/e'\nafter = ['b']\nenv = { A = '1', B = '1' }\nruntime-dirs = ['x']",
        ),
        (
            "/v/a.toml.d/90-early.toml",
            "nice = 1\nenv.B = '2'\nruntime-dirs = ['y']\n[stop]\nsignal = 'INT'",
        ),
        ("/v/a.toml.d/10-first.toml", "nice = 0\nenv.B = '3'"),
    ]);
    assert_eq!(program(&a).exec, ["/e"]);
    assert_eq!(a.source, "/e/a.toml");
    assert_eq!(
        program(&a).umask,
        0o022,
        "the vendor's file is replaced as a whole"
    );
    assert_eq!(program(&a).nice, Some(3));
    assert_eq!(program(&a).runtime_dirs, ["y"]);
    assert_eq!(names(&a.relations.after), ["b", "c"]);
    assert_eq!(a.stop.signal, Signal::Int);
    assert_eq!(a.stop.timeout, crate::time::Duration::from_secs(3));
    let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        program(&a).environment,
        [variable("A", "1"), variable("B", "2")]
    );
}

#[test]
fn an_empty_list_empties_a_relation() {
    let base = ("/v/a.toml", "exec = '/a'\nafter = ['b']");
    let other = ("/v/b.toml", "exec = '/b'");
    let off = service(&[
        base,
        other,
        ("/e/a.toml.d/off.toml", "wanted-by = []\nafter = []"),
    ]);
    assert_eq!(names(&off.relations.wanted_by), [""; 0]);
    assert_eq!(names(&off.relations.after), [""; 0]);
    let moved = service(&[
        base,
        other,
        ("/e/a.toml.d/to.toml", "wanted-by = ['b']\nafter = []"),
    ]);
    assert_eq!(names(&moved.relations.wanted_by), ["b"]);
}

#[test]
fn drop_ins_are_checked_at_their_own_place() {
    let found = told(&[
        ("/v/a.toml", "exec = '/a'"),
        ("/e/a.toml.d/x.toml", "\ntype = 'target'\nwants = ['b']\n"),
    ]);
    let expect = [
        "/e/a.toml.d/x.toml:3:10: key `wants`: there is no service `b`",
        "/v/a.toml:1:1: key `exec`: has no meaning for a service of type `target`; expected type `simple`, `notify`, `oneshot` or `forking`",
    ];
    assert_eq!(found, expect);
}

#[test]
fn accounts_are_looked_up_where_there_are_some() {
    let accounts = Accounts::parse("root:x:0:0\nweb:x:33:34\n", "web:x:34:\nlog:x:4:web\n");
    let files = [
        ("/v/a.toml", "exec = '/a'\nuser = 'web'\ngroup = 'log'"),
        ("/v/b.toml", "exec = '/b'\nuser = 'wbe'\ngroup = 'none'"),
        ("/v/c.toml", "exec = '/c'\ngroup = 'logs'"),
    ];
    let loaded = load(&sources(&files), Some(&accounts));
    let found: Vec<_> = loaded.diagnostics.iter().map(ToString::to_string).collect();
    let expect = [
        "/v/b.toml:2:1: key `user`: there is no user `wbe` on this machine; did you mean `web`?",
        "/v/c.toml:2:1: key `group`: there is no group `logs` on this machine; did you mean `log`?",
    ];
    assert_eq!(found, expect);
    let loaded = load(&sources(&files[..1]), Some(&accounts));
    let graph = loaded.graph.unwrap();
    let account = program(graph.service(0).unwrap()).account.clone().unwrap();
    let ids = account.ids.unwrap();
    assert_eq!((ids.uid, ids.gid, ids.groups), (33, 4, vec![4]));
}

#[test]
fn a_long_list_of_problems_is_cut() {
    let text: String = (0..2000).map(|n| format!("colour{n} = 1\n")).collect();
    let found = told(&[("/v/a.toml", &text)]);
    assert_eq!(found.len(), MAX_DIAGNOSTICS);
    assert!(
        found
            .last()
            .unwrap()
            .ends_with("; 1001 more problems are not told")
    );
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "(([a-z-]{1,8}|'[^']{0,4}'|[0-9]{1,3}|[=\\[\\]{}.,\"#\n ])){0,40}") {
        told(&[("/v/a.toml", &text), ("/e/a.toml.d/b.toml", &text)]);
    }

    #[test]
    fn no_value_of_a_key_panics(key in 0..keys::KEYS.len(), value in ".{0,20}", quoted: bool) {
        let name = keys::KEYS[key].name;
        let value = if quoted { format!("{value:?}") } else { value };
        told(&[("/v/a.toml", &format!("{name} = {value}"))]);
    }
}
