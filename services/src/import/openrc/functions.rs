//! Functions of a script: two of them are read where they do no more than a key says, `reload` by a
//! signal and `start_pre` that has directories made. Not here: `depend`, and a shell for the others.

use std::collections::BTreeMap;

use super::super::report::Outcome;
use super::shell::{Form, Variables};
use super::{Service, Value};
use crate::file::split_command;

/// Commands that only print.
const MESSAGES: &[&str] = &[
    "ebegin", "eend", "einfo", "einfon", "veinfo", "vebegin", "veend",
];
/// Where a directory that a service has made is made anew with each boot.
const RUNTIME: &[&str] = &["/run/", "/var/run/"];
/// Signals that a program can take as the wish to reload.
const TO_RELOAD: &[&str] = &["HUP", "USR1", "USR2", "WINCH", "INT"];

/// What became of the lines of a function that is read.
type Lines = BTreeMap<usize, Outcome>;
/// Commands of a function, each with the statement it is in.
type Commands = Vec<(usize, Vec<String>)>;

impl Service<'_> {
    /// Functions and commands.
    pub(super) fn functions(&mut self) {
        let mut read = self.reload();
        read.extend(self.preparation());
        let statements = self.statements.clone();
        for (at, (_, statement)) in statements.into_iter().enumerate() {
            let outcome = match (&statement.form, read.remove(&at)) {
                (Form::Assignment(..) | Form::Default(..), _) => continue,
                (_, Some(outcome)) => outcome,
                (Form::Function(name), None) if name == "depend" => {
                    Outcome::irrelevant("a heading")
                }
                (Form::Inside(name), None) if name == "depend" => {
                    if let Some(names) = statement.text.strip_prefix("provide ") {
                        let names = names.split_whitespace().map(str::to_owned);
                        self.provided.extend(names);
                    }
                    continue;
                }
                (Form::Function(name) | Form::Inside(name), None) => self.function(name),
                (Form::Command, None) => {
                    let why = format!("line {}: it runs a command of its own", statement.line);
                    self.block(false, why);
                    Outcome::lost("no command is run but the program")
                }
            };
            self.settle(at, outcome);
        }
    }

    fn function(&mut self, name: &str) -> Outcome {
        match name {
            "start" | "stop" => {
                self.block(false, format!("it has a function `{name}` of its own"));
                Outcome::lost("what it does in commands, no key says")
            }
            "start_pre" | "start_post" | "stop_pre" | "stop_post" => {
                self.block(true, format!("its function `{name}` would not be run"));
                Outcome::lost("nothing is run before and after a start and a stop")
            }
            _ => Outcome::lost("there are no functions here, and no commands of a service's own"),
        }
    }

    /// `reload` that sends its main process one signal.
    fn reload(&mut self) -> Lines {
        let Some((mut lines, commands)) = self.body("reload") else {
            return Lines::new();
        };
        let [(at, words)] = commands.as_slice() else {
            return Lines::new();
        };
        let Some(signal) = self.signal(words) else {
            return Lines::new();
        };
        let outcome = self.set("reload", Value::Text(signal.to_owned()));
        lines.insert(*at, outcome);
        lines
    }

    /// The signal that a starter sends to the main process and does nothing else.
    fn signal(&self, words: &[String]) -> Option<&'static str> {
        let mut words = words.iter().map(String::as_str);
        let supervised = match words.next()? {
            "start-stop-daemon" => false,
            "supervise-daemon" => words.next()? == self.script.name,
            _ => return None,
        };
        let is = |name: &str, value: &str| self.values.get(name).is_some_and(|it| it == value);
        let (mut signal, mut found) = (None, supervised);
        while let Some(word) = words.next() {
            let (option, value) = match word.split_once('=') {
                Some((option, value)) => (option, Some(value)),
                None => (word, None),
            };
            match option {
                "-s" | "--signal" => signal = value.or_else(|| words.next()),
                "-p" | "--pidfile" => found |= is("pidfile", value.or_else(|| words.next())?),
                "-x" | "--exec" => found |= is("command", value.or_else(|| words.next())?),
                "-q" | "--quiet" => {}
                _ => return None,
            }
        }
        let known = super::super::signal(signal.filter(|_| found)?)?;
        TO_RELOAD.contains(&known).then_some(known)
    }

    /// `start_pre` that does nothing but have directories made below /run, and files for output.
    fn preparation(&mut self) -> Lines {
        let Some((mut lines, commands)) = self.body("start_pre") else {
            return Lines::new();
        };
        let mut directories = Vec::new();
        for (at, words) in commands {
            let Some((outcome, names)) = self.checked_path(&words) else {
                return Lines::new();
            };
            lines.insert(at, outcome);
            directories.extend(names);
        }
        for name in directories {
            self.draft.add("runtime-dirs", &name);
        }
        lines
    }

    /// What `checkpath` comes to, and directories below /run that it makes.
    fn checked_path(&self, words: &[String]) -> Option<(Outcome, Vec<String>)> {
        let mut words = words.iter().map(String::as_str);
        let (mut directory, mut file, mut mode, mut owner) = (false, false, None, "root");
        let mut paths = Vec::new();
        (words.next()? == "checkpath").then_some(())?;
        while let Some(word) = words.next() {
            match word {
                "-d" | "--directory" => (directory, file) = (true, false),
                "-f" | "--file" => (directory, file) = (false, true),
                "-m" | "--mode" => mode = Some(words.next()?),
                "-o" | "--owner" => owner = words.next()?,
                "-q" | "--quiet" => {}
                path if path.starts_with('/') => paths.push(path),
                _ => return None,
            }
        }
        if file {
            let outputs = &self.starter.outputs;
            let all = paths.iter().all(|path| outputs.iter().any(|it| it == path));
            let why = "output goes to the log of the service";
            return all.then(|| (Outcome::irrelevant(why), Vec::new()));
        }
        let names: Option<Vec<String>> = paths.into_iter().map(below_run).collect();
        let names = names.filter(|names| directory && !names.is_empty())?;
        if !self.is_own(owner) {
            return None;
        }
        let outcome = Outcome::carried("runtime-dirs").look(match mode {
            Some("0755" | "755") => "it is removed after a stop, and made anew for a start",
            _ => "its mode is 0755 here; it is removed after a stop, and made anew for a start",
        });
        Some((outcome, names))
    }

    /// Whether what init makes for the service would belong to `owner`.
    fn is_own(&self, owner: &str) -> bool {
        let as_user = self
            .values
            .get("command_user")
            .map_or("root", String::as_str);
        let (user, group) = as_user.split_once(':').unwrap_or((as_user, ""));
        let (owner, owners) = owner.split_once(':').unwrap_or((owner, ""));
        let same_group =
            owners == group || owners.is_empty() || (group.is_empty() && owners == user);
        owner == user && same_group
    }

    /// Lines of a function that come to nothing, and its commands; `None` where one is more than a
    /// single command that can be read without a shell, and where there is no such function.
    fn body(&self, function: &str) -> Option<(Lines, Commands)> {
        let (mut lines, mut commands) = (Lines::new(), Vec::new());
        for (at, (_, statement)) in self.statements.iter().enumerate() {
            match &statement.form {
                Form::Function(name) if name == function => {
                    lines.insert(at, Outcome::irrelevant("a heading"));
                }
                Form::Inside(name) if name == function => {
                    if is_message(&statement.text) {
                        lines.insert(at, Outcome::irrelevant("only prints"));
                    } else {
                        commands.push((at, self.words(&statement.text)?));
                    }
                }
                _ => {}
            }
        }
        (!commands.is_empty()).then_some((lines, commands))
    }

    /// A command as words, if it is a single one and each of its words is one for a shell too.
    fn words(&self, text: &str) -> Option<Vec<String>> {
        let ends = ["|| return 1", "|| return $?", "|| exit 1"];
        let bare = ends.iter().find_map(|end| text.strip_suffix(end));
        let text = bare.unwrap_or(text);
        if text.contains(|c| "`;&|<>*?()'\\~".contains(c)) {
            return None;
        }
        let mut variables = Variables::default();
        variables.known.clone_from(&self.values);
        let words = split_command(text).ok()?.into_iter();
        let mut word = |word: String| {
            let value = variables.value(&format!("\"{word}\"")).ok()?;
            let whole = !value.is_empty() && !value.contains(char::is_whitespace);
            (whole && variables.missing.is_empty()).then_some(value)
        };
        words.map(&mut word).collect()
    }
}

/// Whether a line only prints something, and takes no command to do it.
fn is_message(text: &str) -> bool {
    let first = text.split_whitespace().next().unwrap_or_default();
    let plain = !text.contains("$(") && !text.contains(|c| "`;&|<>".contains(c));
    MESSAGES.contains(&first) && plain
}

/// The name of a directory of init's making at `path`.
fn below_run(path: &str) -> Option<String> {
    let name = RUNTIME.iter().find_map(|run| path.strip_prefix(run))?;
    let name = name.strip_suffix('/').unwrap_or(name);
    let fits = !name.is_empty() && !name.contains('/') && !matches!(name, "." | ".." | "shark");
    fits.then(|| name.to_owned())
}
