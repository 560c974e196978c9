//! Kernel command lines.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mounts::cmdline::{Cmdline, LIST_MAX};

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let cmdline = Cmdline::parse(&text);
    assert!(cmdline.errors.len() <= LIST_MAX);
    assert!(cmdline.masks.len() <= LIST_MAX);
    for (module, _) in cmdline.parameters.keys() {
        let words = cmdline.module_parameters(module);
        assert!(!words.is_empty());
    }
});
