//! The initramfs image: a cpio archive in the "newc" format, as the kernel unpacks it
//! (Documentation/driver-api/early-userspace/buffer-format.rst). Same entries, same bytes: no
//! times, no inode numbers of the host, entries in the order of their paths.
//!
//! Not here: files of the host, and compression.

use std::collections::BTreeMap;
use std::fmt;

/// Longest path that the kernel unpacks, in bytes (PATH_MAX less its final NUL).
const PATH_LIMIT: usize = 4095;

/// Name of the entry that ends an archive.
const TRAILER: &str = "TRAILER!!!";

const S_IFMT: u32 = 0o170_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;
const S_IFLNK: u32 = 0o120_000;
const S_IFCHR: u32 = 0o020_000;

/// One thing in an archive. Everything belongs to root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    mode: u32,
    device: (u32, u32),
    data: Vec<u8>,
}

impl Entry {
    /// A regular file with these permission bits.
    #[must_use]
    pub fn file(permissions: u32, content: Vec<u8>) -> Self {
        Self::new(S_IFREG, permissions, content)
    }

    /// A directory with these permission bits.
    #[must_use]
    pub fn directory(permissions: u32) -> Self {
        Self::new(S_IFDIR, permissions, Vec::new())
    }

    /// A symbolic link.
    #[must_use]
    pub fn symlink(target: &str) -> Self {
        Self::new(S_IFLNK, 0o777, target.as_bytes().to_vec())
    }

    /// A character device.
    #[must_use]
    pub fn character_device(permissions: u32, major: u32, minor: u32) -> Self {
        Self {
            device: (major, minor),
            ..Self::new(S_IFCHR, permissions, Vec::new())
        }
    }

    /// What is in a regular file.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    fn new(kind: u32, permissions: u32, data: Vec<u8>) -> Self {
        Self {
            mode: kind | (permissions & 0o7777),
            device: (0, 0),
            data,
        }
    }

    fn is_directory(&self) -> bool {
        self.mode & S_IFMT == S_IFDIR
    }
}

/// Why something cannot be added to an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArchiveError {
    /// The path is absolute, empty, too long, or has an empty, `.` or `..` component.
    Path(String),
    /// A part of the path is in the archive already, and is no directory.
    NotADirectory(String),
    /// Another entry has the path.
    Twice(String),
    /// The file is larger than the format can tell: 4 GiB.
    TooLarge(String),
}

impl fmt::Display for ArchiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(
                f,
                "{path:?} cannot be a path in an initramfs: it must be relative, \
                 without empty, `.` or `..` parts, and shorter than {PATH_LIMIT} bytes"
            ),
            Self::NotADirectory(path) => {
                write!(f, "{path} is in the initramfs already, and is no directory")
            }
            Self::Twice(path) => write!(f, "{path} is in the initramfs already"),
            Self::TooLarge(path) => {
                write!(f, "{path} is too large for an initramfs: 4 GiB or more")
            }
        }
    }
}

impl std::error::Error for ArchiveError {}

/// An archive in the making.
#[derive(Clone, Debug, Default)]
pub struct Archive {
    entries: BTreeMap<String, Entry>,
}

impl Archive {
    /// An archive with nothing in it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `entry` at `path`, relative to the root of the initramfs, and the directories above it
    /// (with mode 0755) where they are not in the archive yet. A directory may be added twice: the
    /// later permissions win.
    ///
    /// # Errors
    /// See [`ArchiveError`]; the archive is then unchanged.
    pub fn add(&mut self, path: &str, entry: Entry) -> Result<(), ArchiveError> {
        let part_is_odd = |part: &str| part.is_empty() || part == "." || part == "..";
        if path.len() > PATH_LIMIT || path.contains('\0') || path.split('/').any(part_is_odd) {
            return Err(ArchiveError::Path(path.to_owned()));
        }
        if u32::try_from(entry.data.len()).is_err() {
            return Err(ArchiveError::TooLarge(path.to_owned()));
        }
        let parents: Vec<&str> = path
            .match_indices('/')
            .filter_map(|(at, _)| path.get(..at))
            .collect();
        for parent in &parents {
            if self
                .entries
                .get(*parent)
                .is_some_and(|it| !it.is_directory())
            {
                return Err(ArchiveError::NotADirectory((*parent).to_owned()));
            }
        }
        if let Some(there) = self.entries.get(path)
            && !(there.is_directory() && entry.is_directory())
        {
            return Err(ArchiveError::Twice(path.to_owned()));
        }
        for parent in parents {
            self.entries
                .entry(parent.to_owned())
                .or_insert_with(|| Entry::directory(0o755));
        }
        self.entries.insert(path.to_owned(), entry);
        Ok(())
    }

    /// The bytes of the archive, padded to a multiple of 512 as cpio(1) does.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // Directories sort before what is in them, because their paths are prefixes. Inode numbers
        // only tell hard links apart, and there are none: counting keeps them distinct.
        for (inode, (path, entry)) in (1..).zip(&self.entries) {
            write(&mut bytes, inode, path, entry);
        }
        write(&mut bytes, 0, TRAILER, &Entry::new(0, 0, Vec::new()));
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }
}

fn write(bytes: &mut Vec<u8>, inode: u32, path: &str, entry: &Entry) {
    let links = if entry.is_directory() { 2 } else { 1 };
    // Both lengths were checked when the entry was added.
    let data_size = u32::try_from(entry.data.len()).unwrap_or(u32::MAX);
    let name_size = u32::try_from(path.len().saturating_add(1)).unwrap_or(u32::MAX);
    bytes.extend_from_slice(b"070701");
    let (user, group, time, checksum) = (0, 0, 0, 0);
    for field in [
        inode,
        entry.mode,
        user,
        group,
        links,
        time,
        data_size,
        0,
        0,
        entry.device.0,
        entry.device.1,
        name_size,
        checksum,
    ] {
        bytes.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    bytes.extend_from_slice(path.as_bytes());
    bytes.push(0);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend_from_slice(&entry.data);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Archive {
        let mut archive = Archive::new();
        archive
            .add("init", Entry::file(0o755, b"#!".to_vec()))
            .unwrap();
        archive
            .add("dev/console", Entry::character_device(0o600, 5, 1))
            .unwrap();
        archive.add("bin/sh", Entry::symlink("busybox")).unwrap();
        archive
    }

    /// Path, mode and data of each entry, read the way the kernel does.
    fn unpack(bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut found = Vec::new();
        let mut at = 0;
        loop {
            let header = std::str::from_utf8(&bytes[at..at + 110]).unwrap();
            assert_eq!(&header[..6], "070701");
            let field =
                |n: usize| usize::from_str_radix(&header[6 + n * 8..14 + n * 8], 16).unwrap();
            let name_end = at + 110 + field(11);
            let name = std::str::from_utf8(&bytes[at + 110..name_end - 1]).unwrap();
            if name == TRAILER {
                assert_eq!(bytes.len() % 512, 0);
                return found;
            }
            let data = name_end.next_multiple_of(4);
            found.push((
                name.to_owned(),
                u32::try_from(field(1)).unwrap(),
                bytes[data..data + field(6)].to_vec(),
            ));
            at = (data + field(6)).next_multiple_of(4);
        }
    }

    #[test]
    fn what_is_put_in_comes_out_with_its_directories_first() {
        let found = unpack(&sample().finish());
        let summary: Vec<(&str, u32, &[u8])> = found
            .iter()
            .map(|(path, mode, data)| (path.as_str(), *mode, &data[..]))
            .collect();
        assert_eq!(
            summary,
            [
                ("bin", 0o040_755, &b""[..]),
                ("bin/sh", 0o120_777, b"busybox"),
                ("dev", 0o040_755, b""),
                ("dev/console", 0o020_600, b""),
                ("init", 0o100_755, b"#!"),
            ]
        );
    }

    #[test]
    fn the_order_of_adding_does_not_show() {
        let mut other = Archive::new();
        other.add("bin/sh", Entry::symlink("busybox")).unwrap();
        other
            .add("dev/console", Entry::character_device(0o600, 5, 1))
            .unwrap();
        other
            .add("init", Entry::file(0o755, b"#!".to_vec()))
            .unwrap();
        assert_eq!(other.finish(), sample().finish());
    }

    #[test]
    fn odd_paths_and_clashes_are_refused_and_change_nothing() {
        fn check(path: &str, entry: Entry, expect: fn(String) -> ArchiveError, about: &str) {
            let mut archive = sample();
            let error = archive.add(path, entry).unwrap_err();
            assert_eq!(error, expect(about.to_owned()), "{path}");
            assert_eq!(archive.finish(), sample().finish(), "{path}");
        }
        let file = || Entry::file(0o644, Vec::new());
        for path in ["", "/init", "a//b", "a/", "./a", "a/../b", "a\0b"] {
            check(path, file(), ArchiveError::Path, path);
        }
        check("init", file(), ArchiveError::Twice, "init");
        check("bin", file(), ArchiveError::Twice, "bin");
        check("init", Entry::directory(0o755), ArchiveError::Twice, "init");
        check("new/../x", file(), ArchiveError::Path, "new/../x");
        check("init/x/y", file(), ArchiveError::NotADirectory, "init");
    }

    #[test]
    fn a_directory_may_be_given_other_permissions() {
        let mut archive = sample();
        archive.add("bin", Entry::directory(0o700)).unwrap();
        let found = unpack(&archive.finish());
        assert_eq!(
            found.first().map(|(path, mode, _)| (path.as_str(), *mode)),
            Some(("bin", 0o040_700))
        );
    }
}
