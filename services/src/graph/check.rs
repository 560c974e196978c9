//! Checking all services as one set. Not here: what the result is good for (`Graph`), and the
//! search for circles (`circle`).

use std::collections::{BTreeMap, BTreeSet};

use super::circle::{MAX_CIRCLES, circles};
use super::edges::Edges;
use super::{DEFAULT_TARGET, Graph, MAX_SERVICES, Order, Placed, Relation, default_target};
use crate::definition::{BootRole, Kind};
use crate::diagnostic::{Diagnostic, Place, nearest};
use crate::id::ServiceName;

/// Most missing names for which the nearest one is searched: the search looks at every name.
const MAX_HINTS: usize = 64;
/// Most steps of a circle that are told one by one.
const MAX_STEPS: usize = 64;

/// Checks and resolves.
pub(super) fn check(mut placed: Vec<Placed>) -> Result<Graph, Vec<Diagnostic>> {
    if let Ok(name) = ServiceName::new(DEFAULT_TARGET)
        && placed.iter().all(|one| one.definition.name != name)
    {
        placed.push(Placed::from(default_target(name)));
    }
    placed.sort_by(|a, b| a.definition.name.cmp(&b.definition.name));
    let mut set = Set {
        placed: &placed,
        diagnostics: Vec::new(),
    };
    if !set.check_size() || !set.check_doubles() {
        return Err(set.diagnostics);
    }
    let pairs = set.resolve();
    let count = placed.len();
    let predecessors = Edges::reversed(count, &pairs.order);
    let successors = Edges::new(count, pairs.order);
    let order = Order::new(count, &predecessors, &successors);
    if order.services.len() < count {
        set.tell_circles(&successors);
    }
    let required_by = Edges::reversed(count, &pairs.requires);
    let wanted_by = Edges::reversed(count, &pairs.wants);
    let conflicts = Edges::new(count, pairs.conflicts);
    set.check_conflicts(&conflicts, &required_by, &wanted_by);
    set.check_roles(&required_by, &wanted_by);
    set.check_versioned();
    if !set.diagnostics.is_empty() {
        return Err(set.diagnostics);
    }
    Ok(Graph {
        requires: Edges::new(count, pairs.requires),
        required_by,
        wants: Edges::new(count, pairs.wants),
        wanted_by,
        predecessors,
        successors,
        conflicts,
        binds: Edges::new(count, pairs.binds),
        parts: Edges::reversed(count, &pairs.part_of),
        rescuers: Edges::new(count, pairs.on_failure),
        order,
        services: placed.into_iter().map(|one| one.definition).collect(),
    })
}

/// Relations as pairs of indices.
#[derive(Default)]
struct Pairs {
    /// (who, what it requires)
    requires: Vec<(u32, u32)>,
    /// (who, what it wants)
    wants: Vec<(u32, u32)>,
    /// (earlier, later)
    order: Vec<(u32, u32)>,
    /// Both ways.
    conflicts: Vec<(u32, u32)>,
    /// (who, what it is bound to): all of them in `requires` too.
    binds: Vec<(u32, u32)>,
    /// (who, what it is part of)
    part_of: Vec<(u32, u32)>,
    /// (who, what is started when it fails)
    on_failure: Vec<(u32, u32)>,
}

impl Pairs {
    /// `owner` names `other` in `relation`.
    fn add(&mut self, relation: Relation, owner: u32, other: u32) {
        match relation {
            Relation::Requires => {
                self.requires.push((owner, other));
                self.order.push((other, owner));
            }
            Relation::Wants => {
                self.wants.push((owner, other));
                self.order.push((other, owner));
            }
            Relation::WantedBy => {
                self.wants.push((other, owner));
                self.order.push((owner, other));
            }
            Relation::BindsTo => {
                self.binds.push((owner, other));
                self.requires.push((owner, other));
                self.order.push((other, owner));
            }
            Relation::PartOf => self.part_of.push((owner, other)),
            Relation::OnFailure => self.on_failure.push((owner, other)),
            Relation::After => self.order.push((other, owner)),
            Relation::Before => self.order.push((owner, other)),
            Relation::Conflicts => {
                self.conflicts.push((owner, other));
                self.conflicts.push((other, owner));
            }
        }
    }
}

/// The set under check, sorted by name.
struct Set<'a> {
    placed: &'a [Placed],
    diagnostics: Vec<Diagnostic>,
}

impl<'a> Set<'a> {
    fn check_size(&mut self) -> bool {
        let count = self.placed.len();
        if let Some(one) = self.placed.get(MAX_SERVICES) {
            let message = format!("there are {count} services");
            self.diagnostics.push(
                Diagnostic::new(&one.file, message)
                    .expected(format!("at most {MAX_SERVICES} of them")),
            );
        }
        count <= MAX_SERVICES
    }

    fn check_doubles(&mut self) -> bool {
        let mut alone = true;
        for (one, next) in self.placed.iter().zip(self.placed.iter().skip(1)) {
            let name = &one.definition.name;
            if *name == next.definition.name {
                let message = format!("service `{name}` is already defined in {}", one.file);
                self.diagnostics.push(Diagnostic::new(&next.file, message));
                alone = false;
            }
        }
        alone
    }

    fn index_of(&self, name: &ServiceName) -> Option<u32> {
        let found = self
            .placed
            .binary_search_by(|one| one.definition.name.cmp(name));
        found.ok().and_then(|index| u32::try_from(index).ok())
    }

    /// Every name becomes an index, or a diagnostic.
    fn resolve(&mut self) -> Pairs {
        let mut pairs = Pairs::default();
        let mut hints = MAX_HINTS;
        let placed = self.placed;
        for (owner, one) in (0u32..).zip(placed) {
            for relation in Relation::ALL {
                let names = relation.names(&one.definition.relations);
                for (item, name) in names.iter().enumerate() {
                    match self.index_of(name) {
                        Some(other) if other == owner => self.tell_self(one, relation, item),
                        Some(other) => pairs.add(relation, owner, other),
                        None => self.tell_missing(one, relation, item, name, &mut hints),
                    }
                }
            }
        }
        pairs
    }

    fn tell_self(&mut self, one: &Placed, relation: Relation, item: usize) {
        let place = one.place(relation, item).unwrap_or(&one.file);
        let message = format!("`{}` names itself", one.definition.name);
        self.diagnostics.push(
            Diagnostic::new(place, message)
                .key(relation.key())
                .expected("the name of another service"),
        );
    }

    fn tell_missing(
        &mut self,
        one: &Placed,
        relation: Relation,
        item: usize,
        name: &ServiceName,
        hints: &mut usize,
    ) {
        let place = one.place(relation, item).unwrap_or(&one.file);
        let mut near = None;
        if *hints > 0 {
            *hints -= 1;
            let names = self.placed.iter().map(|one| one.definition.name.as_str());
            near = nearest(name.as_str(), names);
        }
        self.diagnostics.push(
            Diagnostic::new(place, format!("there is no service `{name}`"))
                .key(relation.key())
                .did_you_mean(near),
        );
    }

    fn tell_circles(&mut self, successors: &Edges) {
        let found = circles(self.placed.len(), successors);
        let last = found.len();
        for (number, circle) in found.iter().enumerate() {
            let Some(mut told) = self.circle(circle) else {
                continue;
            };
            if number + 1 == last && last == MAX_CIRCLES {
                let more = "there may be more circles: only so many are told at once";
                told.hint = Some(
                    told.hint
                        .map_or_else(|| more.to_owned(), |hint| format!("{hint}; {more}")),
                );
            }
            self.diagnostics.push(told);
        }
    }

    /// One circle, told edge by edge from the side of the one who waits.
    fn circle(&self, circle: &[u32]) -> Option<Diagnostic> {
        let steps: Vec<Step<'a>> = circle
            .iter()
            .zip(circle.iter().cycle().skip(1))
            .filter_map(|(&earlier, &later)| self.step(earlier, later))
            .collect();
        let names: Vec<&str> = circle
            .iter()
            .chain(circle.first())
            .filter_map(|&index| self.name(index))
            .take(MAX_STEPS)
            .collect();
        let reasons: Vec<String> = steps.iter().take(MAX_STEPS).map(Step::to_string).collect();
        let mut message = format!(
            "the order of starting is a circle: {}: {}",
            names.join(" -> "),
            reasons.join(", ")
        );
        if let Some(more) = steps.len().checked_sub(MAX_STEPS + 1) {
            message.push_str(&format!(", and {} more steps", more + 1));
        }
        // A written name is the better place to point at than one that is only implied.
        let first = steps.iter().find(|step| step.place.is_some());
        let first = first.or_else(|| steps.first())?;
        let place = first.place.unwrap_or(&first.owner.file);
        let told = Diagnostic::new(place, message).key(first.relation.key());
        let implied = steps.iter().find(|step| step.is_implied());
        Some(match implied {
            Some(step) => told.hint(format!(
                "without `wanted-by`, `{}` is wanted by `{DEFAULT_TARGET}`: say otherwise with `wanted-by = []`",
                step.owner.definition.name
            )),
            None => told.hint("take one of these out: nothing is left out by itself"),
        })
    }

    fn name(&self, index: u32) -> Option<&'a str> {
        let one = self.placed.get(index as usize)?;
        Some(one.definition.name.as_str())
    }

    /// Why `earlier` comes before `later`. A written reason is preferred.
    fn step(&self, earlier: u32, later: u32) -> Option<Step<'a>> {
        use Relation::{After, Before, BindsTo, Requires, WantedBy, Wants};
        let before = self.placed.get(earlier as usize)?;
        let behind = self.placed.get(later as usize)?;
        let candidates = [
            (behind, Requires, before),
            (behind, BindsTo, before),
            (behind, Wants, before),
            (behind, After, before),
            (before, Before, behind),
            (before, WantedBy, behind),
        ];
        candidates
            .into_iter()
            .find_map(|(owner, relation, other)| Step::find(owner, relation, other))
    }

    /// Services that exclude each other must not be brought up by the same one.
    fn check_conflicts(&mut self, conflicts: &Edges, required_by: &Edges, wanted_by: &Edges) {
        let mut pullers = Pullers {
            required_by,
            wanted_by,
        };
        for one in (0u32..).take(self.placed.len()) {
            let others = conflicts.of(one);
            if others.is_empty() {
                continue;
            }
            let mine = pullers.of(one);
            for &other in others.iter().filter(|&&other| other > one) {
                let theirs = pullers.of(other);
                // The service nearest to the two tells most: one of them, if it needs the other.
                let common = [one, other]
                    .into_iter()
                    .find(|index| mine.contains(index) && theirs.contains(index))
                    .or_else(|| mine.intersection(&theirs).next().copied());
                if let Some(common) = common {
                    self.tell_conflict(one, other, common);
                }
            }
        }
    }

    /// Whoever has a role in the boot must be part of one.
    fn check_roles(&mut self, required_by: &Edges, wanted_by: &Edges) {
        let mut pullers = Pullers {
            required_by,
            wanted_by,
        };
        for (index, one) in (0u32..).zip(self.placed) {
            let (key, role) = match one.definition.boot {
                BootRole::None | BootRole::Masked => continue,
                BootRole::Wanted => ("boot.wanted", "wanted in"),
                BootRole::Essential => ("boot.essential", "essential for"),
            };
            let target = |index: &u32| {
                let puller = self.placed.get(*index as usize);
                puller.is_some_and(|it| it.definition.kind == Kind::Target)
            };
            if pullers.of(index).iter().any(target) {
                continue;
            }
            let name = &one.definition.name;
            let message = format!("`{name}` is {role} the boot, but no target brings it up");
            let place = one.role.as_ref().unwrap_or(&one.file);
            self.diagnostics.push(
                Diagnostic::new(place, message)
                    .key(key)
                    .expected("a target in `wanted-by`, such as `default`, or `false` here"),
            );
        }
    }

    /// A directory that follows the slot does so for all: without that, a service that starts earlier
    /// would have another of the same name.
    fn check_versioned(&mut self) {
        let programs = || {
            let placed = self.placed.iter();
            placed.filter_map(|one| Some((one, one.definition.kind.program()?)))
        };
        let mut versioned = BTreeMap::new();
        for (one, program) in programs() {
            let names = program.begin.versioned.iter();
            versioned.extend(names.map(|name| (name, &one.definition.name)));
        }
        if versioned.is_empty() {
            return;
        }
        for (one, program) in programs() {
            for name in &program.state_dirs {
                let Some(owner) = versioned.get(name) else {
                    continue;
                };
                let message = format!(
                    "`{}` has `{name}` in `state-dirs`, and `{owner}` has it in `state.versioned`",
                    one.definition.name
                );
                let told = Diagnostic::new(&one.file, message).key("state-dirs");
                self.diagnostics
                    .push(told.hint("name it in `state.versioned` of all services that use it"));
            }
        }
    }

    fn tell_conflict(&mut self, one: u32, other: u32, common: u32) {
        let (Some(first), Some(second), Some(puller)) = (
            self.placed.get(one as usize),
            self.placed.get(other as usize),
            self.name(common),
        ) else {
            return;
        };
        let step = Step::find(first, Relation::Conflicts, second)
            .or_else(|| Step::find(second, Relation::Conflicts, first));
        let Some(step) = step else { return };
        let (owner, excluded) = (&step.owner.definition.name, &step.other.definition.name);
        let message = if puller == owner.as_str() {
            format!("`{owner}` excludes `{excluded}`, but also needs it")
        } else if puller == excluded.as_str() {
            format!("`{owner}` excludes `{excluded}`, which needs it")
        } else {
            format!("`{owner}` excludes `{excluded}`, but `{puller}` brings up both")
        };
        let place = step.place.unwrap_or(&step.owner.file);
        let mut told = Diagnostic::new(place, message).key(Relation::Conflicts.key());
        if puller == DEFAULT_TARGET {
            told = told.hint("give one of them `wanted-by = []`");
        }
        self.diagnostics.push(told);
    }
}

/// Who brings a service up: itself, and all that require or want it, at any distance.
struct Pullers<'a> {
    required_by: &'a Edges,
    wanted_by: &'a Edges,
}

impl Pullers<'_> {
    fn of(&mut self, index: u32) -> BTreeSet<u32> {
        let mut found = BTreeSet::from([index]);
        let mut open = vec![index];
        while let Some(index) = open.pop() {
            let direct = [self.required_by, self.wanted_by].map(|edges| edges.of(index));
            for &puller in direct.into_iter().flatten() {
                if found.insert(puller) {
                    open.push(puller);
                }
            }
        }
        found
    }
}

/// One reason for an edge: a name in a relation of a service.
struct Step<'a> {
    owner: &'a Placed,
    relation: Relation,
    other: &'a Placed,
    /// Where the name is written, if it is.
    place: Option<&'a Place>,
}

impl<'a> Step<'a> {
    fn find(owner: &'a Placed, relation: Relation, other: &'a Placed) -> Option<Self> {
        let names = relation.names(&owner.definition.relations);
        let item = names
            .iter()
            .position(|name| *name == other.definition.name)?;
        Some(Self {
            owner,
            relation,
            other,
            place: owner.place(relation, item),
        })
    }

    /// Not written, in a file whose places are known.
    fn is_implied(&self) -> bool {
        self.relation == Relation::WantedBy
            && self.place.is_none()
            && self.owner.names.contains_key(&self.relation)
    }
}

/// `a: after b (FILE:LINE)`
impl std::fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let owner = &self.owner.definition.name;
        let other = &self.other.definition.name;
        write!(f, "`{owner}` {} `{other}` ", self.relation.key())?;
        match self.place {
            Some(place) => write!(f, "({place})"),
            None if self.is_implied() => write!(f, "({}, implied)", self.owner.file.file),
            None => write!(f, "({})", self.owner.file),
        }
    }
}
