//! `service`, as service(8) documents it, with the exit statuses of LSB for init scripts: of `status` 0
//! runs, 3 does not; of the others 1 failed, 3 cannot be done.

use services::control::Request;
use services::status::StateName;

use super::units::Unit;
use super::{change, list, status};
use crate::Context;
use crate::failure::Failure;
use crate::screen::Screen;

/// `service`.
pub(super) fn service(
    context: &Context,
    screen: &mut Screen<'_>,
    arguments: &[String],
) -> Result<u8, Failure> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["--status-all"] => status_of_all(context, screen),
        ["--version"] => screen.print("service (Shark init)\n").map(|()| 0),
        [] | ["-h" | "--help"] | [_] => {
            screen.complain_bare(
                "Usage: service < option > | --status-all | [ service_name [ command ] ]",
            );
            Ok(u8::from(
                words.is_empty() || words.len() == 1 && !words.contains(&"--help"),
            ))
        }
        [name, verb, ..] => one(context, screen, name, verb),
    }
}

fn status_of_all(context: &Context, screen: &mut Screen<'_>) -> Result<u8, Failure> {
    let mut text = String::new();
    for it in list(context, screen)? {
        let mark = match it.state {
            StateName::Up => '+',
            _ => '-',
        };
        text.push_str(&format!(" [ {mark} ]  {}\n", it.name));
    }
    screen.print(text).map(|()| 0)
}

fn one(context: &Context, screen: &mut Screen<'_>, word: &str, verb: &str) -> Result<u8, Failure> {
    let name = Unit::parse(word).map_or_else(|| word.to_owned(), |unit| unit.service);
    let Some(known) = status(context, screen, &name)? else {
        screen.complain_bare(&format!("{word}: unrecognized service"));
        return Ok(if verb == "status" { 4 } else { 1 });
    };
    let is_up = known.state == StateName::Up;
    let request = match verb {
        "status" if is_up => {
            let pid = known
                .pid
                .map_or_else(String::new, |pid| format!(" (pid {pid})"));
            return screen
                .print(format!("{name} is running{pid}.\n"))
                .map(|()| 0);
        }
        "status" => {
            screen.print(format!("{name} is not running.\n"))?;
            return Ok(3);
        }
        "start" => Request::Start { name },
        "stop" => Request::Stop { name, all: false },
        "restart" => Request::Restart { name },
        "try-restart" | "condrestart" if !is_up => return Ok(0),
        "try-restart" | "condrestart" => Request::Restart { name },
        "reload" => Request::ReloadService { name },
        "force-reload" => match change(
            context,
            screen,
            Request::ReloadService { name: name.clone() },
        ) {
            Ok(()) => return Ok(0),
            Err(Failure::Refused(_)) => Request::Restart { name },
            Err(other) => return told(screen, &known.name, verb, other),
        },
        other => {
            screen.complain_bare(&format!(
                "Usage: service {name} start|stop|status|restart|try-restart|reload|force-reload"
            ));
            screen.complain_bare(&format!("{name}: unknown command {other}"));
            return Ok(3);
        }
    };
    match change(context, screen, request) {
        Ok(()) => Ok(0),
        Err(failure) => told(screen, &known.name, verb, failure),
    }
}

fn told(screen: &mut Screen<'_>, name: &str, verb: &str, failure: Failure) -> Result<u8, Failure> {
    let (why, status) = match failure {
        Failure::Permission(why) => (why, 4),
        Failure::Refused(why) if verb == "reload" => (why, 3),
        Failure::Failed(why) | Failure::Refused(why) => (why, 1),
        other => return Err(other),
    };
    screen.complain_bare(&format!("{name}: {verb} failed: {why}"));
    Ok(status)
}
