//! What others share with stage1: the writer of initramfs images, pure, and the way to the outer loader
//! of this machine. Not here: the program that runs in an initramfs (`stage1`, the binary of this
//! crate).
#![forbid(unsafe_code)]

pub mod archive;
pub mod outer;
