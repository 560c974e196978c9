//! The rescue console: says why the boot ended, offers a shell, and restarts the machine when the
//! shell is left.
//!
//! Nothing here returns and nothing here may fail: it is what is left when everything else did.
//! Tests and people find the reason in the one line `shark: rescue: WHY`.

use std::ffi::CString;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kernel::spawn::{Plan, Spawner, Stdio, Wiring};

use super::report::{log_error, print_console};

/// Shells, the first that is there wins: the initramfs has the first, a root that was already
/// entered the others.
const SHELLS: [(&str, &[&str]); 3] = [
    ("/bin/busybox", &["busybox", "sh"]),
    ("/bin/sh", &["sh"]),
    ("/usr/bin/busybox", &["busybox", "sh"]),
];

/// How long the reason stays on the console of a machine that has no shell, before it restarts.
const WITHOUT_SHELL: Duration = Duration::from_secs(30);

static ENTERED: AtomicBool = AtomicBool::new(false);

/// Says `why` and the `details`, one a line, and never comes back.
pub(crate) fn enter(why: &str, details: &[String]) -> ! {
    if ENTERED.swap(true, Ordering::SeqCst) {
        // Rescue itself failed. There is nothing more to offer.
        restart();
    }
    let line = format!("rescue: {}", one_line(why));
    print_console(&line);
    log_error(&line);
    for detail in details {
        let detail = format!("rescue:   {}", one_line(detail));
        print_console(&detail);
        log_error(&detail);
    }
    shell();
    restart()
}

/// Instead of the kernel panic that the end of process 1 would be: the message, then rescue.
pub(crate) fn install_panic_hook() {
    std::panic::set_hook(Box::new(|panic| {
        enter(
            &format!("stage1 {panic}: this is a fault in stage1 itself"),
            &[],
        );
    }));
}

/// The reason must stay one line, whatever was put into it.
fn one_line(text: &str) -> String {
    text.split(['\n', '\r'])
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("; ")
}

/// A shell on the console in a session of its own, so that job control and Ctrl-C work. Waits until
/// it ends.
fn shell() {
    let Some((program, arguments)) = SHELLS
        .iter()
        .find(|(program, _)| Path::new(program).exists())
    else {
        print_console(&format!(
            "rescue: no shell here; restarting in {} s",
            WITHOUT_SHELL.as_secs()
        ));
        std::thread::sleep(WITHOUT_SHELL);
        return;
    };
    print_console("rescue: a shell follows; the machine restarts when it ends (exit)");
    if let Err(why) = run(program, arguments) {
        print_console(&format!(
            "rescue: no shell: {why}; restarting in {} s",
            WITHOUT_SHELL.as_secs()
        ));
        std::thread::sleep(WITHOUT_SHELL);
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let text = |error: kernel::Error| error.to_string();
    let mut plan = Plan::new(&[program]).map_err(text)?;
    plan.arguments = arguments
        .iter()
        .filter_map(|argument| CString::new(*argument).ok())
        .collect();
    for (name, value) in [
        ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
        ("HOME", "/"),
        ("TERM", "linux"),
        ("PS1", "shark rescue# "),
    ] {
        plan.set_env(name, value).map_err(text)?;
    }
    let terminal = terminal();
    let wiring = Wiring {
        stdio: Stdio::Terminal(&terminal),
        ..Wiring::NULL
    };
    let child = Spawner::new()
        .map_err(text)?
        .spawn(&plan, &wiring)
        .map_err(|error| error.to_string())?;
    kernel::reap::wait(child.pid).map(|_| ()).map_err(text)
}

/// The terminal behind /dev/console: the last one that the kernel lists, and its name rather than
/// /dev/console, which the kernel gives to nobody as a controlling terminal.
fn terminal() -> CString {
    let active = std::fs::read_to_string("/sys/class/tty/console/active").unwrap_or_default();
    active
        .split_whitespace()
        .next_back()
        .map(|name| format!("/dev/{name}"))
        .filter(|path| Path::new(path).exists())
        .and_then(|path| CString::new(path).ok())
        .unwrap_or_else(|| c"/dev/console".to_owned())
}

fn restart() -> ! {
    print_console("rescue: restarting");
    kernel::reboot::sync();
    loop {
        // Returns only when it failed; process 1 must not end, so it is tried until it works.
        let error = kernel::reboot::reboot(kernel::reboot::Kind::Restart);
        print_console(&format!("rescue: {error}"));
        std::thread::sleep(Duration::from_secs(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_one_line() {
        let check = |text: &str, expect: &str| assert_eq!(one_line(text), expect);
        check("plain", "plain");
        check(
            "panicked at a.rs:1:\nindex\r\n",
            "panicked at a.rs:1:; index",
        );
        check("", "");
    }
}
