//! Uevent datagrams and uevent files, and the hand-over.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mounts::handover::Handover;
use mounts::uevent::{Properties, parse, parse_file};

fn look(properties: &Properties) {
    if let Some(name) = properties.devname() {
        assert!(!name.starts_with('/') && !name.split('/').any(|part| part == ".."));
    }
    let _ = properties.device_number();
    let _ = properties.partition_number();
}

fuzz_target!(|data: &[u8]| {
    if let Ok(event) = parse(data) {
        assert!(event.devpath.starts_with('/'));
        look(&event.properties);
    }
    if let Ok(properties) = std::str::from_utf8(data)
        .map_err(drop)
        .and_then(|text| parse_file(text).map_err(drop))
    {
        look(&properties);
    }
    if let Ok(handover) = Handover::decode(data) {
        // JSON with escapes can be shorter than what we write, so only the bound may stop it.
        if let Ok(json) = handover.encode() {
            assert_eq!(Handover::decode(&json), Ok(handover));
        }
    }
});
