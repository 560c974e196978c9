//! Rules of the supervisor that a test build can break on purpose, one at a time, to see that the
//! simulation catches it. Not here: the rules; each asks at its place whether it is broken.
//!
//! Without the feature `mutations`, which nothing but that test asks for, no rule can be broken:
//! [`mutated`] is a constant, and nothing of it is left in a program.

/// A rule that can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each name says what goes wrong")]
pub enum Mutation {
    RequiredNotAwaited,
    WantedNotAwaited,
    RivalsNotAwaited,
    RivalsNotOusted,
    StopOrderIgnored,
    RunOverTooEarly,
    LateExitBelieved,
    DependentsNotStopped,
    FailureNotSpread,
    StartTimeoutIgnored,
    StopTimeoutIgnored,
    TimerNotCancelled,
    PauseNotDoubled,
    FailuresNotReset,
    FailuresNotLimited,
    AnswerForgotten,
    AnswerGivenTwice,
    NeighbourNotWoken,
    ProbeOutlivesRun,
    BadProbeForgiven,
    WatchdogAsleep,
    ExtensionShortens,
    BadProbeIsReady,
    MuteAwaited,
    ReloadAppliedAtOnce,
    RemovedRunsOn,
    BootSettledEarly,
    ShutdownUnbounded,
    BurstIgnored,
    JitterLengthens,
    StatusIsAbnormal,
    SuccessStatusUnknown,
    BondIgnored,
    BoundRunsOn,
    PartNotStopped,
    PartNotRestarted,
    RescueForgotten,
    RescueWithoutEnd,
    ActionForgotten,
    BeginNotAwaited,
    ConditionForgotten,
    ForkerUpTooEarly,
    LostMainForgiven,
    TimerNotAwaited,
    TimerAsleep,
    CorrectionForgets,
    DelayVaries,
    StartNotRemembered,
    MissedForgotten,
    SoakCutShort,
    SparedKilled,
    SparedAwaited,
    EndSpares,
    LeftForgotten,
    SweepUnasked,
    SweepUnbounded,
    SweepCutShort,
    WholeForgotten,
    ReleasedTooEarly,
    ReleaseForgotten,
    SocketsLeftOpen,
    SocketsClosedEarly,
    TrafficIgnored,
    LazyStartedAtOnce,
    WaitingNotForgiven,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Self; 65] = [
        Self::RequiredNotAwaited,
        Self::WantedNotAwaited,
        Self::RivalsNotAwaited,
        Self::RivalsNotOusted,
        Self::StopOrderIgnored,
        Self::RunOverTooEarly,
        Self::LateExitBelieved,
        Self::DependentsNotStopped,
        Self::FailureNotSpread,
        Self::StartTimeoutIgnored,
        Self::StopTimeoutIgnored,
        Self::TimerNotCancelled,
        Self::PauseNotDoubled,
        Self::FailuresNotReset,
        Self::FailuresNotLimited,
        Self::AnswerForgotten,
        Self::AnswerGivenTwice,
        Self::NeighbourNotWoken,
        Self::ProbeOutlivesRun,
        Self::BadProbeForgiven,
        Self::WatchdogAsleep,
        Self::ExtensionShortens,
        Self::BadProbeIsReady,
        Self::MuteAwaited,
        Self::ReloadAppliedAtOnce,
        Self::RemovedRunsOn,
        Self::BootSettledEarly,
        Self::ShutdownUnbounded,
        Self::BurstIgnored,
        Self::JitterLengthens,
        Self::StatusIsAbnormal,
        Self::SuccessStatusUnknown,
        Self::BondIgnored,
        Self::BoundRunsOn,
        Self::PartNotStopped,
        Self::PartNotRestarted,
        Self::RescueForgotten,
        Self::RescueWithoutEnd,
        Self::ActionForgotten,
        Self::BeginNotAwaited,
        Self::ConditionForgotten,
        Self::ForkerUpTooEarly,
        Self::LostMainForgiven,
        Self::TimerNotAwaited,
        Self::TimerAsleep,
        Self::CorrectionForgets,
        Self::DelayVaries,
        Self::StartNotRemembered,
        Self::MissedForgotten,
        Self::SoakCutShort,
        Self::SparedKilled,
        Self::SparedAwaited,
        Self::EndSpares,
        Self::LeftForgotten,
        Self::SweepUnasked,
        Self::SweepUnbounded,
        Self::SweepCutShort,
        Self::WholeForgotten,
        Self::ReleasedTooEarly,
        Self::ReleaseForgotten,
        Self::SocketsLeftOpen,
        Self::SocketsClosedEarly,
        Self::TrafficIgnored,
        Self::LazyStartedAtOnce,
        Self::WaitingNotForgiven,
    ];
}

/// Whether the rule is broken.
#[cfg(not(feature = "mutations"))]
pub(crate) const fn mutated(_: Mutation) -> bool {
    false
}

#[cfg(feature = "mutations")]
mod chosen {
    use core::sync::atomic::{AtomicUsize, Ordering};

    use super::Mutation;

    /// 0: none; else its place in `Mutation::ALL`, from 1.
    static BROKEN: AtomicUsize = AtomicUsize::new(0);

    /// Breaks this rule, for every supervisor of the process, and mends all others.
    pub fn mutate(which: Option<Mutation>) {
        let number = which.map_or(0, |mutation| mutation as usize + 1);
        BROKEN.store(number, Ordering::Relaxed);
    }

    /// Whether the rule is broken.
    pub(crate) fn mutated(which: Mutation) -> bool {
        BROKEN.load(Ordering::Relaxed) == which as usize + 1
    }
}

#[cfg(feature = "mutations")]
pub use chosen::mutate;
#[cfg(feature = "mutations")]
pub(crate) use chosen::mutated;
