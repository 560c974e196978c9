//! One record of the kernel's log, as /dev/kmsg gives it (Documentation/ABI/testing/dev-kmsg). Not here:
//! reading it, and where it is kept (`init::log`).

use super::priority::Priority;

/// Facility of the kernel itself, by the numbers of syslog(3).
pub const KERNEL: u32 = 0;
/// Facility of daemons: PID 1 speaks as one.
pub const DAEMON: u32 = 3;

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// How grave it is.
    pub priority: Priority,
    /// [`KERNEL`], or what a program said that wrote it.
    pub facility: u32,
    /// Its number; one is missing where the kernel had no room for it any more.
    pub sequence: u64,
    /// When it was written: microseconds since the kernel began.
    pub micros: u64,
    /// Its text, with what the kernel escapes as it was.
    pub text: Vec<u8>,
}

/// Reads a record; `None` for what is none. The lines with details (`KEY=VALUE`) are left out.
#[must_use]
pub fn parse(bytes: &[u8]) -> Option<Record> {
    let end = bytes.iter().position(|byte| *byte == b';')?;
    let (head, rest) = bytes.split_at_checked(end)?;
    let mut fields = std::str::from_utf8(head).ok()?.split(',');
    let number: u32 = fields.next()?.parse().ok()?;
    let sequence = fields.next()?.parse().ok()?;
    let micros = fields.next()?.parse().ok()?;
    let text = rest.get(1..)?.split(|byte| *byte == b'\n').next()?;
    Some(Record {
        priority: Priority::from_number(u8::try_from(number & 7).ok()?)?,
        facility: number >> 3,
        sequence,
        micros,
        text: unescaped(text),
    })
}

/// With every `\xHH` as the byte it stands for.
fn unescaped(mut text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    loop {
        match text {
            [] => return out,
            [b'\\', b'x', high, low, rest @ ..] if is_hex(*high) && is_hex(*low) => {
                out.push(nibble(*high) << 4 | nibble(*low));
                text = rest;
            }
            [byte, rest @ ..] => {
                out.push(*byte);
                text = rest;
            }
        }
    }
}

const fn is_hex(byte: u8) -> bool {
    byte.is_ascii_hexdigit()
}

const fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        b'A'..=b'F' => digit - b'A' + 10,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records() {
        let text = b"6,339,5140900,-,caller=T1;NET: Registered \\xc3\\xa9 \\x5cn\n SUBSYSTEM=net\n";
        let expect = Record {
            priority: Priority::Info,
            facility: KERNEL,
            sequence: 339,
            micros: 5_140_900,
            text: b"NET: Registered \xc3\xa9 \\n".to_vec(),
        };
        assert_eq!(parse(text), Some(expect));
        let daemon = parse(b"27,1,2,-;shark: x; y\n").unwrap();
        assert_eq!(
            (daemon.priority, daemon.facility),
            (Priority::Error, DAEMON)
        );
        assert_eq!(daemon.text, b"shark: x; y");
        assert_eq!(parse(b"30,1,2,c;").unwrap().text, b"");
    }

    #[test]
    fn anything_else_is_none() {
        for text in [
            "",
            ";",
            "6,1;x",
            "6,1,2",
            "x,1,2,-;x",
            "6,1,-2,-;x",
            "6,1,99999999999999999999,-;x",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn half_an_escape_is_text() {
        for text in ["\\", "\\x", "\\x0", "\\xg0", "\\y00"] {
            assert_eq!(unescaped(text.as_bytes()), text.as_bytes());
        }
    }
}
