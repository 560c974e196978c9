//! Options that a script hands to its starter, start-stop-daemon or supervise-daemon, in one of its
//! variables. Not here: what the other variables become (`keys`).

use std::collections::BTreeMap;

use super::super::draft::Value;
use super::super::report::Outcome;
use super::Service;
use crate::file::split_command;

/// What an option of a starter says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Background,
    PidFile,
    /// A file or a program that output goes to.
    Output,
    /// What is printed, and what counts as a failure of its own work.
    Messages,
    Wait,
    User,
    Group,
    Directory,
    Umask,
    Nice,
    OomScoreAdj,
    Variable,
}

/// Letter, name, meaning, whether a value follows, and whether supervise-daemon has it too.
const OPTIONS: &[(Option<char>, &str, Meaning, bool, bool)] = &[
    (Some('b'), "background", Meaning::Background, false, false),
    (Some('m'), "make-pidfile", Meaning::PidFile, false, false),
    (Some('o'), "oknodo", Meaning::Messages, false, false),
    (Some('q'), "quiet", Meaning::Messages, false, true),
    (Some('v'), "verbose", Meaning::Messages, false, true),
    (Some('w'), "wait", Meaning::Wait, true, false),
    (Some('1'), "stdout", Meaning::Output, true, true),
    (Some('2'), "stderr", Meaning::Output, true, true),
    (Some('3'), "stdout-logger", Meaning::Output, true, true),
    (Some('4'), "stderr-logger", Meaning::Output, true, true),
    (Some('u'), "user", Meaning::User, true, true),
    (Some('c'), "chuid", Meaning::User, true, false),
    (Some('g'), "group", Meaning::Group, true, true),
    (Some('d'), "chdir", Meaning::Directory, true, true),
    (Some('k'), "umask", Meaning::Umask, true, true),
    (Some('N'), "nicelevel", Meaning::Nice, true, true),
    (None, "oom-score-adj", Meaning::OomScoreAdj, true, true),
    (Some('e'), "env", Meaning::Variable, true, true),
];

/// All that is handed to it.
#[derive(Clone, Debug, Default)]
pub(super) struct Starter {
    /// Whether it puts the program into the background.
    pub(super) background: bool,
    /// Files that output goes to, here and by variables.
    pub(super) outputs: Vec<String>,
    options: Vec<(Meaning, String)>,
    /// Why not all options can be read.
    unread: Option<String>,
}

impl Starter {
    pub(super) fn of(values: &BTreeMap<String, String>, supervised: bool) -> Self {
        let name = variable(supervised);
        let read = read(values.get(name).map_or("", String::as_str), supervised);
        let (options, unread) = match read {
            Ok(options) => (options, None),
            Err(why) => (Vec::new(), Some(why)),
        };
        let own = options.iter();
        let own = own.filter(|(meaning, _)| *meaning == Meaning::Output);
        let variables = ["output_log", "error_log"].into_iter();
        let variables = variables.filter_map(|name| values.get(name));
        Self {
            outputs: own
                .map(|(_, path)| path)
                .chain(variables)
                .cloned()
                .collect(),
            background: options
                .iter()
                .any(|(meaning, _)| *meaning == Meaning::Background),
            options,
            unread,
        }
    }
}

/// The variable that holds its options.
fn variable(supervised: bool) -> &'static str {
    match supervised {
        true => "supervise_daemon_args",
        false => "start_stop_daemon_args",
    }
}

fn read(text: &str, supervised: bool) -> Result<Vec<(Meaning, String)>, String> {
    if text.contains(|c| "$`;&|<>*?(){}~".contains(c)) {
        return Err("means something to a shell".to_owned());
    }
    let words = split_command(text).map_err(|error| error.to_string())?;
    let mut words = words.into_iter();
    let mut options = Vec::new();
    while let Some(word) = words.next() {
        let unknown = || format!("`{word}` may say as whom and how it runs");
        let (found, value) = find(&word, supervised).ok_or_else(unknown)?;
        let (_, _, meaning, takes_value, _) = *found;
        let value = match (takes_value, value) {
            (false, None) => String::new(),
            (false, Some(_)) => return Err(unknown()),
            (true, Some(value)) => value.to_owned(),
            (true, None) => words
                .next()
                .ok_or_else(|| format!("`{word}` has no value"))?,
        };
        options.push((meaning, value));
    }
    Ok(options)
}

type Known = (Option<char>, &'static str, Meaning, bool, bool);

/// The option that `word` is, and the value that is in the same word.
fn find(word: &str, supervised: bool) -> Option<(&'static Known, Option<&str>)> {
    let mut known = OPTIONS.iter().filter(|it| !supervised || it.4);
    if let Some(long) = word.strip_prefix("--") {
        let (name, value) = match long.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (long, None),
        };
        return known.find(|it| it.1 == name).map(|it| (it, value));
    }
    let mut letters = word.strip_prefix('-')?.chars();
    let letter = letters.next()?;
    let value = Some(letters.as_str()).filter(|it| !it.is_empty());
    known.find(|it| it.0 == Some(letter)).map(|it| (it, value))
}

impl Service<'_> {
    /// What becomes of the options in the variable `name`.
    pub(super) fn starter_options(&mut self, name: &str) -> Outcome {
        if name != variable(self.supervised()) {
            return Outcome::irrelevant("is for another way to start it");
        }
        if let Some(why) = self.starter.unread.clone() {
            self.block(true, format!("{name}: {why}"));
            return Outcome::lost(why);
        }
        let options = self.starter.options.clone();
        let outcomes = options
            .iter()
            .map(|(meaning, value)| self.option(*meaning, name, value));
        let outcomes: Vec<Outcome> = outcomes.collect();
        Outcome::all(outcomes).unwrap_or_else(|| Outcome::irrelevant("says nothing"))
    }

    fn option(&mut self, meaning: Meaning, name: &str, value: &str) -> Outcome {
        let text = || Value::Text(value.to_owned());
        match meaning {
            Meaning::Background => Outcome::carried("type"),
            Meaning::PidFile => Outcome::irrelevant("init knows the main process without it"),
            Meaning::Output => Outcome::lost("output goes to the log of the service"),
            Meaning::Messages => Outcome::irrelevant("is for what its starter says"),
            Meaning::Wait => Outcome::lost("nobody waits to see whether it lives on"),
            Meaning::User => self.run_as(name, value),
            Meaning::Group => self.set("group", text()),
            Meaning::Directory => self.key("directory", value),
            Meaning::Umask => self.key("umask", value),
            Meaning::Nice => self.number("nice", value, -20..=19),
            Meaning::OomScoreAdj => self.number("oom-score-adj", value, -1000..=1000),
            Meaning::Variable => match value.split_once('=') {
                Some((variable, value)) if super::super::shell::is_variable(variable) => {
                    let key = format!("env.{variable}");
                    self.draft.set(&key, Value::Text(value.to_owned()));
                    Outcome::carried(&key)
                }
                _ => Outcome::lost("is no variable with a value"),
            },
        }
    }

    fn number(&mut self, key: &str, text: &str, among: std::ops::RangeInclusive<i64>) -> Outcome {
        match text.parse().ok().filter(|it| among.contains(it)) {
            Some(number) => self.set(key, Value::Number(number)),
            None => Outcome::lost(format!("is no value of `{key}`")),
        }
    }
}
