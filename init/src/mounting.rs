//! From a step of a mount plan to mount(2). Not here: the plans (`mounts::plan`).

use kernel::mount::MountFlags;
use mounts::plan::MountStep;

/// Mounts what the step says.
///
/// # Errors
/// mount(2).
pub(crate) fn mount(step: &MountStep) -> kernel::Result<()> {
    kernel::mount::mount(
        &step.source,
        &step.target,
        &step.fstype,
        MountFlags::from_bits_retain(step.flags.bits()),
        &step.options,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use mounts::plan::Flags;

    /// The plans have no libc to take the bits from; this holds them to it.
    #[test]
    fn every_flag_of_a_plan_is_the_kernels() {
        let check = |flag: Flags, expect: MountFlags| assert_eq!(flag.bits(), expect.bits());
        check(Flags::NONE, MountFlags::empty());
        check(Flags::READ_ONLY, MountFlags::RDONLY);
        check(Flags::NO_SUID, MountFlags::NOSUID);
        check(Flags::NO_DEV, MountFlags::NODEV);
        check(Flags::NO_EXEC, MountFlags::NOEXEC);
        check(Flags::NO_ATIME, MountFlags::NOATIME);
        check(
            Flags::READ_ONLY | Flags::NO_ATIME,
            MountFlags::RDONLY | MountFlags::NOATIME,
        );
    }
}
