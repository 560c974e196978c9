//! Requests of clients: taken in, kept until what was asked for is so, answered once. Not here: the
//! messages (`control`) and the clients (the shell).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::id::ServiceName;

use super::begin::masked;
use super::event::{Action, Command, Outcome, RequestId};
use super::mutation::{Mutation, mutated};
use super::reason::Reason;
use super::service::{Desired, End, ReloadBy, Reloading, State};
use super::{MAX_REQUESTS, Supervisor};

/// What a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Goal {
    /// Up, or failed.
    Up,
    /// Down.
    Down,
    /// Its reload command has ended.
    Reload,
}

/// Open requests.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Requests {
    /// Which service each waits for; `None` waits for the boot.
    open: BTreeMap<RequestId, Option<u32>>,
    goals: BTreeMap<(u32, RequestId), Goal>,
}

impl Requests {
    pub(super) fn forget(&mut self, request: RequestId) {
        if let Some(Some(index)) = self.open.remove(&request) {
            self.goals.remove(&(index, request));
        }
    }

    fn add(&mut self, request: RequestId, index: u32, goal: Goal) {
        self.open.insert(request, Some(index));
        self.goals.insert((index, request), goal);
    }

    /// Takes out those that wait for `goal` of `index`.
    fn take(&mut self, index: u32, goal: Goal) -> Vec<RequestId> {
        let range = (index, RequestId(0))..=(index, RequestId(u64::MAX));
        let found: Vec<RequestId> = self
            .goals
            .range(range)
            .filter(|(_, kept)| **kept == goal)
            .map(|((_, request), _)| *request)
            .collect();
        for request in &found {
            self.forget(*request);
        }
        found
    }

    /// Takes out those that wait for the boot.
    pub(super) fn take_boot(&mut self) -> BTreeSet<RequestId> {
        let all = self.open.iter();
        let boot: BTreeSet<RequestId> = all
            .filter(|(_, service)| service.is_none())
            .map(|(request, _)| *request)
            .collect();
        self.open.retain(|request, _| !boot.contains(request));
        boot
    }

    /// Takes out all.
    pub(super) fn take_all(&mut self) -> BTreeMap<RequestId, Option<u32>> {
        self.goals.clear();
        core::mem::take(&mut self.open)
    }
}

impl Supervisor {
    pub(super) fn complete(&mut self, request: RequestId, outcome: Outcome) {
        self.actions
            .push_back(Action::Complete { request, outcome });
    }

    /// Answers all that wait for `goal` of `index`.
    pub(super) fn answer(&mut self, index: u32, goal: Goal, outcome: &Outcome) {
        for request in self.requests.take(index, goal) {
            if goal == Goal::Down && mutated(Mutation::AnswerForgotten) {
                continue;
            }
            self.complete(request, outcome.clone());
            if goal == Goal::Up && mutated(Mutation::AnswerGivenTwice) {
                self.complete(request, outcome.clone());
            }
        }
    }

    /// Answers those that wait for a reload which will not be finished any more.
    pub(super) fn answer_reload(&mut self, index: u32, cause: &str) {
        self.answer(index, Goal::Reload, &Outcome::Failed(cause.into()));
    }

    /// Why no request can be taken now.
    pub(super) fn refusal(&self, request: RequestId) -> Option<Outcome> {
        if self.requests.open.contains_key(&request) {
            return Some(Outcome::Refused("a request of this id is open".into()));
        }
        (self.requests.open.len() >= MAX_REQUESTS)
            .then(|| Outcome::Refused(format!("{MAX_REQUESTS} requests are unanswered already")))
    }

    pub(super) fn on_request(&mut self, request: RequestId, command: Command) {
        if let Some(refused) = self.refusal(request) {
            self.complete(request, refused);
            return;
        }
        match command {
            Command::Start(name) => self.with_service(request, name, true, Self::request_start),
            Command::Stop(name) => self.with_service(request, name, false, Self::request_stop),
            Command::StopAll(name) => {
                self.with_service(request, name, false, Self::request_stop_all);
            }
            Command::Restart(name) => self.with_service(request, name, true, Self::request_restart),
            Command::Reload(name) => self.with_service(request, name, true, Self::request_reload),
            Command::WaitBoot if self.boot.settled() => self.complete(request, Outcome::Done),
            Command::WaitBoot if self.shutdown.begun() => self.complete(request, going_down()),
            Command::WaitBoot => {
                self.requests.open.insert(request, None);
            }
        }
    }

    fn with_service(
        &mut self,
        request: RequestId,
        name: ServiceName,
        starts: bool,
        ask: fn(&mut Self, RequestId, u32),
    ) {
        match self.table.lookup(name.as_str()) {
            None => self.complete(request, Outcome::NoSuchService(name)),
            Some(_) if starts && self.shutdown.begun() => self.complete(request, going_down()),
            Some(index) => ask(self, request, index),
        }
    }

    /// Whoever asks for a masked service by its name is told; it may go on as it was before.
    fn refuses_masked(&mut self, request: RequestId, index: u32) -> bool {
        let Some(why) = self.table.get(index).and_then(masked) else {
            return false;
        };
        self.complete(request, Outcome::Refused(format!("it is {why}")));
        true
    }

    fn request_start(&mut self, request: RequestId, index: u32) {
        if self.refuses_masked(request, index) {
            return;
        }
        let Some(service) = self.table.get(index) else {
            return;
        };
        let is_up = matches!(service.state, State::Up { .. }) && service.desired == Desired::Up;
        let skipped = service.skipped;
        if is_up && !skipped {
            self.complete(request, Outcome::Done);
            return;
        }
        self.requests.add(request, index, Goal::Up);
        self.make_due(index);
        self.want(index);
        self.wait_no_longer(index);
        if skipped {
            // Its conditions may hold by now. Nothing of it runs, and nobody is disturbed.
            self.leave(index, End::Asked);
        }
    }

    /// Whoever asks for a service by its name does not want to wait for its timer.
    fn make_due(&mut self, index: u32) {
        if let Some(service) = self.table.get_mut(index) {
            service.due = true;
        }
    }

    fn request_stop(&mut self, request: RequestId, index: u32) {
        self.unwant(index, &Reason::own("it was stopped by request"));
        self.await_down(request, index);
    }

    fn await_down(&mut self, request: RequestId, index: u32) {
        let Some(service) = self.table.get(index) else {
            return;
        };
        if matches!(service.state, State::Down) {
            self.complete(request, Outcome::Done);
        } else {
            self.requests.add(request, index, Goal::Down);
        }
    }

    /// The same, and what its earlier runs have left ends as well.
    fn request_stop_all(&mut self, request: RequestId, index: u32) {
        if let Some(service) = self.table.get_mut(index) {
            service.whole = !mutated(Mutation::WholeForgotten);
        }
        let why = "it was stopped by request, with all that it had left";
        self.unwant(index, &Reason::own(why));
        self.sweep_left(index);
        self.await_down(request, index);
    }

    /// Everything of it, and of those that require it, ends first; then it is started like any
    /// other, and they with it.
    fn request_restart(&mut self, request: RequestId, index: u32) {
        if self.refuses_masked(request, index) {
            return;
        }
        self.make_due(index);
        self.want(index);
        self.wait_no_longer(index);
        self.bounce(index);
        self.requests.add(request, index, Goal::Up);
    }

    fn request_reload(&mut self, request: RequestId, index: u32) {
        let Some(service) = self.table.get_mut(index) else {
            return;
        };
        let rules = &service.kept.rules;
        let (by, limit) = (rules.reload, rules.start_timeout);
        let run = self.table.run_id(index);
        let refused = |why: &str| Outcome::Refused(why.into());
        let Some(service) = self.table.get_mut(index) else {
            return;
        };
        let State::Up {
            run: Some(live),
            reload,
        } = &mut service.state
        else {
            self.complete(request, refused("it does not run"));
            return;
        };
        let Some(run) = run.filter(|_| live.exited.is_none()) else {
            self.complete(request, refused("its main process has ended"));
            return;
        };
        match by {
            ReloadBy::Nothing => {
                self.complete(request, refused("its file has no `reload`: restart it"));
            }
            ReloadBy::Signal(signal) => {
                self.actions.push_back(Action::Signal { run, signal });
                self.complete(request, Outcome::Done);
            }
            ReloadBy::Command if matches!(reload, Reloading::Command | Reloading::Overdue) => {
                self.complete(request, refused("its reload command runs already"));
            }
            ReloadBy::Command => {
                *reload = Reloading::Command;
                self.requests.add(request, index, Goal::Reload);
                self.actions.push_back(Action::SpawnReload { run });
                self.unwatch(index);
                self.arm(index, limit);
            }
        }
    }
}

/// The answer to whatever would start something while everything is being stopped.
pub(super) fn going_down() -> Outcome {
    Outcome::Refused("the machine is going down".into())
}
