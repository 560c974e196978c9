//! The names under which scripts and installers call other inits: `systemctl`, `journalctl`, `service`,
//! `rc-service`, `rc-update`, `rc-status`. Each verb does what `sharkctl` does, and answers in the shape and with the
//! exit status that its own manual page documents. Not here: doing any of it, and how units become
//! service files (`import`).

pub(crate) mod cli;
mod imported;
mod install;
mod journalctl;
mod openrc;
mod systemctl;
mod sysv;
#[cfg(test)]
mod tests;
mod units;
mod words;

use std::ffi::OsStr;
use std::path::Path;

use services::control::{Reply, Request};
use services::status::ServiceStatus;

use crate::Context;
use crate::client::{Client, unexpected_reply};
use crate::failure::Failure;
use crate::screen::Screen;
use crate::show::all_services as list;
use crate::waiting::{ask, await_reply};

use self::cli::CompatVerb;

/// A name that is not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Systemctl,
    Journalctl,
    Service,
    RcService,
    RcUpdate,
    RcStatus,
}

impl Name {
    pub(crate) const ALL: [Self; 6] = [
        Self::Systemctl,
        Self::Journalctl,
        Self::Service,
        Self::RcService,
        Self::RcUpdate,
        Self::RcStatus,
    ];

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Systemctl => "systemctl",
            Self::Journalctl => "journalctl",
            Self::Service => "service",
            Self::RcService => "rc-service",
            Self::RcUpdate => "rc-update",
            Self::RcStatus => "rc-status",
        }
    }

    /// The one that `program` is called by, however its path.
    pub(crate) fn of(program: &OsStr) -> Option<Self> {
        let name = Path::new(program).file_name()?;
        Self::ALL.into_iter().find(|it| name == it.word())
    }
}

/// Does what is asked for under another name, and gives the exit status.
pub(crate) fn run(
    name: Name,
    context: &Context,
    screen: &mut Screen<'_>,
    arguments: &[String],
) -> u8 {
    // What a wait is for is told to people who ask sharkctl.
    screen.quiet = true;
    let done = match name {
        Name::Systemctl => systemctl::systemctl(context, screen, arguments),
        Name::Journalctl => journalctl::journalctl(context, screen, arguments),
        Name::Service => sysv::service(context, screen, arguments),
        Name::RcService => openrc::rc_service(context, screen, arguments),
        Name::RcUpdate => openrc::rc_update(context, screen, arguments),
        Name::RcStatus => openrc::rc_status(context, screen, arguments),
    };
    match done {
        Ok(status) => status,
        Err(Failure::OutputClosed) => 0,
        Err(Failure::Told(_)) => 1,
        Err(failure) => {
            for line in failure.to_string().lines() {
                screen.complain_bare(&format!("{}: {line}", name.word()));
            }
            1
        }
    }
}

/// `sharkctl compat`.
pub(crate) fn perform(
    verb: &CompatVerb,
    context: &Context,
    screen: &mut Screen<'_>,
) -> Result<(), Failure> {
    match verb {
        CompatVerb::Install(options) => install::install(screen, options),
        CompatVerb::Run { name, arguments } => match run(*name, context, screen, arguments) {
            0 => Ok(()),
            status => Err(Failure::Told(status)),
        },
    }
}

/// One service; `None`: there is none of that name.
fn status(
    context: &Context,
    screen: &mut Screen<'_>,
    name: &str,
) -> Result<Option<ServiceStatus>, Failure> {
    let name = name.to_owned();
    match ask(context.patience(), screen, Request::Status { name }) {
        Ok(Reply::Service { service }) => Ok(Some(*service)),
        Ok(_) => Err(unexpected_reply()),
        Err(Failure::NoSuchService(_)) => Ok(None),
        Err(other) => Err(other),
    }
}

/// Asks for a change, and waits until it is made.
fn change(context: &Context, screen: &mut Screen<'_>, request: Request) -> Result<(), Failure> {
    let mut client = Client::call(&context.socket, request)?;
    let mut what = || "init".to_owned();
    await_reply(&mut client, context.limit, screen, &mut what).map(|_| ())
}

/// Makes init read its files again; where none runs, as in the making of an image, there is none to.
fn reload_where_init_runs(context: &Context, screen: &mut Screen<'_>) -> Result<(), Failure> {
    match Client::reach(&context.socket) {
        Ok(()) => crate::admin::take_over(context, screen),
        Err(_) => Ok(()),
    }
}
