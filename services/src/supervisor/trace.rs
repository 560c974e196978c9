//! What was told to a supervisor and what it asked for, as text, and the same again from the text: a
//! life of PID 1 that was recorded can be replayed anywhere. Not here: who records (the shell), and
//! where the text is kept.
//!
//! One line each, in the order in which it happened; times are nanoseconds of CLOCK_BOOTTIME:
//!
//! ```text
//! shark-trace 1
//! graph 5348...               the supervisor is new, and has this graph; or
//! state 5348...               it was in the middle of its life, and frozen like this
//! 1000000 > {"Boot":...}      an event, in JSON
//! 1000000 < {"Spawn":...}     an action that followed from it, in JSON
//! ```
//!
//! Bytes are hexadecimal. The line of a graph or a state may be followed by more of its kind: they are one.

use std::collections::VecDeque;
use std::fmt;
use std::fmt::Write as _;

use serde::{Deserialize, Deserializer, Serializer, de};

use super::Supervisor;
use super::compiled::Compiled;
use super::event::{Action, Event};
use crate::time::Time;

/// The first line.
const FIRST: &str = "shark-trace 1";
/// So many bytes of a graph or a state are on a line.
const BYTES_A_LINE: usize = 4096;

/// What the supervisor is at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// New, with this graph ([`Compiled::to_bytes`]).
    Graph(Vec<u8>),
    /// In the middle of its life ([`Supervisor::snapshot`]).
    State(Vec<u8>),
}

impl Start {
    const fn parts(&self) -> (&'static str, &Vec<u8>) {
        match self {
            Self::Graph(bytes) => ("graph", bytes),
            Self::State(bytes) => ("state", bytes),
        }
    }
}

/// The beginning of a trace.
#[must_use]
pub fn beginning(start: &Start) -> String {
    let mut text = format!("{FIRST}\n");
    let (word, bytes) = start.parts();
    for piece in bytes.chunks(BYTES_A_LINE) {
        text.push_str(word);
        text.push(' ');
        push_hex(&mut text, piece);
        text.push('\n');
    }
    text
}

/// The line of an event that is told at `at`.
#[must_use]
pub fn event_line(at: Time, event: &Event) -> String {
    line(at, '>', serde_json::to_string(event))
}

/// The line of an action that followed from it.
#[must_use]
pub fn action_line(at: Time, action: &Action) -> String {
    line(at, '<', serde_json::to_string(action))
}

fn line(at: Time, mark: char, json: serde_json::Result<String>) -> String {
    // Nothing of it can fail to be written: there are no maps with keys that are not strings.
    let json = json.unwrap_or_default();
    format!("{} {mark} {json}\n", at.as_nanos())
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let _never = write!(text, "{byte:02x}");
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let pairs = digits.chunks(2).map(|pair| {
        let pair = core::str::from_utf8(pair).ok()?;
        u8::from_str_radix(pair, 16).ok()
    });
    let even = digits.len().is_multiple_of(2);
    let plain = digits.iter().all(u8::is_ascii_hexdigit);
    (even && plain).then(|| pairs.collect())?
}

/// A graph in an event: its bytes.
pub(super) mod graph_text {
    use super::{Compiled, Deserialize, Deserializer, Serializer, de, from_hex, push_hex};

    #[allow(clippy::borrowed_box, reason = "the signature that serde asks for")]
    pub(in super::super) fn serialize<S: Serializer>(
        graph: &Box<Compiled>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let bytes = graph.to_bytes();
        let mut text = String::with_capacity(2 * bytes.len());
        push_hex(&mut text, bytes);
        serializer.serialize_str(&text)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Box<Compiled>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = from_hex(&text).ok_or_else(|| de::Error::custom("not hexadecimal"))?;
        let graph = Compiled::from_bytes(bytes).map_err(de::Error::custom)?;
        Ok(Box::new(graph))
    }
}

/// Why a trace cannot be replayed, or was not the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplayError {
    /// This line, counted from 1, is not of a trace, for this reason.
    Line(usize, String),
    /// At this line, what the supervisor asks for is not what it asked for when it was recorded.
    Differs {
        /// Counted from 1.
        line: usize,
        /// As recorded; `None`: nothing.
        recorded: Option<String>,
        /// As it is now; `None`: nothing.
        replayed: Option<String>,
    },
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let none = || "nothing".to_owned();
        match self {
            Self::Line(line, why) => write!(f, "line {line}: {why}"),
            Self::Differs {
                line,
                recorded,
                replayed,
            } => {
                let recorded = recorded.clone().unwrap_or_else(none);
                let replayed = replayed.clone().unwrap_or_else(none);
                let (recorded, replayed) = (recorded.trim_end(), replayed.trim_end());
                write!(f, "line {line}: recorded {recorded}, replayed {replayed}")
            }
        }
    }
}

impl std::error::Error for ReplayError {}

/// A trace that is being replayed, line by line.
#[derive(Debug, Default)]
pub struct Replay {
    line: usize,
    start: Vec<u8>,
    /// Those bytes are a frozen supervisor.
    frozen: bool,
    supervisor: Option<Supervisor>,
    now: Time,
    /// What the latest event led to, and has not been compared yet.
    actions: VecDeque<Action>,
    events: u64,
}

impl Replay {
    /// Takes the next line, without its end.
    ///
    /// # Errors
    /// [`ReplayError`]; then the rest of the trace means nothing.
    pub fn line(&mut self, text: &str) -> Result<(), ReplayError> {
        self.line += 1;
        if self.line == 1 {
            let right = text == FIRST;
            return right.then_some(()).ok_or_else(|| {
                self.wrong(&format!("it does not begin with `{FIRST}`: not a trace"))
            });
        }
        if text == FIRST {
            // Another program took init's place meanwhile, and was asked to go on.
            let (line, events) = (self.line, self.events);
            *self = Self {
                line,
                events,
                ..Self::default()
            };
            return Ok(());
        }
        let graph = text.strip_prefix("graph ").map(|hex| (hex, false));
        let state = text.strip_prefix("state ").map(|hex| (hex, true));
        if let Some((hex, frozen)) = graph.or(state) {
            let bytes = from_hex(hex).ok_or_else(|| self.wrong("not hexadecimal"))?;
            self.start.extend_from_slice(&bytes);
            self.frozen = frozen;
            return Ok(());
        }
        let mut words = text.splitn(3, ' ');
        let at = words.next().and_then(|word| word.parse().ok());
        let (Some(at), Some(mark), Some(json)) = (at, words.next(), words.next()) else {
            return Err(self.wrong("it is neither an event nor an action"));
        };
        let bad = |error: serde_json::Error| error.to_string();
        match mark {
            ">" => {
                let event = serde_json::from_str(json).map_err(|e| self.wrong(&bad(e)))?;
                self.event(Time::from_nanos(at), event)
            }
            "<" => {
                let action = serde_json::from_str(json).map_err(|e| self.wrong(&bad(e)))?;
                self.action(&action)
            }
            _ => Err(self.wrong("after the time there is `>` or `<`")),
        }
    }

    /// How many events have been told.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// Whether all actions of the latest event have been compared: otherwise the trace was cut.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.actions.is_empty()
    }

    /// What is being replayed; `None` before the first event.
    #[must_use]
    pub const fn supervisor(&self) -> Option<&Supervisor> {
        self.supervisor.as_ref()
    }

    fn wrong(&self, why: &str) -> ReplayError {
        ReplayError::Line(self.line, why.to_owned())
    }

    fn event(&mut self, at: Time, event: Event) -> Result<(), ReplayError> {
        if let Some(action) = self.actions.pop_front() {
            return Err(ReplayError::Differs {
                line: self.line,
                recorded: None,
                replayed: Some(action_line(self.now, &action)),
            });
        }
        let mut supervisor = match self.supervisor.take() {
            Some(supervisor) => supervisor,
            None => self.begin()?,
        };
        self.now = at;
        self.events += 1;
        supervisor.handle_event(event, at);
        while let Some(action) = supervisor.poll_action() {
            self.actions.push_back(action);
        }
        self.supervisor = Some(supervisor);
        Ok(())
    }

    fn begin(&mut self) -> Result<Supervisor, ReplayError> {
        let bytes = core::mem::take(&mut self.start);
        if self.frozen {
            let thawed = Supervisor::thaw(&bytes);
            let mut supervisor = thawed.map_err(|error| self.wrong(&error.to_string()))?;
            // What it had asked for before, was asked for before.
            while supervisor.poll_action().is_some() {}
            return Ok(supervisor);
        }
        let graph = Compiled::from_bytes(bytes).map_err(|error| self.wrong(&error.to_string()))?;
        Ok(Supervisor::new(graph))
    }

    fn action(&mut self, recorded: &Action) -> Result<(), ReplayError> {
        let replayed = self.actions.pop_front();
        if replayed.as_ref() == Some(recorded) {
            return Ok(());
        }
        Err(ReplayError::Differs {
            line: self.line,
            recorded: Some(action_line(self.now, recorded)),
            replayed: replayed.map(|action| action_line(self.now, &action)),
        })
    }
}
