//! What PID 1 does while no logger takes anything: after a moment it makes room in what services would wait
//! for, log pipes and the socket of syslog(3), counts what is lost so, and tells it when a logger takes them
//! again. Not here: the life of the logger (`logger`).
//!
//! It looks again and again meanwhile, and not at all otherwise.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use services::time::{Duration, Time};
use services::units::duration_text;

use super::Init;
use super::say::Level;

/// So long what is written waits for a logger.
const PATIENCE: Duration = Duration::from_secs(1);
/// From one look to the next.
const PAUSE: Duration = Duration::from_millis(100);
/// Pipes that are looked at, and emptied, in one turn of the loop.
const LOOKED_AT: u32 = 256;
const EMPTIED: u32 = 32;
/// Messages of syslog(3) that are dropped at once: half of what waits.
const MESSAGES: u32 = 256;
/// Read at once.
const BLOCK: usize = 16 * 1024;
/// So many services are named that have lost something.
const NAMED: usize = 5;

/// Since when no logger takes anything, and what that has cost.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Deaf {
    since: Time,
    look_at: Time,
    /// The place whose turn is next.
    next: u32,
    /// Bytes that are lost, by service.
    bytes: BTreeMap<Box<str>, u64>,
    messages: u64,
}

/// What has been lost since the boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lost {
    /// Bytes that services have written.
    pub(super) bytes: u64,
    /// Messages of syslog(3).
    pub(super) messages: u64,
}

impl Deaf {
    /// From now on.
    pub(super) fn new(now: Time) -> Self {
        Self {
            since: now,
            look_at: now + PATIENCE,
            next: 0,
            bytes: BTreeMap::new(),
            messages: 0,
        }
    }

    /// When the next look is due.
    pub(super) const fn look_at(&self) -> Time {
        self.look_at
    }

    /// What that has cost; `None`: nothing.
    fn told(&self, now: Time) -> Option<String> {
        if self.bytes.is_empty() && self.messages == 0 {
            return None;
        }
        let bytes: u64 = self.bytes.values().sum();
        let mut most: Vec<(&str, u64)> =
            self.bytes.iter().map(|(name, it)| (&**name, *it)).collect();
        most.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        let named: Vec<String> = most
            .iter()
            .take(NAMED)
            .map(|(name, bytes)| format!("{name}: {bytes}"))
            .collect();
        let others = match most.len().saturating_sub(NAMED) {
            0 => String::new(),
            count => format!(", and {count} others"),
        };
        let time = duration_text(Duration::from_secs(now.since(self.since).as_secs()));
        Some(format!(
            "no logger took anything for {time}: {bytes} bytes and {} messages of syslog are lost ({}{others})",
            self.messages,
            named.join(", "),
        ))
    }
}

impl Init {
    /// No logger takes anything, until one says so.
    pub(super) fn logger_is_deaf(&mut self) {
        let now = self.now;
        self.logger.deaf.get_or_insert_with(|| Deaf::new(now));
    }

    /// One does.
    pub(super) fn logger_takes(&mut self) {
        let Some(deaf) = self.logger.deaf.take() else {
            return;
        };
        for log in self.table.places().filter_map(|it| it.log.as_mut()) {
            // Handed over once more, with what is lost.
            log.handed &= log.lost == 0;
        }
        if let Some(line) = deaf.told(self.now) {
            self.say(Level::Warning, &line);
        }
    }

    /// Makes room where somebody would have to wait.
    pub(super) fn make_room_in_logs(&mut self) {
        let Some(mut deaf) = self.logger.deaf.take() else {
            return;
        };
        let more = self.empty_pipes(&mut deaf);
        self.empty_syslog(&mut deaf);
        deaf.look_at = match more {
            true => self.now,
            false => self.now + PAUSE,
        };
        self.logger.deaf = Some(deaf);
    }

    /// Whether there are more to look at.
    fn empty_pipes(&mut self, deaf: &mut Deaf) -> bool {
        let (mut looked_at, mut emptied) = (0, 0);
        let mut buffer = [0; BLOCK];
        for place in self.table.places() {
            let Some(log) = place.log.as_mut() else {
                continue;
            };
            if place.service.index < deaf.next {
                continue;
            }
            if looked_at == LOOKED_AT || emptied == EMPTIED {
                deaf.next = place.service.index;
                return true;
            }
            looked_at += 1;
            // A pipe that cannot be read is one that nobody will wait for long.
            let taken = kernel::pipe::relieve(&log.read, &log.write, &mut buffer).unwrap_or(0);
            if taken > 0 {
                emptied += 1;
                log.lost = log.lost.saturating_add(taken);
                let lost = deaf.bytes.entry(place.name.clone()).or_default();
                *lost = lost.saturating_add(taken);
                let all = &mut self.logger.lost.bytes;
                *all = all.saturating_add(taken);
            }
        }
        deaf.next = 0;
        false
    }

    fn empty_syslog(&mut self, deaf: &mut Deaf) {
        let path = self.paths.syslog_socket().display().to_string();
        let Some(socket) = self.logger.syslog_socket() else {
            return;
        };
        if !kernel::unix::is_full(&path).unwrap_or(false) {
            return;
        }
        let mut dropped = 0;
        while dropped < MESSAGES
            && let Ok(Some(_)) = kernel::unix::recv_with_fds(socket, &mut [])
        {
            dropped += 1;
        }
        deaf.messages += u64::from(dropped);
        self.logger.lost.messages += u64::from(dropped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_is_told_with_who_has_lost_most() {
        let at = |seconds: u64| Time::from_nanos(seconds * 1_000_000_000);
        let mut deaf = Deaf::new(at(10));
        assert_eq!(deaf.look_at(), at(11));
        assert_eq!(deaf.told(at(20)), None);
        for (number, name) in ["a", "b", "c", "d", "e", "f", "g"].into_iter().enumerate() {
            deaf.bytes.insert(name.into(), number as u64 + 1);
        }
        deaf.messages = 256;
        assert_eq!(
            deaf.told(at(20)).unwrap(),
            "no logger took anything for 10s: 28 bytes and 256 messages of syslog are lost \
             (g: 7, f: 6, e: 5, d: 4, c: 3, and 2 others)"
        );
    }
}
