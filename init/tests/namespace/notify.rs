//! Readiness by sd_notify(3), from those who may tell it.

use std::os::unix::net::UnixDatagram;

use serde_json::json;

use crate::machine::{Machine, Surroundings, possible};

/// Set for a service that is this very test program: what it is to say before it sleeps.
const SAY: &str = "SHARK_TEST_SAY";
/// Where to say it; NOTIFY_SOCKET where this is not set.
const TO: &str = "SHARK_TEST_TO";

/// Not a test when it runs as a service: then it is the sender. In the test run it checks that the
/// sender would find its words.
#[test]
fn sender() {
    let Ok(words) = std::env::var(SAY) else {
        assert!(service(&["READY=1"], "").contains("READY=1"));
        return;
    };
    let to = std::env::var(TO).or_else(|_| std::env::var("NOTIFY_SOCKET"));
    let socket = UnixDatagram::unbound().unwrap();
    for word in words.split('|') {
        socket
            .send_to(word.as_bytes(), to.as_ref().unwrap())
            .unwrap();
    }
    std::thread::sleep(std::time::Duration::from_secs(1000));
}

pub(crate) fn service(words: &[&str], more: &str) -> String {
    let program = std::env::current_exe().unwrap();
    format!(
        "exec = [\"{}\", \"--exact\", \"notify::sender\", \"--nocapture\"]\n\
         env = {{ {SAY} = \"{}\" }}\n{more}\n",
        program.display(),
        words.join("|"),
    )
}

#[test]
fn a_notify_service_is_up_when_it_says_so() {
    if !possible() {
        return;
    }
    let ready = service(
        &["STATUS=warming up", "READY=1", "STATUS=serving"],
        "type = \"notify\"",
    );
    let machine = Machine::boot(&[
        ("ready.toml", &ready),
        (
            "after.toml",
            "exec = \"/bin/sleep 1000\"\nrequires = [\"ready\"]\n",
        ),
    ]);
    let answer = machine.call("WaitBoot", json!({})).unwrap();
    assert_eq!(answer["failed"], json!([]), "{}", machine.console());
    machine.wait("the last words", || {
        (machine.status("ready")["statusText"] == "serving").then_some(())
    });
    assert_eq!(machine.state("after"), "up");
}

#[test]
fn nobody_else_can_say_it() {
    if !possible() {
        return;
    }
    let forger = service(&["READY=1"], "")
        .replace("env = {", "env = { SHARK_TEST_TO = \"@DIR@/run/notify\",");
    let services = [
        (
            "silent.toml",
            "type = \"notify\"\nexec = \"/bin/sleep 1000\"\nstart-timeout = \"1h\"\n",
        ),
        ("forger.toml", forger.as_str()),
    ];
    for surroundings in [Surroundings::Whole, Surroundings::WithoutCgroups] {
        check_that_nobody_else_can(&Machine::boot_in(surroundings, &services));
    }
}

fn check_that_nobody_else_can(machine: &Machine) {
    machine.wait_state("forger", "up");
    // From outside of the namespace, too, where the sender has no pid that init could know.
    let socket = UnixDatagram::unbound().unwrap();
    socket
        .send_to(b"READY=1", machine.path("run/notify"))
        .unwrap();
    machine.wait("the foreign message is seen", || {
        machine
            .console()
            .contains("notify: ignored a message")
            .then_some(())
    });
    assert_eq!(machine.state("silent"), "starting");
}

/// By its session, and where it has one of its own, by its parent.
#[test]
fn without_cgroups_children_speak_for_their_service() {
    if !possible() {
        return;
    }
    let program = std::env::current_exe().unwrap();
    let child = |prefix: &str| {
        format!(
            "type = \"notify\"\nenv = {{ {SAY} = \"READY=1\" }}\nexec = [\"/bin/sh\", \"-c\", \
             \"{prefix} {} --exact notify::sender --nocapture & wait\"]\n",
            program.display()
        )
    };
    let (same, own) = (child(""), child("setsid"));
    let services = [("same.toml", same.as_str()), ("own.toml", own.as_str())];
    let machine = Machine::boot_in(Surroundings::WithoutCgroups, &services);
    for name in ["same", "own"] {
        machine.wait_state(name, "up");
    }
    let console = machine.console();
    assert!(!console.contains("notify: ignored"), "{console}");
}
