//! Finds and reads the file that says how logs are kept. Not here: what it may say (`services`).

use std::path::{Path, PathBuf};

use services::file::{MAX_FILE, log_settings};
use services::log::settings::Settings;

use crate::paths::Paths;

/// Where logs are kept on a disk when nothing else is said.
const DISK: &str = "/var/lib/shark/log";

/// The settings. What is wrong with them is told line by line, and goes without saying then; no file says
/// nothing.
pub(super) fn read(paths: &Paths, tell: fn(&str)) -> Settings {
    let path = paths.log_settings();
    let text = match read_file(&path) {
        Ok(text) => text,
        Err(problem) => {
            tell(&problem);
            String::new()
        }
    };
    let (mut settings, diagnostics) = log_settings(&path.display().to_string(), &text);
    for diagnostic in diagnostics {
        tell(&diagnostic.to_string());
    }
    if settings.directory.is_none() && paths.moved_runtime_dir().is_none() {
        settings.directory = Some(PathBuf::from(DISK));
    }
    settings
}

fn read_file(path: &Path) -> Result<String, String> {
    if !path.exists() {
        return Ok(String::new());
    }
    let text = kernel::files::read_text(&path.display().to_string(), MAX_FILE);
    text.map_err(|error| error.to_string())
}
