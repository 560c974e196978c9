//! Bytes out of a pipe become lines of a log: splitting, bounding, stamping, and the reading back of one
//! line. Not here: where lines are kept (`file`, `reader`) and where bytes come from (`super`).
//!
//! A written line is a stamp of 27 bytes, one byte that says what kind of line it is ([`Mark`]), the
//! text, and a newline. The text is what the service wrote, with two exceptions: NUL and a carriage
//! return that does not end the line are written as `\x00` and `\x0d`, because they make programs
//! that read text lose their place.

use super::stamp::{STAMP_LEN, Stamp, has_stamp_shape};

/// Longest text of one written line, in bytes of what the service wrote.
pub const TEXT_MAX: usize = 4096;

/// What kind of line it is: the byte after the stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A line of the service.
    Line,
    /// More of the line before, which was longer than [`TEXT_MAX`].
    Continuation,
    /// A line of the logger itself, about this log.
    Note,
    /// A message that was sent to syslog(3).
    Syslog,
    /// A record of the kernel's log.
    Kernel,
}

impl Mark {
    const fn byte(self) -> u8 {
        match self {
            Self::Line => b' ',
            Self::Continuation => b'+',
            Self::Note => b'!',
            Self::Syslog => b'@',
            Self::Kernel => b'~',
        }
    }

    /// The byte after the stamp, as a character.
    #[must_use]
    pub const fn character(self) -> char {
        self.byte() as char
    }

    fn from_byte(byte: u8) -> Option<Self> {
        [
            Self::Line,
            Self::Continuation,
            Self::Note,
            Self::Syslog,
            Self::Kernel,
        ]
        .into_iter()
        .find(|mark| mark.byte() == byte)
    }
}

/// Appends one written line to `out`, with its newline.
pub fn write_line(out: &mut Vec<u8>, stamp: &str, mark: Mark, text: &[u8]) {
    out.extend_from_slice(stamp.as_bytes());
    out.push(mark.byte());
    for &byte in text {
        match byte {
            0 => out.extend_from_slice(b"\\x00"),
            b'\r' => out.extend_from_slice(b"\\x0d"),
            other => out.push(other),
        }
    }
    out.push(b'\n');
}

/// One line of a log file, read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// When it was read from the service; empty where the file has something else in this place.
    pub stamp: &'a str,
    /// What kind of line it is.
    pub mark: Mark,
    /// What the service wrote.
    pub text: &'a [u8],
}

impl<'a> Line<'a> {
    /// Reads `bytes`, one line without its newline. What was not written by the logger (somebody may
    /// have edited the file) is all text.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Self {
        let foreign = Self {
            stamp: "",
            mark: Mark::Line,
            text: bytes,
        };
        let Some((stamp, rest)) = bytes.split_at_checked(STAMP_LEN) else {
            return foreign;
        };
        let Some((&mark, text)) = rest.split_first() else {
            return foreign;
        };
        match (Mark::from_byte(mark), std::str::from_utf8(stamp)) {
            (Some(mark), Ok(stamp)) if has_stamp_shape(stamp.as_bytes()) => {
                Self { stamp, mark, text }
            }
            _ => foreign,
        }
    }
}

/// What becomes of a line whose end has not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfinished {
    /// It is left where it is.
    Wait,
    /// It is written as far as it has come, and what follows is more of it: it can wait no longer.
    Cut,
    /// Nothing follows it.
    End,
}

/// Cuts what is in one pipe into lines. What is left of it is in the pipe and nowhere else, so that it
/// outlives whoever reads it.
#[derive(Debug, Default)]
pub struct Splitter {
    continued: bool,
}

impl Splitter {
    /// Gives the whole lines of `bytes` to `out`, and an unfinished one as is said; of one that is
    /// longer than [`TEXT_MAX`], what is too much in any case. Gives how many bytes are used.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        unfinished: Unfinished,
        out: &mut impl FnMut(Mark, &[u8]),
    ) -> usize {
        let mut left = 0;
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            match piece.strip_suffix(b"\n") {
                Some(line) => self.end_line(line, out),
                None => left = self.keep(piece, unfinished, out),
            }
        }
        if unfinished == Unfinished::End {
            self.continued = false;
        }
        bytes.len().saturating_sub(left)
    }

    fn end_line(&mut self, text: &[u8], out: &mut impl FnMut(Mark, &[u8])) {
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let last = self.cut_long(text, out);
        // The end of a line that was cut just there has nothing more to say.
        if !(last.is_empty() && self.continued) {
            out(self.mark(), last);
        }
        self.continued = false;
    }

    /// Takes of an unfinished line what is to be taken, and gives how much of it is left.
    fn keep(
        &mut self,
        text: &[u8],
        unfinished: Unfinished,
        out: &mut impl FnMut(Mark, &[u8]),
    ) -> usize {
        let rest = self.cut_long(text, out);
        match unfinished {
            Unfinished::Wait => return rest.len(),
            Unfinished::Cut => {
                out(self.mark(), rest);
                self.continued = true;
            }
            Unfinished::End => self.end_line(rest, out),
        }
        0
    }

    /// Gives the front of `text` away in pieces until at most [`TEXT_MAX`] bytes are left, and returns
    /// those.
    fn cut_long<'a>(&mut self, mut text: &'a [u8], out: &mut impl FnMut(Mark, &[u8])) -> &'a [u8] {
        while text.len() > TEXT_MAX {
            let (piece, rest) = text.split_at(cut(text));
            out(self.mark(), piece);
            self.continued = true;
            text = rest;
        }
        text
    }

    const fn mark(&self) -> Mark {
        if self.continued {
            Mark::Continuation
        } else {
            Mark::Line
        }
    }
}

/// Where to cut `text`, which is longer than [`TEXT_MAX`]: there, or up to three bytes earlier where
/// that would tear a character of UTF-8.
fn cut(text: &[u8]) -> usize {
    (TEXT_MAX - 3..=TEXT_MAX)
        .rev()
        .find(|at| text.get(*at).is_some_and(|byte| byte & 0xc0 != 0x80))
        .unwrap_or(TEXT_MAX)
}

/// Appends a text that came as a whole: a line for each of its lines, and for what is too long; all but
/// the first are more of it.
pub(super) fn write_text(out: &mut Vec<u8>, stamp: &str, mark: Mark, text: &[u8]) {
    let mut mark = mark;
    for mut rest in text.split(|byte| *byte == b'\n') {
        while rest.len() > TEXT_MAX {
            let (piece, more) = rest.split_at(cut(rest));
            write_line(out, stamp, mark, piece);
            (mark, rest) = (Mark::Continuation, more);
        }
        write_line(out, stamp, mark, rest);
        mark = Mark::Continuation;
    }
}

/// Stamps and writes one note of the logger.
pub(super) fn write_note(out: &mut Vec<u8>, now: Stamp, text: &str) {
    write_line(out, &now.to_string(), Mark::Note, text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: &str = "2026-11-23T03:43:19.123456Z";

    /// Feeds `chunks`, ends the pipe, and gives mark and text of every line.
    fn lines(chunks: &[&[u8]]) -> Vec<(Mark, Vec<u8>)> {
        let mut splitter = Splitter::default();
        let (mut pipe, mut out) = (Vec::new(), Vec::new());
        let mut write = |mark, text: &[u8]| write_line(&mut out, STAMP, mark, text);
        for chunk in chunks {
            pipe.extend_from_slice(chunk);
            let used = splitter.feed(&pipe, Unfinished::Wait, &mut write);
            pipe.drain(..used);
            assert!(pipe.len() <= TEXT_MAX);
        }
        let used = splitter.feed(&pipe, Unfinished::End, &mut write);
        assert_eq!(used, pipe.len());
        assert!(out.is_empty() || out.ends_with(b"\n"));
        out.split_inclusive(|byte| *byte == b'\n')
            .map(|bytes| {
                let line = Line::parse(bytes.strip_suffix(b"\n").unwrap());
                assert_eq!(line.stamp, STAMP);
                (line.mark, line.text.to_vec())
            })
            .collect()
    }

    fn check(chunks: &[&[u8]], expect: &[&[u8]]) {
        let expect: Vec<_> = expect.iter().map(|t| (Mark::Line, t.to_vec())).collect();
        assert_eq!(lines(chunks), expect);
    }

    #[test]
    fn lines_are_cut_at_newlines_only() {
        check(&[], &[]);
        check(&[b"a\n"], &[b"a"]);
        check(&[b"a\nb\n\nc\n"], &[b"a", b"b", b"", b"c"]);
        check(&[b"a", b"b", b"\n"], &[b"ab"]);
        check(&[b"a\nb", b"c\nd"], &[b"a", b"bc", b"d"]);
        check(&[b"half"], &[b"half"]);
    }

    #[test]
    fn binary_junk_stays_what_it_is() {
        check(&[b"a\r\n"], &[b"a"]);
        check(&[b"10%\r20%\r\n"], &[b"10%\\x0d20%"]);
        check(&[b"\0\n"], &[b"\\x00"]);
        check(&[b"\x1b[31m\xff\xfe\x80\n"], &[b"\x1b[31m\xff\xfe\x80"]);
    }

    #[test]
    fn long_lines_are_cut_and_marked() {
        let long = vec![b'x'; TEXT_MAX * 2 + 1];
        let mut chunk = long.clone();
        chunk.extend_from_slice(b"\nnext\n");
        let expect = vec![
            (Mark::Line, vec![b'x'; TEXT_MAX]),
            (Mark::Continuation, vec![b'x'; TEXT_MAX]),
            (Mark::Continuation, b"x".to_vec()),
            (Mark::Line, b"next".to_vec()),
        ];
        assert_eq!(lines(&[&chunk]), expect);
        // The same, one byte at a time.
        let bytes: Vec<&[u8]> = chunk.chunks(1).collect();
        assert_eq!(lines(&bytes), expect);
    }

    #[test]
    fn a_line_of_just_the_longest_length_is_whole() {
        let mut chunk = vec![b'x'; TEXT_MAX];
        chunk.push(b'\n');
        assert_eq!(lines(&[&chunk]), [(Mark::Line, vec![b'x'; TEXT_MAX])]);
    }

    #[test]
    fn what_cannot_wait_is_cut_and_goes_on() {
        let mut splitter = Splitter::default();
        let mut out = Vec::new();
        let mut write = |mark, text: &[u8]| write_line(&mut out, "", mark, text);
        let mut feed = |bytes: &[u8], unfinished| splitter.feed(bytes, unfinished, &mut write);
        assert_eq!(feed(b"a\nb", Unfinished::Wait), 2);
        assert_eq!(feed(b"b", Unfinished::Cut), 1);
        assert_eq!(feed(b"c", Unfinished::Wait), 0);
        assert_eq!(feed(b"c\nd", Unfinished::End), 3);
        assert_eq!(feed(b"e\n", Unfinished::Wait), 2);
        assert_eq!(String::from_utf8(out).unwrap(), " a\n b\n+c\n d\n e\n");
    }

    #[test]
    fn a_character_is_not_torn() {
        let text = "é".repeat(TEXT_MAX);
        let mut chunk = b"x".to_vec();
        chunk.extend_from_slice(text.as_bytes());
        let got = lines(&[&chunk]);
        assert!(got.len() > 2);
        for (_, text) in got {
            assert!(std::str::from_utf8(&text).is_ok());
        }
    }

    #[test]
    fn a_foreign_line_is_all_text() {
        for foreign in [
            "",
            "hello",
            "2026-11-23T03:43:19.123456Z",
            "2026-11-23T03:43:19.123456Z?x",
        ] {
            let line = Line::parse(foreign.as_bytes());
            assert_eq!((line.stamp, line.text), ("", foreign.as_bytes()));
        }
    }
}
