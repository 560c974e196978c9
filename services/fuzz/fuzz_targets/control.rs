//! Any bytes as a control connection: no panic, the buffer is bounded, what is understood is
//! written back as a message that means the same, and replies are read the same way.
#![no_main]

use libfuzzer_sys::fuzz_target;
use services::control::{Frames, MESSAGE_MAX, Request, decode_reply, encode_call, encode_reply};

fuzz_target!(|data: &[u8]| {
    let mut frames = Frames::new();
    for piece in data.chunks(61) {
        if frames.feed(piece).is_err() {
            return;
        }
        while let Ok(Some(message)) = frames.take() {
            assert!(message.len() <= MESSAGE_MAX);
            look(&message);
        }
    }
    look(data);
});

fn look(message: &[u8]) {
    if let Ok(call) = Request::parse(message) {
        let mut again = encode_call(&call.request);
        assert_eq!(again.pop(), Some(0));
        let again = Request::parse(&again).expect("what is written can be read");
        assert_eq!(again.request, call.request);
    }
    let asked = [
        Request::List,
        Request::ReloadAll { dry_run: false },
        Request::Boot,
        Request::WaitBoot,
        Request::WaitGate,
        Request::BootRecord,
        Request::Relations { from: None },
    ];
    for request in asked {
        if let Ok(reply) = decode_reply(&request, message) {
            let mut again = encode_reply(&reply);
            assert_eq!(again.pop(), Some(0));
            assert_eq!(decode_reply(&request, &again), Ok(reply));
        }
    }
}
