//! Reading the service files again, and files that cannot be read at all.

use serde_json::json;

use crate::machine::{Machine, possible};

const SLEEP: &str = "exec = \"/bin/sleep 1000\"\n";

#[test]
fn a_bad_reload_is_refused_and_everything_stays() {
    if !possible() {
        return;
    }
    let machine = Machine::boot(&[("a.toml", SLEEP)]);
    machine.call("WaitBoot", json!({})).unwrap();
    let before = machine.pid("a");
    machine.write_service(
        "a.toml",
        "exec = \"/bin/sleep 1000\"\nrestrat.policy = \"never\"\n",
    );
    machine.write_service(
        "b.toml",
        "exec = \"/bin/sleep 1\"\nrequires = [\"nobody\"]\n",
    );
    let (error, parameters) = machine.call("ReloadAll", json!({})).unwrap_err();
    assert_eq!(error, "InvalidServices");
    let said = parameters["diagnostics"].to_string();
    assert!(
        said.contains("restrat") && said.contains("nobody"),
        "{said}"
    );
    assert_eq!(machine.pid("a"), before);
    assert_eq!(machine.state("a"), "up");
    assert_eq!(machine.on("Status", "b").unwrap_err().0, "NoSuchService");
}

#[test]
fn a_good_reload_says_what_changed_and_disturbs_nobody() {
    if !possible() {
        return;
    }
    let machine = Machine::boot(&[("a.toml", SLEEP), ("old.toml", SLEEP)]);
    machine.call("WaitBoot", json!({})).unwrap();
    let before = machine.pid("a");
    machine.write_service("a.toml.d/10-nice.toml", "nice = 5\n");
    machine.write_service("new.toml", SLEEP);
    std::fs::remove_file(machine.path("services/old.toml")).unwrap();
    let changes = machine.call("ReloadAll", json!({})).unwrap();
    assert_eq!(
        changes,
        json!({
            "added": ["new"],
            "changed": ["a"],
            "removed": ["old"],
            "keys": [{ "name": "a", "keys": ["nice"] }],
            "keeping": ["a"],
            "logs": false,
        })
    );
    assert_eq!(
        machine.pid("a"),
        before,
        "it takes its new definition at its next start"
    );
    machine.on("Start", "new").unwrap();
    machine.wait("old is gone", || machine.on("Status", "old").err());
}

#[test]
fn a_dry_run_tells_the_same_and_changes_nothing() {
    if !possible() {
        return;
    }
    let machine = Machine::boot(&[("a.toml", SLEEP), ("b.toml", SLEEP), ("old.toml", SLEEP)]);
    machine.call("WaitBoot", json!({})).unwrap();
    let pids = || ["a", "b", "old"].map(|name| machine.pid(name).unwrap());
    let before = pids();
    machine.write_service(
        "a.toml",
        "exec = \"/bin/sleep 1001\"\nstop.timeout = \"1s\"\n",
    );
    machine.write_service("new.toml", SLEEP);
    std::fs::remove_file(machine.path("services/old.toml")).unwrap();
    let dry = machine
        .call("ReloadAll", json!({ "dryRun": true }))
        .unwrap();
    assert_eq!(dry["keys"][0]["keys"], json!(["exec", "stop.timeout"]));
    assert_eq!(machine.on("Status", "new").unwrap_err().0, "NoSuchService");
    assert_eq!(pids(), before);

    let changes = machine
        .call("ReloadAll", json!({ "dryRun": false }))
        .unwrap();
    assert_eq!(changes, dry, "a dry run tells what then happens");
    machine.wait("old is gone", || machine.on("Status", "old").err());
    assert_eq!(
        ["a", "b"].map(|name| machine.pid(name).unwrap()),
        before[..2]
    );

    // Nothing differs any more, and the old definition of the one that runs is still told.
    let again = machine
        .call("ReloadAll", json!({ "dryRun": true }))
        .unwrap();
    assert_eq!(again["changed"], json!([]));
    assert_eq!(again["keeping"], json!(["a"]));
    machine.on("Restart", "a").unwrap();
    let again = machine
        .call("ReloadAll", json!({ "dryRun": true }))
        .unwrap();
    assert_eq!(again["keeping"], json!([]));

    machine.write_service("b.toml", "exce = \"/bin/sleep 1\"\n");
    let (error, parameters) = machine
        .call("ReloadAll", json!({ "dryRun": true }))
        .unwrap_err();
    assert_eq!(error, "InvalidServices");
    assert!(parameters.to_string().contains("exce"), "{parameters}");
}

#[test]
fn sighup_reads_the_files_again() {
    if !possible() {
        return;
    }
    let machine = Machine::boot(&[("a.toml", SLEEP)]);
    machine.call("WaitBoot", json!({})).unwrap();
    machine.write_service("new.toml", SLEEP);
    machine.kill("HUP", 1);
    machine.wait("new is known", || machine.on("Status", "new").ok());
}

#[test]
fn a_boot_with_mistakes_falls_back_and_says_so() {
    if !possible() {
        return;
    }
    // The only layer is the vendor's, so what is left is the rescue service.
    let machine = Machine::boot(&[("a.toml", "exec = 7\n")]);
    let boot = machine.wait("the boot settles", || {
        let boot = machine.call("Boot", json!({})).ok()?["boot"].clone();
        (!boot["missing"].to_string().is_empty() && machine.on("Status", "rescue").is_ok())
            .then_some(boot)
    });
    let missing = boot["missing"].to_string();
    assert!(missing.contains("rescue shell"), "{missing}");
    assert!(
        machine.console().contains("a.toml:1:"),
        "{}",
        machine.console()
    );
}
