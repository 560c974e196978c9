//! Any files as service directories of runit, s6 and s6-rc: no panic, every file is accounted for, and
//! what is written is a service file.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use services::import::Options;
use services::import::directory::{Content, Directory, convert};
use services::import::report::Fate;

/// Names that mean something, so that not each has to be found by chance.
const NAMES: [&str; 24] = [
    "run",
    "finish",
    "check",
    "down",
    "type",
    "up",
    "notification-fd",
    "timeout-kill",
    "timeout-finish",
    "timeout-up",
    "timeout-down",
    "max-death-tally",
    "down-signal",
    "dependencies",
    "contents",
    "dependencies.d/a",
    "dependencies.d/b",
    "contents.d/a",
    "log/run",
    "env/A",
    "control/t",
    "producer-for",
    "flag-essential",
    "supervise/ok",
];

type File<'a> = (u8, &'a str, Option<&'a str>, bool);

fuzz_target!(|input: (Vec<File>, Vec<File>, &str)| {
    let (first, second, path) = input;
    let directories = [
        directory("a", path, &first),
        directory("b", "etc/sv", &second),
    ];
    let import = convert(&directories, &Options::default());
    for directory in &directories {
        for file in directory.files.keys() {
            let shown = format!("{}/{file}", directory.shown);
            assert_eq!(
                import.entries.iter().filter(|it| it.file == shown).count(),
                1,
                "{shown}"
            );
        }
        let made = import.made.iter().any(|it| it.service == directory.name);
        let refused = import
            .refused
            .iter()
            .any(|it| it.unit == directory.name && !it.why.is_empty());
        assert!(made != refused, "{}", directory.name);
    }
    for entry in &import.entries {
        let outcome = &entry.outcome;
        assert!(outcome.fate == Fate::Carried || !outcome.why.is_empty());
        assert!(outcome.fate != Fate::Carried || !outcome.into.is_empty());
        assert!(entry.line <= entry.last);
    }
    // They may require each other in a circle, which is for people to untie.
    for problem in &import.problems {
        assert!(
            problem.message.contains("circle"),
            "{problem}: {:?}",
            import.made
        );
    }
});

fn directory(name: &str, path: &str, files: &[File]) -> Directory {
    let mut all = BTreeMap::new();
    for (which, own, text, executable) in files {
        let name = NAMES.get(usize::from(*which)).map_or(*own, |it| *it);
        let content = Content {
            text: text.map(str::to_owned),
            executable: *executable,
        };
        all.insert(name.to_owned(), content);
    }
    Directory {
        name: name.to_owned(),
        path: format!("/{path}/{name}"),
        shown: format!("{path}/{name}"),
        files: all,
    }
}
