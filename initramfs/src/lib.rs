//! The writer of initramfs images, pure: entries in, bytes out. Not here: the program that runs in
//! an initramfs (`stage1`, the binary of this crate).
#![forbid(unsafe_code)]

pub mod archive;
