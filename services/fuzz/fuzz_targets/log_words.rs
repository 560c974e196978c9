//! Any text as a point in time and as a priority, and as a line that says its own: no panic, and what is
//! taken is within bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use services::log::moment;
use services::log::priority::Priority;

fuzz_target!(|data: &[u8]| {
    let (priority, rest) = Priority::split(data);
    let prefix = data.len() - rest.len();
    assert_eq!(prefix, if priority.is_some() { 3 } else { 0 });
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for now in [0, 1_796_042_096_500_000, u64::MAX] {
        if let Ok(moment) = moment::parse(text, now) {
            assert!(!text.trim().starts_with('-') || moment <= now);
        }
    }
    if let Ok(priority) = text.parse::<Priority>() {
        assert_eq!(priority.word().parse(), Ok(priority));
    }
});
