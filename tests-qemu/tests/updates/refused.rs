//! Bundles that are refused: by their signature, by a rule, or because the new system would not run.
//! After each, nothing is armed; in the end, the machine boots what it had.

use std::time::Instant;

use anyhow::ensure;
use machine::Machine;
use machine::machine::Boot;
use machine::overlay::Overlay;
use machine::scenario::{ANSWER, BOOT, field, tell};
use machine::server::{Manner, Server};
use machine::slots::{Device, commits, running};
use mounts::slot::Slot;

use crate::{bytes, is_not_installed, network, nothing_is_armed, status};

#[test]
fn a_boot_that_is_not_good_yet_keeps_the_other_slot() -> anyhow::Result<()> {
    let device = Device::new()?;
    // Its services come up, and one of them is never healthy.
    let mut machine = Machine::quiet(&device.spec("test.a=unhealthy"), Overlay::default())?;
    let boot = machine.boot(0, Instant::now() + BOOT);
    ensure!(boot == Boot::Good, "{boot:?}");
    network(&mut machine)?;
    let server = Server::start(bytes("good")?, Manner::Good)?;
    is_not_installed(&mut machine, &server.url(), 6, &["not been found good yet"])?;
    machine.power_off(ANSWER)?;
    let record = device.disk.record()?;
    ensure!(record.slot(Slot::B).priority > 0, "{record:?}");
    Ok(())
}

/// Slot b may be as it was, and is not to be tried.
fn no_trial_waits(machine: &mut Machine) -> anyhow::Result<()> {
    let now = status(machine)?;
    let fits = field(&now, "/phase")? != "trial" && field(&now, "/committed")? == "a";
    ensure!(fits, "{now}");
    Ok(())
}

#[test]
fn a_bundle_that_is_not_right_is_refused_with_its_reason() -> anyhow::Result<()> {
    let device = Device::new()?;
    let mut machine = device.power_on("")?;
    commits(&machine, 0)?;
    network(&mut machine)?;
    let good = bytes("good")?;
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut changed = good.clone();
        change(&mut changed);
        changed
    };
    let last = good.len() - 1;
    let cases: [(&str, Vec<u8>, &[&str]); 9] = [
        ("no bundle", vec![b'x'; 5000], &["SHARKBUN"]),
        ("signature", with(&|it| it[20] ^= 1), &["signed by none"]),
        ("header", with(&|it| it[100] ^= 1), &["signed by none"]),
        (
            "cut short",
            with(&|it| it.truncate(last)),
            &["cut short", "expected"],
        ),
        ("trailing", with(&|it| it.push(0)), &["damaged", "expected"]),
        ("older", bytes("older")?, &["security version 0", "below 1"]),
        (
            "elsewhere",
            bytes("elsewhere")?,
            &["the bundle is for aarch64"],
        ),
        ("stranger", bytes("stranger")?, &["signed by none of 1"]),
        (
            "unproven",
            bytes("unproven")?,
            &[
                "ghost",
                "stranger",
                "circle-one",
                "colour",
                "another machine",
                "100GiB are kept for services",
                "the machine has no processor 4000",
            ],
        ),
    ];
    for (name, content, words) in cases {
        println!("{name}");
        let server = Server::start(content, Manner::Good)?;
        is_not_installed(&mut machine, &server.url(), 6, words)?;
        no_trial_waits(&mut machine)?;
        if name == "unproven" {
            nothing_is_armed(&mut machine)?;
        }
    }
    // A chunk that was changed on the way is asked for again; one that stays so ends it.
    let server = Server::start(with(&|it| it[last - 9] ^= 1), Manner::Good)?;
    is_not_installed(
        &mut machine,
        &server.url(),
        1,
        &["chunk", "not the one that was signed"],
    )?;
    nothing_is_armed(&mut machine)?;
    let stranger = tell(
        &mut machine,
        "su nobody -s /bin/sh -c 'sharkctl update cancel'",
    )?;
    ensure!(stranger.status != 0, "anybody may call an update off");

    let position = machine.console.position();
    machine.send("sharkctl reboot")?;
    commits(&machine, position)?;
    ensure!(running(&mut machine)? == "a", "something else was booted");
    machine.power_off(ANSWER)?;
    Ok(())
}
