//! What the child does between clone3 and execve. Not here: preparing it (`plan`), waiting for it
//! (`spawn`).
//!
//! It shares the parent's memory, so it allocates nothing, takes no lock, calls nothing of libc,
//! and cannot panic: raw system calls on data that was prepared before. Each step that fails leaves
//! its name and errno in [`Report`], which the parent reads once the child is gone.

use core::ffi::CStr;
use core::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use rustix::io::Errno;

use super::Step;
use super::clone3::syscall;
use super::own_pid::OwnPid;
use super::plan::{Directory, Ids, MAX_EXTRA_FDS};

/// Where the child leaves what went wrong; memory of the parent.
pub(super) struct Report {
    step: AtomicU32,
    errno: AtomicI32,
    item: AtomicU32,
}

impl Report {
    pub(super) const fn new() -> Self {
        Self {
            step: AtomicU32::new(0),
            errno: AtomicI32::new(0),
            item: AtomicU32::new(0),
        }
    }

    /// Step, which item of it, and errno; `None` when the child got as far as its program.
    pub(super) fn failure(&self) -> Option<(Step, usize, Errno)> {
        let step = Step::from_code(self.step.load(Ordering::Acquire))?;
        let item = usize::try_from(self.item.load(Ordering::Acquire)).unwrap_or(0);
        let errno = Errno::from_raw_os_error(self.errno.load(Ordering::Acquire));
        Some((step, item, errno))
    }

    fn fail(&self, step: Step, item: usize, errno: Errno) {
        self.errno.store(errno.raw_os_error(), Ordering::Release);
        let item = u32::try_from(item).unwrap_or(0);
        self.item.store(item, Ordering::Release);
        self.step.store(step.code(), Ordering::Release);
    }
}

/// Descriptors 0, 1 and 2, as numbers.
pub(super) enum Standard<'a> {
    Terminal(&'a CStr),
    Each([Option<i32>; 3]),
}

/// Everything the child needs, in the parent's memory.
pub(super) struct Orders<'a> {
    pub(super) report: &'a Report,
    /// The child has the parent's descriptors in common with it: it takes a table of its own, with
    /// those below this number.
    pub(super) own_table: Option<i32>,
    pub(super) program: &'a CStr,
    /// Null-terminated arrays of C strings.
    pub(super) arguments: &'a [*const core::ffi::c_char],
    pub(super) environment: &'a [*const core::ffi::c_char],
    /// Those of the environment that this process completes.
    pub(super) own_pid: &'a [OwnPid],
    pub(super) standard: Standard<'a>,
    /// Descriptor here, number there.
    pub(super) extra: &'a [(i32, i32)],
    pub(super) directories: &'a [Directory],
    /// Number of the resource, and the limit, soft and hard.
    pub(super) limits: &'a [(usize, [u64; 2])],
    pub(super) nice: Option<i8>,
    /// Decimal text.
    pub(super) oom_score_adj: Option<&'a [u8]>,
    pub(super) umask: Option<u32>,
    pub(super) working_dir: Option<&'a CStr>,
    pub(super) ids: Option<&'a Ids>,
    /// Ignored signals, to be reset, signal 1 in the lowest bit.
    pub(super) ignored_signals: u64,
}

type Outcome = Result<(), (Step, usize, Errno)>;

/// Entry of the child.
///
/// # Safety
/// `orders` points to [`Orders`] that stay where they are until this process has executed its
/// program or ended; the parent is suspended (CLONE_VFORK).
pub(super) unsafe extern "C" fn run(orders: *mut u8) -> ! {
    // SAFETY: the caller's promise.
    let orders = unsafe { &*orders.cast::<Orders<'_>>() };
    if let Err((step, item, errno)) = prepare_and_execute(orders) {
        orders.report.fail(step, item, errno);
    }
    loop {
        // SAFETY: ends this process; nothing of it is used afterwards.
        let _ = unsafe { syscall(libc::SYS_exit_group, [127, 0, 0, 0, 0, 0]) };
    }
}

fn prepare_and_execute(orders: &Orders<'_>) -> Outcome {
    let plain = |step: Step| move |errno: Errno| (step, 0, errno);
    if let Some(floor) = orders.own_table {
        // Before anything that opens or closes one: until here they are the parent's.
        let range = [
            number(floor),
            word(u32::MAX),
            word(CLOSE_RANGE_UNSHARE),
            0,
            0,
            0,
        ];
        call(libc::SYS_close_range, range).map_err(plain(Step::CloseRange))?;
    }
    call(libc::SYS_setsid, [0; 6]).map_err(plain(Step::Session))?;
    for (item, directory) in orders.directories.iter().enumerate() {
        make_directory(directory).map_err(|errno| (Step::Directory, item, errno))?;
    }
    if let Some(text) = orders.oom_score_adj {
        oom_score_adj(text).map_err(plain(Step::OomScoreAdj))?;
    }
    descriptors(orders)?;
    for (item, (resource, limit)) in orders.limits.iter().enumerate() {
        let arguments = [0, *resource, address(limit.as_ptr()), 0, 0, 0];
        call(libc::SYS_prlimit64, arguments).map_err(|errno| (Step::Limit, item, errno))?;
    }
    if let Some(nice) = orders.nice {
        let arguments = [0, 0, isize::from(nice).cast_unsigned(), 0, 0, 0];
        call(libc::SYS_setpriority, arguments).map_err(plain(Step::Nice))?;
    }
    if let Some(umask) = orders.umask {
        // Cannot fail.
        let _ = call(libc::SYS_umask, [word(umask), 0, 0, 0, 0, 0]);
    }
    if let Some(dir) = orders.working_dir {
        let dir = address(dir.as_ptr());
        call(libc::SYS_chdir, [dir, 0, 0, 0, 0, 0]).map_err(plain(Step::WorkingDir))?;
    }
    signals(orders.ignored_signals).map_err(plain(Step::Signals))?;
    fill_own_pid(orders.own_pid).map_err(plain(Step::Execute))?;
    // Last of all: from here on the user's other processes may stop this one, and with it the parent.
    // Inside of execve a stop waits until the parent is free.
    if let Some(ids) = orders.ids {
        identity(ids)?;
    }
    let arguments = [
        address(orders.program.as_ptr()),
        address(orders.arguments.as_ptr()),
        address(orders.environment.as_ptr()),
        0,
        0,
        0,
    ];
    call(libc::SYS_execve, arguments).map_err(plain(Step::Execute))
}

/// Completes what the environment says of this process, in the parent's memory that both use.
fn fill_own_pid(variables: &[OwnPid]) -> Result<(), Errno> {
    if variables.is_empty() {
        return Ok(());
    }
    let pid = value(libc::SYS_getpid, [0; 6])?;
    let pid = u32::try_from(pid).unwrap_or(0);
    variables.iter().for_each(|variable| variable.fill(pid));
    Ok(())
}

/// A system call whose pointers go to memory of [`Orders`] or of this stack.
fn call(number: libc::c_long, arguments: [usize; 6]) -> Result<(), Errno> {
    value(number, arguments).map(|_| ())
}

fn value(number: libc::c_long, arguments: [usize; 6]) -> Result<usize, Errno> {
    // SAFETY: every caller in this module passes numbers, and pointers to data that outlives the
    // call and has the layout the kernel expects.
    unsafe { syscall(number, arguments) }
}

fn address<T>(pointer: *const T) -> usize {
    pointer.expose_provenance()
}

fn word(value: u32) -> usize {
    usize::try_from(value).unwrap_or(0)
}

fn number(fd: i32) -> usize {
    isize::try_from(fd).unwrap_or(-1).cast_unsigned()
}

/// linux/close_range.h
const CLOSE_RANGE_UNSHARE: u32 = 1 << 1;

const AT_FDCWD: usize = (libc::AT_FDCWD as isize).cast_unsigned();

fn open(path: &CStr, flags: i32) -> Result<i32, Errno> {
    let flags = number(flags | libc::O_CLOEXEC);
    let fd = value(
        libc::SYS_openat,
        [AT_FDCWD, address(path.as_ptr()), flags, 0, 0, 0],
    )?;
    i32::try_from(fd).map_err(|_| Errno::BADF)
}

fn close(fd: i32) {
    let _ = call(libc::SYS_close, [number(fd), 0, 0, 0, 0, 0]);
}

/// mkdir, then owner and mode by descriptor, so that a link put there meanwhile is not followed.
fn make_directory(directory: &Directory) -> Result<(), Errno> {
    let path = address(directory.path.as_ptr());
    match call(libc::SYS_mkdirat, [AT_FDCWD, path, 0o700, 0, 0, 0]) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
    let fd = open(&directory.path, flags)?;
    let (uid, gid) = (word(directory.uid), word(directory.gid));
    let owned = call(libc::SYS_fchown, [number(fd), uid, gid, 0, 0, 0]);
    // After the owner: a change of owner clears set-id bits.
    let mode = word(directory.mode & 0o7777);
    let result = owned.and_then(|()| call(libc::SYS_fchmod, [number(fd), mode, 0, 0, 0, 0]));
    close(fd);
    result
}

fn oom_score_adj(text: &[u8]) -> Result<(), Errno> {
    let fd = open(c"/proc/self/oom_score_adj", libc::O_WRONLY)?;
    let arguments = [number(fd), address(text.as_ptr()), text.len(), 0, 0, 0];
    let result = call(libc::SYS_write, arguments);
    close(fd);
    result
}

/// Puts every descriptor in its place: those that lie in the way of one are first moved above the
/// highest place, so that none is overwritten before its turn; then the rest is marked to close, and
/// the places are filled.
fn descriptors(orders: &Orders<'_>) -> Outcome {
    let failed = |step: Step, item: usize| move |errno: Errno| (step, item, errno);
    let floor = orders
        .extra
        .iter()
        .map(|(_, place)| place.saturating_add(1))
        .fold(3, Ord::max);
    let mut sources = [-1; 3];
    match &orders.standard {
        Standard::Terminal(path) => {
            let fd = terminal(path, floor).map_err(failed(Step::Terminal, 0))?;
            sources = [fd; 3];
        }
        Standard::Each(given) => {
            for (place, (source, fd)) in sources.iter_mut().zip(given).enumerate() {
                *source = match fd {
                    Some(fd) => raise(*fd, floor),
                    None => null(floor),
                }
                .map_err(failed(Step::Descriptor, place))?;
            }
        }
    }
    let mut raised = [-1; MAX_EXTRA_FDS];
    for (slot, (fd, place)) in raised.iter_mut().zip(orders.extra) {
        let item = usize::try_from(*place).unwrap_or(0);
        *slot = raise(*fd, floor).map_err(failed(Step::Descriptor, item))?;
    }
    let flag = word(libc::CLOSE_RANGE_CLOEXEC);
    let range = [3, word(u32::MAX), flag, 0, 0, 0];
    call(libc::SYS_close_range, range).map_err(failed(Step::CloseRange, 0))?;
    let standard = sources.iter().zip([0, 1, 2]);
    let extra = raised.iter().zip(orders.extra.iter().map(|(_, to)| *to));
    for (from, to) in standard.chain(extra) {
        let item = usize::try_from(to).unwrap_or(0);
        let arguments = [number(*from), number(to), 0, 0, 0, 0];
        call(libc::SYS_dup3, arguments).map_err(failed(Step::Descriptor, item))?;
    }
    Ok(())
}

/// `fd`, or a copy of it at `floor` or above, which close_range will mark.
fn raise(fd: i32, floor: i32) -> Result<i32, Errno> {
    if fd >= floor {
        return Ok(fd);
    }
    let command = number(libc::F_DUPFD);
    let arguments = [number(fd), command, number(floor), 0, 0, 0];
    let fd = value(libc::SYS_fcntl, arguments)?;
    i32::try_from(fd).map_err(|_| Errno::BADF)
}

fn null(floor: i32) -> Result<i32, Errno> {
    let fd = open(c"/dev/null", libc::O_RDWR)?;
    raise(fd, floor)
}

/// Opened without waiting for a carrier, which would suspend the parent; then blocking again.
fn terminal(path: &CStr, floor: i32) -> Result<i32, Errno> {
    let fd = open(path, libc::O_RDWR | libc::O_NOCTTY | libc::O_NONBLOCK)?;
    let fd = raise(fd, floor)?;
    let request = usize::try_from(libc::TIOCSCTTY).unwrap_or(0);
    call(libc::SYS_ioctl, [number(fd), request, 1, 0, 0, 0])?;
    let flags = value(
        libc::SYS_fcntl,
        [number(fd), number(libc::F_GETFL), 0, 0, 0, 0],
    )?;
    let flags = flags & !number(libc::O_NONBLOCK);
    call(
        libc::SYS_fcntl,
        [number(fd), number(libc::F_SETFL), flags, 0, 0, 0],
    )?;
    Ok(fd)
}

/// Groups before the user, who may no longer change them.
fn identity(ids: &Ids) -> Outcome {
    let groups = [ids.groups.len(), address(ids.groups.as_ptr()), 0, 0, 0, 0];
    call(libc::SYS_setgroups, groups).map_err(|errno| (Step::Groups, 0, errno))?;
    let gid = word(ids.gid);
    let group = [gid, gid, gid, 0, 0, 0];
    call(libc::SYS_setresgid, group).map_err(|errno| (Step::Group, 0, errno))?;
    let uid = word(ids.uid);
    let user = [uid, uid, uid, 0, 0, 0];
    call(libc::SYS_setresuid, user).map_err(|errno| (Step::User, 0, errno))
}

/// `struct sigaction` as the kernel takes it; all zeroes is the default disposition. x86_64 has
/// four words, arm64 too (its restorer is unused).
type KernelSigaction = [usize; 4];

/// Default dispositions, then an empty mask. No handler of the parent can run here: it had the kernel
/// leave them out (CLONE_CLEAR_SIGHAND).
fn signals(ignored: u64) -> Result<(), Errno> {
    let default: KernelSigaction = [0; 4];
    for signal in 1..=64_usize {
        // KILL and STOP have no other disposition, and refuse to be given one.
        let is_ignored = ignored >> (signal - 1) & 1 == 1;
        if is_ignored && signal != 9 && signal != 19 {
            let arguments = [signal, address(default.as_ptr()), 0, 8, 0, 0];
            call(libc::SYS_rt_sigaction, arguments)?;
        }
    }
    let empty = 0_u64;
    let mask = address(&raw const empty);
    let how = number(libc::SIG_SETMASK);
    call(libc::SYS_rt_sigprocmask, [how, mask, 0, 8, 0, 0])
}
