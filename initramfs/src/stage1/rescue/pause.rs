//! How long the machine stays at the rescue console, pure: a countdown that somebody who uses a
//! terminal holds.
//!
//! Somebody is there while terminals are read from, which is what a person who types makes them.
//! Times are arguments. Not here: looking at terminals, waiting.

use std::time::Duration;

/// Who has not typed for so long is not there any more.
const IDLE: Duration = Duration::from_secs(15 * 60);
/// The pause is held no longer than this in all: a line that only makes noise types for ever.
const HELD_MAX: Duration = Duration::from_secs(8 * 60 * 60);

/// When terminals were last read from, by name, in the clock of whoever looks.
pub(super) type Terminals = Vec<(String, i64)>;

/// A countdown, or none.
#[derive(Debug)]
pub(super) struct Pause {
    left: Option<Duration>,
    last: Duration,
    terminals: Option<Terminals>,
    used: Option<Duration>,
    held: Duration,
}

impl Pause {
    /// A pause of `length` from `now` on; without one it is never over.
    pub(super) fn new(length: Option<Duration>, now: Duration) -> Self {
        Self {
            left: length,
            last: now,
            terminals: None,
            used: None,
            held: Duration::ZERO,
        }
    }

    /// Somebody is there now.
    pub(super) fn used(&mut self, now: Duration) {
        self.used = Some(now);
    }

    /// Whether somebody is there.
    pub(super) fn is_held(&self, now: Duration) -> bool {
        let idle = self.used.map(|used| now.saturating_sub(used));
        idle.is_some_and(|idle| idle < IDLE) && self.held < HELD_MAX
    }

    /// Takes what the terminals say, and the time that has passed. What matters is that they were
    /// read from since the last time, not when: their clock may be set meanwhile.
    pub(super) fn update(&mut self, now: Duration, terminals: Terminals) {
        let before = self.terminals.replace(terminals);
        if before.is_some() && before != self.terminals {
            self.used = Some(now);
        }
        let passed = now.saturating_sub(self.last);
        self.last = now;
        if self.is_held(now) {
            self.held += passed;
        } else if let Some(left) = &mut self.left {
            *left = left.saturating_sub(passed);
        }
    }

    /// Nobody came, or has gone.
    pub(super) fn is_over(&self) -> bool {
        self.left == Some(Duration::ZERO)
    }

    /// What is left of it.
    pub(super) fn left(&self) -> Option<Duration> {
        self.left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn read_at(time: i64) -> Terminals {
        vec![("/dev/ttyS0".to_owned(), time)]
    }

    #[test]
    fn nobody_there() {
        let mut pause = Pause::new(Some(seconds(60)), seconds(100));
        pause.update(seconds(159), read_at(5));
        assert!(!pause.is_over());
        assert_eq!(pause.left(), Some(seconds(1)));
        pause.update(seconds(161), read_at(5));
        assert!(pause.is_over());
    }

    #[test]
    fn somebody_who_types_holds_it_until_idle_for_a_quarter_of_an_hour() {
        let mut pause = Pause::new(Some(seconds(60)), seconds(0));
        pause.update(seconds(30), read_at(5));
        pause.update(seconds(40), read_at(6));
        assert!(pause.is_held(seconds(40)));
        // Their clock goes back: read from all the same.
        pause.update(seconds(300), read_at(1));
        pause.update(seconds(1199), read_at(1));
        assert!(pause.is_held(seconds(1199)) && !pause.is_over());
        assert_eq!(pause.left(), Some(seconds(30)));
        pause.update(seconds(1200), read_at(1));
        pause.update(seconds(1230), read_at(1));
        assert!(pause.is_over());
    }

    #[test]
    fn a_terminal_that_comes_or_goes_is_somebody() {
        let mut pause = Pause::new(Some(seconds(60)), seconds(0));
        pause.update(seconds(1), Vec::new());
        assert!(!pause.is_held(seconds(1)));
        pause.update(seconds(2), read_at(0));
        assert!(pause.is_held(seconds(2)));
    }

    #[test]
    fn noise_does_not_hold_it_for_ever() {
        let mut pause = Pause::new(Some(seconds(60)), seconds(0));
        let mut time = 0;
        while !pause.is_over() {
            time += 10;
            pause.update(seconds(time), read_at(i64::try_from(time).unwrap()));
        }
        let eight_hours = 8 * 60 * 60;
        assert!((eight_hours..eight_hours + 120).contains(&time), "{time}");
    }

    #[test]
    fn without_a_length_it_is_never_over() {
        let mut pause = Pause::new(None, seconds(0));
        pause.update(seconds(1_000_000), read_at(0));
        assert!(!pause.is_over());
        assert_eq!(pause.left(), None);
    }
}
