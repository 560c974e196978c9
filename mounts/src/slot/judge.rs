//! What the last boot is charged, by its cause.
//!
//! | attempt | evidence | ended | charged |
//! |---------|----------|-------|---------|
//! | failed before its commit | any | as was said | a try; verity-bad if that was said |
//! | failed after its commit | any | as was said | a crash; verity-bad if that was said |
//! | ended, was committed | any | as was said | nothing; its crashes are forgotten |
//! | ended, was not committed | any | as was said | a cut |
//! | open | verity panic | verity fault | verity-bad |
//! | open | panic or oops | panic, oops | a try |
//! | open | watchdog | watchdog | a try |
//! | open | none | power cut | a cut |
//! | committed | verity panic | verity fault | verity-bad |
//! | committed | panic, oops, watchdog | as found | a crash |
//! | committed | none | power cut | nothing |
//!
//! A slot whose tries are used up is no candidate any more: so once good is not good for ever.
//! [`CRASHES_MAX`] crashes after commits, [`CUTS_TRIAL`] cuts of a slot that was never good, or
//! [`CUTS_GOOD`] of one that was, use them up as well. Cuts are no fault of the slot, but a slot
//! that only ever brings power down, or restarts the machine before its gate, must not hold it for
//! ever.
//!
//! Pure. Not here: opening, committing and closing an attempt ([`super::account`]), reading pstore's
//! text ([`super::crash`]).

use std::fmt;

use super::Slot;
pub use super::crash::{Crash, CrashKind, SAID_ENDING, SAID_GATE, SAID_GOOD, crash_of};
use super::record::{Attempt, AttemptState, Ended, PastBoot, Phase, Reason, Record, Stage, Text};

/// Crashes after commits, with no orderly end or quiet hour between them, that use up a slot.
pub const CRASHES_MAX: u8 = 3;
/// Cuts that use up a slot that was never good.
pub const CUTS_TRIAL: u8 = 12;
/// Cuts in a row, without a commit, that use up a slot that was good.
pub const CUTS_GOOD: u8 = 100;

/// What the machine knows of how the last boot ended, besides its record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// The hardware says that its watchdog reset the machine.
    pub watchdog_reset: bool,
    /// What pstore holds.
    pub crash: Option<Crash>,
}

/// A moment, from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Seconds since 1970 by the machine's clock; 0 when it was not set.
    pub unix: u64,
}

/// What a slot was charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charged {
    /// Nothing.
    Nothing,
    /// One of its tries.
    Fault,
    /// A cut.
    Cut,
    /// A crash after a commit.
    Crash,
    /// Its root is known to be bad.
    VerityBad,
}

/// What was found about the last boot, for the console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The slot that ran.
    pub slot: Slot,
    /// How it ended.
    pub ended: Ended,
    /// How far it is known to have come.
    pub stage: Stage,
    /// What the slot was charged.
    pub charged: Charged,
    /// With that the slot is no candidate any more.
    pub exhausted: bool,
    /// The cause, in words; may be empty.
    pub text: Text,
}

impl fmt::Display for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            slot, ended, stage, ..
        } = self;
        write!(f, "last boot, slot {slot}: {ended}, stage {stage}")?;
        if !self.text.is_empty() {
            write!(f, " ({})", self.text)?;
        }
        f.write_str(match self.charged {
            Charged::Nothing => "; nothing charged",
            Charged::Fault => "; charged a try",
            Charged::Cut => "; charged a cut, no fault of the slot",
            Charged::Crash => "; charged a crash after its commit",
            Charged::VerityBad => "; its root is bad",
        })?;
        if self.exhausted {
            write!(f, "; slot {slot} is given up")?;
        }
        Ok(())
    }
}

/// Takes the attempt that the last boot left, puts it into the history and charges its slot.
/// `None`: there was no attempt. A second call finds none, so nothing is charged twice; a crash that
/// was judged once is known by its id and is no evidence again.
pub fn judge(record: &mut Record, evidence: &Evidence, now: Stamp) -> Option<Judged> {
    let fresh = evidence
        .crash
        .as_ref()
        .filter(|crash| crash.id != record.crash_id);
    if let Some(crash) = fresh {
        record.crash_id = crash.id;
    }
    let attempt = record.attempt.take()?;
    let finding = Finding::of(&attempt, fresh, evidence.watchdog_reset);
    if finding.stage == Stage::Ending && matches!(attempt.state, AttemptState::Ended(_)) {
        record.slot_mut(attempt.slot).crashes = 0;
    }
    Some(close(record, &attempt, finding, now))
}

/// How an attempt ended and what that costs.
pub(super) struct Finding {
    pub(super) ended: Ended,
    pub(super) stage: Stage,
    pub(super) charged: Charged,
    pub(super) text: Text,
}

impl Finding {
    fn of(attempt: &Attempt, crash: Option<&Crash>, watchdog_reset: bool) -> Self {
        let said = |ended, charged| Self {
            ended,
            stage: attempt.stage,
            charged,
            text: attempt.text.clone(),
        };
        match attempt.state {
            // A commit gives all tries back, so a failure after it must not cost a mere try.
            AttemptState::Failed(ended)
                if attempt.stage >= Stage::Running && ended != Ended::VerityFault =>
            {
                said(ended, Charged::Crash)
            }
            AttemptState::Failed(ended) => said(ended, fault(ended)),
            AttemptState::Ended(ended) if attempt.stage == Stage::Ending => {
                said(ended, Charged::Nothing)
            }
            AttemptState::Ended(ended) => said(ended, Charged::Cut),
            AttemptState::Open => match trace(crash, watchdog_reset) {
                Some(ended) => Self::traced(attempt, ended, fault(ended), crash),
                None => said(Ended::PowerCut, Charged::Cut),
            },
            AttemptState::Committed => match trace(crash, watchdog_reset) {
                Some(Ended::VerityFault) => {
                    Self::traced(attempt, Ended::VerityFault, Charged::VerityBad, crash)
                }
                Some(ended) => Self::traced(attempt, ended, Charged::Crash, crash),
                None => said(Ended::PowerCut, Charged::Nothing),
            },
        }
    }

    fn traced(attempt: &Attempt, ended: Ended, charged: Charged, crash: Option<&Crash>) -> Self {
        Self {
            ended,
            stage: attempt
                .stage
                .max(crash.and_then(|crash| crash.stage).unwrap_or(Stage::Stage1)),
            charged,
            text: crash.map_or_else(Text::default, |crash| Text::from(crash.text.as_str())),
        }
    }
}

/// What a failure of this kind costs a slot.
pub(super) fn fault(ended: Ended) -> Charged {
    if ended == Ended::VerityFault {
        Charged::VerityBad
    } else {
        Charged::Fault
    }
}

/// What the evidence says of an end that nobody announced. The crash first: a machine that panicked
/// may have been reset by its watchdog afterwards.
fn trace(crash: Option<&Crash>, watchdog_reset: bool) -> Option<Ended> {
    match crash {
        Some(crash) => Some(match crash.kind {
            CrashKind::Panic => Ended::Panic,
            CrashKind::Oops => Ended::Oops,
            CrashKind::Verity => Ended::VerityFault,
            CrashKind::Watchdog => Ended::Watchdog,
        }),
        None => watchdog_reset.then_some(Ended::Watchdog),
    }
}

/// Charges a slot for an attempt that is over, and writes it into the history.
pub(super) fn close(
    record: &mut Record,
    attempt: &Attempt,
    finding: Finding,
    now: Stamp,
) -> Judged {
    let slot = attempt.slot;
    let exhausted = charge_slot(record, slot, &finding);
    let Finding {
        ended,
        stage,
        charged,
        text,
    } = finding;
    record.history.push(PastBoot {
        number: attempt.number,
        slot,
        ended,
        stage,
        uptime_seconds: attempt.uptime_seconds,
        ended_unix: ended_unix(attempt, now),
        times: 1,
        text: text.clone(),
    });
    Judged {
        slot,
        ended,
        stage,
        charged,
        exhausted,
        text,
    }
}

/// When it ended: when it began and how long it ran, if both are known.
fn ended_unix(attempt: &Attempt, now: Stamp) -> u64 {
    if attempt.started_unix > 0 && attempt.uptime_seconds > 0 {
        attempt
            .started_unix
            .saturating_add(u64::from(attempt.uptime_seconds))
    } else {
        now.unix
    }
}

/// True when this made the slot no candidate.
fn charge_slot(record: &mut Record, slot: Slot, finding: &Finding) -> bool {
    let entry = record.slot_mut(slot);
    let was_spent = entry.tries_left == 0 || entry.verity_bad;
    match finding.charged {
        Charged::Nothing => {}
        Charged::Fault => entry.tries_left = entry.tries_left.saturating_sub(1),
        Charged::Crash => {
            entry.crashes = entry.crashes.saturating_add(1);
            if entry.crashes >= CRASHES_MAX {
                entry.tries_left = 0;
            }
        }
        Charged::Cut => {
            entry.power_cuts = entry.power_cuts.saturating_add(1);
            let limit = if entry.good { CUTS_GOOD } else { CUTS_TRIAL };
            if entry.power_cuts >= limit {
                entry.tries_left = 0;
            }
        }
        Charged::VerityBad => entry.verity_bad = true,
    }
    let spent = entry.tries_left == 0 || entry.verity_bad;
    if spent {
        end_trial(record, slot);
    }
    spent && !was_spent
}

/// A slot that was on trial and is given up is on trial no more.
pub(super) fn end_trial(record: &mut Record, slot: Slot) {
    if record.trial == Some(slot) {
        record.trial = None;
        record.phase = Phase::RolledBack;
        record.reason = Reason::Rollback;
    }
}
