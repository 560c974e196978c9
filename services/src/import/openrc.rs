//! Scripts for OpenRC of the simple supervised kind into service files: those that say by variables
//! what runs, and by `depend` what comes first. Not here: the shell they are written in (`shell`), and
//! finding them on a disk (`sharkctl import`).
//!
//! A script that starts or stops in functions of its own says in commands what it does, and a service
//! file cannot: there is none of it.

mod shell;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use super::draft::{Draft, Value};
use super::report::{Entry, Implied, Import, Made, Outcome, Refused};
use super::{Options, problems};
use crate::file::split_command;
use crate::id::ServiceName;
use shell::{Form, Statement, Variables};

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

struct Service<'s> {
    script: &'s Script,
    /// Of the file with variables, then of the script.
    statements: Vec<(&'s str, Statement)>,
    outcomes: Vec<Option<Outcome>>,
    values: BTreeMap<String, String>,
    provided: BTreeSet<String>,
    draft: Draft,
    implied: Vec<Implied>,
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
        self.functions();
        let keys: Vec<(String, usize)> = places.into_iter().collect();
        for (name, at) in keys {
            let value = self.values.get(&name).cloned().unwrap_or_default();
            let outcome = self.key(&name, &value);
            self.settle(at, outcome);
        }
        self.program();
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
            let Form::Assignment(name, written) = &statement.form else {
                continue;
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

    /// Functions and commands.
    fn functions(&mut self) {
        let statements = self.statements.clone();
        for (at, (_, statement)) in statements.into_iter().enumerate() {
            let outcome = match &statement.form {
                Form::Assignment(..) => continue,
                Form::Function(name) if name == "depend" => Outcome::irrelevant("a heading"),
                Form::Inside(name) if name == "depend" => {
                    if let Some(names) = statement.text.strip_prefix("provide ") {
                        self.provided
                            .extend(names.split_whitespace().map(str::to_owned));
                    }
                    continue;
                }
                Form::Function(name) | Form::Inside(name) => self.function(name),
                Form::Command => {
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

    fn yes(&self, name: &str) -> bool {
        let value = self.values.get(name).map(|it| it.to_ascii_lowercase());
        matches!(value.as_deref(), Some("yes" | "true" | "on" | "1"))
    }

    fn supervised(&self) -> bool {
        self.values
            .get("supervisor")
            .is_some_and(|it| it == "supervise-daemon")
    }

    fn set(&mut self, key: &str, value: Value) -> Outcome {
        self.draft.set(key, value);
        Outcome::carried(key)
    }

    /// A variable that OpenRC reads.
    fn key(&mut self, name: &str, value: &str) -> Outcome {
        let text = || Value::Text(value.to_owned());
        let forking = !self.supervised() && !self.yes("command_background");
        match name {
            "command" | "command_args" => Outcome::carried("exec"),
            "command_args_foreground" if self.supervised() => Outcome::carried("exec"),
            "command_args_background" if forking => Outcome::carried("exec"),
            "command_args_foreground" | "command_args_background" => {
                Outcome::irrelevant("is for another way to start it")
            }
            "command_background" => Outcome::carried("type"),
            "command_user" => {
                let (user, group) = value.split_once(':').unwrap_or((value, ""));
                if user.is_empty() || user.chars().all(|c| c.is_ascii_digit()) {
                    self.block(false, "command_user names no account: it would run as root");
                    return Outcome::lost("accounts are named here, not numbered");
                }
                let mut outcome = self.set("user", Value::Text(user.to_owned()));
                if !group.is_empty() {
                    outcome = outcome.and(self.set("group", Value::Text(group.to_owned())));
                }
                outcome
            }
            "pidfile" if forking && value.starts_with('/') => self.set("pid-file", text()),
            "pidfile" => Outcome::irrelevant("init knows the main process without it"),
            "supervisor" => match value {
                "supervise-daemon" => Outcome::carried("restart.policy"),
                "" | "start-stop-daemon" => Outcome::irrelevant("is so without it"),
                _ => {
                    self.block(true, format!("it leaves its program to `{value}`"));
                    Outcome::lost("init supervises it itself")
                }
            },
            "start_stop_daemon_args" | "supervise_daemon_args" if !value.is_empty() => {
                let why = "options of its starter may say as whom and how it runs";
                self.block(true, format!("{name}: {why}"));
                Outcome::lost(why)
            }
            "chroot" if !value.is_empty() => {
                self.block(
                    false,
                    "it runs in another root, and a service has that of the machine",
                );
                Outcome::lost("a service has the root of the machine")
            }
            _ => self.further_key(name, value),
        }
    }

    fn further_key(&mut self, name: &str, value: &str) -> Outcome {
        let text = || Value::Text(value.to_owned());
        match name {
            "description" if value.chars().count() <= 200 && !value.contains(char::is_control) => {
                self.set("description", text())
            }
            "directory" if value.starts_with('/') => self.set("working-dir", text()),
            "umask" => match u32::from_str_radix(value, 8) {
                Ok(mask) if mask <= 0o777 => self.set("umask", Value::Text(format!("{mask:04o}"))),
                _ => Outcome::lost("is no mask"),
            },
            "stopsig" => match super::signal(value) {
                Some(signal) => self.set("stop.signal", Value::Text(signal.to_owned())),
                None => Outcome::lost("is none of the signals that a service file can name"),
            },
            "retry" => self.retry(value),
            "respawn_delay" | "respawn_max" | "respawn_period" if !self.supervised() => {
                Outcome::irrelevant("nothing starts it again")
            }
            "respawn_delay" => match value.parse::<u32>() {
                Ok(seconds) => {
                    let delay = self.set("restart.delay", Value::Text(format!("{seconds}s")));
                    let most = Value::Text(format!("{}s", seconds.max(1)));
                    delay.and(self.set("restart.max-delay", most))
                }
                Err(_) => Outcome::lost("is no number of seconds"),
            },
            "respawn_max" | "respawn_period" => self.respawn(),
            "required_files" | "required_dirs" => {
                let paths = value.split_whitespace().filter(|it| it.starts_with('/'));
                for path in paths {
                    self.draft.add("conditions.path-exists", path);
                }
                Outcome::carried("conditions.path-exists")
                    .look("where it is missing, the service is skipped, and has not failed")
            }
            "notify" => match value.split_once(':') {
                Some(("fd", fd)) if fd.parse::<u8>().is_ok_and(|fd| fd >= 3) => {
                    let fd = fd.parse().unwrap_or(3);
                    self.set("ready.fd", Value::Number(fd))
                }
                _ => Outcome::lost("tells in no way that is known here when it is ready"),
            },
            "output_log" | "error_log" | "output_logger" | "error_logger" => {
                Outcome::lost("output goes to the log of the service")
            }
            "capabilities" | "secbits" | "no_new_privs" | "rc_ulimit" | "ulimit_opts" => {
                Outcome::lost("confines the service: here it may do all that its user may")
            }
            "extra_commands" | "extra_started_commands" | "extra_stopped_commands" => {
                Outcome::lost("a service has no commands of its own")
            }
            name if name.starts_with("rc_") || name.starts_with("healthcheck") => {
                Outcome::lost("is not known to this converter")
            }
            "name" | "procname" => Outcome::irrelevant("is for messages and for finding processes"),
            name if name.starts_with("description_") => {
                Outcome::irrelevant("describes a command that there is not")
            }
            _ => Outcome::irrelevant("is a variable: its value is where it is named"),
        }
    }

    /// `TERM/30/KILL/5`, or seconds.
    fn retry(&mut self, value: &str) -> Outcome {
        let steps: Vec<&str> = value.split('/').collect();
        let (signal, seconds) = match steps.as_slice() {
            [seconds] => (None, *seconds),
            [signal, seconds] | [signal, seconds, ..] => (Some(*signal), *seconds),
            [] => (None, ""),
        };
        let Ok(seconds) = seconds.parse::<u32>() else {
            return Outcome::lost("is no time that can be read");
        };
        let mut outcome = self.set("stop.timeout", Value::Text(format!("{seconds}s")));
        match signal.map(super::signal) {
            Some(Some(signal)) => {
                outcome = outcome.and(self.set("stop.signal", Value::Text(signal.to_owned())));
            }
            Some(None) => outcome = outcome.and(Outcome::lost("the signal cannot be named here")),
            None => {}
        }
        match steps.get(2..) {
            Some(["KILL" | "SIGKILL" | "9", ..] | []) | None => outcome,
            Some(_) => outcome.and(Outcome::lost(
                "after the first signal, what is left is killed",
            )),
        }
    }

    /// Both together say how often.
    fn respawn(&mut self) -> Outcome {
        let number = |name: &str| self.values.get(name).and_then(|it| it.parse::<i64>().ok());
        match (
            number("respawn_max").unwrap_or(10),
            number("respawn_period"),
        ) {
            (0, _) => Outcome::irrelevant("there is no limit of starts without `restart.burst`"),
            (most @ 1..=99, Some(period)) if period > 0 => {
                self.draft.set("restart.burst", Value::Number(most + 1));
                let within = Value::Text(format!("{period}s"));
                self.set("restart.burst-within", within)
                    .and(Outcome::carried("restart.burst"))
            }
            (_, Some(_)) => Outcome::lost("`restart.burst` takes 1 to 100 starts"),
            (_, None) => {
                Outcome::lost("starts are only counted within a time here: there is no limit")
            }
        }
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
        let (background, supervised) = (self.yes("command_background"), self.supervised());
        let further = match (supervised, background) {
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
        for (at, (_, statement)) in statements.into_iter().enumerate() {
            if matches!(&statement.form, Form::Inside(name) if name == "depend") {
                let outcome = self.depend_line(&statement.text, names);
                self.settle(at, outcome);
            }
        }
    }

    fn depend_line(&mut self, text: &str, names: &BTreeMap<String, String>) -> Outcome {
        // A body on one line with its function begins behind the brace.
        let text = text.rsplit('{').next().unwrap_or(text).trim();
        let text = text.trim_end_matches(['}', ';', ' ']);
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
            _ => return Outcome::lost("is no dependency that can be read without a shell"),
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
