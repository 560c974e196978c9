//! Records that are begun where there was none: what the next boots do with them.

use mounts::slot::account::{rebuild, rebuild_failed};

use super::*;

fn told(slot: Option<Slot>) -> Running {
    Running {
        slot,
        boot_id: ID,
        root_hash: Some(RootHash::new([0xcc; 32])),
        security_version: Some(9),
        root_read_whole: true,
        state_generation: None,
    }
}

/// A slot that was booted without a record and failed its gate was booted again, for ever.
#[test]
fn a_boot_that_fails_without_a_record_gives_the_other_slot_its_turn() {
    for (slot, ended) in [
        (Slot::A, Ended::GateFailed),
        (Slot::B, Ended::GateFailed),
        (Slot::B, Ended::Operator),
        (Slot::A, Ended::VerityFault),
    ] {
        let begun = rebuild_failed(&told(Some(slot)), ended, 300, "app: not ready", NOW);
        let mut record = begun.unwrap();
        assert_eq!(Record::decode(&record.encode()).as_ref(), Ok(&record));
        assert_eq!(record.reason, Reason::Rebuilt);
        assert_eq!((record.committed, record.trial), (None, None));
        assert_eq!((record.boots, record.boot_id), (1, ID));
        let (bad, other) = (*record.slot(slot), *record.slot(slot.other()));
        assert_eq!((bad.priority, bad.tries_left, bad.good), (1, 0, false));
        assert_eq!(bad.root_hash, RootHash::new([0xcc; 32]));
        assert_eq!(
            (other.priority, other.tries_left, other.good),
            (2, 1, false)
        );
        // How long it ran is still noted as it goes down, and the first cause stays.
        end(&mut record, &told(Some(slot)), Ended::Reboot, 310).unwrap();
        let judged = judge(&mut record, &none(), NOW).unwrap();
        assert_eq!((judged.slot, judged.ended), (slot, ended));
        let boot_before = record.history.newest().unwrap();
        assert_eq!((boot_before.number, boot_before.stage), (1, Stage::Gate));
        assert_eq!(boot_before.text.as_str(), "app: not ready");
        assert_eq!(boot_before.uptime_seconds, 310);
        assert_eq!(boot_before.ended_unix, NOW.unix + 10);
        assert_eq!(boot(&mut record), slot.other());
        // Good, it is committed; bad, none is left, and rescue has its pauses.
        let mut good = record.clone();
        commit(&mut good, &told(Some(slot.other())), "").unwrap();
        assert_eq!(good.committed, Some(slot.other()));
        assert_eq!(first(&good), Some(slot.other()));
        let me = running(slot.other());
        fail(&mut record, &me, Ended::GateFailed, 9, "").unwrap();
        judge(&mut record, &none(), NOW).unwrap();
        assert_eq!(first(&record), None);
        assert!(last_good(&state(&record)).is_some());
    }
}

#[test]
fn who_does_not_know_its_slot_begins_no_record() {
    let begun = rebuild_failed(&told(None), Ended::GateFailed, 1, "", NOW);
    assert_eq!(begun, Err(NotOurs::NoSlot));
    // One that passed is committed, and the other one may try once.
    let record = rebuild(&told(Some(Slot::B)), NOW);
    assert_eq!(record.committed, Some(Slot::B));
    assert_eq!(record.slot(Slot::A).tries_left, 1);
    assert_eq!(first(&record), Some(Slot::B));
}

/// With the clock not set a boot would have begun before 1970.
#[test]
fn a_clock_that_is_not_set_stays_so() {
    let now = Stamp::default();
    let begun = rebuild_failed(&told(Some(Slot::A)), Ended::GateFailed, 300, "", now);
    let mut record = begun.unwrap();
    assert_eq!(record.attempt.as_ref().unwrap().started_unix, 0);
    judge(&mut record, &none(), now).unwrap();
    assert_eq!(record.history.newest().unwrap().ended_unix, 0);
}
