//! What is known about this boot: how the machine came up, when, and what it lacks. Not here: the
//! answers on the control socket that tell it.

use serde::{Deserialize, Serialize};
use services::control::{BootInfo, BootMode, BootState, Timing};
use services::graph::DEFAULT_TARGET;
use services::time::Time;

use super::kept::as_json;

/// The facts of the boot, as they become known.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Boot {
    /// As clients are told.
    #[serde(with = "as_json")]
    pub(super) info: BootInfo,
    degraded: bool,
}

impl Boot {
    /// A boot that has only just begun.
    pub(super) fn new(mode: BootMode, why: &str) -> Self {
        Self {
            info: BootInfo {
                mode,
                slot: None,
                why: why.to_owned(),
                version: None,
                root_hash: None,
                kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")
                    .map(|text| text.trim().to_owned())
                    .unwrap_or_default(),
                target: DEFAULT_TARGET.to_owned(),
                state: BootState::Starting,
                failed: Vec::new(),
                timings: Vec::new(),
                missing: Vec::new(),
                gate: None,
                committed: false,
                trial: false,
                boot_number: None,
                watchdog: None,
            },
            degraded: false,
        }
    }

    /// Notes that a step has been reached.
    pub(super) fn mark(&mut self, name: &str, now: Time) {
        self.info.timings.push(Timing {
            name: name.to_owned(),
            us: now.as_nanos() / 1000,
        });
    }

    /// Notes what this machine lacks.
    pub(super) fn lacks(&mut self, what: String) {
        self.info.missing.push(what);
    }

    /// Notes what this machine lacks for the time being, in place of what was noted under the same
    /// name, or with nothing, that it lacks it no longer.
    pub(super) fn lacks_for_now(&mut self, name: &str, what: Option<&str>) {
        let prefix = format!("{name}: ");
        self.info.missing.retain(|it| !it.starts_with(&prefix));
        self.info
            .missing
            .extend(what.map(|what| format!("{prefix}{what}")));
    }

    /// Notes something that keeps this boot from being a good one.
    pub(super) fn degrade(&mut self, what: String) {
        self.degraded = true;
        self.lacks(what);
    }

    /// The boot target has settled, but for the services `failed`.
    pub(super) fn settled(&mut self, now: Time, failed: Vec<String>) {
        let good = failed.is_empty() && !self.degraded;
        self.info.state = if good {
            BootState::Ready
        } else {
            BootState::Degraded
        };
        self.info.failed = failed;
        self.mark(if good { "ready" } else { "settled" }, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lacking_for_now_is_told_once_and_taken_back() {
        let mut boot = Boot::new(BootMode::Disk, "");
        boot.lacks("data: none".to_owned());
        boot.lacks_for_now("boot record", Some("no disk"));
        boot.lacks_for_now("boot record", Some("still no disk"));
        assert_eq!(
            boot.info.missing,
            ["data: none", "boot record: still no disk"]
        );
        boot.lacks_for_now("boot record", None);
        assert_eq!(boot.info.missing, ["data: none"]);
    }

    #[test]
    fn a_boot_without_its_own_services_is_never_ready() {
        let mut boot = Boot::new(BootMode::Direct, "");
        boot.degrade("services: refused".to_owned());
        boot.settled(Time::from_nanos(5_000_000), Vec::new());
        assert_eq!(boot.info.state, BootState::Degraded);
        let mut boot = Boot::new(BootMode::Direct, "");
        boot.settled(Time::from_nanos(5_000_000), Vec::new());
        assert_eq!(boot.info.state, BootState::Ready);
        assert_eq!(boot.info.timings.last().map(|it| it.us), Some(5_000));
    }
}
