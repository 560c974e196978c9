//! Verbs of `systemctl` that change what runs, with the exit statuses of LSB init scripts that it uses for
//! them: 4 without the right, 5 without the unit, 3 for what the unit cannot do.

use kernel::pidfd;
use kernel::signals::Signal;
use services::control::Request;
use services::status::{ServiceStatus, ShutdownKind, StateName};

use super::super::units::{Kind, Unit, is_masked};
use super::super::{change, imported, list, reload_where_init_runs, status};
use super::Call;
use crate::cgroups;
use crate::cli::Shutdown;
use crate::client::Client;
use crate::failure::Failure;
use crate::screen::Screen;
use crate::shutdown;

/// Does `verb` to each unit; the status is that of the first that failed.
pub(super) fn act(
    call: &Call<'_>,
    screen: &mut Screen<'_>,
    verb: &str,
    words: &[String],
) -> Result<u8, Failure> {
    if verb == "reset-failed" && words.is_empty() {
        for failed in list(call.context, screen)? {
            reset(call, screen, &failed)?;
        }
        return Ok(0);
    }
    let mut worst = 0;
    for unit in call.units(screen, words)? {
        let status = match unit {
            Ok(unit) => one(call, screen, verb, &unit)?,
            Err(word) => {
                screen.complain_bare(&format!("Failed to {verb} {word}: Unit {word} not found."));
                5
            }
        };
        if worst == 0 {
            worst = status;
        }
    }
    Ok(worst)
}

fn one(call: &Call<'_>, screen: &mut Screen<'_>, verb: &str, unit: &Unit) -> Result<u8, Failure> {
    let mut known = status(call.context, screen, &unit.service)?;
    if known.is_none()
        && matches!(
            verb,
            "start" | "restart" | "reload-or-restart" | "force-reload"
        )
    {
        // A script may have written the unit a moment ago.
        let brought = imported::bring(screen, call.root(), &call.layers(), &unit.service)?;
        if brought.changed {
            reload_where_init_runs(call.context, screen)?;
            known = status(call.context, screen, &unit.service)?;
        }
    }
    let name = || unit.service.clone();
    let is_up = known.as_ref().is_some_and(|it| it.state == StateName::Up);
    let request = match verb {
        "kill" => return kill(call, screen, unit, known.as_ref()),
        "reset-failed" => return reset_one(call, screen, unit, known.as_ref()),
        "start" => match refuse_part(screen, unit, known.as_ref()) {
            Some(status) => return Ok(status),
            None => Request::Start { name: name() },
        },
        "stop" => Request::Stop {
            name: name(),
            all: false,
        },
        "try-restart" | "condrestart" | "try-reload-or-restart" if !is_up => match known {
            Some(_) => return Ok(0),
            None => Request::Restart { name: name() },
        },
        "restart" | "try-restart" | "condrestart" => Request::Restart { name: name() },
        "reload" if known.is_some() && !is_up => {
            screen.complain_bare(&format!("{} is not active, cannot reload.", unit.name()));
            return Ok(1);
        }
        "reload" => Request::ReloadService { name: name() },
        _ if is_up => match change(
            call.context,
            screen,
            Request::ReloadService { name: name() },
        ) {
            Ok(()) => return Ok(0),
            Err(Failure::Refused(_)) => Request::Restart { name: name() },
            Err(other) => return told(screen, verb, unit, other),
        },
        _ => Request::Start { name: name() },
    };
    // An instance of a template comes to be when it is started, so init is asked of those it does not
    // know as well.
    let done = match call.words.has("no-block") {
        true if known.is_some() => Client::call(&call.context.socket, request).map(drop),
        true | false => change(call.context, screen, request),
    };
    match done {
        Ok(()) => Ok(0),
        Err(failure) => told(screen, verb, unit, failure),
    }
}

/// A timer or a socket is a part of its service, and cannot be started without that.
fn refuse_part(screen: &mut Screen<'_>, unit: &Unit, known: Option<&ServiceStatus>) -> Option<u8> {
    let known = known?;
    match unit.kind {
        Kind::Service | Kind::Target => None,
        Kind::Socket | Kind::Timer if known.wanted => Some(0),
        Kind::Socket | Kind::Timer => {
            screen.complain_bare(&format!(
                "Failed to start {}: it is a part of {}.service here, which `systemctl enable {}` lets the \
                 boot bring up",
                unit.name(),
                unit.service,
                unit.service
            ));
            Some(1)
        }
    }
}

/// Says what went wrong as systemctl does.
fn told(screen: &mut Screen<'_>, verb: &str, unit: &Unit, failure: Failure) -> Result<u8, Failure> {
    let name = unit.name();
    let verb_shown = match verb {
        "try-restart" | "condrestart" => "restart",
        "reload-or-restart" | "force-reload" | "try-reload-or-restart" => "reload or restart",
        other => other,
    };
    let (line, status) = match &failure {
        Failure::NoSuchService(_) if verb == "stop" => (format!("Unit {name} not loaded."), 5),
        Failure::NoSuchService(_) => (format!("Unit {name} not found."), 5),
        Failure::Permission(_) => ("Access denied".to_owned(), 4),
        Failure::Refused(why) if why.contains("masked by ") => {
            (format!("Unit {name} is masked."), 1)
        }
        Failure::Refused(_) if verb == "reload" => (
            format!("Job type reload is not applicable for unit {name}."),
            3,
        ),
        Failure::Failed(why) | Failure::Refused(why) => {
            screen.complain_bare(&format!("Job for {name} failed: {why}"));
            screen.complain_bare(&format!(
                "See \"systemctl status {name}\" and \"journalctl -xeu {name}\" for details."
            ));
            return Ok(1);
        }
        Failure::Unreachable(_)
        | Failure::Usage(_)
        | Failure::InvalidServices(_)
        | Failure::NotUp
        | Failure::TimedOut(_)
        | Failure::OutputClosed
        | Failure::Told(_) => return Err(failure),
    };
    screen.complain_bare(&format!("Failed to {verb_shown} {name}: {line}"));
    Ok(status)
}

fn reset_one(
    call: &Call<'_>,
    screen: &mut Screen<'_>,
    unit: &Unit,
    known: Option<&ServiceStatus>,
) -> Result<u8, Failure> {
    match known {
        Some(known) => reset(call, screen, known).map(|()| 0),
        None => {
            let name = unit.name();
            screen.complain_bare(&format!(
                "Failed to reset failed state of unit {name}: Unit {name} not loaded."
            ));
            Ok(1)
        }
    }
}

/// A failed service that is stopped is down, and has not failed any more.
fn reset(call: &Call<'_>, screen: &mut Screen<'_>, status: &ServiceStatus) -> Result<(), Failure> {
    if status.state != StateName::Failed {
        return Ok(());
    }
    let name = status.name.clone();
    change(call.context, screen, Request::Stop { name, all: false })
}

/// Sends a signal to the main process, or to all.
fn kill(
    call: &Call<'_>,
    screen: &mut Screen<'_>,
    unit: &Unit,
    known: Option<&ServiceStatus>,
) -> Result<u8, Failure> {
    let name = unit.name();
    let mut failed = |why: &str| {
        screen.complain_bare(&format!("Failed to kill unit {name}: {why}"));
        Ok(1)
    };
    let Some(known) = known.filter(|it| !is_masked(it)) else {
        return failed(&format!("Unit {name} not loaded."));
    };
    let word = call.words.value("signal").unwrap_or("TERM");
    let Some(signal) = signal(word) else {
        return failed(&format!("Failed to parse signal string {word}."));
    };
    let whom = call
        .words
        .value("kill-whom")
        .or(call.words.value("kill-who"));
    let sent = match whom.unwrap_or("all") {
        "main" | "control" => match known.pid {
            Some(pid) => pidfd::open(pid)
                .and_then(|fd| pidfd::send_signal(fd, signal))
                .map(drop),
            None => return failed("No main process to kill"),
        },
        "all" => match cgroups::of_service(&cgroups::directory()?, &known.name) {
            Some(cgroup) => cgroup.signal(signal).map(drop),
            None => Ok(()),
        },
        other => return failed(&format!("Invalid --kill-whom= argument: {other}")),
    };
    match sent {
        Ok(()) => Ok(0),
        Err(error) => failed(&error.to_string()),
    }
}

/// A signal by its name, with or without SIG, or by its number.
fn signal(word: &str) -> Option<Signal> {
    let name = word.strip_prefix("SIG").unwrap_or(word);
    let mut all = (1..=64).filter_map(Signal::from_number);
    all.find(|signal| {
        let own = signal.name().map(|it| it.strip_prefix("SIG").unwrap_or(it));
        own == Some(name) || word == signal.number().to_string()
    })
}

/// `poweroff`, `reboot`, `halt`: returns once init has begun.
pub(super) fn end(call: &Call<'_>, screen: &mut Screen<'_>, verb: &str) -> Result<u8, Failure> {
    let kind = match verb {
        "poweroff" => ShutdownKind::Poweroff,
        "reboot" => ShutdownKind::Reboot,
        _ => ShutdownKind::Halt,
    };
    let force = call.words.has("force");
    match shutdown::shutdown(call.context, screen, kind, Shutdown { force }) {
        Ok(()) => Ok(0),
        Err(Failure::Permission(_)) => {
            screen.complain_bare(&format!("Failed to {verb} system: Access denied"));
            Ok(4)
        }
        Err(other) => Err(other),
    }
}

#[cfg(test)]
mod tests {
    use super::signal;

    #[test]
    fn signals_have_names_and_numbers() {
        let number = |word| signal(word).map(kernel::signals::Signal::number);
        assert_eq!(number("HUP"), Some(1));
        assert_eq!(number("SIGTERM"), Some(15));
        assert_eq!(number("9"), Some(9));
        assert_eq!(number("NONE"), None);
    }
}
