//! Boot entries of the Boot Loader Specification (type 1) as we write and read them:
//! `shark-RANK-SLOT.conf`, and `shark-RANK-SLOT+LEFT-DONE.conf` while its boots are counted.
//!
//! The entry with the highest rank comes first, unless it has been counted down to 0. The rank is in the
//! name, so that a new entry of a slot never has the name of its old one, and in the key `version`, by
//! which loaders sort. The key `linux` stands last: an entry of which only a beginning was written has
//! none, and loaders pass it over. Not here: when which entry is written
//! ([`super::boot_loader_spec`]).

use std::fmt;

use crate::slot::Slot;

/// Where entries are.
pub const DIRECTORY: &str = "loader/entries";
/// Longest entry that is read, in bytes.
pub const SIZE_MAX: usize = 4096;
/// The highest rank.
pub const RANK_MAX: u32 = 999_999_999;

/// How often an entry may still be booted without being blessed, and how often it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// How often it may still be booted.
    pub left: u32,
    /// How often it was.
    pub done: u32,
}

/// The name of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    /// The highest comes first.
    pub rank: u32,
    /// Whose kernel it starts.
    pub slot: Slot,
    /// There while its boots are counted.
    pub count: Option<Count>,
}

impl Name {
    /// Reads the name of a file; `None` for one that is none of ours.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let name = name.strip_prefix("shark-")?.strip_suffix(".conf")?;
        let (name, count) = match name.split_once('+') {
            None => (name, None),
            Some((name, count)) => (name, Some(Count::parse(count)?)),
        };
        let (rank, slot) = name.split_once('-')?;
        let slot = Slot::ALL.into_iter().find(|it| it.as_str() == slot)?;
        let rank = number(rank).filter(|rank| *rank <= RANK_MAX)?;
        Some(Self { rank, slot, count })
    }

    /// A pattern that fits this entry whatever is counted of it.
    #[must_use]
    pub fn pattern(self) -> String {
        format!("shark-{}-{}*", self.rank, self.slot)
    }

    /// Where the entry is.
    #[must_use]
    pub fn path(self) -> String {
        format!("{DIRECTORY}/{self}")
    }

    /// Whether its boots have been counted down to 0: loaders put it behind all others.
    #[must_use]
    pub fn is_spent(self) -> bool {
        self.count.is_some_and(|count| count.left == 0)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shark-{}-{}", self.rank, self.slot)?;
        match self.count {
            None => {}
            Some(Count { left, done: 0 }) => write!(f, "+{left}")?,
            Some(Count { left, done }) => write!(f, "+{left}-{done}")?,
        }
        f.write_str(".conf")
    }
}

impl Count {
    fn parse(text: &str) -> Option<Self> {
        let (left, done) = match text.split_once('-') {
            None => (text, 0),
            Some((left, done)) => (left, number(done)?),
        };
        let left = number(left)?;
        Some(Self { left, done })
    }
}

/// Decimal digits and nothing else: a number that `parse` would take with a sign is none here.
fn number(text: &str) -> Option<u32> {
    let plain = (1..=9).contains(&text.len()) && text.bytes().all(|it| it.is_ascii_digit());
    plain.then(|| text.parse().ok())?
}

/// Where the kernel of a slot is.
#[must_use]
pub fn kernel_path(slot: Slot) -> String {
    format!("shark/{slot}/linux")
}

/// Where the initramfs of a slot is.
#[must_use]
pub fn initramfs_path(slot: Slot) -> String {
    format!("shark/{slot}/initrd")
}

/// The text of an entry; `options` is the kernel command line without what names loader and slot.
#[must_use]
pub fn content(name: Name, loader: super::Kind, options: &str) -> String {
    let Name { rank, slot, .. } = name;
    let options = format!("{options} shark.loader={loader} shark.loader-slot={slot}");
    format!(
        "title Shark, slot {slot}\nsort-key shark\nversion {rank}\noptions {}\ninitrd /{}\nlinux /{}\n",
        options.trim_start(),
        initramfs_path(slot),
        kernel_path(slot),
    )
}

/// The options of an entry, without what names loader and slot; `None` when it is not whole, or starts
/// something else than the kernel of `slot`.
#[must_use]
pub fn options(slot: Slot, content: &str) -> Option<String> {
    let value = |key: &str| {
        let mut found = content.lines().filter_map(|line| {
            let (found, value) = line.trim().split_once(char::is_whitespace)?;
            (found == key).then(|| value.trim())
        });
        found.next_back()
    };
    let starts = value("linux")? == format!("/{}", kernel_path(slot))
        && value("initrd")? == format!("/{}", initramfs_path(slot));
    let named = format!("shark.loader-slot={slot}");
    let words = || value("options").unwrap_or_default().split_whitespace();
    if !starts || !content.ends_with('\n') || !words().any(|word| word == named) {
        return None;
    }
    let ours =
        |word: &&str| !word.starts_with("shark.loader=") && !word.starts_with("shark.loader-slot=");
    Some(words().filter(ours).collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loader::Kind;

    #[test]
    fn names_are_read_as_they_are_written_and_as_loaders_rename_them() {
        let count = |left, done| Some(Count { left, done });
        for (text, rank, slot, expect) in [
            ("shark-1-a.conf", 1, Slot::A, None),
            ("shark-12-b+1.conf", 12, Slot::B, count(1, 0)),
            ("shark-12-b+0-1.conf", 12, Slot::B, count(0, 1)),
            ("shark-999999999-b+3-2.conf", RANK_MAX, Slot::B, count(3, 2)),
        ] {
            let name = Name::parse(text).unwrap();
            let expect = Name {
                rank,
                slot,
                count: expect,
            };
            assert_eq!((name, name.to_string().as_str()), (expect, text));
        }
        for bad in [
            "shark-1-a",
            "shark-1-c.conf",
            "shark--a.conf",
            "shark-+1-a.conf",
            "shark-1-a+.conf",
            "shark-1-a+1-.conf",
            "shark-1-a+1-2-3.conf",
            "shark-1-a+1+2.conf",
            "shark-1000000000-a.conf",
            "Shark-1-a.conf",
            "debian.conf",
        ] {
            assert_eq!(Name::parse(bad), None, "{bad}");
        }
        assert!(Name::parse("shark-2-a+0-1.conf").unwrap().is_spent());
        assert!(!Name::parse("shark-2-a+1.conf").unwrap().is_spent());
    }

    #[test]
    fn options_travel_from_entry_to_entry_and_a_torn_entry_is_none() {
        let name = Name::parse("shark-7-b+1.conf").unwrap();
        let text = content(name, Kind::Uefi, "console=ttyS0 quiet");
        assert!(
            text.contains("\noptions console=ttyS0 quiet shark.loader=uefi shark.loader-slot=b\n")
        );
        assert!(text.ends_with("\nlinux /shark/b/linux\n"), "{text}");
        assert_eq!(
            options(Slot::B, &text).as_deref(),
            Some("console=ttyS0 quiet")
        );
        assert_eq!(options(Slot::A, &text), None);
        for length in 0..text.len() {
            assert_eq!(options(Slot::B, &text[..length]), None, "{length}");
        }
        let bare = content(name, Kind::Uefi, "");
        assert_eq!(options(Slot::B, &bare).as_deref(), Some(""));
    }
}
