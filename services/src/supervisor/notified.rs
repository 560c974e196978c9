//! What services say of themselves by sd_notify(3), and what follows from it. Not here: how it is
//! written (`crate::notify`), and the watchdog (`watchdog`).

use crate::id::RunId;
use crate::notify::Message;
use crate::time::Duration;

use super::Supervisor;
use super::event::{Action, Change};
use super::mutation::{Mutation, mutated};
use super::service::{Begun, End, Manner, Reloading, State};
use super::timers::Due;

/// Longest time that `EXTEND_TIMEOUT_USEC=` can make of one start, stop or reload, all told.
pub const EXTENDED_MAX: Duration = Duration::from_secs(24 * 60 * 60);

impl Supervisor {
    pub(super) fn on_notified(&mut self, run: RunId, message: Message, from_main: bool) {
        let Some(index) = self.table.by_run(run) else {
            return;
        };
        match message {
            Message::Ready => self.on_ready(index),
            Message::Reloading => self.turn_reload(index, Reloading::No, Reloading::Announced),
            Message::Stopping => self.on_stopping(index),
            Message::Status(text) => {
                if let Some(service) = self.table.get_mut(index) {
                    service.status_text = (!text.is_empty()).then(|| text.into_boxed_str());
                }
            }
            Message::Complaint(complaint) => {
                if let Some(service) = self.table.get_mut(index) {
                    service.complaint = Some(complaint.to_string().into_boxed_str());
                }
            }
            Message::MainPid(pid) => {
                let alive = self
                    .table
                    .get_mut(index)
                    .and_then(|service| service.state.run_mut())
                    .is_some_and(|run| run.exited.is_none());
                if from_main && alive {
                    self.actions.push_back(Action::Adopt { run, pid });
                }
            }
            Message::ExtendTimeout(by) => self.on_extend(index, by),
            Message::Alive => self.watch(index),
            Message::Broken => self.bite(index, "it found itself broken"),
            Message::WatchdogTimeout(timeout) => self.on_watchdog_timeout(index, timeout),
            Message::Begin(begun) if from_main => self.on_begun(index, begun),
            Message::Begin(_) | Message::Ignored(_) => {}
        }
    }

    fn on_ready(&mut self, index: u32) {
        let Some(service) = self.table.get(index) else {
            return;
        };
        if let State::Starting(run) = service.state
            && service.kept.rules.manner == Manner::Notify
            && run.begun == Begun::Ready
        {
            self.up(index, Some(run));
        } else {
            self.turn_reload(index, Reloading::Announced, Reloading::No);
        }
    }

    /// Whether a service that is up reads its configuration again, by its own word. It has the time
    /// of a start for it, in which it is not watched; after that it is as if it had said that it is
    /// finished.
    pub(super) fn turn_reload(&mut self, index: u32, from: Reloading, to: Reloading) {
        let Some(service) = self.table.get_mut(index) else {
            return;
        };
        let limit = service.kept.rules.start_timeout;
        let State::Up { reload, .. } = &mut service.state else {
            return;
        };
        if *reload != from {
            return;
        }
        *reload = to;
        match to {
            Reloading::Announced | Reloading::Command => {
                self.unwatch(index);
                self.arm(index, limit);
            }
            Reloading::No | Reloading::Overdue => {
                self.timers
                    .cancel(Due::Service(index), service.deadline.take());
                self.watch(index);
            }
        }
    }

    /// It ends by itself and says so: it gets the time of a stop, and no signal.
    fn on_stopping(&mut self, index: u32) {
        let Some(service) = self.table.get(index) else {
            return;
        };
        let (State::Starting(run) | State::Up { run: Some(run), .. }) = service.state else {
            return;
        };
        if run.exited.is_some() {
            return;
        }
        let early = matches!(service.state, State::Starting(_));
        let timeout = service.kept.rules.stop_timeout;
        self.answer_reload(index, "it is stopping");
        let (end, killed) = (End::Itself, false);
        self.enter(index, State::Stopping { run, end, killed });
        if early {
            self.set_reason(index, "it stopped before it was ready");
        }
        self.arm(index, timeout);
        self.announce(index, Change::Stopping);
    }

    /// It asks for more time: the deadline it has moves, and never to an earlier time. What has no
    /// deadline needs none.
    fn on_extend(&mut self, index: u32, by: Duration) {
        let now = self.now;
        let Some(service) = self.table.get_mut(index) else {
            return;
        };
        match service.state {
            State::Starting(_)
            | State::Stopping { killed: false, .. }
            | State::Up {
                reload: Reloading::Announced | Reloading::Command,
                ..
            } => {}
            State::Up {
                reload: Reloading::No | Reloading::Overdue,
                ..
            }
            | State::Stopping { killed: true, .. }
            | State::Leaving { .. }
            | State::Spawning { .. }
            | State::Down
            | State::Failed
            | State::Armed
            | State::Listening
            | State::Waiting { .. }
            | State::Backoff => return,
        }
        let Some(deadline) = service.deadline else {
            return;
        };
        let at = (now + by).min(service.armed + EXTENDED_MAX);
        if at > deadline || mutated(Mutation::ExtensionShortens) {
            service.deadline = Some(at);
            self.timers.cancel(Due::Service(index), Some(deadline));
            self.timers.arm(at, Due::Service(index));
        }
    }
}
