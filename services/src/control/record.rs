//! What is told of the boot record: the slots, the boot under way, the boots before it. Not here: the
//! record itself (a disk layout of its own), and what is decided by it.

use serde::{Deserialize, Serialize};

use crate::update::LoaderStatus;

/// One of the two slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SlotName {
    /// The first.
    A,
    /// The second.
    B,
}

impl SlotName {
    /// `a` or `b`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

/// The answer to `BootRecord()`. Words are those of shark-boot-record(5), in kebab case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BootRecord {
    /// The partition, disk or image it was read from.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub device: Option<String>,
    /// Why there is no record, or what is wrong beside the one there is. Without a record, all that
    /// follows is empty.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub problem: Option<String>,
    /// Counts the writes; of all records the highest counts.
    pub sequence: u64,
    /// The kernel's boot id of the boot that wrote it, 32 hexadecimal digits.
    pub boot_id: String,
    /// The slot that proved good last.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub committed: Option<SlotName>,
    /// The slot on trial.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trial: Option<SlotName>,
    /// What is going on with the slots: `settled`, `trial`...
    pub phase: String,
    /// Why this record was written: `attempt`, `commit`...
    pub reason: String,
    /// Times in a row that nothing could be booted.
    pub rescues: u32,
    /// Boots ever charged.
    pub boots: u32,
    /// Slot a, slot b.
    pub slots: Vec<SlotInfo>,
    /// The boot under way, or the last one where nothing has judged it yet.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub attempt: Option<AttemptInfo>,
    /// Boots that have ended, newest first.
    pub history: Vec<PastBoot>,
    /// The outer loader, where one chooses between the slots and init was asked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub loader: Option<LoaderStatus>,
}

/// What the record keeps of a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SlotInfo {
    /// Which slot.
    pub slot: SlotName,
    /// The higher is tried first; 0 is never booted.
    pub priority: u32,
    /// Boots it may still fail.
    pub tries_left: u32,
    /// A boot of it has been found good.
    pub good: bool,
    /// A block of its root failed its hash; it is not booted again.
    pub verity_bad: bool,
    /// Crashes after the commit, since its last orderly end.
    pub crashes: u32,
    /// Cuts of power before it was found good.
    pub power_cuts: u32,
    /// Security version of its manifest.
    pub security_version: u32,
    /// The generation of state that belongs to it.
    pub state_generation: u64,
    /// Root hash of its manifest, 64 hexadecimal digits.
    pub root_hash: String,
}

/// The boot under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AttemptInfo {
    /// Number of the boot.
    pub number: u32,
    /// Its slot.
    pub slot: SlotName,
    /// The kernel's boot id, 32 hexadecimal digits.
    pub boot_id: String,
    /// `open`, `committed`, `failed` or `ended`.
    pub state: String,
    /// How it ended, where it has.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ended: Option<String>,
    /// How far it came: `stage1`, `gate`, `running` or `ending`.
    pub phase: String,
    /// When it was charged, seconds since 1970, by a clock that may have been wrong.
    pub started_unix: u64,
    /// How long it ran, where that is known.
    pub uptime_seconds: u32,
    /// The cause in words.
    pub text: String,
}

/// A boot that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PastBoot {
    /// Number of the boot; of several equal ones, of the last.
    pub number: u32,
    /// Its slot.
    pub slot: SlotName,
    /// How it ended: `reboot`, `panic`, `gate-failed`...
    pub ended: String,
    /// How far it came: `stage1`, `gate`, `running` or `ending`.
    pub phase: String,
    /// How long it ran, 0 where nobody knows.
    pub uptime_seconds: u32,
    /// When it ended or its end was found, seconds since 1970, by a clock that may have been wrong.
    pub ended_unix: u64,
    /// Equal boots in a row are told once.
    pub times: u32,
    /// The cause in words.
    pub text: String,
}
