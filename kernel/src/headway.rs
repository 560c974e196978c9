//! Ends a process whose work does not go on: one that hangs, and not one that is slow. Not here: what its
//! work is, and how far it is with it.
//!
//! A timer ticks for the thread that works, and its handler runs in that thread. So a tick counts only when
//! the thread could have worked: those that come while others have the processor, or while the machine
//! stands still, are one. An alarm of the kernel's (alarm(2)) would count that time too.

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};
use std::time::Duration;

use crate::error::{Error, Result, last_errno};

/// From one tick to the next.
const TICK: Duration = Duration::from_millis(500);

/// Ticks without headway that end the process; 0: nobody watches.
static MOST: AtomicU32 = AtomicU32::new(0);
/// Ticks since the last headway.
static TICKS: AtomicU32 = AtomicU32::new(0);
/// Whether the timer runs.
static RUNS: AtomicBool = AtomicBool::new(false);
static TIMER: AtomicPtr<libc::c_void> = AtomicPtr::new(core::ptr::null_mut());

/// From now on SIGALRM ends this process when the calling thread, which is the one that works, makes no
/// headway for so long: half a second less, or a moment. It must not have taken the signal for anything else.
///
/// # Errors
/// sigaction(2); timer_create(2): EAGAIN. Nobody watches then.
pub fn watch(within: Duration) -> Result<()> {
    // SAFETY: all zeroes is a sigaction: the default one with an empty mask.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    let handler: extern "C" fn(libc::c_int) = tick;
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: a handler that only does what is safe in one: it counts, and makes system calls.
    if unsafe { libc::sigaction(libc::SIGALRM, &raw const action, core::ptr::null_mut()) } != 0 {
        return Err(Error::new("sigaction", "SIGALRM", last_errno()));
    }
    // SAFETY: all zeroes is a sigevent.
    let mut event: libc::sigevent = unsafe { MaybeUninit::zeroed().assume_init() };
    event.sigev_signo = libc::SIGALRM;
    event.sigev_notify = libc::SIGEV_THREAD_ID;
    // SAFETY: the call takes nothing and cannot fail.
    event.sigev_notify_thread_id = unsafe { libc::gettid() };
    let mut timer: libc::timer_t = core::ptr::null_mut();
    // SAFETY: both are initialised and outlive the call.
    let made = unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) };
    if made != 0 {
        return Err(Error::new("timer_create", "", last_errno()));
    }
    TIMER.store(timer, Ordering::Relaxed);
    let ticks = within.as_millis() / TICK.as_millis();
    MOST.store(
        u32::try_from(ticks).unwrap_or(u32::MAX).max(1),
        Ordering::Relaxed,
    );
    made_some();
    Ok(())
}

/// Headway has been made, or there is something to do again. Costs next to nothing while there is.
pub fn made_some() {
    if MOST.load(Ordering::Relaxed) == 0 {
        return;
    }
    TICKS.store(0, Ordering::Relaxed);
    if !RUNS.swap(true, Ordering::Relaxed) {
        set(TICK);
    }
}

/// There is nothing to do, or it has a deadline of its own.
pub fn rest() {
    if RUNS.swap(false, Ordering::Relaxed) {
        set(Duration::ZERO);
    }
}

/// Lets the timer tick; with zero, no more.
fn set(every: Duration) {
    let time = libc::timespec {
        tv_sec: 0,
        tv_nsec: every.subsec_nanos().into(),
    };
    let both = libc::itimerspec {
        it_interval: time,
        it_value: time,
    };
    let timer = TIMER.load(Ordering::Relaxed);
    // SAFETY: the timer has been made and is never deleted; the times outlive the call.
    let _known = unsafe { libc::timer_settime(timer, 0, &raw const both, core::ptr::null_mut()) };
}

extern "C" fn tick(signal: libc::c_int) {
    let ticks = TICKS.fetch_add(1, Ordering::Relaxed).saturating_add(1);
    if ticks >= MOST.load(Ordering::Relaxed) && RUNS.load(Ordering::Relaxed) {
        // SAFETY: safe in a handler; the signal comes by its default disposition when this one is done.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Child, Command, ExitStatus, Stdio};
    use std::thread::sleep;
    use std::time::Instant;

    use super::*;

    const WITHIN: Duration = Duration::from_secs(2);
    /// Variable that makes [`be_watched`] a process that works in this manner.
    const BE_WATCHED: &str = "SHARK_TEST_BE_WATCHED";

    /// Not a test: the process that the others start.
    #[test]
    fn be_watched() {
        let Ok(manner) = std::env::var(BE_WATCHED) else {
            return;
        };
        watch(WITHIN).unwrap();
        let began = Instant::now();
        let works = |time| while began.elapsed() < time {};
        match manner.as_str() {
            "hangs" => sleep(Duration::from_secs(600)),
            "goes on" => {
                for _ in 0..12 {
                    sleep(Duration::from_millis(300));
                    made_some();
                }
            }
            "rests" => {
                rest();
                sleep(2 * WITHIN);
                made_some();
            }
            "hangs after a rest" => {
                rest();
                made_some();
                sleep(Duration::from_secs(600));
            }
            _ => works(WITHIN / 2),
        }
        println!("done");
    }

    fn start(manner: &str) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "headway::tests::be_watched", "--test-threads=1"])
            .env(BE_WATCHED, manner)
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn end_of(manner: &str) -> (ExitStatus, Duration) {
        let began = Instant::now();
        let status = start(manner).wait().unwrap();
        (status, began.elapsed())
    }

    #[test]
    fn who_hangs_is_ended() {
        for manner in ["hangs", "hangs after a rest"] {
            let (status, took) = end_of(manner);
            assert_eq!(status.signal(), Some(libc::SIGALRM), "{manner}: {status}");
            assert!(took >= WITHIN - TICK, "{manner}: {took:?}");
            assert!(took < Duration::from_secs(60), "{manner}: {took:?}");
        }
    }

    #[test]
    fn who_goes_on_or_rests_is_not() {
        for manner in ["goes on", "rests"] {
            let (status, took) = end_of(manner);
            assert!(
                status.success() && took > WITHIN,
                "{manner}: {status} {took:?}"
            );
        }
    }

    #[test]
    fn time_in_which_it_cannot_work_does_not_count() {
        let mut child = start("works for a second");
        let pid = libc::pid_t::try_from(child.id()).unwrap();
        let stopped = 2 * WITHIN;
        for (after, signal) in [(TICK / 2, libc::SIGSTOP), (stopped, libc::SIGCONT)] {
            sleep(after);
            // SAFETY: the child is not reaped, so the number is its own.
            unsafe { libc::kill(pid, signal) };
        }
        let status = child.wait().unwrap();
        assert!(status.success(), "{status}");
    }
}
