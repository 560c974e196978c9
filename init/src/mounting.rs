//! From a step of a mount plan to mount(2). Not here: the plans (`mounts::plan`).

use kernel::mount::MountFlags;
use mounts::plan::{Flags, MountStep};

/// Mounts what the step says.
///
/// # Errors
/// mount(2).
pub(crate) fn mount(step: &MountStep) -> kernel::Result<()> {
    kernel::mount::mount(
        &step.source,
        &step.target,
        &step.fstype,
        flags(step.flags),
        &step.options,
    )
}

fn flags(flags: Flags) -> MountFlags {
    [
        (Flags::READ_ONLY, MountFlags::RDONLY),
        (Flags::NO_SUID, MountFlags::NOSUID),
        (Flags::NO_DEV, MountFlags::NODEV),
        (Flags::NO_EXEC, MountFlags::NOEXEC),
        (Flags::NO_ATIME, MountFlags::NOATIME),
    ]
    .into_iter()
    .filter(|(flag, _)| flags.contains(*flag))
    .fold(MountFlags::empty(), |all, (_, flag)| all | flag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_of_a_plan_reaches_the_kernel() {
        let all = flags(Flags::NO_SUID | Flags::NO_DEV | Flags::NO_EXEC | Flags::READ_ONLY);
        let expect =
            MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RDONLY;
        assert_eq!(all, expect);
        assert_eq!(flags(Flags::NONE), MountFlags::empty());
    }
}
