//! Arithmetic of restarts: whether, and after which pause. Not here: when a failure is one (`stop`).
//!
//! The core has no clock and no chance: a pause that is to differ from machine to machine comes from
//! a seed that the shell gives, and from what is counted anyway. So every history can be repeated.

use crate::definition::{Burst, Restart, RestartPolicy};
use crate::time::{Duration, Time};

use super::mutation::{Mutation, mutated};

/// Least pause before a restart that is not the first in a row.
const SHORTEST: Duration = Duration::from_millis(1);

/// How a run ended that nobody asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Well.
    Clean,
    /// With an exit status that is not a good one, or without being ready.
    Failed,
    /// By a signal, or because it was not ready in time or not healthy.
    Abnormal,
}

/// What follows an end that nobody asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sequel {
    /// Down, and not wanted any more.
    Rest,
    /// Started again after this pause.
    Again(Duration),
    /// Failed, and left alone.
    GiveUp,
}

/// Decides; `failures` counts those in a row, this one included.
pub(super) fn sequel(restart: &Restart, ending: Ending, failures: u32, seed: u64) -> Sequel {
    let again = match (restart.policy, ending) {
        (RestartPolicy::Never, _) | (RestartPolicy::OnFailure, Ending::Clean) => false,
        (RestartPolicy::OnAbnormal, Ending::Failed) => mutated(Mutation::StatusIsAbnormal),
        (RestartPolicy::OnAbnormal, Ending::Clean) => false,
        (RestartPolicy::OnSuccess, Ending::Failed | Ending::Abnormal) => false,
        (RestartPolicy::Always, _) | (RestartPolicy::OnSuccess, Ending::Clean) => true,
        (RestartPolicy::OnFailure, Ending::Failed | Ending::Abnormal) => true,
        (RestartPolicy::OnAbnormal, Ending::Abnormal) => true,
    };
    match (again, ending) {
        (false, Ending::Clean) => Sequel::Rest,
        (false, Ending::Failed | Ending::Abnormal) => Sequel::GiveUp,
        // A good end is no failure: the pause does not grow, but it is kept, against a spin.
        (true, Ending::Clean) => Sequel::Again(pause(restart, 1, seed)),
        (true, Ending::Failed | Ending::Abnormal) => match restart.max_failures {
            Some(limit) if failures >= limit && !mutated(Mutation::FailuresNotLimited) => {
                Sequel::GiveUp
            }
            Some(_) | None => Sequel::Again(pause(restart, failures, seed)),
        },
    }
}

/// `delay`, doubled with each failure after the first, up to `max_delay`; less a share of it that the
/// seed decides, so that no pause is longer than `max_delay`.
fn pause(restart: &Restart, failures: u32, seed: u64) -> Duration {
    let doublings = match failures.saturating_sub(1).min(31) {
        _ if mutated(Mutation::PauseNotDoubled) => 0,
        doublings => doublings,
    };
    // A pause of nothing is for the first failure alone: what fails again and again would spin.
    let least = if failures <= 1 {
        Duration::ZERO
    } else {
        SHORTEST
    };
    let whole = restart
        .delay
        .max(least)
        .saturating_mul(1 << doublings)
        .min(restart.max_delay);
    if restart.jitter == 0 {
        return whole;
    }
    // A share in parts of 2^16, below the jitter.
    let parts = (mix(seed) >> 48) * u64::from(restart.jitter) / 100;
    let less = (whole.as_nanos() * u128::from(parts)) >> 16;
    let less = Duration::from_nanos(u64::try_from(less).unwrap_or(0));
    if mutated(Mutation::JitterLengthens) {
        return whole + less;
    }
    whole.saturating_sub(less)
}

/// The seed of one pause.
pub(super) const fn seed(machine: u64, service: u32, runs: u32, failures: u32) -> u64 {
    let counted = ((runs as u64) << 32) | failures as u64;
    mix(machine ^ mix(service as u64 ^ mix(counted)))
}

/// SplitMix64's last step: each bit of the result hangs on each of the input.
const fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// When a service was started lately: at most as often as its burst allows is remembered.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
pub(super) struct Starts(Vec<Time>);

impl Starts {
    /// It is started now.
    pub(super) fn note(&mut self, restart: &Restart, now: Time) {
        let Some(burst) = restart.burst else {
            self.forget();
            return;
        };
        let kept = usize::from(burst.starts).saturating_sub(1);
        let surplus = self.0.len().saturating_sub(kept);
        self.0.drain(..surplus);
        self.0.push(now);
    }

    /// Somebody wants it anew: what was before does not count.
    pub(super) fn forget(&mut self) {
        self.0 = Vec::new();
    }

    /// The burst that a start at `next` would be one too many for.
    pub(super) fn exceeded(&self, restart: &Restart, next: Time) -> Option<Burst> {
        let burst = restart.burst?;
        let recent = self.0.iter().filter(|at| next.since(**at) < burst.within);
        let many = recent.count() >= usize::from(burst.starts);
        (many && !mutated(Mutation::BurstIgnored)).then_some(burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restart(policy: RestartPolicy) -> Restart {
        Restart {
            policy,
            delay: Duration::from_millis(200),
            max_delay: Duration::from_secs(30),
            max_failures: Some(50),
            ..Restart::default()
        }
    }

    fn check(policy: RestartPolicy, ending: Ending, failures: u32, expect: Sequel) {
        assert_eq!(sequel(&restart(policy), ending, failures, 7), expect);
    }

    #[test]
    fn policies() {
        use Ending::{Abnormal, Clean, Failed};
        let first = Sequel::Again(Duration::from_millis(200));
        let (rest, give_up) = (Sequel::Rest, Sequel::GiveUp);
        let rows = [
            (RestartPolicy::Never, [rest, give_up, give_up]),
            (RestartPolicy::OnFailure, [rest, first, first]),
            (RestartPolicy::OnAbnormal, [rest, give_up, first]),
            (RestartPolicy::OnSuccess, [first, give_up, give_up]),
            (RestartPolicy::Always, [first, first, first]),
        ];
        for (policy, [clean, failed, abnormal]) in rows {
            check(policy, Clean, 0, clean);
            check(policy, Failed, 1, failed);
            check(policy, Abnormal, 1, abnormal);
        }
    }

    #[test]
    fn the_pause_doubles_up_to_its_limit_and_then_gives_up() {
        let again = |ms| Sequel::Again(Duration::from_millis(ms));
        let check = |failures, expect| {
            check(RestartPolicy::OnFailure, Ending::Failed, failures, expect);
        };
        check(2, again(400));
        check(3, again(800));
        check(8, again(25_600));
        check(9, again(30_000));
        check(49, again(30_000));
        check(50, Sequel::GiveUp);
    }

    #[test]
    fn jitter_shortens_a_pause_by_its_share_at_most_and_differs() {
        let restart = Restart {
            jitter: 20,
            ..restart(RestartPolicy::OnFailure)
        };
        let pauses: std::collections::BTreeSet<Duration> = (0..1000)
            .map(|machine| pause(&restart, 3, seed(machine, 1, 4, 3)))
            .collect();
        assert!(pauses.len() > 900, "{} different ones", pauses.len());
        assert!(pauses.first() >= Some(&Duration::from_millis(640)));
        assert!(pauses.first() < Some(&Duration::from_millis(650)));
        assert!(pauses.last() <= Some(&Duration::from_millis(800)));
        assert!(pauses.last() > Some(&Duration::from_millis(790)));
        let same = [(); 2].map(|()| pause(&restart, 3, seed(5, 1, 4, 3)));
        assert_eq!(same[0], same[1], "the same history is the same again");
    }

    #[test]
    fn so_many_starts_and_no_more_within_the_time() {
        let at = |seconds: u64| Time::from_nanos(seconds * 1_000_000_000);
        let restart = Restart {
            burst: Some(Burst {
                starts: 3,
                within: Duration::from_secs(10),
            }),
            ..Restart::default()
        };
        let mut starts = Starts::default();
        for second in [0, 4, 8] {
            assert_eq!(starts.exceeded(&restart, at(second)), None);
            starts.note(&restart, at(second));
        }
        assert_eq!(starts.exceeded(&restart, at(9)), restart.burst);
        assert_eq!(starts.exceeded(&restart, at(10)), None, "the first is old");
        starts.note(&restart, at(10));
        assert_eq!(starts.0.len(), 3, "no more is remembered than counts");
        starts.forget();
        assert_eq!(starts.exceeded(&restart, at(10)), None);
    }

    #[test]
    fn no_pause_is_for_the_first_failure_alone() {
        let restart = Restart {
            delay: Duration::ZERO,
            ..Restart::default()
        };
        let pauses = [1, 2, 3].map(|failures| pause(&restart, failures, 0));
        assert_eq!(pauses, [0, 2, 4].map(Duration::from_millis));
    }
}
