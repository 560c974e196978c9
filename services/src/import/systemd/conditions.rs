//! `Condition...=` and `Assert...=` as conditions of a service. Not here: other keys of `[Unit]`.

use crate::file::VIRTUALIZATIONS;

use super::super::report::Outcome;
use super::group::Group;
use super::set::Parsed;
use super::syntax::Assignment;
use super::values::boolean;

/// The word after `Condition` or `Assert`.
pub(super) fn test_of(key: &str) -> Option<&str> {
    key.strip_prefix("Condition").or(key.strip_prefix("Assert"))
}

/// What follows from a condition that is lost.
fn always(why: &str) -> Outcome {
    Outcome::lost(format!("{why}: the service starts whether or not it holds"))
}

impl Group<'_> {
    pub(super) fn condition(&mut self, unit: &Parsed<'_>, it: &Assignment) -> Outcome {
        let Some(test) = test_of(&it.key) else {
            return always("is not known to this converter");
        };
        if self.is_target() {
            return always("a target has no conditions here");
        }
        if it.value.starts_with('|') {
            return always("one of several that is enough (`|`) cannot be said here");
        }
        let (negated, value) = match it.value.strip_prefix('!') {
            Some(value) => (true, value.trim_start()),
            None => (false, it.value.as_str()),
        };
        let value = match unit.specifiers.expand(value) {
            Ok(value) => value,
            Err(why) => return always(&why),
        };
        let outcome = self.test(test, negated, &value);
        match it.key.starts_with("Assert") && outcome.fate == super::super::report::Fate::Carried {
            true => {
                outcome.look("where it does not hold, the service is skipped, and has not failed")
            }
            false => outcome,
        }
    }

    fn test(&mut self, test: &str, negated: bool, value: &str) -> Outcome {
        let word = |negated| match negated {
            true => format!("!{value}"),
            false => value.to_owned(),
        };
        match test {
            "PathExists" if !value.starts_with('/') => always("is no absolute path"),
            "PathExists" => self.listed(
                match negated {
                    true => "conditions.path-missing",
                    false => "conditions.path-exists",
                },
                value,
            ),
            "PathIsDirectory" | "FileIsExecutable" | "FileNotEmpty" | "DirectoryNotEmpty"
            | "PathIsSymbolicLink" | "PathIsMountPoint" | "PathIsReadWrite"
                if !negated && value.starts_with('/') =>
            {
                self.listed("conditions.path-exists", value)
                    .and(Outcome::lost(
                        "only that the path is there is asked here, not what it is",
                    ))
            }
            "KernelCommandLine" if !value.is_empty() && !value.contains(char::is_whitespace) => {
                self.listed("conditions.kernel-option", &word(negated))
            }
            "Architecture" => match value {
                "x86-64" | "arm64" => {
                    let name = value.replace('-', "_");
                    let name = if negated { format!("!{name}") } else { name };
                    self.listed("conditions.architecture", &name)
                }
                _ => always("that architecture is none that init runs on"),
            },
            "FirstBoot" => match boolean(value) {
                Some(first) => {
                    let wanted = super::super::draft::Value::Flag(first != negated);
                    self.put("conditions.first-boot", wanted)
                }
                None => always("is neither yes nor no"),
            },
            "Virtualization" => {
                let (kind, negated) = match boolean(value) {
                    Some(any) => ("yes", any == negated),
                    None => (value, negated),
                };
                let known =
                    matches!(kind, "yes" | "vm" | "container") || VIRTUALIZATIONS.contains(&kind);
                match (known, negated) {
                    (false, _) => always("init cannot tell this kind of machine"),
                    (true, true) => self.listed("conditions.virtualization", &format!("!{kind}")),
                    (true, false) => self.listed("conditions.virtualization", kind),
                }
            }
            _ => always("there is no such condition here"),
        }
    }

    fn listed(&mut self, key: &str, text: &str) -> Outcome {
        self.draft.add(key, text);
        Outcome::carried(key)
    }
}
