//! Outer loaders that choose between the slots, each the real thing: trial, commit, rollback, and a
//! kernel that dies before anything of ours runs.
// The whole file is a test; clippy takes only what is marked `#[test]` for one.
#![allow(clippy::unwrap_used, clippy::panic)]

mod gpt;
mod u_boot;
mod uefi;

use std::time::Duration;

use anyhow::{Context as _, ensure};
use machine::Machine;
use machine::scenario::{ask, ask_json, field};
use machine::server::{Manner, Server};
use machine::slots::{commits, running};

/// How long an installation may take under emulation on a busy machine.
const INSTALL: Duration = Duration::from_secs(240);

/// Brings the network up, by hand: the server is on the same link.
const NETWORK: &str = "ip link set eth0 up; ip addr add 10.0.2.15/24 dev eth0 2>/dev/null; true";

/// Installs a bundle over HTTP, and has to succeed.
fn install(machine: &mut Machine, bundle: &std::path::Path) -> anyhow::Result<()> {
    ask(machine, NETWORK)?;
    let bytes =
        std::fs::read(bundle).with_context(|| format!("cannot read {}", bundle.display()))?;
    let server = Server::start(bytes, Manner::Good)?;
    let output = machine.shell(
        &format!("sharkctl --json update install {}", server.url()),
        INSTALL,
    )?;
    ensure!(
        output.status == 0,
        "{}: {}{}",
        output.status,
        output.text(),
        String::from_utf8_lossy(&output.err)
    );
    Ok(())
}

/// Restarts, and waits until a boot is committed.
fn restart(machine: &mut Machine, command: &str) -> anyhow::Result<()> {
    let position = machine.console.position();
    machine.send(command)?;
    commits(machine, position)
}

/// Root and kernel are of this slot, and the loader starts it from now on.
fn runs(machine: &mut Machine, slot: &str) -> anyhow::Result<()> {
    ensure!(running(machine)? == slot, "slot {slot} does not run");
    let line = ask(machine, "cat /proc/cmdline")?;
    let word = format!("shark.loader-slot={slot}");
    ensure!(line.split_whitespace().any(|it| it == word), "{line}");
    loader_says(machine, slot, slot, "blessed")
}

/// What the loader would start next, and what it knows of `slot`, as the updater and init tell it.
fn loader_says(machine: &mut Machine, next: &str, slot: &str, entry: &str) -> anyhow::Result<()> {
    let place = if slot == "a" { 0 } else { 1 };
    for command in ["update status", "boot record"] {
        let told = ask_json(machine, &format!("sharkctl --json {command}"))?;
        ensure!(
            field(&told, "/loader/next")? == next
                && field(&told, &format!("/loader/slots/{place}"))? == entry,
            "{command}: {told}"
        );
    }
    Ok(())
}
