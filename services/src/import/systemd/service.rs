//! Keys of `[Service]` that say what a service is and how it starts, ends and restarts. Not here: its
//! commands (`programs`), its surroundings (`exec`), and keys that are lost or of no consequence for
//! the same reason whatever they say (`reasons`).

use super::super::draft::Value;
use super::super::report::Outcome;
use super::super::signal;
use super::group::{Group, Kind};
use super::set::Parsed;
use super::syntax::Assignment;
use super::values::{boolean, exit_status, span};
use crate::units::duration_text;

impl Group<'_> {
    /// What kind of service the first unit is.
    pub(super) fn read_kind(&mut self) {
        let Some(unit) = self.units.first() else {
            return;
        };
        if unit.suffix == super::set::Suffix::Target {
            self.kind = Kind::Target;
            self.draft.set("type", Value::Text("target".to_owned()));
            return;
        }
        let written = unit.last("Service", "Type");
        let on_bus = unit.last("Service", "BusName").is_some();
        let has_start = unit.last("Service", "ExecStart").is_some();
        let (kind, word) = match written {
            Some("notify" | "notify-reload") => (Kind::Notify, "notify"),
            Some("oneshot") => (Kind::Oneshot, "oneshot"),
            Some("forking") => (Kind::Forking, "forking"),
            None if !on_bus && !has_start => (Kind::Oneshot, "oneshot"),
            Some(_) | None => (Kind::Simple, "simple"),
        };
        let known = [
            "simple",
            "exec",
            "idle",
            "notify",
            "notify-reload",
            "oneshot",
            "forking",
        ];
        let problem = match written {
            Some("dbus") => Some(BUS.to_owned()),
            None if on_bus => Some(BUS.to_owned()),
            Some(other) if !known.contains(&other) => {
                Some(format!("Type={other} is not known here"))
            }
            _ => None,
        };
        self.kind = kind;
        if let Some(why) = problem {
            self.block(true, why);
        }
        if kind != Kind::Simple {
            self.draft.set("type", Value::Text(word.to_owned()));
        }
    }

    pub(super) fn service_key(&mut self, unit: &Parsed<'_>, it: &Assignment) -> Option<Outcome> {
        let value = it.value.as_str();
        let text = unit.specifiers.expand(value);
        Some(match it.key.as_str() {
            "Type" => self.type_key(value),
            "RemainAfterExit" => self.remain(value),
            "BusName" => match self.blockers.iter().any(|it| it.why == BUS) {
                true => Outcome::lost(BUS),
                false => Outcome::irrelevant("the service says in another way when it is ready"),
            },
            "PIDFile" => match text {
                Err(why) => Outcome::lost(why),
                Ok(_) if self.kind != Kind::Forking => {
                    Outcome::irrelevant("init knows the main process without it")
                }
                Ok(path) => self.put("pid-file", Value::Text(in_run(&path))),
            },
            "Restart" => self.restart(value),
            "RestartSec" => self.restart_delay(value),
            "StartLimitBurst" | "StartLimitInterval" | "StartLimitIntervalSec" => {
                self.start_limit(&it.key, value)
            }
            "FailureAction" => self.failure_action(value),
            "TimeoutStartSec" => self.start_timeout(value),
            "TimeoutStopSec" => self.time("stop.timeout", value),
            "TimeoutSec" => self
                .start_timeout(value)
                .and(self.time("stop.timeout", value)),
            "WatchdogSec" => self.time("watchdog.timeout", value),
            "WatchdogSignal" => self.signal("watchdog.signal", value),
            "KillSignal" => self.signal("stop.signal", value),
            "KillMode" => self.kill_mode(value),
            "SuccessExitStatus" => self.success(value),
            "FileDescriptorStoreMax" => self.number("fd-store.max", value, 0, 64),
            "NotifyAccess" => match value {
                "all" | "main" | "exec" => {
                    Outcome::irrelevant("every process of the service may speak for it here")
                }
                _ => Outcome::irrelevant("only a notify service is listened to"),
            },
            "Sockets" => match self.has_sockets() {
                true => Outcome::irrelevant("sockets of its name are a part of it"),
                false => Outcome::lost("only sockets that name the service are a part of it"),
            },
            "GuessMainPID" => {
                Outcome::irrelevant("a forking service without a pid file is watched")
            }
            _ => return self.exec_key(unit, it),
        })
    }

    fn type_key(&mut self, value: &str) -> Outcome {
        let carried = || Outcome::carried("type");
        match value {
            "simple" | "notify" | "forking" => carried(),
            "oneshot" => carried(),
            "exec" => carried().look("simple is up when the program has been executed"),
            "idle" => carried().look("it does not wait for the others to be done"),
            "notify-reload" => {
                self.put("reload", Value::Text("HUP".to_owned()));
                Outcome::carried("type").and(Outcome::carried("reload"))
            }
            "dbus" => Outcome::lost(BUS),
            _ => Outcome::lost("is not known here"),
        }
    }

    fn remain(&mut self, value: &str) -> Outcome {
        match (boolean(value), self.kind) {
            (Some(true), Kind::Oneshot) => Outcome::carried("type"),
            (Some(true), _) => Outcome::lost("a service whose program has ended is down here"),
            (Some(false), Kind::Oneshot) => Outcome::lost(
                "a oneshot that has ended well stays up: `sharkctl restart` runs it again",
            ),
            (Some(false), _) => Outcome::irrelevant("is so here"),
            (None, _) => Outcome::lost("is neither yes nor no"),
        }
    }

    fn restart(&mut self, value: &str) -> Outcome {
        let endless = matches!(value, "always" | "on-success");
        if endless && self.kind == Kind::Oneshot {
            return Outcome::lost("a oneshot that has ended well is up here, and is not run again");
        }
        if value == "always" && self.timed {
            return Outcome::lost("its timer says when it runs again");
        }
        let policy = |word: &str| Value::Text(word.to_owned());
        match value {
            "no" => self.put("restart.policy", policy("never")),
            "always" | "on-failure" | "on-success" | "on-abnormal" => {
                self.put("restart.policy", policy(value))
            }
            "on-abort" => self.put("restart.policy", policy("on-abnormal")).look(
                "it is started again after a missed readiness or watchdog too, and not only after a \
                 signal",
            ),
            _ => Outcome::lost("there is no such policy here: nothing starts it again"),
        }
    }

    fn restart_delay(&mut self, value: &str) -> Outcome {
        let Some(Some(delay)) = span(value) else {
            return Outcome::lost("is no span of time that a pause can have");
        };
        let text = duration_text(delay);
        // The longest pause is at least a millisecond long.
        let most = match delay.as_millis() {
            0 => "1ms".to_owned(),
            _ => text.clone(),
        };
        let delay = self.put("restart.delay", Value::Text(text));
        delay.and(self.put("restart.max-delay", Value::Text(most)))
    }

    pub(super) fn start_limit(&mut self, key: &str, value: &str) -> Outcome {
        if key == "StartLimitBurst" {
            return match value.parse::<i64>() {
                Ok(0) => {
                    self.unlimited_starts = true;
                    Outcome::irrelevant("there is no limit of starts without `restart.burst`")
                }
                _ => self.number("restart.burst", value, 1, 100),
            };
        }
        match span(value) {
            Some(Some(within)) if within.as_millis() == 0 => {
                self.unlimited_starts = true;
                Outcome::irrelevant("there is no limit of starts without `restart.burst`")
            }
            Some(Some(within)) => {
                if !self.draft.has("restart.burst") {
                    self.draft.set("restart.burst", Value::Number(5));
                }
                self.put("restart.burst-within", Value::Text(duration_text(within)))
            }
            Some(None) | None => Outcome::lost("is no span of time that starts can be counted in"),
        }
    }

    pub(super) fn failure_action(&mut self, value: &str) -> Outcome {
        let action = |word: &str| Value::Text(word.to_owned());
        match value {
            "none" => Outcome::irrelevant("is so without the key"),
            "reboot" | "poweroff" => self.put("on-failure.action", action(value)),
            "reboot-force" | "reboot-immediate" => self
                .put("on-failure.action", action("reboot"))
                .look("the machine is restarted in order, services are stopped first"),
            "poweroff-force" | "poweroff-immediate" => self
                .put("on-failure.action", action("poweroff"))
                .look("the machine is switched off in order, services are stopped first"),
            _ => Outcome::lost("there is no such action here"),
        }
    }

    fn start_timeout(&mut self, value: &str) -> Outcome {
        if self.kind == Kind::Simple {
            return Outcome::irrelevant(
                "a simple service is up as soon as its program is executed",
            );
        }
        match span(value) {
            Some(None) => self
                .put("start-timeout", Value::Text("365d".to_owned()))
                .look("there is no start without an end here; a year stands for it"),
            Some(Some(limit)) if limit.as_millis() == 0 => self.start_timeout("infinity"),
            _ => self.time("start-timeout", value),
        }
    }

    pub(super) fn time(&mut self, key: &str, value: &str) -> Outcome {
        match span(value) {
            Some(Some(time)) if time.as_millis() == 0 && key == "watchdog.timeout" => {
                Outcome::irrelevant("there is no watchdog without the key")
            }
            Some(Some(time)) if time.as_millis() == 0 => self
                .put(key, Value::Text("365d".to_owned()))
                .look("0 is no limit there; a year stands for it"),
            Some(Some(time)) => self.put(key, Value::Text(duration_text(time))),
            Some(None) => self
                .put(key, Value::Text("365d".to_owned()))
                .look("infinity: a year stands for it"),
            None => Outcome::lost("is no span of time"),
        }
    }

    pub(super) fn number(&mut self, key: &str, value: &str, least: i64, most: i64) -> Outcome {
        match value.parse::<i64>() {
            Ok(number) if (least..=most).contains(&number) => self.put(key, Value::Number(number)),
            _ => Outcome::lost(format!(
                "`{key}` takes a whole number from {least} to {most}"
            )),
        }
    }

    fn signal(&mut self, key: &str, value: &str) -> Outcome {
        match signal(value) {
            Some(signal) => self.put(key, Value::Text(signal.to_owned())),
            None => Outcome::lost("is none of the signals that a service file can name"),
        }
    }

    fn kill_mode(&mut self, value: &str) -> Outcome {
        match value {
            "control-group" => {
                Outcome::irrelevant("everything of the service is ended, the main process first")
            }
            "mixed" => Outcome::irrelevant("is what init does"),
            "process" => self.put("stop.scope", Value::Text("main".to_owned())),
            _ => Outcome::lost("a stop ends the main process at least, and a shutdown everything"),
        }
    }

    fn success(&mut self, value: &str) -> Outcome {
        let mut known = match self.draft.get("restart.success-status") {
            Some(Value::Numbers(known)) => known.clone(),
            _ => Vec::new(),
        };
        let parts = value
            .split_whitespace()
            .map(|word| match exit_status(word) {
                Some(status) => {
                    known.push(status);
                    Outcome::carried("restart.success-status")
                }
                None => Outcome::lost(format!(
                    "`{word}` is no exit status: an end by a signal is no good one"
                )),
            });
        let outcome = Outcome::all(parts.collect::<Vec<_>>());
        if !known.is_empty() {
            self.draft
                .set("restart.success-status", Value::Numbers(known));
        }
        outcome.unwrap_or_else(|| Outcome::irrelevant("names nothing"))
    }
}

/// Why a service that is ready by its name on D-Bus has no file.
const BUS: &str = "it is ready when it has its name on D-Bus, and nothing here watches the bus: its \
                   users would start too early";

/// A path below /run, as old files have it below /var/run, or without a directory.
fn in_run(path: &str) -> String {
    match path.strip_prefix("/var/run/") {
        Some(rest) => format!("/run/{rest}"),
        None if path.starts_with('/') => path.to_owned(),
        None => format!("/run/{path}"),
    }
}
