//! What is mounted where, in which order, with which options: as data for stage1 and init to act on.
//!
//! Nothing is decided while mounting: a plan is a list, and whoever runs it does each step in turn.
//! Not here: mount(2), checking or growing a filesystem, unmounting ([`crate::unmount`]).

use std::fmt;
use std::ops::BitOr;

use crate::manifest::Filesystem;

/// Where stage1 builds the new root.
pub const SYSROOT: &str = "/sysroot";
/// Where state generations are, each a directory with its number for a name, on the data filesystem as
/// the running system sees it.
pub const GENERATIONS: &str = "/var/lib/shark/state";

/// The mark by which an operator asks for a factory reset, in the same view.
pub const FACTORY_RESET: &str = "/var/lib/shark/factory-reset";

/// The directory of a state generation.
#[must_use]
pub fn generation(number: u64) -> String {
    format!("{GENERATIONS}/{number}")
}

/// What is changed in /etc in a state generation: the upper layer over that of the root.
#[must_use]
pub fn etc_of(number: u64) -> String {
    format!("{GENERATIONS}/{number}/etc/upper")
}

/// Where a state generation, the directory `generation`, has the directory `name` of /var/lib.
#[must_use]
pub fn versioned(generation: &str, name: &str) -> String {
    format!("{generation}/lib/{name}")
}

/// Mount flags, as the MS_* bits of mount(2). They are written out because [`crate`] has no libc;
/// they are part of Linux's ABI and the same on every architecture (linux/mount.h).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u32);

impl Flags {
    /// None.
    pub const NONE: Self = Self(0);
    /// MS_RDONLY
    pub const READ_ONLY: Self = Self(1);
    /// MS_NOSUID
    pub const NO_SUID: Self = Self(2);
    /// MS_NODEV
    pub const NO_DEV: Self = Self(4);
    /// MS_NOEXEC
    pub const NO_EXEC: Self = Self(8);
    /// MS_NOATIME
    pub const NO_ATIME: Self = Self(1024);

    /// The MS_* bits.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether all of `other` are set.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (Self::READ_ONLY, "ro"),
            (Self::NO_SUID, "nosuid"),
            (Self::NO_DEV, "nodev"),
            (Self::NO_EXEC, "noexec"),
            (Self::NO_ATIME, "noatime"),
        ];
        let set: Vec<&str> = names
            .into_iter()
            .filter_map(|(flag, name)| self.contains(flag).then_some(name))
            .collect();
        f.write_str(&set.join(","))
    }
}

/// One mount(2) of a filesystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountStep {
    /// A device, or the filesystem's name where there is none.
    pub source: String,
    /// Where to.
    pub target: String,
    /// Type of the filesystem.
    pub fstype: String,
    /// Flags.
    pub flags: Flags,
    /// The filesystem's own options, comma-separated; may be empty.
    pub options: String,
    /// Without it the boot cannot go on; otherwise a failure is reported as missing.
    pub required: bool,
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make this directory and its parents where they are missing; `mode` is that of the last one.
    Directory {
        /// Its path.
        path: String,
        /// Its mode, such as `0o755`.
        mode: u32,
    },
    /// Mount a filesystem.
    Mount(MountStep),
    /// Move a mount (MS_MOVE) with all below it.
    Move {
        /// From here.
        from: String,
        /// To here.
        to: String,
    },
}

/// What to do, in order, and what is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MountPlan {
    /// The steps.
    pub steps: Vec<Step>,
    /// What this system lacks, for the report: `data: no partition ...`.
    pub missing: Vec<String>,
}

/// The data partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// It is there and was checked.
    Device {
        /// Such as `/dev/vda8`.
        device: String,
        /// `ext4` or `btrfs`.
        fstype: String,
    },
    /// It is not there, or cannot be mounted.
    Missing {
        /// The cause.
        why: String,
    },
}

fn mount(source: &str, target: &str, fstype: &str, flags: Flags, options: &str) -> MountStep {
    MountStep {
        source: source.to_owned(),
        target: target.to_owned(),
        fstype: fstype.to_owned(),
        flags,
        options: options.to_owned(),
        required: true,
    }
}

fn directory(path: impl Into<String>, mode: u32) -> Step {
    Step::Directory {
        path: path.into(),
        mode,
    }
}

/// The pseudo filesystems without which nothing works: the first thing stage1 does, and init when
/// it was started without stage1. Where one is mounted already, the step is to be left out.
#[must_use]
pub fn early() -> Vec<Step> {
    let closed = Flags::NO_SUID | Flags::NO_DEV | Flags::NO_EXEC;
    [
        mount("proc", "/proc", "proc", closed, ""),
        mount("sysfs", "/sys", "sysfs", closed, ""),
        mount("devtmpfs", "/dev", "devtmpfs", Flags::NO_SUID, "mode=0755"),
        mount(
            "tmpfs",
            "/run",
            "tmpfs",
            Flags::NO_SUID | Flags::NO_DEV,
            "mode=0755,size=20%",
        ),
    ]
    .into_iter()
    .flat_map(|step| [directory(step.target.as_str(), 0o755), Step::Mount(step)])
    .collect()
}

/// What init mounts on top of [`early`], in any mode of boot. All but the cgroup filesystem are
/// optional: a kernel or a container without them still runs services.
#[must_use]
pub fn late() -> Vec<Step> {
    let closed = Flags::NO_SUID | Flags::NO_DEV | Flags::NO_EXEC;
    let quiet = Flags::NO_SUID | Flags::NO_EXEC;
    let shared = Flags::NO_SUID | Flags::NO_DEV;
    let optional = |step: MountStep| MountStep {
        required: false,
        ..step
    };
    let steps = [
        mount(
            "cgroup2",
            "/sys/fs/cgroup",
            "cgroup2",
            closed,
            "nsdelegate,memory_recursiveprot",
        ),
        optional(mount(
            "devpts",
            "/dev/pts",
            "devpts",
            quiet,
            "gid=5,mode=0620,ptmxmode=0666",
        )),
        optional(mount("tmpfs", "/dev/shm", "tmpfs", shared, "mode=1777")),
        optional(mount("mqueue", "/dev/mqueue", "mqueue", closed, "")),
        optional(mount(
            "securityfs",
            "/sys/kernel/security",
            "securityfs",
            closed,
            "",
        )),
        optional(mount("pstore", "/sys/fs/pstore", "pstore", closed, "")),
        optional(mount("bpf", "/sys/fs/bpf", "bpf", closed, "mode=0700")),
    ];
    steps
        .into_iter()
        .flat_map(|step| {
            // Directories of sysfs cannot be made: they are there or the kernel lacks the thing.
            let made = step.target.starts_with("/dev/");
            let directory = made.then(|| directory(step.target.as_str(), 0o755));
            directory.into_iter().chain([Step::Mount(step)])
        })
        .collect()
}

/// The read-only root of a slot, on [`SYSROOT`].
#[must_use]
pub fn root(device: &str, filesystem: Filesystem) -> MountPlan {
    let flags = Flags::READ_ONLY | Flags::NO_ATIME;
    MountPlan {
        steps: vec![
            directory(SYSROOT, 0o755),
            Step::Mount(mount(device, SYSROOT, filesystem.as_str(), flags, "")),
        ],
        missing: Vec::new(),
    }
}

/// The data on /var of `root`, which is [`SYSROOT`] or a directory with the same content. Without data
/// /var is a tmpfs and nothing is kept; the plan says so. What everything else needs of it comes with
/// [`within_data`].
///
/// When mounting the data fails, undo nothing: ask for the plan with [`Data::Missing`] and run that.
#[must_use]
pub fn data(root: &str, data: &Data) -> MountPlan {
    let target = format!("{root}/var");
    let shared = Flags::NO_SUID | Flags::NO_DEV;
    let mut missing = Vec::new();
    let var = match data {
        Data::Device { device, fstype } => {
            mount(device, &target, fstype, shared | Flags::NO_ATIME, "")
        }
        Data::Missing { why } => {
            missing.push(format!("data: {why}: /var is a tmpfs; nothing is kept"));
            mount("tmpfs", &target, "tmpfs", shared, "mode=0755,size=50%")
        }
    };
    MountPlan {
        steps: vec![Step::Mount(var)],
        missing,
    }
}

/// The directories that are there on all data: made when they are new, and after a reset.
#[must_use]
pub fn within_data(root: &str) -> Vec<Step> {
    vec![
        directory(format!("{root}/var/lib/shark"), 0o755),
        directory(format!("{root}{GENERATIONS}"), 0o755),
    ]
}

/// What comes over the root once the data are there: the overlay on /etc with its upper layer in the
/// state generation with this number, and a tmpfs on /tmp.
#[must_use]
pub fn over_root(root: &str, number: u64) -> MountPlan {
    let shared = Flags::NO_SUID | Flags::NO_DEV;
    let upper = format!("{root}{}", etc_of(number));
    let work = format!("{root}{}/etc/work", generation(number));
    let etc = format!("{root}/etc");
    let layers = format!("lowerdir={etc},upperdir={upper},workdir={work}");
    MountPlan {
        steps: vec![
            directory(upper, 0o755),
            directory(work, 0o755),
            Step::Mount(mount(
                "overlay",
                &etc,
                "overlay",
                Flags::NO_SUID | Flags::NO_DEV,
                &layers,
            )),
            directory(format!("{root}/var/log"), 0o755),
            directory(format!("{root}/var/tmp"), 0o1777),
            Step::Mount(mount(
                "tmpfs",
                &format!("{root}/tmp"),
                "tmpfs",
                shared,
                "mode=1777,size=50%",
            )),
        ],
        missing: Vec::new(),
    }
}

/// Moves what [`early`] mounted below the new root, just before it becomes the root.
#[must_use]
pub fn move_below(root: &str) -> Vec<Step> {
    ["/dev", "/proc", "/sys", "/run"]
        .into_iter()
        .map(|from| Step::Move {
            from: from.to_owned(),
            to: format!("{root}{from}"),
        })
        .collect()
}
