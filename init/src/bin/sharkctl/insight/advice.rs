//! What one can do about a cause: from the words of init, which say what it is. Not here: finding the
//! cause (`why`).

use services::status::{ServiceStatus, StateName};

/// Words of init, and what helps then. The first whose words are all there is told.
const BY_WORDS: [(&[&str], &str); 13] = [
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
        &["chdir "],
        "`working-dir` of its file names a directory that is not there, or not for its user",
    ),
    (
        &["env-files: "],
        "make the file, or let its name begin with `-` where it may be absent",
    ),
    (
        &["it was killed by signal "],
        "it crashed, or somebody killed it: its last lines, `sharkctl logs init` and dmesg may say more",
    ),
];

/// What to do about a service that is the cause of something.
pub(crate) fn advice(status: &ServiceStatus) -> String {
    let reason = status.reason.as_deref().unwrap_or_default();
    let known = BY_WORDS
        .iter()
        .find(|(words, _)| words.iter().all(|word| reason.contains(word)));
    let text = match (known, status.state) {
        (Some((_, text)), state) if !matches!(state, StateName::Up | StateName::Starting) => text,
        (_, StateName::Failed) => "mend what its last lines tell, then `sharkctl start NAME`",
        (_, StateName::Backoff) => "it is tried again by itself: mend what its last lines tell",
        (_, StateName::Starting) => {
            "it is given until its start-timeout; `sharkctl logs -f NAME` follows it"
        }
        (_, StateName::Stopping) => "it is given until its stop.timeout, and killed then",
        (_, StateName::Waiting) => "`sharkctl tree NAME` shows all that it needs",
        (_, StateName::Down) => "`sharkctl start NAME` starts it, with all that it needs",
        (_, StateName::Armed) => "`sharkctl start NAME` starts it now, beside its timer",
        (_, StateName::Listening) => "the first traffic on its sockets starts it",
        (_, StateName::Skipped) => "`sharkctl start NAME` looks at its conditions again",
        (_, StateName::Up) => "what it held up can be started again",
    };
    text.replace("NAME", &status.name)
}
