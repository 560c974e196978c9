//! Any bytes as a datagram of sd_notify: no panic, and the bounds hold.
#![no_main]

use libfuzzer_sys::fuzz_target;
use services::notify::{MESSAGES_MAX, Message, STATUS_MAX, parse};

fuzz_target!(|data: &[u8]| {
    let messages = parse(data);
    assert!(messages.len() <= MESSAGES_MAX + 1);
    for message in messages {
        match message {
            Message::Status(text) => {
                assert!(text.chars().count() <= STATUS_MAX);
                assert!(!text.chars().any(char::is_control));
            }
            Message::MainPid(pid) => assert!(pid > 1 && pid <= i32::MAX as u32),
            Message::Ignored(count) => assert!(count > 0),
            Message::Ready | Message::Reloading | Message::Stopping => {}
        }
    }
});
