//! The recorder child, `init record DEVICE CHANGE`: makes one change to the boot record and answers
//! with the record as it is then. Not here: when a change is made (`pid1::recorder`).

use std::process::ExitCode;

use super::Change;
use crate::errand;

/// In place of a device: the partition named `shark-state`, wherever it is.
pub const ANYWHERE: &str = "-";

/// Runs the child. `change` is JSON, as [`Change`] is written.
#[must_use]
pub fn run(device: &str, change: &str) -> ExitCode {
    errand::answer(record(device, change))
}

fn record(device: &str, change: &str) -> Result<Vec<u8>, String> {
    let change: Change = serde_json::from_str(change)
        .map_err(|error| format!("`{change}` is no change of a boot record: {error}"))?;
    let device = match device {
        ANYWHERE => super::find().ok_or("no disk has a partition named shark-state")?,
        device => device.to_owned(),
    };
    let state = if change == Change::Look {
        super::load(&device)
    } else {
        super::apply(&device, &change)?
    };
    let mut info = super::info(&state);
    info.device = Some(device);
    serde_json::to_vec(&info).map_err(|error| error.to_string())
}
