//! The end of the machine: reboot(2), sync, and who handles Ctrl-Alt-Del. Not here: everything that
//! must have been stopped and unmounted before.

use rustix::system::RebootCommand;

use crate::error::{At, Errno, Error, Result, last_errno};

/// What happens to the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Off.
    PowerOff,
    /// Reset, and through the firmware again.
    Restart,
    /// Stop, power left on.
    Halt,
}

/// Ends the machine; returns only when that fails. Unwritten data is lost: [`sync`] first.
///
/// In a PID namespace other than the first, the kernel ends the namespace instead: PID 1 is killed
/// (SIGINT for off and halt, SIGHUP for restart, told to whoever waits for it).
///
/// # Errors
/// EPERM without CAP_SYS_BOOT; EINVAL when the kernel cannot do it.
pub fn reboot(kind: Kind) -> Error {
    let command = match kind {
        Kind::PowerOff => RebootCommand::PowerOff,
        Kind::Restart => RebootCommand::Restart,
        Kind::Halt => RebootCommand::Halt,
    };
    let errno = rustix::system::reboot(command)
        .err()
        .unwrap_or(Errno::AGAIN);
    Error::new("reboot", format_args!("{kind:?}"), errno)
}

/// Makes Ctrl-Alt-Del send SIGINT to PID 1 (`true`), or reset the machine at once.
///
/// # Errors
/// EPERM without CAP_SYS_BOOT; EINVAL in a PID namespace other than the first.
pub fn ctrl_alt_del_to_init(on: bool) -> Result<()> {
    let command = if on {
        RebootCommand::CadOff
    } else {
        RebootCommand::CadOn
    };
    rustix::system::reboot(command).at("reboot", "Ctrl-Alt-Del")
}

/// Has the kernel send SIGWINCH to PID 1 when the console's "KeyboardSignal" (Alt-Up) is pressed:
/// KDSIGACCEPT of the virtual console `fd`.
///
/// # Errors
/// ENOTTY when `fd` is no virtual console.
pub fn keyboard_request(fd: impl std::os::fd::AsFd) -> Result<()> {
    const KDSIGACCEPT: libc::Ioctl = 0x4B4E;
    let raw = std::os::fd::AsRawFd::as_raw_fd(&fd.as_fd());
    // SAFETY: the request takes a signal number, no pointer.
    let answer = unsafe { libc::ioctl(raw, KDSIGACCEPT, libc::c_long::from(libc::SIGWINCH)) };
    if answer == 0 {
        return Ok(());
    }
    Err(Error::new("ioctl", "KDSIGACCEPT", last_errno()))
}

/// Writes everything to the disks, and waits for it.
pub fn sync() {
    rustix::fs::sync();
}
