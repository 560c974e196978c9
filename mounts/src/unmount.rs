//! What to unmount at the end and in which order, from /proc/self/mountinfo.
//!
//! Source: proc(5), Documentation/filesystems/proc.rst section 3.5. Not here: umount2(2), and trying
//! again until there is no progress.

use std::collections::BTreeMap;
use std::fmt;

/// Most mounts that are looked at: the kernel's own default limit of a mount namespace.
pub const MOUNTS_MAX: usize = 100_000;

/// One line of mountinfo. Paths are bytes: they need not be UTF-8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountEntry {
    /// Id of the mount.
    pub id: u32,
    /// Id of the mount it is on.
    pub parent: u32,
    /// Device number of the filesystem.
    pub device: (u32, u32),
    /// What of the filesystem is mounted here.
    pub root: Vec<u8>,
    /// Where it is mounted, unescaped.
    pub target: Vec<u8>,
    /// Options of the mount.
    pub options: String,
    /// Type of the filesystem.
    pub fstype: String,
    /// What is mounted, unescaped.
    pub source: Vec<u8>,
    /// Options of the filesystem.
    pub super_options: String,
}

impl MountEntry {
    /// The mount is read-only, so nothing can be lost with it.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.options.split(',').any(|option| option == "ro")
    }
}

/// A line of mountinfo that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountinfoError {
    /// Its number, from 1.
    pub line: usize,
    /// What was expected.
    pub expected: &'static str,
}

impl fmt::Display for MountinfoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mountinfo:{}: expected {}", self.line, self.expected)
    }
}

impl std::error::Error for MountinfoError {}

/// Reads mountinfo. A line that cannot be read costs only itself: at shutdown every filesystem that
/// can be unmounted should be.
#[must_use]
pub fn parse_mountinfo(text: &[u8]) -> (Vec<MountEntry>, Vec<MountinfoError>) {
    let mut entries = Vec::new();
    let mut errors = Vec::new();
    let lines = text.split(|byte| *byte == b'\n');
    for (line, bytes) in (1..).zip(lines).take(MOUNTS_MAX) {
        if bytes.is_empty() {
            continue;
        }
        match parse_line(bytes) {
            Ok(entry) => entries.push(entry),
            Err(expected) => errors.push(MountinfoError { line, expected }),
        }
    }
    (entries, errors)
}

fn parse_line(line: &[u8]) -> Result<MountEntry, &'static str> {
    let mut fields = line.split(|byte| *byte == b' ');
    let mut next = |expected| fields.next().filter(|f| !f.is_empty()).ok_or(expected);
    let id = number(next("a mount id")?).ok_or("a mount id")?;
    let parent = number(next("a parent id")?).ok_or("a parent id")?;
    let device = next("MAJOR:MINOR")?;
    let colon = device.iter().position(|byte| *byte == b':');
    let (major, minor) = device.split_at(colon.ok_or("MAJOR:MINOR")?);
    let device = number(major)
        .zip(minor.split_first().and_then(|(_, minor)| number(minor)))
        .ok_or("MAJOR:MINOR")?;
    let root = unescape(next("a root")?);
    let target = unescape(next("a mount point")?);
    let options = text(next("mount options")?);
    // Optional fields, none to many, up to a lone hyphen.
    while next("a hyphen after the optional fields")? != b"-" {}
    Ok(MountEntry {
        id,
        parent,
        device,
        root,
        target,
        options,
        fstype: text(next("a filesystem type")?),
        // The source may be empty ("mount '' /x -t tmpfs").
        source: unescape(fields.next().ok_or("a source")?),
        super_options: text(fields.next().ok_or("filesystem options")?),
    })
}

fn number(digits: &[u8]) -> Option<u32> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Undoes the kernel's octal escapes (`\040` for a space); other backslashes stay.
fn unescape(mut field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    loop {
        match field {
            [
                b'\\',
                a @ b'0'..=b'3',
                b @ b'0'..=b'7',
                c @ b'0'..=b'7',
                rest @ ..,
            ] => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                field = rest;
            }
            [byte, rest @ ..] => {
                out.push(*byte);
                field = rest;
            }
            [] => return out,
        }
    }
}

/// What to unmount, and what stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnmountPlan {
    /// In order: nothing comes before what is mounted on it or over it.
    pub unmount: Vec<MountEntry>,
    /// What stays, because it was asked for or because something that stays is mounted on it.
    pub kept: Vec<MountEntry>,
}

/// Orders mounts for unmounting: what is mounted on another first, of two on the same place the later
/// first. `keep` are paths that stay with all below them, such as `/proc`; `/` keeps only itself.
#[must_use]
pub fn plan(entries: &[MountEntry], keep: &[&str]) -> UnmountPlan {
    // Ids may repeat only in a broken file; the last one counts then.
    let by_id: BTreeMap<u32, usize> = (0..).zip(entries).map(|(i, e)| (e.id, i)).collect();
    let mut stays: Vec<bool> = entries
        .iter()
        .map(|entry| {
            keep.iter()
                .any(|path| is_below(&entry.target, path.as_bytes()))
        })
        .collect();
    for start in 0..entries.len() {
        if stays.get(start) == Some(&true) {
            keep_ancestors(entries, &by_id, &mut stays, start);
        }
    }
    let depths = depths(entries, &by_id);
    let mut order: Vec<usize> = (0..entries.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse((depths.get(*index).copied(), *index)));
    let mut plan = UnmountPlan::default();
    for index in order {
        match (entries.get(index), stays.get(index)) {
            (Some(entry), Some(true)) => plan.kept.push(entry.clone()),
            (Some(entry), _) => plan.unmount.push(entry.clone()),
            (None, _) => {}
        }
    }
    plan
}

fn is_below(target: &[u8], path: &[u8]) -> bool {
    match target.strip_prefix(path) {
        Some([]) => true,
        Some([b'/', ..]) => true,
        Some(_) | None => false,
    }
}

/// The mount that an entry is on, if it is in the list; the root mount is its own parent.
fn parent(entries: &[MountEntry], by_id: &BTreeMap<u32, usize>, index: usize) -> Option<usize> {
    let parent = by_id.get(&entries.get(index)?.parent).copied();
    parent.filter(|parent| *parent != index)
}

fn keep_ancestors(
    entries: &[MountEntry],
    by_id: &BTreeMap<u32, usize>,
    stays: &mut [bool],
    start: usize,
) {
    let mut at = start;
    while let Some(up) = parent(entries, by_id, at) {
        match stays.get_mut(up) {
            Some(stays) if !*stays => *stays = true,
            // Kept already, and so is all above it; this also ends a cycle of a broken file.
            Some(_) | None => return,
        }
        at = up;
    }
}

/// How many mounts each one stands on. Each entry is walked once; a cycle of a broken file counts as
/// a root.
fn depths(entries: &[MountEntry], by_id: &BTreeMap<u32, usize>) -> Vec<u32> {
    let mut depths: Vec<Option<u32>> = vec![None; entries.len()];
    for start in 0..entries.len() {
        let mut path = Vec::new();
        let mut at = Some(start);
        let mut known = 0;
        while let Some(index) = at {
            match depths.get(index).copied().flatten() {
                Some(depth) => {
                    known = depth + 1;
                    break;
                }
                None => path.push(index),
            }
            // 0 marks what is on the path, so that a cycle ends.
            if let Some(depth) = depths.get_mut(index) {
                *depth = Some(0);
            }
            at = parent(entries, by_id, index);
        }
        for (depth, index) in (known..).zip(path.into_iter().rev()) {
            if let Some(place) = depths.get_mut(index) {
                *place = Some(depth);
            }
        }
    }
    depths.into_iter().map(|depth| depth.unwrap_or(0)).collect()
}
