//! What the updater and its fetching child say to each other, as bytes. Not here: the socket, and when what
//! is said.
//!
//! Each message is its length (4 bytes, little-endian) and a postcard value; the content of a chunk
//! follows its message as it is, so that it is copied once. Both halves are the same program, but the child
//! may have been taken over by what it has read: nothing it says is believed.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::keyring::Basis;

/// Longest message: links, header and table of the largest bundle, and some more.
pub const MESSAGE_MAX: usize = 5 << 20;

/// What the child is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Said {
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
pub struct Fault {
    /// For people: operation, object, cause.
    pub words: String,
    /// What it means for another try.
    pub kind: FaultKind,
}

/// What a fault means for another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FaultKind {
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
    #[must_use]
    pub fn lasting(words: impl Into<String>) -> Self {
        Self {
            words: words.into(),
            kind: FaultKind::Lasting,
        }
    }

    /// A bundle that is not taken.
    #[must_use]
    pub fn refused(words: impl Into<String>) -> Self {
        Self {
            words: words.into(),
            kind: FaultKind::Refused,
        }
    }

    /// One that may pass.
    #[must_use]
    pub fn passing(words: impl Into<String>) -> Self {
        Self {
            words: words.into(),
            kind: FaultKind::Passing,
        }
    }
}

/// A message, with its length.
///
/// # Errors
/// For people: it is longer than [`MESSAGE_MAX`].
pub fn encode(what: &impl Serialize) -> Result<Vec<u8>, String> {
    let bytes = postcard::to_allocvec(what).map_err(|error| error.to_string())?;
    let length = u32::try_from(bytes.len()).map_err(|error| error.to_string())?;
    let length = length.to_le_bytes();
    length_of(length)?;
    Ok([&length[..], &bytes].concat())
}

/// How many bytes of a message follow its length.
///
/// # Errors
/// For people: more than [`MESSAGE_MAX`].
pub fn length_of(bytes: [u8; 4]) -> Result<usize, String> {
    let length = usize::try_from(u32::from_le_bytes(bytes)).unwrap_or(usize::MAX);
    if length > MESSAGE_MAX {
        return Err(format!(
            "a message of {length} bytes, expected at most {MESSAGE_MAX}"
        ));
    }
    Ok(length)
}

/// The message in the bytes after its length: all of them.
///
/// # Errors
/// For people: they are none, or hold more than one.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match postcard::take_from_bytes(bytes) {
        Ok((message, [])) => Ok(message),
        Ok((_, rest)) => Err(format!("{} bytes follow a message", rest.len())),
        Err(error) => Err(format!("no message: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_back_and_no_other_bytes_are_one() {
        let order = Order::Send(vec![(0, 3), (7, 8)]);
        let bytes = encode(&order).unwrap();
        let (length, message) = bytes.split_first_chunk().unwrap();
        assert_eq!(length_of(*length), Ok(message.len()));
        assert_eq!(decode(message), Ok(order));
        assert!(decode::<Order>(&message[1..]).is_err());
        let more = [message, b"x"].concat();
        let error = decode::<Order>(&more).unwrap_err();
        assert_eq!(error, "1 bytes follow a message");
        assert!(length_of([0xff; 4]).unwrap_err().contains("at most"));
        let long = encode(&Said::Head(vec![0; MESSAGE_MAX]));
        assert!(long.unwrap_err().contains("at most"));
    }
}
