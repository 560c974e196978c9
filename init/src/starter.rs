//! The starter, `init start`: the process of a run, or of a command beside one, before its program. It
//! gets into the cgroup where others live already, looks at conditions, puts directories of the state
//! generation in place, reads files of variables, lays out credentials, gives up root, and becomes the
//! program. Not here: what is asked for (`services::begin`), and what PID 1 makes of it (`pid1::begin`).
//!
//! Any of these paths may be on a file system that does not answer; then this process waits, in the
//! cgroup of the service and within its start time-out, and nobody else does. The same holds for the
//! processor: in a cgroup with much to do, little weight or a quota that is used up everybody waits for its
//! turn, and PID 1 would wait with a child that is born in it. Only who needs one of these things has a
//! starter at all.
//!
//! What it has done goes to PID 1 by the notify socket, ahead of its end and of all that the program
//! says. "Ready" is said right before the program is executed, and holds once a pipe that goes along has
//! ended, which is what execve(2) does to it: should that fail after all, the pipe says so, and nobody
//! has been told that the service is up.

mod credentials;
mod entry;
mod facts;
mod state;

use std::ffi::CString;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixDatagram;
use std::process::ExitCode;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use services::begin::{Begin, ENV_FILE_MAX, EnvFile, parse_env_file};
use services::definition::Ids;
use services::notify::{Begun, encode_begun};

use self::entry::Entered;
use crate::errand;

/// Between two tries to reach PID 1.
const PAUSE: Duration = Duration::from_millis(10);
/// Largest order that is read.
const ORDER_MAX: usize = 4 << 20;
/// Names the directory of the credentials.
pub const CREDENTIALS_VARIABLE: &str = "CREDENTIALS_DIRECTORY";
/// Variables that say how to reach init: no file of variables replaces them.
const OURS: [&str; 6] = [
    "NOTIFY_SOCKET",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PID",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
];

/// What PID 1 asks for.
#[derive(Debug, Serialize, Deserialize)]
pub struct Order {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Path of the cgroup to get into; `None`: this process was born in the right one.
    pub cgroup: Option<String>,
    /// What is done before.
    pub begin: Begin,
    /// Whom to run as; `None` stays root.
    pub ids: Option<Ids>,
    /// Working directory of the program. It may be one that is only put in place.
    pub working_dir: String,
    /// Directory of the state generation of this boot, where there is one.
    pub generation: Option<String>,
    /// Directory of the credentials, where there are some.
    pub credentials: Option<String>,
    /// Where PID 1 is told; `None`: this is no main process, and the credentials are there already.
    pub notify_socket: Option<String>,
    /// What is known of the machine.
    pub known: Known,
}

/// What PID 1 knows of the machine.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Known {
    /// The slot it was booted from.
    pub slot: Option<String>,
    /// Value of the variable `container` of PID 1.
    pub container: Option<String>,
    /// A file that is there on the first boot only.
    pub first_boot_mark: String,
}

/// Does what the order in descriptor `number` says; comes back only if that cannot be done. Why not is
/// left in descriptor `words`, where there is one.
#[must_use]
pub fn run(number: &str, words: Option<&str>) -> ExitCode {
    let taken = words.map(take_words).transpose();
    let (order, words) = match (read_order(number), taken) {
        (Ok(order), Ok(words)) => (order, words),
        (Err(error), _) | (_, Err(error)) => {
            eprintln!("init start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let begun = match enter(&order) {
        Ok(Entered::There(child)) => return entry::end_as(child),
        Ok(Entered::Born(parent)) => begin(&order, Some(parent)),
        Ok(Entered::Here) => begin(&order, None),
        Err(cause) => Err(Failure::from(cause)),
    };
    match begun {
        Ok(Done::Skipped(condition)) => {
            tell(&order, &Begun::Skipped(condition));
            ExitCode::SUCCESS
        }
        // 127 as a shell has it, and as the spawn of other services ends.
        Err(Failure { cause, told }) => {
            leave(words, &cause);
            if !told {
                tell(&order, &Begun::Failed(cause));
            }
            ExitCode::from(127)
        }
    }
}

/// The file for words, which the program is not to find.
fn take_words(number: &str) -> Result<RawFd, String> {
    let fd = descriptor(number)?;
    kernel::exec::close_on_exec(fd).map_err(|error| error.to_string())?;
    Ok(fd)
}

/// Says why there is no program: where PID 1 looks for it, or else in the log of the service.
fn leave(words: Option<RawFd>, cause: &str) {
    let left = words.is_some_and(|fd| {
        let opened = File::options()
            .write(true)
            .open(format!("/proc/self/fd/{fd}"));
        let written = opened.and_then(|mut file| file.write_all(cause.as_bytes()).map(|()| file));
        written.is_ok_and(|file| kernel::memfd::seal(file).is_ok())
    });
    if !left {
        eprintln!("init start: {cause}");
    }
}

fn descriptor(number: &str) -> Result<RawFd, String> {
    let read = number.parse();
    read.map_err(|_| format!("{number:?} is not a descriptor; PID 1 runs this by itself"))
}

fn read_order(number: &str) -> Result<Order, String> {
    let fd = descriptor(number)?;
    let bytes = kernel::files::read(&format!("/proc/self/fd/{fd}"), ORDER_MAX);
    let order = errand::unpack(&bytes.map_err(|error| error.to_string())?)?;
    kernel::exec::close(fd);
    Ok(order)
}

/// How it ends, other than in the program.
enum Done {
    /// This condition does not hold.
    Skipped(String),
}

/// Why there is no program.
struct Failure {
    cause: String,
    /// PID 1 has been told already.
    told: bool,
}

impl From<String> for Failure {
    fn from(cause: String) -> Self {
        Self { cause, told: false }
    }
}

fn enter(order: &Order) -> Result<Entered, String> {
    match (&order.cgroup, &order.notify_socket) {
        (Some(path), None) => entry::be_born(path),
        (Some(path), Some(_)) => entry::be_moved(path),
        (None, _) => Ok(Entered::Here),
    }
}

/// Does what the order says, in the process that is to end with `parent`.
fn begin(order: &Order, parent: Option<u32>) -> Result<Done, Failure> {
    let facts = facts::Machine::new(&order.known);
    for condition in &order.begin.conditions {
        let holds = condition.holds(&facts);
        if !holds.map_err(|error| format!("condition {condition}: {error}"))? {
            return Ok(Done::Skipped(condition.to_string()));
        }
    }
    let ids = order.ids.as_ref();
    if !order.begin.versioned.is_empty() {
        state::put_in_place(order.generation.as_deref(), &order.begin.versioned, ids)?;
    }
    let changed = std::env::set_current_dir(&order.working_dir);
    changed.map_err(|error| format!("chdir {}: {error}", order.working_dir))?;
    let mut environment: Vec<(Vec<u8>, Vec<u8>)> = std::env::vars_os()
        .map(|(name, value)| (name.into_vec(), value.into_vec()))
        .collect();
    for file in &order.begin.env_files {
        for (name, value) in read_env_file(file)? {
            if !OURS.contains(&name.as_str()) {
                set(&mut environment, &name, value);
            }
        }
    }
    if let Some(directory) = &order.credentials {
        if order.notify_socket.is_some() {
            credentials::lay_out(directory, &order.begin.credentials, ids)?;
        }
        set(&mut environment, CREDENTIALS_VARIABLE, directory.clone());
    }
    Err(become_program(order, &environment, parent)?)
}

/// Comes back only with the reason why it cannot.
fn become_program(
    order: &Order,
    environment: &[(Vec<u8>, Vec<u8>)],
    parent: Option<u32>,
) -> Result<Failure, String> {
    let text = |bytes: Vec<u8>| CString::new(bytes).map_err(|_| "holds a NUL byte".to_owned());
    let command = order.command.iter().map(|word| text(word.clone().into()));
    let command: Vec<CString> = command.collect::<Result<_, _>>()?;
    let variables = environment.iter();
    let variables = variables.map(|(name, value)| text([name, &b"="[..], value].concat()));
    let variables: Vec<CString> = variables.collect::<Result<_, _>>()?;
    let program = order.command.first().map_or("", String::as_str);
    if !kernel::files::exists(program) {
        return Err(format!("execve {program}: there is no such file"));
    }
    // While this is still root: the socket of init may be out of reach afterwards.
    let pipe = match &order.notify_socket {
        Some(path) => Some(say_ready(path)?),
        None => None,
    };
    let cause = match execute(order, &command, &variables, parent) {
        Ok(()) => "the program was not executed, and the kernel does not say why".to_owned(),
        Err(error) => error.to_string(),
    };
    let word = encode_begun(&Begun::Failed(cause.clone()));
    let written = pipe.map(|pipe| kernel::pipe::write(&pipe, word.as_bytes()));
    let told = matches!(written, Some(Ok(Some(_))));
    Ok(Failure { cause, told })
}

fn execute(
    order: &Order,
    command: &[CString],
    variables: &[CString],
    parent: Option<u32>,
) -> kernel::Result<()> {
    if let Some(ids) = &order.ids {
        let ids = kernel::spawn::Ids {
            uid: ids.uid,
            gid: ids.gid,
            groups: ids.groups.clone(),
        };
        kernel::exec::set_ids(&ids)?;
    }
    if let Some(parent) = parent {
        kernel::exec::end_with(parent)?;
    }
    kernel::exec::execute(command, variables)
}

/// Says that all is ready for the program, and leaves PID 1 the end of a pipe whose other end is closed
/// with the start of the program. Waits while PID 1 has too much to read.
fn say_ready(path: &str) -> Result<OwnedFd, String> {
    let told = |error: kernel::Error| format!("tell init by {path}: {error}");
    let socket = UnixDatagram::unbound().map_err(|error| format!("socket: {error}"))?;
    let connected = socket.connect(path);
    connected.map_err(|error| format!("tell init by {path}: {error}"))?;
    let (read, write) = kernel::pipe::pair().map_err(told)?;
    let word = encode_begun(&Begun::Ready);
    while !kernel::unix::send_with_fds(&socket, word.as_bytes(), &[read.as_fd()]).map_err(told)? {
        std::thread::sleep(PAUSE);
    }
    Ok(write)
}

fn tell(order: &Order, begun: &Begun) {
    if let (Some(path), Ok(socket)) = (&order.notify_socket, UnixDatagram::unbound()) {
        send(&socket, path, begun);
    }
}

fn send(socket: &UnixDatagram, path: &str, begun: &Begun) {
    if let Err(error) = socket.send_to(encode_begun(begun).as_bytes(), path) {
        eprintln!("init start: tell init by {path}: {error}");
    }
}

fn read_env_file(file: &EnvFile) -> Result<Vec<(String, String)>, String> {
    let path = file.path.display().to_string();
    match kernel::files::read(&path, ENV_FILE_MAX) {
        Ok(bytes) => {
            let text = String::from_utf8(bytes).map_err(|_| format!("{path}: is not UTF-8"))?;
            parse_env_file(&text).map_err(|error| format!("{path}: {error}"))
        }
        Err(error) if file.optional && error.errno == kernel::Errno::NOENT => Ok(Vec::new()),
        Err(error) => Err(format!("env-files: {error}")),
    }
}

/// Sets a variable, in place of an earlier one of that name.
fn set(environment: &mut Vec<(Vec<u8>, Vec<u8>)>, name: &str, value: String) {
    let known = environment.iter_mut();
    match known
        .into_iter()
        .find(|(known, _)| known == name.as_bytes())
    {
        Some((_, old)) => *old = value.into_bytes(),
        None => environment.push((name.as_bytes().to_vec(), value.into_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_may_be_missing_may_only_be_missing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("env");
        let file = |optional| EnvFile {
            path: path.clone(),
            optional,
        };
        assert_eq!(read_env_file(&file(true)), Ok(Vec::new()));
        let told = read_env_file(&file(false)).unwrap_err();
        assert!(
            told.starts_with("env-files: open ") && told.contains("ENOENT"),
            "{told}"
        );
        std::fs::write(&path, "A=1\nB\n").unwrap();
        let told = read_env_file(&file(true)).unwrap_err();
        assert!(told.contains("line 3") || told.contains("line 2"), "{told}");
        std::fs::write(&path, b"A=\xff\n").unwrap();
        assert!(read_env_file(&file(true)).unwrap_err().contains("UTF-8"));
    }

    #[test]
    fn a_variable_is_there_once() {
        let mut environment = Vec::new();
        set(&mut environment, "A", "1".to_owned());
        set(&mut environment, "B", "2".to_owned());
        set(&mut environment, "A", "3".to_owned());
        let pair = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
        assert_eq!(environment, [pair("A", "3"), pair("B", "2")]);
    }
}
