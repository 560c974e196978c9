//! Why a bundle is refused, in words.

use std::fmt;

use crate::envelope::EnvelopeError;
use crate::keyring::{LinkError, SignatureError};
use crate::manifest::ManifestError;

/// Why a bundle is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BundleError {
    /// It ends before this part does.
    Short {
        /// Which part.
        part: &'static str,
    },
    /// It is none.
    Envelope(EnvelopeError),
    /// No key made the signature that may.
    Signature(SignatureError),
    /// What is before it are no links of keys.
    Links(LinkError),
    /// Signed, but no header: the JSON parser's words.
    Json(String),
    /// Signed, but a field breaks a rule.
    Field {
        /// Its name.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// Its manifest is refused.
    Manifest(ManifestError),
    /// The table is not the one that was signed.
    Table,
    /// A chunk that is stored in so many bytes.
    Stored(usize),
    /// A chunk is not the one that was signed: its number.
    Chunk(u32),
    /// A chunk that was signed cannot be decompressed, or holds something else: its number, and what
    /// is wrong.
    Content(u32, String),
    /// Bytes follow the last chunk.
    Trailing,
}

impl BundleError {
    pub(super) fn field(field: &'static str, problem: &str) -> Self {
        Self::Field {
            field,
            problem: problem.to_owned(),
        }
    }
}

impl fmt::Display for BundleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short { part } => write!(f, "bundle cut short: it ends within its {part}"),
            Self::Envelope(error) => write!(f, "{error}"),
            Self::Signature(error) => write!(f, "bundle {error}"),
            Self::Links(error) => write!(f, "{error}"),
            Self::Json(error) => write!(f, "header of the bundle: {error}"),
            Self::Field { field, problem } => {
                write!(f, "header of the bundle: {field}: {problem}")
            }
            Self::Manifest(error) => write!(f, "bundle: {error}"),
            Self::Table => write!(
                f,
                "bundle damaged: its table is not the one that was signed"
            ),
            Self::Stored(length) => {
                write!(f, "bundle damaged: a chunk of {length} bytes in its table")
            }
            Self::Chunk(number) => write!(
                f,
                "bundle damaged: chunk {number} is not the one that was signed"
            ),
            Self::Content(number, why) => write!(f, "bundle: chunk {number}: {why}"),
            Self::Trailing => write!(f, "bundle damaged: bytes follow its last chunk"),
        }
    }
}

impl std::error::Error for BundleError {}
