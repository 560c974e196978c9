//! Processes that belong to no service and are still there at the end: helpers, logins, what escaped
//! where there are no cgroups. Not here: services, which have been stopped in their order.

use std::fs;
use std::time::{Duration, Instant};

use kernel::signals::Signal;

use super::bequest::Bequest;
use super::say_now;
use crate::pid1::say::{Level, Say};

/// Time after TERM, and again after KILL.
const PATIENCE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(5);
/// So many of them are named.
const NAMED: usize = 8;

/// Asks all of them to end, then kills those that did not, and reaps them.
pub(super) fn end(say: &mut Say, bequest: &mut Bequest) {
    // The logger ends by itself, as soon as it has emptied the pipes.
    if gone_within(PATIENCE / 3, bequest) {
        return;
    }
    for signal in [Signal::TERM, Signal::KILL] {
        let names = names();
        if names.is_empty() {
            return;
        }
        let line = format!("{signal} to what is left: {}", names.join(", "));
        say_now(say, Level::Warning, &line);
        if let Err(error) = kernel::pidfd::signal_all(signal) {
            say_now(say, Level::Error, &error.to_string());
        }
        if gone_within(PATIENCE, bequest) {
            return;
        }
    }
    let line = format!("cannot be killed: {}", names().join(", "));
    say_now(say, Level::Error, &line);
}

fn gone_within(patience: Duration, bequest: &mut Bequest) -> bool {
    let start = Instant::now();
    loop {
        while let Ok(Some(_)) = kernel::reap::next() {}
        if names().is_empty() {
            return true;
        }
        if start.elapsed() >= patience {
            return false;
        }
        bequest.feed();
        std::thread::sleep(PAUSE);
    }
}

/// `name (pid)` of some processes that are left.
fn names() -> Vec<String> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != 1)
        .filter_map(|pid| named(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?))
        .take(NAMED)
        .collect()
}

/// `name (pid)` from the text of /proc/PID/stat; `None` for kernel threads, which are children of
/// pid 2, and for what is dead.
fn named(stat: &str) -> Option<String> {
    let (pid, rest) = stat.split_once(" (")?;
    let (name, fields) = rest.rsplit_once(") ")?;
    let mut fields = fields.split_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?;
    let kernel_thread = parent == "2" || (pid == "2" && name == "kthreadd");
    (!kernel_thread && state != "Z" && state != "X").then(|| format!("{name} ({pid})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(stat: &str, expect: Option<&str>) {
        assert_eq!(named(stat).as_deref(), expect, "{stat}");
    }

    #[test]
    fn only_living_processes_of_people_count() {
        check("77 (sleep) S 1 77 77 0", Some("sleep (77)"));
        check("78 (a) b (c) S 1 77 77 0", Some("a) b (c (78)"));
        check("79 (sleep) Z 1 77 77 0", None);
        check("2 (kthreadd) S 0 0 0 0", None);
        check("9 (kworker/0:1) I 2 0 0 0", None);
        check("2 (sh) S 1 2 2 0", Some("sh (2)"));
    }
}
