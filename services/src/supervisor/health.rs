//! The health of services that are up. Not here: running a probe (the shell).

use crate::id::RunId;

use super::Supervisor;

impl Supervisor {
    /// No probe is asked for yet, so none can end.
    pub(super) fn on_probe_ended(&mut self, _run: RunId, _outcome: Result<(), String>) {}
}
