//! The manual of manifests and hand-overs against what is written: each member has its words. Not here: the
//! formats themselves (`formats`), and the boot record, whose manual is tested beside it.
#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

use mounts::handover::{DmDevice, Handover, KeyFacts, Mode, RecordFacts, Timing, WatchdogFacts};
use mounts::manifest::Manifest;

/// The names of all members, of objects within it too.
fn members(value: &serde_json::Value, into: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(object) => {
            for (name, value) in object {
                into.push(name.clone());
                members(value, into);
            }
        }
        serde_json::Value::Array(list) => list.iter().for_each(|it| members(it, into)),
        _ => {}
    }
}

/// Whether a page has each of them as a word in bold.
fn are_told(page: &str, json: &[u8]) {
    let path = format!("{}/../man/{page}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let words: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with(".B"))
        .flat_map(|line| line.split([' ', '"', ',']))
        .collect();
    let mut names = Vec::new();
    members(&serde_json::from_slice(json).unwrap(), &mut names);
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        assert!(words.contains(&name.as_str()), "{page} has no {name}");
    }
}

/// Whatever is in its lists and objects has one.
fn handover() -> Handover {
    let text = || "x".to_owned();
    Handover {
        timings: vec![Timing {
            name: text(),
            us: 1,
        }],
        devices: vec![DmDevice {
            name: text(),
            node: text(),
        }],
        record: RecordFacts::default(),
        watchdog: Some(WatchdogFacts {
            device: text(),
            fd: 5,
            identity: text(),
            timeout_seconds: 60,
        }),
        keys: vec![KeyFacts {
            name: text(),
            key: "00".repeat(32),
        }],
        ..Handover::new(Mode::Disk)
    }
}

#[test]
fn every_member_of_manifests_and_hand_overs_is_told() {
    let manifest = format!(
        r#"{{"version":"1","security_version":1,"architecture":"x86_64","image_size":4096,"data_blocks":1,
        "root_hash":"{}","salt":"","hash_size":4096,"block_size":4096,"algorithm":"sha256","filesystem":"erofs"}}"#,
        "ab".repeat(32)
    );
    let manifest: Manifest = serde_json::from_str(&manifest).unwrap();
    are_told("shark-manifest.5", &serde_json::to_vec(&manifest).unwrap());
    are_told("shark-handover.5", &handover().encode().unwrap());
}
