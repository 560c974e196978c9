//! Keys of `[Service]` that say in which surroundings a program runs: systemd.exec(5) and
//! systemd.resource-control(5). Not here: those that are lost or of no consequence for the same reason
//! whatever they say (`reasons`).

use super::super::draft::Value;
use super::super::report::Outcome;
use super::super::shell;
use super::group::Group;
use super::set::Parsed;
use super::syntax::Assignment;
use super::values::{boolean, bytes, span};
use super::words;
use crate::log::limit::BURST_MOST;

impl Group<'_> {
    /// Keys of systemd.exec(5) and systemd.resource-control(5).
    pub(super) fn exec_key(&mut self, unit: &Parsed<'_>, it: &Assignment) -> Option<Outcome> {
        let value = it.value.as_str();
        let text = match unit.specifiers.expand(value) {
            Ok(text) => text,
            Err(why) => return Some(self.unspoken(&it.key, why)),
        };
        Some(match it.key.as_str() {
            "User" | "Group" => self.account(&it.key, &text),
            "RootDirectory" | "RootImage" if text != "/" => {
                let why =
                    "a service has the root of the machine here, and would run in another one";
                self.block(false, format!("{}=: {why}", it.key));
                Outcome::lost(why)
            }
            "RootDirectory" => Outcome::irrelevant("is so here"),
            "DynamicUser" => self.dynamic_user(unit, value),
            "WorkingDirectory" => self.working_dir(&text),
            "Environment" => self.environment(unit, value),
            "EnvironmentFile" => self.env_file(&text),
            "UnsetEnvironment" => {
                let sets = ["Environment", "EnvironmentFile"];
                match sets.iter().any(|key| unit.last("Service", key).is_some()) {
                    true => Outcome::lost("what `env` and `env-files` set stays set"),
                    false => Outcome::irrelevant(
                        "a service gets no variables of init's that it could lose",
                    ),
                }
            }
            "UMask" => match u32::from_str_radix(value, 8) {
                Ok(mask) if mask <= 0o777 => self.put("umask", Value::Text(format!("{mask:04o}"))),
                _ => Outcome::lost("is no mask"),
            },
            "Nice" => self.number("nice", value, -20, 19),
            "OOMScoreAdjust" => self.number("oom-score-adj", value, -1000, 1000),
            "RuntimeDirectory" => self.directories(unit, "runtime-dirs", value),
            "StateDirectory" => self.directories(unit, "state-dirs", value),
            "RuntimeDirectoryMode" | "StateDirectoryMode" => match value.trim_start_matches('0') {
                "755" => Outcome::irrelevant("is the mode that init gives"),
                _ => Outcome::lost("init gives its directories the mode 0755"),
            },
            "StandardInput" | "StandardOutput" | "StandardError" => self.stream(&it.key, value),
            "LogRateLimitBurst" | "LogRateLimitIntervalSec" => self.log_limit(unit, &it.key, value),
            "TTYPath" => self.put("tty", Value::Text(text)),
            "MemoryMin" => self.bytes("cgroup.memory-min", value),
            "MemoryHigh" => self.bytes("cgroup.memory-high", value),
            "MemoryMax" | "MemoryLimit" => self.bytes("cgroup.memory-max", value),
            "TasksMax" if value == "infinity" => Outcome::irrelevant(NO_LIMIT),
            "TasksMax" => self.number("cgroup.pids-max", value, 1, 4_194_304),
            "CPUWeight" => self.number("cgroup.cpu-weight", value, 1, 10_000),
            "CPUQuota" => match value.strip_suffix('%').map(str::parse::<u32>) {
                Some(Ok(1..=100_000)) => self.put("cgroup.cpu-max", Value::Text(value.to_owned())),
                _ => Outcome::lost("is no whole percentage"),
            },
            "AllowedCPUs" | "CPUAffinity" => self.processors(&it.key, value),
            "Delegate" => self.delegate(value),
            "LoadCredential" => self.credential(&text, "file"),
            "SetCredential" => self.credential(&text, "text"),
            key if key.starts_with("Limit") => return self.limit(key, value),
            _ => return None,
        })
    }

    /// A value that cannot be said, of a key without which the service would be another one.
    fn unspoken(&mut self, key: &str, why: String) -> Outcome {
        if matches!(key, "User" | "Group" | "RootDirectory") {
            self.block(false, format!("{key}= {why}"));
        }
        Outcome::lost(why)
    }

    fn bytes(&mut self, key: &str, value: &str) -> Outcome {
        match bytes(value) {
            Some(None) => Outcome::irrelevant(NO_LIMIT),
            Some(Some(amount)) => match i64::try_from(amount) {
                Ok(_) => self.put(key, Value::Text(amount_text(amount))),
                Err(_) => Outcome::irrelevant(NO_LIMIT),
            },
            None => {
                Outcome::lost("is no amount in bytes: a share of the machine cannot be said here")
            }
        }
    }

    /// Lines of a service that are kept: a time of 0 switches the limit off, whatever the number is.
    fn log_limit(&mut self, unit: &Parsed<'_>, key: &str, value: &str) -> Outcome {
        let time = unit.last("Service", "LogRateLimitIntervalSec");
        let off = time.and_then(span).flatten().is_some_and(|it| it.is_zero());
        match (key, off) {
            ("LogRateLimitBurst", true) => {
                Outcome::irrelevant("LogRateLimitIntervalSec= switches the limit off")
            }
            ("LogRateLimitBurst", false) => self.number("log.burst", value, 0, BURST_MOST.into()),
            (_, true) => self.put("log.burst", Value::Number(0)),
            (_, false) => self.time("log.burst-within", value),
        }
    }

    fn account(&mut self, key: &str, value: &str) -> Outcome {
        let numeric = value.chars().all(|c| c.is_ascii_digit());
        match (numeric, value) {
            (true, "0") if key == "User" => self.put("user", Value::Text("root".to_owned())),
            (true, _) => {
                self.block(
                    false,
                    format!("{key}={value} is a number, and accounts are named here"),
                );
                Outcome::lost("accounts are named here, not numbered")
            }
            (false, _) => match key {
                "User" => self.put("user", Value::Text(value.to_owned())),
                _ => self.put("group", Value::Text(value.to_owned())),
            },
        }
    }

    fn dynamic_user(&mut self, unit: &Parsed<'_>, value: &str) -> Outcome {
        if boolean(value) != Some(true) {
            return Outcome::irrelevant("is so here");
        }
        let why = "no account is made for a run: the service needs one that is there, and would run \
                   as root without";
        if unit.last("Service", "User").is_none() {
            self.block(true, format!("DynamicUser=: {why}"));
        }
        Outcome::lost(why)
    }

    fn working_dir(&mut self, value: &str) -> Outcome {
        let (optional, path) = match value.strip_prefix('-') {
            Some(path) => (true, path),
            None => (false, value),
        };
        if !path.starts_with('/') {
            return Outcome::lost("is no absolute path: it starts in `/`");
        }
        let outcome = self.put("working-dir", Value::Text(path.to_owned()));
        match optional {
            true => outcome.look("where the directory is missing, the start fails"),
            false => outcome,
        }
    }

    fn environment(&mut self, unit: &Parsed<'_>, value: &str) -> Outcome {
        let words = match words::split(value) {
            Ok(words) => words,
            Err(why) => return Outcome::lost(why),
        };
        let parts = words.iter().map(|word| {
            let (name, text) = word.split_once('=').unwrap_or((word, ""));
            if !shell::is_variable(name) || !word.contains('=') {
                return Outcome::lost(format!("`{word}` is no variable, and systemd ignores it"));
            }
            match unit.specifiers.expand(text) {
                Ok(text) if text.contains('\0') => Outcome::lost("holds a NUL character"),
                Ok(text) => {
                    self.draft.set(&format!("env.{name}"), Value::Text(text));
                    Outcome::carried(&format!("env.{name}"))
                }
                Err(why) => Outcome::lost(format!("`{name}` {why}")),
            }
        });
        let parts: Vec<Outcome> = parts.collect();
        Outcome::all(parts).unwrap_or_else(|| Outcome::irrelevant("names nothing"))
    }

    fn env_file(&mut self, value: &str) -> Outcome {
        let path = value.strip_prefix('-').unwrap_or(value);
        if !path.starts_with('/') {
            return Outcome::lost("is no absolute path");
        }
        if path.contains(['*', '?', '[']) {
            return Outcome::lost("is a pattern, and files are named here");
        }
        self.draft.add("env-files", value);
        Outcome::carried("env-files")
    }

    fn directories(&mut self, unit: &Parsed<'_>, key: &str, value: &str) -> Outcome {
        let names = match self.words(unit, value) {
            Ok(names) => names,
            Err(why) => return Outcome::lost(why),
        };
        let (variable, base) = match key {
            "runtime-dirs" => ("RUNTIME_DIRECTORY", "/run"),
            _ => ("STATE_DIRECTORY", "/var/lib"),
        };
        let mut paths = Vec::new();
        let mut parts = Vec::new();
        for name in names {
            let name = name.trim_end_matches('/');
            if name.is_empty() || name.contains(['/', ':']) || name == "." || name == ".." {
                parts.push(Outcome::lost(format!(
                    "`{name}` is more than the name of a directory: something has to make it in {base}"
                )));
            } else if name == "shark" {
                parts.push(Outcome::lost("`shark` belongs to init"));
            } else {
                self.draft.add(key, name);
                paths.push(format!("{base}/{name}"));
                parts.push(Outcome::carried(key));
            }
        }
        if !paths.is_empty() {
            let why = "systemd tells the service by it where its directories are";
            self.imply(
                &format!("env.{variable}"),
                Value::Text(paths.join(":")),
                why,
            );
        }
        Outcome::all(parts).unwrap_or_else(|| Outcome::irrelevant("names nothing"))
    }

    fn stream(&mut self, key: &str, value: &str) -> Outcome {
        let (kind, _) = value.split_once(':').unwrap_or((value, ""));
        match (key, kind) {
            ("StandardInput", "null") => Outcome::irrelevant("input is empty here"),
            ("StandardInput", "socket") => {
                let why = "StandardInput=socket: no connection is handed over as input here";
                self.block(false, why);
                Outcome::lost(why)
            }
            (_, "tty" | "tty-force" | "tty-fail") => {
                let why = "a terminal is all three streams here";
                self.imply(
                    "tty",
                    Value::Text("/dev/console".to_owned()),
                    "systemd's default for TTYPath=",
                );
                Outcome::carried("tty").look(why)
            }
            ("StandardInput", _) => Outcome::lost("input is empty here"),
            (_, "journal" | "syslog" | "inherit") => {
                Outcome::irrelevant("output goes to the log of the service")
            }
            (_, kind) if kind.ends_with("+console") => {
                Outcome::lost("output goes to the log of the service, and not to the console too")
            }
            _ => Outcome::lost("output goes to the log of the service"),
        }
    }

    fn processors(&mut self, key: &str, value: &str) -> Outcome {
        let list = value.split([' ', ',']).filter(|it| !it.is_empty());
        let list = list.collect::<Vec<_>>().join(",");
        match crate::cpus::CpuList::parse(&list) {
            Ok(_) => {
                let outcome = self.put("cgroup.cpus", Value::Text(list));
                match key {
                    "CPUAffinity" => outcome.look("the service cannot leave them by itself"),
                    _ => outcome,
                }
            }
            Err(_) => Outcome::lost("is no list of processors"),
        }
    }

    fn delegate(&mut self, value: &str) -> Outcome {
        match boolean(value) {
            Some(false) => Outcome::irrelevant("is so without the key"),
            Some(true) => self.put("cgroup.delegate", Value::Flag(true)),
            None => self
                .put("cgroup.delegate", Value::Flag(true))
                .look("all controllers that init has are passed down, not these alone"),
        }
    }

    fn credential(&mut self, value: &str, kind: &str) -> Outcome {
        let Some((name, content)) = value.split_once(':') else {
            return Outcome::lost("names no content");
        };
        if kind == "file" && !content.starts_with('/') {
            return Outcome::lost("is handed on from a manager, and not a file");
        }
        let pair = Value::Pair(kind.to_owned(), content.to_owned());
        self.put(&format!("credentials.{name}"), pair)
    }

    fn limit(&mut self, key: &str, value: &str) -> Option<Outcome> {
        let (ours, is_bytes) = match key {
            "LimitCORE" => ("limits.core", true),
            "LimitMEMLOCK" => ("limits.memlock", true),
            "LimitSTACK" => ("limits.stack", true),
            "LimitNOFILE" => ("limits.nofile", false),
            "LimitNPROC" => ("limits.nproc", false),
            _ => {
                return Some(Outcome::lost(
                    "init sets no such limit: the one it has itself counts",
                ));
            }
        };
        let (soft, hard) = value.split_once(':').unwrap_or((value, value));
        let limit = match (hard, is_bytes) {
            ("infinity", _) => Some(Value::Text("unlimited".to_owned())),
            (text, true) => bytes(text).flatten().map(|it| Value::Text(amount_text(it))),
            (text, false) => text.parse::<u32>().ok().map(|it| Value::Number(it.into())),
        };
        let Some(limit) = limit else {
            return Some(Outcome::lost("is no limit that can be said here"));
        };
        let outcome = self.put(ours, limit);
        Some(match soft == hard {
            true => outcome,
            false => outcome.look("soft and hard limit are the same here: the hard one was taken"),
        })
    }
}

const NO_LIMIT: &str = "there is no limit without the key";

/// An amount with the largest unit that leaves a whole number.
fn amount_text(bytes: u64) -> String {
    let units = [
        ("T", 1 << 40),
        ("G", 1 << 30),
        ("M", 1 << 20),
        ("K", 1_u64 << 10),
    ];
    let fits = units
        .iter()
        .find(|(_, unit)| bytes > 0 && bytes.is_multiple_of(*unit));
    match fits {
        Some((name, unit)) => format!("{}{name}", bytes / unit),
        None => bytes.to_string(),
    }
}
