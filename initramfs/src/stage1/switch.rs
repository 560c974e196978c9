//! The last step: the mounts are moved to the new root, the initramfs is freed, and init is
//! executed.
//!
//! From the moment the root is changed there is no way back, so everything that can be checked was
//! checked before (`root`), and what fails before that moment is undone. Not here: what becomes of
//! the slot then.

use std::convert::Infallible;
use std::os::unix::process::CommandExt;
use std::process::Command;

use mounts::plan::{self, SYSROOT, Step};

use super::init_file::INIT;
use super::mounting;
use super::report::Report;

/// Why stage1 is still here.
#[derive(Debug)]
pub(crate) enum Stuck {
    /// All is as it was before.
    Undone(String),
    /// The initramfs is gone.
    NoWayBack(String),
}

/// Leaves the initramfs for `/sysroot` and executes init there. Returns only with the reason why it
/// could not.
pub(crate) fn switch_root(report: &mut Report) -> Result<Infallible, Stuck> {
    let steps = plan::move_below(SYSROOT);
    for (done, step) in steps.iter().enumerate() {
        if let Err(error) = mounting::perform(std::slice::from_ref(step), report) {
            return Err(undo(steps.get(..done).unwrap_or_default(), error));
        }
    }
    match kernel::mount::switch_root(SYSROOT) {
        Ok(None) => {}
        Ok(Some(error)) => report.note(&format!("the initramfs is not all freed: {error}")),
        // Nothing has changed while the new root is still where it was mounted.
        Err(error) if kernel::mount::is_mount_point(SYSROOT) == Ok(true) => {
            return Err(undo(&steps, error.to_string()));
        }
        Err(error) => return Err(Stuck::NoWayBack(error.to_string())),
    }
    match execute() {
        Ok(never) => match never {},
        Err(error) => Err(Stuck::NoWayBack(error)),
    }
}

/// Executes init with the arguments and the environment the kernel gave to stage1.
pub(crate) fn execute() -> Result<Infallible, String> {
    let error = Command::new(INIT).args(std::env::args_os().skip(1)).exec();
    Err(format!("execute {INIT}: {error}"))
}

/// Moves back what was moved, the last first.
fn undo(done: &[Step], why: String) -> Stuck {
    if let Err(error) = std::env::set_current_dir("/") {
        return Stuck::NoWayBack(format!("{why}; change to /: {error}"));
    }
    for step in done.iter().rev() {
        match step {
            Step::Move { from, to } => {
                if let Err(error) = kernel::mount::move_to(to, from) {
                    return Stuck::NoWayBack(format!("{why}; {error}"));
                }
            }
            // A plan of moves has nothing else.
            Step::Directory { .. } | Step::Mount(_) => {}
        }
    }
    Stuck::Undone(why)
}
