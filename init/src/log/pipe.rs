//! One pipe of a service as the logger sees it: what is in it is written, or dropped where there are too many
//! lines, and then taken out. Not here: whose turn it is (`service`), what a line is (`lines`), and how many
//! are too many (`services::log::limit`).

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;

use kernel::error::Error;
use kernel::pipe::{self, Peek, Read};
use services::id::ServiceName;
use services::log::limit::{Limit, Meter};
use services::time::Time;

use super::lines::{Mark, Splitter, Unfinished, write_line, write_note};
use super::memory::Memory;
use super::stamp::Stamp;

/// One pipe of a service. Two may belong to one service, while processes with the older one live;
/// both then append to the same file.
pub(super) struct Pipe {
    pub(super) name: ServiceName,
    pub(super) reader: File,
    identity: (u64, u64),
    lines: Splitter,
    gate: Gate,
    /// It is among those that are ready.
    pub(super) waits: bool,
    /// Nobody can write to it any more.
    pub(super) closed: bool,
}

/// Lets as many lines through as may be kept.
struct Gate {
    meter: Meter,
    /// The last line was dropped, and so is what there is more of it.
    shut: bool,
    /// Dropped lines that were told in the log, and are not counted elsewhere yet.
    told: u64,
}

impl Gate {
    /// Whether a line is kept.
    fn lets_through(&mut self, mark: Mark, now: Time) -> bool {
        if self.shut && mark == Mark::Continuation {
            self.meter.lose();
            return false;
        }
        let kept = self.meter.take(now);
        self.shut = !kept;
        kept
    }

    /// Writes how many were dropped.
    fn tell(&mut self, now: Stamp, out: &mut Vec<u8>) {
        if let Some((count, words)) = self.meter.owed() {
            write_note(out, now, &words);
            self.told = self.told.saturating_add(count);
        }
    }
}

/// What a turn of a pipe has come to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Something was written, and there may be more.
    Again,
    /// There is nothing more to write until more comes.
    Rest,
    /// Nothing will come any more.
    Over,
}

impl Pipe {
    /// The pipe that is read by `reader`.
    pub(super) fn new(name: &ServiceName, reader: OwnedFd, limit: Limit) -> io::Result<Self> {
        let reader = File::from(reader);
        let metadata = reader.metadata()?;
        Ok(Self {
            name: name.clone(),
            reader,
            identity: (metadata.dev(), metadata.ino()),
            lines: Splitter::default(),
            gate: Gate {
                meter: Meter::new(limit),
                shut: false,
                told: 0,
            },
            waits: false,
            closed: false,
        })
    }

    /// Whether both are the same pipe.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.identity == other.identity
    }

    /// Another limit counts from now on.
    pub(super) fn limit(&mut self, limit: Limit) {
        self.gate.meter.set(limit);
    }

    /// Whether lines were dropped and have not been told yet.
    pub(super) fn owes(&self) -> bool {
        self.gate.meter.owes()
    }

    /// Tells in the log how many lines were dropped.
    pub(super) fn tell_dropped(&mut self, memory: &mut Memory) {
        let (mut out, now) = (Vec::new(), Stamp::now());
        self.gate.tell(now, &mut out);
        memory.append(&self.name, &out, now);
    }

    /// How many dropped lines were told since this was asked last.
    pub(super) fn take_told(&mut self) -> u64 {
        std::mem::take(&mut self.gate.told)
    }

    /// Writes what is in the pipe, and then takes it out.
    pub(super) fn turn(
        &mut self,
        peek: &Peek,
        memory: &mut Memory,
        buffer: &mut [u8],
        unfinished: Unfinished,
    ) -> Result<Turn, Error> {
        let count = match peek.look(&self.reader, buffer)? {
            Read::Data(count) => count,
            Read::Later => return Ok(Turn::Rest),
            Read::End => return Ok(Turn::Over),
        };
        let bytes = buffer.get(..count).unwrap_or_default();
        let now = Stamp::now();
        let stamp = now.to_string();
        let at = Time::from_nanos(kernel::clock::boottime());
        let mut out = Vec::new();
        let mut write = |mark, text: &[u8]| {
            if self.gate.lets_through(mark, at) {
                self.gate.tell(now, &mut out);
                write_line(&mut out, &stamp, mark, text);
            }
        };
        let mut used = self.lines.feed(bytes, Unfinished::Wait, &mut write);
        if used == 0 {
            let unfinished = match unfinished {
                _ if self.closed => Unfinished::End,
                // Its end cannot come: there is no room for it.
                Unfinished::Wait if peek.is_full(&self.reader)? => Unfinished::Cut,
                other => other,
            };
            used = self.lines.feed(bytes, unfinished, &mut write);
        }
        if used == 0 {
            return Ok(Turn::Rest);
        }
        memory.append(&self.name, &out, now);
        pipe::discard(&self.reader, used, buffer)?;
        Ok(Turn::Again)
    }
}
