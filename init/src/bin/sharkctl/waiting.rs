//! Waits for answers of init, and says what for. Not here: the wire (`client`).

use std::path::Path;
use std::time::{Duration, Instant};

use services::control::{Reply, Request};
use services::status::{ServiceStatus, StateName};

use crate::client::{Client, unexpected_reply};
use crate::failure::Failure;
use crate::screen::{Screen, state_word};
use crate::table::printable;

/// A wait shorter than this needs no words; after it, what is waited for is looked at this often.
const TURN: Duration = Duration::from_secs(1);

/// Questions that init answers at once are given up after this.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// Where init is, and until when to wait.
#[derive(Clone, Copy)]
pub(crate) struct Patience<'a> {
    /// Socket of init.
    pub(crate) socket: &'a Path,
    /// How long an operation may take; `None`: as long as it takes.
    pub(crate) limit: Option<Duration>,
}

/// Asks init something it answers at once.
pub(crate) fn ask(
    patience: Patience<'_>,
    screen: &mut Screen<'_>,
    request: Request,
) -> Result<Reply, Failure> {
    let mut client = Client::call(patience.socket, request)?;
    let limit = Some(patience.limit.unwrap_or(ANSWER_WITHIN));
    let mut what = || "init to answer".to_owned();
    match await_reply(&mut client, limit, screen, &mut what) {
        Err(Failure::TimedOut(_)) if patience.limit.is_none() => {
            Err(Failure::Unreachable(format!(
                "init took the call on {} and does not answer; see the console or `dmesg`",
                patience.socket.display()
            )))
        }
        other => other,
    }
}

/// All services, page by page, each by `ask`.
pub(crate) fn all_pages(
    mut ask: impl FnMut(Request) -> Result<Reply, Failure>,
) -> Result<Vec<ServiceStatus>, Failure> {
    let mut all = Vec::new();
    let mut from = None;
    loop {
        let Reply::Services(page) = ask(Request::List { from })? else {
            return Err(unexpected_reply());
        };
        all.extend(page.services);
        from = page.next;
        if from.is_none() {
            return Ok(all);
        }
    }
}

/// Waits for the reply to what `client` has sent. After a second, and whenever it changes, says what
/// `what` says it is waiting for.
pub(crate) fn await_reply(
    client: &mut Client,
    limit: Option<Duration>,
    screen: &mut Screen<'_>,
    what: &mut dyn FnMut() -> String,
) -> Result<Reply, Failure> {
    let began = Instant::now();
    let mut told = String::new();
    loop {
        let left = limit.map(|limit| limit.saturating_sub(began.elapsed()));
        if let Some(reply) = client.receive(left.unwrap_or(TURN).min(TURN))? {
            return Ok(reply);
        }
        if limit.is_some_and(|limit| began.elapsed() >= limit) {
            return Err(Failure::TimedOut(format!(
                "gave up waiting for {} after {:.0?}; what was asked for goes on",
                what(),
                limit.unwrap_or_default()
            )));
        }
        if !screen.quiet {
            let now = what();
            if now != told {
                screen.say(&format!("waiting for {now}"));
                told = now;
            }
        }
    }
}

/// What a wait for service `name` is a wait for: its state, and why it is in it.
pub(crate) fn describe_service(socket: &Path, name: &str) -> String {
    let request = Request::Status {
        name: name.to_owned(),
    };
    match peek(socket, request) {
        Some(Reply::Service { service }) => describe(&service),
        Some(_) | None => format!("{name} (init does not answer at the moment)"),
    }
}

/// What a wait for the boot is a wait for: every service that is not settled.
pub(crate) fn describe_boot(socket: &Path) -> String {
    const NAMED: usize = 5;
    let peeked = all_pages(|request| peek(socket, request).ok_or_else(unexpected_reply));
    let Ok(services) = peeked else {
        return "the boot (init does not answer at the moment)".to_owned();
    };
    let unsettled: Vec<String> = services
        .iter()
        .filter(|service| match service.state {
            StateName::Waiting | StateName::Starting | StateName::Backoff => true,
            StateName::Down
            | StateName::Armed
            | StateName::Listening
            | StateName::Up
            | StateName::Stopping
            | StateName::Skipped
            | StateName::Failed => false,
        })
        .map(describe)
        .collect();
    match unsettled.len() {
        0 => "the boot to settle".to_owned(),
        more @ NAMED.. if more > NAMED => {
            let named: Vec<String> = unsettled.into_iter().take(NAMED).collect();
            format!("{} and {} more", named.join(", "), more - NAMED)
        }
        _ => unsettled.join(", "),
    }
}

/// What a wait for the verdict on the boot is a wait for.
pub(crate) fn describe_gate(socket: &Path) -> String {
    match peek(socket, Request::Boot) {
        Some(Reply::Boot { boot }) => match boot.gate {
            Some(gate) if !gate.waiting.is_empty() => printable(&gate.waiting.join(", ")),
            Some(_) | None => "the verdict on the boot".to_owned(),
        },
        Some(_) | None => "the verdict on the boot (init does not answer at the moment)".to_owned(),
    }
}

fn describe(service: &ServiceStatus) -> String {
    let state = state_word(service.state);
    match &service.reason {
        Some(reason) => format!("{} ({state}: {reason})", service.name),
        None => format!("{} ({state})", service.name),
    }
}

/// Asks on a connection of its own, and takes no for an answer: this only explains a wait.
fn peek(socket: &Path, request: Request) -> Option<Reply> {
    let mut client = Client::call(socket, request).ok()?;
    client.receive(TURN).ok().flatten()
}
