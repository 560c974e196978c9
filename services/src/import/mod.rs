//! Descriptions of services for other inits into service files, with an account of every line. Not
//! here: reading and writing files (`sharkctl import` does), and whether the result holds together
//! (`file` and `graph` say that of it as of any other service file).
//!
//! Each line ends in one of three ways: it is carried over, it is lost, with the reason and what
//! follows, or it is of no consequence here. Nothing is made up for what cannot be expressed: where
//! a service would be another one without it, there is no file.

pub mod directory;
mod draft;
pub mod openrc;
pub mod report;
mod shell;
pub mod systemd;

use std::collections::{BTreeMap, BTreeSet};

use crate::diagnostic::Diagnostic;
use crate::file::{self, Source};
use draft::Draft;
use report::{Made, Outcome};

/// What counts besides what is imported.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Services that are there already.
    pub known: BTreeSet<String>,
    /// Which service a name there means.
    pub map: BTreeMap<String, String>,
    /// Whether a file is made where one would be refused and can be made.
    pub force: bool,
}

/// What the checker says of the files that were made, among services that are there already.
fn problems(made: &[Made], options: &Options) -> Vec<Diagnostic> {
    let source = |name: &str, text: &str| Source {
        path: format!("{name}.toml"),
        layer: 0,
        text: text.to_owned(),
    };
    let is_made = |name: &&String| made.iter().all(|made| made.service != **name);
    let known = options.known.iter().filter(is_made);
    let known = known.map(|name| source(name, "type = \"target\"\nwanted-by = []\n"));
    let made = made.iter().map(|made| source(&made.service, &made.text));
    file::load(&known.chain(made).collect::<Vec<_>>(), None).diagnostics
}

/// Values of `draft` that a service file cannot have, each with its key, and what is wrong with it; they
/// are taken out. Without a key it is the file as a whole.
fn take_unfit(service: &str, draft: &mut Draft) -> Vec<(Option<String>, String)> {
    let mut unfit = Vec::new();
    // What is taken out may show the next one, and each time there is less.
    loop {
        let made = Made {
            service: service.to_owned(),
            text: draft.text(&[]),
        };
        let found = problems(&[made], &Options::default());
        let before = unfit.len();
        for problem in &found {
            if let Some(key) = problem.key.as_ref().filter(|key| draft.has(key)) {
                draft.remove(key);
                unfit.push((Some(key.clone()), told(problem)));
            }
        }
        if unfit.len() == before {
            unfit.extend(found.first().map(|problem| (None, told(problem))));
            return unfit;
        }
    }
}

fn told(problem: &Diagnostic) -> String {
    match &problem.expected {
        Some(expected) => format!("{}: expected {expected}", problem.message),
        None => problem.message.clone(),
    }
}

/// An outcome without what it has put into `key`, if it has.
fn without(outcome: &mut Outcome, key: &str, why: &str) {
    if outcome.into.iter().any(|it| it == key) {
        outcome.into.retain(|it| it != key);
        *outcome = outcome.clone().and(Outcome::lost(why));
    }
}

/// Names of signals that a service file takes, in its words; a number is one too.
fn signal(text: &str) -> Option<&'static str> {
    let name = text.strip_prefix("SIG").unwrap_or(text);
    Some(match name {
        "HUP" | "1" => "HUP",
        "INT" | "2" => "INT",
        "QUIT" | "3" => "QUIT",
        "ABRT" | "IOT" | "6" => "ABRT",
        "KILL" | "9" => "KILL",
        "USR1" | "10" => "USR1",
        "USR2" | "12" => "USR2",
        "TERM" | "15" => "TERM",
        "WINCH" | "28" => "WINCH",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        assert_eq!(signal("SIGUSR1"), Some("USR1"));
        assert_eq!(signal("9"), Some("KILL"));
        assert_eq!(signal("SIGCONT"), None);
    }
}
