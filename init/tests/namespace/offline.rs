//! `systemctl --root` beside the real one of systemd 252, call by call on the same files. Not here: what needs
//! an init (`compat`).

use std::fs;
use std::process::Command;

/// The real systemctl, where this machine has one of the version that ours follows.
fn real() -> Option<&'static str> {
    const REAL: &str = "/usr/bin/systemctl";
    let output = Command::new(REAL).arg("--version").output().ok()?;
    output
        .stdout
        .starts_with(b"systemd 252 (252")
        .then_some(REAL)
}

/// One after the other, on the same files.
const OFFLINE: [&str; 31] = [
    "is-enabled web",
    "is-enabled web.service",
    "enable web",
    "is-enabled web",
    "is-enabled -q web",
    "disable web",
    "is-enabled web",
    "disable web",
    "mask web",
    "is-enabled web",
    "enable web",
    "unmask web",
    "is-enabled web",
    "enable web.service --quiet",
    "is-enabled web",
    "reenable web -q",
    "is-enabled web nobody",
    "is-enabled nobody web",
    "is-enabled nobody",
    "is-enabled var.mount",
    "enable nobody",
    "disable nobody",
    "mask nobody",
    "is-enabled nobody",
    "unmask nobody",
    "unmask nobody",
    "enable",
    "is-enabled",
    "frobnicate",
    "--frobnicate",
    "list-unit-files --no-legend no*",
];

#[test]
fn on_a_system_that_does_not_run_it_answers_as_the_real_one() {
    let Some(real) = real() else {
        eprintln!("NOT TESTED: there is no systemctl of systemd 252 here to compare with");
        return;
    };
    let root = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let unit = "[Service]\nExecStart=/bin/web\n[Install]\nWantedBy=multi-user.target\n";
    write("usr/lib/systemd/system/web.service", unit);
    write(
        "usr/lib/shark/services/web.toml",
        "exec = '/bin/web'\nwanted-by = []\n",
    );
    write("etc/systemd/system/.keep", "");
    let names = root.path().join("names");
    let installed = Command::new(env!("CARGO_BIN_EXE_sharkctl"))
        .args(["compat", "install"])
        .arg(&names)
        .args(["systemctl"])
        .status();
    assert!(installed.unwrap().success());
    let ours = names.join("systemctl").display().to_string();
    let run = |program: &str, line: &str| {
        let output = Command::new(program)
            .arg(format!("--root={}", root.path().display()))
            .args(line.split_whitespace())
            .output()
            .unwrap();
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        eprintln!("$ {program} {line}\n{out}{err}[{:?}]", output.status.code());
        (output.status.code(), out, err.is_empty())
    };
    for line in OFFLINE {
        let (theirs, own) = (run(real, line), run(&ours, line));
        // What is said of a change names other files; whether anything is said to be wrong does not.
        let (code, out, _) = &theirs;
        assert_eq!((code, out), (&own.0, &own.1), "{line}");
        assert!(*code == Some(0) || theirs.2 == own.2, "{line}");
    }
}
