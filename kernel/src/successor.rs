//! The program that takes the place of this one in the same process, and what is handed to it: a
//! memory file with its state. Prepared ahead, so that it can be done from a signal handler. Not
//! here: what the state is (init), and executing anything else (`spawn`).
//!
//! The memory file begins with [`HEADER`] bytes of ours: why the program was replaced, and when it
//! has crashed lately. After a crash, whoever comes next must be able to trust that much, whatever has
//! become of the memory of the program that crashed.

use std::ffi::{CString, c_char};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering};

use rustix::fs::{SealFlags, fcntl_add_seals, fcntl_get_seals, ftruncate};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::error::{At, Errno, Error, Result, last_errno};

/// Bytes at the start of the memory file that are not its owner's: the times of crashes, the cause.
pub const HEADER: usize = 64;
/// So many crashes are remembered.
pub const CRASHES: usize = 4;
const CAUSE_AT: usize = CRASHES * 8;
/// The word that says to the program for what it is started.
pub const WORD: &str = "resume";
/// The program itself, whatever has become of its file.
const ITSELF: &core::ffi::CStr = c"/proc/self/exe";
/// After so many numbers in a row without a descriptor, no more are looked at.
const GAP: i32 = 4096;
/// Stack of the handler: it calls little.
const STACK: usize = 64 * 1024;
/// What a broken program gets.
const FAULTS: [libc::c_int; 6] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGABRT,
    libc::SIGSYS,
];

/// Why a program was replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Somebody asked for it.
    Asked,
    /// It found itself broken.
    Panic,
    /// It got this signal.
    Signal(u8),
}

impl Cause {
    const fn code(self) -> u32 {
        match self {
            Self::Asked => 0,
            Self::Panic => 1,
            Self::Signal(number) => 0x100 | number as u32,
        }
    }

    fn from_code(code: u32) -> Self {
        match code {
            0 => Self::Asked,
            1 => Self::Panic,
            _ => Self::Signal(u8::try_from(code & 0xff).unwrap_or(0)),
        }
    }
}

/// A memory file of fixed size that is mapped.
#[derive(Debug)]
pub struct Memory {
    fd: OwnedFd,
    base: NonNull<u8>,
    size: usize,
}

impl Memory {
    /// A file of `size` bytes, all zero.
    ///
    /// # Errors
    /// memfd_create(2), ftruncate(2), mmap(2): no memory, no descriptor.
    pub fn new(name: &str, size: usize) -> Result<Self> {
        let fd = crate::memfd::create(name)?;
        let length = u64::try_from(size).unwrap_or(u64::MAX);
        ftruncate(&fd, length).at("ftruncate", name)?;
        // It is what it is: nobody can take a page away under the mapping.
        fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW).at("fcntl", "F_ADD_SEALS")?;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice; the file cannot shrink.
        let base = unsafe {
            mmap(
                core::ptr::null_mut(),
                size,
                access,
                MapFlags::SHARED,
                &fd,
                0,
            )
        };
        let base = base.at("mmap", name)?;
        let base = NonNull::new(base.cast()).ok_or(Error::new("mmap", name, Errno::NOMEM))?;
        Ok(Self { fd, base, size })
    }

    /// What of it is the caller's: all but the header.
    pub fn room(&mut self) -> &mut [u8] {
        // SAFETY: the mapping of `new`, of this length, borrowed as `self` is. Only this process has
        // the file, and it writes the header by descriptor, outside of this slice.
        let whole = unsafe { core::slice::from_raw_parts_mut(self.base.as_ptr(), self.size) };
        whole.get_mut(HEADER..).unwrap_or_default()
    }

    /// Takes over what is known of crashes.
    ///
    /// # Errors
    /// pwrite(2).
    pub fn set_history(&self, crashes: [u64; CRASHES]) -> Result<()> {
        let bytes = crashes.map(u64::to_le_bytes);
        rustix::io::pwrite(&self.fd, bytes.as_flattened(), 0)
            .map(drop)
            .at("pwrite", "memfd")
    }
}

impl AsFd for Memory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let raw = self.fd.as_raw_fd();
        // Whoever executes the next program from now on must not hand this over.
        let _other = STATE.compare_exchange(raw, -1, Ordering::SeqCst, Ordering::SeqCst);
        // SAFETY: the mapping of `new`, of this length; `room` borrows `self`.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.size) };
    }
}

/// What a former program has left.
#[derive(Debug)]
pub struct Left {
    /// Why it was replaced.
    pub cause: Cause,
    /// When programs have crashed, nanoseconds of CLOCK_BOOTTIME, the latest last; 0: never.
    pub crashes: [u64; CRASHES],
    /// All but the header.
    pub state: Vec<u8>,
}

/// Whether `fd` is a memory file such as [`Memory::new`] makes: of fixed size. No file on a disk is,
/// and nothing that the kernel leaves open for its first process.
#[must_use]
pub fn is_memory(fd: impl AsFd) -> bool {
    let fixed = SealFlags::SHRINK | SealFlags::GROW;
    fcntl_get_seals(fd).is_ok_and(|seals| seals.contains(fixed))
}

/// Reads what a former program has left in `fd`, of at most `limit` bytes.
///
/// # Errors
/// EPERM when it is no such file, EFBIG past the limit; read(2).
pub fn read(fd: impl AsFd, limit: usize) -> Result<Left> {
    if !is_memory(&fd) {
        return Err(Errno::PERM).at("read", "what is no memfd of fixed size");
    }
    let size = rustix::fs::fstat(&fd).at("fstat", "memfd")?.st_size;
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    if size > limit {
        return Err(Errno::FBIG).at("read", format_args!("memfd of {size} bytes"));
    }
    let mut bytes = vec![0; size];
    let mut done = 0_usize;
    while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
        let offset = u64::try_from(done).unwrap_or(u64::MAX);
        match rustix::io::pread(&fd, rest, offset).at("read", "memfd")? {
            0 => return Err(Errno::IO).at("read", "memfd"),
            count => done = done.saturating_add(count),
        }
    }
    let mut crashes = [0; CRASHES];
    for (crash, at) in crashes.iter_mut().zip((0..).step_by(8)) {
        *crash = number(&bytes, at);
    }
    let code = u32::try_from(number(&bytes, CAUSE_AT) & u64::from(u32::MAX)).unwrap_or(0);
    Ok(Left {
        cause: Cause::from_code(code),
        crashes,
        state: bytes.split_off(HEADER.min(bytes.len())),
    })
}

fn number(bytes: &[u8], at: usize) -> u64 {
    let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>());
    bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// What the next program is executed with.
struct Prepared {
    name: CString,
    environment: Vec<*const c_char>,
    /// Where a fault is told.
    sink: Option<CString>,
}

/// The number of the memory file; -1: there is none.
static STATE: AtomicI32 = AtomicI32::new(-1);
static PREPARED: AtomicPtr<Prepared> = AtomicPtr::new(core::ptr::null_mut());

/// Prepares what the next program is executed with: the name it finds as its zeroth argument, and the
/// environment as it is now. Faults are told in the file `sink`. Called once; what it prepares stays.
///
/// # Errors
/// EINVAL: a name holds a NUL byte.
pub fn prepare(name: &str, sink: Option<&str>) -> Result<()> {
    let text = |text: &str| {
        let made = CString::new(text).map_err(|_| Errno::INVAL);
        made.at("prepare the next program", text)
    };
    let mut environment = Vec::new();
    for (name, value) in std::env::vars_os() {
        let mut pair = name.into_encoded_bytes();
        pair.push(b'=');
        pair.extend_from_slice(value.as_encoded_bytes());
        if let Ok(pair) = CString::new(pair) {
            // It lives as long as this program.
            environment.push(pair.into_raw().cast_const());
        }
    }
    environment.push(core::ptr::null());
    let prepared = Box::new(Prepared {
        name: text(name)?,
        environment,
        sink: sink.map(text).transpose()?,
    });
    PREPARED.store(Box::into_raw(prepared), Ordering::SeqCst);
    Ok(())
}

/// What is handed to the next program, from now on.
pub fn keep(memory: BorrowedFd<'_>) {
    STATE.store(memory.as_raw_fd(), Ordering::SeqCst);
}

/// Nothing is handed over any more: a crash ends this process.
pub fn forget() {
    STATE.store(-1, Ordering::SeqCst);
}

/// Executes `program`, or this one again, with every descriptor and with the memory file. Returns only
/// the reason why not: then everything is as it was.
pub fn execute(program: &str) -> Error {
    let Ok(path) = CString::new(program) else {
        return Error::new("execve", program, Errno::INVAL);
    };
    note(Cause::Asked, None);
    Error::new("execve", program, replace(&path))
}

/// The way on after a crash: notes it, and executes this program again. Returns only where that fails.
/// It allocates nothing and takes no lock.
pub fn crashed(cause: Cause) -> Errno {
    note(cause, Some(crate::clock::boottime()));
    replace(ITSELF)
}

/// Writes the cause, and for a crash its time, into the header.
fn note(cause: Cause, at: Option<u64>) {
    let raw = STATE.load(Ordering::SeqCst);
    if raw < 0 {
        return;
    }
    // SAFETY: `STATE` is the number of a descriptor that is open: of a `Memory`, whose drop takes it
    // out, or of the file that this program was given and keeps while it resumes.
    let fd = unsafe { BorrowedFd::borrow_raw(raw) };
    let mut header = [0; HEADER];
    let _read = rustix::io::pread(fd, &mut header, 0);
    if let Some(at) = at {
        header.copy_within(8..CAUSE_AT, 0);
        if let Some(last) = header.get_mut(CAUSE_AT.saturating_sub(8)..CAUSE_AT) {
            last.copy_from_slice(&at.to_le_bytes());
        }
    }
    if let Some(place) = header.get_mut(CAUSE_AT..CAUSE_AT.saturating_add(4)) {
        place.copy_from_slice(&cause.code().to_le_bytes());
    }
    let _written = rustix::io::pwrite(fd, &header, 0);
}

/// Executes `path`; only the reason why not comes back.
fn replace(path: &core::ffi::CStr) -> Errno {
    let state = STATE.load(Ordering::SeqCst);
    let prepared = PREPARED.load(Ordering::SeqCst);
    if state < 0 || prepared.is_null() {
        return Errno::BADF;
    }
    // SAFETY: never freed and never changed, once it is in its place.
    let prepared = unsafe { &*prepared };
    let mut digits = [0_u8; 12];
    write_number(state, &mut digits);
    let arguments = [
        prepared.name.as_ptr(),
        c"resume".as_ptr(),
        digits.as_ptr().cast(),
        core::ptr::null(),
    ];
    // Blocked, the next program's own faults would kill it; the others stay as they are, so that
    // nothing is lost that comes meanwhile.
    mask_faults(libc::SIG_UNBLOCK);
    inherit(true);
    // SAFETY: a C string and two null-terminated arrays of C strings, all alive.
    unsafe {
        libc::execve(
            path.as_ptr(),
            arguments.as_ptr(),
            prepared.environment.as_ptr(),
        );
    }
    let errno = last_errno();
    inherit(false);
    errno
}

/// Lets every descriptor but the standard ones stay open over execve(2), or none of them.
fn inherit(keep: bool) {
    let flags = if keep { 0 } else { libc::FD_CLOEXEC };
    let mut nothing = 0;
    let mut number = 3;
    while nothing < GAP {
        // SAFETY: plain numbers; a descriptor's flag changes nothing about whose it is.
        let answer = unsafe { libc::fcntl(number, libc::F_SETFD, flags) };
        nothing = if answer < 0 {
            nothing.saturating_add(1)
        } else {
            0
        };
        number = number.saturating_add(1);
    }
}

/// `number` in decimal, with a NUL at its end.
fn write_number(number: i32, digits: &mut [u8; 12]) {
    let mut rest = number.unsigned_abs();
    let mut count = 1;
    while rest >= 10 {
        rest /= 10;
        count += 1;
    }
    rest = number.unsigned_abs();
    for place in digits.iter_mut().take(count).rev() {
        *place = b'0'.saturating_add(u8::try_from(rest % 10).unwrap_or(0));
        rest /= 10;
    }
}

fn mask_faults(how: libc::c_int) {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set, sigaddset changes an initialised one; no old set is
    // asked for.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for fault in FAULTS {
            libc::sigaddset(set.as_mut_ptr(), fault);
        }
        libc::pthread_sigmask(how, set.as_ptr(), core::ptr::null_mut());
    }
}

/// Has this program executed again when it gets a signal that says that it is broken. A handler that
/// cannot do so gives the signal its way.
///
/// # Errors
/// sigaltstack(2), sigaction(2).
pub fn catch_faults() -> Result<()> {
    let stack = Box::leak(vec![0_u8; STACK].into_boxed_slice());
    let stack = libc::stack_t {
        ss_sp: stack.as_mut_ptr().cast(),
        ss_flags: 0,
        ss_size: STACK,
    };
    // SAFETY: the stack is leaked, so it is there for good and nobody else's.
    if unsafe { libc::sigaltstack(&raw const stack, core::ptr::null_mut()) } != 0 {
        return Err(Error::new("sigaltstack", "", last_errno()));
    }
    // SAFETY: all zeroes is a sigaction: the default one with an empty mask.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    let handler: extern "C" fn(libc::c_int) = broken;
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = libc::SA_ONSTACK | libc::SA_RESETHAND | libc::SA_NODEFER;
    for fault in FAULTS {
        // SAFETY: a handler that only does what is safe in one: it makes system calls, and reads
        // memory that never changes.
        if unsafe { libc::sigaction(fault, &raw const action, core::ptr::null_mut()) } != 0 {
            return Err(Error::new("sigaction", fault, last_errno()));
        }
    }
    mask_faults(libc::SIG_UNBLOCK);
    Ok(())
}

/// The handler. After SA_RESETHAND, a second fault in here ends this process.
extern "C" fn broken(signal: libc::c_int) {
    let number = u8::try_from(signal).unwrap_or(0);
    let prepared = PREPARED.load(Ordering::SeqCst);
    // SAFETY: null, or never freed and never changed.
    let sink = unsafe { prepared.as_ref() }.and_then(|it| it.sink.as_ref());
    if let Some(sink) = sink {
        let mut line = *b"<24>shark: init is broken: signal ??\n";
        let tens = line.len().saturating_sub(3);
        if let Some([high, low]) = line.get_mut(tens..tens.saturating_add(2)) {
            *high = b'0'.saturating_add(number / 10);
            *low = b'0'.saturating_add(number % 10);
        }
        // SAFETY: a C string; the descriptor is used here alone, and closed by execve(2).
        unsafe {
            let flags = libc::O_WRONLY | libc::O_NONBLOCK | libc::O_CLOEXEC | libc::O_APPEND;
            let fd = libc::open(sink.as_ptr(), flags);
            libc::write(fd, line.as_ptr().cast(), line.len());
            libc::close(fd);
        }
    }
    let _failed = crashed(Cause::Signal(number));
    // Back where it was broken, with the default action: the kernel takes over.
    // SAFETY: plain numbers; only what is safe in a handler.
    unsafe { libc::raise(signal) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_they_are_read() {
        for number in [0, 7, 10, 123, 65_535, i32::MAX] {
            let mut digits = [0; 12];
            write_number(number, &mut digits);
            let text = core::ffi::CStr::from_bytes_until_nul(&digits).unwrap();
            assert_eq!(text.to_str().unwrap(), number.to_string());
        }
    }

    #[test]
    fn what_is_left_is_read_and_nothing_else_is_taken_for_it() {
        let mut memory = Memory::new("state", 4096).unwrap();
        memory.room()[..5].copy_from_slice(b"state");
        memory.set_history([0, 0, 7, 8]).unwrap();
        let left = read(&memory, 4096).unwrap();
        assert_eq!(&left.state[..6], b"state\0");
        assert_eq!(left.state.len(), 4096 - HEADER);
        assert_eq!((left.cause, left.crashes), (Cause::Asked, [0, 0, 7, 8]));
        assert_eq!(read(&memory, 4095).unwrap_err().errno, Errno::FBIG);
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(!is_memory(&file));
        assert!(!is_memory(crate::memfd::create("open").unwrap()));
        assert_eq!(read(&file, 4096).unwrap_err().errno, Errno::PERM);
        for cause in [Cause::Asked, Cause::Panic, Cause::Signal(11)] {
            assert_eq!(Cause::from_code(cause.code()), cause);
        }
    }
}
