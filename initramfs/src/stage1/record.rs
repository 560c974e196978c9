//! The boot record as stage1 keeps it: read once, judged, charged, and written to the state partition
//! before anything depends on it.
//!
//! What each change means is decided by `mounts::slot`; here is only the disk below it, and what is
//! said when that fails. A record that cannot be written stops no boot. Not here: the order of the
//! calls (`slots`).

use std::sync::Mutex;

use mounts::dps;
use mounts::handover::RecordFacts;
use mounts::keyring::copies::{self, Copies, CopyError};
use mounts::keyring::{Known, LinkId};
use mounts::slot::Slot;
use mounts::slot::account;
use mounts::slot::decide::Why;
use mounts::slot::judge::{self, Evidence, Stamp};
use mounts::slot::record::{AttemptState, Ended, Record};
use mounts::slot::region::RecordState;
use mounts::slot::store;
use mounts::verity::RootHash;

use super::disk::OurDisk;
use super::medium::Partition;
use super::report::Report;

/// The id of no boot: where the kernel tells none.
const NO_BOOT: [u8; 16] = [0; 16];

/// The partition that holds an attempt of this boot which is not over: for a panic of stage1, which
/// has nothing else at hand.
static ATTEMPTED: Mutex<Option<String>> = Mutex::new(None);

/// A refusal that the disk did not take: known until this boot is over, for its next try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unwritten {
    pub(crate) slot: Slot,
    pub(crate) ended: Ended,
    pub(crate) text: String,
}

/// The boot record of this boot.
#[derive(Debug)]
pub(crate) struct Ledger {
    device: Option<String>,
    medium: Result<Partition, String>,
    /// What the disk holds.
    stored: RecordState,
    /// The record as it is to be; none when the disk has none.
    record: Option<Record>,
    /// Whether `record` says more than the disk.
    changed: bool,
    /// `record` and `changed` before a charge that could not be written.
    before_charge: Option<(Record, bool)>,
    boot_id: [u8; 16],
    problem: Option<String>,
    writes: u32,
}

impl Ledger {
    /// Reads the record of `disk`.
    pub(crate) fn open(disk: &OurDisk, report: &mut Report) -> Self {
        let ledger = match disk.part(dps::STATE_NAME) {
            Ok(part) => Self::on(&part.device),
            Err(why) => Self::of(None, Err(why)),
        };
        match &ledger.stored {
            RecordState::Newest(newest) => {
                for skip in &newest.skipped {
                    report.warn(format!("boot record: {skip}"));
                }
            }
            RecordState::Unreadable { why, .. } => {
                report.failed(format!(
                    "boot record: unreadable, nothing is counted: {why}"
                ));
            }
        }
        ledger
    }

    fn on(device: &str) -> Self {
        Self::of(Some(device.to_owned()), Partition::open(device))
    }

    fn of(device: Option<String>, mut medium: Result<Partition, String>) -> Self {
        let stored = match &mut medium {
            Ok(partition) => store::load(partition),
            Err(why) => RecordState::unreadable(why.clone()),
        };
        let problem = match &stored {
            RecordState::Newest(_) => None,
            RecordState::Unreadable { why, .. } => Some(why.clone()),
        };
        Self {
            device,
            medium,
            record: stored.record().cloned(),
            stored,
            changed: false,
            before_charge: None,
            boot_id: kernel::system::boot_id().unwrap_or(NO_BOOT),
            problem,
            writes: 0,
        }
    }

    /// The record as it is now, judged and charged.
    pub(crate) fn state(&self) -> RecordState {
        let mut state = self.stored.clone();
        if let (RecordState::Newest(newest), Some(record)) = (&mut state, &self.record) {
            newest.record = record.clone();
        }
        state
    }

    /// Whether the judgement of the last boot is safe: on the disk, or nowhere to be made.
    pub(crate) fn is_settled(&self) -> bool {
        match &self.stored {
            RecordState::Newest(_) => !self.changed,
            // A record that is begun anew must not be charged with what was before it.
            RecordState::Unreadable { rebuild_above, .. } => {
                rebuild_above.is_some() || self.device.is_none()
            }
        }
    }

    /// Whether the disk has a record, and it says all that happened.
    pub(crate) fn is_on_disk(&self) -> bool {
        matches!(self.stored, RecordState::Newest(_)) && !self.changed
    }

    /// The crash that was judged last.
    pub(crate) fn crash_id(&self) -> Option<u32> {
        Some(self.record.as_ref()?.crash_id)
    }

    /// Judges the attempt that the last boot left, or this one: before it went to rescue.
    pub(crate) fn judge(
        &mut self,
        evidence: &Evidence,
        unwritten: &[Unwritten],
        report: &mut Report,
    ) {
        let boot_id = self.boot_id;
        let Some(record) = &mut self.record else {
            return;
        };
        let attempt = record.attempt.as_ref();
        let ours = attempt.filter(|it| it.boot_id == boot_id && boot_id != NO_BOOT);
        if let Some(slot) = ours.map(|it| it.slot) {
            // It could not be written why.
            let known = unwritten.iter().find(|it| it.slot == slot);
            let (ended, text) = known
                .map_or((Ended::Stage1Failed, "stage1 went to rescue"), |it| {
                    (it.ended, it.text.as_str())
                });
            account::refuse(record, ended, text, now());
            self.changed = true;
        } else {
            let before = record.crash_id;
            if let Some(judged) = judge::judge(record, evidence, now()) {
                report.note(&judged.to_string());
                self.changed = true;
            }
            self.changed |= record.crash_id != before;
        }
        // A slot whose charge was not written either has no attempt to tell it by.
        for bad in unwritten.iter().filter(|it| it.ended == Ended::VerityFault) {
            let slot = record.slot_mut(bad.slot);
            self.changed |= !slot.verity_bad;
            slot.verity_bad = true;
        }
    }

    /// Writes this boot down as a try of `slot`, with the judgement before it.
    pub(crate) fn charge(&mut self, slot: Slot, why: &Why, report: &mut Report) {
        let Some(record) = &mut self.record else {
            return;
        };
        let before = (record.clone(), self.changed);
        account::charge(record, slot, why, self.boot_id, now());
        self.changed = true;
        self.write(report);
        self.before_charge = self.changed.then_some(before);
        if !self.changed {
            *lock() = self.device.clone();
        }
    }

    /// Whether there is a record, and the slot charged last is not charged in it.
    pub(crate) fn is_uncounted(&self) -> bool {
        self.before_charge.is_some()
    }

    /// Takes back a charge that could not be written: its slot is not tried now.
    pub(crate) fn withdraw(&mut self) {
        if let Some((record, changed)) = self.before_charge.take() {
            self.record = Some(record);
            self.changed = changed;
        }
    }

    /// The outer loader has started the kernel of the slot that is booted.
    pub(crate) fn agreed(&mut self) {
        if let Some(record) = self.record.as_mut().filter(|it| it.redirects > 0) {
            record.redirects = 0;
            self.changed = true;
        }
    }

    /// The outer loader has tried a slot, and nothing of it came so far.
    pub(crate) fn never_arrived(&mut self, slot: Slot, text: &str) {
        if let Some(record) = &mut self.record {
            account::never_arrived(record, slot, text, now());
            self.changed = true;
        }
    }

    /// Writes down that the machine restarts for the sake of another kernel; whether that is on the
    /// disk.
    pub(crate) fn redirect(&mut self, report: &mut Report) -> bool {
        let boot_id = self.boot_id;
        let Some(record) = &mut self.record else {
            return false;
        };
        if !account::redirect(record, boot_id) {
            return false;
        }
        self.changed = true;
        self.write(report);
        !self.changed
    }

    /// The slot charged last did not hold. Written with the next charge, or by [`Ledger::write`].
    pub(crate) fn refuse(&mut self, ended: Ended, text: &str) {
        if let Some(record) = &mut self.record {
            account::refuse(record, ended, text, now());
            self.changed = true;
        }
    }

    /// Writes what has changed.
    pub(crate) fn write(&mut self, report: &mut Report) {
        let (Some(record), true) = (&self.record, self.changed) else {
            return;
        };
        let written = match &mut self.medium {
            Ok(partition) => store::append(partition, &self.stored, record.clone())
                .map_err(|error| error.to_string()),
            Err(why) => Err(why.clone()),
        };
        match written {
            Ok(stored) => {
                self.record = stored.record().cloned();
                self.stored = stored;
                self.changed = false;
                self.problem = None;
                self.writes += 1;
                report.step(&format!("boot record: write {} of stage1", self.writes));
            }
            Err(error) => {
                report.failed(format!("{error}; this boot is not counted"));
                self.problem = Some(error);
            }
        }
    }

    /// The number of this boot.
    pub(crate) fn boot_number(&self) -> Option<u32> {
        Some(self.record.as_ref()?.attempt.as_ref()?.number)
    }

    /// Whether `slot` has yet to prove itself.
    pub(crate) fn is_trial(&self, slot: Slot) -> bool {
        let record = self.record.as_ref();
        record.is_some_and(|record| record.committed != Some(slot))
    }

    /// The links of keys beside the record.
    pub(crate) fn links(&mut self) -> Copies {
        match &mut self.medium {
            Ok(partition) => copies::load(partition),
            Err(why) => [(); 2].map(|()| Err(CopyError::Unread(why.clone()))),
        }
    }

    /// The newest link of keys that ever counted.
    pub(crate) fn key_link(&self) -> LinkId {
        let record = self.record.as_ref();
        record.map_or_else(LinkId::default, |record| record.key_link)
    }

    /// Whether the system with this root hash was found good in `slot`.
    pub(crate) fn knows(&self, slot: Slot, root_hash: &RootHash) -> Known {
        let record = self.record.as_ref();
        record.map_or(Known::Untold, |record| record.knows(slot, root_hash))
    }

    /// For init.
    pub(crate) fn facts(&self) -> RecordFacts {
        RecordFacts {
            device: self.device.clone(),
            charged: !self.changed && self.boot_number().is_some(),
            problem: self.problem.clone(),
        }
    }
}

/// stage1 panicked: if it had charged a slot, that slot is told so.
pub(crate) fn blame_panic(text: &str, report: &mut Report) {
    if let Some(device) = lock().take() {
        blame(&device, text, report);
    }
}

fn blame(device: &str, text: &str, report: &mut Report) {
    let mut ledger = Ledger::on(device);
    let ours = ledger.record.as_ref().and_then(|it| it.attempt.as_ref());
    if ours.is_some_and(|it| it.boot_id == ledger.boot_id && it.state == AttemptState::Open) {
        ledger.refuse(Ended::Stage1Failed, text);
        ledger.write(report);
    }
}

fn lock() -> std::sync::MutexGuard<'static, Option<String>> {
    ATTEMPTED
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn now() -> Stamp {
    Stamp {
        unix: kernel::clock::unix_seconds(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage1::disk::Part;
    use mounts::slot::judge::{Crash, CrashKind};
    use mounts::slot::record::TRIES;
    use mounts::slot::region::{PARTITION_SIZE, Place};
    use std::os::unix::fs::FileExt;

    /// A state partition as an image builder leaves it, and the disk that has it.
    fn disk(record: Option<&Record>) -> (tempfile::NamedTempFile, OurDisk) {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(PARTITION_SIZE).unwrap();
        if let Some(record) = record {
            let at = Place::FIRST.offset();
            file.as_file().write_all_at(&record.encode(), at).unwrap();
        }
        let disk = OurDisk {
            device: "/dev/vda".to_owned(),
            parts: vec![Part {
                name: dps::STATE_NAME.to_owned(),
                device: file.path().to_str().unwrap().to_owned(),
                bytes: PARTITION_SIZE,
                uuid: String::new(),
            }],
        };
        (file, disk)
    }

    fn of_image() -> Record {
        Record::for_image(Some((RootHash::new([7; 32]), 1)), None)
    }

    fn open(disk: &OurDisk) -> (Ledger, Report) {
        let mut report = Report::default();
        (Ledger::open(disk, &mut report), report)
    }

    const WHY: Why = Why::Forced;

    #[test]
    fn a_boot_is_one_write() {
        let (_file, disk) = disk(Some(&of_image()));
        let (mut ledger, mut report) = open(&disk);
        ledger.judge(&Evidence::default(), &[], &mut report);
        ledger.charge(Slot::A, &WHY, &mut report);
        ledger.write(&mut report);
        assert_eq!(ledger.writes, 1);
        assert!(ledger.facts().charged && ledger.is_settled());
        assert_eq!(
            (ledger.boot_number(), ledger.is_trial(Slot::A)),
            (Some(1), false)
        );
        let (again, _) = open(&disk);
        assert_eq!(again.boot_number(), Some(1));
        assert_eq!(report.notes(), [""; 0]);
    }

    #[test]
    fn a_refused_slot_and_the_next_one_are_told_by_the_next_record() {
        let record = Record::for_image(
            Some((RootHash::new([7; 32]), 1)),
            Some((RootHash::new([8; 32]), 1)),
        );
        let (_file, disk) = disk(Some(&record));
        let (mut ledger, mut report) = open(&disk);
        ledger.charge(Slot::A, &WHY, &mut report);
        ledger.refuse(Ended::VerityFault, "block 5");
        assert!(!ledger.facts().charged);
        ledger.charge(Slot::B, &WHY, &mut report);
        assert_eq!(ledger.writes, 2);
        let (again, _) = open(&disk);
        let read = again.record.unwrap();
        assert!(read.slot(Slot::A).verity_bad);
        assert_eq!(read.history.newest().unwrap().text.as_str(), "block 5");
        assert_eq!(read.attempt.unwrap().slot, Slot::B);
    }

    #[test]
    fn a_crash_is_evidence_once() {
        let (_file, disk) = disk(Some(&of_image()));
        let (mut ledger, mut report) = open(&disk);
        ledger.boot_id = [1; 16];
        ledger.charge(Slot::A, &WHY, &mut report);
        let evidence = Evidence {
            watchdog_reset: false,
            crash: Some(Crash {
                kind: CrashKind::Panic,
                id: 9,
                text: "sysrq".to_owned(),
                stage: None,
            }),
        };
        for _ in 0..2 {
            let (mut next, mut report) = open(&disk);
            next.boot_id = [2; 16];
            next.judge(&evidence, &[], &mut report);
            next.write(&mut report);
            let record = next.record.unwrap();
            assert_eq!(record.slot(Slot::A).tries_left, TRIES - 1);
            assert_eq!(record.crash_id, 9);
        }
    }

    #[test]
    fn an_attempt_of_this_very_boot_is_stage1s_failure() {
        let (_file, disk) = disk(Some(&of_image()));
        let (mut ledger, mut report) = open(&disk);
        ledger.charge(Slot::A, &WHY, &mut report);
        let (mut again, _) = open(&disk);
        again.judge(&Evidence::default(), &[], &mut report);
        let record = again.record.unwrap();
        assert_eq!(record.history.newest().unwrap().ended, Ended::Stage1Failed);
        assert_eq!(record.attempt, None);
    }

    #[test]
    fn why_a_slot_was_refused_outlives_a_write_that_failed() {
        let system = |byte| Some((RootHash::new([byte; 32]), 1));
        let (_file, disk) = disk(Some(&Record::for_image(system(7), system(8))));
        let (mut ledger, mut report) = open(&disk);
        ledger.charge(Slot::A, &WHY, &mut report);
        assert!(ledger.is_on_disk());
        // Nothing of what follows reaches the disk.
        ledger.medium = Err("write protected".to_owned());
        let mut unwritten = Vec::new();
        for (slot, text) in [(Slot::A, "block 5"), (Slot::B, "block 6")] {
            ledger.refuse(Ended::VerityFault, text);
            unwritten.push(Unwritten {
                slot,
                ended: Ended::VerityFault,
                text: text.to_owned(),
            });
            ledger.charge(Slot::B, &WHY, &mut report);
        }
        assert!(!ledger.is_on_disk());
        let (mut again, _) = open(&disk);
        again.judge(&Evidence::default(), &unwritten, &mut report);
        again.write(&mut report);
        let record = open(&disk).0.record.unwrap();
        let newest = record.history.newest().unwrap();
        assert_eq!((newest.slot, newest.ended), (Slot::A, Ended::VerityFault));
        assert_eq!(newest.text.as_str(), "block 5");
        assert!(Slot::ALL.iter().all(|slot| record.slot(*slot).verity_bad));
    }

    #[test]
    fn a_panic_of_stage1_is_told_once_and_of_an_open_attempt_only() {
        let (_file, disk) = disk(Some(&of_image()));
        let device = disk.parts[0].device.clone();
        let (mut ledger, mut report) = open(&disk);
        blame(&device, "before any slot", &mut report);
        assert!(open(&disk).0.record.unwrap().history.is_empty());
        ledger.charge(Slot::A, &WHY, &mut report);
        for text in ["index out of bounds", "again"] {
            blame(&device, text, &mut report);
        }
        let record = open(&disk).0.record.unwrap();
        assert_eq!(record.history.len(), 1);
        let boot = record.history.newest().unwrap();
        assert_eq!(boot.ended, Ended::Stage1Failed);
        assert_eq!(boot.text.as_str(), "index out of bounds");
    }

    #[test]
    fn a_record_that_cannot_be_written_is_said_and_stops_nothing() {
        let (_file, disk) = disk(Some(&of_image()));
        let (mut ledger, mut report) = open(&disk);
        ledger.medium = Err("write protected".to_owned());
        ledger.charge(Slot::A, &WHY, &mut report);
        assert_eq!(ledger.writes, 0);
        let facts = ledger.facts();
        assert!(!facts.charged && facts.problem.unwrap().contains("write protected"));
        assert!(
            report.notes()[0].contains("not counted"),
            "{:?}",
            report.notes()
        );
        assert!(!ledger.is_settled());
    }

    #[test]
    fn a_charge_that_could_not_be_written_can_be_taken_back() {
        let (_file, disk) = disk(Some(&of_image()));
        let (mut ledger, mut report) = open(&disk);
        let medium = std::mem::replace(&mut ledger.medium, Err("write protected".to_owned()));
        let before = ledger.record.clone();
        ledger.charge(Slot::B, &WHY, &mut report);
        assert!(ledger.is_uncounted());
        ledger.withdraw();
        assert!(!ledger.is_uncounted());
        assert_eq!((&ledger.record, ledger.changed), (&before, false));
        // The disk takes writes again: nothing is told of a slot that was not tried.
        ledger.medium = medium;
        ledger.charge(Slot::A, &WHY, &mut report);
        assert!(!ledger.is_uncounted() && ledger.facts().charged);
        let record = open(&disk).0.record.unwrap();
        assert_eq!((record.boots, record.history.len()), (1, 0));
        assert_eq!(record.attempt.unwrap().slot, Slot::A);
        ledger.withdraw();
        assert_eq!(ledger.boot_number(), Some(1), "what is written stays");
    }

    #[test]
    fn without_a_record_nothing_is_written() {
        let (file, disk) = disk(None);
        let (mut ledger, mut report) = open(&disk);
        ledger.judge(&Evidence::default(), &[], &mut report);
        ledger.charge(Slot::A, &WHY, &mut report);
        ledger.refuse(Ended::RootRefused, "");
        ledger.write(&mut report);
        assert_eq!(ledger.writes, 0);
        let facts = ledger.facts();
        assert!(!facts.charged && facts.problem.is_some());
        // A new record may be begun here, and must not inherit old evidence.
        assert!(ledger.is_settled());
        let mut block = [1; 512];
        file.as_file().read_exact_at(&mut block, 0).unwrap();
        assert_eq!(block, [0; 512]);
        let (nowhere, report) = open(&OurDisk::default());
        assert!(nowhere.facts().device.is_none() && nowhere.is_settled());
        assert!(report.notes()[0].contains("nothing is counted"));
    }
}
