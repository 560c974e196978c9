//! What the supervising PID 1 leaves to the last stage, over execve(2): the mark that the boot record
//! gets, and the watchdog. Not here: stopping services, and unmounting.

use kernel::watchdog::Watchdog;
use mounts::slot::record::Ended;
use serde::{Deserialize, Serialize};
use services::status::ShutdownKind;
use services::time::{Duration, Time};

use crate::errand;
use crate::pid1::watchdog::Feeder;
use crate::record::{Change, Identity};

/// The variable in which the last stage finds it.
const VARIABLE: &str = "SHARK_FINAL";
/// For so long the watchdog is fed after the last service is down. Whatever hangs then, hangs for
/// good, and the watchdog is the way out.
const LIMIT: Duration = Duration::from_secs(10 * 60);

/// What the boot record is to say of this boot in the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndMark {
    /// The state partition, or the word for finding it.
    pub device: String,
    /// This boot.
    pub running: Identity,
    /// How it has failed, where the record may not say so yet.
    pub failed: Option<Failure>,
}

/// How a boot has failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What became of it.
    pub ended: Ended,
    /// The cause in words.
    pub text: String,
}

impl EndMark {
    /// What the recorder child is told after the last service is down: that a boot went down in order
    /// does not make up for its failure.
    #[must_use]
    pub fn in_order(&self, kind: ShutdownKind, now: Time) -> Vec<u8> {
        let running = self.running.clone();
        let uptime_seconds = seconds(now);
        packed(&match &self.failed {
            None => Change::End {
                running,
                ended: match kind {
                    ShutdownKind::Poweroff | ShutdownKind::Halt => Ended::PowerOff,
                    ShutdownKind::Reboot | ShutdownKind::SoftReboot => Ended::Reboot,
                },
                uptime_seconds,
            },
            Some(failure) => Change::Fail {
                running,
                ended: failure.ended,
                uptime_seconds,
                text: failure.text.clone(),
            },
        })
    }

    /// The same when PID 1 is broken.
    #[must_use]
    pub fn broken(&self, words: &str, now: Time) -> Vec<u8> {
        packed(&Change::Fail {
            running: self.running.clone(),
            ended: Ended::InitFailed,
            uptime_seconds: seconds(now),
            text: words.to_owned(),
        })
    }

    /// The words for the recorder child.
    #[must_use]
    pub fn words(&self) -> [&str; 2] {
        ["record", &self.device]
    }
}

/// Numbers and texts: nothing in it can fail to be packed, and of nothing the child says that it is no
/// change.
fn packed(change: &Change) -> Vec<u8> {
    errand::pack(change).unwrap_or_default()
}

fn seconds(now: Time) -> u32 {
    u32::try_from(now.as_nanos() / 1_000_000_000).unwrap_or(u32::MAX)
}

/// The watchdog as text.
#[derive(Debug, Serialize, Deserialize)]
struct Open {
    fd: i32,
    path: String,
    seconds: u32,
}

/// All of it as text.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Written {
    end: Option<EndMark>,
    uncounted: Option<String>,
    watchdog: Option<Open>,
    /// Nanoseconds of CLOCK_BOOTTIME.
    feed_until: u64,
}

/// What is left to the last stage.
#[derive(Debug)]
pub struct Bequest {
    end: Option<EndMark>,
    uncounted: Option<String>,
    watchdog: Option<Feeder>,
    feed_until: Time,
}

impl Bequest {
    /// The watchdog is fed for a limited time from now on. `uncounted` is how this boot of a slot has
    /// failed where no record has it as an attempt, and so none can tell the next boot.
    #[must_use]
    pub(crate) fn new(
        end: Option<EndMark>,
        uncounted: Option<String>,
        watchdog: Option<Feeder>,
    ) -> Self {
        Self {
            end,
            uncounted,
            watchdog,
            feed_until: now() + LIMIT,
        }
    }

    /// Name and value of the variable for the program that is executed next, in which descriptors
    /// that are not CLOEXEC stay open. This value must live until then.
    #[must_use]
    pub(super) fn variable(&self) -> (&'static str, String) {
        let watchdog = self.watchdog.as_ref().and_then(|feeder| {
            Some(Open {
                fd: feeder.device().keep_over_exec().ok()?,
                path: feeder.device().path().to_owned(),
                seconds: feeder.seconds(),
            })
        });
        let written = Written {
            end: self.end.clone(),
            uncounted: self.uncounted.clone(),
            watchdog,
            feed_until: self.feed_until.as_nanos(),
        };
        let bytes = errand::pack(&written).unwrap_or_default();
        (VARIABLE, hexadecimal(&bytes))
    }

    /// What the program before has left; nothing where that cannot be read.
    #[must_use]
    pub fn from_environment() -> Self {
        Self::from_text(&std::env::var(VARIABLE).unwrap_or_default())
    }

    fn from_text(text: &str) -> Self {
        let bytes = bytes_of(text).unwrap_or_default();
        let written: Written = errand::unpack(&bytes).unwrap_or_default();
        let watchdog = written.watchdog.and_then(|open| {
            let device = Watchdog::inherited(open.fd, &open.path).ok()?;
            Some(Feeder::new(device, open.seconds))
        });
        Self {
            end: written.end,
            uncounted: written.uncounted,
            watchdog,
            feed_until: Time::from_nanos(written.feed_until),
        }
    }

    /// Feeds the watchdog, if it is time to: in everything that waits.
    pub(super) fn feed(&mut self) {
        let now = now();
        if let Some(feeder) = &mut self.watchdog
            && now < self.feed_until
        {
            // There is nothing to be done about a failure, and little time left for it.
            let _failed = feeder.feed(now);
        }
    }

    /// What the boot record is to say.
    pub(super) fn end(&self) -> Option<&EndMark> {
        self.end.as_ref()
    }

    /// How this boot has failed, where the record does not have it: `noted` says whether it took the
    /// end that it was told.
    pub(super) fn untold_failure(&self, noted: bool) -> Option<&str> {
        match &self.end {
            Some(end) if !noted => end.failed.as_ref().map(|failure| failure.text.as_str()),
            Some(_) => None,
            None => self.uncounted.as_deref(),
        }
    }

    /// Stops the watchdog: a machine that halts stands still on purpose.
    ///
    /// # Errors
    /// For people: it cannot be stopped.
    pub(super) fn disarm(&mut self) -> Result<(), String> {
        match self.watchdog.take() {
            Some(feeder) => feeder
                .into_device()
                .disarm()
                .map_err(|error| error.to_string()),
            None => Ok(()),
        }
    }
}

/// A variable holds no zero bytes.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn bytes_of(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = pairs.iter().map(byte).collect();
    bytes.filter(|_| rest.is_empty())
}

/// The present time.
pub(super) fn now() -> Time {
    Time::from_nanos(kernel::clock::boottime())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn end() -> EndMark {
        EndMark {
            device: "/dev/vda2".to_owned(),
            running: Identity {
                slot: Some(mounts::slot::Slot::B),
                boot_id: [3; 16],
                ..Identity::default()
            },
            failed: None,
        }
    }

    fn failed() -> EndMark {
        let failure = Failure {
            ended: Ended::GateFailed,
            text: "app not ready within 5min".to_owned(),
        };
        EndMark {
            failed: Some(failure),
            ..end()
        }
    }

    #[test]
    fn the_last_stage_finds_what_was_left_to_it() {
        for mark in [end(), failed()] {
            let left = Bequest::new(Some(mark.clone()), None, None);
            let (_, text) = left.variable();
            let found = Bequest::from_text(&text);
            assert_eq!(found.end(), Some(&mark));
            assert_eq!(found.feed_until, left.feed_until);
        }
        for bad in ["", "0", "zz", "02ffff"] {
            assert_eq!(Bequest::from_text(bad).end(), None, "{bad}");
        }
    }

    #[test]
    fn a_failure_is_untold_where_no_record_took_it() {
        let told = |end: Option<EndMark>, uncounted: Option<&str>, noted| {
            let left = Bequest::new(end, uncounted.map(str::to_owned), None);
            let found = Bequest::from_text(&left.variable().1);
            found.untold_failure(noted).map(str::to_owned)
        };
        let words = "app not ready within 5min".to_owned();
        assert_eq!(told(Some(failed()), None, false), Some(words.clone()));
        assert_eq!(told(Some(failed()), None, true), None);
        assert_eq!(told(Some(end()), None, false), None, "it did not fail");
        assert_eq!(told(None, Some(&words), false), Some(words));
        assert_eq!(told(None, None, false), None);
    }

    #[test]
    fn the_watchdog_is_fed_until_the_limit_and_no_longer() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let feeder = Feeder::new(Watchdog::from_fd(writer.into(), "a pipe"), 600);
        let mut bequest = Bequest::new(None, None, Some(feeder));
        bequest.feed();
        bequest.feed();
        bequest.feed_until = Time::default();
        bequest.watchdog = bequest
            .watchdog
            .map(|feeder| Feeder::new(feeder.into_device(), 1));
        bequest.feed();
        drop(bequest);
        let mut fed = Vec::new();
        reader.read_to_end(&mut fed).unwrap();
        assert_eq!(fed.len(), 1, "once when it was due, and not past the limit");
    }

    #[test]
    fn what_the_child_is_told_is_a_change_it_knows() {
        let at = Time::from_nanos(61_500_000_000);
        let change = |bytes: &[u8]| errand::unpack::<Change>(bytes).unwrap();
        let expect = |kind, ended| {
            let expect = Change::End {
                running: end().running,
                ended,
                uptime_seconds: 61,
            };
            assert_eq!(change(&end().in_order(kind, at)), expect);
        };
        expect(ShutdownKind::Reboot, Ended::Reboot);
        expect(ShutdownKind::Halt, Ended::PowerOff);
        assert_eq!(end().words(), ["record", "/dev/vda2"]);
        let expect = Change::Fail {
            running: end().running,
            ended: Ended::GateFailed,
            uptime_seconds: 61,
            text: "app not ready within 5min".to_owned(),
        };
        assert_eq!(
            change(&failed().in_order(ShutdownKind::Reboot, at)),
            expect,
            "an orderly end does not hide the failure"
        );
        assert!(matches!(
            change(&end().broken("init is broken: no", at)),
            Change::Fail {
                ended: Ended::InitFailed,
                ..
            }
        ));
    }
}
