//! UEFI with systemd-boot, or any loader that counts the boots of entries as the Boot Loader
//! Specification has it.
//!
//! An armed slot has the entry of the highest rank, with a count of 1: the loader starts it once, counts
//! it down to 0, and from then on starts the next one. A blessed slot has an entry without a count. So
//! the entries alone suffice; the one-shot variable of the firmware is set besides, for machines where
//! somebody has chosen another default entry, and nothing depends on it. Not here: the form of an entry
//! ([`super::entries`]), the calls ([`BootFiles`], [`OneShot`]).

use super::entries::{self, Count, Name};
use super::files::{self, BootFiles};
use super::{Entry, Kind, Loader, Source, Standing};
use crate::slot::Slot;

/// The variable of the firmware that names the entry of the next boot alone. Firmware may refuse, or
/// have none: whoever implements this says so, and nothing else follows.
pub trait OneShot {
    /// The next boot takes the entry that fits this pattern.
    fn set(&mut self, pattern: &str);

    /// The next boot takes the first entry.
    fn clear(&mut self);
}

/// The entries on a partition.
#[derive(Debug)]
pub struct BootLoaderSpec<F, V> {
    files: F,
    one_shot: V,
}

/// An entry that is there.
#[derive(Clone, Debug)]
struct Found {
    name: Name,
    /// Its options; none when it is torn, or starts something else than its name says.
    options: Option<String>,
}

impl Found {
    fn is_whole(&self) -> bool {
        self.options.is_some()
    }

    fn entry(&self) -> Entry {
        match self.name.count {
            None => Entry::Blessed,
            Some(Count { left: 0, .. }) => Entry::Tried,
            Some(_) => Entry::Armed,
        }
    }
}

impl<F: BootFiles, V: OneShot> BootLoaderSpec<F, V> {
    /// The loader of the partition with these files.
    pub const fn new(files: F, one_shot: V) -> Self {
        Self { files, one_shot }
    }

    /// Our entries.
    fn found(&mut self) -> Result<Vec<Found>, String> {
        let names = self.files.list(entries::DIRECTORY)?;
        let mut found = Vec::new();
        for name in names.iter().filter_map(|name| Name::parse(name)) {
            let text = files::text(&mut self.files, &name.path(), entries::SIZE_MAX)?;
            let options = text.and_then(|text| entries::options(name.slot, &text));
            found.push(Found { name, options });
        }
        Ok(found)
    }

    /// Gives `slot` the first entry, with this count or none, and takes its others away.
    fn put_first(&mut self, slot: Slot, count: Option<Count>) -> Result<Name, String> {
        files::has_kernel(&mut self.files, slot)?;
        let found = self.found()?;
        let is_there = |name: Name| found.iter().any(|it| it.name == name && it.is_whole());
        let top = |of: Option<Slot>| {
            let ranks = found
                .iter()
                .filter(|it| of.is_none_or(|of| of == it.name.slot));
            ranks.map(|it| it.name.rank).max().unwrap_or(0)
        };
        let (own, other) = (top(Some(slot)), top(Some(slot.other())));
        let kept = Name {
            rank: own,
            slot,
            count,
        };
        // An entry that only loses its count keeps its rank. One that is there and torn does not.
        let is_torn = found.iter().any(|it| it.name == kept && !it.is_whole());
        let name = if own > other && !is_torn {
            kept
        } else {
            let rank = top(None) + 1;
            if rank > entries::RANK_MAX {
                return Err(format!(
                    "{}: no rank is left above {}; remove entries",
                    entries::DIRECTORY,
                    entries::RANK_MAX
                ));
            }
            Name { rank, slot, count }
        };
        if !is_there(name) {
            let options = options_for(&found, slot);
            let content = entries::content(name, Kind::Uefi, &options);
            self.files.write(&name.path(), 0, content.as_bytes())?;
            self.files.sync()?;
            let back = files::text(&mut self.files, &name.path(), entries::SIZE_MAX)?;
            if back.as_deref() != Some(content.as_str()) {
                return Err(format!(
                    "{}: what is read back is not what was written",
                    name.path()
                ));
            }
        }
        let old = found
            .iter()
            .filter(|it| it.name.slot == slot && it.name != name);
        self.remove(old.map(|it| it.name))?;
        Ok(name)
    }

    fn remove(&mut self, names: impl Iterator<Item = Name>) -> Result<(), String> {
        let mut any = false;
        for name in names {
            self.files.remove(&name.path())?;
            any = true;
        }
        if any { self.files.sync() } else { Ok(()) }
    }
}

/// The options for a new entry: those of the slot's own, or else of the other slot's.
fn options_for(found: &[Found], slot: Slot) -> String {
    let whole = found.iter().filter(|it| it.is_whole());
    let best = whole.max_by_key(|it| (it.name.slot == slot, it.name.rank));
    best.and_then(|it| it.options.clone()).unwrap_or_default()
}

/// What of a slot counts: its entry with the highest rank; of two with the same, as they are for a moment
/// when one is blessed or counted, the one that has come further.
fn standing_of(found: &[Found], slot: Slot) -> Entry {
    let own = found
        .iter()
        .filter(|it| it.name.slot == slot && it.is_whole());
    let best = own.max_by_key(|it| {
        let further = match it.entry() {
            Entry::Absent => 0,
            Entry::Armed => 1,
            Entry::Tried => 2,
            Entry::Blessed => 3,
        };
        (it.name.rank, further)
    });
    best.map_or(Entry::Absent, Found::entry)
}

impl<F: BootFiles, V: OneShot> Loader for BootLoaderSpec<F, V> {
    fn standing(&mut self) -> Result<Standing, String> {
        let found = self.found()?;
        // As loaders sort: what is counted down last, then by rank.
        let whole = found.iter().filter(|it| it.is_whole());
        let next = whole.max_by_key(|it| (!it.name.is_spent(), it.name.rank));
        Ok(Standing {
            next: next.map(|it| it.name.slot),
            entries: Slot::ALL.map(|slot| standing_of(&found, slot)),
        })
    }

    /// The slot's entries go first, so that none starts a kernel that is half there.
    fn place(
        &mut self,
        slot: Slot,
        kernel: &mut dyn Source,
        initramfs: &mut dyn Source,
    ) -> Result<(), String> {
        let found = self.found()?;
        let own = found.iter().filter(|it| it.name.slot == slot);
        self.remove(own.map(|it| it.name))?;
        files::place(&mut self.files, slot, kernel, initramfs)
    }

    fn arm(&mut self, slot: Slot) -> Result<(), String> {
        let once = Count { left: 1, done: 0 };
        let name = self.put_first(slot, Some(once))?;
        self.one_shot.set(&name.pattern());
        Ok(())
    }

    fn bless(&mut self, slot: Slot) -> Result<(), String> {
        self.put_first(slot, None)?;
        self.one_shot.clear();
        Ok(())
    }

    fn withdraw(&mut self, slot: Slot) -> Result<(), String> {
        let found = self.found()?;
        if standing_of(&found, slot.other()) == Entry::Absent {
            return Err(format!(
                "the entry of slot {slot} stays, as the loader has no other"
            ));
        }
        let own = found.iter().filter(|it| it.name.slot == slot);
        self.remove(own.map(|it| it.name))
    }
}
