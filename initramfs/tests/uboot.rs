//! The environment of U-Boot against the tools that U-Boot comes with, both ways.
// The whole file is a test; clippy takes only what is marked `#[test]` for one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use mounts::loader::environment::{Copy, Environment, Pair, SIZE};

/// Runs a tool with this input; what it prints.
fn run(program: &str, arguments: &[&str], input: &str) -> String {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}: `cargo xtask setup` installs it"));
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

/// The two files in `dir`, and the configuration that tells libubootenv of them.
fn files(dir: &Path) -> ([std::path::PathBuf; 2], String) {
    let files = ["one", "two"].map(|name| dir.join(name));
    let lines = files
        .iter()
        .map(|it| format!("{} 0 {SIZE:#x}\n", it.display()));
    let configuration = dir.join("fw_env.config");
    fs::write(&configuration, lines.collect::<String>()).unwrap();
    (files, configuration.to_str().unwrap().to_owned())
}

fn pair(files: &[std::path::PathBuf; 2]) -> Pair {
    Pair::of(
        files
            .each_ref()
            .map(|it| Copy::parse(&fs::read(it).unwrap())),
    )
}

fn environment(value: &str) -> Environment {
    let mut environment = Environment::default();
    environment.set("shark_order", "b a").unwrap();
    environment.set("v", value).unwrap();
    environment
}

#[test]
fn what_we_write_is_read_by_the_tools_of_u_boot() {
    let dir = tempfile::tempdir().unwrap();
    let (files, configuration) = files(dir.path());
    let print = |name| run("fw_printenv", &["-c", &configuration, "-n", name], "");
    // The newer one counts, also past the last serial, and a torn one does not.
    for (serials, expect) in [([1, 2], "two"), ([3, 2], "one"), ([255, 0], "two")] {
        for ((file, value), serial) in files.iter().zip(["one", "two"]).zip(serials) {
            fs::write(file, environment(value).encode(serial).unwrap()).unwrap();
        }
        assert_eq!(print("v").trim(), expect, "{serials:?}");
        assert_eq!(print("shark_order").trim(), "b a");
        assert_eq!(pair(&files).environment.get("v"), Some(expect));
    }
    let mut torn = fs::read(&files[1]).unwrap();
    torn[7] ^= 1;
    fs::write(&files[1], torn).unwrap();
    assert_eq!(print("v").trim(), "one");
    assert_eq!(pair(&files).environment.get("v"), Some("one"));
}

#[test]
fn what_the_tools_of_u_boot_write_is_read_by_us() {
    let dir = tempfile::tempdir().unwrap();
    let (files, configuration) = files(dir.path());
    let size = SIZE.to_string();
    for (file, value) in files.iter().zip(["first", "first"]) {
        let path = file.to_str().unwrap();
        let text = format!("shark_order=a b\nv={value}\nother=kept = so\n");
        run("mkenvimage", &["-r", "-s", &size, "-o", path, "-"], &text);
    }
    let made = pair(&files);
    assert!(made.whole);
    assert_eq!(made.environment.get("other"), Some("kept = so"));
    for number in 0..5 {
        let value = number.to_string();
        run("fw_setenv", &["-c", &configuration, "v", &value], "");
        let mut found = pair(&files);
        assert_eq!(found.environment.get("v"), Some(&*value));
        // In turn with us.
        found.environment.set("w", &value).unwrap();
        let bytes = found.environment.encode(found.serial).unwrap();
        fs::write(&files[found.next], bytes).unwrap();
        let print = |name| run("fw_printenv", &["-c", &configuration, "-n", name], "");
        assert_eq!(print("w").trim(), value);
        assert_eq!(print("other").trim(), "kept = so");
    }
}
