//! Probes: what may be asked for, and that it is one thing.

use super::*;
use crate::definition::{Probe, Ready};

/// What there is to ask beside a command; a table has one of these.
pub(super) const KINDS: &str = r#"
fd = 3
tcp = "127.0.0.1:80"
unix = "/run/a.sock"
http = "http://[::1]:8080/health?full"
path = "/run/a.pid"
"#;

fn probe(text: &str) -> Probe {
    let service = service(&[("/v/a.toml", &format!("exec = '/a'\n{text}\n"))]);
    program(&service).health.clone().unwrap().probe
}

#[test]
fn every_kind_arrives() {
    let address = |text: &str| text.parse().unwrap();
    let expect = [
        Probe::Tcp(address("127.0.0.1:80")),
        Probe::Unix("/run/a.sock".into()),
        Probe::Http {
            address: address("[::1]:8080"),
            path: "/health?full".to_owned(),
        },
        Probe::Path("/run/a.pid".into()),
    ];
    let kinds = KINDS.trim().lines().filter(|line| *line != "fd = 3");
    for (line, expect) in kinds.zip(expect) {
        assert_eq!(probe(&format!("[health]\n{line}")), expect);
        let (interval, timeout) = (Duration::from_millis(100), Duration::from_secs(5));
        let expect = Ready::Probe {
            probe: expect,
            interval,
            timeout,
        };
        assert_eq!(ready(&format!("[ready]\n{line}")), Some(expect));
    }
    let command = Probe::Exec(vec!["/p".to_owned(), "-q".to_owned()]);
    assert_eq!(probe("health.exec = '/p -q'"), command);
}

fn ready(text: &str) -> Option<Ready> {
    let service = service(&[("/v/a.toml", &format!("exec = '/a'\n{text}\n"))]);
    program(&service).ready.clone()
}

#[test]
fn a_simple_service_is_up_at_once_or_found_ready() {
    assert_eq!(ready(""), None);
    assert_eq!(ready("ready.fd = 3"), Some(Ready::Line(3)));
    let all = "start-timeout = '1s'\n[ready]\nexec = '/p -q'\ninterval = '10ms'\ntimeout = '1s'";
    let expect = Ready::Probe {
        probe: Probe::Exec(vec!["/p".to_owned(), "-q".to_owned()]),
        interval: Duration::from_millis(10),
        timeout: Duration::from_secs(1),
    };
    assert_eq!(ready(all), Some(expect));
    check(
        "exec = '/a'\nstart-timeout = '1s'",
        &[
            "/v/a.toml:2:1: key `start-timeout`: has no meaning for a service of type `simple` \
             without a table [ready]; expected a table [ready], or type `notify` or `oneshot`",
        ],
    );
    check(
        "exec = '/a'\n[ready]\nfd = 2\ninterval = '1ms'",
        &[
            "/v/a.toml:3:6: key `ready.fd`: 2 is out of range; expected a whole number from 3 to 255",
            "/v/a.toml:4:12: key `ready.interval`: \"1ms\" is too short; expected at least 10ms",
        ],
    );
    check(
        "exec = '/a'\n[ready]\nfd = 3\ntcp = ':1'\ninterval = '1s'\n",
        &[
            "/v/a.toml:4:1: key `ready.tcp`: is written beside ready.fd, and would ask for two \
             things; expected one of the two",
        ],
    );
    check(
        "exec = '/a'\n[ready]\nfd = 3\ntimeout = '1s'\n",
        &[
            "/v/a.toml:4:1: key `ready.timeout`: has no meaning beside ready.fd, by which nothing is \
             asked; expected start-timeout, or a probe",
        ],
    );
    check(
        "exec = '/a'\n[ready]\ninterval = '1s'\n",
        &[
            "/v/a.toml:3:1: key `ready`: does not say what is asked for; \
             expected `fd`, `exec`, `tcp`, `unix`, `http` or `path`",
        ],
    );
    check(
        "type = 'notify'\nexec = '/a'\nready.path = '/x'\n",
        &[
            "/v/a.toml:3:7: key `ready.path`: has no meaning for a service of type `notify`; \
             expected type `simple`",
        ],
    );
}

#[test]
fn addresses_that_cannot_be_reached_are_told() {
    let address = "expected an address in numbers such as \"127.0.0.1:80\", \"[::1]:80\" or, for \
                   this machine, \":80\"";
    let url = "expected a URL such as \"http://127.0.0.1:8080/health\"";
    check(
        "exec = '/a'\nhealth.tcp = 'localhost:80'",
        &[&format!(
            "/v/a.toml:2:14: key `health.tcp`: \"localhost:80\" has a name in place of an address, \
             and no name server is asked; {address}"
        )],
    );
    check(
        "exec = '/a'\nhealth.tcp = 80",
        &[&format!(
            "/v/a.toml:2:14: key `health.tcp`: is the number 80; {address}"
        )],
    );
    check(
        "exec = '/a'\nhealth.http = '127.0.0.1/x'",
        &[&format!(
            "/v/a.toml:2:15: key `health.http`: \"127.0.0.1/x\" does not start with `http://`; {url}"
        )],
    );
    check(
        "exec = '/a'\nhealth.path = 'run/x'",
        &[
            "/v/a.toml:2:15: key `health.path`: \"run/x\" does not start with `/`; \
           expected an absolute path",
        ],
    );
    let long = format!("/{}", "x".repeat(107));
    check(
        &format!("exec = '/a'\nhealth.unix = '{long}'"),
        &[&format!(
            "/v/a.toml:2:15: key `health.unix`: \"/{}\"... is longer than the path of a socket can \
             be; expected an absolute path of at most 107 bytes",
            "x".repeat(59)
        )],
    );
    probe(&format!("health.unix = '{}'", &long[..107]));
}

#[test]
fn one_table_asks_for_one_thing() {
    check(
        "exec = '/a'\n[health]\npath = '/x'\ntcp = ':1'\nexec = '/p'\n",
        &[
            "/v/a.toml:4:1: key `health.tcp`: is written beside health.path, and would ask for two \
             things; expected one of the two",
            "/v/a.toml:5:1: key `health.exec`: is written beside health.tcp, and would ask for two \
             things; expected one of the two",
        ],
    );
    // What cannot be read is told as such, and only that.
    check(
        "exec = '/a'\n[health]\ntcp = ':0'\n",
        &[
            "/v/a.toml:3:7: key `health.tcp`: \":0\" has a port that is not between 1 and 65535; \
           expected an address in numbers such as \"127.0.0.1:80\", \"[::1]:80\" or, for this \
           machine, \":80\"",
        ],
    );
}

#[test]
fn a_drop_in_may_ask_for_another_thing() {
    let base = (
        "/v/a.toml",
        "exec = '/a'\n[health]\ntcp = ':1'\nfailures = 9\n",
    );
    let changed = service(&[base, ("/e/a.toml.d/x.toml", "health.path = '/x'\n")]);
    let health = program(&changed).health.clone().unwrap();
    assert_eq!(health.probe, Probe::Path("/x".into()));
    assert_eq!(health.failures, 9);
    let twice = (
        "/e/a.toml.d/x.toml",
        "health.path = '/x'\nhealth.tcp = ':2'\n",
    );
    assert_eq!(
        told(&[base, twice]),
        [
            "/e/a.toml.d/x.toml:2:8: key `health.tcp`: is written beside health.path, and would ask \
          for two things; expected one of the two"
        ]
    );
}

#[test]
fn a_line_has_a_descriptor_of_its_own() {
    let sockets = "[sockets.a]\nlisten = 'unix:/a'\n[sockets.b]\nlisten = 'unix:/b'\n";
    let clash = |store: &str, fd: u8, expect: &[&str]| {
        check(
            &format!("exec = '/a'\nready.fd = {fd}\n{store}{sockets}"),
            expect,
        );
    };
    clash("", 5, &[]);
    clash(
        "",
        4,
        &[
            "/v/a.toml:2:7: key `ready.fd`: 4 is one of the descriptors 3 to 4, which are those of \
             [sockets]; expected a number from 5 on",
        ],
    );
    clash("fd-store.max = 2\n", 7, &[]);
    clash(
        "fd-store.max = 2\n",
        6,
        &[
            "/v/a.toml:2:7: key `ready.fd`: 6 is one of the descriptors 3 to 6, which are those of \
             [sockets] and fd-store.max; expected a number from 7 on",
        ],
    );
}
