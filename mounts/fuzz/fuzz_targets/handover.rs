//! The hand-over: a file that an older or newer initramfs has written, or anything else.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mounts::handover::{Handover, LIST_MAX, SIZE_MAX, TEXT_MAX};

/// A good one, of which the fuzzer changes one field.
const GOOD: &str = concat!(
    r#"{"version":1,"mode":"disk","slot":"a","why":"","manifest_version":"1","security_version":1,"#,
    r#""root_hash":null,"disk":"/dev/vda","timings":[],"missing":[],"notes":[],"devices":[],"#
);

fn look(json: &[u8]) {
    let Ok(told) = Handover::decode(json) else {
        return;
    };
    assert!(json.len() <= SIZE_MAX);
    assert!(told.timings.len() <= LIST_MAX && told.keys.len() <= LIST_MAX);
    assert!(told.why.len() <= TEXT_MAX && told.notes.iter().all(|it| it.len() <= TEXT_MAX));
    // What was read is written as the same, unless escapes make it longer than it may be.
    if let Ok(again) = told.encode() {
        assert_eq!(Handover::decode(&again), Ok(told));
    }
}

fuzz_target!(|data: &[u8]| {
    look(data);
    look(&[GOOD.as_bytes(), data, b"}"].concat());
});
