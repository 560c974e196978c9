//! Any text as a file of variables: no panic, and what is read can be an environment.
#![no_main]

use libfuzzer_sys::fuzz_target;
use services::begin::parse_env_file;

fuzz_target!(|text: &str| {
    if let Ok(variables) = parse_env_file(text) {
        for (name, value) in variables {
            assert!(!name.is_empty() && !name.contains(['=', '\0']));
            assert!(!value.contains('\0'));
        }
    }
});
