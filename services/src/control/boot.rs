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
    /// The health gate of this boot; nothing from an init that knows none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub gate: Option<GateInfo>,
    /// The running slot has been found good, in this boot or an earlier one.
    #[serde(default)]
    pub committed: bool,
    /// The running slot is on trial.
    #[serde(default)]
    pub trial: bool,
    /// Number of this boot, where the boot record counts it.
    #[serde(
        rename = "bootNumber",
        skip_serializing_if = "Option::is_none",
        default
    )]
    pub boot_number: Option<u32>,
    /// The watchdog that init feeds, with its time-out; nothing where there is none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub watchdog: Option<String>,
}

/// How far the health gate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GateState {
    /// The boot is being watched.
    Open,
    /// It was found good, and that is in the boot record.
    Passed,
    /// It was not found good.
    Failed,
    /// This boot has no gate: there is no slot to judge.
    None,
}

/// The health gate of this boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GateInfo {
    /// How far it is.
    pub state: GateState,
    /// When it came into that state, microseconds of CLOCK_BOOTTIME.
    pub since_us: u64,
    /// When the boot fails if it has not been found good, microseconds of CLOCK_BOOTTIME.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub deadline_us: Option<u64>,
    /// What an open gate waits for, each as `name: why`.
    pub waiting: Vec<String>,
    /// Why it failed; why there is none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// Wanted services that were not up and healthy at the verdict, each as `name: why`.
    pub wanted_failing: Vec<String>,
    /// Services that took far longer to start than they usually do on this machine.
    pub slow: Vec<String>,
}

impl GateInfo {
    /// A boot without a gate, and why it has none.
    #[must_use]
    pub fn none(why: &str) -> Self {
        Self {
            state: GateState::None,
            since_us: 0,
            deadline_us: None,
            waiting: Vec::new(),
            reason: Some(why.to_owned()),
            wanted_failing: Vec::new(),
            slow: Vec::new(),
        }
    }
}
