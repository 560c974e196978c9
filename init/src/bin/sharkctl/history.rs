//! The boot record and the history of boots, as people read them. Not here: where they come from
//! (`slots`).

use init::log::stamp::Stamp;
use services::control::{AttemptInfo, BootRecord, PastBoot, SlotInfo, SlotName};

use crate::quantity::span;
use crate::screen::Paint;
use crate::table::{Align, Cell, Table, printable};
use crate::update::loader_words;

const SECOND_US: u64 = 1_000_000;

/// `boot history`: the boot under way, then those before it, newest first.
pub(crate) fn history_for_people(record: &BootRecord, paint: Paint) -> String {
    if record.attempt.is_none() && record.history.is_empty() {
        return match record.slots.is_empty() {
            true => String::new(),
            false => "no boot has been recorded yet\n".to_owned(),
        };
    }
    let head = |text: &str| Cell::painted(text, |text| paint.bold(text));
    let mut table = Table::new(vec![
        (Align::Right, head("BOOT")),
        (Align::Left, head("SLOT")),
        (Align::Left, head("WHEN")),
        (Align::Left, head("PHASE")),
        (Align::Left, head("ENDED")),
        (Align::Right, head("UPTIME")),
        (Align::Right, head("TIMES")),
        (Align::Left, head("CAUSE")),
    ]);
    if let Some(attempt) = &record.attempt {
        table.row(attempt_row(attempt));
    }
    for boot in &record.history {
        table.row(past_row(boot));
    }
    table.render()
}

fn attempt_row(attempt: &AttemptInfo) -> Vec<Cell> {
    let ended = match (&attempt.ended, attempt.state.as_str()) {
        (Some(ended), _) => words(ended),
        (None, "committed") => "(good)".to_owned(),
        (None, _) => "(open)".to_owned(),
    };
    vec![
        attempt.number.to_string().into(),
        attempt.slot.as_str().into(),
        when(attempt.started_unix).into(),
        words(&attempt.phase).into(),
        ended.into(),
        uptime(attempt.uptime_seconds).into(),
        "".into(),
        attempt.text.as_str().into(),
    ]
}

fn past_row(boot: &PastBoot) -> Vec<Cell> {
    let times = match boot.times {
        0 | 1 => String::new(),
        times => times.to_string(),
    };
    vec![
        boot.number.to_string().into(),
        boot.slot.as_str().into(),
        when(boot.ended_unix).into(),
        words(&boot.phase).into(),
        words(&boot.ended).into(),
        uptime(boot.uptime_seconds).into(),
        times.into(),
        boot.text.as_str().into(),
    ]
}

/// `boot record`: all of it.
pub(crate) fn record_for_people(record: &BootRecord, paint: Paint) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: &str| {
        if !value.is_empty() {
            text.push_str(&format!("{key:>9}: {}\n", printable(value)));
        }
    };
    line("device", record.device.as_deref().unwrap_or_default());
    if record.slots.is_empty() {
        // What is wrong is told as the failure that it is.
        return text;
    }
    line("problem", record.problem.as_deref().unwrap_or_default());
    line("phase", &words(&record.phase));
    line("committed", slot(record.committed));
    line("trial", slot(record.trial));
    line("boots", &record.boots.to_string());
    if record.rescues > 0 {
        let rescues = record.rescues;
        line(
            "rescues",
            &format!("{rescues} in a row: nothing could be booted"),
        );
    }
    line(
        "written",
        &format!(
            "{} times, last for: {}",
            record.sequence,
            words(&record.reason)
        ),
    );
    if let Some(loader) = &record.loader {
        line("loader", &loader_words(loader));
    }
    text.push('\n');
    text.push_str(&slots_table(&record.slots, paint));
    let history = history_for_people(record, paint);
    if !history.is_empty() {
        text.push('\n');
        text.push_str(&history);
    }
    text
}

fn slots_table(slots: &[SlotInfo], paint: Paint) -> String {
    let head = |text: &str| Cell::painted(text, |text| paint.bold(text));
    let mut table = Table::new(vec![
        (Align::Left, head("SLOT")),
        (Align::Right, head("PRIORITY")),
        (Align::Right, head("TRIES")),
        (Align::Left, head("STATE")),
        (Align::Right, head("CRASHES")),
        (Align::Right, head("CUTS")),
        (Align::Right, head("SECURITY")),
        (Align::Left, head("ROOT HASH")),
    ]);
    for slot in slots {
        let empty = slot.root_hash.bytes().all(|digit| digit == b'0');
        table.row(vec![
            slot.slot.as_str().into(),
            slot.priority.to_string().into(),
            slot.tries_left.to_string().into(),
            state_of(slot, empty).into(),
            slot.crashes.to_string().into(),
            slot.power_cuts.to_string().into(),
            slot.security_version.to_string().into(),
            if empty { "" } else { slot.root_hash.as_str() }.into(),
        ]);
    }
    table.render()
}

/// What can be done with a slot, in a word or two.
fn state_of(slot: &SlotInfo, empty: bool) -> &'static str {
    if slot.verity_bad {
        "verity bad"
    } else if slot.priority == 0 {
        if empty { "empty" } else { "off" }
    } else if slot.tries_left == 0 {
        "exhausted"
    } else if slot.good {
        "good"
    } else {
        "untried"
    }
}

fn slot(slot: Option<SlotName>) -> &'static str {
    slot.map_or("", SlotName::as_str)
}

/// A word of the record as people write it: `power-cut` is `power cut`.
fn words(word: &str) -> String {
    word.replace('-', " ")
}

fn uptime(seconds: u32) -> String {
    match seconds {
        0 => String::new(),
        seconds => span(u64::from(seconds) * SECOND_US),
    }
}

/// In UTC, by the clock of the machine; a clock that was never set gives none.
fn when(unix: u64) -> String {
    match unix {
        0 => String::new(),
        unix => Stamp::from_micros(unix.saturating_mul(SECOND_US)).to_seconds_text(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot_info(slot: SlotName) -> SlotInfo {
        SlotInfo {
            slot,
            priority: 2,
            tries_left: 3,
            good: true,
            verity_bad: false,
            crashes: 0,
            power_cuts: 1,
            security_version: 4,
            state_generation: 0,
            root_hash: "ab".repeat(4),
        }
    }

    fn record() -> BootRecord {
        let b = SlotInfo {
            priority: 1,
            tries_left: 2,
            good: false,
            power_cuts: 0,
            root_hash: "cd".repeat(4),
            ..slot_info(SlotName::B)
        };
        BootRecord {
            device: Some("/dev/vda5".into()),
            sequence: 31,
            committed: Some(SlotName::A),
            trial: Some(SlotName::B),
            phase: "trial".into(),
            reason: "attempt".into(),
            boots: 9,
            slots: vec![slot_info(SlotName::A), b],
            attempt: Some(AttemptInfo {
                number: 9,
                slot: SlotName::B,
                boot_id: "00".into(),
                state: "open".into(),
                ended: None,
                phase: "gate".into(),
                started_unix: 1_795_413_799,
                uptime_seconds: 0,
                text: String::new(),
            }),
            history: vec![
                PastBoot {
                    number: 8,
                    slot: SlotName::B,
                    ended: "gate-failed".into(),
                    phase: "gate".into(),
                    uptime_seconds: 302,
                    ended_unix: 1_795_413_700,
                    times: 1,
                    text: "api not ready within 5min: exited with status 1\x1b".into(),
                },
                PastBoot {
                    number: 7,
                    slot: SlotName::A,
                    ended: "power-cut".into(),
                    phase: "running".into(),
                    uptime_seconds: 0,
                    ended_unix: 0,
                    times: 6,
                    text: String::new(),
                },
            ],
            ..BootRecord::default()
        }
    }

    const HISTORY: &str = "\
BOOT  SLOT  WHEN                 PHASE    ENDED         UPTIME  TIMES  CAUSE
   9  b     2026-11-23 06:03:19  gate     (open)
   8  b     2026-11-23 06:01:40  gate     gate failed  5min 2s         api not ready within 5min: exited with status 1
   7  a                          running  power cut                 6
";

    #[test]
    fn history() {
        let got = history_for_people(&record(), Paint(false));
        assert_eq!(got, HISTORY, "\n{got}");
        let none = BootRecord {
            attempt: None,
            history: vec![],
            ..record()
        };
        let got = history_for_people(&none, Paint(false));
        assert_eq!(got, "no boot has been recorded yet\n");
    }

    #[test]
    fn whole_record() {
        let got = record_for_people(&record(), Paint(false));
        let expect = format!(
            "   device: /dev/vda5\n\
             \x20   phase: trial\n\
             committed: a\n\
             \x20   trial: b\n\
             \x20   boots: 9\n\
             \x20 written: 31 times, last for: attempt\n\
             \n\
             SLOT  PRIORITY  TRIES  STATE    CRASHES  CUTS  SECURITY  ROOT HASH\n\
             a            2      3  good           0     1         4  abababab\n\
             b            1      2  untried        0     0         4  cdcdcdcd\n\
             \n{HISTORY}"
        );
        assert_eq!(got, expect, "\n{got}");
    }

    #[test]
    fn a_record_that_is_not_there_has_no_tables() {
        let none = BootRecord {
            device: Some("disk.img".into()),
            problem: Some("both regions are empty".into()),
            ..BootRecord::default()
        };
        assert_eq!(
            record_for_people(&none, Paint(false)),
            "   device: disk.img\n"
        );
        assert_eq!(history_for_people(&none, Paint(false)), "");
        let partly = BootRecord {
            problem: Some("passed over: region 1".into()),
            rescues: 2,
            ..record()
        };
        let got = record_for_people(&partly, Paint(false));
        assert!(
            got.contains("\n  problem: passed over: region 1\n"),
            "{got}"
        );
        assert!(got.contains("\n  rescues: 2 in a row"), "{got}");
    }

    #[test]
    fn states_of_slots() {
        let check = |slot: SlotInfo, expect: &str| assert_eq!(state_of(&slot, false), expect);
        let a = || slot_info(SlotName::A);
        check(a(), "good");
        check(SlotInfo { good: false, ..a() }, "untried");
        check(
            SlotInfo {
                tries_left: 0,
                ..a()
            },
            "exhausted",
        );
        check(SlotInfo { priority: 0, ..a() }, "off");
        check(
            SlotInfo {
                verity_bad: true,
                priority: 0,
                ..a()
            },
            "verity bad",
        );
        assert_eq!(state_of(&SlotInfo { priority: 0, ..a() }, true), "empty");
    }
}
