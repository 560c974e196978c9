//! What can be wrong with a boot record, in words. Not here: finding it out ([`super::record`]).

use std::fmt;

use super::record::{RECORD_SIZE, VERSION};

/// Why 4096 bytes are no record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// They are not 4096 bytes but so many.
    Length(usize),
    /// Never written: all zeros or all ones.
    Blank,
    /// They start with something else.
    Magic([u8; 8]),
    /// A layout this code does not know.
    Version(u32),
    /// The checksum does not fit: torn or damaged.
    Checksum {
        /// As the record has it.
        stored: u32,
        /// As it should be.
        computed: u32,
        /// The sequence number that stands there, for what it is worth.
        sequence: u64,
    },
    /// A slot byte that is neither none, a nor b.
    Slot {
        /// Which one.
        field: &'static str,
        /// The byte.
        value: u8,
    },
    /// Another field out of its range.
    Value {
        /// Which one.
        field: &'static str,
        /// The byte.
        value: u8,
    },
    /// Something follows an empty entry.
    HistoryGap {
        /// Offset of the empty entry in the record.
        offset: usize,
    },
    /// A reserved byte is not zero.
    Reserved {
        /// Its offset in the record.
        offset: usize,
    },
    /// A text that is not UTF-8, has control characters or spaces at its ends, or is followed by
    /// anything but zeros.
    Text {
        /// Its offset in the record.
        offset: usize,
    },
    /// Fields that are right each and wrong together: which.
    Contradiction(&'static str),
    /// A kind of authentication that version 1 does not have.
    Authentication(u32),
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(length) => {
                write!(f, "a boot record has {RECORD_SIZE} bytes, not {length}")
            }
            Self::Blank => write!(f, "never written"),
            Self::Magic(magic) => write!(
                f,
                "no boot record: it starts with \"{}\", expected \"SHARKREC\"",
                magic.escape_ascii()
            ),
            Self::Version(version) => write!(
                f,
                "written in version {version} of the layout, and this system knows only version {VERSION}: boot the system that wrote it"
            ),
            Self::Checksum {
                stored, computed, ..
            } => write!(
                f,
                "damaged or torn: checksum {stored:08x}, expected {computed:08x}"
            ),
            Self::Slot { field, value } => {
                write!(f, "{field} is {value}, expected 0 (none), 1 (a) or 2 (b)")
            }
            Self::Value { field, value } => write!(f, "{field} is {value}, which has no meaning"),
            Self::HistoryGap { offset } => {
                write!(
                    f,
                    "the history goes on after an empty entry at byte {offset}"
                )
            }
            Self::Reserved { offset } => write!(f, "reserved byte {offset} is not zero"),
            Self::Text { offset } => write!(f, "the text at byte {offset} is no line of UTF-8"),
            Self::Contradiction(what) => f.write_str(what),
            Self::Authentication(kind) => {
                write!(f, "authentication of kind {kind}, expected 0 (none)")
            }
        }
    }
}

impl std::error::Error for RecordError {}
