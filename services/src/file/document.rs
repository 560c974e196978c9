//! One file as TOML, with the place of everything in it. Not here: what the keys mean (`keys`).

use std::sync::Arc;

use toml::de::DeTable;

use crate::diagnostic::{Diagnostic, Place};

/// Largest file that is read, in bytes.
pub const MAX_FILE: usize = 1 << 20;
/// Most errors of syntax that are told of one file: the first few cause the rest.
const MAX_SYNTAX_ERRORS: usize = 8;
/// Most names in a dotted key. Service files need two; each makes a table within a table.
const MAX_DOTS: usize = 64;

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

    /// The tables of the file, as far as they can be read, and what is wrong with its syntax.
    pub(super) fn parse(&self) -> (DeTable<'a>, Vec<Diagnostic>) {
        if self.text.len() > MAX_FILE {
            let message = format!("the file has {} bytes", self.text.len());
            let told = Diagnostic::new(&Place::whole(&self.file), message)
                .expected(format!("at most {MAX_FILE}"));
            return (DeTable::new(), vec![told]);
        }
        if let Some(line) = self.deep_key() {
            let told = Diagnostic::new(&self.place(line), "the key has too many dots")
                .expected(format!("at most {MAX_DOTS}"));
            return (DeTable::new(), vec![told]);
        }
        let (table, errors) = DeTable::parse_recoverable(self.text);
        let told = errors.iter().take(MAX_SYNTAX_ERRORS).map(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            let message = format!("this is not TOML: {}", error.message().trim());
            Diagnostic::new(&self.place(offset), message.replace('\n', "; "))
        });
        let diagnostics = told.collect();
        (table.into_inner(), diagnostics)
    }

    /// Where a line starts that may hold a key of more than [`MAX_DOTS`] names. The tables such a
    /// key makes lie within each other, and taking them apart again needs stack for each.
    fn deep_key(&self) -> Option<usize> {
        let lines = self.lines.iter().zip(self.text.split('\n'));
        lines
            .filter(|(_, line)| {
                let key = line.split('=').next().unwrap_or("");
                key.bytes().filter(|byte| *byte == b'.').count() > MAX_DOTS
            })
            .map(|(start, _)| *start)
            .next()
    }
}
