//! Writes what stage1 knows for init: `/run/shark/handover.json`. The format is
//! `mounts::handover`'s.

use std::fs;

use mounts::handover::{self, DmDevice, Handover, Mode, Timing, WatchdogFacts};
use mounts::slot::Slot;

use super::keys::Trusted;
use super::phase::Phase;
use super::record::Ledger;
use super::report::Report;
use super::root::Root;

/// What was booted.
#[derive(Debug)]
pub(crate) enum Booted<'a> {
    /// A slot of a disk.
    Slot {
        slot: Slot,
        why: String,
        /// After every slot had been given up.
        last_good: bool,
        root: &'a Root,
        disk: &'a str,
        ledger: &'a Ledger,
        /// The number of its state generation.
        generation: u64,
        trusted: &'a Trusted,
    },
    /// The root that the initramfs holds.
    Initramfs { why: String },
}

/// Everything stage1 tells init.
pub(crate) fn facts(
    booted: &Booted<'_>,
    watchdog: Option<WatchdogFacts>,
    report: &Report,
) -> Handover {
    let mut facts = match booted {
        Booted::Initramfs { why } => Handover {
            why: why.clone(),
            ..Handover::new(Mode::Initramfs)
        },
        Booted::Slot {
            slot,
            why,
            last_good,
            root,
            disk,
            ledger,
            generation,
            trusted: _,
        } => Handover {
            slot: Some(*slot),
            why: why.clone(),
            manifest_version: Some(root.manifest.version.clone()),
            security_version: Some(root.manifest.security_version),
            root_hash: Some(root.manifest.root_hash),
            disk: Some((*disk).to_owned()),
            devices: vec![DmDevice {
                name: root.dm_name.clone(),
                node: root.dm_node.clone(),
            }],
            boot_number: ledger.boot_number(),
            trial: ledger.is_trial(*slot),
            record: ledger.facts(),
            root_read_whole: root.read_whole,
            image_size: Some(root.manifest.image_size),
            last_good: *last_good,
            state_generation: Some(*generation),
            ..Handover::new(Mode::Disk)
        },
    };
    if let Booted::Slot { trusted, .. } = booted {
        trusted.tell(&mut facts);
    }
    facts.timings = report
        .timings()
        .iter()
        .map(|(phase, nanos)| Timing {
            name: name(*phase),
            us: nanos / 1000,
        })
        .collect();
    facts.watchdog = watchdog;
    facts.missing = report.missing().to_vec();
    facts.notes = report.notes().to_vec();
    facts
}

/// Writes the hand-over where init looks for it. Without it init still runs and knows less.
pub(crate) fn write(facts: &Handover) -> Result<(), String> {
    let bytes = facts.encode().map_err(|error| error.to_string())?;
    let write = |path: &str| {
        if let Some((directory, _)) = path.rsplit_once('/') {
            fs::create_dir_all(directory)?;
        }
        fs::write(path, &bytes)
    };
    write(handover::PATH).map_err(|error| format!("write {}: {error}", handover::PATH))
}

/// Phases of stage1 are told from init's by their prefix.
fn name(phase: Phase) -> String {
    format!("stage1-{phase}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_init_reads_is_what_was_reported() {
        let mut report = Report::default();
        report.ended(Phase::PseudoFilesystems);
        report.ended(Phase::HandOver);
        report.lack("watchdog: none".into());
        report.warn("slot a: not booted".into());
        let watchdog = WatchdogFacts {
            device: "/dev/watchdog0".into(),
            fd: 5,
            identity: "i6300ESB timer".into(),
            timeout_seconds: 60,
        };
        let booted = Booted::Initramfs {
            why: "no disk".into(),
        };
        let facts = facts(&booted, Some(watchdog.clone()), &report);
        let read = Handover::decode(&facts.encode().unwrap()).unwrap();
        assert_eq!(read.mode, Mode::Initramfs);
        assert_eq!(read.why, "no disk");
        assert_eq!(read.watchdog, Some(watchdog));
        assert_eq!(read.missing, ["watchdog: none"]);
        assert_eq!(read.notes, ["slot a: not booted"]);
        let names: Vec<&str> = read
            .timings
            .iter()
            .map(|timing| timing.name.as_str())
            .collect();
        assert_eq!(names, ["stage1-pseudo-filesystems", "stage1-hand-over"]);
        assert!(read.timings[0].us > 0 && read.timings[0].us <= read.timings[1].us);
    }
}
