//! What is printed, where, and in which colour. Not here: what there is to print (the verbs).

use std::io::{self, IsTerminal, Write};

use serde::Serialize;
use services::status::StateName;

use crate::failure::Failure;

/// Standard output and standard error, and how much to say on them.
pub(crate) struct Screen<'a> {
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    /// Whether `out` shows colours.
    colour: bool,
    /// Whether data is printed as JSON.
    pub(crate) json: bool,
    /// Whether nothing is said but data and errors.
    pub(crate) quiet: bool,
}

impl<'a> Screen<'a> {
    /// A screen over two streams; `colour` is for `out`.
    pub(crate) fn new(out: &'a mut dyn Write, err: &'a mut dyn Write, colour: bool) -> Self {
        Self {
            out,
            err,
            colour,
            json: false,
            quiet: false,
        }
    }

    /// Prints data.
    pub(crate) fn print(&mut self, text: impl AsRef<[u8]>) -> Result<(), Failure> {
        self.out
            .write_all(text.as_ref())
            .and_then(|()| self.out.flush())
            .map_err(|error| Failure::of_output(&error))
    }

    /// Prints data as JSON, indented.
    pub(crate) fn print_json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let mut text = serde_json::to_string_pretty(value)
            .map_err(|error| Failure::Failed(format!("write JSON: {error}")))?;
        text.push('\n');
        self.print(text)
    }

    /// Prints what was done, unless asked to be quiet.
    pub(crate) fn say_done(&mut self, text: &str) -> Result<(), Failure> {
        if self.quiet { Ok(()) } else { self.print(text) }
    }

    /// Says something to the person at the terminal, unless asked to be quiet.
    pub(crate) fn say(&mut self, text: &str) {
        if !self.quiet {
            self.complain(text);
        }
    }

    /// Tells of an error.
    pub(crate) fn complain(&mut self, text: &str) {
        // Where standard error is gone, nobody is there to be told.
        let _ = writeln!(self.err, "sharkctl: {text}");
    }

    /// Tells of an error in one line that begins with its place, as compilers do.
    pub(crate) fn complain_bare(&mut self, line: &str) {
        let _ = writeln!(self.err, "{line}");
    }

    /// Colours for `out`.
    pub(crate) const fn paint(&self) -> Paint {
        Paint(self.colour)
    }
}

/// Whether to colour standard output: it is a terminal, and `NO_COLOR` is not set to anything
/// (<https://no-color.org>), and the terminal is not a dumb one.
pub(crate) fn colour_wanted() -> bool {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    io::stdout().is_terminal()
        && set("NO_COLOR").is_none()
        && set("TERM").is_some_and(|term| term != "dumb")
}

/// Colours text, or leaves it as it is.
#[derive(Clone, Copy)]
pub(crate) struct Paint(pub(crate) bool);

impl Paint {
    /// A heading.
    pub(crate) fn bold(self, text: &str) -> String {
        self.escape("1", text)
    }

    /// The name of a state.
    pub(crate) fn state(self, state: StateName, text: &str) -> String {
        match state {
            StateName::Up | StateName::Armed | StateName::Listening => self.escape("32", text),
            StateName::Failed => self.escape("1;31", text),
            StateName::Waiting | StateName::Starting | StateName::Stopping | StateName::Backoff => {
                self.escape("33", text)
            }
            StateName::Down | StateName::Skipped => self.escape("2", text),
        }
    }

    /// A note among other text.
    pub(crate) fn dim(self, text: &str) -> String {
        self.escape("2", text)
    }

    /// Text that tells of a fault.
    pub(crate) fn bad(self, text: &str) -> String {
        self.escape("1;31", text)
    }

    /// Text that tells of something that may be a fault.
    pub(crate) fn doubtful(self, text: &str) -> String {
        self.escape("33", text)
    }

    fn escape(self, code: &str, text: &str) -> String {
        if self.0 {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// The word for a state, as it is in JSON.
pub(crate) const fn state_word(state: StateName) -> &'static str {
    match state {
        StateName::Down => "down",
        StateName::Armed => "armed",
        StateName::Listening => "listening",
        StateName::Waiting => "waiting",
        StateName::Starting => "starting",
        StateName::Up => "up",
        StateName::Stopping => "stopping",
        StateName::Backoff => "backoff",
        StateName::Failed => "failed",
        StateName::Skipped => "skipped",
    }
}
