//! `diff`: what the files of higher layers change of the image's. Not here: comparing texts (`lines`),
//! and what init has (a dry run of its reload).

use std::collections::BTreeSet;

use serde_json::{Value, json};
use services::file::{MASK, Role, Source, differing_keys, role};

use super::cli::Diff;
use super::files::{Layers, Set};
use super::lines::unified;
use crate::Context;
use crate::failure::Failure;
use crate::screen::Screen;
use crate::table::printable;

/// `diff`.
pub(super) fn diff(
    context: &Context,
    screen: &mut Screen<'_>,
    options: &Diff,
) -> Result<(), Failure> {
    let layers = Layers::new(context, options.root.as_deref());
    let set = layers.read();
    let image = set.of_image();
    let asked = &options.services;
    if let Some(name) = asked.iter().find(|name| !set.has(name)) {
        return Err(Failure::NoSuchService(name.clone()));
    }
    let higher = set.sources.iter().filter(|it| it.layer > 0);
    let names: BTreeSet<&str> = higher.filter_map(|it| belongs_to(it)).collect();
    let names = names
        .into_iter()
        .filter(|it| asked.is_empty() || asked.iter().any(|name| name == it));
    let all: Vec<One<'_>> = names.map(|name| One::new(name, &set, &image)).collect();
    if screen.json {
        let told: Vec<Value> = all.iter().map(One::for_programs).collect();
        return screen.print_json(&json!({ "services": told }));
    }
    if all.is_empty() {
        return screen.say_done("nothing is changed of the image's service files\n");
    }
    let paint = screen.paint();
    let mut text = String::new();
    for (at, one) in all.iter().enumerate() {
        if at > 0 {
            text.push('\n');
        }
        text.push_str(&paint.bold(&format!("{}: {}", one.name, one.words())));
        text.push('\n');
        text.push_str(&one.lines());
    }
    screen.print(text)
}

fn belongs_to(source: &Source) -> Option<&str> {
    match role(&source.path) {
        Role::Service(name) | Role::DropIn(name) => Some(name),
        Role::Other => None,
    }
}

/// What is changed of one service, or template.
struct One<'s> {
    name: &'s str,
    /// The image's file.
    before: Option<&'s Source>,
    /// Files of higher layers.
    files: Vec<&'s Source>,
    masked: Option<String>,
    /// Keys that have another value; of a template, nothing is said.
    keys: Vec<String>,
}

impl<'s> One<'s> {
    fn new(name: &'s str, set: &'s Set, image: &Set) -> Self {
        let of_it = |it: &&Source| belongs_to(it) == Some(name);
        let files: Vec<&Source> = set.sources.iter().filter(of_it).collect();
        let defines = |it: &&&Source| role(&it.path) == Role::Service(name);
        let before = files
            .iter()
            .filter(|it| it.layer == 0)
            .find(defines)
            .copied();
        let (old, new) = (image.definition(name, &[]), set.definition(name, &[]));
        let keys = match (&old, &new) {
            (Some(old), Some(new)) if new.masked.is_none() => {
                let keys = differing_keys(old, new).into_iter();
                // Where it is defined is told by the files.
                keys.filter(|key| key != "source").collect()
            }
            (_, _) => Vec::new(),
        };
        Self {
            name,
            before,
            files: files.into_iter().filter(|it| it.layer > 0).collect(),
            masked: new.and_then(|it| it.masked),
            keys,
        }
    }

    fn words(&self) -> String {
        match (&self.masked, self.before) {
            (Some(by), _) => format!("masked by {by}"),
            (None, None) => "added".to_owned(),
            (None, Some(_)) if self.name.ends_with('@') => "template, changed".to_owned(),
            (None, Some(_)) if self.keys.is_empty() => "no key has another value".to_owned(),
            (None, Some(_)) => format!("changed: {}", self.keys.join(", ")),
        }
    }

    fn lines(&self) -> String {
        let mut text = String::new();
        for file in &self.files {
            let replaced = self
                .before
                .filter(|_| matches!(role(&file.path), Role::Service(_)));
            if file.text == MASK && replaced.is_some() {
                text.push_str(&format!("+++ {} -> /dev/null\n", file.path));
                continue;
            }
            if let Some(before) = replaced {
                text.push_str(&format!("--- {}\n", before.path));
            }
            text.push_str(&format!("+++ {}\n", file.path));
            let difference = unified(replaced.map_or("", |it| &it.text), &file.text);
            for line in difference.lines() {
                text.push_str(&printable(line));
                text.push('\n');
            }
        }
        text
    }

    fn for_programs(&self) -> Value {
        let files: Vec<&str> = self.files.iter().map(|it| it.path.as_str()).collect();
        json!({
            "service": self.name,
            "image": self.before.map(|it| &it.path),
            "files": files,
            "masked": self.masked,
            "keys": self.keys,
            "difference": self.lines(),
        })
    }
}
