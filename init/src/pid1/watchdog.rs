//! The watchdog as PID 1 keeps it: taken over from stage1, fed at a third of its time, handed on to
//! the last stage. Not here: when PID 1 has earned a feeding (`turn`), and the device (`kernel`).

use kernel::watchdog::Watchdog;
use mounts::handover::WatchdogFacts;
use services::time::{Duration, Time};

/// Where watchdogs are, and the one that is taken when stage1 has handed none over.
const PREFIX: &str = "/dev/watchdog";
const FIRST: &str = "/dev/watchdog0";
/// The time it gets when the kernel command line names none.
const TIMEOUT: u32 = 60;
/// What stage1 leaves open has a low number: descriptors beyond are not looked at.
const LOOKED_AT: i32 = 256;

/// A watchdog that runs, and when it is to be fed.
#[derive(Debug)]
pub(crate) struct Feeder {
    watchdog: Watchdog,
    seconds: u32,
    due: Time,
    /// The last feeding failed, and that was told.
    broken: bool,
}

impl Feeder {
    /// A watchdog that resets the machine after `seconds`; it is to be fed at once.
    #[must_use]
    pub(crate) fn new(watchdog: Watchdog, seconds: u32) -> Self {
        Self {
            watchdog,
            seconds: seconds.max(1),
            due: Time::default(),
            broken: false,
        }
    }

    /// When it is to be fed next.
    #[must_use]
    pub(crate) fn due(&self) -> Time {
        self.due
    }

    /// In how many seconds it resets the machine.
    #[must_use]
    pub(crate) fn seconds(&self) -> u32 {
        self.seconds
    }

    /// Feeds it, if it is time to. A failure is given back once, for people, and tried again.
    pub(crate) fn feed(&mut self, now: Time) -> Option<String> {
        if now < self.due {
            return None;
        }
        // A third: two feedings may be late before the machine is reset.
        self.due = now + Duration::from_secs(self.seconds.into()) / 3;
        match self.watchdog.feed() {
            Ok(()) => {
                self.broken = false;
                None
            }
            Err(error) => {
                let told = std::mem::replace(&mut self.broken, true);
                (!told).then(|| format!("watchdog: {error}"))
            }
        }
    }

    /// The device itself, to be handed on or disarmed.
    #[must_use]
    pub(crate) fn device(&self) -> &Watchdog {
        &self.watchdog
    }

    /// The same, to disarm it.
    #[must_use]
    pub(crate) fn into_device(self) -> Watchdog {
        self.watchdog
    }

    /// What people are told: `i6300ESB timer, 60 s (/dev/watchdog0)`.
    #[must_use]
    pub(crate) fn describe(&self) -> String {
        let name = self.watchdog.info().map(|info| info.identity);
        format!(
            "{}, {} s ({})",
            name.unwrap_or_else(|_| "a watchdog".to_owned()),
            self.seconds,
            self.watchdog.path()
        )
    }
}

/// Takes the watchdog that stage1 has left open over. Where the hand-over cannot be read, it is
/// looked for among the descriptors: unfed, it would reset the machine within a minute.
///
/// # Errors
/// For people, as "what: why".
pub(super) fn take_over(facts: Option<&WatchdogFacts>) -> Result<Option<Feeder>, String> {
    match facts {
        Some(facts) => match Watchdog::inherited(facts.fd, &facts.device) {
            Ok(watchdog) => Ok(Some(Feeder::new(watchdog, facts.timeout_seconds))),
            // A former program of this process has had it under another number.
            Err(error) => left_open()
                .map(Some)
                .ok_or_else(|| format!("watchdog: stage1 has not left it open: {error}")),
        },
        None => Ok(left_open()),
    }
}

/// The watchdog that the program before this one has left open, if it has.
fn left_open() -> Option<Feeder> {
    // Only the numbers that are in use: to ask for each there may be takes as long as six services.
    let numbers = std::fs::read_dir("/proc/self/fd").ok()?.flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut numbers: Vec<i32> = numbers.filter(|it| (3..LOOKED_AT).contains(it)).collect();
    numbers.sort_unstable();
    numbers.into_iter().find_map(|number| {
        let path = std::fs::read_link(format!("/proc/self/fd/{number}")).ok()?;
        let path = path.to_str().filter(|path| path.starts_with(PREFIX))?;
        let watchdog = Watchdog::inherited(number, path).ok()?;
        let seconds = watchdog.timeout().unwrap_or(TIMEOUT);
        Some(Feeder::new(watchdog, seconds))
    })
}

/// The watchdog where no hand-over names one: the one that is open already, else the first of the
/// machine. `wanted` is the time the kernel command line names; 0 there leaves the latter alone.
///
/// # Errors
/// For people, as "what: why".
pub(super) fn find(wanted: Option<u32>) -> Result<Option<Feeder>, String> {
    match left_open() {
        Some(feeder) => Ok(Some(feeder)),
        None => take(wanted),
    }
}

/// Opens the first watchdog of a machine on which no stage1 has.
fn take(wanted: Option<u32>) -> Result<Option<Feeder>, String> {
    if wanted == Some(0) {
        return Err("watchdog: left alone, as the kernel command line says".to_owned());
    }
    if !kernel::files::exists(FIRST) {
        return Err("watchdog: this machine has none".to_owned());
    }
    let watchdog = Watchdog::open(FIRST).map_err(|error| format!("watchdog: {error}"))?;
    let seconds = watchdog
        .set_timeout(wanted.unwrap_or(TIMEOUT))
        .or_else(|_| watchdog.timeout())
        .unwrap_or(TIMEOUT);
    Ok(Some(Feeder::new(watchdog, seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn at(seconds: u64) -> Time {
        Time::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn it_is_fed_at_a_third_of_its_time_and_not_more_often() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut feeder = Feeder::new(Watchdog::from_fd(writer.into(), "a pipe"), 30);
        for second in 100..131 {
            assert_eq!(feeder.feed(at(second)), None);
            assert!(feeder.due() <= at(second + 10));
        }
        drop(feeder);
        let mut fed = Vec::new();
        reader.read_to_end(&mut fed).unwrap();
        assert_eq!(fed.len(), 4, "at 100, 110, 120 and 130");
    }

    #[test]
    fn a_failure_is_told_once_and_tried_again() {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut feeder = Feeder::new(Watchdog::from_fd(writer.into(), "a pipe"), 3);
        drop(reader);
        assert!(feeder.feed(at(1)).is_some_and(|it| it.contains("a pipe")));
        assert_eq!(feeder.feed(at(2)), None);
        assert_eq!(feeder.due(), at(3));
    }

    #[test]
    fn what_is_no_watchdog_is_not_taken() {
        let facts = WatchdogFacts {
            device: "/dev/watchdog0".to_owned(),
            fd: 2,
            identity: String::new(),
            timeout_seconds: 60,
        };
        let error = take_over(Some(&facts)).map(|_| ()).unwrap_err();
        assert!(error.starts_with("watchdog: stage1"), "{error}");
        assert!(take(Some(0)).is_err());
    }
}
