//! `boot record`, `history`, `good`, `bad`, `set-slot`: asks init, or where none runs (the rescue shell,
//! the disk of another machine) works on the boot record itself. Not here: what a change means
//! (`mounts::slot`), reading and writing the device (`init::record`), and how it is shown (`history`).

use std::fs;
use std::path::Path;

use init::record::{self, Change, Identity};
use mounts::slot::Slot;
use serde_json::json;
use services::control::{BootRecord, Reply, Request};

use crate::Context;
use crate::cli::{BadBoot, GoodBoot, OnDevice, SetSlot};
use crate::client::{Client, unexpected_reply};
use crate::failure::Failure;
use crate::history;
use crate::screen::Screen;
use crate::waiting::{ask, await_reply};

/// Who is asked for the record.
enum Place {
    /// The running init.
    Init,
    /// A partition, disk or image.
    Device(String),
}

/// `boot record`.
pub(crate) fn record(
    context: &Context,
    screen: &mut Screen<'_>,
    on: &OnDevice,
) -> Result<(), Failure> {
    let record = read(context, screen, on)?;
    if screen.json {
        screen.print_json(&record)?;
    } else {
        screen.print(history::record_for_people(&record, screen.paint()))?;
    }
    complete(&record)
}

/// `boot history`.
pub(crate) fn history(
    context: &Context,
    screen: &mut Screen<'_>,
    on: &OnDevice,
) -> Result<(), Failure> {
    let record = read(context, screen, on)?;
    if screen.json {
        let told = json!({ "attempt": record.attempt, "history": record.history });
        screen.print_json(&told)?;
    } else {
        screen.print(history::history_for_people(&record, screen.paint()))?;
    }
    complete(&record)
}

/// A record that could not be read has been told as far as it goes, and is a failure.
fn complete(record: &BootRecord) -> Result<(), Failure> {
    match &record.problem {
        Some(problem) if record.slots.is_empty() => {
            let device = record.device.as_deref().unwrap_or("this machine");
            Err(Failure::Failed(format!(
                "there is no boot record on {device}: {problem}"
            )))
        }
        Some(_) | None => Ok(()),
    }
}

/// `boot good`.
pub(crate) fn good(
    context: &Context,
    screen: &mut Screen<'_>,
    options: &GoodBoot,
) -> Result<(), Failure> {
    let reason = options.reason.clone();
    match place(context, &options.on)? {
        Place::Init => call(context, screen, Request::BootGood { reason })?,
        Place::Device(device) => {
            let attempt = attempt(&device)?.ok_or_else(|| {
                Failure::Refused(format!(
                    "no boot is under way in the record on {device}, so there is none to be good; \
                     `sharkctl boot set-slot` gives a slot its tries back"
                ))
            })?;
            let text = reason.unwrap_or_default();
            let running = attempt;
            write(&device, &Change::Commit { running, text })?;
        }
    }
    if screen.json {
        return screen.print_json(&json!({ "committed": true }));
    }
    screen.say_done("this boot is good; its slot is committed\n")
}

/// `boot bad`.
pub(crate) fn bad(
    context: &Context,
    screen: &mut Screen<'_>,
    options: &BadBoot,
) -> Result<(), Failure> {
    let reason = options.reason.clone();
    if reason.chars().all(|c| c.is_whitespace() || c.is_control()) {
        return Err(Failure::Usage(
            "--reason is empty; say in a few words what is wrong".into(),
        ));
    }
    let place = place(context, &options.on)?;
    let reboot = !options.no_reboot && matches!(place, Place::Init);
    match (place, options.slot) {
        (Place::Init, Some(_)) => {
            return Err(Failure::Usage(
                "init gives up the running slot; --slot is for a record on a device".into(),
            ));
        }
        (Place::Init, None) => call(context, screen, Request::BootBad { reason, reboot })?,
        (Place::Device(device), slot) => {
            let slot = match slot {
                Some(slot) => record::slot_of_name(slot.into()),
                None => slot_under_way(&device)?,
            };
            write(&device, &Change::GiveUp { slot, text: reason })?;
        }
    }
    if screen.json {
        return screen.print_json(&json!({ "bad": true, "reboot": reboot }));
    }
    screen.say_done(match reboot {
        true => "the slot is given up; restarting\n",
        false => "the slot is given up; it is not booted again\n",
    })
}

/// `boot set-slot`.
pub(crate) fn set_slot(
    context: &Context,
    screen: &mut Screen<'_>,
    options: &SetSlot,
) -> Result<(), Failure> {
    let slot = options.slot.into();
    match place(context, &options.on)? {
        Place::Init => call(context, screen, Request::SetSlot { slot })?,
        Place::Device(device) => {
            let slot = record::slot_of_name(slot);
            write(&device, &Change::SetSlot { slot })?;
        }
    }
    if screen.json {
        return screen.print_json(&json!({ "slot": slot }));
    }
    screen.say_done(&format!(
        "slot {} is booted first from now on, with all its tries\n",
        slot.as_str()
    ))
}

/// Whom to ask: the device that is named; else init; else, where no init runs, the device of this
/// machine. A socket that is named is asked, and nothing in its place.
fn place(context: &Context, on: &OnDevice) -> Result<Place, Failure> {
    if let Some(device) = &on.device {
        let device = device
            .to_str()
            .ok_or_else(|| Failure::Usage(format!("{} is not UTF-8", device.display())))?;
        return Ok(Place::Device(device.to_owned()));
    }
    if context.socket_is_named {
        return Ok(Place::Init);
    }
    match Client::reach(&context.socket) {
        Ok(()) => Ok(Place::Init),
        Err(Failure::Unreachable(why)) => match (context.find_record)() {
            Some(device) => Ok(Place::Device(device)),
            None => Err(Failure::Unreachable(format!(
                "{why}; and no partition here is named shark-state. --device names another place"
            ))),
        },
        Err(other) => Err(other),
    }
}

/// Asks init for a change that has to be written to a disk.
fn call(context: &Context, screen: &mut Screen<'_>, request: Request) -> Result<(), Failure> {
    let patience = context.patience();
    let mut client = Client::call(patience.socket, request)?;
    let mut what = || "the boot record to be written".to_owned();
    match await_reply(&mut client, patience.limit, screen, &mut what)? {
        Reply::Done {} => Ok(()),
        _ => Err(unexpected_reply()),
    }
}

fn read(context: &Context, screen: &mut Screen<'_>, on: &OnDevice) -> Result<BootRecord, Failure> {
    match place(context, on)? {
        Place::Init => match ask(context.patience(), screen, Request::BootRecord)? {
            Reply::BootRecord { record } => Ok(*record),
            _ => Err(unexpected_reply()),
        },
        Place::Device(device) => {
            openable(&device)?;
            let state = record::load(&device);
            Ok(BootRecord {
                device: Some(device),
                ..record::info(&state)
            })
        }
    }
}

/// Whether the device is there and may be read, with the exit status that goes with it.
fn openable(device: &str) -> Result<(), Failure> {
    let path = Path::new(device);
    match fs::File::open(path) {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::of_file("open", path, &error)),
    }
}

fn write(device: &str, change: &Change) -> Result<(), Failure> {
    openable(device)?;
    record::apply(device, change)
        .map(drop)
        .map_err(Failure::Failed)
}

/// The boot that the record has under way, as it would speak of itself.
fn attempt(device: &str) -> Result<Option<Identity>, Failure> {
    openable(device)?;
    let state = record::load(device);
    let attempt = state.record().and_then(|record| record.attempt.as_ref());
    Ok(attempt.map(|attempt| Identity {
        slot: Some(attempt.slot),
        boot_id: attempt.boot_id,
        ..Identity::default()
    }))
}

fn slot_under_way(device: &str) -> Result<Slot, Failure> {
    let attempt = attempt(device)?;
    attempt.and_then(|attempt| attempt.slot).ok_or_else(|| {
        Failure::Usage(format!(
            "no boot is under way in the record on {device}; name the slot with --slot"
        ))
    })
}
