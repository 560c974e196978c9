//! Lines of logs as messages of syslog for somebody else, and where they may go. Not here: sending them
//! (`init`), and reading messages (`syslog`).

use core::net::SocketAddr;
use std::fmt;
use std::path::PathBuf;

use super::priority::Priority;

/// Longest name of a program that RFC 5424 lets through.
const NAME_MAX: usize = 48;
/// Longest name of a machine that it lets through.
const HOST_MAX: usize = 255;
/// Facilities, as syslog(3) numbers them.
const KERNEL: u8 = 0;
const DAEMON: u8 = 3;
/// Names of months as RFC 3164 has them.
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Where messages go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A datagram socket of this machine, such as that of a syslog daemon.
    Unix(PathBuf),
    /// RFC 5424, a message in a datagram (RFC 5426).
    Udp(SocketAddr),
    /// RFC 5424, each message with its length before it (RFC 6587).
    Tcp(SocketAddr),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Udp(address) => write!(f, "udp://{address}"),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

/// A line that goes.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// Whether the kernel has said it.
    pub of_kernel: bool,
    /// How grave it is.
    pub priority: Priority,
    /// When it was written: `2026-11-23T03:43:19.123456Z`; something else is no time.
    pub stamp: &'a str,
    /// The name of the machine.
    pub host: &'a str,
    /// Who says it.
    pub name: &'a str,
    /// The number of the process, where that is known.
    pub pid: Option<u32>,
    /// What it says.
    pub text: &'a [u8],
}

impl Line<'_> {
    /// The message, as `target` takes it.
    #[must_use]
    pub fn message(&self, target: &Target) -> Vec<u8> {
        match target {
            Target::Unix(_) => self.local(),
            Target::Udp(_) => self.rfc5424(),
            Target::Tcp(_) => {
                let message = self.rfc5424();
                let mut counted = format!("{} ", message.len()).into_bytes();
                counted.extend_from_slice(&message);
                counted
            }
        }
    }

    fn rfc5424(&self) -> Vec<u8> {
        let stamp = if self.stamp.is_empty() {
            "-"
        } else {
            self.stamp
        };
        let pid = self.pid.map_or("-".to_owned(), |pid| pid.to_string());
        let mut message = format!(
            "<{}>1 {stamp} {} {} {pid} - - ",
            self.value(),
            word(self.host, HOST_MAX),
            word(self.name, NAME_MAX)
        )
        .into_bytes();
        message.extend_from_slice(self.text);
        message
    }

    /// As the C library writes to /dev/log.
    fn local(&self) -> Vec<u8> {
        let pid = self.pid.map_or(String::new(), |pid| format!("[{pid}]"));
        let mut message = format!(
            "<{}>{}{}{pid}: ",
            self.value(),
            short_time(self.stamp).unwrap_or_default(),
            word(self.name, NAME_MAX)
        )
        .into_bytes();
        message.extend_from_slice(self.text);
        message
    }

    fn value(&self) -> u8 {
        let facility = if self.of_kernel { KERNEL } else { DAEMON };
        (facility << 3) | self.priority.number()
    }
}

/// What may stand in a header: characters of ASCII that are seen.
fn word(text: &str, most: usize) -> String {
    let seen = text.chars().filter(char::is_ascii_graphic).take(most);
    let word: String = seen.collect();
    if word.is_empty() {
        "-".to_owned()
    } else {
        word
    }
}

/// `Nov 23 03:43:19 `, of a stamp.
fn short_time(stamp: &str) -> Option<String> {
    let month: usize = stamp.get(5..7)?.parse().ok()?;
    let day: u32 = stamp.get(8..10)?.parse().ok()?;
    let time = stamp.get(11..19)?;
    let month = MONTHS.get(month.checked_sub(1)?)?;
    Some(format!("{month} {day:>2} {time} "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: Line<'static> = Line {
        of_kernel: false,
        priority: Priority::Error,
        stamp: "2026-11-03T03:43:19.123456Z",
        host: "box",
        name: "web",
        pid: Some(42),
        text: b"no \xff room",
    };

    fn check(line: Line<'_>, target: &Target, expect: &[u8]) {
        let message = line.message(target);
        assert_eq!(message, expect, "{}", message.escape_ascii());
    }

    #[test]
    fn each_target_has_its_form() {
        let address = "10.0.0.1:514".parse().unwrap();
        let expect = b"<27>1 2026-11-03T03:43:19.123456Z box web 42 - - no \xff room";
        check(LINE, &Target::Udp(address), expect);
        let counted = [&b"58 "[..], expect].concat();
        check(LINE, &Target::Tcp(address), &counted);
        let unix = Target::Unix("/run/log".into());
        check(LINE, &unix, b"<27>Nov  3 03:43:19 web[42]: no \xff room");
        assert_eq!(unix.to_string(), "unix:/run/log");
        assert_eq!(Target::Tcp(address).to_string(), "tcp://10.0.0.1:514");
    }

    #[test]
    fn what_is_not_known_is_a_dash() {
        let line = Line {
            of_kernel: true,
            stamp: "",
            host: "",
            name: "\u{e9} ",
            pid: None,
            ..LINE
        };
        let udp = Target::Udp("[::1]:514".parse().unwrap());
        check(line, &udp, b"<3>1 - - - - - - no \xff room");
        check(line, &Target::Unix("/x".into()), b"<3>-: no \xff room");
    }
}
