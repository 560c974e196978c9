//! How boots are charged: the table of causes, and what each change does to a record.
// The whole file is a test; clippy takes only what is marked `#[test]` for one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod begun;
mod field;
mod rules;

use mounts::slot::Slot;
use mounts::slot::account::{
    NotOurs, Running, charge, commit, end, fail, give_up, refuse, set_slot, settle,
};
use mounts::slot::decide::{Circumstances, Why, decide, last_good};
use mounts::slot::judge::{Charged, Crash, CrashKind, Evidence, Stamp, judge};
use mounts::slot::record::{
    AttemptState, Ended, PastBoot, Phase, RECORD_SIZE, Reason, Record, Stage, TRIES,
};
use mounts::slot::region::{REGION_SIZE, RecordState, newest};
use mounts::verity::RootHash;

const NOW: Stamp = Stamp {
    unix: 1_800_000_000,
};
const ID: [u8; 16] = [7; 16];

fn image() -> Record {
    Record::for_image(
        Some((RootHash::new([0xaa; 32]), 3)),
        Some((RootHash::new([0xbb; 32]), 4)),
    )
}

fn running(slot: Slot) -> Running {
    Running {
        slot: Some(slot),
        boot_id: ID,
        root_hash: None,
        security_version: None,
        root_read_whole: false,
        state_generation: None,
    }
}

fn state(record: &Record) -> RecordState {
    let mut region = vec![0; REGION_SIZE];
    region[..RECORD_SIZE].copy_from_slice(&record.encode());
    newest([Ok(&region), Ok(&vec![0; REGION_SIZE])])
}

fn first(record: &Record) -> Option<Slot> {
    decide(&state(record), &Circumstances::default())
        .first()
        .map(|(slot, _)| *slot)
}

/// The next boot of the slot that the record decides for, as stage1 does it.
fn boot(record: &mut Record) -> Slot {
    let candidates = decide(&state(record), &Circumstances::default());
    let (slot, why) = candidates.first().expect("a slot may be booted").clone();
    charge(record, slot, &why, ID, NOW);
    slot
}

fn none() -> Evidence {
    Evidence::default()
}

fn watchdog() -> Evidence {
    Evidence {
        watchdog_reset: true,
        crash: None,
    }
}

fn crash(kind: CrashKind, id: u32) -> Evidence {
    Evidence {
        watchdog_reset: false,
        crash: Some(Crash {
            kind,
            id,
            text: format!("crash {id}"),
            stage: None,
        }),
    }
}

/// A record whose slot b is on trial and was charged.
fn on_trial() -> Record {
    let mut record = image();
    set_slot(&mut record, Slot::B, NOW);
    assert_eq!(boot(&mut record), Slot::B);
    record
}

type Row = (fn(&mut Record), Evidence, Ended, Stage, Charged);

/// Each cause: what the boot did, what was found at the next, and what follows.
fn rows() -> Vec<Row> {
    let committed: fn(&mut Record) = |record| commit(record, &running(Slot::B), "").unwrap();
    let failed: fn(&mut Record) =
        |record| fail(record, &running(Slot::B), Ended::GateFailed, 5, "x").unwrap();
    let scrubbed: fn(&mut Record) =
        |record| fail(record, &running(Slot::B), Ended::VerityFault, 5, "x").unwrap();
    let broke: fn(&mut Record) = |record| {
        commit(record, &running(Slot::B), "").unwrap();
        fail(record, &running(Slot::B), Ended::InitFailed, 5, "x").unwrap();
    };
    let ended_early: fn(&mut Record) =
        |record| end(record, &running(Slot::B), Ended::PowerOff, 5).unwrap();
    let ended: fn(&mut Record) = |record| {
        commit(record, &running(Slot::B), "").unwrap();
        end(record, &running(Slot::B), Ended::Reboot, 5).unwrap();
    };
    let panic = || crash(CrashKind::Panic, 1);
    let oops = || crash(CrashKind::Oops, 1);
    let verity = || crash(CrashKind::Verity, 1);
    let soft = || crash(CrashKind::Watchdog, 1);
    let both = || Evidence {
        watchdog_reset: true,
        ..panic()
    };
    use {Charged as C, Ended as E, Stage as S};
    vec![
        (|_| {}, none(), E::PowerCut, S::Stage1, C::Cut),
        (|_| {}, panic(), E::Panic, S::Stage1, C::Fault),
        (|_| {}, oops(), E::Oops, S::Stage1, C::Fault),
        (|_| {}, soft(), E::Watchdog, S::Stage1, C::Fault),
        (|_| {}, watchdog(), E::Watchdog, S::Stage1, C::Fault),
        (|_| {}, both(), E::Panic, S::Stage1, C::Fault),
        (|_| {}, verity(), E::VerityFault, S::Stage1, C::VerityBad),
        (committed, none(), E::PowerCut, S::Running, C::Nothing),
        (committed, panic(), E::Panic, S::Running, C::Crash),
        (committed, oops(), E::Oops, S::Running, C::Crash),
        (committed, watchdog(), E::Watchdog, S::Running, C::Crash),
        (
            committed,
            verity(),
            E::VerityFault,
            S::Running,
            C::VerityBad,
        ),
        (failed, none(), E::GateFailed, S::Gate, C::Fault),
        (failed, panic(), E::GateFailed, S::Gate, C::Fault),
        (failed, watchdog(), E::GateFailed, S::Gate, C::Fault),
        (scrubbed, none(), E::VerityFault, S::Gate, C::VerityBad),
        (broke, none(), E::InitFailed, S::Running, C::Crash),
        (ended_early, none(), E::PowerOff, S::Gate, C::Cut),
        (ended, none(), E::Reboot, S::Ending, C::Nothing),
        (ended, watchdog(), E::Reboot, S::Ending, C::Nothing),
        (ended, verity(), E::Reboot, S::Ending, C::Nothing),
    ]
}

#[test]
fn each_cause_has_its_charge() {
    for (number, (prepare, evidence, ended, stage, charged)) in rows().into_iter().enumerate() {
        let mut record = on_trial();
        prepare(&mut record);
        let before = *record.slot(Slot::B);
        let judged = judge(&mut record, &evidence, NOW).unwrap();
        let told = (judged.slot, judged.ended, judged.stage, judged.charged);
        let what = format!("row {number}, {evidence:?}");
        assert_eq!(told, (Slot::B, ended, stage, charged), "{what}");
        let after = record.slot(Slot::B);
        let cost = (
            before.tries_left - after.tries_left,
            after.crashes - before.crashes,
            after.power_cuts - before.power_cuts,
            after.verity_bad,
        );
        let expect = match charged {
            Charged::Nothing => (0, 0, 0, false),
            Charged::Fault => (1, 0, 0, false),
            Charged::Crash => (0, 1, 0, false),
            Charged::Cut => (0, 0, 1, false),
            Charged::VerityBad => (0, 0, 0, true),
        };
        assert_eq!(cost, expect, "{what}");
        let newest = record.history.newest().unwrap();
        assert_eq!(
            (newest.ended, newest.stage, newest.number),
            (ended, stage, 1)
        );
        // Nothing is judged twice.
        let settled = record.clone();
        assert_eq!(judge(&mut record, &evidence, NOW), None);
        assert_eq!(record, settled);
    }
}

#[test]
fn what_was_judged_is_told_in_a_sentence() {
    let say = |prepare: &dyn Fn(&mut Record), evidence: &Evidence| {
        let mut record = on_trial();
        prepare(&mut record);
        judge(&mut record, evidence, NOW).unwrap().to_string()
    };
    assert_eq!(
        say(&|_| {}, &crash(CrashKind::Panic, 9)),
        "last boot, slot b: panic, stage stage1 (crash 9); charged a try"
    );
    assert_eq!(
        say(
            &|record| record.slot_mut(Slot::B).tries_left = 1,
            &watchdog()
        ),
        "last boot, slot b: watchdog, stage stage1; charged a try; slot b is given up"
    );
    assert_eq!(
        say(&|_| {}, &none()),
        "last boot, slot b: power-cut, stage stage1; charged a cut, no fault of the slot"
    );
}

#[test]
fn a_boot_that_proves_good_and_ends_in_order() {
    let mut record = on_trial();
    let attempt = record.attempt.clone().unwrap();
    assert_eq!((attempt.number, record.boots), (1, 1));
    assert_eq!(attempt.state, AttemptState::Open);
    assert_eq!((record.reason, record.boot_id), (Reason::Attempt, ID));
    assert_eq!((record.phase, record.trial), (Phase::Trial, Some(Slot::B)));
    let told = Running {
        root_hash: Some(RootHash::new([0xcc; 32])),
        security_version: Some(9),
        ..running(Slot::B)
    };
    commit(&mut record, &told, "wanted: cable").unwrap();
    assert_eq!(record.committed, Some(Slot::B));
    assert_eq!((record.phase, record.trial), (Phase::Settled, None));
    let b = *record.slot(Slot::B);
    assert_eq!((b.priority, b.tries_left, b.good), (2, TRIES, true));
    assert_eq!(
        (b.root_hash, b.security_version),
        (RootHash::new([0xcc; 32]), 9)
    );
    assert_eq!(record.slot(Slot::A).priority, 1);
    assert_eq!(
        record.attempt.as_ref().unwrap().text.as_str(),
        "wanted: cable"
    );
    end(&mut record, &told, Ended::Reboot, 3600).unwrap();
    judge(
        &mut record,
        &none(),
        Stamp {
            unix: 1_800_009_999,
        },
    )
    .unwrap();
    let told: Vec<PastBoot> = record.history.iter().cloned().collect();
    assert_eq!(told[0].ended, Ended::Reboot);
    assert_eq!(told[0].ended_unix, NOW.unix + 3600);
    assert_eq!(told[0].uptime_seconds, 3600);
    assert_eq!(told[0].text.as_str(), "wanted: cable");
    assert_eq!(boot(&mut record), Slot::B);
}

/// The mark was kept after the root had been read whole and the boot committed: a slot that was good
/// was never booted again.
#[test]
fn a_commit_forgets_a_bad_root_only_if_all_of_it_was_read() {
    for root_read_whole in [false, true] {
        let mut record = on_trial();
        record.slot_mut(Slot::B).verity_bad = true;
        let told = Running {
            root_read_whole,
            ..running(Slot::B)
        };
        commit(&mut record, &told, "").unwrap();
        assert_eq!(record.slot(Slot::B).verity_bad, !root_read_whole);
        assert_eq!(first(&record) == Some(Slot::B), root_read_whole);
    }
}

#[test]
fn another_boot_has_no_say() {
    let stranger = Running {
        boot_id: [8; 16],
        ..running(Slot::B)
    };
    let nowhere = Running {
        slot: None,
        ..running(Slot::B)
    };
    let open = on_trial();
    let mut unattempted = image();
    let before = unattempted.clone();
    let me = running(Slot::B);
    assert_eq!(commit(&mut unattempted, &me, ""), Err(NotOurs::NoAttempt));
    assert_eq!(unattempted, before);
    for (who, error) in [
        (stranger, NotOurs::OtherBoot(1)),
        (running(Slot::A), NotOurs::OtherSlot(Slot::B)),
        (nowhere, NotOurs::NoSlot),
    ] {
        let mut record = open.clone();
        assert_eq!(commit(&mut record, &who, ""), Err(error));
        assert_eq!(
            fail(&mut record, &who, Ended::GateFailed, 1, ""),
            Err(error)
        );
        assert_eq!(end(&mut record, &who, Ended::Reboot, 1), Err(error));
        assert_eq!(settle(&mut record, &who), Err(error));
        assert_eq!(record, open);
        assert!(!error.to_string().is_empty());
    }
}

#[test]
fn a_boot_that_has_failed_stays_failed() {
    let mut record = on_trial();
    let me = running(Slot::B);
    fail(&mut record, &me, Ended::GateFailed, 60, "app: not ready").unwrap();
    fail(&mut record, &me, Ended::InitFailed, 61, "later").unwrap();
    end(&mut record, &me, Ended::Reboot, 62).unwrap();
    let failed = record.clone();
    assert_eq!(
        commit(&mut record, &me, ""),
        Err(NotOurs::Failed(Ended::GateFailed))
    );
    assert_eq!(record, failed);
    let attempt = record.attempt.as_ref().unwrap();
    assert_eq!(attempt.state, AttemptState::Failed(Ended::GateFailed));
    assert_eq!(
        (attempt.text.as_str(), attempt.uptime_seconds),
        ("app: not ready", 62)
    );
    // A boot that is over is not good any more either; but it may still go wrong.
    let mut record = on_trial();
    end(&mut record, &me, Ended::Reboot, 5).unwrap();
    assert_eq!(
        commit(&mut record, &me, ""),
        Err(NotOurs::Over(Ended::Reboot))
    );
    fail(&mut record, &me, Ended::InitFailed, 6, "unmount").unwrap();
    let state = record.attempt.as_ref().unwrap().state;
    assert_eq!(state, AttemptState::Failed(Ended::InitFailed));
}

#[test]
fn a_refused_slot_is_charged_at_once_and_the_next_one_is_tried() {
    let mut record = on_trial();
    refuse(
        &mut record,
        Ended::ManifestRefused,
        "signature of key 3",
        NOW,
    );
    assert_eq!(record.attempt, None);
    assert_eq!(record.slot(Slot::B).tries_left, TRIES - 1);
    charge(&mut record, Slot::A, &Why::Forced, ID, NOW);
    assert_eq!(record.boots, 2);
    let refused = record.history.newest().unwrap();
    assert_eq!(
        (refused.slot, refused.ended),
        (Slot::B, Ended::ManifestRefused)
    );
    assert_eq!(refused.text.as_str(), "signature of key 3");
    // One that is known to be bad is not tried again.
    let mut record = on_trial();
    refuse(&mut record, Ended::VerityFault, "block 3", NOW);
    assert!(record.slot(Slot::B).verity_bad);
    assert_eq!(first(&record), Some(Slot::A));
    // Without an attempt there is nothing to refuse.
    let before = record.clone();
    refuse(&mut record, Ended::RootRefused, "again", NOW);
    assert_eq!(record, before);
}

#[test]
fn a_trial_that_fails_is_rolled_back_and_told() {
    let mut record = image();
    set_slot(&mut record, Slot::B, NOW);
    for tries_left in (0..TRIES).rev() {
        assert_eq!(boot(&mut record), Slot::B);
        fail(&mut record, &running(Slot::B), Ended::GateFailed, 9, "app").unwrap();
        let judged = judge(&mut record, &none(), NOW).unwrap();
        assert_eq!(record.slot(Slot::B).tries_left, tries_left);
        assert_eq!(judged.exhausted, tries_left == 0);
    }
    assert_eq!((record.phase, record.trial), (Phase::RolledBack, None));
    assert_eq!(boot(&mut record), Slot::A);
    assert_eq!(record.reason, Reason::Rollback);
    commit(&mut record, &running(Slot::A), "").unwrap();
    assert_eq!(record.phase, Phase::RolledBack);
    let newest = record.history.newest().unwrap();
    assert_eq!((newest.times, newest.text.as_str()), (3, "app"));
    // The next boot of the same slot is an ordinary one.
    judge(&mut record, &none(), NOW);
    assert_eq!(boot(&mut record), Slot::A);
    assert_eq!(record.reason, Reason::Attempt);
}

#[test]
fn an_operator_may_give_up_and_set_slots() {
    // The slot that runs: its boot has failed by that.
    let mut record = on_trial();
    give_up(&mut record, Slot::B, "smells of smoke", NOW);
    let attempt = record.attempt.clone().unwrap();
    assert_eq!(attempt.state, AttemptState::Failed(Ended::Operator));
    assert_eq!(
        (record.phase, record.reason),
        (Phase::RolledBack, Reason::Operator)
    );
    end(&mut record, &running(Slot::B), Ended::Reboot, 8).unwrap();
    judge(&mut record, &none(), NOW).unwrap();
    let told = record.history.newest().unwrap();
    assert_eq!(
        (told.ended, told.text.as_str()),
        (Ended::Operator, "smells of smoke")
    );
    assert_eq!(first(&record), Some(Slot::A));
    // The other one: an entry of its own, with no number.
    let mut record = on_trial();
    give_up(&mut record, Slot::A, "old", NOW);
    assert_eq!(record.attempt.as_ref().unwrap().state, AttemptState::Open);
    let told = record.history.newest().unwrap();
    assert_eq!(
        (told.slot, told.number, told.ended),
        (Slot::A, 0, Ended::Operator)
    );
    // And back.
    record.slot_mut(Slot::A).verity_bad = true;
    record.rescues = 3;
    set_slot(&mut record, Slot::A, NOW);
    let a = record.slot(Slot::A);
    assert_eq!((a.priority, a.tries_left, a.verity_bad), (2, TRIES, false));
    assert_eq!((record.rescues, record.phase), (0, Phase::Settled));
    assert_eq!(first(&record), Some(Slot::A));
}

#[test]
fn crashes_are_forgotten_after_a_quiet_hour_and_not_before_a_commit() {
    let mut record = on_trial();
    record.slot_mut(Slot::B).crashes = 2;
    let me = running(Slot::B);
    assert_eq!(settle(&mut record, &me), Ok(false));
    commit(&mut record, &me, "").unwrap();
    assert_eq!(record.slot(Slot::B).crashes, 2);
    assert_eq!(settle(&mut record, &me), Ok(true));
    assert_eq!(
        (record.slot(Slot::B).crashes, record.reason),
        (0, Reason::Settled)
    );
    assert_eq!(settle(&mut record, &me), Ok(false));
}
