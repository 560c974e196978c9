//! An errand as PID 1 sees it: a child that is started with a deadline, does one thing that may wait
//! for a disk, leaves its answer in a memfd and ends. Not here: what the child finds and does
//! (`errand`, `record`, `budget`, `scrub`), and what follows from its answer (`recorder`, `gate`).

use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};
use services::supervisor::event::ExitStatus;
use services::time::{Duration, Time};

use super::Init;
use super::kept;
use super::plan;
use super::say::Level;
use super::table::Owner;
use crate::errand::SIZE_MAX;

/// What is wanted.
pub(super) struct Order<'a> {
    /// Whose child it is, for the reaper.
    pub(super) owner: Owner,
    /// The part of the program, and its arguments.
    pub(super) words: &'a [&'a str],
    /// What is too much for an argument.
    pub(super) input: Option<&'a [u8]>,
    /// How long it may take; `None`: as long as it likes.
    pub(super) patience: Option<Duration>,
    /// It has time: everybody else goes first.
    pub(super) background: bool,
}

/// An errand under way.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Errand {
    pid: u32,
    #[serde(with = "kept")]
    pidfd: OwnedFd,
    #[serde(with = "kept")]
    answer: OwnedFd,
    begun: Time,
    deadline: Option<Time>,
}

impl Errand {
    /// When it is given up.
    #[must_use]
    pub(super) fn deadline(&self) -> Option<Time> {
        self.deadline
    }

    /// Its answer, once it has ended.
    ///
    /// # Errors
    /// What it says has failed, or how it ended when it says nothing.
    pub(super) fn answer(&self, status: ExitStatus) -> Result<Vec<u8>, String> {
        read_answer(&self.answer, status)
    }
}

/// Reads the answer of an errand that has ended with `status`.
///
/// # Errors
/// As [`Errand::answer`].
pub(crate) fn read_answer(answer: &OwnedFd, status: ExitStatus) -> Result<Vec<u8>, String> {
    // Sealed, it cannot change while it is being read; one that is not was never given.
    let bytes = kernel::memfd::read_sealed(answer, SIZE_MAX);
    match (status, bytes) {
        (ExitStatus::Code(0), Ok(bytes)) => Ok(bytes),
        (ExitStatus::Code(0), Err(error)) => Err(format!("its answer cannot be read: {error}")),
        (ExitStatus::Code(_), Ok(words)) => Err(String::from_utf8_lossy(&words).into_owned()),
        (ExitStatus::Code(code), Err(_)) => Err(format!("the child ended with status {code}")),
        (ExitStatus::Signal { number, .. }, _) => {
            Err(format!("the child was killed by signal {number}"))
        }
    }
}

impl Init {
    /// Sends a child on an errand.
    pub(super) fn send(&mut self, order: &Order<'_>) -> Result<Errand, String> {
        let output = self.say.own_descriptor();
        let (child, answer) = plan::start_errand(&mut self.spawner, order, &self.paths, output)?;
        self.table.own(child.pid, order.owner);
        Ok(Errand {
            pid: child.pid,
            pidfd: child.pidfd,
            answer,
            begun: self.now,
            deadline: order.patience.map(|patience| self.now + patience),
        })
    }

    /// Gives an errand up: it is killed and disowned, not waited for, since what it waits for (a dead
    /// disk) may keep even the kill from it. How long it had, for people.
    pub(super) fn give_up(&mut self, errand: &Errand) -> String {
        if let Err(error) = kernel::pidfd::send_signal(&errand.pidfd, kernel::signals::Signal::KILL)
        {
            self.say(Level::Error, &error.to_string());
        }
        self.table.disown(errand.pid);
        let took = self.now.since(errand.begun).as_secs();
        format!("no answer within {took} s; does the disk still work?")
    }
}

#[cfg(test)]
impl Errand {
    /// One that is nobody's.
    pub(super) fn for_test() -> Self {
        let nothing = || kernel::memfd::create("nothing").unwrap();
        Self {
            pid: 0,
            pidfd: nothing(),
            answer: nothing(),
            begun: Time::default(),
            deadline: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_believed_only_when_the_child_ended_well() {
        let sealed = |text: &str| kernel::memfd::sealed("answer", text.as_bytes()).unwrap();
        let read = |fd: &OwnedFd, status| read_answer(fd, status);
        assert_eq!(read(&sealed("x"), ExitStatus::Code(0)), Ok(b"x".to_vec()));
        let said = read(&sealed("no disk"), ExitStatus::Code(1)).unwrap_err();
        assert_eq!(said, "no disk");
        let killed = ExitStatus::Signal {
            number: 9,
            core_dumped: false,
        };
        let said = read(&sealed("x"), killed).unwrap_err();
        assert_eq!(said, "the child was killed by signal 9");
        let silent = kernel::memfd::create("answer").unwrap();
        assert!(read(&silent, ExitStatus::Code(0)).is_err());
        let said = read(&silent, ExitStatus::Code(3)).unwrap_err();
        assert_eq!(said, "the child ended with status 3");
    }
}
