//! What init lacks, and who may ask it for what.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use serde_json::json;

use crate::machine::{Machine, Surroundings, possible};

#[test]
fn without_cgroups_it_says_so_and_kills_the_process_group() {
    if !possible() {
        return;
    }
    let machine = Machine::boot_in(
        Surroundings::WithoutCgroups,
        &[(
            "a.toml",
            "exec = [\"/bin/sh\", \"-c\", \"sleep 4711 & wait\"]\n",
        )],
    );
    machine.call("WaitBoot", json!({})).unwrap();
    let boot = machine.call("Boot", json!({})).unwrap();
    let missing = boot["boot"]["missing"].to_string();
    assert!(
        missing.contains("cgroup: this namespace shares"),
        "{missing}"
    );
    let sleeping = || machine.processes().iter().any(|line| line.contains("4711"));
    machine.wait("it runs", || sleeping().then_some(()));
    machine.on("Stop", "a").unwrap();
    // It is killed, and nothing tells when it has died of that.
    machine.wait("it is gone", || (!sleeping()).then_some(()));
}

#[test]
fn services_start_at_a_priority_that_cannot_be_raised() {
    if !possible() {
        return;
    }
    let run = "exec = \"/bin/sleep 1000\"\n";
    let services = [("a.toml", run), ("b.toml", &format!("{run}nice = 7\n"))];
    let machine = Machine::boot_in(Surroundings::Niced, &services);
    let report = machine.call("WaitBoot", json!({})).unwrap();
    assert_eq!(report["failed"], json!([]), "{report}");
    let nice = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let (_, rest) = stat.rsplit_once(')').unwrap();
        rest.split_whitespace().nth(16).unwrap().to_owned()
    };
    let of = |name: &str| nice(machine.host_pid_of(machine.pid(name).unwrap()));
    assert_eq!(of("a"), nice(machine.host_pid()));
    assert_eq!(of("b"), "7");
}

#[test]
fn others_may_look_but_not_touch() {
    if !possible() || !runs_as_root() {
        return;
    }
    let machine = Machine::boot(&[("a.toml", "exec = \"/bin/sleep 1000\"\n")]);
    machine.call("WaitBoot", json!({})).unwrap();
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(machine.path("."), open).unwrap();
    let ask = |method: &str| {
        let message =
            format!("{{\"method\":\"io.shark.Init.{method}\",\"parameters\":{{\"name\":\"a\"}}}}");
        let script = "import socket,sys\n\
             s=socket.socket(socket.AF_UNIX)\n\
             s.connect(sys.argv[1])\n\
             s.sendall(sys.argv[2].encode()+b'\\0')\n\
             print(s.recv(65536).decode())";
        let output = Command::new("/usr/bin/python3")
            .args(["-c", script])
            .arg(machine.path("run/io.shark.Init"))
            .arg(message)
            .uid(65534)
            .gid(65534)
            .output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let Ok(status) = ask("Status") else {
        eprintln!("NOT TESTED: no /usr/bin/python3");
        return;
    };
    assert!(status.contains("\"state\":\"up\""), "{status}");
    let denied = ask("Stop").unwrap();
    assert!(denied.contains("PermissionDenied"), "{denied}");
    assert_eq!(machine.state("a"), "up");
    machine.wait("the audit line", || {
        machine.console().contains("stop a: denied").then_some(())
    });
}

pub(crate) fn runs_as_root() -> bool {
    let root = std::fs::metadata("/proc/self")
        .is_ok_and(|it| std::os::unix::fs::MetadataExt::uid(&it) == 0);
    if !root {
        eprintln!("NOT TESTED: only root can be somebody else");
    }
    root
}

#[test]
fn nonsense_on_the_socket_harms_only_its_sender() {
    if !possible() {
        return;
    }
    use std::io::{Read, Write};
    let machine = Machine::boot(&[("a.toml", "exec = \"/bin/sleep 1000\"\n")]);
    machine.call("WaitBoot", json!({})).unwrap();
    for nonsense in [&b"\0"[..], b"{}\0", b"not json\0", &[b'x'; 70_000]] {
        let mut stream =
            std::os::unix::net::UnixStream::connect(machine.path("run/io.shark.Init")).unwrap();
        let _refused = stream.write_all(nonsense);
        let mut rest = Vec::new();
        let _reset = stream.read_to_end(&mut rest);
    }
    let (error, _) = machine.call("Nothing", json!({})).unwrap_err();
    assert_eq!(error, "MethodNotFound");
    assert_eq!(machine.state("a"), "up");
}
