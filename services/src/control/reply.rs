//! Replies and errors: how PID 1 writes them and how `sharkctl` reads them.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::INTERFACE;
use super::boot::BootInfo;
use super::introspect::Info;
use super::metrics::Metrics;
use super::record::BootRecord;
use super::relations::RelationsPage;
use super::request::Request;
use crate::diagnostic::Diagnostic;
use crate::status::ServiceStatus;

/// What a reload of all service files changed or, as a dry run, would change, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// Services that were not there before.
    pub added: Vec<String>,
    /// Services with another definition; a running one takes it at its next start.
    pub changed: Vec<String>,
    /// Services that are there no more.
    pub removed: Vec<String>,
    /// Which keys of changed services differ; of a great many services, only of the first.
    #[serde(default)]
    pub keys: Vec<ChangedKeys>,
    /// Services that run and keep an older definition until their next start.
    #[serde(default)]
    pub keeping: Vec<String>,
    /// Logs are kept by other settings.
    #[serde(default)]
    pub logs: bool,
}

/// Which keys of a changed service differ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedKeys {
    /// The service.
    pub name: String,
    /// Keys as they are written in service files.
    pub keys: Vec<String>,
}

/// Services by name, from one on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicesPage {
    /// Each with its status.
    pub services: Vec<ServiceStatus>,
    /// With which name the next page begins, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// The parameters of a successful reply.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Reply {
    /// Of `List`.
    Services(ServicesPage),
    /// Of `Status`.
    Service {
        /// The service.
        service: Box<ServiceStatus>,
    },
    /// Of `ReloadAll`.
    Changed(Changed),
    /// Of `Boot`.
    Boot {
        /// How the machine came up.
        boot: Box<BootInfo>,
    },
    /// Of `WaitBoot`.
    BootFailed {
        /// Services of the boot target that failed.
        failed: Vec<String>,
    },
    /// Of `WaitGate`.
    Gate {
        /// The boot was found good, and that is in the boot record.
        committed: bool,
        /// Why it was not.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Of `BootRecord`.
    BootRecord {
        /// What it says.
        record: Box<BootRecord>,
    },
    /// Of `Metrics`.
    Metrics {
        /// The figures.
        metrics: Box<Metrics>,
    },
    /// Of `Relations`.
    Relations(RelationsPage),
    /// Of `Trace`.
    Trace {
        /// The next lines of the trace.
        text: String,
    },
    /// Of `org.varlink.service.GetInfo`.
    Info(Info),
    /// Of `org.varlink.service.GetInterfaceDescription`.
    Description {
        /// Text in Varlink's language.
        description: String,
    },
    /// Of everything else: done, and nothing to tell.
    Done {},
}

/// Every error of `io.shark.Init` and of `org.varlink.service`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "error", content = "parameters")]
pub enum ControlError {
    /// There is no service of that name.
    #[serde(rename = "io.shark.Init.NoSuchService")]
    NoSuchService {
        /// The name as the client wrote it.
        name: String,
    },
    /// It was tried and failed.
    #[serde(rename = "io.shark.Init.Failed")]
    Failed {
        /// Which service.
        name: String,
        /// Why.
        reason: String,
    },
    /// It cannot be done at all now.
    #[serde(rename = "io.shark.Init.Refused")]
    Refused {
        /// Why.
        reason: String,
    },
    /// A later request of the opposite kind took its place.
    #[serde(rename = "io.shark.Init.Superseded")]
    Superseded {},
    /// The caller may ask but not change.
    #[serde(rename = "io.shark.Init.PermissionDenied")]
    PermissionDenied {},
    /// The service files have mistakes, and nothing was changed.
    #[serde(rename = "io.shark.Init.InvalidServices")]
    InvalidServices {
        /// All of them.
        diagnostics: Vec<Diagnostic>,
    },
    /// No method of that name in an interface that exists.
    #[serde(rename = "org.varlink.service.MethodNotFound")]
    MethodNotFound {
        /// Full name.
        method: String,
    },
    /// A parameter is unknown, missing or of another type.
    #[serde(rename = "org.varlink.service.InvalidParameter")]
    InvalidParameter {
        /// Its name.
        parameter: String,
    },
    /// No interface of that name.
    #[serde(rename = "org.varlink.service.InterfaceNotFound")]
    InterfaceNotFound {
        /// Its name.
        interface: String,
    },
    /// The method is described but this PID 1 cannot do it in these surroundings.
    #[serde(rename = "org.varlink.service.MethodNotImplemented")]
    MethodNotImplemented {
        /// Full name.
        method: String,
    },
}

/// Every error of `io.shark.Init`, without the interface's name.
pub const ERRORS: [&str; 6] = [
    "NoSuchService",
    "Failed",
    "Refused",
    "Superseded",
    "PermissionDenied",
    "InvalidServices",
];

impl core::fmt::Display for ControlError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoSuchService { name } => write!(f, "there is no service `{name}`"),
            Self::Failed { name, reason } => write!(f, "{name}: {reason}"),
            Self::Refused { reason } => write!(f, "refused: {reason}"),
            Self::Superseded {} => write!(f, "a later request took its place"),
            Self::PermissionDenied {} => {
                write!(f, "permission denied: ask root, or join the group `shark`")
            }
            Self::InvalidServices { diagnostics } => write!(
                f,
                "the service files have {} mistakes; nothing was changed",
                diagnostics.len()
            ),
            Self::MethodNotFound { method } => write!(f, "there is no method `{method}`"),
            Self::InvalidParameter { parameter } => {
                write!(
                    f,
                    "parameter `{parameter}` is unknown, missing or of the wrong type"
                )
            }
            Self::InterfaceNotFound { interface } => {
                write!(f, "there is no interface `{interface}`")
            }
            Self::MethodNotImplemented { method } => {
                write!(f, "`{method}` is not possible on this machine")
            }
        }
    }
}

impl std::error::Error for ControlError {}

/// The message for a reply, with its NUL.
///
/// A reply over [`super::MESSAGE_MAX`] is not cut by this function: PID 1 may send more than it
/// takes, and `sharkctl` reads with a bound of its own.
#[must_use]
pub fn encode_reply(reply: &Reply) -> Vec<u8> {
    let message = Sent { parameters: reply };
    super::frame::terminate(serde_json::to_vec(&message).unwrap_or_default())
}

/// The message for an error, with its NUL.
#[must_use]
pub fn encode_error(error: &ControlError) -> Vec<u8> {
    super::frame::terminate(serde_json::to_vec(error).unwrap_or_default())
}

/// Why a reply could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyError {
    /// The service answered with this error.
    Control(ControlError),
    /// The bytes are not the reply that the request has.
    Malformed(String),
}

impl core::fmt::Display for ReplyError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Control(error) => error.fmt(f),
            Self::Malformed(why) => write!(f, "the reply cannot be understood: {why}"),
        }
    }
}

impl std::error::Error for ReplyError {}

#[derive(Serialize)]
struct Sent<'a> {
    parameters: &'a Reply,
}

#[derive(Deserialize)]
struct Answer {
    error: Option<String>,
    parameters: Option<Value>,
}

/// Reads the reply (without its NUL) to `request`: the client's side.
///
/// # Errors
/// [`ReplyError::Control`] is the service's answer; [`ReplyError::Malformed`] an answer that is not
/// understood, an error this client does not know included.
pub fn decode_reply(request: &Request, message: &[u8]) -> Result<Reply, ReplyError> {
    let malformed = |error: serde_json::Error| ReplyError::Malformed(error.to_string());
    let Answer { error, parameters } = serde_json::from_slice(message).map_err(malformed)?;
    let parameters = parameters.unwrap_or_else(|| json!({}));
    if let Some(error) = error {
        let whole = json!({ "error": error, "parameters": parameters });
        let error = serde_json::from_value(whole).map_err(malformed)?;
        return Err(ReplyError::Control(error));
    }
    decode_parameters(request, parameters).map_err(malformed)
}

#[derive(Deserialize)]
struct OneService {
    service: Box<ServiceStatus>,
}

#[derive(Deserialize)]
struct Boot {
    boot: Box<BootInfo>,
}

#[derive(Deserialize)]
struct BootFailed {
    failed: Vec<String>,
}

#[derive(Deserialize)]
struct Gate {
    committed: bool,
    reason: Option<String>,
}

#[derive(Deserialize)]
struct Recorded {
    record: Box<BootRecord>,
}

#[derive(Deserialize)]
struct Measured {
    metrics: Box<Metrics>,
}

#[derive(Deserialize)]
struct Traced {
    text: String,
}

#[derive(Deserialize)]
struct Description {
    description: String,
}

fn decode_parameters(request: &Request, value: Value) -> Result<Reply, serde_json::Error> {
    Ok(match request {
        Request::List { .. } => Reply::Services(serde_json::from_value(value)?),
        Request::Status { .. } => {
            let OneService { service } = serde_json::from_value(value)?;
            Reply::Service { service }
        }
        Request::ReloadAll { .. } => Reply::Changed(serde_json::from_value(value)?),
        Request::Boot => {
            let Boot { boot } = serde_json::from_value(value)?;
            Reply::Boot { boot }
        }
        Request::WaitBoot => {
            let BootFailed { failed } = serde_json::from_value(value)?;
            Reply::BootFailed { failed }
        }
        Request::WaitGate => {
            let Gate { committed, reason } = serde_json::from_value(value)?;
            Reply::Gate { committed, reason }
        }
        Request::BootRecord => {
            let Recorded { record } = serde_json::from_value(value)?;
            Reply::BootRecord { record }
        }
        Request::Metrics => {
            let Measured { metrics } = serde_json::from_value(value)?;
            Reply::Metrics { metrics }
        }
        Request::Relations { .. } => Reply::Relations(serde_json::from_value(value)?),
        Request::Trace => {
            let Traced { text } = serde_json::from_value(value)?;
            Reply::Trace { text }
        }
        Request::GetInfo => Reply::Info(serde_json::from_value(value)?),
        Request::GetInterfaceDescription { .. } => {
            let Description { description } = serde_json::from_value(value)?;
            Reply::Description { description }
        }
        Request::Start { .. }
        | Request::Stop { .. }
        | Request::Restart { .. }
        | Request::ReloadService { .. }
        | Request::BootGood { .. }
        | Request::BootBad { .. }
        | Request::SetSlot { .. }
        | Request::Reexec { .. }
        | Request::DebugPanic
        | Request::Shutdown { .. } => Reply::Done {},
    })
}

impl ControlError {
    /// Whether the error is one of `io.shark.Init` and not of Varlink itself.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        match self {
            Self::NoSuchService { .. }
            | Self::Failed { .. }
            | Self::Refused { .. }
            | Self::Superseded {}
            | Self::PermissionDenied {}
            | Self::InvalidServices { .. } => true,
            Self::MethodNotFound { .. }
            | Self::InvalidParameter { .. }
            | Self::InterfaceNotFound { .. }
            | Self::MethodNotImplemented { .. } => false,
        }
    }

    /// Full name of the error.
    #[must_use]
    pub fn full_name(&self) -> String {
        let (interface, name) = match self {
            Self::NoSuchService { .. } => (INTERFACE, "NoSuchService"),
            Self::Failed { .. } => (INTERFACE, "Failed"),
            Self::Refused { .. } => (INTERFACE, "Refused"),
            Self::Superseded {} => (INTERFACE, "Superseded"),
            Self::PermissionDenied {} => (INTERFACE, "PermissionDenied"),
            Self::InvalidServices { .. } => (INTERFACE, "InvalidServices"),
            Self::MethodNotFound { .. } => (super::SERVICE_INTERFACE, "MethodNotFound"),
            Self::InvalidParameter { .. } => (super::SERVICE_INTERFACE, "InvalidParameter"),
            Self::InterfaceNotFound { .. } => (super::SERVICE_INTERFACE, "InterfaceNotFound"),
            Self::MethodNotImplemented { .. } => (super::SERVICE_INTERFACE, "MethodNotImplemented"),
        };
        format!("{interface}.{name}")
    }
}
