//! A service file that is being put together, and its text. Not here: what is put into it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::file::known_keys;

/// A value of a service file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Number(i64),
    Flag(bool),
    Texts(Vec<String>),
    Numbers(Vec<i64>),
    /// A list of words, shown as one string where that reads back the same.
    Command(Vec<String>),
    /// A table of one key.
    Pair(String, String),
}

/// Keys and values, in the order of the manual page.
#[derive(Clone, Debug, Default)]
pub(super) struct Draft {
    values: BTreeMap<(usize, String), Value>,
}

impl Draft {
    pub(super) fn set(&mut self, key: &str, value: Value) {
        self.values.insert((position(key), key.to_owned()), value);
    }

    /// Adds to a list; what is in it already is not added again.
    pub(super) fn add(&mut self, key: &str, text: &str) {
        let place = (position(key), key.to_owned());
        let list = self.values.entry(place).or_insert(Value::Texts(Vec::new()));
        if let Value::Texts(texts) = list
            && !texts.iter().any(|known| known == text)
        {
            texts.push(text.to_owned());
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(&(position(key), key.to_owned()))
    }

    pub(super) fn texts(&self, key: &str) -> &[String] {
        match self.get(key) {
            Some(Value::Texts(texts)) => texts,
            _ => &[],
        }
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// Whether there is anything in the table `table`.
    pub(super) fn has_table(&self, table: &str) -> bool {
        let mut keys = self.values.keys();
        keys.any(|(_, key)| key.split('.').next() == Some(table))
    }

    /// The first key of `template` that a file like this would leave as it is there, when it is read
    /// after it for `instance`.
    pub(super) fn left_of<'t>(&self, template: &'t Self, instance: &str) -> Option<&'t str> {
        const RELATIONS: [&str; 9] = [
            "requires",
            "wants",
            "after",
            "before",
            "conflicts",
            "wanted-by",
            "part-of",
            "binds-to",
            "on-failure.start",
        ];
        let left = template.values.iter().find(|((at, key), value)| {
            let Some(own) = self.values.get(&(*at, key.clone())) else {
                return true;
            };
            let (Value::Texts(own), Value::Texts(theirs)) = (own, value) else {
                return false;
            };
            let has = |text: &String| own.contains(&text.replace("%i", instance));
            RELATIONS.contains(&key.as_str()) && !theirs.iter().all(has)
        });
        left.map(|((_, key), _)| key.as_str())
    }

    pub(super) fn remove(&mut self, key: &str) {
        self.values.remove(&(position(key), key.to_owned()));
    }

    /// The file, below `head`, lines of a comment.
    pub(super) fn text(&self, head: &[String]) -> String {
        let mut text = String::new();
        for line in head {
            // A path may hold anything; a comment no line break.
            let _ = writeln!(text, "# {}", line.replace(char::is_control, "?"));
        }
        let (top, tables): (Vec<_>, Vec<_>) = self
            .values
            .iter()
            .partition(|((_, key), _)| !key.contains('.'));
        for ((_, key), value) in top {
            let _ = writeln!(text, "{key} = {}", written(value));
        }
        let mut table = String::new();
        for ((_, key), value) in tables {
            let (of, name) = split(key);
            if table != of {
                let _ = writeln!(
                    text,
                    "\n[{}]",
                    of.split('\n').map(bare).collect::<Vec<_>>().join(".")
                );
                table = of;
            }
            let _ = writeln!(text, "{} = {}", bare(name), written(value));
        }
        text
    }
}

/// The place of a key in the manual page; keys of one table are next to each other.
fn position(key: &str) -> usize {
    let known = known_keys();
    let table = key.split('.').next().unwrap_or(key);
    let exact = known.iter().position(|it| it.name == key);
    let of_table = || known.iter().position(|it| it.name == table);
    exact.or_else(of_table).unwrap_or(known.len())
}

/// Table, its parts apart by line breaks, and name: the name of a socket or a variable may hold dots.
fn split(key: &str) -> (String, &str) {
    match key.split_once('.') {
        Some(("sockets", rest)) => {
            let (socket, name) = rest.rsplit_once('.').unwrap_or(("", rest));
            (format!("sockets\n{socket}"), name)
        }
        Some((table, name)) => (table.to_owned(), name),
        None => (String::new(), key),
    }
}

fn bare(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    match !name.is_empty() && name.chars().all(plain) {
        true => name.to_owned(),
        false => quoted(name),
    }
}

fn written(value: &Value) -> String {
    match value {
        Value::Text(text) => quoted(text),
        Value::Number(number) => number.to_string(),
        Value::Flag(flag) => flag.to_string(),
        Value::Texts(texts) => list(texts.iter().map(|text| quoted(text))),
        Value::Numbers(numbers) => list(numbers.iter().map(ToString::to_string)),
        Value::Command(words) if words.iter().all(|word| is_plain(word)) => {
            quoted(&words.join(" "))
        }
        Value::Command(words) => list(words.iter().map(|word| quoted(word))),
        Value::Pair(key, text) => format!("{{ {} = {} }}", bare(key), quoted(text)),
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

/// Whether a word of a command stays itself when the command is split into words.
fn is_plain(word: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=,+@%".contains(c);
    !word.is_empty() && word.chars().all(plain)
}

/// A TOML string; several lines as such.
fn quoted(text: &str) -> String {
    let lines = text.contains('\n');
    let mut quoted = String::from(if lines { "\"\"\"\n" } else { "\"" });
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' if lines => quoted.push('\n'),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push_str(if lines { "\"\"\"" } else { "\"" });
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_in_the_order_of_the_manual_page_and_reads_back() {
        let mut draft = Draft::default();
        draft.set("stop.timeout", Value::Text("90s".into()));
        draft.set(
            "sockets.a.socket.listen",
            Value::Text("unix:/run/\"a".into()),
        );
        draft.set("env.A", Value::Text("tab\there \\ \u{7}".into()));
        draft.set(
            "exec",
            Value::Command(vec!["/bin/sh".into(), "-c".into(), "a\nb \"c\"".into()]),
        );
        draft.set("restart.success-status", Value::Numbers(vec![1, 2]));
        draft.add("after", "default");
        draft.add("after", "default");
        draft.set("wanted-by", Value::Texts(Vec::new()));
        draft.set("lazy", Value::Flag(true));
        draft.set("nice", Value::Number(-5));
        let text = draft.text(&["from\nhere".to_owned()]);
        let source = crate::file::Source {
            path: "a.toml".to_owned(),
            layer: 0,
            text: format!("{text}\n"),
        };
        let graph = crate::file::load(&[source], None).graph.unwrap();
        let service = graph.services().iter().find(|it| it.name.as_str() == "a");
        let service = service.unwrap();
        let program = service.kind.program().unwrap();
        assert_eq!(program.exec[2], "a\nb \"c\"");
        let variable = ("A".to_owned(), "tab\there \\ \u{7}".to_owned());
        assert_eq!(program.environment, [variable]);
        assert_eq!(service.sockets[0].name, "a.socket");
        assert_eq!(service.sockets[0].listen.path(), Some("/run/\"a"));
        assert!(text.starts_with("# from?here\nexec = "), "{text}");
        assert!(text.contains("after = [\"default\"]\n"), "{text}");
    }
}
