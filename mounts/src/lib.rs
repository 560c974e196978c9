//! The boot decision as a pure core: what is on the disk, which slot to boot and why, how its root
//! is verified, what is mounted where, and what is unmounted at the end.
//!
//! Not here: any I/O. Bytes and texts come in as arguments, plans and texts go out; `kernel` reads
//! and acts, `initramfs` and `init` put the two together. There is no clock and no environment.
#![forbid(unsafe_code)]

pub mod bundle;
pub mod cmdline;
pub mod device;
pub mod dps;
pub mod envelope;
pub mod fetch;
pub mod gpt;
pub mod handover;
pub mod hash_tree;
pub mod install;
pub mod keyring;
pub mod loader;
pub mod manifest;
pub mod modules;
pub mod plan;
pub mod program;
pub mod slot;
pub mod state;
pub mod superblock;
pub mod uevent;
pub mod unmount;
pub mod verity;

mod hex;
mod key;
mod nearest;
mod wire;
