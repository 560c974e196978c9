//! Templates: instances by relation, by file and at run time.

use serde_json::json;

use crate::machine::{Machine, possible};

const TEMPLATE: &str = "exec = [\"/bin/sh\", \"-c\", \"echo %i >> @DIR@/out/%p; exec sleep 1000\"]\n\
                        wanted-by = []\n";

#[test]
fn an_instance_that_is_started_stays_over_a_reload() {
    if !possible() {
        return;
    }
    let machine = Machine::boot(&[
        ("echo@.toml", TEMPLATE),
        ("all.toml", "type = \"target\"\nwants = [\"echo@named\"]\n"),
    ]);
    machine.call("WaitBoot", json!({})).unwrap();
    assert_eq!(machine.state("echo@named"), "up");
    let written = |count: usize| {
        machine.wait(&format!("{count} have written"), || {
            let text = std::fs::read_to_string(machine.path("out/echo")).ok()?;
            (text.lines().count() == count).then_some(text)
        })
    };
    written(1);
    let named = machine.pid("echo@named");
    assert_eq!(
        machine.on("Status", "echo@free").unwrap_err().0,
        "NoSuchService"
    );
    assert_eq!(
        machine.on("Start", "ehco@free").unwrap_err().0,
        "NoSuchService"
    );

    machine.on("Start", "echo@free").unwrap();
    assert_eq!(machine.state("echo@free"), "up");
    let free = machine.pid("echo@free");
    assert!(machine.path("run/services/echo@free.toml").exists());
    assert_eq!(written(2), "named\nfree\n");

    let changed = machine.call("ReloadAll", json!({})).unwrap();
    assert_eq!(changed["removed"], json!([]));
    assert_eq!(
        (machine.pid("echo@named"), machine.pid("echo@free")),
        (named, free)
    );

    // A mistake anywhere refuses the instance, and nothing is left of it.
    machine.write_service("bad.toml", "exce = 1\n");
    assert_eq!(
        machine.on("Start", "echo@late").unwrap_err().0,
        "InvalidServices"
    );
    assert!(!machine.path("run/services/echo@late.toml").exists());
}

#[test]
fn several_instances_are_started_at_the_same_time() {
    if !possible() {
        return;
    }
    let machine = Machine::boot(&[("echo@.toml", TEMPLATE)]);
    machine.call("WaitBoot", json!({})).unwrap();
    let names = ["echo@1", "echo@2", "echo@3"];
    std::thread::scope(|scope| {
        let machine = &machine;
        for name in names {
            scope.spawn(move || machine.on("Start", name).unwrap());
        }
    });
    for name in names {
        assert_eq!(machine.state(name), "up");
    }
}
