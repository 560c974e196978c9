//! The kernel command line: the kernel's own rules of quoting, our `shark.` keys, and parameters for
//! modules.
//!
//! Bad input never stops a boot: every problem becomes a text in [`Cmdline::errors`] and the key
//! keeps its default. Sources: lib/cmdline.c and kernel/params.c of the kernel, kernel-parameters.rst.
//! Not here: reading /proc/cmdline. `VAR=value` words reach init's environment by the kernel itself.

use std::collections::{BTreeMap, BTreeSet};

use crate::loader;
use crate::nearest::nearest;
use crate::slot::Slot;
use crate::verity::OnCorruption;

/// Longest command line that is looked at, in bytes; kernels allow 2 to 4 KiB.
pub const LENGTH_MAX: usize = 64 * 1024;
/// Most services that can be masked, and most errors that are kept.
pub const LIST_MAX: usize = 256;
/// Longest watchdog time, in seconds: an hour.
pub const WATCHDOG_MAX: u32 = 3600;

/// Words of the kernel's own that decide a setting which stage1 would otherwise set, with the
/// setting's name. (`hardlockup_panic` is a value of `nmi_watchdog=`.)
const SETTINGS: [(&str, &str); 5] = [
    ("panic", "kernel.panic"),
    ("oops", "kernel.panic_on_oops"),
    ("softlockup_panic", "kernel.softlockup_panic"),
    ("hardlockup_panic", "kernel.hardlockup_panic"),
    ("nmi_watchdog", "kernel.hardlockup_panic"),
];

/// The keys we know, without `shark.`.
const KEYS: [&str; 9] = [
    "slot",
    "target",
    "rescue",
    "debug",
    "watchdog",
    "verity",
    "mask",
    "loader",
    "loader-slot",
];

/// `shark.loader=` where there is no outer loader that chooses.
const NO_LOADER: &str = "record";

/// What the command line says to us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cmdline {
    /// `shark.slot=a|b`: boot this slot first.
    pub slot: Option<Slot>,
    /// `shark.target=NAME`: start this target instead of the default one.
    pub target: Option<String>,
    /// `shark.rescue`: stop at the rescue console.
    pub rescue: bool,
    /// `shark.debug`: say more.
    pub debug: bool,
    /// `shark.watchdog=SECONDS`; 0 leaves the watchdog alone.
    pub watchdog: Option<u32>,
    /// `shark.verity=eio|panic|restart`.
    pub verity: Option<OnCorruption>,
    /// `shark.mask=SERVICE`, repeatable: do not start these.
    pub masks: Vec<String>,
    /// `shark.loader=uefi`: which outer loader has started this kernel; none for `record`.
    pub loader: Option<loader::Kind>,
    /// `shark.loader-slot=a|b`: whose kernel it has started.
    pub loader_slot: Option<Slot>,
    /// `module.parameter[=value]` words, by module and parameter with `-` as `_`. The kernel applies
    /// them to what is built in; for a module they are ours to pass on.
    pub parameters: BTreeMap<(String, String), Option<String>>,
    /// Settings of the kernel that it decides itself: `panic=`, `sysctl.kernel.panic_on_oops=` and
    /// the like, by the name of the setting, `kernel.panic`.
    pub settings: BTreeSet<String>,
    /// What is wrong, each a sentence for people.
    pub errors: Vec<String>,
}

impl Cmdline {
    /// Reads a command line. Words after a lone `--` are init's arguments and none of ours.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut cmdline = Self::default();
        let text = match text.split_at_checked(text.floor_char_boundary(LENGTH_MAX)) {
            Some((looked_at, rest)) if !rest.is_empty() => {
                cmdline.error(format!(
                    "kernel command line: longer than {LENGTH_MAX} bytes, the rest is not looked at"
                ));
                looked_at
            }
            Some(_) | None => text,
        };
        for (key, value) in words(text) {
            if key == "--" && value.is_none() {
                break;
            }
            if let Some(ours) = key.strip_prefix("shark.") {
                cmdline.set(ours, value);
            } else if let Some(setting) = setting(key) {
                cmdline.settings.insert(setting.to_owned());
            } else if let Some((module, parameter)) = key.split_once('.') {
                cmdline.parameter(module, parameter, value);
            }
        }
        cmdline
    }

    /// The parameters for one module as finit_module(2) takes them: `a=1 b`, quoted where needed.
    #[must_use]
    pub fn module_parameters(&self, module: &str) -> String {
        let module = underscored(module);
        let words: Vec<String> = self
            .parameters
            .iter()
            .filter(|((name, _), _)| *name == module)
            .map(|((_, parameter), value)| match value {
                None => parameter.clone(),
                Some(value) if value.contains(char::is_whitespace) => {
                    format!("{parameter}=\"{value}\"")
                }
                Some(value) => format!("{parameter}={value}"),
            })
            .collect();
        words.join(" ")
    }

    fn set(&mut self, key: &str, value: Option<&str>) {
        match (key, value) {
            ("slot", Some(value)) => match Slot::parse(value) {
                Some(slot) => self.slot = Some(slot),
                None => self.bad_value(key, value, "a or b"),
            },
            ("target", Some(value)) if is_name(value) => self.target = Some(value.to_owned()),
            ("target", Some(value)) => self.bad_value(key, value, "the name of a target"),
            ("watchdog", Some(value)) => match value.parse() {
                Ok(seconds) if seconds <= WATCHDOG_MAX => self.watchdog = Some(seconds),
                Ok(_) | Err(_) => {
                    self.bad_value(key, value, &format!("seconds, 0 to {WATCHDOG_MAX}"));
                }
            },
            ("verity", Some(value)) => match OnCorruption::parse(value) {
                Some(mode) => self.verity = Some(mode),
                None => self.bad_value(key, value, "eio, panic or restart"),
            },
            ("mask", Some(value)) => self.mask(value),
            ("loader", Some(NO_LOADER)) => self.loader = None,
            ("loader", Some(value)) => match loader::Kind::parse(value) {
                Some(kind) => self.loader = Some(kind),
                None => self.bad_value(key, value, &known_loaders()),
            },
            ("loader-slot", Some(value)) => match Slot::parse(value) {
                Some(slot) => self.loader_slot = Some(slot),
                None => self.bad_value(key, value, "a or b"),
            },
            ("rescue", value) => {
                if let Some(on) = self.switch(key, value) {
                    self.rescue = on;
                }
            }
            ("debug", value) => {
                if let Some(on) = self.switch(key, value) {
                    self.debug = on;
                }
            }
            (known, None) if KEYS.contains(&known) => self.error(format!(
                "kernel command line: shark.{known} needs a value: shark.{known}=..."
            )),
            (unknown, _) => self.unknown(unknown),
        }
    }

    /// A key that is on by being there; `=1` and `=0` are taken as well.
    fn switch(&mut self, key: &str, value: Option<&str>) -> Option<bool> {
        match value {
            None | Some("1" | "y" | "yes" | "on") => Some(true),
            Some("0" | "n" | "no" | "off") => Some(false),
            Some(value) => {
                self.bad_value(key, value, "no value, or 1 or 0");
                None
            }
        }
    }

    fn mask(&mut self, name: &str) {
        if !is_name(name) {
            self.bad_value("mask", name, "the name of a service");
        } else if self.masks.len() >= LIST_MAX {
            self.error(format!(
                "kernel command line: more than {LIST_MAX} services masked, {name} is not"
            ));
        } else if !self.masks.iter().any(|masked| masked == name) {
            self.masks.push(name.to_owned());
        }
    }

    fn parameter(&mut self, module: &str, parameter: &str, value: Option<&str>) {
        let is_word = |text: &str| {
            !text.is_empty()
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
        };
        if is_word(module) && is_word(parameter) {
            self.parameters.insert(
                (underscored(module), underscored(parameter)),
                value.map(str::to_owned),
            );
        }
    }

    fn unknown(&mut self, key: &str) {
        let shown: String = key.chars().take(64).collect();
        let hint = nearest(key, &KEYS)
            .map(|near| format!("; did you mean shark.{near}?"))
            .unwrap_or_default();
        self.error(format!(
            "kernel command line: unknown key shark.{shown}{hint}"
        ));
    }

    fn bad_value(&mut self, key: &str, value: &str, expected: &str) {
        let shown: String = value.chars().take(64).collect();
        self.error(format!(
            "kernel command line: shark.{key}={shown}: expected {expected}"
        ));
    }

    fn error(&mut self, text: String) {
        if self.errors.len() < LIST_MAX {
            self.errors.push(text);
        }
    }
}

fn known_loaders() -> String {
    let known = loader::Kind::ALL.map(loader::Kind::as_str).join(", ");
    format!("{NO_LOADER}, {known}")
}

/// The setting that a word of the kernel's own decides, among those that stage1 sets.
fn setting(key: &str) -> Option<&'static str> {
    let named = key.strip_prefix("sysctl.");
    SETTINGS
        .iter()
        .find(|(word, setting)| *word == key || named == Some(*setting))
        .map(|(_, setting)| *setting)
}

/// The kernel takes `-` and `_` in names of parameters as the same.
fn underscored(name: &str) -> String {
    name.replace('-', "_")
}

/// The characters of a service name; `services::id` has the full rule and the last word.
fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte))
}

/// Splits a command line as the kernel's next_arg() does: at white space outside double quotes; a
/// quote around the whole word or the whole value is taken off, others stay.
fn words(text: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(is_space);
        if rest.is_empty() {
            return None;
        }
        let mut quoted = false;
        let end = rest
            .find(|c| {
                quoted ^= c == '"';
                is_space(c) && !quoted
            })
            .unwrap_or(rest.len());
        let (word, after) = rest.split_at_checked(end)?;
        rest = after;
        Some(key_and_value(word))
    })
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}

fn key_and_value(word: &str) -> (&str, Option<&str>) {
    let (word, whole) = match word.strip_prefix('"') {
        Some(inner) => (inner.strip_suffix('"').unwrap_or(inner), true),
        None => (word, false),
    };
    match word.split_once('=') {
        // A word that starts with `=` has no key; the kernel keeps it whole.
        None | Some(("", _)) => (word, None),
        Some((key, value)) if whole => (key, Some(value.strip_prefix('"').unwrap_or(value))),
        Some((key, value)) => match value.strip_prefix('"') {
            Some(inner) => (key, Some(inner.strip_suffix('"').unwrap_or(inner))),
            None => (key, Some(value)),
        },
    }
}
