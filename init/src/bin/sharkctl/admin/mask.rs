//! `mask` and `unmask`: whether services may run at all. Not here: what a mask does (`services::file`).

use services::id::ServiceName;

use super::Made;
use super::files::{Layers, Set, Step};
use super::shown;
use crate::failure::Failure;

/// The drop-in that masks a service of which the administrator has a file.
const DROP_IN: &str = "zz-mask.toml";
const TEXT: &str = "# Written by `sharkctl mask`; `sharkctl unmask` removes it.\nmasked = true\n";

/// `mask`.
pub(crate) fn mask(layers: &Layers, name: &str) -> Result<Made, Failure> {
    let set = layers.read();
    let is_there = set.has(name) || services::file::has_template(&set.sources, name);
    if !is_there {
        return Err(Failure::NoSuchService(name.to_owned()));
    }
    mask_in(layers, &set, name)
}

/// The same, of what may come to be only later.
pub(crate) fn mask_any(layers: &Layers, name: &str) -> Result<Made, Failure> {
    if ServiceName::new(name).is_err() {
        return Err(Failure::NoSuchService(name.to_owned()));
    }
    mask_in(layers, &layers.read(), name)
}

fn mask_in(layers: &Layers, set: &Set, name: &str) -> Result<Made, Failure> {
    if let Some(by) = masked_by(set, name, &[]) {
        return Ok(made(name, format!("masked already, by {by}"), &[]));
    }
    let own = layers.own(name);
    let step = match own.symlink_metadata() {
        Ok(_) => Step::Write(layers.drop_in(name, DROP_IN), TEXT.to_owned()),
        Err(_) => Step::Mask(own),
    };
    let steps = [step];
    layers.take(set, &steps)?;
    Ok(made(name, "masked: it does not start".to_owned(), &steps))
}

/// `unmask`.
pub(crate) fn unmask(layers: &Layers, name: &str) -> Result<Made, Failure> {
    let set = layers.read();
    if !set.has(name) {
        return Err(Failure::NoSuchService(name.to_owned()));
    }
    if masked_by(&set, name, &[]).is_none() {
        return Ok(made(name, "not masked".to_owned(), &[]));
    }
    let mut steps = Vec::new();
    let own = layers.own(name);
    if init::load::read::is_mask(&own) {
        steps.push(Step::Remove(own));
    }
    let drop_in = layers.drop_in(name, DROP_IN);
    if set.text(&drop_in).is_some() {
        steps.push(Step::Remove(drop_in));
    }
    if let Some(by) = masked_by(&set, name, &steps) {
        return Err(Failure::Refused(format!(
            "{name}: {by} masks it, which `sharkctl mask` has not written: remove `masked = true` there, or \
             say `masked = false` in a drop-in that is read later (`sharkctl edit {name}`)"
        )));
    }
    layers.take(&set, &steps)?;
    let now = match set.definition(name, &steps) {
        Some(_) => "masked no more",
        None => "masked no more, and there is no other file of it",
    };
    Ok(made(name, now.to_owned(), &steps))
}

/// The file that masks the service, or the template, were the steps taken.
pub(super) fn masked_by(set: &Set, name: &str, steps: &[Step]) -> Option<String> {
    if !name.ends_with('@') {
        return set.definition(name, steps)?.masked;
    }
    // A template by itself is checked with an instance that is made up.
    let alone = set.only(name).definitions(steps);
    alone.into_iter().find_map(|it| it.masked)
}

/// What there is to tell of the steps.
pub(super) fn made(name: &str, now: String, steps: &[Step]) -> Made {
    let (mut written, mut removed) = (Vec::new(), Vec::new());
    for step in steps {
        match step {
            Step::Write(path, _) => written.push(shown(path)),
            Step::Mask(path) => written.push(format!("{} -> /dev/null", path.display())),
            Step::Remove(path) => removed.push(shown(path)),
        }
    }
    Made {
        service: name.to_owned(),
        now,
        written,
        removed,
        notes: Vec::new(),
    }
}
