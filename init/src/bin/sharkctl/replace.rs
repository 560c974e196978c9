//! `reexec` and `debug panic`: another program in the place of init. Not here: how it goes on
//! (`pid1::resume`).

use serde_json::json;
use services::control::{Reply, Request};

use crate::Context;
use crate::client::unexpected_reply;
use crate::failure::Failure;
use crate::screen::Screen;
use crate::waiting::ask;

/// Replaces init; the new one says that it is done.
pub(crate) fn reexec(
    context: &Context,
    screen: &mut Screen<'_>,
    program: Option<String>,
) -> Result<(), Failure> {
    match ask(context.patience(), screen, Request::Reexec { program })? {
        Reply::Done {} if screen.json => screen.print_json(&json!({ "reexec": true })),
        Reply::Done {} => screen.say_done("init has been replaced\n"),
        _ => Err(unexpected_reply()),
    }
}

/// Crashes init. It does not answer; that it answers again is seen by asking it something else.
pub(crate) fn panic(context: &Context, screen: &mut Screen<'_>) -> Result<(), Failure> {
    match ask(context.patience(), screen, Request::DebugPanic) {
        Err(refused @ (Failure::Refused(_) | Failure::Permission(_))) => Err(refused),
        Ok(_) => Err(unexpected_reply()),
        Err(_) => match ask(context.patience(), screen, Request::GetInfo)? {
            Reply::Info(_) if screen.json => screen.print_json(&json!({ "panic": true })),
            Reply::Info(_) => screen.say_done("init has crashed, and answers again\n"),
            _ => Err(unexpected_reply()),
        },
    }
}
