//! The recorder child as PID 1 runs it, on image files: what it changes, what it refuses, and what a
//! torn or read-only disk does to it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use init::errand;
use init::record::{Change, Identity};
use mounts::slot::Slot;
use mounts::slot::account;
use mounts::slot::decide::Why;
use mounts::slot::judge::Stamp;
use mounts::slot::record::{Ended, Record};
use mounts::slot::region::{PARTITION_SIZE, Place};
use mounts::verity::RootHash;
use serde_json::Value;

const BOOT_ID: [u8; 16] = [7; 16];

/// A state partition with a first record, and slot b under way in boot 1.
fn image() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(PARTITION_SIZE).unwrap();
    let hash = |byte| Some((RootHash::new([byte; 32]), 1));
    let mut record = Record::for_image(hash(1), hash(2));
    put(&file, &record, Place::FIRST);
    account::charge(
        &mut record,
        Slot::B,
        &Why::Forced,
        BOOT_ID,
        Stamp { unix: 5 },
    );
    record.sequence += 1;
    put(&file, &record, Place::FIRST.next());
    file
}

fn put(file: &tempfile::NamedTempFile, record: &Record, place: Place) {
    let bytes = record.encode();
    file.as_file().write_all_at(&bytes, place.offset()).unwrap();
}

/// Runs a program that ends in `init record IMAGE`, with the change as its input.
fn output(command: &mut Command, change: &Change) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let bytes = errand::pack(change).unwrap();
    child.stdin.take().unwrap().write_all(&bytes).unwrap();
    child.wait_with_output().unwrap()
}

fn recorder(image: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_init"));
    command.arg("record").arg(image);
    command
}

/// The record after a change that was made.
fn change(image: &tempfile::NamedTempFile, change: Change) -> Value {
    let output = output(&mut recorder(image.path()), &change);
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{change:?}: {words}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The words of a change that was not.
fn refusal(image: &Path, change: Change) -> String {
    let output = output(&mut recorder(image), &change);
    assert_eq!(output.status.code(), Some(1), "{change:?}");
    assert_eq!(output.stdout, b"");
    String::from_utf8(output.stderr).unwrap()
}

fn running(slot: Slot) -> Identity {
    Identity {
        slot: Some(slot),
        boot_id: BOOT_ID,
        root_hash: None,
        security_version: Some(4),
        root_read_whole: false,
        state_generation: None,
    }
}

fn commit(slot: Slot) -> Change {
    Change::Commit {
        running: running(slot),
        text: "web: not up".to_owned(),
    }
}

fn fail() -> Change {
    Change::Fail {
        running: running(Slot::B),
        ended: Ended::GateFailed,
        uptime_seconds: 301,
        text: "app not ready within 5min".to_owned(),
    }
}

fn end() -> Change {
    Change::End {
        running: running(Slot::B),
        ended: Ended::Reboot,
        uptime_seconds: 900,
    }
}

#[test]
fn a_boot_is_committed_and_ends_in_order() {
    let image = image();
    let record = change(&image, commit(Slot::B));
    assert_eq!(record["committed"], "b");
    assert_eq!(record["attempt"]["state"], "committed");
    assert_eq!(record["attempt"]["text"], "web: not up");
    assert_eq!(record["slots"][1]["securityVersion"], 4);
    assert_eq!(record["sequence"], 3);
    let record = change(&image, end());
    assert_eq!(record["attempt"]["state"], "ended");
    assert_eq!(record["attempt"]["ended"], "reboot");
    assert_eq!(record["attempt"]["uptimeSeconds"], 900);
    assert_eq!(record["sequence"], 4);
    // What is told is what is on the disk.
    assert_eq!(change(&image, Change::Look), record);
}

#[test]
fn a_boot_that_failed_keeps_its_cause() {
    let image = image();
    let record = change(&image, fail());
    assert_eq!(record["attempt"]["ended"], "gate-failed");
    let record = change(&image, end());
    assert_eq!(record["attempt"]["state"], "failed");
    assert_eq!(record["attempt"]["ended"], "gate-failed");
    assert_eq!(record["attempt"]["text"], "app not ready within 5min");
    assert_eq!(record["attempt"]["uptimeSeconds"], 900);
    let words = refusal(image.path(), commit(Slot::B));
    assert!(words.contains("has failed already"), "{words}");
}

#[test]
fn nobody_speaks_for_another_boot() {
    let image = image();
    let words = refusal(image.path(), commit(Slot::A));
    assert!(words.contains("slot b"), "{words}");
    let stranger = Change::Commit {
        running: Identity {
            boot_id: [1; 16],
            ..running(Slot::B)
        },
        text: String::new(),
    };
    let words = refusal(image.path(), stranger);
    assert!(words.contains("boot 1, not this one"), "{words}");
    assert_eq!(change(&image, Change::Look)["sequence"], 2);
}

#[test]
fn an_operator_sets_a_slot_and_calls_one_bad() {
    let image = image();
    let record = change(&image, Change::SetSlot { slot: Slot::B });
    assert_eq!(record["trial"], "b");
    assert_eq!(record["slots"][1]["priority"], 2);
    let bad = Change::Bad {
        running: running(Slot::B),
        uptime_seconds: 9,
        text: "no light".to_owned(),
    };
    let record = change(&image, bad);
    assert_eq!(record["slots"][1]["triesLeft"], 0);
    assert_eq!(record["attempt"]["ended"], "operator");
    assert_eq!(record["reason"], "operator");
    let record = change(&image, Change::SetSlot { slot: Slot::B });
    assert_eq!(record["slots"][1]["triesLeft"], 3);
}

#[test]
fn a_torn_newest_record_costs_nothing_but_itself() {
    let image = image();
    change(&image, commit(Slot::B));
    // The third record lies beside the first; its second half is lost.
    let third = Place::FIRST.next().next();
    let half = vec![0xa5; 2048];
    image
        .as_file()
        .write_all_at(&half, third.offset() + 2048)
        .unwrap();
    let record = change(&image, Change::Look);
    assert_eq!(record["sequence"], 2);
    assert!(
        record["problem"].as_str().unwrap().contains("region 0"),
        "{record}"
    );
    let record = change(&image, commit(Slot::B));
    assert_eq!(record["committed"], "b");
    assert!(record["sequence"].as_u64() > Some(3), "{record}");
}

#[test]
fn an_empty_partition_gets_a_record_from_a_boot_that_was_judged() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(PARTITION_SIZE).unwrap();
    let words = refusal(file.path(), end());
    assert!(words.contains("no boot record"), "{words}");
    assert!(
        change(&file, Change::Look)["problem"].is_string(),
        "nothing is made up"
    );
    let record = change(&file, commit(Slot::B));
    assert_eq!(record["reason"], "rebuilt");
    assert_eq!(record["committed"], "b");
    assert_eq!(change(&file, Change::Look), record);
    // A slot that fails is not tried again before the other one.
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(PARTITION_SIZE).unwrap();
    let record = change(&file, fail());
    assert_eq!(record["reason"], "rebuilt");
    assert_eq!(record["attempt"]["ended"], "gate-failed");
    let tries = [0, 1].map(|slot| record["slots"][slot]["triesLeft"].clone());
    assert_eq!(tries, [1, 0]);
    assert_eq!(change(&file, end())["attempt"]["ended"], "gate-failed");
}

#[test]
fn an_operator_can_begin_a_record_on_an_empty_partition() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(PARTITION_SIZE).unwrap();
    let record = change(&file, Change::SetSlot { slot: Slot::A });
    assert_eq!(record["slots"][0]["priority"], 2);
    assert_eq!(change(&file, Change::Look), record);
}

#[test]
fn what_cannot_be_written_is_never_called_done() {
    let image = image();
    let before = fs::read(image.path()).unwrap();
    let short = tempfile::NamedTempFile::new().unwrap();
    let words = refusal(short.path(), commit(Slot::B));
    assert!(words.contains("no boot record"), "{words}");
    let words = refusal(Path::new("/nonexistent/disk"), commit(Slot::B));
    assert!(words.contains("/nonexistent/disk"), "{words}");
    // A mount of it that is read-only stands for a disk that refuses writes.
    let script =
        r#"mount --bind "$3" "$3" && mount -o remount,bind,ro "$3" && exec "$1" "$2" "$3""#;
    let mut unshare = Command::new("unshare");
    unshare
        .args(["-Urm", "sh", "-c", script, "sh"])
        .arg(env!("CARGO_BIN_EXE_init"))
        .arg("record")
        .arg(image.path());
    let output = output(&mut unshare, &commit(Slot::B));
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    if words.contains("unshare") || words.contains("mount") {
        return eprintln!("NOT TESTED: no mount namespace here: {words}");
    }
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("EROFS"), "{words}");
    assert!(fs::read(image.path()).unwrap() == before);
}

#[test]
fn two_writers_lose_nothing() {
    let image = image();
    let writers: Vec<_> = (0..8)
        .map(|_| {
            let path = image.path().to_owned();
            std::thread::spawn(move || {
                let set = Change::SetSlot { slot: Slot::A };
                output(&mut recorder(&path), &set)
            })
        })
        .collect();
    for writer in writers {
        assert!(writer.join().unwrap().status.success());
    }
    let record = change(&image, Change::Look);
    assert_eq!(record["sequence"], 2 + 8);
    assert_eq!(record["history"][0]["times"], 8, "{record}");
}
