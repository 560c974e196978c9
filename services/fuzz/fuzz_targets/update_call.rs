//! Messages to the updater, and its answers as `sharkctl` reads them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use services::update::{decode_answer, decode_call, encode_answer, encode_call};

fuzz_target!(|data: &[u8]| {
    if let Ok(call) = decode_call(data) {
        let again = encode_call(&call).expect("a call has a message");
        assert_eq!(decode_call(&again), Ok(call));
    }
    if let Ok(answer) = decode_answer(data) {
        let again = encode_answer(&answer, false).expect("an answer has a message");
        assert_eq!(decode_answer(&again), Ok(answer));
    }
});
