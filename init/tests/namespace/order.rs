//! Boot and shutdown: what starts after what, what fails with what, and the reverse at the end.

use std::fs;

use serde_json::json;

use crate::machine::{Machine, possible};

/// A oneshot that notes its name when it runs.
fn noting(name: &str, more: &str) -> String {
    format!(
        "type = \"oneshot\"\n\
         exec = [\"/bin/sh\", \"-c\", \"echo {name} >> @DIR@/out/order\"]\n{more}\n"
    )
}

/// A service that notes when it starts and when it is asked to stop.
fn staying(name: &str, more: &str) -> String {
    format!(
        "exec = [\"/bin/sh\", \"-c\", \"trap 'echo -{name} >> @DIR@/out/order; exit 0' TERM; \
         echo +{name} >> @DIR@/out/order; while :; do sleep 0.05; done\"]\n{more}\n"
    )
}

#[test]
fn starts_in_the_order_of_dependencies() {
    if !possible() {
        return;
    }
    let machine = Machine::boot(&[
        ("c.toml", &noting("c", "requires = [\"b\"]")),
        ("b.toml", &noting("b", "after = [\"a\"]")),
        ("a.toml", &noting("a", "")),
        ("unwanted.toml", &noting("unwanted", "wanted-by = []")),
    ]);
    let answer = machine.call("WaitBoot", json!({})).unwrap();
    assert_eq!(answer, json!({ "failed": [] }));
    let order = fs::read_to_string(machine.path("out/order")).unwrap();
    assert_eq!(order, "a\nb\nc\n");
    assert_eq!(machine.state("unwanted"), "down");
    let boot = machine.call("Boot", json!({})).unwrap()["boot"].clone();
    assert_eq!(boot["mode"], "container");
    assert_eq!(boot["state"], "ready");
    let steps: Vec<&str> = boot["timings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|timing| timing["name"].as_str().unwrap())
        .collect();
    assert_eq!(steps, ["init", "graph loaded", "ready"]);
}

#[test]
fn what_requires_a_failed_oneshot_fails_with_it() {
    if !possible() {
        return;
    }
    let machine = Machine::boot(&[
        ("bad.toml", "type = \"oneshot\"\nexec = \"/bin/false\"\n"),
        (
            "needs.toml",
            "exec = \"/bin/sleep 1000\"\nrequires = [\"bad\"]\n",
        ),
        (
            "likes.toml",
            "exec = \"/bin/sleep 1000\"\nwants = [\"bad\"]\n",
        ),
        (
            "absent.toml",
            "exec = \"/nonexistent/program\"\nrestart.policy = \"never\"\n",
        ),
    ]);
    let answer = machine.call("WaitBoot", json!({})).unwrap();
    assert_eq!(answer["failed"], json!(["absent", "bad", "needs"]));
    assert_eq!(machine.state("likes"), "up");
    let reason = machine.status("absent")["reason"].to_string();
    assert!(reason.contains("/nonexistent/program"), "{reason}");
    let boot = machine.call("Boot", json!({})).unwrap();
    assert_eq!(boot["boot"]["state"], "degraded");
}

#[test]
fn sigterm_stops_in_reverse_order_and_ends_with_status_0() {
    if !possible() {
        return;
    }
    let mut machine = Machine::boot(&[
        ("low.toml", &staying("low", "")),
        ("high.toml", &staying("high", "requires = [\"low\"]")),
    ]);
    machine.call("WaitBoot", json!({})).unwrap();
    let order = || fs::read_to_string(machine.path("out/order")).unwrap_or_default();
    machine.wait("both run", || (order().lines().count() == 2).then_some(()));
    machine.kill("TERM", 1);
    let status = machine.ended();
    assert_eq!(status.code(), Some(0), "{}", machine.console());
    let order = fs::read_to_string(machine.path("out/order")).unwrap();
    assert!(order.ends_with("-high\n-low\n"), "{order}");
}

#[test]
fn a_shutdown_asked_for_on_the_socket_is_the_same() {
    if !possible() {
        return;
    }
    let mut machine = Machine::boot(&[("a.toml", &staying("a", ""))]);
    machine.call("WaitBoot", json!({})).unwrap();
    machine.wait("it runs", || {
        machine.path("out/order").exists().then_some(())
    });
    machine
        .call("Shutdown", json!({ "kind": "poweroff" }))
        .unwrap();
    assert_eq!(machine.ended().code(), Some(0));
    let order = fs::read_to_string(machine.path("out/order")).unwrap();
    assert_eq!(order, "+a\n-a\n");
}
