//! What the updater hears of its fetching child, which may have been taken over by what it has read; and
//! what a server says of the part that it sends.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mounts::fetch::range::Part;
use mounts::fetch::words::{MESSAGE_MAX, Order, Said, decode, encode, length_of};

/// All messages of a connection, as one side hears them.
fn hear<T>(mut bytes: &[u8]) -> Vec<T>
where
    T: serde::de::DeserializeOwned + serde::Serialize + PartialEq + std::fmt::Debug,
{
    let mut heard = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let Ok(length) = length_of(*length) else {
            break;
        };
        assert!(length <= MESSAGE_MAX);
        let Some((message, rest)) = rest.split_at_checked(length) else {
            break;
        };
        bytes = rest;
        let Ok(message) = decode::<T>(message) else {
            break;
        };
        let again = encode(&message).expect("it was heard, so it can be said");
        assert_eq!(decode::<T>(&again[4..]).as_ref(), Ok(&message));
        heard.push(message);
    }
    heard
}

fuzz_target!(|data: &[u8]| {
    let _ = hear::<Said>(data);
    let _ = hear::<Order>(data);
    // Without their lengths, so that the fuzzer gets to the messages.
    for piece in data.split(|it| *it == 0xff) {
        let _ = decode::<Said>(piece);
        let _ = decode::<Order>(piece);
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for text in [text.to_owned(), format!("bytes {text}")] {
        let Some(part) = Part::parse(&text) else {
            continue;
        };
        assert!(part.begins < part.ends && part.length.is_none_or(|it| part.ends <= it));
        let length = part.length.map_or("*".to_owned(), |it| it.to_string());
        let last = part.ends - 1;
        let again = format!("bytes {}-{last}/{length}", part.begins);
        assert_eq!(Part::parse(&again), Some(part));
    }
});
