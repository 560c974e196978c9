//! Points in civil time, as log files and `sharkctl` write them: `2026-11-23T03:43:19.123456Z`, always
//! UTC. Not here: time zones, leap seconds, and any time the supervisor decides by (CLOCK_BOOTTIME).

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use services::log::moment;

/// Length of a written stamp, in bytes.
pub const STAMP_LEN: usize = 27;

const SECONDS_PER_DAY: u64 = 86_400;
const MICROS_PER_SECOND: u64 = 1_000_000;
/// 9999-12-31T23:59:59Z: a clock beyond it is broken, and its stamp would be one byte too long.
const LAST_SECOND: u64 = 253_402_300_799;

/// A point in time with the resolution of log files, in microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(u64);

impl Stamp {
    /// What the clock of the machine says now. A clock set before 1970 counts as 1970.
    #[must_use]
    pub fn now() -> Self {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }

    /// The point `micros` microseconds after 1970 began; points after the year 9999 become its end.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        let last = LAST_SECOND * MICROS_PER_SECOND + MICROS_PER_SECOND - 1;
        Self(if micros < last { micros } else { last })
    }

    /// Reads a written stamp; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if !has_stamp_shape(text.as_bytes()) {
            return None;
        }
        // The clock does not matter: the text names its day.
        moment::parse(text, 0).ok().map(Self::from_micros)
    }

    /// Microseconds since 1970 began.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The same point to the second, with a blank between: `2026-11-23 03:43:19`.
    #[must_use]
    pub fn to_seconds_text(self) -> String {
        let (year, month, day) = civil_from_days(self.0 / MICROS_PER_SECOND / SECONDS_PER_DAY);
        let (hour, minute, second) = self.time_of_day();
        format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
    }

    fn time_of_day(self) -> (u64, u64, u64) {
        let seconds = self.0 / MICROS_PER_SECOND % SECONDS_PER_DAY;
        (seconds / 3600, seconds / 60 % 60, seconds % 60)
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_from_days(self.0 / MICROS_PER_SECOND / SECONDS_PER_DAY);
        let (hour, minute, second) = self.time_of_day();
        let micros = self.0 % MICROS_PER_SECOND;
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z"
        )
    }
}

/// Whether `bytes` has the shape of a stamp. Only the shape: a reader wants to find the columns.
#[must_use]
pub fn has_stamp_shape(bytes: &[u8]) -> bool {
    const SHAPE: &[u8; STAMP_LEN] = b"0000-00-00T00:00:00.000000Z";
    bytes.len() == STAMP_LEN
        && bytes.iter().zip(SHAPE).all(|(byte, shape)| match shape {
            b'0' => byte.is_ascii_digit(),
            mark => byte == mark,
        })
}

/// Year, month and day of the proleptic Gregorian calendar, `days` days after 1970-01-01.
///
/// Counts in eras of 400 years that start on the first of March, so that the leap day is the last
/// day of a year and the lengths of months follow a straight line.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    const DAYS_PER_ERA: u64 = 146_097;
    let since_march_of_year_0 = days + 719_468;
    let era = since_march_of_year_0 / DAYS_PER_ERA;
    let day_of_era = since_march_of_year_0 % DAYS_PER_ERA;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let months_since_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * months_since_march + 2) / 5 + 1;
    let month = if months_since_march < 10 {
        months_since_march + 3
    } else {
        months_since_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(seconds: u64, micros: u64, expect: &str) {
        let stamp = Stamp::from_micros(seconds * MICROS_PER_SECOND + micros);
        assert_eq!(stamp.to_string(), expect);
        assert!(has_stamp_shape(expect.as_bytes()));
        assert_eq!(Stamp::parse(expect), Some(stamp));
    }

    #[test]
    fn no_such_day_is_no_stamp() {
        assert_eq!(Stamp::parse("2026-02-30T00:00:00.000000Z"), None);
        assert_eq!(Stamp::parse("2026-02-20"), None);
    }

    #[test]
    fn known_points() {
        check(0, 0, "1970-01-01T00:00:00.000000Z");
        check(86_399, 999_999, "1970-01-01T23:59:59.999999Z");
        check(951_782_400, 1, "2000-02-29T00:00:00.000001Z");
        check(951_868_800, 0, "2000-03-01T00:00:00.000000Z");
        check(1_000_000_000, 0, "2001-09-09T01:46:40.000000Z");
        check(1_709_164_800, 0, "2024-02-29T00:00:00.000000Z");
        check(4_107_542_400, 0, "2100-03-01T00:00:00.000000Z");
        check(4_107_456_000, 0, "2100-02-28T00:00:00.000000Z");
        check(LAST_SECOND, 999_999, "9999-12-31T23:59:59.999999Z");
        check(
            u64::MAX / MICROS_PER_SECOND,
            0,
            "9999-12-31T23:59:59.999999Z",
        );
    }

    #[test]
    fn every_day_follows_the_day_before() {
        let days_in = |year: u64, month: u64| match month {
            2 if year.is_multiple_of(if year.is_multiple_of(100) { 400 } else { 4 }) => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..300_000 {
            assert_eq!(civil_from_days(days), (year, month, day), "day {days}");
            day += 1;
            if day > days_in(year, month) {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
    }

    #[test]
    fn seconds_text_has_no_fraction() {
        let stamp = Stamp::from_micros(1_000_000_000_123_456);
        assert_eq!(stamp.to_seconds_text(), "2001-09-09 01:46:40");
    }

    #[test]
    fn shape() {
        for wrong in [
            "",
            "2001-09-09T01:46:40.000000",
            "2001-09-09 01:46:40.000000Z",
        ] {
            assert!(!has_stamp_shape(wrong.as_bytes()), "{wrong}");
        }
    }
}
