//! Starting programs: clone3, a prepared child, execve. Not here: which program, and what becomes of
//! it (init), reaping (`reap`).
//!
//! # Why vfork semantics
//!
//! The child is made with `CLONE_VM | CLONE_VFORK`: it borrows the parent's memory and the parent
//! waits until the child has executed its program or failed.
//!
//! * fork(2) copies PID 1's page tables, and every page either side touches afterwards is copied
//!   and charged to the cgroup the child was born in. A service with a small `memory.max` could be
//!   OOM-killed before it runs. Here nothing is copied.
//! * It takes the same short time however large PID 1 is.
//! * An error comes back as a value, with the step that failed, through plain memory: no pipe.
//!
//! # What it costs
//!
//! PID 1 stands still from the clone to the execve: the time to make directories, open a terminal
//! and read the head of the program, as a rule well below a millisecond. A program on a dead network
//! filesystem holds PID 1 as long as it holds the child; a child stopped (SIGSTOP, a frozen cgroup)
//! in that moment does as well. Callers thaw a cgroup before they spawn into it. A child that is born
//! among busy processes waits for its turn on the processor there: seconds in a cgroup of little weight or
//! with a quota that is used up. Callers spawn into empty cgroups, and limit their processor afterwards; or
//! beside, and the child's program goes on there ([`fork`]).
//!
//! The kernel lets the parent go when the child leaves the shared memory, which is just before it
//! closes the CLOEXEC descriptors: an end of file that depends on them may come a moment later. An
//! execve that fails after that point (no memory for the new image) ends in a killed child, not in
//! an error here.
//!
//! While the child has the user's id and still the parent's memory, the memory must not be open to
//! that user's debugger: the kernel clears the "dumpable" flag at the change of user, and it is set
//! back once the child is gone.

mod child;
mod clone3;
mod fork;
mod low;
mod own_pid;
mod plan;

use std::ffi::CString;
use std::fmt;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

use crate::error::{At, Errno, Error, Result, write_errno};
use child::{Orders, Report, Standard};
use clone3::{
    CLONE_CLEAR_SIGHAND, CLONE_FILES, CLONE_INTO_CGROUP, CLONE_PIDFD, CLONE_VFORK, CLONE_VM,
    CloneArgs,
};
pub use fork::{Side, fork};
use low::Low;
use own_pid::OwnPid;
pub use plan::{Directory, Ids, Limit, MAX_EXTRA_FDS, Plan, Resource, Stdio, Wiring};

/// Stack of the child: its frames are shallow, unused pages are never touched.
const STACK: usize = 64 * 1024;
/// Below the stack, so that an overflow faults instead of writing into something else. A multiple
/// of every page size of arm64.
const GUARD: usize = 64 * 1024;

/// A process that has executed its program.
#[derive(Debug)]
pub struct Child {
    /// Its number.
    pub pid: u32,
    /// Its pidfd: readable when it has ended, CLOEXEC.
    pub pidfd: OwnedFd,
}

/// What the child was doing when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[allow(missing_docs)]
pub enum Step {
    Clone = 1,
    Session,
    Directory,
    OomScoreAdj,
    Terminal,
    Descriptor,
    CloseRange,
    Limit,
    Nice,
    WorkingDir,
    Groups,
    Group,
    User,
    Signals,
    Execute,
}

impl Step {
    const ALL: [Self; 15] = [
        Self::Clone,
        Self::Session,
        Self::Directory,
        Self::OomScoreAdj,
        Self::Terminal,
        Self::Descriptor,
        Self::CloseRange,
        Self::Limit,
        Self::Nice,
        Self::WorkingDir,
        Self::Groups,
        Self::Group,
        Self::User,
        Self::Signals,
        Self::Execute,
    ];

    const fn code(self) -> u32 {
        self as u32
    }

    fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.code() == code)
    }

    /// What was being done, as people would say it.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Clone => "make a process",
            Self::Session => "start a session",
            Self::Directory => "make directory",
            Self::OomScoreAdj => "set oom_score_adj",
            Self::Terminal => "take terminal",
            Self::Descriptor => "pass descriptor",
            Self::CloseRange => "mark descriptors to close",
            Self::Limit => "set limit",
            Self::Nice => "set nice",
            Self::WorkingDir => "change to directory",
            Self::Groups => "set supplementary groups",
            Self::Group => "set group",
            Self::User => "set user",
            Self::Signals => "reset signals",
            Self::Execute => "execute",
        }
    }
}

/// A spawn that failed; no process is left of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpawnError {
    /// What was being done.
    pub step: Step,
    /// On what: a path, a number; may be empty.
    pub object: String,
    /// The answer of the kernel.
    pub errno: Errno,
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.step.describe())?;
        if !self.object.is_empty() {
            write!(f, " {}", self.object)?;
        }
        f.write_str(": ")?;
        write_errno(f, self.errno)
    }
}

impl std::error::Error for SpawnError {}

impl From<Error> for SpawnError {
    fn from(error: Error) -> Self {
        Self {
            step: Step::Clone,
            object: format!("({} {})", error.operation, error.object),
            errno: error.errno,
        }
    }
}

/// What a child has of this process without being given it; `None`: unknown.
#[derive(Clone, Debug)]
struct Inherited {
    nice: Option<i8>,
    oom_score_adj: Option<i16>,
    umask: Option<u32>,
    working_dir: Option<CString>,
}

impl Inherited {
    fn now() -> Self {
        let nice = rustix::process::getpriority_process(None).ok();
        let text = |path: &str, limit| {
            let bytes = crate::files::read(path, limit).ok()?;
            String::from_utf8(bytes).ok()
        };
        let adj = text("/proc/self/oom_score_adj", 16);
        let status = text("/proc/self/status", 16 << 10).unwrap_or_default();
        let mut lines = status.lines();
        let umask = lines.find_map(|line| line.strip_prefix("Umask:"));
        Self {
            nice: nice.and_then(|it| i8::try_from(it).ok()),
            oom_score_adj: adj.and_then(|text| text.trim().parse().ok()),
            umask: umask.and_then(|it| u32::from_str_radix(it.trim(), 8).ok()),
            working_dir: rustix::process::getcwd(Vec::new()).ok(),
        }
    }
}

/// Starts programs one after the other, on a stack of its own that is used again each time.
#[derive(Debug)]
pub struct Spawner {
    base: NonNull<u8>,
    /// Signals that this process ignores, a bit each: the others need no reset.
    ignored_signals: u64,
    /// What children inherit need not be set.
    inherited: Inherited,
    /// Absent where there is no /dev/null: then children copy the whole table of descriptors.
    low: Option<Low>,
}

impl Spawner {
    /// Maps the stack, and looks what children inherit. What changes later they would inherit
    /// unnoticed.
    ///
    /// # Errors
    /// mmap(2): ENOMEM.
    pub fn new() -> Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::PRIVATE | MapFlags::STACK;
        let length = GUARD.saturating_add(STACK);
        // SAFETY: a new private mapping at an address of the kernel's choice.
        let base = unsafe { mmap_anonymous(core::ptr::null_mut(), length, protection, flags) }
            .at("mmap", "stack")?;
        let base = NonNull::new(base.cast::<u8>())
            .ok_or(Errno::NOMEM)
            .at("mmap", "stack")?;
        let spawner = Self {
            base,
            ignored_signals: ignored_signals(),
            inherited: Inherited::now(),
            low: Low::new().ok(),
        };
        // SAFETY: the first pages of the mapping just made, which nothing uses.
        unsafe { mprotect(base.as_ptr().cast(), GUARD, MprotectFlags::empty()) }
            .at("mprotect", "stack")?;
        Ok(spawner)
    }

    /// Starts the program of `plan`, wired as `wiring` says, and returns once it is executing.
    ///
    /// A child that fails is reaped here; one that succeeds is reaped by `reap`.
    ///
    /// # Errors
    /// [`SpawnError`] names the step. `Clone` with ENOSYS or EINVAL: the kernel is older than 5.5 (5.7 for
    /// a cgroup, which is EINVAL or E2BIG); with EAGAIN: `pids.max` or the like is reached; with
    /// EBUSY: the cgroup has controllers enabled for its children.
    pub fn spawn(
        &mut self,
        plan: &Plan,
        wiring: &Wiring<'_>,
    ) -> core::result::Result<Child, SpawnError> {
        let report = Report::new();
        let arguments = pointers(&plan.arguments);
        let own_pid: Vec<OwnPid> = plan.own_pid.iter().map(|it| OwnPid::new(it)).collect();
        let environment = variables(plan, &own_pid);
        let limits: Vec<_> = plan.limits.iter().map(limit).collect();
        let oom_score_adj = plan.oom_score_adj;
        let oom_score_adj = oom_score_adj.filter(|it| Some(*it) != self.inherited.oom_score_adj);
        let oom_score_adj = oom_score_adj.map(|value| value.to_string());
        let mut extra = extra(wiring)?;
        let held = match &mut self.low {
            Some(low) => low.hold(wiring).map_err(|errno| SpawnError {
                step: Step::Descriptor,
                object: String::new(),
                errno,
            })?,
            None => None,
        };
        let own_table = held.as_ref().and(self.low.as_ref()).map(Low::floor);
        if let Some(held) = &held {
            extra.clone_from(&held.extra);
        }
        let orders = Orders {
            report: &report,
            own_table,
            program: &plan.program,
            arguments: &arguments,
            environment: &environment,
            own_pid: &own_pid,
            standard: match wiring.stdio {
                Stdio::Terminal(path) => Standard::Terminal(path),
                Stdio::Each {
                    stdin,
                    stdout,
                    stderr,
                } => Standard::Each(match &held {
                    Some(held) => held.standard,
                    None => [stdin, stdout, stderr].map(|fd| fd.map(|fd| fd.as_raw_fd())),
                }),
            },
            extra: &extra,
            directories: &plan.directories,
            limits: &limits,
            nice: plan.nice.filter(|it| Some(*it) != self.inherited.nice),
            oom_score_adj: oom_score_adj.as_deref().map(str::as_bytes),
            umask: plan.umask.filter(|it| Some(*it) != self.inherited.umask),
            working_dir: Some(&*plan.working_dir)
                .filter(|it| Some(*it) != self.inherited.working_dir.as_deref()),
            ids: plan.ids.as_ref(),
            ignored_signals: self.ignored_signals,
        };
        let cloned = self.clone(&orders, wiring);
        if let (Some(low), Some(held)) = (&mut self.low, &held) {
            low.release(held);
        }
        let child = cloned.map_err(|errno| SpawnError {
            step: Step::Clone,
            object: String::new(),
            errno,
        })?;
        match report.failure() {
            None => Ok(child),
            Some((step, item, errno)) => {
                // It has ended or is about to: nothing to wait for. Its end says nothing new.
                let _ = crate::reap::wait(child.pid);
                Err(SpawnError {
                    step,
                    object: object(step, item, plan, wiring),
                    errno,
                })
            }
        }
    }

    fn clone(
        &mut self,
        orders: &Orders<'_>,
        wiring: &Wiring<'_>,
    ) -> core::result::Result<Child, Errno> {
        let mut pidfd: i32 = -1;
        let mut args = CloneArgs {
            flags: CLONE_VM | CLONE_VFORK | CLONE_PIDFD | CLONE_CLEAR_SIGHAND,
            pidfd: (&raw mut pidfd).expose_provenance() as u64,
            exit_signal: u64::from(crate::signals::Signal::CHLD.number()),
            stack: self.base.as_ptr().expose_provenance().wrapping_add(GUARD) as u64,
            stack_size: STACK as u64,
            ..CloneArgs::default()
        };
        if orders.own_table.is_some() {
            args.flags |= CLONE_FILES;
        }
        if let Some(cgroup) = wiring.cgroup {
            args.flags |= CLONE_INTO_CGROUP;
            args.cgroup = u64::try_from(cgroup.as_raw_fd()).map_err(|_| Errno::BADF)?;
        }
        let argument = core::ptr::from_ref(orders).cast_mut().cast::<u8>();
        let dumpable = orders.ids.is_some().then(dumpable);
        let mask = set_mask(u64::MAX)?;
        // SAFETY: the stack is mapped, and used by one child at a time: `self` is borrowed
        // mutably, and CLONE_VFORK suspends this thread until the child has left it. The child
        // only reads the orders and stores into the report's atomics; it neither returns nor
        // unwinds.
        let cloned = unsafe { clone3::clone3(&args, child::run, argument) };
        let _ = set_mask(mask);
        if let Some(value) = dumpable {
            set_dumpable(value);
        }
        let pid = u32::try_from(cloned?).map_err(|_| Errno::SRCH)?;
        // The kernel has written it; the compiler saw only an address go by.
        // SAFETY: a local variable.
        let raw = unsafe { (&raw const pidfd).read_volatile() };
        // SAFETY: clone3 succeeded with CLONE_PIDFD, so this is a new descriptor that nobody owns.
        let pidfd = unsafe { OwnedFd::from_raw_fd(raw) };
        Ok(Child { pid, pidfd })
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        // SAFETY: the mapping of `new`, of this length, and no child is on it.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), GUARD.saturating_add(STACK)) };
    }
}

/// Replaces this process by the program of `plan`, which says nothing but program, arguments,
/// environment and working directory here. Descriptors that are not CLOEXEC stay open.
///
/// # Errors
/// Only when it fails: chdir(2), execve(2).
pub fn exec(plan: &Plan) -> Error {
    if let Err(errno) = rustix::process::chdir(&plan.working_dir) {
        return Error::new("chdir", plan.working_dir.to_string_lossy(), errno);
    }
    let arguments = pointers(&plan.arguments);
    let own_pid: Vec<OwnPid> = plan.own_pid.iter().map(|it| OwnPid::new(it)).collect();
    own_pid.iter().for_each(|it| it.fill(std::process::id()));
    let environment = variables(plan, &own_pid);
    // Signals blocked by this process would stay so in the next.
    let _ = set_mask(0);
    // SAFETY: a C string and two null-terminated arrays of C strings, all alive.
    unsafe {
        libc::execve(
            plan.program.as_ptr(),
            arguments.as_ptr(),
            environment.as_ptr(),
        );
    }
    let program = plan.program.to_string_lossy();
    Error::new("execve", program, crate::error::last_errno())
}

fn pointers(texts: &[CString]) -> Vec<*const core::ffi::c_char> {
    let null = core::iter::once(core::ptr::null());
    texts.iter().map(|text| text.as_ptr()).chain(null).collect()
}

/// The environment as execve(2) takes it.
fn variables(plan: &Plan, own_pid: &[OwnPid]) -> Vec<*const core::ffi::c_char> {
    let null = core::iter::once(core::ptr::null());
    let known = plan.environment.iter().map(|text| text.as_ptr());
    known
        .chain(own_pid.iter().map(OwnPid::pointer))
        .chain(null)
        .collect()
}

fn limit(limit: &Limit) -> (usize, [u64; 2]) {
    // u64::MAX is RLIM64_INFINITY.
    (
        limit.resource.number(),
        [limit.value.unwrap_or(u64::MAX); 2],
    )
}

fn extra(wiring: &Wiring<'_>) -> core::result::Result<Vec<(i32, i32)>, SpawnError> {
    let refused = |object: String| SpawnError {
        step: Step::Descriptor,
        object,
        errno: Errno::INVAL,
    };
    if wiring.extra.len() > MAX_EXTRA_FDS {
        return Err(refused(format!("{} of them", wiring.extra.len())));
    }
    let mut list: Vec<(i32, i32)> = Vec::with_capacity(wiring.extra.len());
    for (fd, place) in wiring.extra {
        if *place < 3 || list.iter().any(|(_, taken)| taken == place) {
            return Err(refused(place.to_string()));
        }
        list.push((fd.as_raw_fd(), *place));
    }
    Ok(list)
}

/// What the failed step was about.
fn object(step: Step, item: usize, plan: &Plan, wiring: &Wiring<'_>) -> String {
    let path = |path: &core::ffi::CStr| path.to_string_lossy().into_owned();
    match step {
        Step::Clone | Step::Session | Step::CloseRange | Step::Signals => String::new(),
        Step::Directory => {
            let directory = plan.directories.get(item);
            directory.map_or_else(String::new, |directory| path(&directory.path))
        }
        Step::Terminal => match wiring.stdio {
            Stdio::Terminal(name) => path(name),
            Stdio::Each { .. } => String::new(),
        },
        Step::Descriptor => item.to_string(),
        Step::Limit => {
            let limit = plan.limits.get(item);
            limit.map_or_else(String::new, |limit| format!("{:?}", limit.resource))
        }
        Step::OomScoreAdj => plan
            .oom_score_adj
            .map_or_else(String::new, |v| v.to_string()),
        Step::Nice => plan.nice.map_or_else(String::new, |v| v.to_string()),
        Step::WorkingDir => path(&plan.working_dir),
        Step::Groups => plan
            .ids
            .as_ref()
            .map_or_else(String::new, |ids| format!("{:?}", ids.groups)),
        Step::Group => plan
            .ids
            .as_ref()
            .map_or_else(String::new, |ids| ids.gid.to_string()),
        Step::User => plan
            .ids
            .as_ref()
            .map_or_else(String::new, |ids| ids.uid.to_string()),
        Step::Execute => path(&plan.program),
    }
}

/// Signals that are ignored, signal 1 in the lowest bit: execve(2) would leave them so.
fn ignored_signals() -> u64 {
    let ignored = |signal: usize| {
        let mut action: [usize; 4] = [0; 4];
        let arguments = [signal, 0, (&raw mut action).expose_provenance(), 8, 0, 0];
        // SAFETY: the pointer is to room for the kernel's `struct sigaction`.
        let asked = unsafe { clone3::syscall(libc::SYS_rt_sigaction, arguments) };
        // One that cannot be asked about is reset, to be safe.
        let is_ignored = |handler: &usize| *handler == libc::SIG_IGN;
        asked.is_err() || action.first().is_some_and(is_ignored)
    };
    (1..=64)
        .filter(|signal| ignored(*signal))
        .fold(0, |mask, signal| mask | 1 << (signal - 1))
}

/// Sets the whole signal mask, also of the signals libc keeps for itself; the old mask.
fn set_mask(mask: u64) -> core::result::Result<u64, Errno> {
    let mut old = 0_u64;
    let arguments = [
        usize::try_from(libc::SIG_SETMASK).unwrap_or(0),
        (&raw const mask).expose_provenance(),
        (&raw mut old).expose_provenance(),
        8,
        0,
        0,
    ];
    // SAFETY: both pointers are to 8 bytes that outlive the call.
    unsafe { clone3::syscall(libc::SYS_rt_sigprocmask, arguments) }?;
    Ok(old)
}

fn dumpable() -> i32 {
    // SAFETY: plain numbers.
    unsafe { libc::prctl(libc::PR_GET_DUMPABLE, 0, 0, 0, 0) }
}

/// A value the kernel does not let us set back (2) stays as it is: the safe side.
fn set_dumpable(value: i32) {
    // SAFETY: plain numbers.
    let _ = unsafe { libc::prctl(libc::PR_SET_DUMPABLE, libc::c_long::from(value), 0, 0, 0) };
}
