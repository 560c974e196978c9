//! A line of a log with what is known of it, and several logs as one, by time. Not here: reading files
//! (`reader`) and showing lines (`sharkctl`).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::iter::Peekable;

use services::log::priority::Priority;

use super::lines::{Line, Mark};
use super::stamp::Stamp;

/// One line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The line as it is in the file, without its newline.
    pub raw: &'a [u8],
    /// Its stamp as it is written; empty where it has none.
    pub stamp: &'a str,
    /// When it was written: its own time, or that of the line before, if it has none.
    pub time: Option<Stamp>,
    /// What kind of line it is.
    pub mark: Mark,
    /// What it says of its priority, or what goes without saying.
    pub priority: Priority,
    /// Of a message of syslog(3): the name that the program gives itself, and its number.
    pub program: Option<Program<'a>>,
    /// What the service wrote, without what is above.
    pub message: &'a [u8],
}

/// Who sent a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program<'a> {
    /// `-`: it does not say.
    pub name: &'a str,
    /// By the kernel; 0 is a process that this machine, container or namespace cannot see.
    pub pid: u32,
}

impl<'a> Program<'a> {
    /// Takes `name[pid]: ` off.
    fn split(text: &'a [u8]) -> (Option<Self>, &'a [u8]) {
        let found = || {
            let open = text.iter().position(|byte| *byte == b'[')?;
            let (name, rest) = text.split_at_checked(open)?;
            let close = rest.iter().position(|byte| *byte == b']')?;
            let pid = std::str::from_utf8(rest.get(1..close)?).ok()?;
            let program = Self {
                name: std::str::from_utf8(name).ok()?,
                pid: pid.parse().ok()?,
            };
            Some((program, rest.get(close..)?.strip_prefix(b"]: ")?))
        };
        match found() {
            Some((program, rest)) => (Some(program), rest),
            None => (None, text),
        }
    }
}

/// What the lines of one log leave to those that follow.
#[derive(Clone, Copy, Debug, Default)]
pub struct Before {
    time: Option<Stamp>,
    priority: Option<Priority>,
}

impl Before {
    /// Reads the next line of the log, without its newline.
    pub fn next<'a>(&mut self, raw: &'a [u8]) -> Entry<'a> {
        let line = Line::parse(raw);
        self.time = Stamp::parse(line.stamp).or(self.time);
        let (own, message) = match line.mark {
            Mark::Line | Mark::Syslog | Mark::Kernel => Priority::split(line.text),
            Mark::Continuation => (self.priority, line.text),
            Mark::Note => (Some(Priority::Warning), line.text),
        };
        self.priority = own;
        let (program, message) = match line.mark {
            Mark::Syslog => Program::split(message),
            Mark::Line | Mark::Continuation | Mark::Note | Mark::Kernel => (None, message),
        };
        Entry {
            raw,
            stamp: line.stamp,
            time: self.time,
            mark: line.mark,
            priority: own.unwrap_or(Priority::Info),
            program,
            message,
        }
    }

    /// Reads whole lines, each with its newline.
    pub fn all<'a>(&mut self, lines: &'a [u8]) -> impl Iterator<Item = Entry<'a>> {
        lines
            .split_inclusive(|byte| *byte == b'\n')
            .map(|line| self.next(line.strip_suffix(b"\n").unwrap_or(line)))
    }
}

/// The lines of several logs in the order of their times, each with the number of its log. Lines of one
/// log stay in the order in which they were written, even where the clock was set back, and a line that
/// was cut stays together.
pub struct Merged<'a, I: Iterator<Item = Entry<'a>>> {
    logs: Vec<Peekable<I>>,
    heads: BinaryHeap<Reverse<Head>>,
}

/// What decides which log is next: the time of its next line, that it is more of the line before, and
/// which log it is.
type Head = (Option<Stamp>, bool, usize);

impl<'a, I: Iterator<Item = Entry<'a>>> Merged<'a, I> {
    /// Puts `logs` together.
    pub fn new(logs: impl IntoIterator<Item = I>) -> Self {
        let mut logs: Vec<_> = logs.into_iter().map(Iterator::peekable).collect();
        let heads = logs
            .iter_mut()
            .enumerate()
            .filter_map(|(at, log)| log.peek().map(|entry| Reverse((entry.time, true, at))))
            .collect();
        Self { logs, heads }
    }
}

impl<'a, I: Iterator<Item = Entry<'a>>> Iterator for Merged<'a, I> {
    type Item = (usize, Entry<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let Reverse((time, _, at)) = self.heads.pop()?;
        let log = self.logs.get_mut(at)?;
        let entry = log.next()?;
        let head = log.peek().map(|next| match next.mark {
            Mark::Continuation => (time, false, at),
            Mark::Line | Mark::Note | Mark::Syslog | Mark::Kernel => (next.time, true, at),
        });
        self.heads.extend(head.map(Reverse));
        Some((at, entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(second: u32, rest: &str) -> String {
        format!("2026-11-23T03:43:{second:02}.000000Z{rest}\n")
    }

    fn merged(logs: &[String]) -> Vec<String> {
        let mut before = vec![Before::default(); logs.len()];
        let logs = before.iter_mut().zip(logs);
        Merged::new(logs.map(|(before, log)| before.all(log.as_bytes())))
            .map(|(at, entry)| format!("{at}{}", String::from_utf8_lossy(entry.message)))
            .collect()
    }

    #[test]
    fn logs_are_put_together_by_time() {
        let a = [line(1, " a"), line(3, " b"), line(3, " c")].concat();
        let b = [line(2, " a"), line(3, " b"), line(9, " c")].concat();
        assert_eq!(merged(&[a, b]), ["0a", "1a", "0b", "0c", "1b", "1c"]);
        assert!(merged(&[]).is_empty() && merged(&[String::new()]).is_empty());
    }

    #[test]
    fn the_order_of_one_log_is_kept_and_a_cut_line_stays_together() {
        let a = [line(5, " set back"), line(1, " then")].concat();
        let b = [line(3, " long"), line(9, "+more"), line(9, " z")].concat();
        let c = line(3, " c");
        let expect = ["1long", "1more", "2c", "0set back", "0then", "1z"];
        assert_eq!(merged(&[a, b, c]), expect);
    }

    #[test]
    fn a_line_without_a_time_follows_the_one_before() {
        let a = [line(5, " one"), "by hand\n".into()].concat();
        assert_eq!(merged(&[a, line(6, " b")]), ["0one", "0by hand", "1b"]);
    }

    #[test]
    fn priorities() {
        let text = [
            line(1, " <3>bad"),
            line(1, "+<5>more"),
            line(1, " plain"),
            line(1, "+more"),
            line(1, "!<7>note"),
            line(1, "~<4>hot[1]: x"),
        ]
        .concat();
        let mut before = Before::default();
        let found: Vec<(Priority, &[u8])> = before
            .all(text.as_bytes())
            .map(|entry| (entry.priority, entry.message))
            .collect();
        let expect: [(Priority, &[u8]); 6] = [
            (Priority::Error, b"bad"),
            (Priority::Error, b"<5>more"),
            (Priority::Info, b"plain"),
            (Priority::Info, b"more"),
            (Priority::Warning, b"<7>note"),
            (Priority::Warning, b"hot[1]: x"),
        ];
        assert_eq!(found, expect);
    }

    #[test]
    fn who_sent_a_message() {
        let check = |text: &str, expect: Option<(&str, u32)>, message: &str| {
            let text = line(1, &format!("@{text}"));
            let entry = Before::default().next(text.strip_suffix('\n').unwrap().as_bytes());
            let found = entry.program.map(|it| (it.name, it.pid));
            assert_eq!((found, entry.message), (expect, message.as_bytes()));
        };
        check("<3>sshd[42]: no room", Some(("sshd", 42)), "no room");
        check("<3>-[0]: ", Some(("-", 0)), "");
        for other in ["sshd: x", "sshd[x]: y", "sshd[1] x", "[", "", "a]1[: "] {
            check(other, None, other);
        }
    }
}
