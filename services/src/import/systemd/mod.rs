//! Units of systemd into service files: services with the sockets and timers that start them, and
//! targets. Not here: finding units and their drop-ins on a disk (`sharkctl import`).
//!
//! A service, its sockets and its timer become one service, which has the name of the first; a target
//! keeps its name with the suffix. Names of other units mean what is imported with them, what is there
//! already, and what they are mapped to; any other is lost, since a service cannot name what does not
//! exist. What is said by no line, and is so in systemd, is said in the service file.

mod command;
mod conditions;
mod exec;
mod group;
mod programs;
mod reasons;
mod relations;
mod service;
mod set;
mod socket;
mod syntax;
#[cfg(test)]
mod tests;
mod timer;
mod values;
mod words;

use std::collections::BTreeMap;

use serde::Serialize;

use super::report::{Entry, Import, Made, Outcome, Refused};
use super::{Options, problems};
use crate::id::ServiceName;
use group::{Blocker, Group};
use set::{Names, Parsed, Suffix};
use words::Specifiers;

/// A file of a unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnitFile {
    /// As it is named to people.
    pub path: String,
    /// Its content.
    pub text: String,
}

/// A unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unit {
    /// Its name with its suffix: `web.service`.
    pub name: String,
    /// Other names that it is known by.
    pub aliases: Vec<String>,
    /// Its file, then its drop-ins in the order in which systemd reads them.
    pub files: Vec<UnitFile>,
    /// Of a template: instances that are wanted of it.
    pub instances: Vec<String>,
}

/// Makes service files of `units`.
#[must_use]
pub fn convert(units: &[Unit], options: &Options) -> Import {
    let mut import = Import::default();
    let mut names = Names::new(options);
    let mut groups = grouped(units, &mut names, &mut import);
    for group in &mut groups {
        group.check_instance(&options.known);
        group.read();
    }
    let blocked = |group: &Group<'_>| {
        let hard = |blocker: &Blocker| !(options.force && blocker.forceable);
        group.blockers.iter().any(hard)
    };
    for group in groups.iter().filter(|group| blocked(group)) {
        names.remove(&group.name);
    }
    for group in &groups {
        for unit in &group.units {
            names.note_order(unit, &group.name);
        }
    }
    for group in groups.iter_mut().filter(|group| !blocked(group)) {
        group.read_relations(&names);
    }
    block_instances(&mut groups);
    for group in groups {
        match blocked(&group) {
            true => refuse(&group, &mut import),
            false => make(&group, &mut import),
        }
        account(group, &mut import);
    }
    import
        .entries
        .sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
    import.problems = problems(&import.made, options);
    import
}

/// The file of an instance is read after that of its template: it has to say all that the template
/// says.
fn block_instances(groups: &mut [Group<'_>]) {
    let mut left = Vec::new();
    for (at, group) in groups.iter().enumerate() {
        let Some((template, instance)) = group.instance_of() else {
            continue;
        };
        let template = groups.iter().find(|it| it.name == template);
        let key = template.and_then(|it| group.draft.left_of(&it.draft, instance));
        left.extend(key.map(|key| (at, key.to_owned())));
    }
    for (at, key) in left {
        if let Some(group) = groups.get_mut(at) {
            group.block(
                false,
                format!(
                    "it is read after its template here, which says `{key}`: import it without the \
                     template, or write what is different by hand"
                ),
            );
        }
    }
}

/// Puts units into groups; what can be in none is refused.
fn grouped<'u>(units: &'u [Unit], names: &mut Names, import: &mut Import) -> Vec<Group<'u>> {
    let mut of: BTreeMap<String, Vec<Parsed<'u>>> = BTreeMap::new();
    let services: BTreeMap<&str, &str> = units
        .iter()
        .flat_map(|unit| {
            std::iter::once(&unit.name)
                .chain(&unit.aliases)
                .map(|name| (name.as_str(), unit.name.as_str()))
        })
        .collect();
    for unit in units {
        let (stem, suffix) = set::split(&unit.name);
        let lines = unit
            .files
            .iter()
            .flat_map(|file| syntax::lines(&file.path, &file.text));
        let parsed = Parsed {
            unit,
            stem,
            suffix,
            specifiers: Specifiers::of(&unit.name),
            lines: lines.collect(),
        };
        let name = match suffix {
            _ if parsed.lines.is_empty() => Err("it is empty, or masked".to_owned()),
            Suffix::Service => Ok(stem.to_owned()),
            Suffix::Target if is_everything(&unit.name) => {
                Err("`default` is what a boot brings up here, and exists".to_owned())
            }
            Suffix::Target => Ok(unit.name.clone()),
            Suffix::Socket | Suffix::Timer => {
                let started = parsed.started();
                match services.get(started.as_str()) {
                    Some(service) => Ok(set::split(service).0.to_owned()),
                    None => Err(format!(
                        "`{started}`, which it starts, is not imported with it"
                    )),
                }
            }
            Suffix::Other => Err("there is nothing like this kind of unit here".to_owned()),
        };
        let name = name.and_then(|name| match ServiceName::new(&name) {
            Ok(_) => Ok(name),
            Err(why) => Err(why.to_string()),
        });
        match name {
            Ok(name) => of.entry(name).or_default().push(parsed),
            Err(why) => refuse_unit(&parsed, &why, import),
        }
    }
    let mut groups = Vec::new();
    for (name, mut units) in of {
        // The service first, and sockets by name: they come in that order.
        units.sort_by_key(|unit| (unit.suffix as u8, unit.unit.name.clone()));
        for unit in &units {
            names.add(unit.unit, &name);
            names.add_aliases(unit, &name);
        }
        groups.push(Group::new(name, units));
    }
    groups
}

/// Whether a target is what `default` is here.
fn is_everything(unit: &str) -> bool {
    matches!(
        unit,
        "default.target" | "multi-user.target" | "graphical.target"
    )
}

/// A unit that is a part of no service.
fn refuse_unit(parsed: &Parsed<'_>, why: &str, import: &mut Import) {
    import.refused.push(Refused {
        unit: parsed.unit.name.clone(),
        why: vec![why.to_owned()],
        forceable: false,
    });
    for line in &parsed.lines {
        let outcome = match line.form {
            syntax::Form::Heading => Outcome::irrelevant("a heading"),
            syntax::Form::Assignment(_) | syntax::Form::Wrong(_) => Outcome::lost(NO_FILE),
        };
        import.entries.push(entry(parsed, line, outcome));
    }
}

/// Why lines are lost whatever they say.
const NO_FILE: &str = "no service file is made of its unit";

fn refuse(group: &Group<'_>, import: &mut Import) {
    for unit in &group.units {
        import.refused.push(Refused {
            unit: unit.unit.name.clone(),
            why: group.blockers.iter().map(|it| it.why.clone()).collect(),
            forceable: group.blockers.iter().all(|it| it.forceable),
        });
    }
}

fn make(group: &Group<'_>, import: &mut Import) {
    let mut head: Vec<String> = Vec::new();
    for unit in &group.units {
        for file in &unit.unit.files {
            head.push(format!("Imported from {}", file.path));
        }
    }
    import.made.push(Made {
        service: group.name.clone(),
        text: group.draft.text(&head),
    });
    let first = group.units.first();
    for instance in first.iter().flat_map(|unit| &unit.unit.instances) {
        import.made.push(Made {
            service: format!("{}{instance}", group.name),
            text: format!("# An instance of {}.toml, without changes\n", group.name),
        });
    }
    import.implied.extend(group.implied.iter().cloned());
}

/// What became of each line of a group.
fn account(group: Group<'_>, import: &mut Import) {
    let made = import.made.iter().any(|made| made.service == group.name);
    for (unit, outcomes) in group.units.iter().zip(group.outcomes) {
        for (line, outcome) in unit.lines.iter().zip(outcomes) {
            let outcome = match outcome {
                Some(outcome) if made || outcome.into.is_empty() => outcome,
                Some(_) | None if !made => Outcome::lost(NO_FILE),
                Some(outcome) => outcome,
                None => Outcome::lost("is not known to this converter"),
            };
            let doubt = unit.specifiers.doubt(&line.text);
            let outcome = match doubt.filter(|_| !outcome.into.is_empty()) {
                Some(doubt) => outcome.look(doubt),
                None => outcome,
            };
            import.entries.push(entry(unit, line, outcome));
        }
    }
}

fn entry(unit: &Parsed<'_>, line: &syntax::Line, outcome: Outcome) -> Entry {
    Entry {
        unit: unit.unit.name.clone(),
        file: line.file.clone(),
        line: line.line,
        last: line.last,
        text: line.text.clone(),
        outcome,
    }
}
