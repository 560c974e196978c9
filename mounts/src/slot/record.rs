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
//! | 41 | 1 | trial slot: 0 none, 1 a, 2 b |
//! | 42 | 1 | phase: 0 settled, 1 installing, 2 trial, 3 rolled back |
//! | 43 | 1 | reason of this write: 0 image, 1 attempt, 2 commit, 3 rollback, 4 update, 5 operator |
//! | 44 | 4 | reserved, zero |
//! | 48 | 64 | slot a, as below |
//! | 112 | 64 | slot b, as below |
//! | 176 | 80 | reserved, zero |
//! | 256 | 1024 | history: 64 past boots of 16 bytes, newest first, zeros after the last |
//! | 1280 | 2776 | reserved, zero |
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
//! | 48 | 16 | reserved, zero |
//!
//! A past boot:
//!
//! | offset | size | field |
//! |-------:|-----:|-------|
//! | 0 | 1 | slot: 0 no entry, 1 a, 2 b |
//! | 1 | 1 | how it ended: 0 unknown, 1 power-off, 2 reboot, 3 panic, 4 watchdog, 5 verity fault, 6 failed gate, 7 power cut, 8 never arrived, 9 refused manifest |
//! | 2 | 2 | reserved, zero |
//! | 4 | 4 | uptime in seconds |
//! | 8 | 8 | reserved, zero |
//!
//! Decoding is strict: whatever this table does not allow is an error of its own, so that two
//! different byte strings never mean the same record. Not here: which record counts
//! ([`super::region`]), what follows from it ([`super::decide`]).

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::Slot;
pub use super::record_error::RecordError;
use crate::verity::RootHash;
use crate::wire::{Reader, Writer};

/// Bytes of a record: also the largest block size of the disks it is written to, so that one record
/// is one block.
pub const RECORD_SIZE: usize = 4096;
/// First bytes of every record.
pub const MAGIC: [u8; 8] = *b"SHARKREC";
/// The layout this code reads and writes.
pub const VERSION: u32 = 1;
/// Past boots a record remembers.
pub const HISTORY_MAX: usize = 64;
/// Tries that an image builder gives a slot nobody has booted yet.
pub const TRIES: u8 = 3;

const SLOTS_AT: usize = 48;
const HISTORY_AT: usize = 256;
const HISTORY_END: usize = HISTORY_AT + HISTORY_MAX * 16;
const AUTHENTICATION_AT: usize = 4056;
const CRC_AT: usize = RECORD_SIZE - 4;

/// What is going on with the slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Nothing is under way.
    Settled,
    /// An update is being written to the trial slot.
    Installing,
    /// The trial slot is being tried.
    Trial,
    /// The trial slot failed; the committed one runs again.
    RolledBack,
}

/// Why the record was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// It came with the image.
    Image,
    /// A boot attempt was charged.
    Attempt,
    /// A boot was found good.
    Commit,
    /// A slot was given up.
    Rollback,
    /// An update was begun or finished.
    Update,
    /// An operator asked for it.
    Operator,
}

/// How a past boot ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// Nobody knows.
    Unknown,
    /// An orderly power-off.
    PowerOff,
    /// An orderly reboot.
    Reboot,
    /// The kernel panicked.
    Panic,
    /// The watchdog reset the machine.
    Watchdog,
    /// A block of the root failed its hash.
    VerityFault,
    /// The services that matter were not healthy in time.
    GateFailed,
    /// Power was lost.
    PowerCut,
    /// The slot's kernel was asked for and never came up.
    NeverArrived,
    /// The slot's manifest was refused.
    ManifestRefused,
}

/// What the record keeps of one slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotRecord {
    /// The higher is tried first; 0 is never booted.
    pub priority: u8,
    /// Boots it may still try before it has proved good.
    pub tries_left: u8,
    /// A boot of it passed its gate.
    pub good: bool,
    /// A block of its root failed its hash.
    pub verity_bad: bool,
    /// Security version of its manifest.
    pub security_version: u32,
    /// The generation of /etc and service state that belongs to it.
    pub state_generation: u64,
    /// The root hash its manifest names.
    pub root_hash: RootHash,
}

/// One line of the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PastBoot {
    /// The slot that ran.
    pub slot: Slot,
    /// How it ended.
    pub ended: Ended,
    /// How long it ran, in seconds.
    pub uptime_seconds: u32,
}

/// The last boots, newest first, at most [`HISTORY_MAX`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History(VecDeque<PastBoot>);

impl History {
    /// Adds the newest boot; the oldest is forgotten when there is no room.
    pub fn push(&mut self, boot: PastBoot) {
        self.0.truncate(HISTORY_MAX - 1);
        self.0.push_front(boot);
    }

    /// Newest first.
    pub fn iter(&self) -> impl Iterator<Item = &PastBoot> {
        self.0.iter()
    }

    /// How many boots are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// No boot is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The boot record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Of all valid records the highest counts.
    pub sequence: u64,
    /// The kernel's boot id of the boot that wrote it; zeros from an image builder.
    pub boot_id: [u8; 16],
    /// The slot that proved good.
    pub committed: Option<Slot>,
    /// The slot that is on trial.
    pub trial: Option<Slot>,
    /// What is going on.
    pub phase: Phase,
    /// Why this record was written.
    pub reason: Reason,
    /// Slot a, slot b.
    pub slots: [SlotRecord; 2],
    /// The last boots.
    pub history: History,
}

impl Record {
    /// The first record of a disk, as an image builder writes it: `(root hash, security version)` of
    /// each slot that holds a system. Slot a, when there is one, is committed; a slot that nobody
    /// has booted yet has [`TRIES`].
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
            slots: [slot(2, a), slot(1, b)],
            history: History::default(),
        };
        if let Some(committed) = committed {
            record.slot_mut(committed).good = true;
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

    /// The bytes of the record, as the table of this module lays them out.
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
            phase_byte(self.phase),
            reason_byte(self.reason),
        ]);
        for (slot, at) in self.slots.iter().zip([SLOTS_AT, SLOTS_AT + 64]) {
            out.skip_to(at);
            out.put(&[
                slot.priority,
                slot.tries_left,
                u8::from(slot.good),
                u8::from(slot.verity_bad),
            ]);
            out.put(&slot.security_version.to_le_bytes());
            out.put(&slot.state_generation.to_le_bytes());
            out.put(slot.root_hash.as_bytes());
        }
        out.skip_to(HISTORY_AT);
        for boot in self.history.iter() {
            out.put(&[slot_byte(Some(boot.slot)), ended_byte(boot.ended), 0, 0]);
            out.put(&boot.uptime_seconds.to_le_bytes());
            out.put(&[0; 8]);
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
        let phase = phase_of(input.u8()?)?;
        let reason = reason_of(input.u8()?)?;
        reserved(&mut input, 4)?;
        let slots = [decode_slot(&mut input)?, decode_slot(&mut input)?];
        reserved(&mut input, HISTORY_AT - SLOTS_AT - 128)?;
        let history = decode_history(&mut input)?;
        reserved(&mut input, AUTHENTICATION_AT - HISTORY_END)?;
        match input.u32()? {
            0 => reserved(&mut input, 32)?,
            other => return Err(RecordError::Authentication(other)),
        }
        Ok(Self {
            sequence,
            boot_id,
            committed,
            trial,
            phase,
            reason,
            slots,
            history,
        })
    }
}

/// Magic, version and checksum. The version comes before the checksum: a later layout may keep its
/// checksum elsewhere, and "too new" must not read as "damaged".
fn check_envelope(bytes: &[u8; RECORD_SIZE]) -> Result<(), RecordError> {
    if bytes.iter().all(|byte| *byte == 0) || bytes.iter().all(|byte| *byte == 0xff) {
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
        return Err(RecordError::Checksum { stored, computed });
    }
    Ok(())
}

fn decode_slot(input: &mut Reader<'_>) -> Result<SlotRecord, RecordError> {
    let slot = SlotRecord {
        priority: input.u8()?,
        tries_left: input.u8()?,
        good: flag("good", input.u8()?)?,
        verity_bad: flag("verity-bad", input.u8()?)?,
        security_version: input.u32()?,
        state_generation: input.u64()?,
        root_hash: RootHash::new(input.array()?),
    };
    reserved(input, 16)?;
    Ok(slot)
}

fn decode_history(input: &mut Reader<'_>) -> Result<History, RecordError> {
    let mut boots = VecDeque::new();
    let mut ended_at = None;
    for _ in 0..HISTORY_MAX {
        let at = input.offset();
        let entry = input.array::<16>()?;
        let mut fields = Reader::new(&entry);
        let Some(slot) = slot_of("slot of a past boot", fields.u8()?)? else {
            if entry != [0; 16] {
                return Err(RecordError::Reserved { offset: at });
            }
            ended_at.get_or_insert(at);
            continue;
        };
        if let Some(gap) = ended_at {
            return Err(RecordError::HistoryGap { offset: gap });
        }
        let ended = ended_of(fields.u8()?)?;
        reserved_at(fields.bytes(2)?, at + 2)?;
        let uptime_seconds = fields.u32()?;
        reserved_at(fields.bytes(8)?, at + 8)?;
        boots.push_back(PastBoot {
            slot,
            ended,
            uptime_seconds,
        });
    }
    Ok(History(boots))
}

fn reserved(input: &mut Reader<'_>, length: usize) -> Result<(), RecordError> {
    let at = input.offset();
    reserved_at(input.bytes(length)?, at)
}

fn reserved_at(bytes: &[u8], at: usize) -> Result<(), RecordError> {
    match bytes.iter().position(|byte| *byte != 0) {
        None => Ok(()),
        Some(index) => Err(RecordError::Reserved { offset: at + index }),
    }
}

fn flag(field: &'static str, byte: u8) -> Result<bool, RecordError> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        value => Err(RecordError::Value { field, value }),
    }
}

fn slot_byte(slot: Option<Slot>) -> u8 {
    match slot {
        None => 0,
        Some(Slot::A) => 1,
        Some(Slot::B) => 2,
    }
}

fn slot_of(field: &'static str, byte: u8) -> Result<Option<Slot>, RecordError> {
    match byte {
        0 => Ok(None),
        1 => Ok(Some(Slot::A)),
        2 => Ok(Some(Slot::B)),
        value => Err(RecordError::Slot { field, value }),
    }
}

fn phase_byte(phase: Phase) -> u8 {
    match phase {
        Phase::Settled => 0,
        Phase::Installing => 1,
        Phase::Trial => 2,
        Phase::RolledBack => 3,
    }
}

fn phase_of(byte: u8) -> Result<Phase, RecordError> {
    Ok(match byte {
        0 => Phase::Settled,
        1 => Phase::Installing,
        2 => Phase::Trial,
        3 => Phase::RolledBack,
        value => {
            return Err(RecordError::Value {
                field: "phase",
                value,
            });
        }
    })
}

fn reason_byte(reason: Reason) -> u8 {
    match reason {
        Reason::Image => 0,
        Reason::Attempt => 1,
        Reason::Commit => 2,
        Reason::Rollback => 3,
        Reason::Update => 4,
        Reason::Operator => 5,
    }
}

fn reason_of(byte: u8) -> Result<Reason, RecordError> {
    Ok(match byte {
        0 => Reason::Image,
        1 => Reason::Attempt,
        2 => Reason::Commit,
        3 => Reason::Rollback,
        4 => Reason::Update,
        5 => Reason::Operator,
        value => {
            return Err(RecordError::Value {
                field: "reason",
                value,
            });
        }
    })
}

fn ended_byte(ended: Ended) -> u8 {
    match ended {
        Ended::Unknown => 0,
        Ended::PowerOff => 1,
        Ended::Reboot => 2,
        Ended::Panic => 3,
        Ended::Watchdog => 4,
        Ended::VerityFault => 5,
        Ended::GateFailed => 6,
        Ended::PowerCut => 7,
        Ended::NeverArrived => 8,
        Ended::ManifestRefused => 9,
    }
}

fn ended_of(byte: u8) -> Result<Ended, RecordError> {
    Ok(match byte {
        0 => Ended::Unknown,
        1 => Ended::PowerOff,
        2 => Ended::Reboot,
        3 => Ended::Panic,
        4 => Ended::Watchdog,
        5 => Ended::VerityFault,
        6 => Ended::GateFailed,
        7 => Ended::PowerCut,
        8 => Ended::NeverArrived,
        9 => Ended::ManifestRefused,
        value => {
            return Err(RecordError::Value {
                field: "end of a past boot",
                value,
            });
        }
    })
}
