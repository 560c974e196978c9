//! The descriptor by which a service says that it is ready (`ready.fd`, s6's notification-fd): it writes
//! a line to a pipe, of which PID 1 reads the other end. Not here: what follows (the core).
//!
//! What stands before the end of the line is not looked at. A pipe is read once a turn, to a bound,
//! and given up when a line is longer than any that means anything.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use kernel::epoll::Readiness;
use kernel::pipe::{self, Read};
use serde::{Deserialize, Serialize};
use services::definition::{Program, Ready};
use services::id::RunId;
use services::supervisor::event::Event;

use super::Init;
use super::kept;
use super::say::Level;
use super::turn;

/// Longest line, in bytes.
const LINE_MAX: usize = 4096;
/// Bytes read at once.
const CHUNK: usize = 512;

/// The end of the pipe that PID 1 reads.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ReadyLine {
    #[serde(with = "kept")]
    read: OwnedFd,
    /// Its number on the side of the service.
    number: i32,
    /// Bytes read so far, none of which ends a line.
    taken: usize,
}

/// A pipe for a run that is about to start.
pub(super) struct Pipe {
    line: ReadyLine,
    write: OwnedFd,
}

impl Pipe {
    /// What the service gets, and at which number it finds it.
    pub(super) fn for_service(&self) -> (BorrowedFd<'_>, i32) {
        (self.write.as_fd(), self.line.number)
    }
}

/// The pipe for a service whose file asks for one.
pub(super) fn open(program: &Program) -> Result<Option<Pipe>, String> {
    let number = match &program.ready {
        Some(Ready::Line(number)) => *number,
        Some(Ready::Probe { .. }) | None => return Ok(None),
    };
    let (read, write) = pipe::pair().map_err(|error| error.to_string())?;
    pipe::set_nonblocking(&read, true).map_err(|error| error.to_string())?;
    let taken = 0;
    let line = ReadyLine {
        read,
        number,
        taken,
    };
    Ok(Some(Pipe { line, write }))
}

/// What a look at the pipe has brought.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// No line yet.
    Nothing,
    /// The end of a line.
    Line,
    /// There will be none, for this reason.
    Never(String),
}

impl ReadyLine {
    fn look(&mut self) -> Found {
        let mut buffer = [0; CHUNK];
        let count = match pipe::read(&self.read, &mut buffer) {
            Ok(Read::Data(count)) => count,
            Ok(Read::Later) => return Found::Nothing,
            Ok(Read::End) => {
                let words = format!("it closed descriptor {} without a line", self.number);
                return Found::Never(words);
            }
            Err(error) => return Found::Never(error.to_string()),
        };
        let bytes = buffer.get(..count).unwrap_or_default();
        self.taken = self.taken.saturating_add(count);
        if bytes.contains(&b'\n') {
            Found::Line
        } else if self.taken > LINE_MAX {
            let number = self.number;
            Found::Never(format!(
                "it wrote to descriptor {number} without end of line"
            ))
        } else {
            Found::Nothing
        }
    }
}

impl Init {
    /// The run has been started: its line is waited for, and only the service can write it.
    pub(super) fn watch_ready_line(&mut self, run: RunId, pipe: Pipe) {
        let token = turn::ready_token(run.service.index);
        let watched = self.poller.add(&pipe.line.read, token, Readiness::READ);
        match (watched, self.table.live(run)) {
            (Ok(()), Some(live)) => live.ready_line = Some(pipe.line),
            // The run is over before it began.
            (Ok(()), None) => {}
            (Err(error), _) => self.say(Level::Warning, &error.to_string()),
        }
    }

    /// Goes on waiting for the lines that a former program of this process waited for.
    pub(super) fn watch_ready_lines(&mut self) {
        for place in self.table.places() {
            let line = place.live.as_ref().and_then(|it| it.ready_line.as_ref());
            let Some(line) = line else {
                continue;
            };
            let token = turn::ready_token(place.service.index);
            if let Err(error) = self.poller.add(&line.read, token, Readiness::READ) {
                self.say.line(self.now, Level::Warning, &error.to_string());
            }
        }
    }

    /// Looks at the pipe of the service in place `index`.
    pub(super) fn take_ready_line(&mut self, index: u32) {
        let Some((run, line)) = self.table.ready_line(index) else {
            return;
        };
        let outcome = match line.look() {
            Found::Nothing => return,
            Found::Line => Ok(()),
            Found::Never(words) => Err(words),
        };
        if let Err(error) = self.poller.remove(&line.read) {
            self.say(Level::Warning, &error.to_string());
        }
        if let Some(live) = self.table.live(run) {
            live.ready_line = None;
        }
        self.tell(Event::ReadyLine { run, outcome });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh() -> (ReadyLine, OwnedFd) {
        let (read, write) = pipe::pair().unwrap();
        pipe::set_nonblocking(&read, true).unwrap();
        let (number, taken) = (3, 0);
        let line = ReadyLine {
            read,
            number,
            taken,
        };
        (line, write)
    }

    fn write(fd: &OwnedFd, bytes: &[u8]) {
        assert_eq!(pipe::write(fd, bytes).unwrap(), Some(bytes.len()));
    }

    #[test]
    fn a_line_is_found_however_it_comes() {
        let (mut line, service) = fresh();
        assert_eq!(line.look(), Found::Nothing);
        write(&service, b"rea");
        assert_eq!(line.look(), Found::Nothing);
        write(&service, b"dy\nand more");
        assert_eq!(line.look(), Found::Line);
        let (mut line, service) = fresh();
        write(&service, b"\n");
        drop(service);
        assert_eq!(line.look(), Found::Line, "it need not stay open");
    }

    #[test]
    fn an_end_without_a_line_is_told() {
        let (mut line, service) = fresh();
        write(&service, b"ready");
        drop(service);
        assert_eq!(line.look(), Found::Nothing);
        let words = "it closed descriptor 3 without a line".to_owned();
        assert_eq!(line.look(), Found::Never(words));
    }

    #[test]
    fn what_never_ends_is_given_up() {
        let (mut line, service) = fresh();
        write(&service, &[b'x'; LINE_MAX]);
        for _ in 0..LINE_MAX / CHUNK {
            assert_eq!(line.look(), Found::Nothing);
        }
        write(&service, b"x");
        let words = "it wrote to descriptor 3 without end of line".to_owned();
        assert_eq!(line.look(), Found::Never(words));
    }
}
