//! `list` and `status`: what services are doing, as tables for people. Not here: asking for a change
//! (`change`) and the boot (`boot`).

use init::log::reader::{Reader, last_lines};
use init::log::stamp::Stamp;
use serde_json::json;
use services::control::{BootInfo, BootState, GateState, Reply, Request};
use services::id::ServiceName;
use services::status::{HealthName, HealthStatus, RoleName, ServiceStatus, StateName};

use crate::Context;
use crate::boot;
use crate::client::unexpected_reply;
use crate::failure::{Failure, count};
use crate::logs;
use crate::quantity::{memory, seconds, span};
use crate::screen::{Paint, Screen, state_word};
use crate::table::{Align, Cell, Table, printable};
use crate::waiting::{all_pages, ask};

/// What the boot lacks is told in so many lines.
const MISSING: usize = 5;

/// Lines of the log that `status SERVICE` shows.
const LOG_LINES: usize = 5;

/// `list`.
pub(crate) fn list(context: &Context, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let services = all_services(context, screen)?;
    if screen.json {
        return screen.print_json(&json!({ "services": services }));
    }
    let table = services_table(&services, (context.boottime_us)(), screen.paint());
    screen.print(table)
}

/// `status` without a service: the boot in a line, the services in another, and those that are on
/// their way or have failed.
pub(crate) fn status_of_all(context: &Context, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let services = all_services(context, screen)?;
    let boot = boot::ask_boot(context, screen)?;
    let ok = services
        .iter()
        .all(|service| is_settled_well(service.state));
    if screen.json {
        screen.print_json(&json!({
            "ok": ok,
            "boot": boot::to_json(&boot),
            "services": services,
        }))?;
    } else {
        let text = overview(&services, &boot, (context.boottime_us)(), screen.paint());
        screen.print(text)?;
    }
    if ok { Ok(()) } else { Err(Failure::NotUp) }
}

/// `status SERVICE`.
pub(crate) fn status_of_one(
    context: &Context,
    screen: &mut Screen<'_>,
    name: &str,
) -> Result<(), Failure> {
    let request = Request::Status {
        name: name.to_owned(),
    };
    let Reply::Service { service } = ask(context.patience(), screen, request)? else {
        return Err(unexpected_reply());
    };
    if screen.json {
        screen.print_json(&service)?;
    } else {
        let mut text = details(&service, (context.boottime_us)(), screen.paint());
        text.push_str(&recent_log(context, name, screen.paint()));
        screen.print(text)?;
    }
    match service.state {
        StateName::Up | StateName::Armed | StateName::Listening => Ok(()),
        StateName::Down
        | StateName::Waiting
        | StateName::Starting
        | StateName::Stopping
        | StateName::Backoff
        | StateName::Skipped
        | StateName::Failed => Err(Failure::NotUp),
    }
}

pub(crate) fn all_services(
    context: &Context,
    screen: &mut Screen<'_>,
) -> Result<Vec<ServiceStatus>, Failure> {
    all_pages(|request| ask(context.patience(), screen, request))
}

/// Whether a service in this state needs nobody's attention.
const fn is_settled_well(state: StateName) -> bool {
    match state {
        StateName::Up
        | StateName::Armed
        | StateName::Listening
        | StateName::Down
        | StateName::Skipped => true,
        StateName::Waiting
        | StateName::Starting
        | StateName::Stopping
        | StateName::Backoff
        | StateName::Failed => false,
    }
}

fn services_table(services: &[ServiceStatus], now_us: u64, paint: Paint) -> String {
    let head = |text: &str| Cell::painted(text, |text| paint.bold(text));
    let mut table = Table::new(vec![
        (Align::Left, head("SERVICE")),
        (Align::Left, head("STATE")),
        (Align::Right, head("FOR")),
        (Align::Right, head("PID")),
        (Align::Right, head("MEMORY")),
        (Align::Right, head("RESTARTS")),
        (Align::Left, head("ABOUT")),
    ]);
    for service in services {
        let state = service.state;
        let number = |value: Option<u64>| value.map_or_else(String::new, |value| value.to_string());
        let about = match (&service.reason, &service.health) {
            (Some(reason), _) if !is_settled_well(state) || state == StateName::Skipped => {
                reason.clone()
            }
            (_, Some(health)) if health.state == HealthName::Failing => {
                let words = health.words.as_deref().unwrap_or_default();
                format!("unhealthy: {words}")
            }
            (Some(_) | None, Some(_) | None) => service.description.clone(),
        };
        table.row(vec![
            service.name.as_str().into(),
            Cell::painted(state_word(state), |text| paint.state(state, text)),
            span(now_us.saturating_sub(service.since_us)).into(),
            number(service.pid.map(u64::from)).into(),
            service.memory_bytes.map_or_else(String::new, memory).into(),
            number(Some(u64::from(service.restarts)).filter(|count| *count > 0)).into(),
            about.into(),
        ]);
    }
    table.render()
}

fn overview(services: &[ServiceStatus], boot: &BootInfo, now_us: u64, paint: Paint) -> String {
    const ORDER: [StateName; 10] = [
        StateName::Up,
        StateName::Armed,
        StateName::Listening,
        StateName::Failed,
        StateName::Backoff,
        StateName::Starting,
        StateName::Waiting,
        StateName::Stopping,
        StateName::Skipped,
        StateName::Down,
    ];
    let counts: Vec<String> = ORDER
        .into_iter()
        .filter_map(|state| {
            let count = services.iter().filter(|s| s.state == state).count();
            let text = format!("{count} {}", state_word(state));
            (count > 0).then(|| paint.state(state, &text))
        })
        .collect();
    let slot = boot.slot.as_ref().map_or_else(String::new, |slot| {
        let trial = if boot.trial { " on trial" } else { "" };
        format!(", slot {slot}{trial}")
    });
    let gate = match boot.gate.as_ref().map(|gate| gate.state) {
        Some(GateState::Open) => ", gate open",
        Some(GateState::Passed) => ", gate passed",
        Some(GateState::Failed) => ", gate failed",
        Some(GateState::None) | None => "",
    };
    let mut text = format!(
        "    boot: {}, target {}{}{gate}\nservices: {}\n",
        boot::state_word(boot.state),
        printable(&boot.target),
        printable(&slot),
        counts.join(", "),
    );
    if boot.state == BootState::Degraded {
        let missing = boot.missing.iter().take(MISSING);
        missing.for_each(|it| text.push_str(&format!(" missing: {}\n", printable(it))));
        if boot.missing.len() > MISSING {
            text.push_str("          `sharkctl boot` tells the rest\n");
        }
    }
    let notable: Vec<ServiceStatus> = services
        .iter()
        .filter(|service| !is_settled_well(service.state))
        .cloned()
        .collect();
    if !notable.is_empty() {
        text.push('\n');
        text.push_str(&services_table(&notable, now_us, paint));
    }
    text
}

/// How often it was started again, when it is the next time, and why the last time.
fn restarts_text(service: &ServiceStatus, now_us: u64) -> Option<String> {
    let next = service.retry_us.map(|at| at.saturating_sub(now_us));
    if service.restarts == 0 && next.is_none() {
        return None;
    }
    let next = next.map_or_else(String::new, |next| format!("; again in {}", span(next)));
    let last = service.last_failure.as_deref().map(printable);
    let last = last.map_or_else(String::new, |it| format!("; last because {it}"));
    Some(format!("{}{next}{last}", service.restarts))
}

fn details(service: &ServiceStatus, now_us: u64, paint: Paint) -> String {
    let mut text = paint.bold(&printable(&service.name));
    if !service.description.is_empty() {
        text.push_str(" - ");
        text.push_str(&printable(&service.description));
    }
    text.push('\n');
    let mut line = |key: &str, value: String| {
        text.push_str(&format!("{key:>9}: {value}\n"));
    };
    let wanted = match (service.wanted, service.state) {
        (true, StateName::Down | StateName::Stopping) => ", wanted up",
        (false, StateName::Up | StateName::Starting | StateName::Waiting) => ", not wanted",
        (_, _) => "",
    };
    line(
        "state",
        format!(
            "{} for {}{wanted}",
            paint.state(service.state, state_word(service.state)),
            span(now_us.saturating_sub(service.since_us)),
        ),
    );
    let optional = |value: &Option<String>| value.as_deref().map(printable);
    if let Some(reason) = optional(&service.reason) {
        line("reason", reason);
    }
    if let Some(status) = optional(&service.status_text) {
        line("says", status);
    }
    line("kind", printable(&service.kind));
    if let Some(role) = service.boot_role {
        line("boot", role_text(role).to_owned());
    }
    if let Some(health) = &service.health {
        line("health", printable(&health_text(health, now_us)));
    }
    if let Some(timer) = &service.timer {
        line("timer", printable(&crate::timers::text(timer, now_us)));
    }
    if let Some(pid) = service.pid {
        line("pid", pid.to_string());
    }
    if let Some(started) = service.started_us {
        line("started", started_text(started, service.ready_us, now_us));
    }
    if let Some(restarts) = restarts_text(service, now_us) {
        line("restarts", restarts);
    }
    if let Some(bytes) = service.memory_bytes {
        line("memory", memory(bytes));
    }
    if let Some(tasks) = service.tasks {
        line("tasks", tasks.to_string());
    }
    if let Some(limit) = service.watchdog_us {
        line("watched", format!("silent for at most {}", span(limit)));
    }
    if !service.stored.is_empty() {
        let names = printable(&service.stored.join(" "));
        let stored = count(service.stored.len(), "descriptor");
        line("stored", format!("{stored}: {names}"));
    }
    if let Some(count) = service.left_running {
        line(
            "left",
            format!("{count} processes left running, by stop.scope"),
        );
    }
    line("source", printable(&service.source));
    text
}

const fn role_text(role: RoleName) -> &'static str {
    match role {
        RoleName::Essential => "essential: without it the boot is not good",
        RoleName::Wanted => "wanted: reported with the boot",
        RoleName::Masked => "masked: switched off for this boot",
    }
}

/// `failing for 20s: 2 bad probes in a row, it exited with status 1`
fn health_text(health: &HealthStatus, now_us: u64) -> String {
    let for_so_long = span(now_us.saturating_sub(health.since_us));
    match health.state {
        HealthName::Unknown => "not known: no probe has been answered yet".to_owned(),
        HealthName::Good => format!("good for {for_so_long}"),
        HealthName::Failing => {
            let words = health.words.as_deref().unwrap_or("it does not say why");
            let bad = count(health.failed as usize, "bad probe");
            format!("failing for {for_so_long}: {bad} in a row, {words}")
        }
    }
}

/// When it was started, in civil time and since the kernel began, and how long it took to be ready.
fn started_text(started_us: u64, ready_us: Option<u64>, now_us: u64) -> String {
    let ago = now_us.saturating_sub(started_us);
    let civil = Stamp::from_micros(Stamp::now().as_micros().saturating_sub(ago));
    let ready = match ready_us.and_then(|ready| ready.checked_sub(started_us)) {
        Some(took) => format!(", ready after {}", span(took)),
        None => String::new(),
    };
    format!(
        "{} UTC, {} after the kernel{ready}",
        civil.to_seconds_text(),
        seconds(started_us)
    )
}

/// The last lines of the log, where the caller may read it: `status` is about more than that.
fn recent_log(context: &Context, name: &str, paint: Paint) -> String {
    let Ok(name) = ServiceName::new(name) else {
        return String::new();
    };
    let Ok(found) = Reader::new(&context.log_places(), &name).read() else {
        return String::new();
    };
    let lines = last_lines(&found.lines, LOG_LINES);
    if lines.is_empty() {
        return String::new();
    }
    format!("\n{}", logs::for_people(lines, paint))
}

#[cfg(test)]
mod tests {
    use services::control::{BootMode, GateInfo};

    use super::*;

    fn service(name: &str, state: StateName) -> ServiceStatus {
        ServiceStatus {
            name: name.into(),
            description: format!("About {name}"),
            kind: "simple".into(),
            state,
            wanted: true,
            reason: None,
            because: None,
            last_failure: None,
            status_text: None,
            pid: None,
            restarts: 0,
            retry_us: None,
            since_us: 2_000_000,
            started_us: None,
            ready_us: None,
            memory_bytes: None,
            tasks: None,
            timer: None,
            left_running: None,
            health: None,
            watchdog_us: None,
            stored: Vec::new(),
            boot_role: None,
            source: format!("/usr/lib/shark/services/{name}.toml"),
        }
    }

    fn some_services() -> Vec<ServiceStatus> {
        let mut sshd = service("sshd", StateName::Up);
        (sshd.pid, sshd.memory_bytes) = (Some(812), Some(3_250_000));
        let mut web = service("web", StateName::Backoff);
        (web.reason, web.restarts) = (Some("exit status 1\x1b[2J".into()), 4);
        vec![sshd, web, service("telnet", StateName::Down)]
    }

    #[test]
    fn list_table() {
        let table = services_table(&some_services(), 62_000_000, Paint(false));
        assert_eq!(
            table,
            "SERVICE  STATE        FOR  PID  MEMORY  RESTARTS  ABOUT\n\
             sshd     up       1min 0s  812  3.0MiB            About sshd\n\
             web      backoff  1min 0s                      4  exit status 1 [2J\n\
             telnet   down     1min 0s                         About telnet\n"
        );
    }

    #[test]
    fn the_list_shows_who_is_up_and_unhealthy() {
        let mut sshd = service("sshd", StateName::Up);
        sshd.health = Some(HealthStatus {
            state: HealthName::Failing,
            since_us: 0,
            failed: 1,
            words: Some("no answer within 5s".into()),
        });
        let table = services_table(&[sshd], 62_000_000, Paint(false));
        assert!(
            table.ends_with("  unhealthy: no answer within 5s\n"),
            "{table}"
        );
    }

    #[test]
    fn colour_does_not_move_columns() {
        let plain = services_table(&some_services(), 62_000_000, Paint(false));
        let mut coloured = services_table(&some_services(), 62_000_000, Paint(true));
        assert!(coloured.contains("\x1b[32mup\x1b[0m"));
        for code in ["1", "32", "33", "2", "1;31", "0"] {
            coloured = coloured.replace(&format!("\x1b[{code}m"), "");
        }
        assert_eq!(coloured, plain);
    }

    #[test]
    fn overview_names_what_needs_attention() {
        let boot = BootInfo {
            mode: BootMode::Disk,
            slot: Some("a".into()),
            why: "highest priority".into(),
            version: None,
            root_hash: None,
            kernel: "6.1".into(),
            target: "default".into(),
            state: BootState::Degraded,
            failed: vec![],
            timings: vec![],
            missing: vec![],
            gate: None,
            committed: false,
            trial: false,
            boot_number: None,
            watchdog: None,
        };
        let watched = BootInfo {
            trial: true,
            gate: Some(GateInfo {
                state: GateState::Open,
                ..GateInfo::none("")
            }),
            ..boot.clone()
        };
        let line = "    boot: degraded, target default, slot a on trial, gate open\n";
        let text = overview(&some_services(), &watched, 3_000_000, Paint(false));
        assert!(text.starts_with(line), "{text}");
        assert_eq!(
            overview(&some_services(), &boot, 3_000_000, Paint(false)),
            "    boot: degraded, target default, slot a\n\
             services: 1 up, 1 backoff, 1 down\n\
             \n\
             SERVICE  STATE     FOR  PID  MEMORY  RESTARTS  ABOUT\n\
             web      backoff  1.0s                      4  exit status 1 [2J\n"
        );
    }

    #[test]
    fn details_of_one() {
        let mut sshd = some_services().swap_remove(0);
        sshd.status_text = Some("listening".into());
        (sshd.started_us, sshd.ready_us) = (Some(1_900_000), Some(2_000_000));
        let text = details(&sshd, 3_500_000, Paint(false));
        let (before, rest) = text.split_once("  started: ").unwrap();
        assert_eq!(
            before,
            "sshd - About sshd\n    state: up for 1.5s\n     says: listening\n     kind: simple\n      pid: 812\n"
        );
        let (started, after) = rest.split_once('\n').unwrap();
        assert!(
            started.ends_with(" UTC, 1.900s after the kernel, ready after 100ms"),
            "{started}"
        );
        sshd.boot_role = Some(RoleName::Essential);
        sshd.health = Some(HealthStatus {
            state: HealthName::Failing,
            since_us: 1_500_000,
            failed: 2,
            words: Some("it exited with status 1".into()),
        });
        let text = details(&sshd, 3_500_000, Paint(false));
        let more = "    kind: simple\n     boot: essential: without it the boot is not good\n   \
                    health: failing for 2.0s: 2 bad probes in a row, it exited with status 1\n";
        assert!(text.contains(more), "{text}");
        let source = "   source: /usr/lib/shark/services/sshd.toml\n";
        assert_eq!(after, format!("   memory: 3.0MiB\n{source}"));
        sshd.watchdog_us = Some(30_000_000);
        sshd.stored = vec!["conn".into(), "conn".into()];
        let text = details(&sshd, 3_500_000, Paint(false));
        let more = "  watched: silent for at most 30.0s\n   stored: 2 descriptors: conn conn\n";
        assert!(text.ends_with(&format!("{more}{source}")), "{text}");
    }
}
