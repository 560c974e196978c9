//! `poweroff`, `reboot`, `halt`: through init, or at once without it. Not here: the order in which
//! services stop (`services::supervisor`) and the unmounting (init).

use std::fs::File;
use std::path::Path;

use mounts::plan;
use serde_json::json;
use services::control::{Reply, Request};
use services::status::ShutdownKind;

use crate::Context;
use crate::cli::Shutdown;
use crate::client::unexpected_reply;
use crate::failure::Failure;
use crate::screen::Screen;
use crate::waiting::ask;

/// Ends the machine's run. Through init this returns as soon as init has begun.
pub(crate) fn shutdown(
    context: &Context,
    screen: &mut Screen<'_>,
    kind: ShutdownKind,
    options: Shutdown,
) -> Result<(), Failure> {
    if options.force {
        return Err(at_once(kind));
    }
    match ask(context.patience(), screen, Request::Shutdown { kind })? {
        Reply::Done {} if screen.json => screen.print_json(&json!({ "shutdown": kind })),
        Reply::Done {} => screen.say_done(match kind {
            ShutdownKind::Poweroff => "powering off\n",
            ShutdownKind::Reboot => "restarting\n",
            ShutdownKind::Halt => "halting\n",
            ShutdownKind::SoftReboot => "beginning again\n",
        }),
        _ => Err(unexpected_reply()),
    }
}

/// Has user space begin again. Without init there is none that could.
pub(crate) fn soft_reboot(context: &Context, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let options = Shutdown { force: false };
    shutdown(context, screen, ShutdownKind::SoftReboot, options)
}

/// Leaves the mark for stage1, durably, and restarts.
pub(crate) fn factory_reset(
    context: &Context,
    screen: &mut Screen<'_>,
    no_reboot: bool,
) -> Result<(), Failure> {
    let path = Path::new(plan::FACTORY_RESET);
    let mark = File::create(path).and_then(|file| file.sync_all());
    let mark = mark.and_then(|()| File::open(path.parent().unwrap_or(path))?.sync_all());
    mark.map_err(|error| Failure::of_file("write", path, &error))?;
    if no_reboot {
        return match screen.json {
            true => screen.print_json(&json!({ "factoryReset": true })),
            false => screen.say_done("all data go at the next boot\n"),
        };
    }
    let options = Shutdown { force: false };
    shutdown(context, screen, ShutdownKind::Reboot, options)
}

/// Ends the machine's run without init. Returns only when the kernel refuses.
fn at_once(kind: ShutdownKind) -> Failure {
    use kernel::reboot::{Kind, reboot, sync};

    let kind = match kind {
        ShutdownKind::Poweroff => Kind::PowerOff,
        ShutdownKind::Reboot | ShutdownKind::SoftReboot => Kind::Restart,
        ShutdownKind::Halt => Kind::Halt,
    };
    sync();
    let error = reboot(kind);
    if error.errno == kernel::Errno::PERM {
        Failure::Permission(format!("{error}; try as root"))
    } else {
        Failure::Failed(error.to_string())
    }
}
