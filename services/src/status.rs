//! What can be told about services and the boot: the types that status, `sharkctl` and the control
//! protocol share. Not here: the state machine itself (`supervisor`).

use serde::{Deserialize, Serialize};

/// Where the machine goes after the last service is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ShutdownKind {
    /// Power off.
    Poweroff,
    /// Restart the machine.
    Reboot,
    /// Stop the processor, leave the power on.
    Halt,
    /// Begin again without the kernel.
    #[serde(rename = "softReboot")]
    SoftReboot,
}

/// What a service is doing, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StateName {
    /// Not running, and nobody wants it to.
    Down,
    /// Not running, and started when its timer says so.
    Armed,
    /// Not running, its sockets open, and started by traffic.
    Listening,
    /// To be started; something it needs is not there.
    Waiting,
    /// Started, not ready.
    Starting,
    /// Ready; for a oneshot: ended with success.
    Up,
    /// Asked to stop, or being killed.
    Stopping,
    /// Ended; started again after a pause.
    Backoff,
    /// Ended badly, and left alone.
    Failed,
    /// Not running, as a condition of its does not hold, or it is masked; nobody waits for it.
    Skipped,
}

impl StateName {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Down,
        Self::Waiting,
        Self::Starting,
        Self::Up,
        Self::Stopping,
        Self::Backoff,
        Self::Failed,
    ];
}

/// What the probes of a service say, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HealthName {
    /// None has been answered since it came up.
    Unknown,
    /// The last one was good.
    Good,
    /// The last one was bad.
    Failing,
}

/// The health of a service that is up and asked for its health.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthStatus {
    /// In a word.
    pub state: HealthName,
    /// Since when, microseconds of CLOCK_BOOTTIME.
    pub since_us: u64,
    /// Bad probes in a row.
    pub failed: u32,
    /// What the last bad one said.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub words: Option<String>,
}

/// The timer of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TimerStatus {
    /// When it is due next, microseconds of CLOCK_BOOTTIME.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next_us: Option<u64>,
    /// The same by the machine's clock, seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next_unix: Option<i64>,
    /// When it was last started by the machine's clock, seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_unix: Option<i64>,
    /// How its last run ended: `success`, or why it failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub result: Option<String>,
    /// Times that went by while it still ran.
    pub missed: u32,
}

/// What a service means for the verdict on the boot, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RoleName {
    /// The boot is good only when it is up and healthy.
    Essential,
    /// It is reported with the boot, and decides nothing.
    Wanted,
    /// It was one of the two, and has been switched off for this boot.
    Masked,
}

/// All that is told about one service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// `target`, `simple`, `notify`, `oneshot` or `forking`.
    pub kind: String,
    /// What it is doing.
    pub state: StateName,
    /// Whether it is wanted up.
    pub wanted: bool,
    /// Why it is in that state: what it waits for, how it ended.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// The service that this reason blames: what it waits for or needed, at any distance, or a rival.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub because: Option<String>,
    /// Why it failed when it last did, also where it has been started again since.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_failure: Option<String>,
    /// What the service says of itself (`STATUS=`).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status_text: Option<String>,
    /// Main process, while there is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pid: Option<u32>,
    /// Starts since it was last started by hand or by the boot.
    pub restarts: u32,
    /// When it is started again after its pause, microseconds of CLOCK_BOOTTIME.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retry_us: Option<u64>,
    /// When it came into that state, microseconds of CLOCK_BOOTTIME.
    pub since_us: u64,
    /// When it was last started, microseconds of CLOCK_BOOTTIME.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub started_us: Option<u64>,
    /// When it was last ready, microseconds of CLOCK_BOOTTIME.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ready_us: Option<u64>,
    /// Memory of its cgroup, bytes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub memory_bytes: Option<u64>,
    /// Processes in its cgroup.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tasks: Option<u64>,
    /// Processes that its last run has left running, as `stop.scope` says.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub left_running: Option<u64>,
    /// Its health, while it is up, where it is asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub health: Option<HealthStatus>,
    /// How long it may be silent before its watchdog ends it, microseconds; while it is up, where
    /// it has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub watchdog_us: Option<u64>,
    /// Names of the descriptors that are kept for it.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub stored: Vec<String>,
    /// Its timer, where it has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub timer: Option<TimerStatus>,
    /// What it means for the boot, where it means something.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub boot_role: Option<RoleName>,
    /// The file that defined it.
    pub source: String,
}
