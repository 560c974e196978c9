//! An errand: one thing that a child of PID 1 does and ends, because it may wait for a disk. Here is
//! what such a child finds when it starts and how it leaves its answer. Not here: the errands
//! (`record`, `scrub`, `budget`), and PID 1's side (`pid1::errands`).

use std::io::{Read, Write};
use std::process::ExitCode;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The descriptor of the memfd for the answer.
pub const ANSWER_FD: i32 = 3;
/// The descriptor of the memfd with what is more than fits an argument.
pub const INPUT_FD: i32 = 4;
/// Largest answer, and largest input.
pub const SIZE_MAX: usize = 4 << 20;
/// Set for a child of PID 1. Without it somebody tries the errand by hand: input and answer are then
/// stdin and stdout.
pub const VARIABLE: &str = "SHARK_ERRAND";

/// Whether somebody tries the errand by hand.
#[must_use]
pub fn is_by_hand() -> bool {
    std::env::var_os(VARIABLE).is_none()
}

/// The input, unpacked.
///
/// # Errors
/// For people.
pub fn input<T: DeserializeOwned>() -> Result<T, String> {
    if is_by_hand() {
        let limit = u64::try_from(SIZE_MAX).unwrap_or(u64::MAX);
        let mut bytes = Vec::new();
        std::io::stdin()
            .take(limit)
            .read_to_end(&mut bytes)
            .map_err(|error| format!("read stdin: {error}"))?;
        return unpack(&bytes);
    }
    let bytes = kernel::files::read(&format!("/proc/self/fd/{INPUT_FD}"), SIZE_MAX);
    unpack(&bytes.map_err(|error| error.to_string())?)
}

/// A value as bytes for another part of this very program; no other version ever reads them.
///
/// # Errors
/// For people; none is known for the values of this program.
pub fn pack<T: Serialize>(value: &T) -> Result<Vec<u8>, String> {
    postcard::to_allocvec(value).map_err(|error| error.to_string())
}

/// The value that was packed.
///
/// # Errors
/// For people: these are other bytes.
pub fn unpack<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    postcard::from_bytes(bytes)
        .map_err(|error| format!("what another part of init has left cannot be read: {error}"))
}

/// Leaves the answer, or the words of what failed, and gives the exit status. A person who tries the
/// errand by hand has it on the terminal.
#[must_use]
pub fn answer(result: Result<Vec<u8>, String>) -> ExitCode {
    let (bytes, status) = match result {
        Ok(bytes) => (bytes, ExitCode::SUCCESS),
        Err(words) => (words.into_bytes(), ExitCode::FAILURE),
    };
    let written = if !is_by_hand() {
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
