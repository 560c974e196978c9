//! What stage1 makes of it when the outer loader has started the kernel of another slot than the boot
//! record decides for. Pure; see the table of the parent module.
//!
//! Not here: telling the loader, restarting, and what the record keeps of it
//! ([`crate::slot::account`]).

use crate::slot::Slot;
use crate::slot::record::{Phase, Record};

/// Restarts in a row for the sake of the right kernel: a second one for the case that power is lost
/// when the first has been counted and the loader has not been told. One more is not made, so that a
/// loader that does not do as it is told never costs a loop.
pub const REDIRECTS_MAX: u8 = 2;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Kernel and root are of the same slot.
    Agreed,
    /// The loader is told, and the machine restarted.
    Redirect,
    /// The slot was on trial, and its kernel did not come so far: it is given up.
    NeverArrived,
    /// The root is booted with the other slot's kernel. The loader is told once more, for the next
    /// boot.
    GoOn,
}

/// Compares the slot whose kernel runs, `started`, with the one that is to be booted, `slot`. `tried`
/// asks the loader whether it has started `slot` since it was armed; where the loader cannot say, it
/// has.
pub fn compare(
    record: &Record,
    slot: Slot,
    started: Slot,
    tried: impl FnOnce() -> bool,
) -> Verdict {
    if slot == started {
        return Verdict::Agreed;
    }
    let is_first_trial =
        record.phase == Phase::Trial && record.trial == Some(slot) && !record.slot(slot).good;
    let may_restart = record.redirects < REDIRECTS_MAX;
    match (is_first_trial, may_restart) {
        (false, true) => Verdict::Redirect,
        (false, false) => Verdict::GoOn,
        (true, false) => Verdict::NeverArrived,
        // It has arrived before when the last boot was of it, and has a try left.
        (true, true) if last_boot(record) != Some(slot) && tried() => Verdict::NeverArrived,
        (true, true) => Verdict::Redirect,
    }
}

/// The slot of the boot before this one, where it has been judged.
fn last_boot(record: &Record) -> Option<Slot> {
    let newest = record.history.newest()?;
    (newest.number == record.boots).then_some(newest.slot)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slot::account;
    use crate::slot::decide::Why;
    use crate::slot::judge::{Evidence, Stamp, judge};
    use crate::verity::RootHash;

    const NOW: Stamp = Stamp { unix: 5 };

    /// Slot b is armed for its first try, and the last boot was of slot `last`.
    fn armed(last: Slot) -> Record {
        let system = |byte| Some((RootHash::new([byte; 32]), 1));
        let mut record = Record::for_image(system(1), system(2));
        account::charge(&mut record, last, &Why::Forced, [1; 16], NOW);
        account::set_slot(&mut record, Slot::B, NOW);
        judge(&mut record, &Evidence::default(), NOW);
        record
    }

    #[test]
    fn a_trial_that_the_loader_has_made_and_that_left_no_trace_never_arrived() {
        let check = |record: &Record, tried, expect| {
            assert_eq!(compare(record, Slot::B, Slot::A, || tried), expect);
        };
        check(&armed(Slot::A), true, Verdict::NeverArrived);
        check(&armed(Slot::A), false, Verdict::Redirect);
        // It was there, lost power, and has its try still.
        check(&armed(Slot::B), true, Verdict::Redirect);
        for last in Slot::ALL {
            let mut record = armed(last);
            record.redirects = REDIRECTS_MAX;
            check(&record, false, Verdict::NeverArrived);
        }
    }

    #[test]
    fn another_kernel_costs_two_restarts_and_is_then_put_up_with() {
        let mut record = armed(Slot::A);
        record.slot_mut(Slot::B).good = true;
        let verdict = |record: &Record, started| compare(record, Slot::B, started, || true);
        assert_eq!(verdict(&record, Slot::B), Verdict::Agreed);
        assert_eq!(verdict(&record, Slot::A), Verdict::Redirect);
        record.redirects = REDIRECTS_MAX;
        assert_eq!(verdict(&record, Slot::A), Verdict::GoOn);
        assert_eq!(verdict(&record, Slot::B), Verdict::Agreed);
    }
}
