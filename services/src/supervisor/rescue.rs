//! What follows when a service is left failed: other services that it starts, and what becomes of
//! the machine (`[on-failure]`). Not here: when a service is left failed (`stop`, `restart`).
//!
//! Services may start each other on failure in a circle, by these keys alone or with the help of
//! `requires`. Each start so made is one step further from the failure that began it, and from
//! [`STEPS_MAX`] on nothing more is started: so every circle ends. Whatever somebody wants by hand,
//! and whatever was up for `restart.reset-after`, begins anew.

use crate::definition::FailureAction;

use super::Supervisor;
use super::event::Action;
use super::mutation::{Mutation, mutated};

/// Most failures one after the other, each of which starts the next service.
const STEPS_MAX: u8 = 8;

impl Supervisor {
    /// `index` is left failed.
    pub(super) fn rescue(&mut self, index: u32, cause: &str) {
        // On the way down nothing is started, and the machine knows where it goes.
        if self.shutdown.begun() {
            return;
        }
        let Some(service) = self.table.get(index) else {
            return;
        };
        let action = service.kept.rules.failure_action;
        let step = service.rescue.saturating_add(1);
        let helpers = self.topology.rescuers(index).to_vec();
        let further = step <= STEPS_MAX || mutated(Mutation::RescueWithoutEnd);
        if further && !mutated(Mutation::RescueForgotten) {
            self.want_all(&helpers, step);
        }
        let asks = action != FailureAction::None && !mutated(Mutation::ActionForgotten);
        if let (Some(service), true) = (self.table.id(index), asks) {
            let cause = cause.into();
            self.actions.push_back(Action::Escalate {
                service,
                action,
                cause,
            });
        }
    }
}
