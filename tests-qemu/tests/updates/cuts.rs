//! Power that is cut, and updaters that are killed, at moments of chance in an installation: the next
//! one goes on, and the machine boots what it had, or what is whole.

use anyhow::{Context as _, ensure};
use machine::Machine;
use machine::scenario::{ANSWER, ask, field, until};
use machine::server::{Manner, Server};
use machine::slots::{Device, Told, commits, running};
use mounts::slot::Slot;
use mounts::slot::record::{Ended, Stage};
use serde_json::Value;

use crate::{bytes, installed, is_not_installed, network, status};

/// Bytes after which the server sends nothing more.
const STALLS_AT: u64 = 4_000_000;
/// What is at least written of the root by then.
const WRITTEN: u64 = 2_000_000;
/// Writes zeros over the root of slot b; how many is to follow.
const SPOIL: &str = "dd conv=fsync if=/dev/zero \
    of=$(findfs PARTLABEL=shark-root-b 2>/dev/null || echo /dev/vda6)";
/// As x86 has it in /proc/PID/fdinfo.
const O_DIRECT: u32 = 0o40_000;
/// The fetching child's process.
const CHILD: &str = "for it in /proc/[0-9]*; do \
    tr '\\000' ' ' <$it/cmdline 2>/dev/null | grep -q 'exe fetch' && echo $it; done";

/// The fetching child has given up all that it does not need, for good; the network too, unless its source
/// is there.
fn the_child_is_confined(machine: &mut Machine, network: bool) -> anyhow::Result<()> {
    // All of one child, as another may take its place.
    let status = format!(
        "it=$({CHILD}); grep -E '^(Uid|CapEff|NoNewPrivs):' $it/status; cat $it/limits; \
         readlink $it/ns/net || echo gone"
    );
    let status = until(machine, &status, |it| {
        let text = it.text();
        text.contains("\t65534\t65534") && !text.ends_with("gone")
    })?;
    let status = status.text();
    ensure!(
        status.contains("CapEff:\t0000000000000000") && status.contains("NoNewPrivs:\t1"),
        "{status}"
    );
    let is = |name: &str, most: &str| {
        let line = status.lines().find(|it| it.starts_with(name));
        line.is_some_and(|it| it.split_whitespace().filter(|it| *it == most).count() == 2)
    };
    ensure!(
        is("Max address space", "100663296") && is("Max file size", "0"),
        "{status}"
    );
    let own = ask(machine, "readlink /proc/1/ns/net")?;
    ensure!(status.ends_with(&own) == network, "its network: {status}");
    // It says so where this kernel has no Landlock, say.
    let log = ask(machine, "sharkctl logs update")?;
    ensure!(!log.contains("confined less"), "{log}");
    Ok(())
}

/// What the updater has open of the slot that it writes, and reads back, is open past the page cache.
fn the_slot_is_open_past_the_cache(machine: &mut Machine) -> anyhow::Result<()> {
    let flags = ask(
        machine,
        "for it in $(pidof shark-update); do for fd in /proc/$it/fd/*; do \
         case $(readlink $fd) in /dev/vda*) \
         sed -n 's/^flags:[^0-9]*//p' /proc/$it/fdinfo/${fd##*/};; esac; done; done",
    )?;
    let flags: Vec<u32> = flags
        .split_whitespace()
        .map(|it| u32::from_str_radix(it, 8))
        .collect::<Result<_, _>>()
        .context("flags in octal")?;
    // Root, hash tree and manifest.
    ensure!(
        flags.len() == 3 && flags.iter().all(|it| it & O_DIRECT != 0),
        "{flags:?}"
    );
    Ok(())
}

/// Begins to install what stalls, and waits until it stands still with much of it written; what it says and
/// its status come to /run.
fn stands_still(machine: &mut Machine, server: &Server, name: &str) -> anyhow::Result<()> {
    let before = server.stalls();
    let install = format!(
        "(sharkctl --json update install {} </dev/null >/run/{name} 2>&1; echo $? >/run/{name}.status) &",
        server.url()
    );
    ask(machine, &install)?;
    server.wait_for_stall(before, ANSWER)?;
    until(machine, &format!("tail -n 1 /run/{name}"), |it| {
        let told: Value = serde_json::from_str(&it.text()).unwrap_or_default();
        let done = told.pointer("/progress/done").and_then(Value::as_u64);
        done > Some(WRITTEN)
    })?;
    Ok(())
}

#[test]
fn an_updater_that_is_killed_leaves_what_the_next_one_goes_on_with() -> anyhow::Result<()> {
    let device = Device::new()?;
    let mut machine = device.power_on("")?;
    commits(&machine, 0)?;
    network(&mut machine)?;
    // A pipe that says nothing, for as long as somebody holds it.
    let pipe = "mkfifo /run/held; sleep 1000 >/run/held & echo $! >/run/holder; \
        (sharkctl update install - </run/held >/run/piped 2>&1; echo $? >/run/ended) &";
    ask(&mut machine, pipe)?;
    the_child_is_confined(&mut machine, false)?;
    ask(&mut machine, "kill $(cat /run/holder)")?;
    until(&mut machine, "cat /run/ended", |it| it.text().trim() == "6")?;
    let server = Server::start(bytes("good")?, Manner::Stalls(STALLS_AT))?;
    stands_still(&mut machine, &server, "called-off")?;
    // There is one at a time, and it can be called off.
    is_not_installed(
        &mut machine,
        &server.url(),
        6,
        &["another update is being installed"],
    )?;
    ask(&mut machine, "sharkctl update cancel")?;
    let ended = until(&mut machine, "cat /run/called-off.status", |it| {
        !it.text().is_empty()
    })?;
    let said = ask(&mut machine, "cat /run/called-off")?;
    ensure!(
        ended.text().trim() == "1" && said.contains("called off"),
        "{said}"
    );
    crate::nothing_is_armed(&mut machine)?;
    // All of it shall be fetched again.
    ask(&mut machine, &format!("{SPOIL} bs=1M count=8"))?;

    stands_still(&mut machine, &server, "killed")?;
    the_child_is_confined(&mut machine, true)?;
    the_slot_is_open_past_the_cache(&mut machine)?;
    ask(&mut machine, "kill -9 $(pidof shark-update)")?;
    let now = until(&mut machine, "sharkctl --json update status", |it| {
        it.status == 0
    })?;
    ensure!(now.text().contains("\"installing\""), "{}", now.text());
    crate::nothing_is_armed(&mut machine)?;
    server.change(Manner::Good);
    let done = installed(&mut machine, &server.url())?;
    let kept = field(&done, "/kept")?.as_u64().context("no number")?;
    ensure!(kept > 1_000_000, "{done}");

    // What was armed goes bad before it is tried: dm-verity refuses it, and the machine boots what it had.
    ask(&mut machine, &format!("{SPOIL} bs=64k count=1"))?;
    let position = machine.console.position();
    machine.send("sharkctl reboot")?;
    commits(&machine, position)?;
    ensure!(running(&mut machine)? == "a", "a damaged root was booted");
    let told = Told {
        slot: Slot::B,
        ended: Ended::VerityFault,
        stage: Some(Stage::Stage1),
        cause: "root does not verify",
    };
    told.by(&mut machine)?;
    let now = status(&mut machine)?;
    ensure!(
        field(&now, "/phase")? == "rolled-back" && field(&now, "/committed")? == "a",
        "{now}"
    );
    machine.power_off(ANSWER)?;
    Ok(())
}
