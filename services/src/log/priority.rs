//! How grave a line is, as syslog(3) numbers it, and the prefix of sd-daemon(3) by which a line says
//! so. Not here: lines (`init::log`).

use std::fmt;
use std::str::FromStr;

/// How grave a line is; the gravest is the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// The machine cannot be used.
    Emergency,
    /// Somebody must act at once.
    Alert,
    /// A part of it is broken.
    Critical,
    /// Something failed.
    Error,
    /// Something is not as it should be.
    Warning,
    /// Normal, and worth knowing.
    Notice,
    /// Normal. What says nothing of itself is that.
    Info,
    /// Detail for whoever looks for a fault.
    Debug,
}

/// What [`Priority::from_str`] takes, for people.
pub const PRIORITY: &str = "one of emerg alert crit err warning notice info debug, or 0 to 7";

/// All of them, with the name that syslog(3) and journalctl(1) have for each.
const ALL: [(Priority, &str); 8] = [
    (Priority::Emergency, "emerg"),
    (Priority::Alert, "alert"),
    (Priority::Critical, "crit"),
    (Priority::Error, "err"),
    (Priority::Warning, "warning"),
    (Priority::Notice, "notice"),
    (Priority::Info, "info"),
    (Priority::Debug, "debug"),
];

/// A text names no priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoPriority;

impl fmt::Display for NoPriority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not {PRIORITY}")
    }
}

impl std::error::Error for NoPriority {}

impl Priority {
    /// The number that syslog(3) gives it.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The one with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        ALL.get(usize::from(number)).map(|(it, _)| *it)
    }

    /// Its name.
    #[must_use]
    pub fn word(self) -> &'static str {
        ALL.get(usize::from(self.number()))
            .map_or("info", |(_, word)| word)
    }

    /// What a line says of its own priority, and the rest of it: `<3>no room` is an error.
    #[must_use]
    pub fn split(text: &[u8]) -> (Option<Self>, &[u8]) {
        match text {
            [b'<', digit @ b'0'..=b'7', b'>', rest @ ..] => (Self::from_number(digit - b'0'), rest),
            _ => (None, text),
        }
    }
}

impl FromStr for Priority {
    type Err = NoPriority;

    fn from_str(text: &str) -> Result<Self, NoPriority> {
        let found = match text {
            "emergency" | "panic" => Some(Self::Emergency),
            "critical" => Some(Self::Critical),
            "error" => Some(Self::Error),
            "warn" => Some(Self::Warning),
            _ => ALL
                .into_iter()
                .find(|(it, word)| *word == text || it.number().to_string() == text)
                .map(|(it, _)| it),
        };
        found.ok_or(NoPriority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (at, (priority, word)) in (0..).zip(ALL) {
            assert_eq!(priority.number(), at);
            assert_eq!(Priority::from_number(at), Some(priority));
            assert_eq!(priority.word(), word);
            assert_eq!(word.parse(), Ok(priority));
            assert_eq!(at.to_string().parse(), Ok(priority));
        }
        assert_eq!("error".parse(), Ok(Priority::Error));
        for wrong in ["", "8", "-1", "07", "ERR", "loud"] {
            assert_eq!(wrong.parse::<Priority>(), Err(NoPriority), "{wrong}");
        }
        assert!(Priority::Error < Priority::Info);
    }

    #[test]
    fn a_line_says_its_priority() {
        let check = |text: &str, priority, rest: &str| {
            assert_eq!(
                Priority::split(text.as_bytes()),
                (priority, rest.as_bytes())
            );
        };
        check("<3>no room", Some(Priority::Error), "no room");
        check("<7>", Some(Priority::Debug), "");
        check("<3> x", Some(Priority::Error), " x");
        for none in ["", "<", "<3", "<8>x", "<33>x", "x<3>y", "<>x", " <3>x"] {
            check(none, None, none);
        }
    }
}
