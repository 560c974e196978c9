//! Cuts a stream of bytes into messages and back: each message ends with one NUL byte.

use serde::{Deserialize, Serialize};

/// Longest message without its NUL, in bytes.
pub const MESSAGE_MAX: usize = 64 * 1024;

/// The peer sent a message longer than [`MESSAGE_MAX`]: the connection is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

impl core::fmt::Display for TooLong {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "a message is longer than {MESSAGE_MAX} bytes: close the connection"
        )
    }
}

impl std::error::Error for TooLong {}

/// What has been received of a connection and not been taken yet.
///
/// The buffer is empty, and holds no memory, while the peer is silent.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Frames {
    buffer: Vec<u8>,
    /// Bytes at the front that have been searched and hold no NUL: a peer that sends byte by byte
    /// must not make the search quadratic.
    searched: usize,
}

impl Frames {
    /// An empty buffer.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            buffer: Vec::new(),
            searched: 0,
        }
    }

    /// Takes in what has been read. Give it at most a few KiB at a time and take the messages in
    /// between, then it never holds more than one message and one such piece.
    ///
    /// # Errors
    /// [`TooLong`] when what is buffered cannot be a message any more.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        // What came before the last NUL is whole messages; only the open end can be too long.
        let open = match bytes.iter().rposition(|byte| *byte == 0) {
            Some(last) => bytes.len() - last - 1,
            None => self.buffer.len() + bytes.len(),
        };
        let total = self.buffer.len() + bytes.len();
        if open > MESSAGE_MAX || total > 2 * (MESSAGE_MAX + 1) {
            return Err(TooLong);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// The next whole message, without its NUL.
    ///
    /// # Errors
    /// [`TooLong`] when it is over [`MESSAGE_MAX`].
    pub fn take(&mut self) -> Result<Option<Vec<u8>>, TooLong> {
        let fresh = self.buffer.get(self.searched..).unwrap_or_default();
        let Some(offset) = fresh.iter().position(|byte| *byte == 0) else {
            self.searched = self.buffer.len();
            return Ok(None);
        };
        let end = self.searched + offset;
        self.searched = 0;
        if end > MESSAGE_MAX {
            return Err(TooLong);
        }
        let rest = self.buffer.split_off(end + 1);
        let mut message = core::mem::replace(&mut self.buffer, rest);
        message.truncate(end);
        if self.buffer.is_empty() {
            self.buffer = Vec::new();
        }
        Ok(Some(message))
    }
}

/// Puts the NUL behind a message.
#[must_use]
pub fn terminate(mut message: Vec<u8>) -> Vec<u8> {
    message.push(0);
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn cuts_at_nul() {
        let mut frames = Frames::new();
        assert_eq!(frames.feed(b"{}\0{\"a\":"), Ok(()));
        assert_eq!(frames.take(), Ok(Some(b"{}".to_vec())));
        assert_eq!(frames.take(), Ok(None));
        assert_eq!(frames.feed(b"1}\0\0"), Ok(()));
        assert_eq!(frames.take(), Ok(Some(b"{\"a\":1}".to_vec())));
        assert_eq!(frames.take(), Ok(Some(Vec::new())));
        assert_eq!(frames.take(), Ok(None));
        assert_eq!(frames.buffer.capacity(), 0);
    }

    #[test]
    fn refuses_a_message_without_end() {
        let mut frames = Frames::new();
        let piece = vec![b'x'; 4096];
        let mut fed = 0;
        while frames.feed(&piece).is_ok() {
            assert_eq!(frames.take(), Ok(None));
            fed += piece.len();
            assert!(fed <= MESSAGE_MAX);
        }
        assert_eq!(fed, MESSAGE_MAX);
    }

    #[test]
    fn the_longest_message_passes() {
        let mut frames = Frames::new();
        let longest = vec![b'x'; MESSAGE_MAX];
        assert_eq!(frames.feed(&terminate(longest.clone())), Ok(()));
        assert_eq!(frames.take(), Ok(Some(longest)));
        assert_eq!(frames.feed(&vec![b'x'; MESSAGE_MAX + 1]), Err(TooLong));
    }

    proptest! {
        #[test]
        fn any_cut_of_the_stream_gives_the_same_messages(
            messages in prop::collection::vec(prop::collection::vec(1u8..=255, 0..40), 0..8),
            cut in 1usize..17,
        ) {
            let mut stream = Vec::new();
            for message in &messages {
                stream.extend(terminate(message.clone()));
            }
            let mut frames = Frames::new();
            let mut taken = Vec::new();
            for piece in stream.chunks(cut) {
                prop_assert_eq!(frames.feed(piece), Ok(()));
                while let Ok(Some(message)) = frames.take() {
                    taken.push(message);
                }
            }
            prop_assert_eq!(taken, messages);
        }
    }
}
