//! What the gate and the boot record are where there are none.

use serde_json::json;

use crate::machine::{Machine, possible};

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
