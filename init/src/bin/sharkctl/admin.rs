//! Verbs that change what lies in the administrator's directory of service files: each plans its files,
//! checks the whole set with them in place, and only then puts them there. Here: what these verbs share.
//! Not here: the checks (`services::file`), and init, which is only told to read the files again.

pub(crate) mod cli;
mod diff;
pub(crate) mod edit;
pub(crate) mod enable;
pub(crate) mod files;
mod lines;
pub(crate) mod mask;
#[cfg(test)]
mod tests;

use std::path::Path;

use serde::Serialize;
use serde_json::json;
use services::control::{Reply, Request};

use self::cli::{AdminVerb, Names};
use self::files::Layers;
use crate::Context;
use crate::change::{self, Change};
use crate::client::{Client, unexpected_reply};
use crate::failure::Failure;
use crate::screen::Screen;
use crate::unknown;
use crate::waiting::await_reply;

/// What a verb has made of one service, as `--json` tells it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Made {
    pub(crate) service: String,
    /// What is so now, in words.
    pub(crate) now: String,
    pub(crate) written: Vec<String>,
    pub(crate) removed: Vec<String>,
    /// What else there is to know.
    pub(crate) notes: Vec<String>,
}

impl Made {
    pub(crate) fn changed(&self) -> bool {
        !self.written.is_empty() || !self.removed.is_empty()
    }

    fn for_people(&self) -> String {
        let mut text = format!("{}: {}\n", self.service, self.now);
        for path in &self.written {
            text.push_str(&format!("  wrote {path}\n"));
        }
        for path in &self.removed {
            text.push_str(&format!("  removed {path}\n"));
        }
        text
    }
}

/// Does one of the verbs.
pub(crate) fn perform(
    verb: &AdminVerb,
    context: &Context,
    screen: &mut Screen<'_>,
) -> Result<(), Failure> {
    match verb {
        AdminVerb::Enable(some) => each(context, screen, some, enable::enable, Some(Change::Start)),
        AdminVerb::Disable(some) => each(context, screen, some, enable::disable, Some(STOP)),
        AdminVerb::Mask(some) => each(context, screen, some, mask::mask, Some(STOP)),
        AdminVerb::Unmask(some) => each(context, screen, some, mask::unmask, Some(Change::Start)),
        AdminVerb::Edit(options) => edit::edit(context, screen, options),
        AdminVerb::Diff(options) if options.running => {
            change::reload_all(context.patience(), screen, true)
        }
        AdminVerb::Diff(options) => diff::diff(context, screen, options),
    }
}

const STOP: Change = Change::Stop { all: false };

type Verb = fn(&Layers, &str) -> Result<Made, Failure>;

/// Does one thing to each service that is named; `at_once` is what `--now` asks init for.
fn each(
    context: &Context,
    screen: &mut Screen<'_>,
    some: &Names,
    verb: Verb,
    at_once: Option<Change>,
) -> Result<(), Failure> {
    let layers = Layers::new(context, some.root.as_deref());
    let (mut made, mut status) = (Vec::new(), None);
    for name in &some.services {
        match verb(&layers, name) {
            Ok(one) => {
                if !screen.json {
                    screen.say_done(&one.for_people())?;
                    one.notes.iter().for_each(|note| screen.say(note));
                }
                made.push(one);
            }
            Err(failure) => {
                let directories = match some.root {
                    Some(_) => &[],
                    None => context.service_path.as_slice(),
                };
                tell_failure(screen, &unknown::explain(directories, &failure));
                status.get_or_insert(failure.exit_status());
            }
        }
    }
    let names: Vec<String> = made.iter().map(|it| it.service.clone()).collect();
    let changed = made.iter().any(Made::changed);
    let mut told = json!({ "results": made });
    if let (true, Some(change), false) = (some.now, at_once, names.is_empty()) {
        take_over(context, screen)?;
        let (outcomes, failed) = change::change_each(context, screen, change, &names)?;
        status = status.or(failed);
        if let Some(told) = told.as_object_mut() {
            told.insert("services".to_owned(), json!(outcomes));
        }
    } else if changed && some.root.is_none() {
        tell_to_reload(context, screen);
    }
    if screen.json {
        screen.print_json(&told)?;
    }
    status.map_or(Ok(()), |status| Err(Failure::Told(status)))
}

/// Problems of files each have a line of their own.
fn tell_failure(screen: &mut Screen<'_>, text: &str) {
    for (at, line) in text.lines().enumerate() {
        match at {
            0 => screen.complain(line),
            _ => screen.complain_bare(line),
        }
    }
}

/// Init goes on with what it has read: that is told where there is one.
fn tell_to_reload(context: &Context, screen: &mut Screen<'_>) {
    if context.socket.exists() {
        screen.say("init has not read this yet: `sharkctl reload` makes it, or --now");
    }
}

/// Makes init read all files again.
pub(crate) fn take_over(context: &Context, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let request = Request::ReloadAll { dry_run: false };
    let mut client = Client::call(&context.socket, request)?;
    let mut what = || "init to read the service files".to_owned();
    match await_reply(&mut client, context.limit, screen, &mut what) {
        Ok(Reply::Changed(_)) => Ok(()),
        Ok(_) => Err(unexpected_reply()),
        Err(Failure::InvalidServices(diagnostics)) => {
            change::tell_diagnostics(screen, &diagnostics);
            Err(Failure::InvalidServices(diagnostics))
        }
        Err(other) => Err(other),
    }
}

/// A path as people read it.
pub(crate) fn shown(path: &Path) -> String {
    path.display().to_string()
}
