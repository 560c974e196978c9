//! Templates: what the name of an instance means in the files of its template, `NAME@.toml`. Not here:
//! which instances there are (`collect`).

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::document::Document;
use crate::diagnostic::Diagnostic;

/// What a `%` may stand before, for people.
const KNOWN: &str = "`%i` (the instance), `%n` (the whole name), `%p` (what is before the `@`) or \
                     `%%` (a percent sign)";

/// Template and instance of a name such as `getty@tty1`; `None`: it can be no instance.
pub(super) fn split(name: &str) -> Option<(&str, &str)> {
    let (prefix, instance) = name.split_once('@')?;
    (!prefix.is_empty() && !instance.is_empty()).then_some((prefix, instance))
}

/// Replaces `%i`, `%n` and `%p` in all strings of `table` by what they mean for the instance `name`.
pub(super) fn expand(
    document: &Document<'_>,
    table: &mut DeTable<'_>,
    name: &str,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let mut expansion = Expansion {
        document,
        name,
        diagnostics,
    };
    expansion.table("", table);
}

struct Expansion<'e, 'a> {
    document: &'e Document<'a>,
    name: &'e str,
    diagnostics: &'e mut Vec<Diagnostic>,
}

impl Expansion<'_, '_> {
    fn table(&mut self, path: &str, table: &mut DeTable<'_>) {
        for (key, item) in table.iter_mut() {
            let key = key.get_ref();
            match path {
                "" => self.value(key, item),
                _ => self.value(&format!("{path}.{key}"), item),
            }
        }
    }

    fn value(&mut self, path: &str, item: &mut Spanned<DeValue<'_>>) {
        let start = item.span();
        match item.get_mut() {
            DeValue::String(text) if text.contains('%') && !is_percentage(text) => {
                match self.text(text) {
                    Ok(expanded) => *text = expanded.into(),
                    Err((nth, unknown)) => {
                        let at = self.document.nth(start, '%', nth);
                        let told = Diagnostic::new(&self.document.place(at), unknown);
                        self.diagnostics.push(told.key(path).expected(KNOWN));
                    }
                }
            }
            DeValue::Array(items) => {
                for item in items.iter_mut() {
                    self.value(path, item);
                }
            }
            DeValue::Table(table) => self.table(path, table),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => {}
        }
    }

    /// `text` with all replaced, or which of its `%` is wrong, and in which way.
    fn text(&self, text: &str) -> Result<String, (usize, String)> {
        let (prefix, instance) = split(self.name).unwrap_or((self.name, ""));
        let mut expanded = String::with_capacity(text.len());
        let mut characters = text.chars();
        let mut nth = 0;
        while let Some(character) = characters.next() {
            if character != '%' {
                expanded.push(character);
                continue;
            }
            match characters.next() {
                Some('i') => expanded.push_str(instance),
                Some('n') => expanded.push_str(self.name),
                Some('p') => expanded.push_str(prefix),
                Some('%') => {
                    expanded.push('%');
                    nth += 1;
                }
                Some(other) => {
                    let unknown = format!("`%{}` means nothing", other.escape_debug());
                    return Err((nth, unknown));
                }
                None => return Err((nth, "a single `%` means nothing at the end".to_owned())),
            }
            nth += 1;
        }
        Ok(expanded)
    }
}

/// Whether the text is a number with a percent sign, as some keys take it: nobody means a template's
/// `%` by that.
fn is_percentage(text: &str) -> bool {
    let number = text.strip_suffix('%').map(str::trim_end);
    let digit = |c: char| c.is_ascii_digit() || c == '.';
    number.is_some_and(|it| it.starts_with(|c: char| c.is_ascii_digit()) && it.chars().all(digit))
}
