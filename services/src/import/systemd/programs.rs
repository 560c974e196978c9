//! `Exec...=` of a service: what it runs, how it reloads, how it is stopped. Not here: a single command
//! (`command`).

use super::super::draft::Value;
use super::super::report::{Fate, Outcome};
use super::command::{self, Command};
use super::group::{Group, Kind};
use super::syntax::Assignment;

/// Signals that a program can take as the wish to reload.
const TO_RELOAD: [&str; 5] = ["HUP", "USR1", "USR2", "WINCH", "INT"];

/// Whether the line is one of those that are read here.
pub(super) fn is_program(section: &str, key: &str) -> bool {
    section == "Service"
        && key.starts_with("Exec")
        && !matches!(key, "ExecPaths" | "ExecSearchPath")
}

/// Commands of one kind, each with the line it is on.
type Commands = Vec<(usize, Command)>;

#[derive(Default)]
struct Programs {
    before: Commands,
    main: Commands,
    reload: Commands,
    stop: Commands,
}

impl Group<'_> {
    /// Reads all of them.
    pub(super) fn programs(&mut self) {
        let programs = self.collect();
        self.main(&programs.before, &programs.main);
        self.reload(&programs.reload);
        self.stop(&programs.stop);
    }

    fn settle(&mut self, line: usize, outcome: Outcome) {
        let lines = self.outcomes.first_mut();
        if let Some(known) = lines.and_then(|lines| lines.get_mut(line)) {
            *known = Some(match known.take() {
                Some(before) => before.and(outcome),
                None => outcome,
            });
        }
    }

    fn collect(&mut self) -> Programs {
        let mut programs = Programs::default();
        let mut settled = Vec::new();
        let mut blocked = Vec::new();
        let unit = self.units.first();
        let lines = unit.iter().flat_map(|unit| unit.lines.iter().enumerate());
        for (at, line) in lines {
            let known = self.outcomes.first().and_then(|outcomes| outcomes.get(at));
            let Some(it) = line.assignment().filter(|_| known == Some(&None)) else {
                continue;
            };
            if !is_program(&it.section, &it.key) {
                continue;
            }
            let Some(specifiers) = unit.map(|unit| &unit.specifiers) else {
                continue;
            };
            let list = match it.key.as_str() {
                "ExecStartPre" => &mut programs.before,
                "ExecStart" => &mut programs.main,
                "ExecReload" => &mut programs.reload,
                "ExecStop" => &mut programs.stop,
                key => {
                    settled.push((at, Outcome::lost(not_run(key))));
                    continue;
                }
            };
            match command::read(&it.value, specifiers) {
                Ok(commands) => list.extend(commands.into_iter().map(|command| (at, command))),
                Err(why) => {
                    if it.key == "ExecStart" {
                        blocked.push(format!("ExecStart= {why}"));
                    }
                    settled.push((at, Outcome::lost(why)));
                }
            }
        }
        settled
            .into_iter()
            .for_each(|(at, outcome)| self.settle(at, outcome));
        blocked.into_iter().for_each(|why| self.block(false, why));
        programs
    }

    /// What it runs.
    fn main(&mut self, before: &Commands, main: &Commands) {
        let Some(((last_at, last), others)) = main.split_last() else {
            self.block(
                false,
                "it runs nothing that can be said here: there is no ExecStart=",
            );
            for (at, _) in before {
                self.settle(
                    *at,
                    Outcome::lost("there is nothing that it could run before"),
                );
            }
            return;
        };
        if !others.is_empty() && self.kind != Kind::Oneshot {
            self.block(
                false,
                "only a oneshot runs several programs one after the other",
            );
        }
        let has_user = self.draft.has("user");
        let as_root = last.elevated && has_user;
        if as_root {
            self.start_as_root();
        }
        let mut script = Vec::new();
        let mut splits = last.splits();
        for (at, command) in before.iter().chain(others) {
            if command.elevated && has_user && !as_root {
                self.settle(*at, Outcome::lost(AS_ROOT));
                continue;
            }
            splits |= command.splits();
            script.push(format!("{} {}", command.for_shell(), after(command)));
            let mut outcome = self.in_script(command);
            if as_root && !command.elevated {
                outcome = outcome.look("it runs as root here, as the program does");
            }
            self.settle(*at, outcome);
        }
        let ends_well = last.ignored && self.kind == Kind::Oneshot;
        let alone = script.is_empty() && !ends_well;
        let mut outcome = Outcome::carried("exec");
        let words = match last.plain().filter(|_| alone) {
            Some(words) => words,
            None => {
                script.push(match ends_well {
                    true => format!("{} || true", last.for_shell()),
                    false => format!("exec {}", last.for_shell()),
                });
                if splits {
                    script.insert(0, "set -f".to_owned());
                }
                outcome = self.in_script(last);
                vec!["/bin/sh".to_owned(), "-c".to_owned(), script.join("\n")]
            }
        };
        if last.ignored && !ends_well {
            outcome = outcome.and(Outcome::lost("a bad exit status is a failure, `-` or not"));
        }
        if last.renamed && alone {
            outcome = outcome.and(renamed());
        }
        self.draft.set("exec", Value::Command(words));
        self.settle(*last_at, outcome);
    }

    /// The program starts as root and sees to its user itself; directories are made for its user.
    fn start_as_root(&mut self) {
        if self.draft.has("runtime-dirs") || self.draft.has("state-dirs") {
            let why = "its program starts as root beside User=, and its directories are the user's: \
                       here they would be root's";
            self.block(true, why);
        }
        self.draft.remove("user");
        self.draft.remove("group");
        let lines = self.units.first().map(|unit| unit.lines.iter().enumerate());
        let account = |it: &Assignment| matches!(it.key.as_str(), "User" | "Group");
        let lines = lines.into_iter().flatten();
        let lines = lines.filter(|(_, line)| line.assignment().is_some_and(account));
        let lines: Vec<usize> = lines.map(|(at, _)| at).collect();
        let outcomes = self.outcomes.first_mut();
        for (at, outcome) in outcomes.into_iter().flatten().enumerate() {
            let carried = outcome.as_ref().is_some_and(|it| it.fate == Fate::Carried);
            if carried && lines.contains(&at) {
                *outcome = Some(Outcome::lost(
                    "the program starts as root, by the prefix of ExecStart=, and a service has one \
                     user here",
                ));
            }
        }
    }

    /// What became of a command that a shell runs.
    fn in_script(&self, command: &Command) -> Outcome {
        let mut outcome = Outcome::carried("exec");
        outcome = outcome.look("/bin/sh runs it: the system needs one");
        if command.splits() {
            outcome = outcome.look(
                "quotation marks in the value of a variable stay in it; systemd takes them away",
            );
        }
        match command.renamed {
            true => outcome.and(renamed()),
            false => outcome,
        }
    }

    fn reload(&mut self, commands: &Commands) {
        let Some(((_, last), others)) = commands.split_last() else {
            return;
        };
        if !self.may_have("reload") {
            for (at, _) in commands {
                self.settle(*at, Outcome::lost("a oneshot is not reloaded here"));
            }
            return;
        }
        if let Some(signal) = last.signal_to_main() {
            self.reload_by_signal(commands, &signal);
            return;
        }
        let foreign = commands
            .iter()
            .any(|(_, command)| command.mentions("MAINPID"));
        let elevated = commands.iter().any(|(_, it)| it.elevated) && self.draft.has("user");
        if foreign || elevated {
            let why = match foreign {
                true => "a reload command is not told the number of the main process",
                false => "a reload command runs as the user of the service",
            };
            for (at, _) in commands {
                self.settle(
                    *at,
                    Outcome::lost(format!("{why}: the service cannot be reloaded")),
                );
            }
            return;
        }
        let words = match last.plain().filter(|_| others.is_empty()) {
            Some(words) => words,
            None => {
                let splits = commands.iter().any(|(_, command)| command.splits());
                let head = splits.then(|| "set -f".to_owned());
                let lines = commands.iter();
                let lines = lines.map(|(_, it)| format!("{} {}", it.for_shell(), after(it)));
                let script: Vec<String> = head.into_iter().chain(lines).collect();
                vec!["/bin/sh".to_owned(), "-c".to_owned(), script.join("\n")]
            }
        };
        self.draft.set("reload", Value::Command(words));
        for (at, command) in commands {
            let mut outcome = Outcome::carried("reload");
            if command.plain().is_none() || !others.is_empty() {
                outcome = outcome.look("/bin/sh runs it: the system needs one");
            }
            self.settle(*at, outcome);
        }
    }

    fn reload_by_signal(&mut self, commands: &Commands, signal: &str) {
        let known = super::super::signal(signal).filter(|it| TO_RELOAD.contains(it));
        let Some(((at, _), others)) = commands.split_last() else {
            return;
        };
        let outcome = match known {
            Some(signal) => self.put("reload", Value::Text(signal.to_owned())),
            None => Outcome::lost(format!("{signal} is no signal that asks for a reload here")),
        };
        self.settle(*at, outcome);
        for (at, _) in others {
            let why =
                "a reload is one signal or one command: the signal is sent without this first";
            self.settle(*at, Outcome::lost(why));
        }
    }

    fn stop(&mut self, commands: &Commands) {
        let signal = match commands.as_slice() {
            [(_, command)] => command.signal_to_main(),
            _ => None,
        };
        let signal = signal.as_deref().and_then(super::super::signal);
        for (at, _) in commands {
            let outcome = match (signal, self.kind) {
                (Some(signal), Kind::Simple | Kind::Notify | Kind::Forking) => {
                    self.put("stop.signal", Value::Text(signal.to_owned()))
                }
                (_, Kind::Oneshot) => Outcome::lost(
                    "no command is run at a stop: what the oneshot has done stays done",
                ),
                (_, Kind::Simple | Kind::Notify | Kind::Forking | Kind::Target) => Outcome::lost(
                    "no command is run at a stop: the main process gets a signal (stop.signal), and \
                     what is left after stop.timeout is killed",
                ),
            };
            self.settle(*at, outcome);
        }
    }
}

fn renamed() -> Outcome {
    Outcome::lost("the program is not told another name of itself (`@`)")
}

const AS_ROOT: &str =
    "runs as root beside User=, and is not run: all of a service runs as one user here";

/// What follows a command that is not the last.
const fn after(command: &Command) -> &'static str {
    match command.ignored {
        true => "|| true",
        false => "|| exit",
    }
}

fn not_run(key: &str) -> String {
    match key {
        "ExecStartPost" => {
            "nothing is run when a service is up: a oneshot of its own with `binds-to` \
                            this one can be"
                .to_owned()
        }
        "ExecStopPost" => "nothing is run when a service has ended".to_owned(),
        "ExecCondition" => {
            "no command decides whether a service starts: it starts whatever this would say"
                .to_owned()
        }
        _ => "is not known to this converter".to_owned(),
    }
}
