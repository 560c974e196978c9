//! An errand: one thing that a child of PID 1 does and ends, because it may wait for a disk. Here is
//! what such a child finds when it starts and how it leaves its answer. Not here: the errands
//! (`record`, `scrub`, `budget`), and PID 1's side (`pid1::errands`).

use std::io::Write;
use std::process::ExitCode;

/// The descriptor of the memfd for the answer.
pub const ANSWER_FD: i32 = 3;
/// The descriptor of the memfd with what is more than fits an argument.
pub const INPUT_FD: i32 = 4;
/// Largest answer, and largest input.
pub const SIZE_MAX: usize = 4 << 20;
/// Set for a child of PID 1, which then leaves its answer in the memfd and not on stdout.
pub const VARIABLE: &str = "SHARK_ERRAND";

/// The input.
///
/// # Errors
/// For people.
pub fn input() -> Result<Vec<u8>, String> {
    kernel::files::read(&format!("/proc/self/fd/{INPUT_FD}"), SIZE_MAX)
        .map_err(|error| error.to_string())
}

/// Leaves the answer, or the words of what failed, and gives the exit status. A person who tries the
/// errand by hand has it on the terminal.
#[must_use]
pub fn answer(result: Result<Vec<u8>, String>) -> ExitCode {
    let (bytes, status) = match result {
        Ok(bytes) => (bytes, ExitCode::SUCCESS),
        Err(words) => (words.into_bytes(), ExitCode::FAILURE),
    };
    let written = if std::env::var_os(VARIABLE).is_some() {
        leave(&bytes)
    } else if status == ExitCode::SUCCESS {
        std::io::stdout()
            .write_all(&bytes)
            .map_err(|error| error.to_string())
    } else {
        eprintln!("init: {}", String::from_utf8_lossy(&bytes));
        Ok(())
    };
    match written {
        Ok(()) => status,
        Err(error) => {
            eprintln!("init: answer: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Writes the answer and seals it: PID 1 reads nothing that may still change.
fn leave(bytes: &[u8]) -> Result<(), String> {
    let path = format!("/proc/self/fd/{ANSWER_FD}");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .map_err(|error| format!("open {path}: {error}"))?;
    file.write_all(bytes)
        .map_err(|error| format!("write {path}: {error}"))?;
    kernel::memfd::seal(&file).map_err(|error| error.to_string())
}
