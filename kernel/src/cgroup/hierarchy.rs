//! Where cgroup v2 is mounted, or that it is not. Not here: single cgroups.

use crate::error::{Errno, Result};
use crate::files;
use crate::mount::{self, MountFlags};

/// What this machine has of cgroups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hierarchy {
    /// v2 alone, mounted here.
    Unified(String),
    /// v2 is mounted here, but v1 hierarchies hold some controllers: services can be tracked and
    /// killed, not all of them limited.
    Hybrid(String),
    /// v1 only.
    Legacy,
    /// Nothing is mounted.
    Absent,
}

impl Hierarchy {
    /// Mount point of v2: one that shows the root of the hierarchy as this process sees it.
    #[must_use]
    pub fn root(&self) -> Option<&str> {
        match self {
            Self::Unified(root) | Self::Hybrid(root) => Some(root),
            Self::Legacy | Self::Absent => None,
        }
    }
}

/// Looks at what is mounted.
///
/// # Errors
/// Reading /proc/self/mountinfo.
pub fn detect() -> Result<Hierarchy> {
    Ok(judge(&mount::mountinfo()?))
}

/// Mounts cgroup v2 on `target`, with `nsdelegate` and `memory_recursiveprot` where the kernel knows
/// them.
///
/// # Errors
/// mount(2): ENODEV without CONFIG_CGROUPS, EPERM, EBUSY.
pub fn mount_v2(target: &str) -> Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let mut result = Ok(());
    for options in ["nsdelegate,memory_recursiveprot", "nsdelegate", ""] {
        result = mount::mount("cgroup2", target, "cgroup2", flags, options);
        match &result {
            // An option this kernel does not know.
            Err(error) if error.errno == Errno::INVAL => {}
            Ok(()) | Err(_) => break,
        }
    }
    result
}

/// The v2 cgroup of a process, from the root of the hierarchy (of our cgroup namespace): `/` or
/// `/services/sshd`. `None`: it has none.
///
/// # Errors
/// ENOENT or ESRCH: there is no such process.
pub fn of_process(pid: u32) -> Result<Option<String>> {
    let text = files::read_text(&format!("/proc/{pid}/cgroup"), 64 * 1024)?;
    Ok(text
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .map(str::to_owned))
}

fn judge(mountinfo: &str) -> Hierarchy {
    let mut v1 = false;
    let mut v2 = None;
    for line in mountinfo.lines() {
        // proc_pid_mountinfo(5): the fifth field is the mount point, the type follows " - ".
        let Some((left, right)) = line.split_once(" - ") else {
            continue;
        };
        match right.split(' ').next() {
            Some("cgroup") => v1 = true,
            // The fourth field is what of the hierarchy it shows. In a cgroup namespace, a mount
            // made outside shows the host's, and what is made there is not ours.
            Some("cgroup2") if left.split(' ').nth(3) == Some("/") => {
                v2 = v2.or_else(|| left.split(' ').nth(4));
            }
            Some(_) | None => {}
        }
    }
    match (v2, v1) {
        (Some(root), false) => Hierarchy::Unified(root.to_owned()),
        (Some(root), true) => Hierarchy::Hybrid(root.to_owned()),
        (None, true) => Hierarchy::Legacy,
        (None, false) => Hierarchy::Absent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &Hierarchy) {
        assert_eq!(&judge(text), expect);
    }

    #[test]
    fn hierarchies_are_told_apart() {
        let v2 = "30 23 0:26 / /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw\n";
        let hybrid = "30 23 0:26 / /sys/fs/cgroup/unified rw shared:4 - cgroup2 cgroup2 rw\n";
        let v1 = "31 23 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        let other = "25 1 8:1 / / rw - ext4 /dev/cgroup rw\n";
        check(other, &Hierarchy::Absent);
        check(v1, &Hierarchy::Legacy);
        let unified = Hierarchy::Unified("/sys/fs/cgroup".into());
        check(&format!("{other}{v2}"), &unified);
        let both = Hierarchy::Hybrid("/sys/fs/cgroup/unified".into());
        check(&format!("{v1}{hybrid}"), &both);
        // In a namespace: what was mounted outside, alone and before our own.
        let outside = v2.replace(" / /sys", " /../.. /sys");
        check(&outside, &Hierarchy::Absent);
        let own = v2.replace("/sys/fs/cgroup", "/run/cgroup");
        let found = Hierarchy::Unified("/run/cgroup".into());
        check(&format!("{outside}{own}"), &found);
    }

    #[test]
    fn every_process_has_a_cgroup_where_v2_is_mounted() {
        let own = of_process(std::process::id()).unwrap();
        if detect().unwrap().root().is_some() {
            assert!(own.unwrap().starts_with('/'));
        }
        assert!(of_process(u32::MAX).is_err());
    }
}
