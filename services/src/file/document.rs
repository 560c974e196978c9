//! One file as TOML, with the place of everything in it. Not here: what the keys mean (`keys`).

use std::sync::Arc;

use toml::de::DeTable;

use crate::diagnostic::{Diagnostic, Place};

/// Largest file that is read, in bytes.
pub const MAX_FILE: usize = 1 << 20;
/// Most errors of syntax that are told of one file: the first few cause the rest.
const MAX_SYNTAX_ERRORS: usize = 8;
/// Where the lines of a file start.
pub(super) struct Document<'a> {
    file: Arc<str>,
    text: &'a str,
    lines: Vec<usize>,
}

impl<'a> Document<'a> {
    pub(super) fn new(file: &str, text: &'a str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self {
            file: file.into(),
            text,
            lines: std::iter::once(0)
                .chain(breaks.map(|(at, _)| at + 1))
                .collect(),
        }
    }

    /// The place of the byte at `offset`.
    pub(super) fn place(&self, offset: usize) -> Place {
        let line = self.lines.partition_point(|start| *start <= offset);
        let start = line
            .checked_sub(1)
            .and_then(|line| self.lines.get(line))
            .copied()
            .unwrap_or(0);
        let before = self.text.get(start..offset).unwrap_or("");
        Place {
            file: Arc::clone(&self.file),
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(before.chars().count() + 1).unwrap_or(u32::MAX),
        }
    }

    /// The offset of the `nth` occurrence (from 0) of `wanted` in `span`; where it is written in some
    /// other way, the start.
    pub(super) fn nth(&self, span: std::ops::Range<usize>, wanted: char, nth: usize) -> usize {
        let text = self.text.get(span.clone()).unwrap_or("");
        let found = text.match_indices(wanted).nth(nth);
        span.start + found.map_or(0, |(at, _)| at)
    }

    /// The tables of the file, as far as they can be read, and what is wrong with its syntax.
    pub(super) fn parse(&self) -> (DeTable<'a>, Vec<Diagnostic>) {
        if self.text.len() > MAX_FILE {
            let message = format!("the file has {} bytes", self.text.len());
            let told = Diagnostic::new(&Place::start(&self.file), message)
                .expected(format!("at most {MAX_FILE}"));
            return (DeTable::new(), vec![told]);
        }
        let (table, errors) = DeTable::parse_recoverable(self.text);
        let told = errors.iter().take(MAX_SYNTAX_ERRORS);
        let diagnostics = told.map(|error| self.syntax_error(error)).collect();
        (table.into_inner(), diagnostics)
    }

    fn syntax_error(&self, error: &toml::de::Error) -> Diagnostic {
        let span = error.span().unwrap_or_default();
        let message = error.message().trim().replace('\n', "; ");
        let message = message.trim_end_matches(", expected nothing");
        let told = match self.text.get(span.clone()) {
            Some(key) if message == "duplicate key" => {
                format!("`{}` is already written further up", key.trim())
            }
            Some(_) | None => format!("this is not TOML: {message}"),
        };
        Diagnostic::new(&self.place(span.start), told)
    }
}
