//! Rules of the house that no compiler checks. Each test names the rule and the places that break
//! it. Not here: style (rustfmt) and habits (clippy).
#![allow(
    clippy::expect_used,
    reason = "a rule that cannot be looked at is broken"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every file that git knows or would add, relative to the top.
fn files() -> Vec<String> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git lists the files of the checkout");
    assert!(output.status.success(), "git ls-files failed");
    let text = String::from_utf8(output.stdout).expect("file names are UTF-8");
    text.lines()
        .filter(|f| root().join(f).is_file())
        .map(str::to_owned)
        .collect()
}

/// Rust files and their text, without those of this file.
fn sources() -> Vec<(String, String)> {
    files()
        .into_iter()
        .filter(|f| f.ends_with(".rs") && f != "xtask/tests/tidy.rs")
        .map(|f| {
            let text = fs::read_to_string(root().join(&f)).expect("a source file is readable");
            (f, text)
        })
        .collect()
}

/// The text before the unit tests at its end.
fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or(text)
}

fn none(rule: &str, places: &[String]) {
    assert!(places.is_empty(), "{rule}:\n  {}", places.join("\n  "));
}

/// Lines of `text` that hold one of `words`, as FILE:LINE: text; comments do not count.
fn hits(file: &str, text: &str, words: &[&str]) -> Vec<String> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .filter(|(_, line)| words.iter().any(|word| line.contains(word)))
        .map(|(at, line)| format!("{file}:{}: {}", at + 1, line.trim()))
        .collect()
}

#[test]
fn every_module_says_first_what_it_is_responsible_for() {
    let silent: Vec<String> = sources()
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//! ") && !text.starts_with("#![no_main]\n//! "))
        .map(|(file, _)| file)
        .collect();
    none(
        "the first line of a module is `//!` and its responsibility",
        &silent,
    );
}

#[test]
fn a_file_is_read_in_one_sitting() {
    let long: Vec<String> = sources()
        .into_iter()
        .filter(|(_, text)| text.lines().count() > 600)
        .map(|(file, text)| format!("{file} ({} lines)", text.lines().count()))
        .collect();
    none("a file has at most 600 lines", &long);
}

#[test]
fn unsafe_lives_in_the_kernel_room_alone() {
    for (file, text) in sources() {
        if file.starts_with("kernel/") {
            continue;
        }
        none(
            "`unsafe` outside kernel/",
            &hits(
                &file,
                &text,
                &["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"],
            ),
        );
    }
}

#[test]
fn the_core_does_no_io_and_has_no_clock() {
    let banned = [
        "std::fs",
        "std::process",
        "std::thread",
        "std::net",
        "std::env",
        "Instant::now",
        "SystemTime",
        "HashMap",
        "HashSet",
    ];
    for (file, text) in sources() {
        if file.starts_with("services/src/") || file.starts_with("mounts/src/") {
            none(
                "I/O, a clock or an unstable order in the pure core",
                &hits(&file, without_tests(&text), &banned),
            );
        }
    }
}

#[test]
fn pid_1_has_one_reaper_no_threads_and_no_foreign_children() {
    let banned = [
        "process::Command",
        "thread::spawn",
        "thread::scope",
        "thread::Builder",
    ];
    let rooms = ["init/src/pid1/", "init/src/ending/", "kernel/src/"];
    for (file, text) in sources() {
        if rooms.iter().any(|room| file.starts_with(room)) {
            none(
                "std::process or threads in PID 1",
                &hits(&file, without_tests(&text), &banned),
            );
        }
    }
}

#[test]
fn nothing_is_half_done() {
    let words = [
        "todo!",
        "unimplemented!",
        "FIXME",
        "XXX",
        "#[ignore",
        "dbg!(",
    ];
    for (file, text) in sources() {
        let places: Vec<String> = text
            .lines()
            .enumerate()
            .filter(|(_, line)| words.iter().any(|word| line.contains(word)))
            .map(|(at, line)| format!("{file}:{}: {}", at + 1, line.trim()))
            .collect();
        none("a mark of unfinished work", &places);
    }
}

#[test]
fn no_module_is_a_drawer() {
    let drawers = ["utils", "util", "helpers", "helper", "common", "misc"];
    let places: Vec<String> = sources()
        .into_iter()
        .map(|(file, _)| file)
        .filter(|file| {
            Path::new(file)
                .file_stem()
                .is_some_and(|stem| drawers.iter().any(|d| stem == *d))
        })
        .collect();
    none("a module is named for what it is responsible for", &places);
}

#[test]
fn the_architecture_names_every_module() {
    let map =
        fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md is readable");
    let missing: Vec<String> = sources()
        .into_iter()
        .map(|(file, _)| file)
        .filter(|file| file.contains("/src/") && !file.contains("/tests/"))
        .filter(|file| {
            let path = Path::new(file);
            let stem = path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let name = match stem.as_str() {
                "mod" | "main" | "lib" => path
                    .parent()
                    .and_then(Path::file_name)
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned(),
                other => other.to_owned(),
            };
            name != "tests" && name != "src" && !map.contains(&name)
        })
        .collect();
    none("ARCHITECTURE.md names every module", &missing);
}

#[test]
fn the_top_level_stays_small() {
    let allowed = [
        ".cargo",
        ".ci",
        ".github",
        ".gitignore",
        "ARCHITECTURE.md",
        "Cargo.lock",
        "Cargo.toml",
        "GLOSSARY.md",
        "LICENSE",
        "README.md",
        "clippy.toml",
        "docs",
        "examples",
        "init",
        "initramfs",
        "kernel",
        "man",
        "mounts",
        "services",
        "tests-qemu",
        "xtask",
    ];
    let strange: Vec<String> = files()
        .into_iter()
        .filter_map(|file| file.split('/').next().map(str::to_owned))
        .filter(|top| !allowed.contains(&top.as_str()))
        .collect();
    none("an entry at the top of the repository", &strange);
}

#[test]
fn no_private_key_is_in_the_tree() {
    for file in files() {
        let bytes = fs::read(root().join(&file)).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let begins = text
            .lines()
            .any(|line| line.starts_with("-----BEGIN") && line.contains("PRIVATE KEY"));
        assert!(!begins, "{file} holds a private key");
    }
}

/// As another formatter than the one above reads them, with its remarks on style.
#[test]
fn every_man_page_is_right_for_mandoc() {
    if Command::new("mandoc").arg("-h").output().is_err() {
        println!("skipped: there is no mandoc(1) here");
        return;
    }
    for file in files().iter().filter(|f| f.starts_with("man/")) {
        let output = Command::new("mandoc")
            .args(["-T", "lint", "-W", "style"])
            .arg(root().join(file))
            .output()
            .expect("mandoc runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        // Sources are as wide here as code is, and are filled when they are formatted.
        let wide = |line: &&str| line.contains("STYLE: input text line longer than 80 bytes");
        let told: Vec<&str> = text.lines().filter(|line| !wide(line)).collect();
        assert!(told.is_empty(), "{file}: {told:?}");
    }
}

#[test]
fn every_man_page_formats_without_a_warning() {
    if Command::new("man").arg("--version").output().is_err() {
        println!("skipped: there is no man(1) here");
        return;
    }
    for file in files().iter().filter(|f| f.starts_with("man/")) {
        let output = Command::new("man")
            .args(["--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"])
            .arg(root().join(file))
            .env("MANWIDTH", "80")
            .output()
            .expect("man runs");
        let warnings = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.success() && warnings.is_empty(),
            "{file}: {warnings}"
        );
    }
}
