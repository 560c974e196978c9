//! What the kernel does when it panics or hangs: set first of all, so that a machine nobody can walk
//! up to comes back by itself, and the next boot knows why.
//!
//! What the kernel command line decides is left as it is. Not here: the watchdog, which is for what
//! the kernel itself does not notice.

use kernel::Errno;
use mounts::cmdline::Cmdline;

use super::report::Report;

/// Settings and their values. How long something must hang before the kernel notices, and whether
/// it looks at all (real-time machines turn that off), stays as it is; a task that only waits
/// (`kernel.hung_task_panic`) is no hang of the machine.
const SETTINGS: [(&str, &str); 4] = [
    (PANIC, "10"),
    ("kernel.panic_on_oops", "1"),
    ("kernel.softlockup_panic", "1"),
    ("kernel.hardlockup_panic", "1"),
];

/// Seconds until a kernel that panicked restarts the machine; 0: never.
const PANIC: &str = "kernel.panic";

/// Sets them. A kernel without one of them has no such file, which is no error.
pub(crate) fn end_in_a_restart(cmdline: &Cmdline, report: &mut Report) {
    for (name, value) in wanted(cmdline, &present) {
        match kernel::system::set_sysctl(name, value) {
            Ok(()) => report.step(&format!("hangs: {name} is {value}")),
            Err(error) if error.errno == Errno::NOENT => {
                report.step(&format!("hangs: this kernel has no {name}"));
            }
            Err(error) => report.warn(format!("hangs: {error}")),
        }
    }
    if cmdline.settings.contains(PANIC) && present(PANIC).as_deref() == Some("0") {
        report.warn(
            "hangs: panic=0 on the kernel command line: a kernel that panics stands still".into(),
        );
    }
}

/// The settings to make: those that the command line has not made, and of `kernel.panic` only where
/// it would stand still, because a kernel may be built with a time of its own.
fn wanted(
    cmdline: &Cmdline,
    present: &dyn Fn(&str) -> Option<String>,
) -> Vec<(&'static str, &'static str)> {
    SETTINGS
        .into_iter()
        .filter(|(name, _)| !cmdline.settings.contains(*name))
        .filter(|(name, _)| *name != PANIC || present(name).is_none_or(|value| value == "0"))
        .collect()
}

fn present(name: &str) -> Option<String> {
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    let text = kernel::files::read_text(&path, 64).ok()?;
    Some(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_command_line_decides_stays() {
        let check = |cmdline: &str, panic: Option<&str>, expect: &[&str]| {
            let present = |_: &str| panic.map(str::to_owned);
            let wanted = wanted(&Cmdline::parse(cmdline), &present);
            let names: Vec<&str> = wanted.into_iter().map(|(name, _)| name).collect();
            assert_eq!(names, expect, "{cmdline} {panic:?}");
        };
        let [panic, oops, soft, hard] = SETTINGS.map(|(name, _)| name);
        check("quiet", Some("0"), &[panic, oops, soft, hard]);
        check("quiet", None, &[panic, oops, soft, hard]);
        check("quiet", Some("-1"), &[oops, soft, hard]);
        check("panic=0 softlockup_panic=0", Some("0"), &[oops, hard]);
    }
}
