//! Runs the root's own e2fsck on the data partition before it is mounted, with a deadline.
//!
//! The program comes from the verified root, so the initramfs needs no second copy of it. What its
//! exit status means for the mount is decided here, from e2fsck(8); mounting is `data`'s.

use std::convert::Infallible;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use kernel::epoll::{Events, Poller, Readiness};

use super::{init_file, watchdog};

/// Where Debian and others keep it, below the root.
const PROGRAMS: [&str; 2] = ["/usr/sbin/e2fsck", "/sbin/e2fsck"];
/// A clean filesystem takes milliseconds and a replayed journal seconds; only a full check of a
/// large disk comes near.
const DEADLINE: Duration = Duration::from_secs(600);
/// How long the program may take to end once it has been killed or has closed its output. One that
/// hangs in the disk takes for ever.
const LAST_WAIT: Duration = Duration::from_secs(5);
/// The most of its output that is kept.
const OUTPUT_LIMIT: usize = 2048;

/// First argument that makes stage1 the helper which enters the root and becomes the program.
pub(crate) const HELPER: &str = "in-root";

/// What the check says about mounting the partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Clean: mount it.
    Clean,
    /// It had errors that are corrected: mount it, and say so.
    Corrected(String),
    /// The root has no e2fsck: mount it, the journal is replayed by the kernel.
    Absent,
    /// Errors are left, or the check itself failed: not mounted.
    Unusable(String),
}

/// Checks the filesystem on `device` with the e2fsck found below `root`, which needs `/dev` and
/// `/proc` in place.
pub(crate) fn check(root: &str, device: &str) -> Verdict {
    let Some(program) = PROGRAMS.iter().find(|program| {
        init_file::resolve(Path::new(root), program).is_ok_and(|path| path.is_file())
    }) else {
        return Verdict::Absent;
    };
    match run(root, program, device, DEADLINE) {
        Ok((status, output)) => judge(status.code(), &output),
        Err(error) => Verdict::Unusable(format!("{program} -p {device}: {error}")),
    }
}

/// The meaning of an exit status (a sum of the bits of e2fsck(8)); `None` when a signal ended the
/// program.
fn judge(code: Option<i32>, output: &str) -> Verdict {
    let said = |what: &str| match output.trim() {
        "" => what.to_owned(),
        output => format!("{what}: {}", output.replace('\n', "; ")),
    };
    match code {
        Some(0) => Verdict::Clean,
        // 2 asks for a reboot because a mounted filesystem was changed below the kernel; this one
        // is not mounted.
        Some(1..=3) => Verdict::Corrected(said("e2fsck corrected errors")),
        Some(code) if code & 4 != 0 => Verdict::Unusable(said(
            "e2fsck left errors uncorrected; run it by hand from the rescue console",
        )),
        Some(code) => {
            Verdict::Unusable(said(&format!("e2fsck could not check it (status {code})")))
        }
        None => Verdict::Unusable(said("e2fsck was ended by a signal")),
    }
}

/// Runs the program below `root`. Its output is a socket with a receive timeout, so one read loop
/// is both the capture and the deadline.
fn run(
    root: &str,
    program: &str,
    device: &str,
    patience: Duration,
) -> io::Result<(ExitStatus, String)> {
    let (mut ours, theirs) = UnixStream::pair()?;
    let errors = theirs.try_clone()?;
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("stage1")
        .args([HELPER, root, program, "-p", device])
        // Variables come from the kernel command line, which nobody has signed: LD_PRELOAD is one.
        .env_clear()
        .stdin(Stdio::null())
        .stdout(OwnedFd::from(theirs))
        .stderr(OwnedFd::from(errors));
    let mut child = command.spawn()?;
    // The command holds the other end of the socket; without it the end of the child is the end of
    // the stream.
    drop(command);
    match capture(&mut ours, Instant::now() + patience) {
        Ok(output) => Ok((wait(&mut child, LAST_WAIT)?, output)),
        Err(error) => {
            child.kill()?;
            wait(&mut child, LAST_WAIT)?;
            Err(error)
        }
    }
}

/// Waits until the child has ended, at most for so long; one that does not end is left to whoever is
/// process 1 after us.
fn wait(child: &mut Child, patience: Duration) -> io::Result<ExitStatus> {
    let text = |error: kernel::Error| io::Error::other(error.to_string());
    let pidfd = kernel::pidfd::open(child.id()).map_err(text)?;
    let poller = Poller::new().map_err(text)?;
    poller
        .add(pidfd.as_fd(), 0, Readiness::READ)
        .map_err(text)?;
    let deadline = Instant::now() + patience;
    let mut ended = Events::new();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "it does not end: does the disk still answer?",
            ));
        }
        watchdog::feed();
        poller
            .wait(&mut ended, Some(left.min(watchdog::interval())))
            .map_err(text)?;
    }
}

/// Everything until the end of the stream, of which [`OUTPUT_LIMIT`] bytes are kept. The watchdog is
/// fed meanwhile: the check is progress, and it has a deadline.
fn capture(stream: &mut UnixStream, deadline: Instant) -> io::Result<String> {
    let mut kept = Vec::new();
    let mut buffer = [0; 512];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "not finished within its deadline, killed",
            ));
        }
        watchdog::feed();
        stream.set_read_timeout(Some(left.min(watchdog::interval())))?;
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(String::from_utf8_lossy(&kept).into_owned()),
            Ok(length) => {
                let room = OUTPUT_LIMIT.saturating_sub(kept.len());
                kept.extend(buffer.iter().take(length.min(room)));
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) => {}
            Err(error) => return Err(error),
        }
    }
}

/// The helper: `stage1 in-root DIR PROGRAM [ARGUMENT]...` enters DIR and becomes PROGRAM there.
/// Returns only with the reason why it could not.
pub(crate) fn enter_root(
    mut arguments: impl Iterator<Item = std::ffi::OsString>,
) -> io::Result<Infallible> {
    let mut next = || {
        arguments
            .next()
            .ok_or_else(|| io::Error::other("usage: stage1 in-root DIR PROGRAM [ARGUMENT]..."))
    };
    let (root, program) = (next()?, next()?);
    std::os::unix::fs::chroot(&root)?;
    std::env::set_current_dir("/")?;
    Err(Command::new(program).args(arguments).exec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn exit_statuses_of_the_manual_page() {
        let check = |code: Option<i32>, output: &str, expect: Verdict| {
            assert_eq!(judge(code, output), expect);
        };
        check(Some(0), "shark-data: clean, 11/16384 files", Verdict::Clean);
        check(
            Some(1),
            "recovered\norphan\n",
            Verdict::Corrected("e2fsck corrected errors: recovered; orphan".into()),
        );
        check(
            Some(2),
            "",
            Verdict::Corrected("e2fsck corrected errors".into()),
        );
        check(
            Some(3),
            "",
            Verdict::Corrected("e2fsck corrected errors".into()),
        );
        check(
            Some(4),
            "",
            Verdict::Unusable(
                "e2fsck left errors uncorrected; run it by hand from the rescue console".into(),
            ),
        );
        check(
            Some(8),
            "no such device",
            Verdict::Unusable("e2fsck could not check it (status 8): no such device".into()),
        );
        check(
            Some(128),
            "",
            Verdict::Unusable("e2fsck could not check it (status 128)".into()),
        );
        check(
            None,
            "",
            Verdict::Unusable("e2fsck was ended by a signal".into()),
        );
        assert!(matches!(judge(Some(12), ""), Verdict::Unusable(_)));
    }

    #[test]
    fn a_root_without_the_program() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(
            check(root.path().to_str().unwrap(), "/dev/null"),
            Verdict::Absent
        );
    }

    #[test]
    fn output_is_bounded_and_ends_with_the_writer() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(&[b'x'; OUTPUT_LIMIT + 100]).unwrap();
        drop(theirs);
        assert_eq!(
            capture(&mut ours, Instant::now() + Duration::from_secs(5))
                .unwrap()
                .len(),
            OUTPUT_LIMIT
        );
    }

    #[test]
    fn a_program_is_waited_for_and_no_longer_than_that() {
        let mut quick = Command::new("/bin/true").spawn().unwrap();
        assert!(wait(&mut quick, LAST_WAIT).unwrap().success());
        let mut slow = Command::new("/bin/sleep").arg("60").spawn().unwrap();
        let error = wait(&mut slow, Duration::from_millis(20)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        slow.kill().unwrap();
        slow.wait().unwrap();
    }

    #[test]
    fn silence_meets_the_deadline() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let error = capture(&mut ours, Instant::now() + Duration::from_millis(20)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(theirs);
    }
}
