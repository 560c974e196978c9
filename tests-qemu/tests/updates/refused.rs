//! Bundles that are refused: by their signature, by a rule, or because the new system would not run.
//! After each, nothing is armed; in the end, the machine boots what it had.

use std::time::Instant;

use anyhow::ensure;
use machine::Machine;
use machine::machine::Boot;
use machine::scenario::{ANSWER, BOOT, field, tell};
use machine::server::{Manner, Server};
use machine::slots::{Device, commits, long_soak, running};
use mounts::slot::Slot;

use crate::{INSTALL, bytes, is_not_installed, network, nothing_is_armed, status};

#[test]
fn a_boot_that_is_not_good_yet_keeps_the_other_slot() -> anyhow::Result<()> {
    let device = Device::new()?;
    // Its services come up, and have yet to show that they stay so.
    let mut machine = Machine::quiet(&device.spec(""), long_soak(300, 600))?;
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

/// For people, each problem has a line of its own, and none is left out.
fn the_list_is_whole(machine: &mut Machine, url: &str) -> anyhow::Result<()> {
    let told = machine.shell(&format!("sharkctl update install {url}"), INSTALL)?;
    let said = String::from_utf8_lossy(&told.err).into_owned();
    let count = said
        .split(" problem")
        .next()
        .and_then(|it| it.rsplit(' ').next()?.parse::<usize>().ok());
    let lines = said.lines().filter(|it| it.starts_with("  ")).count();
    ensure!(
        told.status == 6 && count == Some(lines) && lines > 6,
        "{lines} lines of {said}"
    );
    nothing_is_armed(machine)
}

/// A bundle that is refused: what is wrong with it, it, and words of the reason.
type Case = (&'static str, Vec<u8>, &'static [&'static str]);

fn cases(good: &[u8]) -> anyhow::Result<[Case; 9]> {
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut changed = good.to_vec();
        change(&mut changed);
        changed
    };
    let last = good.len() - 1;
    Ok([
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
    ])
}

#[test]
fn a_bundle_that_is_not_right_is_refused_with_its_reason() -> anyhow::Result<()> {
    let device = Device::new()?;
    let mut machine = device.power_on("")?;
    commits(&machine, 0)?;
    network(&mut machine)?;
    let good = bytes("good")?;
    for (name, content, words) in cases(&good)? {
        println!("{name}");
        let server = Server::start(content, Manner::Good)?;
        is_not_installed(&mut machine, &server.url(), 6, words)?;
        no_trial_waits(&mut machine)?;
        if name == "unproven" {
            nothing_is_armed(&mut machine)?;
            the_list_is_whole(&mut machine, &server.url())?;
        }
    }
    // Signed and whole, and no kernel can mount it.
    let server = Server::start(bytes("hollow")?, Manner::Good)?;
    is_not_installed(
        &mut machine,
        &server.url(),
        1,
        &["open the new system", "mount"],
    )?;
    nothing_is_armed(&mut machine)?;
    // A chunk that was changed on the way is asked for again; one that stays so ends it.
    let mut changed = good;
    let place = changed.len() - 10;
    changed[place] ^= 1;
    let server = Server::start(changed, Manner::Good)?;
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
