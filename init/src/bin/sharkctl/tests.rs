//! Drives every verb of `sharkctl` against a Varlink server in a thread, and checks what is printed and
//! the exit status. Not here: the server (`server`), and the tables themselves (tested beside the code
//! that makes them).

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;

use services::control::{ControlError, Request};
use services::diagnostic::{Diagnostic, Place};
use services::status::{ShutdownKind, StateName};

use self::server::{Server, machine, service, services_page};

mod boot;
mod import;
mod insight;
mod logs;
pub(crate) mod server;

/// What came of one command line.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: u8,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) fn run(line: &str) -> Ran {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let arguments = std::iter::once("sharkctl").chain(line.split_whitespace());
    let status = super::run(arguments.map(Into::into), &mut out, &mut err, false);
    Ran {
        status,
        out: String::from_utf8(out).unwrap(),
        err: String::from_utf8(err).unwrap(),
    }
}

impl Ran {
    #[track_caller]
    pub(crate) fn expect(&self, status: u8, out: &str, err: &str) {
        assert!(
            self.status == status && self.out.contains(out) && self.err.contains(err),
            "expected {status}, {out:?}, {err:?}: {self:?}"
        );
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap()
    }
}

#[test]
fn list() {
    let server = Server::new(machine);
    server.run("list").expect(0, "\nup       up     ", "");
    server.run("service list").expect(0, "SERVICE  STATE", "");
    let json = server.run("list --json").json();
    assert_eq!(json["services"][1]["name"], "up");
    assert_eq!(json["services"][1]["sinceUs"], 0);
}

#[test]
fn status_of_one_service() {
    let server = Server::new(machine);
    server
        .run("status up")
        .expect(0, "up - About up\n    state: up for", "");
    server.run("service status up").expect(0, "pid: 42\n", "");
    server.run("status down").expect(7, "state: down", "");
    server
        .run("status bad")
        .expect(7, "reason: exit status 3\n", "");
    let none = server.run("status none");
    none.expect(3, "", "there is no service `none`; `sharkctl list`");
    let json = server.run("--json status bad");
    assert_eq!((json.status, &json.json()["state"]), (7, &"failed".into()));
    std::fs::create_dir(server.directory.path().join("log")).unwrap();
    std::fs::write(server.directory.path().join("log/up"), "1\n2\n3\n4\n5\n6\n").unwrap();
    server.run("status up").expect(0, "\n\n2\n3\n4\n5\n6\n", "");
}

#[test]
fn status_of_all_services() {
    let server = Server::new(machine);
    server
        .run("status")
        .expect(0, "services: 1 up, 1 down\n", "");
    let json = server.run("status --json").json();
    assert_eq!(json["ok"], true);
    assert_eq!(json["boot"]["mode"], "container");
    assert_eq!(json["services"][0]["name"], "down");
    let server = Server::new(|request| match request {
        Request::List { .. } => Ok(services_page(vec![service("bad", StateName::Failed)])),
        other => machine(other),
    });
    server.run("status").expect(7, "bad      failed", "");
    assert_eq!(server.run("status --json").json()["ok"], false);
}

#[test]
fn help_is_told_of_all_and_of_one() {
    run("help").expect(0, "Examples:\n  sharkctl list ", "");
    run("help boot history").expect(0, "Usage: sharkctl boot history", "");
    run("help mask").expect(0, "Exit status:\n  0  they are masked", "");
    run("help nothing").expect(
        2,
        "",
        "there is no verb `nothing`; `sharkctl help` names all",
    );
}

#[test]
fn changes() {
    let server = Server::new(machine);
    server.run("start up").expect(0, "up: up, pid 42 (", "");
    server.run("stop down").expect(0, "down: down (", "");
    server.run("restart up down").expect(0, "down: down (", "");
    server
        .run("reload up")
        .expect(0, "up: reloaded, pid 42 (", "");
    server.run("service restart up").expect(0, "up: up", "");
    server
        .run("service stop down --all")
        .expect(0, "down: down (", "");
    let name = || "up".to_owned();
    let down = || "down".to_owned();
    let mut asked = server.changes();
    // Of several services of one command, the order in which init hears is not fixed.
    asked[2..4].sort_by_key(|request| format!("{request:?}"));
    assert_eq!(
        asked,
        [
            Request::Start { name: name() },
            Request::Stop {
                name: down(),
                all: false,
            },
            Request::Restart { name: down() },
            Request::Restart { name: name() },
            Request::ReloadService { name: name() },
            Request::Restart { name: name() },
            Request::Stop {
                name: down(),
                all: true,
            },
        ]
    );
    assert_eq!(server.run("-q start up").out, "");
    let json = server.run("--json start up bad").json();
    assert_eq!(json["results"][0]["service"]["pid"], 42);
    assert_eq!(json["results"][1]["error"], "failed");
    assert_eq!(json["results"][1]["reason"], "bad: exit status 3");
}

#[test]
fn failed_changes() {
    let server = Server::new(machine);
    let check = |line: &str, status: u8, err: &str| server.run(line).expect(status, "", err);
    check("start bad", 1, "sharkctl: bad: exit status 3\n");
    check("stop late", 1, "late: given up: a later request");
    check("start none", 3, "there is no service `none`");
    check("start locked", 4, "sharkctl: permission denied: ");
    check("restart busy", 6, "busy: refused: exit status 3");
    // The others are not left out, and the first failure gives the status.
    let both = server.run("start none bad up");
    both.expect(3, "up: up", "sharkctl: bad: exit status 3\n");
}

#[test]
fn what_fails_as_soon_as_it_is_up_has_failed() {
    let server = Server::new(|request| match request {
        Request::Status { name } => {
            let mut told = service(name, StateName::Failed);
            told.reason = Some("exit status 3".into());
            Ok(services::control::Reply::Service {
                service: Box::new(told),
            })
        }
        other => machine(other),
    });
    let brief = "sharkctl: up: it came up, and failed at once: exit status 3\n";
    server.run("start up").expect(1, "", brief);
    server.run("restart up").expect(1, "", brief);
    server.run("stop up").expect(0, "up: failed (", "");
    let json = server.run("--json start up");
    assert_eq!(
        (json.status, &json.json()["results"][0]["ok"]),
        (1, &false.into())
    );
}

#[test]
fn a_long_wait_says_what_for() {
    let server = Server::new(machine);
    let ran = server.run("start slow");
    ran.expect(
        0,
        "slow: starting",
        "sharkctl: waiting for slow (starting)\n",
    );
    assert_eq!(
        ran.err.lines().count(),
        1,
        "said again only when it changes: {ran:?}"
    );
    assert_eq!(server.run("--quiet start slow").err, "");
    let ran = server.run("--timeout 1 start slow");
    ran.expect(8, "", "gave up waiting for slow (starting) after 1s");
}

#[test]
fn reload_of_all_files() {
    let server = Server::new(machine);
    server.run("reload").expect(
        0,
        "new: added\nup: changed: exec, restart.delay (runs on as it was until its next start)\n\
         log.toml: changed\n",
        "",
    );
    let would = server.run("reload --dry-run");
    would.expect(
        0,
        "new: would be added\nup: would be changed: exec, restart.delay",
        "",
    );
    let json = server.run("reload --dry-run --json").json();
    assert_eq!(json["keys"][0]["keys"][1], "restart.delay");
    assert_eq!(json["keeping"][0], "up");
    let wrong = server.run("reload --dry-run up");
    assert_eq!(wrong.status, 2, "{}", wrong.err);
    let json = server.run("reload --json").json();
    assert_eq!(json["added"][0], "new");
    let server = Server::new(|request| match request {
        Request::ReloadAll { .. } => {
            let place = Place {
                file: "/etc/shark/services/a.toml".into(),
                line: 3,
                column: 5,
            };
            let diagnostics = vec![Diagnostic::new(&place, "unknown key")];
            Err(ControlError::InvalidServices { diagnostics })
        }
        other => machine(other),
    });
    let ran = server.run("reload");
    ran.expect(6, "", "/etc/shark/services/a.toml:3:5: unknown key");
    ran.expect(6, "", "sharkctl: refused: 1 problem in the service files");
    let json = server.run("reload --json");
    assert_eq!(
        (json.status, &json.json()["diagnostics"][0]["line"]),
        (6, &3.into())
    );
}

#[test]
fn shutdowns() {
    let server = Server::new(machine);
    server.run("poweroff").expect(0, "powering off\n", "");
    server.run("reboot").expect(0, "restarting\n", "");
    server.run("halt").expect(0, "halting\n", "");
    server.run("soft-reboot").expect(0, "beginning again\n", "");
    let kinds = [
        ShutdownKind::Poweroff,
        ShutdownKind::Reboot,
        ShutdownKind::Halt,
        ShutdownKind::SoftReboot,
    ];
    assert_eq!(
        server.changes(),
        kinds.map(|kind| Request::Shutdown { kind })
    );
}

#[test]
fn init_that_is_not_there() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("s");
    let line = |verb: &str| format!("--socket {} {verb}", socket.display());
    for verb in [
        "list",
        "status",
        "status x",
        "start x",
        "reload",
        "boot",
        "boot wait",
        "reboot",
        "logs x",
    ] {
        let ran = run(&line(verb));
        ran.expect(
            5,
            "",
            "init is not running, or not reachable here: there is no socket",
        );
    }
    assert_eq!(run(&line("stop a b c")).err.lines().count(), 1);
    drop(UnixListener::bind(&socket).unwrap());
    run(&line("list")).expect(5, "", "init is not running: nobody listens on");
    let long = "x".repeat(200);
    run(&format!("--socket /{long} list")).expect(2, "", "cannot be the path of a socket");
}

#[test]
fn init_that_misbehaves() {
    let check = |bytes: &'static [u8], status: u8, err: &str| {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut call = [0; 4096];
            assert!(stream.read(&mut call).unwrap() > 0);
            stream.write_all(bytes).unwrap();
        });
        run(&format!("--socket {} list", socket.display())).expect(status, "", err);
    };
    check(b"", 5, "init closed the connection");
    check(b"{\"parameters\":{\"serv", 5, "init closed the connection");
    check(b"HTTP/1.1 400\r\n\0", 1, "is it of the same version?");
    check(b"{\"parameters\":{}}\0", 1, "missing field");
    check(
        b"{\"error\":\"org.varlink.service.MethodNotFound\",\"parameters\":{\"method\":\"x\"}}\0",
        1,
        "`x`",
    );
}

#[test]
fn usage() {
    run("").expect(2, "", "Usage: sharkctl");
    run("dance").expect(2, "", "dance");
    run("restrat x").expect(2, "", "similar subcommand");
    run("start").expect(2, "", "<SERVICE>...");
    run("verify").expect(2, "", "<DIR>");
    run("boot bad").expect(2, "", "--reason <TEXT>");
    run("boot set-slot c").expect(2, "", "possible values: a, b");
    run("list --timeout soon").expect(2, "", "soon");
    let help = run("--help");
    help.expect(0, "Exit status:", "");
    help.expect(0, "Examples:", "");
    run("--version").expect(0, "sharkctl ", "");
    for verb in [
        "list",
        "status",
        "start",
        "logs",
        "boot",
        "boot wait",
        "boot good",
        "boot bad",
        "boot set-slot",
        "boot history",
        "boot record",
        "verify",
        "why",
        "tree",
        "graph",
        "blame",
        "critical-chain",
        "plot",
        "cat",
        "service restart",
        "reboot",
    ] {
        run(&format!("{verb} --help")).expect(0, "Usage: sharkctl", "");
    }
}

#[test]
fn completions_know_the_verbs() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = run(&format!("completions {shell}"));
        ran.expect(0, "restart", "");
        ran.expect(0, "poweroff", "");
        ran.expect(0, "set-slot", "");
        ran.expect(0, "no-reboot", "");
        ran.expect(0, "reverse", "");
    }
}

#[test]
fn verify_directories() {
    let root = tempfile::tempdir().unwrap();
    let services = root.path().join("usr/lib/shark/services");
    std::fs::create_dir_all(&services).unwrap();
    let path = services.display().to_string();
    let write = |name: &str, text: &str| std::fs::write(services.join(name), text).unwrap();
    write("good.toml", "exec = \"/bin/good\"\n");
    run(&format!("verify {path}")).expect(0, "no problems\n", "");
    assert_eq!(run(&format!("verify --json {path}")).json()["ok"], true);
    run(&format!("-q verify {path}")).expect(0, "", "");

    write(
        "good.toml",
        "exec = \"/bin/good\"\n\nrequires = [\"nobody\"]\n",
    );
    write(
        "bad.toml",
        "exec = \"/bin/bad\"\nexce = 1\n[cgroup]\nmemory-max = \"512X\"\n",
    );
    let ran = run(&format!("verify {path}"));
    ran.expect(1, &format!("{path}/bad.toml:2:1: "), "sharkctl: ");
    ran.expect(1, &format!("{path}/bad.toml:4:"), "problems");
    ran.expect(1, &format!("{path}/good.toml:3:"), "");
    let json = run(&format!("verify --json {path}"));
    assert_eq!(
        (
            json.status,
            json.json()["diagnostics"].as_array().unwrap().len()
        ),
        (1, 3)
    );

    // A warning is no problem.
    std::fs::remove_file(services.join("bad.toml")).unwrap();
    write(
        "good.toml",
        "exec = \"/bin/good\"\nwanted-by = [\"kiosk\"]\n[boot]\nessential = true\n",
    );
    write("kiosk.toml", "type = \"target\"\nwanted-by = []\n");
    let warning =
        format!("warning: {path}/good.toml:4:1: key `boot.essential`: `good` is essential");
    run(&format!("verify {path}")).expect(0, &warning, "");
    run(&format!("verify {path}")).expect(0, "3 services, no problems\n", "");
    let json = run(&format!("verify --json {path}")).json();
    assert_eq!(
        (&json["ok"], &json["warnings"][0]["line"]),
        (&true.into(), &4.into())
    );
    let kiosk = run(&format!("verify {path} --target kiosk"));
    kiosk.expect(0, "3 services, no problems\n", "");
    assert!(!kiosk.out.contains("warning"), "{kiosk:?}");
    run(&format!("verify {path} --target none")).expect(2, "", "there is no target `none`");

    run("verify /nonexistent/services").expect(1, "", "read /nonexistent/services: ");
    run(&format!("verify {path}/good.toml")).expect(2, "", "is not a directory");
}

#[test]
fn compile_a_root() {
    let root = tempfile::tempdir().unwrap();
    let line = format!("compile --root {} --time 0", root.path().display());
    let write = |name: &str, text: &str| {
        let path = root.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("etc/passwd", "root:x:0:0::/:/bin/sh\n");
    write(
        "usr/lib/shark/services/a.toml",
        "exec = \"/bin/a\"\nuser = \"web\"\n",
    );
    // Of the files as they are called inside of the root.
    let key = "/usr/lib/shark/services/a.toml:2:1: key `user`";
    run(&line).expect(1, key, "1 problem\n");
    assert!(!root.path().join("usr/lib/shark/graph").exists());
    write("usr/lib/shark/services/a.toml", "exec = \"/bin/a\"\n");
    run(&line).expect(0, "usr/lib/shark/graph: 2 services, ", "");
    let first = std::fs::read(root.path().join("usr/lib/shark/graph")).unwrap();
    let again = run(&format!("--json {line}")).json();
    assert_eq!(again["services"], 2);
    assert_eq!(again["bytes"], first.len());
    let second = std::fs::read(root.path().join("usr/lib/shark/graph")).unwrap();
    assert_eq!(first, second, "same files, same bytes");
    run("compile --root /nonexistent").expect(1, "", "write /nonexistent/usr/lib/shark/graph: ");
}

#[test]
fn verify_a_root() {
    let root = tempfile::tempdir().unwrap();
    let line = format!("verify --root {}", root.path().display());
    let write = |name: &str, text: &str| {
        let path = root.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    run(&line).expect(1, "", "there is no directory of service files");
    write(
        "etc/shark/services/a.toml",
        "user = \"web\"\nexec = \"/bin/a\"\n",
    );
    run(&line).expect(1, "", "etc/passwd: ");
    write("etc/passwd", "root:x:0:0::/:/bin/sh\n");
    write("etc/group", "root:x:0:\n");
    run(&line).expect(1, "a.toml:1:1: key `user`", "2 problems\n");
    write("etc/passwd", "web:x:7:7::/:/bin/sh\n");
    run(&line).expect(
        1,
        "a.toml:2:1: key `exec`: `/bin/a` does not exist",
        "1 problem\n",
    );
    write("bin/a", "#!/bin/a\n");
    run(&line).expect(1, "`/bin/a` is not executable", "1 problem\n");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(root.path().join("bin/a"), executable).unwrap();
    run(&line).expect(0, "no problems\n", "");
    write(
        "etc/shark/services/a.toml.d/health.toml",
        "[health]\nexec = \"/bin/probe\"\n",
    );
    run(&line).expect(
        1,
        "health.toml:2:1: key `health.exec`: `/bin/probe` does not exist",
        "",
    );
    std::fs::remove_dir_all(root.path().join("etc/shark/services/a.toml.d")).unwrap();
    // A template without an instance is no exception.
    write(
        "etc/shark/services/t@.toml",
        "wanted-by = []\nexec = \"/bin/a-%i\"\n",
    );
    run(&line).expect(
        1,
        "t@.toml:2:1: key `exec`: `/bin/a-example` does not exist",
        "1 problem\n",
    );
}
