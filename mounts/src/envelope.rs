//! Signed envelopes: what manifests, bundles and links of keys have before their content.
//!
//! | offset | size | field |
//! |-------:|-----:|-------|
//! | 0 | 8 | magic of the kind |
//! | 8 | 4 | version of the layout, little-endian |
//! | 12 | 4 | length of the content in bytes, little-endian, bounded by the kind |
//! | 16 | 64 | Ed25519 signature over the context of the kind, and the content |
//! | 80 | length | the content |
//!
//! A context is a text of its own for each kind, so that what was signed as one is never read as
//! another. Not here: which key may sign what ([`crate::keyring`]), and what the content means.

use std::fmt;

use ed25519_dalek::Signature;

use crate::wire::{Reader, Short};

/// Bytes before the content.
pub const HEAD_SIZE: usize = 80;

/// A kind of envelope.
#[derive(Debug)]
pub(crate) struct Kind {
    /// What it is called, for people.
    pub(crate) name: &'static str,
    /// Its first bytes: letters.
    pub(crate) magic: &'static str,
    /// The layout this code reads and writes.
    pub(crate) version: u32,
    /// Longest content, in bytes.
    pub(crate) max: usize,
    /// What is signed before the content.
    pub(crate) context: &'static [u8],
}

/// The head of an envelope.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// Bytes of the content.
    pub(crate) length: usize,
    pub(crate) signature: Signature,
}

/// Why bytes are no envelope of a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnvelopeError {
    /// It ends before its content does.
    Short {
        /// What it is called.
        kind: &'static str,
        /// Bytes there are.
        length: usize,
        /// Bytes there should be.
        expected: usize,
    },
    /// It starts with something else.
    Magic {
        /// What it is called.
        kind: &'static str,
        /// What it should start with.
        magic: &'static str,
    },
    /// A layout this code does not know.
    Version {
        /// What it is called.
        kind: &'static str,
        /// The layout.
        found: u32,
        /// The one that is known.
        known: u32,
    },
    /// Its content is too long.
    TooLong {
        /// What it is called.
        kind: &'static str,
        /// Bytes of the content.
        length: usize,
        /// The most that are allowed.
        most: usize,
    },
}

impl fmt::Display for EnvelopeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short {
                kind,
                length,
                expected,
            } => write!(f, "{kind} cut short: {length} bytes, expected {expected}"),
            Self::Magic { kind, magic } => {
                write!(f, "no {kind}: expected \"{magic}\" at the start")
            }
            Self::Version { kind, found, known } => write!(
                f,
                "{kind} of format {found}, and this system knows only format {known}"
            ),
            Self::TooLong { kind, length, most } => {
                write!(f, "{kind} of {length} bytes, expected at most {most}")
            }
        }
    }
}

impl std::error::Error for EnvelopeError {}

impl Kind {
    /// Whether bytes begin as this kind does.
    pub(crate) fn is_start_of(&self, bytes: &[u8]) -> bool {
        bytes.starts_with(self.magic.as_bytes())
    }

    /// Reads the head of an envelope.
    pub(crate) fn head(&self, bytes: &[u8]) -> Result<Head, EnvelopeError> {
        let short = |_: Short| self.short(bytes.len(), HEAD_SIZE);
        let mut input = Reader::new(bytes);
        let magic: [u8; 8] = input.array().map_err(short)?;
        if magic != self.magic.as_bytes() {
            return Err(EnvelopeError::Magic {
                kind: self.name,
                magic: self.magic,
            });
        }
        let found = input.u32().map_err(short)?;
        if found != self.version {
            return Err(EnvelopeError::Version {
                kind: self.name,
                found,
                known: self.version,
            });
        }
        let length = usize::try_from(input.u32().map_err(short)?).unwrap_or(usize::MAX);
        if length > self.max {
            return Err(self.too_long(length));
        }
        let signature = Signature::from_bytes(&input.array().map_err(short)?);
        Ok(Head { length, signature })
    }

    /// Head and content of the envelope at the start of `bytes`, and what follows it.
    pub(crate) fn open<'a>(
        &self,
        bytes: &'a [u8],
    ) -> Result<(Head, &'a [u8], &'a [u8]), EnvelopeError> {
        let head = self.head(bytes)?;
        let after = bytes.get(HEAD_SIZE..).unwrap_or_default();
        let (content, rest) = after
            .split_at_checked(head.length)
            .ok_or_else(|| self.short(bytes.len(), HEAD_SIZE.saturating_add(head.length)))?;
        Ok((head, content, rest))
    }

    /// Head and content. `sign` gets the message to sign and gives its signature.
    pub(crate) fn seal(
        &self,
        content: &[u8],
        sign: impl FnOnce(&[u8]) -> [u8; 64],
    ) -> Result<Vec<u8>, EnvelopeError> {
        let length = u32::try_from(content.len())
            .ok()
            .filter(|_| content.len() <= self.max)
            .ok_or_else(|| self.too_long(content.len()))?;
        let signature = sign(&self.message(content));
        Ok([
            self.magic.as_bytes(),
            &self.version.to_le_bytes(),
            &length.to_le_bytes(),
            &signature,
            content,
        ]
        .concat())
    }

    /// What is signed.
    pub(crate) fn message(&self, content: &[u8]) -> Vec<u8> {
        [self.context, content].concat()
    }

    fn short(&self, length: usize, expected: usize) -> EnvelopeError {
        EnvelopeError::Short {
            kind: self.name,
            length,
            expected,
        }
    }

    fn too_long(&self, length: usize) -> EnvelopeError {
        EnvelopeError::TooLong {
            kind: self.name,
            length,
            most: self.max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: Kind = Kind {
        name: "letter",
        magic: "SHARKLET",
        version: 3,
        max: 8,
        context: b"letter\0",
    };

    #[test]
    fn what_is_sealed_is_opened_and_the_rest_is_left() {
        let sign = |message: &[u8]| {
            assert_eq!(message, b"letter\0hello");
            [5; 64]
        };
        let mut bytes = KIND.seal(b"hello", sign).unwrap();
        bytes.extend_from_slice(b"more");
        let (head, content, rest) = KIND.open(&bytes).unwrap();
        assert_eq!(
            (head.length, content, rest),
            (5, &b"hello"[..], &b"more"[..])
        );
        assert_eq!(head.signature.to_bytes(), [5; 64]);
        assert!(KIND.is_start_of(&bytes) && !KIND.is_start_of(b"SHARK"));
        for length in 0..85 {
            let error = KIND.open(&bytes[..length]).map(drop).unwrap_err();
            assert!(matches!(error, EnvelopeError::Short { .. }), "{error}");
        }
        let long = KIND.seal(&[0; 9], |_| [0; 64]).unwrap_err();
        assert!(long.to_string().contains("9 bytes, expected at most 8"));
    }
}
