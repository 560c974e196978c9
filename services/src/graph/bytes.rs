//! A graph as bytes, on its way from the loader to PID 1. Not here: checking (`check`), which the
//! receiver does again. The bytes carry no index, so none can be wrong.
//!
//! Layout, little-endian: magic (8 bytes), version (u32), length of the body (u32), CRC32C of the
//! body (u32), body: the definitions in postcard's format.

use std::fmt;

use super::Graph;
use crate::begin::CredentialSource;
use crate::definition::{
    Burst, Definition, FD_STORE_MOST, Health, Probe, Program, Ready, Reload, Socket,
};
use crate::diagnostic::Diagnostic;
use crate::file::{SOCKET_PATH_MAX, SOCKETS_MAX};

const MAGIC: &[u8; 8] = b"SHARKGRA";
/// Counts up whenever the layout of a definition changes.
const VERSION: u32 = 3;
/// Largest body that is read: room for 16384 services of 4 KiB.
const MAX_BODY: usize = 64 << 20;

/// Why bytes are not a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GraphBytesError {
    /// They do not start with the magic of a graph.
    NotAGraph,
    /// Another version of the layout: loader and PID 1 are of different builds.
    Version(u32),
    /// Fewer or more bytes than the header says, or more than is ever read.
    Length {
        /// Bytes of the body that are there.
        found: usize,
        /// Bytes of the body that the header speaks of.
        expected: usize,
    },
    /// The checksum differs.
    Checksum,
    /// The body is not a list of definitions, for this reason.
    Body(String),
    /// A definition breaks a rule that the loader would have refused.
    Definition(String),
    /// The definitions do not make a graph.
    Check(Vec<Diagnostic>),
}

impl fmt::Display for GraphBytesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "read the graph: ")?;
        match self {
            Self::NotAGraph => write!(f, "these bytes are not a graph"),
            Self::Version(version) => write!(
                f,
                "it has version {version}, this program reads {VERSION}: use the loader of the same build"
            ),
            Self::Length { found, expected } => {
                write!(f, "it has {found} bytes where {expected} are announced")
            }
            Self::Checksum => write!(f, "its checksum differs: it was damaged on the way"),
            Self::Body(cause) => write!(f, "its body cannot be decoded: {cause}"),
            Self::Definition(cause) => write!(f, "{cause}"),
            Self::Check(diagnostics) => {
                write!(f, "it does not pass the check")?;
                diagnostics
                    .iter()
                    .try_for_each(|diagnostic| write!(f, "\n{diagnostic}"))
            }
        }
    }
}

impl std::error::Error for GraphBytesError {}

impl Graph {
    /// The graph as bytes.
    ///
    /// # Errors
    /// [`GraphBytesError::Length`] when it is larger than is ever read back.
    pub fn to_bytes(&self) -> Result<Vec<u8>, GraphBytesError> {
        let body = postcard::to_stdvec(&self.services)
            .map_err(|error| GraphBytesError::Body(error.to_string()))?;
        let too_long = GraphBytesError::Length {
            found: body.len(),
            expected: MAX_BODY,
        };
        let length = match u32::try_from(body.len()) {
            Ok(length) if body.len() <= MAX_BODY => length,
            Ok(_) | Err(_) => return Err(too_long),
        };
        let mut bytes = Vec::with_capacity(HEADER + body.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
        bytes.extend_from_slice(&body);
        Ok(bytes)
    }

    /// The graph that [`Graph::to_bytes`] made into `bytes`. Everything is checked again.
    ///
    /// # Errors
    /// [`GraphBytesError`] says in what the bytes are not a graph; no bytes make it panic.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, GraphBytesError> {
        let body = body(bytes)?;
        let mut services: Vec<Definition> =
            postcard::from_bytes(body).map_err(|error| GraphBytesError::Body(error.to_string()))?;
        services.shrink_to_fit();
        services.iter().try_for_each(check_definition)?;
        Self::from_definitions(services).map_err(GraphBytesError::Check)
    }
}

/// Magic, version, length, checksum.
const HEADER: usize = 8 + 4 + 4 + 4;

/// The body, once the header has been believed.
fn body(bytes: &[u8]) -> Result<&[u8], GraphBytesError> {
    let rest = bytes
        .strip_prefix(MAGIC)
        .ok_or(GraphBytesError::NotAGraph)?;
    let (version, rest) = number(rest)?;
    if version != VERSION {
        return Err(GraphBytesError::Version(version));
    }
    let (length, rest) = number(rest)?;
    let (checksum, body) = number(rest)?;
    if length as usize != body.len() || body.len() > MAX_BODY {
        return Err(GraphBytesError::Length {
            found: body.len(),
            expected: length as usize,
        });
    }
    if crc32c::crc32c(body) != checksum {
        return Err(GraphBytesError::Checksum);
    }
    Ok(body)
}

/// The next number of the header, and what follows it.
fn number(bytes: &[u8]) -> Result<(u32, &[u8]), GraphBytesError> {
    match bytes.split_first_chunk::<4>() {
        Some((number, rest)) => Ok((u32::from_le_bytes(*number), rest)),
        None => Err(GraphBytesError::NotAGraph),
    }
}

/// The promises of its timer and its restarts.
fn check_times(definition: &Definition) -> Result<(), GraphBytesError> {
    if let Some(timer) = definition.timer.as_deref()
        && !timer.is_sound()
    {
        let message = format!(
            "`{}` has a timer without a time or a pause",
            definition.name
        );
        return Err(GraphBytesError::Definition(message));
    }
    let restart = &definition.restart;
    let counted = |burst: Burst| (1..=Burst::MOST).contains(&burst.starts);
    if restart.jitter > 100 || restart.burst.is_some_and(|burst| !counted(burst)) {
        return Err(GraphBytesError::Definition(format!(
            "`{}` has an impossible jitter or burst of restarts",
            definition.name
        )));
    }
    Ok(())
}

/// The promises of [`Program`] that its type does not keep by itself.
fn check_definition(definition: &Definition) -> Result<(), GraphBytesError> {
    let named = |socket: &Socket| {
        let path = socket.listen.path();
        let absolute = path.is_none_or(|it| it.starts_with('/') && !it.contains('\0'));
        absolute && !socket.name.contains([':', '\0']) && socket.mode <= 0o777
    };
    let sockets = &definition.sockets;
    if sockets.len() > SOCKETS_MAX
        || !sockets.iter().all(named)
        || definition.lazy && (sockets.is_empty() || definition.timer.is_some())
    {
        let message = format!("`{}` has impossible sockets", definition.name);
        return Err(GraphBytesError::Definition(message));
    }
    check_times(definition)?;
    let Some(program) = definition.kind.program() else {
        return Ok(());
    };
    let Program {
        exec,
        begin,
        reload,
        working_dir,
        tty,
        pid_file,
        umask,
        watchdog,
        fd_store_max,
        ..
    } = program;
    let reload = match reload {
        Some(Reload::Command(command)) => Some(command),
        Some(Reload::Signal(_)) | None => None,
    };
    let commands_run = std::iter::once(exec)
        .chain(reload)
        .all(|command| runs(command));
    let files = begin.env_files.iter().map(|file| &file.path);
    let secrets = begin.credentials.iter().filter_map(|it| match &it.from {
        CredentialSource::File(path) => Some(path),
        CredentialSource::Text(_) => None,
    });
    let read = files.chain(secrets).all(|path| path.has_root());
    // A credential's name is that of a file, in a directory that PID 1 removes.
    let mut names = begin.credentials.iter().map(|it| &it.name);
    let named = names.all(|it| !it.contains('/') && !it.starts_with('.'));
    let absolute = read
        && named
        && working_dir.has_root()
        && [tty, pid_file]
            .into_iter()
            .flatten()
            .all(|path| path.has_root());
    let watched = watchdog.timeout.is_none_or(|timeout| !timeout.is_zero());
    let bounded = *umask <= 0o777 && *fd_store_max <= FD_STORE_MOST;
    if commands_run && absolute && can_be_asked(program) && watched && bounded {
        Ok(())
    } else {
        Err(GraphBytesError::Definition(format!(
            "`{}` has a command or a directory that is not absolute, an impossible umask, a probe \
             that is impossible or has no pause, a watchdog without time, or too many descriptors \
             to keep",
            definition.name
        )))
    }
}

fn runs(command: &[String]) -> bool {
    command.first().is_some_and(|path| path.starts_with('/'))
}

/// Whether its probes can be made, with a pause after each: without, they would be a loop.
fn can_be_asked(program: &Program) -> bool {
    let found = match &program.ready {
        Some(Ready::Line(fd)) => *fd >= 3,
        Some(Ready::Probe {
            probe, interval, ..
        }) => is_possible(probe) && !interval.is_zero(),
        None => true,
    };
    let health = program.health.as_ref();
    let paced = |it: &Health| it.failures > 0 && !it.interval.is_zero();
    found && health.is_none_or(|it| is_possible(&it.probe) && paced(it))
}

/// The promises of [`Probe`].
fn is_possible(probe: &Probe) -> bool {
    match probe {
        Probe::Exec(command) => runs(command),
        Probe::Tcp(address) => address.port() != 0,
        Probe::Unix(path) => path.has_root() && path.as_os_str().len() <= SOCKET_PATH_MAX,
        Probe::Http { address, path } => {
            let printable = path.bytes().all(|byte| byte.is_ascii_graphic());
            address.port() != 0 && path.starts_with('/') && printable
        }
        Probe::Path(path) => path.has_root(),
    }
}
