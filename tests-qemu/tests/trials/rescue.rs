//! When no slot is left: a console that says why, pauses that grow, and ways out again.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use machine::Machine;
use machine::image::SmallImages;
use machine::overlay::Overlay;
use machine::scenario::{ANSWER, ask_json, field};
use machine::slots::{Device, Told, commits, goes_to_rescue, running, start};
use mounts::slot::Slot;
use mounts::slot::record::{Ended, Phase, Stage};

/// The first pause is a minute; this is more than it on a busy host.
const PAUSE: Duration = Duration::from_secs(100);

fn console_says(machine: &Machine, what: &str, from: usize, wait: Duration) -> anyhow::Result<()> {
    match machine
        .console
        .wait_for(&[what], from, Instant::now() + wait)
    {
        Ok(_) => Ok(()),
        Err(missed) => bail!(
            "{what:?} is not on the console: {missed:?}:\n{}",
            machine.console.tail(60)
        ),
    }
}

/// Presses Enter for a shell.
fn open_shell(machine: &mut Machine) -> anyhow::Result<()> {
    let position = machine.console.position();
    machine.type_line("")?;
    // The prompt has no newline behind it; what this prints has.
    machine.type_line("echo shell-$((40 + 2))")?;
    console_says(machine, "shell-42", position, ANSWER)?;
    // Nobody types faster, and what ends at once is taken for noise on the line.
    std::thread::sleep(Duration::from_secs(1));
    Ok(())
}

/// Types what makes the machine boot, and waits until that boot is committed.
fn leave_rescue(machine: &mut Machine, command: &str) -> anyhow::Result<()> {
    let position = machine.console.position();
    machine.type_line(command)?;
    console_says(machine, "rescue: trying to boot", position, ANSWER)?;
    commits(machine, machine.console.position())
}

#[test]
fn with_both_slots_given_up_pauses_grow_until_somebody_sets_a_slot() -> anyhow::Result<()> {
    let device = Device::new()?;
    device.disk.change_record(|record| {
        for slot in Slot::ALL {
            record.slot_mut(slot).tries_left = 0;
        }
    })?;
    // Slot a is broken as long as nobody takes the word away; slot b only seems to be.
    let mut machine = device.power_on("test.a=crash-loop")?;
    goes_to_rescue(&machine, 0)?;
    for line in ["slot a: ", "slot b: ", "not booted: no tries left"] {
        console_says(&machine, line, 0, ANSWER)?;
    }
    console_says(
        &machine,
        "in 1min the last good slot is tried once more",
        0,
        ANSWER,
    )?;
    // It is, and fails; the next pause is longer, and the history of it is on the screen.
    let position = machine.console.position();
    console_says(&machine, "rescue: trying to boot", position, PAUSE)?;
    let position = machine.console.position();
    goes_to_rescue(&machine, position)?;
    console_says(&machine, "gate-failed", position, ANSWER)?;
    console_says(
        &machine,
        "in 2min the last good slot is tried once more",
        position,
        ANSWER,
    )?;
    let record = device.disk.record()?;
    ensure!(record.rescues == 1, "{record:?}");
    let told = Told {
        slot: Slot::A,
        ended: Ended::GateFailed,
        stage: Some(Stage::Gate),
        cause: "vital",
    };
    told.on(&record)?;

    open_shell(&mut machine)?;
    leave_rescue(&mut machine, "sharkctl boot set-slot b && exit")?;
    ensure!(running(&mut machine)? == "b", "slot a runs");
    told.by(&mut machine)?;
    machine.power_off(ANSWER)?;
    let record = device.disk.record()?;
    ensure!(
        record.committed == Some(Slot::B) && record.phase != Phase::Trial && record.rescues == 0,
        "{record:?}"
    );
    Ok(())
}

#[test]
fn a_disk_that_is_repaired_boots_again() -> anyhow::Result<()> {
    /// In the signature, behind magic, version and length.
    const SIGNATURE: u64 = 20;
    let device = Device::new()?;
    let flip = || {
        ["shark-sig-a", "shark-sig-b"]
            .iter()
            .try_for_each(|partition| device.disk.flip(partition, SIGNATURE))
    };
    flip()?;
    let mut machine = device.power_on("")?;
    let line = goes_to_rescue(&machine, 0)?;
    ensure!(line.contains("sign"), "{line}");
    machine.cut_power();
    let record = device.disk.record()?;
    for slot in Slot::ALL {
        Told {
            slot,
            ended: Ended::ManifestRefused,
            stage: Some(Stage::Stage1),
            cause: "sign",
        }
        .on(&record)?;
    }
    flip()?;
    let mut machine = device.committed("")?;
    ensure!(running(&mut machine)? == "a", "slot b runs");
    let boot = ask_json(&mut machine, "sharkctl boot --json")?;
    ensure!(field(&boot, "/committed")? == true, "{boot}");
    machine.power_off(ANSWER)?;
    Ok(())
}

#[test]
fn asked_for_on_the_command_line_it_shows_the_record_and_goes_on() -> anyhow::Result<()> {
    let device = Device::new()?;
    let mut machine = device.power_on("shark.rescue")?;
    goes_to_rescue(&machine, 0)?;
    open_shell(&mut machine)?;
    let position = machine.console.position();
    machine.type_line("sharkctl boot record --json")?;
    console_says(&machine, "\"committed\": \"a\"", position, ANSWER)?;
    leave_rescue(&mut machine, "exit")?;
    ensure!(running(&mut machine)? == "a", "slot b runs");
    Ok(())
}

/// Runs a command over ssh, with this key or with none.
fn ssh(port: u16, key: Option<&Path>, command: &str) -> anyhow::Result<Output> {
    let mut ssh = Command::new("ssh");
    ssh.args([
        "-F",
        "none",
        "-o",
        "BatchMode=yes",
        "-o",
        "IdentitiesOnly=yes",
    ])
    .args([
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
    ])
    .args(["-o", "ConnectTimeout=100", "-p", &port.to_string()]);
    match key {
        Some(key) => ssh.arg("-i").arg(key),
        None => ssh.args(["-i", "/dev/null"]),
    };
    ssh.args(["root@127.0.0.1", command])
        .output()
        .context("cannot run ssh")
}

#[test]
fn only_the_holder_of_a_key_comes_in_over_ssh() -> anyhow::Result<()> {
    let small = SmallImages::from_environment()?;
    let device = Device::of(&small, &small.rescue_ssh)?;
    // Free a moment ago, and nobody is in a hurry to take it.
    let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
    let mut spec = device.spec("shark.rescue");
    spec.forwards.push((port, 22));
    let mut machine = start(&spec, Overlay::default())?;
    goes_to_rescue(&machine, 0)?;
    console_says(&machine, "shark: rescue: ssh on eth0", 0, ANSWER)?;
    let stranger = ssh(port, None, "true")?;
    let words = String::from_utf8_lossy(&stranger.stderr);
    ensure!(
        stranger.status.code() == Some(255) && words.contains("Permission denied"),
        "a stranger is told {words}"
    );
    let holder = ssh(port, Some(&small.rescue_key), "sharkctl boot record --json")?;
    let words = String::from_utf8_lossy(&holder.stdout);
    ensure!(
        holder.status.success() && words.contains("\"committed\": \"a\""),
        "{}: {words}{}",
        holder.status,
        String::from_utf8_lossy(&holder.stderr)
    );
    machine.cut_power();
    Ok(())
}
