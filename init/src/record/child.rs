//! The recorder child, `init record DEVICE`: makes the one change of its input to the boot record and
//! answers with the record as it is then. Not here: when a change is made (`pid1::recorder`).

use std::process::ExitCode;

use mounts::slot::Slot;
use mounts::slot::record::{AttemptState, Record};
use serde::{Deserialize, Serialize};
use services::update::LoaderStatus;

use super::Change;
use crate::errand;
use crate::outer::Outer;

/// In place of a device: the partition named `shark-state`, wherever it is.
pub const ANYWHERE: &str = "-";

/// The answer.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// What PID 1 itself wants to know.
    pub known: Known,
    /// The whole record as the control protocol tells it: JSON.
    pub told: Vec<u8>,
}

/// What PID 1 itself wants to know of the record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Crashes of slot a and slot b after their commits.
    pub crashes: [u8; 2],
    /// Slot, number and boot id of the boot under way.
    pub open: Option<(Slot, u32, [u8; 16])>,
}

impl Known {
    fn of(record: &Record) -> Self {
        let open = |state| match state {
            AttemptState::Open => true,
            AttemptState::Committed | AttemptState::Failed(_) | AttemptState::Ended(_) => false,
        };
        let attempt = record.attempt.as_ref();
        Self {
            crashes: Slot::ALL.map(|slot| record.slot(slot).crashes),
            open: attempt
                .filter(|attempt| open(attempt.state))
                .map(|attempt| (attempt.slot, attempt.number, attempt.boot_id)),
        }
    }

    /// Crashes of `slot` after its commits.
    #[must_use]
    pub fn crashes_of(&self, slot: Slot) -> u8 {
        let [a, b] = self.crashes;
        match slot {
            Slot::A => a,
            Slot::B => b,
        }
    }
}

/// Runs the child. Somebody who tries it by hand sees the record alone.
#[must_use]
pub fn run(device: &str) -> ExitCode {
    errand::answer(errand::input().and_then(|change| {
        let recorded = record(device, &change)?;
        if errand::is_by_hand() {
            Ok(recorded.told)
        } else {
            errand::pack(&recorded)
        }
    }))
}

fn record(device: &str, change: &Change) -> Result<Recorded, String> {
    let device = match device {
        ANYWHERE => super::find().ok_or("no disk has a partition named shark-state")?,
        device => device.to_owned(),
    };
    let state = match change {
        Change::Look | Change::Show => super::load(&device),
        change => super::apply(&device, change)?,
    };
    if change.may_choose()
        && let Some(record) = state.record()
    {
        tell_loader(&device, record);
    }
    let known = state.record().map(Known::of).unwrap_or_default();
    let mut info = super::info(&state);
    if *change == Change::Show {
        info.loader = Outer::beside(&device).map(|outer| loader(&outer));
    }
    info.device = Some(device);
    let told = serde_json::to_vec(&info).map_err(|error| error.to_string())?;
    Ok(Recorded { known, told })
}

/// How the outer loader stands.
fn loader(outer: &Outer) -> LoaderStatus {
    match kernel::mount::unshare() {
        Ok(()) => outer.status(),
        Err(error) => LoaderStatus {
            kind: outer.kind.to_string(),
            problem: Some(error.to_string()),
            ..LoaderStatus::default()
        },
    }
}

/// The outer loader follows the record. Where it cannot be told, stage1 tells it.
fn tell_loader(device: &str, record: &Record) {
    let Some(outer) = Outer::beside(device) else {
        return;
    };
    // The rest of the machine must not see what is mounted for a moment.
    let alone = kernel::mount::unshare().map_err(|error| error.to_string());
    match alone.and_then(|()| outer.follow(record)) {
        Ok(Some(told)) => eprintln!("init: {told}"),
        Ok(None) => {}
        Err(why) => eprintln!("init: {why}; the next boot sees to it"),
    }
}
