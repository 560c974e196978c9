//! Probes of every kind, against sockets and files that this test serves itself: it shares network
//! and files with the namespace.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::json;

use crate::machine::{Machine, possible};

/// A web server that answers everything with a status that can be changed, for as long as the test
/// program runs.
struct Web {
    address: SocketAddr,
    status: Arc<AtomicU16>,
}

impl Web {
    fn serve(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let status = Arc::new(AtomicU16::new(status));
        let shared = Arc::clone(&status);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                let _asked = stream.read(&mut [0; 1024]);
                let status = shared.load(Ordering::Relaxed);
                let answer = format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n");
                let _answered = stream.write_all(answer.as_bytes());
            }
        });
        Self { address, status }
    }

    fn answer_with(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }
}

/// An address at which nobody listens.
fn unused_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

fn asleep(more: &str) -> String {
    format!("exec = \"/bin/sleep 1000\"\n{more}\n")
}

/// Boots with services of the second layer, after `prepare` has made what they are probed by.
fn boot(services: &[(&str, String)], prepare: impl FnOnce(&Path)) -> Machine {
    let services: Vec<(&str, &str)> = services
        .iter()
        .map(|(name, text)| (*name, text.as_str()))
        .collect();
    Machine::boot_prepared(crate::machine::Surroundings::Whole, &services, prepare)
}

#[test]
fn health_is_asked_for_by_every_kind_of_probe() {
    if !possible() {
        return;
    }
    let web = Web::serve(204);
    let health = |what: &str| asleep(&format!("[health]\ninterval = \"100ms\"\n{what}"));
    let good = [
        ("tcp.toml", health(&format!("tcp = \"{}\"", web.address))),
        (
            "http.toml",
            health(&format!("http = \"http://{}/live?x=1\"", web.address)),
        ),
        ("unix.toml", health("unix = \"@DIR@/socket\"")),
        ("path.toml", health("path = \"@DIR@/out\"")),
    ];
    let mut listener = None;
    let machine = boot(&good, |dir| {
        listener = Some(UnixListener::bind(dir.join("socket")).unwrap());
    });
    for name in ["tcp", "http", "unix", "path"] {
        machine.wait(&format!("{name} is healthy"), || {
            (machine.status(name)["health"]["state"] == "good").then_some(())
        });
    }
    assert_eq!(machine.log("tcp"), "", "a probe writes to no log");
}

#[test]
fn an_unhealthy_service_says_what_the_probe_met() {
    if !possible() {
        return;
    }
    let web = Web::serve(200);
    let nobody = unused_address();
    let health = |what: &str| {
        let rules = "interval = \"100ms\"\nfailures = 1000";
        asleep(&format!("[health]\n{rules}\n{what}"))
    };
    let url = format!("http://{}/", web.address);
    let services = [
        ("tcp.toml", health(&format!("tcp = \"{nobody}\""))),
        ("http.toml", health(&format!("http = \"{url}\""))),
        ("unix.toml", health("unix = \"@DIR@/nobody\"")),
        ("path.toml", health("path = \"@DIR@/nothing\"")),
        ("exec.toml", health("exec = \"/bin/false\"")),
    ];
    let machine = boot(&services, |_| {});
    let dir = machine.path("");
    let dir = dir.display();
    let missing = "No such file or directory (ENOENT)";
    web.answer_with(503);
    let expect = [
        (
            "tcp",
            format!("connect {nobody}: Connection refused (ECONNREFUSED)"),
        ),
        ("http", format!("GET {url}: status 503")),
        ("unix", format!("connect {dir}nobody: {missing}")),
        ("path", format!("find {dir}nothing: {missing}")),
        ("exec", "it exited with status 1".to_owned()),
    ];
    for (name, words) in expect {
        machine.wait(&format!("{name} says `{words}`"), || {
            let health = &machine.status(name)["health"];
            (health["words"] == json!(words)).then_some(())
        });
    }
    // It heals, and nothing is held against it.
    web.answer_with(302);
    machine.wait("http is healthy", || {
        (machine.status("http")["health"]["state"] == "good").then_some(())
    });
    assert_eq!(machine.status("http")["restarts"], 0);
}

#[test]
fn a_server_that_never_answers_is_not_waited_for() {
    if !possible() {
        return;
    }
    // It takes connections (the kernel does) and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let text = asleep(&format!(
        "restart.delay = \"1h\"\nrestart.max-delay = \"1h\"\n[health]\nhttp = \"http://{address}\"\n\
         interval = \"100ms\"\ntimeout = \"200ms\"\nfailures = 2\n"
    ));
    let machine = boot(&[("a.toml", text)], |_| {});
    machine.wait_state("a", "backoff");
    assert_eq!(
        machine.status("a")["reason"],
        "health: no answer within 200ms"
    );
    machine.wait("no probe is left", || {
        let left = machine.processes();
        (!left.iter().any(|line| line.contains(" probe "))).then_some(())
    });
}

/// A shell that does this, and sleeps.
fn shell(script: &str, more: &str) -> String {
    format!("exec = [\"/bin/sh\", \"-c\", \"{script}\"]\n{more}\n")
}

#[test]
fn a_line_on_a_descriptor_makes_a_service_ready() {
    if !possible() {
        return;
    }
    let services = [
        (
            "a.toml",
            shell(
                "sleep .2; echo up >&3; exec sleep 1000",
                "ready.fd = 3\n[health]\npath = \"/\"",
            ),
        ),
        // Its number is its own, and nothing else of init's is open in it.
        (
            "b.toml",
            shell(
                "ls /proc/self/fd >@DIR@/out/open; echo >&9; exec sleep 1000",
                "ready.fd = 9",
            ),
        ),
        ("after.toml", asleep("requires = [\"a\", \"b\"]")),
        // Ready, and gone at once: the line counts before the end.
        (
            "brief.toml",
            shell("echo >&3", "ready.fd = 3\nrestart.policy = \"never\""),
        ),
    ];
    let machine = boot(&services, |_| {});
    let answer = machine.call("WaitBoot", json!({})).unwrap();
    assert_eq!(answer["failed"], json!([]), "{}", machine.console());
    let micros = |name: &str, key: &str| machine.status(name)[key].as_u64().unwrap();
    assert!(micros("a", "readyUs") - micros("a", "startedUs") >= 200_000);
    assert!(micros("after", "startedUs") >= micros("a", "readyUs"));
    machine.wait_state("brief", "down");
    assert!(machine.console().contains("brief: up\n"));
    let open = fs::read_to_string(machine.path("out/open")).unwrap();
    assert_eq!(open.lines().filter(|fd| *fd == "9").count(), 1, "{open}");
    assert!(!open.lines().any(|fd| fd == "4" || fd == "5"), "{open}");
}

#[test]
fn a_descriptor_that_is_closed_early_is_a_failure_with_its_cause() {
    if !possible() {
        return;
    }
    let more = "ready.fd = 3\nrestart.policy = \"never\"\nstart-timeout = \"1h\"";
    let services = [
        ("closes.toml", shell("exec sleep 1000 3>&-", more)),
        ("exits.toml", shell("exit 7", more)),
    ];
    let machine = boot(&services, |_| {});
    machine.wait_state("closes", "failed");
    assert_eq!(
        machine.status("closes")["reason"],
        "it closed descriptor 3 without a line"
    );
    machine.wait_state("exits", "failed");
    assert_eq!(
        machine.status("exits")["reason"],
        "it exited with status 7 before it was ready"
    );
}

#[test]
fn readiness_is_found_by_every_kind_of_probe() {
    if !possible() {
        return;
    }
    let web = Web::serve(503);
    let later = unused_address();
    let wait = |what: &str| asleep(&format!("start-timeout = \"1h\"\n[ready]\n{what}"));
    let services = [
        ("tcp.toml", wait(&format!("tcp = \"{later}\""))),
        (
            "http.toml",
            wait(&format!("http = \"http://{}/\"", web.address)),
        ),
        ("unix.toml", wait("unix = \"@DIR@/socket\"")),
        ("path.toml", wait("path = \"@DIR@/out/here\"")),
        ("exec.toml", wait("exec = \"/bin/ls @DIR@/out/here\"")),
    ];
    let machine = boot(&services, |_| {});
    let socket = machine.path("socket").display().to_string();
    let here = machine.path("out/here").display().to_string();
    let missing = "No such file or directory (ENOENT)";
    let expect = [
        (
            "tcp",
            format!("not ready: connect {later}: Connection refused (ECONNREFUSED)"),
        ),
        (
            "http",
            format!("not ready: GET http://{}/: status 503", web.address),
        ),
        ("unix", format!("not ready: connect {socket}: {missing}")),
        ("path", format!("not ready: find {here}: {missing}")),
        ("exec", "not ready: it exited with status 2".to_owned()),
    ];
    for (name, words) in &expect {
        machine.wait(&format!("{name} says `{words}`"), || {
            let status = machine.status(name);
            (status["state"] == "starting" && status["reason"] == json!(words)).then_some(())
        });
    }
    let _address = TcpListener::bind(later).unwrap();
    let _local = UnixListener::bind(&socket).unwrap();
    fs::write(&here, "").unwrap();
    web.answer_with(200);
    for (name, _) in &expect {
        machine.wait_state(name, "up");
        assert_eq!(machine.status(name)["reason"], json!(null));
    }
    assert_eq!(machine.log("path"), "", "a probe writes to no log");
}

#[test]
fn a_service_that_is_never_ready_fails_with_what_the_last_probe_met() {
    if !possible() {
        return;
    }
    let nobody = unused_address();
    let more =
        format!("restart.policy = \"never\"\nstart-timeout = \"1s\"\nready.tcp = \"{nobody}\"");
    // And one whose probe hangs until it is killed.
    let hangs = "restart.policy = \"never\"\nstart-timeout = \"2s\"\n[ready]\n\
                 exec = \"/bin/sleep 4716\"\ntimeout = \"300ms\"";
    let services = [("tcp.toml", asleep(&more)), ("hangs.toml", asleep(hangs))];
    let machine = boot(&services, |_| {});
    let refused =
        format!("it was not ready within 1s: connect {nobody}: Connection refused (ECONNREFUSED)");
    for (name, reason) in [
        ("tcp", refused.as_str()),
        (
            "hangs",
            "it was not ready within 2s: no answer within 300ms",
        ),
    ] {
        machine.wait_state(name, "failed");
        // A machine that stands still may give it no time for even one probe.
        machine.wait(&format!("it says `{reason}`"), || {
            if machine.status(name)["reason"] == reason {
                return Some(());
            }
            machine.on("Start", name).unwrap_err();
            None
        });
    }
    machine.wait("nothing is left of the probes", || {
        let left = machine.processes();
        (!left.iter().any(|line| line.contains("4716"))).then_some(())
    });
    machine.on("Start", "tcp").unwrap_err();
}

#[test]
fn probes_work_without_cgroups() {
    if !possible() {
        return;
    }
    let text = asleep("ready.exec = \"/usr/bin/test -d @DIR@\"\nready.interval = \"50ms\"");
    let services = [
        ("a.toml", text.as_str()),
        ("b.toml", "exec = \"/bin/sleep 1000\"\nready.path = \"/\"\n"),
    ];
    let machine = Machine::boot_in(crate::machine::Surroundings::WithoutCgroups, &services);
    let answer = machine.call("WaitBoot", json!({})).unwrap();
    assert_eq!(answer["failed"], json!([]), "{}", machine.console());
    machine.on("Restart", "b").unwrap();
    assert_eq!(machine.state("b"), "up");
}
