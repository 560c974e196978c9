//! What the gate and the boot record are where there are none, and with which service files the last
//! good slot is tried.

use std::fs;

use mounts::handover::{Handover, Mode};
use serde_json::json;

use crate::machine::{Machine, Surroundings, possible};

const ESSENTIAL: &str = "exec = \"/bin/sleep 1000\"\nboot.essential = true\n";

#[test]
fn a_container_has_no_gate_and_no_boot_record() {
    if !possible() {
        return;
    }
    let machine = Machine::boot(&[("a.toml", ESSENTIAL)]);
    machine.call("WaitBoot", json!({})).unwrap();
    let boot = machine.call("Boot", json!({})).unwrap()["boot"].clone();
    assert_eq!(boot["gate"]["state"], "none");
    assert_eq!(boot["committed"], false);
    assert_eq!(boot.get("watchdog"), None);
    for (method, parameters) in [
        ("WaitGate", json!({})),
        ("BootGood", json!({})),
        ("BootBad", json!({"reason": "no light", "reboot": true})),
        ("SetSlot", json!({"slot": "a"})),
        ("BootRecord", json!({})),
    ] {
        let (error, parameters) = machine.call(method, parameters).unwrap_err();
        assert_eq!(error, "Refused", "{method}");
        assert!(parameters["reason"].is_string(), "{method}: {parameters}");
    }
    assert_eq!(machine.state("a"), "up", "nobody has restarted anything");
}

/// A slip in /etc that no check finds: it fails the boots of every slot.
#[test]
fn the_last_good_slot_is_tried_with_the_vendors_service_files_alone() {
    if !possible() {
        return;
    }
    for last_good in [false, true] {
        let mut handover = Handover::new(Mode::Disk);
        handover.last_good = last_good;
        let services = [("a.toml", ESSENTIAL)];
        let machine = Machine::boot_prepared(Surroundings::Whole, &services, |dir| {
            let slip = "exec = \"/bin/false\"\nrestart.policy = \"never\"\n";
            fs::write(dir.join("admin/a.toml"), slip).unwrap();
            let json = handover.encode().unwrap();
            fs::write(dir.join("run/handover.json"), json).unwrap();
        });
        machine.call("WaitBoot", json!({})).unwrap();
        let boot = machine.call("Boot", json!({})).unwrap()["boot"].clone();
        let missing = boot["missing"].to_string();
        let told = "services: the last good slot is tried with the vendor's service files only";
        assert_eq!(missing.contains(told), last_good, "{missing}");
        assert_eq!(boot["mode"], "container", "whatever a hand-over says");
        if last_good {
            assert_eq!(
                (machine.state("a"), &boot["state"]),
                ("up".to_owned(), &json!("degraded"))
            );
            let changed = machine.call("ReloadAll", json!({})).unwrap();
            assert_eq!(
                changed["changed"],
                json!(["a"]),
                "an operator reads them all"
            );
        } else {
            machine.wait_state("a", "failed");
        }
    }
}
