//! What operators and scripts ask of the gate and of the boot record. Not here: how a call comes in
//! and how its answer goes out (`requests`).

use services::control::{ControlError, Reply, Request, SlotName};
use services::status::ShutdownKind;

use super::State;
use crate::pid1::Init;
use crate::pid1::recorder::Then;
use crate::record::{Change, slot_of_name};

/// The answer, where it can be given at once.
type Answer = Option<Result<Reply, ControlError>>;

impl Init {
    /// Answers whether this boot is good, as soon as that is known.
    pub(in crate::pid1) fn wait_gate(&mut self, client: Option<u32>) -> Answer {
        match &self.gate.state {
            State::Absent(why) => Some(refused(format!("this boot has no gate: {why}"))),
            State::Passed => Some(Ok(verdict(true, None))),
            State::Failing { reason, .. }
            | State::Pausing { reason, .. }
            | State::Failed { reason } => Some(Ok(verdict(false, Some(reason)))),
            // A commit that cannot be written is tried again: there is no verdict yet.
            State::Open(_) | State::Found(_) => {
                // Whoever takes no answer need not be remembered.
                client?;
                self.clients.owe(client, Request::WaitGate);
                None
            }
        }
    }

    /// Tells the verdict to all who wait for it.
    pub(super) fn answer_waiting(&mut self, committed: bool, reason: Option<&str>) {
        for request in self.clients.owed_for(&Request::WaitGate) {
            self.pay(request, &Ok(verdict(committed, reason)));
        }
    }

    /// The machine goes down: there will be no verdict.
    pub(in crate::pid1) fn gate_at_shutdown(&mut self) {
        let reason = match &self.gate.state {
            State::Absent(_)
            | State::Passed
            | State::Failing { .. }
            | State::Pausing { .. }
            | State::Failed { .. } => return,
            State::Open(_) | State::Found(_) => "the machine is going down",
        };
        self.answer_waiting(false, Some(reason));
        // What was found good is good, whatever has become of the start times.
        if let State::Found(found) = &self.gate.state
            && self.gate.learning.is_some()
            && found.failures == 0
        {
            self.commit();
        }
        self.drop_gate_errands();
    }

    /// An operator calls this boot good.
    pub(in crate::pid1) fn call_good(
        &mut self,
        client: Option<u32>,
        request: &Request,
        reason: Option<&str>,
    ) -> Answer {
        match &self.gate.state {
            State::Absent(why) => {
                return Some(refused(format!("there is no slot to commit: {why}")));
            }
            State::Failing { reason, .. }
            | State::Pausing { reason, .. }
            | State::Failed { reason } => {
                return Some(refused(format!("this boot has failed already: {reason}")));
            }
            State::Open(watched) => {
                if let Some(why) = &watched.hopeless {
                    return Some(refused(format!("this boot cannot be committed: {why}")));
                }
            }
            State::Found(_) | State::Passed => {}
        }
        let change = Change::Commit {
            running: self.recorder.identity.clone(),
            text: reason.unwrap_or("called good by an operator").to_owned(),
        };
        self.record_for(client, request, change, Then::CalledGood)
    }

    /// An operator calls this boot bad.
    pub(in crate::pid1) fn call_bad(
        &mut self,
        client: Option<u32>,
        request: &Request,
        reason: &str,
        reboot: bool,
    ) -> Answer {
        if let State::Absent(why) = &self.gate.state {
            return Some(refused(format!("there is no slot to give up: {why}")));
        }
        let change = Change::Bad {
            running: self.recorder.identity.clone(),
            uptime_seconds: self.uptime_seconds(),
            text: reason.to_owned(),
        };
        self.record_for(client, request, change, |request| Then::CalledBad {
            request,
            reboot,
        })
    }

    /// The slot has been given up as an operator wanted.
    pub(in crate::pid1) fn called_bad(&mut self, reboot: bool) {
        let reason = "an operator called it bad".to_owned();
        self.drop_gate_errands();
        self.answer_waiting(false, Some(&reason));
        self.boot.info.committed = false;
        self.gate.enter(State::Failed { reason }, self.now);
        if reboot && !self.shutting_down {
            self.shut_down(ShutdownKind::Reboot);
        }
    }

    /// An operator wants a slot to be booted next.
    pub(in crate::pid1) fn set_slot(
        &mut self,
        client: Option<u32>,
        request: &Request,
        slot: SlotName,
    ) -> Answer {
        let slot = slot_of_name(slot);
        self.record_for(client, request, Change::SetSlot { slot }, Then::Done)
    }

    /// Shows the record as it is on the disk.
    pub(in crate::pid1) fn show_record(
        &mut self,
        client: Option<u32>,
        request: &Request,
    ) -> Answer {
        self.record_for(client, request, Change::Show, Then::Shown)
    }

    /// Makes a change for a client, who is answered when it is written.
    fn record_for(
        &mut self,
        client: Option<u32>,
        request: &Request,
        change: Change,
        then: impl FnOnce(services::supervisor::event::RequestId) -> Then,
    ) -> Answer {
        if self.is_contained() {
            let why = "the disks and their boot record belong to the host of this container";
            return Some(refused(why.to_owned()));
        }
        let id = self.clients.owe(client, request.clone());
        if !self.record(change, then(id)) {
            let reason = "too many changes of the boot record wait already: try again".to_owned();
            self.fail(id, ControlError::Refused { reason });
        }
        None
    }
}

fn refused(reason: String) -> Result<Reply, ControlError> {
    Err(ControlError::Refused { reason })
}

fn verdict(committed: bool, reason: Option<&str>) -> Reply {
    Reply::Gate {
        committed,
        reason: reason.map(str::to_owned),
    }
}
