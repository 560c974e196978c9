//! Bad days of other devices in the field, each as a test of ours; a comment names the kind of
//! failure. Not here: what the disk does to a record (`tests/disk`).

use mounts::slot::Slot;
use mounts::slot::account::{Running, charge, commit, end, fail, rebuild, set_slot};
use mounts::slot::decide::{Why, last_good, rescue_pause};
use mounts::slot::judge::{
    CRASHES_MAX, CUTS_GOOD, CUTS_TRIAL, Charged, CrashKind, Evidence, judge,
};
use mounts::slot::record::{AttemptState, Ended, Phase, Reason, Record, TRIES};
use mounts::verity::RootHash;

use super::{ID, NOW, boot, crash, first, image, none, on_trial, running, state};

/// Power failed while a count was written, and both counters were read as zero: an endless reboot.
#[test]
fn both_counters_zero_is_no_endless_reboot() {
    let mut record = image();
    for slot in &mut record.slots {
        slot.tries_left = 0;
    }
    assert_eq!(first(&record), None);
    let mut pauses = Vec::new();
    for _ in 0..4 {
        let pause = rescue_pause(record.rescues);
        pauses.push(pause.as_secs());
        let slot = last_good(&state(&record)).unwrap();
        charge(&mut record, slot, &Why::LastGood, ID, NOW);
        judge(&mut record, &crash(CrashKind::Panic, 1), NOW).unwrap();
        assert_eq!(record.slots.map(|slot| slot.tries_left), [0, 0]);
    }
    assert_eq!(pauses, [60, 120, 240, 480]);
    // The one that comes up at last is good again by its commit, and by nothing else.
    let slot = last_good(&state(&record)).unwrap();
    charge(&mut record, slot, &Why::LastGood, ID, NOW);
    commit(&mut record, &running(slot), "").unwrap();
    assert_eq!(record.rescues, 0);
    assert_eq!(first(&record), Some(slot));
}

/// A few quick power cycles took a slot down that had been good for months; a few more, the other.
#[test]
fn flapping_power_does_not_demote_a_good_slot() {
    let mut record = image();
    for _ in 0..30 {
        assert_eq!(boot(&mut record), Slot::A);
        judge(&mut record, &none(), NOW).unwrap();
    }
    assert_eq!(record.slot(Slot::A).tries_left, TRIES);
    assert_eq!(record.history.len(), 1);
    // Nor does power that fails after each commit, however often.
    for _ in 0..1000 {
        assert_eq!(boot(&mut record), Slot::A);
        commit(&mut record, &running(Slot::A), "").unwrap();
        judge(&mut record, &none(), NOW).unwrap();
    }
    assert_eq!(record.slot(Slot::A).power_cuts, 0);
    assert_eq!(first(&record), Some(Slot::A));
}

/// A board that draws too much browns out on each boot of a slot: that looks like a power cut, and
/// must not hold the device for ever.
#[test]
fn a_slot_that_only_ever_loses_power_is_given_up_late() {
    let mut record = image();
    set_slot(&mut record, Slot::B, NOW);
    let mut boots = 0;
    while first(&record) == Some(Slot::B) {
        boot(&mut record);
        judge(&mut record, &none(), NOW).unwrap();
        boots += 1;
    }
    assert_eq!(boots, CUTS_TRIAL);
    let mut boots = 0;
    while first(&record) == Some(Slot::A) {
        boot(&mut record);
        judge(&mut record, &none(), NOW).unwrap();
        boots += 1;
    }
    assert_eq!(boots, CUTS_GOOD);
}

/// A service that restarts the machine before its gate is no fault that anybody records.
#[test]
fn a_slot_that_restarts_before_its_gate_is_no_endless_loop() {
    let mut record = image();
    set_slot(&mut record, Slot::B, NOW);
    let mut boots = 0;
    while boot(&mut record) == Slot::B {
        end(&mut record, &running(Slot::B), Ended::Reboot, 20).unwrap();
        judge(&mut record, &none(), NOW).unwrap();
        boots += 1;
    }
    assert_eq!(boots, CUTS_TRIAL);
}

/// Once a slot had been blessed, nothing counted its crashes any more, and it looped for ever.
#[test]
fn once_good_is_not_good_for_ever() {
    let crashing = |break_it: fn(&mut Record, u32)| {
        let mut record = image();
        let mut boots = 0;
        while first(&record) == Some(Slot::A) {
            boot(&mut record);
            boots += 1;
            break_it(&mut record, boots);
            assert!(boots < 50, "it loops");
        }
        assert_eq!(boot(&mut record), Slot::B);
        commit(&mut record, &running(Slot::B), "").unwrap();
        assert_eq!(
            (record.committed, record.phase),
            (Some(Slot::B), Phase::RolledBack)
        );
        boots
    };
    let tries = u32::from(TRIES);
    // Before the gate.
    let panics = crashing(|record, id| {
        judge(record, &crash(CrashKind::Panic, id), NOW);
    });
    assert_eq!(panics, tries);
    // After each commit, which gives the tries back.
    let crashes = crashing(|record, id| {
        commit(record, &running(Slot::A), "").unwrap();
        judge(record, &crash(CrashKind::Oops, id), NOW);
    });
    assert_eq!(crashes, u32::from(CRASHES_MAX));
    // Told by PID 1 itself, after each commit.
    let told = crashing(|record, _| {
        commit(record, &running(Slot::A), "").unwrap();
        fail(record, &running(Slot::A), Ended::InitFailed, 9, "x").unwrap();
        judge(record, &none(), NOW);
    });
    assert_eq!(told, u32::from(CRASHES_MAX));
    // A root that goes bad under load.
    let verity = crashing(|record, id| {
        commit(record, &running(Slot::A), "").unwrap();
        judge(record, &crash(CrashKind::Verity, id), NOW);
    });
    assert_eq!(verity, 1);
}

/// Crashes that lie months apart are no pattern.
#[test]
fn an_orderly_end_between_crashes_keeps_a_slot() {
    let mut record = image();
    for id in 1..20 {
        assert_eq!(boot(&mut record), Slot::A);
        commit(&mut record, &running(Slot::A), "").unwrap();
        if id % 3 == 0 {
            end(&mut record, &running(Slot::A), Ended::Reboot, 9).unwrap();
            judge(&mut record, &none(), NOW).unwrap();
            assert_eq!(record.slot(Slot::A).crashes, 0);
        } else {
            judge(&mut record, &crash(CrashKind::Panic, id), NOW).unwrap();
        }
    }
    assert_eq!(first(&record), Some(Slot::A));
}

/// What pstore could not be made to forget was charged to each boot that followed.
#[test]
fn a_crash_is_charged_once_even_if_it_cannot_be_removed() {
    let mut record = on_trial();
    let same = crash(CrashKind::Panic, 77);
    judge(&mut record, &same, NOW).unwrap();
    assert_eq!(record.crash_id, 77);
    boot(&mut record);
    let judged = judge(&mut record, &same, NOW).unwrap();
    assert_eq!(
        (judged.ended, judged.charged),
        (Ended::PowerCut, Charged::Cut)
    );
    // One that was there before the device was ours is nobody's.
    let mut record = image();
    assert_eq!(judge(&mut record, &same, NOW), None);
    boot(&mut record);
    let judged = judge(&mut record, &same, NOW).unwrap();
    assert_eq!(judged.charged, Charged::Cut);
    // The watchdog is a witness of its own.
    boot(&mut record);
    let again = Evidence {
        watchdog_reset: true,
        ..same
    };
    assert_eq!(
        judge(&mut record, &again, NOW).unwrap().ended,
        Ended::Watchdog
    );
}

/// A boot that was charged and never judged must not vanish when the next one is charged.
#[test]
fn an_attempt_is_never_overwritten_unjudged() {
    let mut record = on_trial();
    charge(&mut record, Slot::B, &Why::Forced, [9; 16], NOW);
    assert_eq!(record.history.newest().unwrap().ended, Ended::PowerCut);
    assert_eq!(record.slot(Slot::B).power_cuts, 1);
    assert_eq!(record.attempt.as_ref().unwrap().number, 2);
}

/// Where the record was lost, both slots were given full tries, as if nothing had happened.
#[test]
fn a_new_record_commits_what_runs_and_no_more() {
    let told = Running {
        root_hash: Some(RootHash::new([5; 32])),
        security_version: Some(6),
        ..running(Slot::B)
    };
    let record = rebuild(&told, NOW);
    assert_eq!(
        (record.committed, record.reason),
        (Some(Slot::B), Reason::Rebuilt)
    );
    let [a, b] = record.slots;
    assert_eq!(
        (b.priority, b.tries_left, b.good, b.security_version),
        (2, TRIES, true, 6)
    );
    assert_eq!((a.priority, a.tries_left, a.good), (1, 1, false));
    let attempt = record.attempt.as_ref().unwrap();
    assert_eq!(
        (attempt.state, attempt.boot_id),
        (AttemptState::Committed, ID)
    );
    assert_eq!(Record::decode(&record.encode()), Ok(record));
    let none = rebuild(&Running::default(), NOW);
    assert_eq!((none.committed, none.attempt.clone()), (None, None));
    assert_eq!(Record::decode(&none.encode()), Ok(none));
}
