//! Clocks and the timer of the event loop. Not here: how a point in time is written for people.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::retry_on_intr;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};

use crate::error::{At, Errno, Result};

/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;

/// Nanoseconds of CLOCK_BOOTTIME: since the start of the kernel, suspend counted.
#[must_use]
pub fn boottime() -> u64 {
    nanos(clock_gettime(ClockId::Boottime))
}

/// Nanoseconds of CLOCK_MONOTONIC: since the start of the kernel, suspend left out, as the kernel stamps
/// its own log.
#[must_use]
pub fn monotonic() -> u64 {
    nanos(clock_gettime(ClockId::Monotonic))
}

/// Nanoseconds of the processor that this process has used. A system call each time: of the clocks
/// that the kernel shares with its processes this is none.
#[must_use]
pub fn processor_time() -> u64 {
    nanos(clock_gettime(ClockId::ProcessCPUTime))
}

fn nanos(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(SECOND).saturating_add(nanos)
}

/// Seconds of CLOCK_REALTIME since 1970, UTC: the machine's clock, which may be wrong and may jump.
/// 0 for a time before that.
#[must_use]
pub fn unix_seconds() -> u64 {
    u64::try_from(clock_gettime(ClockId::Realtime).tv_sec).unwrap_or(0)
}

/// Nanoseconds of CLOCK_REALTIME since 1970, UTC, before it too.
#[must_use]
pub fn unix_nanos() -> i64 {
    let now = clock_gettime(ClockId::Realtime);
    let second = i64::try_from(SECOND).unwrap_or(0);
    now.tv_sec
        .saturating_mul(second)
        .saturating_add(now.tv_nsec)
}

/// To the kernel, a deadline of zero.
const DISARMED: u64 = 0;

/// A timerfd on CLOCK_BOOTTIME: readable once its deadline has passed, also after a suspend, which
/// the timeout of epoll_wait(2) does not count.
#[derive(Debug)]
pub struct BootTimer {
    fd: OwnedFd,
    /// What it is set to and has not done yet, as far as is known.
    set_to: Option<u64>,
}

impl BootTimer {
    /// A timer that is not armed.
    ///
    /// # Errors
    /// timerfd_create(2): out of descriptors or memory.
    pub fn new() -> Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let fd = timerfd_create(TimerfdClockId::Boottime, flags).at("timerfd_create", "")?;
        let set_to = Some(DISARMED);
        Ok(Self { fd, set_to })
    }

    /// Arms it for `deadline` (nanoseconds of CLOCK_BOOTTIME; one that has passed fires at once) or
    /// disarms it.
    ///
    /// # Errors
    /// timerfd_settime(2); none is known for valid arguments.
    pub fn set(&mut self, deadline: Option<u64>) -> Result<()> {
        let nanos = deadline.map_or(DISARMED, |nanos| nanos.max(1));
        if self.set_to == Some(nanos) {
            return Ok(());
        }
        let spec = Itimerspec {
            it_interval: timespec(0),
            it_value: timespec(nanos),
        };
        self.set_to = None;
        timerfd_settime(&self.fd, TimerfdTimerFlags::ABSTIME, &spec).at("timerfd_settime", "")?;
        self.set_to = Some(nanos);
        Ok(())
    }

    /// Takes notice of an expiry; whether there was one.
    ///
    /// # Errors
    /// read(2) on the timer.
    pub fn clear(&mut self) -> Result<bool> {
        self.set_to = None;
        let mut count = [0_u8; 8];
        match retry_on_intr(|| rustix::io::read(&self.fd, &mut count)) {
            Ok(_) => Ok(true),
            Err(Errno::AGAIN) => Ok(false),
            Err(errno) => Err(errno).at("read", "timerfd"),
        }
    }
}

impl AsFd for BootTimer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Tells when CLOCK_REALTIME was set: a timerfd on it that is never due, and is cancelled by that.
#[derive(Debug)]
pub struct ClockWatch {
    fd: OwnedFd,
}

impl ClockWatch {
    /// Watches from now on.
    ///
    /// # Errors
    /// timerfd_create(2), timerfd_settime(2): out of descriptors or memory.
    pub fn new() -> Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let fd = timerfd_create(TimerfdClockId::Realtime, flags).at("timerfd_create", "")?;
        let watch = Self { fd };
        watch.arm()?;
        Ok(watch)
    }

    /// Whether the clock was set since the last time this was asked. Readable until it is asked.
    ///
    /// # Errors
    /// read(2) and timerfd_settime(2) on the timer; none is known.
    pub fn was_set(&self) -> Result<bool> {
        let mut count = [0_u8; 8];
        match retry_on_intr(|| rustix::io::read(&self.fd, &mut count)) {
            Ok(_) | Err(Errno::CANCELED) => self.arm().map(|()| true),
            Err(Errno::AGAIN) => Ok(false),
            Err(errno) => Err(errno).at("read", "timerfd of the machine's clock"),
        }
    }

    fn arm(&self) -> Result<()> {
        let never = Timespec {
            tv_sec: i64::MAX,
            tv_nsec: 0,
        };
        let spec = Itimerspec {
            it_interval: timespec(0),
            it_value: never,
        };
        let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        timerfd_settime(&self.fd, flags, &spec)
            .map(drop)
            .at("timerfd_settime", "the machine's clock")
    }
}

impl AsFd for ClockWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn timespec(nanos: u64) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(nanos / SECOND).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(nanos % SECOND).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timer_fires_at_its_deadline_and_not_before() {
        let mut timer = BootTimer::new().unwrap();
        assert!(!timer.clear().unwrap());
        let deadline = boottime() + 20_000_000;
        timer.set(Some(deadline)).unwrap();
        assert!(!timer.clear().unwrap());
        while !timer.clear().unwrap() {
            assert!(boottime() < deadline + SECOND, "it never fired");
        }
        assert!(boottime() >= deadline);
        timer.set(Some(1)).unwrap();
        while !timer.clear().unwrap() {}
        timer.set(Some(boottime() + SECOND)).unwrap();
        timer.set(None).unwrap();
        assert!(!timer.clear().unwrap());
    }

    /// To set it is not for a test: what is shown is that the kernel takes the watch, and that it is
    /// quiet while nobody does.
    #[test]
    fn a_watched_clock_that_nobody_sets_is_quiet() {
        let watch = ClockWatch::new().unwrap();
        assert!(!watch.was_set().unwrap());
        let apart = unix_nanos() / 1_000_000_000 - i64::try_from(unix_seconds()).unwrap();
        assert!(apart.abs() <= 1);
    }

    #[test]
    fn the_clock_is_after_2020() {
        assert!(unix_seconds() > 1_577_836_800);
    }
}
