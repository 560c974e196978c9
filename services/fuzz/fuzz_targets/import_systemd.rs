//! Any texts as units: no panic, every line is accounted for, and what is written can be read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use services::import::report::Fate;
use services::import::Options;
use services::import::systemd::{Unit, UnitFile, convert};

fuzz_target!(|input: (&str, &str, &str, bool)| {
    let (service, other, drop_in, force) = input;
    let unit = |name: &str, texts: &[&str]| Unit {
        name: name.to_owned(),
        aliases: Vec::new(),
        files: texts
            .iter()
            .enumerate()
            .map(|(at, text)| UnitFile {
                path: format!("{name}.{at}"),
                text: (*text).to_owned(),
            })
            .collect(),
        instances: Vec::new(),
    };
    let units = [
        unit("a.service", &[service, drop_in]),
        unit("a.socket", &[other]),
        unit("b@.service", &[service]),
        unit("b@.timer", &[other]),
    ];
    let options = Options {
        force,
        ..Options::default()
    };
    let import = convert(&units, &options);
    for entry in &import.entries {
        let outcome = &entry.outcome;
        assert!(outcome.fate == Fate::Carried || !outcome.why.is_empty());
        assert!(outcome.fate != Fate::Carried || !outcome.into.is_empty());
        assert!(entry.line <= entry.last);
    }
    // Values may not fit each other, and relations may be wrong; but TOML it is.
    for problem in &import.problems {
        assert!(problem.key.is_some(), "{problem}: {:?}", import.made);
    }
});
