//! All that init tells of services and their relations, taken together. Not here: what is made of it.

use std::collections::{BTreeMap, VecDeque};

use services::control::{BootInfo, Reply, Request, ServiceRelations};
use services::status::{ServiceStatus, StateName};

use crate::Context;
use crate::boot::ask_boot;
use crate::client::unexpected_reply;
use crate::failure::Failure;
use crate::screen::Screen;
use crate::show::all_services;
use crate::waiting::ask;

/// What one service is to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    BindsTo,
    Requires,
    Wants,
    After,
}

impl Kind {
    /// Without which it is not up.
    pub(crate) const STRONG: [Self; 2] = [Self::BindsTo, Self::Requires];
    /// Those by which one service brings up another.
    pub(crate) const NEEDS: [Self; 3] = [Self::BindsTo, Self::Requires, Self::Wants];
    /// All that have an order.
    pub(crate) const ORDER: [Self; 4] = [Self::BindsTo, Self::Requires, Self::Wants, Self::After];

    /// As a verb between two names.
    pub(crate) const fn verb(self) -> &'static str {
        match self {
            Self::BindsTo => "is bound to",
            Self::Requires => "requires",
            Self::Wants => "wants",
            Self::After => "comes after",
        }
    }

    /// As the key of a service file.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::BindsTo => "binds-to",
            Self::Requires => "requires",
            Self::Wants => "wants",
            Self::After => "after",
        }
    }

    /// The others that `relations` tells for it.
    pub(crate) fn of(self, relations: &ServiceRelations) -> &[String] {
        match self {
            Self::BindsTo => &relations.binds_to,
            Self::Requires => &relations.requires,
            Self::Wants => &relations.wants,
            Self::After => &relations.after,
        }
    }
}

/// One service.
#[derive(Clone, Debug)]
pub(crate) struct One {
    pub(crate) status: ServiceStatus,
    pub(crate) relations: ServiceRelations,
}

impl One {
    /// Its neighbours of these kinds.
    pub(crate) fn others<'a>(
        &'a self,
        kinds: &'static [Kind],
    ) -> impl Iterator<Item = (Kind, &'a str)> {
        let all = kinds.iter().map(|kind| (*kind, kind.of(&self.relations)));
        all.flat_map(|(kind, names)| names.iter().map(move |name| (kind, name.as_str())))
    }
}

/// All services, and the boot.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) services: BTreeMap<String, One>,
    pub(crate) boot: BootInfo,
}

impl Known {
    /// Asks init: one question for the boot, one for all services, one for each page of relations.
    pub(crate) fn ask(context: &Context, screen: &mut Screen<'_>) -> Result<Self, Failure> {
        let boot = ask_boot(context, screen)?;
        let mut relations = BTreeMap::new();
        let mut from = None;
        loop {
            let request = Request::Relations { from: from.clone() };
            let Reply::Relations(page) = ask(context.patience(), screen, request)? else {
                return Err(unexpected_reply());
            };
            for one in page.relations {
                relations.insert(one.name.clone(), one);
            }
            match page.next {
                // Names rise, or it would never end.
                Some(next) if from.as_ref().is_none_or(|from| next > *from) => from = Some(next),
                Some(_) | None => break,
            }
        }
        let services = all_services(context, screen)?.into_iter();
        let services = services.map(|status| {
            // One that came in between has none for now.
            let relations = relations.remove(&status.name).unwrap_or_default();
            (status.name.clone(), One { status, relations })
        });
        Ok(Self {
            services: services.collect(),
            boot,
        })
    }

    pub(crate) fn get(&self, name: &str) -> Option<&One> {
        self.services.get(name)
    }

    /// The service of that name, or the boot target where none is named.
    pub(crate) fn find<'a>(&'a self, name: Option<&'a str>) -> Result<&'a One, Failure> {
        let name = name.unwrap_or(&self.boot.target);
        let found = self.get(name);
        found.ok_or_else(|| Failure::NoSuchService(name.to_owned()))
    }

    /// `None`: it is in no graph any more, and has not ended yet.
    pub(crate) fn state(&self, name: &str) -> Option<StateName> {
        self.get(name).map(|one| one.status.state)
    }

    /// Whether the two cannot run at the same time.
    pub(crate) fn are_rivals(&self, one: &str, other: &str) -> bool {
        let names = |a: &str, b: &str| {
            let one = self.get(a);
            one.is_some_and(|it| it.relations.conflicts.iter().any(|rival| rival == b))
        };
        names(one, other) || names(other, one)
    }

    /// Who needs whom: by name, those that need it.
    pub(crate) fn needed_by(&self) -> BTreeMap<&str, Vec<(Kind, &str)>> {
        let mut reversed: BTreeMap<&str, Vec<(Kind, &str)>> = BTreeMap::new();
        for (name, one) in &self.services {
            for (kind, other) in one.others(&Kind::NEEDS) {
                reversed.entry(other).or_default().push((kind, name));
            }
        }
        reversed
    }

    /// The shortest way from one service to another along these kinds: each step, and where it leads.
    pub(crate) fn way<'a>(
        &'a self,
        from: &'a str,
        to: &str,
        kinds: &'static [Kind],
    ) -> Option<Vec<(Kind, &'a str)>> {
        let mut reached: BTreeMap<&str, Option<(Kind, &str)>> = BTreeMap::from([(from, None)]);
        let mut work = VecDeque::from([from]);
        while let Some(name) = work.pop_front() {
            if name == to {
                return Some(walk_back(&reached, name));
            }
            for (kind, other) in self.get(name).into_iter().flat_map(|one| one.others(kinds)) {
                reached.entry(other).or_insert_with(|| {
                    work.push_back(other);
                    Some((kind, name))
                });
            }
        }
        None
    }
}

fn walk_back<'a>(
    reached: &BTreeMap<&'a str, Option<(Kind, &'a str)>>,
    to: &'a str,
) -> Vec<(Kind, &'a str)> {
    let mut steps = Vec::new();
    let mut name = to;
    while let Some(Some((kind, before))) = reached.get(name) {
        steps.push((*kind, name));
        name = before;
    }
    steps.reverse();
    steps
}
