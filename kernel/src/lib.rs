//! The only crate that talks to Linux, and the only one with `unsafe`.
//!
//! Every call that can be interrupted is tried again, every descriptor is CLOEXEC, and what PID 1
//! uses on its event loop does not block. Nothing here decides: callers say what they want, and an
//! [`Error`] says what the kernel thinks of it.
#![allow(
    unsafe_code,
    reason = "the one crate that may; each block says why it is sound"
)]

pub mod block;
pub mod boot_files;
pub mod cgroup;
pub mod clock;
pub mod confine;
pub mod console;
pub mod dm;
pub mod efi;
pub mod epoll;
pub mod error;
pub mod exec;
pub mod files;
pub mod headway;
pub mod heap;
pub mod inherited;
pub mod inotify;
pub mod kmsg;
pub mod listen;
pub mod memfd;
pub mod modules;
pub mod mount;
#[cfg(panic = "abort")]
mod no_backtrace;
pub mod pidfd;
pub mod pipe;
pub mod reap;
pub mod reboot;
pub mod same;
pub mod signals;
pub mod snapshot;
pub mod spawn;
pub mod successor;
pub mod system;
mod tree;
pub mod uevent;
pub mod unix;
pub mod watchdog;

pub use error::{Errno, Error, Result};
