//! One message of syslog(3): as the C libraries send it (RFC 3164 without a host), and by RFC 5424. Not
//! here: the socket, who really sent it, and where it is kept (`init::log`).

use super::priority::Priority;

/// What a message that names no priority has: RFC 3164, 4.3.3.
const UNTOLD: Priority = Priority::Notice;
/// Longest name of a program that is kept.
const NAME_MAX: usize = 64;

/// A message, as far as it could be understood; nothing of its text is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// How grave it is.
    pub priority: Priority,
    /// Which part of a system says it, by the numbers of syslog(3); 1 is any program.
    pub facility: u8,
    /// The program's name for itself: printable ASCII, no blank, no bracket, no colon.
    pub name: Option<String>,
    /// What it says.
    pub text: &'a [u8],
}

/// Reads a datagram. What has no form that is known is all text.
#[must_use]
pub fn parse(datagram: &[u8]) -> Message<'_> {
    let datagram = trimmed(datagram);
    let Some((number, rest)) = number_in_angles(datagram) else {
        return Message {
            priority: UNTOLD,
            facility: 1,
            name: None,
            text: datagram,
        };
    };
    let (name, text) = match rest.strip_prefix(b"1 ").and_then(structured) {
        Some(found) => found,
        None => tagged(without_date(rest)),
    };
    Message {
        priority: Priority::from_number(number & 7).unwrap_or(UNTOLD),
        facility: number >> 3,
        name: name.and_then(printable),
        text,
    }
}

/// Without the ends of lines and the zero bytes that some senders add.
fn trimmed(mut text: &[u8]) -> &[u8] {
    while let [rest @ .., b'\n' | b'\r' | 0] = text {
        text = rest;
    }
    text
}

/// `<13>`: the number, up to 191, and what follows.
fn number_in_angles(text: &[u8]) -> Option<(u8, &[u8])> {
    let rest = text.strip_prefix(b"<")?;
    let end = rest.iter().take(4).position(|byte| *byte == b'>')?;
    let (digits, rest) = rest.split_at_checked(end)?;
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let number: u8 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let known = plain && number <= 191;
    known.then(|| (number, rest.get(1..).unwrap_or_default()))
}

/// Takes `Nov 30 12:00:00 ` off, if it is there: the time of the log is another, and has its year.
fn without_date(text: &[u8]) -> &[u8] {
    const SHAPE: &[u8; 16] = b"Aaa _0 00:00:00 ";
    let fits = |(byte, shape): (&u8, &u8)| match shape {
        b'A' => byte.is_ascii_uppercase(),
        b'a' => byte.is_ascii_lowercase(),
        b'0' => byte.is_ascii_digit(),
        b'_' => byte.is_ascii_digit() || *byte == b' ',
        other => byte == other,
    };
    match text.split_at_checked(SHAPE.len()) {
        Some((date, rest)) if date.iter().zip(SHAPE).all(fits) => rest,
        _ => text,
    }
}

/// `sshd[42]: text` or `sshd: text`: the name and the text. The number is what the sender claims, and is
/// dropped: the kernel knows it.
fn tagged(text: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let is_end = |byte: &u8| matches!(byte, b':' | b'[') || byte.is_ascii_whitespace();
    let Some((name, rest)) = text
        .iter()
        .take(NAME_MAX + 1)
        .position(is_end)
        .and_then(|end| text.split_at_checked(end))
        .filter(|(name, _)| !name.is_empty())
    else {
        return (None, text);
    };
    let rest = match rest.strip_prefix(b"[") {
        None => rest,
        Some(number) => match number.iter().position(|byte| !byte.is_ascii_digit()) {
            Some(end) if number.get(end) == Some(&b']') => {
                number.get(end + 1..).unwrap_or_default()
            }
            _ => return (None, text),
        },
    };
    match rest.strip_prefix(b":") {
        Some(rest) => (Some(name), rest.strip_prefix(b" ").unwrap_or(rest)),
        None => (None, text),
    }
}

/// What follows the version of RFC 5424: time, host, name, process and kind, a word each; structured
/// data, which is kept as text; and the text.
fn structured(text: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    let mut rest = text;
    let mut words = [&b""[..]; 5];
    for word in &mut words {
        let end = rest.iter().position(|byte| *byte == b' ')?;
        *word = rest.get(..end).filter(|word| !word.is_empty())?;
        rest = rest.get(end + 1..)?;
    }
    let [_, _, name, _, _] = words;
    let text = match rest {
        [b'-'] => b"",
        [b'-', b' ', text @ ..] => text,
        [b'[', ..] => rest,
        _ => return None,
    };
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    Some((Some(name).filter(|name| *name != b"-"), text))
}

fn printable(name: &[u8]) -> Option<String> {
    let safe = |byte: &u8| match *byte {
        b'[' | b']' | b':' => '_',
        byte if byte.is_ascii_graphic() => char::from(byte),
        _ => '_',
    };
    let name: String = name.iter().take(NAME_MAX).map(safe).collect();
    Some(name).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(datagram: &str, priority: Priority, facility: u8, name: Option<&str>, text: &str) {
        let expect = Message {
            priority,
            facility,
            name: name.map(str::to_owned),
            text: text.as_bytes(),
        };
        assert_eq!(parse(datagram.as_bytes()), expect, "{datagram:?}");
    }

    #[test]
    fn what_the_c_libraries_send() {
        let check = |datagram: &str, name: Option<&str>, text: &str| {
            check(datagram, Priority::Error, 3, name, text);
        };
        check(
            "<27>Nov 30 12:00:00 sshd[42]: no room",
            Some("sshd"),
            "no room",
        );
        check(
            "<27>Nov  3 12:00:00 sshd: no room\n\0",
            Some("sshd"),
            "no room",
        );
        check("<27>Nov  3 12:00:00 a/b.c:x", Some("a/b.c"), "x");
        check("<27>sshd[42]:  two", Some("sshd"), " two");
        check("<27>", None, "");
        check("<27>Nov  3 12:00:00 no name", None, "no name");
        check("<27>Nov  3 12:00:00 x[y]: z", None, "x[y]: z");
        check("<27>: x", None, ": x");
    }

    #[test]
    fn what_rfc_5424_has() {
        let check = |datagram: &str, name: Option<&str>, text: &str| {
            check(datagram, Priority::Notice, 20, name, text);
        };
        let head = "<165>1 2026-11-30T12:00:00.003Z here";
        check(&format!("{head} app 42 ID47 - text"), Some("app"), "text");
        check(&format!("{head} app - - -"), Some("app"), "");
        check(&format!("{head} - - - - \u{feff}text"), None, "text");
        let data = "[a@1 b=\"c\"] text";
        check(&format!("{head} a[b - - {data}"), Some("a_b"), data);
        check("<165>1 word", None, "1 word");
    }

    #[test]
    fn anything_else_is_text() {
        for text in ["", "x", "<>x", "<192>x", "<1", "<1234>x", "<-1>x", "<+1>x"] {
            check(text, Priority::Notice, 1, None, text);
        }
        check("<191>x: y", Priority::Debug, 23, Some("x"), "y");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic_and_no_text_is_lost(datagram: Vec<u8>) {
            let found = parse(&datagram);
            proptest::prop_assert!(datagram.windows(found.text.len().max(1)).any(|it| it == found.text)
                || found.text.is_empty());
        }
    }
}
