//! Calendar expressions, a subset of those of systemd.time(7): reading one, and which second it
//! names next. Not here: any clock (what is now comes in as an argument), time zones (seconds are
//! those of UTC), and what happens at that second (`supervisor::schedule`).
//!
//! ```text
//! [WEEKDAYS] [[YEARS-]MONTHS-DAYS] [HOURS:MINUTES[:SECONDS]] [UTC]
//! ```
//!
//! Each of the numbers is `*`, or a list, with commas, of `A`, `A..B`, `A/STEP` and `A..B/STEP`. Every
//! part is kept as the set of what it allows, one bit a value, so that an expression has one size and
//! nothing in it can be wrong but an empty set.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::diagnostic::nearest;

/// Longest expression that is read, in bytes.
pub const TEXT_MAX: usize = 200;
/// First and last year that can be named.
const YEARS: (u32, u32) = (1970, 2225);
/// Seconds of a day.
const DAY: i64 = 86_400;

/// What an expression is, for people.
pub const CALENDAR: &str =
    "a calendar expression such as \"daily\", \"Mon..Fri 04:00\" or \"*-*-01 03:00:00\"";

/// Expressions that have a word.
const WORDS: [(&str, &str); 9] = [
    ("minutely", "*-*-* *:*:00"),
    ("hourly", "*-*-* *:00:00"),
    ("daily", "*-*-* 00:00:00"),
    ("weekly", "Mon *-*-* 00:00:00"),
    ("monthly", "*-*-01 00:00:00"),
    ("quarterly", "*-01,04,07,10-01 00:00:00"),
    ("semiannually", "*-01,07-01 00:00:00"),
    ("yearly", "*-01-01 00:00:00"),
    ("annually", "*-01-01 00:00:00"),
];

/// Days of the week, Monday first.
const WEEKDAYS: [&str; 7] = [
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
];

/// The seconds that an expression names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calendar {
    /// Bit 0 is Monday.
    weekdays: u64,
    /// Bit 0 of the first is 1970.
    years: [u64; 4],
    /// Bit 1 is January.
    months: u64,
    /// Bit 1 is the first day of the month, or the last.
    days: u64,
    /// Days count from the end of the month.
    from_end: bool,
    hours: u64,
    minutes: u64,
    seconds: u64,
}

/// Why a text is no expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CalendarError {
    /// Nothing in it, or more than is read.
    Length,
    /// More words than there are parts, or a part a second time.
    Word(String),
    /// Not a day of the week; which one is near.
    Weekday(String, Option<&'static str>),
    /// Not one of the numbers that may stand there: what, and what may.
    Number(String, u32, u32),
    /// A date or time of too few or too many numbers.
    Shape(String),
    /// A time zone other than UTC.
    Zone(String),
    /// It can be read, and no day is like that.
    Never,
}

impl fmt::Display for CalendarError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length => write!(f, "is empty, or longer than {TEXT_MAX} characters"),
            Self::Word(word) => write!(f, "has `{word}` where nothing more can follow"),
            Self::Weekday(word, None) => write!(f, "has `{word}`, which is no day of the week"),
            Self::Weekday(word, Some(near)) => {
                write!(f, "has `{word}`, which is no day of the week; {near}?")
            }
            Self::Number(word, least, most) => {
                write!(f, "has `{word}` where {least} to {most} can stand")
            }
            Self::Shape(word) => write!(
                f,
                "has `{word}`, which is neither a date (*-01-31) nor a time (04:00)"
            ),
            Self::Zone(zone) => write!(f, "names the time zone `{zone}`: times are those of UTC"),
            Self::Never => write!(f, "names no day that ever comes"),
        }
    }
}

impl std::error::Error for CalendarError {}

impl std::str::FromStr for Calendar {
    type Err = CalendarError;

    fn from_str(text: &str) -> Result<Self, CalendarError> {
        if text.trim().is_empty() || text.len() > TEXT_MAX {
            return Err(CalendarError::Length);
        }
        let word = WORDS.iter().find(|(word, _)| *word == text.trim());
        let calendar = read(word.map_or(text, |(_, meaning)| *meaning))?;
        match calendar.next_after(-1) {
            Some(_) => Ok(calendar),
            None => Err(CalendarError::Never),
        }
    }
}

impl Calendar {
    /// The first second after `after` (since 1970, UTC) that is named. `None`: there is none until
    /// the end of the last year that can be named.
    #[must_use]
    pub fn next_after(&self, after: i64) -> Option<i64> {
        let from = after.checked_add(1)?.max(0);
        if from >= day_number(YEARS.1 + 1, 1) * DAY {
            return None;
        }
        let (first_day, first_second) = (from.div_euclid(DAY), from.rem_euclid(DAY));
        let (first_year, first_month) = year_and_month(first_day);
        for year in first_year.max(YEARS.0)..=YEARS.1 {
            if !self.has_year(year) {
                continue;
            }
            let month = if year == first_year { first_month } else { 1 };
            for month in (month..=12).filter(|month| has(self.months, *month)) {
                if let Some(at) = self.next_in_month(year, month, first_day, first_second) {
                    return Some(at);
                }
            }
        }
        None
    }

    /// Whether the second `at` is named.
    #[must_use]
    pub fn names(&self, at: i64) -> bool {
        at >= 0 && self.next_after(at - 1) == Some(at)
    }

    fn next_in_month(&self, year: u32, month: u32, first: i64, second: i64) -> Option<i64> {
        let length = days_of(year, month);
        let start = day_number(year, month);
        (1..=length).find_map(|day| {
            let number = start + i64::from(day) - 1;
            let counted = if self.from_end { length + 1 - day } else { day };
            // 1970-01-01 was a Thursday.
            let weekday = u32::try_from((number + 3).rem_euclid(7)).unwrap_or(0);
            if number < first || !has(self.days, counted) || !has(self.weekdays, weekday) {
                return None;
            }
            let from = if number == first { second } else { 0 };
            Some(number * DAY + self.second_of_day(from)?)
        })
    }

    /// The first second of a day from `from` on.
    fn second_of_day(&self, from: i64) -> Option<i64> {
        let from = u32::try_from(from).ok()?;
        let (hour, minute, second) = (from / 3600, from / 60 % 60, from % 60);
        let whole = |hour: u32, minute: u32, second: u32| {
            Some(i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second))
        };
        if has(self.hours, hour) {
            if has(self.minutes, minute)
                && let Some(second) = at_least(self.seconds, second)
            {
                return whole(hour, minute, second);
            }
            if let Some(minute) = at_least(self.minutes, minute + 1) {
                return whole(hour, minute, at_least(self.seconds, 0)?);
            }
        }
        let hour = at_least(self.hours, hour + 1)?;
        whole(hour, at_least(self.minutes, 0)?, at_least(self.seconds, 0)?)
    }

    fn has_year(&self, year: u32) -> bool {
        let bit = year.saturating_sub(YEARS.0);
        let word = self.years.get(bit as usize / 64);
        word.is_some_and(|word| has(*word, bit % 64))
    }
}

fn read(text: &str) -> Result<Calendar, CalendarError> {
    let mut words = text.split_whitespace().peekable();
    let mut calendar = Calendar {
        weekdays: 0x7f,
        years: [u64::MAX; 4],
        months: span(1, 12),
        days: span(1, 31),
        from_end: false,
        hours: 1,
        minutes: 1,
        seconds: 1,
    };
    if let Some(word) = words.next_if(|word| word.starts_with(|c: char| c.is_ascii_alphabetic()))
        && word != "UTC"
    {
        calendar.weekdays = weekdays(word)?;
    }
    if let Some(word) = words.next_if(|word| !word.contains(':') && *word != "UTC") {
        calendar.date(word)?;
    }
    if let Some(word) = words.next_if(|word| word.contains(':')) {
        calendar.time(word)?;
    }
    match (words.next(), words.next()) {
        (None | Some("UTC"), None) => Ok(calendar),
        (Some("UTC"), Some(word)) => Err(CalendarError::Word(word.to_owned())),
        (Some(zone), None) if zone.starts_with(|c: char| c.is_ascii_alphabetic()) => {
            Err(CalendarError::Zone(zone.to_owned()))
        }
        (Some(word), _) => Err(CalendarError::Word(word.to_owned())),
        (None, Some(word)) => Err(CalendarError::Word(word.to_owned())),
    }
}

impl Calendar {
    fn date(&mut self, word: &str) -> Result<(), CalendarError> {
        let shape = || CalendarError::Shape(word.to_owned());
        let (rest, days) = match word.rsplit_once(['-', '~']) {
            Some((rest, days)) => (rest, days),
            None => return Err(shape()),
        };
        self.from_end = word.contains('~');
        let (years, months) = match rest.split_once('-') {
            Some((years, months)) => (years, months),
            None => ("*", rest),
        };
        if [years, months].iter().any(|it| it.contains(['-', '~'])) {
            return Err(shape());
        }
        self.years = [0; 4];
        let set = &mut self.years;
        numbers(years, YEARS.0, YEARS.1, |year| {
            let bit = year - YEARS.0;
            if let Some(word) = set.get_mut(bit as usize / 64) {
                *word |= 1 << (bit % 64);
            }
        })?;
        self.months = bits(months, 1, 12)?;
        self.days = bits(days, 1, 31)?;
        Ok(())
    }

    fn time(&mut self, word: &str) -> Result<(), CalendarError> {
        let mut parts = word.split(':');
        let (hours, minutes, seconds) = (parts.next(), parts.next(), parts.next());
        let (Some(hours), Some(minutes), None) = (hours, minutes, parts.next()) else {
            return Err(CalendarError::Shape(word.to_owned()));
        };
        self.hours = bits(hours, 0, 23)?;
        self.minutes = bits(minutes, 0, 59)?;
        self.seconds = seconds.map_or(Ok(1), |seconds| bits(seconds, 0, 59))?;
        Ok(())
    }
}

/// `Mon`, `Mon..Fri`, `Sat,Sun`, `Sat..Mon`.
fn weekdays(word: &str) -> Result<u64, CalendarError> {
    let mut set = 0;
    for item in word.split(',') {
        let (first, last) = item.split_once("..").unwrap_or((item, item));
        let (first, last) = (weekday(first)?, weekday(last)?);
        let count = (last + 7 - first) % 7;
        for offset in 0..=count {
            set |= 1 << ((first + offset) % 7);
        }
    }
    Ok(set)
}

fn weekday(word: &str) -> Result<u64, CalendarError> {
    let lower = word.to_ascii_lowercase();
    let found = WEEKDAYS
        .iter()
        .position(|day| *day == lower || day.get(..3) == Some(lower.as_str()));
    found
        .and_then(|day| u64::try_from(day).ok())
        .ok_or_else(|| CalendarError::Weekday(word.to_owned(), nearest(&lower, WEEKDAYS)))
}

fn bits(text: &str, least: u32, most: u32) -> Result<u64, CalendarError> {
    let mut set = 0;
    numbers(text, least, most, |number| set |= 1 << number)?;
    Ok(set)
}

/// Gives every number that a part allows.
fn numbers(
    text: &str,
    least: u32,
    most: u32,
    mut give: impl FnMut(u32),
) -> Result<(), CalendarError> {
    for item in text.split(',') {
        let wrong = || CalendarError::Number(item.to_owned(), least, most);
        let number = |text: &str| {
            let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let number = text.parse().ok().filter(|_| plain);
            number.filter(|it| (least..=most).contains(it))
        };
        let (range, step) = match item.split_once('/') {
            None => (item, None),
            Some((range, step)) => (range, Some(step)),
        };
        let steps = match step {
            None => 1,
            Some(text) => text
                .parse()
                .ok()
                .filter(|it| (1..=most).contains(it))
                .ok_or_else(wrong)?,
        };
        let (first, last) = match (range, range.split_once("..")) {
            ("*", _) => (least, most),
            (_, Some((first, last))) => (
                number(first).ok_or_else(wrong)?,
                number(last).ok_or_else(wrong)?,
            ),
            // `5/10` goes on to the end.
            (_, None) => {
                let first = number(range).ok_or_else(wrong)?;
                (first, if step.is_some() { most } else { first })
            }
        };
        if first > last {
            return Err(wrong());
        }
        (first..=last).step_by(steps as usize).for_each(&mut give);
    }
    Ok(())
}

const fn span(first: u32, last: u32) -> u64 {
    ((1 << (last + 1)) - 1) & !((1 << first) - 1)
}

const fn has(set: u64, bit: u32) -> bool {
    bit < u64::BITS && set >> bit & 1 == 1
}

/// The smallest member that is at least `least`.
const fn at_least(set: u64, least: u32) -> Option<u32> {
    if least >= u64::BITS {
        return None;
    }
    let rest = set >> least << least;
    if rest == 0 {
        None
    } else {
        Some(rest.trailing_zeros())
    }
}

/// Days from 1970-01-01 to the first of a month, in the Gregorian calendar.
pub(crate) fn day_number(year: u32, month: u32) -> i64 {
    const BEFORE: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let past = i64::from(year) - 1;
    let leap_days = |years: i64| years / 4 - years / 100 + years / 400;
    let of_year = (past - 1969) * 365 + leap_days(past) - leap_days(1969);
    let before = BEFORE.get(month.saturating_sub(1) as usize).copied();
    let leap = i64::from(month > 2 && is_leap(year));
    of_year + before.unwrap_or(0) + leap
}

/// Year and month of a day since 1970, within the years that can be named.
fn year_and_month(days: i64) -> (u32, u32) {
    let year = (YEARS.0..=YEARS.1).rev();
    let year = year.into_iter().find(|year| day_number(*year, 1) <= days);
    let year = year.unwrap_or(YEARS.0);
    let month = (1..=12)
        .rev()
        .find(|month| day_number(year, *month) <= days);
    (year, month.unwrap_or(1))
}

const fn is_leap(year: u32) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

/// How many days a month has.
pub(crate) const fn days_of(year: u32, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

#[cfg(test)]
mod tests;
