//! Arithmetic of restarts: whether, and after which pause. Not here: when a failure is one (`stop`).

use crate::definition::{Restart, RestartPolicy};
use crate::time::Duration;

use super::mutation::{Mutation, mutated};

/// Least pause before a restart that is not the first in a row.
const SHORTEST: Duration = Duration::from_millis(1);

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
pub(super) fn sequel(restart: &Restart, clean: bool, failures: u32) -> Sequel {
    match (restart.policy, clean) {
        (RestartPolicy::Never | RestartPolicy::OnFailure, true) => Sequel::Rest,
        (RestartPolicy::Never, false) => Sequel::GiveUp,
        // A good end is no failure: the pause does not grow, but it is kept, against a spin.
        (RestartPolicy::Always, true) => Sequel::Again(pause(restart, 1)),
        (RestartPolicy::Always | RestartPolicy::OnFailure, false) => match restart.max_failures {
            Some(limit) if failures >= limit && !mutated(Mutation::FailuresNotLimited) => {
                Sequel::GiveUp
            }
            Some(_) | None => Sequel::Again(pause(restart, failures)),
        },
    }
}

/// `delay`, doubled with each failure after the first, up to `max_delay`.
fn pause(restart: &Restart, failures: u32) -> Duration {
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
    restart
        .delay
        .max(least)
        .saturating_mul(1 << doublings)
        .min(restart.max_delay)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(policy: RestartPolicy, clean: bool, failures: u32, expect: Sequel) {
        let restart = Restart {
            policy,
            delay: Duration::from_millis(200),
            max_delay: Duration::from_secs(30),
            reset_after: Duration::from_secs(10),
            max_failures: Some(50),
        };
        assert_eq!(sequel(&restart, clean, failures), expect);
    }

    #[test]
    fn policies() {
        let first = Sequel::Again(Duration::from_millis(200));
        check(RestartPolicy::Never, true, 0, Sequel::Rest);
        check(RestartPolicy::Never, false, 1, Sequel::GiveUp);
        check(RestartPolicy::OnFailure, true, 0, Sequel::Rest);
        check(RestartPolicy::OnFailure, false, 1, first);
        check(RestartPolicy::Always, true, 0, first);
        check(RestartPolicy::Always, false, 1, first);
    }

    #[test]
    fn the_pause_doubles_up_to_its_limit_and_then_gives_up() {
        let again = |ms| Sequel::Again(Duration::from_millis(ms));
        check(RestartPolicy::OnFailure, false, 2, again(400));
        check(RestartPolicy::OnFailure, false, 3, again(800));
        check(RestartPolicy::OnFailure, false, 8, again(25_600));
        check(RestartPolicy::OnFailure, false, 9, again(30_000));
        check(RestartPolicy::OnFailure, false, 49, again(30_000));
        check(RestartPolicy::OnFailure, false, 50, Sequel::GiveUp);
    }

    #[test]
    fn no_pause_is_for_the_first_failure_alone() {
        let restart = Restart {
            delay: Duration::ZERO,
            ..Restart::default()
        };
        let pauses = [1, 2, 3].map(|failures| pause(&restart, failures));
        assert_eq!(pauses, [0, 2, 4].map(Duration::from_millis));
    }
}
