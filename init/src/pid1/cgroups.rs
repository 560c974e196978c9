//! The cgroups of the services as policy: what they are called, which controllers they need, who
//! owns them, and what is told of a machine that lacks something. Not here: cgroupfs itself
//! (`kernel::cgroup`), when to kill, which hierarchy is taken (`setup`), and how much memory is kept for
//! all together (`reserves`).
//!
//! Layout below the root: `services/NAME` is one service. PID 1 and its helpers are in the root itself
//! where that is the machine's, and in `shark.init` where it is that of a namespace.

use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use kernel::cgroup::{Cgroup, Limits, remove_tree};
use kernel::signals::Signal;
use services::definition::{CgroupLimits, Ids, StopScope};

/// Controllers that limits of service files need.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];

/// The controller of `cgroup.cpus`: passed down only once a service asks for it.
const CPUSET: &str = "cpuset";

/// The cgroup below that of a service that takes no process itself.
const BESIDE: &str = "shark.beside";

/// The cgroup below that of a service that hands its own on, for its main process: cgroups that pass
/// controllers down take no process themselves.
const MAIN: &str = "shark.main";

/// What is left of the cgroup of an earlier run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remains {
    /// It is gone.
    Nothing,
    /// The next run can be born in it.
    Usable,
    /// It may have cgroups below it, or have passed controllers down: then it takes no process.
    Divided,
}

/// The hierarchy, set up.
#[derive(Debug)]
pub(super) struct Cgroups {
    services: String,
}

impl Cgroups {
    /// Makes the inner cgroups below `root` and passes the controllers down. What is not there, but
    /// can be done without, is added to `missing`.
    ///
    /// # Errors
    /// What keeps services from having cgroups at all, for people.
    pub(super) fn set_up(root: &str, missing: &mut Vec<String>) -> Result<Self, String> {
        let root = Cgroup::open(root).map_err(text)?;
        let services = Cgroup::create(&format!("{}/services", root.path())).map_err(text)?;
        // Processes and passed-down controllers exclude each other in one cgroup: we move out first.
        // The root of the machine is exempt, and the kernel has to wait for all its processors to
        // move a process: longer than all else takes until the first service.
        if !root.is_of_machine() {
            let own = Cgroup::create(&format!("{}/shark.init", root.path())).map_err(text)?;
            own.add_process(0).map_err(text)?;
        }
        let lacking = pass_down(&root);
        let below = pass_down(&services);
        // What the root does not have, its children cannot have either: told once.
        let told = if lacking.is_empty() { below } else { lacking };
        missing.extend(told.iter().map(|it| format!("cgroup: {it}")));
        if !kernel::files::exists(&format!("{}/cgroup.kill", services.path())) {
            return Err("the kernel has no cgroup.kill; it is there since Linux 5.14".to_owned());
        }
        Ok(Self {
            services: services.path().to_owned(),
        })
    }

    /// The hierarchy that a former program of this process has set up.
    pub(super) const fn again(services: String) -> Self {
        Self { services }
    }

    /// The directory of all services' cgroups.
    pub(super) fn services(&self) -> &str {
        &self.services
    }

    /// The file that is watched for the service.
    pub(super) fn events_path(&self, name: &str) -> String {
        format!("{}/cgroup.events", self.path(name))
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.services)
    }

    fn open(&self, name: &str) -> kernel::Result<Cgroup> {
        Cgroup::open(&self.path(name))
    }

    /// Makes the cgroup where there is none, sets its limits, those that are not named to the
    /// kernel's defaults, and opens it to start a process in it. Limits that could not be set are
    /// returned as sentences; the service starts all the same. With `has_them` they are there from an
    /// earlier run, if the cgroup is. What limits the processor is left for [`Cgroups::limit_cpu`]: it
    /// would hold up the clone as well.
    ///
    /// # Errors
    /// The cgroup cannot be made, opened or thawed, for people.
    pub(super) fn prepare(
        &self,
        name: &str,
        limits: &CgroupLimits,
        owner: Option<&Ids>,
        has_them: bool,
    ) -> Result<(Cgroup, Vec<String>), String> {
        let cgroup = Cgroup::create(&self.path(name)).map_err(text)?;
        if !cgroup.is_fresh() {
            // PID 1 waits from clone to exec: in a cgroup that somebody froze it would wait for ever.
            cgroup.thaw().map_err(text)?;
        }
        if has_them && !cgroup.is_fresh() {
            return Ok((cgroup, Vec::new()));
        }
        let mut unset = match &limits.cpus {
            Some(_) => self.pass_cpuset_down(),
            None => Vec::new(),
        };
        let refused = cgroup.set_limits(&Limits {
            cpu_weight: None,
            cpu_max_percent: None,
            ..kernel_limits(limits)
        });
        unset.extend(refused.into_iter().map(text));
        if let (true, Some(ids)) = (limits.delegate, owner) {
            unset.extend(cgroup.delegate(ids.uid, ids.gid).err().map(text));
        }
        Ok((cgroup, unset))
    }

    /// Sets the limits that were left out before a process was started; what could not be, for people.
    pub(super) fn limit_cpu(cgroup: &Cgroup, limits: &CgroupLimits) -> Vec<String> {
        let refused = cgroup.set_cpu_limits(limits.cpu_weight, limits.cpu_max_percent);
        refused.into_iter().map(text).collect()
    }

    /// Gives the cgroups of services the controller of processors; what keeps it from them, for people.
    fn pass_cpuset_down(&self) -> Vec<String> {
        let root = self.services.rsplit_once('/').map_or("", |(root, _)| root);
        let mut refused = Vec::new();
        for path in [root, &self.services] {
            let passed = Cgroup::open(path).and_then(|cgroup| {
                let there = cgroup.read("cgroup.subtree_control")?;
                match there.split_whitespace().any(|it| it == CPUSET) {
                    true => Ok(Vec::new()),
                    false => Ok(cgroup.enable(&[CPUSET])),
                }
            });
            match passed {
                Ok(errors) => refused.extend(errors.into_iter().map(|(_, error)| text(error))),
                Err(error) => refused.push(text(error)),
            }
        }
        refused
    }

    /// Has the cgroup above all services keep so many bytes of memory.
    ///
    /// # Errors
    /// For people.
    pub(super) fn keep_for_all(&self, bytes: u64) -> Result<(), String> {
        let services = Cgroup::open(&self.services);
        let written = services.and_then(|it| it.write("memory.min", &bytes.to_string()));
        written.map_err(text)
    }

    /// How much memory the cgroup of the service keeps.
    pub(super) fn kept(&self, name: &str) -> u64 {
        let read = self.open(name).and_then(|it| it.read("memory.min"));
        read.map_or(0, |text| text.trim().parse().unwrap_or(0))
    }

    /// The cgroup of a service that runs, opened to start a command beside its processes. Its limits
    /// stay as they are.
    ///
    /// # Errors
    /// For people: it is gone, or frozen, or the service has made one of that name.
    pub(super) fn beside(&self, name: &str) -> Result<Cgroup, String> {
        let cgroup = self.open(name).map_err(text)?;
        let read = |file: &str| cgroup.read(file).unwrap_or_default();
        if read("cgroup.freeze").trim() == "1" {
            // PID 1 waits from clone to exec. Whoever froze the service wants it left alone.
            return Err("its cgroup is frozen".to_owned());
        }
        let main = kernel::files::exists(&format!("{}/{MAIN}", cgroup.path()));
        if read("cgroup.subtree_control").trim().is_empty() && !main {
            return Ok(cgroup);
        }
        // Once controllers are passed down, as a container engine does, only its children take
        // processes.
        let below = Cgroup::create(&format!("{}/{BESIDE}", cgroup.path())).map_err(text)?;
        check_beside(&below, self.ours()?)?;
        Ok(below)
    }

    /// Whose cgroups are ours.
    fn ours(&self) -> Result<u32, String> {
        let ours = std::fs::metadata(&self.services).map(|it| it.uid());
        ours.map_err(|error| format!("stat {}: {error}", self.services))
    }

    /// Where the main process goes whose leftovers outlive it, when the cgroup of the service may be
    /// handed on to cgroups below it: the next main process must find room beside these.
    ///
    /// # Errors
    /// For people: it cannot be made, or the service has made one of that name.
    pub(super) fn leaf(
        &self,
        cgroup: &Cgroup,
        scope: StopScope,
        limits: &CgroupLimits,
    ) -> Result<Option<Cgroup>, String> {
        let handed_on = || {
            let passed = cgroup.read("cgroup.subtree_control").unwrap_or_default();
            limits.delegate || !passed.trim().is_empty()
        };
        match scope {
            StopScope::Main if handed_on() => {
                let below = Cgroup::create(&format!("{}/{MAIN}", cgroup.path())).map_err(text)?;
                check_beside(&below, self.ours()?)?;
                Ok(Some(below))
            }
            StopScope::Main | StopScope::Cgroup => Ok(None),
        }
    }

    /// Asks every process of the service to end.
    ///
    /// # Errors
    /// For people.
    pub(super) fn end(&self, name: &str) -> Result<(), String> {
        let cgroup = self.open(name).map_err(text)?;
        cgroup.signal(Signal::TERM).map(drop).map_err(text)
    }

    /// All processes of the service.
    ///
    /// # Errors
    /// For people.
    pub(super) fn processes(&self, name: &str) -> Result<Vec<u32>, String> {
        let cgroup = self.open(name).map_err(text)?;
        cgroup.processes_below().map_err(text)
    }

    /// Kills every process of the service, and those it is just making.
    ///
    /// # Errors
    /// For people.
    pub(super) fn kill(&self, name: &str) -> Result<(), String> {
        self.open(name).and_then(|it| it.kill()).map_err(text)
    }

    /// Whether the service has a process left. A cgroup that is gone has none; one that cannot be
    /// looked at, for want of descriptors or memory, may have some.
    #[must_use]
    pub(super) fn populated(&self, name: &str) -> bool {
        match self.open(name).and_then(|it| it.populated()) {
            Ok(populated) => populated,
            Err(error) => !matches!(error.errno, kernel::Errno::NOENT | kernel::Errno::NODEV),
        }
    }

    /// How many processes of the service the OOM killer has taken.
    #[must_use]
    pub(super) fn oom_kills(&self, name: &str) -> u64 {
        self.open(name).map_or(0, |cgroup| oom_kills(&cgroup))
    }

    /// Memory of the service in bytes, and its number of processes and threads; what no controller
    /// counts is absent.
    #[must_use]
    pub(super) fn usage(&self, name: &str) -> (Option<u64>, Option<u64>) {
        self.open(name).map_or((None, None), |cgroup| {
            let memory = cgroup.memory_current().ok().flatten();
            (memory, cgroup.pids_current().ok().flatten())
        })
    }

    /// What an earlier run has left of its cgroup. To remove and make one with its controllers costs
    /// more than all else of a restart; where the processor is limited, a new one has no quota that is
    /// used up already.
    #[must_use]
    pub(super) fn remains(&self, name: &str, limits: &CgroupLimits) -> Remains {
        match self.open(name) {
            Err(error) if error.errno == kernel::Errno::NOENT => Remains::Nothing,
            Ok(cgroup) if !limits.delegate && !limits_cpu(limits) => match cgroup.is_divided() {
                Ok(false) => Remains::Usable,
                Ok(true) | Err(_) => Remains::Divided,
            },
            Ok(_) | Err(_) => Remains::Divided,
        }
    }

    /// Removes the service's cgroup with all it has made below it.
    ///
    /// # Errors
    /// For people; as a rule that a process is left in it.
    pub(super) fn remove(&self, name: &str) -> Result<(), String> {
        remove_tree(&self.path(name)).map_err(text)
    }
}

/// Whether the kernel may let processes of the service wait for the processor.
const fn limits_cpu(limits: &CgroupLimits) -> bool {
    limits.cpu_weight.is_some() || limits.cpu_max_percent.is_some()
}

/// Whether a command may be started in `below`, which lies in a cgroup that a service may have been
/// given: PID 1 waits from clone to exec, and who owns a cgroup can freeze it, or give it to the
/// processor for no time at all. In one that is `ours` the service can do neither: its files stay
/// ours. What the limits of the service leave can slow the exec, and not stop it.
fn check_beside(below: &Cgroup, ours: u32) -> Result<(), String> {
    // The one that is open, which a name used again is not.
    let file = below.as_fd().try_clone_to_owned().map(std::fs::File::from);
    let owner = file.and_then(|file| file.metadata()).map(|it| it.uid());
    let owner = owner.map_err(|error| format!("stat {}: {error}", below.path()))?;
    if owner != ours {
        return Err(format!(
            "{} belongs to user {owner}, expected {ours}: the service has made it itself; remove it",
            below.path()
        ));
    }
    match below.read("cgroup.freeze").map_err(text)?.trim() {
        "0" => Ok(()),
        _ => Err(format!("{} is frozen", below.path())),
    }
}

/// How many processes of the cgroup the OOM killer has taken; a fresh one has had none.
pub(super) fn oom_kills(cgroup: &Cgroup) -> u64 {
    if cgroup.is_fresh() {
        return 0;
    }
    cgroup.oom_kills().ok().flatten().unwrap_or(0)
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn text(error: kernel::Error) -> String {
    error.to_string()
}

fn kernel_limits(limits: &CgroupLimits) -> Limits {
    let CgroupLimits {
        memory_min,
        memory_high,
        memory_max,
        pids_max,
        cpu_weight,
        cpu_max_percent,
        cpus,
        delegate: _,
    } = limits;
    Limits {
        memory_min: memory_min.map(|bytes| bytes.0),
        memory_high: memory_high.map(|bytes| bytes.0),
        memory_max: memory_max.map(|bytes| bytes.0),
        pids_max: *pids_max,
        cpu_weight: *cpu_weight,
        cpu_max_percent: *cpu_max_percent,
        cpus: cpus.as_ref().map(ToString::to_string),
    }
}

/// Enables the controllers for the children of `cgroup`; what could not be, for people.
fn pass_down(cgroup: &Cgroup) -> Vec<String> {
    let there = cgroup.controllers().unwrap_or_default();
    let (wanted, absent): (Vec<&str>, Vec<&str>) = CONTROLLERS
        .iter()
        .partition(|name| there.iter().any(|it| it == *name));
    let refused = cgroup.enable(&wanted);
    let absent = absent
        .iter()
        .map(|name| format!("no {name} controller: its limits do nothing"));
    let refused = refused
        .iter()
        .map(|(name, error)| format!("no {name} controller for services: {error}"));
    absent.chain(refused).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use services::cpus::CpuList;
    use services::definition::Bytes;
    use std::fs;
    use std::path::Path;

    /// A directory with the files that a cgroup would have.
    fn with_files(names: &[&str]) -> (tempfile::TempDir, Cgroups) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        for name in names {
            fs::write(dir.path().join("a").join(name), "").unwrap();
        }
        let services = dir.path().to_str().unwrap().to_owned();
        (dir, Cgroups::again(services))
    }

    fn content(dir: &Path, name: &str) -> String {
        fs::read_to_string(dir.join("a").join(name)).unwrap()
    }

    #[test]
    fn limits_become_what_the_kernel_reads_and_what_is_not_named_its_default() {
        let files = [
            "memory.min",
            "memory.high",
            "memory.max",
            "pids.max",
            "cpu.weight",
            "cpu.max",
        ];
        let limits = CgroupLimits {
            memory_min: Some(Bytes(1024)),
            memory_high: Some(Bytes(4096)),
            memory_max: Some(Bytes(1 << 30)),
            pids_max: Some(64),
            cpu_weight: Some(10),
            cpu_max_percent: Some(150),
            cpus: None,
            delegate: false,
        };
        let check = |limits: &CgroupLimits, expect: [&str; 6]| {
            let (dir, cgroups) = with_files(&files);
            let (cgroup, unset) = cgroups.prepare("a", limits, None, false).unwrap();
            assert_eq!(unset, [""; 0]);
            let free = ["100", "max 100000"];
            let cpu = ["cpu.weight", "cpu.max"].map(|name| content(dir.path(), name));
            assert_eq!(cpu, free, "nothing holds up the clone");
            // A file keeps what is behind the new text, as those of the kernel do not.
            for name in ["cpu.weight", "cpu.max"] {
                fs::write(dir.path().join("a").join(name), "").unwrap();
            }
            assert_eq!(Cgroups::limit_cpu(&cgroup, limits), [""; 0]);
            assert_eq!(files.map(|name| content(dir.path(), name)), expect);
        };
        check(
            &limits,
            ["1024", "4096", "1073741824", "64", "10", "150000 100000"],
        );
        check(&CgroupLimits::default(), ["0", "max", "max", "max", "", ""]);
    }

    #[test]
    fn processors_are_handed_down_once_a_service_asks_for_some() {
        let root = tempfile::tempdir().unwrap();
        let services = root.path().join("services");
        fs::create_dir_all(services.join("a")).unwrap();
        for above in [root.path(), &services] {
            fs::write(above.join("cgroup.subtree_control"), "").unwrap();
        }
        fs::write(services.join("a/cpuset.cpus"), "").unwrap();
        let cgroups = Cgroups::again(services.to_str().unwrap().to_owned());
        let mut limits = CgroupLimits::default();
        let told = |limits: &CgroupLimits, above: &str| {
            let (_cgroup, unset) = cgroups.prepare("a", limits, None, false).unwrap();
            assert_eq!(unset, [""; 0]);
            let control = |dir: &Path| fs::read_to_string(dir.join("cgroup.subtree_control"));
            assert_eq!(control(root.path()).unwrap(), above);
            assert_eq!(control(&services).unwrap(), above);
            content(&services, "cpuset.cpus")
        };
        assert_eq!(told(&limits, ""), "\n");
        limits.cpus = CpuList::parse("2,0-1").ok();
        assert_eq!(told(&limits, "+cpuset"), "0-2");
    }

    #[test]
    fn a_cgroup_is_thawed_before_a_process_is_put_into_it() {
        let (dir, cgroups) = with_files(&["cgroup.freeze"]);
        fs::write(dir.path().join("a/cgroup.freeze"), "1").unwrap();
        let prepared = cgroups.prepare("a", &CgroupLimits::default(), None, false);
        prepared.unwrap();
        assert_eq!(content(dir.path(), "cgroup.freeze"), "0");
    }

    #[test]
    fn a_command_beside_a_service_changes_no_limit_and_thaws_nothing() {
        let (dir, cgroups) = with_files(&["pids.max", "cgroup.freeze", "cgroup.subtree_control"]);
        assert!(cgroups.beside("a").unwrap().path().ends_with("/a"));
        assert_eq!(content(dir.path(), "pids.max"), "");
        fs::write(dir.path().join("a/cgroup.subtree_control"), "pids\n").unwrap();
        fs::create_dir(dir.path().join("a/shark.beside")).unwrap();
        fs::write(dir.path().join("a/shark.beside/cgroup.freeze"), "0\n").unwrap();
        let below = cgroups.beside("a").unwrap();
        assert!(
            below.path().ends_with("/a/shark.beside"),
            "{}",
            below.path()
        );
        fs::write(dir.path().join("a/cgroup.freeze"), "1\n").unwrap();
        assert_eq!(cgroups.beside("a").unwrap_err(), "its cgroup is frozen");
        assert_eq!(content(dir.path(), "cgroup.freeze"), "1\n");
        assert!(cgroups.beside("b").is_err());
    }

    #[test]
    fn no_command_is_started_where_the_service_could_hold_it() {
        let (dir, cgroups) = with_files(&["cgroup.subtree_control"]);
        fs::write(dir.path().join("a/cgroup.subtree_control"), "pids\n").unwrap();
        let below = dir.path().join("a/shark.beside");
        fs::create_dir(&below).unwrap();
        fs::write(below.join("cgroup.freeze"), "1\n").unwrap();
        let error = cgroups.beside("a").unwrap_err();
        assert!(error.ends_with("/a/shark.beside is frozen"), "{error}");
        fs::write(below.join("cgroup.freeze"), "0\n").unwrap();
        assert!(cgroups.beside("a").is_ok());
        let own = fs::metadata(&below).unwrap().uid();
        let opened = Cgroup::open(below.to_str().unwrap()).unwrap();
        let error = check_beside(&opened, own + 1).unwrap_err();
        assert!(error.contains(&format!("belongs to user {own}")), "{error}");
    }

    #[test]
    fn a_limit_that_cannot_be_set_is_said_and_nothing_is_made_up() {
        let (dir, cgroups) = with_files(&[]);
        let limits = CgroupLimits {
            pids_max: Some(3),
            cpu_weight: Some(7),
            ..CgroupLimits::default()
        };
        let (cgroup, unset) = cgroups.prepare("a", &limits, None, false).unwrap();
        assert_eq!(unset.len(), 1, "{unset:?}");
        assert_eq!(Cgroups::limit_cpu(&cgroup, &limits).len(), 1);
        assert!(!dir.path().join("a/pids.max").exists());
        assert_eq!(cgroups.remove("a"), Ok(()));
        assert_eq!(cgroups.remove("a"), Ok(()));
    }

    #[test]
    fn every_controller_that_is_absent_or_refused_is_told() {
        let (dir, cgroups) = with_files(&["cgroup.controllers"]);
        fs::write(dir.path().join("a/cgroup.controllers"), "cpuset pids\n").unwrap();
        let told = pass_down(&cgroups.open("a").unwrap());
        let starts = [
            "no cpu controller: its limits",
            "no memory controller: its limits",
            "no pids controller for services: write +pids",
        ];
        assert_eq!(told.len(), starts.len(), "{told:?}");
        for (sentence, start) in told.iter().zip(starts) {
            assert!(sentence.starts_with(start), "{sentence}");
        }
    }
}
