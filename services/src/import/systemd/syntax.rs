//! Unit files into lines, as systemd.syntax(7) has it: comments, continuation, sections. Not here:
//! what the keys mean.

/// A line of a unit file that is no comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// The file, as it was named.
    pub(super) file: String,
    /// Its first line, from 1.
    pub(super) line: u32,
    /// Its last one.
    pub(super) last: u32,
    /// As it is written, continued lines joined.
    pub(super) text: String,
    /// What it is.
    pub(super) form: Form,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Heading,
    Assignment(Assignment),
    /// Neither, and why.
    Wrong(&'static str),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Assignment {
    pub(super) section: String,
    pub(super) key: String,
    pub(super) value: String,
}

impl Line {
    pub(super) fn assignment(&self) -> Option<&Assignment> {
        match &self.form {
            Form::Assignment(assignment) => Some(assignment),
            Form::Heading | Form::Wrong(_) => None,
        }
    }
}

/// The lines of a file.
pub(super) fn lines(file: &str, text: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut section: Option<String> = None;
    let mut open: Option<(u32, String)> = None;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut number = 0;
    for raw in text.lines() {
        number += 1;
        let trimmed = raw.trim_start();
        // Comments may stand between continued lines too.
        if trimmed.starts_with(['#', ';']) {
            continue;
        }
        let (first, mut joined) = match open.take() {
            Some((first, before)) => (first, before + raw),
            None if trimmed.is_empty() => continue,
            None => (number, raw.to_owned()),
        };
        if continues(&joined) {
            joined.pop();
            joined.push(' ');
            open = Some((first, joined));
            continue;
        }
        lines.push(line(file, (first, number), &joined, &mut section));
    }
    if let Some((first, joined)) = open {
        lines.push(line(file, (first, number), &joined, &mut section));
    }
    lines
}

/// Whether the text ends in a backslash that no other one escapes.
fn continues(text: &str) -> bool {
    let backslashes = text.chars().rev().take_while(|c| *c == '\\').count();
    backslashes % 2 == 1
}

fn line(file: &str, (line, last): (u32, u32), joined: &str, section: &mut Option<String>) -> Line {
    let text = joined.trim();
    let form = match (text.strip_prefix('['), text.split_once('=')) {
        (Some(rest), _) => match rest.strip_suffix(']') {
            Some(name) => {
                *section = Some(name.to_owned());
                Form::Heading
            }
            None => Form::Wrong("is a heading without its `]`, and systemd ignores it"),
        },
        (None, None) => Form::Wrong("is no assignment, and systemd ignores it"),
        (None, Some((key, value))) => match section {
            None => Form::Wrong("stands before any section, and systemd ignores it"),
            Some(section) => Form::Assignment(Assignment {
                section: section.clone(),
                key: key.trim().to_owned(),
                value: value.trim().to_owned(),
            }),
        },
    };
    Line {
        file: file.to_owned(),
        line,
        last,
        text: text.to_owned(),
        form,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Vec<String> {
        let tell = |line: &Line| match &line.form {
            Form::Heading => format!("{}-{} {}", line.line, line.last, line.text),
            Form::Assignment(it) => {
                let Assignment {
                    section,
                    key,
                    value,
                } = it;
                format!("{}-{} [{section}] {key}|{value}", line.line, line.last)
            }
            Form::Wrong(why) => format!("{}-{} {why}", line.line, line.last),
        };
        lines("f", text).iter().map(tell).collect()
    }

    #[test]
    fn lines_are_joined_and_comments_are_not_lines() {
        let text = "# first\n[Unit]\nA = b c \n; x\\\nB=1\\\n# between\n  2 \\\n\nC=\\\\\nD=e\\";
        assert_eq!(
            told(text),
            [
                "2-2 [Unit]",
                "3-3 [Unit] A|b c",
                "5-8 [Unit] B|1   2",
                "9-9 [Unit] C|\\\\",
                "10-10 [Unit] D|e",
            ]
        );
    }

    #[test]
    fn what_is_no_assignment_is_kept_as_such() {
        assert_eq!(
            told("A=1\n[Unit\nx\n[Service]\nB=a=b\r\n"),
            [
                "1-1 stands before any section, and systemd ignores it",
                "2-2 is a heading without its `]`, and systemd ignores it",
                "3-3 is no assignment, and systemd ignores it",
                "4-4 [Service]",
                "5-5 [Service] B|a=b",
            ]
        );
    }
}
