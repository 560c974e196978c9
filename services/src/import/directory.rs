//! Service directories of runit, s6 and daemontools, and source definitions of s6-rc, into service
//! files. Not here: finding them on a disk (`sharkctl import`), and what their scripts do: a `run` stays
//! where it is and is executed as it is.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::draft::{Draft, Value};
use super::report::{Entry, Implied, Import, Made, Outcome, Refused};
use super::{Options, problems, take_unfit};
use crate::id::ServiceName;
use crate::time::Duration;
use crate::units::duration_text;

/// A service directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// Name of the service.
    pub name: String,
    /// Where it is on the machine, as an absolute path.
    pub path: String,
    /// As it is named to people.
    pub shown: String,
    /// What is in it, by the path below it.
    pub files: BTreeMap<String, Content>,
}

/// A file of a service directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Its text; `None`: it is none, or too long for one.
    pub text: Option<String>,
    /// Whether it can be executed.
    pub executable: bool,
}

/// Programs that come with such a supervisor, and are needed where a script names them.
const PROGRAMS: &[&str] = &[
    "chpst",
    "envdir",
    "envuidgid",
    "execlineb",
    "fghack",
    "fdmove",
    "multilog",
    "pgrphack",
    "setlock",
    "setuidgid",
    "softlimit",
    "sv",
    "svlogd",
    "invoke-run",
];

/// Names in files that bring services of the set, or are there already.
struct Names<'o> {
    made: Vec<String>,
    options: &'o Options,
}

/// Makes service files of `directories`.
#[must_use]
pub fn convert(directories: &[Directory], options: &Options) -> Import {
    let mut import = Import::default();
    let blocked: Vec<Vec<String>> = directories.iter().map(blockers).collect();
    let fine = directories
        .iter()
        .zip(&blocked)
        .filter(|(_, why)| why.is_empty());
    let names = Names {
        made: fine.map(|(directory, _)| directory.name.clone()).collect(),
        options,
    };
    for (directory, why) in directories.iter().zip(blocked) {
        let service = Service::new(directory, &names);
        if why.is_empty() {
            service.make(&mut import);
            continue;
        }
        for (file, content) in &directory.files {
            let why = "no service file is made of its directory";
            import
                .entries
                .push(entry(directory, file, content, Outcome::lost(why)));
        }
        import.refused.push(Refused {
            unit: directory.name.clone(),
            why,
            forceable: false,
        });
    }
    import.problems = problems(&import.made, options);
    import
}

/// Why no service file can be made.
fn blockers(directory: &Directory) -> Vec<String> {
    let mut why = Vec::new();
    match ServiceName::new(&directory.name) {
        Err(error) => why.push(error.to_string()),
        Ok(_) => why.extend(unfit_place(directory)),
    }
    match (kind(directory), directory.files.get("run")) {
        (Some("bundle"), _) => {}
        (Some("longrun") | None, Some(run)) if run.executable => {}
        (Some("longrun") | None, Some(_)) => why.push("its `run` is not executable".to_owned()),
        (Some("longrun") | None, None) => why.push("it has no `run`".to_owned()),
        (Some("oneshot"), _) => why.push(
            "a oneshot of s6-rc is a command line of execline in a file that is no program"
                .to_owned(),
        ),
        (Some(kind), _) => why.push(format!("there is no `{kind}` among the types of s6-rc")),
    }
    why
}

/// What is wrong with a service whose `run` lies there.
fn unfit_place(directory: &Directory) -> Vec<String> {
    let mut draft = Draft::default();
    let run = format!("{}/run", directory.path);
    draft.set("exec", Value::Command(vec![run]));
    draft.set("working-dir", Value::Text(directory.path.clone()));
    let unfit = take_unfit(&directory.name, &mut draft);
    unfit.into_iter().map(|(_, why)| why).collect()
}

/// The type of a definition of s6-rc.
fn kind(directory: &Directory) -> Option<&str> {
    let text = directory.files.get("type")?.text.as_deref()?;
    Some(text.trim())
}

struct Service<'d> {
    directory: &'d Directory,
    names: &'d Names<'d>,
    draft: Draft,
}

impl<'d> Service<'d> {
    fn new(directory: &'d Directory, names: &'d Names<'d>) -> Self {
        Self {
            directory,
            names,
            draft: Draft::default(),
        }
    }

    fn make(mut self, import: &mut Import) {
        let directory = self.directory;
        let is_bundle = kind(directory) == Some("bundle");
        if is_bundle {
            self.draft.set("type", Value::Text("target".to_owned()));
        }
        for (file, content) in &directory.files {
            let outcome = self.file(file, content);
            import
                .entries
                .push(entry(directory, file, content, outcome));
        }
        if !is_bundle {
            let mut imply = |key: &str, value: Value, why: &str| {
                self.draft.set(key, value);
                import.implied.push(Implied {
                    service: directory.name.clone(),
                    key: key.to_owned(),
                    why: why.to_owned(),
                });
            };
            let text = |text: &str| Value::Text(text.to_owned());
            imply(
                "working-dir",
                text(&directory.path),
                "`run` starts in its directory",
            );
            imply(
                "restart.policy",
                text("always"),
                "its supervisor starts it again whatever the end",
            );
            imply("restart.delay", text("1s"), "its supervisor waits a second");
            imply(
                "restart.max-delay",
                text("1s"),
                "its supervisor's pauses do not grow",
            );
        }
        import.made.push(Made {
            service: directory.name.clone(),
            text: self
                .draft
                .text(&[format!("Imported from {}", directory.shown)]),
        });
    }

    fn file(&mut self, file: &str, content: &Content) -> Outcome {
        let text = content.text.as_deref().map_or("", str::trim);
        let path = format!("{}/{file}", self.directory.path);
        match file {
            "run" => {
                self.draft.set("exec", Value::Command(vec![path]));
                needs(Outcome::carried("exec"), content)
            }
            "check" => {
                self.draft.set("ready.exec", Value::Command(vec![path]));
                let outcome = Outcome::carried("ready.exec");
                needs(outcome, content).look("those that require it wait until `check` is content")
            }
            "finish" => Outcome::lost("nothing is run when a service has ended"),
            "down" => {
                self.draft.set("wanted-by", Value::Texts(Vec::new()));
                Outcome::carried("wanted-by")
            }
            "notification-fd" => match text.parse::<i64>() {
                Ok(fd @ 3..=255) => self.set("ready.fd", Value::Number(fd)),
                _ => Outcome::lost("`ready.fd` takes 3 to 255"),
            },
            "timeout-kill" => match text.parse::<u64>() {
                Ok(0) => Outcome::lost("what is left after stop.timeout is killed"),
                Ok(millis) => {
                    let time = duration_text(Duration::from_millis(millis));
                    self.set("stop.timeout", Value::Text(time))
                }
                Err(_) => Outcome::lost("is no number of milliseconds"),
            },
            "down-signal" => match super::signal(text) {
                Some(signal) => self.set("stop.signal", Value::Text(signal.to_owned())),
                None => Outcome::lost("is none of the signals that a service file can name"),
            },
            "type" => match text {
                "bundle" => Outcome::carried("type"),
                _ => Outcome::irrelevant("is so without the key"),
            },
            "dependencies" | "contents" => self.relate_all(text.lines()),
            "timeout-finish" => Outcome::irrelevant("no `finish` is run"),
            "max-death-tally" => Outcome::irrelevant("is for programs that `run` or `finish` name"),
            "timeout-up" | "timeout-down" => Outcome::lost(
                "no time-out of s6-rc is carried over: see start-timeout, stop.timeout",
            ),
            _ => self.by_folder(file),
        }
    }

    /// A file below a folder, or one that is not known.
    fn by_folder(&mut self, file: &str) -> Outcome {
        let (folder, rest) = file.split_once('/').unwrap_or((file, ""));
        match folder {
            "log" | "producer-for" | "consumer-for" | "pipeline-name" => {
                Outcome::lost("what it writes goes to its log, and to no logger of its own")
            }
            "control" => {
                Outcome::lost("no program stands in for a signal here: see stop.signal, reload")
            }
            "dependencies.d" | "contents.d" => self.relate(rest),
            "env" | "conf" | "data" | "root" => {
                Outcome::irrelevant("`run` reads it itself, where it lies")
            }
            "supervise" | "event" | ".meta" => Outcome::irrelevant("is the supervisor's own"),
            "flag-essential" => Outcome::irrelevant("a stop by hand is no mistake here"),
            _ => Outcome::lost("is not known to this converter; `run` may read it where it lies"),
        }
    }

    fn set(&mut self, key: &str, value: Value) -> Outcome {
        self.draft.set(key, value);
        Outcome::carried(key)
    }

    fn relate_all<'n>(&mut self, names: impl Iterator<Item = &'n str>) -> Outcome {
        let names = names
            .map(str::trim)
            .filter(|it| !it.is_empty() && !it.starts_with('#'));
        let parts: Vec<Outcome> = names.map(|name| self.relate(name)).collect();
        Outcome::all(parts).unwrap_or_else(|| Outcome::irrelevant("names nothing"))
    }

    fn relate(&mut self, name: &str) -> Outcome {
        let mapped = self
            .names
            .options
            .map
            .get(name)
            .map_or(name, String::as_str);
        if mapped == self.directory.name {
            return Outcome::irrelevant("is this service");
        }
        let is_there = self.names.made.iter().any(|made| made == mapped);
        if !is_there && !self.names.options.known.contains(mapped) {
            return Outcome::lost(format!(
                "`{name}` is not imported with it, and there is no such service"
            ));
        }
        self.draft.add("requires", mapped);
        Outcome::carried("requires")
    }
}

/// What a script needs that the system may not have.
fn needs(mut outcome: Outcome, content: &Content) -> Outcome {
    let Some(text) = &content.text else {
        return outcome;
    };
    let interpreter = text.lines().next().and_then(|line| line.strip_prefix("#!"));
    if let Some(line) = interpreter.map(str::trim)
        && !matches!(line, "/bin/sh" | "/bin/sh -e")
    {
        outcome = outcome.look(format!("it needs `{line}`"));
    }
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    let words =
        lines.flat_map(|line| line.split(|c: char| c.is_whitespace() || ";&|()`".contains(c)));
    let mut found: Vec<&str> = words
        .map(|word| word.rsplit('/').next().unwrap_or(word))
        .filter(|word| PROGRAMS.contains(word) || word.starts_with("s6-"))
        .collect();
    found.sort_unstable();
    found.dedup();
    found.into_iter().fold(outcome, |outcome, program| {
        outcome.look(match program {
            "sv" => "it speaks to runit by `sv`, and no runit answers: name in `requires` what it waits \
                     for"
                .to_owned(),
            _ => format!("it needs `{program}`"),
        })
    })
}

fn entry(directory: &Directory, file: &str, content: &Content, outcome: Outcome) -> Entry {
    let text = content.text.as_deref().unwrap_or("");
    let lines = text.lines().count().max(1);
    // A value in a file of its own is a line; a script is carried over whole.
    let text = match lines {
        1 if !content.executable && !text.trim().is_empty() => format!("{file}: {}", text.trim()),
        _ => file.to_owned(),
    };
    Entry {
        unit: directory.name.clone(),
        file: format!("{}/{file}", directory.shown),
        line: 1,
        last: u32::try_from(lines).unwrap_or(u32::MAX),
        text,
        outcome,
    }
}
