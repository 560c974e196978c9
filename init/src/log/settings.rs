//! Finds and reads the file that says how logs are kept, and keeps what was right of it last. Not here: what it
//! may say (`services`).

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use services::diagnostic::{Diagnostic, Place};
use services::file::{MAX_FILE, log_settings};
use services::log::settings::Settings;

use crate::paths::Paths;

/// Where logs are kept on a disk when nothing else is said.
const DISK: &str = "/var/lib/shark/log";
/// In the directory of logs: the last file without a mistake. No service can have the name.
const LAST: &str = "=settings";

/// What is known of the file to those who do not keep logs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Stands for what it says.
    pub number: u64,
    /// What is wrong with it.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads the file; no file says nothing.
#[must_use]
pub fn find(paths: &Paths) -> Found {
    let (settings, diagnostics, _) = look(paths);
    Found {
        number: number(&settings),
        diagnostics,
    }
}

/// Stands for settings: others have another, as good as always.
#[must_use]
pub(super) fn number(settings: &Settings) -> u64 {
    let mut hasher = DefaultHasher::new();
    format!("{settings:?}").hash(&mut hasher);
    hasher.finish()
}

/// The settings of a logger. What is wrong with the file is told line by line; those that were right before go
/// on counting then, or what goes without saying where there were none.
pub(super) fn read(paths: &Paths, tell: fn(&str)) -> Settings {
    let (settings, diagnostics, text) = look(paths);
    let last = paths.log_dir().join(LAST);
    if diagnostics.is_empty() {
        // Not kept, it is not there for a logger that finds mistakes.
        let _ = fs::write(last, text);
        return settings;
    }
    for diagnostic in diagnostics {
        tell(&diagnostic.to_string());
    }
    match read_file(&last) {
        Ok(text) if last.exists() => {
            tell("the settings of logs stay as they were before");
            settings_of(paths, &last, &text).0
        }
        Ok(_) | Err(_) => settings,
    }
}

/// The settings, what is wrong with them, and the text.
fn look(paths: &Paths) -> (Settings, Vec<Diagnostic>, String) {
    let path = paths.log_settings();
    let (text, problem) = match read_file(&path) {
        Ok(text) => (text, None),
        Err(problem) => (String::new(), Some(problem)),
    };
    let (settings, mut diagnostics) = settings_of(paths, &path, &text);
    let whole = Place::whole(&path.display().to_string());
    diagnostics.extend(problem.map(|it| Diagnostic::new(&whole, it)));
    (settings, diagnostics, text)
}

fn settings_of(paths: &Paths, path: &Path, text: &str) -> (Settings, Vec<Diagnostic>) {
    let (mut settings, diagnostics) = log_settings(&path.display().to_string(), text);
    if settings.directory.is_none() && paths.moved_runtime_dir().is_none() {
        settings.directory = Some(PathBuf::from(DISK));
    }
    (settings, diagnostics)
}

fn read_file(path: &Path) -> Result<String, String> {
    if !path.exists() {
        return Ok(String::new());
    }
    let text = kernel::files::read_text(&path.display().to_string(), MAX_FILE);
    text.map_err(|error| error.to_string())
}
