//! Signals: their numbers, and receiving them through a descriptor. Not here: what init does on each
//! (init), sending to one process (`pidfd`).

use std::fmt;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::retry_on_intr;

use crate::error::{At, Errno, Error, Result, last_errno};

/// Highest signal number of Linux on x86_64 and arm64.
pub const MAX: u8 = 64;

/// A signal, by the kernel's number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(u8);

/// Number and name; the numbers are those of x86_64 and arm64 (signal(7)).
const NAMES: &[(u8, &str)] = &[
    (1, "HUP"),
    (2, "INT"),
    (3, "QUIT"),
    (4, "ILL"),
    (5, "TRAP"),
    (6, "ABRT"),
    (7, "BUS"),
    (8, "FPE"),
    (9, "KILL"),
    (10, "USR1"),
    (11, "SEGV"),
    (12, "USR2"),
    (13, "PIPE"),
    (14, "ALRM"),
    (15, "TERM"),
    (16, "STKFLT"),
    (17, "CHLD"),
    (18, "CONT"),
    (19, "STOP"),
    (20, "TSTP"),
    (21, "TTIN"),
    (22, "TTOU"),
    (23, "URG"),
    (24, "XCPU"),
    (25, "XFSZ"),
    (26, "VTALRM"),
    (27, "PROF"),
    (28, "WINCH"),
    (29, "IO"),
    (30, "PWR"),
    (31, "SYS"),
];

#[allow(missing_docs)]
impl Signal {
    pub const HUP: Self = Self(1);
    pub const INT: Self = Self(2);
    pub const QUIT: Self = Self(3);
    pub const ABRT: Self = Self(6);
    pub const KILL: Self = Self(9);
    pub const USR1: Self = Self(10);
    pub const USR2: Self = Self(12);
    pub const PIPE: Self = Self(13);
    pub const TERM: Self = Self(15);
    pub const CHLD: Self = Self(17);
    pub const CONT: Self = Self(18);
    pub const STOP: Self = Self(19);
    pub const WINCH: Self = Self(28);
    pub const PWR: Self = Self(30);
}

impl Signal {
    /// SIGRTMIN + `n` as senders mean it: counted from 34, glibc's SIGRTMIN, whatever libc this
    /// program is linked with (musl counts from 35).
    #[must_use]
    pub const fn realtime(n: u8) -> Option<Self> {
        Self::from_number(34_u8.saturating_add(n))
    }

    /// The signal of that number, 1 to [`MAX`].
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        if number >= 1 && number <= MAX {
            Some(Self(number))
        } else {
            None
        }
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Its name without `SIG`, for the standard ones.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        NAMES
            .iter()
            .find(|(number, _)| *number == self.0)
            .map(|(_, name)| *name)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "SIG{name}"),
            None if self.0 >= 34 => write!(f, "SIGRTMIN+{}", self.0.saturating_sub(34)),
            None => write!(f, "signal {}", self.0),
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A set of signals as the kernel keeps it.
fn set_of(signals: &[Signal]) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set it is given; sigaddset changes an initialised set and
    // refuses numbers it does not know.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in signals {
            libc::sigaddset(set.as_mut_ptr(), signal.0.into());
        }
        set.assume_init()
    }
}

/// Blocks `signals` in the calling thread, so that they queue for a [`SignalFd`].
///
/// # Errors
/// sigprocmask(2); none is known.
pub fn block(signals: &[Signal]) -> Result<()> {
    let set = set_of(signals);
    // SAFETY: `set` is initialised and outlives the call; no old set is asked for.
    let answer =
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, core::ptr::null_mut()) };
    if answer == 0 {
        return Ok(());
    }
    Err(Error::new(
        "sigprocmask",
        "",
        Errno::from_raw_os_error(answer),
    ))
}

/// Ends this process by `signal`, without a core of it; comes back only where the signal ends nobody.
pub fn die_of(signal: Signal) {
    // SAFETY: numbers that the kernel checks; the default disposition runs no handler.
    unsafe {
        libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0);
        libc::signal(signal.0.into(), libc::SIG_DFL);
        libc::raise(signal.0.into());
    }
}

/// One signal that was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Which one.
    pub signal: Signal,
    /// Who sent it, in our PID namespace; 0: the kernel or somebody outside of it.
    pub pid: u32,
    /// The sender's user.
    pub uid: u32,
}

/// Signals as a non-blocking descriptor (signalfd(2)).
#[derive(Debug)]
pub struct SignalFd {
    fd: OwnedFd,
}

impl SignalFd {
    /// Blocks `signals` and receives them by descriptor from now on.
    ///
    /// # Errors
    /// signalfd4(2): out of descriptors or memory.
    pub fn new(signals: &[Signal]) -> Result<Self> {
        block(signals)?;
        let set = set_of(signals);
        let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
        // SAFETY: `set` is initialised and outlives the call; -1 asks for a new descriptor.
        let fd = unsafe { libc::signalfd(-1, &raw const set, flags) };
        if fd < 0 {
            return Err(Error::new("signalfd", "", last_errno()));
        }
        // SAFETY: signalfd just made this descriptor, nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd })
    }

    /// The next signal; `None` when there is none.
    ///
    /// # Errors
    /// read(2), except EAGAIN.
    pub fn next(&self) -> Result<Option<Received>> {
        // struct signalfd_siginfo: 128 bytes; number at 0, sender's pid at 12, uid at 16.
        let mut info = [0_u8; 128];
        match retry_on_intr(|| rustix::io::read(&self.fd, &mut info)) {
            Ok(_) => {}
            Err(Errno::AGAIN) => return Ok(None),
            Err(errno) => return Err(errno).at("read", "signalfd"),
        }
        let field = |at: usize| {
            info.get(at..)
                .and_then(|rest| rest.first_chunk())
                .map_or(0, |bytes| u32::from_ne_bytes(*bytes))
        };
        let signal = u8::try_from(field(0)).ok().and_then(Signal::from_number);
        Ok(signal.map(|signal| Received {
            signal,
            pid: field(12),
            uid: field(16),
        }))
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        assert_eq!(Signal::TERM.to_string(), "SIGTERM");
        assert_eq!(i32::from(Signal::PWR.number()), libc::SIGPWR);
        assert_eq!(i32::from(Signal::USR2.number()), libc::SIGUSR2);
        assert_eq!(Signal::realtime(3).unwrap().number(), 37);
        assert_eq!(Signal::realtime(3).unwrap().to_string(), "SIGRTMIN+3");
        assert_eq!(Signal::realtime(31), None);
        assert_eq!(Signal::from_number(0), None);
    }

    #[test]
    fn a_blocked_signal_arrives_by_descriptor() {
        let rt = Signal::realtime(5).unwrap();
        let signals = SignalFd::new(&[Signal::WINCH, rt]).unwrap();
        assert_eq!(signals.next().unwrap(), None);
        // SAFETY: raises a signal that this thread has blocked.
        unsafe { libc::pthread_kill(libc::pthread_self(), rt.number().into()) };
        let got = signals.next().unwrap().unwrap();
        assert_eq!(got.signal, rt);
        assert_eq!(got.pid, std::process::id());
        assert_eq!(signals.next().unwrap(), None);
    }
}
