//! What PID 1 does before its loop: API filesystems, its own limits, the hand-over of stage1, the
//! cgroup hierarchy. Not here: the sources of the loop (`open` of the parent module).
//!
//! Nothing in here ends the boot. What is not there is a fact about this machine, and is told as
//! one.

use std::fs;
use std::path::Path;

use kernel::cgroup;
use kernel::system::Surroundings;
use mounts::cmdline::Cmdline;
use mounts::plan::Step;
use mounts::unmount::parse_mountinfo;
use services::control::BootMode;
use services::time::Time;

use super::cgroups::Cgroups;
use super::gate::Keeper;
use super::handover::{self, Start, Told};
use super::say::Say;
use crate::ending::soft::Previous;
use crate::paths::Paths;

/// Inode of the first cgroup namespace (PROC_CGROUP_INIT_INO).
const FIRST_CGROUP_NAMESPACE: &str = "cgroup:[4026531835]";
/// Where the cgroup hierarchy is mounted when nobody has.
const CGROUP_MOUNT: &str = "/sys/fs/cgroup";
/// Descriptors for 16384 services: two ends of a pipe, a pidfd, and some to spare. Services that name
/// no limit inherit this one.
const NOFILE: u64 = 65_536;
/// Largest kernel command line, and mountinfo, that is read.
const PROC_FILE_MAX: usize = 1 << 20;

/// What the loop starts from.
pub(super) struct Prepared {
    pub(super) paths: Paths,
    pub(super) say: Say,
    /// What stage1 has told.
    pub(super) told: Told,
    pub(super) cgroups: Option<Cgroups>,
    /// Service names that the kernel command line forbids to run.
    pub(super) masks: Vec<String>,
    /// Start the shell of last resort instead of the services.
    pub(super) rescue: bool,
    /// Testers may do what harms.
    pub(super) debug: bool,
    /// What the user space before this one has left.
    pub(super) previous: Previous,
}

/// Sets everything up, as far as it can be.
pub(super) fn prepare(started: Time) -> Prepared {
    let mut missing = Vec::new();
    if !Path::new("/proc/self").exists() {
        missing.extend(mount_steps(&mounts::plan::early(), &[]));
    }
    let contained = is_contained();
    if !contained {
        let mounted = mount_points();
        missing.extend(mount_steps(&mounts::plan::early(), &mounted));
        missing.extend(mount_steps(&optional(mounts::plan::late()), &mounted));
    }
    let paths = Paths::from_environment();
    let cmdline = if contained {
        // It is the host's.
        Cmdline::default()
    } else {
        let text = kernel::files::read_text("/proc/cmdline", PROC_FILE_MAX);
        Cmdline::parse(&text.unwrap_or_default())
    };
    let start = Start {
        contained,
        at: started,
        watchdog: cmdline.watchdog,
    };
    let mut told = handover::read(&paths, &start);
    told.notes.extend(cmdline.errors);
    let previous = begun_again(&mut told, started);
    let boot = &mut told.boot;
    let say = Say::open(!contained, cmdline.debug || contained);
    boot.mark("init", started);
    if let Some(target) = cmdline.target {
        boot.info.target = target;
    }
    for name in &cmdline.masks {
        boot.lacks(format!("{name}: masked on the kernel command line"));
    }
    if let Err(error) = fs::create_dir_all(&paths.runtime_dir) {
        told.notes
            .push(format!("make {}: {error}", paths.runtime_dir.display()));
    }
    missing.extend(super::begin::mark_first_boot(&paths).err());
    missing.extend(own_limits(contained));
    let cgroups = match set_up_cgroups(contained, &mut missing) {
        Ok(cgroups) => Some(cgroups),
        Err(why) => {
            missing.push(format!(
                "cgroup: {why}: no limits, and only the process group of a service is killed"
            ));
            None
        }
    };
    for lacking in missing {
        told.boot.lacks(lacking);
    }
    let rescue = cmdline.rescue && is_without_stage1(told.boot.info.mode);
    Prepared {
        paths,
        say,
        told,
        cgroups,
        masks: cmdline.masks,
        rescue,
        debug: cmdline.debug,
        previous,
    }
}

/// Where this is not the first user space of the boot, takes over what the one before has left; else,
/// what is mounted now is what is mounted when user space begins.
fn begun_again(told: &mut Told, now: Time) -> Previous {
    let Some(previous) = Previous::from_environment() else {
        let mounted = mount_points().into_iter();
        return Previous {
            mounted: mounted
                .map(|path| String::from_utf8_lossy(&path).into_owned())
                .collect(),
            ..Previous::default()
        };
    };
    told.boot.mark("soft reboot", now);
    match told.boot.info.mode {
        BootMode::Container | BootMode::Direct | BootMode::Initramfs => {}
        BootMode::Disk if previous.other_root => {
            told.gate = Keeper::absent("this user space is of another root than the slot's");
        }
        BootMode::Disk if previous.passed => {
            told.gate = Keeper::passed(now);
            told.boot.info.committed = true;
            told.boot.info.trial = false;
        }
        BootMode::Disk => {}
    }
    previous
}

/// Whether `shark.rescue` is for init: stage1 has had its own console for it already, and whoever
/// left that wants the boot to go on.
const fn is_without_stage1(mode: BootMode) -> bool {
    match mode {
        BootMode::Disk | BootMode::Initramfs => false,
        BootMode::Direct | BootMode::Container => true,
    }
}

/// Whether this is the first process of a namespace or container and not of a machine.
pub(super) fn is_contained() -> bool {
    match kernel::system::surroundings() {
        Surroundings::Machine => false,
        Surroundings::Container(_) => true,
    }
}

/// All mount points, as bytes of their paths.
fn mount_points() -> Vec<Vec<u8>> {
    let text = kernel::files::read("/proc/self/mountinfo", PROC_FILE_MAX).unwrap_or_default();
    let (entries, _broken) = parse_mountinfo(&text);
    entries.into_iter().map(|entry| entry.target).collect()
}

/// The steps but for the cgroup filesystem, which is looked after on its own.
fn optional(steps: Vec<Step>) -> Vec<Step> {
    steps
        .into_iter()
        .filter(|step| !matches!(step, Step::Mount(mount) if mount.target == CGROUP_MOUNT))
        .collect()
}

/// Runs mount steps but for what is mounted already; what failed, for people.
fn mount_steps(steps: &[Step], mounted: &[Vec<u8>]) -> Vec<String> {
    let mut failed = Vec::new();
    for step in steps {
        let done = match step {
            Step::Directory { path, mode } => kernel::files::make_dirs(path, *mode),
            Step::Mount(mount) if mounted.iter().any(|it| it == mount.target.as_bytes()) => Ok(()),
            Step::Mount(mount) => {
                let done = crate::mounting::mount(mount);
                match done {
                    // Told once, by what is lacking; a kernel without it is an ordinary kernel.
                    Err(error) if !mount.required => {
                        failed.push(format!("{}: {error}", mount.fstype));
                        Ok(())
                    }
                    Ok(()) | Err(_) => done,
                }
            }
            // None in these plans: nothing is moved after switch_root.
            Step::Move { .. } => Ok(()),
        };
        if let Err(error) = done {
            failed.push(format!("filesystem: {error}"));
        }
    }
    failed
}

/// Limits and switches of PID 1 itself; what could not be set, for people.
fn own_limits(contained: bool) -> Vec<String> {
    let mut missing = Vec::new();
    if let Err(error) = std::env::set_current_dir("/") {
        missing.push(format!("working directory: {error}"));
    }
    match kernel::system::raise_descriptor_limit(NOFILE) {
        Ok(limit) if limit >= NOFILE => {}
        Ok(limit) => missing.push(format!("descriptors: {limit} at most: fewer services")),
        Err(error) => missing.push(format!("descriptors: {error}")),
    }
    // The kernel never takes the machine's PID 1, and what its children need not set they start sooner.
    // Not possible without CAP_SYS_RESOURCE, as in a user namespace.
    if contained && let Err(error) = kernel::system::spare_from_oom() {
        missing.push(format!("oom protection of init: {error}"));
    }
    if !contained {
        if let Err(error) = kernel::reboot::ctrl_alt_del_to_init(true) {
            missing.push(format!("Ctrl-Alt-Del: {error}"));
        }
        // Our own lines are limited by us; the kernel's limit of ten in five seconds loses most. It
        // takes the word with a newline only.
        let _unset = kernel::system::set_sysctl("kernel.printk_devkmsg", "on\n");
    }
    missing
}

fn set_up_cgroups(contained: bool, missing: &mut Vec<String>) -> Result<Cgroups, String> {
    if contained && is_first_cgroup_namespace() {
        // The hierarchy we see is the host's, and so is every service in it.
        return Err("this namespace shares the cgroups of its host".to_owned());
    }
    let hierarchy = cgroup::detect().map_err(|error| error.to_string())?;
    if let Some(root) = hierarchy.root() {
        return Cgroups::set_up(root, missing);
    }
    cgroup::mount_v2(CGROUP_MOUNT).map_err(|error| error.to_string())?;
    Cgroups::set_up(CGROUP_MOUNT, missing)
}

fn is_first_cgroup_namespace() -> bool {
    fs::read_link("/proc/self/ns/cgroup").map_or(true, |namespace| {
        namespace.as_os_str() == FIRST_CGROUP_NAMESPACE
    })
}
