//! The outer loader, which starts kernel and initramfs before any of our own code runs: what it is to
//! start next, how it is told, and what follows when it has started something else.
//!
//! [`Loader`] is what every backend does; [`wish`] is what the boot record asks of it, and [`follow`]
//! brings it there. The record is always written first: the loader only follows it. [`agree`] is what
//! stage1 makes of a loader that has not. Backends: [`boot_loader_spec`] (UEFI with systemd-boot) over
//! the [`files`] of a FAT partition, with the [`entries`] of the Boot Loader Specification; [`uboot`]
//! over the same, with two copies of its [`environment`]; [`bits`] of a GUID partition
//! table. Not here: the files, disks and firmware variables themselves.
//!
//! What is booted when power is lost between two writes, with a loader that has a kernel for each slot:
//!
//! | the record says | the loader says | what happens |
//! |-----------------|-----------------|--------------|
//! | b is installed | a, nothing of b | a |
//! | b is armed | a, b not armed yet | a's kernel; stage1 arms b and restarts: the trial of b |
//! | b is armed | b once | the trial of b |
//! | b is armed | a, b was tried | a; the history tells that b never arrived |
//! | b's trial is cut before its commit | a, b was tried | a's kernel; stage1 arms b and restarts |
//! | b is committed | a, b was tried | a's kernel; stage1 blesses b and restarts |
//! | b has failed, a is next | b | b's kernel; stage1 blesses a and restarts |
//!
//! A third restart in a row is not made ([`agree::REDIRECTS_MAX`]): a slot on trial is then given up,
//! and any other one is booted with the kernel that is there.

pub mod agree;
pub mod bits;
pub mod boot_loader_spec;
pub mod entries;
pub mod environment;
pub mod files;
pub mod uboot;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::slot::Slot;
use crate::slot::decide::{first, hindrance};
use crate::slot::judge::{Evidence, Stamp, judge};
use crate::slot::record::Record;

/// An outer loader that chooses between the slots. Where there is none, the same kernel and initramfs
/// are started each time, and the boot record alone decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Priority, tries and success in the partition table.
    Gpt,
    /// UEFI with systemd-boot: entries that count their boots.
    Uefi,
    /// U-Boot with our boot script: an environment that counts them.
    UBoot,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Gpt, Self::Uefi, Self::UBoot];

    /// As on the kernel command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gpt => "gpt",
            Self::Uefi => "uefi",
            Self::UBoot => "u-boot",
        }
    }

    /// Reads what [`Kind::as_str`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// Whether each slot has a kernel and an initramfs of its own, which an update brings along.
    #[must_use]
    pub fn has_kernels(self) -> bool {
        match self {
            Self::Gpt => false,
            Self::Uefi | Self::UBoot => true,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a system that is made for a loader with [`Kind::has_kernels`] has its kernel, in its root.
pub const KERNEL_IN_ROOT: &str = "/usr/lib/shark/boot/kernel";
/// Where it has its initramfs.
pub const INITRAMFS_IN_ROOT: &str = "/usr/lib/shark/boot/initramfs";

/// A file of a system that is copied to where the loader finds it.
pub trait Source {
    /// Reads at `offset`, as much as comes; 0 at the end.
    ///
    /// # Errors
    /// Operation, object and cause, for people.
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<usize, String>;
}

/// What every backend does. When a call returns, what it did would survive a power cut; after one that
/// failed, the loader starts what it started before or what was wished. Errors are for people:
/// operation, object, cause.
pub trait Loader {
    /// What it would start, and what it knows of the slots.
    ///
    /// # Errors
    /// It cannot be read.
    fn standing(&mut self) -> Result<Standing, String>;

    /// Brings a new kernel and a new initramfs to where the loader finds them. The slot is started
    /// again only when it has been armed or blessed afterwards. Called for loaders with
    /// [`Kind::has_kernels`].
    ///
    /// # Errors
    /// A source or a write failed, or what is read back differs.
    fn place(
        &mut self,
        slot: Slot,
        kernel: &mut dyn Source,
        initramfs: &mut dyn Source,
    ) -> Result<(), String>;

    /// The next boot tries this slot, once.
    ///
    /// # Errors
    /// It has no kernel; a write failed.
    fn arm(&mut self, slot: Slot) -> Result<(), String>;

    /// This slot is started from now on.
    ///
    /// # Errors
    /// It has no kernel; a write failed.
    fn bless(&mut self, slot: Slot) -> Result<(), String>;

    /// This slot is not started until it is armed or blessed again; the other one has been blessed.
    ///
    /// # Errors
    /// There is nothing else to start; a write failed.
    fn withdraw(&mut self, slot: Slot) -> Result<(), String>;
}

/// What a loader knows of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Entry {
    /// Nothing: it is not started.
    Absent,
    /// It is started whenever it comes first.
    Blessed,
    /// It is tried once.
    Armed,
    /// It was tried, and nobody has blessed it since.
    Tried,
}

impl Entry {
    /// For people and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Blessed => "blessed",
            Self::Armed => "armed",
            Self::Tried => "tried",
        }
    }
}

/// How a loader stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The slot that it would start next.
    pub next: Option<Slot>,
    /// Slot a, slot b.
    pub entries: [Entry; 2],
}

impl Standing {
    /// What it knows of `slot`.
    #[must_use]
    pub fn entry(&self, slot: Slot) -> Entry {
        let [a, b] = self.entries;
        match slot {
            Slot::A => a,
            Slot::B => b,
        }
    }
}

/// What the boot record asks of the loader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The slot to be started next.
    pub slot: Slot,
    /// Once: it was never found good, and neither was its kernel.
    pub once: bool,
    /// The other slot must not be started at all.
    pub alone: bool,
}

/// What `record` asks for; nothing when no slot may be booted: the loader is then left as it is.
///
/// An attempt that is under way counts as it will when the next boot judges it: one that has failed
/// costs its slot a try.
#[must_use]
pub fn wish(record: &Record) -> Option<Wish> {
    let mut next = record.clone();
    // What it was called is of no interest here.
    let _judged = judge(&mut next, &Evidence::default(), Stamp::default());
    let slot = first(&next)?;
    let once = !next.slot(slot).good;
    Some(Wish {
        slot,
        once,
        // What is tried for the first time keeps its way out.
        alone: !once && hindrance(&next, slot.other()).is_some(),
    })
}

/// Brings the loader to where the wish is; whether anything had to be done.
///
/// # Errors
/// For people: what could not be read or written.
pub fn follow(loader: &mut dyn Loader, wish: Wish) -> Result<bool, String> {
    let Wish { slot, once, alone } = wish;
    let standing = loader.standing()?;
    let wanted = if once { Entry::Armed } else { Entry::Blessed };
    let is_first = standing.next == Some(slot) && standing.entry(slot) == wanted;
    if !is_first {
        if once {
            loader.arm(slot)?;
        } else {
            loader.bless(slot)?;
        }
    }
    let is_out = !alone || standing.entry(slot.other()) == Entry::Absent;
    if !is_out {
        loader.withdraw(slot.other())?;
    }
    Ok(!is_first || !is_out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slot::account::{self, Running};
    use crate::slot::decide::Why;
    use crate::slot::record::Ended;
    use crate::slot::update::{self, System};
    use crate::verity::RootHash;

    const SYSTEM: System = System {
        root_hash: RootHash::new([3; 32]),
        security_version: 1,
    };

    fn running(slot: Slot) -> Running {
        Running {
            slot: Some(slot),
            boot_id: [1; 16],
            ..Running::default()
        }
    }

    /// Slot a runs and is committed; slot b holds something that was never booted.
    fn record() -> Record {
        let system = |byte| Some((RootHash::new([byte; 32]), 1));
        let mut record = Record::for_image(system(1), system(2));
        account::charge(
            &mut record,
            Slot::A,
            &Why::Forced,
            [1; 16],
            Stamp::default(),
        );
        account::commit(&mut record, &running(Slot::A), "").unwrap();
        record
    }

    fn check(record: &Record, slot: Slot, once: bool, alone: bool) {
        assert_eq!(wish(record), Some(Wish { slot, once, alone }), "{record:?}");
    }

    #[test]
    fn the_loader_is_asked_for_what_the_next_boot_decides() {
        let mut it = record();
        check(&it, Slot::A, false, false);
        update::begin(&mut it, &running(Slot::A), SYSTEM).unwrap();
        check(&it, Slot::A, false, true);
        update::arm(&mut it, &running(Slot::A), SYSTEM).unwrap();
        check(&it, Slot::B, true, false);
        let armed = it.clone();
        update::cancel(&mut it, &running(Slot::A)).unwrap();
        check(&it, Slot::A, false, true);

        let mut tried = armed;
        account::charge(&mut tried, Slot::B, &Why::Forced, [2; 16], Stamp::default());
        check(&tried, Slot::B, true, false);
        let me = Running {
            boot_id: [2; 16],
            ..running(Slot::B)
        };
        let mut failed = tried.clone();
        account::fail(&mut failed, &me, Ended::GateFailed, 5, "").unwrap();
        check(&failed, Slot::A, false, true);
        account::commit(&mut tried, &me, "").unwrap();
        check(&tried, Slot::B, false, false);
        update::roll_back(&mut tried, &me).unwrap();
        check(&tried, Slot::A, false, false);
        for slot in Slot::ALL {
            tried.slot_mut(slot).priority = 0;
        }
        assert_eq!(wish(&tried), None);
    }

    #[test]
    fn words_are_read_back() {
        for kind in Kind::ALL {
            assert_eq!(Kind::parse(kind.as_str()), Some(kind));
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{kind}\""));
        }
        for entry in [Entry::Absent, Entry::Blessed, Entry::Armed, Entry::Tried] {
            let json = serde_json::to_string(&entry).unwrap();
            assert_eq!(json, format!("\"{}\"", entry.as_str()));
        }
    }
}
