//! A limit on how often something is said. Not here: saying it.

use services::time::{Duration, Time};

/// A bucket of tokens that fills with time. One line costs one token; what is not said is counted
/// and told with the next line that is.
#[derive(Debug)]
pub(crate) struct Rate {
    tokens: u32,
    most: u32,
    every: Duration,
    filled: Time,
    suppressed: u64,
}

impl Rate {
    /// At most `most` at once, and one more each `every`.
    #[must_use]
    pub(crate) const fn new(most: u32, every: Duration) -> Self {
        Self {
            tokens: most,
            most,
            every,
            filled: Time::from_nanos(0),
            suppressed: 0,
        }
    }

    /// Whether one more may be said at `now`; if so, how many were not said before it.
    pub(crate) fn take(&mut self, now: Time) -> Option<u64> {
        let every = self.every.as_nanos().max(1);
        let due = now.since(self.filled).as_nanos() / every;
        if due > 0 {
            self.tokens = self.most.min(
                u32::try_from(due)
                    .unwrap_or(u32::MAX)
                    .saturating_add(self.tokens),
            );
            self.filled = now;
        }
        match self.tokens.checked_sub(1) {
            Some(left) => {
                self.tokens = left;
                Some(std::mem::take(&mut self.suppressed))
            }
            None => {
                self.suppressed = self.suppressed.saturating_add(1);
                None
            }
        }
    }

    /// Whether something was not said that has not been told yet.
    pub(crate) const fn owes(&self) -> bool {
        self.suppressed > 0
    }

    /// How many were not said and have not been told yet; they are now.
    pub(crate) fn owed(&mut self) -> u64 {
        std::mem::take(&mut self.suppressed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn a_burst_is_said_then_one_at_a_time_and_the_rest_is_counted() {
        let mut rate = Rate::new(3, Duration::from_millis(100));
        let said = (0..10).filter(|_| rate.take(at(1_000)).is_some()).count();
        assert_eq!(said, 3);
        assert_eq!(rate.take(at(1_050)), None);
        assert_eq!(rate.take(at(1_100)), Some(8));
        assert_eq!(rate.take(at(1_101)), None);
        assert_eq!(rate.take(at(60_000)), Some(1));
        assert_eq!(rate.take(at(60_000)), Some(0));
    }
}
