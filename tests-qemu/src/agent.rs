//! The agent: runs commands in the guest and brings back what they print and how they end. Its
//! other half is a shell script that comes with the overlay (`overlay`).
//!
//! Four virtio-serial ports join the halves. The host writes a command to `cmd`, one line of base64;
//! the guest copies the command's output to `out` and `err`, ends each with [`END`], and then writes
//! `ended STATUS` to `status`. Before the first command it writes `boot good` or `boot bad TEXT`.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// Ends the output of one command on `out` and `err`. A command that prints it is cut short.
pub const END: &[u8] = b"\0end\0";

/// A port between host and guest; the guest sees it as `shark.NAME`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// Commands, to the guest.
    Command,
    /// What a command prints.
    Out,
    /// What a command complains about.
    Err,
    /// How the boot and each command ended.
    Status,
}

impl Port {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Command, Self::Out, Self::Err, Self::Status];
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Command => "cmd",
            Self::Out => "out",
            Self::Err => "err",
            Self::Status => "status",
        })
    }
}

/// Where QEMU listens for the host's end of `port`.
#[must_use]
pub fn socket_path(folder: &Path, port: Port) -> PathBuf {
    folder.join(port.to_string())
}

/// How a command ended, and what it printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Exit status as the shell tells it: 128 and the number after a signal.
    pub status: u8,
    /// What it wrote to stdout.
    pub out: Vec<u8>,
    /// What it wrote to stderr.
    pub err: Vec<u8>,
}

impl Output {
    /// Stdout as text, without the newline at its end.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).trim_end().to_owned()
    }
}

/// What the guest says on `status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// Every service of the boot target is up.
    BootGood,
    /// Something failed.
    BootBad(String),
    /// The command ended.
    Ended(u8),
}

impl Report {
    fn parse(line: &str) -> Option<Self> {
        match line.split_once(' ') {
            Some(("boot", "good")) => Some(Self::BootGood),
            Some(("boot", rest)) => Some(Self::BootBad(rest.trim_start_matches("bad ").to_owned())),
            Some(("ended", status)) => status.parse().ok().map(Self::Ended),
            Some(_) | None => None,
        }
    }
}

/// The host's half.
pub struct Agent {
    command: UnixStream,
    reports: Receiver<Report>,
    out: Receiver<Piece>,
    err: Receiver<Piece>,
}

/// A piece of a command's output.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Bytes(Vec<u8>),
    End,
}

impl Agent {
    /// Connects to the sockets that QEMU makes in `folder`, as soon as they are there.
    ///
    /// # Errors
    /// When one of them cannot be reached before `deadline`.
    pub fn connect(folder: &Path, deadline: Instant) -> anyhow::Result<Self> {
        let connect = |port: Port| connect_until(&socket_path(folder, port), deadline);
        let (report_sender, reports) = mpsc::channel();
        let status = BufReader::new(connect(Port::Status)?);
        std::thread::spawn(move || {
            for line in status.lines().map_while(Result::ok) {
                if let Some(report) = Report::parse(line.trim())
                    && report_sender.send(report).is_err()
                {
                    break;
                }
            }
        });
        Ok(Self {
            command: connect(Port::Command)?,
            reports,
            out: pieces(connect(Port::Out)?),
            err: pieces(connect(Port::Err)?),
        })
    }

    /// The next report of the guest, `None` when none came in `wait` or the machine has ended.
    pub fn report(&self, wait: Duration) -> Option<Report> {
        self.reports.recv_timeout(wait).ok()
    }

    /// Forgets what a command of an earlier boot has printed: the one that ended that boot is
    /// nobody's any more.
    pub fn forget(&self) {
        while self.out.try_recv().is_ok() || self.err.try_recv().is_ok() {}
    }

    /// Sends a command for the guest's `/bin/sh`.
    ///
    /// # Errors
    /// When the machine has ended.
    pub fn send(&mut self, command: &str) -> anyhow::Result<()> {
        let line = format!("{}\n", BASE64.encode(command));
        self.command
            .write_all(line.as_bytes())
            .context("the agent's port is closed")
    }

    /// Runs a command, copies what it prints to `out` and `err` as it comes, and returns its status.
    ///
    /// # Errors
    /// When the machine ends first, or `deadline` passes.
    pub fn run(
        &mut self,
        command: &str,
        out: &mut dyn Write,
        err: &mut dyn Write,
        deadline: Instant,
    ) -> anyhow::Result<u8> {
        self.send(command)?;
        let (mut out_open, mut err_open) = (true, true);
        while out_open || err_open {
            // Both are looked at in turn, so that neither waits for the other's end.
            out_open = out_open && copy_piece(&self.out, out, deadline)?;
            err_open = err_open && copy_piece(&self.err, err, deadline)?;
            if Instant::now() >= deadline {
                bail!("`{command}` did not end in time");
            }
        }
        match self.report(deadline.saturating_duration_since(Instant::now())) {
            Some(Report::Ended(status)) => Ok(status),
            Some(other) => bail!("the agent said {other:?} where a command ended"),
            None => bail!("the machine ended before `{command}` did"),
        }
    }
}

/// Copies what has come within a moment; false at the end of the command's output.
fn copy_piece(
    source: &Receiver<Piece>,
    target: &mut dyn Write,
    deadline: Instant,
) -> anyhow::Result<bool> {
    let moment = Duration::from_millis(10).min(deadline.saturating_duration_since(Instant::now()));
    match source.recv_timeout(moment) {
        Ok(Piece::Bytes(bytes)) => {
            target
                .write_all(&bytes)
                .and_then(|()| target.flush())
                .context("cannot print the guest's output")?;
            Ok(true)
        }
        Ok(Piece::End) => Ok(false),
        Err(mpsc::RecvTimeoutError::Timeout) => Ok(true),
        Err(mpsc::RecvTimeoutError::Disconnected) => bail!("the machine ended while a command ran"),
    }
}

fn connect_until(path: &Path, deadline: Instant) -> anyhow::Result<UnixStream> {
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => return Ok(stream),
            Err(error) if Instant::now() >= deadline => {
                return Err(error)
                    .with_context(|| format!("QEMU does not listen at {}", path.display()));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// Cuts the stream at [`END`]s, in a thread.
fn pieces(mut source: UnixStream) -> Receiver<Piece> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        let mut buffer = [0u8; 4096];
        loop {
            let count = match source.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            kept.extend_from_slice(buffer.get(..count).unwrap_or_default());
            for piece in cut(&mut kept) {
                if sender.send(piece).is_err() {
                    return;
                }
            }
        }
    });
    receiver
}

/// Takes from `kept` all that is decided; a beginning of [`END`] at its end stays.
fn cut(kept: &mut Vec<u8>) -> Vec<Piece> {
    let mut pieces = Vec::new();
    while let Some(at) = kept.windows(END.len()).position(|window| window == END) {
        let before: Vec<u8> = kept.drain(..at + END.len()).take(at).collect();
        if !before.is_empty() {
            pieces.push(Piece::Bytes(before));
        }
        pieces.push(Piece::End);
    }
    let undecided = (1..END.len())
        .rev()
        .find(|&n| kept.ends_with(END.get(..n).unwrap_or_default()));
    let decided = kept.len() - undecided.unwrap_or(0);
    if decided > 0 {
        pieces.push(Piece::Bytes(kept.drain(..decided).collect()));
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(parts: &[&[u8]], expect: &[Piece]) {
        let mut kept = Vec::new();
        let pieces: Vec<Piece> = parts
            .iter()
            .flat_map(|part| {
                kept.extend_from_slice(part);
                cut(&mut kept)
            })
            .collect();
        assert_eq!(pieces, expect);
    }

    #[test]
    fn output_is_cut_where_a_command_ends() {
        check(
            &[b"a\0end\0b"],
            &[
                Piece::Bytes(b"a".into()),
                Piece::End,
                Piece::Bytes(b"b".into()),
            ],
        );
        check(&[b"\0end\0"], &[Piece::End]);
        check(
            &[b"a\0e", b"nd\0"],
            &[Piece::Bytes(b"a".into()), Piece::End],
        );
        check(&[b"\0e", b"x"], &[Piece::Bytes(b"\0ex".into())]);
        check(&[b"\0end\0\0end\0"], &[Piece::End, Piece::End]);
    }

    #[test]
    fn reports() {
        assert_eq!(Report::parse("boot good"), Some(Report::BootGood));
        assert_eq!(
            Report::parse("boot bad sshd failed"),
            Some(Report::BootBad("sshd failed".into()))
        );
        assert_eq!(Report::parse("ended 7"), Some(Report::Ended(7)));
        assert_eq!(Report::parse("ended 700"), None);
        assert_eq!(Report::parse("noise"), None);
    }
}
