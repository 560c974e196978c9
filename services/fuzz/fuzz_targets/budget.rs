//! Any bytes as learned start times: no panic, the bounds hold, and what is accepted and learned on is
//! written back as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use services::budget::{Budgets, FILE_MAX, SERVICES_MAX};
use services::time::Duration;

fuzz_target!(|data: &[u8]| {
    let Ok(mut budgets) = Budgets::decode(data) else {
        return;
    };
    for millis in [0, 1, u64::from(u32::MAX), u64::MAX] {
        let took = Duration::from_millis(millis);
        if let Some(slow) = budgets.slow("web", took) {
            assert!(slow.took > slow.usual && !slow.to_string().is_empty());
        }
        budgets.observe("web", took);
    }
    assert!(!budgets.is_empty() && budgets.len() <= SERVICES_MAX);
    let bytes = budgets.encode();
    assert!(bytes.len() <= FILE_MAX);
    assert_eq!(Budgets::decode(&bytes), Ok(budgets));
});
