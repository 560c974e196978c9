//! The boot record as PID 1 keeps it: changes are made by children, one at a time, each with a
//! deadline. Not here: what a child does (`record`), and when a boot is good (`gate`).
//!
//! A disk that does not answer costs a child and the change, never the loop. Nobody is told that a
//! change is made before a child has read it back from the disk.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use services::control::{ControlError, Reply};
use services::supervisor::event::{ExitStatus, RequestId};
use services::time::{Duration, Time};

use super::Init;
use super::errands::{Errand, Order};
use super::table::Owner;
use crate::ending::bequest::{EndMark, Failure};
use crate::errand;
use crate::record::child::{ANYWHERE, Known, Recorded};
use crate::record::{Change, Identity};

/// How long one change may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Changes that may wait; one more is refused.
const JOBS_MAX: usize = 16;
/// Of these, so many are PID 1's own: no client can keep the gate from its verdict.
const JOBS_OWN: usize = 4;

/// Whose change it is, and so what follows from its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Then {
    /// The gate found the boot good.
    Committed,
    /// The gate found the boot bad.
    Failed,
    /// The crashes of the slot are forgotten.
    Settled,
    /// Whether there is an attempt of this boot though no stage1 has told of one.
    Looked,
    /// An operator called the boot good.
    CalledGood(RequestId),
    /// An operator called the boot bad.
    CalledBad {
        /// To be answered.
        request: RequestId,
        /// Whether the machine restarts then.
        reboot: bool,
    },
    /// A client asked, and is told that it is done.
    Done(RequestId),
    /// A client asked for the record itself.
    Shown(RequestId),
}

impl Then {
    const fn is_own(self) -> bool {
        match self {
            Self::Committed | Self::Failed | Self::Settled | Self::Looked => true,
            Self::CalledGood(_) | Self::CalledBad { .. } | Self::Done(_) | Self::Shown(_) => false,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Job {
    change: Change,
    then: Then,
}

/// What PID 1 knows of the boot record.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Recorder {
    /// Which boot this is.
    pub(super) identity: Identity,
    /// Whether this boot is an attempt in the record, as far as is known.
    pub(super) accounted: bool,
    /// Whether stage1, or the record itself, has told that this boot is charged in it.
    pub(super) charged: bool,
    /// The state partition as stage1 named it.
    pub(super) device: Option<String>,
    /// How this boot has failed, until the record says so.
    pub(super) failed: Option<Failure>,
    jobs: VecDeque<Job>,
    working: Option<(Errand, Job)>,
    /// What the record said after the last change.
    pub(super) known: Known,
}

impl Recorder {
    /// The recorder of this boot, which may be an attempt in the record.
    pub(super) fn of_boot(identity: Identity, device: Option<String>, accounted: bool) -> Self {
        Self {
            identity,
            device,
            accounted,
            ..Self::default()
        }
    }

    /// When the child at work is given up.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.working
            .as_ref()
            .and_then(|(errand, _)| errand.deadline())
    }

    /// The device as a word for the child: without one, it looks for the partition by its name.
    pub(super) fn device_word(&self) -> String {
        self.device.clone().unwrap_or_else(|| ANYWHERE.to_owned())
    }

    /// What is to be noted in the record at the end, where this boot is in it.
    pub(super) fn end_mark(&self) -> Option<EndMark> {
        self.accounted.then(|| EndMark {
            device: self.device_word(),
            running: self.identity.clone(),
            failed: self.failed.clone(),
        })
    }

    /// How this boot has failed, where it is not in the record.
    pub(super) fn uncounted_failure(&self) -> Option<String> {
        let failed = self.failed.as_ref().filter(|_| !self.accounted);
        failed.map(|failure| failure.text.clone())
    }

    /// Whether one more change can be taken.
    fn has_room(&self, then: Then) -> bool {
        let most = if then.is_own() {
            JOBS_MAX
        } else {
            JOBS_MAX - JOBS_OWN
        };
        self.jobs.len() < most
    }

    /// Puts a job in the queue: PID 1's own go ahead of those of clients.
    fn enqueue(&mut self, job: Job) {
        let place = if job.then.is_own() {
            self.jobs.iter().position(|other| !other.then.is_own())
        } else {
            None
        };
        let place = place.unwrap_or(self.jobs.len());
        self.jobs.insert(place, job);
    }
}

impl Init {
    /// Makes a change as soon as it is its turn. `false`: too many wait already.
    pub(super) fn record(&mut self, change: Change, then: Then) -> bool {
        if !self.recorder.has_room(then) {
            return false;
        }
        self.recorder.enqueue(Job { change, then });
        self.next_record_job();
        true
    }

    fn next_record_job(&mut self) {
        while self.recorder.working.is_none()
            && let Some(job) = self.recorder.jobs.pop_front()
        {
            match self.start_recorder(&job.change) {
                Ok(errand) => self.recorder.working = Some((errand, job)),
                Err(cause) => self.recorded(job.then, Err(cause)),
            }
        }
    }

    fn start_recorder(&mut self, change: &Change) -> Result<Errand, String> {
        let change = errand::pack(change)?;
        let device = self.recorder.device_word();
        self.send(&Order {
            owner: Owner::Recorder,
            words: &["record", &device],
            input: Some(&change),
            patience: Some(PATIENCE),
            background: false,
        })
    }

    /// The child has ended.
    pub(super) fn recorder_ended(&mut self, status: ExitStatus) {
        let Some((errand, job)) = self.recorder.working.take() else {
            return;
        };
        let outcome = errand.answer(status).and_then(|answer| {
            let Recorded { known, told } = errand::unpack(&answer)?;
            self.recorder.known = known;
            Ok(told)
        });
        self.recorded(job.then, outcome);
        self.next_record_job();
    }

    /// The child takes too long.
    pub(super) fn recorder_overdue(&mut self) {
        let Some((errand, job)) = self.recorder.working.take() else {
            return;
        };
        let why = self.give_up(&errand);
        self.recorded(job.then, Err(format!("the boot record: {why}")));
        self.next_record_job();
    }

    /// What follows from the outcome of a change; with it comes the record as JSON.
    fn recorded(&mut self, then: Then, outcome: Result<Vec<u8>, String>) {
        match then {
            Then::Committed => self.gate_committed(outcome.map(|_| ())),
            Then::Failed => self.gate_failure_recorded(outcome.map(|_| ())),
            Then::Settled => self.crashes_settled(outcome.map(|_| ())),
            Then::Looked if outcome.is_ok() => self.record_looked_at(),
            // Most machines that no stage1 has started have no record that could be read.
            Then::Looked => {}
            Then::CalledGood(request) => match outcome {
                Ok(_) => {
                    self.gate_committed(Ok(()));
                    self.pay(request, &Ok(Reply::Done {}));
                }
                Err(reason) => self.pay(request, &Err(not_written(reason))),
            },
            Then::CalledBad { request, reboot } => match outcome {
                Ok(_) => {
                    self.pay(request, &Ok(Reply::Done {}));
                    self.called_bad(reboot);
                }
                Err(reason) => self.pay(request, &Err(not_written(reason))),
            },
            Then::Done(request) => {
                let answer = outcome.map(|_| Reply::Done {}).map_err(not_written);
                self.pay(request, &answer);
            }
            Then::Shown(request) => match outcome {
                Ok(record) => self.pay_with(request, record_reply(&record)),
                Err(reason) => self.pay(request, &Err(not_written(reason))),
            },
        }
    }
}

/// The answer to `BootRecord()`. PID 1 has no use for the record itself, so it is passed on as the
/// child wrote it.
fn record_reply(record: &[u8]) -> Vec<u8> {
    let parts: [&[u8]; 3] = [br#"{"parameters":{"record":"#, record, b"}}\0"];
    parts.concat()
}

fn not_written(reason: String) -> ControlError {
    ControlError::Failed {
        name: "boot record".to_owned(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(then: Then) -> Job {
        Job {
            change: Change::Look,
            then,
        }
    }

    #[test]
    fn a_record_is_passed_on_as_the_protocol_asks() {
        let record = services::control::BootRecord {
            sequence: 7,
            ..services::control::BootRecord::default()
        };
        let mut message = record_reply(&serde_json::to_vec(&record).unwrap());
        assert_eq!(message.pop(), Some(0));
        let asked = services::control::Request::BootRecord;
        let read = services::control::decode_reply(&asked, &message).unwrap();
        let record = Box::new(record);
        assert_eq!(read, Reply::BootRecord { record });
    }

    #[test]
    fn clients_cannot_take_the_places_of_the_gate() {
        let mut recorder = Recorder::default();
        let shown = Then::Shown(RequestId(1));
        while recorder.has_room(shown) {
            recorder.enqueue(job(shown));
        }
        assert!(recorder.has_room(Then::Committed));
        assert_eq!(recorder.jobs.len(), JOBS_MAX - JOBS_OWN);
        assert_eq!(recorder.device_word(), ANYWHERE);
    }

    #[test]
    fn the_gate_need_not_wait_for_clients() {
        let mut recorder = Recorder::default();
        let (first, second) = (Then::Shown(RequestId(1)), Then::Done(RequestId(2)));
        for then in [first, Then::Committed, second, Then::Failed] {
            recorder.enqueue(job(then));
        }
        let order: Vec<Then> = recorder.jobs.iter().map(|job| job.then).collect();
        assert_eq!(order, [Then::Committed, Then::Failed, first, second]);
    }
}
