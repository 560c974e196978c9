//! Lines in the journal export format, as systemd's JOURNAL_EXPORT_FORMATS describes it, so that tools of
//! others read them. Not here: which lines.

use super::entry::Entry;
use super::lines::Mark;

/// What is the same for all lines of an export.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// Its boot, 32 digits.
    pub boot: Option<String>,
    /// Its name.
    pub host: Option<String>,
    /// The microsecond of civil time at which its kernel began, by what its clock says now.
    pub began: u64,
}

/// Appends one entry to `out`: fields, and the empty line that ends them.
pub fn write(out: &mut Vec<u8>, machine: &Machine, service: &str, entry: &Entry<'_>) {
    let real = entry.time.map_or(0, super::stamp::Stamp::as_micros).max(1);
    // Not known, as the log has civil time alone; readers want one, and never a smaller one than before.
    let monotonic = real.saturating_sub(machine.began).max(1);
    text(out, "__REALTIME_TIMESTAMP", &real.to_string());
    text(out, "__MONOTONIC_TIMESTAMP", &monotonic.to_string());
    if let Some(boot) = &machine.boot {
        text(out, "_BOOT_ID", boot);
    }
    if let Some(host) = &machine.host {
        text(out, "_HOSTNAME", host);
    }
    let (transport, name) = match entry.mark {
        Mark::Line | Mark::Continuation | Mark::Note => ("stdout", service),
        Mark::Syslog => ("syslog", entry.program.map_or(service, |it| it.name)),
        Mark::Kernel => ("kernel", "kernel"),
    };
    text(out, "_TRANSPORT", transport);
    if entry.mark != Mark::Kernel {
        text(out, "_SYSTEMD_UNIT", &format!("{service}.service"));
    }
    text(out, "SYSLOG_IDENTIFIER", name);
    if let Some(program) = entry.program {
        text(out, "_PID", &program.pid.to_string());
    }
    text(out, "PRIORITY", &entry.priority.number().to_string());
    match entry.mark {
        Mark::Line | Mark::Syslog | Mark::Kernel => {}
        Mark::Continuation => text(out, "SHARK_KIND", "continuation"),
        Mark::Note => text(out, "SHARK_KIND", "note"),
    }
    field(out, "MESSAGE", entry.message);
    out.push(b'\n');
}

fn text(out: &mut Vec<u8>, name: &str, value: &str) {
    field(out, name, value.as_bytes());
}

/// A field as text, or with its length where the value is not just characters that are seen.
fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    let seen = |text: &str| !text.chars().any(|c| c.is_control() && c != '\t');
    if std::str::from_utf8(value).is_ok_and(seen) {
        out.push(b'=');
    } else {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    }
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::super::entry::Before;
    use super::*;

    fn exported(line: &[u8]) -> Vec<u8> {
        let machine = Machine {
            boot: Some("0123456789abcdef0123456789abcdef".into()),
            host: Some("here".into()),
            began: 1_000_000_000_000_000,
        };
        let mut out = Vec::new();
        write(&mut out, &machine, "x@1", &Before::default().next(line));
        out
    }

    #[test]
    fn text_is_text() {
        let expect = "__REALTIME_TIMESTAMP=1000000003500000\n\
            __MONOTONIC_TIMESTAMP=3500000\n\
            _BOOT_ID=0123456789abcdef0123456789abcdef\n\
            _HOSTNAME=here\n\
            _TRANSPORT=stdout\n\
            _SYSTEMD_UNIT=x@1.service\n\
            SYSLOG_IDENTIFIER=x@1\n\
            PRIORITY=3\n\
            MESSAGE=no room\tfor \u{e9}=\n\n";
        let line = "2001-09-09T01:46:43.500000Z <3>no room\tfor \u{e9}=";
        assert_eq!(
            String::from_utf8(exported(line.as_bytes())).unwrap(),
            expect
        );
    }

    #[test]
    fn other_ways_have_their_names() {
        let message = exported(b"2001-09-09T01:46:43.500000Z@<3>sshd[42]: no");
        let expect = "_TRANSPORT=syslog\n_SYSTEMD_UNIT=x@1.service\nSYSLOG_IDENTIFIER=sshd\n\
            _PID=42\nPRIORITY=3\nMESSAGE=no\n\n";
        assert!(
            message.ends_with(expect.as_bytes()),
            "{}",
            message.escape_ascii()
        );
        let record = exported(b"2001-09-09T01:46:43.500000Z~<4>hot");
        let expect = "_TRANSPORT=kernel\nSYSLOG_IDENTIFIER=kernel\nPRIORITY=4\nMESSAGE=hot\n\n";
        assert!(
            record.ends_with(expect.as_bytes()),
            "{}",
            record.escape_ascii()
        );
    }

    #[test]
    fn bytes_have_their_length() {
        for value in [&b"\xff"[..], b"\x1b[m", b"\xc2\x9b"] {
            let line = [b"2001-09-09T01:46:43.500000Z+", value].concat();
            let out = exported(&line);
            let length = (value.len() as u64).to_le_bytes();
            let tail = [b"KIND=continuation\nMESSAGE\n", &length[..], value, b"\n\n"].concat();
            assert!(out.ends_with(&tail), "{}", out.escape_ascii());
        }
    }

    #[test]
    fn without_a_time_there_still_is_one() {
        let out = String::from_utf8(exported(b"by hand")).unwrap();
        assert!(out.starts_with("__REALTIME_TIMESTAMP=1\n__MONOTONIC_TIMESTAMP=1\n"));
    }
}
