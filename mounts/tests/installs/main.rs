//! Installations on a simulated disk: each call of the machine is the last one before the power goes,
//! what was not flushed is lost, kept or torn, and what follows is compared with the rules. The order
//! is that of [`mounts::install`]; the record is changed by [`mounts::slot::update`], as on a device.
// The whole file is a test; clippy takes only what is marked `#[test]` for one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bench;
mod systems;

use fastrand::Rng;
use mounts::install::{Area, Failure, install};
use mounts::slot::Slot;
use mounts::slot::decide::{Circumstances, decide};
use mounts::slot::record::{Phase, TRIES};

use bench::{Bench, Fault, Loss};
use systems::System;

/// Installs what is new on a device whose other slot holds what is old.
fn run(bench: &mut Bench, system: &System) -> Result<mounts::install::Installed, Failure> {
    bench.offer(system);
    install(bench, &system.header, &system.table, &[])
}

/// What must hold whenever a machine starts: a manifest that verifies names what is there whole, and
/// a slot that would be booted has one.
fn holds(bench: &Bench, systems: &[&System]) {
    let signed = bench.signed();
    let whole = systems.iter().any(|it| bench.holds(it));
    assert!(
        signed.is_none() || whole,
        "a manifest that verifies, and not its system"
    );
    let candidates = decide(&bench.state(), &Circumstances::default());
    let first = candidates.first().expect("a slot is booted").0;
    if first == Slot::B {
        assert!(whole, "slot b is booted first, and is not whole");
    }
    assert!(
        candidates.iter().any(|(slot, _)| *slot == Slot::A),
        "slot a is booted no more"
    );
}

#[test]
fn an_installation_arms_the_other_slot_for_one_try() {
    let (old, new) = (System::new(1, 3), System::new(2, 3));
    let mut bench = Bench::with(&old);
    let done = run(&mut bench, &new).unwrap();
    assert_eq!((done.kept, done.written), (0, new.bytes()));
    assert!(bench.holds(&new));
    let record = &bench.record;
    let b = record.slot(Slot::B);
    assert_eq!((record.phase, record.trial), (Phase::Trial, Some(Slot::B)));
    assert_eq!((b.tries_left, b.good, b.state_generation), (1, false, 1));
    assert_eq!(record.slot(Slot::A).tries_left, TRIES);
    holds(&bench, &[&old, &new]);
    // Once more: all of it is there.
    let done = run(&mut bench, &new).unwrap();
    assert_eq!((done.kept, done.written), (new.bytes(), 0));
}

#[test]
fn power_goes_before_any_call_and_the_next_installation_ends_it() {
    let (old, new) = (System::new(1, 3), System::new(2, 3));
    let calls = {
        let mut bench = Bench::with(&old);
        run(&mut bench, &new).unwrap();
        bench.calls
    };
    let (mut states, mut tried) = (0, 0);
    for last in 0..calls {
        let mut cut = Bench::with(&old);
        cut.cut_before(last);
        assert!(run(&mut cut, &new).is_err(), "call {last} was the last one");
        for loss in Loss::each(cut.in_doubt()).chain(Loss::all()) {
            let mut bench = cut.clone();
            bench.start_again(loss, &mut Rng::with_seed(last));
            holds(&bench, &[&old, &new]);
            states += 1;
            // Slot a runs again, or slot b is tried: only then it may be installed to no more.
            if bench.record.phase == Phase::Trial {
                assert!(bench.holds(&new));
                continue;
            }
            let done = run(&mut bench, &new).unwrap();
            assert_eq!(done.kept + done.written, new.bytes());
            assert!(bench.holds(&new));
            holds(&bench, &[&old, &new]);
            tried += 1;
        }
    }
    println!("{states} states after a cut of {calls} calls; from {tried} of them it was installed");
}

#[test]
fn what_was_written_before_a_cut_is_not_fetched_again() {
    let (old, new) = (System::new(1, 8), System::new(2, 8));
    let mut bench = Bench::with(&old);
    bench.fetches_left = Some(5);
    assert!(matches!(run(&mut bench, &new), Err(Failure::Source(_))));
    bench.start_again(Loss::Nothing, &mut Rng::with_seed(0));
    bench.fetches_left = None;
    let before = bench.fetched;
    let done = run(&mut bench, &new).unwrap();
    assert_eq!(bench.fetched - before, new.chunks() - 5);
    assert!(done.kept > 0 && done.kept + done.written == new.bytes());
}

#[test]
#[allow(clippy::disallowed_methods, reason = "a test may be told its seeds")]
fn cuts_one_after_the_other_come_to_an_end() {
    let (old, new) = (System::new(1, 4), System::new(2, 4));
    let seeds = std::env::var("SHARK_SEEDS")
        .ok()
        .and_then(|it| it.parse().ok())
        .unwrap_or(300);
    for seed in 0..seeds {
        let mut rng = Rng::with_seed(seed);
        let mut bench = Bench::with(&old);
        for _ in 0..rng.usize(1..6) {
            bench.cut_before(bench.calls + rng.u64(1..40));
            let _ = run(&mut bench, &new);
            let loss = Loss::all()[rng.usize(0..Loss::all().len())];
            bench.start_again(loss, &mut rng);
            holds(&bench, &[&old, &new]);
            if bench.record.phase == Phase::Trial {
                break;
            }
        }
        if bench.record.phase != Phase::Trial {
            run(&mut bench, &new).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        }
        assert!(bench.holds(&new), "seed {seed}");
    }
}

#[test]
fn a_disk_that_lies_or_fails_arms_nothing() {
    let (old, new) = (System::new(1, 3), System::new(2, 3));
    let check = |fault: Fault, expect: fn(&Failure) -> bool| {
        let mut bench = Bench::with(&old);
        bench.fault = Some(fault);
        let failure = run(&mut bench, &new).expect_err("it was armed");
        assert!(expect(&failure), "{fault:?}: {failure}");
        assert_ne!(bench.record.phase, Phase::Trial, "{fault:?}");
        // The same disk, cured.
        bench.fault = None;
        bench.start_again(Loss::Everything, &mut Rng::with_seed(1));
        holds(&bench, &[&old, &new]);
        run(&mut bench, &new).unwrap();
        assert!(bench.holds(&new));
    };
    let misread = |it: &Failure| matches!(it, Failure::NotAsSigned(..));
    let disk = |it: &Failure| matches!(it, Failure::Disk(_));
    check(Fault::StoresWrong(Area::Root, 70_000), misread);
    check(Fault::StoresWrong(Area::Verity, 5000), misread);
    check(Fault::StoresWrong(Area::Signature, 30), misread);
    check(Fault::RefusesWrites(Area::Root), disk);
    check(Fault::RefusesWrites(Area::Verity), disk);
    check(Fault::RefusesWrites(Area::Signature), disk);
    check(Fault::RefusesFlush(Area::Root), disk);
    check(Fault::RefusesFlush(Area::Signature), disk);
    check(Fault::RefusesReads(Area::Root), disk);
}

#[test]
fn what_the_source_sends_wrongly_is_not_armed() {
    let (old, new) = (System::new(1, 3), System::new(2, 3));
    for number in 0..new.chunks() {
        let mut bench = Bench::with(&old);
        bench.fault = Some(Fault::SendsWrong(number));
        let failure = run(&mut bench, &new).unwrap_err();
        let chunk = new.table.chunk(number).unwrap();
        let there = Failure::NotAsSigned(chunk.part.into(), chunk.offset);
        assert_eq!(failure, there);
        holds(&bench, &[&old, &new]);
        // It is the only one that is fetched again.
        bench.fault = None;
        let before = bench.fetched;
        run(&mut bench, &new).unwrap();
        assert_eq!(bench.fetched - before, 1);
        assert!(bench.holds(&new));
    }
}

#[test]
fn what_is_not_proven_is_not_armed_and_what_is_called_off_ends() {
    let (old, new) = (System::new(1, 3), System::new(2, 3));
    let mut bench = Bench::with(&old);
    bench.problems = vec!["a".into(), "b".into()];
    let failure = run(&mut bench, &new).unwrap_err();
    assert_eq!(failure, Failure::Unproven(vec!["a".into(), "b".into()]));
    assert!(failure.to_string().contains("2 problems\n  a\n  b"));
    assert!(bench.signed().is_none(), "what is not proven is signed");
    holds(&bench, &[&old, &new]);
    bench.problems.clear();
    let cancelled = (1..)
        .take_while(|told| {
            let mut bench = Bench::with(&old);
            bench.goes_on_for = *told;
            let ended = run(&mut bench, &new);
            holds(&bench, &[&old, &new]);
            assert_eq!(ended.is_ok(), bench.record.phase == Phase::Trial);
            assert!(matches!(ended, Ok(_) | Err(Failure::Cancelled)));
            ended.is_err()
        })
        .count();
    assert!(cancelled > 8, "it could be called off {cancelled} times");
}

#[test]
fn what_does_not_fit_or_is_older_changes_nothing() {
    let (old, new) = (System::new(1, 3), System::new(2, 3));
    let mut bench = Bench::with(&old);
    bench.shrink(Area::Root, new.header.manifest().image_size - 4096);
    let before = bench.record.clone();
    let failure = run(&mut bench, &new).unwrap_err();
    assert!(
        matches!(
            failure,
            Failure::TooSmall {
                area: Area::Root,
                ..
            }
        ),
        "{failure}"
    );
    let mut bench = Bench::with(&old);
    bench.record.security_floor = 3;
    let failure = run(&mut bench, &new).unwrap_err();
    assert!(failure.to_string().contains("below 3"), "{failure}");
    bench.record.security_floor = before.security_floor;
    assert_eq!(bench.record, before);
    assert!(bench.holds(&old), "what was there is gone");
}
