//! Variables that OpenRC reads into keys of a service file. Not here: options that are handed to its
//! starters in one of them (`starter`).

use super::super::draft::Value;
use super::super::report::Outcome;
use super::Service;

impl Service<'_> {
    /// A variable that OpenRC reads.
    pub(super) fn key(&mut self, name: &str, value: &str) -> Outcome {
        let text = || Value::Text(value.to_owned());
        let forking = !self.supervised() && !self.background();
        match name {
            "command" | "command_args" => Outcome::carried("exec"),
            "command_args_foreground" if self.supervised() => Outcome::carried("exec"),
            "command_args_background" if !self.supervised() && !self.yes("command_background") => {
                Outcome::carried("exec")
            }
            "command_args_foreground" | "command_args_background" => {
                Outcome::irrelevant("is for another way to start it")
            }
            "command_background" => Outcome::carried("type"),
            "command_user" => self.run_as(name, value),
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
            "start_stop_daemon_args" | "supervise_daemon_args" => self.starter_options(name),
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
            "directory" => Outcome::lost("is no absolute path: it starts in `/`"),
            "input_file" => Outcome::lost("input is empty here"),
            "start_inactive" => Outcome::lost("a service that has started is up here"),
            "respawn_delay_step" | "respawn_delay_cap" => {
                Outcome::lost("pauses are as restart.delay and restart.max-delay say")
            }
            "umask" => match u32::from_str_radix(value, 8) {
                Ok(mask) if mask <= 0o777 => self.set("umask", Value::Text(format!("{mask:04o}"))),
                _ => Outcome::lost("is no mask"),
            },
            "stopsig" => match super::super::signal(value) {
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
            "rc_ulimit" => self.limits(value),
            "capabilities" | "secbits" | "no_new_privs" | "ulimit_opts" => {
                Outcome::lost("confines the service: here it may do all that its user may")
            }
            "extra_started_commands" if value == "reload" && self.draft.has("reload") => {
                Outcome::carried("reload")
            }
            "opts" | "extra_commands" | "extra_started_commands" | "extra_stopped_commands" => {
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

    /// An account, and a group behind a colon.
    pub(super) fn run_as(&mut self, name: &str, value: &str) -> Outcome {
        let (user, group) = value.split_once(':').unwrap_or((value, ""));
        if user.is_empty() || user.chars().all(|c| c.is_ascii_digit()) {
            self.block(
                false,
                format!("{name} names no account: it would run as root"),
            );
            return Outcome::lost("accounts are named here, not numbered");
        }
        let user = self.set("user", Value::Text(user.to_owned()));
        match group.is_empty() {
            true => user,
            false => user.and(self.set("group", Value::Text(group.to_owned()))),
        }
    }

    /// `-n 1024 -c unlimited`, as of a shell's ulimit.
    fn limits(&mut self, value: &str) -> Outcome {
        let mut words = value.split_whitespace();
        let mut outcomes = Vec::new();
        while let Some(option) = words.next() {
            let (key, unit) = match option {
                "-c" => ("limits.core", None),
                "-l" => ("limits.memlock", Some("K")),
                "-n" => ("limits.nofile", Some("")),
                "-s" => ("limits.stack", Some("K")),
                "-u" => ("limits.nproc", Some("")),
                _ => {
                    outcomes.push(Outcome::lost(format!("`{option}` is no limit here")));
                    break;
                }
            };
            let number = |text: &str| text.parse::<u32>().ok().filter(|it| *it > 0);
            let limit = match (words.next(), unit) {
                (Some("unlimited"), _) => Some(Value::Text("unlimited".to_owned())),
                (Some(text), Some("")) => number(text).map(|it| Value::Number(it.into())),
                (Some(text), Some(unit)) => {
                    number(text).map(|it| Value::Text(format!("{it}{unit}")))
                }
                // Shells count that one in units of their own.
                (Some(_), None) | (None, _) => None,
            };
            outcomes.push(match limit {
                Some(limit) => self.set(key, limit),
                None => Outcome::lost(format!("what `{option}` says is no limit that can be read")),
            });
        }
        Outcome::all(outcomes).unwrap_or_else(|| Outcome::irrelevant("limits nothing"))
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
        match signal.map(super::super::signal) {
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
}
