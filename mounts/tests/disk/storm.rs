//! Power cuts and failing disks, tried exhaustively up to a bound.
//!
//! A life is lived once on a disk that keeps what it was asked for. Then, for each of its writes:
//!
//! * that write is the last and torn in each of the 256 ways its eight sectors can be;
//! * with the write before it, acknowledged and not yet on the disk: each of the 65,536 pairs;
//! * any of the three writes before it was acknowledged and is lost or torn, in each combination, so
//!   that later writes may be there and earlier ones not;
//! * and besides, one stored record is damaged or misread, one place or one region cannot be read, each
//!   in turn, and can be read again later.
//!
//! And, with the life lived anew: each write in turn is refused, written in part, written and
//! reported as failed, stored wrong and reported as stored, or cannot be read back; once, at that
//! place, in that region or from then on.
//!
//! After each of these the device starts. Tears that leave the same three things at a place (the new
//! record, the old one, neither) are loaded once for each; that they are one of the three is checked
//! for every one. Not here: lives too long to be tried so ([`super::seeds`]).

use mounts::slot::Slot;
use mounts::slot::account;
use mounts::slot::decide::{Circumstances, Why, decide, last_good};
use mounts::slot::judge::{Evidence, Stamp, judge};
use mounts::slot::record::{Ended, Record};
use mounts::slot::region::{Place, REGIONS, RecordState};

use super::life::{Broken, Device, Op, broken, with};
use super::model::{Cause, Facts};
use super::platter::{Cell, Disk, Mask, Scope, WriteFault, Written, Wrong, torn};

/// Writes before the last that may be lost although they were acknowledged.
const LOST_MAX: usize = 3;
/// Tears that stand for all: damage, and everything though nobody was told. (To tear all of a write
/// off is to stop before it.)
const TEARS: [Mask; 2] = [0x0f, 0xff];

/// How far a failing write reaches.
pub(crate) const SCOPES: [Scope; 5] = [
    Scope::Once,
    Scope::Record,
    Scope::Place,
    Scope::Region,
    Scope::Disk,
];

/// How much of a reboot is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Depth {
    /// What is found is what must be found.
    Find,
    /// And whatever ended the boot before, a slot is decided for.
    Decide,
    /// And the device starts, and loses power in that, and starts again.
    Start,
}

/// What was tried.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// States of the disk at a reboot.
    pub(crate) states: u64,
    /// Of these, those that were loaded and rebooted; the others hold the same.
    pub(crate) reboots: u64,
}

/// A failed promise and the way to it.
#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) broken: Broken,
    /// What was done to the disk.
    pub(crate) storm: String,
    /// What the device had done.
    pub(crate) life: Vec<String>,
}

fn trace(device: &Device, storm: impl Into<String>, broken: Broken) -> Box<Trace> {
    Box::new(Trace {
        broken,
        storm: storm.into(),
        life: device.entries.iter().map(ToString::to_string).collect(),
    })
}

type Outcome = Result<(), Box<Trace>>;

/// Lives `ops` on a sound disk.
pub(crate) fn live(ops: &[Op]) -> Result<Device, Box<Trace>> {
    let mut device = Device::new();
    for op in ops {
        let done = device.perform(*op);
        done.map_err(|broken| trace(&device, format!("none, at {op:?}"), broken))?;
    }
    Ok(device)
}

/// One of each kind of content that tears of this write leave, with how many tears leave it.
fn kinds(journal: &[Written], write: usize) -> Vec<(Cell, Mask, u64)> {
    let mut kinds: Vec<(Cell, Mask, u64)> = Vec::new();
    for mask in 0..=Mask::MAX {
        let cell = torn(journal, write, &journal[write].before, mask);
        let whole = Record::decode(&*cell.bytes).is_ok();
        assert_eq!(whole, cell.holds.is_some(), "write {write} torn {mask:08b}");
        match kinds.iter_mut().find(|(kind, ..)| kind.holds == cell.holds) {
            Some((_, _, count)) => *count += 1,
            None => kinds.push((cell, mask, 1)),
        }
    }
    kinds
}

/// The last write torn in every way, which is one of those from `first` on.
pub(crate) fn tear_the_last(
    life: &Device,
    first: usize,
    every_tear: bool,
    tally: &mut Tally,
) -> Outcome {
    for (write, written) in life.disk.journal.iter().enumerate().skip(first) {
        let promised = life.entry_of(write - 1);
        for mask in 0..=Mask::MAX {
            let stands_for_all = TEARS.contains(&mask);
            tally.states += 1;
            if !every_tear && !stands_for_all {
                continue;
            }
            let depth = if stands_for_all {
                Depth::Start
            } else {
                Depth::Find
            };
            let mut content = (*written.before).clone();
            let cell = torn(&life.disk.journal, write, &content, mask);
            content.insert(written.place, cell);
            let disk = Disk::with(content, &life.disk.journal);
            let told = || format!("power fails in write {write}, sectors {mask:08b} are written");
            reboot(life, disk, promised, depth, tally)
                .map_err(|broken| trace(life, told(), broken))?;
        }
    }
    Ok(())
}

/// The last two writes in flight at once, each torn in every way.
pub(crate) fn tear_the_last_two(life: &Device, tally: &mut Tally) -> Outcome {
    let journal = &life.disk.journal;
    for (write, pair) in journal.windows(2).enumerate().skip(1) {
        let [first, second] = pair else { continue };
        for (one, mask, count) in kinds(journal, write) {
            // What the second write tears is what lies there after the first.
            for (other, other_mask, other_count) in kinds(journal, write + 1) {
                tally.states += count * other_count;
                let mut content = (*first.before).clone();
                content.insert(first.place, one.clone());
                content.insert(second.place, other);
                let disk = Disk::with(content, journal);
                let promised = life.entry_of(write - 1);
                reboot(life, disk, promised, Depth::Decide, tally).map_err(|broken| {
                    let storm = format!(
                        "power fails with writes {write} and {} in flight, sectors {mask:08b} and \
                         {other_mask:08b} are written",
                        write + 1
                    );
                    trace(life, storm, broken)
                })?;
            }
        }
    }
    Ok(())
}

/// Acknowledged writes lost or torn, in each combination, and the last one torn.
pub(crate) fn lose_acknowledged(life: &Device, tally: &mut Tally) -> Outcome {
    const FATES: usize = 3;
    let journal = &life.disk.journal;
    for last in 1..journal.len() {
        // The image is on the disk for certain.
        let first = last.saturating_sub(LOST_MAX).max(1);
        let window = first..=last;
        let combinations = FATES.pow(u32::try_from(window.clone().count()).unwrap());
        for combination in 0..combinations {
            let mut content = (*journal[first].before).clone();
            let mut fates = combination;
            let mut lost = 0;
            let mut storm = format!("power fails in write {last};");
            for write in window.clone() {
                let written = &journal[write];
                let mask = [0xff, 0x00, 0x3c][fates % FATES];
                fates /= FATES;
                lost += usize::from(mask != 0xff);
                let cell = torn(&life.disk.journal, write, &content, mask);
                content.insert(written.place, cell);
                storm.push_str(&format!(" write {write} is there in sectors {mask:08b};"));
            }
            tally.states += 1;
            let disk = Disk::with(content, journal);
            let promised = life.entry_of(first - 1);
            let depth = if lost <= 1 {
                Depth::Start
            } else {
                Depth::Decide
            };
            reboot(life, disk, promised, depth, tally)
                .map_err(|broken| trace(life, storm, broken))?;
        }
    }
    Ok(())
}

/// Besides a torn write, one more thing is wrong with what was stored.
pub(crate) fn damage_besides(life: &Device, tally: &mut Tally) -> Outcome {
    let journal = &life.disk.journal;
    for (write, written) in journal.iter().enumerate().skip(1) {
        for mask in TEARS {
            let mut content = (*written.before).clone();
            let cell = torn(&life.disk.journal, write, &content, mask);
            content.insert(written.place, cell);
            let sound = Disk::with(content, journal);
            let newest = sound.newest().map(|write| journal[write].sequence);
            for (disk, what) in damages(&sound) {
                tally.states += 1;
                // Damage to an older record leaves the start that it has without.
                let depth = if disk.newest().map(|write| journal[write].sequence) == newest {
                    Depth::Decide
                } else {
                    Depth::Start
                };
                reboot(life, disk, 0, depth, tally).map_err(|broken| {
                    let storm = format!(
                        "power fails in write {write}, sectors {mask:08b} are written; {what}"
                    );
                    trace(life, storm, broken)
                })?;
            }
        }
    }
    Ok(())
}

/// Every record is misread, its sequence number too, a new one is begun, and then all of them can be
/// read again.
pub(crate) fn misread_all(life: &Device, tally: &mut Tally) -> Outcome {
    let journal = &life.disk.journal;
    for written in journal.iter().skip(1) {
        let mut disk = Disk::with((*written.before).clone(), journal);
        disk.misread_at_once = true;
        for (place, cell) in &disk.content {
            let sequence = cell.holds.map_or(1, |write| journal[write].sequence);
            let bit = 16 * 8 + usize::try_from(sequence.trailing_zeros()).unwrap();
            disk.misread.insert(*place, bit);
        }
        tally.states += 1;
        reboot(life, disk, 0, Depth::Start, tally)
            .map_err(|broken| trace(life, "every record is misread", broken))?;
    }
    Ok(())
}

fn damages(sound: &Disk) -> Vec<(Disk, String)> {
    let places: Vec<Place> = sound.content.keys().copied().collect();
    let mut all = Vec::new();
    for place in places {
        let mut disk = sound.clone();
        // In the sequence number, in a counter, at the end: anywhere is caught by the checksum.
        let bit = [16 * 8 + 3, 65 * 8, 4090 * 8][place.index() % 3];
        disk.flip(place, bit);
        all.push((disk, format!("bit {bit} of {place} flips")));
        let mut disk = sound.clone();
        disk.misread.insert(place, bit);
        all.push((disk, format!("bit {bit} of {place} is misread")));
        let mut disk = sound.clone();
        disk.unreadable_places.insert(place);
        all.push((disk, format!("{place} cannot be read")));
    }
    for region in 0..REGIONS {
        let mut disk = sound.clone();
        disk.unreadable_regions.insert(region);
        all.push((disk, format!("region {region} cannot be read")));
    }
    all
}

/// Each write in turn goes wrong in each way, and the life goes on; then power fails.
pub(crate) fn fail_writes(ops: &[Op], tally: &mut Tally) -> Outcome {
    // The device before each step, so that no life is lived twice up to the fault.
    let mut befores = vec![Device::new()];
    for op in ops {
        let mut device = befores[befores.len() - 1].clone();
        let done = device.perform(*op);
        done.map_err(|broken| trace(&device, format!("none, at {op:?}"), broken))?;
        befores.push(device);
    }
    let writes = befores[ops.len()].disk.journal.len();
    let wrongs = [
        Wrong::Refused,
        Wrong::Partly(0x0f),
        Wrong::Partly(0xf1),
        Wrong::Late,
        Wrong::Silent,
        Wrong::Unread,
    ];
    for from in 1..writes {
        for scope in SCOPES {
            for wrong in wrongs {
                let fault = WriteFault { from, scope, wrong };
                let reached = |device: &&Device| device.disk.journal.len() <= from;
                let lived = befores.iter().rposition(|device| reached(&device)).unwrap();
                let mut device = befores[lived].clone();
                device.disk.fail_writes(fault);
                for op in &ops[lived..] {
                    let done = device.perform(*op);
                    done.map_err(|broken| trace(&device, format!("{fault:?}"), broken))?;
                }
                let told = |broken| trace(&device, format!("{fault:?}"), broken);
                one_sound_region_stores(&device, scope).map_err(told)?;
                if scope == Scope::Region && wrong == Wrong::Refused {
                    regions_take_turns(&device, tally).map_err(told)?;
                }
                tally.states += 1;
                let disk = device.disk.clone();
                let promised = device.last_stored();
                reboot(&device, disk, promised, Depth::Decide, tally)
                    .map_err(|broken| trace(&device, format!("{fault:?}, power fails"), broken))?;
            }
        }
    }
    Ok(())
}

fn one_sound_region_stores(device: &Device, scope: Scope) -> Result<(), Broken> {
    let may_fail = match scope {
        Scope::Record | Scope::Disk => true,
        Scope::Once | Scope::Place | Scope::Region => false,
    };
    match device.entries.iter().find(|entry| !entry.stored) {
        Some(entry) if !may_fail => Err(broken("one sound region is enough to store", &entry.what)),
        Some(_) | None => Ok(()),
    }
}

/// One region took no writes for long, and then the other one cannot be read: what it hides is far
/// ahead of what can be seen, and must not count when it comes back.
fn regions_take_turns(device: &Device, tally: &mut Tally) -> Result<(), Broken> {
    let mut disk = device.disk.clone();
    let Some(newest) = disk.newest() else {
        return Ok(());
    };
    let region = disk.journal[newest].place.region();
    disk.write_fault = None;
    disk.unreadable_regions.insert(region);
    tally.states += 1;
    reboot(device, disk, 0, Depth::Start, tally)
}

/// What a load finds, and that it is no older than what was promised.
fn find(
    life: &Device,
    disk: Disk,
    promised: usize,
    tally: &mut Tally,
) -> Result<(Device, RecordState, Option<usize>), Broken> {
    tally.reboots += 1;
    let mut device = life.on(disk);
    let (state, entry) = device.load()?;
    // A promise of the image alone may be broken by damage to that.
    if promised > 0 && entry < Some(promised) {
        return Err(broken("what reached the disk counts", (entry, promised)));
    }
    Ok((device, state, entry))
}

/// The device starts on such a disk, and everything that was promised is tried.
fn reboot(
    life: &Device,
    disk: Disk,
    promised: usize,
    depth: Depth,
    tally: &mut Tally,
) -> Result<(), Broken> {
    let (mut device, state, entry) = find(life, disk, promised, tally)?;
    if depth == Depth::Find {
        return Ok(());
    }
    let entry = entry.map(|entry| device.entries[entry].clone());
    let roots = entry.as_ref().map_or([false; 2], |entry| entry.broken);
    device.roots_broken = roots;
    let (RecordState::Newest(newest), Some(entry)) = (&state, entry) else {
        // Both slots may boot, signed as they are, and no counter is touched.
        for crashed in [false, true] {
            let around = Circumstances {
                crashed,
                ..Circumstances::default()
            };
            if decide(&state, &around).len() != 2 {
                return Err(broken("without a record both slots are tried", crashed));
            }
        }
        return start(&device, depth, tally);
    };
    for cause in Cause::ALL {
        let mut record = newest.record.clone();
        let evidence = Evidence {
            watchdog_reset: cause == Cause::Watchdog,
            crash: None,
        };
        let judged = judge(&mut record, &evidence, Stamp::default());
        if judged.is_some() != entry.facts.attempt.is_some() {
            return Err(broken("an attempt is judged once", judged));
        }
        check_counters(&entry.facts, &Facts::of(&record))?;
        if roots != [true; 2] {
            a_slot_boots(&with(newest, &record), roots)?;
        }
    }
    start(&device, depth, tally)
}

/// Nothing is refilled and no good slot is lost by a start.
fn check_counters(before: &Facts, after: &Facts) -> Result<(), Broken> {
    for (old, new) in before.slots.iter().zip(after.slots) {
        if new.tries > old.tries || new.cuts < old.cuts || (old.bad && !new.bad) {
            return Err(broken("no counter is refilled", (old, new)));
        }
        if (old.good && !new.good) || (old.priority > 0 && new.priority == 0) {
            return Err(broken("no good slot is lost", (old, new)));
        }
    }
    if after.committed != before.committed || after.rescues < before.rescues {
        return Err(broken("no counter is refilled", (before, after)));
    }
    Ok(())
}

/// Boots until a slot whose root opens is reached; two rounds of rescue are enough for any record.
fn a_slot_boots(state: &RecordState, roots: [bool; 2]) -> Result<(), Broken> {
    let opens = |slot: Slot| !roots[usize::from(slot == Slot::B)];
    let RecordState::Newest(newest) = state else {
        return Ok(());
    };
    let mut record = newest.record.clone();
    for _ in 0..3 {
        for (slot, why) in decide(&with(newest, &record), &Circumstances::default()) {
            account::charge(&mut record, slot, &why, [1; 16], Stamp::default());
            if opens(slot) {
                return Ok(());
            }
            account::refuse(&mut record, Ended::RootRefused, "", Stamp::default());
        }
        let Some(slot) = last_good(&with(newest, &record)) else {
            return Err(broken("rescue has a slot to go on with", record.slots));
        };
        account::charge(&mut record, slot, &Why::LastGood, [1; 16], Stamp::default());
        if opens(slot) {
            return Ok(());
        }
        account::refuse(&mut record, Ended::RootRefused, "", Stamp::default());
    }
    Err(broken("a slot that can be opened boots", record.slots))
}

/// The device really starts: power fails once more in its first write, then it boots and commits,
/// and what could not be read before can be read again.
fn start(device: &Device, depth: Depth, tally: &mut Tally) -> Result<(), Broken> {
    if depth < Depth::Start {
        return Ok(());
    }
    for mask in TEARS {
        let mut again = device.clone();
        again.disk.cut = Some((again.disk.journal.len(), mask));
        tally.states += 1;
        tally.reboots += 1;
        again.perform(Op::Boot(Cause::Cut))?;
        again.disk.off = false;
        again.load()?;
    }
    let before = device.entries.len();
    let mut device = device.clone();
    device.disk.write_fault = None;
    for op in [Op::Boot(Cause::Cut), Op::Commit, Op::Boot(Cause::Cut)] {
        device.perform(op)?;
    }
    device.disk.show();
    let (state, entry) = device.load()?;
    let last = device.last_stored();
    if state.record().is_some() && last >= before && entry < Some(last) {
        return Err(broken(
            "what was hidden is never newer again",
            (entry, last),
        ));
    }
    Ok(())
}
