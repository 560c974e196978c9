//! Scripts for OpenRC of the simple supervised kind into service files: those that say by variables
//! what runs, and by `depend` what comes first. Not here: the shell they are written in (`shell`), what a
//! single variable becomes (`keys`, and `starter` for options), what functions do (`functions`), and
//! finding scripts on a disk (`sharkctl import`).
//!
//! A script that starts or stops in functions of its own says in commands what it does, and a service
//! file cannot: there is none of it.

mod functions;
mod keys;
mod shell;
mod starter;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use super::draft::{Draft, Value};
use super::report::{Entry, Implied, Import, Made, Outcome, Refused};
use super::{Options, problems, take_unfit, without};
use crate::file::split_command;
use crate::id::ServiceName;
use shell::{Form, Statement, Variables};
use starter::Starter;

/// A script, and the file with variables that is read before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Name of the service.
    pub name: String,
    /// As it is named to people.
    pub path: String,
    /// Its text.
    pub text: String,
    /// Path and text of `conf.d/NAME`.
    pub conf: Option<(String, String)>,
}

/// Services that init has done the work of before the first one starts.
const MET: &[&str] = &[
    "localmount",
    "root",
    "fsck",
    "bootmisc",
    "sysfs",
    "devfs",
    "procfs",
    "cgroups",
    "modules",
    "mtab",
    "swap",
    "dev",
    "logger",
    "sysctl",
    "localuser",
];

/// Keys without which a service would be another one.
const WHO_AND_WHAT: &[&str] = &["exec", "type", "user", "group"];

/// Makes service files of `scripts`.
#[must_use]
pub fn convert(scripts: &[Script], options: &Options) -> Import {
    let mut services: Vec<Service<'_>> = scripts.iter().map(Service::new).collect();
    services.iter_mut().for_each(Service::read);
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for service in services.iter().filter(|it| !it.is_blocked(options)) {
        let provided = service.provided.iter().cloned();
        let own = provided.chain([service.script.name.clone()]);
        names.extend(own.map(|name| (name, service.script.name.clone())));
    }
    let known = options
        .known
        .iter()
        .map(|name| (name.clone(), name.clone()));
    names.extend(known);
    names.extend(options.map.clone());
    let mut import = Import::default();
    for mut service in services {
        match service.is_blocked(options) {
            true => import.refused.push(Refused {
                unit: service.script.name.clone(),
                why: service
                    .blockers
                    .iter()
                    .map(|(why, _)| why.clone())
                    .collect(),
                forceable: service.blockers.iter().all(|(_, forceable)| *forceable),
            }),
            false => {
                service.depend(&names);
                service.make(&mut import);
            }
        }
        service.account(&mut import);
    }
    import.problems = problems(&import.made, options);
    import
}

const NO_DEPENDENCY: &str = "is no dependency that can be read without a shell";

/// A line of `depend` without its comment, and without the braces of a body that is on one line with it.
fn depend_body(text: &str) -> &str {
    let text = text.rsplit('{').next().unwrap_or(text).trim();
    let text = match text.find(" #").or_else(|| text.find("\t#")) {
        Some(at) => text.get(..at).unwrap_or(text),
        None => text,
    };
    text.trim_end_matches(['}', ';', ' '])
}

struct Service<'s> {
    script: &'s Script,
    /// Of the file with variables, then of the script.
    statements: Vec<(&'s str, Statement)>,
    outcomes: Vec<Option<Outcome>>,
    values: BTreeMap<String, String>,
    provided: BTreeSet<String>,
    draft: Draft,
    implied: Vec<Implied>,
    /// What it hands to its starter beside variables.
    starter: Starter,
    /// Why there is no file, and whether one can be made all the same.
    blockers: Vec<(String, bool)>,
    made: bool,
}

impl<'s> Service<'s> {
    fn new(script: &'s Script) -> Self {
        let conf = script.conf.iter().flat_map(|(path, text)| {
            let statements = shell::statements(text).into_iter();
            statements.map(move |statement| (path.as_str(), statement))
        });
        let own = shell::statements(&script.text).into_iter();
        let own = own.map(|statement| (script.path.as_str(), statement));
        let statements: Vec<_> = conf.chain(own).collect();
        Self {
            script,
            outcomes: vec![None; statements.len()],
            statements,
            values: BTreeMap::new(),
            provided: BTreeSet::new(),
            draft: Draft::default(),
            implied: Vec::new(),
            starter: Starter::default(),
            blockers: Vec::new(),
            made: false,
        }
    }

    fn is_blocked(&self, options: &Options) -> bool {
        let mut blockers = self.blockers.iter();
        blockers.any(|(_, forceable)| !(options.force && *forceable))
    }

    fn block(&mut self, forceable: bool, why: impl Into<String>) {
        let why = why.into();
        if self.blockers.iter().all(|(known, _)| *known != why) {
            self.blockers.push((why, forceable));
        }
    }

    fn imply(&mut self, key: &str, value: Value, why: &str) {
        if !self.draft.has(key) {
            self.draft.set(key, value);
            self.implied.push(Implied {
                service: self.script.name.clone(),
                key: key.to_owned(),
                why: why.to_owned(),
            });
        }
    }

    fn read(&mut self) {
        if let Err(error) = ServiceName::new(&self.script.name) {
            self.block(false, error.to_string());
        }
        let places = self.variables();
        self.starter = Starter::of(&self.values, self.supervised());
        self.functions();
        let keys: Vec<(String, usize)> = places.into_iter().collect();
        for (name, at) in keys {
            let value = self.values.get(&name).cloned().unwrap_or_default();
            let mut outcome = self.key(&name, &value);
            let exported = self.statements.get(at);
            if exported.is_some_and(|(_, it)| it.text.starts_with("export ")) {
                outcome = outcome.and(self.set(&format!("env.{name}"), Value::Text(value)));
            }
            self.settle(at, outcome);
        }
        self.program();
        self.fit();
    }

    /// What a service file cannot say is lost, and where it says who runs what, there is no file.
    fn fit(&mut self) {
        if !self.draft.has("exec") || ServiceName::new(&self.script.name).is_err() {
            return;
        }
        for (key, why) in take_unfit(&self.script.name, &mut self.draft) {
            let Some(key) = key.filter(|key| !WHO_AND_WHAT.contains(&key.as_str())) else {
                self.block(false, why);
                return;
            };
            self.implied.retain(|it| it.key != key);
            for outcome in self.outcomes.iter_mut().flatten() {
                without(outcome, &key, &why);
            }
        }
    }

    fn settle(&mut self, at: usize, outcome: Outcome) {
        if let Some(known) = self.outcomes.get_mut(at) {
            *known = Some(match known.take() {
                Some(before) => before.and(outcome),
                None => outcome,
            });
        }
    }

    /// Sets all variables, and tells on which statement each has its last value.
    fn variables(&mut self) -> BTreeMap<String, usize> {
        let mut variables = Variables::default();
        for name in ["RC_SVCNAME", "SVCNAME"] {
            let value = self.script.name.clone();
            variables.known.insert(name.to_owned(), value);
        }
        let mut places = BTreeMap::new();
        let statements = self.statements.clone();
        for (at, (file, statement)) in statements.into_iter().enumerate() {
            let (name, written) = match &statement.form {
                Form::Assignment(name, written) => (name, written),
                Form::Default(name, _) if variables.is_set(name) => {
                    self.settle(at, Outcome::irrelevant("it has a value already"));
                    continue;
                }
                Form::Default(name, written) => (name, written),
                Form::Function(_) | Form::Inside(_) | Form::Command => continue,
            };
            variables.missing.clear();
            match variables.value(written) {
                Ok(value) => {
                    variables.known.insert(name.clone(), value);
                    if let Some(before) = places.insert(name.clone(), at) {
                        let why = format!("{file}:{} replaces it", statement.line);
                        self.settle(before, Outcome::irrelevant(why));
                    }
                    if !variables.missing.is_empty() {
                        let mut outcome = Outcome::irrelevant("");
                        outcome.why.clear();
                        let missing = variables.missing.join("`, `$");
                        let look =
                            format!("`${missing}` is set nowhere here, and taken to be empty");
                        self.settle(at, outcome.look(look));
                    }
                }
                Err(why) => {
                    self.block(false, format!("line {}: `{name}` {why}", statement.line));
                    self.settle(at, Outcome::lost(why));
                }
            }
        }
        self.values = variables.known;
        places
    }

    fn yes(&self, name: &str) -> bool {
        let value = self.values.get(name).map(|it| it.to_ascii_lowercase());
        matches!(value.as_deref(), Some("yes" | "true" | "on" | "1"))
    }

    fn supervised(&self) -> bool {
        self.values
            .get("supervisor")
            .is_some_and(|it| it == "supervise-daemon")
    }

    /// Whether its starter puts the program into the background, which then stays where it is.
    fn background(&self) -> bool {
        self.yes("command_background") || self.starter.background
    }

    fn set(&mut self, key: &str, value: Value) -> Outcome {
        self.draft.set(key, value);
        Outcome::carried(key)
    }

    /// What it runs, and what follows from how OpenRC does.
    fn program(&mut self) {
        let value = |name: &str| self.values.get(name).cloned().unwrap_or_default();
        let own = self
            .blockers
            .iter()
            .any(|(why, _)| why.contains("function `start`"));
        let command = value("command");
        if !command.starts_with('/') || command.contains(char::is_whitespace) {
            if !own {
                self.block(
                    false,
                    "it names no program by its path: there is no `command=`",
                );
            }
            return;
        }
        let (background, supervised) = (self.background(), self.supervised());
        let further = match (supervised, self.yes("command_background")) {
            (true, _) => value("command_args_foreground"),
            (false, true) => String::new(),
            (false, false) => value("command_args_background"),
        };
        let arguments = format!("{} {further}", value("command_args"));
        let words = split_command(&arguments);
        let needs_shell = arguments.contains(|c| "$`;&|<>*?(){}~".contains(c));
        match words {
            Ok(words) if !needs_shell => {
                let words = std::iter::once(command).chain(words).collect();
                self.draft.set("exec", Value::Command(words));
            }
            _ => self.block(false, "its arguments mean something to a shell"),
        }
        let text = |text: &str| Value::Text(text.to_owned());
        if !supervised && !background {
            let why = "start-stop-daemon leaves it to the program to go into the background";
            self.imply("type", text("forking"), why);
        }
        match supervised {
            true => {
                self.imply(
                    "restart.policy",
                    text("always"),
                    "supervise-daemon starts it again",
                );
                self.imply(
                    "restart.delay",
                    text("0s"),
                    "supervise-daemon waits for no time",
                );
                self.imply(
                    "restart.max-delay",
                    text("1s"),
                    "its pauses do not grow by much",
                );
            }
            false => self.imply("restart.policy", text("never"), "nothing starts it again"),
        }
        self.imply("stop.timeout", text("5s"), "OpenRC's default for `retry`");
    }

    /// The lines of `depend`.
    fn depend(&mut self, names: &BTreeMap<String, String>) {
        let statements = self.statements.clone();
        let mut conditions = 0_u32;
        for (at, (_, statement)) in statements.into_iter().enumerate() {
            if !matches!(&statement.form, Form::Inside(name) if name == "depend") {
                continue;
            }
            let text = depend_body(&statement.text);
            let first = text.split(|c: char| c.is_whitespace() || c == ';').next();
            conditions = match first.unwrap_or_default() {
                "if" | "case" | "for" | "while" | "until" => conditions + 1,
                "fi" | "esac" | "done" => conditions.saturating_sub(1),
                _ => conditions,
            };
            let parts = text.split(';').map(str::trim);
            let parts = parts.filter(|part| !part.is_empty());
            let outcomes: Vec<Outcome> = parts.map(|part| self.depend_line(part, names)).collect();
            let mut outcome =
                Outcome::all(outcomes).unwrap_or_else(|| Outcome::irrelevant("a heading"));
            if conditions > 0 && !outcome.into.is_empty() {
                outcome = outcome.look("it is so always here, whatever the lines around it ask");
            }
            self.settle(at, outcome);
        }
    }

    fn depend_line(&mut self, text: &str, names: &BTreeMap<String, String>) -> Outcome {
        if text.contains(|c| "&|$`<>()\"'\\".contains(c)) {
            return Outcome::lost(NO_DEPENDENCY);
        }
        let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let key = match word {
            "need" => "requires",
            "want" => "wants",
            "use" | "after" => "after",
            "before" => "before",
            "provide" => {
                return Outcome::lost("a service has one name")
                    .look("scripts that are imported with it find it by this name too");
            }
            "keyword" => return Outcome::lost("no condition comes from it: it starts everywhere"),
            "config" => return Outcome::irrelevant("nothing is worked out ahead of time"),
            _ => return Outcome::lost(NO_DEPENDENCY),
        };
        let parts: Vec<Outcome> = rest
            .split_whitespace()
            .map(|other| self.relate(key, word, other, names))
            .collect();
        Outcome::all(parts).unwrap_or_else(|| Outcome::irrelevant("names nothing"))
    }

    fn relate(
        &mut self,
        key: &str,
        word: &str,
        other: &str,
        names: &BTreeMap<String, String>,
    ) -> Outcome {
        let Some(service) = names.get(other) else {
            return match MET.contains(&other) && key != "before" {
                true => Outcome::irrelevant("init has done its part before it starts any service"),
                false => Outcome::lost(format!(
                    "`{other}` is not imported with it, and there is no such service; --map \
                     {other}=SERVICE names one"
                )),
            };
        };
        if *service == self.script.name {
            return Outcome::irrelevant("is this service");
        }
        self.draft.add(key, service);
        let outcome = Outcome::carried(key);
        match word {
            "use" => outcome.look(format!(
                "it waits for `{service}` where that is started, as with use"
            )),
            _ => outcome,
        }
    }

    fn make(&mut self, import: &mut Import) {
        let files = self.script.conf.iter().map(|(path, _)| path);
        let files = std::iter::once(&self.script.path).chain(files);
        let head: Vec<String> = files.map(|path| format!("Imported from {path}")).collect();
        import.made.push(Made {
            service: self.script.name.clone(),
            text: self.draft.text(&head),
        });
        import.implied.append(&mut self.implied);
        self.made = true;
    }

    fn account(self, import: &mut Import) {
        for ((file, statement), outcome) in self.statements.into_iter().zip(self.outcomes) {
            let outcome = match outcome {
                Some(outcome) if self.made || outcome.into.is_empty() => outcome,
                _ if !self.made => Outcome::lost("no service file is made of its script"),
                Some(outcome) => outcome,
                None => Outcome::lost("is not known to this converter"),
            };
            import.entries.push(Entry {
                unit: self.script.name.clone(),
                file: file.to_owned(),
                line: statement.line,
                last: statement.last,
                text: statement.text,
                outcome,
            });
        }
    }
}
