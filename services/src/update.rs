//! The protocol `io.shark.Update`, by which `sharkctl` asks the updater for things: types and their
//! Varlink messages, for both sides. Not here: sockets, and what a call leads to (the updater).
//!
//! Messages are cut by [`crate::control::frame`]. `Install` is called with `more` and answered by
//! [`Reply::Progress`] until it is done. What to install is a URL, or a descriptor of a file or pipe
//! that comes with the call.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Name of the interface, and of the socket.
pub const INTERFACE: &str = "io.shark.Update";
/// Longest URL, in bytes.
pub const URL_MAX: usize = 2048;
/// Longest text of links, in bytes: what a message has room for.
pub const LINKS_TEXT_MAX: usize = 60 * 1024;

/// A call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "method", content = "parameters", deny_unknown_fields)]
pub enum Call {
    /// Install a bundle into the slot that does not run, and arm it for one try.
    #[serde(rename = "io.shark.Update.Install")]
    Install {
        /// Where it is; without it, a descriptor comes with the call.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        url: Option<String>,
    },
    /// What is under way, and what the slots hold.
    #[serde(rename = "io.shark.Update.Status")]
    Status,
    /// Call off what is being installed, or waits for its trial.
    #[serde(rename = "io.shark.Update.Cancel")]
    Cancel,
    /// Boot the system before the last update next.
    #[serde(rename = "io.shark.Update.Rollback")]
    Rollback,
    /// The keys that may sign an update.
    #[serde(rename = "io.shark.Update.Keys")]
    Keys,
    /// Take links of keys, by which keys are trusted and revoked.
    #[serde(rename = "io.shark.Update.AddKeys")]
    AddKeys {
        /// The content of a file of links, in hexadecimal digits: at most [`LINKS_TEXT_MAX`].
        links: String,
    },
}

impl Call {
    /// Whether it changes anything, and so needs the right to.
    #[must_use]
    pub const fn changes(&self) -> bool {
        match self {
            Self::Install { .. } | Self::Cancel | Self::Rollback | Self::AddKeys { .. } => true,
            Self::Status | Self::Keys => false,
        }
    }
}

/// What is under way in an installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// The bundle's header is fetched.
    Fetching,
    /// What an earlier call has written is looked through.
    Comparing,
    /// Chunks are fetched and written.
    Writing,
    /// All of it is read back.
    Checking,
    /// The services of the new system are checked.
    Proving,
    /// Manifest and record are written.
    Arming,
}

impl Step {
    /// What happens, for people.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Fetching => "fetching the header",
            Self::Comparing => "comparing with what is there",
            Self::Writing => "writing",
            Self::Checking => "reading back",
            Self::Proving => "proving the new system",
            Self::Arming => "arming",
        }
    }
}

/// How far an installation is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What is under way.
    pub step: Step,
    /// Bytes of it that are done.
    pub done: u64,
    /// Bytes of it in all; 0 where there is nothing to count.
    pub total: u64,
    /// What went wrong and is tried again, since the last of these.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trouble: Option<String>,
}

/// What has been installed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Installed {
    /// The slot: `a` or `b`.
    pub slot: String,
    /// Version of the new system.
    pub version: String,
    /// Its security version.
    pub security_version: u32,
    /// Bytes that were there already.
    pub kept: u64,
    /// Bytes that were written.
    pub written: u64,
}

/// What is known of updates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Phase of the boot record: `settled`, `installing`, `trial`, `rolled-back`.
    pub phase: String,
    /// The slot that runs.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub running: Option<String>,
    /// The slot that was found good last.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub committed: Option<String>,
    /// The slot that is being installed or tried.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trial: Option<String>,
    /// Nothing below this security version is installed.
    pub security_floor: u32,
    /// Slot a, slot b.
    pub slots: Vec<SlotStatus>,
    /// The installation under way.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub progress: Option<Progress>,
    /// How the last installation ended, since the updater was started.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last: Option<String>,
    /// What is wrong with the links of keys.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub key_problems: Vec<String>,
    /// The outer loader, where one chooses between the slots.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub loader: Option<LoaderStatus>,
}

/// What is known of the outer loader.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoaderStatus {
    /// Which one: `uefi`.
    pub kind: String,
    /// The slot that it would start next.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<String>,
    /// What it knows of slot a and slot b: `absent`, `blessed`, `armed`, `tried`.
    pub slots: Vec<String>,
    /// Why it cannot be asked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub problem: Option<String>,
}

/// What is known of a slot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SlotStatus {
    /// `a` or `b`.
    pub slot: String,
    /// Version of the system in it, if its manifest holds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub version: Option<String>,
    /// Security version of that.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub security_version: Option<u32>,
    /// Why it holds no system.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub problem: Option<String>,
    /// A boot of it has been found good.
    pub good: bool,
    /// Boots that it may still fail.
    pub tries_left: u32,
    /// The higher is tried first; 0 is never booted.
    pub priority: u32,
    /// The state that belongs to it.
    pub state_generation: u64,
}

/// What a key is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyState {
    /// It may sign.
    Trusted,
    /// It is not trusted any more, and may be again.
    Retired,
    /// It is never trusted again.
    Revoked,
    /// It is no key, or none that stage1 would boot by.
    Unusable,
}

impl KeyState {
    /// The name that people and JSON use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trusted => "trusted",
            Self::Retired => "retired",
            Self::Revoked => "revoked",
            Self::Unusable => "unusable",
        }
    }
}

/// A key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Its name.
    pub name: String,
    /// The key, 64 hexadecimal digits.
    pub key: String,
    /// Where it comes from: `image`, `link 3`, or the file that cannot be used.
    pub source: String,
    /// What it is good for.
    pub state: KeyState,
    /// The link that has retired or revoked it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub link: Option<u32>,
    /// Why it cannot be used.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub problem: Option<String>,
}

/// The parameters of a successful reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reply {
    /// Of `Install`, until it is done.
    Progress(Progress),
    /// Of `Install`.
    Installed(Installed),
    /// Of `Status`.
    Status(Box<Status>),
    /// Of `Keys` and `AddKeys`.
    Keys(Vec<Key>),
    /// Of `Cancel` and `Rollback`: the slot that it was about.
    Slot(String),
}

/// Every error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "error", content = "parameters")]
pub enum UpdateError {
    /// It was not begun, or not armed, by a rule; nothing that runs has changed.
    #[serde(rename = "io.shark.Update.Refused")]
    Refused {
        /// Which rule.
        reason: String,
    },
    /// The new system would not run.
    #[serde(rename = "io.shark.Update.Unproven")]
    Unproven {
        /// All that is wrong with it.
        problems: Vec<String>,
    },
    /// It was tried and failed; nothing that runs has changed.
    #[serde(rename = "io.shark.Update.Failed")]
    Failed {
        /// Why.
        reason: String,
    },
    /// It was called off.
    #[serde(rename = "io.shark.Update.Cancelled")]
    Cancelled {},
    /// Another installation is under way.
    #[serde(rename = "io.shark.Update.Busy")]
    Busy {},
    /// The caller may ask but not change.
    #[serde(rename = "io.shark.Update.PermissionDenied")]
    PermissionDenied {},
    /// The call makes no sense.
    #[serde(rename = "io.shark.Update.Misused")]
    Misused {
        /// What is wrong with it.
        reason: String,
    },
}

impl std::fmt::Display for UpdateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused { reason } | Self::Failed { reason } | Self::Misused { reason } => {
                f.write_str(reason)
            }
            Self::Unproven { problems } => {
                let many = if problems.len() == 1 { "" } else { "s" };
                write!(
                    f,
                    "the new system would not run: {} problem{many}",
                    problems.len()
                )
            }
            Self::Cancelled {} => write!(f, "called off"),
            Self::Busy {} => write!(
                f,
                "another update is being installed: see `sharkctl update status`"
            ),
            Self::PermissionDenied {} => write!(f, "only root and the group shark may do this"),
        }
    }
}

/// The message for a call, without its NUL.
///
/// # Errors
/// None is known.
pub fn encode_call(call: &Call) -> Result<Vec<u8>, serde_json::Error> {
    let mut value = serde_json::to_value(call)?;
    if let (Call::Install { .. }, Some(object)) = (call, value.as_object_mut()) {
        object.insert("more".into(), Value::Bool(true));
    }
    serde_json::to_vec(&value)
}

/// Reads a call.
///
/// # Errors
/// For people: what is wrong with it.
pub fn decode_call(message: &[u8]) -> Result<Call, String> {
    let mut object: Map<String, Value> =
        serde_json::from_slice(message).map_err(|error| format!("no Varlink call: {error}"))?;
    object.remove("more");
    // A client library may write empty parameters for none.
    object.retain(|_, value| !value.is_null() && value.as_object().is_none_or(|it| !it.is_empty()));
    if object.get("method") == Some(&Value::from("io.shark.Update.Install")) {
        let none = Value::Object(Map::new());
        object.entry("parameters").or_insert(none);
    }
    let call: Call =
        serde_json::from_value(Value::Object(object)).map_err(|error| error.to_string())?;
    match &call {
        Call::Install { url: Some(url) } if url.len() > URL_MAX => Err(format!(
            "a URL of {} bytes, expected at most {URL_MAX}",
            url.len()
        )),
        Call::AddKeys { links } if links.len() > LINKS_TEXT_MAX => Err(format!(
            "links of keys in {} digits, expected at most {LINKS_TEXT_MAX}",
            links.len()
        )),
        _ => Ok(call),
    }
}

/// The message for an answer, without its NUL. After one that `continues`, more follow.
///
/// # Errors
/// None is known.
pub fn encode_answer(
    answer: &Result<Reply, UpdateError>,
    continues: bool,
) -> Result<Vec<u8>, serde_json::Error> {
    match answer {
        Ok(reply) if continues => {
            serde_json::to_vec(&serde_json::json!({ "parameters": reply, "continues": true }))
        }
        Ok(reply) => serde_json::to_vec(&serde_json::json!({ "parameters": reply })),
        Err(error) => serde_json::to_vec(error),
    }
}

/// Reads an answer.
///
/// # Errors
/// For people: it is none.
pub fn decode_answer(message: &[u8]) -> Result<Result<Reply, UpdateError>, String> {
    let value: Value = serde_json::from_slice(message).map_err(|error| error.to_string())?;
    if value.get("error").is_some() {
        return serde_json::from_value(value)
            .map(Err)
            .map_err(|error| error.to_string());
    }
    let parameters = value.get("parameters").cloned().unwrap_or_default();
    serde_json::from_value(parameters)
        .map(Ok)
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_and_answers_come_back_as_they_were() {
        let url = Some("http://h/x".to_owned());
        for call in [
            Call::Install { url },
            Call::Install { url: None },
            Call::Status,
            Call::Cancel,
            Call::Rollback,
            Call::Keys,
            Call::AddKeys { links: "53".into() },
        ] {
            let message = encode_call(&call).unwrap();
            assert_eq!(decode_call(&message), Ok(call));
        }
        let progress = Progress {
            step: Step::Writing,
            done: 1,
            total: 2,
            trouble: None,
        };
        for answer in [
            Ok(Reply::Progress(progress)),
            Ok(Reply::Slot("b".into())),
            Ok(Reply::Keys(Vec::new())),
            Ok(Reply::Status(Box::default())),
            Err(UpdateError::Busy {}),
            Err(UpdateError::Unproven {
                problems: vec!["x".into()],
            }),
        ] {
            let message = encode_answer(&answer, false).unwrap();
            assert_eq!(decode_answer(&message), Ok(answer));
        }
    }

    #[test]
    fn a_call_as_other_clients_write_it_is_taken_and_nonsense_is_not() {
        let check = |text: &str, expect: Option<Call>| {
            assert_eq!(decode_call(text.as_bytes()).ok(), expect, "{text}");
        };
        let status = Some(Call::Status);
        check(r#"{"method":"io.shark.Update.Status"}"#, status.clone());
        check(
            r#"{"method":"io.shark.Update.Status","parameters":{}}"#,
            status.clone(),
        );
        check(
            r#"{"method":"io.shark.Update.Status","parameters":null,"more":true}"#,
            status,
        );
        let install = Some(Call::Install { url: None });
        check(r#"{"method":"io.shark.Update.Install"}"#, install.clone());
        check(
            r#"{"method":"io.shark.Update.Install","parameters":{"url":null}}"#,
            install,
        );
        check(
            r#"{"method":"io.shark.Update.Install","parameters":{"uri":"x"}}"#,
            None,
        );
        check(r#"{"method":"io.shark.Update.Explode"}"#, None);
        check("[]", None);
        let long = format!(
            r#"{{"method":"io.shark.Update.Install","parameters":{{"url":"{}"}}}}"#,
            "x".repeat(URL_MAX + 1)
        );
        check(&long, None);
    }
}
