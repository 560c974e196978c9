//! What PID 1 and its logger say to each other, and over what. Not here: the sending and receiving of
//! descriptors (`kernel`), and what the logger does with them (`super`).
//!
//! PID 1 makes a pair of connected `SOCK_SEQPACKET` sockets and leaves one end to the logger as
//! descriptor [`CONTROL_FD`]. Each datagram is one [`Message`]; [`Message::Take`] carries exactly one
//! descriptor (`SCM_RIGHTS`), the read end of a pipe. The logger answers once, by [`Takes`], when it has
//! taken what was there and what was in it: until then PID 1 holds it for one that may never. PID 1 keeps both ends
//! of every pipe, so that nothing is lost while no logger runs; to a new logger it sends every pipe
//! again. When PID 1 closes its end of the socket, the logger empties the pipes and exits.
//!
//! The bytes: the name of the service in ASCII; where it has a limit of its own, a blank, how many of its
//! lines are kept, a blank, and within how many nanoseconds, each a decimal number, or `-` where the
//! settings of logs say it. A name starts with a letter or a digit, so any other first byte is free for
//! kinds of messages to come. [`Message::Lost`] is a `!`, a name, a blank, and a number; [`Message::Renew`]
//! is a `=`.

use std::fmt;
use std::str::FromStr;

use services::id::{InvalidName, NAME_MAX, ServiceName};
use services::log::limit::OwnLimit;
use services::time::Duration;

/// Descriptor under which the logger finds its end of the socket.
pub const CONTROL_FD: i32 = 3;

/// Descriptor under which it finds the socket of syslog(3), if there is one. PID 1 keeps it too, so that
/// messages wait while no logger runs.
pub const SYSLOG_FD: i32 = 4;

/// What the logger says when it goes on: that it takes what comes, and the number of the settings that it
/// keeps logs by. A word, a blank and a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Takes(pub u64);

/// Longest [`Takes`], in bytes.
pub const TAKES_MAX: usize = TAKES.len() + NUMBER_MAX;
const TAKES: &str = "takes ";

impl Takes {
    /// The bytes of it; at most [`TAKES_MAX`].
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        format!("{TAKES}{}", self.0).into_bytes()
    }

    /// Reads it.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        text.strip_prefix(TAKES)?.parse().ok().map(Self)
    }
}

/// Longest message, in bytes. A receiver takes one byte more, to notice a longer one.
pub const MESSAGE_MAX: usize = NAME_MAX + 2 * (1 + NUMBER_MAX);
/// Digits of the longest number.
const NUMBER_MAX: usize = 20;

const RENEW: &str = "=";

/// One message from PID 1 to the logger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Write down what comes out of the pipe that is attached, as the log of this service. It takes
    /// the place of a pipe taken earlier for the same service. Of the same pipe once more, only the limit
    /// counts.
    Take(ServiceName, OwnLimit),
    /// So many bytes of this service were lost, since no logger took them.
    Lost(ServiceName, u64),
    /// Another one is to take over, with other settings: it leaves what it has, and ends.
    Renew,
}

/// Why a datagram is not a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MalformedMessage {
    /// It has more than [`MESSAGE_MAX`] bytes.
    TooLong,
    /// The name is not UTF-8.
    Encoding,
    /// The name is not the name of a service.
    Name(InvalidName),
    /// The limit is none.
    Limit,
    /// What is lost is no number.
    Lost,
}

impl fmt::Display for MalformedMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => {
                write!(
                    f,
                    "a message to the logger is longer than {MESSAGE_MAX} bytes"
                )
            }
            Self::Encoding => write!(f, "a message to the logger names a service not in UTF-8"),
            Self::Lost => write!(f, "a message to the logger has no number of what is lost"),
            Self::Limit => write!(f, "a message to the logger has no limit of lines"),
            Self::Name(cause) => write!(f, "a message to the logger names no service: {cause}"),
        }
    }
}

impl std::error::Error for MalformedMessage {}

impl Message {
    /// The bytes of the message; at most [`MESSAGE_MAX`].
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Take(name, limit) if *limit == OwnLimit::default() => {
                name.as_str().as_bytes().to_vec()
            }
            Self::Renew => RENEW.as_bytes().to_vec(),
            Self::Lost(name, bytes) => format!("!{name} {bytes}").into_bytes(),
            Self::Take(name, limit) => {
                let word = |number: Option<u64>| number.map_or("-".to_owned(), |it| it.to_string());
                let within = limit.burst_within.map(nanoseconds);
                let burst = word(limit.burst.map(u64::from));
                format!("{name} {burst} {}", word(within)).into_bytes()
            }
        }
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`MalformedMessage`] says what is wrong with the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, MalformedMessage> {
        if bytes.len() > MESSAGE_MAX {
            return Err(MalformedMessage::TooLong);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| MalformedMessage::Encoding)?;
        if text == RENEW {
            return Ok(Self::Renew);
        }
        if let Some(text) = text.strip_prefix('!') {
            let (name, bytes) = text.split_once(' ').ok_or(MalformedMessage::Lost)?;
            let name = ServiceName::new(name).map_err(MalformedMessage::Name)?;
            let bytes = bytes.parse().map_err(|_| MalformedMessage::Lost)?;
            return Ok(Self::Lost(name, bytes));
        }
        let (name, limit) = text.split_once(' ').unwrap_or((text, "- -"));
        let name = ServiceName::new(name).map_err(MalformedMessage::Name)?;
        let (burst, within) = limit.split_once(' ').ok_or(MalformedMessage::Limit)?;
        let limit = OwnLimit {
            burst: number(burst)?,
            burst_within: number(within)?.map(Duration::from_nanos),
        };
        Ok(Self::Take(name, limit))
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A number, or none.
fn number<T: FromStr>(text: &str) -> Result<Option<T>, MalformedMessage> {
    match text {
        "-" => Ok(None),
        text => text.parse().map(Some).map_err(|_| MalformedMessage::Limit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_survives_the_way() {
        for name in ["a", "sshd", "getty@ttyS0", &"n".repeat(NAME_MAX)] {
            let most = OwnLimit {
                burst: Some(u32::MAX),
                burst_within: Some(Duration::from_nanos(u64::MAX)),
            };
            let name = ServiceName::new(name).unwrap();
            let limits = [OwnLimit::default(), OwnLimit::NONE, most];
            let takes = limits.map(|limit| Message::Take(name.clone(), limit));
            for message in takes
                .into_iter()
                .chain([Message::Lost(name, u64::MAX), Message::Renew])
            {
                let bytes = message.encode();
                assert!(bytes.len() <= MESSAGE_MAX);
                assert_eq!(Message::decode(&bytes), Ok(message));
            }
        }
    }

    #[test]
    fn what_the_logger_says_survives_the_way() {
        for number in [0, 7, u64::MAX] {
            let bytes = Takes(number).encode();
            assert!(bytes.len() <= TAKES_MAX);
            assert_eq!(Takes::decode(&bytes), Some(Takes(number)));
        }
        for other in ["", "takes", "takes ", "takes x", "leaves 7"] {
            assert_eq!(Takes::decode(other.as_bytes()), None);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let check = |bytes: &[u8], expect: MalformedMessage| {
            assert_eq!(Message::decode(bytes), Err(expect));
        };
        check(b"", MalformedMessage::Name(InvalidName::Empty));
        check(b"../x", MalformedMessage::Name(InvalidName::Start('.')));
        check(b"a/b", MalformedMessage::Name(InvalidName::Character('/')));
        check(b"a\0", MalformedMessage::Name(InvalidName::Character('\0')));
        check(b"a\xff", MalformedMessage::Encoding);
        for no_limit in ["a ", "a -", "a - x", "a -1 -", "a 4294967296 -", "a - - "] {
            check(no_limit.as_bytes(), MalformedMessage::Limit);
        }
        check(&[b'a'; MESSAGE_MAX + 1], MalformedMessage::TooLong);
        check(b"!a", MalformedMessage::Lost);
        check(b"!a -1", MalformedMessage::Lost);
        check(b"!-a 1", MalformedMessage::Name(InvalidName::Start('-')));
    }
}
