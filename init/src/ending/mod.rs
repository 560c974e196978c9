//! What comes after the last service: what is left is killed, then the machine is left from a tmpfs
//! of its own, or the namespace by exiting. Not here: the last stage itself (`last`).
//!
//! Here nothing is watched any more, so waiting is allowed, but never without a bound.

pub mod bequest;
pub mod last;
mod leftovers;
mod retreat;
pub mod soft;

use std::process::ExitCode;

use services::control::BootMode;
use services::status::ShutdownKind;

use bequest::Bequest;

use crate::pid1::Finished;
use crate::pid1::say::{Level, Say};

/// Ends everything. In a namespace it returns the exit status of PID 1; on a machine it does not
/// return, unless even the last way fails.
pub fn run(finished: Finished) -> ExitCode {
    let Finished {
        kind,
        mode,
        mut say,
        mut bequest,
        origin,
        previous,
    } = finished;
    leftovers::end(&mut say, &mut bequest);
    let kind = match kind {
        ShutdownKind::SoftReboot => {
            say_now(&mut say, Level::Notice, "beginning again");
            say.flush();
            let why = soft::begin_again(previous, &origin, &bequest, &mut say);
            let line = format!("cannot begin again, so the machine restarts: {why}");
            say_now(&mut say, Level::Error, &line);
            ShutdownKind::Reboot
        }
        ShutdownKind::Poweroff | ShutdownKind::Reboot | ShutdownKind::Halt => kind,
    };
    match mode {
        BootMode::Container => {
            say_now(&mut say, Level::Notice, "leaving the namespace");
            ExitCode::SUCCESS
        }
        BootMode::Disk | BootMode::Initramfs | BootMode::Direct => {
            leave_machine(kind, &mut say, bequest)
        }
    }
}

fn leave_machine(kind: ShutdownKind, say: &mut Say, bequest: Bequest) -> ExitCode {
    // Only returns where it failed: then the same is done from where we are, and what cannot be
    // unmounted is made read-only.
    let error = retreat::into_memory(kind, &bequest);
    say_now(
        say,
        Level::Warning,
        &format!("cannot leave the root filesystem: {error}"),
    );
    last::run(kind, bequest)
}

/// Says a line with the present time.
fn say_now(say: &mut Say, level: Level, text: &str) {
    say.line(bequest::now(), level, text);
}
