//! Hexadecimal text of fixed-size values: hashes, salts, keys. Lower case out, either case in.

use std::fmt::{self, Display, Formatter, Write};

use serde::{Deserialize, Serialize};

/// Bytes whose text is hexadecimal digits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Hex(pub(crate) Vec<u8>);

impl TryFrom<String> for Hex {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        parse(&text)
            .map(Self)
            .ok_or("expected an even number of hexadecimal digits")
    }
}

impl From<Hex> for String {
    fn from(hex: Hex) -> Self {
        hex.to_string()
    }
}

impl Display for Hex {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write(f, &self.0)
    }
}

/// Writes `bytes` as lower-case hexadecimal digits.
pub(crate) fn write(f: &mut impl Write, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// Reads pairs of digits; `None` if the length is odd or something is no digit.
pub(crate) fn parse(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs
        .iter()
        .map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?))
        .collect()
}

/// Reads exactly `N` bytes.
pub(crate) fn parse_array<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != N * 2 {
        return None;
    }
    parse(text)?.try_into().ok()
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_of_either_case_are_read_and_nothing_else() {
        assert_eq!(parse("00fFa5"), Some(vec![0, 255, 0xa5]));
        assert_eq!(parse(""), Some(vec![]));
        for bad in ["0", "0g", "é", "+1", "0x"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert_eq!(parse_array::<2>("0102"), Some([1, 2]));
        assert_eq!(parse_array::<2>("010203"), None);
    }
}
