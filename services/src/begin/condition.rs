//! Conditions of a start, and whether they hold for what is known of the machine. Not here: finding
//! out (the starter), and what follows when one does not hold (`supervisor`).

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// What is looked at.
    pub test: Test,
    /// Whether it must not be so.
    pub negated: bool,
}

/// What a condition looks at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Test {
    /// Something is at this absolute path (links are followed).
    Path(PathBuf),
    /// The kernel command line has this word: `quiet`, or `key=value`; a key alone stands for any
    /// value of it.
    KernelOption(String),
    /// The machine is of this architecture.
    Architecture(Architecture),
    /// The system was booted from this slot.
    Slot(Slot),
    /// No boot before this one has come far enough to give the machine an id.
    FirstBoot,
    /// Where the system runs.
    Virtualization(Virtualization),
}

/// An architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Architecture {
    /// x86_64
    X86_64,
    /// arm64
    Arm64,
}

/// A slot of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Slot {
    /// The first.
    A,
    /// The second.
    B,
}

/// Where the system runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Virtualization {
    /// In a virtual machine or in a container.
    Any,
    /// In a virtual machine.
    Vm,
    /// In a container.
    Container,
    /// In one of this kind: `qemu`, `vmware`, `docker`.
    Kind(String),
}

/// What is known of the machine.
pub trait Facts {
    /// Whether there is something at `path`.
    ///
    /// # Errors
    /// For people: that cannot be told, which is neither yes nor no.
    fn exists(&self, path: &Path) -> Result<bool, String>;
    /// The kernel command line.
    fn kernel_options(&self) -> Vec<String>;
    /// Of which architecture it is; `None`: of none that can be named.
    fn architecture(&self) -> Option<Architecture>;
    /// The slot that it was booted from, if from any.
    fn slot(&self) -> Option<Slot>;
    /// Whether this is the first boot.
    fn first_boot(&self) -> bool;
    /// The kind of virtual machine, if it is one; empty: one of a kind that is not known.
    fn vm(&self) -> Option<String>;
    /// The kind of container, if it is one; empty: one of a kind that is not known.
    fn container(&self) -> Option<String>;
}

impl Condition {
    /// Whether it holds.
    ///
    /// # Errors
    /// For people: that cannot be told.
    pub fn holds(&self, facts: &dyn Facts) -> Result<bool, String> {
        let is_so = match &self.test {
            Test::Path(path) => facts.exists(path)?,
            Test::KernelOption(option) => has_option(&facts.kernel_options(), option),
            Test::Architecture(wanted) => facts.architecture() == Some(*wanted),
            Test::Slot(wanted) => facts.slot() == Some(*wanted),
            Test::FirstBoot => facts.first_boot(),
            Test::Virtualization(wanted) => match wanted {
                Virtualization::Any => facts.vm().is_some() || facts.container().is_some(),
                Virtualization::Vm => facts.vm().is_some(),
                Virtualization::Container => facts.container().is_some(),
                Virtualization::Kind(kind) => {
                    let kinds = [facts.vm(), facts.container()];
                    kinds.into_iter().flatten().any(|it| it == *kind)
                }
            },
        };
        Ok(is_so != self.negated)
    }
}

fn has_option(options: &[String], wanted: &str) -> bool {
    let is_it = |option: &String| match wanted.contains('=') {
        true => option == wanted,
        false => option.split('=').next() == Some(wanted),
    };
    options.iter().any(is_it)
}

impl fmt::Display for Condition {
    /// As it is written in a service file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let not = if self.negated { "!" } else { "" };
        match &self.test {
            Test::Path(path) => {
                let key = if self.negated { "missing" } else { "exists" };
                write!(f, "path-{key} {}", path.display())
            }
            Test::KernelOption(option) => write!(f, "kernel-option {not}{option}"),
            Test::Architecture(it) => write!(f, "architecture {not}{}", it.name()),
            Test::Slot(it) => write!(f, "slot {not}{}", it.name()),
            Test::FirstBoot => write!(f, "first-boot {}", !self.negated),
            Test::Virtualization(it) => write!(f, "virtualization {not}{}", it.name()),
        }
    }
}

impl Architecture {
    /// Its name in service files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Arm64 => "arm64",
        }
    }
}

impl Slot {
    /// Its name in service files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

impl Virtualization {
    /// Its name in service files.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Any => "yes",
            Self::Vm => "vm",
            Self::Container => "container",
            Self::Kind(kind) => kind,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Machine;

    impl Facts for Machine {
        fn exists(&self, path: &Path) -> Result<bool, String> {
            match path.to_str() {
                Some("/dead") => Err("stat /dead: stale".to_owned()),
                other => Ok(other == Some("/there")),
            }
        }
        fn kernel_options(&self) -> Vec<String> {
            ["quiet", "root=/dev/vda", "panic="]
                .map(str::to_owned)
                .to_vec()
        }
        fn architecture(&self) -> Option<Architecture> {
            Some(Architecture::Arm64)
        }
        fn slot(&self) -> Option<Slot> {
            None
        }
        fn first_boot(&self) -> bool {
            true
        }
        fn vm(&self) -> Option<String> {
            Some("qemu".to_owned())
        }
        fn container(&self) -> Option<String> {
            None
        }
    }

    #[allow(clippy::needless_pass_by_value, reason = "the table reads better")]
    fn check(test: Test, expect: bool, text: &str) {
        let condition = |negated| Condition {
            test: test.clone(),
            negated,
        };
        assert_eq!(condition(false).holds(&Machine), Ok(expect), "{test:?}");
        assert_eq!(condition(true).holds(&Machine), Ok(!expect), "{test:?}");
        assert_eq!(condition(true).to_string(), text);
    }

    #[test]
    fn conditions_hold_or_do_not() {
        let option = |text: &str| Test::KernelOption(text.to_owned());
        let virtualization = Test::Virtualization;
        check(Test::Path("/there".into()), true, "path-missing /there");
        check(Test::Path("/x".into()), false, "path-missing /x");
        check(option("quiet"), true, "kernel-option !quiet");
        check(option("root"), true, "kernel-option !root");
        check(option("roo"), false, "kernel-option !roo");
        check(
            option("root=/dev/vda"),
            true,
            "kernel-option !root=/dev/vda",
        );
        check(option("root=/dev/vd"), false, "kernel-option !root=/dev/vd");
        check(option("panic="), true, "kernel-option !panic=");
        check(
            Test::Architecture(Architecture::Arm64),
            true,
            "architecture !arm64",
        );
        check(
            Test::Architecture(Architecture::X86_64),
            false,
            "architecture !x86_64",
        );
        check(Test::Slot(Slot::B), false, "slot !b");
        check(Test::FirstBoot, true, "first-boot false");
        check(
            virtualization(Virtualization::Any),
            true,
            "virtualization !yes",
        );
        check(
            virtualization(Virtualization::Vm),
            true,
            "virtualization !vm",
        );
        check(
            virtualization(Virtualization::Container),
            false,
            "virtualization !container",
        );
        let kind = |text: &str| virtualization(Virtualization::Kind(text.to_owned()));
        check(kind("qemu"), true, "virtualization !qemu");
        check(kind("xen"), false, "virtualization !xen");
    }

    #[test]
    fn what_cannot_be_told_is_neither_yes_nor_no() {
        for negated in [false, true] {
            let test = Test::Path("/dead".into());
            let told = Condition { test, negated }.holds(&Machine);
            assert_eq!(told, Err("stat /dead: stale".to_owned()));
        }
    }
}
