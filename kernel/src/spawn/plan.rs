//! What is to be executed and how its surroundings look: plain data, prepared before the child
//! exists. Not here: doing it (`child`).

use std::ffi::CString;
use std::os::fd::BorrowedFd;

use crate::error::{Errno, Error, Result};

/// Descriptors beside 0, 1 and 2 that one child can be given at most.
pub const MAX_EXTRA_FDS: usize = 128;

/// A program, its arguments and its surroundings. Holds no descriptor, so it can be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Absolute path of the program.
    pub program: CString,
    /// Arguments, the zeroth included.
    pub arguments: Vec<CString>,
    /// All of the environment, `NAME=value` each. Nothing is inherited.
    pub environment: Vec<CString>,
    /// Names of further variables, whose value is the number of the process itself.
    pub own_pid: Vec<CString>,
    /// Directory to start in.
    pub working_dir: CString,
    /// File mode creation mask; `None` inherits.
    pub umask: Option<u32>,
    /// Scheduling priority, -20 to 19; `None` inherits. One that this process has as well is inherited
    /// too: to set it takes a privilege that a namespace started with another one does not have.
    pub nice: Option<i8>,
    /// Bias of the OOM killer, -1000 to 1000; `None` inherits, as does what this process has itself.
    pub oom_score_adj: Option<i16>,
    /// Whom to run as; `None` stays root.
    pub ids: Option<Ids>,
    /// Directories to make before the user is changed.
    pub directories: Vec<Directory>,
    /// Resource limits.
    pub limits: Vec<Limit>,
}

/// User and groups, by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ids {
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Supplementary groups; all others are dropped.
    pub groups: Vec<u32>,
}

/// A directory that must be there: made where it is missing (its parent must exist), and given
/// owner and mode in any case. Its last component is never followed through a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// Absolute path.
    pub path: CString,
    /// Permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// A limit of setrlimit(2), soft and hard alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Which resource.
    pub resource: Resource,
    /// The limit; `None` is unlimited.
    pub value: Option<u64>,
}

/// Resources of setrlimit(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Bytes of a core dump.
    Core,
    /// Bytes of locked memory.
    Memlock,
    /// Descriptors.
    Nofile,
    /// Processes of the user.
    Nproc,
    /// Bytes of stack.
    Stack,
}

impl Resource {
    /// The kernel's number, the same on x86_64 and arm64 (asm-generic/resource.h).
    pub(super) const fn number(self) -> usize {
        match self {
            Self::Stack => 3,
            Self::Core => 4,
            Self::Nproc => 6,
            Self::Nofile => 7,
            Self::Memlock => 8,
        }
    }
}

/// The child's descriptors 0, 1 and 2.
#[derive(Clone, Copy, Debug)]
pub enum Stdio<'fd> {
    /// A terminal, by path: stdin, stdout and stderr, and the controlling terminal, taken from
    /// whoever had it (TIOCSCTTY with 1, which needs CAP_SYS_ADMIN for that).
    Terminal(&'fd core::ffi::CStr),
    /// One each; `None` is /dev/null.
    Each {
        /// Descriptor 0.
        stdin: Option<BorrowedFd<'fd>>,
        /// Descriptor 1.
        stdout: Option<BorrowedFd<'fd>>,
        /// Descriptor 2.
        stderr: Option<BorrowedFd<'fd>>,
    },
}

impl<'fd> Stdio<'fd> {
    /// /dev/null three times.
    pub const NULL: Self = Self::Each {
        stdin: None,
        stdout: None,
        stderr: None,
    };

    /// What a service gets: no input, and both outputs to `output`.
    #[must_use]
    pub const fn logged(output: BorrowedFd<'fd>) -> Self {
        Self::Each {
            stdin: None,
            stdout: Some(output),
            stderr: Some(output),
        }
    }
}

/// The descriptors of one spawn.
#[derive(Clone, Copy, Debug)]
pub struct Wiring<'fd> {
    /// Descriptors 0, 1 and 2.
    pub stdio: Stdio<'fd>,
    /// Further descriptors and the numbers, 3 or more, at which the child finds them.
    pub extra: &'fd [(BorrowedFd<'fd>, i32)],
    /// A cgroup v2 directory the child is born in; `None`: the parent's own.
    pub cgroup: Option<BorrowedFd<'fd>>,
}

impl Wiring<'_> {
    /// No input, no output, no further descriptors, the parent's cgroup.
    pub const NULL: Self = Self {
        stdio: Stdio::NULL,
        extra: &[],
        cgroup: None,
    };
}

impl Plan {
    /// A plan for `exec` (path and arguments) with defaults: working directory `/`, an empty
    /// environment, everything else inherited.
    ///
    /// # Errors
    /// EINVAL when `exec` is empty, its path is not absolute, or a text holds a NUL byte.
    pub fn new<T: AsRef<str>>(exec: &[T]) -> Result<Self> {
        let program = exec.first().map_or("", AsRef::as_ref);
        if !program.starts_with('/') {
            return Err(Error::new("execve", program, Errno::INVAL));
        }
        let arguments = exec
            .iter()
            .map(|argument| text(argument.as_ref()))
            .collect::<Result<_>>()?;
        Ok(Self {
            program: text(program)?,
            arguments,
            environment: Vec::new(),
            own_pid: Vec::new(),
            working_dir: c"/".to_owned(),
            umask: None,
            nice: None,
            oom_score_adj: None,
            ids: None,
            directories: Vec::new(),
            limits: Vec::new(),
        })
    }

    /// Sets a variable of the environment, in place of an earlier one of that name.
    ///
    /// # Errors
    /// EINVAL when the name is empty or holds `=`, or either holds a NUL byte.
    pub fn set_env(&mut self, name: &str, value: &str) -> Result<()> {
        if name.is_empty() || name.contains('=') {
            return Err(Error::new("execve", name, Errno::INVAL));
        }
        let variable = text(&format!("{name}={value}"))?;
        match self.environment.iter_mut().find(|known| is(known, name)) {
            Some(known) => *known = variable,
            None => self.environment.push(variable),
        }
        self.own_pid
            .retain(|known| known.to_bytes() != name.as_bytes());
        Ok(())
    }

    /// Sets a variable of the environment to the number of the process that is started, in place of
    /// an earlier one of that name.
    ///
    /// # Errors
    /// EINVAL when the name is empty, or holds `=` or a NUL byte.
    pub fn set_env_own_pid(&mut self, name: &str) -> Result<()> {
        self.unset_env(name);
        if name.is_empty() || name.contains('=') {
            return Err(Error::new("execve", name, Errno::INVAL));
        }
        self.own_pid.push(text(name)?);
        Ok(())
    }

    /// Removes a variable of the environment, if it is there.
    pub fn unset_env(&mut self, name: &str) {
        self.environment.retain(|known| !is(known, name));
        self.own_pid
            .retain(|known| known.to_bytes() != name.as_bytes());
    }

    /// Sets the directory to start in.
    ///
    /// # Errors
    /// EINVAL when it holds a NUL byte.
    pub fn set_working_dir(&mut self, path: &str) -> Result<()> {
        self.working_dir = text(path)?;
        Ok(())
    }

    /// Adds a directory that must be there.
    ///
    /// # Errors
    /// EINVAL when the path holds a NUL byte.
    pub fn add_directory(&mut self, path: &str, mode: u32, uid: u32, gid: u32) -> Result<()> {
        self.directories.push(Directory {
            path: text(path)?,
            mode,
            uid,
            gid,
        });
        Ok(())
    }
}

/// Whether `variable` is called `name`.
fn is(variable: &CString, name: &str) -> bool {
    let rest = variable.as_bytes().strip_prefix(name.as_bytes());
    rest.is_some_and(|rest| rest.first() == Some(&b'='))
}

pub(crate) fn text(value: &str) -> Result<CString> {
    CString::new(value)
        .map_err(|_| Error::new("execve", format_args!("{value:?} (NUL byte)"), Errno::INVAL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_execve_cannot_take() {
        let none: [&str; 0] = [];
        assert!(Plan::new(&none).is_err());
        assert!(Plan::new(&["sh"]).is_err());
        assert!(Plan::new(&["/bin/sh", "a\0b"]).is_err());
        let mut plan = Plan::new(&["/bin/sh", "-c"]).unwrap();
        assert!(plan.set_env("A=B", "").is_err());
        assert!(plan.set_env("", "").is_err());
        plan.set_env("A", "1").unwrap();
        plan.set_env("AB", "2").unwrap();
        plan.set_env("A", "3").unwrap();
        assert_eq!(plan.environment, [c"A=3".to_owned(), c"AB=2".to_owned()]);
        plan.set_env_own_pid("A").unwrap();
        plan.set_env_own_pid("A").unwrap();
        assert_eq!(plan.environment, [c"AB=2".to_owned()]);
        assert_eq!(plan.own_pid, [c"A".to_owned()]);
        plan.set_env("A", "4").unwrap();
        assert_eq!(plan.own_pid.len(), 0);
        plan.unset_env("A");
        assert_eq!(plan.environment, [c"AB=2".to_owned()]);
        assert!(plan.set_env_own_pid("A=B").is_err());
    }

    #[test]
    fn resources_have_the_kernels_numbers() {
        let number = |resource: Resource| i64::try_from(resource.number()).unwrap();
        assert_eq!(number(Resource::Stack), i64::from(libc::RLIMIT_STACK));
        assert_eq!(number(Resource::Core), i64::from(libc::RLIMIT_CORE));
        assert_eq!(number(Resource::Nproc), i64::from(libc::RLIMIT_NPROC));
        assert_eq!(number(Resource::Nofile), i64::from(libc::RLIMIT_NOFILE));
        assert_eq!(number(Resource::Memlock), i64::from(libc::RLIMIT_MEMLOCK));
    }
}
