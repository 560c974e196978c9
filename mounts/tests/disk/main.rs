//! The boot record on a simulated disk that tears, loses and reorders writes, flips bits and fails:
//! whatever it does, a signed slot boots, no charge that was stored is forgotten, no good slot is
//! lost and no counter refilled. The number of states tried is printed (`--nocapture`): eight million,
//! in 10 s of processor time in a debug build.
//!
//! `SHARK_SEED=N` lives one seed and prints its life; `SHARK_SEEDS=N` lives so many. Bounds of the
//! exhaustive part stand at [`storm`].
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so"
)]

mod field;
mod life;
mod model;
mod platter;
mod seeds;
mod storm;

use life::Op::{
    self, Arm, Begin, Boot, Break, Cancel, Commit, End, Fail, Forced, GiveUp, Mend, RollBack,
    SetSlot, Settle,
};
use model::Cause::{Cut, Panic, Verity, Watchdog};
use mounts::slot::Slot::{A, B};
use mounts::slot::record::Ended::{GateFailed, InitFailed, PowerOff, Reboot, VerityFault};
use storm::{Tally, Trace};

const SEEDS: u64 = 100;
/// Of others, those that have not held once.
const FOUND: [u64; 1] = [471];

/// Lives that are tried exhaustively, the shorter ones first.
const LIVES: [(&str, &[Op]); 15] = [
    ("a good boot", &[Boot(Cut), Commit, End(Reboot), Boot(Cut)]),
    (
        "flapping power",
        &[Boot(Cut), Boot(Cut), Boot(Cut), Commit, Boot(Cut), Commit],
    ),
    (
        "once good, broken later",
        &[
            Boot(Cut),
            Commit,
            Boot(Panic),
            Boot(Watchdog),
            Boot(Panic),
            Commit,
            End(PowerOff),
        ],
    ),
    (
        "crashes after each commit",
        &[
            Boot(Cut),
            Commit,
            Boot(Panic),
            Commit,
            Boot(Watchdog),
            Commit,
            Boot(Panic),
            Commit,
            Boot(Cut),
        ],
    ),
    (
        "a trial that proves good",
        &[
            Boot(Cut),
            Commit,
            SetSlot(B),
            End(Reboot),
            Boot(Cut),
            Commit,
            End(Reboot),
            Boot(Cut),
        ],
    ),
    (
        "a trial that fails its gate",
        &[
            SetSlot(B),
            Boot(Cut),
            Fail(GateFailed),
            End(Reboot),
            Boot(Cut),
            Fail(InitFailed),
            Boot(Panic),
            Boot(Panic),
            Commit,
        ],
    ),
    (
        "roots that go bad under load",
        &[
            Boot(Cut),
            Commit,
            Boot(Verity),
            Commit,
            Fail(VerityFault),
            Boot(Cut),
            Boot(Cut),
            Commit,
        ],
    ),
    (
        "a refused slot",
        &[
            Break(A),
            Boot(Cut),
            Commit,
            End(Reboot),
            Boot(Cut),
            Mend(A),
            Boot(Panic),
            Commit,
        ],
    ),
    (
        "rescue and back",
        &[
            Break(A),
            Break(B),
            Boot(Cut),
            Boot(Cut),
            Boot(Cut),
            Mend(B),
            Boot(Cut),
            Boot(Cut),
            Commit,
        ],
    ),
    (
        "an operator",
        &[
            Boot(Cut),
            GiveUp(A),
            End(Reboot),
            Boot(Cut),
            Commit,
            SetSlot(A),
            End(Reboot),
            Boot(Cut),
            Commit,
            GiveUp(B),
        ],
    ),
    (
        "crashes forgotten after an hour",
        &[
            Boot(Cut),
            Commit,
            Boot(Panic),
            Commit,
            Settle,
            Boot(Panic),
            Commit,
            Boot(Panic),
            Commit,
            End(Reboot),
            Boot(Cut),
        ],
    ),
    (
        "an update that proves good and is taken back",
        &[
            Boot(Cut),
            Commit,
            Begin(5),
            Arm(5),
            End(Reboot),
            Boot(Cut),
            Commit,
            RollBack,
            End(Reboot),
            Boot(Cut),
            Commit,
        ],
    ),
    (
        "an update that is called off, and one that crashes",
        &[
            Boot(Cut),
            Commit,
            Begin(5),
            Begin(6),
            Cancel,
            Begin(6),
            Arm(6),
            Cancel,
            Begin(7),
            Arm(7),
            Boot(Cut),
            Boot(Panic),
            Commit,
        ],
    ),
    (
        "updates that are refused",
        &[
            Begin(5),
            Boot(Cut),
            Begin(5),
            Commit,
            RollBack,
            Begin(2),
            Arm(5),
            Begin(5),
            Arm(6),
            Boot(Cut),
            Commit,
            Arm(5),
            Fail(InitFailed),
            Begin(8),
        ],
    ),
    (
        "forced boots",
        &[
            Forced(B),
            Commit,
            Forced(A),
            Fail(GateFailed),
            Boot(Panic),
            Forced(B),
            Boot(Watchdog),
        ],
    ),
];

fn number(variable: &str) -> Option<u64> {
    #[allow(clippy::disallowed_methods, reason = "a test may be told its seed")]
    let text = std::env::var(variable).ok()?;
    text.parse().ok()
}

fn tell(name: &str, trace: &Trace) -> ! {
    panic!(
        "{name}: broken promise: {}\n{}\nstorm: {}\nlife:\n{}",
        trace.broken.promise,
        trace.broken.details,
        trace.storm,
        trace.life.join("\n")
    )
}

/// Tries one storm on every life, and prints how many states that were.
fn on_every_life(what: &str, storm: impl Fn(&[Op], &mut Tally) -> Result<(), Box<Trace>>) {
    let mut tally = Tally::default();
    for (name, ops) in LIVES {
        if let Err(trace) = storm(ops, &mut tally) {
            tell(name, &trace);
        }
    }
    println!("{what}: {} states, {} reboots", tally.states, tally.reboots);
}

#[test]
fn the_last_write_is_torn_in_every_way() {
    on_every_life("a torn write", |ops, tally| {
        storm::tear_the_last(&storm::live(ops)?, 1, true, tally)
    });
}

#[test]
fn the_last_two_writes_are_torn_in_every_way() {
    on_every_life("two torn writes", |ops, tally| {
        storm::tear_the_last_two(&storm::live(ops)?, tally)
    });
}

#[test]
fn acknowledged_writes_are_lost_in_every_combination() {
    on_every_life("lost writes", |ops, tally| {
        storm::lose_acknowledged(&storm::live(ops)?, tally)
    });
}

#[test]
fn a_torn_write_and_damage_besides() {
    on_every_life("damage besides", |ops, tally| {
        storm::damage_besides(&storm::live(ops)?, tally)
    });
}

#[test]
fn everything_is_misread_once() {
    on_every_life("misread records", |ops, tally| {
        storm::misread_all(&storm::live(ops)?, tally)
    });
}

#[test]
fn every_write_goes_wrong_in_every_way() {
    on_every_life("writes that fail", storm::fail_writes);
}

/// What a boot costs the disk: the figures of shark-boot-record(5), which its wear follows from.
#[test]
fn a_good_boot_costs_three_writes() {
    let writes = |ops: &[Op]| match storm::live(ops) {
        Ok(device) => device.disk.journal.len() - 1,
        Err(trace) => tell("writes", &trace),
    };
    assert_eq!(writes(&[Boot(Cut), Commit, End(Reboot)]), 3);
    assert_eq!(
        writes(&[
            Boot(Cut),
            Commit,
            End(Reboot),
            Boot(Cut),
            Commit,
            End(Reboot)
        ]),
        6
    );
    // Power fails later; or before the commit.
    assert_eq!(writes(&[Boot(Cut), Commit]), 2);
    assert_eq!(writes(&[Boot(Cut), Boot(Cut), Boot(Cut)]), 3);
    // A quiet hour is written down only after a crash.
    assert_eq!(writes(&[Boot(Cut), Commit, Settle, End(Reboot)]), 3);
    assert_eq!(
        writes(&[Boot(Cut), Commit, Boot(Panic), Commit, Settle, End(Reboot)]),
        6
    );
    // Each refused slot costs one more.
    assert_eq!(writes(&[Break(A), Boot(Cut), Commit, End(Reboot)]), 4);
}

/// Beyond 128 writes each place holds an older record, which a tear mixes with the newer one.
#[test]
fn the_regions_are_full_and_go_round() {
    let lap = [Boot(Cut), Commit, End(Reboot)];
    let ops: Vec<Op> = lap.iter().copied().cycle().take(3 * 60).collect();
    let mut tally = Tally::default();
    let done =
        storm::live(&ops).and_then(|life| storm::tear_the_last(&life, 125, false, &mut tally));
    if let Err(trace) = done {
        tell("laps", &trace);
    }
    println!(
        "full regions: {} states, {} reboots",
        tally.states, tally.reboots
    );
}

#[test]
fn long_lives_with_any_faults() {
    if let Some(seed) = number("SHARK_SEED") {
        let script = seeds::script(seed);
        let (device, broken) = seeds::live(&script);
        for entry in &device.entries {
            println!("{entry}");
        }
        if let Some(broken) = broken {
            tell_seed(seed, script, &broken);
        }
        return;
    }
    let seeds = number("SHARK_SEEDS").unwrap_or(SEEDS);
    let mut writes = 0;
    for seed in (0..seeds).chain(FOUND) {
        let script = seeds::script(seed);
        let (device, broken) = seeds::live(&script);
        writes += device.disk.journal.len();
        if let Some(broken) = broken {
            tell_seed(seed, script, &broken);
        }
    }
    println!("long lives: {seeds} seeds, {writes} writes");
}

fn tell_seed(seed: u64, script: Vec<seeds::Step>, broken: &life::Broken) -> ! {
    // At once, in case shrinking takes long.
    eprintln!("seed {seed}: {}: {}", broken.promise, broken.details);
    let small = seeds::shrink(script, broken.promise);
    let (device, broken) = seeds::live(&small);
    let broken = broken.expect("what is left still breaks the promise");
    let trace = Trace {
        broken,
        storm: format!("{small:#?}"),
        life: device.entries.iter().map(ToString::to_string).collect(),
    };
    tell(&format!("seed {seed}"), &trace)
}
