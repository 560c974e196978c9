//! What stage1 tells init: facts and timings of the early boot, as JSON in a file on /run.
//!
//! Not here: the file, the clock, and what init makes of it. The writer is in the initramfs and the
//! reader in the slot, which may be older or newer (after a rollback, say): a field that one of them
//! does not know is passed over or has its default, and what would be misunderstood takes another
//! version.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::slot::Slot;
use crate::verity::RootHash;

/// Where the hand-over is written, on the running system.
pub const PATH: &str = "/run/shark/handover.json";
/// The version this code reads and writes.
pub const VERSION: u32 = 1;
/// Largest hand-over, in bytes.
pub const SIZE_MAX: usize = 64 * 1024;
/// Most items of each list.
pub const LIST_MAX: usize = 256;
/// Longest text, in bytes.
pub const TEXT_MAX: usize = 4096;

/// How the system came up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// From a slot of a disk.
    Disk,
    /// All of it is in the initramfs.
    Initramfs,
}

/// A moment of the boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// What was reached, such as `disk-found`.
    pub name: String,
    /// When: microseconds of CLOCK_BOOTTIME.
    pub us: u64,
}

/// A device-mapper device that stage1 made and that is taken apart at shutdown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DmDevice {
    /// Its name for device-mapper.
    pub name: String,
    /// Its node, such as `/dev/dm-0`.
    pub node: String,
}

/// What became of the boot record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RecordFacts {
    /// The partition it is on, such as `/dev/vda2`; none when there is none.
    pub device: Option<String>,
    /// Whether this boot is written there as an attempt: only then can it be committed.
    pub charged: bool,
    /// What was wrong with reading or writing it, for people.
    pub problem: Option<String>,
}

/// A key of the initramfs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyFacts {
    /// Its name.
    pub name: String,
    /// It: 64 hexadecimal digits.
    pub key: String,
}

/// The watchdog, which runs and has to be fed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchdogFacts {
    /// Its node, such as `/dev/watchdog0`.
    pub device: String,
    /// The descriptor at which it is open in the process that reads this.
    pub fd: i32,
    /// What it calls itself: `i6300ESB timer`.
    pub identity: String,
    /// In how many seconds it resets the machine when it is not fed.
    pub timeout_seconds: u32,
}

/// The hand-over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handover {
    /// Version of this format: [`VERSION`].
    pub version: u32,
    /// How the system came up.
    pub mode: Mode,
    /// The slot that runs.
    pub slot: Option<Slot>,
    /// Why this slot, for people.
    pub why: String,
    /// Version of its manifest.
    pub manifest_version: Option<String>,
    /// Security version of its manifest.
    pub security_version: Option<u32>,
    /// Root hash of its manifest.
    pub root_hash: Option<RootHash>,
    /// The disk it was found on, such as `/dev/vda`.
    pub disk: Option<String>,
    /// When what was reached, in order.
    pub timings: Vec<Timing>,
    /// What this machine lacks: `data: ...`, `watchdog: ...`.
    pub missing: Vec<String>,
    /// What went wrong and did not stop the boot: refused slots, errors of the command line.
    pub notes: Vec<String>,
    /// Device-mapper devices.
    pub devices: Vec<DmDevice>,
    /// The number of this boot in the boot record.
    #[serde(default)]
    pub boot_number: Option<u32>,
    /// Whether the slot has yet to prove itself: it is not the committed one.
    #[serde(default)]
    pub trial: bool,
    /// The boot record.
    #[serde(default)]
    pub record: RecordFacts,
    /// The watchdog that stage1 took.
    #[serde(default)]
    pub watchdog: Option<WatchdogFacts>,
    /// Whether every block of the root was read through dm-verity already.
    #[serde(default)]
    pub root_read_whole: bool,
    /// Bytes of the root image.
    #[serde(default)]
    pub image_size: Option<u64>,
    /// Whether every slot had been given up, and this one was the last that was good.
    #[serde(default)]
    pub last_good: bool,
    /// The state generation that it runs with.
    #[serde(default)]
    pub state_generation: Option<u64>,
    /// The keys that the initramfs came with: the first of the keyring, for init's half of the machine.
    #[serde(default)]
    pub keys: Vec<KeyFacts>,
    /// Those of which it knows that they were revoked.
    #[serde(default)]
    pub revoked_keys: Vec<KeyFacts>,
    /// The number of the link that both are as of; 0: none.
    #[serde(default)]
    pub key_links: u32,
}

/// Why a hand-over is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandoverError {
    /// Larger than [`SIZE_MAX`].
    TooLarge(usize),
    /// Of another version.
    Version(u64),
    /// Not the JSON it should be: the parser's words.
    Json(String),
    /// A list with more than [`LIST_MAX`] items, or a text longer than [`TEXT_MAX`].
    Bound(&'static str),
}

impl fmt::Display for HandoverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hand-over: ")?;
        match self {
            Self::TooLarge(size) => write!(f, "{size} bytes, expected at most {SIZE_MAX}"),
            Self::Version(version) => write!(f, "version {version}, expected {VERSION}"),
            Self::Json(error) => f.write_str(error),
            Self::Bound(field) => write!(
                f,
                "{field}: expected at most {LIST_MAX} items of at most {TEXT_MAX} bytes"
            ),
        }
    }
}

impl std::error::Error for HandoverError {}

/// Only what every version has.
#[derive(Deserialize)]
struct Versioned {
    version: u64,
}

impl Handover {
    /// A hand-over that says nothing yet but the mode.
    #[must_use]
    pub fn new(mode: Mode) -> Self {
        Self {
            version: VERSION,
            mode,
            slot: None,
            why: String::new(),
            manifest_version: None,
            security_version: None,
            root_hash: None,
            disk: None,
            timings: Vec::new(),
            missing: Vec::new(),
            notes: Vec::new(),
            devices: Vec::new(),
            boot_number: None,
            trial: false,
            record: RecordFacts::default(),
            watchdog: None,
            root_read_whole: false,
            image_size: None,
            last_good: false,
            state_generation: None,
            keys: Vec::new(),
            revoked_keys: Vec::new(),
            key_links: 0,
        }
    }

    /// The JSON. Texts and lists beyond the bounds are cut, so that init can always read it.
    ///
    /// # Errors
    /// It is larger than [`SIZE_MAX`] all the same.
    pub fn encode(&self) -> Result<Vec<u8>, HandoverError> {
        let mut bounded = self.clone();
        bounded.timings.truncate(LIST_MAX);
        bounded.devices.truncate(LIST_MAX);
        bounded.keys.truncate(LIST_MAX);
        bounded.revoked_keys.truncate(LIST_MAX);
        bounded.missing.truncate(LIST_MAX);
        bounded.notes.truncate(LIST_MAX);
        bounded.texts_mut(|text| text.truncate(text.floor_char_boundary(TEXT_MAX)));
        let json =
            serde_json::to_vec(&bounded).map_err(|error| HandoverError::Json(error.to_string()))?;
        if json.len() > SIZE_MAX {
            return Err(HandoverError::TooLarge(json.len()));
        }
        Ok(json)
    }

    /// Reads it back.
    ///
    /// # Errors
    /// [`HandoverError`]. Another version is named as such even if nothing else of it is known.
    pub fn decode(json: &[u8]) -> Result<Self, HandoverError> {
        let to_error = |error: serde_json::Error| HandoverError::Json(error.to_string());
        if json.len() > SIZE_MAX {
            return Err(HandoverError::TooLarge(json.len()));
        }
        let Versioned { version } = serde_json::from_slice(json).map_err(to_error)?;
        if version != u64::from(VERSION) {
            return Err(HandoverError::Version(version));
        }
        let mut handover: Self = serde_json::from_slice(json).map_err(to_error)?;
        for (field, length) in [
            ("timings", handover.timings.len()),
            ("missing", handover.missing.len()),
            ("notes", handover.notes.len()),
            ("devices", handover.devices.len()),
            ("keys", handover.keys.len()),
            ("revoked_keys", handover.revoked_keys.len()),
        ] {
            if length > LIST_MAX {
                return Err(HandoverError::Bound(field));
            }
        }
        let mut longest = 0;
        handover.texts_mut(|text| longest = longest.max(text.len()));
        if longest > TEXT_MAX {
            return Err(HandoverError::Bound("a text"));
        }
        Ok(handover)
    }

    fn texts_mut(&mut self, mut each: impl FnMut(&mut String)) {
        each(&mut self.why);
        self.manifest_version.iter_mut().for_each(&mut each);
        self.disk.iter_mut().for_each(&mut each);
        self.record.device.iter_mut().for_each(&mut each);
        self.record.problem.iter_mut().for_each(&mut each);
        if let Some(watchdog) = &mut self.watchdog {
            each(&mut watchdog.device);
            each(&mut watchdog.identity);
        }
        self.missing.iter_mut().for_each(&mut each);
        self.notes.iter_mut().for_each(&mut each);
        for timing in &mut self.timings {
            each(&mut timing.name);
        }
        for device in &mut self.devices {
            each(&mut device.name);
            each(&mut device.node);
        }
        for key in self.keys.iter_mut().chain(&mut self.revoked_keys) {
            each(&mut key.name);
            each(&mut key.key);
        }
    }
}
