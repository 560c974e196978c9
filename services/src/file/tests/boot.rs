//! Keys by which a boot is judged: `[boot]`, `[health]`, `[gate]`.

use super::*;
use crate::definition::GateSettings;

const TARGET: &str = "type = 'target'\n";

fn of(text: &str) -> Definition {
    service(&[("/v/a.toml", text)])
}

#[test]
fn a_service_has_no_role_unless_its_file_says_so() {
    let check = |text: &str, role| assert_eq!(of(&format!("exec = '/a'\n{text}")).boot, role);
    check("", BootRole::None);
    check("boot.essential = true", BootRole::Essential);
    check("boot.wanted = true", BootRole::Wanted);
    check("boot.essential = false", BootRole::None);
    check(
        "boot.essential = true\nboot.wanted = false",
        BootRole::Essential,
    );
    assert_eq!(
        of("type = 'target'\nboot.essential = true").boot,
        BootRole::Essential
    );
}

#[test]
fn an_administrator_may_take_a_role_away() {
    let text = "exec = '/a'\n[boot]\nessential = true\n";
    let drop_in = "[boot]\nessential = false\nwanted = true\n";
    let merged = service(&[("/v/a.toml", text), ("/e/a.toml.d/b.toml", drop_in)]);
    assert_eq!(merged.boot, BootRole::Wanted);
}

#[test]
fn a_service_cannot_be_both() {
    check(
        "exec = '/a'\n[boot]\nwanted = true\nessential = true\n",
        &[
            "/v/a.toml:3:1: key `boot.wanted`: is written beside boot.essential: what is essential \
           decides the boot, what is wanted is only reported; expected one of the two to be true",
        ],
    );
    check(
        "exec = '/a'\n[boot]\nessential = 1\n",
        &["/v/a.toml:3:13: key `boot.essential`: is the number 1; expected `true` or `false`"],
    );
}

#[test]
fn whoever_has_a_role_is_part_of_a_boot() {
    check(
        "exec = '/a'\nwanted-by = []\n[boot]\nessential = true\n",
        &[
            "/v/a.toml:4:1: key `boot.essential`: `a` is essential for the boot, but no target brings \
           it up; expected a target in `wanted-by`, such as `default`, or `false` here",
        ],
    );
    check(
        "exec = '/a'\nwanted-by = []\nboot.wanted = true\n",
        &[
            "/v/a.toml:3:6: key `boot.wanted`: `a` is wanted in the boot, but no target brings it up; \
           expected a target in `wanted-by`, such as `default`, or `false` here",
        ],
    );
    // By whatever way a target brings it up, and whichever target that is.
    let essential = "exec = '/a'\nwanted-by = []\nboot.essential = true\n";
    let fine = |other: &str| {
        let files = [("/v/a.toml", essential), ("/v/b.toml", other)];
        assert_eq!(told(&files), [""; 0], "{other}");
    };
    fine("exec = '/b'\nrequires = ['a']");
    fine("type = 'target'\nwanted-by = []\nwants = ['a']");
    let files = [
        ("/v/a.toml", essential),
        ("/v/b.toml", "exec = '/b'\nrequires = ['a']\nwanted-by = []"),
    ];
    assert_eq!(told(&files).len(), 1);
}

#[test]
fn essential_services_outside_of_a_target_are_known() {
    let files = [
        ("/v/a.toml", "exec = '/a'\nboot.essential = true"),
        (
            "/v/b.toml",
            "exec = '/b'\nwanted-by = ['kiosk']\nboot.essential = true",
        ),
        ("/v/kiosk.toml", "type = 'target'\nwanted-by = []"),
    ];
    let graph = load(&sources(&files), None).graph.unwrap();
    let left_out = |target: &str| -> Vec<&str> {
        let services = graph.essential_left_out(target).into_iter();
        services
            .map(|index| graph.service(index).unwrap().name.as_str())
            .collect()
    };
    assert_eq!(left_out("default"), ["b"]);
    assert_eq!(left_out("kiosk"), ["a"]);
    assert_eq!(left_out("nothing"), ["a", "b"]);
}

#[test]
fn health_has_defaults_but_for_its_command() {
    let health = |text: &str| program(&of(&format!("exec = '/a'\n{text}"))).health.clone();
    assert_eq!(health(""), None);
    let seconds = Duration::from_secs;
    let expect = Health {
        probe: Probe::Exec(vec!["/bin/probe".into(), "-q".into()]),
        interval: seconds(10),
        timeout: seconds(5),
        failures: 3,
        delay: Duration::ZERO,
    };
    assert_eq!(health("health.exec = '/bin/probe -q'"), Some(expect));
    let all =
        "[health]\nexec = ['/p']\ninterval = '1min'\ntimeout = '30s'\nfailures = 1\ndelay = '2s'\n";
    let expect = Health {
        probe: Probe::Exec(vec!["/p".into()]),
        interval: seconds(60),
        timeout: seconds(30),
        failures: 1,
        delay: seconds(2),
    };
    assert_eq!(health(all), Some(expect));
}

#[test]
fn health_is_asked_of_what_stays_up() {
    check(
        "exec = '/a'\n[health]\ninterval = '1s'\n",
        &[
            "/v/a.toml:3:1: key `health`: does not say what is asked for; \
             expected `exec`, `tcp`, `unix`, `http` or `path`",
        ],
    );
    check(
        "exec = '/a'\n[health]\nexec = 'probe'\ninterval = '1ms'\nfailures = 0\ntimeout = '0s'\n",
        &[
            &format!("/v/a.toml:3:8: key `health.exec`: \"probe\" is not a whole path; {COMMAND}"),
            "/v/a.toml:4:12: key `health.interval`: \"1ms\" is too short; expected at least 100ms",
            "/v/a.toml:5:12: key `health.failures`: 0 is out of range; \
             expected a whole number from 1 to 1000",
            "/v/a.toml:6:11: key `health.timeout`: \"0s\" is too short; expected at least 1ms",
        ],
    );
    check(
        "type = 'oneshot'\nexec = '/a'\nhealth.exec = '/p'\n",
        &[
            "/v/a.toml:3:8: key `health.exec`: has no meaning for a service of type `oneshot`; \
           expected type `simple`, `notify` or `forking`",
        ],
    );
}

#[test]
fn a_gate_belongs_to_a_target() {
    assert_eq!(of(TARGET).gate, None);
    let gate = of(&format!(
        "{TARGET}[gate]\ndeadline = '2min'\nscrub = true\n"
    ))
    .gate;
    let expect = GateSettings {
        deadline: Duration::from_secs(120),
        soak: Duration::from_secs(10),
        scrub: true,
    };
    assert_eq!(gate, Some(expect));
    check(
        "exec = '/a'\n[gate]\ndeadline = '2min'\n",
        &[
            "/v/a.toml:3:1: key `gate.deadline`: has no meaning for a service of type `simple`; \
           expected type `target`",
        ],
    );
    check(
        &format!("{TARGET}[gate]\nsoak = '10min'\n"),
        &[
            "/v/a.toml:3:1: key `gate.soak`: a soak of 10min is never over within 5min; \
           expected soak shorter than deadline",
        ],
    );
    check(
        &format!("{TARGET}[gate]\ndeadline = '5s'\n"),
        &[
            "/v/a.toml:3:1: key `gate.deadline`: a soak of 10s is never over within 5s; \
           expected soak shorter than deadline",
        ],
    );
    check(
        &format!("{TARGET}[gate]\ndeadline = '0s'\nsoak = 5\n"),
        &[
            "/v/a.toml:3:12: key `gate.deadline`: \"0s\" is too short; expected at least 1s",
            "/v/a.toml:4:8: key `gate.soak`: is the number 5; \
             expected a duration such as \"30s\" or \"1min 30s\" (units: us ms s min h d)",
        ],
    );
}

#[test]
fn a_masked_service_keeps_a_mark_of_its_role() {
    let mut essential = of("exec = '/a'\nboot.essential = true\nhealth.exec = '/p'");
    essential.mask("/e/a.toml");
    assert_eq!(
        (essential.kind, essential.boot),
        (Kind::Target, BootRole::Masked)
    );
    let mut plain = of("exec = '/a'");
    plain.mask("/e/a.toml");
    assert_eq!(plain.boot, BootRole::None);
    assert!(plain.description.starts_with("(masked)"));
}

#[test]
fn a_mask_hides_all_but_who_wants_it_and_what_it_means() {
    let vendor = "description = 'web'\nexec = '/a'\nrequires = ['b']\nboot.essential = true\n\
        wanted-by = ['t']\n[cgroup]\npids-max = 3\n";
    let files = [
        ("/v/a.toml", vendor),
        ("/v/b.toml", "exec = '/b'"),
        ("/v/t.toml", "type = 'target'"),
    ];
    let masked = |more: &[(&str, &str)]| {
        let loaded = load(&sources(&[&files, more].concat()), None);
        let graph = loaded
            .graph
            .unwrap_or_else(|| panic!("{:?}", loaded.diagnostics));
        graph.service(graph.index_of("a").unwrap()).unwrap().clone()
    };
    for by in ["/e/a.toml", "/e/a.toml.d/x.toml"] {
        let definition = masked(&[(by, MASK)]);
        assert_eq!(definition.masked.as_deref(), Some(by));
        assert_eq!(
            (&definition.kind, definition.boot),
            (&Kind::Target, BootRole::Masked)
        );
        assert_eq!(definition.description, "(masked) web");
        let relations = definition.relations;
        assert_eq!(
            (relations.wanted_by[0].as_str(), relations.requires.len()),
            ("t", 0)
        );
    }
    let unmasked = masked(&[
        ("/e/a.toml.d/x.toml", MASK),
        ("/e/a.toml.d/y.toml", "masked = false"),
    ]);
    assert_eq!(
        (unmasked.masked, unmasked.boot),
        (None, BootRole::Essential)
    );
}

#[test]
fn a_mask_needs_nothing_to_hide_and_hides_mistakes() {
    let nothing: [&str; 0] = [];
    assert_eq!(told(&[("/e/a.toml", MASK)]), nothing);
    assert_eq!(
        told(&[("/v/a.toml", "exec = 3"), ("/e/a.toml", MASK)]),
        nothing
    );
    assert_eq!(
        told(&[("/v/a@.toml", "exec = '/a'"), ("/e/a@.toml", MASK)]),
        nothing
    );
    let sources = sources(&[
        ("/v/a@.toml", "exec = '/a'"),
        ("/v/a@x.toml", ""),
        ("/v/a@y.toml", ""),
        ("/e/a@x.toml", MASK),
    ]);
    let graph = load(&sources, None).graph.unwrap();
    let masked = |name| {
        graph
            .service(graph.index_of(name).unwrap())
            .unwrap()
            .masked
            .is_some()
    };
    assert_eq!((masked("a@x"), masked("a@y")), (true, false));
}

#[test]
fn a_word_of_two_tables_is_pointed_to_both() {
    check(
        "exec = '/a'\n[restart]\ntimeout = '1s'\n",
        &[
            "/v/a.toml:3:1: key `restart.timeout`: is not a key of a service file; \
           `timeout` belongs to the table [stop] or [ready] or [health] or [watchdog]",
        ],
    );
}

#[test]
fn a_directory_follows_the_slot_for_all_or_for_none() {
    let versioned = "exec = '/a'\nstate.versioned = ['x', 'y']\n";
    let told = |other: &str| told(&[("/v/a.toml", versioned), ("/v/b.toml", other)]);
    assert_eq!(told("exec = '/b'\nstate.versioned = ['x']\n"), [""; 0]);
    assert_eq!(
        told("exec = '/b'\nruntime-dirs = ['x']\nstate-dirs = ['z']\n"),
        [""; 0]
    );
    let refused = told("exec = '/b'\nstate-dirs = ['z', 'y']\n");
    assert_eq!(
        refused,
        [
            "/v/b.toml:1:1: key `state-dirs`: `b` has `y` in `state-dirs`, and `a` has it in \
             `state.versioned`; name it in `state.versioned` of all services that use it"
        ]
    );
    check(
        "exec = '/a'\nstate.versioned = ['shark', 'a/b']\n",
        &[
            "/v/a.toml:2:20: key `state.versioned`: \"shark\" belongs to init; expected another name",
            "/v/a.toml:2:29: key `state.versioned`: \"a/b\" is not a name; expected the name of a \
           directory, without `/`",
        ],
    );
}
