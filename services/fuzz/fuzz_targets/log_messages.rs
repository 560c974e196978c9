//! Any bytes as a message of syslog(3) and as a record of the kernel's log: no panic, the name of a program
//! is safe to write before a bracket, and no text grows.
#![no_main]

use libfuzzer_sys::fuzz_target;
use services::log::{kmsg, syslog};

fuzz_target!(|data: &[u8]| {
    let message = syslog::parse(data);
    assert!(message.facility <= 23 && message.text.len() <= data.len());
    if let Some(name) = message.name {
        let safe = |c: char| c.is_ascii_graphic() && !matches!(c, '[' | ']' | ':');
        assert!(!name.is_empty() && name.len() <= 64 && name.chars().all(safe));
    }
    if let Some(record) = kmsg::parse(data) {
        assert!(record.text.len() < data.len());
    }
});
