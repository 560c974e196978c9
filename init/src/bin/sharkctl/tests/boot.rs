//! The verbs of `boot`: through init, and on the record itself.

use std::io::Write;
use std::os::unix::fs::FileExt;

use mounts::slot::Slot;
use mounts::slot::account::charge;
use mounts::slot::decide::Why;
use mounts::slot::judge::Stamp;
use mounts::slot::record::Record;
use mounts::slot::region::Place;
use mounts::verity::RootHash;
use services::control::{
    BootInfo, BootRecord, BootState, ControlError, GateInfo, GateState, PastBoot, Reply, Request,
    SlotInfo, SlotName,
};
use services::update::LoaderStatus;

use super::run;
use super::server::{Answer, Server, boot, machine};
use crate::failure::Failure;
use crate::screen::Screen;

#[test]
fn info() {
    let server = Server::new(machine);
    server.run("boot").expect(0, "mode: container", "");
    server
        .run("boot info")
        .expect(0, "missing: watchdog: none\n", "");
    let json = server.run("boot --json").json();
    assert!(json["slot"].is_null() && json["gate"].is_null());
}

#[test]
fn waiting_for_the_services() {
    let server = Server::new(machine);
    // There is no gate in a container.
    server.run("boot wait").expect(0, "", "");
    server.run("boot wait --settled").expect(0, "", "");
    let server = Server::new(|request| match request {
        Request::WaitBoot => Ok(Reply::BootFailed {
            failed: vec!["a".into(), "b".into()],
        }),
        other => machine(other),
    });
    server
        .run("boot wait")
        .expect(1, "", "2 services failed: a, b;");
    assert_eq!(server.run("boot wait --json").json()["failed"][1], "b");
}

/// A machine with a gate that comes to this verdict after a while.
fn gated(committed: bool, reason: Option<&'static str>) -> Server {
    Server::new(move |request| match request {
        Request::Boot => Ok(Reply::Boot {
            boot: Box::new(BootInfo {
                gate: Some(GateInfo {
                    state: GateState::Open,
                    waiting: vec!["api: starting".into()],
                    ..GateInfo::none("")
                }),
                ..boot(BootState::Starting)
            }),
        }),
        Request::WaitGate => {
            std::thread::sleep(std::time::Duration::from_millis(1500));
            let reason = reason.map(str::to_owned);
            Ok(Reply::Gate { committed, reason })
        }
        Request::WaitBoot => panic!("the verdict is waited for, not the services"),
        other => machine(other),
    })
}

#[test]
fn waiting_for_the_verdict() {
    let ran = gated(true, None).run("boot wait");
    ran.expect(0, "", "sharkctl: waiting for api: starting\n");
    let server = gated(false, Some("api failed: exited with status 1"));
    let ran = server.run("boot wait --json");
    ran.expect(
        1,
        "",
        "this boot is not good: api failed: exited with status 1\n",
    );
    assert_eq!(ran.json()["committed"], false);
    assert_eq!(ran.json()["reason"], "api failed: exited with status 1");
    server
        .run("--timeout 1 boot wait")
        .expect(8, "", "gave up waiting for api: starting after 1s");
}

fn recorded(request: &Request) -> Answer {
    match request {
        Request::BootRecord => Ok(Reply::BootRecord {
            record: Box::new(BootRecord {
                boots: 4,
                slots: vec![SlotInfo {
                    slot: SlotName::A,
                    priority: 2,
                    tries_left: 3,
                    good: true,
                    verity_bad: false,
                    crashes: 0,
                    power_cuts: 0,
                    security_version: 1,
                    state_generation: 0,
                    root_hash: "07".into(),
                }],
                loader: Some(LoaderStatus {
                    kind: "uefi".into(),
                    next: Some("a".into()),
                    slots: vec!["blessed".into(), "tried".into()],
                    problem: None,
                }),
                problem: None,
                history: vec![PastBoot {
                    number: 3,
                    slot: SlotName::B,
                    ended: "panic".into(),
                    phase: "gate".into(),
                    uptime_seconds: 7,
                    ended_unix: 1,
                    times: 1,
                    text: "sysrq triggered crash".into(),
                }],
                ..BootRecord::default()
            }),
        }),
        other => machine(other),
    }
}

#[test]
fn history_by_init() {
    let server = Server::new(recorded);
    let row =
        "   3  b     1970-01-01 00:00:01  gate   panic    7.0s         sysrq triggered crash\n";
    server.run("boot history").expect(0, row, "");
    let json = server.run("boot history --json").json();
    assert_eq!(json["history"][0]["ended"], "panic");
    assert!(json["attempt"].is_null());
    let json = server.run("boot record --json").json();
    assert_eq!(
        (&json["boots"], &json["loader"]["slots"][1]),
        (&4.into(), &"tried".into())
    );
    let told = server.run("boot record");
    let loader = "   loader: uefi, starts a next (a blessed, b tried)\n";
    assert!(told.out.contains(loader), "{}", told.out);
    let server = Server::new(machine);
    server
        .run("boot history")
        .expect(6, "", "refused: this boot has no gate");
}

#[test]
fn verdicts_by_init() {
    let server = Server::new(machine);
    server
        .run("boot good")
        .expect(0, "this boot is good; its slot is committed\n", "");
    let json = server.run("boot good --reason seen --json").json();
    assert_eq!(json["committed"], true);
    server
        .run("boot bad --reason dark")
        .expect(0, "the slot is given up; restarting\n", "");
    let json = server.run("boot bad --reason dark --no-reboot --json");
    assert_eq!(json.json()["reboot"], false);
    server
        .run("boot set-slot b")
        .expect(0, "slot b is booted first", "");
    assert_eq!(server.run("boot set-slot a --json").json()["slot"], "a");
    server
        .run("boot bad --reason x --slot a")
        .expect(2, "", "--slot is for a record on a device");
    let reason = || "dark".to_owned();
    assert_eq!(
        server.changes(),
        [
            Request::BootGood { reason: None },
            Request::BootGood {
                reason: Some("seen".into())
            },
            Request::BootBad {
                reason: reason(),
                reboot: true
            },
            Request::BootBad {
                reason: reason(),
                reboot: false
            },
            Request::SetSlot { slot: SlotName::B },
            Request::SetSlot { slot: SlotName::A },
        ]
    );
    let server = Server::new(|_| {
        Err(ControlError::Failed {
            name: "boot".into(),
            reason: "write /dev/vda5: EIO".into(),
        })
    });
    server
        .run("boot good")
        .expect(1, "", "boot: write /dev/vda5: EIO");
}

#[test]
fn a_reason_says_something() {
    let mut screen = (Vec::new(), Vec::new());
    let words = ["sharkctl", "boot", "bad", "--reason", " \t"].map(Into::into);
    let status = crate::run(words, &mut screen.0, &mut screen.1, false);
    assert_eq!(status, 2, "{screen:?}");
}

/// A state partition with two slots and boot 1 of slot b under way.
fn partition() -> tempfile::NamedTempFile {
    let hash = |byte| RootHash::new([byte; 32]);
    let mut record = Record::for_image(Some((hash(1), 1)), Some((hash(2), 1)));
    charge(
        &mut record,
        Slot::B,
        &Why::Forced,
        [9; 16],
        Stamp { unix: 7 },
    );
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(16 << 20).unwrap();
    let at = Place::FIRST.offset();
    file.as_file().write_all_at(&record.encode(), at).unwrap();
    file.flush().unwrap();
    file
}

fn on(file: &tempfile::NamedTempFile, line: &str) -> super::Ran {
    run(&format!("boot {line} --device {}", file.path().display()))
}

#[test]
fn a_record_on_a_device() {
    let file = partition();
    let ran = on(&file, "record");
    ran.expect(0, &format!("   device: {}\n", file.path().display()), "");
    ran.expect(0, "\na            2      3  good", "");
    ran.expect(0, "\n   1  b     1970-01-01 00:00:07  stage1  (open)\n", "");
    let json = on(&file, "record --json").json();
    assert_eq!(
        (&json["attempt"]["slot"], &json["boots"]),
        (&"b".into(), &1.into())
    );

    on(&file, "good --reason seen").expect(0, "this boot is good", "");
    let json = on(&file, "record --json").json();
    assert_eq!(json["committed"], "b");
    assert_eq!(json["attempt"]["text"], "seen");

    on(&file, "bad --reason dark").expect(0, "it is not booted again\n", "");
    let slots = on(&file, "record --json").json();
    assert_eq!(
        (&slots["slots"][1]["triesLeft"], &slots["attempt"]["state"]),
        (&0.into(), &"failed".into())
    );
    on(&file, "good").expect(1, "", "this boot has failed already");
    on(&file, "history").expect(0, "operator", "");

    on(&file, "set-slot b").expect(0, "slot b is booted first", "");
    let slots = on(&file, "record --json").json();
    assert_eq!(
        (
            &slots["slots"][1]["triesLeft"],
            &slots["slots"][1]["priority"]
        ),
        (&3.into(), &2.into())
    );
    on(&file, "bad --slot a --reason old").expect(0, "given up", "");
    let slots = on(&file, "record --json").json();
    assert_eq!(slots["slots"][0]["triesLeft"], 0);
}

#[test]
fn a_device_without_a_record() {
    let empty = tempfile::NamedTempFile::new().unwrap();
    empty.as_file().set_len(16 << 20).unwrap();
    let ran = on(&empty, "record");
    ran.expect(1, "   device: ", "there is no boot record on ");
    let ran = on(&empty, "history --json");
    ran.expect(1, "", "there is no boot record on ");
    assert_eq!(ran.json()["history"].as_array().unwrap().len(), 0);
    on(&empty, "good").expect(6, "", "no boot is under way");
    on(&empty, "bad --reason x").expect(2, "", "name the slot with --slot");
    on(&empty, "set-slot a").expect(0, "slot a is booted first", "");
    on(&empty, "history").expect(0, "operator                 set to be booted\n", "");
    run("boot record --device /nonexistent/disk").expect(1, "", "open /nonexistent/disk: ");
    run("boot set-slot a --device /nonexistent/disk").expect(1, "", "open /nonexistent/disk: ");
}

/// What `history` does where no init runs, and `find` finds the record.
fn without_init(socket_is_named: bool, find: fn() -> Option<String>) -> Result<(), Failure> {
    let directory = tempfile::tempdir().unwrap();
    let context = crate::Context {
        socket: directory.path().join("s"),
        socket_is_named,
        find_record: find,
        log_dir: directory.path().into(),
        service_path: vec![],
        limit: None,
        boottime_us: || 0,
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut screen = Screen::new(&mut out, &mut err, false);
    let on = crate::cli::OnDevice { device: None };
    crate::slots::history(&context, &mut screen, &on)
}

#[test]
fn where_no_init_runs_the_device_of_the_machine_is_taken() {
    let found = without_init(false, || Some("/nonexistent/disk".into()));
    let Err(Failure::Failed(text)) = found else {
        panic!("{found:?}");
    };
    assert!(text.starts_with("open /nonexistent/disk"), "{text}");
    let none = without_init(false, || None);
    let Err(Failure::Unreachable(text)) = none else {
        panic!("{none:?}");
    };
    assert!(
        text.contains("no partition here is named shark-state"),
        "{text}"
    );
    let named = without_init(true, || panic!("a named socket is asked, and nothing else"));
    assert!(matches!(named, Err(Failure::Unreachable(_))), "{named:?}");
}
