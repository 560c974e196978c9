//! Updates of the small system: bundles over HTTP and from files, good ones and bad ones, and what the
//! machine boots afterwards.
// The whole file is a test; clippy takes only what is marked `#[test]` for one.
#![allow(clippy::unwrap_used, clippy::panic)]

mod cuts;
mod installed;
mod keys;
mod power;
mod refused;
mod served;
mod state;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use machine::image::SmallImages;
use machine::scenario::{ask, ask_json, field};
use machine::{Machine, Output};
use serde_json::Value;

/// How long an installation may take under emulation on a busy machine.
pub(crate) const INSTALL: Duration = Duration::from_secs(180);

/// Brings the network up, by hand: the server is on the same link.
const NETWORK: &str = "ip link set eth0 up && ip addr add 10.0.2.15/24 dev eth0";

/// Where a bundle is on the host.
pub(crate) fn bundle(name: &str) -> anyhow::Result<PathBuf> {
    Ok(SmallImages::from_environment()?
        .bundles
        .join(format!("{name}.bundle")))
}

/// What a bundle holds.
pub(crate) fn bytes(name: &str) -> anyhow::Result<Vec<u8>> {
    let path = bundle(name)?;
    std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
}

pub(crate) fn network(machine: &mut Machine) -> anyhow::Result<()> {
    ask(machine, NETWORK).map(drop)
}

/// Installs; any status will do.
pub(crate) fn install(machine: &mut Machine, source: &str) -> anyhow::Result<Output> {
    machine.shell(&format!("sharkctl --json update install {source}"), INSTALL)
}

/// Installs, and has to succeed: what was told at last.
pub(crate) fn installed(machine: &mut Machine, source: &str) -> anyhow::Result<Value> {
    let output = install(machine, source)?;
    ensure!(
        output.status == 0,
        "{source}: {}: {}{}",
        output.status,
        output.text(),
        String::from_utf8_lossy(&output.err)
    );
    let text = output.text();
    let last = text.lines().next_back().context("nothing was told")?;
    let last: Value = serde_json::from_str(last).with_context(|| format!("no JSON: {last}"))?;
    Ok(field(&last, "/installed")?.clone())
}

/// Installs, and has to be refused or to fail with this status, in words that hold all of these.
pub(crate) fn is_not_installed(
    machine: &mut Machine,
    source: &str,
    status: u8,
    words: &[&str],
) -> anyhow::Result<()> {
    let output = install(machine, source)?;
    let said = String::from_utf8_lossy(&output.err).into_owned();
    ensure!(
        output.status == status && words.iter().all(|word| said.contains(word)),
        "{source}: {}: {said}; expected {status} and {words:?}",
        output.status
    );
    Ok(())
}

pub(crate) fn status(machine: &mut Machine) -> anyhow::Result<Value> {
    ask_json(machine, "sharkctl --json update status")
}

/// Nothing is armed: the next boot is of the running slot.
pub(crate) fn nothing_is_armed(machine: &mut Machine) -> anyhow::Result<()> {
    let status = status(machine)?;
    let b = field(&status, "/slots/1")?;
    ensure!(
        field(&status, "/committed")? == "a"
            && field(&status, "/phase")? != "trial"
            && field(b, "/priority")? == 0,
        "{status}"
    );
    Ok(())
}
