//! The watchdog: which one is taken, and feeding it while stage1 makes progress.
//!
//! One for the process, because a device can be open once only and because whatever takes long here
//! (reading a root, checking a disk, waiting for one) feeds it where it is. From here it goes to
//! init by the hand-over without being closed. Not here: the ioctls (`kernel::watchdog`).

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::time::Duration;

use kernel::watchdog::Watchdog;
use mounts::cmdline::Cmdline;
use mounts::handover::WatchdogFacts;

use super::device_events::DeviceEvents;
use super::report::{Report, log_error};

/// Where the kernel lists watchdogs.
const CLASS: &str = "/sys/class/watchdog";
/// Seconds in which it must be fed, unless `shark.watchdog=` says otherwise.
const SECONDS: u32 = 60;
/// What the kernel's own watchdog in software calls itself.
const SOFT: &str = "Software Watchdog";
/// How all that begins that a machine lacks of a watchdog.
const LACK: &str = "watchdog: ";
/// `WDIOF_CARDRESET`, as `bootstatus` has it.
const CARD_RESET: u32 = 0x0020;

static TAKEN: Mutex<Option<Taken>> = Mutex::new(None);
static FAILED: AtomicBool = AtomicBool::new(false);

#[derive(Debug)]
struct Taken {
    device: Watchdog,
    identity: String,
    seconds: u32,
    /// It is the kernel's own, and can be stopped.
    replaceable: bool,
}

/// A watchdog that the kernel lists.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Listed {
    number: u32,
    identity: String,
    software: bool,
    /// It cannot be stopped once it runs.
    nowayout: bool,
    /// It reset the machine before this boot.
    card_reset: bool,
}

impl Listed {
    fn path(&self) -> String {
        format!("/dev/watchdog{}", self.number)
    }
}

/// What stage1 has of a watchdog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Nothing,
    /// The kernel's own, and it can be stopped.
    Replaceable,
    /// Hardware, or one that cannot be stopped.
    Fixed,
}

/// Looks at the watchdogs that the kernel lists now, and takes one: the first of the hardware,
/// otherwise the kernel's own. Hardware that comes later takes the place of the kernel's own, where
/// that can be stopped. Whether one of them reset the machine before this boot.
///
/// It is asked again and again, because drivers come one after the other: before modules are loaded,
/// after that, and when the disk is there and with it most devices.
pub(crate) fn look(cmdline: &Cmdline, report: &mut Report) -> bool {
    let listed = list(Path::new(CLASS));
    let reset = listed.iter().any(|it| it.card_reset);
    let wanted = worth_taking(&listed, held(), cmdline);
    let seconds = cmdline.watchdog.unwrap_or(SECONDS);
    let Some((taken, remembers)) = open_first(&wanted, seconds, report) else {
        return reset;
    };
    say(&taken, report);
    report.no_longer_lacks(LACK);
    if taken.identity == SOFT {
        report.lack(format!(
            "{LACK}none of the hardware; the kernel's own is used, which cannot end a hang with interrupts off"
        ));
    }
    if let Some(Err(error)) = put(taken).map(|before| before.device.disarm()) {
        report.warn(format!("watchdog: {error}; it resets the machine"));
    }
    reset || remembers
}

/// The same after modules were loaded; where nothing is there yet the kernel's own is loaded.
pub(crate) fn take(cmdline: &Cmdline, devices: &mut DeviceEvents, report: &mut Report) -> bool {
    let mut reset = look(cmdline, report);
    if cmdline.watchdog == Some(0) {
        report.lack(format!("{LACK}left alone, as shark.watchdog=0 asks"));
        return reset;
    }
    if held() == Held::Nothing && list(Path::new(CLASS)).is_empty() {
        // A panic tells the next boot more than a silent reset does.
        devices.load_with("softdog", &[("soft_panic", "1")], report);
        reset |= look(cmdline, report);
    }
    if held() == Held::Nothing {
        report.lack(format!("{LACK}none: a machine that hangs stays so"));
    }
    reset
}

/// Those of the listed that are better than what is held, the best first.
fn worth_taking(listed: &[Listed], held: Held, cmdline: &Cmdline) -> Vec<Listed> {
    let is_better = |it: &&Listed| match held {
        Held::Nothing => true,
        Held::Replaceable => !it.software,
        Held::Fixed => false,
    };
    if cmdline.watchdog == Some(0) {
        return Vec::new();
    }
    listed.iter().filter(is_better).cloned().collect()
}

fn held() -> Held {
    // Taken by nobody else: see `lock`.
    match lock().as_ref().and_then(|guard| guard.as_ref()) {
        None => Held::Nothing,
        Some(taken) if taken.replaceable => Held::Replaceable,
        Some(_) => Held::Fixed,
    }
}

/// Tells the watchdog that stage1 makes progress. Nothing happens where there is none.
pub(crate) fn feed() {
    if let Some(guard) = lock()
        && let Some(taken) = guard.as_ref()
        && let Err(error) = taken.device.feed()
        && !FAILED.swap(true, Ordering::Relaxed)
    {
        log_error(&format!("watchdog: {error}"));
    }
}

/// How long stage1 may wait for something before it feeds again.
pub(crate) fn interval() -> Duration {
    let taken = lock().and_then(|guard| Some(guard.as_ref()?.seconds));
    let seconds = taken.unwrap_or(SECONDS);
    (Duration::from_secs(seconds.into()) / 4)
        .clamp(Duration::from_millis(250), Duration::from_secs(5))
}

/// Leaves the watchdog open for the program executed next, and says where it finds it.
pub(crate) fn hand_over(report: &mut Report) -> Option<WatchdogFacts> {
    let guard = lock()?;
    let taken = guard.as_ref()?;
    match taken.device.keep_over_exec() {
        Ok(fd) => Some(WatchdogFacts {
            device: taken.device.path().to_owned(),
            fd,
            identity: taken.identity.clone(),
            timeout_seconds: taken.seconds,
        }),
        Err(error) => {
            report.warn(format!("watchdog: {error}"));
            None
        }
    }
}

/// stage1 has one thread, so the lock is free, unless a panic happened inside. Whoever comes after
/// that must not wait for it.
fn lock() -> Option<MutexGuard<'static, Option<Taken>>> {
    match TAKEN.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// Puts one in the place of the one before.
fn put(taken: Taken) -> Option<Taken> {
    lock()?.replace(taken)
}

fn say(taken: &Taken, report: &Report) {
    report.note(&format!(
        "watchdog: {} ({}), {} s",
        taken.device.path(),
        taken.identity,
        taken.seconds
    ));
}

/// The first that opens, and whether it says that it reset the machine.
fn open_first(listed: &[Listed], seconds: u32, report: &mut Report) -> Option<(Taken, bool)> {
    for it in listed {
        match Watchdog::open(&it.path()) {
            Ok(device) => {
                let seconds = set(&device, seconds, report);
                let reset = device.boot_status().is_ok_and(|status| status.card_reset);
                let identity = match device.info() {
                    Ok(info) if !info.identity.is_empty() => info.identity,
                    Ok(_) | Err(_) => it.identity.clone(),
                };
                let taken = Taken {
                    device,
                    identity,
                    seconds,
                    replaceable: it.software && !it.nowayout,
                };
                return Some((taken, reset));
            }
            Err(error) => report.warn(format!("watchdog: {error}")),
        }
    }
    None
}

/// Sets its time, and starts it; the time that holds.
fn set(device: &Watchdog, seconds: u32, report: &mut Report) -> u32 {
    match device.set_timeout(seconds) {
        Ok(taken) => taken,
        Err(error) => {
            let own = device.timeout().ok().filter(|own| *own > 0);
            report.warn(format!(
                "watchdog: {error}; it keeps its own time{}",
                own.map_or(String::new(), |own| format!(", {own} s"))
            ));
            // One that does not tell is fed as if it had little.
            own.unwrap_or(10)
        }
    }
}

/// The watchdogs of the class directory: hardware first, then by number.
fn list(class: &Path) -> Vec<Listed> {
    let Ok(entries) = fs::read_dir(class) else {
        return Vec::new();
    };
    let mut listed: Vec<Listed> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let number = name.strip_prefix("watchdog")?.parse().ok()?;
            let read = |file: &str| {
                let text = fs::read_to_string(entry.path().join(file)).unwrap_or_default();
                text.trim().to_owned()
            };
            let identity = read("identity");
            Some(Listed {
                number,
                software: identity == SOFT,
                identity,
                nowayout: read("nowayout") != "0",
                card_reset: read("bootstatus")
                    .parse::<u32>()
                    .is_ok_and(|bits| bits & CARD_RESET != 0),
            })
        })
        .collect();
    listed.sort_by_key(|it| (it.software, it.number));
    listed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(watchdogs: &[(&str, &str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, identity, status) in watchdogs {
            let path = dir.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::write(path.join("identity"), format!("{identity}\n")).unwrap();
            fs::write(path.join("bootstatus"), format!("{status}\n")).unwrap();
            fs::write(path.join("nowayout"), "0\n").unwrap();
        }
        dir
    }

    #[test]
    fn hardware_comes_before_the_kernels_own_and_numbers_are_numbers() {
        let dir = class(&[
            ("watchdog0", SOFT, "0"),
            ("watchdog10", "iTCO_wdt", "0"),
            ("watchdog2", "i6300ESB timer", "32"),
        ]);
        let listed = list(dir.path());
        let paths: Vec<String> = listed.iter().map(Listed::path).collect();
        assert_eq!(
            paths,
            ["/dev/watchdog2", "/dev/watchdog10", "/dev/watchdog0"]
        );
        assert!(listed[0].card_reset && !listed[1].card_reset);
        assert!(listed[2].software && !listed[2].nowayout);
    }

    #[test]
    fn hardware_that_comes_late_is_taken_where_it_is_better() {
        let dir = class(&[("watchdog0", SOFT, "0"), ("watchdog1", "iTCO_wdt", "32")]);
        let listed = list(dir.path());
        let paths = |held, cmdline| {
            let wanted = worth_taking(&listed, held, &Cmdline::parse(cmdline));
            wanted.iter().map(Listed::path).collect::<Vec<_>>()
        };
        let (soft, hard) = ("/dev/watchdog0", "/dev/watchdog1");
        assert_eq!(paths(Held::Nothing, ""), [hard, soft]);
        assert_eq!(paths(Held::Replaceable, "shark.watchdog=9"), [hard]);
        assert_eq!(paths(Held::Fixed, ""), [""; 0]);
        assert_eq!(paths(Held::Nothing, "shark.watchdog=0"), [""; 0]);
        // What it remembers counts, taken or not.
        assert!(listed.iter().any(|it| it.card_reset));
        assert_eq!(held(), Held::Nothing);
    }

    #[test]
    fn a_kernel_that_tells_little_of_a_watchdog_still_has_one() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("watchdog0")).unwrap();
        let listed = list(dir.path());
        assert_eq!(listed.len(), 1);
        // What is not known is taken for hardware that cannot be stopped.
        assert!(!listed[0].software && listed[0].nowayout && !listed[0].card_reset);
        assert_eq!(list(&dir.path().join("none")), []);
    }

    #[test]
    fn feeding_without_a_watchdog_does_nothing() {
        feed();
        assert_eq!(interval(), Duration::from_secs(5));
        assert!(hand_over(&mut Report::default()).is_none());
    }
}
