//! What is done in the process of a run before its program: conditions, directories that follow the
//! slot, files of variables, credentials. All of it touches paths, which may be on a file system that does not answer, so it is
//! never done by PID 1 but by the starter (`init start`), which then becomes the program. Not here:
//! doing it.

mod condition;
mod env_file;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use condition::{Architecture, Condition, Facts, Slot, Test, Virtualization};
pub use env_file::{EnvFileError, parse_env_file};

/// Largest file of variables, in bytes.
pub const ENV_FILE_MAX: usize = 1 << 20;
/// Largest credential, in bytes.
pub const CREDENTIAL_MAX: usize = 1 << 20;
/// Most credentials of a service.
pub const CREDENTIALS_MAX: usize = 64;
/// Longest credential that is written in a service file: PID 1 keeps it.
pub const CREDENTIAL_TEXT_MAX: usize = 4096;

/// What is done before the program of a run is executed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begin {
    /// All must hold; otherwise the service is skipped.
    pub conditions: Vec<Condition>,
    /// Names of directories below /var/lib that belong to a state generation: what the service keeps there
    /// follows the slot.
    pub versioned: Vec<String>,
    /// Files with variables, later ones going over earlier ones and over those of the service file.
    pub env_files: Vec<EnvFile>,
    /// Secrets that the program finds as files.
    pub credentials: Vec<Credential>,
}

impl Begin {
    /// Whether there is nothing to be done, so that the program is executed right away.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self {
            conditions,
            versioned,
            env_files,
            credentials,
        } = self;
        conditions.is_empty()
            && versioned.is_empty()
            && env_files.is_empty()
            && credentials.is_empty()
    }
}

/// A file with variables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvFile {
    /// Absolute path.
    pub path: PathBuf,
    /// Whether it may be missing.
    pub optional: bool,
}

/// A secret that the program finds as a file of this name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// Name of the file.
    pub name: String,
    /// Where it comes from.
    pub from: CredentialSource,
}

/// Where a credential comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CredentialSource {
    /// A file, by its absolute path.
    File(PathBuf),
    /// The service file.
    Text(String),
}
