//! Speaks Varlink with init: connects, calls, and turns errors into [`Failure`]. Not here: what to say
//! while an answer is awaited (`waiting`), and the messages themselves (`services::control`).

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use services::control::reply::ReplyError;
use services::control::{ControlError, Reply, Request, decode_reply, encode_call};

use crate::failure::Failure;

/// Longest reply that is read, in bytes: the status of every service of the largest graph.
const REPLY_MAX: usize = 32 * 1024 * 1024;

/// One connection to init.
pub(crate) struct Client {
    socket: PathBuf,
    stream: UnixStream,
    request: Request,
    received: Vec<u8>,
}

impl Client {
    /// Whether anybody listens on the socket of init.
    pub(crate) fn reach(socket: &Path) -> Result<(), Failure> {
        let stream = UnixStream::connect(socket);
        stream
            .map(drop)
            .map_err(|error| connect_failure(socket, &error))
    }

    /// Connects to the socket of init and sends a request.
    pub(crate) fn call(socket: &Path, request: Request) -> Result<Self, Failure> {
        let stream =
            UnixStream::connect(socket).map_err(|error| connect_failure(socket, &error))?;
        let mut client = Self {
            socket: socket.to_owned(),
            stream,
            request,
            received: Vec::new(),
        };
        client
            .stream
            .write_all(&encode_call(&client.request))
            .map_err(|error| client.broken("write to", &error))?;
        Ok(client)
    }

    /// Sends the same request again, after its reply.
    pub(crate) fn call_again(&mut self) -> Result<(), Failure> {
        self.received.clear();
        let call = encode_call(&self.request);
        let sent = self.stream.write_all(&call);
        sent.map_err(|error| self.broken("write to", &error))
    }

    /// Waits up to `patience` for the reply; `None`: it is not there yet.
    pub(crate) fn receive(&mut self, patience: Duration) -> Result<Option<Reply>, Failure> {
        let until = Instant::now() + patience;
        let mut block = vec![0; 16 * 1024];
        loop {
            if let Some(message) = self.received.strip_suffix(b"\0") {
                return self.understand(message).map(Some);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let read = self
                .stream
                .set_read_timeout(Some(left))
                .and_then(|()| self.stream.read(&mut block));
            match read {
                Ok(0) => return Err(self.closed()),
                Ok(read) => self.keep(block.get(..read).unwrap_or_default())?,
                Err(error) if is_not_yet(&error) => {}
                Err(error) => return Err(self.broken("read from", &error)),
            }
        }
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if self.received.len() + bytes.len() > REPLY_MAX {
            return Err(Failure::Failed(format!(
                "init's reply is longer than {REPLY_MAX} bytes"
            )));
        }
        self.received.extend_from_slice(bytes);
        Ok(())
    }

    fn understand(&self, message: &[u8]) -> Result<Reply, Failure> {
        decode_reply(&self.request, message).map_err(|error| match error {
            ReplyError::Control(error) => control_failure(error),
            ReplyError::Malformed(_) => Failure::Failed(format!(
                "{error}; is {} the socket of init, and is it of the same version?",
                self.socket.display()
            )),
        })
    }

    fn closed(&self) -> Failure {
        Failure::Unreachable(format!(
            "init closed the connection on {} without an answer; see `sharkctl logs init`",
            self.socket.display()
        ))
    }

    fn broken(&self, operation: &str, error: &io::Error) -> Failure {
        Failure::Unreachable(format!("{operation} {}: {error}", self.socket.display()))
    }
}

fn is_not_yet(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

fn connect_failure(socket: &Path, error: &io::Error) -> Failure {
    let path = socket.display();
    match error.kind() {
        io::ErrorKind::NotFound => Failure::Unreachable(format!(
            "init is not running, or not reachable here: there is no socket {path}. \
             --socket or SHARK_RUNTIME_DIR names another place"
        )),
        io::ErrorKind::ConnectionRefused => Failure::Unreachable(format!(
            "init is not running: nobody listens on {path} any more"
        )),
        io::ErrorKind::PermissionDenied => {
            Failure::Permission(format!("connect to {path}: {error}; try as root"))
        }
        io::ErrorKind::InvalidInput => {
            Failure::Usage(format!("{path} cannot be the path of a socket: {error}"))
        }
        _ => Failure::Unreachable(format!("connect to {path}: {error}")),
    }
}

/// What an error of init means here.
fn control_failure(error: ControlError) -> Failure {
    let text = error.to_string();
    match error {
        ControlError::NoSuchService { name } => Failure::NoSuchService(name),
        ControlError::Failed { .. } => Failure::Failed(text),
        ControlError::Refused { .. } => Failure::Refused(text),
        ControlError::Superseded {} => Failure::Failed(
            "given up: a later request wanted the opposite, and took the place of this one".into(),
        ),
        ControlError::PermissionDenied {} => Failure::Permission(text),
        ControlError::InvalidServices { diagnostics } => Failure::InvalidServices(diagnostics),
        ControlError::MethodNotFound { .. }
        | ControlError::InvalidParameter { .. }
        | ControlError::InterfaceNotFound { .. } => Failure::Failed(format!(
            "{text}; are sharkctl and init of the same version?"
        )),
        ControlError::MethodNotImplemented { .. } => Failure::Refused(text),
    }
}

/// A reply of another kind than the request has: `decode_reply` gives none.
pub(crate) fn unexpected_reply() -> Failure {
    Failure::Failed("init's reply answers another question".into())
}
