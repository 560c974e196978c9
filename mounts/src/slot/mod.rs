//! The two slots, their boot record, and the choice between them.
//!
//! [`record`] is one record of 4 KiB, [`region`] the two regions of records on the state partition,
//! [`decide`] the order in which slots are tried. Not here: reading or writing the partition.

pub mod decide;
pub mod record;
pub mod region;

mod record_error;

use std::fmt;

use serde::{Deserialize, Serialize};

/// One of the two places a system image lives in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Slot {
    /// `shark-root-a` and its companions.
    A,
    /// `shark-root-b` and its companions.
    B,
}

impl Slot {
    /// Both, in the order in which they are tried when nothing else is known.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    /// The other slot.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// `a` or `b`: as in partition names and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }

    /// Reads `a` or `b`, in either case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|slot| text.eq_ignore_ascii_case(slot.as_str()))
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_have_one_name_everywhere() {
        for slot in Slot::ALL {
            assert_eq!(Slot::parse(slot.as_str()), Some(slot));
            assert_eq!(serde_json::to_string(&slot).unwrap(), format!("\"{slot}\""));
            assert_eq!(slot.other().other(), slot);
            assert_ne!(slot.other(), slot);
        }
        assert_eq!(Slot::parse("B"), Some(Slot::B));
        for bad in ["", "c", "ab", " a"] {
            assert_eq!(Slot::parse(bad), None, "{bad}");
        }
    }
}
