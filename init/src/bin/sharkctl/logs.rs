//! `logs`: prints what a service wrote, and follows it. Not here: reading the files
//! (`init::log::reader`).

use std::time::Duration;

use init::log::lines::{Line, Mark};
use init::log::reader::{Reader, last_lines};
use serde_json::json;
use services::control::Request;
use services::id::ServiceName;

use crate::Context;
use crate::cli::Logs;
use crate::failure::Failure;
use crate::screen::{Paint, Screen};
use crate::waiting::ask;

/// How often a followed log is looked at.
const TURN: Duration = Duration::from_millis(200);

/// Lines shown before those that are followed, where nothing else is asked for.
const BEFORE_FOLLOWING: usize = 10;

/// `logs`.
pub(crate) fn logs(
    context: &Context,
    screen: &mut Screen<'_>,
    options: &Logs,
) -> Result<(), Failure> {
    let name = ServiceName::new(&options.service)
        .map_err(|error| Failure::Usage(format!("`{}`: {error}", options.service)))?;
    let mut reader = Reader::new(&context.log_dir, &name);
    if !reader.exists() {
        ask_whether_it_exists(context, screen, &options.service)?;
        screen.say(&format!("{name} has written nothing"));
    }
    let first = read(context, &mut reader, &name)?;
    let count = match options.lines {
        Some(count) => count,
        None if options.follow => BEFORE_FOLLOWING,
        None => usize::MAX,
    };
    show(screen, options, last_lines(&first.lines, count))?;
    if !options.follow {
        return Ok(());
    }
    loop {
        std::thread::sleep(TURN);
        let found = read(context, &mut reader, &name)?;
        if found.gap {
            screen.complain("the log is rotated faster than it is read: lines may be missing here");
        }
        show(screen, options, &found.lines)?;
    }
}

fn read(
    context: &Context,
    reader: &mut Reader,
    name: &ServiceName,
) -> Result<init::log::reader::Found, Failure> {
    let path = init::log::file::current_path(&context.log_dir, name);
    reader
        .read()
        .map_err(|error| Failure::of_file("read", &path, &error))
}

/// No log may mean no such service, or a quiet one: init knows.
fn ask_whether_it_exists(
    context: &Context,
    screen: &mut Screen<'_>,
    name: &str,
) -> Result<(), Failure> {
    let request = Request::Status {
        name: name.to_owned(),
    };
    ask(context.patience(), screen, request).map(|_| ())
}

fn show(screen: &mut Screen<'_>, options: &Logs, lines: &[u8]) -> Result<(), Failure> {
    if lines.is_empty() {
        Ok(())
    } else if options.raw {
        screen.print(lines)
    } else if screen.json {
        screen.print(for_programs(lines))
    } else {
        let paint = screen.paint();
        screen.print(for_people(lines, paint))
    }
}

/// One JSON object a line, so that a followed log is a stream.
fn for_programs(lines: &[u8]) -> String {
    let mut out = String::new();
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        let line = Line::parse(line.strip_suffix(b"\n").unwrap_or(line));
        let kind = match line.mark {
            Mark::Line => "line",
            Mark::Continuation => "continuation",
            Mark::Note => "note",
        };
        let text = String::from_utf8_lossy(line.text);
        let time = Some(line.stamp).filter(|stamp| !stamp.is_empty());
        out.push_str(&json!({ "time": time, "kind": kind, "text": text }).to_string());
        out.push('\n');
    }
    out
}

/// The lines as they are in the file, with every control character but the tab made visible: what a
/// service writes shall not drive the terminal of whoever reads it.
pub(crate) fn for_people(lines: &[u8], paint: Paint) -> String {
    let mut out = String::new();
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        let line = Line::parse(line.strip_suffix(b"\n").unwrap_or(line));
        if !line.stamp.is_empty() {
            out.push_str(&paint.dim(line.stamp));
            out.push(line.mark.character());
        }
        push_visible(&mut out, line.text);
        out.push('\n');
    }
    out
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
    use super::*;

    const LINES: &[u8] = b"2026-11-23T03:43:19.123456Z \x1b[31mred\x1b[0m\ttab\n\
        2026-11-23T03:43:19.123457Z+\xff\x80 \xc2\x9b \xc3\xa9\n\
        2026-11-23T03:43:19.123458Z!3 lines\n\
        typed by hand\n";

    #[test]
    fn the_terminal_is_safe() {
        assert_eq!(
            for_people(LINES, Paint(false)),
            "2026-11-23T03:43:19.123456Z \\x1b[31mred\\x1b[0m\ttab\n\
             2026-11-23T03:43:19.123457Z+\\xff\\x80 \\u{9b} é\n\
             2026-11-23T03:43:19.123458Z!3 lines\n\
             typed by hand\n"
        );
    }

    #[test]
    fn json_lines() {
        let text = for_programs(LINES);
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 4);
        assert_eq!(lines[0]["text"], "\u{1b}[31mred\u{1b}[0m\ttab");
        assert_eq!(lines[1]["kind"], "continuation");
        assert_eq!(lines[2]["time"], "2026-11-23T03:43:19.123458Z");
        assert!(lines[3]["time"].is_null());
    }
}
