//! What a signal to PID 1 means. Not here: receiving it, and doing what it means.

use services::status::ShutdownKind;
use services::time::{Duration, Time};

/// Ctrl-Alt-Del this often within [`IMPATIENCE`] means: at once.
const IMPATIENT: usize = 7;
const IMPATIENCE: Duration = Duration::from_secs(2);

// Numbers are the kernel's, the same on every architecture we build for. The real-time ones count
// from 34, glibc's SIGRTMIN, as their senders do: musl itself starts at 35.
const HUP: u8 = 1;
const INT: u8 = 2;
const TERM: u8 = 15;
const CHLD: u8 = 17;
const PWR: u8 = 30;
const RT_HALT: u8 = 34 + 3;
const RT_POWEROFF: u8 = 34 + 4;
const RT_REBOOT: u8 = 34 + 5;

/// The signals PID 1 receives on purpose; every other one is ignored by it.
pub(super) const RECEIVED: [u8; 8] = [HUP, INT, TERM, CHLD, PWR, RT_HALT, RT_POWEROFF, RT_REBOOT];

/// What PID 1 does about a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A child has ended.
    Reap,
    /// Stop everything in order, then go.
    Shutdown(ShutdownKind),
    /// Go now: somebody has lost patience with an orderly stop.
    AtOnce(ShutdownKind),
    /// Read the service files again.
    Reload,
    /// Nothing.
    Ignore,
}

/// Remembers when Ctrl-Alt-Del was pressed lately.
#[derive(Debug, Default)]
pub(super) struct Signals {
    pressed: [Time; IMPATIENT],
    next: usize,
}

impl Signals {
    /// What signal `number`, received `now`, means.
    pub(super) fn meaning(&mut self, number: u8, now: Time) -> Meaning {
        match number {
            CHLD => Meaning::Reap,
            HUP => Meaning::Reload,
            INT if self.impatient(now) => Meaning::AtOnce(ShutdownKind::Reboot),
            INT | RT_REBOOT => Meaning::Shutdown(ShutdownKind::Reboot),
            TERM | PWR | RT_POWEROFF => Meaning::Shutdown(ShutdownKind::Poweroff),
            RT_HALT => Meaning::Shutdown(ShutdownKind::Halt),
            _ => Meaning::Ignore,
        }
    }

    /// Notes one more press; true when the last seven came within two seconds.
    fn impatient(&mut self, now: Time) -> bool {
        if let Some(slot) = self.pressed.get_mut(self.next) {
            *slot = now;
        }
        self.next = (self.next + 1) % IMPATIENT;
        let oldest = self.pressed.get(self.next).copied().unwrap_or_default();
        oldest != Time::default() && now.since(oldest) <= IMPATIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_nanos(millis * 1_000_000)
    }

    fn check(number: u8, expect: Meaning) {
        assert_eq!(Signals::default().meaning(number, at(1)), expect);
    }

    #[test]
    fn each_signal_means_what_one_expects_of_pid_1() {
        check(17, Meaning::Reap);
        check(1, Meaning::Reload);
        check(2, Meaning::Shutdown(ShutdownKind::Reboot));
        check(15, Meaning::Shutdown(ShutdownKind::Poweroff));
        check(30, Meaning::Shutdown(ShutdownKind::Poweroff));
        check(37, Meaning::Shutdown(ShutdownKind::Halt));
        check(38, Meaning::Shutdown(ShutdownKind::Poweroff));
        check(39, Meaning::Shutdown(ShutdownKind::Reboot));
        check(10, Meaning::Ignore);
    }

    #[test]
    fn seven_presses_in_two_seconds_are_at_once() {
        let mut signals = Signals::default();
        for press in 1..7 {
            assert_eq!(
                signals.meaning(2, at(press * 300)),
                Meaning::Shutdown(ShutdownKind::Reboot),
                "press {press}"
            );
        }
        assert_eq!(
            signals.meaning(2, at(2_100)),
            Meaning::AtOnce(ShutdownKind::Reboot)
        );
    }

    #[test]
    fn patient_presses_never_are() {
        let mut signals = Signals::default();
        for press in 1..50 {
            let got = signals.meaning(2, at(press * 400));
            assert_eq!(
                got,
                Meaning::Shutdown(ShutdownKind::Reboot),
                "press {press}"
            );
        }
    }
}
