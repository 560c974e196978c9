//! How a verb can fail, what is then said, and with which exit status. Not here: who finds out.

use std::fmt;
use std::io;
use std::path::Path;

use services::diagnostic::Diagnostic;

/// Why a verb did not do what was asked. Each has its own exit status.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It was tried and did not work.
    Failed(String),
    /// What was asked for makes no sense.
    Usage(String),
    /// There is no service of that name.
    NoSuchService(String),
    /// The caller may not do it.
    Permission(String),
    /// There is no init to talk to, or it stopped talking.
    Unreachable(String),
    /// It cannot be done at all; nothing was changed.
    Refused(String),
    /// Service files have problems; init goes on with those it has.
    InvalidServices(Vec<Diagnostic>),
    /// Told by the status; it has been printed already.
    NotUp,
    /// Something was not ready in time.
    TimedOut(String),
    /// Nobody reads what is printed any more.
    OutputClosed,
    /// Several services failed; each has been told already. The status is that of the first.
    Told(u8),
}

impl Failure {
    /// The exit status, as sharkctl(8) documents it.
    pub(crate) const fn exit_status(&self) -> u8 {
        match self {
            Self::OutputClosed => 0,
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::NoSuchService(_) => 3,
            Self::Permission(_) => 4,
            Self::Unreachable(_) => 5,
            Self::Refused(_) | Self::InvalidServices(_) => 6,
            Self::NotUp => 7,
            Self::TimedOut(_) => 8,
            Self::Told(status) => *status,
        }
    }

    /// One word for programs; `None` where there is nothing to tell.
    pub(crate) const fn word(&self) -> Option<&'static str> {
        match self {
            Self::Failed(_) => Some("failed"),
            Self::Usage(_) => Some("usage"),
            Self::NoSuchService(_) => Some("noSuchService"),
            Self::Permission(_) => Some("permissionDenied"),
            Self::Unreachable(_) => Some("unreachable"),
            Self::Refused(_) => Some("refused"),
            Self::InvalidServices(_) => Some("invalidServices"),
            Self::TimedOut(_) => Some("timedOut"),
            Self::NotUp | Self::OutputClosed | Self::Told(_) => None,
        }
    }

    /// Output could not be written.
    pub(crate) fn of_output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::Failed(format!("write to standard output: {error}")),
        }
    }

    /// A file could not be read.
    pub(crate) fn of_file(operation: &str, path: &Path, error: &io::Error) -> Self {
        let what = format!("{operation} {}: {error}", path.display());
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::Permission(format!("{what}; try as root")),
            _ => Self::Failed(what),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(text)
            | Self::Usage(text)
            | Self::Permission(text)
            | Self::Unreachable(text)
            | Self::Refused(text)
            | Self::TimedOut(text) => f.write_str(text),
            Self::NoSuchService(name) => write!(
                f,
                "there is no service `{name}`; `sharkctl list` names those there are"
            ),
            Self::InvalidServices(diagnostics) => write!(
                f,
                "refused: {} in the service files; init goes on with those it had. \
                 `sharkctl verify` checks files without init",
                count(diagnostics.len(), "problem")
            ),
            Self::NotUp | Self::OutputClosed | Self::Told(_) => Ok(()),
        }
    }
}

/// `1 problem`, `2 problems`.
pub(crate) fn count(number: usize, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}
