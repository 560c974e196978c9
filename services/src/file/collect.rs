//! Which files make which service: layers, drop-ins, templates and their instances. Not here: what is
//! in the files, except that the services they name bring instances of templates into being.

use std::collections::{BTreeMap, BTreeSet};

use super::{MASK, Role, Source, role, template};
use crate::diagnostic::{Diagnostic, Place, nearest};
use crate::graph::{MAX_SERVICES, Placed, Relation};
use crate::id::ServiceName;

/// The instance that stands for all where a template has none, so that it is checked all the same.
const MADE_UP: &str = "example";

/// Files of one service.
pub(super) struct Files<'s> {
    /// The one that defines it.
    pub(super) service: &'s Source,
    /// The one that it would be, were it not masked.
    pub(super) beneath: Option<&'s Source>,
    /// Those that are read after it, in this order.
    pub(super) later: Vec<&'s Source>,
    /// Whether it is an instance of a template, so that `%` has a meaning in them.
    pub(super) is_instance: bool,
}

/// All files, by what they belong to.
pub(super) struct Collection<'s> {
    /// `NAME.toml`, of the highest layer; a template's name ends in `@`.
    defined: BTreeMap<&'s str, &'s Source>,
    /// The same of those that are no masks.
    unmasked: BTreeMap<&'s str, &'s Source>,
    /// `NAME.toml.d/*.toml`, in their order.
    drop_ins: BTreeMap<&'s str, Vec<&'s Source>>,
}

impl<'s> Collection<'s> {
    pub(super) fn new(sources: &'s [Source], diagnostics: &mut Vec<Diagnostic>) -> Self {
        let mut collection = Self {
            defined: BTreeMap::new(),
            unmasked: BTreeMap::new(),
            drop_ins: BTreeMap::new(),
        };
        for source in sources {
            match role(&source.path) {
                Role::Other => {}
                Role::DropIn(name) => collection.drop_ins.entry(name).or_default().push(source),
                Role::Service(name) => match ServiceName::new(name) {
                    Err(error) => {
                        let place = Place::start(&source.path);
                        diagnostics.push(Diagnostic::new(&place, error.to_string()));
                    }
                    Ok(_) => {
                        keep_highest(&mut collection.defined, name, source);
                        if source.text != MASK {
                            keep_highest(&mut collection.unmasked, name, source);
                        }
                    }
                },
            }
        }
        for drop_ins in collection.drop_ins.values_mut() {
            drop_ins.sort_by_key(|source| (source.layer, file_name(&source.path)));
        }
        collection.check_drop_ins(diagnostics);
        collection
    }

    /// A drop-in adds to something, and that must be there, or be able to be.
    fn check_drop_ins(&self, diagnostics: &mut Vec<Diagnostic>) {
        for (name, drop_ins) in &self.drop_ins {
            if self.defined.contains_key(name) || self.template_of(name).is_some() {
                continue;
            }
            let what = match name.ends_with('@') {
                true => "template",
                false => "service",
            };
            for source in drop_ins {
                let near = nearest(name, self.defined.keys().copied());
                let message = format!("this adds to a {what} `{name}` that does not exist");
                let told = Diagnostic::new(&Place::start(&source.path), message);
                diagnostics.push(told.did_you_mean(near));
            }
        }
    }

    /// The template that `name` is an instance of, if there is one.
    fn template_of(&self, name: &str) -> Option<&'s Source> {
        let (prefix, _) = template::split(name)?;
        self.defined.get(format!("{prefix}@").as_str()).copied()
    }

    /// The files of the service `name`.
    fn files(&self, name: &str) -> Option<Files<'s>> {
        let own = self.drop_ins.get(name).into_iter().flatten().copied();
        let defined = self.defined.get(name).copied();
        let Some(template) = self.template_of(name) else {
            return defined.map(|service| Files {
                service,
                beneath: self.beneath(name, service),
                later: own.collect(),
                is_instance: false,
            });
        };
        let (prefix, _) = template::split(name)?;
        let of_all = self.drop_ins.get(format!("{prefix}@").as_str());
        let of_all = of_all.into_iter().flatten().copied();
        Some(Files {
            service: template,
            beneath: self.beneath(&format!("{prefix}@"), template),
            later: of_all.chain(defined).chain(own).collect(),
            is_instance: true,
        })
    }

    /// What the mask `service` hides; nothing, if it is none.
    fn beneath(&self, name: &str, service: &Source) -> Option<&'s Source> {
        let beneath = self.unmasked.get(name).copied();
        beneath.filter(|_| service.text == MASK)
    }

    /// Services that have a file of their own.
    fn with_file(&self) -> impl Iterator<Item = &'s str> {
        let names = self.defined.keys().copied();
        names.filter(|name| !name.ends_with('@'))
    }

    /// One instance for each template of which `known` has none, and those that have drop-ins only:
    /// not of the set, but to be checked with it.
    fn made_up(&self, known: &BTreeSet<ServiceName>) -> Vec<(ServiceName, &'s Source)> {
        let mut made_up = Vec::new();
        for (name, source) in &self.defined {
            let Some(prefix) = name.strip_suffix('@') else {
                continue;
            };
            let is_of_it = |other: &ServiceName| {
                template::split(other.as_str()).is_some_and(|(of, _)| of == prefix)
            };
            if !known.iter().any(is_of_it) {
                made_up.push((format!("{prefix}@{MADE_UP}"), *source));
            }
        }
        for (name, drop_ins) in &self.drop_ins {
            if self.template_of(name).is_some() && !known.contains(*name) {
                made_up.extend(drop_ins.first().map(|source| ((*name).to_owned(), *source)));
            }
        }
        let names = made_up.into_iter();
        names
            .filter_map(|(name, source)| Some((ServiceName::new(&name).ok()?, source)))
            .collect()
    }
}

/// Whether `name` can be an instance of a template that is among `sources`.
#[must_use]
pub fn has_template(sources: &[Source], name: &str) -> bool {
    Collection::new(sources, &mut Vec::new())
        .template_of(name)
        .is_some()
}

/// All files that define or add to the service `name`, in the order in which they are read.
#[must_use]
pub fn files_of<'s>(sources: &'s [Source], name: &str) -> Vec<&'s Source> {
    match Collection::new(sources, &mut Vec::new()).files(name) {
        Some(files) => std::iter::once(files.service).chain(files.later).collect(),
        None => Vec::new(),
    }
}

/// The services of the set, and those that are only checked with it.
pub(super) struct Read {
    pub(super) services: Vec<Placed>,
    pub(super) made_up: Vec<Placed>,
}

/// Reads every service that has a file, and every instance that one of them names, and so on.
pub(super) fn read_all(
    collection: &Collection<'_>,
    read: &mut dyn FnMut(ServiceName, &Files<'_>) -> Placed,
) -> Read {
    let mut known = BTreeSet::new();
    let names = collection.with_file();
    let first: Vec<ServiceName> = names.filter_map(|it| ServiceName::new(it).ok()).collect();
    let services = read_from(first, collection, &mut known, read);
    let made_up = collection.made_up(&known).into_iter();
    let made_up = made_up.map(|(name, _)| name).collect();
    let made_up = read_from(made_up, collection, &mut known, read);
    Read { services, made_up }
}

fn read_from(
    mut open: Vec<ServiceName>,
    collection: &Collection<'_>,
    known: &mut BTreeSet<ServiceName>,
    read: &mut dyn FnMut(ServiceName, &Files<'_>) -> Placed,
) -> Vec<Placed> {
    let mut services = Vec::new();
    known.extend(open.iter().cloned());
    while let Some(name) = open.pop() {
        let Some(files) = collection.files(name.as_str()) else {
            continue;
        };
        let placed = read(name, &files);
        let relations = Relation::ALL.into_iter();
        let named = relations.flat_map(|it| it.names(&placed.definition.relations));
        for other in named {
            // A template whose instances name further ones without end is cut where the graph's
            // check finds too many.
            let fits = known.len() <= MAX_SERVICES;
            let is_new = fits && !known.contains(other);
            if is_new && collection.template_of(other.as_str()).is_some() {
                known.insert(other.clone());
                open.push(other.clone());
            }
        }
        services.push(placed);
    }
    services
}

/// Of several files of a name, that of the highest layer counts.
fn keep_highest<'s>(files: &mut BTreeMap<&'s str, &'s Source>, name: &'s str, source: &'s Source) {
    let kept = files.entry(name).or_insert(source);
    if source.layer >= kept.layer {
        *kept = source;
    }
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
