//! Lazy services: only their sockets are opened when they are wanted, and the first traffic starts
//! them. Not here: sockets (the shell), and everything that follows a start.
//!
//! A lazy service goes to `Spawning` twice: first to have its sockets opened, which leads to
//! `Listening`, and after traffic to be run. A run that ends well leads back to the first; one that fails
//! does so after the pause of any other failure, and traffic that still waits does not shorten it.

use crate::id::{RunId, ServiceId};

use super::Supervisor;
use super::event::{Action, Change};
use super::mutation::{Mutation, mutated};
use super::service::{Desired, State};

impl Supervisor {
    /// Whether a start of the service is only to open its sockets.
    pub(super) fn is_lazy(&self, index: u32) -> bool {
        let service = self.table.get(index);
        let lazy = service.is_some_and(|it| it.kept.rules.lazy && !it.due);
        lazy && !mutated(Mutation::LazyStartedAtOnce)
    }

    /// Asks for its sockets to be opened and watched.
    pub(super) fn open_sockets(&mut self, index: u32) {
        let Some(service) = self.table.get_mut(index) else {
            return;
        };
        service.runs = service.runs.wrapping_add(1).max(1);
        service.listens = true;
        self.enter(index, State::Spawning { recalled: None });
        if let Some(run) = self.table.run_id(index) {
            self.actions.push_back(Action::Listen { run });
        }
    }

    /// Its sockets are open.
    pub(super) fn on_listening(&mut self, run: RunId) {
        if let Some(index) = self.still_wanted(run) {
            self.enter(index, State::Listening);
            if self.is_lazy(index) {
                self.announce(index, Change::Listening);
                self.settle(index);
            } else {
                self.go_on(index);
            }
        }
    }

    /// Somebody has asked for it while its sockets were being opened, or a reload has made another of it.
    fn go_on(&mut self, index: u32) {
        if self.waits_for_timer(index) {
            self.lie_in_wait(index);
        } else {
            self.rouse(index);
        }
    }

    /// Something waits on one of its sockets.
    pub(super) fn on_traffic(&mut self, id: ServiceId) {
        let Some((index, service)) = self.table.by_id(id) else {
            return;
        };
        let ignored = mutated(Mutation::TrafficIgnored);
        if matches!(service.state, State::Listening) && service.desired == Desired::Up && !ignored {
            self.rouse(index);
        }
    }

    /// A service that listens is started. Its failures in a row stay what they are: traffic that
    /// nobody takes is no reason to begin anew.
    pub(super) fn rouse(&mut self, index: u32) {
        if let Some(service) = self.table.get_mut(index) {
            service.due = true;
        }
        self.want_required(index);
        let (on, cursor) = (index, 0);
        self.enter(index, State::Waiting { on, cursor });
        self.mark(index);
    }

    /// It stays down: nobody listens for it any longer.
    pub(super) fn close_sockets(&mut self, index: u32) {
        let id = self.table.id(index);
        if let Some(service) = self.table.get_mut(index)
            && let Some(id) = id
            && !mutated(Mutation::SocketsLeftOpen)
            && core::mem::take(&mut service.listens)
        {
            self.actions.push_back(Action::Unlisten { service: id });
        }
    }
}
