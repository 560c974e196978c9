//! What there is of logs, as journalctl tells it: boots, and their size. Not here: finding them
//! (`logs::boots`).

use init::log::stamp::Stamp;
use serde_json::json;

use super::super::systemctl::dated;
use super::super::words::Words;
use crate::Context;
use crate::failure::Failure;
use crate::logs::boots::{Told, told};
use crate::screen::Screen;

/// Options of the real one that change what is kept, and why they do nothing here.
pub(super) const REFUSED: [(&str, &str); 9] = [
    ("vacuum-size", BOUNDED),
    ("vacuum-time", BOUNDED),
    ("vacuum-files", BOUNDED),
    ("rotate", BOUNDED),
    ("flush", MOVED),
    ("relinquish-var", MOVED),
    ("smart-relinquish-var", MOVED),
    (
        "sync",
        "lines are on the disk after the time that log.toml says",
    ),
    ("verify", "files of logs have no sums of their own"),
];

const BOUNDED: &str = "the logger keeps logs within the size that log.toml says";
const MOVED: &str = "the logger moves lines to the disk as soon as that is there";

/// `--list-boots`: without a heading if quiet, as the real one.
pub(super) fn boots(
    context: &Context,
    screen: &mut Screen<'_>,
    words: &Words,
) -> Result<u8, Failure> {
    let boots = told(context)?;
    if words
        .value("output")
        .is_some_and(|it| it.starts_with("json"))
    {
        let micros = |at: Option<Stamp>| at.map(Stamp::as_micros);
        let rows = boots.iter().map(|boot| {
            json!({
                "index": boot.number().parse::<i64>().unwrap_or(0),
                "boot_id": boot.id,
                "first_entry": micros(boot.span.map(|it| it.0)),
                "last_entry": micros(boot.span.map(|it| it.1)),
            })
        });
        let rows: Vec<_> = rows.collect();
        return screen.print(format!("{}\n", json!(rows))).map(|()| 0);
    }
    screen.print(table(&boots, !words.has("quiet")))?;
    Ok(0)
}

fn table(boots: &[Told], heading: bool) -> String {
    let day = |at: Option<Stamp>| at.map_or("-".to_owned(), |at| dated(at.as_micros()));
    let mut rows: Vec<[String; 4]> = Vec::new();
    if heading {
        rows.push(["IDX", "BOOT ID", "FIRST ENTRY", "LAST ENTRY"].map(str::to_owned));
    }
    rows.extend(boots.iter().map(|boot| {
        [
            boot.number(),
            boot.id.clone().unwrap_or_else(|| "-".to_owned()),
            day(boot.span.map(|it| it.0)),
            day(boot.span.map(|it| it.1)),
        ]
    }));
    let wide = |of: fn(&[String; 4]) -> &String| rows.iter().map(|row| of(row).len()).max();
    let number = wide(|[number, ..]| number).unwrap_or(0);
    let id = wide(|[_, id, ..]| id).unwrap_or(0);
    let first = wide(|[_, _, first, _]| first).unwrap_or(0);
    let lines = rows
        .iter()
        .map(|[index, boot, from, to]| format!("{index:>number$} {boot:id$} {from:first$} {to}\n"));
    lines.collect()
}

/// `--disk-usage`: all logs, in memory and on the disk.
pub(super) fn usage(context: &Context, screen: &mut Screen<'_>) -> Result<u8, Failure> {
    let bytes: u64 = told(context)?.iter().map(|boot| boot.bytes).sum();
    let size = size(bytes);
    let text = format!("Archived and active journals take up {size} in the file system.\n");
    screen.print(text).map(|()| 0)
}

/// `8.0M`
fn size(bytes: u64) -> String {
    let units = [(1_u64 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")];
    let fits = units.iter().find(|(unit, _)| bytes >= *unit);
    fits.map_or(format!("{bytes}B"), |(unit, name)| {
        let tenths = bytes % unit * 10 / unit;
        format!("{}.{tenths}{name}", bytes / unit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boots_have_the_columns_of_journalctl() {
        let boots = [
            Told {
                before: 1,
                id: Some("0123456789abcdef0123456789abcdef".to_owned()),
                span: Some((Stamp::from_micros(0), Stamp::from_micros(86_400_000_000))),
                bytes: 0,
            },
            Told {
                before: 0,
                id: None,
                span: None,
                bytes: 0,
            },
        ];
        assert_eq!(
            table(&boots, true),
            "IDX BOOT ID                          FIRST ENTRY                 LAST ENTRY\n \
             -1 0123456789abcdef0123456789abcdef Thu 1970-01-01 00:00:00 UTC Fri 1970-01-02 00:00:00 UTC\n  \
             0 -                                -                           -\n"
        );
        assert!(table(&boots, false).starts_with("-1 0123"));
    }

    #[test]
    fn sizes_are_short() {
        assert_eq!(size(512), "512B");
        assert_eq!(size(8 << 20), "8.0M");
        assert_eq!(size(3 << 29), "1.5G");
    }
}
