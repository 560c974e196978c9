//! The boot record of a disk from outside: what it says after the power was cut, and the states that
//! scenarios begin with. It is read by the library of the slots itself, not by a program of the
//! guest. Not here: what a record means (`mounts::slot`).

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;

use anyhow::{Context as _, bail};
use mounts::slot::Slot;
use mounts::slot::account;
use mounts::slot::judge::Stamp;
use mounts::slot::record::{RECORD_SIZE, Record};
use mounts::slot::region::{REGION_OFFSETS, REGION_SIZE, RecordState};
use mounts::slot::store::{self, Medium};

use crate::disk::DiskCopy;

/// The partition with the record.
const STATE: &str = "shark-state";

/// The partition of a disk image.
struct StatePartition {
    file: File,
    start: u64,
}

impl Medium for StatePartition {
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), String> {
        self.file
            .read_exact_at(into, self.start + offset)
            .map_err(|error| error.to_string())
    }

    fn write(&mut self, offset: u64, block: &[u8; RECORD_SIZE]) -> Result<(), String> {
        self.file
            .write_all_at(block, self.start + offset)
            .map_err(|error| error.to_string())
    }
}

impl DiskCopy {
    /// What the record says now.
    ///
    /// # Errors
    /// When there is no such partition.
    pub fn record_state(&self) -> anyhow::Result<RecordState> {
        Ok(store::load(&mut self.state_partition()?))
    }

    /// The record that counts.
    ///
    /// # Errors
    /// When there is none.
    pub fn record(&self) -> anyhow::Result<Record> {
        match self.record_state()? {
            RecordState::Newest(newest) => Ok(newest.record),
            RecordState::Unreadable { why, .. } => bail!("the boot record cannot be read: {why}"),
        }
    }

    /// Writes a record that follows the present one, as a boot would.
    ///
    /// # Errors
    /// When there is none, or it cannot be written.
    pub fn change_record(&self, change: impl FnOnce(&mut Record)) -> anyhow::Result<()> {
        let mut partition = self.state_partition()?;
        let state = store::load(&mut partition);
        let mut record = match &state {
            RecordState::Newest(newest) => newest.record.clone(),
            RecordState::Unreadable { why, .. } => {
                bail!("the boot record cannot be read: {why}")
            }
        };
        change(&mut record);
        store::append(&mut partition, &state, record)
            .map(drop)
            .context("cannot prepare the boot record")
    }

    /// Puts slot b on trial, with so many tries, as an update would.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn put_b_on_trial(&self, tries: u8) -> anyhow::Result<()> {
        self.change_record(|record| {
            account::set_slot(record, Slot::B, Stamp { unix: 0 });
            record.slot_mut(Slot::B).tries_left = tries;
        })
    }

    /// Makes both regions of the record unreadable to everybody: noise, or zeros as on a disk that
    /// was never written.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn lose_record(&self, byte: u8) -> anyhow::Result<()> {
        let partition = self.state_partition()?;
        for offset in REGION_OFFSETS {
            partition
                .file
                .write_all_at(&vec![byte; REGION_SIZE], partition.start + offset)?;
        }
        Ok(())
    }

    fn state_partition(&self) -> anyhow::Result<StatePartition> {
        let start = self.partition(STATE)?.start;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.path())?;
        Ok(StatePartition { file, start })
    }
}
