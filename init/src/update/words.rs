//! What the updater and its fetching child say to each other over one socket. Not here: when.
//!
//! Each message is its length (4 bytes, little-endian) and a postcard value; the content of a chunk
//! follows its message as it is, so that it is copied once.

use std::io::{Read, Write};

use mounts::keyring::Basis;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Longest message: links, header and table of the largest bundle, and some more.
const MESSAGE_MAX: usize = 5 << 20;

/// What the child is told.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Order {
    /// Open the source and show the head of the bundle.
    Open {
        /// Where it is; without it, it is standard input.
        url: Option<String>,
        /// Of what the keyring is made that decides who may sign it.
        basis: Basis,
    },
    /// Send these chunks: first number of each run, and the number after its last.
    Send(Vec<(u32, u32)>),
}

/// What the child says.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Said {
    /// What this kernel cannot confine.
    Lacking(String),
    /// More bytes have come in; said once a second at most.
    Heard,
    /// Links of keys, header and table. Whoever reads this checks them again.
    Head(Vec<u8>),
    /// A chunk; so many bytes of content follow.
    Chunk {
        /// Its number.
        number: u32,
        /// Bytes that follow.
        length: u32,
    },
    /// All chunks were sent, and nothing follows the last one of the bundle.
    Done,
    /// It went wrong.
    Failed(Fault),
}

/// Why the source gave no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Fault {
    /// For people: operation, object, cause.
    pub(super) words: String,
    /// What it means for another try.
    pub(super) kind: FaultKind,
}

/// What a fault means for another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum FaultKind {
    /// It stays.
    Lasting,
    /// The bundle is not what a trusted key has signed, or not whole.
    Refused,
    /// It may pass.
    Passing,
    /// The source ends too early: of a connection it may pass, of a file it stays.
    Short,
}

impl Fault {
    /// One that stays.
    pub(super) fn lasting(words: impl Into<String>) -> Self {
        Self {
            words: words.into(),
            kind: FaultKind::Lasting,
        }
    }

    /// A bundle that is not taken.
    pub(super) fn refused(words: impl Into<String>) -> Self {
        Self {
            words: words.into(),
            kind: FaultKind::Refused,
        }
    }

    /// One that may pass.
    pub(super) fn passing(words: impl Into<String>) -> Self {
        Self {
            words: words.into(),
            kind: FaultKind::Passing,
        }
    }
}

/// Says something.
///
/// # Errors
/// For people: the other side is gone.
pub(super) fn say(to: &mut impl Write, what: &impl Serialize) -> Result<(), String> {
    let bytes = crate::errand::pack(what)?;
    let length = u32::try_from(bytes.len()).map_err(|error| error.to_string())?;
    to.write_all(&[&length.to_le_bytes()[..], &bytes].concat())
        .map_err(|error| format!("write to the other half of the updater: {error}"))
}

/// Hears the next message; `None`: the other side has ended.
///
/// # Errors
/// For people: it is none.
pub(super) fn hear<T: DeserializeOwned>(from: &mut impl Read) -> Result<Option<T>, String> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(broken(&error)),
    }
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length > MESSAGE_MAX {
        return Err(format!(
            "a message of {length} bytes, expected at most {MESSAGE_MAX}"
        ));
    }
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes)
        .map_err(|error| broken(&error))?;
    crate::errand::unpack(&bytes).map(Some)
}

fn broken(error: &std::io::Error) -> String {
    format!("read from the other half of the updater: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_in_order_and_the_end_is_no_message() {
        let mut wire = Vec::new();
        let order = Order::Send(vec![(0, 3), (7, 8)]);
        say(&mut wire, &order).unwrap();
        say(
            &mut wire,
            &Order::Open {
                url: None,
                basis: Basis::default(),
            },
        )
        .unwrap();
        let mut from = &wire[..];
        assert_eq!(hear(&mut from), Ok(Some(order)));
        assert!(matches!(hear(&mut from), Ok(Some(Order::Open { .. }))));
        assert_eq!(hear::<Order>(&mut from), Ok(None));
        let mut long = &[0xff; 8][..];
        assert!(hear::<Order>(&mut long).unwrap_err().contains("at most"));
        let mut torn = &wire[..6];
        assert!(hear::<Order>(&mut torn).is_err());
    }
}
