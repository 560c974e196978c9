//! Texts of pstore: any bytes that a dying kernel or a decaying memory may leave.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mounts::slot::crash::crash_of;
use mounts::slot::record::{TEXT_MAX, Text};

fuzz_target!(|data: &[u8]| {
    let dmesg = String::from_utf8_lossy(data);
    if let Some(crash) = crash_of(&dmesg) {
        assert!(!crash.text.is_empty() && crash.text.len() <= TEXT_MAX);
        assert_eq!(Text::from(crash.text.as_str()).as_str(), crash.text);
        assert_ne!(crash.id, 0);
        // A program's line before it changes nothing but the stage and the id.
        let said = format!("<30>[    1.0] Kernel panic - not syncing: said\n{dmesg}");
        let again = crash_of(&said).expect("it is still there");
        assert_eq!((again.kind, again.text), (crash.kind, crash.text));
    }
});
