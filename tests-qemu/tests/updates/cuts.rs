//! Power that is cut, and updaters that are killed, at moments of chance in an installation: the next
//! one goes on, and the machine boots what it had, or what is whole.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use machine::scenario::{ANSWER, ask, field, until};
use machine::server::{Manner, Server};
use machine::slots::{Device, commits};

use crate::{bytes, installed, network};

#[test]
fn an_updater_that_is_killed_leaves_what_the_next_one_goes_on_with() -> anyhow::Result<()> {
    let device = Device::new()?;
    let mut machine = device.power_on("")?;
    commits(&machine, 0)?;
    network(&mut machine)?;
    let bundle = bytes("good")?;
    let server = Server::start(bundle, Manner::Stalls(4_000_000))?;
    ask(
        &mut machine,
        &format!(
            "(sharkctl --json update install {} </dev/null >/run/first 2>&1 &)",
            server.url()
        ),
    )?;
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
    machine.power_off(ANSWER)?;
    Ok(())
}
