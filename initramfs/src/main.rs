//! `stage1`: the `/init` of the initramfs.
//!
//! Started as process 1 by the kernel it boots the machine (`stage1`). Started by itself it is a
//! small helper that enters a root and becomes a program there, because e2fsck lives in the root it
//! is needed for.
#![forbid(unsafe_code)]

mod stage1;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    if std::process::id() == 1 {
        stage1::boot();
    }
    if arguments
        .next_if(|argument| argument == stage1::HELPER)
        .is_some()
    {
        return match stage1::enter_root(arguments) {
            Ok(never) => match never {},
            Err(error) => {
                eprintln!("stage1: {error}");
                ExitCode::from(126)
            }
        };
    }
    eprintln!(
        "stage1 is the /init of an initramfs and does its work only as process 1; see shark-stage1(8)"
    );
    ExitCode::from(2)
}
