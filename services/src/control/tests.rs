//! The interface text and the types say the same, and replies survive the wire.

use super::introspect::{description, info};
use super::reply::{ERRORS, ReplyError};
use super::request::METHODS;
use super::*;
use crate::diagnostic::{Diagnostic, Place};
use crate::status::{
    HealthName, HealthStatus, RoleName, ServiceStatus, ShutdownKind, StateName, TimerStatus,
};
use crate::update::LoaderStatus;

/// The first page.
const LIST: Request = Request::List { from: None };

/// The text without comments, on one line, with single spaces.
fn bare() -> String {
    let code = INTERFACE_TEXT
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default());
    let words: Vec<&str> = code.flat_map(str::split_whitespace).collect();
    words.join(" ")
}

/// What stands in the parentheses after `start`.
fn members(start: &str) -> Vec<String> {
    let text = bare();
    let at = text.find(start).unwrap_or_else(|| panic!("no `{start}`"));
    let rest = &text[at + start.len()..];
    let inner = &rest[..rest.find(')').expect("a closing parenthesis")];
    let members = inner.trim_start_matches([' ', '(']).split(',');
    members
        .map(|member| {
            let name = member.split(':').next().unwrap_or_default();
            name.trim().to_owned()
        })
        .filter(|name| !name.is_empty())
        .collect()
}

/// The keys a value is written with.
fn keys(value: &impl serde::Serialize) -> Vec<String> {
    let value = serde_json::to_value(value).expect("types of the protocol can be written");
    let object = value.as_object().expect("an object");
    object.keys().cloned().collect()
}

fn check_members(start: &str, value: &impl serde::Serialize) {
    let (mut text, mut rust) = (members(start), keys(value));
    text.sort();
    rust.sort();
    assert_eq!(text, rust, "{start}");
}

fn check_words(start: &str, words: &[serde_json::Value]) {
    let rust: Vec<&str> = words.iter().filter_map(|word| word.as_str()).collect();
    assert_eq!(members(start), rust, "{start}");
}

fn word(value: impl serde::Serialize) -> serde_json::Value {
    serde_json::to_value(value).expect("a word")
}

fn status() -> ServiceStatus {
    ServiceStatus {
        name: "web".into(),
        description: "Web".into(),
        kind: "simple".into(),
        state: StateName::Up,
        wanted: true,
        reason: Some("waits for db".into()),
        because: Some("db".into()),
        last_failure: Some("it exited with status 1".into()),
        status_text: Some("serving".into()),
        pid: Some(7),
        restarts: 0,
        retry_us: Some(3),
        since_us: 1,
        started_us: Some(1),
        ready_us: Some(1),
        memory_bytes: Some(4096),
        tasks: Some(2),
        timer: Some(TimerStatus {
            next_us: Some(1),
            next_unix: Some(1),
            last_unix: Some(1),
            result: Some("success".into()),
            missed: 0,
        }),
        left_running: Some(12),
        health: Some(HealthStatus {
            state: HealthName::Failing,
            since_us: 3,
            failed: 2,
            words: Some("it exited with status 1".into()),
        }),
        watchdog_us: Some(30_000_000),
        stored: vec!["state".into()],
        boot_role: Some(RoleName::Essential),
        source: "web.toml".into(),
    }
}

fn boot() -> BootInfo {
    BootInfo {
        mode: BootMode::Disk,
        slot: Some("a".into()),
        why: "priority".into(),
        version: Some("1".into()),
        root_hash: Some("00".into()),
        kernel: "6.1".into(),
        target: "default".into(),
        state: BootState::Ready,
        failed: vec!["net".into()],
        timings: vec![Timing {
            name: "ready".into(),
            us: 9,
        }],
        missing: vec!["watchdog: no device".into()],
        gate: Some(gate()),
        committed: true,
        trial: true,
        boot_number: Some(7),
        watchdog: Some("i6300ESB timer, 60 s".into()),
    }
}

fn gate() -> GateInfo {
    GateInfo {
        state: GateState::Open,
        since_us: 1,
        deadline_us: Some(300_000_000),
        waiting: vec!["web: starting".into()],
        reason: Some("because".into()),
        wanted_failing: vec!["ntp: waits for net".into()],
        slow: vec!["db: took 12.0s to start, usually 1.1s".into()],
    }
}

fn record() -> BootRecord {
    BootRecord {
        device: Some("/dev/vda5".into()),
        problem: Some("region 1 cannot be read".into()),
        committed: Some(SlotName::A),
        trial: Some(SlotName::B),
        slots: vec![SlotInfo {
            slot: SlotName::A,
            priority: 2,
            tries_left: 3,
            good: true,
            verity_bad: false,
            crashes: 0,
            power_cuts: 1,
            security_version: 4,
            state_generation: 5,
            root_hash: "00".into(),
        }],
        attempt: Some(AttemptInfo {
            number: 9,
            slot: SlotName::B,
            boot_id: "ab".into(),
            state: "failed".into(),
            ended: Some("gate-failed".into()),
            phase: "gate".into(),
            started_unix: 1,
            uptime_seconds: 300,
            text: "web failed".into(),
        }),
        history: vec![PastBoot {
            number: 8,
            slot: SlotName::A,
            ended: "reboot".into(),
            phase: "ending".into(),
            uptime_seconds: 60,
            ended_unix: 1,
            times: 2,
            text: String::new(),
        }],
        loader: Some(LoaderStatus {
            kind: "uefi".into(),
            next: Some("b".into()),
            slots: vec!["blessed".into(), "armed".into()],
            problem: Some("the partition cannot be read".into()),
        }),
        ..BootRecord::default()
    }
}

fn diagnostic() -> Diagnostic {
    Diagnostic::new(&Place::whole("a.toml"), "wrong")
        .key("exec")
        .expected("a path")
        .hint("exec")
}

#[test]
fn the_text_has_every_type_as_it_is_written() {
    check_members("type ServiceStatus", &status());
    check_members("type Health ", &status().health);
    check_members("type Timer ", &status().timer);
    check_members("type BootInfo", &boot());
    check_members("type Timing", &boot().timings[0]);
    check_members("type GateInfo", &gate());
    check_members("type BootRecord", &record());
    check_members("type SlotInfo", &record().slots[0]);
    check_members("type Attempt", &record().attempt);
    check_members("type PastBoot", &record().history[0]);
    check_members("type Diagnostic", &diagnostic());
    let relations = ServiceRelations::default();
    check_members("type ServiceRelations", &relations);
    check_members("method List(from: ?string) ->", &services_page());
    let page = RelationsPage {
        relations: vec![relations],
        next: Some("web".into()),
    };
    check_members("method Relations(from: ?string) ->", &page);
    check_members("method ReloadAll(dryRun: ?bool) ->", &Changed::default());
    use StateName::{
        Armed, Backoff, Down, Failed, Listening, Skipped, Starting, Stopping, Up, Waiting,
    };
    let states = [
        Down, Armed, Listening, Waiting, Starting, Up, Stopping, Backoff, Failed, Skipped,
    ];
    check_words("type State", &states.map(word));
    let states = [HealthName::Unknown, HealthName::Good, HealthName::Failing];
    check_words("type HealthState", &states.map(word));
    let roles = [RoleName::Essential, RoleName::Wanted, RoleName::Masked];
    check_words("type BootRole", &roles.map(word));
    let kinds = [
        ShutdownKind::Poweroff,
        ShutdownKind::Reboot,
        ShutdownKind::Halt,
        ShutdownKind::SoftReboot,
    ];
    check_words("type ShutdownKind", &kinds.map(word));
    let modes = [
        BootMode::Disk,
        BootMode::Initramfs,
        BootMode::Direct,
        BootMode::Container,
    ];
    check_words("type BootMode", &modes.map(word));
    let states = [BootState::Starting, BootState::Ready, BootState::Degraded];
    check_words("type BootState", &states.map(word));
    use GateState::{None, Open, Passed};
    let states = [Open, Passed, GateState::Failed, None];
    check_words("type GateState", &states.map(word));
    check_words("type Slot ", &[SlotName::A, SlotName::B].map(word));
}

#[test]
fn the_text_has_every_method_and_error_and_no_other() {
    let text = bare();
    for method in METHODS {
        assert!(text.contains(&format!("method {method}(")), "{method}");
        let call = format!(r#"{{"method":"{INTERFACE}.{method}"}}"#);
        let unknown = ControlError::MethodNotFound {
            method: format!("{INTERFACE}.{method}"),
        };
        if let Err(request::Rejected::Answered { error, .. }) = Request::parse(call.as_bytes()) {
            assert_ne!(error, unknown);
        }
    }
    assert_eq!(text.matches("method ").count(), METHODS.len());
    for error in ERRORS {
        assert!(text.contains(&format!("error {error} (")), "{error}");
    }
    assert_eq!(text.matches("error ").count(), ERRORS.len());
}

fn every_error() -> Vec<ControlError> {
    let text = || "x".to_owned();
    vec![
        ControlError::NoSuchService { name: text() },
        ControlError::Failed {
            name: text(),
            reason: text(),
        },
        ControlError::Refused { reason: text() },
        ControlError::Superseded {},
        ControlError::PermissionDenied {},
        ControlError::InvalidServices {
            diagnostics: vec![diagnostic()],
        },
        ControlError::MethodNotFound { method: text() },
        ControlError::InvalidParameter { parameter: text() },
        ControlError::InterfaceNotFound { interface: text() },
        ControlError::MethodNotImplemented { method: text() },
    ]
}

#[test]
fn every_error_survives_the_wire_under_its_own_name() {
    for error in every_error() {
        let mut message = encode_error(&error);
        assert_eq!(message.pop(), Some(0));
        let value: serde_json::Value = serde_json::from_slice(&message).unwrap();
        assert_eq!(value["error"], error.full_name().as_str());
        if let Some(name) = error.full_name().strip_prefix("io.shark.Init.") {
            assert!(ERRORS.contains(&name) && error.is_ours());
            let (mut text, parameters) = (members(&format!("error {name}")), &value["parameters"]);
            text.sort();
            assert_eq!(text, keys(parameters), "{name}");
        }
        let back = decode_reply(&LIST, &message);
        assert_eq!(back, Err(ReplyError::Control(error)));
    }
}

/// A message without its NUL.
fn whole(message: &[u8]) -> &[u8] {
    message.strip_suffix(b"\0").unwrap()
}

fn services_page() -> ServicesPage {
    ServicesPage {
        services: vec![status()],
        next: Some("web".into()),
    }
}

fn stop_all(name: String) -> Request {
    Request::Stop { name, all: true }
}

#[test]
fn every_reply_survives_the_wire() {
    let name = || "web".to_owned();
    let kind = ShutdownKind::Halt;
    let done = Reply::Done {};
    let interface = INTERFACE.to_owned();
    let pairs = [
        (LIST, Reply::Services(services_page())),
        (
            Request::Status { name: name() },
            Reply::Service {
                service: Box::new(status()),
            },
        ),
        (Request::Start { name: name() }, done.clone()),
        (stop_all(name()), done.clone()),
        (Request::Restart { name: name() }, done.clone()),
        (Request::ReloadService { name: name() }, done.clone()),
        (
            Request::ReloadAll { dry_run: false },
            Reply::Changed(Changed {
                added: vec![name()],
                ..Changed::default()
            }),
        ),
        (
            Request::Boot,
            Reply::Boot {
                boot: Box::new(boot()),
            },
        ),
        (
            Request::WaitBoot,
            Reply::BootFailed {
                failed: vec![name()],
            },
        ),
        (
            Request::WaitGate,
            Reply::Gate {
                committed: false,
                reason: Some("web failed".into()),
            },
        ),
        (
            Request::BootRecord,
            Reply::BootRecord {
                record: Box::new(record()),
            },
        ),
        (Request::Trace, Reply::Trace { text: name() }),
        (Request::SetSlot { slot: SlotName::A }, done.clone()),
        (Request::Reexec { program: None }, done.clone()),
        (Request::DebugPanic, done.clone()),
        (Request::Shutdown { kind }, done),
        (Request::GetInfo, info()),
        (
            Request::GetInterfaceDescription {
                interface: interface.clone(),
            },
            description(&interface).unwrap(),
        ),
    ];
    for (request, reply) in pairs {
        let message = encode_reply(&reply);
        assert_eq!(decode_reply(&request, whole(&message)), Ok(reply));
    }
}

#[test]
fn what_is_no_reply_is_told() {
    for message in [
        "",
        "[]",
        "{}",
        r#"{"parameters":{"services":3}}"#,
        r#"{"error":"x.Y"}"#,
    ] {
        let read = decode_reply(&LIST, message.as_bytes());
        assert!(matches!(read, Err(ReplyError::Malformed(_))), "{message}");
    }
}

#[test]
fn introspection() {
    let Reply::Info(info) = info() else {
        panic!("GetInfo is answered with information");
    };
    assert_eq!(info.interfaces, [SERVICE_INTERFACE, INTERFACE]);
    for interface in &info.interfaces {
        let Ok(Reply::Description { description }) = description(interface) else {
            panic!("{interface} is described");
        };
        assert!(description.contains(&format!("interface {interface}\n")));
    }
    let unknown = description("io.other.X");
    let interface = "io.other.X".to_owned();
    assert_eq!(unknown, Err(ControlError::InterfaceNotFound { interface }));
}
