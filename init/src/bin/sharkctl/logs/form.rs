//! How a line of a log is printed: for people, for programs, for other tools, as it is. Not here: which
//! lines.

use init::log::entry::Entry;
use init::log::export::{self, Machine};
use init::log::lines::Mark;
use serde_json::{Value, json};
use services::log::priority::Priority;

use crate::screen::Paint;

/// One of the forms, with what it needs to know.
pub(super) enum Form {
    /// Safe for a terminal; of several logs, with the names of the services.
    People { paint: Paint, names: bool },
    /// One object a line, so that a followed log is a stream.
    Json { boot: Option<String> },
    /// The journal export format.
    Export(Machine),
    /// The bytes of the file.
    Raw,
}

impl Form {
    /// Appends one line of the log of `service`.
    pub(super) fn push(&self, out: &mut Vec<u8>, service: &str, entry: &Entry<'_>) {
        match self {
            Self::People { paint, names } => {
                let mut text = String::new();
                push_for_people(&mut text, *paint, names.then_some(service), entry);
                out.extend_from_slice(text.as_bytes());
            }
            Self::Json { boot } => {
                let object = for_programs(boot.as_deref(), service, entry);
                out.extend_from_slice(object.to_string().as_bytes());
                out.push(b'\n');
            }
            Self::Export(machine) => export::write(out, machine, service, entry),
            Self::Raw => {
                out.extend_from_slice(entry.raw);
                out.push(b'\n');
            }
        }
    }
}

fn for_programs(boot: Option<&str>, service: &str, entry: &Entry<'_>) -> Value {
    let kind = match entry.mark {
        Mark::Line => "line",
        Mark::Continuation => "continuation",
        Mark::Note => "note",
        Mark::Syslog => "syslog",
        Mark::Kernel => "kernel",
    };
    let message = match std::str::from_utf8(entry.message) {
        Ok(text) => Value::from(text),
        Err(_) => Value::from(entry.message),
    };
    let time = Some(entry.stamp).filter(|stamp| !stamp.is_empty());
    json!({
        "time": time,
        "boot": boot,
        "service": service,
        "kind": kind,
        "priority": entry.priority.number(),
        "program": entry.program.map(|program| program.name),
        "pid": entry.program.map(|program| program.pid),
        "message": message,
    })
}

/// The line with every control character but the tab made visible: what a service writes shall not drive
/// the terminal of whoever reads it.
pub(super) fn push_for_people(
    out: &mut String,
    paint: Paint,
    name: Option<&str>,
    entry: &Entry<'_>,
) {
    if !entry.stamp.is_empty() {
        out.push_str(&paint.dim(entry.stamp));
        out.push(entry.mark.character());
    }
    if let Some(name) = name {
        out.push_str(&paint.bold(name));
        out.push_str(": ");
    }
    if let Some(program) = entry.program {
        push_visible(out, program.name.as_bytes());
        out.push_str(&format!("[{}]: ", program.pid));
    }
    let mut text = String::new();
    push_visible(&mut text, entry.message);
    match entry.priority {
        _ if text.is_empty() => {}
        Priority::Emergency | Priority::Alert | Priority::Critical | Priority::Error => {
            out.push_str(&paint.bad(&text));
        }
        Priority::Warning => out.push_str(&paint.doubtful(&text)),
        Priority::Notice | Priority::Info => out.push_str(&text),
        Priority::Debug => out.push_str(&paint.dim(&text)),
    }
    out.push('\n');
}

fn push_visible(out: &mut String, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\t' => out.push(c),
                '\0'..='\x1f' | '\x7f' => out.push_str(&format!("\\x{:02x}", u32::from(c))),
                '\u{80}'..='\u{9f}' => out.extend(c.escape_unicode()),
                other => out.push(other),
            }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use init::log::entry::Before;

    use super::*;

    const LINES: &[u8] = b"2026-11-23T03:43:19.123456Z \x1b[31mred\x1b[0m\ttab\n\
        2026-11-23T03:43:19.123457Z+\xff\x80 \xc2\x9b \xc3\xa9\n\
        2026-11-23T03:43:19.123458Z!3 lines\n\
        2026-11-23T03:43:19.123459Z <3>no room\n\
        2026-11-23T03:43:19.123460Z@<5>su[7]: root\n\
        typed by hand\n";

    fn printed(form: &Form) -> String {
        let mut out = Vec::new();
        for entry in Before::default().all(LINES) {
            form.push(&mut out, "x", &entry);
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_terminal_is_safe() {
        let (paint, names) = (Paint(false), false);
        assert_eq!(
            printed(&Form::People { paint, names }),
            "2026-11-23T03:43:19.123456Z \\x1b[31mred\\x1b[0m\ttab\n\
             2026-11-23T03:43:19.123457Z+\\xff\\x80 \\u{9b} é\n\
             2026-11-23T03:43:19.123458Z!3 lines\n\
             2026-11-23T03:43:19.123459Z no room\n\
             2026-11-23T03:43:19.123460Z@su[7]: root\n\
             typed by hand\n"
        );
    }

    #[test]
    fn colours_and_names() {
        let (paint, names) = (Paint(true), true);
        let text = printed(&Form::People { paint, names });
        let bad =
            "\x1b[2m2026-11-23T03:43:19.123459Z\x1b[0m \x1b[1mx\x1b[0m: \x1b[1;31mno room\x1b[0m\n";
        assert!(text.contains(bad), "{text}");
        assert!(
            text.ends_with("\n\x1b[1mx\x1b[0m: typed by hand\n"),
            "{text}"
        );
    }

    #[test]
    fn json_lines() {
        let text = printed(&Form::Json {
            boot: Some("b".into()),
        });
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 6);
        assert_eq!(lines[0]["message"], "\u{1b}[31mred\u{1b}[0m\ttab");
        assert_eq!(lines[1]["kind"], "continuation");
        let bytes = [0xff, 0x80, b' ', 0xc2, 0x9b, b' ', 0xc3, 0xa9];
        assert_eq!(lines[1]["message"], json!(bytes), "no UTF-8: every byte");
        assert_eq!(lines[2]["time"], "2026-11-23T03:43:19.123458Z");
        let expect = json!({
            "time": "2026-11-23T03:43:19.123459Z", "boot": "b", "service": "x",
            "kind": "line", "priority": 3, "program": null, "pid": null, "message": "no room",
        });
        assert_eq!(lines[3], expect);
        assert_eq!(lines[4]["program"], "su");
        assert_eq!(
            (&lines[4]["kind"], &lines[4]["pid"]),
            (&"syslog".into(), &7.into())
        );
        assert!(lines[5]["time"].is_null());
    }

    #[test]
    fn raw_is_what_is_in_the_file() {
        let mut out = Vec::new();
        for entry in Before::default().all(LINES) {
            Form::Raw.push(&mut out, "x", &entry);
        }
        assert_eq!(out, LINES);
    }
}
