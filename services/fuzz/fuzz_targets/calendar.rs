//! Any text as a calendar expression, and any second: no panic, and what comes next is named and later.
#![no_main]

use libfuzzer_sys::fuzz_target;
use services::calendar::Calendar;

fuzz_target!(|input: (&str, i64)| {
    let (text, after) = input;
    let Ok(calendar) = text.parse::<Calendar>() else {
        return;
    };
    if let Some(next) = calendar.next_after(after) {
        assert!(next > after);
        assert!(calendar.names(next));
    }
});
