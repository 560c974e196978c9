//! The cgroups of the services: one directory each, with limits, killed and watched as a whole. Not
//! here: when to kill, and finding or mounting the hierarchy (`setup`).
//!
//! Layout below the root: `shark.init` holds PID 1 and its helpers, `services/NAME` one service.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use services::definition::{CgroupLimits, Ids};

/// Controllers that limits of service files need.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];
/// Levels below a service's cgroup that are looked at when it is removed.
const DEPTH_MAX: u32 = 16;
/// Period of `cpu.max`, microseconds; the kernel's own default.
const CPU_PERIOD: u64 = 100_000;

/// The hierarchy, set up.
#[derive(Debug)]
pub(super) struct Cgroups {
    services: PathBuf,
}

impl Cgroups {
    /// Makes the two inner cgroups below `root`, moves PID 1 into its own and passes the
    /// controllers down. What is not there, but can be done without, is added to `missing`.
    ///
    /// # Errors
    /// What keeps services from having cgroups at all, for people.
    pub(super) fn set_up(root: &Path, missing: &mut Vec<String>) -> Result<Self, String> {
        let own = root.join("shark.init");
        let services = root.join("services");
        make(&own)?;
        make(&services)?;
        // Processes and passed-down controllers exclude each other in one cgroup: we move out first.
        write(&own.join("cgroup.procs"), "0")?;
        let lacking = pass_down(root);
        let below = pass_down(&services);
        // What the root does not have, its children cannot have either: told once.
        let told = if lacking.is_empty() { below } else { lacking };
        missing.extend(told.iter().map(|it| format!("cgroup: {it}")));
        if !services.join("cgroup.kill").exists() {
            return Err("the kernel has no cgroup.kill; it is there since Linux 5.14".to_owned());
        }
        Ok(Self { services })
    }

    /// The directory of a service's cgroup.
    #[must_use]
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.services.join(name)
    }

    /// The file that changes when the service's cgroup empties.
    #[must_use]
    pub(super) fn events_path(&self, name: &str) -> PathBuf {
        self.path(name).join("cgroup.events")
    }

    /// Makes the cgroup where there is none, sets its limits, and opens it to start a process in it.
    /// Limits that could not be set are returned as sentences; the service starts all the same.
    ///
    /// # Errors
    /// The cgroup cannot be made or opened, for people.
    pub(super) fn prepare(
        &self,
        name: &str,
        limits: &CgroupLimits,
        owner: Option<&Ids>,
    ) -> Result<(File, Vec<String>), String> {
        let path = self.path(name);
        make(&path)?;
        let mut unset = Vec::new();
        for (file, value) in settings(limits) {
            if let Err(error) = write(&path.join(file), &value) {
                unset.push(error);
            }
        }
        if let (true, Some(ids)) = (limits.delegate, owner) {
            unset.extend(delegate(&path, ids));
        }
        let directory =
            File::open(&path).map_err(|error| format!("open {}: {error}", path.display()))?;
        Ok((directory, unset))
    }

    /// Kills every process of the service, and those it is just making.
    ///
    /// # Errors
    /// For people.
    pub(super) fn kill(&self, name: &str) -> Result<(), String> {
        write(&self.path(name).join("cgroup.kill"), "1")
    }

    /// Whether the service has a process left; `None`: there is no such cgroup.
    #[must_use]
    pub(super) fn populated(&self, name: &str) -> Option<bool> {
        number(&self.events_path(name), "populated").map(|count| count > 0)
    }

    /// How many processes of the service the OOM killer has taken.
    #[must_use]
    pub(super) fn oom_kills(&self, name: &str) -> u64 {
        number(&self.path(name).join("memory.events"), "oom_kill").unwrap_or(0)
    }

    /// Memory of the service in bytes, and its number of processes and threads; what no controller
    /// counts is absent.
    #[must_use]
    pub(super) fn usage(&self, name: &str) -> (Option<u64>, Option<u64>) {
        let read = |file| {
            fs::read_to_string(self.path(name).join(file))
                .ok()
                .and_then(|text| text.trim().parse().ok())
        };
        (read("memory.current"), read("pids.current"))
    }

    /// Removes the service's cgroup with all it has made below it.
    ///
    /// # Errors
    /// For people; as a rule that a process is left in it.
    pub(super) fn remove(&self, name: &str) -> Result<(), String> {
        let path = self.path(name);
        remove(&path, DEPTH_MAX).map_err(|error| format!("remove {}: {error}", path.display()))
    }
}

/// File and content of every limit that is set.
fn settings(limits: &CgroupLimits) -> Vec<(&'static str, String)> {
    let CgroupLimits {
        memory_high,
        memory_max,
        pids_max,
        cpu_weight,
        cpu_max_percent,
        delegate: _,
    } = limits;
    let cpu_max = cpu_max_percent
        .map(|percent| format!("{} {CPU_PERIOD}", u64::from(percent) * CPU_PERIOD / 100));
    [
        ("memory.high", memory_high.map(|bytes| bytes.0.to_string())),
        ("memory.max", memory_max.map(|bytes| bytes.0.to_string())),
        ("pids.max", pids_max.map(|count| count.to_string())),
        ("cpu.weight", cpu_weight.map(|weight| weight.to_string())),
        ("cpu.max", cpu_max),
    ]
    .into_iter()
    .filter_map(|(file, value)| Some((file, value?)))
    .collect()
}

/// Lets the account make cgroups of its own below `path`, as cgroups(7) describes delegation.
fn delegate(path: &Path, ids: &Ids) -> Vec<String> {
    [
        "",
        "cgroup.procs",
        "cgroup.threads",
        "cgroup.subtree_control",
    ]
    .iter()
    .filter_map(|file| {
        let path = path.join(file);
        chown(&path, Some(ids.uid), Some(ids.gid))
            .err()
            .map(|error| format!("give {} to uid {}: {error}", path.display(), ids.uid))
    })
    .collect()
}

/// Enables the controllers for the children of `directory`; what could not be, for people.
fn pass_down(directory: &Path) -> Vec<String> {
    let there = fs::read_to_string(directory.join("cgroup.controllers")).unwrap_or_default();
    let there: Vec<&str> = there.split_whitespace().collect();
    let control = directory.join("cgroup.subtree_control");
    CONTROLLERS
        .iter()
        .filter_map(|controller| {
            if !there.contains(controller) {
                return Some(format!("no {controller} controller: its limits do nothing"));
            }
            write(&control, &format!("+{controller}"))
                .err()
                .map(|error| format!("no {controller} controller for services: {error}"))
        })
        .collect()
}

fn make(path: &Path) -> Result<(), String> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(format!("make {}: {error}", path.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    // Never created: in cgroupfs that fails anyway, and elsewhere it would hide a mistake.
    fs::OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes()))
        .map_err(|error| format!("write {text:?} to {}: {error}", path.display()))
}

/// The number behind `key` in a flat keyed file.
fn number(path: &Path, key: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| {
        let (found, value) = line.split_once(' ')?;
        (found == key).then(|| value.parse().ok()).flatten()
    })
}

fn remove(path: &Path, depth: u32) -> io::Result<()> {
    match fs::remove_dir(path) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if depth == 0 => return Err(error),
        Err(_) => {}
    }
    for entry in fs::read_dir(path)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path(), depth - 1)?;
        }
    }
    fs::remove_dir(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use services::definition::Bytes;

    #[test]
    fn limits_become_what_the_kernel_reads() {
        let limits = CgroupLimits {
            memory_high: None,
            memory_max: Some(Bytes(1 << 30)),
            pids_max: Some(64),
            cpu_weight: None,
            cpu_max_percent: Some(150),
            delegate: false,
        };
        let expect = [
            ("memory.max", "1073741824".to_owned()),
            ("pids.max", "64".to_owned()),
            ("cpu.max", "150000 100000".to_owned()),
        ];
        assert_eq!(settings(&limits), expect);
        assert_eq!(settings(&CgroupLimits::default()), []);
    }

    #[test]
    fn flat_keyed_files_are_read_by_whole_keys() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("memory.events");
        fs::write(&path, "low 0\noom 3\noom_kill 2\noom_group_kill 0\n").unwrap();
        assert_eq!(number(&path, "oom_kill"), Some(2));
        assert_eq!(number(&path, "kill"), None);
    }

    #[test]
    fn a_limit_that_cannot_be_set_is_said_and_nothing_is_made_up() {
        let dir = tempfile::tempdir().unwrap();
        let cgroups = Cgroups {
            services: dir.path().to_owned(),
        };
        let limits = CgroupLimits {
            pids_max: Some(3),
            ..CgroupLimits::default()
        };
        let (_directory, unset) = cgroups.prepare("a", &limits, None).unwrap();
        assert_eq!(unset.len(), 1, "{unset:?}");
        assert!(!cgroups.path("a").join("pids.max").exists());
        assert_eq!(cgroups.remove("a"), Ok(()));
        assert_eq!(cgroups.remove("a"), Ok(()));
    }
}
