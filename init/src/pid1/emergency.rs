//! The one way out when PID 1 itself is broken: say where, and go on as a new program with the state of
//! a moment ago (`resume`). Where that cannot be, or has been done too often: record it, then restart
//! the machine, or leave the namespace. Not here: failures of services, which are ordinary.
//!
//! A PID 1 that hangs takes the machine out of reach; a restart at least gives it another chance, and
//! the record gives the other slot one. Where a slot runs and its failure cannot be recorded (no
//! memory for a child, no disk), PID 1 ends, and the kernel panics over that: a restart in order would
//! look like a loss of power, and pstore keeps what was said here.

use std::fs::OpenOptions;
use std::io::Write;
use std::panic::PanicHookInfo;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use kernel::reap::End;
use services::control::BootMode;
use services::time::Time;

use crate::ending::bequest::EndMark;

/// Exit status in a namespace, EX_SOFTWARE of sysexits.h.
const BROKEN: i32 = 70;
/// So long the words stay on the console.
const READ_IT: Duration = Duration::from_secs(5);
/// So long the cause may take to be recorded.
const RECORD_IT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(10);

/// Where the cause is recorded, once that is known.
static RECORD: OnceLock<EndMark> = OnceLock::new();

/// Makes every panic take this way out.
pub(crate) fn install(mode: BootMode) {
    std::panic::set_hook(Box::new(move |panic| {
        say(is_contained(mode), "init is broken", &words(panic));
        // Executes this program again, with the state of a moment ago.
        super::replacement::after_panic();
        die(mode, "init is broken", &words(panic));
    }));
}

/// What a panic says, and where it was.
pub(crate) fn words(panic: &PanicHookInfo<'_>) -> String {
    let words = panic.payload_as_str().unwrap_or("a panic without words");
    let place = panic.location();
    let place = place.map_or_else(String::new, |it| format!(" ({}:{})", it.file(), it.line()));
    format!("{words}{place}").replace('\n', " ")
}

/// Says it in one line, by whatever way people may still hear it.
pub(crate) fn say(contained: bool, what: &str, why: &str) {
    let (path, level) = if contained {
        ("/proc/self/fd/2", "")
    } else {
        ("/dev/kmsg", "<24>")
    };
    let opened = OpenOptions::new().write(true).append(contained).open(path);
    if let Ok(mut sink) = opened {
        let _lost = sink.write_all(format!("{level}shark: {what}: {why}\n").as_bytes());
    }
}

/// Remembers where a panic is to be recorded; the first word stays.
pub(crate) fn remember(record: Option<EndMark>) {
    if let Some(record) = record {
        let _known = RECORD.set(record);
    }
}

/// Says `what` and `why`, and takes the way out. Nothing in it allocates more than a few lines, waits for a disk
/// (a child does) or can panic again.
pub(crate) fn die(mode: BootMode, what: &str, why: &str) -> ! {
    let why = why.replace('\n', " ");
    let contained = is_contained(mode);
    say(contained, what, &why);
    if contained {
        std::process::exit(BROKEN);
    }
    let recorded = record(&why);
    std::thread::sleep(READ_IT);
    if mode == BootMode::Disk && !recorded {
        // stage1 has seen to it that a panic restarts the machine.
        std::process::exit(BROKEN);
    }
    loop {
        // It returns only if it fails, and then there is nothing better than to try again.
        let _failed = kernel::reboot::reboot(kernel::reboot::Kind::Restart);
        std::thread::sleep(READ_IT);
    }
}

const fn is_contained(mode: BootMode) -> bool {
    match mode {
        BootMode::Container => true,
        BootMode::Disk | BootMode::Initramfs | BootMode::Direct => false,
    }
}

/// Has a child record the cause, and waits for it, but not for ever. Whether the record has it.
fn record(why: &str) -> bool {
    let Some(record) = RECORD.get() else {
        return false;
    };
    let now = Time::from_nanos(kernel::clock::boottime());
    let change = record.broken(why, now);
    let Ok((child, _answer)) = super::plan::start_part(&record.words(), Some(&change)) else {
        return false;
    };
    let start = Instant::now();
    while start.elapsed() < RECORD_IT {
        while let Ok(Some(reaped)) = kernel::reap::next() {
            if reaped.pid == child.pid {
                return reaped.end == End::Exited(0);
            }
        }
        std::thread::sleep(PAUSE);
    }
    false
}
