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
use report::Made;

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
