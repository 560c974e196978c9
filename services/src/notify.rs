//! What a service may say of itself by sd_notify(3): the parser of one datagram. Not here: who sent
//! it (the shell checks credentials and cgroup), descriptors that come with it (the shell keeps them)
//! and what follows from it (`supervisor`).

use core::fmt;

use crate::time::Duration;

use serde::{Deserialize, Serialize};

/// Longest datagram that is read, in bytes. A longer one is not looked at.
pub const DATAGRAM_MAX: usize = 4096;
/// Longest `STATUS=` that is kept, in characters. The rest is cut off.
pub const STATUS_MAX: usize = 256;
/// Longest `BUSERROR=` that is kept, in characters. The rest is cut off.
pub const BUS_ERROR_MAX: usize = 64;
/// Longest `FDNAME=`, in bytes.
pub const FD_NAME_MAX: usize = 255;
/// Most assignments of one datagram that are acted on.
pub const MESSAGES_MAX: usize = 16;

/// One assignment of a datagram.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// `READY=1`: start-up, or the reload announced before, is finished.
    Ready,
    /// `RELOADING=1`: it reads its configuration again; `READY=1` follows.
    Reloading,
    /// `STOPPING=1`: it is on its way out.
    Stopping,
    /// `STATUS=TEXT`: one line for people, without control characters.
    Status(String),
    /// `ERRNO=`, `BUSERROR=` or `EXIT_STATUS=`: what it fails for, should it fail.
    Complaint(Complaint),
    /// `MAINPID=N`: the main process is another one. Never 0 or 1.
    MainPid(u32),
    /// `EXTEND_TIMEOUT_USEC=N`: what it is doing takes up to so long, from now on.
    ExtendTimeout(Duration),
    /// `WATCHDOG=1`: it is alive.
    Alive,
    /// `WATCHDOG=trigger`: it has found itself broken.
    Broken,
    /// `WATCHDOG_USEC=N`: it will say that it is alive so often; `None`: not at all.
    WatchdogTimeout(Option<Duration>),
    /// `X_SHARK_BEGIN=...`: what the starter, which is not yet the program of the service, has done.
    Begin(Begun),
    /// So many assignments were not understood, or were too many, and are ignored.
    Ignored(u16),
}

/// How what is done before the program of a service went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Begun {
    /// Well: the program is executed now.
    Ready,
    /// This condition does not hold.
    Skipped(String),
    /// Not at all, for this reason.
    Failed(String),
}

/// The datagram of the starter.
#[must_use]
pub fn encode_begun(begun: &Begun) -> String {
    match begun {
        Begun::Ready => "X_SHARK_BEGIN=ready".to_owned(),
        Begun::Skipped(text) => format!(
            "X_SHARK_BEGIN=skipped {}",
            printable(text.as_bytes(), STATUS_MAX)
        ),
        Begun::Failed(text) => format!(
            "X_SHARK_BEGIN=failed {}",
            printable(text.as_bytes(), STATUS_MAX)
        ),
    }
}

fn begun(value: &[u8]) -> Option<Begun> {
    if value == b"ready" {
        return Some(Begun::Ready);
    }
    let skipped = value.strip_prefix(b"skipped ");
    let failed = value.strip_prefix(b"failed ");
    let failed = failed.map(|text| Begun::Failed(printable(text, STATUS_MAX)));
    skipped
        .map(|text| Begun::Skipped(printable(text, STATUS_MAX)))
        .or(failed)
}

/// What a service says that it fails for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Complaint {
    /// Number of an error, errno(3).
    Errno(u16),
    /// Name of an error of D-Bus, without control characters.
    BusError(String),
    /// Exit status of what it has run.
    ExitStatus(u8),
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Errno(number) => write!(f, "ERRNO={number}"),
            Self::BusError(name) => write!(f, "BUSERROR={name}"),
            Self::ExitStatus(status) => write!(f, "EXIT_STATUS={status}"),
        }
    }
}

/// The name of a stored descriptor: printable ASCII without colons, at most [`FD_NAME_MAX`] bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FdName(Box<str>);

impl FdName {
    /// A name from bytes; `None`: they are none.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let fits = !bytes.is_empty() && bytes.len() <= FD_NAME_MAX;
        let good = |byte: &u8| matches!(*byte, b' '..=b'~') && *byte != b':';
        let text = core::str::from_utf8(bytes).ok()?;
        (fits && bytes.iter().all(good)).then(|| Self(text.into()))
    }

    /// The name as a text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for FdName {
    /// What a descriptor is called that was given no name.
    fn default() -> Self {
        Self("stored".into())
    }
}

/// `FDSTORE=1`: the descriptors that came along are to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keep {
    /// What all of them are called (`FDNAME=`).
    pub name: FdName,
    /// Whether one is let go when its other side has gone; not with `FDPOLL=0`.
    pub poll: bool,
}

/// A datagram, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Datagram {
    /// What it tells the supervisor, in order.
    pub messages: Vec<Message>,
    /// `FDSTOREREMOVE=1`: kept descriptors of this name are to be let go, before any are kept.
    pub drop: Option<FdName>,
    /// What becomes of descriptors that came along; `None`: they are closed once the datagram has
    /// been acted on, which is all that `BARRIER=1` asks for.
    pub keep: Option<Keep>,
}

/// What one line of a datagram is.
enum Line {
    /// Tells the supervisor something.
    Message(Message),
    /// `FDSTORE=1`.
    Store,
    /// `FDSTOREREMOVE=1`.
    Remove,
    /// `FDNAME=NAME`.
    Name(FdName),
    /// `FDPOLL=0`.
    NoPoll,
    /// Known, and nothing follows from it.
    Nothing,
}

/// Reads a datagram: one assignment a line, as sd_notify(3) has it.
///
/// Never fails: what is not understood is counted in one last [`Message::Ignored`].
///
/// ```
/// use services::notify::{Message, parse};
/// assert_eq!(
///     parse(b"READY=1\nSTATUS=serving").messages,
///     [Message::Ready, Message::Status("serving".into())]
/// );
/// ```
#[must_use]
pub fn parse(datagram: &[u8]) -> Datagram {
    let mut messages = Vec::new();
    let mut ignored: u16 = 0;
    let (mut store, mut remove, mut poll) = (false, false, true);
    let mut name = None;
    let whole = datagram.len() <= DATAGRAM_MAX;
    let read = if whole { datagram } else { b"?" };
    for line in read.split(|byte| *byte == b'\n') {
        if line.is_empty() {
            continue;
        }
        match assignment(line) {
            Some(Line::Message(message)) if messages.len() < MESSAGES_MAX => messages.push(message),
            Some(Line::Message(_)) | None => ignored = ignored.saturating_add(1),
            Some(Line::Store) => store = true,
            Some(Line::Remove) => remove = true,
            Some(Line::Name(text)) => name = Some(text),
            Some(Line::NoPoll) => poll = false,
            Some(Line::Nothing) => {}
        }
    }
    if remove && name.is_none() {
        // Without a name it would be all of them, which nobody can have meant.
        ignored = ignored.saturating_add(1);
    }
    if ignored > 0 {
        messages.push(Message::Ignored(ignored));
    }
    Datagram {
        messages,
        drop: name.clone().filter(|_| remove),
        keep: store.then(|| Keep {
            name: name.unwrap_or_default(),
            poll,
        }),
    }
}

fn assignment(line: &[u8]) -> Option<Line> {
    let equals = line.iter().position(|byte| *byte == b'=')?;
    let (key, rest) = line.split_at(equals);
    let value = rest.get(1..)?;
    let message = match (key, value) {
        (b"READY", b"1") => Message::Ready,
        (b"RELOADING", b"1") => Message::Reloading,
        (b"STOPPING", b"1") => Message::Stopping,
        (b"STATUS", text) => Message::Status(printable(text, STATUS_MAX)),
        (b"ERRNO", digits) => Message::Complaint(Complaint::Errno(small(digits)?)),
        (b"BUSERROR", text) => {
            Message::Complaint(Complaint::BusError(printable(text, BUS_ERROR_MAX)))
        }
        (b"EXIT_STATUS", digits) => Message::Complaint(Complaint::ExitStatus(small(digits)?)),
        (b"X_SHARK_BEGIN", value) => Message::Begin(begun(value)?),
        (b"MAINPID", digits) => Message::MainPid(main_pid(digits)?),
        (b"EXTEND_TIMEOUT_USEC", digits) => Message::ExtendTimeout(micros(digits)?),
        (b"WATCHDOG", b"1") => Message::Alive,
        (b"WATCHDOG", b"trigger") => Message::Broken,
        (b"WATCHDOG_USEC", digits) => Message::WatchdogTimeout(watchdog(digits)?),
        (b"FDSTORE", b"1") => return Some(Line::Store),
        (b"FDSTOREREMOVE", b"1") => return Some(Line::Remove),
        (b"FDNAME", name) => return FdName::new(name).map(Line::Name),
        (b"FDPOLL", b"0") => return Some(Line::NoPoll),
        // Datagrams are read in the order in which they were sent, and each is acted on before the
        // next is read: neither the barrier nor the time of a reload has to be waited for.
        (b"FDPOLL" | b"BARRIER", b"1") => return Some(Line::Nothing),
        (b"MONOTONIC_USEC", digits) => return number(digits).map(|_| Line::Nothing),
        _ => return None,
    };
    Some(Line::Message(message))
}

/// The text goes to terminals: control characters would let a service write on the operator's.
fn printable(text: &[u8], most: usize) -> String {
    String::from_utf8_lossy(text)
        .chars()
        .filter(|c| !c.is_control())
        .take(most)
        .collect()
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    core::str::from_utf8(digits).ok()?.parse().ok()
}

fn small<T: TryFrom<u64>>(digits: &[u8]) -> Option<T> {
    number(digits).and_then(|number| T::try_from(number).ok())
}

fn micros(digits: &[u8]) -> Option<Duration> {
    number(digits).map(Duration::from_micros)
}

/// 0 and the largest number are both how libsystemd's callers write "never".
fn watchdog(digits: &[u8]) -> Option<Option<Duration>> {
    let micros = number(digits)?;
    let timed = micros != 0 && micros != u64::MAX;
    Some(timed.then(|| Duration::from_micros(micros)))
}

fn main_pid(digits: &[u8]) -> Option<u32> {
    let pid: u32 = small(digits)?;
    // 0 is nobody and 1 is this very program; pids end at i32::MAX.
    (pid > 1 && i32::try_from(pid).is_ok()).then_some(pid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(input: &[u8], expect: &[Message]) {
        let messages = parse(input).messages;
        assert_eq!(messages, expect, "{:?}", String::from_utf8_lossy(input));
    }

    fn micros(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    #[test]
    fn reads_what_sd_notify_defines() {
        check(b"READY=1", &[Message::Ready]);
        check(
            b"READY=1\nSTATUS=up\n",
            &[Message::Ready, Message::Status("up".into())],
        );
        check(b"RELOADING=1\nMONOTONIC_USEC=12", &[Message::Reloading]);
        check(b"STOPPING=1", &[Message::Stopping]);
        check(b"MAINPID=4711", &[Message::MainPid(4711)]);
        check(b"STATUS=a=b", &[Message::Status("a=b".into())]);
        check(b"STATUS=", &[Message::Status(String::new())]);
        for begun in [
            Begun::Ready,
            Begun::Skipped("path-exists /x".into()),
            Begun::Failed("open /x: ENOENT".into()),
        ] {
            check(encode_begun(&begun).as_bytes(), &[Message::Begin(begun)]);
        }
        check(b"X_SHARK_BEGIN=failed", &[Message::Ignored(1)]);
        check(b"BARRIER=1", &[]);
        let said = |complaint| [Message::Complaint(complaint)];
        check(b"ERRNO=2", &said(Complaint::Errno(2)));
        check(b"EXIT_STATUS=7", &said(Complaint::ExitStatus(7)));
        let name = "org.freedesktop.DBus.Error.TimedOut";
        let bus = Complaint::BusError(name.into());
        assert_eq!(bus.to_string(), format!("BUSERROR={name}"));
        check(format!("BUSERROR={name}").as_bytes(), &said(bus));
        check(
            b"EXTEND_TIMEOUT_USEC=5000000",
            &[Message::ExtendTimeout(micros(5_000_000))],
        );
        check(
            b"WATCHDOG=1\nWATCHDOG=trigger",
            &[Message::Alive, Message::Broken],
        );
        let timeout = |it| [Message::WatchdogTimeout(it)];
        check(b"WATCHDOG_USEC=9", &timeout(Some(micros(9))));
        check(b"WATCHDOG_USEC=0", &timeout(None));
        check(b"WATCHDOG_USEC=18446744073709551615", &timeout(None));
    }

    #[test]
    fn reads_what_is_to_become_of_descriptors() {
        let name = |text: &str| FdName::new(text.as_bytes()).unwrap();
        let keep = |text: &str, poll| {
            Some(Keep {
                name: name(text),
                poll,
            })
        };
        assert_eq!(parse(b"FDSTORE=1").keep, keep("stored", true));
        assert_eq!(parse(b"FDNAME=a b\nFDSTORE=1").keep, keep("a b", true));
        let told = parse(b"FDSTORE=1\nFDPOLL=0\nFDNAME=x");
        assert_eq!((told.messages.len(), told.keep), (0, keep("x", false)));
        let told = parse(b"FDSTOREREMOVE=1\nFDNAME=x");
        assert_eq!((told.drop, told.keep), (Some(name("x")), None));
        let told = parse(b"FDSTOREREMOVE=1");
        assert_eq!(told.drop, None);
        assert_eq!(told.messages, [Message::Ignored(1)]);
        // A bad name leaves the descriptor with the one it has without any.
        let told = parse(b"FDSTORE=1\nFDNAME=a:b");
        assert_eq!(told.keep, keep("stored", true));
        assert_eq!(told.messages, [Message::Ignored(1)]);
        assert_eq!(parse(b"FDNAME=x\nREADY=1").keep, None);
    }

    #[test]
    fn ignores_and_counts_the_rest() {
        check(b"", &[]);
        check(b"\n\n", &[]);
        for text in [
            &b"READY=0"[..],
            b"READY",
            b"ready=1",
            b" READY=1",
            b"MAINPID=0",
            b"MAINPID=1",
            b"MAINPID=-3",
            b"MAINPID=+3",
            b"MAINPID=4294967295",
            b"MAINPID=",
            b"WATCHDOG=0",
            b"WATCHDOG_USEC=1s",
            b"WATCHDOG_USEC=18446744073709551616",
            b"EXTEND_TIMEOUT_USEC=-1",
            b"MONOTONIC_USEC=soon",
            b"ERRNO=65536",
            b"EXIT_STATUS=256",
            b"FDNAME=",
            b"FDNAME=\xc3\xa9",
            b"FDSTORE=0",
            b"FDPOLL=2",
            b"BARRIER=0",
            b"=",
            b"\xff\xfe",
        ] {
            check(text, &[Message::Ignored(1)]);
        }
    }

    #[test]
    fn keeps_to_its_bounds() {
        check(&[b'x'; DATAGRAM_MAX + 1], &[Message::Ignored(1)]);
        let long = format!("STATUS={}", "é".repeat(STATUS_MAX + 9));
        check(long.as_bytes(), &[Message::Status("é".repeat(STATUS_MAX))]);
        let many = "READY=1\n".repeat(MESSAGES_MAX + 4);
        let messages = parse(many.as_bytes()).messages;
        assert_eq!(messages.len(), MESSAGES_MAX + 1);
        assert_eq!(messages.last(), Some(&Message::Ignored(4)));
        check(
            b"STATUS=\x1b[31mred\x07",
            &[Message::Status("[31mred".into())],
        );
        check(b"STATUS=\xff!", &[Message::Status("\u{fffd}!".into())]);
        assert!(FdName::new(&[b'x'; FD_NAME_MAX]).is_some());
        assert!(FdName::new(&[b'x'; FD_NAME_MAX + 1]).is_none());
    }

    fn check_bounds(datagram: &Datagram) -> Result<(), TestCaseError> {
        prop_assert!(datagram.messages.len() <= MESSAGES_MAX + 1);
        for message in &datagram.messages {
            let (text, most) = match message {
                Message::Status(text) => (text, STATUS_MAX),
                Message::Complaint(Complaint::BusError(text)) => (text, BUS_ERROR_MAX),
                _ => continue,
            };
            prop_assert!(text.chars().count() <= most);
            prop_assert!(!text.chars().any(char::is_control));
        }
        let keep = datagram.keep.as_ref().map(|keep| &keep.name);
        for name in keep.into_iter().chain(&datagram.drop) {
            prop_assert!(FdName::new(name.as_str().as_bytes()).as_ref() == Some(name));
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn any_bytes_stay_within_the_bounds(bytes in prop::collection::vec(any::<u8>(), 0..5000)) {
            check_bounds(&parse(&bytes))?;
        }

        #[test]
        fn any_assignments_stay_within_the_bounds(
            lines in prop::collection::vec(
                "(READY|RELOADING|STOPPING|STATUS|ERRNO|BUSERROR|EXIT_STATUS|MAINPID|WATCHDOG\
                  |WATCHDOG_USEC|EXTEND_TIMEOUT_USEC|MONOTONIC_USEC|FDSTORE|FDSTOREREMOVE|FDNAME\
                  |FDPOLL|BARRIER)=(0|1|trigger|[0-9]{1,20}|.{0,300})",
                0..40,
            )
        ) {
            let datagram = parse(lines.join("\n").as_bytes());
            check_bounds(&datagram)?;
            let ignored = datagram.messages.iter().filter(|it| matches!(it, Message::Ignored(_)));
            prop_assert!(ignored.count() <= 1);
        }
    }
}
