//! The header `Content-Range` of a server's answer: which part of a file it sends. Not here: how it is
//! asked for, and whether it is the part that was asked for.
//!
//! Source: RFC 9110, 14.4.

/// A part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The place of its first byte.
    pub begins: u64,
    /// The place after its last one: behind `begins`.
    pub ends: u64,
    /// Bytes of the whole file, where the server tells them.
    pub length: Option<u64>,
}

impl Part {
    /// Reads `bytes FIRST-LAST/LENGTH`, in which the length may be `*`. None for anything else: also for
    /// a part that ends before it begins, or outside of the file.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (range, length) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (begins, last) = (number(first)?, number(last)?);
        let ends = last.checked_add(1)?;
        let length = match length.trim() {
            "*" => None,
            digits => Some(number(digits)?),
        };
        let fits = begins <= last && length.is_none_or(|it| ends <= it);
        fits.then_some(Self {
            begins,
            ends,
            length,
        })
    }
}

/// Digits alone: no sign, as `parse` would take one.
fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_read_and_what_makes_no_sense_is_none() {
        let check = |text: &str, expect: Option<(u64, u64, Option<u64>)>| {
            let part = Part::parse(text).map(|it| (it.begins, it.ends, it.length));
            assert_eq!(part, expect, "{text}");
        };
        check("bytes 5-9/10", Some((5, 10, Some(10))));
        check(" bytes 0-0/* ", Some((0, 1, None)));
        check("bytes  5 - 9 / 10", Some((5, 10, Some(10))));
        check("bytes */10", None);
        check("lines 5-9/10", None);
        check("bytes5-9/10", None);
        check("bytes 9-5/10", None);
        check("bytes 5-10/10", None);
        check("bytes 5-9/", None);
        check("bytes 5-9/x", None);
        check("bytes +5-9/10", None);
        check("bytes 0-18446744073709551615/*", None);
        check("bytes 0-18446744073709551616/*", None);
    }
}
