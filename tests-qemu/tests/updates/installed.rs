//! An update that works: installed, tried, committed; and the way back.

use anyhow::ensure;
use machine::Machine;
use machine::scenario::{ANSWER, ask, field};
use machine::server::{Manner, Server};
use machine::slots::{Device, commits, running};
use mounts::slot::Slot;
use mounts::slot::record::Phase;

use crate::{bytes, installed, is_not_installed, network, status};

/// The updater and its children have taken less than 32 MiB, page cache included.
fn took_little(machine: &mut Machine) -> anyhow::Result<()> {
    let peak = ask(machine, "cat /sys/fs/cgroup/services/update/memory.peak")?;
    println!("the updater took {peak} bytes");
    ensure!(peak.parse::<u64>()? < 32 << 20, "it took {peak} bytes");
    Ok(())
}

#[test]
fn an_update_is_installed_tried_committed_and_taken_back() -> anyhow::Result<()> {
    let device = Device::new()?;
    let mut machine = device.power_on("")?;
    commits(&machine, 0)?;
    network(&mut machine)?;
    let server = Server::start(bytes("good")?, Manner::Good)?;
    let done = installed(&mut machine, &server.url())?;
    ensure!(
        field(&done, "/slot")? == "b" && field(&done, "/version")? == "3",
        "{done}"
    );
    ensure!(field(&done, "/kept")? == 0, "{done}");
    took_little(&mut machine)?;
    let now = status(&mut machine)?;
    ensure!(
        field(&now, "/phase")? == "trial" && field(&now, "/slots/1/triesLeft")? == 1,
        "{now}"
    );
    ensure!(running(&mut machine)? == "a", "the running system changed");

    let position = machine.console.position();
    machine.send("sharkctl reboot")?;
    commits(&machine, position)?;
    ensure!(running(&mut machine)? == "b", "the update was not tried");
    let release = ask(&mut machine, "grep VERSION_ID /etc/os-release")?;
    ensure!(release.contains('3'), "{release}");
    let now = status(&mut machine)?;
    ensure!(
        field(&now, "/phase")? == "settled" && field(&now, "/committed")? == "b",
        "{now}"
    );
    // What was found good once is the least from now on.
    ensure!(field(&now, "/securityFloor")? == 2, "{now}");
    network(&mut machine)?;
    let older = Server::start(bytes("older")?, Manner::Good)?;
    is_not_installed(
        &mut machine,
        &older.url(),
        6,
        &["security version 0", "below 2"],
    )?;

    let position = machine.console.position();
    machine.send("sharkctl update rollback --reboot")?;
    commits(&machine, position)?;
    ensure!(running(&mut machine)? == "a", "it was not taken back");
    machine.power_off(ANSWER)?;
    let record = device.disk.record()?;
    ensure!(
        record.committed == Some(Slot::A) && record.phase == Phase::Settled,
        "{record:?}"
    );
    Ok(())
}

#[test]
fn an_update_comes_from_a_file_and_from_a_pipe_and_is_called_off() -> anyhow::Result<()> {
    let device = Device::new()?;
    let mut machine = device.power_on("")?;
    commits(&machine, 0)?;
    network(&mut machine)?;
    let server = Server::start(bytes("good")?, Manner::Good)?;
    ask(
        &mut machine,
        &format!("wget -q -O /run/good.bundle {}", server.url()),
    )?;
    installed(&mut machine, "/run/good.bundle")?;
    let done = ask(&mut machine, "sharkctl update cancel")?;
    ensure!(done.contains("slot b"), "{done}");
    crate::nothing_is_armed(&mut machine)?;
    // All of it is there already, and is found again.
    let done = installed(&mut machine, "- < /run/good.bundle")?;
    ensure!(field(&done, "/written")? == 0, "{done}");
    ask(&mut machine, "sharkctl update cancel")?;
    let sent = server.sent();
    let done = installed(&mut machine, &server.url())?;
    ensure!(field(&done, "/written")? == 0, "{done}");
    ensure!(
        server.sent() - sent < 200_000,
        "{} bytes were fetched for nothing",
        server.sent() - sent
    );
    ask(&mut machine, "sharkctl update cancel")?;
    let done = installed(&mut machine, "- < /dev/null")
        .unwrap_err()
        .to_string();
    ensure!(done.contains("cut short"), "{done}");
    // All chunks are there, so that what a pipe brings is passed over, and its end is seen all the same.
    ask(&mut machine, "mkfifo /run/pipe")?;
    for (sent, words) in [
        (
            "head -c $(($(stat -c %s /run/good.bundle) - 1)) /run/good.bundle",
            "cut short",
        ),
        ("{ cat /run/good.bundle; echo; }", "follow"),
    ] {
        ask(&mut machine, &format!("{sent} >/run/pipe 2>/dev/null &"))?;
        crate::is_not_installed(&mut machine, "- < /run/pipe", 6, &[words])?;
        crate::nothing_is_armed(&mut machine)?;
    }
    // The largest chunks there are take no more memory than small ones may.
    ask(
        &mut machine,
        "dd if=/dev/zero of=$(findfs PARTLABEL=shark-root-b 2>/dev/null || echo /dev/vda6) bs=1M count=16 conv=fsync",
    )?;
    let coarse = Server::start(bytes("coarse")?, Manner::Good)?;
    let done = installed(&mut machine, &coarse.url())?;
    let written = field(&done, "/written")?.as_u64();
    ensure!(written > Some(6 << 20), "{done}");
    took_little(&mut machine)?;
    ask(&mut machine, "sharkctl update cancel")?;
    let position = machine.console.position();
    machine.send("sharkctl reboot")?;
    commits(&machine, position)?;
    ensure!(
        running(&mut machine)? == "a",
        "what was called off was booted"
    );
    machine.power_off(ANSWER)?;
    Ok(())
}
