//! `sharkctl mask`, `enable`, `disable`, `edit`, with the files of a running `init`: what they write is what
//! it then does. Not here: which files they write (tested beside the code).

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::machine::{Machine, Surroundings, possible, write_program};

/// `sharkctl` with the directories of this machine: what it prints on both streams, and its status.
fn sharkctl(machine: &Machine, words: &[&str], editor: &str) -> (String, i32) {
    let layers = ["services", "run/services", "admin"];
    let layers = layers.map(|it| machine.path(it).display().to_string());
    let output = Command::new(env!("CARGO_BIN_EXE_sharkctl"))
        .arg("--socket")
        .arg(machine.path("run/io.shark.Init"))
        .args(words)
        .env("SHARK_SERVICE_PATH", layers.join(":"))
        .env("VISUAL", editor)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let text = text(&output.stdout) + &text(&output.stderr);
    eprintln!("$ sharkctl {}\n{text}", words.join(" "));
    (text, output.status.code().unwrap())
}

#[track_caller]
fn check(machine: &Machine, line: &str, status: i32, expect: &[&str]) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (text, got) = sharkctl(machine, &words, "false");
    let missing = expect.iter().find(|it| !text.contains(**it));
    assert!(
        got == status && missing.is_none(),
        "{line}: {got}, {missing:?} in: {text}"
    );
    text
}

const SLEEP: &str = "exec = \"/bin/sleep 1000\"\n";

#[test]
fn a_masked_service_does_not_run_whoever_wants_it() {
    if !possible() {
        return;
    }
    let needs = format!("{SLEEP}requires = [\"web\"]\n");
    let machine = Machine::boot(&[("web.toml", SLEEP), ("app.toml", &needs)]);
    machine.wait_state("app", "up");

    let told = "init has not read this yet: `sharkctl reload` makes it, or --now";
    check(
        &machine,
        "mask web",
        0,
        &["web: masked: it does not start", told],
    );
    let link = machine.path("admin/web.toml");
    assert_eq!(fs::read_link(&link).unwrap(), Path::new("/dev/null"));
    check(&machine, "diff --running", 0, &["web: would be changed"]);
    // It runs on until it is stopped, and cannot be started again.
    check(
        &machine,
        "reload",
        0,
        &["web: changed", "runs on as it was until its next start"],
    );
    assert_eq!(machine.state("web"), "up");
    let by = format!("it is masked by {}", link.display());
    check(
        &machine,
        "status web",
        0,
        &["masked by ", "and runs on until it is stopped"],
    );
    check(&machine, "restart web", 6, &[&by]);
    check(&machine, "stop web", 0, &[]);
    check(&machine, "start web", 6, &[&by]);
    check(&machine, "status web", 7, &["state: down", &by[6..]]);
    check(
        &machine,
        "why web",
        0,
        &[&by[6..], "advice: `sharkctl unmask web`"],
    );
    // Those that need it start all the same.
    check(&machine, "start app", 0, &["app: up"]);
    assert_eq!(machine.state("web"), "skipped");
    check(
        &machine,
        "why web",
        0,
        &[&by[6..], "advice: `sharkctl unmask web`"],
    );

    check(
        &machine,
        "unmask --now web",
        0,
        &["web: masked no more", "web: up, pid "],
    );
    assert!(!link.exists());
    check(&machine, "mask --now web", 0, &["web: masked", "web: down"]);
    let text = check(&machine, "unmask --now web --json", 0, &[]);
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["results"][0]["removed"][0], link.display().to_string());
    assert_eq!(json["services"][0]["service"]["state"], "up");
}

#[test]
fn what_is_enabled_and_edited_counts_from_the_next_reload_on() {
    if !possible() {
        return;
    }
    let off = format!("{SLEEP}wanted-by = []\n");
    let machine = Machine::boot(&[("web.toml", SLEEP), ("off.toml", &off)]);
    machine.wait_state("web", "up");
    assert_eq!(machine.state("off"), "down");
    check(
        &machine,
        "enable --now off",
        0,
        &["off: enabled", "off: up, pid "],
    );
    check(
        &machine,
        "disable --now web",
        0,
        &["web: disabled", "web: down"],
    );
    let wanted = |name: &str| machine.status(name)["wanted"].clone();
    assert_eq!((wanted("web"), wanted("off")), (json!(false), json!(true)));
    check(
        &machine,
        "diff",
        0,
        &["off: changed: wanted-by", "web: changed: wanted-by"],
    );

    let edit = |script: &str| sharkctl(&machine, &["edit", "--now", "off"], script);
    let (text, status) = edit("printf 'exec = 3\\n' >");
    assert_eq!(status, 6, "{text}");
    assert!(text.contains("override.toml:1:8: key `exec`"), "{text}");
    let (text, status) = edit("printf 'nice = 3\\n' >");
    assert_eq!(status, 0, "{text}");
    machine.on("Restart", "off").unwrap();
    let pid = machine.host_pid_of(machine.pid("off").unwrap());
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    assert_eq!(stat.split(' ').nth(18), Some("3"), "{stat}");
}

/// At a terminal, what does not pass the checks can be edited again.
#[test]
fn whoever_is_at_a_terminal_may_edit_again() {
    let dir = tempfile::tempdir().unwrap();
    let vendor = dir.path().join("usr/lib/shark/services");
    fs::create_dir_all(&vendor).unwrap();
    fs::write(vendor.join("web.toml"), SLEEP).unwrap();
    let editor = dir.path().join("editor");
    let script = "#!/bin/sh\nif grep -q 300 \"$1\"; then echo 'nice = 3' > \"$1\"; else echo 'nice = 300' > \"$1\"; fi\n";
    write_program(&editor, script.as_bytes());
    let root = dir.path().display();
    let edit = format!("{} edit --root {root} web", env!("CARGO_BIN_EXE_sharkctl"));
    let at_terminal = |answer: &str| {
        let line = format!("(sleep 1; echo {answer}; sleep 1) | script -qec '{edit}' /dev/null");
        let output = Command::new("sh")
            .args(["-c", &line])
            .env("VISUAL", &editor)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        eprintln!("{text}");
        (text, output.status.code().unwrap())
    };
    let drop_in = dir
        .path()
        .join("etc/shark/services/web.toml.d/override.toml");
    let (text, status) = at_terminal("n");
    assert!(
        status == 6 && text.contains("edit it again? [Y/n]"),
        "{status}: {text}"
    );
    assert!(
        text.contains("what was edited is kept in ") && !drop_in.exists(),
        "{text}"
    );
    let (text, status) = at_terminal("y");
    assert!(
        status == 0 && text.contains("web: edited"),
        "{status}: {text}"
    );
    assert_eq!(fs::read_to_string(&drop_in).unwrap(), "nice = 3\n");
}

#[test]
fn a_mask_that_is_there_at_boot_counts() {
    if !possible() {
        return;
    }
    let machine = Machine::boot_prepared(
        Surroundings::Whole,
        &[("web.toml", SLEEP), ("broken.toml", "exec = 3\n")],
        |dir| {
            for name in ["web", "broken"] {
                let link = dir.join(format!("admin/{name}.toml"));
                std::os::unix::fs::symlink("/dev/null", link).unwrap();
            }
        },
    );
    machine.call("WaitBoot", json!({})).unwrap();
    assert_eq!(machine.state("web"), "skipped");
    assert_eq!(machine.status("web")["description"], "(masked) ");
    assert_eq!(machine.state("broken"), "skipped");
    assert!(
        !machine
            .processes()
            .iter()
            .any(|line| line.contains("sleep"))
    );
}
