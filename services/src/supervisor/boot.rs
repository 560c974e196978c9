//! The boot: bringing up one target, and telling when all of it has settled. Not here: what
//! settling is for one service (`machine`, `stop`).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::id::{ServiceId, ServiceName};
use crate::time::Time;

use super::Supervisor;
use super::event::{Action, Outcome};
use super::mutation::{Mutation, mutated};
use super::service::{BootMark, Service, State};
use super::table::Table;

/// How far the boot is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BootReport {
    /// The target, once the boot has begun.
    pub target: Option<ServiceName>,
    /// When the last service of it settled.
    pub settled_at: Option<Time>,
    /// Services of the target that had failed by then, and are there still.
    pub failed: Vec<ServiceId>,
    /// Services that have not settled yet.
    pub pending: u32,
}

/// The boot's own state.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Boot {
    target: Option<ServiceName>,
    begun_at: Option<Time>,
    /// Marked services that have not settled; each knows it of itself too.
    #[serde(skip)]
    pending: BTreeSet<u32>,
    settled_at: Option<Time>,
    failed: Vec<ServiceId>,
}

impl Boot {
    pub(super) const fn settled(&self) -> bool {
        self.settled_at.is_some()
    }

    pub(super) const fn begun_at(&self) -> Option<Time> {
        self.begun_at
    }

    pub(super) const fn target(&self) -> Option<&ServiceName> {
        self.target.as_ref()
    }

    pub(super) const fn settled_at(&self) -> Option<Time> {
        self.settled_at
    }

    /// How many services have not settled.
    pub(super) fn pending(&self) -> u32 {
        u32::try_from(self.pending.len()).unwrap_or(u32::MAX)
    }

    /// One of those, the target itself only when there is no other.
    pub(super) fn first_pending(&self, target: Option<u32>) -> Option<u32> {
        let mut pending = self.pending.iter().copied();
        let other = pending.find(|index| Some(*index) != target);
        other.or_else(|| self.pending.first().copied())
    }

    /// Notes again, after a thaw, that `index` has not settled.
    pub(super) fn still_pending(&mut self, index: u32) {
        self.pending.insert(index);
    }

    pub(super) fn one_settled(&mut self, index: u32) {
        self.pending.remove(&index);
    }

    pub(super) fn report(&self, table: &Table) -> BootReport {
        let failed = self.failed.iter().copied();
        BootReport {
            target: self.target.clone(),
            settled_at: self.settled_at,
            failed: failed.filter(|id| table.by_id(*id).is_some()).collect(),
            pending: self.pending(),
        }
    }
}

impl Supervisor {
    /// A target that does not exist settles at once, with nothing in it: the shell has looked it up
    /// and told the operator.
    pub(super) fn on_boot(&mut self, target: &ServiceName) {
        if self.boot.target.is_some() || self.shutdown.begun() {
            return;
        }
        self.boot.target = Some(target.clone());
        self.boot.begun_at = Some(self.now);
        if let Some(root) = self.table.lookup(target.as_str()) {
            self.want(root);
            for index in self.closure(&[root], |_, _| true) {
                self.expect(index);
            }
        }
        self.mark_roles();
    }

    /// The boot waits for `index`, unless it is up already.
    pub(super) fn expect(&mut self, index: u32) {
        if let Some(service) = self.table.get_mut(index)
            && service.boot == BootMark::No
            && self.boot.settled_at.is_none()
        {
            if service.state.available() {
                service.boot = BootMark::Settled;
            } else {
                service.boot = BootMark::Pending;
                self.boot.pending.insert(index);
            }
        }
    }

    /// `roots` and all that is required and wanted, as far as `through` lets pass.
    pub(super) fn closure(
        &self,
        roots: &[u32],
        through: impl Fn(u32, &Service) -> bool,
    ) -> BTreeSet<u32> {
        // By place, as a set is slow to grow by one service after the other.
        let mut seen = vec![false; self.table.indices().len()];
        let mut see = |index: u32| {
            let seen = seen.get_mut(index as usize);
            seen.is_some_and(|seen| !core::mem::replace(seen, true))
        };
        let mut work = roots.to_vec();
        work.retain(|root| see(*root));
        while let Some(index) = work.pop() {
            let passes = |service| through(index, service);
            if !self.table.get(index).is_some_and(passes) {
                continue;
            }
            for edge in self.topology.predecessors(index) {
                if edge.tie.starts() && see(edge.other) {
                    work.push(edge.other);
                }
            }
        }
        let reached = self.table.indices().zip(&seen);
        reached
            .filter_map(|(index, seen)| seen.then_some(index))
            .collect()
    }

    pub(super) fn settle_boot(&mut self) {
        let begun = self.boot.target.is_some();
        let pending = !self.boot.pending.is_empty() && !mutated(Mutation::BootSettledEarly);
        if !begun || self.boot.settled() || pending || self.shutdown.begun() {
            return;
        }
        self.boot.settled_at = Some(self.now);
        let failed = self.table.sorted().filter(|id| {
            self.table.by_id(*id).is_some_and(|(_, service)| {
                let failed = matches!(service.state, State::Failed) || service.tried;
                service.boot == BootMark::Settled && failed
            })
        });
        self.boot.failed = failed.collect();
        let failed = self.boot.failed.clone();
        self.actions.push_back(Action::BootSettled { failed });
        for request in self.requests.take_boot() {
            self.complete(request, Outcome::Done);
        }
        self.catch_up();
    }
}
