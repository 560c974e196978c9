//! `start`, `stop`, `restart`, `reload`: asks init for a change of services and tells how it went. Not
//! here: what the change means (`services::supervisor`).

use std::time::Instant;

use serde::Serialize;
use serde_json::json;
use services::control::{Changed, Reply, Request};
use services::diagnostic::Diagnostic;
use services::status::{ServiceStatus, StateName};

use crate::Context;
use crate::client::{Client, unexpected_reply};
use crate::failure::Failure;
use crate::quantity::span;
use crate::screen::{Screen, state_word};
use crate::table::printable;
use crate::unknown;
use crate::waiting::{Patience, ask, await_reply, describe_service};

/// Services that are asked for at the same time; each takes a connection, and init has not many.
const AT_ONCE: usize = 16;

/// What is asked for.
#[derive(Clone, Copy)]
pub(crate) enum Change {
    Start,
    Stop {
        /// With what outlives a stop.
        all: bool,
    },
    Restart,
    Reload,
}

impl Change {
    fn request(self, name: &str) -> Request {
        let name = name.to_owned();
        match self {
            Self::Start => Request::Start { name },
            Self::Stop { all } => Request::Stop { name, all },
            Self::Restart => Request::Restart { name },
            Self::Reload => Request::ReloadService { name },
        }
    }
}

/// How it went for one service, as `--json` tells it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Outcome {
    name: String,
    ok: bool,
    /// How long init took, microseconds.
    duration_us: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<ServiceStatus>,
}

/// Asks for `change` of every service named, all at the same time, and waits for each.
pub(crate) fn change_services(
    context: &Context,
    screen: &mut Screen<'_>,
    change: Change,
    names: &[String],
) -> Result<(), Failure> {
    let (outcomes, status) = change_each(context, screen, change, names)?;
    if screen.json {
        screen.print_json(&json!({ "results": outcomes }))?;
    }
    status.map_or(Ok(()), |status| Err(Failure::Told(status)))
}

/// The same, without the JSON; gives what that would be, and the status of the first that failed.
pub(crate) fn change_each(
    context: &Context,
    screen: &mut Screen<'_>,
    change: Change,
    names: &[String],
) -> Result<(Vec<Outcome>, Option<u8>), Failure> {
    let patience = context.patience();
    let mut outcomes = Vec::new();
    let mut status = None;
    for some in names.chunks(AT_ONCE) {
        let began = Instant::now();
        let asked: Vec<Result<Client, Failure>> = some
            .iter()
            .map(|name| Client::call(patience.socket, change.request(name)))
            .collect();
        for (name, client) in some.iter().zip(asked) {
            let done = client.and_then(|mut client| wait_for(&mut client, patience, screen, name));
            if let Err(Failure::Unreachable(_)) = done {
                // It would be the same for the others.
                return done.map(|()| (outcomes, status));
            }
            let done = done.and_then(|()| still_up(patience, screen, change, name));
            let duration_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
            if let Err(failure) = &done {
                if let Failure::InvalidServices(diagnostics) = failure {
                    tell_diagnostics(screen, diagnostics);
                }
                screen.complain(&tell_failure(context, name, failure));
                status.get_or_insert(failure.exit_status());
            }
            outcomes.push(outcome(patience, screen, name, done, duration_us));
            if let Some(last) = outcomes.last().filter(|last| last.ok && !screen.json) {
                let line = tell_success(change, last);
                screen.say_done(&line)?;
            }
        }
    }
    Ok((outcomes, status))
}

/// A service without a sign of readiness is up at once, and may have failed by the time that this is told.
fn still_up(
    patience: Patience<'_>,
    screen: &mut Screen<'_>,
    change: Change,
    name: &str,
) -> Result<(), Failure> {
    let name = name.to_owned();
    if !matches!(change, Change::Start | Change::Restart) {
        return Ok(());
    }
    match ask(patience, screen, Request::Status { name }) {
        Ok(Reply::Service { service }) if service.state == StateName::Failed => {
            let reason = service.reason.unwrap_or_default();
            Err(Failure::Failed(format!(
                "it came up, and failed at once: {reason}"
            )))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

fn wait_for(
    client: &mut Client,
    patience: Patience<'_>,
    screen: &mut Screen<'_>,
    name: &str,
) -> Result<(), Failure> {
    let mut what = || describe_service(patience.socket, name);
    await_reply(client, patience.limit, screen, &mut what).map(|_| ())
}

/// What there is to tell of one service; its status only where the change was made.
fn outcome(
    patience: Patience<'_>,
    screen: &mut Screen<'_>,
    name: &str,
    done: Result<(), Failure>,
    duration_us: u64,
) -> Outcome {
    let (error, reason, service) = match done {
        Ok(()) => {
            let name = name.to_owned();
            // Done is done; what it looks like now is told only where it can be.
            match ask(patience, screen, Request::Status { name }) {
                Ok(Reply::Service { service }) => (None, None, Some(*service)),
                Ok(_) | Err(_) => (None, None, None),
            }
        }
        Err(failure) => (failure.word(), Some(failure.to_string()), None),
    };
    Outcome {
        name: name.to_owned(),
        ok: error.is_none(),
        duration_us,
        error,
        reason,
        service,
    }
}

fn tell_failure(context: &Context, name: &str, failure: &Failure) -> String {
    let text = unknown::explain(&context.service_path, failure);
    let of_service = matches!(failure, Failure::Refused(_) | Failure::Failed(_));
    if of_service && !text.starts_with(&format!("{name}:")) {
        format!("{name}: {text}")
    } else {
        text
    }
}

/// `sshd: up, pid 812 (88ms)`.
fn tell_success(change: Change, outcome: &Outcome) -> String {
    let took = span(outcome.duration_us);
    let state = match (&outcome.service, change) {
        (Some(service), Change::Reload) if service.state == StateName::Up => "reloaded",
        (Some(service), _) => state_word(service.state),
        (None, Change::Start | Change::Restart) => "up",
        (None, Change::Stop { .. }) => "down",
        (None, Change::Reload) => "reloaded",
    };
    let pid = outcome
        .service
        .as_ref()
        .and_then(|service| service.pid)
        .map_or_else(String::new, |pid| format!(", pid {pid}"));
    // What was to come up and is not says why.
    let starts = matches!(change, Change::Start | Change::Restart);
    let reason = outcome.service.as_ref().filter(|_| starts);
    let reason = reason
        .filter(|service| service.state != StateName::Up)
        .and_then(|service| service.reason.as_deref())
        .map_or_else(String::new, |reason| format!(": {}", printable(reason)));
    let name = printable(&outcome.name);
    format!("{name}: {state}{pid}{reason} ({took})\n")
}

/// Makes init read all service files again; as a dry run, only to tell what would change.
pub(crate) fn reload_all(
    patience: Patience<'_>,
    screen: &mut Screen<'_>,
    dry_run: bool,
) -> Result<(), Failure> {
    let mut client = Client::call(patience.socket, Request::ReloadAll { dry_run })?;
    let mut what = || "init to read the service files".to_owned();
    match await_reply(&mut client, patience.limit, screen, &mut what) {
        Ok(Reply::Changed(changed)) if screen.json => screen.print_json(&changed),
        // What a dry run finds is what was asked for: not even --quiet keeps it back.
        Ok(Reply::Changed(changed)) if dry_run => screen.print(tell_changed(&changed, dry_run)),
        Ok(Reply::Changed(changed)) => screen.say_done(&tell_changed(&changed, dry_run)),
        Ok(_) => Err(unexpected_reply()),
        Err(Failure::InvalidServices(diagnostics)) => {
            if screen.json {
                screen.print_json(&json!({ "diagnostics": diagnostics }))?;
            } else {
                tell_diagnostics(screen, &diagnostics);
            }
            Err(Failure::InvalidServices(diagnostics))
        }
        Err(other) => Err(other),
    }
}

/// An instance of a template makes init read all files.
pub(crate) fn tell_diagnostics(screen: &mut Screen<'_>, diagnostics: &[Diagnostic]) {
    for diagnostic in diagnostics {
        screen.complain_bare(&printable(&diagnostic.to_string()));
    }
}

/// One line for each service that is not what it was, or would not be.
fn tell_changed(changed: &Changed, dry_run: bool) -> String {
    let would = if dry_run { "would be " } else { "" };
    let simple = |kind: &'static str, names: &[String]| -> String {
        let lines = names.iter();
        lines
            .map(|name| format!("{}: {would}{kind}\n", printable(name)))
            .collect()
    };
    let mut lines = simple("added", &changed.added);
    for name in &changed.changed {
        let keys = changed.keys.iter().find(|it| it.name == *name);
        let keys = keys.map_or_else(String::new, |it| format!(": {}", it.keys.join(", ")));
        let keeps = match changed.keeping.contains(name) {
            true => " (runs on as it was until its next start)",
            false => "",
        };
        let line = format!("{}: {would}changed{keys}", printable(name));
        lines.push_str(&format!("{line}{keeps}\n"));
    }
    lines.push_str(&simple("removed", &changed.removed));
    let earlier = changed.keeping.iter();
    for name in earlier.filter(|name| !changed.changed.contains(name)) {
        let name = printable(name);
        lines.push_str(&format!(
            "{name}: runs on as it was before an earlier reload, until its next start\n"
        ));
    }
    if changed.logs {
        lines.push_str(&format!("log.toml: {would}changed\n"));
    }
    match (lines.is_empty(), dry_run) {
        (true, true) => "service files read: nothing would change\n".to_owned(),
        (true, false) => "service files read: nothing changed\n".to_owned(),
        (false, _) => lines,
    }
}
