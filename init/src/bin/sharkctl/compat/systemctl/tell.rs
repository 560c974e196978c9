//! Verbs of `systemctl` that tell about units, in the columns and properties that scripts take apart.

use init::log::stamp::Stamp;
use serde_json::json;
use services::control::{BootState, Reply, Request};
use services::definition::Definition;
use services::status::{ServiceStatus, StateName};

use super::super::journalctl::last_lines;
use super::super::units::{Kind, States, Unit, is_pattern, matches};
use super::super::{list, status};
use super::{Call, files};
use crate::cgroups;
use crate::client::unexpected_reply;
use crate::failure::Failure;
use crate::quantity::{memory, span};
use crate::screen::Screen;
use crate::table::printable;
use crate::waiting::ask;

/// Lines of a log under a status.
const LINES: usize = 10;

/// Does one of the verbs.
pub(super) fn tell(
    call: &Call<'_>,
    screen: &mut Screen<'_>,
    verb: &str,
    words: &[String],
) -> Result<u8, Failure> {
    match verb {
        "is-active" => is_in(call, screen, words, &["active"], 3),
        "is-failed" if words.is_empty() => {
            let failed = list(call.context, screen)?;
            let any = failed.iter().any(|it| it.state == StateName::Failed);
            Ok(u8::from(!any))
        }
        "is-failed" => is_in(call, screen, words, &["failed"], 1),
        "status" if words.is_empty() => status_of_system(call, screen),
        "status" => status_of_units(call, screen, words),
        "show" => show(call, screen, words),
        "is-system-running" => is_system_running(call, screen),
        "get-default" => screen.print("default.target\n").map(|()| 0),
        _ => list_units(call, screen, words),
    }
}

/// Prints the state of each; 0 where one is in a state that is asked for, `otherwise`, or 4 where there is
/// none of them at all.
fn is_in(
    call: &Call<'_>,
    screen: &mut Screen<'_>,
    words: &[String],
    wanted: &[&str],
    otherwise: u8,
) -> Result<u8, Failure> {
    let (mut any, mut found) = (false, false);
    for unit in call.units(screen, words)? {
        let states = match unit {
            Ok(unit) => status(call.context, screen, &unit.service)?
                .map_or(States::NONE, |it| States::of(&it, unit.kind)),
            Err(_) => States::NONE,
        };
        found |= states.load != States::NONE.load;
        any |= wanted.contains(&states.active);
        if !call.quiet() {
            screen.print(format!("{}\n", states.active))?;
        }
    }
    Ok(match (any, found) {
        (true, _) => 0,
        (false, true) => otherwise,
        (false, false) if otherwise == 3 => 4,
        (false, false) => otherwise,
    })
}

fn is_system_running(call: &Call<'_>, screen: &mut Screen<'_>) -> Result<u8, Failure> {
    if call.words.has("wait") {
        ask_boot_settled(call, screen)?;
    }
    let word = system_state(call, screen)?;
    if !call.quiet() {
        screen.print(format!("{word}\n"))?;
    }
    Ok(u8::from(word != "running"))
}

fn ask_boot_settled(call: &Call<'_>, screen: &mut Screen<'_>) -> Result<(), Failure> {
    super::change(call.context, screen, Request::WaitBoot)
}

fn system_state(call: &Call<'_>, screen: &mut Screen<'_>) -> Result<&'static str, Failure> {
    let Reply::Boot { boot } = ask(call.context.patience(), screen, Request::Boot)? else {
        return Err(unexpected_reply());
    };
    let failed = list(call.context, screen)?
        .iter()
        .any(|it| it.state == StateName::Failed);
    Ok(match boot.state {
        BootState::Starting => "starting",
        BootState::Degraded => "degraded",
        BootState::Ready if failed => "degraded",
        BootState::Ready => "running",
    })
}

fn status_of_system(call: &Call<'_>, screen: &mut Screen<'_>) -> Result<u8, Failure> {
    let all = list(call.context, screen)?;
    let state = system_state(call, screen)?;
    let failed = all
        .iter()
        .filter(|it| it.state == StateName::Failed)
        .count();
    screen.print(format!(
        "    State: {state}\n    Units: {} loaded\n     Jobs: 0 queued\n   Failed: {failed} units\n",
        all.len()
    ))?;
    Ok(0)
}

/// 0 where all are active or on their way, 3 where one is not, 4 where there is no such unit.
fn status_of_units(
    call: &Call<'_>,
    screen: &mut Screen<'_>,
    words: &[String],
) -> Result<u8, Failure> {
    let mut worst = 0;
    let mut text = String::new();
    for unit in call.units(screen, words)? {
        let (name, known) = match &unit {
            Ok(unit) => (unit.name(), status(call.context, screen, &unit.service)?),
            Err(word) => (word.clone(), None),
        };
        let (Some(known), Ok(unit)) = (known, unit) else {
            screen.complain_bare(&format!("Unit {name} could not be found."));
            worst = 4;
            continue;
        };
        if !text.is_empty() {
            text.push('\n');
        }
        let states = States::of(&known, unit.kind);
        text.push_str(&block(call, &unit, &known, states));
        if matches!(states.active, "inactive" | "failed") && worst == 0 {
            worst = 3;
        }
    }
    if !call.quiet() {
        screen.print(text)?;
    }
    Ok(worst)
}

/// How a unit is, at a glance.
pub(super) fn mark(states: States) -> char {
    match states.active {
        "failed" => '×',
        "inactive" => '○',
        _ => '●',
    }
}

fn block(call: &Call<'_>, unit: &Unit, it: &ServiceStatus, states: States) -> String {
    let mark = mark(states);
    let mut text = format!("{mark} {} - {}\n", unit.name(), printable(&it.description));
    let state = files::state_of(call, &it.name);
    text.push_str(&match states.load {
        "masked" => format!("     Loaded: masked ({})\n", it.source),
        _ => format!("     Loaded: loaded ({}; {state})\n", it.source),
    });
    let since = wall(call, it.since_us);
    let now = (call.context.boottime_us)();
    let why = match it.state {
        StateName::Failed => " (Result: exit-code)",
        _ => "",
    };
    text.push_str(&format!(
        "     Active: {} ({}){why} since {}; {} ago\n",
        states.active,
        states.sub,
        dated(since),
        span(now.saturating_sub(it.since_us))
    ));
    let mut row = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            text.push_str(&format!("{name:>11}: {value}\n"));
        }
    };
    row("Reason", it.reason.as_deref().map(printable));
    row("Main PID", it.pid.map(|pid| pid.to_string()));
    row(
        "Status",
        it.status_text
            .as_deref()
            .map(|it| format!("\"{}\"", printable(it))),
    );
    row("Tasks", it.tasks.map(|tasks| tasks.to_string()));
    row("Memory", it.memory_bytes.map(memory));
    let count = call
        .words
        .value("lines")
        .and_then(|it| it.parse().ok())
        .unwrap_or(LINES);
    let lines = last_lines(call.context, &it.name, count);
    if !lines.is_empty() {
        text.push('\n');
    }
    text + &lines
}

/// A time of CLOCK_BOOTTIME by the machine's clock, microseconds since 1970.
fn wall(call: &Call<'_>, boottime_us: u64) -> u64 {
    let ago = (call.context.boottime_us)().saturating_sub(boottime_us);
    Stamp::now().as_micros().saturating_sub(ago)
}

/// `Mon 2026-11-30 12:00:00 UTC`
pub(in crate::compat) fn dated(micros: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    // 1970 began on a Thursday.
    let day = micros / 86_400_000_000 % 7;
    let day = usize::try_from(day).ok().and_then(|day| DAYS.get(day));
    let stamp = Stamp::from_micros(micros).to_seconds_text();
    format!("{} {stamp} UTC", day.copied().unwrap_or_default())
}

fn list_units(call: &Call<'_>, screen: &mut Screen<'_>, words: &[String]) -> Result<u8, Failure> {
    let kinds: Vec<&str> = call
        .words
        .values("type")
        .flat_map(|it| it.split(','))
        .collect();
    let mut wanted: Vec<&str> = call
        .words
        .values("state")
        .flat_map(|it| it.split(','))
        .collect();
    if call.words.has("failed") {
        wanted.push("failed");
    }
    let all = list(call.context, screen)?;
    let rows: Vec<(String, States, &ServiceStatus)> = all
        .iter()
        .map(|it| {
            let unit = Unit::of(it);
            (unit.name(), States::of(it, unit.kind), it)
        })
        .filter(|(name, states, it)| {
            let meant = |word: &String| match is_pattern(word) {
                true => matches(word, name),
                false => Unit::parse(word).is_some_and(|unit| unit.service == it.name),
            };
            let kind = name.rsplit('.').next().unwrap_or_default();
            let asked = words.iter().any(meant);
            (words.is_empty() || asked)
                && (kinds.is_empty() || kinds.contains(&kind))
                && match wanted.is_empty() {
                    false => [states.load, states.active, states.sub]
                        .iter()
                        .any(|it| wanted.contains(it)),
                    true => asked || call.words.has("all") || states.active != "inactive",
                }
        })
        .collect();
    if call
        .words
        .value("output")
        .is_some_and(|it| it.starts_with("json"))
    {
        let rows: Vec<_> = rows
            .iter()
            .map(|(name, states, it)| {
                json!({
                    "unit": name, "load": states.load, "active": states.active,
                    "sub": states.sub, "description": it.description,
                })
            })
            .collect();
        return screen.print(format!("{}\n", json!(rows))).map(|()| 0);
    }
    screen.print(table(call, &rows))?;
    Ok(0)
}

fn table(call: &Call<'_>, rows: &[(String, States, &ServiceStatus)]) -> String {
    let wide = |least: usize, of: &dyn Fn(&(String, States, &ServiceStatus)) -> usize| {
        rows.iter().map(of).max().unwrap_or(0).max(least)
    };
    let (legend, plain) = (!call.words.has("no-legend"), call.words.has("plain"));
    let name = wide(4, &|row| row.0.len());
    let load = wide(4, &|row| row.1.load.len());
    let active = wide(6, &|row| row.1.active.len());
    let sub = wide(3, &|row| row.1.sub.len());
    let mut text = String::new();
    let mut line = |mark: &str, cells: [&str; 5]| {
        let [unit, is_loaded, is_active, is, what] = cells;
        let mark = if plain { "" } else { mark };
        let row =
            format!("{mark}{unit:name$} {is_loaded:load$} {is_active:active$} {is:sub$} {what}");
        text.push_str(row.trim_end());
        text.push('\n');
    };
    if legend {
        line("  ", ["UNIT", "LOAD", "ACTIVE", "SUB", "DESCRIPTION"]);
    }
    for (unit, states, it) in rows {
        let mark = match states.active == "failed" || states.load == "masked" {
            true => "● ",
            false => "  ",
        };
        let what = printable(&it.description);
        line(mark, [unit, states.load, states.active, states.sub, &what]);
    }
    if legend {
        text.push_str(&format!("\n{} loaded units listed.\n", rows.len()));
    }
    text
}

/// Properties, as `NAME=VALUE`; of a unit that there is not, those that say so.
fn show(call: &Call<'_>, screen: &mut Screen<'_>, words: &[String]) -> Result<u8, Failure> {
    let asked: Vec<&str> = call
        .words
        .values("property")
        .flat_map(|it| it.split(','))
        .collect();
    let only_value = call.words.has("value");
    let mut text = String::new();
    let mut blocks: Vec<Vec<(&str, String)>> = Vec::new();
    if words.is_empty() {
        let failed = list(call.context, screen)?;
        let failed = failed
            .iter()
            .filter(|it| it.state == StateName::Failed)
            .count();
        blocks.push(vec![
            ("Version", "252".to_owned()),
            ("SystemState", system_state(call, screen)?.to_owned()),
            ("NFailedUnits", failed.to_string()),
        ]);
    }
    // Reading all files is only for who asks for what they alone tell.
    let of_files = asked.is_empty() || asked.contains(&"CanReload");
    let definitions = match of_files {
        true => call.layers().read().definitions(&[]),
        false => Vec::new(),
    };
    for unit in call.units(screen, words)? {
        let unit = match unit {
            Ok(unit) => unit,
            Err(word) => Unit {
                service: word,
                kind: Kind::Service,
            },
        };
        let known = status(call.context, screen, &unit.service)?;
        let mut all = properties(call, &unit, known.as_ref());
        if known.is_some() {
            let mut definitions = definitions.iter();
            let own = definitions.find(|it| it.name.as_str() == unit.service);
            all.extend(abilities(&unit, own));
        }
        blocks.push(all);
    }
    for (at, block) in blocks.iter().enumerate() {
        if at > 0 {
            text.push('\n');
        }
        // In the order in which they are asked for.
        let chosen: Vec<&(&str, String)> = match asked.is_empty() {
            true => block.iter().collect(),
            false => asked
                .iter()
                .filter_map(|name| block.iter().find(|(known, _)| known == name))
                .collect(),
        };
        for (name, value) in chosen {
            match only_value {
                true => text.push_str(&format!("{value}\n")),
                false => text.push_str(&format!("{name}={value}\n")),
            }
        }
    }
    screen.print(text)?;
    Ok(0)
}

fn properties(
    call: &Call<'_>,
    unit: &Unit,
    known: Option<&ServiceStatus>,
) -> Vec<(&'static str, String)> {
    let states = known.map_or(States::NONE, |it| States::of(it, unit.kind));
    let number = |value: Option<u64>| value.map_or("[not set]".to_owned(), |it| it.to_string());
    let mut all = vec![
        ("Id", unit.name()),
        ("Names", unit.name()),
        ("LoadState", states.load.to_owned()),
        ("ActiveState", states.active.to_owned()),
        ("SubState", states.sub.to_owned()),
    ];
    let Some(it) = known else {
        all.push(("Description", unit.name()));
        return all;
    };
    let pid = it.pid.unwrap_or(0).to_string();
    let kind = match it.kind.as_str() {
        "target" => "",
        other => other,
    };
    let result = match it.state {
        StateName::Failed => "exit-code",
        _ => "success",
    };
    let stamp = |at: Option<u64>| at.map_or(String::new(), |at| dated(wall(call, at)));
    let mono = |at: Option<u64>| at.unwrap_or(0).to_string();
    let up_since = it.ready_us.filter(|_| states.active == "active");
    let down_since = (states.active == "inactive").then_some(it.since_us);
    let cgroup = cgroups::directory().ok().and_then(|directory| {
        let cgroup = cgroups::of_service(&directory, &it.name)?;
        let path = cgroup
            .path()
            .find("/services/")
            .map(|at| cgroup.path().split_at(at).1);
        path.map(str::to_owned)
    });
    all.extend([
        ("Description", it.description.clone()),
        ("FragmentPath", it.source.clone()),
        ("UnitFileState", files::state_of(call, &it.name).to_owned()),
        ("Type", kind.to_owned()),
        ("MainPID", pid.clone()),
        ("ExecMainPID", pid),
        ("NRestarts", it.restarts.to_string()),
        ("Result", result.to_owned()),
        ("StatusText", it.status_text.clone().unwrap_or_default()),
        ("ControlGroup", cgroup.unwrap_or_default()),
        ("MemoryCurrent", number(it.memory_bytes)),
        ("TasksCurrent", number(it.tasks)),
        ("StateChangeTimestamp", stamp(Some(it.since_us))),
        ("StateChangeTimestampMonotonic", mono(Some(it.since_us))),
        ("ExecMainStartTimestamp", stamp(it.started_us)),
        ("ExecMainStartTimestampMonotonic", mono(it.started_us)),
        ("ActiveEnterTimestamp", stamp(up_since)),
        ("ActiveEnterTimestampMonotonic", mono(up_since)),
        ("InactiveEnterTimestamp", stamp(down_since)),
        ("InactiveEnterTimestampMonotonic", mono(down_since)),
        ("NeedDaemonReload", "no".to_owned()),
    ]);
    all
}

/// What can be done to a unit, and what it belongs to, as scripts ask before they do something.
fn abilities(unit: &Unit, definition: Option<&Definition>) -> Vec<(&'static str, String)> {
    let word = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    let program = definition.and_then(|it| it.kind.program());
    let is_service = matches!(unit.kind, Kind::Service);
    let triggers = match unit.kind {
        Kind::Socket | Kind::Timer => format!("{}.service", unit.service),
        Kind::Service | Kind::Target => String::new(),
    };
    vec![
        ("CanStart", word(true)),
        ("CanStop", word(true)),
        (
            "CanReload",
            word(is_service && program.is_some_and(|it| it.reload.is_some())),
        ),
        ("Triggers", triggers),
        // Of an init script, of which none becomes a unit here.
        ("SourcePath", String::new()),
    ]
}

#[cfg(test)]
mod tests {
    use super::dated;

    #[test]
    fn days_have_names() {
        assert_eq!(dated(0), "Thu 1970-01-01 00:00:00 UTC");
        assert_eq!(dated(1_795_867_200_000_000), "Sat 2026-11-28 12:00:00 UTC");
    }
}
