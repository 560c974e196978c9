//! Uevents: datagrams of the kernel's netlink socket, and the `uevent` files of sysfs.
//!
//! Not here: the socket, and what follows from an event. Source: lib/kobject_uevent.c of the kernel.

use std::fmt;

/// Largest datagram, in bytes: the kernel's buffer is 2 KiB, and the header comes on top.
pub const DATAGRAM_MAX: usize = 8 * 1024;
/// Most properties of one event: the kernel's own limit is 64.
pub const PROPERTIES_MAX: usize = 128;

/// What happened to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is there.
    Add,
    /// It is gone.
    Remove,
    /// Its state or content changed.
    Change,
    /// It has another name.
    Move,
    /// It was taken online.
    Online,
    /// It was taken offline.
    Offline,
    /// A driver took it.
    Bind,
    /// A driver let it go.
    Unbind,
}

impl Action {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "add" => Self::Add,
            "remove" => Self::Remove,
            "change" => Self::Change,
            "move" => Self::Move,
            "online" => Self::Online,
            "offline" => Self::Offline,
            "bind" => Self::Bind,
            "unbind" => Self::Unbind,
            _ => return None,
        })
    }
}

/// `KEY=value` lines, in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties(Vec<(String, String)>);

impl Properties {
    /// The value of a key; of duplicates the last.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .rev()
            .find_map(|(k, value)| (k == key).then_some(value.as_str()))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// `SUBSYSTEM`, such as `block`.
    #[must_use]
    pub fn subsystem(&self) -> Option<&str> {
        self.get("SUBSYSTEM")
    }

    /// `DEVNAME`, below /dev and without it: `vda1`. A name that would lead out of /dev is none.
    #[must_use]
    pub fn devname(&self) -> Option<&str> {
        self.get("DEVNAME").filter(|name| {
            !name.is_empty()
                && !name.starts_with('/')
                && !name.split('/').any(|part| matches!(part, "" | "." | ".."))
        })
    }

    /// `DEVTYPE`, such as `disk` or `partition`.
    #[must_use]
    pub fn devtype(&self) -> Option<&str> {
        self.get("DEVTYPE")
    }

    /// `MODALIAS`, to find a driver by.
    #[must_use]
    pub fn modalias(&self) -> Option<&str> {
        self.get("MODALIAS")
    }

    /// `MAJOR` and `MINOR`.
    #[must_use]
    pub fn device_number(&self) -> Option<(u32, u32)> {
        Some((
            self.get("MAJOR")?.parse().ok()?,
            self.get("MINOR")?.parse().ok()?,
        ))
    }

    /// `PARTN`, the number of a partition.
    #[must_use]
    pub fn partition_number(&self) -> Option<u32> {
        self.get("PARTN")?.parse().ok()
    }

    /// `PARTNAME`, the name of a partition in its table.
    #[must_use]
    pub fn partition_name(&self) -> Option<&str> {
        self.get("PARTNAME")
    }
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uevent {
    /// What happened.
    pub action: Action,
    /// The device's path below /sys, with its leading slash.
    pub devpath: String,
    /// What the kernel tells of it.
    pub properties: Properties,
}

/// Why a datagram is no uevent of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UeventError {
    /// Longer than [`DATAGRAM_MAX`].
    TooLong(usize),
    /// Not UTF-8.
    Utf8,
    /// Sent by udev, not by the kernel.
    Udev,
    /// No `ACTION@/DEVPATH` at the start.
    Header,
    /// An action we do not know.
    Action(String),
    /// A path with `..` in it.
    Devpath(String),
    /// A line without `=`.
    Property(String),
    /// More than [`PROPERTIES_MAX`] properties.
    TooMany,
}

impl fmt::Display for UeventError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uevent: ")?;
        match self {
            Self::TooLong(length) => write!(f, "{length} bytes, expected at most {DATAGRAM_MAX}"),
            Self::Utf8 => write!(f, "not UTF-8"),
            Self::Udev => write!(f, "sent by udev, expected the kernel"),
            Self::Header => write!(f, "expected ACTION@/DEVPATH at the start"),
            Self::Action(action) => write!(f, "unknown action {action:?}"),
            Self::Devpath(path) => write!(f, "path {path:?} leads out of /sys"),
            Self::Property(line) => write!(f, "{line:?}: expected KEY=value"),
            Self::TooMany => write!(f, "more than {PROPERTIES_MAX} properties"),
        }
    }
}

impl std::error::Error for UeventError {}

/// Reads a datagram of the NETLINK_KOBJECT_UEVENT socket. The caller has checked that the kernel
/// (port 0) sent it.
///
/// # Errors
/// [`UeventError`]; such a datagram is best ignored.
pub fn parse(datagram: &[u8]) -> Result<Uevent, UeventError> {
    if datagram.len() > DATAGRAM_MAX {
        return Err(UeventError::TooLong(datagram.len()));
    }
    if datagram.starts_with(b"libudev\0") {
        return Err(UeventError::Udev);
    }
    let text = std::str::from_utf8(datagram).map_err(|_| UeventError::Utf8)?;
    let (header, properties) = text.split_once('\0').unwrap_or((text, ""));
    let (action, devpath) = header.split_once('@').ok_or(UeventError::Header)?;
    if !devpath.starts_with('/') {
        return Err(UeventError::Header);
    }
    if devpath.split('/').any(|part| part == "..") {
        return Err(UeventError::Devpath(devpath.to_owned()));
    }
    Ok(Uevent {
        action: Action::parse(action).ok_or_else(|| UeventError::Action(action.to_owned()))?,
        devpath: devpath.to_owned(),
        properties: collect(properties.split('\0'))?,
    })
}

/// Reads the `uevent` file of a device in sysfs: the properties, one a line.
///
/// # Errors
/// [`UeventError`].
pub fn parse_file(text: &str) -> Result<Properties, UeventError> {
    if text.len() > DATAGRAM_MAX {
        return Err(UeventError::TooLong(text.len()));
    }
    collect(text.lines())
}

fn collect<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Properties, UeventError> {
    let mut properties = Vec::new();
    for line in lines.filter(|line| !line.is_empty()) {
        if properties.len() == PROPERTIES_MAX {
            return Err(UeventError::TooMany);
        }
        match line.split_once('=') {
            Some((key, value)) if !key.is_empty() => {
                properties.push((key.to_owned(), value.to_owned()));
            }
            Some(_) | None => return Err(UeventError::Property(line.to_owned())),
        }
    }
    Ok(Properties(properties))
}
