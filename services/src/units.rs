//! Values with the units people write: durations, amounts of memory, percentages. Not here: which
//! key takes which (`file`).

use std::fmt;

use crate::time::Duration;

/// Why a text is not such a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnitError {
    /// There is nothing, or it does not start with a digit.
    NoNumber,
    /// The number is followed by this, which is no unit.
    UnknownUnit(String),
    /// The number is not followed by a unit, and has to be.
    NoUnit,
    /// A unit is named twice, or a larger one after a smaller one.
    Order,
    /// The value cannot be expressed.
    TooLarge,
}

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoNumber => write!(f, "does not start with a number"),
            Self::UnknownUnit(unit) => write!(f, "has the unknown unit `{unit}`"),
            Self::NoUnit => write!(f, "has no unit"),
            Self::Order => write!(f, "has its units out of order"),
            Self::TooLarge => write!(f, "is too large"),
        }
    }
}

impl std::error::Error for UnitError {}

/// What [`parse_duration`] takes, for people.
pub const DURATION: &str = "a duration such as \"30s\" or \"1min 30s\" (units: us ms s min h d)";
/// What [`parse_bytes`] takes, for people.
pub const BYTES: &str =
    "an amount of memory such as \"512M\" (units: K M G T, powers of 1024; none is bytes)";
/// What [`parse_percent`] takes, for people.
pub const PERCENT: &str = "a percentage such as \"20%\"";

/// Units of a duration, largest first, in nanoseconds.
const TIME_UNITS: [(&str, u64); 6] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("min", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
];

/// Units of memory, in bytes.
const BYTE_UNITS: [(&str, u64); 5] = [
    ("", 1),
    ("K", 1 << 10),
    ("M", 1 << 20),
    ("G", 1 << 30),
    ("T", 1 << 40),
];

/// Reads a duration: whole numbers, each with a unit, larger units first (`1min 30s`).
///
/// # Errors
/// [`UnitError`]; [`DURATION`] says what would be right.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let mut rest = text.trim();
    let mut total: u64 = 0;
    let mut smaller = TIME_UNITS.as_slice();
    loop {
        let (number, after) = number(rest)?;
        let end = after
            .find(|c: char| c.is_ascii_digit() || c.is_whitespace())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(end).unwrap_or((after, ""));
        let at = smaller.iter().position(|(name, _)| *name == unit);
        let Some((at, &(_, nanos))) = at.and_then(|at| Some((at, smaller.get(at)?))) else {
            return Err(match unit {
                "" => UnitError::NoUnit,
                _ if TIME_UNITS.iter().any(|(name, _)| *name == unit) => UnitError::Order,
                _ => UnitError::UnknownUnit(unit.to_owned()),
            });
        };
        smaller = smaller.get(at + 1..).unwrap_or(&[]);
        total = number
            .checked_mul(nanos)
            .and_then(|nanos| total.checked_add(nanos))
            .ok_or(UnitError::TooLarge)?;
        rest = after.trim_start();
        if rest.is_empty() {
            return Ok(Duration::from_nanos(total));
        }
    }
}

/// A duration as [`parse_duration`] reads it, whole microseconds of it: `5min`, `1min 30s`, `0s`.
#[must_use]
pub fn duration_text(duration: Duration) -> String {
    let mut left = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let mut words = Vec::new();
    for (unit, nanos) in TIME_UNITS {
        let count = left / nanos;
        left %= nanos;
        if count > 0 {
            words.push(format!("{count}{unit}"));
        }
    }
    match words.is_empty() {
        true => "0s".to_owned(),
        false => words.join(" "),
    }
}

/// Reads an amount of memory, in bytes.
///
/// # Errors
/// [`UnitError`]; [`BYTES`] says what would be right.
pub fn parse_bytes(text: &str) -> Result<u64, UnitError> {
    let (number, unit) = number(text.trim())?;
    let unit = unit.trim_start();
    let known = BYTE_UNITS.iter().find(|(name, _)| *name == unit);
    let (_, bytes) = known.ok_or_else(|| UnitError::UnknownUnit(unit.to_owned()))?;
    number.checked_mul(*bytes).ok_or(UnitError::TooLarge)
}

/// Reads a percentage; it may exceed 100.
///
/// # Errors
/// [`UnitError`]; [`PERCENT`] says what would be right.
pub fn parse_percent(text: &str) -> Result<u32, UnitError> {
    let (number, unit) = number(text.trim())?;
    match unit.trim_start() {
        "%" => u32::try_from(number).map_err(|_| UnitError::TooLarge),
        "" => Err(UnitError::NoUnit),
        unit => Err(UnitError::UnknownUnit(unit.to_owned())),
    }
}

/// The whole number that `text` starts with, and what follows.
fn number(text: &str) -> Result<(u64, &str), UnitError> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(end).unwrap_or((text, ""));
    if digits.is_empty() {
        return Err(UnitError::NoNumber);
    }
    let number = digits.parse().map_err(|_| UnitError::TooLarge)?;
    Ok((number, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_duration(text: &str, expect: Result<u64, UnitError>) {
        let expect = expect.map(Duration::from_millis);
        assert_eq!(parse_duration(text), expect, "{text:?}");
    }

    #[test]
    fn durations() {
        check_duration("30s", Ok(30_000));
        check_duration("1min 30s", Ok(90_000));
        check_duration("1min30s", Ok(90_000));
        check_duration(" 500ms ", Ok(500));
        check_duration("2h", Ok(7_200_000));
        check_duration("1d 1h 1min 1s 1ms 1000us", Ok(90_061_002));
        check_duration("0s", Ok(0));
        check_duration("", Err(UnitError::NoNumber));
        check_duration("-1s", Err(UnitError::NoNumber));
        check_duration("30", Err(UnitError::NoUnit));
        check_duration("1 s", Err(UnitError::NoUnit));
        check_duration("1m", Err(UnitError::UnknownUnit("m".into())));
        check_duration("1.5s", Err(UnitError::UnknownUnit(".".into())));
        check_duration("1s 1min", Err(UnitError::Order));
        check_duration("1s 1s", Err(UnitError::Order));
        check_duration("1s x", Err(UnitError::NoNumber));
        check_duration("300000d", Err(UnitError::TooLarge));
        check_duration("99999999999999999999s", Err(UnitError::TooLarge));
    }

    #[test]
    fn durations_are_written_as_people_do() {
        let check = |millis, expect: &str| {
            assert_eq!(duration_text(Duration::from_millis(millis)), expect);
        };
        check(0, "0s");
        check(300_000, "5min");
        check(90_500, "1min 30s 500ms");
        check(90_061_000, "1d 1h 1min 1s");
    }

    fn check_bytes(text: &str, expect: &Result<u64, UnitError>) {
        assert_eq!(&parse_bytes(text), expect, "{text:?}");
    }

    #[test]
    fn amounts_of_memory() {
        check_bytes("512M", &Ok(512 << 20));
        check_bytes("1 G", &Ok(1 << 30));
        check_bytes("4096", &Ok(4096));
        check_bytes("4K", &Ok(4096));
        check_bytes("1T", &Ok(1 << 40));
        check_bytes("512X", &Err(UnitError::UnknownUnit("X".into())));
        check_bytes("512m", &Err(UnitError::UnknownUnit("m".into())));
        check_bytes("M", &Err(UnitError::NoNumber));
        check_bytes("99999999T", &Err(UnitError::TooLarge));
    }

    fn check_percent(text: &str, expect: &Result<u32, UnitError>) {
        assert_eq!(&parse_percent(text), expect, "{text:?}");
    }

    #[test]
    fn percentages() {
        check_percent("20%", &Ok(20));
        check_percent("150 %", &Ok(150));
        check_percent("20", &Err(UnitError::NoUnit));
        check_percent("20p", &Err(UnitError::UnknownUnit("p".into())));
        check_percent("%", &Err(UnitError::NoNumber));
        check_percent("9999999999%", &Err(UnitError::TooLarge));
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = parse_duration(&text);
            let _ = parse_bytes(&text);
            let _ = parse_percent(&text);
        }

        #[test]
        fn a_written_duration_is_read_back(minutes in 0u64..100_000, millis in 0u64..60_000) {
            let text = format!("{minutes}min {millis}ms");
            let expect = Duration::from_millis(minutes * 60_000 + millis);
            proptest::prop_assert_eq!(parse_duration(&text), Ok(expect));
            proptest::prop_assert_eq!(parse_duration(&duration_text(expect)), Ok(expect));
        }
    }
}
