//! The program `init`: PID 1, and under other names of its first argument its children. Not here:
//! any of these parts.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use init::arguments::{self, Mode};

#[global_allocator]
static HEAP: kernel::heap::Heap = kernel::heap::Heap;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let mode = arguments::mode(std::process::id(), &arguments);
    if mode.works_for_init() {
        // Where that is not allowed, as in a user namespace, init is not spared either, and says so.
        let _ = kernel::system::spare_from_oom();
    }
    match mode {
        Mode::Supervise => init::pid1::run(),
        Mode::Resume(number) => init::pid1::resume(number),
        Mode::Load => init::load::run(),
        Mode::Log { machine } => init::log::run(machine),
        Mode::Final(kind) => {
            init::ending::last::run(kind, init::ending::bequest::Bequest::from_environment())
        }
        Mode::Sync => {
            kernel::reboot::sync();
            ExitCode::SUCCESS
        }
        // For somebody who only tries the word, everything would be unmounted under their feet.
        Mode::Detach if std::os::unix::process::parent_id() == 1 => init::ending::last::detach(),
        Mode::Detach => {
            eprintln!("init: `init detach` is run by PID 1 itself, at the end");
            ExitCode::from(2)
        }
        Mode::Record { device } => init::record::child::run(&device),
        Mode::Scrub { device, bytes } => init::scrub::run(&device, &bytes),
        Mode::Start { order, words } => init::starter::run(&order, words.as_deref()),
        Mode::Budget => init::budget::run(),
        Mode::Probe(probe) => init::probe::run(&probe),
        Mode::Timers { file } => init::timers::run(&file),
        Mode::Help => {
            print!("{}", arguments::HELP);
            ExitCode::SUCCESS
        }
        Mode::Version => {
            println!("Shark init {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        Mode::Misused(why) => {
            eprintln!("init: {why}");
            ExitCode::from(2)
        }
    }
}
