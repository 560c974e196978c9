//! The supervisor against a simulated kernel, in virtual time: thousands of seeds, each a graph, a
//! script of requests and accidents, and a kernel with moods. Named invariants are checked at every
//! action. A failing seed is shrunk and told with its log.
//!
//! `SHARK_SEED=N` runs one seed and prints its log; `SHARK_SEEDS=N` runs so many.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so"
)]

mod check;
mod generate;
mod kernel;
mod world;

use generate::Script;
use world::Failure;

const SEEDS: u64 = 2000;

fn run(script: &Script, verbose: bool) -> Result<Vec<String>, Failure> {
    let outcome = std::panic::catch_unwind(|| world::World::new(script, verbose).run());
    outcome.unwrap_or_else(|_| {
        Err(Failure {
            invariant: "the core cannot panic".into(),
            log: Vec::new(),
        })
    })
}

/// Leaves out operations, then services, as long as the same invariant still breaks.
fn shrink(script: Script, invariant: &str) -> Script {
    let fails =
        |script: &Script| matches!(run(script, false), Err(failure) if failure.kind() == invariant);
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

fn number(variable: &str) -> Option<u64> {
    #[allow(clippy::disallowed_methods, reason = "a test may be told its seed")]
    let text = std::env::var(variable).ok()?;
    text.parse().ok()
}

#[test]
fn invariants_hold_for_every_seed() {
    if let Some(seed) = number("SHARK_SEED") {
        let outcome = run(&Script::generate(seed), true);
        match outcome {
            Ok(log) => println!("{}", log.join("\n")),
            Err(failure) => tell(seed, &Script::generate(seed), failure),
        }
        return;
    }
    for seed in 0..number("SHARK_SEEDS").unwrap_or(SEEDS) {
        let script = Script::generate(seed);
        if let Err(failure) = run(&script, false) {
            tell(seed, &script, failure);
        }
    }
}

fn tell(seed: u64, script: &Script, failure: Failure) {
    // At once, in case shrinking takes long.
    eprintln!("seed {seed}: {}", failure.invariant);
    let small = shrink(script.clone(), &failure.kind());
    let failure = run(&small, true).err().unwrap_or(failure);
    panic!(
        "seed {seed}: {}\nservices:\n{}\nscript:\n{}\nlog:\n{}",
        failure.invariant,
        small.describe_services(),
        small.describe_operations(),
        failure.log.join("\n"),
    );
}
