//! What is told about the boot: how the machine came up, from where, and what it lacks.

use serde::{Deserialize, Serialize};

/// In which surroundings PID 1 was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BootMode {
    /// From a verified slot of a disk, by stage1.
    Disk,
    /// Everything is in the initramfs.
    Initramfs,
    /// On an ordinary root, by the kernel (`init=`).
    Direct,
    /// First process of a PID namespace.
    Container,
}

/// How far the boot target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BootState {
    /// Some service of it has not settled yet.
    Starting,
    /// Every service of it came up.
    Ready,
    /// Every service of it has settled, and some failed.
    Degraded,
}

/// A step of the boot and when it was reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// Which step.
    pub name: String,
    /// Microseconds of CLOCK_BOOTTIME, counted from the start of the kernel.
    pub us: u64,
}

/// The answer to `Boot()`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootInfo {
    /// Surroundings.
    pub mode: BootMode,
    /// `a` or `b`; nothing where there are no slots.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub slot: Option<String>,
    /// Why this slot, or why none.
    pub why: String,
    /// Version of the image, from its manifest.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub version: Option<String>,
    /// Root hash of dm-verity, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub root_hash: Option<String>,
    /// Release of the running kernel.
    pub kernel: String,
    /// The boot target.
    pub target: String,
    /// How far it is.
    pub state: BootState,
    /// Services of the target that failed.
    pub failed: Vec<String>,
    /// Steps of the boot, earliest first.
    pub timings: Vec<Timing>,
    /// What this machine lacks, as `what: why`.
    pub missing: Vec<String>,
}
