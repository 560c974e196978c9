//! The programs that rescue starts: the shell on the console, and the script that makes a network.
//!
//! Not here: when, and waiting for them (`waiting`).

use std::ffi::CString;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use kernel::spawn::{Child, Plan, Spawner, Stdio, Wiring};

use crate::stage1::report::print_console;

/// Shells, the first that is there wins: the initramfs has the first, a root that was already
/// entered the others.
const SHELLS: [(&str, &[&str]); 3] = [
    ("/bin/busybox", &["busybox", "sh"]),
    ("/bin/sh", &["sh"]),
    ("/usr/bin/busybox", &["busybox", "sh"]),
];

/// Run when rescue begins, if the initramfs has it: whoever makes the initramfs decides whether rescue
/// has a network, and who may come by it.
const NETWORK: &str = "/etc/shark/rescue/network";

/// The shell of this initramfs.
pub(super) fn find() -> Option<(&'static str, &'static [&'static str])> {
    SHELLS
        .iter()
        .copied()
        .find(|(program, _)| Path::new(program).exists())
}

/// Starts a shell on the console in a session of its own, so that job control and Ctrl-C work.
pub(super) fn start() -> Result<Child, String> {
    let (program, arguments) = find().ok_or("there is none in this initramfs")?;
    let mut plan = plan(program)?;
    plan.arguments = arguments
        .iter()
        .filter_map(|argument| CString::new(*argument).ok())
        .collect();
    let terminal = CString::new(terminal()).map_err(|error| error.to_string())?;
    let wiring = Wiring {
        stdio: Stdio::Terminal(&terminal),
        ..Wiring::NULL
    };
    spawn(&plan, &wiring)
}

/// Starts the script for the network, without waiting for it.
pub(super) fn network() {
    if !Path::new(NETWORK).exists() {
        return;
    }
    print_console(&format!("rescue: running {NETWORK}"));
    let errors = io::stderr();
    let wiring = Wiring {
        stdio: Stdio::logged(errors.as_fd()),
        ..Wiring::NULL
    };
    if let Err(error) = plan(NETWORK).and_then(|plan| spawn(&plan, &wiring)) {
        print_console(&format!("rescue: {error}"));
    }
}

/// The terminal behind /dev/console: the last one that the kernel lists, and its name rather than
/// /dev/console, which the kernel gives to nobody as a controlling terminal.
pub(super) fn terminal() -> String {
    let active = std::fs::read_to_string("/sys/class/tty/console/active").unwrap_or_default();
    active
        .split_whitespace()
        .next_back()
        .map(|name| format!("/dev/{name}"))
        .filter(|path| Path::new(path).exists())
        .unwrap_or_else(|| "/dev/console".to_owned())
}

fn plan(program: &str) -> Result<Plan, String> {
    let text = |error: kernel::Error| error.to_string();
    let mut plan = Plan::new(&[program]).map_err(text)?;
    for (name, value) in [
        ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
        ("HOME", "/root"),
        ("TERM", "linux"),
        ("PS1", "shark rescue# "),
    ] {
        plan.set_env(name, value).map_err(text)?;
    }
    Ok(plan)
}

fn spawn(plan: &Plan, wiring: &Wiring<'_>) -> Result<Child, String> {
    Spawner::new()
        .map_err(|error| error.to_string())?
        .spawn(plan, wiring)
        .map_err(|error| error.to_string())
}
