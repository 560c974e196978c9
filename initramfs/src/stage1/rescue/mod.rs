//! The rescue console: where a boot goes that has no slot left, and from where it goes on.
//!
//! It says why, shows what the record knows, and offers a shell; meanwhile a pause runs, longer each
//! time, after which the boot is tried again in place. A person who uses the shell holds the pause;
//! nobody has to come by. Nothing here may fail: it is what is left when everything else did. Tests
//! and people find the reason in the one line `shark: rescue: WHY`. Not here: what is shown
//! (`screen`), how long (`pause`), the shell itself (`shell`), and what is tried next (`slots`).

mod clean;
mod pause;
mod screen;
mod shell;
mod waiting;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mounts::slot::decide::rescue_pause;

use super::phase::Phase;
use super::record;
use super::report::{Report, log_error, print_console};
use super::slots::How;
use super::watchdog;
use super::{Failure, Machine, Next};
use pause::Pause;
use screen::one_line;
use waiting::{Console, Woken};

/// Tries without anybody asking for them, before the machine is restarted: what does not answer may
/// answer after that.
const TRIES: u32 = 3;
/// How long what is not written yet may take to reach the disks before a restart. One that is dying
/// takes for ever.
const SYNC_PATIENCE: Duration = Duration::from_secs(10);

static PANICKED: AtomicBool = AtomicBool::new(false);

/// All stays at the console in this boot.
#[derive(Debug)]
pub(crate) struct Rescue {
    /// `shark.rescue` asked for this stay: nothing is tried unless somebody says so.
    asked: bool,
    /// Tries without anybody asking.
    tries: u32,
}

impl Rescue {
    pub(crate) fn new(asked: bool) -> Self {
        Self { asked, tries: 0 }
    }

    /// Stays until the boot is to be tried again, and says how.
    pub(crate) fn stay(&mut self, machine: &mut Machine, failure: &Failure) -> How {
        say(&failure.why, &failure.details);
        show(screen::state(failure.record.as_ref()));
        let has_shell = shell::find().is_some();
        show(screen::help(has_shell));
        shell::network();
        let length = self.pause(failure, has_shell);
        show(screen::outlook(length, failure.next, self.tries >= TRIES));
        let mut pause = Pause::new(length, now());
        let search = matches!(failure.next, Next::Again) && !self.asked;
        let how = match Console::open(machine).wait(machine, &mut pause, search) {
            Woken::ShellEnded => How::Asked,
            Woken::DiskCame => How::ByRecord,
            Woken::PauseOver => self.try_again(failure.next),
        };
        self.asked = false;
        clean::up(&mut machine.report);
        machine.report.ended(Phase::Rescue);
        print_console("rescue: trying to boot");
        how
    }

    /// How long to stay when nobody comes; `None`: until somebody does.
    fn pause(&self, failure: &Failure, has_shell: bool) -> Option<Duration> {
        let record = failure.record.as_ref().and_then(|state| state.record());
        // A record that cannot be written does not count, so this boot does.
        let here = u8::try_from(self.tries).unwrap_or(u8::MAX);
        let rescues = record.map_or(here, |record| record.rescues.max(here));
        // Without a shell nobody could ever go on.
        let for_somebody = self.asked && has_shell;
        (!for_somebody).then(|| rescue_pause(rescues))
    }

    fn try_again(&mut self, next: Next) -> How {
        if self.tries >= TRIES {
            restart();
        }
        self.tries += 1;
        match next {
            Next::Again => How::ByRecord,
            Next::LastGood => How::LastGood,
            Next::Restart => restart(),
        }
    }
}

/// The reason and its details, one a line: on the console and in the kernel log.
fn say(why: &str, details: &[String]) {
    let line = format!("rescue: {}", one_line(why));
    print_console(&line);
    log_error(&line);
    for detail in details {
        let detail = format!("rescue:   {}", one_line(detail));
        print_console(&detail);
        log_error(&detail);
    }
}

fn show(lines: Vec<String>) {
    for line in lines {
        print_console(format!("rescue: {line}").trim_end());
    }
}

/// Instead of the kernel panic that the end of process 1 would be: the message, then rescue.
pub(crate) fn install_panic_hook() {
    std::panic::set_hook(Box::new(|panic| {
        if PANICKED.swap(true, Ordering::SeqCst) {
            // Rescue itself failed. There is nothing more to offer.
            restart();
        }
        let why = format!("stage1 {panic}: this is a fault in stage1 itself");
        record::blame_panic(&one_line(&panic.to_string()), &mut Report::default());
        without_devices(&why);
    }));
}

/// Rescue for a stage1 that came too short a way to try anything again: a shell, and after a pause
/// or after that shell the machine restarts.
pub(crate) fn without_devices(why: &str) -> ! {
    say(why, &[]);
    show(screen::help(shell::find().is_some()));
    let length = Some(rescue_pause(0));
    show(screen::outlook(length, Next::Restart, true));
    waiting::alone(&mut Pause::new(length, now()));
    restart()
}

/// Restarts the machine.
pub(crate) fn restart() -> ! {
    print_console("rescue: restarting");
    restart_now()
}

/// The same, where it is no emergency.
pub(crate) fn restart_now() -> ! {
    if !within(SYNC_PATIENCE, kernel::reboot::sync) {
        print_console("rescue: not everything could be written");
    }
    watchdog::feed();
    loop {
        // Returns only when it failed; process 1 must not end, so it is tried until it works. Nothing
        // feeds the watchdog here: it is the other way to restart.
        let error = kernel::reboot::reboot(kernel::reboot::Kind::Restart);
        print_console(&format!("rescue: {error}"));
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Does `work`, and waits so long for its end; whether it came. The one thread that stage1 ever has
/// beside its own: no program may be left that could do the work in a process.
fn within(patience: Duration, work: impl FnOnce() + Send + 'static) -> bool {
    const STEP: Duration = Duration::from_millis(20);
    let Ok(worker) = std::thread::Builder::new().spawn(work) else {
        return false;
    };
    let deadline = now() + patience;
    while !worker.is_finished() {
        if now() >= deadline {
            return false;
        }
        watchdog::feed();
        std::thread::sleep(STEP);
    }
    true
}

/// Since the machine started; counts while it sleeps.
fn now() -> Duration {
    Duration::from_nanos(kernel::clock::boottime())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_stay_that_somebody_can_leave_is_without_end() {
        let failure = Failure {
            why: String::new(),
            details: Vec::new(),
            record: None,
            next: Next::Again,
        };
        let pause = |asked, has_shell| Rescue::new(asked).pause(&failure, has_shell);
        assert_eq!(pause(true, true), None);
        for (asked, has_shell) in [(true, false), (false, true), (false, false)] {
            assert_eq!(pause(asked, has_shell), Some(rescue_pause(0)));
        }
    }

    #[test]
    fn work_that_does_not_end_is_left_behind() {
        assert!(within(Duration::from_secs(60), || ()));
        let (held, wait) = std::sync::mpsc::channel::<()>();
        let hangs = move || {
            let _ = wait.recv();
        };
        assert!(!within(Duration::from_millis(30), hangs));
        drop(held);
    }
}
