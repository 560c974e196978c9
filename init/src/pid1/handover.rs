//! What stage1 has told, taken apart: the facts of the boot, which boot the record is to be asked
//! about, whether there is a gate, and the watchdog. Not here: the hand-over itself
//! (`mounts::handover`).
//!
//! A hand-over that is there and cannot be read comes from a stage1 of another image, or from a broken
//! one. The machine still boots, as far as it can, but such a boot is never found good.

use kernel::Errno;
use mounts::handover::{self, Handover};
use services::control::{BootMode, Timing};
use services::time::Time;

use super::boot::Boot;
use super::gate::{Keeper, Root};
use super::recorder::Recorder;
use super::watchdog::{self, Feeder};
use crate::paths::Paths;
use crate::record::Identity;

/// What is known of the boot before anything is started.
pub(super) struct Told {
    pub(super) boot: Boot,
    pub(super) gate: Keeper,
    pub(super) recorder: Recorder,
    pub(super) watchdog: Option<Feeder>,
    /// Every slot had been given up, and the last good one is tried.
    pub(super) last_good: bool,
    /// Things to say that are neither missing nor bad.
    pub(super) notes: Vec<String>,
}

/// How PID 1 was started.
pub(super) struct Start {
    /// In a namespace or container.
    pub(super) contained: bool,
    /// When.
    pub(super) at: Time,
    /// `shark.watchdog=` of the kernel command line.
    pub(super) watchdog: Option<u32>,
}

/// Reads the hand-over, if there is one.
pub(super) fn read(paths: &Paths, start: &Start) -> Told {
    let path = paths.handover().display().to_string();
    let read = match kernel::files::read(&path, handover::SIZE_MAX) {
        Ok(json) => Handover::decode(&json)
            .map(Some)
            .map_err(|error| error.to_string()),
        Err(error) if error.errno == Errno::NOENT => Ok(None),
        Err(error) => Err(format!("hand-over: {error}")),
    };
    if start.contained {
        return contained(read);
    }
    let mut told = match read {
        Ok(Some(handover)) => of_stage1(handover, start.at),
        Ok(None) => direct(start.watchdog),
        Err(why) => broken(&why, start.at),
    };
    told.recorder.identity.boot_id = kernel::system::boot_id().unwrap_or_default();
    told
}

/// The disks of a container are its host's, and so are their slots and the watchdog. It stays a
/// container whatever a hand-over says: who took it for a machine would unmount and restart it.
fn contained(read: Result<Option<Handover>, String>) -> Told {
    let (boot, notes, last_good) = match read {
        Ok(Some(handover)) => {
            let (notes, last_good) = (handover.notes.clone(), handover.last_good);
            let mut boot = facts(handover);
            boot.info.mode = BootMode::Container;
            (boot, notes, last_good)
        }
        Ok(None) => (in_container(), Vec::new(), false),
        Err(why) => (in_container(), vec![why], false),
    };
    Told {
        boot,
        gate: Keeper::absent("the first process of a PID namespace has no slot of its own"),
        recorder: Recorder::default(),
        watchdog: None,
        last_good,
        notes,
    }
}

fn in_container() -> Boot {
    Boot::new(
        BootMode::Container,
        "first process of a PID namespace: no slots, no verity, no watchdog of its own",
    )
}

fn direct(wanted: Option<u32>) -> Told {
    let mut boot = Boot::new(
        BootMode::Direct,
        "started by the kernel on an ordinary root: no slots, no verity",
    );
    // A hand-over may be lost, and the watchdog of stage1 run all the same.
    let watchdog = watchdog::find(wanted).unwrap_or_else(|why| {
        boot.lacks(why);
        None
    });
    Told {
        boot,
        gate: Keeper::absent("this is no boot from a slot of a disk"),
        recorder: Recorder::default(),
        watchdog,
        last_good: false,
        notes: Vec::new(),
    }
}

fn broken(why: &str, opened: Time) -> Told {
    let mut boot = Boot::new(BootMode::Disk, why);
    boot.lacks(format!("hand-over: nothing of it could be used ({why})"));
    let watchdog = take_over(None, &mut boot);
    if watchdog.is_none() {
        boot.lacks("watchdog: stage1 has left none open".to_owned());
    }
    Told {
        boot,
        gate: Keeper::open(opened, Some(why.to_owned()), None),
        recorder: Recorder::of_boot(Identity::default(), None, true),
        watchdog,
        last_good: false,
        notes: Vec::new(),
    }
}

fn of_stage1(handover: Handover, opened: Time) -> Told {
    let notes = handover.notes.clone();
    let watchdog = handover.watchdog.clone();
    let identity = Identity {
        slot: handover.slot,
        root_hash: handover.root_hash,
        security_version: handover.security_version,
        root_read_whole: handover.root_read_whole,
        state_generation: handover.state_generation,
        ..Identity::default()
    };
    let device = handover.record.device.clone();
    let last_good = handover.last_good;
    let mut recorder = Recorder::of_boot(identity, device, handover.slot.is_some());
    recorder.charged = handover.record.charged;
    let gate = match handover.slot {
        Some(_) => Keeper::open(opened, None, left_to_read(&handover)),
        None => Keeper::absent("this boot is not from a slot of a disk"),
    };
    let mut boot = facts(handover);
    let watchdog = take_over(watchdog.as_ref(), &mut boot);
    Told {
        boot,
        gate,
        recorder,
        watchdog,
        last_good,
        notes,
    }
}

/// What stage1 has not read of the root.
fn left_to_read(handover: &Handover) -> Option<Root> {
    let device = handover
        .devices
        .first()
        .filter(|_| !handover.root_read_whole)?;
    Some(Root {
        device: device.node.clone(),
        bytes: handover.image_size,
    })
}

fn take_over(facts: Option<&handover::WatchdogFacts>, boot: &mut Boot) -> Option<Feeder> {
    watchdog::take_over(facts).unwrap_or_else(|why| {
        boot.lacks(why);
        None
    })
}

fn facts(handover: Handover) -> Boot {
    let mode = match handover.mode {
        handover::Mode::Disk => BootMode::Disk,
        handover::Mode::Initramfs => BootMode::Initramfs,
    };
    let mut boot = Boot::new(mode, &handover.why);
    boot.info.slot = handover.slot.map(|slot| slot.as_str().to_owned());
    boot.info.version = handover.manifest_version;
    boot.info.root_hash = handover.root_hash.map(|hash| hash.to_string());
    boot.info.trial = handover.trial;
    boot.info.committed = handover.slot.is_some() && handover.record.charged && !handover.trial;
    boot.info.boot_number = handover.boot_number;
    boot.info.missing = handover.missing;
    boot.info.timings = handover
        .timings
        .into_iter()
        .map(|timing| Timing {
            name: timing.name,
            us: timing.us,
        })
        .collect();
    boot
}

#[cfg(test)]
mod tests {
    use super::*;
    use services::control::GateState;

    fn read_file(content: Option<&[u8]>, contained: bool) -> Told {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path().to_str(), None);
        if let Some(bytes) = content {
            std::fs::write(paths.handover(), bytes).unwrap();
        }
        let start = Start {
            contained,
            at: Time::from_nanos(1_000_000_000),
            // No test takes the watchdog of the machine it runs on.
            watchdog: Some(0),
        };
        read(&paths, &start)
    }

    fn from_slot_b() -> Handover {
        let mut handover = Handover::new(handover::Mode::Disk);
        handover.slot = Some(mounts::slot::Slot::B);
        handover.why = "slot a: its root does not verify".to_owned();
        handover.missing = vec!["watchdog: none".to_owned()];
        handover.timings = vec![handover::Timing {
            name: "disk found".to_owned(),
            us: 7,
        }];
        handover.trial = true;
        handover.boot_number = Some(12);
        handover.record.charged = true;
        handover.record.device = Some("/dev/vda2".to_owned());
        handover
    }

    #[test]
    fn the_hand_over_becomes_the_facts_of_the_boot() {
        let told = read_file(Some(&from_slot_b().encode().unwrap()), false);
        let info = told.boot.info;
        assert_eq!(info.mode, BootMode::Disk);
        assert_eq!(info.slot.as_deref(), Some("b"));
        assert_eq!(info.missing, ["watchdog: none"]);
        assert_eq!(info.timings.len(), 1);
        assert_eq!((info.trial, info.committed), (true, false));
        assert_eq!(info.boot_number, Some(12));
        assert_eq!(told.gate.state_name(), GateState::Open);
        assert_eq!(told.recorder.device_word(), "/dev/vda2");
        assert_ne!(told.recorder.identity.boot_id, [0; 16]);
        assert!(told.recorder.charged);
        assert!(!told.last_good);
        let mut last = from_slot_b();
        last.last_good = true;
        assert!(read_file(Some(&last.encode().unwrap()), false).last_good);
    }

    #[test]
    fn what_stage1_has_read_whole_is_told_to_the_record() {
        for root_read_whole in [false, true] {
            let handover = Handover {
                root_read_whole,
                ..from_slot_b()
            };
            let told = read_file(Some(&handover.encode().unwrap()), false);
            assert_eq!(told.recorder.identity.root_read_whole, root_read_whole);
        }
    }

    #[test]
    fn without_a_hand_over_the_surroundings_say_what_it_is() {
        let told = read_file(None, true);
        assert_eq!(told.boot.info.mode, BootMode::Container);
        assert_eq!(told.notes, [""; 0]);
        let told = read_file(None, false);
        assert_eq!(told.boot.info.mode, BootMode::Direct);
        assert_eq!(told.gate.state_name(), GateState::None);
        assert!(told.boot.info.missing[0].starts_with("watchdog: "));
    }

    #[test]
    fn a_hand_over_that_cannot_be_read_opens_a_gate_that_nothing_passes() {
        for bad in [&b"{"[..], br#"{"version":2}"#] {
            let told = read_file(Some(bad), false);
            assert_eq!(told.boot.info.mode, BootMode::Disk);
            assert_eq!(told.gate.state_name(), GateState::Open);
            assert!(told.gate.is_hopeless());
            assert!(told.boot.info.missing[0].starts_with("hand-over: "));
            assert!(!told.boot.info.committed);
            assert!(!told.recorder.charged, "nobody has told");
        }
    }

    #[test]
    fn in_a_container_there_is_never_a_gate() {
        let whole = from_slot_b().encode().unwrap();
        for content in [&whole[..], b"{"] {
            let told = read_file(Some(content), true);
            assert_eq!(told.boot.info.mode, BootMode::Container);
            assert_eq!(told.gate.state_name(), GateState::None);
            assert!(told.watchdog.is_none());
        }
    }
}
