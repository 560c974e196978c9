//! Names and ids of services and of their runs. Not here: what a service is (`definition`).

use std::borrow::Borrow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest service name, in bytes: it is also the name of a cgroup directory and of a log file.
pub const NAME_MAX: usize = 64;

/// The name of a service: 1 to [`NAME_MAX`] bytes of `A-Z a-z 0-9 . _ - @`, starting with a letter
/// or a digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServiceName(Box<str>);

/// Why a text is not a service name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidName {
    /// It has no characters.
    Empty,
    /// It is longer than [`NAME_MAX`] bytes.
    TooLong,
    /// It starts with something other than a letter or a digit.
    Start(char),
    /// It holds this character.
    Character(char),
}

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "a service name cannot be empty"),
            Self::TooLong => write!(f, "a service name has at most {NAME_MAX} bytes"),
            Self::Start(c) => {
                write!(
                    f,
                    "a service name starts with a letter or a digit, not {c:?}"
                )
            }
            Self::Character(c) => write!(
                f,
                "a service name cannot hold {c:?}: use A-Z a-z 0-9 . _ - @"
            ),
        }
    }
}

impl std::error::Error for InvalidName {}

impl ServiceName {
    /// Checks `text` and makes it a name.
    ///
    /// # Errors
    /// [`InvalidName`] says which rule the text breaks.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        let first = text.chars().next().ok_or(InvalidName::Empty)?;
        if text.len() > NAME_MAX {
            return Err(InvalidName::TooLong);
        }
        if !first.is_ascii_alphanumeric() {
            return Err(InvalidName::Start(first));
        }
        match text
            .chars()
            .find(|c| !(c.is_ascii_alphanumeric() || "._-@".contains(*c)))
        {
            Some(c) => Err(InvalidName::Character(c)),
            None => Ok(Self(text.into())),
        }
    }

    /// The name `text`, which [`Self::is_valid`].
    #[must_use]
    pub(crate) fn of_valid(text: &str) -> Self {
        debug_assert!(Self::is_valid(text));
        Self(text.into())
    }

    /// Whether `text` is a name.
    #[must_use]
    pub(crate) fn is_valid(text: &str) -> bool {
        let bytes = text.as_bytes();
        let first = bytes.first().is_some_and(u8::is_ascii_alphanumeric);
        let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-@".contains(byte);
        first && bytes.len() <= NAME_MAX && bytes.iter().all(allowed)
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for ServiceName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ServiceName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        Self::new(&text)
    }
}

impl From<ServiceName> for String {
    fn from(name: ServiceName) -> Self {
        name.0.into()
    }
}

/// A place in the supervisor's table, and which occupant of that place is meant.
///
/// A reload may empty a place and give it to another service. The generation then differs, and
/// whatever still speaks of the old occupant is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServiceId {
    /// Place in the table.
    pub index: u32,
    /// Which occupant of the place.
    pub generation: u32,
}

/// One run of a service: everything from a spawn to the emptiness of its cgroup.
///
/// The shell keeps pid -> run; the core compares runs, so the exit of an earlier run, told late, is
/// harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RunId {
    /// The service that runs.
    pub service: ServiceId,
    /// Counts the spawns of that service, from 1.
    pub run: u32,
}
