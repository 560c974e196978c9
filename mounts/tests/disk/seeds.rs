//! Long lives with random steps and random faults, each from a seed: what an exhaustive search has no
//! time for. A failing one is shrunk.

use mounts::slot::Slot;
use mounts::slot::record::Ended;
use mounts::slot::region::Place;

use super::life::{Broken, Device, Op};
use super::model::Cause;
use super::platter::{Mask, Scope, WriteFault, Wrong, torn};
use super::storm::SCOPES;

/// A step of a long life.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Do(Op),
    /// Power fails in the write after so many more.
    Cut(usize, Mask),
    /// The last writes that were acknowledged are lost, each if its bit is set, and the device stops.
    Lose(u8),
    /// A bit of the newest records flips: of which, counted from the newest, and where.
    Flip(usize, usize),
    /// The same, but only for whoever reads it.
    Misread(usize, usize),
    /// A region cannot be read.
    HideRegion(usize),
    /// The place of one of the newest writes cannot be read.
    HidePlace(usize),
    /// All can be read again.
    Show,
    /// Writes go wrong after so many more.
    Wrong(usize, Scope, Wrong),
    /// Writes go well again.
    Well,
}

/// The steps of a seed.
pub(crate) fn script(seed: u64) -> Vec<Step> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let steps = rng.usize(10..120);
    // Half of the disks keep their word; they may only be cut, and fail openly or silently in writes.
    let keeps_its_word = rng.bool();
    let calm = rng.u32(4..20);
    (0..steps)
        .map(|_| {
            if rng.u32(0..calm) > 0 {
                Step::Do(op(&mut rng))
            } else {
                fault(&mut rng, keeps_its_word)
            }
        })
        .collect()
}

fn op(rng: &mut fastrand::Rng) -> Op {
    let slot = *rng.choice(&Slot::ALL).unwrap();
    match rng.u32(0..30) {
        0..=5 => Op::Boot(*rng.choice(&Cause::ALL).unwrap()),
        6..=11 => Op::Commit,
        12 => Op::Forced(slot),
        13 => Op::Fail(Ended::GateFailed),
        14 => Op::Fail(
            *rng.choice(&[Ended::VerityFault, Ended::InitFailed])
                .unwrap(),
        ),
        15..=18 => Op::End(*rng.choice(&[Ended::Reboot, Ended::PowerOff]).unwrap()),
        19 => Op::Settle,
        20 => Op::GiveUp(slot),
        21 => Op::SetSlot(slot),
        22 => Op::Break(slot),
        23 => Op::Mend(slot),
        // Some of them older than what was found good, some begun and never armed.
        24 | 25 => Op::Begin(rng.u8(2..7)),
        26 | 27 => Op::Arm(rng.u8(4..7)),
        28 => Op::Cancel,
        _ => Op::RollBack,
    }
}

fn fault(rng: &mut fastrand::Rng, keeps_its_word: bool) -> Step {
    let wrongs = [
        Wrong::Refused,
        Wrong::Partly(rng.u8(..)),
        Wrong::Late,
        Wrong::Silent,
        Wrong::Unread,
    ];
    let kinds = if keeps_its_word { 5 } else { 10 };
    match rng.u32(0..kinds) {
        0 | 1 => Step::Cut(rng.usize(0..4), rng.u8(..)),
        2 => Step::Wrong(
            rng.usize(0..4),
            *rng.choice(&SCOPES).unwrap(),
            *rng.choice(&wrongs).unwrap(),
        ),
        3 | 4 => Step::Well,
        5 | 6 => Step::Lose(rng.u8(..8)),
        7 if rng.bool() => Step::Misread(rng.usize(0..3), rng.usize(0..4096 * 8)),
        7 => Step::Flip(rng.usize(0..3), rng.usize(0..4096 * 8)),
        8 if rng.bool() => Step::HideRegion(rng.usize(0..2)),
        8 => Step::HidePlace(rng.usize(0..3)),
        _ => Step::Show,
    }
}

/// How a life went: what the device did, and which promise broke, if any.
pub(crate) fn live(script: &[Step]) -> (Device, Option<Broken>) {
    let mut device = Device::new();
    for step in script {
        let done = match step {
            Step::Do(op) => device.perform(*op),
            other => {
                strike(&mut device, *other);
                Ok(())
            }
        };
        if let Err(broken) = done {
            return (device, Some(broken));
        }
    }
    (device, None)
}

fn strike(device: &mut Device, step: Step) {
    let writes = device.disk.journal.len();
    match step {
        Step::Do(_) => {}
        Step::Cut(after, mask) => device.disk.cut = Some((writes + after, mask)),
        Step::Lose(lost) => {
            for back in (0..3).filter(|back| lost & (1 << back) != 0) {
                lose(device, writes, back);
            }
            device.is_honest = false;
            device.disk.off = true;
        }
        Step::Flip(back, bit) => {
            if let Some(place) = place_of(device, writes, back) {
                device.disk.flip(place, bit);
                device.is_honest = false;
            }
        }
        Step::HideRegion(region) => {
            device.disk.unreadable_regions.insert(region);
            device.is_honest = false;
        }
        Step::HidePlace(back) => {
            if let Some(place) = place_of(device, writes, back) {
                device.disk.unreadable_places.insert(place);
                device.is_honest = false;
            }
        }
        Step::Misread(back, bit) => {
            if let Some(place) = place_of(device, writes, back) {
                device.disk.misread.insert(place, bit);
                device.is_honest = false;
            }
        }
        Step::Show => device.disk.show(),
        Step::Wrong(after, scope, wrong) => device.disk.fail_writes(WriteFault {
            from: writes + after,
            scope,
            wrong,
        }),
        Step::Well => device.disk.write_fault = None,
    }
}

fn place_of(device: &Device, writes: usize, back: usize) -> Option<Place> {
    let write = writes.checked_sub(1 + back)?;
    Some(device.disk.journal[write].place)
}

/// The write `back` before the last never reached the disk, though it was acknowledged.
fn lose(device: &mut Device, writes: usize, back: usize) {
    let Some(write) = writes.checked_sub(1 + back).filter(|write| *write > 0) else {
        return;
    };
    let written = device.disk.journal[write].clone();
    let holds = device
        .disk
        .content
        .get(&written.place)
        .and_then(|cell| cell.holds);
    // A later write to the same place, or damage, stands.
    if holds != Some(write) {
        return;
    }
    if written.before.contains_key(&written.place) {
        let cell = torn(&device.disk.journal, write, &written.before, 0);
        device.disk.content.insert(written.place, cell);
    } else {
        device.disk.content.remove(&written.place);
    }
}

/// Leaves out steps, and takes faults and causes for simpler ones, as long as the same promise
/// breaks.
pub(crate) fn shrink(mut script: Vec<Step>, promise: &str) -> Vec<Step> {
    let fails = |script: &[Step]| {
        live(script)
            .1
            .is_some_and(|broken| broken.promise == promise)
    };
    loop {
        let before = script.len();
        for size in [16, 4, 1] {
            let mut at = 0;
            while at < script.len() {
                let mut shorter = script.clone();
                shorter.drain(at..(at + size).min(script.len()));
                if fails(&shorter) {
                    script = shorter;
                } else {
                    at += size;
                }
            }
        }
        for at in 0..script.len() {
            let simpler = match script[at] {
                Step::Cut(_, mask) if mask != 0 => Step::Cut(0, 0),
                Step::Do(Op::Boot(_) | Op::Forced(_)) => Step::Do(Op::Boot(Cause::Cut)),
                Step::Wrong(_, _, wrong) => Step::Wrong(0, Scope::Once, wrong),
                other => other,
            };
            let kept = std::mem::replace(&mut script[at], simpler);
            if !fails(&script) {
                script[at] = kept;
            }
        }
        if script.len() == before {
            return script;
        }
    }
}
