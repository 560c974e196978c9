//! `rc-service`, `rc-update` and `rc-status`, as their manual pages and openrc-run(8) document them. Not here:
//! scripts for OpenRC, which `import` reads.

use services::control::Request;
use services::status::{ServiceStatus, StateName};

use super::words::{Known, Words, flag, value};
use super::{change, list, reload_where_init_runs, status};
use crate::Context;
use crate::admin::enable::{self, Enabled};
use crate::admin::files::Layers;
use crate::failure::Failure;
use crate::screen::Screen;

const SERVICE: [Known; 12] = [
    flag("exists", Some('e')),
    flag("list", Some('l')),
    flag("resolve", Some('r')),
    flag("ifexists", Some('i')),
    flag("ifnotstarted", Some('N')),
    flag("ifstarted", Some('s')),
    flag("ifcrashed", Some('c')),
    flag("nodeps", Some('D')),
    flag("quiet", Some('q')),
    flag("nocolor", Some('C')),
    flag("verbose", Some('v')),
    flag("help", Some('h')),
];

const UPDATE: [Known; 7] = [
    flag("all", Some('a')),
    flag("stack", Some('s')),
    flag("update", Some('u')),
    flag("quiet", Some('q')),
    flag("verbose", Some('v')),
    flag("nocolor", Some('C')),
    value("config", None),
];

const STATUS: [Known; 13] = [
    flag("all", Some('a')),
    flag("crashed", Some('c')),
    value("format", Some('f')),
    flag("list", Some('l')),
    flag("manual", Some('m')),
    flag("runlevel", Some('r')),
    flag("servicelist", Some('s')),
    flag("supervised", Some('S')),
    flag("unused", Some('u')),
    flag("help", Some('h')),
    flag("nocolor", Some('C')),
    flag("quiet", Some('q')),
    flag("verbose", Some('v')),
];

/// The only runlevel: what a boot brings up.
const RUNLEVEL: &str = "default";

/// `rc-service`.
pub(super) fn rc_service(
    context: &Context,
    screen: &mut Screen<'_>,
    arguments: &[String],
) -> Result<u8, Failure> {
    let words = match Words::scan(arguments, &SERVICE) {
        Ok(words) => words,
        Err(wrong) => return say(screen, &format!("rc-service: {wrong}"), 1),
    };
    if words.has("list") {
        let names = list(context, screen)?.into_iter();
        let names: String = names.map(|it| format!("{}\n", it.name)).collect();
        return screen.print(names).map(|()| 0);
    }
    let [name, rest @ ..] = words.words.as_slice() else {
        let usage = "Usage: rc-service [options] <service> <cmd>...";
        return say(screen, usage, 1);
    };
    let known = status(context, screen, name)?;
    if words.has("exists") {
        return Ok(u8::from(known.is_none()));
    }
    let Some(known) = known else {
        return match words.has("ifexists") {
            true => Ok(0),
            false => say(
                screen,
                &format!("rc-service: service `{name}' does not exist"),
                1,
            ),
        };
    };
    let started = matches!(known.state, StateName::Up | StateName::Starting);
    if words.has("ifstarted") && !started
        || words.has("ifnotstarted") && started
        || words.has("ifcrashed") && known.state != StateName::Failed
    {
        return Ok(0);
    }
    let Some(verb) = rest.first() else {
        return say(screen, &format!("rc-service: no command for {name}"), 1);
    };
    run(context, screen, &known, verb)
}

fn say(screen: &mut Screen<'_>, text: &str, status: u8) -> Result<u8, Failure> {
    screen.complain_bare(text);
    Ok(status)
}

fn run(
    context: &Context,
    screen: &mut Screen<'_>,
    known: &ServiceStatus,
    verb: &str,
) -> Result<u8, Failure> {
    let name = known.name.clone();
    let (words, request) = match verb {
        "start" => ("Starting", Request::Start { name }),
        "stop" => ("Stopping", Request::Stop { name, all: false }),
        "restart" => ("Restarting", Request::Restart { name }),
        "reload" => ("Reloading", Request::ReloadService { name }),
        // A failed service that is stopped has not failed any more.
        "zap" => (
            "Forgetting the state of",
            Request::Stop { name, all: false },
        ),
        "status" => return tell(screen, known),
        other => {
            let text = format!(" * {name}: unknown function `{other}'");
            return say(screen, &text, 1);
        }
    };
    screen.print(format!(" * {words} {} ...\n", known.name))?;
    match change(context, screen, request) {
        Ok(()) => screen.print(" [ ok ]\n").map(|()| 0),
        Err(Failure::Failed(why) | Failure::Refused(why)) => {
            screen.print(" [ !! ]\n")?;
            say(
                screen,
                &format!(" * ERROR: {} failed to {verb}: {why}", known.name),
                1,
            )
        }
        Err(other) => Err(other),
    }
}

/// The statuses of openrc-run: 3 stopped, 4 stopping, 8 starting, 16 inactive, 32 crashed.
fn state(known: &ServiceStatus) -> (&'static str, u8) {
    match known.state {
        StateName::Up => ("started", 0),
        StateName::Starting => ("starting", 8),
        StateName::Stopping => ("stopping", 4),
        StateName::Waiting | StateName::Armed | StateName::Listening => ("inactive", 16),
        StateName::Failed | StateName::Backoff => ("crashed", 32),
        StateName::Down | StateName::Skipped => ("stopped", 3),
    }
}

fn tell(screen: &mut Screen<'_>, known: &ServiceStatus) -> Result<u8, Failure> {
    let (word, status) = state(known);
    screen.print(format!(" * status: {word}\n"))?;
    Ok(status)
}

/// `rc-status`.
pub(super) fn rc_status(
    context: &Context,
    screen: &mut Screen<'_>,
    arguments: &[String],
) -> Result<u8, Failure> {
    let words = match Words::scan(arguments, &STATUS) {
        Ok(words) => words,
        Err(wrong) => return say(screen, &format!("rc-status: {wrong}"), 1),
    };
    if words.has("help") {
        let usage = "Usage: rc-status [-a | -c | -l | -m | -r | -s | -u] [default]\n";
        return screen.print(usage).map(|()| 0);
    }
    for option in ["format", "supervised"] {
        if words.has(option) {
            let text = format!("rc-status: --{option} is not supported by Shark init");
            return say(screen, &text, 1);
        }
    }
    if words.has("list") || words.has("runlevel") {
        return screen.print(format!("{RUNLEVEL}\n")).map(|()| 0);
    }
    if let Some(level) = words.words.iter().find(|it| *it != RUNLEVEL) {
        let text = format!(" * runlevel `{level}' does not exist");
        return say(screen, &text, 1);
    }
    let all = list(context, screen)?;
    let all = all.iter().filter(|it| it.kind != "target");
    if words.has("crashed") {
        let crashed: Vec<_> = all.filter(|it| state(it).0 == "crashed").collect();
        let lines = crashed.iter().map(|it| format!("{}\n", it.name));
        screen.print(lines.collect::<String>())?;
        return Ok(u8::from(crashed.is_empty()));
    }
    let set = Layers::new(context, None).read();
    let (enabled, others): (Vec<_>, Vec<_>) =
        all.partition(|it| Enabled::of(&set, &it.name) == Some(Enabled::Yes));
    let (of_level, manual): (Vec<_>, Vec<_>) = match () {
        () if words.has("servicelist") => {
            let lines = enabled.iter().chain(&others).map(|it| service_line(it));
            return screen.print(lines.collect::<String>()).map(|()| 0);
        }
        () if words.has("unused") => {
            let lines = others.iter().map(|it| service_line(it));
            return screen.print(lines.collect::<String>()).map(|()| 0);
        }
        () => (
            enabled,
            others
                .into_iter()
                .filter(|it| state(it).0 != "stopped")
                .collect(),
        ),
    };
    let lines = |services: &[&ServiceStatus]| {
        let lines = services.iter().map(|it| service_line(it));
        lines.collect::<String>()
    };
    if words.has("manual") {
        return screen.print(lines(&manual)).map(|()| 0);
    }
    let mut text = format!("Runlevel: {RUNLEVEL}\n{}", lines(&of_level));
    if words.words.is_empty() {
        text.push_str("Dynamic Runlevel: hotplugged\nDynamic Runlevel: needed/wanted\n");
        text.push_str(&format!("Dynamic Runlevel: manual\n{}", lines(&manual)));
    }
    screen.print(text).map(|()| 0)
}

/// A name, and at the right of 80 columns its state.
fn service_line(known: &ServiceStatus) -> String {
    let state = format!("[  {}  ]", state(known).0);
    let width = 79_usize.saturating_sub(state.len());
    format!(" {:width$}{state}\n", known.name)
}

/// `rc-update`.
pub(super) fn rc_update(
    context: &Context,
    screen: &mut Screen<'_>,
    arguments: &[String],
) -> Result<u8, Failure> {
    let words = match Words::scan(arguments, &UPDATE) {
        Ok(words) => words,
        Err(wrong) => return say(screen, &format!("rc-update: {wrong}"), 1),
    };
    if words.has("update") {
        // The cache of dependencies: there is none.
        return Ok(0);
    }
    let layers = Layers::new(context, None);
    match words.words.as_slice() {
        [] => show(screen, &layers),
        [verb] if verb == "show" => show(screen, &layers),
        [verb, name, levels @ ..] if ["add", "del", "delete"].contains(&verb.as_str()) => {
            if let Some(level) = levels.iter().find(|it| *it != RUNLEVEL) {
                let text = format!(
                    " * rc-update: `{level}' is not a valid runlevel: Shark init has `{RUNLEVEL}' only"
                );
                return say(screen, &text, 1);
            }
            match verb.as_str() {
                "add" => add(context, screen, &layers, name),
                _ => delete(context, screen, &layers, name),
            }
        }
        [verb, ..] => say(screen, &format!("rc-update: cannot do `{verb}' so"), 1),
    }
}

fn show(screen: &mut Screen<'_>, layers: &Layers) -> Result<u8, Failure> {
    let set = layers.read();
    let mut text = String::new();
    for definition in set.definitions(&[]) {
        let name = definition.name.as_str();
        if set.has(name) && Enabled::of(&set, name) == Some(Enabled::Yes) {
            text.push_str(&format!("{name:>20} | {RUNLEVEL}\n"));
        }
    }
    screen.print(text).map(|()| 0)
}

fn add(
    context: &Context,
    screen: &mut Screen<'_>,
    layers: &Layers,
    name: &str,
) -> Result<u8, Failure> {
    match enable::enable(layers, name) {
        Ok(made) if made.changed() => {
            reload_where_init_runs(context, screen)?;
            let text = format!(" * service {name} added to runlevel {RUNLEVEL}\n");
            screen.print(text).map(|()| 0)
        }
        Ok(_) => {
            let text = format!(
                " * rc-update: {name} already installed in runlevel `{RUNLEVEL}'; skipping\n"
            );
            screen.print(text).map(|()| 0)
        }
        Err(Failure::NoSuchService(_)) => say(
            screen,
            &format!(" * rc-update: service `{name}' does not exist"),
            1,
        ),
        Err(other) => Err(other),
    }
}

fn delete(
    context: &Context,
    screen: &mut Screen<'_>,
    layers: &Layers,
    name: &str,
) -> Result<u8, Failure> {
    match enable::disable(layers, name) {
        Ok(made) if made.changed() => {
            reload_where_init_runs(context, screen)?;
            let text = format!(" * service {name} removed from runlevel {RUNLEVEL}\n");
            screen.print(text).map(|()| 0)
        }
        Ok(_) => {
            let text =
                format!(" * rc-update: service `{name}' is not in the runlevel `{RUNLEVEL}'");
            say(screen, &text, 1)
        }
        Err(Failure::NoSuchService(_)) => say(
            screen,
            &format!(" * rc-update: service `{name}' does not exist"),
            1,
        ),
        Err(other) => Err(other),
    }
}
