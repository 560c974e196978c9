//! What the checker of a new system says of its services, and the accounts of that system.
#![no_main]

use libfuzzer_sys::fuzz_target;
use services::definition::Account;
use services::users::Accounts;
use services::verdict::{PROBLEMS_MAX, Verdict};

fuzz_target!(|data: &[u8]| {
    match Verdict::read(data, "/run/shark/proof") {
        Verdict::Good => {}
        Verdict::Bad(problems) => {
            assert!(!problems.is_empty() && problems.len() <= PROBLEMS_MAX + 1);
        }
        Verdict::Unclear(why) => assert!(!why.is_empty()),
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (passwd, group) = text.split_once("\n\n").unwrap_or((text, text));
    let accounts = Accounts::parse(passwd, group);
    for line in passwd.lines() {
        let name = line.split(':').next().unwrap_or_default().to_owned();
        let known = accounts.user(&name);
        let account = Account {
            user: name,
            group: None,
            ids: None,
        };
        if let Ok(ids) = accounts.lookup(&account) {
            assert_eq!(Some(ids.uid), known);
        }
    }
});
