//! The loader child, `init load`: reads the service files, checks them as one graph, looks accounts
//! up and hands the result to PID 1 in a memfd. Not here: the checks (`services::file`), and what
//! PID 1 does with the result (`pid1::loader`).
//!
//! It is a process of its own because everything in it may block (a directory on a network file
//! system) or grow (a thousand files), and PID 1 does neither.

pub mod handoff;
pub mod image;
mod instance;
pub mod read;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use services::definition::Definition;
use services::diagnostic::Diagnostic;
use services::file::Source;
use services::graph::Graph;
use services::supervisor::compiled::Compiled;
use services::users::Accounts;

use crate::log::settings;
use crate::paths::Paths;
use handoff::{Handoff, Meta};

/// The descriptor under which PID 1 passes the memfd, by its name in /proc.
const RESULT: &str = "/proc/self/fd/3";
/// Names of services that are not to run, with commas between them.
pub const MASK_VARIABLE: &str = "SHARK_MASK";
/// Name of an instance of a template that is to be there as well, and to stay.
pub const INSTANCE_VARIABLE: &str = "SHARK_INSTANCE";
/// What a service is masked by that these name.
const ON_THE_COMMAND_LINE: &str = "shark.mask= on the kernel command line";
/// Largest /etc/passwd and /etc/group that is read.
const ACCOUNTS_MAX: u64 = 4 << 20;
/// Largest /etc/machine-id that is read.
const MACHINE_ID_MAX: u64 = 100;
/// The group whose members may change things through the control socket.
const CONTROL_GROUP: &str = "shark";

/// Reads, checks, writes the result; the status says only whether PID 1 has something to read.
#[must_use]
pub fn run() -> ExitCode {
    let masks = std::env::var(MASK_VARIABLE).unwrap_or_default();
    let masks: Vec<&str> = masks.split(',').collect();
    let instance = std::env::var(INSTANCE_VARIABLE).ok();
    let paths = Paths::from_environment();
    let mut bytes = match instance.filter(|name| !name.is_empty()) {
        Some(name) => instance::load_with(&paths, &masks, &name),
        None => load(&paths.service_path, &masks),
    };
    bytes.meta.log = Some(settings::find(&paths));
    match write(&handoff::encode(&bytes)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("init load: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Writes the result, and seals it: PID 1 reads nothing that may still change.
fn write(bytes: &[u8]) -> Result<(), String> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .open(RESULT)
        .map_err(|error| format!("open {RESULT}: {error}"))?;
    file.write_all(bytes)
        .map_err(|error| format!("write the result to {RESULT}: {error}"))?;
    kernel::memfd::seal(&file).map_err(|error| error.to_string())
}

/// Loads the directories `path`, lowest layer first; the services `masks` are there, so that those
/// who need them start, but run nothing.
#[must_use]
pub fn load(path: &[String], masks: &[&str]) -> Handoff {
    let (sources, unreadable) = read::sources(path);
    check(path, &sources, unreadable, masks)
}

/// The same, once the files have been read.
fn check(
    path: &[String],
    sources: &[Source],
    unreadable: Vec<Diagnostic>,
    masks: &[&str],
) -> Handoff {
    let (accounts, mut diagnostics) = accounts(Path::new("/"));
    diagnostics.extend(unreadable);
    let loaded = services::file::load(sources, Some(&accounts));
    let broken = !diagnostics.is_empty();
    diagnostics.extend(loaded.diagnostics);
    // A file that could not be read may be the one that matters: half a set is no set.
    let graph = loaded
        .graph
        .filter(|_| !broken)
        .and_then(|graph| mask(graph, masks, &mut diagnostics))
        .and_then(|graph| match Compiled::new(&graph) {
            Ok(compiled) => Some(compiled.into_bytes()),
            Err(error) => {
                diagnostics.push(read::whole_file(&path.join(":"), error.to_string()));
                None
            }
        });
    Handoff {
        meta: Meta {
            diagnostics,
            control_group: accounts.group(CONTROL_GROUP),
            no_template: false,
            origin: None,
            log: None,
            machine: machine(),
        },
        graph,
    }
}

/// The graph with the masked services emptied.
fn mask(graph: Graph, masks: &[&str], diagnostics: &mut Vec<Diagnostic>) -> Option<Graph> {
    let masked = |definition: &Definition| masks.contains(&definition.name.as_str());
    if !graph.services().iter().any(masked) {
        return Some(graph);
    }
    let mut definitions = graph.into_services();
    for definition in definitions.iter_mut().filter(|it| masked(it)) {
        definition.mask(ON_THE_COMMAND_LINE);
    }
    match Graph::from_definitions(definitions) {
        Ok(graph) => Some(graph),
        Err(more) => {
            diagnostics.extend(more);
            None
        }
    }
}

/// A number made of the machine id; of a machine without one, 0.
pub(crate) fn machine() -> u64 {
    let text = read::bounded("/etc/machine-id".as_ref(), MACHINE_ID_MAX).unwrap_or_default();
    let digits = text
        .trim()
        .bytes()
        .filter_map(|it| char::from(it).to_digit(16));
    // Half of it is random enough.
    digits
        .take(16)
        .fold(0, |number, digit| number << 4 | u64::from(digit))
}

/// The account database below `root`, and what of it cannot be read. A machine without one has only
/// numbers and root.
#[must_use]
pub fn accounts(root: &Path) -> (Accounts, Vec<Diagnostic>) {
    let (texts, diagnostics) = account_texts(root);
    (Accounts::parse(&texts.passwd, &texts.group), diagnostics)
}

/// The files of the account database.
struct AccountTexts {
    passwd: String,
    group: String,
}

fn account_texts(root: &Path) -> (AccountTexts, Vec<Diagnostic>) {
    let mut diagnostics = Vec::new();
    let mut text = |path: &str| match read::bounded(&root.join(path), ACCOUNTS_MAX) {
        Ok(text) => text,
        Err(read::Unreadable::Absent) => String::new(),
        Err(read::Unreadable::Broken(message)) => {
            diagnostics.push(read::whole_file(&format!("/{path}"), message));
            String::new()
        }
    };
    let passwd = text("etc/passwd");
    let group = text("etc/group");
    (AccountTexts { passwd, group }, diagnostics)
}
