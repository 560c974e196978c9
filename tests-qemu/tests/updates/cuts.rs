//! Power that is cut, and updaters that are killed, at moments of chance in an installation: the next
//! one goes on, and the machine boots what it had, or what is whole.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use machine::Machine;
use machine::scenario::{ANSWER, ask, field, until};
use machine::server::{Manner, Server};
use machine::slots::{Device, Told, commits, running};
use mounts::slot::Slot;
use mounts::slot::record::{Ended, Stage};

use crate::{bytes, installed, network, status};

/// The fetching child's process.
const CHILD: &str = "for it in /proc/[0-9]*; do \
    tr '\\000' ' ' <$it/cmdline 2>/dev/null | grep -q 'exe fetch' && echo $it; done";

/// The fetching child has given up all that it does not need, for good; the network too, unless its source
/// is there.
fn the_child_is_confined(machine: &mut Machine, network: bool) -> anyhow::Result<()> {
    let status = format!("grep -E '^(Uid|CapEff|NoNewPrivs):' $({CHILD})/status");
    let status = until(machine, &status, |it| it.text().contains("\t65534\t65534"))?;
    let status = status.text();
    ensure!(
        status.contains("CapEff:\t0000000000000000") && status.contains("NoNewPrivs:\t1"),
        "{status}"
    );
    let limits = ask(machine, &format!("cat $({CHILD})/limits"))?;
    let is = |name: &str, most: &str| {
        let line = limits.lines().find(|it| it.starts_with(name));
        line.is_some_and(|it| it.split_whitespace().filter(|it| *it == most).count() == 2)
    };
    ensure!(
        is("Max address space", "100663296") && is("Max file size", "0"),
        "{limits}"
    );
    let child = ask(machine, &format!("readlink $({CHILD})/ns/net"))?;
    let shared = child == ask(machine, "readlink /proc/1/ns/net")?;
    ensure!(shared == network, "its network is {child}");
    // It says so where this kernel has no Landlock, say.
    let log = ask(machine, "sharkctl logs update")?;
    ensure!(!log.contains("confined less"), "{log}");
    Ok(())
}

#[test]
fn an_updater_that_is_killed_leaves_what_the_next_one_goes_on_with() -> anyhow::Result<()> {
    let device = Device::new()?;
    let mut machine = device.power_on("")?;
    commits(&machine, 0)?;
    network(&mut machine)?;
    let pipe = "(sleep 6 | sharkctl update install - >/run/piped 2>&1; echo $? >/run/ended) &";
    ask(&mut machine, pipe)?;
    the_child_is_confined(&mut machine, false)?;
    until(&mut machine, "cat /run/ended", |it| it.text().trim() == "6")?;
    let bundle = bytes("good")?;
    let server = Server::start(bundle, Manner::Stalls(4_000_000))?;
    ask(
        &mut machine,
        &format!(
            "(sharkctl --json update install {} </dev/null >/run/first 2>&1 &)",
            server.url()
        ),
    )?;
    the_child_is_confined(&mut machine, true)?;
    // It stands still where the server does.
    let begun = Instant::now();
    while server.sent() < 4_000_000 {
        ensure!(begun.elapsed() < ANSWER, "only {} bytes", server.sent());
        std::thread::sleep(Duration::from_millis(100));
    }
    std::thread::sleep(Duration::from_secs(3));
    ask(&mut machine, "kill -9 $(pidof shark-update)")?;
    let now = until(&mut machine, "sharkctl --json update status", |it| {
        it.status == 0
    })?;
    ensure!(now.text().contains("\"installing\""), "{}", now.text());
    crate::nothing_is_armed(&mut machine)?;
    let done = installed(&mut machine, &server.url())?;
    let kept = field(&done, "/kept")?.as_u64().context("no number")?;
    ensure!(kept > 1_000_000, "{done}");

    // What was armed goes bad before it is tried: dm-verity refuses it, and the machine boots what it had.
    ask(
        &mut machine,
        "dd if=/dev/zero of=$(findfs PARTLABEL=shark-root-b 2>/dev/null || echo /dev/vda6) bs=64k count=1 conv=fsync",
    )?;
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
