//! Reading one value of a file as what its key takes, and telling what is wrong with it. Not here:
//! which key takes what (`keys`).

use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::command;
use super::document::Document;
use crate::definition::{Reload, Signal};
use crate::diagnostic::{Diagnostic, Place, nearest};
use crate::id::ServiceName;
use crate::time::Duration;
use crate::units;

/// What a command is, for people.
const COMMAND: &str = "a command: a string or a list of strings, the program with its whole path";

/// Signals by name.
const SIGNALS: [(&str, Signal); 9] = [
    ("HUP", Signal::Hup),
    ("INT", Signal::Int),
    ("QUIT", Signal::Quit),
    ("USR1", Signal::Usr1),
    ("USR2", Signal::Usr2),
    ("TERM", Signal::Term),
    ("WINCH", Signal::Winch),
    ("KILL", Signal::Kill),
    ("ABRT", Signal::Abrt),
];

/// Those that a program can take as the wish to reload.
const SIGNALS_TO_RELOAD: [(&str, Signal); 5] = [
    ("HUP", Signal::Hup),
    ("USR1", Signal::Usr1),
    ("USR2", Signal::Usr2),
    ("WINCH", Signal::Winch),
    ("INT", Signal::Int),
];

type Item<'a> = Spanned<DeValue<'a>>;
/// Takes the name of an entry and what is in it, or says what is wrong with it.
type TakeEntry<'t> = dyn FnMut(&str, &[(&str, &str)]) -> Result<(), &'static str> + 't;

/// One value of a file. Each method reads it as something; `None` means that it is something else,
/// and that this has been told.
pub(super) struct Value<'v, 'a> {
    pub(super) document: &'v Document<'a>,
    pub(super) key: &'v str,
    pub(super) item: &'v Item<'a>,
    pub(super) diagnostics: &'v mut Vec<Diagnostic>,
}

impl<'a> Value<'_, 'a> {
    fn problem(&self, item: &Item<'_>, message: impl Into<String>) -> Diagnostic {
        let place = self.document.place(item.span().start);
        Diagnostic::new(&place, message).key(self.key)
    }

    fn tell(&mut self, item: &Item<'_>, message: impl Into<String>, expected: &str) {
        let told = self.problem(item, message).expected(expected);
        self.diagnostics.push(told);
    }

    fn tell_type(&mut self, item: &Item<'_>, expected: &str) {
        self.tell(item, format!("is {}", found(item.get_ref())), expected);
    }

    /// The string in `item`, without NUL, which nothing in the kernel's interfaces can hold.
    fn text_of<'i>(&mut self, item: &'i Item<'a>, expected: &str) -> Option<&'i str> {
        match item.get_ref() {
            DeValue::String(text) if text.contains('\0') => {
                self.tell(item, "holds a NUL character", expected);
                None
            }
            DeValue::String(text) => Some(text),
            DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => {
                self.tell_type(item, expected);
                None
            }
        }
    }

    /// The items of a list.
    fn list<'i>(&mut self, item: &'i Item<'a>, expected: &str) -> Option<&'i [Item<'a>]> {
        if let DeValue::Array(items) = item.get_ref() {
            return Some(items);
        }
        self.tell_type(item, expected);
        None
    }

    /// A string that passes `check`, which otherwise says what is wrong with it.
    pub(super) fn text(
        &mut self,
        expected: &str,
        check: impl FnOnce(&str) -> Result<(), &'static str>,
    ) -> Option<String> {
        self.read(expected, |text| check(text).map(|()| text.to_owned()))
    }

    /// A string that `read` makes into something, or otherwise says what is wrong with it.
    pub(super) fn read<T, E: std::fmt::Display>(
        &mut self,
        expected: &str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let item = self.item;
        let text = self.text_of(item, expected)?;
        match read(text) {
            Ok(value) => Some(value),
            Err(problem) => {
                self.tell(item, format!("{} {problem}", short(text)), expected);
                None
            }
        }
    }

    /// A string that `read` turns into something, or says what is wrong with it.
    pub(super) fn parsed<T>(
        &mut self,
        expected: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let item = self.item;
        let text = self.text_of(item, expected)?;
        match read(text) {
            Ok(value) => Some(value),
            Err(problem) => {
                self.tell(item, format!("{} {problem}", short(text)), expected);
                None
            }
        }
    }

    /// An absolute path.
    pub(super) fn path(&mut self) -> Option<PathBuf> {
        let check = |text: &str| match text.starts_with('/') {
            true => Ok(()),
            false => Err("does not start with `/`"),
        };
        self.text("an absolute path", check).map(PathBuf::from)
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, choices: &[(&str, T)]) -> Option<T> {
        let item = self.item;
        let expected = either(choices.iter().map(|(word, _)| *word));
        let text = self.text_of(item, &expected)?;
        if let Some((_, choice)) = choices.iter().find(|(word, _)| *word == text) {
            return Some(*choice);
        }
        let near = nearest(text, choices.iter().map(|(word, _)| *word));
        let told = self
            .problem(item, format!("{} is not known", short(text)))
            .expected(expected)
            .did_you_mean(near);
        self.diagnostics.push(told);
        None
    }

    /// A signal by name, with or without `SIG`.
    pub(super) fn signal(&mut self) -> Option<Signal> {
        let names = either(SIGNALS.iter().map(|(name, _)| *name));
        self.signal_of(&SIGNALS, &names)
    }

    fn signal_of(&mut self, signals: &[(&str, Signal)], expected: &str) -> Option<Signal> {
        let item = self.item;
        let text = self.text_of(item, expected)?;
        let name = text.strip_prefix("SIG").unwrap_or(text);
        if let Some((_, signal)) = signals.iter().find(|(known, _)| *known == name) {
            return Some(*signal);
        }
        let told = self
            .problem(item, format!("{} is not such a signal", short(text)))
            .expected(expected)
            .did_you_mean(nearest(name, signals.iter().map(|(name, _)| *name)));
        self.diagnostics.push(told);
        None
    }

    /// A truth value.
    pub(super) fn boolean(&mut self) -> Option<bool> {
        let item = self.item;
        if let DeValue::Boolean(value) = item.get_ref() {
            return Some(*value);
        }
        self.tell_type(item, "`true` or `false`");
        None
    }

    /// A whole number from `least` to `most`.
    pub(super) fn integer<T>(&mut self, least: T, most: T) -> Option<T>
    where
        T: Copy + Into<i64> + TryFrom<i64>,
    {
        let item = self.item;
        let (low, high): (i64, i64) = (least.into(), most.into());
        let expected = format!("a whole number from {low} to {high}");
        let DeValue::Integer(number) = item.get_ref() else {
            self.tell_type(item, &expected);
            return None;
        };
        let fits = whole(number).filter(|number| (low..=high).contains(number));
        let fits = fits.and_then(|number| T::try_from(number).ok());
        if fits.is_none() {
            self.tell(item, format!("{number} is out of range"), &expected);
        }
        fits
    }

    /// A duration of at least `least`.
    pub(super) fn duration(&mut self, least: Duration) -> Option<Duration> {
        let item = self.item;
        let text = self.text_of(item, units::DURATION)?;
        match units::parse_duration(text) {
            Ok(duration) if duration >= least => Some(duration),
            Ok(_) => {
                let expected = format!("at least {least:?}");
                self.tell(item, format!("{} is too short", short(text)), &expected);
                None
            }
            Err(error) => {
                self.tell(item, format!("{} {error}", short(text)), units::DURATION);
                None
            }
        }
    }

    /// An amount of memory in bytes: a string with a unit, or a whole number.
    pub(super) fn bytes(&mut self) -> Option<u64> {
        let item = self.item;
        if let DeValue::Integer(number) = item.get_ref() {
            let bytes = whole(number).and_then(|number| u64::try_from(number).ok());
            if bytes.is_none() {
                self.tell(item, format!("{number} is out of range"), units::BYTES);
            }
            return bytes;
        }
        let text = self.text_of(item, units::BYTES)?;
        match units::parse_bytes(text) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                self.tell(item, format!("{} {error}", short(text)), units::BYTES);
                None
            }
        }
    }

    /// `unlimited`, or what `limit` reads.
    pub(super) fn limit(
        &mut self,
        limit: impl FnOnce(&mut Self) -> Option<u64>,
    ) -> Option<Option<u64>> {
        match self.item.get_ref() {
            DeValue::String(text) if text == "unlimited" => Some(None),
            _ => limit(self).map(Some),
        }
    }

    /// A percentage from 1 to `most`.
    pub(super) fn percent(&mut self, most: u32) -> Option<u32> {
        self.percent_of(1, most)
    }

    /// A percentage from `least` to `most`.
    pub(super) fn percent_of(&mut self, least: u32, most: u32) -> Option<u32> {
        let item = self.item;
        let text = self.text_of(item, units::PERCENT)?;
        match units::parse_percent(text) {
            Ok(percent) if (least..=most).contains(&percent) => Some(percent),
            Ok(_) => {
                let expected = format!("a percentage from \"{least}%\" to \"{most}%\"");
                self.tell(item, format!("{} is out of range", short(text)), &expected);
                None
            }
            Err(error) => {
                self.tell(item, format!("{} {error}", short(text)), units::PERCENT);
                None
            }
        }
    }

    /// A file mode creation mask, or permissions, as an octal string.
    pub(super) fn umask(&mut self) -> Option<u32> {
        let expected = "an octal string from \"0000\" to \"0777\"";
        let item = self.item;
        let text = self.text_of(item, expected)?;
        let octal = !text.is_empty() && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
        let mask = u32::from_str_radix(text, 8).ok();
        let mask = mask.filter(|mask| octal && *mask <= 0o777);
        if mask.is_none() {
            self.tell(item, format!("{} is not a mask", short(text)), expected);
        }
        mask
    }

    /// A list of service names, each with its place. Bad ones are told and left out.
    pub(super) fn names(&mut self) -> Option<Vec<(ServiceName, Place)>> {
        let expected = "a list of service names such as [\"network\"]";
        let item = self.item;
        let items = self.list(item, expected)?;
        let mut names = Vec::with_capacity(items.len());
        for item in items {
            let Some(text) = self.text_of(item, "the name of a service") else {
                continue;
            };
            match ServiceName::new(text) {
                Ok(name) => names.push((name, self.document.place(item.span().start))),
                Err(error) => {
                    let message = format!("{}: {error}", short(text));
                    let suffix = text.strip_suffix(".toml").or(text.strip_suffix(".service"));
                    let told = self.problem(item, message).did_you_mean(suffix);
                    self.diagnostics.push(told);
                }
            }
        }
        Some(names)
    }

    /// A list of strings, each of which `read` turns into something or says what is wrong with it.
    pub(super) fn list_of<T>(
        &mut self,
        expected: &str,
        mut read: impl FnMut(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let item = self.item;
        let items = self.list(item, expected)?;
        let mut list = Vec::with_capacity(items.len());
        for item in items {
            let Some(text) = self.text_of(item, expected) else {
                continue;
            };
            match read(text) {
                Ok(value) => list.push(value),
                Err(problem) => self.tell(item, format!("{} {problem}", short(text)), expected),
            }
        }
        Some(list)
    }

    /// A list of exit statuses.
    pub(super) fn statuses(&mut self) -> Option<Vec<u8>> {
        let item = self.item;
        let items = self.list(item, "a list of exit statuses such as [143]")?;
        let mut statuses = Vec::with_capacity(items.len());
        for item in items {
            let mut value = Value {
                document: self.document,
                key: self.key,
                item,
                diagnostics: self.diagnostics,
            };
            statuses.extend(value.integer(0, u8::MAX));
        }
        Some(statuses)
    }

    /// A list of names of directories, each a single component of a path.
    pub(super) fn directories(&mut self, reserved: &[&str]) -> Option<Vec<String>> {
        let expected = "a list of names of directories such as [\"chrony\"]";
        let item = self.item;
        let items = self.list(item, expected)?;
        let mut names = Vec::with_capacity(items.len());
        for item in items {
            let Some(name) = self.text_of(item, "the name of a directory") else {
                continue;
            };
            if name.is_empty() || name.contains('/') || name == "." || name == ".." {
                let message = format!("{} is not a name", short(name));
                self.tell(item, message, "the name of a directory, without `/`");
            } else if reserved.contains(&name) {
                let message = format!("{} belongs to init", short(name));
                self.tell(item, message, "another name");
            } else {
                names.push(name.to_owned());
            }
        }
        Some(names)
    }

    /// Hands each text of a list to `take`, which may say what it should have been; whether all were
    /// good.
    pub(super) fn each(
        &mut self,
        expected: &str,
        take: &mut dyn FnMut(&str) -> Result<(), &'static str>,
    ) -> bool {
        let item = self.item;
        let Some(items) = self.list(item, expected) else {
            return false;
        };
        let mut good = true;
        for item in items {
            let taken = self
                .text_of(item, "a string")
                .map(|text| (text, take(text)));
            match taken {
                Some((_, Ok(()))) => {}
                Some((text, Err(expected))) => {
                    self.tell(item, format!("{} is not known", short(text)), expected);
                    good = false;
                }
                None => good = false,
            }
        }
        good
    }

    /// Tells that the value as a whole is wrong.
    pub(super) fn refuse(&mut self, problem: &str, expected: &str) {
        let item = self.item;
        self.tell(item, problem, expected);
    }

    /// Hands each entry of a table of tables of strings to `take`, which may say what is wrong with
    /// it.
    pub(super) fn each_entry(&mut self, expected: &str, take: &mut TakeEntry<'_>) {
        let item = self.item;
        let DeValue::Table(table) = item.get_ref() else {
            self.tell_type(item, expected);
            return;
        };
        for (name, item) in table {
            let entries = match item.get_ref() {
                DeValue::Table(entries) => entries.iter(),
                _ => {
                    self.tell_type(item, expected);
                    continue;
                }
            };
            let mut texts = Vec::new();
            for (key, item) in entries {
                texts.extend(
                    self.text_of(item, "a string")
                        .map(|text| (key.get_ref().as_ref(), text)),
                );
            }
            if let Err(problem) = take(name.get_ref(), &texts) {
                let place = self.document.place(name.span().start);
                let key = format!("{}.{}", self.key, name.get_ref());
                self.diagnostics
                    .push(Diagnostic::new(&place, problem).key(&key));
            }
        }
    }

    /// A table of environment variables.
    pub(super) fn variables(&mut self) -> Option<Vec<(String, String)>> {
        let item = self.item;
        let table: &DeTable<'a> = match item.get_ref() {
            DeValue::Table(table) => table,
            _ => {
                self.tell_type(item, "a table of strings such as { LANG = \"C.UTF-8\" }");
                return None;
            }
        };
        let mut variables = Vec::with_capacity(table.len());
        for (name, item) in table {
            let key = format!("{}.{}", self.key, name.get_ref());
            let mut value = Value {
                document: self.document,
                key: &key,
                item,
                diagnostics: self.diagnostics,
            };
            let text = value.text_of(item, "a string").map(str::to_owned);
            let bad = |c: char| c == '=' || c == '\0' || c.is_whitespace();
            if name.get_ref().is_empty() || name.get_ref().contains(bad) {
                let place = self.document.place(name.span().start);
                let told = Diagnostic::new(&place, "is not a name of a variable")
                    .key(&key)
                    .expected("letters, digits and `_`");
                self.diagnostics.push(told);
            } else if let Some(text) = text {
                variables.push((name.get_ref().to_string(), text));
            }
        }
        Some(variables)
    }

    /// A command: a string that is split into words, or a list of words.
    pub(super) fn command(&mut self) -> Option<Vec<String>> {
        let item = self.item;
        let words = match item.get_ref() {
            DeValue::Array(items) => {
                let mut words = Vec::with_capacity(items.len());
                for item in items.iter() {
                    words.push(self.text_of(item, "a string")?.to_owned());
                }
                words
            }
            _ => match command::split(self.text_of(item, COMMAND)?) {
                Ok(words) => words,
                Err(error) => {
                    self.tell(item, error.to_string(), COMMAND);
                    return None;
                }
            },
        };
        match words.first() {
            Some(program) if program.starts_with('/') => Some(words),
            Some(program) => {
                let message = format!("{} is not a whole path", short(program));
                self.tell(item, message, COMMAND);
                None
            }
            None => {
                self.tell(item, "is empty", COMMAND);
                None
            }
        }
    }

    /// How to reload: a signal by name, or a command.
    pub(super) fn reload(&mut self) -> Option<Reload> {
        match self.item.get_ref() {
            // A command starts with a path.
            DeValue::String(text) if !text.contains('/') => {
                let names = SIGNALS_TO_RELOAD.iter().map(|(name, _)| *name);
                let expected = format!("{}, or a command with its whole path", either(names));
                self.signal_of(&SIGNALS_TO_RELOAD, &expected)
                    .map(Reload::Signal)
            }
            _ => self.command().map(Reload::Command),
        }
    }
}

/// What a value is, for people.
fn found(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the string {}", short(text)),
        DeValue::Integer(number) => format!("the number {number}"),
        DeValue::Float(number) => format!("the fraction {number}"),
        DeValue::Boolean(value) => format!("`{value}`"),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// What a value that should have been a table is, for people.
pub(super) fn not_a_table(value: &DeValue<'_>) -> String {
    format!("is {}", found(value))
}

fn whole(number: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

/// Most characters of a value that are repeated to people.
const SHORT: usize = 60;

/// The text in quotation marks, cut where it is long.
fn short(text: &str) -> String {
    match text.char_indices().nth(SHORT) {
        Some((end, _)) => format!("{:?}...", text.get(..end).unwrap_or(text)),
        None => format!("{text:?}"),
    }
}

/// `a`, `b` or `c`
pub(super) fn either<'w>(words: impl Iterator<Item = &'w str>) -> String {
    let words: Vec<String> = words.map(|word| format!("`{word}`")).collect();
    match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}
