//! Why a service is in its state: the words for people, and the service they blame, for programs. Not
//! here: when a reason is noted, and which one is told of a state (`inform`).

use serde::{Deserialize, Serialize};

use crate::id::ServiceName;

/// What is noted of a service that ended, or is to end, or was never started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reason {
    text: Box<str>,
    because: Option<ServiceName>,
}

impl Reason {
    /// One that lies in the service itself, or with who asked.
    pub(super) fn own(text: impl Into<Box<str>>) -> Self {
        Self {
            text: text.into(),
            because: None,
        }
    }

    /// One that another service is to blame for; the words name it.
    pub(super) fn blaming(other: ServiceName, text: impl Into<Box<str>>) -> Self {
        Self {
            text: text.into(),
            because: Some(other),
        }
    }

    /// The same with more to say of it.
    pub(super) fn extended(&self, more: &str) -> Self {
        Self {
            text: format!("{}{more}", self.text).into(),
            because: self.because.clone(),
        }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn into_text(self) -> String {
        self.text.into_string()
    }

    pub(super) fn because(&self) -> Option<&ServiceName> {
        self.because.as_ref()
    }
}

impl From<&str> for Reason {
    fn from(text: &str) -> Self {
        Self::own(text)
    }
}

impl From<String> for Reason {
    fn from(text: String) -> Self {
        Self::own(text)
    }
}
