//! Rules that no sequence of changes may break, tried on random ones.

use mounts::slot::Slot;
use mounts::slot::account::{
    Running, charge, commit, end, fail, give_up, refuse, set_slot, settle,
};
use mounts::slot::decide::{Why, last_good};
use mounts::slot::judge::{Crash, CrashKind, Evidence, Judged, judge};
use mounts::slot::record::{Ended, Record, Stage};
use proptest::prelude::*;

use super::{NOW, first, image, running, state};

/// What may happen to a record between two writes.
#[derive(Clone, Debug)]
enum Step {
    Judge {
        watchdog: bool,
        crash: Option<(u8, u32)>,
    },
    Charge {
        slot: Slot,
        last_good: bool,
        boot: u8,
    },
    Refuse(Ended),
    Commit(Slot, u8),
    Fail(Slot, u8, Ended),
    End(Slot, u8, Ended),
    Settle(Slot, u8),
    GiveUp(Slot),
    SetSlot(Slot),
}

fn slot() -> impl Strategy<Value = Slot> {
    prop_oneof![Just(Slot::A), Just(Slot::B)]
}

fn ended() -> impl Strategy<Value = Ended> {
    prop::sample::select(Ended::ALL)
}

fn step() -> impl Strategy<Value = Step> {
    let id = 0u8..2;
    prop_oneof![
        3 => (any::<bool>(), prop::option::of((0u8..4, 0u32..4)))
            .prop_map(|(watchdog, crash)| Step::Judge { watchdog, crash }),
        3 => (slot(), any::<bool>(), id.clone())
            .prop_map(|(slot, last_good, boot)| Step::Charge { slot, last_good, boot }),
        1 => ended().prop_map(Step::Refuse),
        2 => (slot(), id.clone()).prop_map(|(slot, boot)| Step::Commit(slot, boot)),
        1 => (slot(), id.clone(), ended()).prop_map(|(slot, boot, ended)| Step::Fail(slot, boot, ended)),
        1 => (slot(), id.clone(), ended()).prop_map(|(slot, boot, ended)| Step::End(slot, boot, ended)),
        1 => (slot(), id).prop_map(|(slot, boot)| Step::Settle(slot, boot)),
        1 => slot().prop_map(Step::GiveUp),
        1 => slot().prop_map(Step::SetSlot),
    ]
}

fn who(slot: Slot, boot: u8) -> Running {
    Running {
        boot_id: [boot; 16],
        ..running(slot)
    }
}

/// What a step brought: a judgement, or the word that it was refused.
#[derive(Debug, PartialEq)]
struct Outcome {
    judged: Option<Judged>,
    refused: bool,
}

fn perform(record: &mut Record, step: &Step) -> Outcome {
    let (mut judged, mut refused) = (None, false);
    match step {
        Step::Judge { watchdog, crash } => {
            let kinds = [
                CrashKind::Panic,
                CrashKind::Oops,
                CrashKind::Verity,
                CrashKind::Watchdog,
            ];
            let evidence = Evidence {
                watchdog_reset: *watchdog,
                crash: crash.map(|(kind, id)| Crash {
                    kind: kinds[usize::from(kind)],
                    id,
                    text: "text\nof it".to_owned(),
                    stage: Some(Stage::Gate),
                }),
            };
            judged = judge(record, &evidence, NOW);
        }
        Step::Charge {
            slot,
            last_good,
            boot,
        } => {
            let why = if *last_good {
                Why::LastGood
            } else {
                Why::Forced
            };
            charge(record, *slot, &why, [*boot; 16], NOW);
        }
        Step::Refuse(ended) => refuse(record, *ended, "refused", NOW),
        Step::Commit(slot, boot) => {
            refused = commit(record, &who(*slot, *boot), "good").is_err();
        }
        Step::Fail(slot, boot, ended) => {
            refused = fail(record, &who(*slot, *boot), *ended, 3, "bad").is_err();
        }
        Step::End(slot, boot, ended) => {
            refused = end(record, &who(*slot, *boot), *ended, 4).is_err();
        }
        Step::Settle(slot, boot) => refused = settle(record, &who(*slot, *boot)).is_err(),
        Step::GiveUp(slot) => give_up(record, *slot, "operator", NOW),
        Step::SetSlot(slot) => set_slot(record, *slot, NOW),
    }
    Outcome { judged, refused }
}

/// Entries of the history, each as often as it counts.
fn entries(record: &Record) -> u32 {
    record
        .history
        .iter()
        .map(|boot| u32::from(boot.times))
        .sum()
}

fn rules_hold(before: &Record, step: &Step, after: &Record) -> Result<(), TestCaseError> {
    // What is written can be read.
    let read = Record::decode(&after.encode());
    prop_assert_eq!(read.as_ref(), Ok(after));
    let raised: Vec<Slot> = Slot::ALL
        .into_iter()
        .filter(|slot| after.slot(*slot).tries_left > before.slot(*slot).tries_left)
        .collect();
    let healed = Slot::ALL
        .into_iter()
        .any(|slot| before.slot(slot).verity_bad && !after.slot(slot).verity_bad);
    match step {
        Step::Commit(slot, _) | Step::SetSlot(slot) => {
            prop_assert!(
                raised.iter().all(|it| it == slot),
                "tries of another slot rose"
            );
        }
        Step::Judge { .. }
        | Step::Charge { .. }
        | Step::Refuse(_)
        | Step::Fail(..)
        | Step::End(..)
        | Step::Settle(..)
        | Step::GiveUp(_) => {
            prop_assert!(raised.is_empty(), "tries rose");
        }
    }
    prop_assert!(
        !healed || matches!(step, Step::SetSlot(_)),
        "a bad root was forgotten"
    );
    // At most one entry an attempt, and none that is not one or an operator's word.
    let more = entries(after) - entries(before);
    let had = u32::from(before.attempt.is_some());
    match step {
        Step::Judge { .. } | Step::Charge { .. } | Step::Refuse(_) => prop_assert_eq!(more, had),
        Step::GiveUp(_) | Step::SetSlot(_) => prop_assert!(more <= 1),
        Step::Commit(..) | Step::Fail(..) | Step::End(..) | Step::Settle(..) => {
            prop_assert_eq!(more, 0);
        }
    }
    // A slot that was good stays a slot that can be tried.
    for slot in Slot::ALL {
        prop_assert!(!before.slot(slot).good || after.slot(slot).good);
        prop_assert!(before.slot(slot).priority == 0 || after.slot(slot).priority > 0);
    }
    prop_assert!(first(after).is_some() || last_good(&state(after)).is_some());
    prop_assert!(after.boots >= before.boots);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_life_breaks_the_rules(steps in prop::collection::vec(step(), 0..24)) {
        let mut record = image();
        for step in steps {
            let before = record.clone();
            let outcome = perform(&mut record, &step);
            prop_assert!(!outcome.refused || record == before, "refused, and changed");
            rules_hold(&before, &step, &record)?;
        }
    }

    #[test]
    fn judging_twice_is_judging_once(steps in prop::collection::vec(step(), 0..12), last in step()) {
        let mut record = image();
        for step in &steps {
            perform(&mut record, step);
        }
        if let Step::Judge { .. } = last {
            perform(&mut record, &last);
            let once = record.clone();
            prop_assert_eq!(perform(&mut record, &last).judged, None);
            prop_assert_eq!(record, once);
        }
    }
}
