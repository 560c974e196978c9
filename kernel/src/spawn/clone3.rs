//! The few instructions that no library offers: clone3 onto another stack, and system calls that
//! touch nothing but registers (no errno, which the child shares with its parent). Not here: what
//! the child does (`child`).

use core::arch::asm;

use rustix::io::Errno;

/// `struct clone_args` of clone3(2), as of Linux 5.7 (cgroup).
#[repr(C)]
#[derive(Default)]
pub(super) struct CloneArgs {
    pub(super) flags: u64,
    pub(super) pidfd: u64,
    pub(super) child_tid: u64,
    pub(super) parent_tid: u64,
    pub(super) exit_signal: u64,
    pub(super) stack: u64,
    pub(super) stack_size: u64,
    pub(super) tls: u64,
    pub(super) set_tid: u64,
    pub(super) set_tid_size: u64,
    pub(super) cgroup: u64,
}

pub(super) const CLONE_VM: u64 = 0x100;
pub(super) const CLONE_FILES: u64 = 0x400;
pub(super) const CLONE_PIDFD: u64 = 0x1000;
pub(super) const CLONE_VFORK: u64 = 0x4000;
/// Handled signals have their default in the child; Linux 5.5.
pub(super) const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
pub(super) const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// clone3(2): in the parent, the child's pid; the child runs `entry(argument)` on the stack of
/// `args` and never comes back here.
///
/// # Safety
/// `args` names a stack nobody else uses; with CLONE_VM, `entry` and all it touches must bear being
/// run beside (with CLONE_VFORK: in place of) the parent, and must not return or unwind.
pub(super) unsafe fn clone3(
    args: &CloneArgs,
    entry: unsafe extern "C" fn(*mut u8) -> !,
    argument: *mut u8,
) -> Result<i32, Errno> {
    let result: isize;
    // SAFETY: the kernel reads `args`; the parent comes back with every register but the answer and
    // what is named as changed. The child gets zero and the new stack pointer, 16 bytes aligned,
    // and calls `entry` with its argument from registers the kernel kept. The caller vouches for
    // `entry`.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") core::ptr::from_ref(args),
            in("rsi") size_of::<CloneArgs>(),
            in("r12") argument,
            in("r13") entry,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!(
            "svc #0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x30, xzr",
            "mov x0, x20",
            "blr x21",
            "brk #1",
            "2:",
            inlateout("x0") core::ptr::from_ref(args) => result,
            in("x1") size_of::<CloneArgs>(),
            in("x8") libc::SYS_clone3,
            in("x20") argument,
            in("x21") entry,
            // Named as changed although the parent's is kept: the compiler must not hold a value
            // in the link register across this block, where the child clears it.
            lateout("x30") _,
        );
    }
    check(result).map(|pid| i32::try_from(pid).unwrap_or(0))
}

/// A system call with up to six arguments; the answer, or the errno.
///
/// # Safety
/// As the system call itself: pointers must be good for what it does with them.
#[inline]
pub(super) unsafe fn syscall(number: libc::c_long, arguments: [usize; 6]) -> Result<usize, Errno> {
    let [a, b, c, d, e, f] = arguments;
    let result: isize;
    // SAFETY: the kernel changes the answer and, on x86_64, rcx and r11; memory only as the call
    // does, for which the caller vouches.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") a,
            in("rsi") b,
            in("rdx") c,
            in("r10") d,
            in("r8") e,
            in("r9") f,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!(
            "svc #0",
            inlateout("x0") a => result,
            in("x1") b,
            in("x2") c,
            in("x3") d,
            in("x4") e,
            in("x5") f,
            in("x8") number,
            options(nostack),
        );
    }
    check(result)
}

/// Answers from -4095 to -1 are errors (syscalls(2)).
fn check(result: isize) -> Result<usize, Errno> {
    match usize::try_from(result) {
        Ok(value) => Ok(value),
        Err(_) => Err(Errno::from_raw_os_error(
            i32::try_from(result.wrapping_neg()).unwrap_or(libc::EIO),
        )),
    }
}
