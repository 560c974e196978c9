//! The text of a file of variables, as systemd.exec(5) has it under `EnvironmentFile=`: `KEY=VALUE`
//! lines, comments from `#` or `;` at the start of a line, values in single or double quotes, lines
//! that go on after a backslash. Nothing is substituted. Not here: reading the file.

use std::fmt;

/// What is wrong with a file of variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvFileError {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: &'static str,
}

impl fmt::Display for EnvFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for EnvFileError {}

/// The variables of `text`, in their order.
///
/// # Errors
/// The first thing that is wrong, with its line: unlike in systemd, nothing is passed over.
pub fn parse_env_file(text: &str) -> Result<Vec<(String, String)>, EnvFileError> {
    let mut reader = Reader {
        rest: text.chars().peekable(),
        line: 1,
    };
    let mut variables = Vec::new();
    while let Some(first) = reader.next_start() {
        if first == '#' || first == ';' {
            reader.skip_comment();
        } else {
            variables.push(reader.assignment()?);
        }
    }
    Ok(variables)
}

struct Reader<'t> {
    rest: std::iter::Peekable<std::str::Chars<'t>>,
    line: usize,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        let next = self.rest.next();
        if next == Some('\n') {
            self.line += 1;
        }
        next
    }

    /// Skips white space and empty lines; the first character of what follows.
    fn next_start(&mut self) -> Option<char> {
        while self.rest.peek().is_some_and(|c| c.is_whitespace()) {
            self.next();
        }
        self.rest.peek().copied()
    }

    fn skip_comment(&mut self) {
        while let Some(character) = self.next() {
            match character {
                '\n' => return,
                // A comment goes on after a backslash as well.
                '\\' => {
                    self.next();
                }
                _ => {}
            }
        }
    }

    fn error<T>(&self, message: &'static str) -> Result<T, EnvFileError> {
        let line = self.line;
        Err(EnvFileError { line, message })
    }

    fn assignment(&mut self) -> Result<(String, String), EnvFileError> {
        let mut name = String::new();
        loop {
            match self.rest.peek() {
                Some('=') => break,
                Some('\n') | None => return self.error("is no assignment: there is no `=`"),
                Some(character) => name.push(*character),
            }
            self.next();
        }
        let name = name.trim_end();
        let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty()
            || !name.chars().all(good)
            || name.starts_with(|c: char| c.is_ascii_digit())
        {
            return self.error("what is before the `=` is not the name of a variable");
        }
        let name = name.to_owned();
        self.next();
        let value = self.value()?;
        match value.contains('\0') {
            true => self.error("holds a NUL character"),
            false => Ok((name, value)),
        }
    }

    /// Quoted and other parts, up to the end of the line; white space around it does not count.
    fn value(&mut self) -> Result<String, EnvFileError> {
        let mut value = String::new();
        // Up to where white space at the end belongs to it.
        let mut kept = 0;
        // As in systemd, a quotation mark opens something at the start, or right after another part in
        // quotation marks; white space between does not count.
        let mut opens = true;
        while self
            .rest
            .peek()
            .is_some_and(|c| matches!(c, ' ' | '\t' | '\r'))
        {
            self.next();
        }
        loop {
            match self.next() {
                None | Some('\n') => break,
                Some('\\') => match self.next() {
                    Some('\n') => {}
                    Some(character) => {
                        value.push(character);
                        kept = value.len();
                        opens = false;
                    }
                    None => break,
                },
                Some(' ' | '\t') if opens => {}
                Some(quote @ ('\'' | '"')) if opens => {
                    self.quoted(quote, &mut value)?;
                    kept = value.len();
                }
                Some(character) => {
                    value.push(character);
                    opens &= character.is_whitespace();
                    if !character.is_whitespace() {
                        kept = value.len();
                    }
                }
            }
        }
        value.truncate(kept);
        Ok(value)
    }

    /// The rest of a quoted part. In double quotes, a backslash takes away the meaning of `"`, `\`,
    /// `` ` `` and `$`, and at the end of a line that of the break; otherwise it is itself.
    fn quoted(&mut self, quote: char, value: &mut String) -> Result<(), EnvFileError> {
        let opened = self.line;
        while let Some(character) = self.next() {
            match character {
                _ if character == quote => return Ok(()),
                '\\' if quote == '"' => match self.next() {
                    Some('\n') => {}
                    Some(escaped @ ('"' | '\\' | '`' | '$')) => value.push(escaped),
                    Some(other) => value.extend(['\\', other]),
                    None => break,
                },
                _ => value.push(character),
            }
        }
        Err(EnvFileError {
            line: opened,
            message: "a quotation mark is opened here and never closed",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, expect: &[(&str, &str)]) {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let expect: Vec<(String, String)> = expect.iter().map(owned).collect();
        assert_eq!(parse_env_file(text), Ok(expect), "{text}");
    }

    fn wrong(text: &str, line: usize, message: &str) {
        let error = parse_env_file(text).unwrap_err();
        assert_eq!(error.line, line, "{text}");
        assert!(error.message.contains(message), "{text}: {error}");
    }

    #[test]
    fn assignments_are_read_as_systemd_reads_them() {
        check("", &[]);
        check("A=1\nB=2", &[("A", "1"), ("B", "2")]);
        check("\n# A=1\n  ; B=2\n\n A_b9 = x \r\n", &[("A_b9", "x")]);
        check("A=\nB=''\nC=\"\"", &[("A", ""), ("B", ""), ("C", "")]);
        check("A=a b  c  \n", &[("A", "a b  c")]);
        check("A=' a '\nB=\" # b \"", &[("A", " a "), ("B", " # b ")]);
        check("A=a#b", &[("A", "a#b")]);
        check("A=it's", &[("A", "it's")]);
        check("A='a' 'b'", &[("A", "ab")]);
        check("A='a''b'\"c\"d", &[("A", "abcd")]);
        check("A=a\\\nb\nB=2", &[("A", "ab"), ("B", "2")]);
        check("# goes on \\\nA=1\nB=2", &[("B", "2")]);
        check(r#"A="a\"b\\c\$d\`e\n""#, &[("A", "a\"b\\c$d`e\\n")]);
        check(r"A='a\b'", &[("A", r"a\b")]);
        check(r"A=a\ b\'", &[("A", "a b'")]);
        check("A='a\nb'", &[("A", "a\nb")]);
        check("A=$HOME %i", &[("A", "$HOME %i")]);
        check("A=1\nA=2", &[("A", "1"), ("A", "2")]);
        check("A=b=c", &[("A", "b=c")]);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        wrong("A=1\nnothing\n", 2, "no assignment");
        wrong("A=1\n\n=2\n", 3, "not the name");
        wrong("export A=1", 1, "not the name");
        wrong("1A=1", 1, "not the name");
        wrong("B=1\nA='b\nc\n", 2, "never closed");
        wrong("A=\"b\\", 1, "never closed");
        wrong("A=\0", 1, "NUL");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,80}") {
            if let Ok(variables) = parse_env_file(&text) {
                for (name, value) in variables {
                    prop_assert!(!name.is_empty() && !value.contains('\0'));
                }
            }
        }

        #[test]
        fn a_quoted_value_is_read_back(value in "[^\0\r]{0,40}") {
            let quoted: String = value
                .chars()
                .flat_map(|c| match c {
                    '"' | '\\' | '`' | '$' => vec!['\\', c],
                    _ => vec![c],
                })
                .collect();
            let read = parse_env_file(&format!("A=\"{quoted}\"\nB=1"));
            let read = read.unwrap();
            prop_assert_eq!(read.first(), Some(&("A".to_owned(), value)));
        }
    }
}
