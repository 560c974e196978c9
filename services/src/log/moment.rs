//! Points in civil time as people write them: `2026-11-30 12:00`, `-10min`, `yesterday`. Not here: any
//! clock (what is now comes in as an argument), and time zones (all times are those of UTC, as those of
//! timers and of logs are).
//!
//! ```text
//! now | today | yesterday | -DURATION | @SECONDS | [YYYY-MM-DD] [HH:MM[:SS[.FRACTION]]] [Z | UTC]
//! ```

use std::fmt;

use crate::calendar::{day_number, days_of};
use crate::units::{self, UnitError};

/// Microseconds of a second and of a day.
const SECOND: u64 = 1_000_000;
const DAY: u64 = 86_400 * SECOND;

/// What [`parse`] takes, for people.
pub const MOMENT: &str =
    "a time such as \"2026-11-30 12:00\", \"12:00\", \"yesterday\" or \"-10min\"; UTC";

/// Why a text names no point in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MomentError {
    /// It has no form that is known.
    Form,
    /// It has, and there is no such day or time of day.
    NoSuchTime,
    /// What follows the minus is no duration.
    Duration(UnitError),
}

impl fmt::Display for MomentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form => write!(f, "not {MOMENT}"),
            Self::NoSuchTime => write!(f, "there is no such day or time of day"),
            Self::Duration(error) => {
                write!(f, "what follows the `-` {error}: {}", units::DURATION)
            }
        }
    }
}

impl std::error::Error for MomentError {}

/// Reads a point in time; both it and `now` are microseconds since 1970 began.
///
/// # Errors
/// [`MomentError`]; [`MOMENT`] says what would be right.
pub fn parse(text: &str, now: u64) -> Result<u64, MomentError> {
    let text = text.trim();
    let today = now / DAY * DAY;
    match text {
        "now" => return Ok(now),
        "today" => return Ok(today),
        "yesterday" => return Ok(today.saturating_sub(DAY)),
        _ => {}
    }
    if let Some(before) = text.strip_prefix('-') {
        let before = units::parse_duration(before).map_err(MomentError::Duration)?;
        let before = u64::try_from(before.as_micros()).unwrap_or(u64::MAX);
        return Ok(now.saturating_sub(before));
    }
    if let Some(seconds) = text.strip_prefix('@') {
        let seconds = digits(seconds).ok_or(MomentError::Form)?;
        return seconds.checked_mul(SECOND).ok_or(MomentError::NoSuchTime);
    }
    let text = ["Z", "UTC"]
        .iter()
        .find_map(|zone| text.strip_suffix(zone))
        .unwrap_or(text)
        .trim_end();
    match text.split_once([' ', 'T']) {
        Some((date, time)) => Ok(day(date)? + time_of_day(time.trim_start())?),
        None if text.contains(':') => Ok(today.saturating_add(time_of_day(text)?)),
        None => day(text),
    }
}

/// `2026-11-30`: when that day begins.
fn day(text: &str) -> Result<u64, MomentError> {
    let mut parts = text.split('-');
    let mut next = |length| exactly(parts.next(), length);
    let (year, month, day) = (next(4)?, next(2)?, next(2)?);
    if parts.next().is_some() {
        return Err(MomentError::Form);
    }
    if year < 1970 || !(1..=12).contains(&month) || day < 1 || day > days_of(year, month) {
        return Err(MomentError::NoSuchTime);
    }
    let days = day_number(year, month) + i64::from(day) - 1;
    Ok(days.unsigned_abs() * DAY)
}

/// `12:00`, `12:00:30`, `12:00:30.5`: how long after the day began.
fn time_of_day(text: &str) -> Result<u64, MomentError> {
    let (whole, fraction) = match text.split_once('.') {
        None => (text, 0),
        Some((whole, fraction)) => (whole, micros(fraction)?),
    };
    let mut parts = whole.split(':');
    let next = |part| exactly(part, 2);
    let (hour, minute) = (next(parts.next())?, next(parts.next())?);
    let second = match parts.next() {
        None if fraction > 0 || whole.len() < text.len() => return Err(MomentError::Form),
        None => 0,
        some => next(some)?,
    };
    if parts.next().is_some() {
        return Err(MomentError::Form);
    }
    if hour > 23 || minute > 59 || second > 59 {
        return Err(MomentError::NoSuchTime);
    }
    let seconds = (u64::from(hour) * 60 + u64::from(minute)) * 60 + u64::from(second);
    Ok(seconds * SECOND + fraction)
}

/// Up to six digits after the point of a second.
fn micros(text: &str) -> Result<u64, MomentError> {
    let number = digits(text).filter(|_| text.len() <= 6);
    let scale = u32::try_from(6_usize.saturating_sub(text.len())).unwrap_or(0);
    Ok(number.ok_or(MomentError::Form)? * 10_u64.pow(scale))
}

/// A number that is written with just so many digits.
fn exactly(part: Option<&str>, length: usize) -> Result<u32, MomentError> {
    part.filter(|part| part.len() == length)
        .and_then(digits)
        .and_then(|number| u32::try_from(number).ok())
        .ok_or(MomentError::Form)
}

fn digits(text: &str) -> Option<u64> {
    let all = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if all { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-30 12:34:56.5, which is a Monday.
    const NOW: u64 = 1_796_042_096_500_000;
    const MIDNIGHT: u64 = 1_795_996_800_000_000;

    fn check(text: &str, expect: &Result<u64, MomentError>) {
        assert_eq!(&parse(text, NOW), expect, "{text:?}");
    }

    #[test]
    fn moments() {
        check("now", &Ok(NOW));
        check("today", &Ok(MIDNIGHT));
        check("yesterday", &Ok(MIDNIGHT - DAY));
        check("-10min", &Ok(NOW - 600 * SECOND));
        check("-1h 30s", &Ok(NOW - 3630 * SECOND));
        check("-300d", &Ok(NOW - 300 * DAY));
        check("-30000d", &Ok(0));
        check("@1796042096", &Ok(NOW - SECOND / 2));
        check("2026-11-30", &Ok(MIDNIGHT));
        check(" 2026-11-30 12:34 ", &Ok(NOW - 56_500_000));
        check("2026-11-30  12:34:56", &Ok(NOW - SECOND / 2));
        check("2026-11-30T12:34:56.5Z", &Ok(NOW));
        check("2026-11-30 12:34:56.500000 UTC", &Ok(NOW));
        check("12:34:56.5", &Ok(NOW));
        check("00:00", &Ok(MIDNIGHT));
        check("1970-01-01", &Ok(0));
        check("2024-02-29 23:59:59", &Ok(1_709_251_199_000_000));
        check("9999-12-31", &Ok(253_402_214_400_000_000));
    }

    #[test]
    fn anything_else_is_refused() {
        for form in [
            "",
            "soon",
            "12",
            "2026",
            "2026-11",
            "2026-1-30",
            "2026-11-30-1",
            "1:00",
            "12:00:00:00",
            "12:00.5",
            "12:00:00.",
            "12:00:00.1234567",
            "2026-11-30 ",
            "@",
            "@-1",
            "+1h",
            "Z",
            "2026-11-30 12:00 Europe/Berlin",
            "12:0é",
        ] {
            let expect = match form {
                "2026-11-30 " => Ok(MIDNIGHT),
                _ => Err(MomentError::Form),
            };
            check(form, &expect);
        }
        for none in [
            "2026-13-01",
            "2026-00-01",
            "2026-02-29",
            "2026-11-00",
            "1969-12-31",
            "24:00",
            "12:60",
            "23:59:60",
            "@99999999999999999",
        ] {
            check(none, &Err(MomentError::NoSuchTime));
        }
        check("-10", &Err(MomentError::Duration(UnitError::NoUnit)));
        check("--1s", &Err(MomentError::Duration(UnitError::NoNumber)));
        let words = parse("-10", NOW).unwrap_err().to_string();
        assert!(
            words.starts_with("what follows the `-` has no unit: a duration such"),
            "{words}"
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "[-@0-9:. TZa-zé]{0,30}") {
            let _ = parse(&text, NOW);
        }
    }
}
