//! Requests: what a client may call, parsed strictly, and the encoder `sharkctl` uses.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::record::SlotName;
use super::reply::ControlError;
use super::{INTERFACE, SERVICE_INTERFACE};
use crate::status::ShutdownKind;

/// A method with its parameters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// `io.shark.Init.List`
    List {
        /// The name that the page begins with, or the next one there is.
        from: Option<String>,
    },
    /// `io.shark.Init.Status`
    Status {
        /// Which service, as the client wrote it.
        name: String,
    },
    /// `io.shark.Init.Start`
    Start {
        /// Which service.
        name: String,
    },
    /// `io.shark.Init.Stop`
    Stop {
        /// Which service.
        name: String,
        /// With what its scope of stopping leaves.
        all: bool,
    },
    /// `io.shark.Init.Restart`
    Restart {
        /// Which service.
        name: String,
    },
    /// `io.shark.Init.ReloadService`
    ReloadService {
        /// Which service.
        name: String,
    },
    /// `io.shark.Init.ReloadAll`
    ReloadAll {
        /// Only tell what would change.
        dry_run: bool,
    },
    /// `io.shark.Init.Boot`
    Boot,
    /// `io.shark.Init.WaitBoot`
    WaitBoot,
    /// `io.shark.Init.WaitGate`
    WaitGate,
    /// `io.shark.Init.BootGood`
    BootGood {
        /// Why the operator thinks so, for the record.
        reason: Option<String>,
    },
    /// `io.shark.Init.BootBad`
    BootBad {
        /// Why the operator thinks so, for the record; it has a character that can be seen.
        reason: String,
        /// Whether to restart the machine into the other slot at once.
        reboot: bool,
    },
    /// `io.shark.Init.SetSlot`
    SetSlot {
        /// Which slot.
        slot: SlotName,
    },
    /// `io.shark.Init.BootRecord`
    BootRecord,
    /// `io.shark.Init.Metrics`
    Metrics,
    /// `io.shark.Init.Relations`
    Relations {
        /// The name that the page begins with, or the next one there is.
        from: Option<String>,
    },
    /// `io.shark.Init.Trace`
    Trace,
    /// `io.shark.Init.Shutdown`
    Shutdown {
        /// What happens at the end.
        kind: ShutdownKind,
    },
    /// `io.shark.Init.Reexec`
    Reexec {
        /// The program that takes init's place; without one, the file init was started from.
        program: Option<String>,
    },
    /// `io.shark.Init.DebugPanic`
    DebugPanic,
    /// `org.varlink.service.GetInfo`
    GetInfo,
    /// `org.varlink.service.GetInterfaceDescription`
    GetInterfaceDescription {
        /// Which interface.
        interface: String,
    },
}

/// Every method of `io.shark.Init`, without the interface's name.
pub const METHODS: [&str; 20] = [
    "List",
    "Status",
    "Start",
    "Stop",
    "Restart",
    "ReloadService",
    "ReloadAll",
    "Boot",
    "WaitBoot",
    "WaitGate",
    "BootGood",
    "BootBad",
    "SetSlot",
    "BootRecord",
    "Trace",
    "Metrics",
    "Relations",
    "Shutdown",
    "Reexec",
    "DebugPanic",
];

/// A request with the manner in which it was called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// What is asked for.
    pub request: Request,
    /// The client wants no reply, not even an error.
    pub oneway: bool,
    /// The client would take several replies. No method here sends more than one, so it is only
    /// accepted, as Varlink asks.
    pub more: bool,
}

/// The message as it is on the wire.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    method: String,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    parameters: Map<String, Value>,
    #[serde(default, skip_serializing_if = "is_false")]
    oneway: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    more: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    upgrade: bool,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature serde calls"
)]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    name: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stopped {
    name: String,
    all: Option<bool>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Rehearsed {
    dry_run: Option<bool>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kinded {
    kind: ShutdownKind,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reasoned {
    reason: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Programmed {
    program: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Slotted {
    slot: SlotName,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Interfaced {
    interface: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Beginning {
    from: Option<String>,
}

/// Why a message is no call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// Not a Varlink call at all: close the connection.
    Malformed(String),
    /// A call that is answered with an error.
    Answered {
        /// The error.
        error: ControlError,
        /// The client wants no reply: say nothing.
        oneway: bool,
    },
}

impl Request {
    /// Reads one message (without its NUL).
    ///
    /// # Errors
    /// [`Rejected`] tells whether to answer or to close the connection.
    pub fn parse(message: &[u8]) -> Result<Call, Rejected> {
        // A client library may write `"parameters": null` for none; the envelope is otherwise strict.
        let mut object: Map<String, Value> = serde_json::from_slice(message)
            .map_err(|error| Rejected::Malformed(error.to_string()))?;
        object.retain(|_, value| !value.is_null());
        let envelope: Envelope = serde_json::from_value(Value::Object(object))
            .map_err(|error| Rejected::Malformed(error.to_string()))?;
        let oneway = envelope.oneway;
        let more = envelope.more;
        if envelope.upgrade {
            let error = ControlError::InvalidParameter {
                parameter: "upgrade".into(),
            };
            return Err(Rejected::Answered { error, oneway });
        }
        match method(envelope) {
            Ok(request) => Ok(Call {
                request,
                oneway,
                more,
            }),
            Err(error) => Err(Rejected::Answered { error, oneway }),
        }
    }

    /// Full name of its method.
    #[must_use]
    pub fn method(&self) -> String {
        let (interface, method) = match self {
            Self::List { .. } => (INTERFACE, "List"),
            Self::Status { .. } => (INTERFACE, "Status"),
            Self::Start { .. } => (INTERFACE, "Start"),
            Self::Stop { .. } => (INTERFACE, "Stop"),
            Self::Restart { .. } => (INTERFACE, "Restart"),
            Self::ReloadService { .. } => (INTERFACE, "ReloadService"),
            Self::ReloadAll { .. } => (INTERFACE, "ReloadAll"),
            Self::Boot => (INTERFACE, "Boot"),
            Self::WaitBoot => (INTERFACE, "WaitBoot"),
            Self::WaitGate => (INTERFACE, "WaitGate"),
            Self::BootGood { .. } => (INTERFACE, "BootGood"),
            Self::BootBad { .. } => (INTERFACE, "BootBad"),
            Self::SetSlot { .. } => (INTERFACE, "SetSlot"),
            Self::BootRecord => (INTERFACE, "BootRecord"),
            Self::Trace => (INTERFACE, "Trace"),
            Self::Relations { .. } => (INTERFACE, "Relations"),
            Self::Metrics => (INTERFACE, "Metrics"),
            Self::Shutdown { .. } => (INTERFACE, "Shutdown"),
            Self::Reexec { .. } => (INTERFACE, "Reexec"),
            Self::DebugPanic => (INTERFACE, "DebugPanic"),
            Self::GetInfo => (SERVICE_INTERFACE, "GetInfo"),
            Self::GetInterfaceDescription { .. } => (SERVICE_INTERFACE, "GetInterfaceDescription"),
        };
        format!("{interface}.{method}")
    }

    /// Whether it changes anything, and so needs the right to.
    #[must_use]
    pub const fn changes(&self) -> bool {
        match self {
            Self::Start { .. }
            | Self::Stop { .. }
            | Self::Restart { .. }
            | Self::ReloadService { .. }
            | Self::ReloadAll { .. }
            | Self::BootGood { .. }
            | Self::BootBad { .. }
            | Self::SetSlot { .. }
            | Self::Reexec { .. }
            | Self::DebugPanic
            | Self::Shutdown { .. } => true,
            Self::List { .. }
            | Self::Status { .. }
            | Self::Boot
            | Self::WaitBoot
            | Self::WaitGate
            | Self::BootRecord
            | Self::Trace
            | Self::Metrics
            | Self::Relations { .. }
            | Self::GetInfo
            | Self::GetInterfaceDescription { .. } => false,
        }
    }
}

fn method(envelope: Envelope) -> Result<Request, ControlError> {
    let Envelope {
        method, parameters, ..
    } = envelope;
    let Some((interface, name)) = method.rsplit_once('.') else {
        return Err(ControlError::InvalidParameter {
            parameter: "method".into(),
        });
    };
    match (interface, name) {
        (INTERFACE, "List") => {
            typed(parameters, &["from"]).map(|Beginning { from }| Request::List { from })
        }
        (INTERFACE, "Status") => named(parameters, |name| Request::Status { name }),
        (INTERFACE, "Start") => named(parameters, |name| Request::Start { name }),
        (INTERFACE, "Stop") => {
            typed(parameters, &["name", "all"]).map(|Stopped { name, all }| Request::Stop {
                name,
                all: all.unwrap_or(false),
            })
        }
        (INTERFACE, "Restart") => named(parameters, |name| Request::Restart { name }),
        (INTERFACE, "ReloadService") => named(parameters, |name| Request::ReloadService { name }),
        (INTERFACE, "ReloadAll") => {
            typed(parameters, &["dryRun"]).map(|Rehearsed { dry_run }| Request::ReloadAll {
                dry_run: dry_run.unwrap_or(false),
            })
        }
        (INTERFACE, "Boot") => none(parameters, Request::Boot),
        (INTERFACE, "WaitBoot") => none(parameters, Request::WaitBoot),
        (INTERFACE, "WaitGate") => none(parameters, Request::WaitGate),
        (INTERFACE, "BootGood") => {
            typed(parameters, &["reason"]).map(|Reasoned { reason }| Request::BootGood { reason })
        }
        (INTERFACE, "BootBad") => boot_bad(parameters),
        (INTERFACE, "SetSlot") => {
            typed(parameters, &["slot"]).map(|Slotted { slot }| Request::SetSlot { slot })
        }
        (INTERFACE, "BootRecord") => none(parameters, Request::BootRecord),
        (INTERFACE, "Trace") => none(parameters, Request::Trace),
        (INTERFACE, "Metrics") => none(parameters, Request::Metrics),
        (INTERFACE, "Relations") => {
            typed(parameters, &["from"]).map(|Beginning { from }| Request::Relations { from })
        }
        (INTERFACE, "Shutdown") => {
            typed(parameters, &["kind"]).map(|Kinded { kind }| Request::Shutdown { kind })
        }
        (INTERFACE, "Reexec") => typed(parameters, &["program"])
            .map(|Programmed { program }| Request::Reexec { program }),
        (INTERFACE, "DebugPanic") => none(parameters, Request::DebugPanic),
        (SERVICE_INTERFACE, "GetInfo") => none(parameters, Request::GetInfo),
        (SERVICE_INTERFACE, "GetInterfaceDescription") => typed(parameters, &["interface"])
            .map(|Interfaced { interface }| Request::GetInterfaceDescription { interface }),
        (INTERFACE | SERVICE_INTERFACE, _) => Err(ControlError::MethodNotFound { method }),
        _ => Err(ControlError::InterfaceNotFound {
            interface: interface.into(),
        }),
    }
}

fn none(parameters: Map<String, Value>, request: Request) -> Result<Request, ControlError> {
    typed(parameters, &[]).map(|Nothing {}| request)
}

fn named(
    parameters: Map<String, Value>,
    request: impl FnOnce(String) -> Request,
) -> Result<Request, ControlError> {
    typed(parameters, &["name"]).map(|Named { name }| request(name))
}

/// Two parameters: each is looked at alone, so that the wrong one is named.
fn boot_bad(mut parameters: Map<String, Value>) -> Result<Request, ControlError> {
    let reason = parameters.remove("reason");
    let reboot = parameters.remove("reboot");
    if let Some(unknown) = parameters.keys().next() {
        return Err(invalid(unknown));
    }
    let Some(Value::String(reason)) = reason else {
        return Err(invalid("reason"));
    };
    // A record that says nothing helps nobody after the rollback.
    if reason.chars().all(|c| c.is_whitespace() || c.is_control()) {
        return Err(invalid("reason"));
    }
    match reboot {
        Some(Value::Bool(reboot)) => Ok(Request::BootBad { reason, reboot }),
        Some(_) | None => Err(invalid("reboot")),
    }
}

fn invalid(parameter: &str) -> ControlError {
    ControlError::InvalidParameter {
        parameter: parameter.into(),
    }
}

/// Varlink's InvalidParameter names the parameter: the first that is unknown, missing or of another
/// type.
fn typed<T: DeserializeOwned>(
    parameters: Map<String, Value>,
    expected: &[&str],
) -> Result<T, ControlError> {
    let unknown = parameters
        .keys()
        .find(|key| !expected.contains(&key.as_str()));
    let wrong = unknown
        .map(String::as_str)
        .or_else(|| expected.first().copied())
        .unwrap_or("parameters");
    let error = invalid(wrong);
    serde_json::from_value(Value::Object(parameters)).map_err(|_| error)
}

/// The message for a call, with its NUL: the client's side.
#[must_use]
pub fn encode_call(request: &Request) -> Vec<u8> {
    let parameters = match request {
        Request::List { from: None }
        | Request::ReloadAll { dry_run: false }
        | Request::Boot
        | Request::WaitBoot
        | Request::WaitGate
        | Request::BootRecord
        | Request::Trace
        | Request::Metrics
        | Request::Relations { from: None }
        | Request::BootGood { reason: None }
        | Request::Reexec { program: None }
        | Request::DebugPanic
        | Request::GetInfo => Map::new(),
        Request::Reexec {
            program: Some(program),
        } => one("program", Value::from(program.as_str())),
        Request::Status { name }
        | Request::Start { name }
        | Request::Stop { name, all: false }
        | Request::Restart { name }
        | Request::ReloadService { name } => one("name", Value::from(name.as_str())),
        Request::Stop { name, all: true } => {
            let mut parameters = one("name", Value::from(name.as_str()));
            parameters.insert("all".into(), Value::from(true));
            parameters
        }
        Request::BootGood {
            reason: Some(reason),
        } => one("reason", Value::from(reason.as_str())),
        Request::BootBad { reason, reboot } => {
            let mut parameters = one("reason", Value::from(reason.as_str()));
            parameters.insert("reboot".into(), Value::from(*reboot));
            parameters
        }
        Request::List { from: Some(from) } | Request::Relations { from: Some(from) } => {
            one("from", Value::from(from.as_str()))
        }
        Request::ReloadAll { dry_run: true } => one("dryRun", Value::from(true)),
        Request::SetSlot { slot } => one("slot", Value::from(slot.as_str())),
        Request::Shutdown { kind } => one("kind", serde_json::to_value(kind).unwrap_or_default()),
        Request::GetInterfaceDescription { interface } => {
            one("interface", Value::from(interface.as_str()))
        }
    };
    let envelope = Envelope {
        method: request.method(),
        parameters,
        oneway: false,
        more: false,
        upgrade: false,
    };
    super::frame::terminate(serde_json::to_vec(&envelope).unwrap_or_default())
}

fn one(key: &str, value: Value) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert(key.into(), value);
    map
}

#[cfg(test)]
mod tests;
