//! `org.varlink.service`: what a Varlink service tells of itself, answered without any state.

use serde::{Deserialize, Serialize};

use super::reply::{ControlError, Reply};
use super::{INTERFACE, INTERFACE_TEXT, SERVICE_INTERFACE};

/// The answer to `GetInfo`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// Who made it.
    pub vendor: String,
    /// What it is.
    pub product: String,
    /// Version of the program.
    pub version: String,
    /// Where to read more.
    pub url: String,
    /// Interfaces it has.
    pub interfaces: Vec<String>,
}

/// Varlink's own interface, as its specification words it.
const SERVICE_TEXT: &str = include_str!("service.varlink");

/// Answers `GetInfo`.
#[must_use]
pub fn info() -> Reply {
    Reply::Info(Info {
        vendor: "Shark init".into(),
        product: "init".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        url: "man:io.shark.Init(7)".into(),
        interfaces: vec![SERVICE_INTERFACE.into(), INTERFACE.into()],
    })
}

/// Answers `GetInterfaceDescription`.
///
/// # Errors
/// [`ControlError::InterfaceNotFound`].
pub fn description(interface: &str) -> Result<Reply, ControlError> {
    let text = match interface {
        INTERFACE => INTERFACE_TEXT,
        SERVICE_INTERFACE => SERVICE_TEXT,
        _ => {
            return Err(ControlError::InterfaceNotFound {
                interface: interface.into(),
            });
        }
    };
    Ok(Reply::Description {
        description: text.into(),
    })
}
