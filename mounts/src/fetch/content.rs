//! A chunk as it is stored becomes what it holds, by zstd. Not here: whether it is the chunk that was signed
//! ([`crate::bundle::Chunk`]).
//!
//! Source: RFC 8878.

use zrip_decode::context::DecompressContext;

/// What one chunk after the other goes through; its tables are kept between them.
#[derive(Default)]
pub struct Decoder(DecompressContext);

impl Decoder {
    /// What is stored, into `content`: exactly `length` bytes. `content` is never longer, whatever is
    /// stored, and after an error of no use.
    ///
    /// # Errors
    /// For people: what is stored is not zstd, or holds another number of bytes.
    pub fn decode(
        &mut self,
        stored: &[u8],
        length: usize,
        content: &mut Vec<u8>,
    ) -> Result<(), String> {
        content.clear();
        self.0
            .decompress_into_with_limit(stored, content, length)
            .map_err(|error| format!("zstd: {error}"))?;
        if content.len() == length {
            Ok(())
        } else {
            Err(format!("it holds another number of bytes than {length}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The head of a frame (RFC 8878) that does not tell how much it holds, with a window of 128 KiB.
    const HEAD: [u8; 6] = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38];

    /// A block: as it is (0), or one byte so many times (1).
    fn block(kind: u32, length: usize, last: bool, bytes: &[u8]) -> Vec<u8> {
        let head = u32::from(last) | kind << 1 | u32::try_from(length).unwrap() << 3;
        [head.to_le_bytes().get(..3).unwrap(), bytes].concat()
    }

    #[test]
    fn a_chunk_holds_what_the_table_says_and_no_byte_more_or_less() {
        let (mut decoder, mut content) = (Decoder::default(), Vec::new());
        let mut check = |stored: &[u8], length| {
            let done = decoder.decode(stored, length, &mut content);
            assert!(content.len() <= length && content.capacity() < 1 << 20);
            done.map(|()| content.clone())
        };
        let hello = [&HEAD[..], &block(0, 5, true, b"hello")].concat();
        let thrice = [&HEAD[..], &block(1, 3, true, b"x")].concat();
        assert_eq!(check(&hello, 5).as_deref(), Ok(&b"hello"[..]));
        // Nothing of the last one is left.
        assert_eq!(check(&thrice, 3).as_deref(), Ok(&b"xxx"[..]));
        assert!(check(&hello, 4).is_err());
        assert!(check(&hello, 6).unwrap_err().contains("than 6"));
        for end in 0..hello.len() {
            assert!(check(&hello[..end], 5).is_err(), "{end} bytes are enough");
        }
        assert!(check(b"no frame at all", 5).is_err());
        assert!(check(&[&hello[..], b"more"].concat(), 5).is_err());
        // 128 MiB in 4 KiB: it ends where the chunk does.
        let full = block(1, 128 << 10, false, b"x").repeat(1024);
        let bomb = [&HEAD[..], &full, &block(0, 0, true, b"")].concat();
        assert!(check(&bomb, 64 << 10).is_err());
        assert!(check(&hello, 5).is_ok(), "it is of no use after a bad one");
    }
}
