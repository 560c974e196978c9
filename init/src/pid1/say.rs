//! What PID 1 says to people: to the kernel's log on a machine, to its stderr in a container, and
//! always into the log of the pseudo-service `init`. Not here: the logger that keeps that log.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use services::time::{Duration, Time};

use crate::rate::Rate;

/// How grave a line is, as syslog(3) numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// The machine cannot go on.
    Emergency = 0,
    /// Something failed.
    Error = 3,
    /// Something is not as it should be.
    Warning = 4,
    /// A change worth keeping: who asked for what, what went up and down.
    Notice = 5,
    /// Detail.
    Info = 6,
}

/// Longest line, bytes: the kernel's log takes about a thousand.
const LINE_MAX: usize = 900;
/// O_NONBLOCK of fcntl(2), the same number on every architecture we build for.
const NONBLOCK: i32 = 0o4000;
/// Lines for the log of `init` wait together up to so many bytes: what a pipe takes whole (PIPE_BUF).
const TOGETHER: usize = 4096;

/// Where lines go.
#[derive(Debug)]
pub struct Say {
    sink: Option<File>,
    kernel_log: bool,
    own_log: Option<File>,
    /// Lines for it since the last [`Say::flush`].
    waiting: Vec<u8>,
    /// Lines that it had no room for, and that have not been told yet.
    lost: u64,
    /// The log of who has asked for what.
    audit: Option<File>,
    /// Lines that it had no room for.
    unaudited: u64,
    rate: Rate,
    verbose: bool,
}

impl Say {
    /// Opens the kernel's log (`kernel_log`), or else a way to stderr that never blocks. Where
    /// neither can be opened, lines go to the log of `init` alone; so does detail, unless `verbose`.
    #[must_use]
    pub fn open(kernel_log: bool, verbose: bool) -> Self {
        let path = if kernel_log {
            "/dev/kmsg"
        } else {
            // Opened anew, the flag is ours alone and not of everybody who shares the terminal.
            "/proc/self/fd/2"
        };
        let sink = OpenOptions::new()
            .write(true)
            .append(!kernel_log)
            .custom_flags(NONBLOCK)
            .open(path)
            .ok();
        Self {
            sink,
            kernel_log,
            own_log: None,
            waiting: Vec::new(),
            lost: 0,
            audit: None,
            unaudited: 0,
            rate: Rate::new(200, Duration::from_millis(100)),
            verbose,
        }
    }

    /// Whether it says detail too.
    #[must_use]
    pub(crate) const fn is_verbose(&self) -> bool {
        self.verbose
    }

    /// Gives it the write end of its own log pipe, which must be non-blocking.
    pub fn attach(&mut self, own_log: File) {
        self.own_log = Some(own_log);
    }

    /// Gives it the write end of the log of who has asked for what, which must be non-blocking.
    pub fn attach_audit(&mut self, audit: File) {
        self.audit = Some(audit);
    }

    /// Notes who has asked for what, or what has become of it: always, but in the kernel's log not too
    /// often.
    pub fn audit(&mut self, now: Time, level: Level, text: &str) {
        let text = one_line(text);
        if let Some(log) = &mut self.audit {
            let mut lines = String::new();
            if self.unaudited > 0 {
                let note = format!("{} lines before this had no room", self.unaudited);
                lines.push_str(&own_line(Level::Warning, &note));
            }
            lines.push_str(&own_line(level, &text));
            self.unaudited = match log.write_all(lines.as_bytes()) {
                Ok(()) => 0,
                Err(_) => self.unaudited.saturating_add(1),
            };
        }
        if self.rate.take(now).is_some() {
            self.tell_people(level, &format!("audit: {text}"));
        }
    }

    /// Says a line, if it is not one too many. A line that cannot be written is lost: there is
    /// nobody left to tell.
    pub fn line(&mut self, now: Time, level: Level, text: &str) {
        let Some(suppressed) = self.rate.take(now) else {
            return;
        };
        if suppressed > 0 {
            let note = format!("{suppressed} lines were too many at once and were left out");
            self.write(Level::Warning, &note);
        }
        self.write(level, text);
    }

    /// Hands the lines of a turn to the logger, all at once: it is woken once and not for each.
    pub fn flush(&mut self) {
        if let (Some(log), false) = (&mut self.own_log, self.waiting.is_empty()) {
            let mut note = Vec::new();
            if self.lost > 0 {
                let text = format!("{} lines before this had no room", self.lost);
                note = own_line(Level::Warning, &text).into_bytes();
            }
            // So few bytes go into a pipe as a whole, or not at all.
            let told = note.is_empty() || log.write_all(&note).is_ok();
            if told {
                self.lost = 0;
            }
            if !told || log.write_all(&self.waiting).is_err() {
                let lines = self.waiting.iter().filter(|byte| **byte == b'\n').count();
                self.lost = self.lost.saturating_add(lines as u64);
            }
        }
        self.waiting.clear();
    }

    /// Where lines go, for a child to write there too.
    #[must_use]
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.sink.as_ref().map(AsFd::as_fd)
    }

    /// The log of `init`, for a child to write there too.
    #[must_use]
    pub fn own_descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.own_log.as_ref().map(AsFd::as_fd)
    }

    fn write(&mut self, level: Level, text: &str) {
        let text = one_line(text);
        if self.own_log.is_some() {
            let line = own_line(level, &text);
            if self.waiting.len() + line.len() > TOGETHER {
                self.flush();
            }
            self.waiting.extend_from_slice(line.as_bytes());
        }
        self.tell_people(level, &text);
    }

    fn tell_people(&mut self, level: Level, text: &str) {
        if level == Level::Info && !self.verbose {
            return;
        }
        let line = if self.kernel_log {
            // Facility 3 is "daemon": without it the kernel files the line under its own.
            format!("<{}>shark: {text}\n", 3 << 3 | level as u8)
        } else {
            format!("shark: {text}\n")
        };
        if let Some(sink) = &mut self.sink {
            let _lost = sink.write_all(line.as_bytes());
        }
    }
}

/// A line for the log of `init`: what is more than detail says so, as sd-daemon(3) has it.
fn own_line(level: Level, text: &str) -> String {
    match level {
        Level::Info => format!("{text}\n"),
        Level::Emergency | Level::Error | Level::Warning | Level::Notice => {
            format!("<{}>{text}\n", level as u8)
        }
    }
}

/// One line of bounded length, whatever a service or client put into it.
fn one_line(text: &str) -> String {
    let mut end = text.len().min(LINE_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end)
        .unwrap_or_default()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_log_has_priorities() {
        assert_eq!(own_line(Level::Info, "detail"), "detail\n");
        assert_eq!(own_line(Level::Error, "broken"), "<3>broken\n");
    }

    #[test]
    fn what_a_pipe_has_no_room_for_is_counted_and_told() {
        use std::io::Read as _;
        let (reader, writer) = kernel::pipe::pair().unwrap();
        kernel::pipe::set_nonblocking(&reader, true).unwrap();
        kernel::pipe::set_nonblocking(&writer, true).unwrap();
        let mut say = Say::open(false, false);
        say.sink = None;
        say.attach(File::from(writer.try_clone().unwrap()));
        say.attach_audit(File::from(writer.try_clone().unwrap()));
        while kernel::pipe::write(&writer, &[b'x'; 4096])
            .unwrap()
            .is_some()
        {}
        let now = Time::from_nanos(1);
        for text in ["one", "two"] {
            say.line(now, Level::Info, text);
            say.audit(now, Level::Notice, text);
        }
        say.flush();
        let mut reader = File::from(reader);
        let _ends_with_no_more = reader.read_to_end(&mut Vec::new());
        say.line(now, Level::Info, "three");
        say.flush();
        say.audit(now, Level::Notice, "four");
        let mut text = Vec::new();
        let _ends_with_no_more = reader.read_to_end(&mut text);
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "<4>2 lines before this had no room\nthree\n\
             <4>2 lines before this had no room\n<5>four\n"
        );
    }

    #[test]
    fn what_was_told_to_be_lost_is_not_told_again() {
        use std::io::Read as _;
        let (reader, writer) = kernel::pipe::pair().unwrap();
        kernel::pipe::set_nonblocking(&reader, true).unwrap();
        kernel::pipe::set_nonblocking(&writer, true).unwrap();
        let mut say = Say::open(false, false);
        say.sink = None;
        say.attach(File::from(writer.try_clone().unwrap()));
        while kernel::pipe::write(&writer, &[b'x'; 4096])
            .unwrap()
            .is_some()
        {}
        let mut reader = File::from(reader);
        let now = Time::from_nanos(1);
        say.line(now, Level::Info, "lost");
        say.flush();
        // Room for the note, and for nothing more of a whole page.
        reader.read_exact(&mut [0; 4096]).unwrap();
        let long = "y".repeat(LINE_MAX);
        for text in [&long, &long, &long, &long, &long[..480]] {
            say.line(now, Level::Info, text);
        }
        say.flush();
        let mut text = Vec::new();
        let _ends_with_no_more = reader.read_to_end(&mut text);
        assert!(text.ends_with(b"x<4>1 lines before this had no room\n"));
        say.line(now, Level::Info, "kept");
        say.flush();
        text.clear();
        let _ends_with_no_more = reader.read_to_end(&mut text);
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "<4>5 lines before this had no room\nkept\n"
        );
    }

    #[test]
    fn a_line_is_one_line_and_not_a_long_one() {
        assert_eq!(one_line("a\nb\x1b[31mc"), "a b [31mc");
        let long = "ä".repeat(LINE_MAX);
        assert!(one_line(&long).len() <= LINE_MAX);
    }
}
