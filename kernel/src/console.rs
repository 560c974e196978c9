//! The console: opening it, making it our terminal, and putting it into a sane state. Not here: what
//! is written to it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::termios::{
    ControlModes, InputModes, LocalModes, OptionalActions, OutputModes, SpecialCodeIndex, Termios,
    tcgetattr, tcsetattr,
};

use crate::error::{At, Result};

/// Opens a terminal without making it ours and without waiting for a carrier; reads and writes on
/// it block afterwards.
///
/// # Errors
/// open(2): ENXIO or EIO when there is no device behind it, ENOENT.
pub fn open_terminal(path: &str) -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let fd = open(path, flags, Mode::empty()).at("open", path)?;
    crate::pipe::set_nonblocking(&fd, false)?;
    Ok(fd)
}

/// Makes `fd` stdin, stdout and stderr of this process.
///
/// # Errors
/// dup3(2).
pub fn use_as_standard(fd: impl AsFd) -> Result<()> {
    rustix::stdio::dup2_stdin(&fd).at("dup", "stdin")?;
    rustix::stdio::dup2_stdout(&fd).at("dup", "stdout")?;
    rustix::stdio::dup2_stderr(&fd).at("dup", "stderr")
}

/// Gives each of descriptors 0, 1 and 2 that is closed /dev/null: the next file opened would get
/// its number, and receive what is printed.
///
/// # Errors
/// open(2) on /dev/null.
pub fn fill_standard() -> Result<()> {
    loop {
        let flags = OFlags::RDWR | OFlags::NOCTTY;
        let fd = open("/dev/null", flags, Mode::empty()).at("open", "/dev/null")?;
        if std::os::fd::AsRawFd::as_raw_fd(&fd) > 2 {
            return Ok(());
        }
        // It filled a hole: leave it open.
        core::mem::forget(fd);
    }
}

/// Starts a session and makes `fd` its controlling terminal, taken from whoever had it.
///
/// # Errors
/// setsid(2): EPERM when this process leads a group already and no session; TIOCSCTTY: EPERM,
/// ENOTTY.
pub fn make_controlling(fd: impl AsFd) -> Result<()> {
    match rustix::process::setsid() {
        // EPERM: we lead a session already, which is as good.
        Ok(_) | Err(Errno::PERM) => {}
        Err(errno) => return Err(errno).at("setsid", ""),
    }
    let raw = std::os::fd::AsRawFd::as_raw_fd(&fd.as_fd());
    // SAFETY: the request takes a number, no pointer; 1 is "steal it".
    let answer = unsafe { libc::ioctl(raw, libc::TIOCSCTTY, 1) };
    if answer == 0 {
        return Ok(());
    }
    Err(crate::error::last_errno()).at("ioctl", "TIOCSCTTY")
}

/// A terminal that hands over each key as it is pressed, shows none, and makes no signals of them. It is put
/// back as it was when this is dropped.
#[derive(Debug)]
pub struct Keys {
    terminal: OwnedFd,
    before: Termios,
}

impl Keys {
    /// Changes `terminal`.
    ///
    /// # Errors
    /// ENOTTY when it is no terminal.
    pub fn of(terminal: OwnedFd) -> Result<Self> {
        let before = tcgetattr(&terminal).at("tcgetattr", "")?;
        let mut settings = before.clone();
        settings
            .local_modes
            .remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG);
        settings.special_codes[SpecialCodeIndex::VMIN] = 1;
        settings.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(&terminal, OptionalActions::Now, &settings).at("tcsetattr", "")?;
        Ok(Self { terminal, before })
    }

    /// The keys that have been pressed, at least one: waits for it.
    ///
    /// # Errors
    /// read(2): EIO when the terminal is gone.
    pub fn pressed(&self) -> Result<Vec<u8>> {
        let mut keys = [0; 256];
        let read = rustix::io::retry_on_intr(|| rustix::io::read(&self.terminal, &mut keys));
        let read = read.at("read", "the terminal")?;
        Ok(keys.get(..read).unwrap_or_default().to_vec())
    }
}

impl AsFd for Keys {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.terminal.as_fd()
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // A terminal that is gone needs no settings.
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

/// Columns and rows of a terminal, where it says so.
#[must_use]
pub fn window(terminal: impl AsFd) -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(terminal).ok()?;
    let size = (usize::from(size.ws_col), usize::from(size.ws_row));
    (size.0 > 0 && size.1 > 0).then_some(size)
}

/// Puts a terminal into the state a shell expects, whatever the last program left: echo, lines,
/// signals by key, 8 bits, newline translation. Speed and flow control stay.
///
/// # Errors
/// ENOTTY when it is no terminal.
pub fn reset(fd: impl AsFd) -> Result<()> {
    let mut settings = tcgetattr(&fd).at("tcgetattr", "")?;
    make_sane(&mut settings);
    tcsetattr(&fd, OptionalActions::Now, &settings).at("tcsetattr", "")
}

fn make_sane(settings: &mut Termios) {
    settings.input_modes.remove(
        InputModes::IGNBRK
            | InputModes::INLCR
            | InputModes::IGNCR
            | InputModes::PARMRK
            | InputModes::ISTRIP,
    );
    settings.input_modes |= InputModes::BRKINT | InputModes::ICRNL | InputModes::IUTF8;
    settings.output_modes |= OutputModes::OPOST | OutputModes::ONLCR;
    settings.local_modes |= LocalModes::ISIG
        | LocalModes::ICANON
        | LocalModes::IEXTEN
        | LocalModes::ECHO
        | LocalModes::ECHOE
        | LocalModes::ECHOK
        | LocalModes::ECHOCTL
        | LocalModes::ECHOKE;
    settings
        .local_modes
        .remove(LocalModes::NOFLSH | LocalModes::TOSTOP);
    settings
        .control_modes
        .remove(ControlModes::CSIZE | ControlModes::PARENB);
    settings.control_modes |= ControlModes::CS8 | ControlModes::CREAD | ControlModes::HUPCL;
    let keys = [
        (SpecialCodeIndex::VINTR, 3),
        (SpecialCodeIndex::VQUIT, 28),
        (SpecialCodeIndex::VERASE, 127),
        (SpecialCodeIndex::VKILL, 21),
        (SpecialCodeIndex::VEOF, 4),
        (SpecialCodeIndex::VSTART, 17),
        (SpecialCodeIndex::VSTOP, 19),
        (SpecialCodeIndex::VSUSP, 26),
    ];
    for (key, value) in keys {
        settings.special_codes[key] = value;
    }
}
