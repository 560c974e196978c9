//! The boot record as the control protocol tells it. Not here: reading it, and showing it to people
//! (`sharkctl`).

use mounts::slot::Slot;
use mounts::slot::record::{self, Attempt, AttemptState, Ended, Record, SlotRecord};
use mounts::slot::region::{RecordState, Skip};
use services::control::{AttemptInfo, BootRecord, PastBoot, SlotInfo, SlotName};

/// So many damaged neighbours of a record are told; the last is as likely as the first to matter.
const SKIPPED_MAX: usize = 4;

/// All that is told of the record. Device and loader are the caller's to fill in.
#[must_use]
pub fn info(state: &RecordState) -> BootRecord {
    match state {
        RecordState::Newest(newest) => BootRecord {
            problem: problem(&newest.skipped),
            ..of_record(&newest.record)
        },
        RecordState::Unreadable { why, .. } => BootRecord {
            problem: Some(why.clone()),
            ..BootRecord::default()
        },
    }
}

fn problem(skipped: &[Skip]) -> Option<String> {
    let told: Vec<String> = skipped
        .iter()
        .take(SKIPPED_MAX)
        .map(Skip::to_string)
        .collect();
    let more = match skipped.len().saturating_sub(SKIPPED_MAX) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    (!told.is_empty()).then(|| format!("passed over: {}{more}", told.join("; ")))
}

fn of_record(record: &Record) -> BootRecord {
    BootRecord {
        device: None,
        problem: None,
        sequence: record.sequence,
        boot_id: hex(&record.boot_id),
        committed: record.committed.map(slot_name),
        trial: record.trial.map(slot_name),
        phase: record.phase.to_string(),
        reason: record.reason.to_string(),
        rescues: record.rescues.into(),
        boots: record.boots,
        slots: Slot::ALL
            .into_iter()
            .map(|slot| slot_info(slot, record.slot(slot)))
            .collect(),
        attempt: record.attempt.as_ref().map(attempt),
        history: record.history.iter().map(past_boot).collect(),
        loader: None,
    }
}

fn slot_info(slot: Slot, kept: &SlotRecord) -> SlotInfo {
    SlotInfo {
        slot: slot_name(slot),
        priority: kept.priority.into(),
        tries_left: kept.tries_left.into(),
        good: kept.good,
        verity_bad: kept.verity_bad,
        crashes: kept.crashes.into(),
        power_cuts: kept.power_cuts.into(),
        security_version: kept.security_version,
        state_generation: kept.state_generation,
        root_hash: kept.root_hash.to_string(),
    }
}

fn attempt(attempt: &Attempt) -> AttemptInfo {
    let (state, ended) = match attempt.state {
        AttemptState::Open => ("open", None),
        AttemptState::Committed => ("committed", None),
        AttemptState::Failed(ended) => ("failed", Some(ended)),
        AttemptState::Ended(ended) => ("ended", Some(ended)),
    };
    AttemptInfo {
        number: attempt.number,
        slot: slot_name(attempt.slot),
        boot_id: hex(&attempt.boot_id),
        state: state.to_owned(),
        ended: ended.map(Ended::as_str).map(str::to_owned),
        phase: attempt.stage.to_string(),
        started_unix: attempt.started_unix,
        uptime_seconds: attempt.uptime_seconds,
        text: attempt.text.to_string(),
    }
}

fn past_boot(boot: &record::PastBoot) -> PastBoot {
    PastBoot {
        number: boot.number,
        slot: slot_name(boot.slot),
        ended: boot.ended.to_string(),
        phase: boot.stage.to_string(),
        uptime_seconds: boot.uptime_seconds,
        ended_unix: boot.ended_unix,
        times: boot.times.into(),
        text: boot.text.to_string(),
    }
}

fn slot_name(slot: Slot) -> SlotName {
    match slot {
        Slot::A => SlotName::A,
        Slot::B => SlotName::B,
    }
}

/// The slot that the protocol's word means.
#[must_use]
pub fn slot_of_name(name: SlotName) -> Slot {
    match name {
        SlotName::A => Slot::A,
        SlotName::B => Slot::B,
    }
}

fn hex(bytes: &[u8; 16]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mounts::verity::RootHash;

    #[test]
    fn a_record_is_told_with_every_word_of_it() {
        let mut record = Record::for_image(Some((RootHash::new([7; 32]), 3)), None);
        record.boots = 2;
        record.boot_id = [0xab; 16];
        record.attempt = Some(Attempt {
            slot: Slot::A,
            number: 2,
            boot_id: [1; 16],
            state: AttemptState::Failed(Ended::GateFailed),
            stage: record::Stage::Gate,
            started_unix: 5,
            uptime_seconds: 6,
            text: "app: not ready".into(),
        });
        record.history.push(record::PastBoot {
            number: 1,
            slot: Slot::B,
            ended: Ended::PowerCut,
            stage: record::Stage::Running,
            uptime_seconds: 9,
            ended_unix: 4,
            times: 3,
            text: record::Text::default(),
        });
        let told = of_record(&record);
        assert_eq!(told.boot_id, "ab".repeat(16));
        assert_eq!(told.committed, Some(SlotName::A));
        assert_eq!(told.slots.len(), 2);
        assert_eq!((told.slots[0].good, told.slots[1].priority), (true, 0));
        let attempt = told.attempt.unwrap();
        let words = [&*attempt.state, &*attempt.phase, &*attempt.text];
        assert_eq!(words, ["failed", "gate", "app: not ready"]);
        assert_eq!(attempt.ended.as_deref(), Some("gate-failed"));
        let [past] = told.history.as_slice() else {
            panic!("{:?}", told.history);
        };
        let words = [&*past.ended, &*past.phase];
        assert_eq!((words, past.times), (["power-cut", "running"], 3));
    }

    #[test]
    fn what_is_wrong_is_told_and_nothing_is_made_up() {
        let told = info(&RecordState::unreadable("no such disk"));
        assert_eq!(told.problem.as_deref(), Some("no such disk"));
        assert_eq!((told.slots.len(), told.sequence), (0, 0));
        let skipped = vec![Skip::Region(1, "input/output error".to_owned()); 6];
        let problem = problem(&skipped).unwrap();
        assert!(problem.ends_with("; and 2 more"), "{problem}");
    }
}
