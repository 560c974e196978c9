//! How the starter gets into a cgroup where others live already. Not here: what it does there.
//!
//! A command beside a main process is born there: the starter goes on in a child, stays behind, and ends as that
//! does. PID 1 knows the starter alone, as the child's leader and group; the child dies with it.
//!
//! A main process is one that PID 1 has made itself, so it moves: not by itself, since it would hold locks
//! that all others need until it has its turn among those who live there, but by a helper, that
//! stays outside.

use std::process::ExitCode;

use kernel::cgroup::Cgroup;
use kernel::reap::End;
use kernel::signals::Signal;
use kernel::spawn::Side;
use std::os::fd::AsFd as _;

/// Added to the number of a signal, as a shell has it.
const BY_SIGNAL: u8 = 128;

/// Who goes on, and where.
pub(super) enum Entered {
    /// This process, which is in the cgroup now.
    Here,
    /// This process, a child that was born there, of this parent.
    Born(u32),
    /// The child of this number.
    There(u32),
}

/// Goes on in a child that is born in the cgroup `path`.
pub(super) fn be_born(path: &str) -> Result<Entered, String> {
    let parent = std::process::id();
    let cgroup = Cgroup::open(path).map_err(|error| error.to_string())?;
    match kernel::spawn::fork(Some(cgroup.as_fd())) {
        Ok(Side::Child) => Ok(Entered::Born(parent)),
        Ok(Side::Parent(child)) => Ok(Entered::There(child)),
        Err(error) if error.errno == kernel::Errno::AGAIN => {
            Err(format!("{path} has as many processes as it may: {error}"))
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Is moved to the cgroup `path`.
pub(super) fn be_moved(path: &str) -> Result<Entered, String> {
    let mover = std::process::id();
    let ended = match kernel::spawn::fork(None).map_err(|error| error.to_string())? {
        Side::Child => {
            let moved = Cgroup::open(path).and_then(|cgroup| cgroup.add_process(mover));
            // Any errno is below 256 (errno(3)).
            let errno = moved.map_or_else(|error| error.errno.raw_os_error(), |()| 0);
            kernel::system::exit(u8::try_from(errno).unwrap_or(u8::MAX))
        }
        Side::Parent(helper) => kernel::reap::wait(helper).map_err(|error| error.to_string())?,
    };
    match ended {
        End::Exited(0) => Ok(Entered::Here),
        End::Exited(errno) => {
            let errno = kernel::Errno::from_raw_os_error(errno.into());
            Err(kernel::Error::new("enter", path, errno).to_string())
        }
        End::Killed { signal, .. } => Err(format!("enter {path}: killed by signal {signal}")),
    }
}

/// Ends as the child does. That stays unreaped, so that init can still tell whose last words it
/// reads, and reaps it itself.
pub(super) fn end_as(child: u32) -> ExitCode {
    match kernel::reap::watch(child) {
        Ok(End::Exited(code)) => ExitCode::from(code),
        Ok(End::Killed { signal, .. }) => {
            if let Some(signal) = Signal::from_number(signal) {
                kernel::signals::die_of(signal);
            }
            ExitCode::from(BY_SIGNAL.saturating_add(signal))
        }
        Err(error) => {
            eprintln!("init start: {error}");
            ExitCode::FAILURE
        }
    }
}
