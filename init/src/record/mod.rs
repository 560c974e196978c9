//! The boot record on a disk: finding it, reading it, and making one change to it durably. Used by
//! the recorder child of PID 1 and by `sharkctl` where no init runs. Not here: what a change means
//! (`mounts::slot::account`), and PID 1's side of the child (`pid1::recorder`).
//!
//! PID 1 itself never does any of this: a disk that does not answer holds whoever asks it.

pub mod change;
pub mod child;
mod device;
mod info;
mod links;

pub use change::{Change, Identity, UpdateStep};
pub use device::find;
pub use info::{info, slot_of_name};
pub use links::{keep_links, links};

use mounts::slot::record::Record;
use mounts::slot::region::RecordState;
use mounts::slot::store;

use device::Device;

/// Reads the record on the partition, disk or image file `path`. What cannot be opened is a record
/// that cannot be read.
#[must_use]
pub fn load(path: &str) -> RecordState {
    match Device::open(path) {
        Ok(mut device) => store::load(&mut device),
        Err(why) => RecordState::unreadable(why),
    }
}

/// Makes one change to the record on `path` and writes it, unless there is nothing to write; what
/// the record is then. Two writers wait for each other, so that neither loses the other's change.
///
/// # Errors
/// For people: what could not be opened, read or written, or why the change cannot be made. A write
/// that was not confirmed by reading it back is an error.
pub fn apply(path: &str, change: &Change) -> Result<RecordState, String> {
    let mut device = Device::open_to_write(path)?;
    device.lock()?;
    let state = store::load(&mut device);
    match change.make(&state, now())? {
        None => Ok(state),
        Some(record) => write(&mut device, &state, record)
            .map_err(|error| format!("the boot record on {path} is not written: {error}")),
    }
}

fn write(device: &mut Device, state: &RecordState, record: Record) -> Result<RecordState, String> {
    store::append(device, state, record).map_err(|error| error.to_string())
}

/// The present time by the machine's clock, which may be wrong; it is only ever shown.
fn now() -> mounts::slot::judge::Stamp {
    mounts::slot::judge::Stamp {
        unix: kernel::clock::unix_seconds(),
    }
}
