//! Service files into a graph: which file replaces which, which ones are merged, and all that is
//! wrong with any of them, told in one go. Not here: reading from disk (the shell hands over the
//! text), and the relations between services (`graph`).
//!
//! A service is defined by `NAME.toml`. Of several files of that name, the one of the highest layer
//! counts. Its drop-ins, `NAME.toml.d/*.toml` of all layers, are read after it, by layer and then by
//! file name: a single value, a list and a variable of `env` replace the earlier one; a list of
//! services adds to the earlier one, and empties it when it is empty itself.
//!
//! `NAME@.toml` is a template. It makes no service by itself; a service `NAME@INSTANCE` is there when
//! some service names it in a relation, or when there is a file `NAME@INSTANCE.toml`, which is read
//! after the template and its drop-ins (and may be empty). A template without an instance is checked
//! with a made-up one.
//!
//! A service with `masked = true` runs nothing. Where the whole file is a mask ([`MASK`]), the one that it
//! hides is looked at for what remains of a masked service, and its mistakes do not count.

mod address;
mod before;
mod build;
mod collect;
mod command;
mod decode;
mod differ;
mod document;
mod draft;
mod keys;
mod logging;
mod probe;
mod sockets;
mod template;
#[cfg(test)]
mod tests;
mod timer;
mod value;

use crate::definition::Definition;
use crate::diagnostic::Diagnostic;
use crate::graph::{Graph, Placed};
use crate::id::ServiceName;
use crate::users::Accounts;

use collect::{Collection, Files, Read};

pub(crate) use before::VIRTUALIZATIONS;
pub use collect::{files_of, has_template};
pub(crate) use command::split as split_command;
pub use differ::differing_keys;
pub use document::MAX_FILE;
pub use logging::log_settings;
pub(crate) use probe::SOCKET_PATH_MAX;
pub(crate) use sockets::SOCKETS_MAX;
pub(crate) use timer::CALENDAR_MAX;

/// Most problems that are told in one go.
pub const MAX_DIAGNOSTICS: usize = 1000;

/// What a link to /dev/null in the place of a service file stands for.
pub const MASK: &str = "masked = true\n";

/// A file, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its path: the name of the service is taken from it, and it is named in diagnostics.
    pub path: String,
    /// Which directory it is from: the higher number goes over the lower.
    pub layer: u8,
    /// Its content.
    pub text: String,
}

/// What became of all the files.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The graph, when nothing is wrong.
    pub graph: Option<Graph>,
    /// All that is wrong, by file, line and column; empty when there is a graph.
    pub diagnostics: Vec<Diagnostic>,
    /// Instances that are in no graph, and stand for the templates that have none.
    pub made_up: Vec<Definition>,
}

/// A key of a service file, as people are told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownKey {
    /// With its table: `stop.timeout`.
    pub name: &'static str,
    /// What it takes.
    pub form: &'static str,
    /// What counts when it is not written.
    pub default: &'static str,
    /// Types of services it has a meaning for.
    pub types: Vec<&'static str>,
}

/// All keys, in the order of the manual page.
#[must_use]
pub fn known_keys() -> Vec<KnownKey> {
    let keys = keys::KEYS.iter();
    keys.map(|key| KnownKey {
        name: key.name,
        form: key.form,
        default: key.default,
        types: key.types.iter().map(|kind| kind.name()).collect(),
    })
    .collect()
}

/// What a path says about its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role<'p> {
    /// `NAME.toml`; of a template, the name ends in `@`.
    Service(&'p str),
    /// `NAME.toml.d/*.toml`
    DropIn(&'p str),
    /// Something else (hidden, or without `.toml`): not read.
    Other,
}

/// The role of the file at `path`.
#[must_use]
pub fn role(path: &str) -> Role<'_> {
    let (directory, file) = path.rsplit_once('/').unwrap_or(("", path));
    let Some(stem) = file.strip_suffix(".toml") else {
        return Role::Other;
    };
    if file.starts_with('.') {
        return Role::Other;
    }
    let parent = directory.rsplit('/').next().unwrap_or("");
    match parent.strip_suffix(".toml.d") {
        Some(name) => Role::DropIn(name),
        None => Role::Service(stem),
    }
}

/// Makes a graph of `sources`. With `accounts`, users and groups are looked up, and have to exist.
#[must_use]
pub fn load(sources: &[Source], accounts: Option<&Accounts>) -> Loaded {
    let mut diagnostics = Vec::new();
    let collection = Collection::new(sources, &mut diagnostics);
    let Read { services, made_up } = collect::read_all(&collection, &mut |name, files| {
        read(name, files, accounts, &mut diagnostics)
    });
    if !made_up.is_empty() {
        let all = services.iter().chain(&made_up).cloned().collect();
        if let Err(mut more) = Graph::check(all) {
            diagnostics.append(&mut more);
        }
    }
    let graph = match Graph::check(services) {
        Ok(graph) => Some(graph),
        Err(mut more) => {
            diagnostics.append(&mut more);
            None
        }
    };
    diagnostics.sort();
    diagnostics.dedup();
    Loaded {
        graph: graph.filter(|_| diagnostics.is_empty()),
        diagnostics: shorten(diagnostics),
        made_up: made_up.into_iter().map(|it| it.definition).collect(),
    }
}

/// The services as far as their files tell, for a set that has problems: what else could be told of
/// them need not wait until those are mended.
#[must_use]
pub fn definitions(sources: &[Source], accounts: Option<&Accounts>) -> Vec<Definition> {
    let mut told = Vec::new();
    let collection = Collection::new(sources, &mut told);
    let Read { services, made_up } = collect::read_all(&collection, &mut |name, files| {
        read(name, files, accounts, &mut told)
    });
    let all = services.into_iter().chain(made_up);
    all.map(|it| it.definition).collect()
}

/// One service from its files.
fn read(
    name: ServiceName,
    files: &Files<'_>,
    accounts: Option<&Accounts>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Placed {
    let mut draft = draft::Draft::default();
    let mut well_formed = true;
    let instance = files.is_instance.then_some(name.as_str());
    if let Some(source) = files.beneath {
        let mut mistakes = Vec::new();
        decode::decode(source, instance, &mut draft, &mut mistakes);
        if !mistakes.is_empty() {
            draft = draft::Draft::default();
        }
    }
    for source in std::iter::once(&files.service).chain(&files.later) {
        well_formed &= decode::decode(source, instance, &mut draft, diagnostics);
    }
    let build = build::Build {
        name,
        file: &files.service.path,
        draft,
        well_formed,
        accounts,
        diagnostics,
    };
    build.build()
}

/// Cuts a list that nobody would read to its end.
fn shorten(mut diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    if let Some(more) = diagnostics.len().checked_sub(MAX_DIAGNOSTICS + 1) {
        diagnostics.truncate(MAX_DIAGNOSTICS);
        if let Some(last) = diagnostics.last_mut() {
            let note = format!("{} more problems are not told", more + 1);
            last.hint = Some(match last.hint.take() {
                Some(hint) => format!("{hint}; {note}"),
                None => note,
            });
        }
    }
    diagnostics
}
