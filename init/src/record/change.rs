//! The changes that are made to a boot record after stage1, each as one value that can be handed to
//! another process. Not here: writing the result (the parent module).

use mounts::slot::Slot;
use mounts::slot::account::{self, NotOurs, Running};
use mounts::slot::judge::Stamp;
use mounts::slot::record::{Ended, Reason, Record};
use mounts::slot::region::RecordState;
use mounts::slot::update::{self, Refusal, System};
use mounts::verity::RootHash;
use serde::{Deserialize, Serialize};

/// Which boot speaks, and of what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The slot that runs, where stage1 has told it.
    pub slot: Option<Slot>,
    /// The kernel's id of this boot.
    pub boot_id: [u8; 16],
    /// The root hash of the slot's manifest.
    pub root_hash: Option<RootHash>,
    /// The security version of the slot's manifest.
    pub security_version: Option<u32>,
    /// Every block of the root was read and verified in this boot.
    pub root_read_whole: bool,
    /// The state generation that it runs with.
    pub state_generation: Option<u64>,
}

impl Identity {
    /// This boot, as the record is asked for it. Without a hand-over only the record knows the slot:
    /// then it is that of the attempt with our boot id.
    fn running(&self, record: &Record) -> Running {
        let attempt = record.attempt.as_ref();
        let ours = attempt.filter(|attempt| attempt.boot_id == self.boot_id);
        Running {
            slot: self.slot.or(ours.map(|attempt| attempt.slot)),
            ..self.as_told()
        }
    }

    pub(super) fn as_told(&self) -> Running {
        Running {
            slot: self.slot,
            boot_id: self.boot_id,
            root_hash: self.root_hash,
            security_version: self.security_version,
            root_read_whole: self.root_read_whole,
            state_generation: self.state_generation,
        }
    }
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// None: the record is only looked at.
    Look,
    /// None: somebody wants to see it, and how the outer loader stands.
    Show,
    /// This boot is good.
    Commit {
        /// This boot.
        running: Identity,
        /// What is to be remembered with it.
        text: String,
    },
    /// This boot has failed.
    Fail {
        /// This boot.
        running: Identity,
        /// How.
        ended: Ended,
        /// How long it ran.
        uptime_seconds: u32,
        /// The cause in words.
        text: String,
    },
    /// This boot ends in order.
    End {
        /// This boot.
        running: Identity,
        /// How.
        ended: Ended,
        /// How long it ran.
        uptime_seconds: u32,
    },
    /// This boot has run long enough for the crashes of its slot to be forgotten.
    Settle {
        /// This boot.
        running: Identity,
    },
    /// An operator calls the running slot bad: it is given up, and so is this boot.
    Bad {
        /// This boot.
        running: Identity,
        /// How long it ran.
        uptime_seconds: u32,
        /// Why, in the operator's words.
        text: String,
    },
    /// An operator gives a slot up that does not run.
    GiveUp {
        /// Which slot.
        slot: Slot,
        /// Why, in the operator's words.
        text: String,
    },
    /// An operator wants a slot to be booted first, with all its tries.
    SetSlot {
        /// Which slot.
        slot: Slot,
    },
    /// A step of an update.
    Update {
        /// This boot.
        running: Identity,
        /// Which step.
        step: UpdateStep,
    },
}

/// A step of an update, or back from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpdateStep {
    /// The other slot is taken out of the choice, for this system.
    Begin(System),
    /// The other slot holds this system and is tried next.
    Arm(System),
    /// What is being installed, or waits for its trial, is called off.
    Cancel,
    /// The other slot is booted next, with all its tries.
    RollBack,
}

impl Change {
    /// Whether another slot may come first by it.
    pub(super) const fn may_choose(&self) -> bool {
        match self {
            Self::Commit { .. }
            | Self::Fail { .. }
            | Self::Bad { .. }
            | Self::GiveUp { .. }
            | Self::SetSlot { .. }
            | Self::Update { .. } => true,
            Self::Look | Self::Show | Self::End { .. } | Self::Settle { .. } => false,
        }
    }

    /// The record that is to be written; `None`: nothing needs to be.
    ///
    /// # Errors
    /// For people: the record is another boot's, or cannot be read and must not be replaced.
    pub(super) fn make(&self, state: &RecordState, now: Stamp) -> Result<Option<Record>, String> {
        match state {
            RecordState::Newest(newest) => self.change(newest.record.clone(), now),
            // Both regions were read, and there is nothing that could be lost.
            RecordState::Unreadable {
                rebuild_above: Some(_),
                ..
            } => self.begin(now),
            RecordState::Unreadable {
                why,
                rebuild_above: None,
            } => Err(format!("there is no boot record that can be read: {why}")),
        }
    }

    /// The first record on an empty state partition.
    fn begin(&self, now: Stamp) -> Result<Option<Record>, String> {
        match self {
            Self::Look | Self::Show => Ok(None),
            Self::Commit { running, .. } if running.slot.is_some() => {
                Ok(Some(account::rebuild(&running.as_told(), now)))
            }
            Self::SetSlot { slot } => {
                let mut record = account::rebuild(&Running::default(), now);
                account::set_slot(&mut record, *slot, now);
                Ok(Some(record))
            }
            // Otherwise nothing would count this boot, and its slot would be the first again.
            Self::Fail {
                running,
                ended,
                uptime_seconds,
                text,
            } => failed(running, *ended, *uptime_seconds, text, now),
            Self::Bad {
                running,
                uptime_seconds,
                text,
            } => failed(running, Ended::Operator, *uptime_seconds, text, now),
            Self::Commit { .. }
            | Self::End { .. }
            | Self::Settle { .. }
            | Self::GiveUp { .. }
            | Self::Update { .. } => {
                Err("there is no boot record: both regions are empty or damaged".to_owned())
            }
        }
    }

    fn change(&self, mut record: Record, now: Stamp) -> Result<Option<Record>, String> {
        let words = |error: NotOurs| error.to_string();
        match self {
            Self::Look | Self::Show => return Ok(None),
            // The slot must be known by stage1's own word.
            Self::Commit { running, text } => {
                account::commit(&mut record, &running.as_told(), text).map_err(words)?;
            }
            Self::Fail {
                running,
                ended,
                uptime_seconds,
                text,
            } => {
                let running = running.running(&record);
                account::fail(&mut record, &running, *ended, *uptime_seconds, text)
                    .map_err(words)?;
            }
            Self::End {
                running,
                ended,
                uptime_seconds,
            } => {
                let running = running.running(&record);
                account::end(&mut record, &running, *ended, *uptime_seconds).map_err(words)?;
            }
            Self::Settle { running } => {
                if !account::settle(&mut record, &running.as_told()).map_err(words)? {
                    return Ok(None);
                }
            }
            Self::Bad {
                running,
                uptime_seconds,
                text,
            } => {
                let running = running.running(&record);
                let slot = running.slot.ok_or_else(|| words(NotOurs::NoSlot))?;
                account::give_up(&mut record, slot, text, now);
                // It has failed by that; only how long it ran is added.
                account::fail(
                    &mut record,
                    &running,
                    Ended::Operator,
                    *uptime_seconds,
                    text,
                )
                .map_err(words)?;
                record.reason = Reason::Operator;
            }
            Self::GiveUp { slot, text } => account::give_up(&mut record, *slot, text, now),
            Self::SetSlot { slot } => account::set_slot(&mut record, *slot, now),
            Self::Update { running, step } => {
                let running = running.as_told();
                take(&mut record, &running, *step).map_err(|error| error.to_string())?;
            }
        }
        Ok(Some(record))
    }
}

fn take(record: &mut Record, running: &Running, step: UpdateStep) -> Result<Slot, Refusal> {
    match step {
        UpdateStep::Begin(system) => update::begin(record, running, system),
        UpdateStep::Arm(system) => update::arm(record, running, system),
        UpdateStep::Cancel => update::cancel(record, running),
        UpdateStep::RollBack => update::roll_back(record, running),
    }
}

/// The first record on an empty state partition, by a boot that has failed.
fn failed(
    running: &Identity,
    ended: Ended,
    uptime_seconds: u32,
    text: &str,
    now: Stamp,
) -> Result<Option<Record>, String> {
    account::rebuild_failed(&running.as_told(), ended, uptime_seconds, text, now)
        .map(Some)
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use mounts::slot::decide::Why;
    use mounts::slot::record::{AttemptState, Stage};

    const NOW: Stamp = Stamp { unix: 7 };

    fn hash(byte: u8) -> RootHash {
        RootHash::new([byte; 32])
    }

    /// A record with this boot under way in slot b.
    fn record() -> Record {
        let mut record = Record::for_image(Some((hash(1), 1)), Some((hash(2), 1)));
        account::charge(&mut record, Slot::B, &Why::Forced, [9; 16], NOW);
        record
    }

    fn identity(slot: Option<Slot>) -> Identity {
        Identity {
            slot,
            boot_id: [9; 16],
            ..Identity::default()
        }
    }

    fn attempt_after(change: &Change) -> Result<AttemptState, String> {
        let record = change.change(record(), NOW)?;
        Ok(record.unwrap().attempt.unwrap().state)
    }

    fn fail(running: Identity) -> Change {
        Change::Fail {
            running,
            ended: Ended::GateFailed,
            uptime_seconds: 40,
            text: "app: not ready".to_owned(),
        }
    }

    #[test]
    fn a_boot_is_committed_by_its_slot_alone() {
        let commit = |slot| Change::Commit {
            running: identity(slot),
            text: String::new(),
        };
        assert_eq!(
            attempt_after(&commit(Some(Slot::B))),
            Ok(AttemptState::Committed)
        );
        assert!(attempt_after(&commit(Some(Slot::A))).is_err());
        assert!(attempt_after(&commit(None)).is_err());
    }

    #[test]
    fn without_a_hand_over_a_boot_can_still_fail_and_end() {
        let failed = Ok(AttemptState::Failed(Ended::GateFailed));
        assert_eq!(attempt_after(&fail(identity(None))), failed);
        let end = Change::End {
            running: identity(None),
            ended: Ended::Reboot,
            uptime_seconds: 50,
        };
        assert_eq!(attempt_after(&end), Ok(AttemptState::Ended(Ended::Reboot)));
        let stranger = Identity {
            boot_id: [8; 16],
            ..identity(None)
        };
        assert!(attempt_after(&fail(stranger)).is_err());
    }

    #[test]
    fn a_slot_called_bad_is_given_up_with_the_reason_and_the_time() {
        let bad = Change::Bad {
            running: identity(Some(Slot::B)),
            uptime_seconds: 60,
            text: "no light".to_owned(),
        };
        let record = bad.change(record(), NOW).unwrap().unwrap();
        let attempt = record.attempt.as_ref().unwrap();
        assert_eq!(attempt.state, AttemptState::Failed(Ended::Operator));
        assert_eq!(
            (attempt.uptime_seconds, attempt.text.as_str()),
            (60, "no light")
        );
        assert_eq!(attempt.stage, Stage::Gate);
        assert_eq!(record.slot(Slot::B).tries_left, 0);
        assert_eq!(record.history.len(), 0, "the attempt tells it");
    }

    #[test]
    fn a_record_is_begun_only_where_nothing_can_be_lost() {
        let empty = RecordState::Unreadable {
            why: "empty".to_owned(),
            rebuild_above: Some(4),
        };
        let hidden = RecordState::unreadable("input/output error");
        let commit = Change::Commit {
            running: identity(Some(Slot::B)),
            text: String::new(),
        };
        let begun = commit.make(&empty, NOW).unwrap().unwrap();
        assert_eq!(begun.committed, Some(Slot::B));
        assert!(
            commit
                .make(&hidden, NOW)
                .unwrap_err()
                .contains("input/output")
        );
        let set = Change::SetSlot { slot: Slot::A };
        let begun = set.make(&empty, NOW).unwrap().unwrap();
        assert_eq!((begun.committed, begun.trial), (None, Some(Slot::A)));
        assert!(begun.attempt.is_none());
        let end = Change::End {
            running: identity(Some(Slot::B)),
            ended: Ended::Reboot,
            uptime_seconds: 5,
        };
        assert!(end.make(&empty, NOW).is_err());
    }

    #[test]
    fn a_failure_begins_a_record_where_a_commit_would() {
        let empty = RecordState::Unreadable {
            why: "empty".to_owned(),
            rebuild_above: Some(4),
        };
        let hidden = RecordState::unreadable("input/output error");
        let bad = |running| Change::Bad {
            running,
            uptime_seconds: 40,
            text: "app: not ready".to_owned(),
        };
        let me = identity(Some(Slot::B));
        for (change, ended) in [
            (fail(me.clone()), Ended::GateFailed),
            (bad(me), Ended::Operator),
        ] {
            let begun = change.make(&empty, NOW).unwrap().unwrap();
            let attempt = begun.attempt.as_ref().unwrap();
            assert_eq!(attempt.state, AttemptState::Failed(ended));
            assert_eq!(attempt.text.as_str(), "app: not ready");
            let tries = Slot::ALL.map(|slot| begun.slot(slot).tries_left);
            assert_eq!((tries, begun.committed), ([1, 0], None));
            assert!(
                change
                    .make(&hidden, NOW)
                    .unwrap_err()
                    .contains("input/output")
            );
        }
        for change in [fail(identity(None)), bad(identity(None))] {
            assert!(change.make(&empty, NOW).unwrap_err().contains("no slot"));
        }
    }

    #[test]
    fn a_change_survives_the_way_to_the_child() {
        let change = fail(identity(Some(Slot::A)));
        let bytes = crate::errand::pack(&change).unwrap();
        assert_eq!(crate::errand::unpack::<Change>(&bytes), Ok(change));
        assert!(crate::errand::unpack::<Change>(b"").is_err());
    }
}
