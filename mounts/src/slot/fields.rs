//! The small fields of a boot record: what is kept of a slot, and the words for phases, reasons and
//! ends, each with its byte on the disk and its name for people.
//!
//! Not here: where the fields lie ([`super::record`]).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Slot;
use super::record::RECORD_SIZE;
use super::record_error::RecordError;
use crate::verity::RootHash;
use crate::wire::{Reader, Short};

/// Bytes of a slot in the record.
pub(super) const SLOT_SIZE: usize = 64;

/// An enum whose every value has a byte on the disk and a name for people. The table is the only
/// place where both stand, so that they cannot disagree.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $field:literal, { $($(#[$vdoc:meta])* $variant:ident = $byte:literal, $word:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// Every value, in the order of their bytes.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name that people, JSON and the history use.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            pub(super) fn byte(self) -> u8 {
                match self { $(Self::$variant => $byte,)* }
            }

            pub(super) fn of_byte(value: u8) -> Result<Self, RecordError> {
                match value {
                    $($byte => Ok(Self::$variant),)*
                    value => Err(RecordError::Value { field: $field, value }),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words!(
    /// What is going on with the slots.
    Phase, "phase", {
    /// Nothing is under way.
    Settled = 0, "settled";
    /// An update is being written to the trial slot.
    Installing = 1, "installing";
    /// The trial slot is being tried.
    Trial = 2, "trial";
    /// A slot was given up, and the other one runs.
    RolledBack = 3, "rolled-back";
});

words!(
    /// Why the record was written.
    Reason, "reason", {
    /// It came with the image.
    Image = 0, "image";
    /// A boot attempt was charged.
    Attempt = 1, "attempt";
    /// A boot was found good.
    Commit = 2, "commit";
    /// A boot was found bad.
    Failed = 3, "failed";
    /// A boot ended in order.
    Ended = 4, "ended";
    /// A slot was given up and another one charged.
    Rollback = 5, "rollback";
    /// An update was begun or finished.
    Update = 6, "update";
    /// An operator asked for it.
    Operator = 7, "operator";
    /// There was no record, and a good boot wrote a new one.
    Rebuilt = 8, "rebuilt";
    /// A boot ran long enough for its slot's crashes to be forgotten.
    Settled = 9, "settled";
    /// The outer loader had started another slot's kernel, and is told so.
    Redirected = 10, "redirected";
});

words!(
    /// How a past boot ended.
    Ended, "end of a boot", {
    /// Nobody knows.
    Unknown = 0, "unknown";
    /// An orderly power-off.
    PowerOff = 1, "power-off";
    /// An orderly reboot.
    Reboot = 2, "reboot";
    /// The kernel panicked.
    Panic = 3, "panic";
    /// The watchdog reset the machine.
    Watchdog = 4, "watchdog";
    /// A block of the root failed its hash.
    VerityFault = 5, "verity-fault";
    /// The services that matter were not healthy in time.
    GateFailed = 6, "gate-failed";
    /// Power was lost, or nothing tells of another end.
    PowerCut = 7, "power-cut";
    /// The slot's kernel was asked for and never came up.
    NeverArrived = 8, "never-arrived";
    /// The slot's manifest was refused.
    ManifestRefused = 9, "manifest-refused";
    /// The slot's root could not be opened or did not verify.
    RootRefused = 10, "root-refused";
    /// stage1 failed after it had opened the root.
    Stage1Failed = 11, "stage1-failed";
    /// PID 1 itself failed.
    InitFailed = 12, "init-failed";
    /// An operator called it bad.
    Operator = 13, "operator";
    /// The kernel found a fault of its own and went on, or tried to.
    Oops = 14, "oops";
});

words!(
    /// How far a boot is known to have come.
    Stage, "stage of a boot", {
    /// stage1 was at work, or nothing tells of more.
    Stage1 = 0, "stage1";
    /// PID 1 ran, and the gate was open.
    Gate = 1, "gate";
    /// The boot was committed.
    Running = 2, "running";
    /// It went down in order.
    Ending = 3, "ending";
});

/// What the record keeps of one slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotRecord {
    /// The higher is tried first; 0 is never booted.
    pub priority: u8,
    /// Boots that may still fail; a slot with none left is no candidate.
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
    /// Crashes after a commit, since the last orderly end or hour without one.
    pub crashes: u8,
    /// Boots since the last commit that ended before the gate and for no fault of the slot.
    pub power_cuts: u8,
}

impl SlotRecord {
    pub(super) fn encode(&self) -> [u8; SLOT_SIZE] {
        let mut out = crate::wire::Writer::<SLOT_SIZE>::new();
        out.put(&[
            self.priority,
            self.tries_left,
            u8::from(self.good),
            u8::from(self.verity_bad),
        ]);
        out.put(&self.security_version.to_le_bytes());
        out.put(&self.state_generation.to_le_bytes());
        out.put(self.root_hash.as_bytes());
        out.put(&[self.crashes, self.power_cuts]);
        out.finish()
    }

    pub(super) fn decode(input: &mut Reader<'_>) -> Result<Self, RecordError> {
        let slot = Self {
            priority: input.u8()?,
            tries_left: input.u8()?,
            good: flag("good", input.u8()?)?,
            verity_bad: flag("verity-bad", input.u8()?)?,
            security_version: input.u32()?,
            state_generation: input.u64()?,
            root_hash: RootHash::new(input.array()?),
            crashes: input.u8()?,
            power_cuts: input.u8()?,
        };
        reserved(input, 14)?;
        Ok(slot)
    }
}

impl From<Short> for RecordError {
    fn from(_: Short) -> Self {
        // The length is checked first, so a field cannot lie outside; the type keeps it honest.
        Self::Length(0)
    }
}

/// Takes `length` bytes that must be zero.
pub(super) fn reserved(input: &mut Reader<'_>, length: usize) -> Result<(), RecordError> {
    let at = input.offset();
    let bytes = input.bytes(length)?;
    if is_zero(bytes) {
        return Ok(());
    }
    let index = bytes.iter().position(|byte| *byte != 0).unwrap_or_default();
    Err(RecordError::Reserved { offset: at + index })
}

/// Whether bytes of a record are all zero. Most of a record is, so they are compared at once and not
/// one by one.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    static ZEROS: [u8; RECORD_SIZE] = [0; RECORD_SIZE];
    ZEROS.get(..bytes.len()) == Some(bytes)
}

pub(super) fn slot_byte(slot: Option<Slot>) -> u8 {
    match slot {
        None => 0,
        Some(Slot::A) => 1,
        Some(Slot::B) => 2,
    }
}

pub(super) fn slot_of(field: &'static str, byte: u8) -> Result<Option<Slot>, RecordError> {
    match byte {
        0 => Ok(None),
        1 => Ok(Some(Slot::A)),
        2 => Ok(Some(Slot::B)),
        value => Err(RecordError::Slot { field, value }),
    }
}

fn flag(field: &'static str, byte: u8) -> Result<bool, RecordError> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        value => Err(RecordError::Value { field, value }),
    }
}
