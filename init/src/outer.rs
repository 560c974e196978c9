//! The outer loader after a change of the boot record: it is told what the record wants next. Not here:
//! the loader (`initramfs::outer`), and what is wanted (`mounts::loader`).
//!
//! The record comes first and counts: a loader that could not be told is told by stage1 at the next
//! boot, which then restarts.

use std::path::Path;

use initramfs::outer::{self, Places};
use mounts::cmdline::Cmdline;
use mounts::dps;
use mounts::loader::{self, Kind, Loader, Standing};
use mounts::slot::Slot;
use mounts::slot::record::Record;
use services::update::LoaderStatus;

/// The kernel command line, where loaders name themselves.
const CMDLINE: &str = "/proc/cmdline";
const CMDLINE_MAX: usize = 64 << 10;
/// Where the kernel shows its block devices.
const CLASS: &str = "/sys/class/block";

/// The loader that has started this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outer {
    pub(crate) kind: Kind,
    /// Whose kernel it has started, where it has told.
    started: Option<Slot>,
    /// The disk of the slots, such as `/dev/vda`.
    disk: String,
}

impl Outer {
    /// The loader that the kernel command line names, with the slots on `disk`.
    pub(crate) fn of_machine(disk: &str) -> Option<Self> {
        let text = kernel::files::read_text(CMDLINE, CMDLINE_MAX).ok()?;
        Self::of(&Cmdline::parse(&text), disk)
    }

    /// The same, with the slots on the disk of the partition `path`.
    pub(crate) fn beside(path: &str) -> Option<Self> {
        // Most machines have none: their disk need not be found out.
        let disk = disk_of(Path::new(CLASS), path).unwrap_or_default();
        Self::of_machine(&disk)
    }

    fn of(cmdline: &Cmdline, disk: &str) -> Option<Self> {
        Some(Self {
            kind: cmdline.loader?,
            started: cmdline.loader_slot,
            disk: disk.to_owned(),
        })
    }

    fn open(&self) -> Result<Box<dyn Loader>, String> {
        let esp = crate::update::find_partition(Path::new(CLASS), &self.disk, dps::ESP_NAME);
        let places = Places {
            esp,
            disk: self.disk.clone(),
        };
        outer::open(self.kind, &places, |text| eprintln!("{text}"))
    }

    fn standing(&self) -> Result<Standing, String> {
        self.open()?.standing()
    }

    /// How the loader stands, or why that cannot be read.
    pub(crate) fn status(&self) -> LoaderStatus {
        let kind = self.kind.to_string();
        let word = |slot: Slot| slot.as_str().to_owned();
        match self.standing() {
            Ok(standing) => LoaderStatus {
                kind,
                next: standing.next.map(word),
                slots: Slot::ALL
                    .map(|slot| standing.entry(slot).as_str().to_owned())
                    .into(),
                problem: None,
            },
            Err(problem) => LoaderStatus {
                kind,
                problem: Some(problem),
                ..LoaderStatus::default()
            },
        }
    }

    /// Tells the loader what the record wants next; what was done, where anything was.
    ///
    /// # Errors
    /// For people: what could not be read or written.
    pub(crate) fn follow(&self, record: &Record) -> Result<Option<String>, String> {
        let Some(wish) = loader::wish(record) else {
            return Ok(None);
        };
        let runs = record.attempt.as_ref().map(|attempt| attempt.slot);
        let is_foreign = self.started.is_some_and(|started| runs != Some(started));
        if is_foreign && runs == Some(wish.slot) {
            // It runs with the other slot's kernel, which says nothing of its own.
            return Ok(None);
        }
        let told = self
            .open()
            .and_then(|mut loader| loader::follow(&mut *loader, wish))
            .map_err(|why| format!("the boot loader ({}) could not be told: {why}", self.kind))?;
        let how = if wish.once { "once" } else { "from now on" };
        Ok(told.then(|| format!("the boot loader starts slot {}, {how}", wish.slot)))
    }

    /// Copies kernel and initramfs of the system mounted at `root` to where the loader finds them.
    ///
    /// # Errors
    /// For people: the system has none, or they could not be copied.
    pub(crate) fn place(&self, slot: Slot, root: &str) -> Result<(), String> {
        let mut loader = self.open()?;
        outer::place(&mut *loader, slot, root)
    }
}

/// The disk of a partition, `/dev/vda` of `/dev/vda2`.
fn disk_of(class: &Path, partition: &str) -> Option<String> {
    let device = std::fs::canonicalize(partition).ok()?;
    let inside = class.join(device.file_name()?).canonicalize().ok()?;
    let disk = inside.parent()?.file_name()?.to_str()?;
    Some(format!("/dev/{disk}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_a_loader_where_the_command_line_names_one() {
        let of = |line: &str| Outer::of(&Cmdline::parse(line), "/dev/vda");
        assert_eq!(of("quiet shark.loader=record"), None);
        let outer = of("shark.loader=uefi shark.loader-slot=b").unwrap();
        assert_eq!((outer.kind, outer.started), (Kind::Uefi, Some(Slot::B)));
    }
}
