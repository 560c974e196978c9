//! The supervisor against a simulated kernel, in virtual time: thousands of seeds, each a graph, a
//! script of requests and accidents, and a kernel with moods. Named invariants are checked at every
//! action, and a reference model says what must follow. A failing seed is shrunk and told with its log.
//!
//! With the feature `mutations`, rules of the supervisor are broken on purpose: each must be found out.
//!
//! `SHARK_SEED=N` runs one seed and prints its log; `SHARK_SEEDS=N` runs so many, or with `M..N` those.
//! All that fail are named, and the first of them is shrunk.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so"
)]

mod begins;
mod begun;
mod bonds;
mod check;
mod entry;
mod former;
mod generate;
mod invariants;
mod judgement;
mod kernel;
mod lazy;
mod left;
mod lying;
mod model;
mod open;
mod pods;
mod said;
mod sockets;
mod traffic;
mod turn;
mod world;

use std::cell::RefCell;
use std::panic::AssertUnwindSafe;

use services::supervisor::trace::Replay;

use generate::Script;
use invariants::Invariant;
use world::Failure;

const SEEDS: u64 = 2000;

/// Every so many seeds, a run is recorded, and its trace replayed.
const TRACED: u64 = 8;

fn run(script: &Script, verbose: bool) -> Result<Vec<String>, Failure> {
    run_traced(script, verbose, None)
}

fn run_traced(
    script: &Script,
    verbose: bool,
    trace: Option<&RefCell<String>>,
) -> Result<Vec<String>, Failure> {
    let life = AssertUnwindSafe(|| world::World::new(script, verbose, trace).run());
    std::panic::catch_unwind(life).unwrap_or_else(|_| {
        Err(Failure {
            broken: Invariant::NoPanic.broken(&"it did"),
            log: Vec::new(),
        })
    })
}

/// The same events give the same actions again.
fn replay(trace: &str) -> Result<(), Failure> {
    let mut replay = Replay::default();
    let told = trace.lines().try_for_each(|line| replay.line(line));
    told.map_err(|error| Failure {
        broken: Invariant::Replays.broken(&error),
        log: Vec::new(),
    })
}

/// Leaves out operations, then services, as long as the same invariant still breaks.
fn shrink(script: Script, invariant: Invariant) -> Script {
    let fails = |script: &Script| matches!(run(script, false), Err(failure) if failure.broken.invariant == invariant);
    let mut best = script;
    for size in [16, 4, 1, 1] {
        let mut at = 0;
        while at < best.operations.len() {
            let mut candidate = best.clone();
            let end = (at + size).min(candidate.operations.len());
            candidate.operations.drain(at..end);
            if fails(&candidate) {
                best = candidate;
            } else {
                at += size;
            }
        }
        for name in best.names() {
            let candidate = best.without(&name);
            if fails(&candidate) {
                best = candidate;
            }
        }
    }
    best
}

fn told(variable: &str) -> Option<String> {
    #[allow(clippy::disallowed_methods, reason = "a test may be told its seed")]
    std::env::var(variable).ok()
}

fn seeds() -> std::ops::Range<u64> {
    let text = told("SHARK_SEEDS").unwrap_or_else(|| SEEDS.to_string());
    let (first, end) = text.split_once("..").unwrap_or(("0", &text));
    first.parse().unwrap()..end.parse().unwrap()
}

/// A rule that is broken is so for all supervisors of the process: one test at a time.
static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

#[test]
fn invariants_hold_for_every_seed() {
    let _alone = ALONE.lock();
    if let Some(seed) = told("SHARK_SEED").map(|it| it.parse().unwrap()) {
        let outcome = run(&Script::generate(seed), true);
        match outcome {
            Ok(log) => println!("{}", log.join("\n")),
            Err(failure) => tell(seed, &Script::generate(seed), failure),
        }
        return;
    }
    let mut first = None;
    for seed in seeds() {
        let script = Script::generate(seed);
        let trace = (seed % TRACED == 0).then(RefCell::default);
        let held = run_traced(&script, false, trace.as_ref());
        let held = held.and_then(|_| trace.map_or(Ok(()), |trace| replay(&trace.borrow())));
        if let Err(failure) = held {
            eprintln!("seed {seed}: {}", failure.broken);
            first.get_or_insert((seed, script, failure));
        }
    }
    if let Some((seed, script, failure)) = first {
        tell(seed, &script, failure);
    }
}

/// Each rule of the supervisor, broken on purpose, is found out within so many seeds: as many as are
/// run of the whole one.
#[cfg(feature = "mutations")]
#[test]
fn mutations_are_caught() {
    use services::supervisor::mutation::{Mutation, mutate};

    const WITHIN: u64 = 2000;

    let _alone = ALONE.lock();
    let mut missed = Vec::new();
    for mutation in Mutation::ALL {
        mutate(Some(mutation));
        let caught = (0..WITHIN).find_map(|seed| {
            let failure = run(&Script::generate(seed), false).err()?;
            Some((seed, failure.broken.invariant.name()))
        });
        mutate(None);
        match caught {
            Some((seed, name)) => println!("{mutation:?}: caught by seed {seed}, {name}"),
            None => missed.push(mutation),
        }
    }
    assert!(
        missed.is_empty(),
        "not caught in {WITHIN} seeds: {missed:?}"
    );
}

/// What is left of a seed that fails breaks the same rule, and leaves nothing out that could be; its log
/// tells what happened, and its trace is that of the supervisor that failed and not of the whole one.
#[cfg(feature = "mutations")]
#[test]
fn a_seed_that_fails_by_mutations_shrinks_to_its_log() {
    use services::supervisor::mutation::{Mutation, mutate};

    let _alone = ALONE.lock();
    mutate(Some(Mutation::PauseNotDoubled));
    let (script, invariant) = (0..)
        .find_map(|seed| {
            let script = Script::generate(seed);
            let failure = run(&script, false).err()?;
            Some((script, failure.broken.invariant))
        })
        .expect("one seed fails");
    let small = shrink(script.clone(), invariant);
    let trace = RefCell::default();
    let failure = run_traced(&small, true, Some(&trace)).unwrap_err();
    let again = replay(&trace.borrow());
    mutate(None);
    let whole = replay(&trace.borrow());

    assert_eq!(failure.broken.invariant, invariant);
    assert!(!failure.log.is_empty());
    let size = |it: &Script| (it.operations.len(), it.services.len());
    let (before, after) = (size(&script), size(&small));
    println!("operations and services: {before:?}, then {after:?}");
    assert!(after.0 < before.0 && after.1 < before.1);
    assert!(again.is_ok(), "{:?}", again.map_err(|it| it.broken));
    assert!(whole.is_err(), "the trace is as if nothing were broken");
}

fn tell(seed: u64, script: &Script, failure_of_all: Failure) {
    let small = shrink(script.clone(), failure_of_all.broken.invariant);
    let trace = RefCell::default();
    let failure = run_traced(&small, true, Some(&trace)).err();
    let failure = failure.unwrap_or(failure_of_all);
    let file = format!("{}/seed-{seed}.trace", env!("CARGO_TARGET_TMPDIR"));
    #[allow(
        clippy::disallowed_methods,
        reason = "the trace of a failed seed is kept"
    )]
    let kept = std::fs::write(&file, trace.borrow().as_bytes());
    eprintln!("{file}: {kept:?}; `sharkctl debug replay` runs it");
    panic!(
        "seed {seed}: {}\nservices:\n{}\nscript:\n{}\nlog:\n{}",
        failure.broken,
        small.describe_services(),
        small.describe_operations(),
        failure.log.join("\n"),
    );
}
