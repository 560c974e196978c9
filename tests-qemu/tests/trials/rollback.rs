//! A slot on trial whose services or whose init do not hold: the machine goes back to the slot that
//! was good, by itself, and its history tells why.

use machine::image::SmallImages;
use machine::slots::{
    Device, Told, b_is_rolled_back, boots_again, long_soak, rolls_back, rolls_back_with,
};
use mounts::slot::Slot;
use mounts::slot::record::{Ended, Stage};

/// Slot b, ended at its gate.
const fn at_the_gate(cause: &str) -> Told<'_> {
    Told {
        slot: Slot::B,
        ended: Ended::GateFailed,
        stage: Some(Stage::Gate),
        cause,
    }
}

/// Slot b, whose first process ended, which the kernel answers with a panic.
const fn without_first_process(cause: &str) -> Told<'_> {
    Told {
        slot: Slot::B,
        ended: Ended::Panic,
        stage: None,
        cause,
    }
}

#[test]
fn an_essential_service_that_is_never_ready() -> anyhow::Result<()> {
    b_is_rolled_back("test.b=never-ready", at_the_gate("prepare"))
}

#[test]
fn an_essential_service_that_crash_loops() -> anyhow::Result<()> {
    let device = Device::with_b_on_trial(1)?;
    rolls_back(&device, "test.b=crash-loop", at_the_gate("vital"))?;
    boots_again(&device, "test.b=crash-loop", "a")
}

#[test]
fn an_essential_service_that_comes_and_goes_until_the_deadline() -> anyhow::Result<()> {
    // It comes and goes each second.
    let device = Device::with_b_on_trial(1)?;
    let told = at_the_gate("vital");
    rolls_back_with(&device, "test.b=flap", long_soak(6, 20), told)
}

#[test]
fn an_essential_service_that_is_unhealthy() -> anyhow::Result<()> {
    b_is_rolled_back("test.b=unhealthy", at_the_gate("vital"))
}

#[test]
fn an_init_that_exits() -> anyhow::Result<()> {
    b_is_rolled_back("test.b=init-exits", without_first_process("kill init"))
}

#[test]
fn an_init_that_crashes() -> anyhow::Result<()> {
    let told = Told {
        ended: Ended::InitFailed,
        ..at_the_gate("init crashed")
    };
    let device = Device::with_b_on_trial(1)?;
    rolls_back_with(&device, "test.b=init-crashes", long_soak(10, 60), told)
}

#[test]
fn an_init_that_cannot_begin() -> anyhow::Result<()> {
    b_is_rolled_back("test.b=init-without-memory", without_first_process("init"))
}

#[test]
fn an_init_that_is_missing() -> anyhow::Result<()> {
    let small = SmallImages::from_environment()?;
    refused_by_stage1(&Device::of(&small, &small.without_init)?)
}

#[test]
fn an_init_that_is_not_executable() -> anyhow::Result<()> {
    let small = SmallImages::from_environment()?;
    refused_by_stage1(&Device::of(&small, &small.init_not_executable)?)
}

/// Found before the root is entered, so one boot does both: b is refused, and a runs.
fn refused_by_stage1(device: &Device) -> anyhow::Result<()> {
    device.disk.put_b_on_trial(1)?;
    rolls_back(
        device,
        "",
        Told {
            slot: Slot::B,
            ended: Ended::InitFailed,
            stage: Some(Stage::Stage1),
            cause: "init",
        },
    )
}

#[test]
fn a_hand_over_that_is_broken() -> anyhow::Result<()> {
    b_is_rolled_back("test.b=broken-hand-over", at_the_gate("hand-over"))
}
