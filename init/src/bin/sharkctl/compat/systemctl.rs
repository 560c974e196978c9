//! `systemctl`, as systemctl(1) of systemd 252 documents it. Here: its command line, and what services its
//! words mean. Not here: what the verbs do.

mod act;
mod files;
mod lists;
mod tell;

pub(super) use self::tell::dated;

use std::path::{Path, PathBuf};

use services::status::ServiceStatus;

use super::units::{Unit, is_pattern, matches};
use super::words::{Known, Takes, Words, flag, value};
use super::{change, list};
use crate::Context;
use crate::admin::files::Layers;
use crate::failure::Failure;
use crate::screen::Screen;

/// The version whose manual these verbs follow: scripts compare it with what they need.
const VERSION: &str = "systemd 252 (the names of Shark init; this is not systemd)\n";

const OPTIONS: [Known; 41] = [
    flag("help", Some('h')),
    flag("version", None),
    flag("system", None),
    flag("user", None),
    flag("global", None),
    value("host", Some('H')),
    value("machine", Some('M')),
    value("type", Some('t')),
    value("state", None),
    flag("failed", None),
    value("property", Some('p')),
    value("output", Some('o')),
    flag("value", None),
    flag("all", Some('a')),
    flag("full", Some('l')),
    flag("recursive", Some('r')),
    flag("plain", None),
    flag("no-pager", None),
    flag("no-legend", None),
    flag("no-ask-password", None),
    flag("no-wall", None),
    flag("no-warn", None),
    flag("no-block", None),
    flag("no-reload", None),
    flag("quiet", Some('q')),
    flag("wait", None),
    flag("now", None),
    flag("force", Some('f')),
    flag("runtime", None),
    flag("reverse", None),
    flag("after", None),
    flag("before", None),
    flag("show-types", None),
    flag("ignore-inhibitors", Some('i')),
    value("check-inhibitors", None),
    value("signal", Some('s')),
    value("kill-whom", None),
    value("kill-who", None),
    value("root", None),
    value("preset-mode", None),
    Known {
        long: "lines",
        short: Some('n'),
        takes: Takes::Value,
    },
];

/// Options that would have to do something that there is nothing like here.
const REFUSED: [(&str, &str); 5] = [
    ("user", "there are no services of users"),
    ("global", "there are no services of users"),
    ("host", "it speaks to this machine only"),
    ("machine", "it speaks to this machine only"),
    ("runtime", "what is written lasts"),
];

/// One call.
struct Call<'c> {
    context: &'c Context,
    words: Words,
    /// Of a system that does not run.
    root: Option<PathBuf>,
}

/// `systemctl`.
pub(super) fn systemctl(
    context: &Context,
    screen: &mut Screen<'_>,
    arguments: &[String],
) -> Result<u8, Failure> {
    let words = match Words::scan(arguments, &OPTIONS) {
        Ok(words) => words,
        Err(wrong) => {
            screen.complain_bare(&format!("systemctl: {wrong}"));
            return Ok(1);
        }
    };
    if words.has("version") {
        return screen.print(VERSION).map(|()| 0);
    }
    if words.has("help") {
        return screen.print(HELP).map(|()| 0);
    }
    if let Some((option, why)) = REFUSED.iter().find(|(option, _)| words.has(option)) {
        screen.complain_bare(&format!("--{option} is not supported by Shark init: {why}"));
        return Ok(1);
    }
    let waits = words
        .words
        .first()
        .is_none_or(|verb| verb == "is-system-running");
    if words.has("wait") && !waits {
        screen.complain_bare("--wait is not supported by Shark init but for is-system-running");
        return Ok(1);
    }
    let root = words
        .value("root")
        .filter(|root| *root != "/")
        .map(PathBuf::from);
    let call = Call {
        context,
        words,
        root,
    };
    call.perform(screen)
}

const HELP: &str = "\
systemctl [OPTIONS...] COMMAND ...

The verbs of systemctl(1) that scripts call, done by Shark init (shark-compat(7)):
  start stop restart try-restart reload reload-or-restart kill reset-failed
  is-active is-failed is-enabled status show list-units list-unit-files
  list-timers list-dependencies list-jobs
  enable disable reenable preset mask unmask cat edit daemon-reload daemon-reexec
  get-default is-system-running poweroff reboot halt
sharkctl(8) can do more.
";

impl Call<'_> {
    fn perform(&self, screen: &mut Screen<'_>) -> Result<u8, Failure> {
        let (verb, units) = match self.words.words.split_first() {
            Some((verb, units)) => (verb.as_str(), units),
            None => ("list-units", [].as_slice()),
        };
        let needs_unit = NEED_UNITS.contains(&verb);
        if needs_unit && units.is_empty() {
            screen.complain_bare("Too few arguments.");
            return Ok(1);
        }
        match verb {
            "start"
            | "stop"
            | "restart"
            | "try-restart"
            | "condrestart"
            | "reload"
            | "reload-or-restart"
            | "force-reload"
            | "try-reload-or-restart"
            | "kill"
            | "reset-failed" => act::act(self, screen, verb, units),
            "is-active" | "is-failed" | "status" | "show" | "list-units" | "is-system-running"
            | "get-default" => tell::tell(self, screen, verb, units),
            "enable" | "disable" | "reenable" | "preset" | "mask" | "unmask" | "is-enabled"
            | "cat" | "edit" | "list-unit-files" | "daemon-reload" => {
                files::files(self, screen, verb, units)
            }
            "list-timers" | "list-dependencies" | "list-jobs" => {
                lists::lists(self, screen, verb, units)
            }
            "daemon-reexec" => {
                let program = None;
                change(
                    self.context,
                    screen,
                    services::control::Request::Reexec { program },
                )?;
                Ok(0)
            }
            "poweroff" | "reboot" | "halt" => act::end(self, screen, verb),
            other => {
                screen.complain_bare(&format!("Unknown command verb {other}."));
                if let Some((_, why)) = UNSUPPORTED.iter().find(|(verb, _)| *verb == other) {
                    screen.complain_bare(&format!(
                        "Shark init does not support it: {why}; see shark-compat(7)."
                    ));
                }
                Ok(1)
            }
        }
    }

    fn quiet(&self) -> bool {
        self.words.has("quiet")
    }

    fn root(&self) -> &Path {
        self.root.as_deref().unwrap_or(Path::new("/"))
    }

    fn layers(&self) -> Layers {
        Layers::new(self.context, self.root.as_deref())
    }

    /// The units that words mean: patterns those that init knows, others themselves. `Err` holds what is
    /// of a kind that there is nothing like.
    fn units(
        &self,
        screen: &mut Screen<'_>,
        words: &[String],
    ) -> Result<Vec<Result<Unit, String>>, Failure> {
        let mut units = Vec::new();
        let mut known: Option<Vec<ServiceStatus>> = None;
        for word in words {
            if !is_pattern(word) {
                units.push(Unit::parse(word).ok_or_else(|| word.clone()));
                continue;
            }
            if known.is_none() {
                known = Some(list(self.context, screen)?);
            }
            let all = known.iter().flatten().map(Unit::of);
            let meant =
                all.filter(|unit| matches(word, &unit.name()) || matches(word, &unit.service));
            units.extend(meant.map(Ok));
        }
        Ok(units)
    }
}

/// Verbs that are nothing without a unit.
const NEED_UNITS: [&str; 19] = [
    "start",
    "stop",
    "restart",
    "try-restart",
    "condrestart",
    "reload",
    "reload-or-restart",
    "force-reload",
    "try-reload-or-restart",
    "kill",
    "is-active",
    "is-enabled",
    "enable",
    "disable",
    "reenable",
    "preset",
    "mask",
    "unmask",
    "cat",
];

/// Verbs of the real one that there is nothing like here, and why.
const UNSUPPORTED: [(&str, &str); 19] = [
    ("isolate", "targets do not exclude each other"),
    ("rescue", "targets do not exclude each other"),
    ("emergency", "targets do not exclude each other"),
    ("set-default", "a boot has one target, `default`"),
    ("freeze", "a service is started or stopped, and not held"),
    ("thaw", "a service is started or stopped, and not held"),
    ("set-property", "`sharkctl edit` changes the service file"),
    ("bind", "services have the mounts of the machine"),
    ("mount-image", "services have the mounts of the machine"),
    (
        "list-sockets",
        "`sharkctl cat` tells of the sockets of a service",
    ),
    ("list-machines", "it speaks to this machine only"),
    (
        "preset-all",
        "there are no presets: a service is enabled as its file says",
    ),
    ("link", "units are found in /etc/systemd/system"),
    (
        "revert",
        "`sharkctl diff` and `sharkctl edit` tell of changes",
    ),
    ("add-wants", "`sharkctl edit` adds to `wants`"),
    ("add-requires", "`sharkctl edit` adds to `requires`"),
    (
        "set-environment",
        "variables are in `env` of a service file",
    ),
    (
        "unset-environment",
        "variables are in `env` of a service file",
    ),
    (
        "import-environment",
        "variables are in `env` of a service file",
    ),
];
