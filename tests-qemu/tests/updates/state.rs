//! State follows the slot: what one system changes in /etc the other does not see, what does not fit is
//! refused or rolled back, and a factory reset takes all of it away, whatever the power does.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use machine::Machine;
use machine::scenario::{ANSWER, BOOT, ask, field, tell, until};
use machine::server::{Manner, Server};
use machine::slots::{Device, Told, commits, running};
use mounts::slot::Slot;
use mounts::slot::record::{Ended, Stage};

use crate::{bytes, installed, is_not_installed, network, nothing_is_armed, status};

/// Fills the data partition, reserve and all.
const FILL: &str = "dd if=/dev/zero of=/var/fill bs=64k 2>/dev/null; dd if=/dev/zero of=/var/more bs=4k 2>/dev/null; sync";

fn who(machine: &mut Machine) -> anyhow::Result<String> {
    ask(machine, "cat /etc/who")
}

/// The directory that follows the slot is the service's, which runs in it, with what is kept for it; and
/// that is kept as long as it runs, after it was stopped and init replaced too.
fn keeper_is_as_its_file_says(machine: &mut Machine) -> anyhow::Result<()> {
    let told = ask(
        machine,
        "cd /sys/fs/cgroup/services; sharkctl --quiet start keeper; sharkctl reexec >/dev/null; \
         sharkctl --quiet stop keeper; stopped=$(cat memory.min); sharkctl --quiet start keeper; \
         echo $stopped $(readlink /proc/$(cat keeper/cgroup.procs)/cwd) $(stat -c %U /var/lib/keeper) \
         $(cat memory.min keeper/memory.min keeper/cpuset.cpus)",
    )?;
    let expect = "0 /var/lib/keeper nobody 1048576 1048576 0";
    ensure!(told == expect, "keeper: {told}, expected {expect}");
    Ok(())
}

fn keeper_has(machine: &mut Machine, expect: &str) -> anyhow::Result<()> {
    let data = ask(machine, "cat /var/lib/keeper/data")?;
    ensure!(data == expect, "the directory of keeper has {data}");
    Ok(())
}

fn reboots_into(machine: &mut Machine, command: &str, slot: &str) -> anyhow::Result<()> {
    let position = machine.console.position();
    machine.send(command)?;
    commits(machine, position)?;
    let runs = running(machine)?;
    ensure!(runs == slot, "slot {runs} runs after `{command}`");
    Ok(())
}

#[test]
fn what_one_system_changes_the_other_does_not_see() -> anyhow::Result<()> {
    let device = Device::new()?;
    let mut machine = device.power_on("")?;
    commits(&machine, 0)?;
    network(&mut machine)?;
    ask(
        &mut machine,
        "echo from-a >/etc/who; rm /etc/mtab; cp /run/shark/handover.json /etc/big",
    )?;
    keeper_is_as_its_file_says(&mut machine)?;
    ask(&mut machine, "echo kept-by-a >/var/lib/keeper/data")?;
    let server = Server::start(bytes("good")?, Manner::Good)?;

    // No room for a state of its own: refused before anything is written.
    ask(&mut machine, FILL)?;
    is_not_installed(
        &mut machine,
        &server.url(),
        6,
        &["data partition is too full"],
    )?;
    ask(&mut machine, "rm /var/fill /var/more")?;
    let before = status(&mut machine)?;
    ensure!(field(&before, "/phase")? == "settled", "{before}");

    // The data are filled after it was armed: the trial has no state, and is given up.
    installed(&mut machine, &server.url())?;
    ask(&mut machine, FILL)?;
    reboots_into(&mut machine, "sharkctl reboot", "a")?;
    let told = Told {
        slot: Slot::B,
        ended: Ended::Stage1Failed,
        stage: Some(Stage::Stage1),
        cause: "state generation 1",
    };
    told.by(&mut machine)?;
    ask(&mut machine, "rm /var/fill /var/more")?;

    // With room, it begins with a copy.
    network(&mut machine)?;
    installed(&mut machine, &server.url())?;
    reboots_into(&mut machine, "sharkctl reboot", "b")?;
    ensure!(who(&mut machine)? == "from-a", "the state was not copied");
    keeper_is_as_its_file_says(&mut machine)?;
    keeper_has(&mut machine, "kept-by-a")?;
    ask(&mut machine, "echo kept-by-b >/var/lib/keeper/data")?;
    ensure!(
        tell(&mut machine, "ls /etc/mtab")?.status != 0,
        "a removed file is back"
    );
    let now = status(&mut machine)?;
    ensure!(field(&now, "/slots/1/stateGeneration")? == 2, "{now}");
    ask(&mut machine, "echo from-b >/etc/who; touch /etc/only-b")?;
    reboots_into(&mut machine, "sharkctl update rollback --reboot", "a")?;
    ensure!(who(&mut machine)? == "from-a", "a reads what b has written");
    keeper_has(&mut machine, "kept-by-a")?;
    ensure!(
        tell(&mut machine, "ls /etc/only-b")?.status != 0,
        "a sees a file of b's"
    );
    ask(&mut machine, "echo a-again >/etc/who")?;
    reboots_into(&mut machine, "sharkctl update rollback --reboot", "b")?;
    ensure!(who(&mut machine)? == "from-b", "b reads what a has written");
    keeper_has(&mut machine, "kept-by-b")?;
    machine.power_off(ANSWER)?;
    Ok(())
}

#[test]
fn data_that_are_filled_while_a_bundle_comes_keep_it_from_being_armed() -> anyhow::Result<()> {
    let device = Device::new()?;
    let mut machine = device.power_on("")?;
    commits(&machine, 0)?;
    network(&mut machine)?;
    ask(&mut machine, "cp /run/shark/handover.json /etc/big")?;
    let bundle = bytes("good")?;
    let half = bundle.len() as u64 / 2;
    let server = Server::start(bundle, Manner::Stalls(half))?;
    let install = format!(
        "(sharkctl update install {} </dev/null >/run/said 2>&1; echo $? >/run/status) &",
        server.url()
    );
    ask(&mut machine, &install)?;
    let begun = Instant::now();
    while server.sent() < half {
        ensure!(begun.elapsed() < ANSWER, "only {} bytes", server.sent());
        std::thread::sleep(Duration::from_millis(100));
    }
    ask(&mut machine, FILL)?;
    server.change(Manner::Good);
    let status = until(&mut machine, "cat /run/status", |it| it.status == 0)?;
    let said = ask(&mut machine, "cat /run/said")?;
    // It is this machine that has no room, and nothing is wrong with the new system.
    ensure!(
        status.text().trim() == "6"
            && said.contains("data partition is too full")
            && !said.contains("would not run"),
        "{}: {said}",
        status.text()
    );
    nothing_is_armed(&mut machine)?;

    // With room again, it goes on with what is there.
    ask(&mut machine, "rm /var/fill /var/more")?;
    let done = installed(&mut machine, &server.url())?;
    ensure!(field(&done, "/written")? == 0, "{done}");
    machine.power_off(ANSWER)?;
    Ok(())
}

#[test]
fn a_factory_reset_whose_power_is_cut_ends_at_the_next_boot() -> anyhow::Result<()> {
    let device = Device::new()?;
    let mut machine = device.power_on("")?;
    commits(&machine, 0)?;
    ask(
        &mut machine,
        "echo mine >/etc/who; mkdir -p /var/lib/app; for i in $(seq 1500); do echo $i >/var/lib/app/$i; done; sync",
    )?;
    let careless = tell(&mut machine, "sharkctl factory-reset")?;
    ensure!(careless.status == 2, "it asks for no --yes");
    ask(&mut machine, "sharkctl factory-reset --yes --no-reboot")?;
    machine.power_off(ANSWER)?;

    let mut machine = device.power_on("shark.debug")?;
    let begun = machine
        .console
        .wait_for(&["factory reset: all data"], 0, Instant::now() + BOOT);
    begun.ok().context("no reset was begun")?;
    machine.cut_power();
    let mut machine = device.power_on("")?;
    commits(&machine, 0)?;
    for path in ["/etc/who", "/var/lib/app", "/var/lib/shark/factory-reset"] {
        let there = tell(&mut machine, &format!("ls -d {path}"))?;
        ensure!(there.status != 0, "{path} is still there");
    }
    ensure!(running(&mut machine)? == "a", "the slots were touched");
    machine.power_off(ANSWER)?;
    Ok(())
}
