//! A Varlink server in a thread, and a machine behind it, for the tests of the verbs.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use services::control::reply::{Changed, ChangedKeys};
use services::control::{
    BootInfo, BootMode, BootState, ControlError, RelationsPage, Reply, Request, ServiceRelations,
    ServicesPage, encode_error, encode_reply,
};
use services::status::{ServiceStatus, StateName};

use super::{Ran, run};

/// The one page of a list.
pub(crate) fn services_page(services: Vec<ServiceStatus>) -> Reply {
    Reply::Services(ServicesPage {
        services,
        next: None,
    })
}

/// How the server answers one request.
pub(super) type Answer = Result<Reply, ControlError>;

/// A server that answers by `answer`, and what it was asked for. Its thread ends with the process.
pub(super) struct Server {
    pub(super) directory: tempfile::TempDir,
    asked: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub(super) fn new(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("io.shark.Init")).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answer, seen) = (Arc::new(answer), Arc::clone(&asked));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (answer, seen) = (Arc::clone(&answer), Arc::clone(&seen));
                std::thread::spawn(move || serve(&stream.unwrap(), &*answer, &seen));
            }
        });
        Self { directory, asked }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.directory.path().join("io.shark.Init")
    }

    pub(super) fn run(&self, line: &str) -> Ran {
        let socket = self.path();
        run(&format!("--socket {} {line}", socket.display()))
    }

    /// Requests that are not questions.
    pub(super) fn changes(&self) -> Vec<Request> {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|r| r.changes()).cloned().collect()
    }
}

pub(super) fn serve(
    mut stream: &UnixStream,
    answer: &dyn Fn(&Request) -> Answer,
    seen: &Mutex<Vec<Request>>,
) {
    let mut message = Vec::new();
    let mut byte = [0];
    while stream.read_exact(&mut byte).is_ok() {
        if byte != [0] {
            message.push(byte[0]);
            continue;
        }
        let request = Request::parse(&message).unwrap().request;
        message.clear();
        seen.lock().unwrap().push(request.clone());
        let bytes = match answer(&request) {
            Ok(reply) => encode_reply(&reply),
            Err(error) => encode_error(&error),
        };
        if stream.write_all(&bytes).is_err() {
            return;
        }
    }
}

pub(crate) fn service(name: &str, state: StateName) -> ServiceStatus {
    ServiceStatus {
        name: name.into(),
        description: format!("About {name}"),
        kind: "simple".into(),
        state,
        wanted: state != StateName::Down,
        reason: None,
        because: None,
        last_failure: None,
        status_text: None,
        pid: Some(42).filter(|_| state == StateName::Up),
        restarts: 0,
        retry_us: None,
        since_us: 0,
        started_us: None,
        ready_us: None,
        memory_bytes: None,
        tasks: None,
        left_running: None,
        health: None,
        watchdog_us: None,
        stored: Vec::new(),
        timer: None,
        boot_role: None,
        source: format!("/etc/shark/services/{name}.toml"),
    }
}

pub(super) fn boot(state: BootState) -> BootInfo {
    BootInfo {
        mode: BootMode::Container,
        slot: None,
        why: "no slots in a container".into(),
        version: None,
        root_hash: None,
        kernel: "6.1".into(),
        target: "default".into(),
        state,
        failed: vec![],
        timings: vec![],
        missing: vec!["watchdog: none".into()],
        gate: None,
        committed: false,
        trial: false,
        boot_number: None,
        watchdog: None,
    }
}

/// A machine: `up` is up, `down` down, `bad` failed; changes of `bad` fail, of `locked` are denied, of
/// `busy` refused, of `late` superseded, of `slow` done after two and a half seconds.
pub(super) fn machine(request: &Request) -> Answer {
    match request {
        Request::List { .. } => Ok(services_page(vec![
            service("down", StateName::Down),
            service("up", StateName::Up),
        ])),
        Request::Status { name } => status(name),
        Request::Start { name }
        | Request::Stop { name, .. }
        | Request::Restart { name }
        | Request::ReloadService { name } => change(name),
        Request::ReloadAll { .. } => Ok(Reply::Changed(Changed {
            added: vec!["new".into()],
            changed: vec!["up".into()],
            removed: vec![],
            keys: vec![ChangedKeys {
                name: "up".into(),
                keys: vec!["exec".into(), "restart.delay".into()],
            }],
            keeping: vec!["up".into()],
            logs: true,
        })),
        Request::Relations { .. } => Ok(Reply::Relations(relations())),
        Request::Boot => Ok(Reply::Boot {
            boot: Box::new(boot(BootState::Ready)),
        }),
        Request::WaitBoot => Ok(Reply::BootFailed { failed: vec![] }),
        Request::Shutdown { .. } | Request::Reexec { .. } => Ok(Reply::Done {}),
        Request::DebugPanic => Err(ControlError::PermissionDenied {}),
        Request::Trace => Ok(Reply::Trace {
            text: String::new(),
        }),
        Request::WaitGate | Request::BootRecord | Request::Metrics => Err(ControlError::Refused {
            reason: "this boot has no gate".into(),
        }),
        Request::BootGood { .. } | Request::BootBad { .. } | Request::SetSlot { .. } => {
            Ok(Reply::Done {})
        }
        Request::GetInfo | Request::GetInterfaceDescription { .. } => panic!("not asked for"),
    }
}

/// `up` wants `down`, and that is all.
fn relations() -> RelationsPage {
    let of = |name: &str, wants: Vec<String>| ServiceRelations {
        name: name.into(),
        wants,
        ..ServiceRelations::default()
    };
    RelationsPage {
        relations: vec![of("down", vec![]), of("up", vec!["down".into()])],
        next: None,
    }
}

pub(super) fn status(name: &str) -> Answer {
    let state = match name {
        "up" => StateName::Up,
        "down" => StateName::Down,
        "slow" => StateName::Starting,
        "bad" => StateName::Failed,
        _ => return Err(ControlError::NoSuchService { name: name.into() }),
    };
    let mut service = service(name, state);
    service.reason = Some("exit status 3".into()).filter(|_| state == StateName::Failed);
    Ok(Reply::Service {
        service: Box::new(service),
    })
}

pub(super) fn change(name: &str) -> Answer {
    let reason = || "exit status 3".to_owned();
    let name = name.to_owned();
    match name.as_str() {
        "bad" => Err(ControlError::Failed {
            name,
            reason: reason(),
        }),
        "locked" => Err(ControlError::PermissionDenied {}),
        "busy" => Err(ControlError::Refused { reason: reason() }),
        "late" => Err(ControlError::Superseded {}),
        "slow" => {
            std::thread::sleep(Duration::from_millis(2500));
            Ok(Reply::Done {})
        }
        "up" | "down" => Ok(Reply::Done {}),
        _ => Err(ControlError::NoSuchService { name }),
    }
}
