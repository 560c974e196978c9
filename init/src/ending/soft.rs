//! A soft reboot: user space ends in order and begins again, with the same kernel. What services have
//! mounted is unmounted; then init is executed anew, as PID 1, in the root below /run/nextroot where one
//! is mounted there, or else in the same. Not here: stopping services, and what the new init makes of it
//! (`pid1::handover`).
//!
//! For the boot record it is still the same boot of the same slot: no end is noted, and nothing is
//! charged. A boot that was found good stays so; one that was not has its gate opened anew.

use kernel::mount::UnmountFlags;
use mounts::unmount::{parse_mountinfo, plan};
use serde::{Deserialize, Serialize};

use super::bequest::Bequest;
use super::say_now;
use crate::errand;
use crate::pid1::replacement;
use crate::pid1::say::{Level, Say};

/// Where the next root is mounted by whoever wants one.
const NEXT_ROOT: &str = "/run/nextroot";
/// The variable in which the next init finds what is left to it.
const VARIABLE: &str = "SHARK_SOFT_REBOOT";
/// What the next root takes over from the old one.
const CARRIED: [&str; 4] = ["/proc", "/sys", "/dev", "/run"];
/// Bytes of a program's head that are looked at.
const PROGRAM_HEAD: usize = 20;
/// Each pass unmounts at least one, or is the last.
const PASSES: usize = 64;
const MOUNTINFO_MAX: usize = 16 << 20;

/// What one user space leaves to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Previous {
    /// How many there were before.
    pub count: u32,
    /// The boot was found good.
    pub passed: bool,
    /// It runs in another root than the one the boot began with.
    pub other_root: bool,
    /// What was mounted when the first began: that is no service's.
    pub mounted: Vec<String>,
}

impl Previous {
    /// What the user space before has left; nothing where this is the first.
    #[must_use]
    pub fn from_environment() -> Option<Self> {
        let text = std::env::var(VARIABLE).ok()?;
        errand::unpack(&super::bequest::bytes_of(&text)?).ok()
    }
}

/// Whether there is a way on: either nothing is to be the next root, or it is one, from which `origin`
/// can be executed. Found out while all still runs, since afterwards there is only the restart.
///
/// # Errors
/// For people: what is wrong with the next root.
pub fn check_next_root(origin: &str) -> Result<(), String> {
    if matches!(kernel::mount::is_mount_point(NEXT_ROOT), Ok(true)) {
        return check_root(NEXT_ROOT, origin).map_err(|why| format!("{NEXT_ROOT}: {why}"));
    }
    // Somebody has prepared a root there and forgotten to mount it: the old one is not what is wanted.
    match std::fs::read_dir(NEXT_ROOT).map(|mut entries| entries.next().is_some()) {
        Ok(true) => Err(format!(
            "{NEXT_ROOT} is no mount point; expected a mounted root, or nothing there: \
             `mount --bind {NEXT_ROOT} {NEXT_ROOT}` makes it one"
        )),
        Ok(false) | Err(_) => Ok(()),
    }
}

/// Whether what is mounted at `root` can be entered and holds an init at `origin`.
fn check_root(root: &str, origin: &str) -> Result<(), String> {
    let head = kernel::files::program_head(root, origin, PROGRAM_HEAD)
        .map_err(|error| format!("this is no root with an init: {error}"))?;
    if !head.starts_with(b"#!") {
        replacement::check_head(&head).map_err(|why| format!("{origin} in it: {why}"))?;
    }
    for directory in CARRIED {
        kernel::files::make_dirs(&format!("{root}{directory}"), 0o755)
            .map_err(|error| format!("there is no room for {directory} in it: {error}"))?;
    }
    Ok(())
}

/// Begins again, as `origin`. Returns only the reason why not.
pub(super) fn begin_again(
    mut previous: Previous,
    origin: &str,
    bequest: &Bequest,
    say: &mut Say,
) -> String {
    unmount_added(&previous.mounted, say);
    if matches!(kernel::mount::is_mount_point(NEXT_ROOT), Ok(true)) {
        if let Err(error) = enter_next_root() {
            return format!("enter {NEXT_ROOT}: {error}");
        }
        previous.other_root = true;
    }
    previous.count = previous.count.saturating_add(1);
    execute(&previous, origin, bequest).unwrap_or_else(|error| error.to_string())
}

fn execute(previous: &Previous, origin: &str, bequest: &Bequest) -> kernel::Result<String> {
    let mut plan = kernel::spawn::Plan::new(&[origin])?;
    for (name, value) in std::env::vars() {
        if name != VARIABLE {
            plan.set_env(&name, &value)?;
        }
    }
    let bytes = errand::pack(previous).unwrap_or_default();
    plan.set_env(VARIABLE, &super::bequest::hexadecimal(&bytes))?;
    // The next one finds it among its descriptors.
    let _kept = bequest.variable();
    Ok(kernel::spawn::exec(&plan).to_string())
}

/// Unmounts what was not there when the boot began, but for the next root.
fn unmount_added(before: &[String], say: &mut Say) {
    for _ in 0..PASSES {
        let text = kernel::files::read("/proc/self/mountinfo", MOUNTINFO_MAX).unwrap_or_default();
        let (entries, _broken) = parse_mountinfo(&text);
        let mut progress = false;
        let mut errors = Vec::new();
        for entry in plan(&entries, &[]).unmount {
            let path = String::from_utf8_lossy(&entry.target).into_owned();
            if before.contains(&path) || is_of_next_root(&path) {
                continue;
            }
            match kernel::mount::unmount(&path, UnmountFlags::empty()) {
                Ok(()) => progress = true,
                Err(error) => errors.push(error.to_string()),
            }
        }
        if !progress {
            for error in errors {
                say_now(say, Level::Warning, &format!("stays mounted: {error}"));
            }
            return;
        }
    }
}

/// The next root, what is mounted in it, and what it is mounted in.
fn is_of_next_root(path: &str) -> bool {
    let below = |path: &str, above: &str| {
        path.strip_prefix(above)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    path == "/" || below(path, NEXT_ROOT) || below(NEXT_ROOT, path)
}

/// Makes the next root the root, with the kernel's filesystems and /run of the old one, which is let go
/// of as soon as nothing of it is in use: the program that runs is.
fn enter_next_root() -> kernel::Result<()> {
    /// A place to put /run down, on a filesystem that can always be written to.
    const ASIDE: &str = "/dev/shark-run";
    kernel::mount::set_propagation(
        "/",
        kernel::mount::MountPropagationFlags::PRIVATE | kernel::mount::MountPropagationFlags::REC,
    )?;
    let old = format!("{NEXT_ROOT}/run");
    for directory in CARRIED {
        kernel::files::make_dirs(&format!("{NEXT_ROOT}{directory}"), 0o755)?;
    }
    kernel::mount::pivot_root(NEXT_ROOT, &old)?;
    for directory in ["/proc", "/sys", "/dev"] {
        kernel::mount::move_to(&format!("/run{directory}"), directory)?;
    }
    kernel::files::make_dirs(ASIDE, 0o700)?;
    kernel::mount::move_to("/run/run", ASIDE)?;
    kernel::mount::unmount("/run", UnmountFlags::DETACH)?;
    kernel::mount::move_to(ASIDE, "/run")?;
    kernel::files::remove_tree(ASIDE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_root_and_what_holds_it_stay_mounted() {
        for stays in ["/run/nextroot", "/run/nextroot/usr", "/run", "/"] {
            assert!(is_of_next_root(stays), "{stays}");
        }
        for goes in ["/run/nextroots", "/srv", "/run/x", "/r"] {
            assert!(!is_of_next_root(goes), "{goes}");
        }
    }

    #[test]
    fn a_next_root_without_an_init_is_refused() {
        use std::os::unix::fs::{PermissionsExt, symlink};

        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_str().unwrap();
        let refused = |why: &str| {
            let got = check_root(root, "/sbin/init").unwrap_err();
            assert!(got.contains(why), "{got}");
        };
        refused("no root with an init");
        std::fs::create_dir_all(dir.path().join("usr/lib")).unwrap();
        // Its links are its own: this is not the program of the machine that runs.
        symlink("/usr/lib", dir.path().join("sbin")).unwrap();
        refused("/sbin/init: No such file");
        let init = dir.path().join("usr/lib/init");
        std::fs::copy("/proc/self/exe", &init).unwrap();
        std::fs::set_permissions(&init, std::fs::Permissions::from_mode(0o644)).unwrap();
        refused("Permission denied");
        std::fs::set_permissions(&init, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(check_root(root, "/sbin/init"), Ok(()));
        assert!(dir.path().join("proc").is_dir());
        std::fs::remove_dir(dir.path().join("sys")).unwrap();
        std::fs::write(dir.path().join("sys"), "").unwrap();
        refused("no room for /sys");
        std::fs::write(&init, "init\n").unwrap();
        refused("/sbin/init in it: this is no program");
        std::fs::write(&init, "#!/bin/sh\n").unwrap();
        refused("no room for /sys");
    }

    #[test]
    fn the_next_user_space_finds_what_is_left_to_it() {
        let previous = Previous {
            count: 3,
            passed: true,
            other_root: false,
            mounted: vec!["/".to_owned(), "/proc".to_owned()],
        };
        let text = super::super::bequest::hexadecimal(&errand::pack(&previous).unwrap());
        let bytes = super::super::bequest::bytes_of(&text).unwrap();
        assert_eq!(errand::unpack::<Previous>(&bytes).unwrap(), previous);
    }
}
