//! The last boots, and the words that tell of them.
//!
//! A history holds one entry for each way of ending, not for each boot: boots that ended alike, one
//! after the other, are one entry that counts them, so that a hundred power cuts do not push the one
//! panic out that matters. Not here: who adds to it ([`super::judge`], [`super::account`]).

use std::collections::VecDeque;
use std::fmt;

use super::Slot;
use super::fields::{Ended, Stage, is_zero, reserved, slot_byte, slot_of};
use super::record_error::RecordError;
use crate::wire::{Reader, Writer};

/// Past boots a record remembers.
pub const HISTORY_MAX: usize = 32;
/// Longest text of an attempt or a past boot, in bytes of UTF-8.
pub const TEXT_MAX: usize = 72;

/// Bytes of a past boot in the record.
pub(super) const PAST_BOOT_SIZE: usize = 96;

/// A short text for people: one line of at most [`TEXT_MAX`] bytes. A longer one is cut between two
/// characters, control characters become spaces, and spaces at its ends are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text(String);

impl Text {
    /// It.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// There is nothing to say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn encode(&self) -> [u8; TEXT_MAX] {
        let mut out = Writer::<TEXT_MAX>::new();
        out.put(self.0.as_bytes());
        out.finish()
    }

    /// Reads a text that lies at byte `at` of the record.
    pub(super) fn decode(bytes: &[u8; TEXT_MAX], at: usize) -> Result<Self, RecordError> {
        let error = RecordError::Text { offset: at };
        let end = bytes.iter().position(|byte| *byte == 0);
        let (text, rest) = bytes
            .split_at_checked(end.unwrap_or(TEXT_MAX))
            .ok_or(error.clone())?;
        let text = std::str::from_utf8(text).map_err(|_| error.clone())?;
        let read = Self::from(text);
        // What this code would not have written is no text: one meaning, one string of bytes.
        if read.0 != text || !is_zero(rest) {
            return Err(error);
        }
        Ok(read)
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        let line: String = text
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let line = line.trim();
        let cut = line.get(..line.floor_char_boundary(TEXT_MAX));
        Self(cut.unwrap_or_default().trim_end().to_owned())
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One entry of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastBoot {
    /// Which boot, counted from 1 over the life of the record; of several alike the last. 0: not a
    /// boot but a word of an operator.
    pub number: u32,
    /// The slot that ran, or that the operator spoke of.
    pub slot: Slot,
    /// How it ended.
    pub ended: Ended,
    /// How far it is known to have come.
    pub stage: Stage,
    /// How long it ran, in seconds; 0 when nobody could tell.
    pub uptime_seconds: u32,
    /// When it ended, in seconds since 1970 by the clock of the machine; when only the next boot
    /// found out, the time of that. 0 when the clock was not set.
    pub ended_unix: u64,
    /// So many boots in a row ended so; at least 1.
    pub times: u16,
    /// The cause, in words.
    pub text: Text,
}

impl PastBoot {
    fn is_like(&self, other: &Self) -> bool {
        (self.slot, self.ended, self.stage) == (other.slot, other.ended, other.stage)
            && self.text == other.text
    }

    pub(super) fn encode(&self) -> [u8; PAST_BOOT_SIZE] {
        let mut out = Writer::<PAST_BOOT_SIZE>::new();
        out.put(&[
            slot_byte(Some(self.slot)),
            self.ended.byte(),
            self.stage.byte(),
            0,
        ]);
        out.put(&self.number.to_le_bytes());
        out.put(&self.ended_unix.to_le_bytes());
        out.put(&self.uptime_seconds.to_le_bytes());
        out.put(&self.times.to_le_bytes());
        out.skip_to(PAST_BOOT_SIZE - TEXT_MAX);
        out.put(&self.text.encode());
        out.finish()
    }

    /// Reads an entry; none when it is all zeros.
    fn decode(input: &mut Reader<'_>) -> Result<Option<Self>, RecordError> {
        let Some(slot) = slot_of("slot of a past boot", input.u8()?)? else {
            reserved(input, PAST_BOOT_SIZE - 1)?;
            return Ok(None);
        };
        let ended = Ended::of_byte(input.u8()?)?;
        let stage = Stage::of_byte(input.u8()?)?;
        reserved(input, 1)?;
        let number = input.u32()?;
        let ended_unix = input.u64()?;
        let uptime_seconds = input.u32()?;
        let times = input.u16()?;
        if times == 0 {
            return Err(RecordError::Value {
                field: "times of a past boot",
                value: 0,
            });
        }
        reserved(input, 2)?;
        let at = input.offset();
        let text = Text::decode(&input.array()?, at)?;
        Ok(Some(Self {
            number,
            slot,
            ended,
            stage,
            uptime_seconds,
            ended_unix,
            times,
            text,
        }))
    }
}

/// The last boots, newest first, at most [`HISTORY_MAX`] entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History(VecDeque<PastBoot>);

impl History {
    /// Adds the newest boot. If it ended like the one before, that entry counts it; otherwise the
    /// oldest is forgotten when there is no room.
    pub fn push(&mut self, boot: PastBoot) {
        if let Some(newest) = self.0.front_mut()
            && newest.is_like(&boot)
        {
            let times = newest.times.saturating_add(boot.times);
            *newest = PastBoot { times, ..boot };
            return;
        }
        self.0.truncate(HISTORY_MAX - 1);
        self.0.push_front(boot);
    }

    /// Newest first.
    pub fn iter(&self) -> impl Iterator<Item = &PastBoot> {
        self.0.iter()
    }

    /// The newest.
    #[must_use]
    pub fn newest(&self) -> Option<&PastBoot> {
        self.0.front()
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// No boot is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads the [`HISTORY_MAX`] entries of a record.
    pub(super) fn decode(input: &mut Reader<'_>) -> Result<Self, RecordError> {
        let mut boots = VecDeque::new();
        for left in (0..HISTORY_MAX).rev() {
            let offset = input.offset();
            let Some(boot) = PastBoot::decode(input)? else {
                if !is_zero(input.bytes(left * PAST_BOOT_SIZE)?) {
                    return Err(RecordError::HistoryGap { offset });
                }
                break;
            };
            boots.push_back(boot);
        }
        Ok(Self(boots))
    }
}
