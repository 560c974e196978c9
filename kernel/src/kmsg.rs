//! Lines for the kernel log: where init and stage1 speak before there is any other log. Not here:
//! the logs of services.

use std::fmt::Write as _;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, open};

/// Longest record that /dev/kmsg takes is 1024 bytes less a prefix (kernel/printk/printk.c).
const RECORD: usize = 960;

/// Severity, as syslog(3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The machine cannot go on.
    Emergency = 0,
    /// Something failed.
    Error = 3,
    /// Something is odd.
    Warning = 4,
    /// Worth knowing.
    Notice = 5,
    /// Normal.
    Info = 6,
    /// For those who look closely.
    Debug = 7,
}

/// A writer to /dev/kmsg that never blocks and never fails: where there is no /dev/kmsg, and for
/// what the kernel refuses, nothing happens.
#[derive(Debug)]
pub struct Kmsg {
    fd: Option<OwnedFd>,
    tag: &'static str,
}

impl Kmsg {
    /// Opens /dev/kmsg; every line starts with `tag: `.
    #[must_use]
    pub fn open(tag: &'static str) -> Self {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        Self {
            fd: open("/dev/kmsg", flags, Mode::empty()).ok(),
            tag,
        }
    }

    /// Whether lines go anywhere.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.fd.is_some()
    }

    /// Writes one line. Control characters become spaces (a newline would start a record without
    /// level), and what is too long is cut.
    pub fn log(&self, level: Level, text: &str) {
        if let Some(fd) = &self.fd {
            write_record(fd, &record(self.tag, level, text));
        }
    }
}

fn write_record(fd: impl AsFd, record: &str) {
    // Nobody is left to be told that the kernel log cannot be written.
    let _ = rustix::io::retry_on_intr(|| rustix::io::write(&fd, record.as_bytes()));
}

fn record(tag: &str, level: Level, text: &str) -> String {
    let mut line = String::with_capacity(RECORD.min(text.len().saturating_add(32)));
    // Facility 3 is "daemon", so that the lines can be told from the kernel's own. Writing to a
    // String cannot fail.
    let _ = write!(line, "<{}>{tag}: ", 3 * 8 + level as u8);
    for c in text.chars() {
        if line.len().saturating_add(c.len_utf8()) >= RECORD {
            break;
        }
        line.push(if c.is_control() { ' ' } else { c });
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_line_and_short() {
        let line = record("shark", Level::Error, "a\nb\x1b[0m");
        assert_eq!(line, "<27>shark: a b [0m\n");
        let line = record("shark", Level::Info, &"ü".repeat(2000));
        assert!(line.len() <= RECORD && line.ends_with("ü\n"));
    }
}
