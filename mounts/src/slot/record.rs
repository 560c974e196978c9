//! One boot record: 4096 bytes, little-endian, every field at a fixed place.
//!
//! | offset | size | field |
//! |-------:|-----:|-------|
//! | 0 | 8 | magic, the bytes `SHARKREC` |
//! | 8 | 4 | version of this layout, 1 |
//! | 12 | 4 | reserved, zero |
//! | 16 | 8 | sequence number; of all valid records the highest counts |
//! | 24 | 16 | boot id of the boot that wrote it, zeros when an image builder wrote it |
//! | 40 | 1 | committed slot: 0 none, 1 a, 2 b |
//! | 41 | 1 | trial slot: 0 none, 1 a, 2 b; not 0 in the phases 1 and 2 alone, and never the committed |
//! | 42 | 1 | phase: 0 settled, 1 installing, 2 trial, 3 rolled back |
//! | 43 | 1 | reason of this write: 0 image, 1 attempt, 2 commit, 3 failed, 4 ended, 5 rollback, 6 update, 7 operator, 8 rebuilt, 9 settled, 10 redirected |
//! | 44 | 1 | rescues: how often the last good slot was tried again since the last commit |
//! | 45 | 1 | redirects: restarts because the outer loader had started another slot's kernel, since it last started the right one |
//! | 46 | 2 | reserved, zero |
//! | 48 | 4 | boots ever charged |
//! | 52 | 4 | id of the crash last harvested, 0 none |
//! | 56 | 4 | security floor: the highest security version that was ever found good |
//! | 60 | 4 | number of the newest link of keys that ever counted, 0 none |
//! | 64 | 64 | slot a, as below |
//! | 128 | 64 | slot b, as below |
//! | 192 | 128 | the attempt, as below; zeros when there is none |
//! | 320 | 16 | digest of that link, see [`LinkId`]; zeros when there is none |
//! | 336 | 176 | reserved, zero |
//! | 512 | 3072 | history: 32 past boots of 96 bytes, as below, newest first, zeros after the last |
//! | 3584 | 472 | reserved, zero |
//! | 4056 | 4 | kind of authentication: 0 none (no other kind in version 1) |
//! | 4060 | 32 | room for an HMAC over the bytes before it; zeros for kind 0 |
//! | 4092 | 4 | CRC32C (Castagnoli) over bytes 0 to 4091 |
//!
//! A slot:
//!
//! | offset | size | field |
//! |-------:|-----:|-------|
//! | 0 | 1 | priority; the higher is tried first, 0 is never booted |
//! | 1 | 1 | tries left |
//! | 2 | 1 | good: 1 once a boot of it passed its gate |
//! | 3 | 1 | verity-bad: 1 once a block of its root failed its hash |
//! | 4 | 4 | security version of its manifest |
//! | 8 | 8 | state generation that belongs to it |
//! | 16 | 32 | root hash |
//! | 48 | 1 | crashes after a commit |
//! | 49 | 1 | power cuts before a commit |
//! | 50 | 14 | reserved, zero |
//!
//! The attempt:
//!
//! | offset | size | field |
//! |-------:|-----:|-------|
//! | 0 | 1 | slot: 0 no attempt, 1 a, 2 b |
//! | 1 | 1 | state: 0 open, 1 committed, 2 failed, 3 ended in order |
//! | 2 | 1 | how it ended, as below; zero unless failed or ended |
//! | 3 | 1 | stage: 0 stage1, 1 gate, 2 running, 3 ending |
//! | 4 | 4 | number: which boot of all ever charged; 1 to the number of those |
//! | 8 | 8 | when it was charged, seconds since 1970 |
//! | 16 | 16 | its boot id |
//! | 32 | 4 | uptime in seconds |
//! | 36 | 72 | text: UTF-8 without control characters, zeros after it |
//! | 108 | 20 | reserved, zero |
//!
//! A past boot:
//!
//! | offset | size | field |
//! |-------:|-----:|-------|
//! | 0 | 1 | slot: 0 no entry, 1 a, 2 b |
//! | 1 | 1 | how it ended: 0 unknown, 1 power-off, 2 reboot, 3 panic, 4 watchdog, 5 verity fault, 6 failed gate, 7 power cut, 8 never arrived, 9 refused manifest, 10 refused root, 11 stage1 failed, 12 init failed, 13 operator, 14 oops |
//! | 2 | 1 | stage, as in the attempt |
//! | 3 | 1 | reserved, zero |
//! | 4 | 4 | number of the boot; 0 when an operator spoke and no boot ended |
//! | 8 | 8 | when it ended, seconds since 1970 |
//! | 16 | 4 | uptime in seconds |
//! | 20 | 2 | times: so many boots in a row ended so, at least 1 |
//! | 22 | 2 | reserved, zero |
//! | 24 | 72 | text, as in the attempt |
//!
//! Decoding is strict: whatever these tables do not allow is an error of its own, so that two
//! different byte strings never mean the same record. Not here: which record counts
//! ([`super::region`]), what follows from it ([`super::decide`]), who changes it
//! ([`super::account`]).

use super::Slot;
pub use super::attempt::{Attempt, AttemptState};
pub use super::fields::{Ended, Phase, Reason, SlotRecord, Stage};
pub use super::history::{HISTORY_MAX, History, PastBoot, TEXT_MAX, Text};
pub use super::record_error::RecordError;

use super::attempt::ATTEMPT_SIZE;
use super::fields::{SLOT_SIZE, is_zero, reserved, slot_byte, slot_of};
use super::history::PAST_BOOT_SIZE;
use crate::keyring::{Known, LinkId};
use crate::verity::RootHash;
use crate::wire::{Reader, Writer};

/// Bytes of a record: also the largest block size of the disks it is written to, so that one record
/// is one block.
pub const RECORD_SIZE: usize = 4096;
/// First bytes of every record.
pub const MAGIC: [u8; 8] = *b"SHARKREC";
/// The layout this code reads and writes.
pub const VERSION: u32 = 1;
/// Failures that a slot may have in a row before it is no candidate any more. An image builder, a
/// commit and an operator give a slot so many.
pub const TRIES: u8 = 3;

const SLOTS_AT: usize = 64;
const ATTEMPT_AT: usize = SLOTS_AT + 2 * SLOT_SIZE;
const HISTORY_AT: usize = 512;
const HISTORY_END: usize = HISTORY_AT + HISTORY_MAX * PAST_BOOT_SIZE;
const AUTHENTICATION_AT: usize = 4056;
const CRC_AT: usize = RECORD_SIZE - 4;

/// The boot record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Of all valid records the highest counts.
    pub sequence: u64,
    /// The kernel's boot id of the boot that wrote it; zeros from an image builder.
    pub boot_id: [u8; 16],
    /// The slot that proved good.
    pub committed: Option<Slot>,
    /// The slot that is on trial; there is one in the phases installing and trial alone.
    pub trial: Option<Slot>,
    /// What is going on.
    pub phase: Phase,
    /// Why this record was written.
    pub reason: Reason,
    /// How often the last good slot was tried again out of rescue, since the last commit.
    pub rescues: u8,
    /// How often stage1 has restarted the machine because the outer loader had started the kernel of
    /// another slot, since it last started the right one: see [`crate::loader::agree`].
    pub redirects: u8,
    /// Boots ever charged.
    pub boots: u32,
    /// Id of the crash last harvested, 0 none: see [`super::judge::Crash::id`].
    pub crash_id: u32,
    /// The highest security version that was ever found good: nothing below it is installed.
    pub security_floor: u32,
    /// The newest link of keys that ever counted. See [`crate::keyring`].
    pub key_link: LinkId,
    /// Slot a, slot b.
    pub slots: [SlotRecord; 2],
    /// The boot that is, or was last, under way.
    pub attempt: Option<Attempt>,
    /// The last boots.
    pub history: History,
}

impl Record {
    /// The first record of a disk, as an image builder writes it: `(root hash, security version)` of
    /// each slot that holds a system. Slot a, when there is one, is committed; a slot that nobody
    /// has booted yet comes after it, with [`TRIES`] tries.
    #[must_use]
    pub fn for_image(a: Option<(RootHash, u32)>, b: Option<(RootHash, u32)>) -> Self {
        let slot = |priority, system: Option<(RootHash, u32)>| {
            system.map_or_else(SlotRecord::default, |(root_hash, security_version)| {
                SlotRecord {
                    priority,
                    tries_left: TRIES,
                    security_version,
                    root_hash,
                    ..SlotRecord::default()
                }
            })
        };
        let committed = a.map(|_| Slot::A).or(b.map(|_| Slot::B));
        let mut record = Self {
            sequence: 1,
            boot_id: [0; 16],
            committed,
            trial: None,
            phase: Phase::Settled,
            reason: Reason::Image,
            rescues: 0,
            redirects: 0,
            boots: 0,
            crash_id: 0,
            security_floor: 0,
            key_link: LinkId::default(),
            slots: [slot(2, a), slot(1, b)],
            attempt: None,
            history: History::default(),
        };
        if let Some(committed) = committed {
            record.slot_mut(committed).good = true;
            record.security_floor = record.slot(committed).security_version;
        }
        record
    }

    /// What is kept of `slot`.
    #[must_use]
    pub fn slot(&self, slot: Slot) -> &SlotRecord {
        let [a, b] = &self.slots;
        match slot {
            Slot::A => a,
            Slot::B => b,
        }
    }

    /// What is kept of `slot`, to change it. Nothing is written to a disk.
    pub fn slot_mut(&mut self, slot: Slot) -> &mut SlotRecord {
        let [a, b] = &mut self.slots;
        match slot {
            Slot::A => a,
            Slot::B => b,
        }
    }

    /// Whether the system with this root hash, which lies in `slot`, was found good.
    #[must_use]
    pub fn knows(&self, slot: Slot, root_hash: &RootHash) -> Known {
        let entry = self.slot(slot);
        if entry.good && entry.root_hash == *root_hash {
            Known::Good
        } else {
            Known::Untried
        }
    }

    /// The bytes of the record, as the tables of this module lay them out.
    #[must_use]
    pub fn encode(&self) -> [u8; RECORD_SIZE] {
        let mut out = Writer::<RECORD_SIZE>::new();
        out.put(&MAGIC);
        out.put(&VERSION.to_le_bytes());
        out.skip_to(16);
        out.put(&self.sequence.to_le_bytes());
        out.put(&self.boot_id);
        out.put(&[
            slot_byte(self.committed),
            slot_byte(self.trial),
            self.phase.byte(),
            self.reason.byte(),
            self.rescues,
            self.redirects,
        ]);
        out.skip_to(48);
        out.put(&self.boots.to_le_bytes());
        out.put(&self.crash_id.to_le_bytes());
        out.put(&self.security_floor.to_le_bytes());
        out.put(&self.key_link.sequence.to_le_bytes());
        out.skip_to(SLOTS_AT);
        for slot in &self.slots {
            out.put(&slot.encode());
        }
        out.put(&Attempt::encode(self.attempt.as_ref()));
        out.put(&self.key_link.digest);
        out.skip_to(HISTORY_AT);
        for boot in self.history.iter() {
            out.put(&boot.encode());
        }
        out.skip_to(CRC_AT);
        let crc = crc32c::crc32c(out.written());
        out.put(&crc.to_le_bytes());
        out.finish()
    }

    /// Reads a record back.
    ///
    /// # Errors
    /// [`RecordError`]: [`RecordError::Blank`] for a place never written, and one variant for each
    /// thing that can be wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let bytes: &[u8; RECORD_SIZE] = bytes
            .try_into()
            .map_err(|_| RecordError::Length(bytes.len()))?;
        check_envelope(bytes)?;
        let mut input = Reader::new(bytes);
        input.array::<12>()?;
        reserved(&mut input, 4)?;
        let sequence = input.u64()?;
        let boot_id = input.array()?;
        let committed = slot_of("committed slot", input.u8()?)?;
        let trial = slot_of("trial slot", input.u8()?)?;
        let phase = Phase::of_byte(input.u8()?)?;
        let reason = Reason::of_byte(input.u8()?)?;
        let rescues = input.u8()?;
        let redirects = input.u8()?;
        reserved(&mut input, 2)?;
        let boots = input.u32()?;
        let crash_id = input.u32()?;
        let security_floor = input.u32()?;
        let key_link = input.u32()?;
        let slots = [
            SlotRecord::decode(&mut input)?,
            SlotRecord::decode(&mut input)?,
        ];
        let attempt = Attempt::decode(&mut input)?;
        let key_digest: [u8; 16] = input.array()?;
        reserved(
            &mut input,
            HISTORY_AT - ATTEMPT_AT - ATTEMPT_SIZE - key_digest.len(),
        )?;
        let history = History::decode(&mut input)?;
        reserved(&mut input, AUTHENTICATION_AT - HISTORY_END)?;
        match input.u32()? {
            0 => reserved(&mut input, 32)?,
            other => return Err(RecordError::Authentication(other)),
        }
        let record = Self {
            sequence,
            boot_id,
            committed,
            trial,
            phase,
            reason,
            rescues,
            redirects,
            boots,
            crash_id,
            security_floor,
            key_link: LinkId {
                sequence: key_link,
                digest: key_digest,
            },
            slots,
            attempt,
            history,
        };
        record.check()?;
        Ok(record)
    }

    /// What no field can say alone.
    fn check(&self) -> Result<(), RecordError> {
        let has_trial = match self.phase {
            Phase::Installing | Phase::Trial => true,
            Phase::Settled | Phase::RolledBack => false,
        };
        if self.trial.is_some() != has_trial {
            return Err(RecordError::Contradiction(
                "a trial slot belongs to the phases installing and trial, and to no other",
            ));
        }
        if self.trial.is_some() && self.trial == self.committed {
            return Err(RecordError::Contradiction(
                "the trial slot is the committed one",
            ));
        }
        if let Some(attempt) = &self.attempt
            && !(1..=self.boots).contains(&attempt.number)
        {
            return Err(RecordError::Contradiction(
                "the attempt has a number that no boot has",
            ));
        }
        Ok(())
    }
}

/// Magic, version and checksum. The version comes before the checksum: a later layout may keep its
/// checksum elsewhere, and "too new" must not read as "damaged".
fn check_envelope(bytes: &[u8; RECORD_SIZE]) -> Result<(), RecordError> {
    if is_zero(bytes) || *bytes == [0xff; RECORD_SIZE] {
        return Err(RecordError::Blank);
    }
    let mut input = Reader::new(bytes);
    let magic = input.array()?;
    if magic != MAGIC {
        return Err(RecordError::Magic(magic));
    }
    let version = input.u32()?;
    if version != VERSION {
        return Err(RecordError::Version(version));
    }
    let (covered, stored) = bytes
        .split_last_chunk::<4>()
        .ok_or(RecordError::Length(bytes.len()))?;
    let stored = u32::from_le_bytes(*stored);
    let computed = crc32c::crc32c(covered);
    if stored != computed {
        return Err(RecordError::Checksum {
            stored,
            computed,
            sequence: Reader::new(bytes.get(16..).unwrap_or_default()).u64()?,
        });
    }
    Ok(())
}
