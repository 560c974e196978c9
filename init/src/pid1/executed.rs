//! Whether a program was executed after what is done before it. Its starter leaves one end of a pipe
//! with PID 1 and keeps the other, which execve(2) closes: an end without a word is the program, a word
//! is why there is none. Not here: what follows (the core), and the starter's side (`starter`).
//!
//! Until then the run has not begun, whatever its starter has done: nobody is told that a service is up
//! whose program could not be executed.

use std::os::fd::OwnedFd;

use kernel::epoll::Readiness;
use kernel::pipe::{self, Read};
use serde::{Deserialize, Serialize};
use services::id::RunId;
use services::notify::{self, Begun, Message};

use super::Init;
use super::kept;
use super::say::Level;
use super::turn;

/// More than the longest word of a starter.
const WORD_MAX: usize = 2 * notify::DATAGRAM_MAX;

/// PID 1's end of the pipe.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Executing {
    #[serde(with = "kept")]
    read: OwnedFd,
}

impl Executing {
    /// Takes the end of a pipe that came with a starter's word. `None`: this is none, and a read of it
    /// might wait.
    fn new(fd: OwnedFd) -> Option<Self> {
        let is_pipe = pipe::is_pipe(&fd) && pipe::set_nonblocking(&fd, true).is_ok();
        is_pipe.then_some(Self { read: fd })
    }

    /// What has become of the program; `None`: that is not known yet.
    fn look(&self) -> Option<Begun> {
        let mut buffer = [0; WORD_MAX];
        match pipe::read(&self.read, &mut buffer) {
            Ok(Read::Later) => None,
            Ok(Read::End) => Some(Begun::Ready),
            Ok(Read::Data(count)) => {
                // A starter writes all of its word at once.
                let told = notify::parse(buffer.get(..count).unwrap_or_default());
                Some(match told.messages.into_iter().next() {
                    Some(Message::Begin(failed @ Begun::Failed(_))) => failed,
                    Some(_) | None => Begun::Failed("the program was not executed".to_owned()),
                })
            }
            Err(error) => Some(Begun::Failed(error.to_string())),
        }
    }
}

impl Init {
    /// The starter of a run is about to execute the program, and has left its pipe. `false`: it has
    /// not, and its word is all there is.
    pub(super) fn await_execution(&mut self, run: RunId, fds: &mut Vec<OwnedFd>) -> bool {
        let Some(executing) = fds.pop().and_then(Executing::new) else {
            return false;
        };
        let token = turn::ready_token(run.service.index);
        if let Err(error) = self.poller.add(&executing.read, token, Readiness::READ) {
            self.say(Level::Warning, &error.to_string());
            return false;
        }
        if let Some(live) = self.table.live(run) {
            live.executing = Some(executing);
        }
        true
    }

    /// Goes on waiting for the programs that a former program of this process waited for.
    pub(super) fn watch_executions(&mut self) {
        for place in self.table.places() {
            let executing = place.live.as_ref().and_then(|it| it.executing.as_ref());
            let Some(executing) = executing else {
                continue;
            };
            let token = turn::ready_token(place.service.index);
            if let Err(error) = self.poller.add(&executing.read, token, Readiness::READ) {
                self.say.line(self.now, Level::Warning, &error.to_string());
            }
        }
    }

    /// Looks whether the program of the service in place `index` has been executed.
    pub(super) fn take_execution(&mut self, index: u32) {
        let Some((run, executing)) = self.table.executing(index) else {
            return;
        };
        let Some(begun) = executing.look() else {
            return;
        };
        if let Err(error) = self.poller.remove(&executing.read) {
            self.say(Level::Warning, &error.to_string());
        }
        if let Some(live) = self.table.live(run) {
            live.executing = None;
        }
        self.notified(run, Message::Begin(begun), true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh() -> (Executing, OwnedFd) {
        let (read, write) = pipe::pair().unwrap();
        (Executing::new(read).unwrap(), write)
    }

    #[test]
    fn an_end_without_a_word_is_the_program() {
        let (executing, starter) = fresh();
        assert_eq!(executing.look(), None);
        drop(starter);
        assert_eq!(executing.look(), Some(Begun::Ready));
    }

    #[test]
    fn a_word_is_why_there_is_none() {
        let told = |bytes: &[u8]| {
            let (executing, starter) = fresh();
            assert_eq!(pipe::write(&starter, bytes).unwrap(), Some(bytes.len()));
            drop(starter);
            executing.look()
        };
        let failed = Begun::Failed("execve /x: EACCES".to_owned());
        assert_eq!(told(notify::encode_begun(&failed).as_bytes()), Some(failed));
        let unknown = Begun::Failed("the program was not executed".to_owned());
        assert_eq!(told(b"READY=1"), Some(unknown));
    }

    #[test]
    fn what_is_no_pipe_is_not_taken() {
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        assert!(Executing::new(file.into()).is_none());
        let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(Executing::new(socket.into()).is_none());
    }
}
