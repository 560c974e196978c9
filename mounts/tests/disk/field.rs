//! Bad days of other devices in the field that had to do with writing a count to a disk, each as a
//! test of ours; a comment names the kind of failure.

use mounts::slot::Slot::{A, B};
use mounts::slot::account;
use mounts::slot::decide::{Circumstances, decide};
use mounts::slot::record::{AttemptState, RECORD_SIZE, Record, TRIES};
use mounts::slot::region::{PARTITION_SIZE, Place, REGION_OFFSETS, REGION_SIZE, RecordState};
use mounts::slot::store::{Medium, append, load};
use mounts::verity::RootHash;

use super::life::Device;
use super::life::Op::{Boot, Commit, End, Fail, SetSlot};
use super::model::Cause::{Cut, Panic};
use super::platter::{Block, Disk, Scope, WriteFault, Wrong};
use super::{GateFailed, Reboot};

fn lived(ops: &[super::Op]) -> Device {
    let mut device = Device::new();
    for op in ops {
        device.perform(*op).unwrap();
    }
    device
}

fn tries(device: &mut Device) -> [u8; 2] {
    let (state, _) = device.load().unwrap();
    let record = state.record().expect("there is a record");
    record.slots.map(|slot| slot.tries_left)
}

/// Power failed while the boot count was written, and it was read as zero for both slots.
#[test]
fn power_lost_while_the_count_was_written_leaves_a_count() {
    let device = lived(&[Boot(Cut), Commit]);
    for mask in 0..=u8::MAX {
        let mut device = device.clone();
        device.disk.cut = Some((device.disk.journal.len(), mask));
        device.perform(Boot(Panic)).unwrap();
        assert!(device.disk.off);
        device.disk.off = false;
        assert_eq!(tries(&mut device), [TRIES; 2], "sectors {mask:08b}");
        device.perform(Boot(Cut)).unwrap();
        device.perform(Boot(Panic)).unwrap();
        assert_eq!(tries(&mut device), [TRIES - 1, TRIES], "sectors {mask:08b}");
    }
}

/// The tool that marks a boot good reported success, and the write had failed.
#[test]
fn commit_says_so_when_the_write_failed() {
    for wrong in [
        Wrong::Refused,
        Wrong::Partly(0x01),
        Wrong::Silent,
        Wrong::Unread,
    ] {
        let mut device = lived(&[Boot(Cut)]);
        let (state, _) = device.load().unwrap();
        let mut record = state.record().unwrap().clone();
        let running = account::Running {
            slot: Some(A),
            boot_id: record.attempt.as_ref().unwrap().boot_id,
            ..account::Running::default()
        };
        account::commit(&mut record, &running, "").unwrap();
        device.disk.fail_writes(WriteFault {
            from: device.disk.journal.len(),
            scope: Scope::Disk,
            wrong,
        });
        let error = append(&mut device.disk, &state, record)
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("boot record not written:"), "{error}");
        assert!(error.contains("record 1 of region 0"), "{error}");
        let after = load(&mut device.disk);
        let attempt = after.record().unwrap().attempt.as_ref().unwrap();
        assert_eq!(attempt.state, AttemptState::Open, "{wrong:?}");
    }
}

/// A checksum did not fit, there was no other copy, and both slots got all their tries again.
#[test]
fn a_bad_checksum_never_resets_counters() {
    let device = lived(&[
        SetSlot(B),
        Boot(Cut),
        Fail(GateFailed),
        Boot(Cut),
        Fail(GateFailed),
        Boot(Cut),
    ]);
    let places: Vec<Place> = device.disk.content.keys().copied().collect();
    let newest = device.disk.newest().unwrap();
    let mut one = device.clone();
    one.is_honest = false;
    one.disk.flip(one.disk.journal[newest].place, 70 * 8);
    // The record before it counts: the failure just judged is not counted yet, and none is forgotten.
    assert_eq!(tries(&mut one), [TRIES, TRIES - 1]);
    let mut all = device;
    all.is_honest = false;
    for place in places {
        all.disk.flip(place, 70 * 8);
    }
    let (state, _) = all.load().unwrap();
    assert_eq!(decide(&state, &Circumstances::default()).len(), 2);
    let writes = all.disk.journal.len();
    all.perform(Boot(Cut)).unwrap();
    assert_eq!(
        all.disk.journal.len(),
        writes,
        "without a record nothing is counted anew"
    );
    // A boot that then proves good begins a record, and that gives the other slot one try.
    all.perform(Commit).unwrap();
    assert_eq!(tries(&mut all), [TRIES, 1]);
}

/// Two identical copies in one write, and no telling which of two different ones is the newer.
#[test]
fn twin_copies_have_a_sequence() {
    let device = lived(&[Boot(Cut), Commit, End(Reboot), Boot(Cut), Commit]);
    let sequences: Vec<u64> = device.disk.journal.iter().map(|it| it.sequence).collect();
    assert_eq!(sequences, [1, 2, 3, 4, 5, 6]);
    // Each goes to the region that does not hold the one before.
    let regions: Vec<usize> = device
        .disk
        .journal
        .iter()
        .map(|it| it.place.region())
        .collect();
    assert_eq!(regions, [0, 1, 0, 1, 0, 1]);
}

/// One write in fifty thousand stored only a part of a block, and nobody looked.
#[test]
fn a_short_write_is_found_by_reading_it_back() {
    for sectors in [0x00, 0x01, 0x0f, 0x7f] {
        let mut device = lived(&[Boot(Cut)]);
        let mut short = Short {
            disk: device.disk.clone(),
            sectors,
        };
        let (state, _) = device.load().unwrap();
        let mut record = state.record().unwrap().clone();
        record.slot_mut(A).tries_left = 1;
        let stored = append(&mut short, &state, record).unwrap();
        let place = match &stored {
            RecordState::Newest(newest) => newest.place,
            RecordState::Unreadable { why, .. } => panic!("{why}"),
        };
        assert_eq!(
            place,
            Place::new(0, 2).unwrap(),
            "the place after the short one"
        );
        assert_eq!(load(&mut short.disk).record(), stored.record());
    }
}

/// A disk whose first write stores only these sectors, and says that all is well.
struct Short {
    disk: Disk,
    sectors: u8,
}

impl Medium for Short {
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), String> {
        self.disk.read(offset, into)
    }

    fn write(&mut self, offset: u64, block: &Block) -> Result<(), String> {
        let sectors = std::mem::replace(&mut self.sectors, 0xff);
        self.disk.cut = Some((self.disk.journal.len(), sectors));
        let _torn = self.disk.write(offset, block);
        self.disk.off = false;
        Ok(())
    }
}

/// The count was written beside the partition table, and power failed in that.
#[test]
fn no_write_leaves_the_two_regions() {
    /// Takes note of where it is written, and refuses every other time.
    #[derive(Default)]
    struct Noting(Disk, Vec<u64>);
    impl Medium for Noting {
        fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), String> {
            self.0.read(offset, into)
        }
        fn write(&mut self, offset: u64, block: &Block) -> Result<(), String> {
            self.1.push(offset);
            if self.1.len().is_multiple_of(3) {
                return Err("refused".to_owned());
            }
            self.0.write(offset, block)
        }
    }
    let mut medium = Noting::default();
    let image = Record::for_image(Some((RootHash::new([1; 32]), 1)), None);
    medium.0.lay(Place::FIRST, &image.encode());
    for _ in 0..300 {
        let state = load(&mut medium);
        let record = state.record().unwrap().clone();
        append(&mut medium, &state, record).unwrap();
    }
    for offset in &medium.1 {
        let inside = REGION_OFFSETS
            .iter()
            .any(|region| (*region..region + REGION_SIZE as u64).contains(offset));
        assert!(inside && offset % RECORD_SIZE as u64 == 0, "{offset}");
        assert!(offset + RECORD_SIZE as u64 <= PARTITION_SIZE);
    }
}
