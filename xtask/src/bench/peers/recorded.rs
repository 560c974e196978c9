//! A test of the table and the chart: what machines once said must become what lies beside it.
//! `SHARK_RECORD=1` writes it anew.

use std::fs;
use std::path::PathBuf;

use super::contestant::Contestant;
use super::machine::Work;
use super::result::{End, Outcome};
use super::{chart, report};

/// Who had said what, with how many services, and bytes of its programs.
const RECORDED: [(&str, u32, u64); 9] = [
    ("floor", 10, 1856),
    ("floor", 500, 1856),
    ("floor-cgroup-ctl", 500, 1856),
    ("shark", 10, 3_604_848),
    ("shark", 500, 3_604_848),
    ("busybox", 500, 1_982_256),
    ("finit", 10, 2_379_912),
    ("nitro", 10, 38_312),
    ("nitro", 500, 38_312),
];

fn recorded(name: &str) -> PathBuf {
    crate::paths::workspace()
        .join("xtask/bench/recorded")
        .join(name)
}

fn contestant(name: &str) -> Contestant {
    let known = Contestant::known().into_iter();
    let path = PathBuf::from("/opt/<nitro>|");
    known
        .chain([Contestant::by_path("nitro", &path).unwrap()])
        .find(|it| it.name() == name)
        .unwrap()
}

fn outcomes() -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for (name, n, size) in RECORDED {
        let text = fs::read_to_string(recorded(&format!("{name}-{n}.txt"))).unwrap();
        let work = Work { n, limit: 60 };
        outcomes.push(Outcome::parse(&contestant(name), work, size, &text));
    }
    for n in [10, 500] {
        let why = "apt-get download runit failed\n  | E: Unable to locate package".to_owned();
        let work = Work { n, limit: 60 };
        outcomes.push(Outcome::failed(&contestant("runit"), work, why));
    }
    outcomes
}

fn compare(name: &str, now: &str) {
    if std::env::var_os("SHARK_RECORD").is_some() {
        fs::write(recorded(name), now).unwrap();
    }
    assert_eq!(now, fs::read_to_string(recorded(name)).unwrap(), "{name}");
}

#[test]
fn what_machines_said_becomes_the_table_and_the_chart() {
    let outcomes = outcomes();
    compare("peers.md", &report::table(&outcomes));
    compare("peers.svg", &chart::bars(&outcomes));
}

#[test]
fn who_needs_too_long_was_measured_and_whom_an_error_kept_out_was_not() {
    let mut outcomes = outcomes();
    assert!(!report::complete(&outcomes));
    outcomes.retain(|it| !matches!(it.end, End::Failed(_)));
    let late = |it: &Outcome| matches!(it.end, End::NotFinished { .. });
    assert!(outcomes.iter().any(late));
    assert!(report::complete(&outcomes));
}
