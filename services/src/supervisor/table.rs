//! The table of services: places, generations, names. Not here: what services do.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{RunId, ServiceId};

use super::mutation::{Mutation, mutated};
use super::service::Service;

/// A place: who is in it, and how many have been.
#[derive(Debug)]
struct Place {
    generation: u32,
    service: Option<Box<Service>>,
    /// It is in the list of places that have changed.
    touched: bool,
}

/// All places. Index and generation together name a service for good.
#[derive(Debug, Default)]
pub(super) struct Table {
    places: Vec<Place>,
    free: Vec<u32>,
    /// Places to be freed at the next event: the shell still asks for their names until then.
    dying: Vec<u32>,
    /// Indices by name; those that a reload removed and that still run included.
    names: Vec<u32>,
    /// How many are removed and still run.
    removed: usize,
    changes: Changes,
}

/// What has changed since that was last asked; bounded by the number of places.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Places, each once.
    pub(super) touched: Vec<u32>,
    /// Places whose definition is another one.
    pub(super) redefined: BTreeSet<u32>,
    /// The relations between places.
    pub(super) related: bool,
    /// Everything, relations included.
    pub(super) all: bool,
}

impl Table {
    pub(super) fn get(&self, index: u32) -> Option<&Service> {
        self.places.get(index as usize)?.service.as_deref()
    }

    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut Service> {
        let place = self.places.get_mut(index as usize)?;
        if !place.touched {
            place.touched = true;
            self.changes.touched.push(index);
        }
        place.service.as_deref_mut()
    }

    /// The same for what is not written down: whether it is in the queue.
    pub(super) fn queued_mut(&mut self, index: u32) -> Option<&mut bool> {
        let place = self.places.get_mut(index as usize)?;
        place.service.as_deref_mut().map(|it| &mut it.queued)
    }

    /// The definition of a service is another one now.
    pub(super) fn redefined(&mut self, index: u32) {
        self.changes.redefined.insert(index);
    }

    /// The relations between places are others now.
    pub(super) fn related(&mut self) {
        self.changes.related = true;
    }

    /// Somebody else is in the place, or nobody: which places are free changes with it.
    fn place_changed(&mut self, index: u32) {
        let _noted = self.get_mut(index);
        self.redefined(index);
        self.related();
    }

    /// Everything has changed.
    fn all_touched(&mut self) {
        self.changes.all = true;
    }

    /// Whether anything has changed since [`Self::take_changes`].
    pub(super) fn is_changed(&self) -> bool {
        let Changes {
            touched,
            redefined,
            related,
            all,
        } = &self.changes;
        *all || *related || !touched.is_empty() || !redefined.is_empty()
    }

    /// What has changed since this was last called.
    pub(super) fn take_changes(&mut self) -> Changes {
        let changes = core::mem::take(&mut self.changes);
        for index in &changes.touched {
            if let Some(place) = self.places.get_mut(*index as usize) {
                place.touched = false;
            }
        }
        changes
    }

    /// A place as it is frozen: its generation, and who is in it.
    pub(super) fn occupant(&self, index: u32) -> Option<(u32, Option<&Service>)> {
        let place = self.places.get(index as usize)?;
        Some((place.generation, place.service.as_deref()))
    }

    /// The places to be freed at the next event.
    pub(super) const fn dying(&self) -> &Vec<u32> {
        &self.dying
    }

    /// The places that are free; they are written with the relations.
    pub(super) const fn free(&self) -> &Vec<u32> {
        &self.free
    }

    /// The table of these places, as [`Self::occupant`] told of them.
    pub(super) fn thaw(
        occupants: Vec<(u32, Option<Service>)>,
        free: Vec<u32>,
        dying: Vec<u32>,
    ) -> Self {
        let mut table = Self {
            free,
            dying,
            ..Self::default()
        };
        for (generation, service) in occupants {
            if service.as_ref().is_some_and(|service| service.removed) {
                table.removed += 1;
            }
            table.places.push(Place {
                generation,
                service: service.map(Box::new),
                touched: false,
            });
        }
        table.sort();
        table.all_touched();
        table
    }

    /// The service `id` names, unless its place has been given to another.
    pub(super) fn by_id(&self, id: ServiceId) -> Option<(u32, &Service)> {
        let place = self.places.get(id.index as usize)?;
        let service = place.service.as_deref()?;
        (place.generation == id.generation).then_some((id.index, service))
    }

    /// The place of `run`, if it is the service's present run. Whatever else speaks is late.
    pub(super) fn by_run(&self, run: RunId) -> Option<u32> {
        let (index, service) = self.by_id(run.service)?;
        let present = service.runs == run.run || mutated(Mutation::LateExitBelieved);
        (present && service.state.occupied()).then_some(index)
    }

    pub(super) fn id(&self, index: u32) -> Option<ServiceId> {
        let place = self.places.get(index as usize)?;
        place.service.as_ref()?;
        Some(ServiceId {
            index,
            generation: place.generation,
        })
    }

    pub(super) fn run_id(&self, index: u32) -> Option<RunId> {
        Some(RunId {
            service: self.id(index)?,
            run: self.get(index)?.runs,
        })
    }

    /// All places in use.
    pub(super) fn indices(&self) -> core::ops::Range<u32> {
        0..u32::try_from(self.places.len()).unwrap_or(u32::MAX)
    }

    /// Services of the newest graph, by name.
    pub(super) fn sorted(&self) -> impl Iterator<Item = ServiceId> + '_ {
        self.sorted_from("")
    }

    /// The same, from a name on.
    pub(super) fn sorted_from(&self, name: &str) -> impl Iterator<Item = ServiceId> + '_ {
        let before = |index: &u32| self.get(*index).is_some_and(|it| it.name.as_str() < name);
        let first = self.names.partition_point(before);
        let rest = self.names.get(first..).unwrap_or_default();
        rest.iter()
            .filter(|index| self.get(**index).is_some_and(|service| !service.removed))
            .filter_map(|index| self.id(*index))
    }

    /// All services and their names, by name; those that a reload removed and that still run included.
    pub(super) fn by_name(&self) -> impl Iterator<Item = (&str, u32)> {
        self.names
            .iter()
            .filter_map(|index| Some((self.get(*index)?.name.as_str(), *index)))
    }

    /// The service of that name in the newest graph.
    pub(super) fn lookup(&self, name: &str) -> Option<u32> {
        let index = self.lookup_any(name)?;
        (!self.get(index)?.removed).then_some(index)
    }

    /// The service of that name, even if it has been removed and still runs.
    pub(super) fn lookup_any(&self, name: &str) -> Option<u32> {
        let name_of = |index: &u32| self.get(*index).map_or("", |service| service.name.as_str());
        let found = self
            .names
            .binary_search_by(|index| name_of(index).cmp(name));
        found.ok().and_then(|at| self.names.get(at).copied())
    }

    /// Puts a service into a free place. Its name is found after [`Self::sort`] only.
    pub(super) fn insert(&mut self, service: Box<Service>) -> u32 {
        if let Some(index) = self.free.pop()
            && let Some(place) = self.places.get_mut(index as usize)
        {
            place.service = Some(service);
            self.place_changed(index);
            return index;
        }
        let index = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
        self.places.push(Place {
            generation: 1,
            service: Some(service),
            touched: false,
        });
        self.place_changed(index);
        index
    }

    /// Orders the names anew, after services came or went.
    pub(super) fn sort(&mut self) {
        let by_name: BTreeMap<&str, u32> = self
            .indices()
            .filter_map(|index| Some((self.get(index)?.name.as_str(), index)))
            .collect();
        self.names = by_name.into_values().collect();
    }

    /// Marks a service as gone from the newest graph, or as back in it.
    pub(super) fn set_removed(&mut self, index: u32, removed: bool) {
        let Some(service) = self.get_mut(index) else {
            return;
        };
        if service.removed != removed {
            service.removed = removed;
            if removed {
                self.removed += 1;
            } else {
                self.removed = self.removed.saturating_sub(1);
            }
        }
    }

    /// How many services are removed and still run.
    pub(super) const fn removed(&self) -> usize {
        self.removed
    }

    /// A removed service is down: its place is freed at the next event.
    pub(super) fn condemn(&mut self, index: u32) {
        self.dying.push(index);
    }

    /// Frees the places of those that were condemned and have not come back.
    pub(super) fn bury(&mut self) {
        let mut freed = false;
        while let Some(index) = self.dying.pop() {
            let gone = self
                .get(index)
                .is_some_and(|service| service.removed && !service.state.active());
            if let Some(place) = self.places.get_mut(index as usize)
                && gone
            {
                place.service = None;
                // A place whose generations are used up is never used again.
                if let Some(generation) = place.generation.checked_add(1) {
                    place.generation = generation;
                    self.free.push(index);
                }
                self.removed = self.removed.saturating_sub(1);
                self.place_changed(index);
                freed = true;
            }
        }
        if freed {
            let names = core::mem::take(&mut self.names);
            self.names = names
                .into_iter()
                .filter(|index| self.get(*index).is_some())
                .collect();
        }
    }
}
