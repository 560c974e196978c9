//! Keys that come in by links and keys that are revoked by them: what the updater takes, what stage1 boots,
//! and what a loss of the links means.

use anyhow::ensure;
use machine::Machine;
use machine::image::SmallImages;
use machine::scenario::{ANSWER, ask, ask_json, field, tell};
use machine::server::{Manner, Server};
use machine::slots::{Device, commits, running};
use mounts::dps::STATE_NAME;
use mounts::keyring::copies::OFFSETS;
use serde_json::Value;

use crate::{bytes, installed, is_not_installed, network, status};

const REVOKED: &str = "signed by key shark-image, which was revoked by link 2";

/// State and source of each key, in order.
fn keys(machine: &mut Machine) -> anyhow::Result<Vec<(String, String)>> {
    let keys = ask_json(machine, "sharkctl --json update keys")?;
    let text =
        |key: &Value, at: &str| field(key, at).map(|it| it.as_str().unwrap_or_default().to_owned());
    keys.as_array()
        .into_iter()
        .flatten()
        .map(|key| Ok((text(key, "/state")?, text(key, "/source")?)))
        .collect()
}

/// Damages both copies of the links.
fn lose_links(device: &Device) -> anyhow::Result<()> {
    OFFSETS
        .iter()
        .try_for_each(|offset| device.disk.flip(STATE_NAME, offset + 100))
}

fn serve(name: &str) -> anyhow::Result<Server> {
    Server::start(bytes(name)?, Manner::Good)
}

/// Restarts and waits for a boot that is found good: of this slot.
fn restarts_into(machine: &mut Machine, how: &str, slot: &str) -> anyhow::Result<()> {
    let position = machine.console.position();
    machine.send(how)?;
    commits(machine, position)?;
    let runs = running(machine)?;
    ensure!(runs == slot, "slot {runs} runs, expected {slot}");
    network(machine)
}

#[test]
fn a_key_is_rotated_in_by_an_update_and_the_old_one_signs_nothing_new_any_more()
-> anyhow::Result<()> {
    let device = Device::new()?;
    let mut machine = device.power_on("")?;
    commits(&machine, 0)?;
    network(&mut machine)?;
    // Before the rotation: the successor is a stranger.
    let successor = serve("successor")?;
    let stranger = ["signed by none of 1"];
    is_not_installed(&mut machine, &successor.url(), 6, &stranger)?;
    ensure!(
        keys(&mut machine)? == [("trusted".into(), "image".into())],
        "other keys than that of the image"
    );
    // What waits for its trial when its key is revoked is not tried.
    let good = serve("good")?;
    installed(&mut machine, &good.url())?;
    let links = std::fs::read(
        SmallImages::from_environment()?
            .bundles
            .join("rotation.links"),
    )?;
    let links = Server::start(links, Manner::Good)?;
    let add = format!(
        "wget -q -O /run/links {} && sharkctl update keys --add /run/links",
        links.url()
    );
    let listed = ask(&mut machine, &add)?;
    ensure!(
        listed.contains("revoked by link 2") && listed.contains("link 1"),
        "{listed}"
    );
    let damaged =
        "dd if=/run/links of=/run/short bs=500 count=1 && sharkctl update keys --add /run/short";
    let refused = tell(&mut machine, damaged)?;
    ensure!(refused.status == 6, "{}", refused.text());
    restarts_into(&mut machine, "sharkctl reboot", "a")?;
    let history = ask(&mut machine, "sharkctl boot history")?;
    ensure!(history.contains("signed by key shark-image"), "{history}");
    is_not_installed(&mut machine, &good.url(), 6, &[REVOKED])?;

    // The links are lost, and with them what they revoked: nothing new is trusted until they are back.
    machine.power_off(ANSWER)?;
    lose_links(&device)?;
    let mut machine = device.committed("")?;
    ensure!(running(&mut machine)? == "a", "another slot was booted");
    network(&mut machine)?;
    let lost = ["up to 2 are lost", "keys --add"];
    is_not_installed(&mut machine, &good.url(), 6, &lost)?;
    is_not_installed(&mut machine, &successor.url(), 6, &["signed by none of 1"])?;
    let now = status(&mut machine)?;
    ensure!(field(&now, "/keyProblems/2").is_ok(), "{now}");

    // The update that the successor has signed, with the links that say so in front.
    let rotation = serve("rotation")?;
    installed(&mut machine, &rotation.url())?;
    restarts_into(&mut machine, "sharkctl reboot", "b")?;
    let expected = [("revoked", "image"), ("trusted", "link 1")];
    let expected = expected.map(|(state, source)| (state.to_owned(), source.to_owned()));
    ensure!(keys(&mut machine)? == expected, "{:?}", keys(&mut machine)?);
    is_not_installed(&mut machine, &good.url(), 6, &[REVOKED])?;

    // A slot that was found good is gone back to, whoever has signed it.
    restarts_into(&mut machine, "sharkctl update rollback --reboot", "a")?;
    let now = status(&mut machine)?;
    ensure!(now.pointer("/slots/0/problem").is_none(), "{now}");
    is_not_installed(&mut machine, &good.url(), 6, &[REVOKED])?;
    machine.power_off(ANSWER)?;
    let record = device.disk.record()?;
    ensure!(record.key_link.sequence == 2, "{record:?}");
    Ok(())
}

#[test]
fn an_update_alone_rotates_keys_and_keeps_its_links_where_it_lies() -> anyhow::Result<()> {
    let device = Device::new()?;
    let mut machine = device.power_on("")?;
    commits(&machine, 0)?;
    network(&mut machine)?;
    // One update, and nothing besides, on a device that has never heard of the successor.
    let rotation = serve("rotation")?;
    installed(&mut machine, &rotation.url())?;
    machine.power_off(ANSWER)?;
    // Both copies go: slot b has the links that it is trusted by beside its manifest.
    lose_links(&device)?;
    let mut machine = device.committed("")?;
    ensure!(running(&mut machine)? == "b", "the update was not tried");
    network(&mut machine)?;
    let good = serve("good")?;
    is_not_installed(&mut machine, &good.url(), 6, &[REVOKED])?;
    let anybody = "su nobody -s /bin/sh -c 'sharkctl update keys --add /etc/passwd'";
    let refused = tell(&mut machine, anybody)?;
    ensure!(refused.status != 0, "anybody may change the keys");
    ensure!(keys(&mut machine)?.len() == 2, "other keys");
    machine.power_off(ANSWER)?;
    // The updater has put them back.
    let mut machine = device.committed("")?;
    ensure!(running(&mut machine)? == "b", "another slot was booted");
    let now = status(&mut machine)?;
    ensure!(now.pointer("/keyProblems").is_none(), "{now}");
    machine.power_off(ANSWER)?;
    Ok(())
}

#[test]
fn an_image_that_was_made_after_a_rotation_begins_with_its_keys() -> anyhow::Result<()> {
    let small = SmallImages::from_environment()?;
    let device = Device::of(&small, &small.rotated)?;
    let mut machine = device.power_on("")?;
    commits(&machine, 0)?;
    network(&mut machine)?;
    let expected = [("trusted", "image"), ("revoked", "image")];
    let expected = expected.map(|(state, source)| (state.to_owned(), source.to_owned()));
    ensure!(keys(&mut machine)? == expected, "{:?}", keys(&mut machine)?);
    let good = serve("good")?;
    is_not_installed(&mut machine, &good.url(), 6, &[REVOKED])?;
    // The fleet's bundle brings links that it has outgrown, of which it cannot check the first.
    let rotation = serve("rotation")?;
    installed(&mut machine, &rotation.url())?;
    let now = status(&mut machine)?;
    ensure!(now.pointer("/keyProblems").is_none(), "{now}");
    machine.power_off(ANSWER)?;
    Ok(())
}
