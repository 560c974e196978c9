//! The two slots, their boot record, and the choice between them.
//!
//! [`record`] is one record of 4 KiB, [`region`] the two regions of records on the state partition,
//! [`store`] how they are read and written over a medium. [`judge`] charges the boot that is over,
//! [`decide`] says which slots are tried and in which order, [`account`] is every other change of a
//! record. Not here: the medium itself, which is the business of whoever has the disk.
//!
//! A boot, in calls: [`store::load`], [`judge::judge`], [`decide::decide`], [`account::charge`],
//! [`store::append`] by stage1; later [`account::commit`] or [`account::fail`], then
//! [`account::end`], each on what was loaded anew and followed by [`store::append`], by PID 1's child.

pub mod account;
pub mod crash;
pub mod decide;
pub mod generation;
pub mod judge;
pub mod record;
pub mod region;
pub mod store;
pub mod update;

mod attempt;
mod fields;
mod history;
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
