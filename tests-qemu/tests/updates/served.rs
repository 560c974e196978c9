//! Servers that misbehave: what passes is waited out, and what stays is told.

use std::time::Duration;

use anyhow::ensure;
use machine::scenario::{ANSWER, ask, field};
use machine::server::{Manner, Server};
use machine::slots::{Device, commits};

use crate::{INSTALL, bytes, installed, is_not_installed, network};

#[test]
fn a_server_that_drops_stalls_or_lies_costs_time_or_is_told_apart() -> anyhow::Result<()> {
    let device = Device::new()?;
    let mut machine = device.power_on("")?;
    commits(&machine, 0)?;
    network(&mut machine)?;
    let bundle = bytes("good")?;
    let size = bundle.len() as u64;
    let server = Server::start(bundle, Manner::HasNothing)?;
    is_not_installed(&mut machine, &server.url(), 1, &["404"])?;
    server.change(Manner::SaysLonger(1000));
    is_not_installed(&mut machine, &server.url(), 6, &["expected"])?;
    server.change(Manner::SaysShorter(1000));
    is_not_installed(&mut machine, &server.url(), 6, &["cut short"])?;
    let no_server = "http://10.0.2.2:1/x";
    is_not_installed(&mut machine, no_server, 1, &[no_server])?;
    is_not_installed(&mut machine, "https://10.0.2.2/x", 1, &["curl -fsSL"])?;

    for manner in [Manner::Fails(2), Manner::Drops(size / 3), Manner::NoRanges] {
        println!("{manner:?}");
        server.change(manner);
        let done = installed(&mut machine, &server.url())?;
        ensure!(field(&done, "/version")? == "3", "{done}");
        ask(&mut machine, "sharkctl update cancel")?;
        // All of it shall be fetched again.
        ask(
            &mut machine,
            "dd if=/dev/zero of=$(findfs PARTLABEL=shark-root-b 2>/dev/null || echo /dev/vda6) bs=1M count=8 conv=fsync",
        )?;
    }
    // One that stalls is left after a while, and the rest is fetched from where it was.
    server.change(Manner::Stalls(size / 2));
    let (url, before) = (server.url(), server.stalls());
    std::thread::scope(|scope| {
        let stalls = scope.spawn(|| {
            let stalls = server.wait_for_stall(before, INSTALL);
            std::thread::sleep(Duration::from_secs(5));
            server.change(Manner::Good);
            stalls
        });
        installed(&mut machine, &url)?;
        stalls
            .join()
            .map_err(|_| anyhow::anyhow!("nobody has waited"))?
    })?;
    machine.power_off(ANSWER)?;
    Ok(())
}
