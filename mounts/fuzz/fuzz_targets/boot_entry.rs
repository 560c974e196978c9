//! Boot entries: names and texts of a partition that anybody may have written to.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mounts::loader::Kind;
use mounts::loader::entries::{Name, content, options};
use mounts::slot::Slot;

fuzz_target!(|text: &str| {
    let (name, text) = text.split_once('\n').unwrap_or((text, ""));
    if let Some(name) = Name::parse(name) {
        assert_eq!(Name::parse(&name.to_string()), Some(name));
        if let Some(options_of_it) = options(name.slot, text) {
            let written = content(name, Kind::Uefi, &options_of_it);
            assert_eq!(options(name.slot, &written), Some(options_of_it));
        }
    }
    for slot in Slot::ALL {
        let _ = options(slot, text);
    }
});
