//! What the rescue console shows, as lines: the slots, the last boots, what can be done, and what
//! happens by itself. Pure.
//!
//! Not here: printing it, and the reason of the stay, which is said first.

use std::time::Duration;

use mounts::slot::Slot;
use mounts::slot::decide::passed_over;
use mounts::slot::record::{PastBoot, Record};
use mounts::slot::region::RecordState;

use crate::stage1::Next;

/// Past boots that are shown; `sharkctl boot history` has all.
const BOOTS: usize = 8;

/// What the record says.
pub(super) fn state(state: Option<&RecordState>) -> Vec<String> {
    match state {
        None => vec!["boot record: not found".to_owned()],
        Some(RecordState::Unreadable { why, .. }) => {
            vec![format!("boot record: unreadable: {}", one_line(why))]
        }
        Some(state @ RecordState::Newest(newest)) => {
            let record = &newest.record;
            let mut lines: Vec<String> = Slot::ALL
                .into_iter()
                .map(|slot| slot_line(state, record, slot))
                .collect();
            lines.extend(history(record));
            lines
        }
    }
}

fn slot_line(state: &RecordState, record: &Record, slot: Slot) -> String {
    let entry = record.slot(slot);
    let mut words = vec![format!("priority {}", entry.priority)];
    if record.committed == Some(slot) {
        words.push("committed".to_owned());
    }
    if record.trial == Some(slot) {
        words.push("on trial".to_owned());
    }
    words.push(if entry.good { "good" } else { "never good" }.to_owned());
    words.push(format!("tries left {}", entry.tries_left));
    if entry.crashes > 0 {
        words.push(format!("crashes {}", entry.crashes));
    }
    if entry.power_cuts > 0 {
        words.push(format!("power cuts {}", entry.power_cuts));
    }
    if let Some((_, why)) = passed_over(state).into_iter().find(|(it, _)| *it == slot) {
        words.push(format!("not booted: {why}"));
    }
    format!("slot {slot}: {}", words.join(", "))
}

fn history(record: &Record) -> Vec<String> {
    if record.history.is_empty() {
        return vec!["no boot has ended so far".to_owned()];
    }
    let mut rows =
        vec![["boot", "slot", "ended", "phase", "up", "times", "cause"].map(str::to_owned)];
    rows.extend(record.history.iter().take(BOOTS).map(row));
    let mut lines = vec!["last boots, newest first:".to_owned()];
    lines.extend(table(&rows));
    let more = record.history.len().saturating_sub(BOOTS);
    if more > 0 {
        lines.push(format!("  and {more} more"));
    }
    lines
}

fn row(boot: &PastBoot) -> [String; 7] {
    let or_dash = |number: u32| match number {
        0 => "-".to_owned(),
        number => number.to_string(),
    };
    [
        or_dash(boot.number),
        boot.slot.to_string(),
        boot.ended.to_string(),
        boot.stage.to_string(),
        match boot.uptime_seconds {
            0 => "-".to_owned(),
            seconds => duration(Duration::from_secs(seconds.into())),
        },
        boot.times.to_string(),
        boot.text.to_string(),
    ]
}

/// Columns two spaces apart, nothing at the end of a line.
fn table(rows: &[[String; 7]]) -> Vec<String> {
    let mut widths = [0; 7];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    rows.iter()
        .map(|row| {
            let cells: Vec<String> = row
                .iter()
                .zip(widths)
                .map(|(cell, width)| format!("{cell:width$}"))
                .collect();
            format!("  {}", cells.join("  ")).trim_end().to_owned()
        })
        .collect()
}

/// What a person can do here.
pub(super) fn help(has_shell: bool) -> Vec<String> {
    if !has_shell {
        return vec!["there is no shell in this initramfs".to_owned()];
    }
    [
        "press Enter for a shell on this console; there:",
        "  sharkctl boot history        every boot that is remembered",
        "  sharkctl boot record         the whole boot record",
        "  sharkctl boot set-slot a|b   boot this slot next, with all its tries",
        "  touch /run/shark/hold        stay here for now, also without a key pressed",
        "  exit                         try to boot",
        "  reboot -f                    restart the machine",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// What happens when nobody comes.
pub(super) fn outlook(pause: Option<Duration>, next: Next, then_restart: bool) -> Vec<String> {
    let Some(pause) = pause else {
        return vec!["nothing happens until somebody asks for it".to_owned()];
    };
    let what = match next {
        Next::Again | Next::LastGood if then_restart => "the machine restarts",
        Next::Again => "the boot is tried again, and at once when a disk of ours appears",
        Next::LastGood => "the last good slot is tried once more",
        Next::Restart => "the machine restarts",
    };
    vec![format!("in {} {what}", duration(pause))]
}

/// `1h`, `2min`, `45s`: the largest unit that says it.
fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..120 if seconds != 60 => format!("{seconds}s"),
        0..7200 if seconds != 3600 => format!("{}min", seconds / 60),
        0..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86400),
    }
}

/// A reason must stay one line, whatever was put into it.
pub(super) fn one_line(text: &str) -> String {
    text.split(['\n', '\r'])
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use mounts::slot::record::{Ended, Stage, Text};
    use mounts::slot::region::{REGION_SIZE, newest};
    use mounts::verity::RootHash;

    fn past(number: u32, slot: Slot, ended: Ended, text: &str) -> PastBoot {
        PastBoot {
            number,
            slot,
            ended,
            stage: Stage::Gate,
            uptime_seconds: 300 * number,
            ended_unix: 0,
            times: 1,
            text: Text::from(text),
        }
    }

    fn with(change: impl Fn(&mut Record)) -> RecordState {
        let system = |byte| Some((RootHash::new([byte; 32]), 1));
        let mut record = Record::for_image(system(1), system(2));
        record.boots = 20;
        change(&mut record);
        let mut region = vec![0; REGION_SIZE];
        region[..4096].copy_from_slice(&record.encode());
        newest([Ok(&region), Ok(&vec![0; REGION_SIZE])])
    }

    #[test]
    fn both_slots_and_the_last_boots() {
        let state = with(|record| {
            record.slot_mut(Slot::B).tries_left = 0;
            record.slot_mut(Slot::A).crashes = 2;
            record.history.push(past(1, Slot::A, Ended::Panic, "sysrq"));
            record
                .history
                .push(past(12, Slot::B, Ended::GateFailed, "web is down"));
        });
        assert_eq!(
            super::state(Some(&state)),
            [
                "slot a: priority 2, committed, good, tries left 3, crashes 2",
                "slot b: priority 1, never good, tries left 0, not booted: no tries left",
                "last boots, newest first:",
                "  boot  slot  ended        phase  up    times  cause",
                "  12    b     gate-failed  gate   1h    1      web is down",
                "  1     a     panic        gate   5min  1      sysrq",
            ]
        );
    }

    #[test]
    fn more_boots_than_fit_are_counted() {
        let state = with(|record| {
            for number in 1..=u32::try_from(BOOTS + 2).unwrap() {
                let slot = Slot::ALL[usize::from(number % 2 == 0)];
                record.history.push(past(number, slot, Ended::Panic, ""));
            }
        });
        let lines = super::state(Some(&state));
        assert_eq!(lines.last().map(String::as_str), Some("  and 2 more"));
        assert_eq!(lines.len(), 2 + 2 + BOOTS + 1);
    }

    #[test]
    fn no_record_is_said() {
        assert_eq!(super::state(None), ["boot record: not found"]);
        let torn = RecordState::unreadable("torn\nat 0");
        assert_eq!(
            super::state(Some(&torn)),
            ["boot record: unreadable: torn; at 0"]
        );
        assert_eq!(
            super::state(Some(&with(|_| {})))[2],
            "no boot has ended so far"
        );
    }

    #[test]
    fn what_comes_is_said() {
        let check = |seconds: Option<u64>, next, last, expect: &str| {
            let lines = outlook(seconds.map(Duration::from_secs), next, last);
            assert!(lines[0].contains(expect), "{lines:?}");
        };
        check(None, Next::Again, false, "until somebody asks");
        check(
            Some(60),
            Next::LastGood,
            false,
            "in 1min the last good slot",
        );
        check(Some(120), Next::Again, false, "in 2min the boot is tried");
        check(Some(3600), Next::Again, true, "in 1h the machine restarts");
        check(Some(60), Next::Restart, false, "the machine restarts");
        assert_eq!(help(false), ["there is no shell in this initramfs"]);
    }

    #[test]
    fn the_reason_is_one_line() {
        let check = |text: &str, expect: &str| assert_eq!(one_line(text), expect);
        check("plain", "plain");
        check(
            "panicked at a.rs:1:\nindex\r\n",
            "panicked at a.rs:1:; index",
        );
        check("", "");
    }
}
