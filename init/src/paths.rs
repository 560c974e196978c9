//! Where things are at run time, and the variables that move them. Not here: making any of it.

use std::path::{Path, PathBuf};

/// Directories of service files when nothing else is said, lowest layer first; `/run/shark` in it
/// follows the runtime directory.
const VENDOR: &str = "/usr/lib/shark/services";
const ADMIN: &str = "/etc/shark/services";
const RUNTIME: &str = "/run/shark";

/// Name of the variable with the directories of service files.
pub const SERVICE_PATH_VARIABLE: &str = "SHARK_SERVICE_PATH";
/// Name of the variable with the runtime directory.
pub const RUNTIME_DIR_VARIABLE: &str = "SHARK_RUNTIME_DIR";

/// Every path that init and sharkctl share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// Sockets, logs and the hand-over of stage1.
    pub runtime_dir: PathBuf,
    /// Directories of service files, lowest layer first; never empty.
    pub service_path: Vec<String>,
}

impl Paths {
    /// Reads the two variables; an empty one counts as absent.
    #[must_use]
    pub fn from_environment() -> Self {
        let variable = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
        Self::new(
            variable(RUNTIME_DIR_VARIABLE).as_deref(),
            variable(SERVICE_PATH_VARIABLE).as_deref(),
        )
    }

    /// Paths for the given values of the two variables. Relative ones are left out: PID 1 starts in
    /// a directory of the kernel's choice.
    #[must_use]
    pub fn new(runtime_dir: Option<&str>, service_path: Option<&str>) -> Self {
        let runtime_dir = runtime_dir
            .filter(|text| text.starts_with('/'))
            .unwrap_or(RUNTIME);
        let named: Vec<String> = service_path
            .unwrap_or_default()
            .split(':')
            .filter(|text| text.starts_with('/'))
            .map(str::to_owned)
            .collect();
        let service_path = if named.is_empty() {
            vec![
                VENDOR.to_owned(),
                format!("{runtime_dir}/services"),
                ADMIN.to_owned(),
            ]
        } else {
            named
        };
        Self {
            runtime_dir: PathBuf::from(runtime_dir),
            service_path,
        }
    }

    /// The Varlink socket.
    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        self.runtime_dir.join("io.shark.Init")
    }

    /// The sd_notify datagram socket.
    #[must_use]
    pub fn notify_socket(&self) -> PathBuf {
        self.runtime_dir.join("notify")
    }

    /// The ramfs of the credentials, with a directory for each service.
    #[must_use]
    pub fn credentials(&self) -> String {
        self.runtime_dir.join("credentials").display().to_string()
    }

    /// The file that is there on the first boot only.
    #[must_use]
    pub fn first_boot_mark(&self) -> String {
        self.runtime_dir.join("first-boot").display().to_string()
    }

    /// The socket for messages of syslog(3).
    #[must_use]
    pub fn syslog_socket(&self) -> PathBuf {
        self.runtime_dir.join("dev-log")
    }

    /// The directory of the logs.
    #[must_use]
    pub fn log_dir(&self) -> PathBuf {
        self.runtime_dir.join("log")
    }

    /// What says how logs are kept: with the settings of the machine, or in a runtime directory of
    /// somebody's own.
    #[must_use]
    pub fn log_settings(&self) -> PathBuf {
        match self.moved_runtime_dir() {
            None => PathBuf::from("/etc/shark/log.toml"),
            Some(directory) => directory.join("log.toml"),
        }
    }

    /// What stage1 left for init.
    #[must_use]
    pub fn handover(&self) -> PathBuf {
        self.runtime_dir.join("handover.json")
    }

    /// Where the last starts of services with a persistent timer are kept: with the data of the
    /// machine, or in a runtime directory of somebody's own.
    #[must_use]
    pub fn timers(&self) -> PathBuf {
        match self.moved_runtime_dir() {
            None => PathBuf::from("/var/lib/shark/timers"),
            Some(directory) => directory.join("timers"),
        }
    }

    /// The directories as one value of [`SERVICE_PATH_VARIABLE`].
    #[must_use]
    pub fn service_path_text(&self) -> String {
        self.service_path.join(":")
    }

    /// The lowest layer alone: what the vendor shipped.
    #[must_use]
    pub fn vendor_only(&self) -> String {
        self.service_path.first().cloned().unwrap_or_default()
    }

    /// The runtime directory, if it is not the usual one: whoever is to find it must be told.
    #[must_use]
    pub fn moved_runtime_dir(&self) -> Option<&Path> {
        (self.runtime_dir != Path::new(RUNTIME)).then_some(self.runtime_dir.as_path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(runtime_dir: Option<&str>, service_path: Option<&str>, expect: &str) {
        let paths = Paths::new(runtime_dir, service_path);
        let got = format!(
            "{} {}",
            paths.control_socket().display(),
            paths.service_path_text()
        );
        assert_eq!(got, expect);
    }

    #[test]
    fn variables_move_what_they_name() {
        check(
            None,
            None,
            "/run/shark/io.shark.Init /usr/lib/shark/services:/run/shark/services:/etc/shark/services",
        );
        check(
            Some("/t"),
            None,
            "/t/io.shark.Init /usr/lib/shark/services:/t/services:/etc/shark/services",
        );
        check(Some("/t"), Some("/a:/b"), "/t/io.shark.Init /a:/b");
    }

    #[test]
    fn relative_paths_mean_nothing_to_pid_1() {
        check(
            Some("t"),
            Some("a::b"),
            "/run/shark/io.shark.Init /usr/lib/shark/services:/run/shark/services:/etc/shark/services",
        );
        check(None, Some("a:/b"), "/run/shark/io.shark.Init /b");
    }
}
