//! The two errands of the gate: reading the root whole, and learning from the start times. Not here:
//! what they do (`scrub`, `budget`).

use services::budget::SERVICES_MAX;
use services::supervisor::Supervisor;
use services::supervisor::event::ExitStatus;
use services::time::Duration;

use super::{Root, State};
use crate::budget::{Learned, StartTimes};
use crate::errand;
use crate::pid1::Init;
use crate::pid1::errands::Order;
use crate::pid1::say::Level;
use crate::pid1::table::Owner;
use crate::scrub::WHOLE;

/// Learning may hold a commit up for so long: a data disk that does not answer is reason to say so,
/// not to give up a slot.
const LEARNING_PATIENCE: Duration = Duration::from_secs(10);

impl Init {
    pub(super) fn start_scrub(&mut self, root: &Root) {
        let bytes = root
            .bytes
            .map_or_else(|| WHOLE.to_owned(), |bytes| bytes.to_string());
        let begun = self.send(&Order {
            owner: Owner::Scrub,
            words: &["scrub", &root.device, &bytes],
            input: None,
            // The gate has a deadline.
            patience: None,
            background: true,
        });
        match begun {
            Ok(errand) => self.gate.scrub = Some(errand),
            Err(why) => self.scrubbed(Err(why)),
        }
    }

    /// The scrub child has ended.
    pub(in crate::pid1) fn scrub_ended(&mut self, status: ExitStatus) {
        if let Some(errand) = self.gate.scrub.take() {
            self.scrubbed(errand.answer(status).map(|_| ()));
        }
    }

    fn scrubbed(&mut self, outcome: Result<(), String>) {
        match &outcome {
            Ok(()) => {
                self.recorder.identity.root_read_whole = true;
                self.say(Level::Info, "the root has been read whole, and verifies");
            }
            Err(why) => self.say(Level::Error, &format!("the root: {why}")),
        }
        if let State::Open(watched) = &mut self.gate.state {
            watched.gate.scrubbed(outcome);
            watched.seen = None;
        }
    }

    /// Compares the start times with what is usual here. The commit follows.
    pub(super) fn learn_start_times(&mut self) {
        let supervisor = self.supervisor.as_ref();
        let times: StartTimes = supervisor
            .into_iter()
            .flat_map(Supervisor::start_times)
            .take(SERVICES_MAX)
            .map(|(name, took)| {
                let millis = u32::try_from(took.as_millis()).unwrap_or(u32::MAX);
                (name.to_owned(), millis)
            })
            .collect();
        let begun = errand::pack(&times).and_then(|input| {
            self.send(&Order {
                owner: Owner::Budget,
                words: &["budget"],
                input: Some(&input),
                patience: Some(LEARNING_PATIENCE),
                background: false,
            })
        });
        match begun {
            Ok(errand) => self.gate.learning = Some(errand),
            Err(why) => self.learned(Err(why)),
        }
    }

    /// The budget child has ended.
    pub(in crate::pid1) fn budget_ended(&mut self, status: ExitStatus) {
        if let Some(errand) = self.gate.learning.take() {
            let answer = errand.answer(status);
            self.learned(answer.and_then(|bytes| errand::unpack(&bytes)));
        }
    }

    fn learned(&mut self, outcome: Result<Learned, String>) {
        match outcome {
            Ok(Learned { slow, problems }) => {
                self.gate.slow = slow;
                for problem in problems {
                    self.say(Level::Warning, &problem);
                }
            }
            Err(why) => self.say(Level::Warning, &format!("start times: {why}")),
        }
        if let State::Found(_) = self.gate.state {
            self.commit();
        }
    }

    /// Gives up what takes too long.
    pub(super) fn mind_gate_errands(&mut self) {
        let now = self.now;
        let late = self
            .gate
            .learning
            .take_if(|errand| errand.deadline().is_some_and(|at| at <= now));
        if let Some(errand) = late {
            let why = self.give_up(&errand);
            self.learned(Err(why));
        }
    }

    /// Nobody waits for the errands any more.
    pub(super) fn drop_gate_errands(&mut self) {
        for errand in [self.gate.scrub.take(), self.gate.learning.take()]
            .into_iter()
            .flatten()
        {
            self.give_up(&errand);
        }
    }
}
