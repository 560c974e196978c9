//! The phases of stage1, in their order, and when each of them ended.
//!
//! Names only: what a phase does is in the module that carries its name. The names are an
//! interface: `sharkctl boot` prints them and shark-stage1(8) lists them.

use std::fmt;

/// One step of the way from the kernel's first process to `/sbin/init`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Up to the first instruction of stage1: the firmware's and the kernel's own time.
    Start,
    /// `/proc`, `/sys`, `/dev`; standard input and output on the console.
    PseudoFilesystems,
    /// The kernel command line.
    CommandLine,
    /// Kernel modules that no device asks for: filesystems, device-mapper.
    Modules,
    /// A watchdog is found, opened, and set.
    Watchdog,
    /// pstore and the watchdog tell how the last boot ended.
    Evidence,
    /// The stay at the rescue console, when there was one.
    Rescue,
    /// Until the disk with our partitions and its partitions are there.
    Disk,
    /// The boot record is read.
    BootRecord,
    /// The last boot is judged, a slot is chosen, and this boot is written to the record as a try
    /// of it.
    Charge,
    /// Signature, hash tree and root filesystem of a slot.
    Root,
    /// The data partition: checked, mounted, grown; the overlay on `/etc` and the tmpfs on `/tmp`.
    Data,
    /// What the initramfs brings for `/run`.
    Overlays,
    /// The facts for init; the last phase that can be timed, because init reads the time from it.
    HandOver,
    /// The mounts are moved, the initramfs is freed, init is executed.
    SwitchRoot,
}

impl Phase {
    /// The name in the hand-over and in messages.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::PseudoFilesystems => "pseudo-filesystems",
            Self::CommandLine => "command-line",
            Self::Modules => "modules",
            Self::Watchdog => "watchdog",
            Self::Evidence => "evidence",
            Self::Rescue => "rescue",
            Self::Disk => "disk",
            Self::BootRecord => "boot-record",
            Self::Charge => "charge",
            Self::Root => "root",
            Self::Data => "data",
            Self::Overlays => "overlays",
            Self::HandOver => "hand-over",
            Self::SwitchRoot => "switch-root",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
