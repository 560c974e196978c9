//! What is wanted and not required: it is reported with the commit, and is no reason to go back.

use anyhow::ensure;
use machine::Machine;
use machine::overlay::Overlay;
use machine::scenario::{ANSWER, ask, ask_json, field};
use machine::slots::{Device, commits, running, start};
use mounts::slot::Slot;

/// Slot b, tried once, was committed and runs, and the boot tells that the network is not there.
fn committed_without_network(device: &Device, machine: &mut Machine) -> anyhow::Result<()> {
    commits(machine, 0)?;
    ensure!(running(machine)? == "b", "slot a runs");
    let boot = ask_json(machine, "sharkctl boot --json")?;
    let failing = field(&boot, "/gate/wantedFailing")?;
    ensure!(
        failing.to_string().contains("network"),
        "nothing is told of the network: {boot}"
    );
    let text = ask(machine, "sharkctl boot")?;
    ensure!(text.contains("network"), "{text}");
    machine.power_off(ANSWER)?;
    let record = device.disk.record()?;
    ensure!(record.committed == Some(Slot::B), "{record:?}");
    Ok(())
}

#[test]
fn an_unplugged_cable_is_reported_and_the_slot_is_committed() -> anyhow::Result<()> {
    let device = Device::with_b_on_trial(1)?;
    let mut machine = start(&device.spec("test.b=network"), Overlay::default())?;
    machine.set_link(false)?;
    committed_without_network(&device, &mut machine)
}

#[test]
fn a_wanted_service_that_fails_is_reported_and_the_slot_is_committed() -> anyhow::Result<()> {
    let device = Device::with_b_on_trial(1)?;
    let mut machine = device.power_on("test.b=no-network")?;
    committed_without_network(&device, &mut machine)
}

#[test]
fn with_its_cable_in_nothing_is_failing() -> anyhow::Result<()> {
    let device = Device::with_b_on_trial(1)?;
    let mut machine = device.committed("test.b=network")?;
    let boot = ask_json(&mut machine, "sharkctl boot --json")?;
    let failing = field(&boot, "/gate/wantedFailing")?.as_array();
    ensure!(failing.is_some_and(Vec::is_empty), "{boot}");
    ensure!(field(&boot, "/committed")? == true, "{boot}");
    Ok(())
}
