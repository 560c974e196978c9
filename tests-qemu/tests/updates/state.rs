//! State follows the slot: what one system changes in /etc the other does not see, what does not fit is
//! refused or rolled back, and a factory reset takes all of it away, whatever the power does.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use machine::Machine;
use machine::chance::Chance;
use machine::image::SmallImages;
use machine::scenario::{ANSWER, BOOT, ask, field, tell, until};
use machine::server::{Manner, Server};
use machine::slots::{Device, Told, commits, running};
use mounts::slot::Slot;
use mounts::slot::crash::SAID_BOOTING;
use mounts::slot::record::{Ended, Stage};

use crate::{bytes, installed, is_not_installed, network, nothing_is_armed, status};

/// Fills the data partition, reserve and all.
const FILL: &str = "dd if=/dev/zero of=/var/fill bs=64k 2>/dev/null; dd if=/dev/zero of=/var/more bs=4k 2>/dev/null; sync";

/// How often the power is cut in a factory reset.
const RESET_CUTS: u32 = 3;

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
    let copied = ask(&mut machine, "dmesg | grep 'slot b begins as a copy of 0'")?;
    ensure!(copied.contains(" of which 0 share"), "on ext4: {copied}");
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
    server.wait_for_stall(0, ANSWER)?;
    ask(&mut machine, FILL)?;
    server.change(Manner::Good);
    let status = until(&mut machine, "cat /run/status", |it| !it.text().is_empty())?;
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

    // Moments of chance after it has begun; it may be done before the last of them.
    let mut chance = Chance::new(3)?;
    for number in 1..=RESET_CUTS {
        let mut machine = device.power_on("shark.debug")?;
        let said = ["factory reset: all data", SAID_BOOTING];
        let begun = machine.console.wait_for(&said, 0, Instant::now() + BOOT);
        let begun = begun.ok().context("nothing was booted")?;
        if number == 1 {
            ensure!(begun.contains("factory reset"), "no reset was begun");
        }
        let moment = chance.up_to(Duration::from_millis(700));
        println!("cut {number}, {} ms after {begun:?}", moment.as_millis());
        std::thread::sleep(moment);
        machine.cut_power();
    }
    let mut machine = device.power_on("")?;
    commits(&machine, 0)?;
    for path in ["/etc/who", "/var/lib/app", "/var/lib/shark/factory-reset"] {
        let there = tell(&mut machine, &format!("ls -d {path}"))?;
        ensure!(there.status != 0, "{path} is still there");
    }
    // What is written from now on is kept.
    let var = ask(&mut machine, "grep ' /var ' /proc/mounts")?;
    ensure!(var.contains(" ext4 "), "after the reset, /var is {var}");
    ensure!(running(&mut machine)? == "a", "the slots were touched");
    machine.power_off(ANSWER)?;
    Ok(())
}

/// Bytes of generation 1 that shared their blocks with the original when it began, as stage1 has told.
fn shared_of_the_copy(machine: &mut Machine) -> anyhow::Result<u64> {
    let line = "dmesg | grep 'state generation 1 of slot b begins as a copy of 0'";
    let line = ask(machine, line)?;
    let (_, rest) = line.split_once("of which ").context(line.clone())?;
    let number = rest.split_whitespace().next().context(line.clone())?;
    number.parse().context(line.clone())
}

/// KiB of /var: all of it, and what is taken.
fn sizes(machine: &mut Machine) -> anyhow::Result<(u64, u64)> {
    let line = ask(machine, "sync; df -k /var | tail -n 1")?;
    let mut numbers = line.split_whitespace().filter_map(|it| it.parse().ok());
    numbers.next().zip(numbers.next()).context(line.clone())
}

#[test]
fn a_copy_of_the_state_takes_no_room_on_btrfs() -> anyhow::Result<()> {
    let small = SmallImages::from_environment()?;
    let device = Device::of(&small, &small.btrfs)?;
    let mut machine = device.power_on("")?;
    commits(&machine, 0)?;
    network(&mut machine)?;
    let var = ask(&mut machine, "grep ' /var ' /proc/mounts")?;
    ensure!(var.contains(" btrfs "), "/var is {var}");
    // 12 MiB that do not compress.
    ask(
        &mut machine,
        "echo from-a >/etc/who; dd if=/dev/urandom of=/etc/large bs=1M count=12 2>/dev/null; sync",
    )?;
    let sum = ask(&mut machine, "md5sum </etc/large")?;
    let (all, before) = sizes(&mut machine)?;
    ensure!(all > 300 << 10, "it has not grown: {all} KiB");
    ensure!(before > 12 << 10, "{before} KiB are taken");
    let server = Server::start(bytes("good")?, Manner::Good)?;
    installed(&mut machine, &server.url())?;

    reboots_into(&mut machine, "sharkctl reboot", "b")?;
    let shared = shared_of_the_copy(&mut machine)?;
    ensure!(shared >= 12 << 20, "{shared} bytes share their blocks");
    let (_, after) = sizes(&mut machine)?;
    println!("{before} KiB of {all} before the copy of {shared} bytes, {after} after it");
    ensure!(
        after < before + (2 << 10),
        "the copy took {before} to {after} KiB"
    );
    ensure!(
        ask(&mut machine, "md5sum </etc/large")? == sum,
        "the copy is another"
    );
    ask(&mut machine, "echo from-b >/etc/who; : >/etc/large; sync")?;
    reboots_into(&mut machine, "sharkctl update rollback --reboot", "a")?;
    ensure!(who(&mut machine)? == "from-a", "a reads what b has written");
    ensure!(
        ask(&mut machine, "md5sum </etc/large")? == sum,
        "b has changed a's"
    );

    // It is reset as others are.
    reboots_into(&mut machine, "sharkctl factory-reset --yes", "a")?;
    let gone = tell(&mut machine, "ls /etc/large")?;
    let var = ask(&mut machine, "grep ' /var ' /proc/mounts")?;
    ensure!(gone.status != 0 && var.contains(" btrfs "), "{var}");
    machine.power_off(ANSWER)?;
    Ok(())
}
