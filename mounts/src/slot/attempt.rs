//! The attempt: the boot that is under way, or was when the machine last ran.
//!
//! A record has at most one. It is written before anything risky is done, and what is known of it
//! when the machine starts again decides what its slot is charged. Not here: that decision
//! ([`super::judge`]), and who may change an attempt ([`super::account`]).

use super::Slot;
use super::fields::{Ended, Stage, reserved, slot_byte, slot_of};
use super::history::{TEXT_MAX, Text};
use super::record_error::RecordError;
use crate::wire::{Reader, Writer};

/// Bytes of an attempt in the record.
pub(super) const ATTEMPT_SIZE: usize = 128;

/// How an attempt stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptState {
    /// Nothing is known yet.
    Open,
    /// It passed its gate.
    Committed,
    /// It failed, and whoever found out said how.
    Failed(Ended),
    /// It ended in order.
    Ended(Ended),
}

/// The boot that is, or was last, under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The slot that was tried.
    pub slot: Slot,
    /// Which boot, counted from 1 over the life of the record.
    pub number: u32,
    /// The kernel's boot id: who says "this boot" must name it.
    pub boot_id: [u8; 16],
    /// How it stands.
    pub state: AttemptState,
    /// How far it is known to have come.
    pub stage: Stage,
    /// When stage1 charged it, in seconds since 1970; 0 when the clock was not set.
    pub started_unix: u64,
    /// How long it ran, in seconds, as far as it was noted.
    pub uptime_seconds: u32,
    /// Words of whoever committed or failed it.
    pub text: Text,
}

impl Attempt {
    /// The bytes; zeros for none.
    pub(super) fn encode(attempt: Option<&Self>) -> [u8; ATTEMPT_SIZE] {
        let mut out = Writer::<ATTEMPT_SIZE>::new();
        let Some(attempt) = attempt else {
            return out.finish();
        };
        let (state, ended) = match attempt.state {
            AttemptState::Open => (0, 0),
            AttemptState::Committed => (1, 0),
            AttemptState::Failed(ended) => (2, ended.byte()),
            AttemptState::Ended(ended) => (3, ended.byte()),
        };
        out.put(&[
            slot_byte(Some(attempt.slot)),
            state,
            ended,
            attempt.stage.byte(),
        ]);
        out.put(&attempt.number.to_le_bytes());
        out.put(&attempt.started_unix.to_le_bytes());
        out.put(&attempt.boot_id);
        out.put(&attempt.uptime_seconds.to_le_bytes());
        out.put(&attempt.text.encode());
        out.finish()
    }

    pub(super) fn decode(input: &mut Reader<'_>) -> Result<Option<Self>, RecordError> {
        const AFTER: usize = ATTEMPT_SIZE - 36 - TEXT_MAX;
        let Some(slot) = slot_of("slot of the attempt", input.u8()?)? else {
            reserved(input, ATTEMPT_SIZE - 1)?;
            return Ok(None);
        };
        let state = input.u8()?;
        let ended_at = input.offset();
        let ended = input.u8()?;
        let state = match (state, ended) {
            (0, 0) => AttemptState::Open,
            (1, 0) => AttemptState::Committed,
            (0 | 1, _) => return Err(RecordError::Reserved { offset: ended_at }),
            (2, ended) => AttemptState::Failed(Ended::of_byte(ended)?),
            (3, ended) => AttemptState::Ended(Ended::of_byte(ended)?),
            (value, _) => {
                return Err(RecordError::Value {
                    field: "state of the attempt",
                    value,
                });
            }
        };
        let stage = Stage::of_byte(input.u8()?)?;
        let number = input.u32()?;
        let started_unix = input.u64()?;
        let boot_id = input.array()?;
        let uptime_seconds = input.u32()?;
        let at = input.offset();
        let text = Text::decode(&input.array()?, at)?;
        reserved(input, AFTER)?;
        Ok(Some(Self {
            slot,
            number,
            boot_id,
            state,
            stage,
            started_unix,
            uptime_seconds,
            text,
        }))
    }
}
