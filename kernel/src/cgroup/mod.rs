//! cgroup v2: one directory a service. Not here: which service lives where (init), v1 controllers
//! (none is used).
//!
//! Source: Documentation/admin-guide/cgroup-v2.rst of Linux.

mod hierarchy;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    Access, AtFlags, FileType, Gid, Mode, OFlags, Uid, accessat, chownat, mkdir, open, openat,
    unlinkat,
};
use rustix::io::retry_on_intr;

use crate::error::{At, Errno, Error, Result};
use crate::files;
use crate::pidfd;
use crate::signals::Signal;
pub use hierarchy::{Hierarchy, detect, mount_v2, of_process};

/// Files of a cgroup are short; cgroup.procs is the longest.
const FILE_MAX: usize = 1 << 20;
/// How deep a service may have nested its own cgroups for us to follow.
const DEPTH: u32 = 32;

/// A cgroup, by descriptor: a name used again is never mistaken for it.
#[derive(Debug)]
pub struct Cgroup {
    path: String,
    fd: OwnedFd,
    fresh: bool,
}

/// Limits to write; `None` writes the kernel's default, so that a reload can lift a limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// memory.min, bytes.
    pub memory_min: Option<u64>,
    /// memory.high, bytes.
    pub memory_high: Option<u64>,
    /// memory.max, bytes.
    pub memory_max: Option<u64>,
    /// pids.max.
    pub pids_max: Option<u32>,
    /// cpu.weight, 1 to 10000.
    pub cpu_weight: Option<u16>,
    /// cpu.max, percent of one CPU.
    pub cpu_max_percent: Option<u32>,
    /// cpuset.cpus, in the list format of cpuset(7).
    pub cpus: Option<String>,
}

/// Microseconds of CPU in each period of 100 ms.
fn cpu_max(percent: u32) -> String {
    format!("{} 100000", u64::from(percent).saturating_mul(1000))
}

impl Cgroup {
    /// Opens the cgroup `path`.
    ///
    /// # Errors
    /// ENOENT, ENOTDIR.
    pub fn open(path: &str) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = open(path, flags, Mode::empty()).at("open", path)?;
        Ok(Self {
            path: path.to_owned(),
            fd,
            fresh: false,
        })
    }

    /// Makes the cgroup `path` (its parent exists), or opens the one that is there.
    ///
    /// # Errors
    /// mkdir(2): EAGAIN past cgroup.max.descendants, EROFS or EPERM in a container without a cgroup
    /// of its own.
    pub fn create(path: &str) -> Result<Self> {
        match mkdir(path, Mode::from_raw_mode(0o755)) {
            Ok(()) => Ok(Self {
                fresh: true,
                ..Self::open(path)?
            }),
            Err(Errno::EXIST) => Self::open(path),
            Err(errno) => Err(errno).at("mkdir", path),
        }
    }

    /// Whether [`Cgroup::create`] has just made it: then everything in it is the kernel's default.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// Whether it has passed controllers down or has cgroups below it: it may take no process then.
    ///
    /// # Errors
    /// read(2).
    pub fn is_divided(&self) -> Result<bool> {
        let links = rustix::fs::fstat(&self.fd).at("stat", &self.path)?.st_nlink;
        // A directory has a link from above, one of its own, and one from each below it.
        Ok(links > 2 || !self.read("cgroup.subtree_control")?.trim().is_empty())
    }

    /// Whether it is the root of the machine's hierarchy, and not only that of a namespace: the one
    /// cgroup without `cgroup.type`, that passes controllers down and has processes of its own.
    #[must_use]
    pub fn is_of_machine(&self) -> bool {
        let found = accessat(&self.fd, "cgroup.type", Access::EXISTS, AtFlags::empty());
        found == Err(Errno::NOENT)
    }

    /// Its directory.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What the kernel knows it by: the inode of its directory.
    ///
    /// # Errors
    /// fstat(2); none is known.
    pub fn id(&self) -> Result<u64> {
        rustix::fs::fstat(&self.fd)
            .map(|stat| stat.st_ino)
            .at("stat", &self.path)
    }

    /// Path of cgroup.events, for an inotify watch with MODIFY.
    #[must_use]
    pub fn events_path(&self) -> String {
        format!("{}/cgroup.events", self.path)
    }

    /// Controllers that may be enabled for its children.
    ///
    /// # Errors
    /// read(2).
    pub fn controllers(&self) -> Result<Vec<String>> {
        let text = self.read("cgroup.controllers")?;
        Ok(text.split_whitespace().map(str::to_owned).collect())
    }

    /// Enables `wanted` controllers for its children, all at once, as each change moves every process
    /// below; where that fails, one by one. Those that could not be, and why.
    /// The cgroup must hold no process itself, unless it is the root.
    #[must_use]
    pub fn enable(&self, wanted: &[&str]) -> Vec<(String, Error)> {
        let enable = |name: &&str| {
            let result = self.write("cgroup.subtree_control", &format!("+{name}"));
            result.err().map(|error| ((*name).to_owned(), error))
        };
        let all: Vec<String> = wanted.iter().map(|name| format!("+{name}")).collect();
        if self.write("cgroup.subtree_control", &all.join(" ")).is_ok() {
            return Vec::new();
        }
        wanted.iter().filter_map(enable).collect()
    }

    /// Writes a file of the cgroup: `cpu.weight`, `cgroup.freeze`, ...
    ///
    /// # Errors
    /// ENOENT when its controller is not enabled; EINVAL, ERANGE for the value.
    pub fn write(&self, file: &str, value: &str) -> Result<()> {
        let object = || format!("{value} to {}/{file}", self.path);
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let written = openat(&self.fd, file, flags, Mode::empty())
            .and_then(|fd| files::write_once(&fd, value.as_bytes()));
        written.map_err(|errno| Error::new("write", object(), errno))
    }

    /// Reads a file of the cgroup.
    ///
    /// # Errors
    /// ENOENT when its controller is not enabled, or the cgroup is gone: then ENODEV.
    pub fn read(&self, file: &str) -> Result<String> {
        read_at(self.fd.as_fd(), file)
            .map_err(|errno| Error::new("read", format_args!("{}/{file}", self.path), errno))
    }

    /// Writes all limits, each for itself; those that could not be. A limit that is the default, and
    /// whose controller is not there, is no error; one that was asked for is. In a fresh cgroup the
    /// defaults are there already.
    #[must_use]
    pub fn set_limits(&self, limits: &Limits) -> Vec<Error> {
        let max = |value: Option<u64>| value.map(|value| value.to_string());
        let values = [
            ("memory.min", max(limits.memory_min), "0"),
            ("memory.high", max(limits.memory_high), "max"),
            ("memory.max", max(limits.memory_max), "max"),
            ("pids.max", max(limits.pids_max.map(u64::from)), "max"),
            ("cpu.weight", max(limits.cpu_weight.map(u64::from)), "100"),
            ("cpu.max", limits.cpu_max_percent.map(cpu_max), "max 100000"),
            // An empty line is all that the cgroup above has; no bytes at all would not arrive.
            ("cpuset.cpus", limits.cpus.clone(), "\n"),
        ];
        let write = |(file, value, default): (&str, Option<String>, &str)| {
            let asked = value.is_some();
            if self.fresh && !asked {
                return None;
            }
            let result = self.write(file, value.as_deref().unwrap_or(default));
            result
                .err()
                .filter(|error| asked || error.errno != Errno::NOENT)
        };
        values.into_iter().filter_map(write).collect()
    }

    /// Writes what is asked for of the processor alone, which [`Cgroup::set_limits`] does too; those that
    /// could not be.
    #[must_use]
    pub fn set_cpu_limits(&self, weight: Option<u16>, max_percent: Option<u32>) -> Vec<Error> {
        let values = [
            ("cpu.weight", weight.map(|it| it.to_string())),
            ("cpu.max", max_percent.map(cpu_max)),
        ];
        let write = |(file, value): (&str, Option<String>)| self.write(file, &value?).err();
        values.into_iter().filter_map(write).collect()
    }

    /// Moves a process, 0 for the caller, into it.
    ///
    /// # Errors
    /// write(2): ESRCH, EBUSY when controllers are enabled for its children.
    pub fn add_process(&self, pid: u32) -> Result<()> {
        self.write("cgroup.procs", &pid.to_string())
    }

    /// Its own processes, not those of its children. Read it once: more may come meanwhile.
    ///
    /// # Errors
    /// read(2).
    pub fn processes(&self) -> Result<Vec<u32>> {
        let text = self.read("cgroup.procs")?;
        Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
    }

    /// Whether any process is in it or below it.
    ///
    /// # Errors
    /// read(2); EIO when the kernel's file says nothing about it.
    pub fn populated(&self) -> Result<bool> {
        self.field("cgroup.events", "populated")
            .map(|value| value != 0)
    }

    /// How many processes the OOM killer has taken in it and below it; `None` without the memory
    /// controller.
    ///
    /// # Errors
    /// read(2).
    pub fn oom_kills(&self) -> Result<Option<u64>> {
        absent(self.field("memory.events", "oom_kill"))
    }

    /// Memory in use, bytes; `None` without the memory controller.
    ///
    /// # Errors
    /// read(2).
    pub fn memory_current(&self) -> Result<Option<u64>> {
        absent(self.number("memory.current"))
    }

    /// Processes and threads in it and below it; `None` without the pids controller.
    ///
    /// # Errors
    /// read(2).
    pub fn pids_current(&self) -> Result<Option<u64>> {
        absent(self.number("pids.current"))
    }

    /// Lets its processes run again. A process spawned into a frozen cgroup would hold the parent.
    ///
    /// # Errors
    /// write(2). Without `cgroup.freeze`, before Linux 5.2, nothing is ever frozen, and that is none.
    pub fn thaw(&self) -> Result<()> {
        match self.write("cgroup.freeze", "0") {
            Err(error) if error.errno == Errno::NOENT => Ok(()),
            other => other,
        }
    }

    /// Kills everything in it and below it: `cgroup.kill`, and before Linux 5.14 each process by
    /// itself, in rounds until a round finds none (at most 16: a fork bomb is stopped by pids.max,
    /// not here). It does not wait for the ends: `populated` turns 0 when they are over.
    ///
    /// # Errors
    /// write(2), read(2).
    pub fn kill(&self) -> Result<()> {
        match self.write("cgroup.kill", "1") {
            Err(error) if error.errno == Errno::NOENT => self.kill_one_by_one(),
            other => other,
        }
    }

    /// [`Cgroup::kill`] without `cgroup.kill`.
    fn kill_one_by_one(&self) -> Result<()> {
        // Frozen, they cannot fork away from us; a kill takes effect all the same.
        let frozen = self.write("cgroup.freeze", "1").is_ok();
        for _ in 0..16 {
            let mut hit = 0_usize;
            signal_below(self.fd.as_fd(), DEPTH, Signal::KILL, &mut hit)
                .map_err(|errno| Error::new("kill", &self.path, errno))?;
            if hit == 0 {
                break;
            }
        }
        if frozen { self.thaw() } else { Ok(()) }
    }

    /// Sends `signal` to each process in it and below it, by pidfd; how many it has reached. Those
    /// that are just being made may be missed.
    ///
    /// # Errors
    /// read(2).
    pub fn signal(&self, signal: Signal) -> Result<usize> {
        let mut hit = 0;
        signal_below(self.fd.as_fd(), DEPTH, signal, &mut hit).at("signal", &self.path)?;
        Ok(hit)
    }

    /// All processes in it and below it. Read them once: more may come meanwhile.
    ///
    /// # Errors
    /// read(2).
    pub fn processes_below(&self) -> Result<Vec<u32>> {
        let mut found = Vec::new();
        let mut note = |pid| found.push(pid);
        each_below(self.fd.as_fd(), DEPTH, &mut note).at("read", &self.path)?;
        Ok(found)
    }

    /// Gives the cgroup to a user who may make cgroups below it: the directory and the files
    /// that the kernel's documentation names for delegation.
    ///
    /// # Errors
    /// chown(2).
    pub fn delegate(&self, uid: u32, gid: u32) -> Result<()> {
        let (owner, group) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        let names = [
            "",
            "cgroup.procs",
            "cgroup.subtree_control",
            "cgroup.threads",
        ];
        for name in names {
            chownat(&self.fd, name, owner, group, AtFlags::EMPTY_PATH)
                .at("chown", format_args!("{}/{name}", self.path))?;
        }
        Ok(())
    }

    /// Removes it and everything below it, the deepest first.
    ///
    /// # Errors
    /// EBUSY while a process is left in it. One that is not there any more is no error.
    pub fn remove(self) -> Result<()> {
        remove_tree(&self.path)
    }

    fn number(&self, file: &str) -> Result<u64> {
        let text = self.read(file)?;
        let value = text.trim().parse().map_err(|_| Errno::IO);
        value.at("read", format_args!("{}/{file}", self.path))
    }

    fn field(&self, file: &str, key: &str) -> Result<u64> {
        let text = self.read(file)?;
        flat_keyed(&text, key)
            .ok_or(Errno::IO)
            .at("read", format_args!("{key} of {}/{file}", self.path))
    }
}

impl AsFd for Cgroup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Removes the cgroup `path` and everything below it, the deepest first.
///
/// # Errors
/// EBUSY while a process is left in it. One that is not there is no error.
pub fn remove_tree(path: &str) -> Result<()> {
    let cgroup = match Cgroup::open(path) {
        Ok(cgroup) => cgroup,
        Err(error) if error.errno == Errno::NOENT => return Ok(()),
        Err(error) => return Err(error),
    };
    let below = remove_below(cgroup.fd.as_fd(), DEPTH);
    drop(cgroup);
    match rustix::fs::rmdir(path) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        // What is below tells more than "busy" does, where that failed.
        Err(errno) => Err(below.err().unwrap_or(errno)).at("rmdir", path),
    }
}

/// `key` of a file of lines `KEY VALUE`.
fn flat_keyed(text: &str, key: &str) -> Option<u64> {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(name, _)| *name == key)
        .and_then(|(_, value)| value.trim().parse().ok())
}

fn absent(result: Result<u64>) -> Result<Option<u64>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.errno == Errno::NOENT => Ok(None),
        Err(error) => Err(error),
    }
}

fn read_at(dir: BorrowedFd<'_>, file: &str) -> rustix::io::Result<String> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let fd = retry_on_intr(|| openat(dir, file, flags, Mode::empty()))?;
    let bytes = files::read_fd(&fd, FILE_MAX)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Calls `each` for every cgroup right below `dir`.
fn children(
    dir: BorrowedFd<'_>,
    mut each: impl FnMut(&core::ffi::CStr, &OwnedFd) -> rustix::io::Result<()>,
) -> rustix::io::Result<()> {
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type() != FileType::Directory || name == c"." || name == c".." {
            continue;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match openat(dir, name, flags, Mode::empty()) {
            Ok(child) => each(name, &child)?,
            // Its owner removed it meanwhile.
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn signal_below(
    dir: BorrowedFd<'_>,
    depth: u32,
    signal: Signal,
    hit: &mut usize,
) -> rustix::io::Result<()> {
    each_below(dir, depth, &mut |pid| {
        // It may have ended meanwhile. The number can hardly be another's: it was read just now.
        if let Ok(process) = pidfd::open(pid)
            && let Ok(pidfd::Sent::Delivered) = pidfd::send_signal(&process, signal)
        {
            *hit = hit.saturating_add(1);
        }
    })
}

/// Calls `each` for every process in `dir` and below it.
fn each_below(
    dir: BorrowedFd<'_>,
    depth: u32,
    each: &mut dyn FnMut(u32),
) -> rustix::io::Result<()> {
    let text = match read_at(dir, "cgroup.procs") {
        Ok(text) => text,
        // A threaded cgroup lists no processes, one that was removed nothing at all.
        Err(Errno::OPNOTSUPP | Errno::NODEV | Errno::NOENT) => String::new(),
        Err(errno) => return Err(errno),
    };
    text.lines()
        .filter_map(|line| line.parse().ok())
        .for_each(&mut *each);
    if depth == 0 {
        return Ok(());
    }
    children(dir, |_, child| {
        each_below(child.as_fd(), depth.saturating_sub(1), &mut *each)
    })
}

fn remove_below(dir: BorrowedFd<'_>, depth: u32) -> rustix::io::Result<()> {
    if depth == 0 {
        return Err(Errno::NAMETOOLONG);
    }
    children(dir, |name, child| {
        remove_below(child.as_fd(), depth.saturating_sub(1))?;
        match unlinkat(dir, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOENT) => Ok(()),
            other => other,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyed_files_are_read_by_whole_keys() {
        let text = "oom 3\noom_kill 2\noom_group_kill 1\n";
        assert_eq!(flat_keyed(text, "oom_kill"), Some(2));
        assert_eq!(flat_keyed(text, "oom"), Some(3));
        assert_eq!(flat_keyed(text, "kill"), None);
        assert_eq!(flat_keyed("populated x", "populated"), None);
    }

    /// What old kernels need, tried on whatever kernel is here.
    #[test]
    fn kills_one_by_one_too() {
        let hierarchy = detect().unwrap();
        let Some(root) = hierarchy.root() else {
            return println!("SKIPPED: no cgroup v2 here");
        };
        let path = format!("{root}/shark-test-{}-one-by-one", std::process::id());
        let cgroup = match Cgroup::create(&path) {
            Ok(cgroup) => cgroup,
            Err(error) => return println!("SKIPPED: cannot make a cgroup: {error}"),
        };
        let below = Cgroup::create(&format!("{path}/below")).unwrap();
        let mut spawner = crate::spawn::Spawner::new().unwrap();
        let plan = crate::spawn::Plan::new(&["/bin/sleep", "600"]).unwrap();
        let children = [&cgroup, &below, &below].map(|cgroup| {
            let wiring = crate::spawn::Wiring {
                cgroup: Some(cgroup.as_fd()),
                ..crate::spawn::Wiring::NULL
            };
            spawner.spawn(&plan, &wiring).unwrap()
        });
        assert_eq!(below.processes().unwrap().len(), 2);
        cgroup.kill_one_by_one().unwrap();
        for child in children {
            let end = crate::reap::wait(child.pid).unwrap();
            assert!(matches!(end, crate::reap::End::Killed { signal: 9, .. }));
        }
        assert!(!cgroup.populated().unwrap());
        drop(below);
        cgroup.remove().unwrap();
        assert!(!files::exists(&path));
    }
}
