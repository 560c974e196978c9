//! Any bytes as a datagram of sd_notify: no panic, and the bounds hold.
#![no_main]

use libfuzzer_sys::fuzz_target;
use services::notify::{
    BUS_ERROR_MAX, Begun, Complaint, FdName, MESSAGES_MAX, Message, STATUS_MAX, parse,
};

fuzz_target!(|data: &[u8]| {
    let datagram = parse(data);
    assert!(datagram.messages.len() <= MESSAGES_MAX + 1);
    let keep = datagram.keep.as_ref().map(|keep| &keep.name);
    for name in keep.into_iter().chain(&datagram.drop) {
        assert_eq!(FdName::new(name.as_str().as_bytes()).as_ref(), Some(name));
    }
    for message in datagram.messages {
        match message {
            Message::Status(text) => check_text(&text, STATUS_MAX),
            Message::Complaint(Complaint::BusError(text)) => check_text(&text, BUS_ERROR_MAX),
            Message::MainPid(pid) => assert!(pid > 1 && pid <= i32::MAX as u32),
            Message::WatchdogTimeout(Some(timeout)) => assert!(!timeout.is_zero()),
            Message::Ignored(count) => assert!(count > 0),
            Message::Begin(Begun::Skipped(text) | Begun::Failed(text)) => {
                check_text(&text, STATUS_MAX)
            }
            Message::Begin(Begun::Ready)
            | Message::Ready
            | Message::Reloading
            | Message::Stopping
            | Message::Complaint(Complaint::Errno(_) | Complaint::ExitStatus(_))
            | Message::ExtendTimeout(_)
            | Message::Alive
            | Message::Broken
            | Message::WatchdogTimeout(None) => {}
        }
    }
});

fn check_text(text: &str, most: usize) {
    assert!(text.chars().count() <= most);
    assert!(!text.chars().any(char::is_control));
}
