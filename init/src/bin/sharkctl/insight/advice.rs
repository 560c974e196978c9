//! What one can do about a cause: from the words of init, which say what it is, and from the file that
//! it could not execute. Not here: finding the cause (`why`).

use std::path::Path;

use services::status::{HealthName, ServiceStatus, StateName};

use crate::verify::check_executable;

/// Words of init, and what helps then. The first whose words are all there is told.
const BY_WORDS: [(&[&str], &str); 21] = [
    (
        &["masked by "],
        "`sharkctl unmask NAME` lets it run again, where that is what is wanted",
    ),
    (
        &["; it was started ", " times within "],
        "it ended as often as restart.burst allows: mend why, then `sharkctl start NAME`",
    ),
    (
        &["condition: "],
        "[conditions] of its file says when it is to run: where that holds, `sharkctl start NAME`",
    ),
    (
        &["memory ran out"],
        "let it have more (cgroup.memory-max in its file), or find out what it needs so much for",
    ),
    (
        &["READY=1"],
        "it has type = \"notify\" and never said that it is ready: choose another type for it, or a \
         longer start-timeout",
    ),
    (
        &["it was not ready within "],
        "give it a longer start-timeout, or find out what keeps it",
    ),
    (
        &["EADDRINUSE"],
        "something else listens at that address: `ss -lntuxp` tells what, `[sockets]` of its file where",
    ),
    (
        &["socket "],
        "[sockets] of its file names what cannot be listened at: mend the address, or what it needs",
    ),
    (
        &["exec", "o such file"],
        "`exec` of its file names a program that is not there: install it, or mend the path",
    ),
    (
        &["exec", "ermission denied"],
        "`exec` of its file names what is no program that its user may execute: see `ls -l` of it",
    ),
    (
        &["exec", "xec format"],
        "`exec` of its file names what is no program of this machine: a script needs a line `#!`",
    ),
    (
        &["change to directory "],
        "`working-dir` of its file names a directory that is not there, or not for its user",
    ),
    (
        &["take terminal "],
        "`tty` of its file names a terminal that is not there",
    ),
    (
        &["env-files: "],
        "make the file, or let its name begin with `-` where it may be absent",
    ),
    (
        &["credential "],
        "[credentials] of its file names a secret that cannot be read: put it there, or mend the path",
    ),
    (
        &["watchdog: "],
        "it hangs, or never says WATCHDOG=1, which `watchdog.timeout` in its file asks of it",
    ),
    (
        &["health: "],
        "it runs and does not answer what [health] in its file asks: its last lines may say why",
    ),
    (
        &["its command has ended"],
        "type = \"forking\" is for a program that leaves a daemon behind and writes `pid-file`: one that \
         stays in the foreground is \"simple\"",
    ),
    (
        &["it ended before it was ready"],
        "what does its work and ends is type = \"oneshot\"; any other program tells in its last lines why it \
         ended",
    ),
    (
        &["it ended well"],
        "restart.policy of its file says what is started again: \"always\" is after this end too; what does \
         its work once is type = \"oneshot\"",
    ),
    (
        &["it was killed by signal "],
        "it crashed, or somebody killed it: its last lines, `sharkctl logs init` and dmesg may say more",
    ),
];

/// What is known of a cause when advice is asked for.
#[derive(Clone, Copy)]
pub(crate) struct Case<'a> {
    /// The cause.
    pub(crate) status: &'a ServiceStatus,
    /// The service that somebody asks about, where that is another one.
    pub(crate) of: Option<&'a str>,
    /// The two cannot run at the same time.
    pub(crate) rivals: bool,
    /// The cause has written something that is shown.
    pub(crate) wrote: bool,
}

/// What to do about a service that is the cause of something.
pub(crate) fn advice(case: Case<'_>) -> String {
    let status = case.status;
    let reason = status.reason.as_deref().unwrap_or_default();
    let restless = !matches!(status.state, StateName::Up | StateName::Starting);
    if let Some(text) = no_program(reason).filter(|_| restless) {
        return text;
    }
    let known = BY_WORDS
        .iter()
        .find(|(words, _)| words.iter().all(|word| reason.contains(word)));
    let text = match (known, status.state) {
        (Some((_, text)), _) if restless => text,
        (_, StateName::Failed) if timed(status) => {
            "its timer starts it again; mend what its last lines tell"
        }
        (_, StateName::Failed) if case.wrote => {
            "mend what its last lines tell, then `sharkctl start NAME`"
        }
        // Before its program was executed.
        (_, StateName::Failed) if !reason.starts_with("it ") => {
            "mend what is told of its start, then `sharkctl start NAME`"
        }
        (_, StateName::Failed) => {
            "it wrote nothing: run its `exec` by hand (`sharkctl cat NAME` shows it), then `sharkctl start \
             NAME`"
        }
        (_, StateName::Backoff) if case.wrote => {
            "it is tried again by itself: mend what its last lines tell"
        }
        (_, StateName::Backoff) => {
            "it is tried again by itself, and wrote nothing: run its `exec` by hand (`sharkctl cat NAME` \
             shows it)"
        }
        (_, StateName::Starting) => {
            "it is given until its start-timeout; `sharkctl logs -f NAME` follows it"
        }
        (_, StateName::Stopping) => "it is given until its stop.timeout, and killed then",
        (_, StateName::Waiting) => "`sharkctl tree NAME` shows all that it needs",
        (_, StateName::Down) => "`sharkctl start NAME` starts it, with all that it needs",
        (_, StateName::Armed) if !timed(status) => {
            "none of its times is to come: mend [timer] of its file, or `sharkctl start NAME`"
        }
        (_, StateName::Armed) => "`sharkctl start NAME` starts it now, beside its timer",
        (_, StateName::Listening) => "the first traffic on its sockets starts it",
        (_, StateName::Skipped) => "`sharkctl start NAME` looks at its conditions again",
        (_, StateName::Up) => return advice_up(case),
    };
    text.replace("NAME", &status.name)
}

/// The same of one that is up: it is to blame for what another one is not, or for nothing any more.
fn advice_up(case: Case<'_>) -> String {
    let name = &case.status.name;
    let failing = |it: &services::status::HealthStatus| it.state == HealthName::Failing;
    match case.of {
        Some(of) if case.rivals => {
            format!("`sharkctl start {of}` starts it and stops {name}: the two cannot run together")
        }
        Some(of) => format!("{name} is up by now: `sharkctl start {of}`"),
        None if case.status.health.as_ref().is_some_and(failing) => {
            "it does not answer what [health] in its file asks, and is stopped after health.failures in a row"
                .to_owned()
        }
        None if case.wrote => "its last lines may tell why it ended before".to_owned(),
        None => "it wrote nothing: `sharkctl logs init` tells how it ended each time".to_owned(),
    }
}

/// Whether its timer will start it.
fn timed(status: &ServiceStatus) -> bool {
    status
        .timer
        .as_ref()
        .is_some_and(|timer| timer.next_us.is_some())
}

/// What is wrong with a program that is there and was not executed: the kernel says of a script without
/// its interpreter that there is no such file, and means the interpreter.
fn no_program(reason: &str) -> Option<String> {
    let (path, _) = reason.strip_prefix("execute ")?.split_once(": ")?;
    let there = path.starts_with('/') && Path::new(path).exists();
    let why = check_executable(Path::new("/"), path).err();
    why.filter(|_| there)
        .map(|why| format!("`exec` of its file names {path}, which {why}"))
}
