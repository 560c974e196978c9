//! One file into the draft of its service: finds each key in the table of keys, and tells those
//! that are not in it. Not here: the keys themselves (`keys`), and which file comes when (`mod`).

use std::collections::BTreeSet;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::document::Document;
use super::draft::Draft;
use super::keys::{KEYS, Key};
use super::value::{Value, not_a_table};
use super::{Source, template};
use crate::diagnostic::{Diagnostic, nearest};

/// Reads `source` into `draft`, as a file of the template of `instance` where there is one; what is
/// wrong goes to `diagnostics`. False when the file is not TOML throughout, so that something that is
/// missing may only be unreadable.
pub(super) fn decode(
    source: &Source,
    instance: Option<&str>,
    draft: &mut Draft,
    diagnostics: &mut Vec<Diagnostic>,
) -> bool {
    let document = Document::new(&source.path, &source.text);
    let (mut table, syntax) = document.parse();
    let mut unknown = Vec::new();
    if let Some(name) = instance {
        template::expand(&document, &mut table, name, &mut unknown);
    }
    let mut reading = Reading {
        document: &document,
        draft,
        diagnostics: unknown,
    };
    reading.table("", &table);
    let mut told = reading.diagnostics;
    let well_formed = syntax.is_empty();
    // What an error of syntax leaves of its line is not what its writer meant.
    let broken: BTreeSet<u32> = syntax.iter().map(|error| error.line).collect();
    told.retain(|diagnostic| !broken.contains(&diagnostic.line));
    diagnostics.extend(syntax);
    diagnostics.append(&mut told);
    well_formed
}

struct Reading<'r, 'a> {
    document: &'r Document<'a>,
    draft: &'r mut Draft,
    diagnostics: Vec<Diagnostic>,
}

impl<'a> Reading<'_, 'a> {
    /// All keys of one table; `prefix` is its name, empty for the top of the file.
    fn table(&mut self, prefix: &str, table: &DeTable<'a>) {
        for (name, item) in table {
            let word = name.get_ref().as_ref();
            if let Some(key) = KEYS.iter().find(|key| key.is(prefix, word)) {
                self.key(key, name, item);
            } else if prefix.is_empty() && KEYS.iter().any(|key| key.is_in(word)) {
                self.sub_table(word, item);
            } else {
                self.unknown(prefix, name);
            }
        }
    }

    fn key(
        &mut self,
        key: &'static Key,
        name: &Spanned<DeString<'a>>,
        item: &Spanned<DeValue<'a>>,
    ) {
        let place = self.document.place(name.span().start);
        self.draft.written.insert(key.name, place);
        let mut value = Value {
            document: self.document,
            key: key.name,
            item,
            diagnostics: &mut self.diagnostics,
        };
        (key.read)(self.draft, &mut value);
    }

    fn sub_table(&mut self, name: &str, item: &Spanned<DeValue<'a>>) {
        if let DeValue::Table(table) = item.get_ref() {
            self.table(name, table);
            return;
        }
        let place = self.document.place(item.span().start);
        self.diagnostics.push(
            Diagnostic::new(&place, not_a_table(item.get_ref()))
                .key(name)
                .expected(format!("a table such as [{name}]")),
        );
    }

    fn unknown(&mut self, prefix: &str, name: &Spanned<DeString<'a>>) {
        let place = self.document.place(name.span().start);
        let word = name.get_ref().as_ref();
        let full = match prefix {
            "" => word.to_owned(),
            _ => format!("{prefix}.{word}"),
        };
        let told = Diagnostic::new(&place, "is not a key of a service file").key(&full);
        // The same word elsewhere is surely meant, a similar one here probably.
        let places = KEYS.iter().map(Key::split);
        let places: Vec<&str> = places
            .filter_map(|(table, key)| (key == word).then_some(table))
            .collect();
        self.diagnostics.push(match places.as_slice() {
            ["", ..] => told.hint(format!(
                "`{word}` belongs to the top of the file, before the first [table]"
            )),
            [_, ..] => told.hint(format!(
                "`{word}` belongs to the table [{}]",
                places.join("] or [")
            )),
            [] => {
                let siblings = KEYS.iter().map(Key::split);
                let siblings = siblings.filter_map(|(table, key)| (table == prefix).then_some(key));
                let tables = tables();
                let tables = tables.iter().copied().filter(|_| prefix.is_empty());
                told.did_you_mean(nearest(word, siblings.chain(tables)))
            }
        });
    }
}

/// Names of the tables that have keys.
fn tables() -> BTreeSet<&'static str> {
    let names = KEYS.iter().map(|key| key.split().0);
    names.filter(|name| !name.is_empty()).collect()
}
