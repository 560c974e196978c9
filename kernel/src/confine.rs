//! A process that gives up what it does not need, for good: files by Landlock, the network by a
//! namespace, memory by a limit, and root by its user. Not here: which process needs what.
//!
//! Sources: landlock(7), unshare(2), setrlimit(2), credentials(7).

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetStatus,
};
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, UnshareFlags, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs, unshare_unsafe,
};

use crate::error::{At, Errno, Error, Result};
use crate::exec;
use crate::spawn::Ids;

/// The user and the group `nobody` of most systems.
const NOBODY: u32 = 65_534;

/// As whom a process goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// As whoever it is, with the capabilities it has.
    Itself,
    /// As nobody.
    Nobody,
    /// As root that may read every file and nothing else.
    Reader,
}

/// What a process keeps.
#[derive(Clone, Copy, Debug)]
pub struct Kept<'a> {
    /// Files that it may read, and directories with all in them; what is not there is left out.
    /// Descriptors that are open already stay as they are.
    pub readable: &'a [&'a str],
    /// Files that it may read and execute, and directories with all in them.
    pub executable: &'a [&'a str],
    /// Whether it keeps the network.
    pub network: bool,
    /// Bytes of address space.
    pub memory: u64,
    /// As whom it goes on.
    pub who: Who,
}

/// Confines the calling process, which has one thread. What this kernel cannot do is told in words;
/// without root, namespaces and users stay as they are.
///
/// # Errors
/// prctl(2), setrlimit(2), setresuid(2): the process is not confined, and has no business going on.
pub fn enter(kept: &Kept<'_>) -> Result<Vec<String>> {
    let mut lacking = Vec::new();
    limit(Resource::As, kept.memory, "RLIMIT_AS")?;
    limit(Resource::Core, 0, "RLIMIT_CORE")?;
    limit(Resource::Fsize, 0, "RLIMIT_FSIZE")?;
    set_no_new_privs(true).at("prctl", "PR_SET_NO_NEW_PRIVS")?;
    if !kept.network {
        // SAFETY: one thread, and no descriptors are unshared.
        let left = unsafe { unshare_unsafe(UnshareFlags::NEWNET) };
        if let Err(errno) = left {
            lacking.push(Error::new("unshare", "CLONE_NEWNET", errno).to_string());
        }
    }
    lacking.extend(landlock(kept)?);
    match kept.who {
        Who::Itself => {}
        Who::Nobody => exec::set_ids(&Ids {
            uid: NOBODY,
            gid: NOBODY,
            groups: Vec::new(),
        })?,
        Who::Reader => keep_one_capability(CapabilitySet::DAC_READ_SEARCH)?,
    }
    Ok(lacking)
}

/// Confines the calling process, which has one thread, to writing in the directories `writable`: as who
/// it is, but with no capability, and without a program to execute. What this kernel cannot do is told in
/// words.
///
/// # Errors
/// prctl(2), capset(2), setrlimit(2): the process is not confined.
pub fn enter_writer(writable: &[String]) -> Result<Vec<String>> {
    limit(Resource::Core, 0, "RLIMIT_CORE")?;
    set_no_new_privs(true).at("prctl", "PR_SET_NO_NEW_PRIVS")?;
    let writes = AccessFs::from_write(ABI::V2);
    let sets: Vec<(&str, _)> = writable
        .iter()
        .map(|path| (path.as_str(), writes))
        .collect();
    let lacking = restrict(writes | AccessFs::Execute, &sets)?;
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, none).at("capset", "")?;
    Ok(lacking.into_iter().collect())
}

fn limit(resource: Resource, most: u64, name: &str) -> Result<()> {
    let both = Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    setrlimit(resource, both).at("setrlimit", name)
}

fn landlock(kept: &Kept<'_>) -> Result<Option<String>> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let readable = kept.readable.iter().map(|path| (*path, read));
    let executable = kept.executable.iter();
    let executable = executable.map(|path| (*path, read | AccessFs::Execute));
    // The rights of Linux 6.1 and before; those that a kernel does not know are left out.
    let sets: Vec<_> = readable.chain(executable).collect();
    restrict(AccessFs::from_all(ABI::V2), &sets)
}

/// Gives up the rights `handled`, but for those of `sets` in what is named there; what is not there is
/// left out.
fn restrict(
    handled: BitFlags<AccessFs>,
    sets: &[(&str, BitFlags<AccessFs>)],
) -> Result<Option<String>> {
    let refused =
        |error: landlock::RulesetError| Error::new("landlock_create_ruleset", error, Errno::INVAL);
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(handled)
        .and_then(Ruleset::create)
        .map_err(refused)?;
    for (path, access) in sets {
        let Ok(file) = PathFd::new(path) else {
            continue;
        };
        // A right that is for directories alone is left out for a file.
        let rule = PathBeneath::new(file, *access).set_compatibility(CompatLevel::BestEffort);
        rules = rules.add_rule(rule).map_err(refused)?;
    }
    let status = rules.restrict_self().map_err(refused)?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => None,
        RulesetStatus::NotEnforced => {
            Some("this kernel has no Landlock (CONFIG_SECURITY_LANDLOCK, lsm=)".to_owned())
        }
    })
}

/// No program that this one executes has another one either.
fn keep_one_capability(kept: CapabilitySet) -> Result<()> {
    for number in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if capability == kept {
            continue;
        }
        match remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // Beyond the last one that this kernel knows.
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(Error::new("prctl", "PR_CAPBSET_DROP", errno)),
        }
    }
    let sets = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, sets).at("capset", "")
}

/// Makes `root` the root directory of this process (chroot(2)), and goes there.
///
/// # Errors
/// chroot(2): EPERM without CAP_SYS_CHROOT, ENOENT.
pub fn enter_root(root: &str) -> Result<()> {
    rustix::process::chroot(root).at("chroot", root)?;
    rustix::process::chdir("/").at("chdir", "/")
}
