//! What PID 1 itself does after a while. Not here: the timers of services (the core).

use serde::{Deserialize, Serialize};
use services::id::RunId;
use services::time::{Duration, Time};

use super::Init;

/// Things that may be due later at one time; what is one too many is left out.
const CHORES_MAX: usize = 1024;

/// One such thing. When its run is over by then, nothing happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Later {
    /// Kill everything of a run, since the first attempt failed.
    KillAll(RunId),
    /// Look again for the main process of a forking service.
    FindMain(RunId),
    /// Kill a reload command that has not ended.
    KillReload(RunId),
}

/// Everything that is due later.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Chores(Vec<(Time, Later)>);

impl Chores {
    /// When the next is due.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.0.iter().map(|(at, _)| *at).min()
    }

    /// Takes note of one; `false`: there are too many.
    fn add(&mut self, at: Time, what: Later) -> bool {
        // One of a kind and run is enough: the later one, since an earlier may be of a command that
        // has ended well.
        self.0.retain(|(_, known)| *known != what);
        let room = self.0.len() < CHORES_MAX;
        if room {
            self.0.push((at, what));
        }
        room
    }

    /// Takes what is due by `now`.
    fn take_due(&mut self, now: Time) -> Vec<Later> {
        let due = self.0.extract_if(.., |(at, _)| *at <= now);
        due.map(|(_, what)| what).collect()
    }
}

impl Init {
    /// Does something after a while.
    pub(super) fn do_later(&mut self, wait: Duration, what: Later) {
        // One kill too many that fails again and again is not worth a place.
        let _noted = self.chores.add(self.now + wait, what);
    }

    /// Does what is due.
    pub(super) fn do_chores(&mut self) {
        for what in self.chores.take_due(self.now) {
            match what {
                Later::KillAll(run) => self.kill_all(run),
                Later::FindMain(run) => self.find_main(run),
                Later::KillReload(run) => self.kill_reload(run),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use services::id::ServiceId;

    fn at(seconds: u64) -> Time {
        Time::from_nanos(seconds * 1_000_000_000)
    }

    fn run(run: u32) -> RunId {
        let service = ServiceId {
            index: 1,
            generation: 1,
        };
        RunId { service, run }
    }

    #[test]
    fn each_is_done_once_when_it_is_due() {
        let mut chores = Chores::default();
        assert_eq!(chores.deadline(), None);
        assert!(chores.add(at(5), Later::KillAll(run(1))));
        assert!(chores.add(at(3), Later::KillReload(run(1))));
        assert!(chores.add(at(9), Later::KillReload(run(1))));
        assert_eq!(chores.deadline(), Some(at(5)));
        assert_eq!(chores.take_due(at(4)), []);
        assert_eq!(chores.take_due(at(5)), [Later::KillAll(run(1))]);
        assert_eq!(chores.take_due(at(9)), [Later::KillReload(run(1))]);
        assert_eq!(chores.deadline(), None);
    }

    #[test]
    fn there_are_never_too_many() {
        let mut chores = Chores::default();
        let numbers = 0..u32::try_from(CHORES_MAX).unwrap();
        assert!(
            numbers
                .into_iter()
                .all(|it| chores.add(at(1), Later::KillAll(run(it))))
        );
        assert!(!chores.add(at(1), Later::KillReload(run(0))));
    }
}
