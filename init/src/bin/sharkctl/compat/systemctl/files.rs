//! Verbs of `systemctl` about unit files. Not here: how a unit becomes a service file (`imported`).

use std::path::Path;

use services::file::{Role, files_of, role};

use super::super::units::{Unit, is_pattern, matches};
use super::super::{imported, reload_where_init_runs};
use super::Call;
use super::act;
use crate::admin::cli::Edit;
use crate::admin::enable::{self, Enabled};
use crate::admin::files::{Layers, Set};
use crate::admin::{Made, edit, mask};
use crate::failure::Failure;
use crate::screen::Screen;

/// Does one of the verbs.
pub(super) fn files(
    call: &Call<'_>,
    screen: &mut Screen<'_>,
    verb: &str,
    words: &[String],
) -> Result<u8, Failure> {
    match verb {
        "daemon-reload" => daemon_reload(call, screen),
        "is-enabled" => is_enabled(call, screen, words),
        "list-unit-files" => list(call, screen, words),
        "cat" => cat(call, screen, words),
        "edit" => edit_one(call, screen, words),
        "preset" => preset(call, screen, words),
        _ => change(call, screen, verb, words),
    }
}

/// Reads the units that scripts have put there, and makes init read the service files.
fn daemon_reload(call: &Call<'_>, screen: &mut Screen<'_>) -> Result<u8, Failure> {
    imported::bring_all(screen, call.root(), &call.layers())?;
    let request = services::control::Request::ReloadAll { dry_run: false };
    match super::change(call.context, screen, request) {
        Err(Failure::Permission(_)) => {
            screen.complain_bare("Failed to reload daemon: Access denied");
            Ok(4)
        }
        Err(Failure::InvalidServices(diagnostics)) => {
            crate::change::tell_diagnostics(screen, &diagnostics);
            screen.complain_bare("Failed to reload daemon: the service files have problems");
            Ok(1)
        }
        done => done.map(|()| 0),
    }
}

/// A unit that is named by its path is known by its name.
fn unit_of(call: &Call<'_>, word: &str) -> Result<Unit, String> {
    let name = match word.contains('/') {
        false => Some(Path::new(word).to_owned()),
        true => imported::of_path(call.root(), word),
    };
    let name = name.as_deref().and_then(Path::file_name);
    let name = name.and_then(|it| it.to_str());
    name.and_then(Unit::parse).ok_or_else(|| word.to_owned())
}

/// What `preset` comes to, as systemd.preset(5) has it where there is no preset: everything is enabled.
fn preset(call: &Call<'_>, screen: &mut Screen<'_>, words: &[String]) -> Result<u8, Failure> {
    match call.words.value("preset-mode") {
        None | Some("full" | "enable-only") => change(call, screen, "enable", words),
        Some("disable-only") => Ok(0),
        Some(other) => {
            screen.complain_bare(&format!("Failed to parse preset mode: {other}"));
            Ok(1)
        }
    }
}

/// `enable`, `disable`, `reenable`, `mask`, `unmask`.
fn change(
    call: &Call<'_>,
    screen: &mut Screen<'_>,
    verb: &str,
    words: &[String],
) -> Result<u8, Failure> {
    let layers = call.layers();
    let mut worst = 0;
    let mut changed = Vec::new();
    for word in words {
        let unit = match unit_of(call, word) {
            Ok(unit) => unit,
            Err(word) => {
                screen.complain_bare(&format!(
                    "Failed to {verb} unit: {word} is no unit that Shark init can have (shark-compat(7))"
                ));
                worst = 1;
                continue;
            }
        };
        match change_one(call, screen, &layers, verb, &unit) {
            Ok(made) => {
                if !call.quiet() {
                    tell(screen, &made);
                }
                changed.push(unit);
            }
            Err(Failure::NoSuchService(_)) if verb == "unmask" => {}
            Err(Failure::NoSuchService(_)) => {
                screen.complain_bare(&format!(
                    "Failed to {verb} unit: Unit file {} does not exist.",
                    unit.name()
                ));
                // Of a system that does not run, to disable what is not there is no failure.
                let forgiven = verb == "disable" && call.root.is_some();
                worst = if forgiven { worst } else { 1 };
            }
            Err(Failure::Permission(why)) => {
                screen.complain_bare(&format!("Failed to {verb} unit: Access denied ({why})"));
                worst = 4;
            }
            Err(failure) => {
                screen.complain_bare(&format!("Failed to {verb} unit: {failure}"));
                worst = 1;
            }
        }
    }
    if call.root.is_none() && !changed.is_empty() && !call.words.has("no-reload") {
        reload_where_init_runs(call.context, screen)?;
    }
    if call.words.has("now") && !changed.is_empty() {
        let names: Vec<String> = changed.iter().map(Unit::name).collect();
        let verb = match verb {
            "disable" | "mask" => "stop",
            _ => "start",
        };
        let status = act::act(call, screen, verb, &names)?;
        worst = if worst == 0 { status } else { worst };
    }
    Ok(worst)
}

fn change_one(
    call: &Call<'_>,
    screen: &mut Screen<'_>,
    layers: &Layers,
    verb: &str,
    unit: &Unit,
) -> Result<Made, Failure> {
    let name = unit.service.as_str();
    if verb != "disable" {
        let brought = imported::bring(screen, call.root(), layers, name)?;
        // What is new and enabled would be started at once: enabling says nothing about now.
        if brought.changed && call.root.is_none() {
            reload_where_init_runs(call.context, screen)?;
        }
    }
    match verb {
        "enable" | "reenable" => enable::enable(layers, name),
        "disable" => enable::disable(layers, name),
        "mask" => mask::mask_any(layers, name),
        _ => mask::unmask(layers, name),
    }
}

fn tell(screen: &mut Screen<'_>, made: &Made) {
    for path in &made.written {
        screen.complain_bare(&format!("Created {path}."));
    }
    for path in &made.removed {
        screen.complain_bare(&format!("Removed \"{path}\"."));
    }
    made.notes
        .iter()
        .for_each(|note| screen.complain_bare(note));
}

/// The word for how a unit file is.
fn state(set: &Set, name: &str) -> Option<&'static str> {
    let known = set.has(name) || name == services::graph::DEFAULT_TARGET;
    if known && name.ends_with('@') {
        return Some("indirect");
    }
    match Enabled::of(set, name).filter(|_| known) {
        Some(Enabled::Yes) => Some("enabled"),
        Some(Enabled::No) if name == services::graph::DEFAULT_TARGET => Some("static"),
        Some(Enabled::No) => Some("disabled"),
        Some(Enabled::Masked) => Some("masked"),
        None => None,
    }
}

/// The same, of a unit in the list of all.
pub(super) fn state_of(call: &Call<'_>, name: &str) -> &'static str {
    state(&call.layers().read(), name).unwrap_or("")
}

/// As systemd 252, which says of a unit that there is not that it failed.
fn is_enabled(call: &Call<'_>, screen: &mut Screen<'_>, words: &[String]) -> Result<u8, Failure> {
    let set = call.layers().read();
    let mut status = 1;
    for word in words {
        let unit = unit_of(call, word);
        let (name, state) = match &unit {
            Ok(unit) => (unit.name(), state(&set, &unit.service)),
            Err(word) => (word.clone(), None),
        };
        let Some(state) = state else {
            screen.complain_bare(&format!(
                "Failed to get unit file state for {name}: No such file or directory"
            ));
            return Ok(1);
        };
        // One that is enabled is enough.
        if matches!(state, "enabled" | "static" | "indirect") {
            status = 0;
        }
        if !call.quiet() {
            screen.print(format!("{state}\n"))?;
        }
    }
    Ok(status)
}

fn list(call: &Call<'_>, screen: &mut Screen<'_>, words: &[String]) -> Result<u8, Failure> {
    let set = call.layers().read();
    let mut names: Vec<&str> = set
        .sources
        .iter()
        .filter_map(|source| match role(&source.path) {
            Role::Service(name) => Some(name),
            Role::DropIn(_) | Role::Other => None,
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    let targets: Vec<String> = set
        .definitions(&[])
        .into_iter()
        .filter(|it| it.kind == services::definition::Kind::Target && it.masked.is_none())
        .map(|it| it.name.to_string())
        .collect();
    let full = |name: &str| match name.ends_with(".target") {
        true => name.to_owned(),
        false if targets.iter().any(|it| it == name) => format!("{name}.target"),
        false => format!("{name}.service"),
    };
    let kinds: Vec<&str> = call
        .words
        .values("type")
        .flat_map(|it| it.split(','))
        .collect();
    let states: Vec<&str> = call
        .words
        .values("state")
        .flat_map(|it| it.split(','))
        .collect();
    let rows: Vec<(String, &str)> = names
        .into_iter()
        .filter_map(|name| Some((full(name), state(&set, name)?)))
        .filter(|(name, state)| {
            let meant = |word: &String| match is_pattern(word) {
                true => matches(word, name),
                false => Unit::parse(word).is_some_and(|unit| unit.name() == *name),
            };
            let kind = name.rsplit('.').next().unwrap_or_default();
            (words.is_empty() || words.iter().any(meant))
                && (kinds.is_empty() || kinds.contains(&kind))
                && (states.is_empty() || states.contains(state))
        })
        .collect();
    let width = rows
        .iter()
        .map(|(name, _)| name.len())
        .max()
        .unwrap_or(0)
        .max(9);
    let mut text = String::new();
    let legend = !call.words.has("no-legend");
    if legend {
        text.push_str(&format!("{:width$} {:<8} PRESET\n", "UNIT FILE", "STATE"));
    }
    for (name, state) in &rows {
        text.push_str(&format!("{name:width$} {state:<8} -\n"));
    }
    if legend {
        text.push_str(&format!("\n{} unit files listed.\n", rows.len()));
    }
    screen.print(text)?;
    Ok(u8::from(rows.is_empty() && !words.is_empty()))
}

fn cat(call: &Call<'_>, screen: &mut Screen<'_>, words: &[String]) -> Result<u8, Failure> {
    let set = call.layers().read();
    let mut status = 0;
    for (at, word) in words.iter().enumerate() {
        let unit = unit_of(call, word);
        let files = unit
            .map(|unit| files_of(&set.sources, &unit.service))
            .unwrap_or_default();
        if files.is_empty() {
            screen.complain_bare(&format!("No files found for {word}."));
            status = 1;
        }
        for (file, more) in files.iter().zip(at..) {
            let gap = if more > 0 { "\n" } else { "" };
            let end = if file.text.ends_with('\n') { "" } else { "\n" };
            screen.print(format!("{gap}# {}\n{}{end}", file.path, file.text))?;
        }
    }
    Ok(status)
}

fn edit_one(call: &Call<'_>, screen: &mut Screen<'_>, words: &[String]) -> Result<u8, Failure> {
    let [word] = words else {
        screen.complain_bare("Shark init edits one unit at a time.");
        return Ok(1);
    };
    let Ok(unit) = unit_of(call, word) else {
        screen.complain_bare(&format!("No files found for {word}."));
        return Ok(1);
    };
    let options = Edit {
        full: call.words.has("full"),
        now: false,
        root: call.root.clone(),
        service: unit.service,
    };
    edit::edit(call.context, screen, &options)?;
    if call.root.is_none() {
        reload_where_init_runs(call.context, screen)?;
    }
    Ok(0)
}
