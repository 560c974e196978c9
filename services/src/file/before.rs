//! Reading the keys of what is done before the program: `[conditions]`, `state.versioned`, `env-files`,
//! `[credentials]`.
//! Not here: what they mean (`crate::begin`).

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::draft::{Draft, put};
use super::value::Value;
use crate::begin::{
    Architecture, Begin, CREDENTIAL_TEXT_MAX, CREDENTIALS_MAX, Condition, Credential,
    CredentialSource, EnvFile, Slot, Test, Virtualization,
};

/// The keys written so far.
#[derive(Default)]
pub(super) struct BeginDraft {
    conditions: BTreeMap<&'static str, Vec<Condition>>,
    pub(super) versioned: Option<Vec<String>>,
    pub(super) env_files: Option<Vec<EnvFile>>,
    pub(super) credentials: BTreeMap<String, CredentialSource>,
}

impl BeginDraft {
    /// What is done, all files read.
    pub(super) fn build(self) -> Begin {
        Begin {
            conditions: self.conditions.into_values().flatten().collect(),
            versioned: self.versioned.unwrap_or_default(),
            env_files: self.env_files.unwrap_or_default(),
            credentials: self
                .credentials
                .into_iter()
                .map(|(name, from)| Credential { name, from })
                .collect(),
        }
    }
}

/// A list of conditions; a later file replaces that of its key. `read` makes a test of a text, or
/// says what the text should have been.
pub(super) fn conditions(
    draft: &mut Draft,
    key: &'static str,
    value: &mut Value<'_, '_>,
    read: fn(&str) -> Result<Test, &'static str>,
) {
    let mut list = Vec::new();
    let paths = key.starts_with("path-");
    let read_all = value.each("a list of strings", &mut |text| {
        let negation = text.strip_prefix('!').filter(|_| !paths);
        let test = read(negation.unwrap_or(text))?;
        let negated = negation.is_some() || key == "path-missing";
        list.push(Condition { test, negated });
        Ok(())
    });
    if read_all {
        if let Some(problem) = never(&list) {
            value.refuse(problem, "conditions that can hold together");
        }
        draft.begin.conditions.insert(key, list);
    }
}

/// What can be of one kind only cannot be of two.
fn never(list: &[Condition]) -> Option<&'static str> {
    let one_of = |condition: &&Condition| {
        let exclusive = matches!(condition.test, Test::Architecture(_) | Test::Slot(_));
        exclusive && !condition.negated
    };
    let mut wanted = list.iter().filter(one_of);
    let first = wanted.next()?;
    let clash = wanted.any(|other| other != first);
    clash.then_some("never holds: all must hold, and a machine is only one of these")
}

pub(super) fn first_boot(draft: &mut Draft, value: &mut Value<'_, '_>) {
    if let Some(wanted) = value.boolean() {
        let condition = Condition {
            test: Test::FirstBoot,
            negated: !wanted,
        };
        draft.begin.conditions.insert("first-boot", vec![condition]);
    }
}

pub(super) fn path(text: &str) -> Result<Test, &'static str> {
    match text.starts_with('/') {
        true => Ok(Test::Path(PathBuf::from(text))),
        false => Err("an absolute path"),
    }
}

pub(super) fn kernel_option(text: &str) -> Result<Test, &'static str> {
    match text.is_empty() || text.starts_with('=') || text.contains(char::is_whitespace) {
        true => Err("a word of the kernel command line such as \"quiet\" or \"key=value\""),
        false => Ok(Test::KernelOption(text.to_owned())),
    }
}

pub(super) fn architecture(text: &str) -> Result<Test, &'static str> {
    match text {
        "x86_64" | "x86-64" | "amd64" => Ok(Test::Architecture(Architecture::X86_64)),
        "arm64" | "aarch64" => Ok(Test::Architecture(Architecture::Arm64)),
        _ => Err("`x86_64` or `arm64`"),
    }
}

pub(super) fn slot(text: &str) -> Result<Test, &'static str> {
    match text {
        "a" => Ok(Test::Slot(Slot::A)),
        "b" => Ok(Test::Slot(Slot::B)),
        _ => Err("`a` or `b`"),
    }
}

/// Kinds of virtual machines and containers that the starter can tell.
pub(crate) const VIRTUALIZATIONS: [&str; 13] = [
    "qemu",
    "kvm",
    "vmware",
    "oracle",
    "microsoft",
    "xen",
    "amazon",
    "google",
    "bochs",
    "docker",
    "podman",
    "lxc",
    "systemd-nspawn",
];

pub(super) fn virtualization(text: &str) -> Result<Test, &'static str> {
    Ok(Test::Virtualization(match text {
        "yes" => Virtualization::Any,
        "vm" => Virtualization::Vm,
        "container" => Virtualization::Container,
        kind if VIRTUALIZATIONS.contains(&kind) => Virtualization::Kind(kind.to_owned()),
        _ => {
            return Err(
                "`yes`, `vm`, `container`, or a kind: qemu kvm vmware oracle microsoft xen amazon \
                 google bochs docker podman lxc systemd-nspawn",
            );
        }
    }))
}

pub(super) fn env_files(draft: &mut Draft, value: &mut Value<'_, '_>) {
    let mut list = Vec::new();
    let read_all = value.each("a list of absolute paths", &mut |text| {
        let optional = text.strip_prefix('-');
        let path = optional.unwrap_or(text);
        if !path.starts_with('/') {
            return Err("an absolute path, after `-` if the file may be missing");
        }
        list.push(EnvFile {
            path: PathBuf::from(path),
            optional: optional.is_some(),
        });
        Ok(())
    });
    put(&mut draft.begin.env_files, read_all.then_some(list));
}

/// A later file adds credentials, and replaces those of the same name.
pub(super) fn credentials(draft: &mut Draft, value: &mut Value<'_, '_>) {
    value.each_entry(
        "a table such as { token = { file = \"/etc/token\" } }",
        &mut |name, entry| {
            if !is_name(name) {
                return Err("is not the name of a credential: use letters, digits and . _ -");
            }
            let from = match entry {
                [("file", path)] if path.starts_with('/') => {
                    CredentialSource::File(PathBuf::from(*path))
                }
                [("text", text)] if text.len() <= CREDENTIAL_TEXT_MAX => {
                    CredentialSource::Text((*text).to_owned())
                }
                [("file", _)] => return Err("comes from a file that is not an absolute path"),
                [("text", _)] => return Err("is too long to be written here: use a file"),
                _ => return Err("has to be either { file = \"/PATH\" } or { text = \"...\" }"),
            };
            draft.begin.credentials.insert(name.to_owned(), from);
            match draft.begin.credentials.len() > CREDENTIALS_MAX {
                true => Err("is one too many: a service has at most 64 credentials"),
                false => Ok(()),
            }
        },
    );
}

/// Names of files, and nothing that leads out of their directory.
fn is_name(name: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    (1..=255).contains(&name.len()) && !name.starts_with('.') && name.chars().all(good)
}
