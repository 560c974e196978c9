//! `debug`: the life of an init as text, recorded from the running one, and replayed without any. Not
//! here: what the text is (`services::supervisor::trace`).

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use services::control::{Reply, Request};
use services::supervisor::trace::{Replay, ReplayError};

use crate::Context;
use crate::cli::{DebugVerb, RecordTrace, ReplayTrace};
use crate::client::{Client, unexpected_reply};
use crate::failure::{Failure, count};
use crate::replace;
use crate::screen::Screen;
use crate::table::printable;

/// How often it is looked at whether it is time to end.
const TURN: Duration = Duration::from_millis(200);

/// `debug`.
pub(crate) fn debug(
    context: &Context,
    screen: &mut Screen<'_>,
    verb: &DebugVerb,
) -> Result<(), Failure> {
    match verb {
        DebugVerb::Record(options) => record(context, screen, options),
        DebugVerb::Replay(options) => replay(screen, options),
        DebugVerb::Panic => replace::panic(context, screen),
    }
}

/// `debug record`: until it has been long enough, or init ends.
fn record(
    context: &Context,
    screen: &mut Screen<'_>,
    options: &RecordTrace,
) -> Result<(), Failure> {
    let began = Instant::now();
    let limit = options.seconds.map(|it| Duration::from_secs(it.into()));
    let mut client = Client::call(&context.socket, Request::Trace)?;
    let mut file = match &options.file {
        None => None,
        Some(path) => {
            let made = File::create(path).map_err(|it| Failure::of_file("create", path, &it))?;
            screen.say(&format!("recording into {}", path.display()));
            Some((made, path))
        }
    };
    let mut begun = false;
    loop {
        let text = match client.receive(TURN) {
            Ok(Some(Reply::Trace { text })) => text,
            Ok(Some(_)) => return Err(unexpected_reply()),
            Ok(None) if limit.is_some_and(|limit| began.elapsed() >= limit) => return Ok(()),
            Ok(None) => continue,
            // The life that was recorded is over.
            Err(Failure::Unreachable(_)) if begun => return Ok(()),
            Err(failure) => return Err(failure),
        };
        begun = true;
        match &mut file {
            None => screen.print(&text)?,
            Some((file, path)) => {
                let written = file.write_all(text.as_bytes());
                written.map_err(|it| Failure::of_file("write", path, &it))?;
            }
        }
        match client.call_again() {
            Err(Failure::Unreachable(_)) => return Ok(()),
            called => called?,
        }
    }
}

/// `debug replay`: line by line; what is cut at the end is no fault of what came before.
fn replay(screen: &mut Screen<'_>, options: &ReplayTrace) -> Result<(), Failure> {
    let path = options.file.as_path();
    let file = File::open(path).map_err(|error| Failure::of_file("open", path, &error))?;
    let mut reader = BufReader::new(file);
    let mut replay = Replay::default();
    let mut line = String::new();
    loop {
        line.clear();
        let read = reader.read_line(&mut line);
        let read = read.map_err(|error| Failure::of_file("read", path, &error))?;
        let Some(text) = line.strip_suffix('\n') else {
            return end(screen, path, &replay, read == 0);
        };
        let bytes = text.starts_with("state ") || text.starts_with("graph ");
        if !bytes && !screen.json && !screen.quiet {
            screen.print(format!("{}\n", printable(text)))?;
        }
        if let Err(error) = replay.line(text) {
            return Err(differs(screen, path, &replay, &error)?);
        }
    }
}

fn end(screen: &mut Screen<'_>, path: &Path, replay: &Replay, whole: bool) -> Result<(), Failure> {
    let events = replay.events();
    if events == 0 {
        let what = format!("{}: there is no event in it", path.display());
        return Err(Failure::Failed(what));
    }
    let whole = whole && replay.is_whole();
    if screen.json {
        return screen.print_json(&json!({ "events": events, "same": true, "whole": whole }));
    }
    if !whole {
        screen.say("the last event is not whole: the recording was cut off there");
    }
    let number = count(usize::try_from(events).unwrap_or(usize::MAX), "event");
    screen.say_done(&format!("{number}, the same actions as recorded\n"))
}

fn differs(
    screen: &mut Screen<'_>,
    path: &Path,
    replay: &Replay,
    error: &ReplayError,
) -> Result<Failure, Failure> {
    if screen.json {
        let why = error.to_string();
        let events = replay.events();
        screen.print_json(&json!({ "events": events, "same": false, "why": why }))?;
    }
    Ok(Failure::Failed(format!("{}: {error}", path.display())))
}
