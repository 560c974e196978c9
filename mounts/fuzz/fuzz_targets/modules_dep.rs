//! depmod's files: the input is split at zero bytes into modules.dep, .builtin, .softdep, .alias and
//! the names to load.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use mounts::modules::{IndexFiles, ModuleIndex};

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let mut parts = text.split('\0');
    let mut next = || parts.next().unwrap_or_default();
    let files = IndexFiles {
        dep: next(),
        builtin: next(),
        softdep: next(),
        alias: next(),
    };
    let Ok(index) = ModuleIndex::parse(files) else {
        return;
    };
    let names: Vec<&str> = parts.collect();
    let order = index.load_order(&names);
    let unique: BTreeSet<&String> = order.paths.iter().collect();
    assert_eq!(unique.len(), order.paths.len(), "a module twice");
    for name in &names {
        let _ = index.resolve_alias(name);
    }
    let small = index.render_dep(&order.paths);
    let again = ModuleIndex::parse(IndexFiles {
        dep: &small,
        ..IndexFiles::default()
    });
    assert!(again.is_ok(), "a modules.dep of ours is not readable");
});
