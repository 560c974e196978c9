//! `timers`: the services with a timer, the next one first. Not here: what else is told of them (`show`).

use init::log::stamp::Stamp;
use serde_json::json;
use services::status::{ServiceStatus, TimerStatus};

use crate::Context;
use crate::failure::Failure;
use crate::quantity::span;
use crate::screen::{Paint, Screen};
use crate::show::all_services;
use crate::table::{Align, Cell, Table};

/// `timers`.
pub(crate) fn timers(context: &Context, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let services = all_services(context, screen)?;
    let mut timed: Vec<(&ServiceStatus, &TimerStatus)> = services
        .iter()
        .filter_map(|service| Some((service, service.timer.as_ref()?)))
        .collect();
    timed.sort_by_key(|(_, timer)| timer.next_us.unwrap_or(u64::MAX));
    if screen.json {
        let timers: Vec<_> = timed
            .iter()
            .map(|(service, timer)| {
                json!({ "name": service.name, "state": service.state, "timer": timer })
            })
            .collect();
        return screen.print_json(&json!({ "timers": timers }));
    }
    let table = timers_table(&timed, (context.boottime_us)(), screen.paint());
    screen.print(table)
}

fn timers_table(timed: &[(&ServiceStatus, &TimerStatus)], now_us: u64, paint: Paint) -> String {
    let head = |text: &str| Cell::painted(text, |text| paint.bold(text));
    let mut table = Table::new(vec![
        (Align::Left, head("NEXT (UTC)")),
        (Align::Right, head("LEFT")),
        (Align::Left, head("LAST (UTC)")),
        (Align::Left, head("SERVICE")),
        (Align::Left, head("RESULT")),
    ]);
    for (service, timer) in timed {
        table.row(vec![
            civil(timer.next_unix).into(),
            left(timer, now_us).into(),
            civil(timer.last_unix).into(),
            service.name.as_str().into(),
            timer.result.as_deref().unwrap_or("-").into(),
        ]);
    }
    table.render()
}

/// Everything of a timer in one line.
pub(crate) fn text(timer: &TimerStatus, now_us: u64) -> String {
    let next = match timer.next_us {
        None => "no time to come".to_owned(),
        Some(_) => format!(
            "next {} UTC, in {}",
            civil(timer.next_unix),
            left(timer, now_us)
        ),
    };
    let last = match timer.last_unix {
        None => String::new(),
        Some(_) => format!("; last {} UTC", civil(timer.last_unix)),
    };
    let result = match &timer.result {
        None => String::new(),
        Some(result) => format!(": {result}"),
    };
    let missed = match timer.missed {
        0 => String::new(),
        count => format!("; still ran at {count} of its times"),
    };
    format!("{next}{last}{result}{missed}")
}

fn left(timer: &TimerStatus, now_us: u64) -> String {
    timer
        .next_us
        .map_or_else(|| "-".to_owned(), |next| span(next.saturating_sub(now_us)))
}

fn civil(unix: Option<i64>) -> String {
    let seconds = unix.and_then(|seconds| u64::try_from(seconds).ok());
    seconds.map_or_else(
        || "-".to_owned(),
        |seconds| Stamp::from_micros(seconds.saturating_mul(1_000_000)).to_seconds_text(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::server::service;
    use services::status::StateName;

    #[test]
    fn the_table_and_the_line() {
        let timer = TimerStatus {
            next_us: Some(3_600_000_000),
            next_unix: Some(1_795_579_200),
            last_unix: Some(1_795_492_800),
            result: Some("it exited with status 3".to_owned()),
            missed: 2,
        };
        let idle = TimerStatus {
            next_us: None,
            next_unix: None,
            last_unix: None,
            result: None,
            missed: 0,
        };
        let (backup, scrub) = (
            service("backup", StateName::Armed),
            service("scrub", StateName::Down),
        );
        let table = timers_table(&[(&backup, &timer), (&scrub, &idle)], 0, Paint(false));
        assert_eq!(
            table,
            "NEXT (UTC)              LEFT  LAST (UTC)           SERVICE  RESULT\n\
             2026-11-25 04:00:00  1h 0min  2026-11-24 04:00:00  backup   it exited with status 3\n\
             -                          -  -                    scrub    -\n"
        );
        assert_eq!(
            text(&timer, 0),
            "next 2026-11-25 04:00:00 UTC, in 1h 0min; last 2026-11-24 04:00:00 UTC: it exited with \
             status 3; still ran at 2 of its times"
        );
        assert_eq!(text(&idle, 0), "no time to come");
    }
}
