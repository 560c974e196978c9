//! mountinfo and the order of unmounting.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mounts::unmount::{parse_mountinfo, plan};

fuzz_target!(|data: &[u8]| {
    let (entries, _) = parse_mountinfo(data);
    let plan = plan(&entries, &["/", "/proc", "/sys", "/dev", "/run"]);
    assert_eq!(plan.unmount.len() + plan.kept.len(), entries.len());
});
