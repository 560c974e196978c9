//! `poweroff`, `reboot`, `halt`: through init, or at once without it. Not here: the order in which
//! services stop (`services::supervisor`) and the unmounting (init).

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
