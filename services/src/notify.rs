//! What a service may say of itself by sd_notify(3): the parser of one datagram. Not here: who sent
//! it (the shell checks credentials and cgroup) and what follows from it (`supervisor`).

use serde::{Deserialize, Serialize};

/// Longest datagram that is read, in bytes. A longer one is not looked at.
pub const DATAGRAM_MAX: usize = 4096;
/// Longest `STATUS=` that is kept, in characters. The rest is cut off.
pub const STATUS_MAX: usize = 256;
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
    /// `MAINPID=N`: the main process is another one. Never 0 or 1.
    MainPid(u32),
    /// So many assignments were not understood, or were too many, and are ignored.
    Ignored(u16),
}

/// Reads a datagram: one assignment a line, as sd_notify(3) has it.
///
/// Never fails: what is not understood is counted in one last [`Message::Ignored`].
///
/// ```
/// use services::notify::{Message, parse};
/// assert_eq!(
///     parse(b"READY=1\nSTATUS=serving"),
///     [Message::Ready, Message::Status("serving".into())]
/// );
/// ```
#[must_use]
pub fn parse(datagram: &[u8]) -> Vec<Message> {
    let mut messages = Vec::new();
    let mut ignored: u16 = 0;
    if datagram.len() > DATAGRAM_MAX {
        return vec![Message::Ignored(1)];
    }
    for line in datagram.split(|byte| *byte == b'\n') {
        if line.is_empty() {
            continue;
        }
        match assignment(line) {
            Some(message) if messages.len() < MESSAGES_MAX => messages.push(message),
            Some(_) | None => ignored = ignored.saturating_add(1),
        }
    }
    if ignored > 0 {
        messages.push(Message::Ignored(ignored));
    }
    messages
}

fn assignment(line: &[u8]) -> Option<Message> {
    let equals = line.iter().position(|byte| *byte == b'=')?;
    let (key, rest) = line.split_at(equals);
    let value = rest.get(1..)?;
    match (key, value) {
        (b"READY", b"1") => Some(Message::Ready),
        (b"RELOADING", b"1") => Some(Message::Reloading),
        (b"STOPPING", b"1") => Some(Message::Stopping),
        (b"STATUS", text) => Some(Message::Status(status(text))),
        (b"MAINPID", digits) => main_pid(digits).map(Message::MainPid),
        _ => None,
    }
}

/// The text goes to terminals: control characters would let a service write on the operator's.
fn status(text: &[u8]) -> String {
    String::from_utf8_lossy(text)
        .chars()
        .filter(|c| !c.is_control())
        .take(STATUS_MAX)
        .collect()
}

fn main_pid(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let pid: u32 = core::str::from_utf8(digits).ok()?.parse().ok()?;
    // 0 is nobody and 1 is this very program; pids end at i32::MAX.
    (pid > 1 && i32::try_from(pid).is_ok()).then_some(pid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(input: &[u8], expect: &[Message]) {
        assert_eq!(parse(input), expect, "{:?}", String::from_utf8_lossy(input));
    }

    #[test]
    fn reads_what_sd_notify_defines() {
        check(b"READY=1", &[Message::Ready]);
        check(
            b"READY=1\nSTATUS=up\n",
            &[Message::Ready, Message::Status("up".into())],
        );
        check(
            b"RELOADING=1\nMONOTONIC_USEC=12",
            &[Message::Reloading, Message::Ignored(1)],
        );
        check(b"STOPPING=1", &[Message::Stopping]);
        check(b"MAINPID=4711", &[Message::MainPid(4711)]);
        check(b"STATUS=a=b", &[Message::Status("a=b".into())]);
        check(b"STATUS=", &[Message::Status(String::new())]);
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
            b"WATCHDOG=1",
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
        let messages = parse(many.as_bytes());
        assert_eq!(messages.len(), MESSAGES_MAX + 1);
        assert_eq!(messages.last(), Some(&Message::Ignored(4)));
        check(
            b"STATUS=\x1b[31mred\x07",
            &[Message::Status("[31mred".into())],
        );
        check(b"STATUS=\xff!", &[Message::Status("\u{fffd}!".into())]);
    }

    proptest! {
        #[test]
        fn any_bytes_stay_within_the_bounds(bytes in prop::collection::vec(any::<u8>(), 0..5000)) {
            let messages = parse(&bytes);
            prop_assert!(messages.len() <= MESSAGES_MAX + 1);
            for message in messages {
                if let Message::Status(text) = message {
                    prop_assert!(text.chars().count() <= STATUS_MAX);
                    prop_assert!(!text.chars().any(char::is_control));
                }
            }
        }
    }
}
