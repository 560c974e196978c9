//! `enable` and `disable`: whether the boot brings services up because of what their own files say. Not
//! here: `wanted-by` itself (`services::file`).

use std::path::PathBuf;

use services::definition::Definition;
use services::file::has_template;
use services::graph::DEFAULT_TARGET;

use super::Made;
use super::files::{Layers, Set, Step};
use super::mask::made;
use crate::failure::Failure;

/// The drop-in: the last that is read.
const DROP_IN: &str = "zz-enablement.toml";
/// How the files begin that are written here, and may be removed again.
const MARK: &str = "# Written by `sharkctl";

/// Whether something brings a service up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Enabled {
    Yes,
    No,
    Masked,
}

impl Enabled {
    /// `None`: there is no such service.
    pub(crate) fn of(set: &Set, name: &str) -> Option<Self> {
        Self::after(set, name, &[])
    }

    fn after(set: &Set, name: &str, steps: &[Step]) -> Option<Self> {
        let definition = set.definition(name, steps)?;
        let wanted = !definition.relations.wanted_by.is_empty();
        Some(match (definition.masked, wanted) {
            (Some(_), _) => Self::Masked,
            (None, true) => Self::Yes,
            (None, false) => Self::No,
        })
    }
}

/// `enable`.
pub(crate) fn enable(layers: &Layers, name: &str) -> Result<Made, Failure> {
    let set = layers.read();
    if !set.has(name) && has_template(&set.sources, name) {
        let text = format!("{MARK} enable`: an instance of its template.\n");
        return take(
            layers,
            &set,
            name,
            "enabled",
            &[Step::Write(layers.own(name), text)],
        );
    }
    if !set.has(name) {
        return Err(Failure::NoSuchService(name.to_owned()));
    }
    match Enabled::of(&set, name) {
        Some(Enabled::Yes) => Ok(made(name, "enabled already".to_owned(), &[])),
        Some(Enabled::Masked) => Err(Failure::Refused(format!(
            "{name} is masked: `sharkctl unmask {name}` first"
        ))),
        Some(Enabled::No) => {
            let text = format!(
                "{MARK} enable`; `sharkctl disable` removes it.\nwanted-by = [\"{DEFAULT_TARGET}\"]\n"
            );
            let steps = least(layers, &set, name, Enabled::Yes, text);
            take(layers, &set, name, "enabled", &steps)
        }
        None => Err(Failure::NoSuchService(name.to_owned())),
    }
}

/// `disable`.
pub(crate) fn disable(layers: &Layers, name: &str) -> Result<Made, Failure> {
    let set = layers.read();
    let own = layers.own(name);
    if set.text(&own).is_some_and(|text| text.starts_with(MARK)) {
        return take(layers, &set, name, "disabled", &[Step::Remove(own)]);
    }
    match Enabled::of(&set, name).filter(|_| set.has(name)) {
        Some(Enabled::No) => Ok(made(name, "disabled already".to_owned(), &[])),
        Some(Enabled::Yes | Enabled::Masked) => {
            let text = format!("{MARK} disable`; `sharkctl enable` removes it.\nwanted-by = []\n");
            let steps = least(layers, &set, name, Enabled::No, text);
            take(layers, &set, name, "disabled", &steps)
        }
        None if has_template(&set.sources, name) => {
            Ok(made(name, "disabled already".to_owned(), &[]))
        }
        None => Err(Failure::NoSuchService(name.to_owned())),
    }
}

/// The step that lets nothing bring a service up by its own files.
pub(crate) fn off(layers: &Layers, name: &str) -> Step {
    let text = format!("{MARK} disable`; `sharkctl enable` removes it.\nwanted-by = []\n");
    Step::Write(layers.drop_in(name, DROP_IN), text)
}

/// Where the drop-in is, if it is there.
pub(crate) fn drop_in(layers: &Layers, set: &Set, name: &str) -> Option<PathBuf> {
    let path = layers.drop_in(name, DROP_IN);
    set.text(&path).is_some().then_some(path)
}

/// Taking the drop-in away, where that is enough; else a drop-in of this text.
fn least(layers: &Layers, set: &Set, name: &str, goal: Enabled, text: String) -> Vec<Step> {
    let drop_in = layers.drop_in(name, DROP_IN);
    if set.text(&drop_in).is_some() {
        let steps = vec![Step::Remove(drop_in.clone())];
        if Enabled::after(set, name, &steps) == Some(goal) {
            return steps;
        }
    }
    vec![Step::Write(drop_in, text)]
}

fn take(
    layers: &Layers,
    set: &Set,
    name: &str,
    now: &str,
    steps: &[Step],
) -> Result<Made, Failure> {
    layers.take(set, steps)?;
    let mut made = made(name, now.to_owned(), steps);
    if now == "disabled" {
        let needed = needed_by(&set.definitions(steps), name);
        if !needed.is_empty() {
            let needed = needed.join(", ");
            made.notes.push(format!(
                "{name} still comes up with what needs it: {needed}; `sharkctl mask {name}` keeps it from running"
            ));
        }
    }
    Ok(made)
}

/// Who names the service in its own lists.
fn needed_by(definitions: &[Definition], name: &str) -> Vec<String> {
    let names = definitions.iter().filter(|definition| {
        let relations = &definition.relations;
        let lists = [&relations.requires, &relations.wants, &relations.binds_to];
        lists.into_iter().flatten().any(|it| it.as_str() == name)
    });
    names.map(|it| it.name.to_string()).collect()
}
