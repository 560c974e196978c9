//! How many lines of a service's log are kept within a time, and the count of those beyond it. Not here:
//! lines and logs (`init`).

use serde::{Deserialize, Serialize};

use crate::time::{Duration, Time};
use crate::units::duration_text;

/// Most lines that a limit can name.
pub const BURST_MOST: u32 = 1_000_000;

/// So many lines within so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// How many; 0 is any number.
    pub burst: u32,
    /// Within how long.
    pub within: Duration,
}

impl Default for Limit {
    fn default() -> Self {
        Self {
            burst: 10_000,
            within: Duration::from_secs(30),
        }
    }
}

impl Limit {
    /// No limit.
    pub const NONE: Self = Self {
        burst: 0,
        within: Duration::ZERO,
    };
}

/// What a service says of its limit; the rest is as the settings of logs have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnLimit {
    /// How many lines; 0 is any number.
    pub burst: Option<u32>,
    /// Within how long.
    pub burst_within: Option<Duration>,
}

impl OwnLimit {
    /// That of a log in which every line is kept.
    pub const NONE: Self = Self {
        burst: Some(0),
        burst_within: None,
    };

    /// With what goes without saying.
    #[must_use]
    pub fn or(self, usual: Limit) -> Limit {
        Limit {
            burst: self.burst.unwrap_or(usual.burst),
            within: self.burst_within.unwrap_or(usual.within),
        }
    }
}

/// Counts the lines of one log. A time begins with the first line after the last one is over.
#[derive(Clone, Debug)]
pub struct Meter {
    limit: Limit,
    /// When the present time began, and the lines taken in it.
    began: Option<Time>,
    taken: u32,
    dropped: u64,
}

impl Meter {
    /// Nothing has been counted.
    #[must_use]
    pub const fn new(limit: Limit) -> Self {
        Self {
            limit,
            began: None,
            taken: 0,
            dropped: 0,
        }
    }

    /// Another limit counts from now on.
    pub fn set(&mut self, limit: Limit) {
        self.limit = limit;
    }

    /// Whether one more line is kept at `now`; if not, it counts as dropped.
    pub fn take(&mut self, now: Time) -> bool {
        if self.limit.burst == 0 {
            return true;
        }
        let over = |began| now.since(began) >= self.limit.within;
        if self.began.is_none_or(over) {
            self.began = Some(now);
            self.taken = 0;
        }
        if self.taken < self.limit.burst {
            self.taken += 1;
            return true;
        }
        self.lose();
        false
    }

    /// One more line is dropped, for the sake of one before it.
    pub fn lose(&mut self) {
        self.dropped = self.dropped.saturating_add(1);
    }

    /// Whether something was dropped that has not been told.
    #[must_use]
    pub const fn owes(&self) -> bool {
        self.dropped > 0
    }

    /// How many were dropped since this was asked last, and in words.
    pub fn owed(&mut self) -> Option<(u64, String)> {
        let count = std::mem::take(&mut self.dropped);
        let Limit { burst, within } = self.limit;
        let within = duration_text(within);
        (count > 0).then(|| {
            let words =
                format!("{count} lines dropped before this: more than {burst} within {within}");
            (count, words)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_nanos(seconds * 1_000_000_000)
    }

    fn kept(meter: &mut Meter, count: u32, now: Time) -> usize {
        (0..count).filter(|_| meter.take(now)).count()
    }

    #[test]
    fn a_burst_is_kept_in_each_time_and_the_rest_is_counted() {
        let mut meter = Meter::new(Limit {
            burst: 3,
            within: Duration::from_secs(30),
        });
        assert_eq!(kept(&mut meter, 2, at(5)), 2);
        assert_eq!(kept(&mut meter, 9, at(34)), 1);
        assert!(meter.owes());
        let told = "8 lines dropped before this: more than 3 within 30s";
        assert_eq!(meter.owed(), Some((8, told.to_owned())));
        assert_eq!((meter.owes(), meter.owed()), (false, None));
        // The first line after it begins the next time.
        assert_eq!(kept(&mut meter, 4, at(60)), 3);
        assert_eq!(kept(&mut meter, 1, at(89)), 0);
        assert_eq!(kept(&mut meter, 1, at(90)), 1);
        assert_eq!(meter.owed().map(|it| it.0), Some(2));
    }

    #[test]
    fn what_a_service_says_counts_before_what_goes_without_saying() {
        let usual = Limit::default();
        assert_eq!(OwnLimit::default().or(usual), usual);
        let own = OwnLimit {
            burst: None,
            burst_within: Some(Duration::from_secs(1)),
        };
        let expect = Limit {
            burst: usual.burst,
            within: Duration::from_secs(1),
        };
        assert_eq!(own.or(usual), expect);
        let mut meter = Meter::new(OwnLimit::NONE.or(Limit::default()));
        let many = 2 * Limit::default().burst;
        assert_eq!(kept(&mut meter, many, at(1)), many as usize);
        meter.set(Limit { burst: 1, ..usual });
        assert_eq!(kept(&mut meter, 2, at(1)), 1);
    }
}
